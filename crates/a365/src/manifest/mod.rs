//! The tooling manifest: which Work IQ servers there are, where, and for which audience.

mod examine;
mod file;
mod finding;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use entrabot_identity::Config;

pub use finding::{Finding, Severity};

use crate::{A365Error, EgressAllowlist, Endpoint, ServerName};
use examine::Rules;

/// The file's name in the current directory and in `.a365` below it.
const FILE_NAME: &str = "ToolingManifest.json";

/// A configured Work IQ server.
#[derive(Clone, Debug)]
pub struct Server {
    name: ServerName,
    other_name: Option<ServerName>,
    endpoint: Endpoint,
    scope: Option<String>,
}

impl Server {
    /// The name it is called and recorded by.
    #[must_use]
    pub fn name(&self) -> &ServerName {
        &self.name
    }
    /// Where it is, and what its tokens are for.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
    /// The permission that the manifest names, e.g. `McpServers.Word.All`.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }
    fn answers_to(&self, name: &str) -> bool {
        self.name.as_str().eq_ignore_ascii_case(name)
            || self.other_name.as_ref().is_some_and(|other| other.as_str().eq_ignore_ascii_case(name))
    }
}

/// The servers of the tooling manifest.
#[derive(Debug)]
pub struct Servers {
    path: PathBuf,
    servers: Vec<Server>,
    warnings: Vec<Finding>,
}

impl Servers {
    /// Reads the first manifest there is: `ENTRABOT_A365_TOOLING_MANIFEST`, `./ToolingManifest.json`,
    /// `./.a365/ToolingManifest.json`. Blocks on files.
    ///
    /// A manifest of the current directory may come with a cloned repository. So it may name only Work IQ's own
    /// hosts and audiences, and the operator's base where `ENTRABOT_A365_BASE` is set.
    ///
    /// # Errors
    /// [`A365Error::ManifestNotFound`], [`A365Error::ManifestInvalid`].
    pub fn load(config: &Config) -> Result<Self, A365Error> {
        ManifestSource::from_config(config)?.load()
    }

    /// The configured server of that name (case counts not).
    #[must_use]
    pub fn get(&self, name: &ServerName) -> Option<&Server> {
        self.find(name.as_str())
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.answers_to(name))
    }

    /// All servers, in the manifest's order.
    pub fn iter(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter()
    }

    /// The file they come from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is ignored or doubtful in the file.
    #[must_use]
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }
}

/// Where manifests are looked for, and what they may say.
#[derive(Clone, Debug)]
pub(crate) struct ManifestSource {
    candidates: Vec<Candidate>,
    allowlist: EgressAllowlist,
    /// What the log was told of the manifest, which is read at every call.
    told: Arc<Mutex<Vec<Finding>>>,
}

#[derive(Clone, Debug)]
struct Candidate {
    path: PathBuf,
    /// How it is named to the operator.
    shown: String,
    /// Named by the operator, and not just found.
    trusted: bool,
}

impl ManifestSource {
    pub(crate) fn from_config(config: &Config) -> Result<Self, A365Error> {
        let mut candidates = Vec::new();
        if let Some(path) = config.tooling_manifest() {
            candidates.push(Candidate {
                path,
                shown: "ENTRABOT_A365_TOOLING_MANIFEST".into(),
                trusted: true,
            });
        }
        for path in [PathBuf::from(FILE_NAME), Path::new(".a365").join(FILE_NAME)] {
            let shown = format!("./{}", path.display());
            candidates.push(Candidate { path, shown, trusted: false });
        }
        let allowlist = EgressAllowlist::from_config(config).map_err(A365Error::Base)?;
        Ok(Self { candidates, allowlist, told: Arc::default() })
    }

    /// Tells the log what is ignored or doubtful, once for as long as it is the same.
    fn tell(&self, warnings: &[Finding]) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != warnings {
            for warning in warnings {
                tracing::warn!(hint = %warning.hint, "the tooling manifest: {warning}");
            }
            *told = warnings.to_vec();
        }
    }

    /// The servers of the first manifest there is.
    pub(crate) fn load(&self) -> Result<Servers, A365Error> {
        for candidate in &self.candidates {
            let bytes = match file::read(&candidate.path) {
                Ok(bytes) => bytes,
                Err(file::Unreadable::Absent) => {
                    if candidate.trusted {
                        tracing::warn!(setting = %candidate.shown, "the manifest that the settings name is not there");
                    }
                    continue;
                }
                Err(file::Unreadable::Refused(finding)) => {
                    return Err(A365Error::manifest_invalid(&candidate.shown, finding));
                }
            };
            let rules = Rules { allowlist: &self.allowlist, trusted: candidate.trusted };
            let (servers, findings) = examine::examine(&bytes, &rules);
            let (errors, warnings): (Vec<_>, Vec<_>) =
                findings.into_iter().partition(|finding| finding.severity == Severity::Error);
            if let Some(first) = errors.into_iter().next() {
                return Err(A365Error::manifest_invalid(&candidate.shown, first));
            }
            self.tell(&warnings);
            return Ok(Servers { path: candidate.path.clone(), servers, warnings });
        }
        Err(A365Error::manifest_not_found(
            self.candidates.iter().map(|candidate| candidate.shown.clone()).collect(),
        ))
    }
}

/// Checks a manifest offline: every finding, not only the first. An empty list, or one of warnings only, is a pass.
/// The file counts as named by the operator. Blocks on the file.
///
/// # Errors
/// [`A365Error::ManifestNotFound`]: there is no such file. [`A365Error::Base`]: `ENTRABOT_A365_BASE` is no base.
pub fn lint_manifest(path: &Path, config: &Config) -> Result<Vec<Finding>, A365Error> {
    let allowlist = EgressAllowlist::from_config(config).map_err(A365Error::Base)?;
    match file::read(path) {
        Ok(bytes) => Ok(examine::examine(&bytes, &Rules { allowlist: &allowlist, trusted: true }).1),
        Err(file::Unreadable::Absent) => Err(A365Error::manifest_not_found(vec!["the file given".into()])),
        Err(file::Unreadable::Refused(finding)) => Ok(vec![finding]),
    }
}

/// The findings of a manifest's bytes, for fuzzing: nothing is read and nothing is sent.
#[doc(hidden)]
#[must_use]
pub fn lint_bytes(bytes: &[u8]) -> Vec<Finding> {
    examine::examine(bytes, &Rules { allowlist: &EgressAllowlist::microsoft(), trusted: false }).1
}
