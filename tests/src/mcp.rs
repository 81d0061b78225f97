//! A real MCP client.
