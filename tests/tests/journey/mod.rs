//! A home with everything in it: a private keyring, a cloud, and the real `entrabot`.

#![allow(dead_code, reason = "each journey uses its own part of this")]

pub(crate) mod provisioning;
pub(crate) mod raw;
pub(crate) mod replica;
pub(crate) mod watched;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use entrabot_tests::built;
use entrabot_tests::listening::Listening;
use entrabot_tests::mcp::{Client, Person, Revision};
use entrabot_tests::settings::{self, Setting};
use entrabot_tests::stand_in::{Options, StandIn};
use serde_json::Value;

/// One person's machine for the length of a test.
pub(crate) struct Home {
    pub(crate) cloud: StandIn,
    pub(crate) keyring: PrivateKeyring,
    dir: tempfile::TempDir,
    settings: BTreeMap<String, String>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// stdout as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

impl Home {
    /// A machine where nothing is set up but the addresses of the cloud and the Provisioner's id.
    pub(crate) fn bare(options: Options) -> io::Result<Self> {
        let cloud = StandIn::try_start(options)?;
        let keyring = PrivateKeyring::start(Mode::Encrypted)?;
        let dir = tempfile::tempdir()?;
        let state = dir.path().join("state");
        // The settings file may be made, so its directory must be there.
        fs::create_dir(&state)?;
        let mut home = Self { cloud, keyring, dir, settings: BTreeMap::new() };
        let info = home.cloud.info().clone();
        home.set_all(settings::of_cloud(&info));
        home.set_all(settings::of_state(&state));
        home.set("ENTRABOT_PROVISIONER_CLIENT_ID", info.provisioner_client_id);
        Ok(home)
    }

    /// The same with the cloud's ready agent: its ids are set and its key is in the keyring.
    pub(crate) fn ready(options: Options) -> io::Result<Self> {
        let mut home = Self::bare(options)?;
        let info = home.cloud.info().clone();
        home.set_all(settings::of_agent(&info));
        home.set_all(settings::of_certificate(&info));
        let key = fs::read(info.blueprint_key_pem)?;
        home.run(&["keystore", "set", "entrabot", "blueprint-private-key"], &key)?.assert_code(0);
        Ok(home)
    }

    /// Changes a setting of the environment.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.settings.insert(name.to_owned(), value.into());
    }

    fn set_all(&mut self, settings: Vec<Setting>) {
        for (name, value) in settings {
            self.set(name, value);
        }
    }

    /// Takes a setting out of the environment.
    pub(crate) fn unset(&mut self, name: &str) {
        self.settings.remove(name);
    }

    /// A directory of the test's own.
    pub(crate) fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// The directory that state goes to.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The audit directory.
    pub(crate) fn audit_dir(&self) -> PathBuf {
        self.state().join("audit")
    }

    /// `entrabot` with these arguments, in this home and on this bus alone.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(built::entrabot());
        command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.keyring.env()).envs(&self.settings).current_dir(self.dir.path());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &[&str], input: &[u8]) -> io::Result<Finished> {
        finished(self.command(arguments), input)
    }

    /// `entrabot serve` and a client that has completed the handshake; stderr goes to a file.
    pub(crate) fn serve(&self) -> io::Result<Client> {
        self.serve_with(Person::default(), Revision::Handshake)
    }

    /// The same for a client before which a person sits, at a revision of the protocol.
    pub(crate) fn serve_with(&self, person: Person, revision: Revision) -> io::Result<Client> {
        let mut command = self.command(&["serve"]);
        command.stderr(fs::File::create(self.serve_log())?);
        Client::start_with(command, person, revision)
    }

    /// `entrabot serve --http` on a port of its own.
    pub(crate) fn serve_http(&self, arguments: &[&str]) -> io::Result<Listening> {
        Listening::start(self.command(&[&["serve", "--http", "127.0.0.1:0"], arguments].concat()))
    }

    /// Where `serve`'s stderr goes.
    pub(crate) fn serve_log(&self) -> PathBuf {
        self.scratch().join("serve.stderr")
    }

    /// Every record of the audit, in order; none where nothing was ever recorded.
    pub(crate) fn records(&self) -> io::Result<Vec<Value>> {
        if self.audit_dir().exists() { records(&self.audit_dir()) } else { Ok(Vec::new()) }
    }

    /// The records of calls to Work IQ.
    pub(crate) fn a365_records(&self) -> io::Result<Vec<Value>> {
        let mut records = self.records()?;
        records.retain(|record| record["action"].as_str().is_some_and(|action| action.starts_with("a365.")));
        Ok(records)
    }
}

/// Runs a command to its end.
pub(crate) fn finished(mut command: Command, input: &[u8]) -> io::Result<Finished> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that wants no input may be gone before it is written.
        let _unread = stdin.write_all(input);
    }
    let output = child.wait_with_output()?;
    Ok(Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Every record below an audit directory, in order.
pub(crate) fn records(audit_dir: &Path) -> io::Result<Vec<Value>> {
    let mut days = Vec::new();
    for entry in fs::read_dir(audit_dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            days.push(path);
        }
    }
    days.sort();
    let mut records = Vec::new();
    for day in days {
        for line in fs::read_to_string(day)?.lines() {
            records.push(serde_json::from_str(line).map_err(io::Error::other)?);
        }
    }
    Ok(records)
}

/// Each call's outcomes, by its id, in the order of the first lines.
pub(crate) fn spans(records: &[Value]) -> Vec<Vec<String>> {
    let mut order: Vec<&str> = Vec::new();
    let mut spans: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for record in records {
        let call = record["call_id"].as_str().unwrap_or_default();
        if !spans.contains_key(call) {
            order.push(call);
        }
        spans.entry(call).or_default().push(record["outcome"].as_str().unwrap_or_default().to_owned());
    }
    order.into_iter().map(|call| spans.remove(call).unwrap_or_default()).collect()
}

/// Every file below a directory that holds this text.
pub(crate) fn files_with(dir: &Path, needle: &[u8]) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                let bytes = fs::read(entry.path())?;
                if bytes.windows(needle.len()).any(|window| window == needle) {
                    found.push(entry.path());
                }
            }
        }
    }
    Ok(found)
}
