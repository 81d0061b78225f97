use serde_json::{Map, Value};

use crate::catalog::{self, Effect};
use crate::definitions::Definition;
use crate::presentable;
use crate::reply::Listing;
use crate::xpia::Wrapping;
use crate::{ServerName, ToolName};

/// Longest text of a tool.
const MAX_DESCRIPTION_CHARS: usize = 1024;

/// The tools of one server that may be offered to a client.
#[derive(Debug)]
#[non_exhaustive]
pub struct Offer {
    /// Those that may, sorted by name.
    pub tools: Vec<OfferedTool>,
    /// Those that may not, and why.
    pub left_out: Vec<(ToolName, &'static str)>,
}

/// A tool of a configured server, pinned, with texts that a model may see. A call of it goes through only while the
/// server still defines it so. Comes only from [`WorkIqProvider::offer`](crate::WorkIqProvider::offer).
#[derive(Clone, Debug)]
pub struct OfferedTool {
    server: ServerName,
    tool: ToolName,
    description: Option<String>,
    input_schema: Map<String, Value>,
    sha256: String,
}

impl OfferedTool {
    /// The server.
    #[must_use]
    pub fn server(&self) -> &ServerName {
        &self.server
    }
    /// The tool, by its name there.
    #[must_use]
    pub fn tool(&self) -> &ToolName {
        &self.tool
    }
    /// What the server says it does (untrusted, at most 1024 characters, enveloped).
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }
    /// The JSON schema of its arguments, for a model: without what a schema does not need, its texts enveloped.
    #[must_use]
    pub fn input_schema(&self) -> &Map<String, Value> {
        &self.input_schema
    }
    /// Whether it is known to change nothing. What its server says of that does not count.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        catalog::effect(self.tool.as_str()) == Effect::Read
    }
    /// SHA-256 of the definition that it is held to, lower-case hex.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

impl Offer {
    pub(crate) fn of(server: &ServerName, listing: &Listing, source: &str, wrapping: Wrapping) -> Self {
        let mut offer = Self { tools: Vec::new(), left_out: Vec::new() };
        for definition in listing.definitions.iter() {
            // A listing keeps only entries whose name is one.
            let Ok(tool) = ToolName::parse(&definition.name) else { continue };
            if listing.changed.contains(&definition.name) {
                offer.left_out.push((tool, "its definition is not the one that was pinned"));
                continue;
            }
            match offered(server, tool.clone(), definition, source, wrapping) {
                Ok(tool) => offer.tools.push(tool),
                Err(reason) => offer.left_out.push((tool, reason)),
            }
        }
        offer.tools.sort_by(|a, b| a.tool.cmp(&b.tool));
        offer
    }
}

fn offered(
    server: &ServerName,
    tool: ToolName,
    definition: &Definition,
    source: &str,
    wrapping: Wrapping,
) -> Result<OfferedTool, presentable::Unpresentable> {
    let cut = |text: &String| text.chars().take(MAX_DESCRIPTION_CHARS).collect::<String>();
    Ok(OfferedTool {
        server: server.clone(),
        tool,
        description: definition.description.as_ref().map(|text| wrapping.wrap(source, &cut(text))),
        input_schema: presentable::input_schema(&definition.input_schema, source, wrapping)?,
        sha256: definition.sha256.clone(),
    })
}
