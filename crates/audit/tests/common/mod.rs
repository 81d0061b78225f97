//! What the tests of this crate share: a log in a directory of its own, attributed by the real chain.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its part, and fails by panicking"
)]

pub mod children;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use entrabot_audit::{AuditLog, AuditOptions, Auditable, LogEntry, ServerName, Subject, ToolName};
use entrabot_identity::{Attribute, AttributionChain, AttributionType, Config, Session};

pub const AGENT: &str = "22222222-2222-4222-8222-222222222222";

/// A directory of its own with `audit` and `data` in it.
pub struct Home {
    pub dir: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }
    pub fn audit(&self) -> PathBuf {
        self.dir.path().join("audit")
    }
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
    pub fn options(&self) -> AuditOptions {
        AuditOptions::new(&self.audit(), &self.data())
    }
    pub fn open(&self) -> AuditLog {
        AuditLog::open(self.options(), who()).unwrap()
    }
    /// The one day file.
    pub fn day_file(&self) -> PathBuf {
        let mut files = day_files(&self.audit());
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }
    /// As a writer without the lock adds them.
    pub fn add(&self, bytes: &[u8]) {
        let mut file = std::fs::OpenOptions::new().append(true).open(self.day_file()).unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
    }
    pub fn lines(&self) -> Vec<serde_json::Value> {
        day_files(&self.audit())
            .iter()
            .flat_map(|path| {
                let text = std::fs::read_to_string(path).unwrap();
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()
            })
            .collect()
    }
}

pub fn day_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    files
}

/// An agent known by `ENTRABOT_AGENT_ID`.
pub fn who() -> Arc<dyn Attribute> {
    chain(&[("ENTRABOT_AGENT_ID", AGENT)])
}

pub fn chain(variables: &[(&str, &str)]) -> Arc<dyn Attribute> {
    let config = Config::from_variables(variables.iter().copied()).unwrap();
    Arc::new(AttributionChain::new(&config, Arc::new(Session::new())))
}

pub fn entry(number: usize) -> LogEntry {
    LogEntry::cli("test.act", &format!("thing {number}"), "success", AttributionType::Agent)
}

/// As the Python original writes it.
pub const FOREIGN: &str = r#"{"event_id": "8a6e0804-2bd0-4672-b79d-d97027f9071a", "timestamp": "2026-07-12T10:00:00.123456+00:00", "agent_id": "a", "action": "x", "resource": "y", "outcome": "success", "attribution_type": "agent", "metadata": {"k": "v"}}"#;

pub fn foreign(number: u32) -> String {
    FOREIGN.replace("8a6e0804", &format!("{number:08x}"))
}

pub fn python_script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/verify_audit.py")
}

/// What the verifier that is not ours says of a log, with the keys and the anchor that there are.
pub fn python_verifier(home: &Home) -> std::process::Output {
    let outside = ["audit-vkeys", "audit-anchor"].map(|name| home.data().join(name));
    std::process::Command::new("python3")
        .arg(python_script())
        .arg(home.audit())
        .args(outside.iter().filter(|path| path.exists()))
        .output()
        .unwrap()
}

/// A call as the transport would make it.
#[derive(Debug)]
pub struct Call;

impl Auditable for Call {
    fn subject(&self) -> Subject {
        Subject::WorkIq {
            server: ServerName::parse("mcp_WordServer").unwrap(),
            tool: ToolName::parse("GetDocumentContent").unwrap(),
        }
    }
}
