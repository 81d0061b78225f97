use std::path::Path;

use entrabot_identity::Config;
use serde::Serialize;

use crate::{A365Error, Endpoint, ServerName};

/// A configured Work IQ server.
#[derive(Clone, Debug)]
pub struct Server {
    name: ServerName,
    _endpoint: Endpoint,
}

impl Server {
    /// The name it is called and recorded by.
    #[must_use]
    pub fn name(&self) -> &ServerName {
        &self.name
    }
}

/// The servers of the tooling manifest.
#[derive(Debug)]
pub struct Servers {
    _private: (),
}

impl Servers {
    /// Reads the first manifest there is: `ENTRABOT_A365_TOOLING_MANIFEST`, `./ToolingManifest.json`,
    /// `./.a365/ToolingManifest.json`. Blocks on files.
    ///
    /// # Errors
    /// There is none, or it is not valid.
    pub fn load(_config: &Config) -> Result<Self, A365Error> {
        todo!("a365")
    }

    /// The configured server of that name (case counts not).
    #[must_use]
    pub fn get(&self, _name: &ServerName) -> Option<&Server> {
        todo!("a365")
    }

    /// All servers, in the manifest's order.
    pub fn iter(&self) -> impl Iterator<Item = &Server> {
        std::iter::empty()
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// The manifest is refused.
    Error,
    /// The manifest works, but something in it is ignored or doubtful.
    Warning,
}

/// One thing that `entrabot manifest lint` has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where: e.g. `mcpServers[2].url`; empty for the file as a whole.
    pub field: String,
    /// What is wrong. Nothing of the file's text but checked names.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Checks a manifest offline: every finding, not only the first. An empty list, or one of warnings only, is a pass.
///
/// # Errors
/// The file cannot be read at all.
pub fn lint_manifest(_path: &Path, _config: &Config) -> Result<Vec<Finding>, A365Error> {
    todo!("a365")
}
