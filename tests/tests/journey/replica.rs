//! An agent on a host of its own: no key, no keyring, no session bus.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use entrabot_tests::built;
use entrabot_tests::settings;
use entrabot_tests::stand_in::{Options, StandIn};
use serde_json::Value;

use super::{Finished, finished};

pub(crate) const ISSUER: &str = "https://oidc.example/cluster/";
pub(crate) const SUBJECT: &str = "system:serviceaccount:agents:entrabot";

/// A pod, or a virtual machine: the ready agent's ids, and nothing that holds a secret.
pub(crate) struct Replica {
    pub(crate) cloud: StandIn,
    dir: tempfile::TempDir,
    settings: BTreeMap<String, String>,
}

impl Replica {
    pub(crate) fn new(credential: &str) -> io::Result<Self> {
        Self::with(credential, Options::default())
    }

    pub(crate) fn with(credential: &str, options: Options) -> io::Result<Self> {
        let cloud = StandIn::try_start(options)?;
        let dir = tempfile::tempdir()?;
        let own = [
            ("ENTRABOT_BLUEPRINT_CREDENTIAL", credential.to_owned()),
            ("ENTRABOT_AUDIT_SIGNING", "off".to_owned()),
            ("HOME", dir.path().display().to_string()),
        ];
        let (known, ids) = (settings::of_cloud(cloud.info()), settings::of_agent(cloud.info()));
        let settings = known.into_iter().chain(ids).chain(own);
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Self { dir, settings, cloud })
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.settings.insert(name.to_owned(), value.into());
    }

    /// A setting of it.
    pub(crate) fn variable(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", String::as_str)
    }

    /// A directory of the test's own, which is its home too.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// With these variables and no others: no bus among them.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(built::entrabot());
        command.args(arguments).env_clear().envs(&self.settings).current_dir(self.dir.path());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> io::Result<Finished> {
        finished(self.command(arguments), b"")
    }

    /// One line of the doctor's answer.
    pub(crate) fn doctor(&self, name: &str) -> io::Result<Value> {
        let doctor = self.run(&["doctor", "--json"])?;
        let said = doctor.json();
        let checks = said["checks"].as_array().cloned().unwrap_or_default();
        let found = checks.into_iter().find(|check| check["name"] == name);
        Ok(found.unwrap_or_else(|| panic!("{name} in {said}")))
    }

    pub(crate) fn audit_dir(&self) -> PathBuf {
        self.dir.path().join(".entrabot/audit")
    }

    pub(crate) fn token_file(&mut self) -> io::Result<PathBuf> {
        self.cloud.federate(ISSUER, SUBJECT);
        let path = self.dir.path().join("token");
        self.set("AZURE_FEDERATED_TOKEN_FILE", path.display().to_string());
        project(&self.cloud, &path, 3_600)?;
        Ok(path)
    }

    /// What hop 1 was proven with, each time.
    pub(crate) fn assertions(&self) -> Vec<String> {
        let requests = self.cloud.requests();
        let first = requests.iter().filter(|request| request.hop() == Some(1));
        first.filter_map(|request| request.field("client_assertion").map(str::to_owned)).collect()
    }
}

/// Swaps the token as kubelet does: a new file takes the old one's name.
pub(crate) fn project(cloud: &StandIn, path: &Path, seconds: i64) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, cloud.service_account_token(ISSUER, SUBJECT, seconds))?;
    fs::rename(new, path)
}
