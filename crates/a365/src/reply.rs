use serde::Serialize;
use serde_json::Value;

/// What a Work IQ tool answered. Every text in it is untrusted: cleaned, and in its envelope.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Reply {
    /// The answer as JSON.
    pub content: Value,
    /// Parts of the answer that are not text and were left out.
    pub skipped_blocks: usize,
}

/// A tool as its server describes it. The texts are untrusted: cleaned and cut.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ToolDefinition {
    /// The tool's name.
    pub name: String,
    /// What the server says it does (untrusted, enveloped).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON schema of its arguments, as advertised.
    pub input_schema: Value,
    /// SHA-256 of name, description and schema in canonical form, lower-case hex: what is pinned.
    pub sha256: String,
}
