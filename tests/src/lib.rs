//! End-to-end journeys of entrabot, and the cloud they run against.
//!
//! [`stand_in`] is an HTTPS server on loopback that speaks Entra's token endpoint, the part of
//! Microsoft Graph that provisioning uses, and Work IQ's Word and file servers. It checks what it
//! is sent like the real ones do and answers with their errors, so a journey through it needs no
//! bypass in the product. It never ships: no product crate depends on this package.
//!
//! [`https`] is a second opinion on it that shares no code with the product: a small client, and the
//! three hops by hand. [`peers`] holds the clients that other people wrote, [`conformance`] the official
//! MCP suite. [`mcp`] is a real MCP client (rmcp's) that starts a server over stdio and plays a script.
//! [`written_log`] writes audit logs by hand. [`collector`] takes OpenTelemetry data, as an operator's collector would.
//! [`cases`] is the one table of Work IQ's hostile answers, [`settings`] what a program is told of the stand-in.
#![forbid(unsafe_code)]

pub mod built;
pub mod cases;
pub mod collector;
pub mod conformance;
pub mod https;
pub mod listening;
pub mod mcp;
pub mod peers;
pub mod settings;
pub mod stand_in;
pub mod written_log;
