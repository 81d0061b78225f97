//! The agent's way: provisioned by the real calls, then driven by a real MCP client.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use entrabot_keystore::private_keyring::PrivateKeyring;
use serde_json::{Value, json};

use super::account::Account;
use crate::Failure;
use crate::build::binary;
use crate::cloud::Cloud;

/// A provisioned agent and everything that its commands need in their environment.
pub(super) struct Agent<'a> {
    home: PathBuf,
    environment: Vec<(String, String)>,

    // Its bus and daemon live as long as the agent is used.
    _keyring: &'a PrivateKeyring,
}

/// What the MCP client got.
pub(super) struct Work {
    pub(super) who: Value,
    pub(super) calls: Vec<Call>,
}

pub(super) struct Call {
    pub(super) tool: String,
    pub(super) milliseconds: f64,
    pub(super) call_id: String,
}

pub(super) struct Audit {
    pub(super) events: u64,
    pub(super) report: Value,
}

impl<'a> Agent<'a> {
    pub(super) fn provision(
        home: &Path,
        keyring: &'a PrivateKeyring,
        cloud: &'a Cloud,
        account: &mut Account,
    ) -> Result<Self, Failure> {
        let state = home.join("home/.entrabot");
        let mut environment = keyring.env();
        let path = |path: PathBuf| path.display().to_string();
        environment.extend([
            ("ENTRABOT_ENV_FILE".into(), path(state.join(".env"))),
            ("ENTRABOT_AUDIT_DIR".into(), path(state.join("audit"))),
            ("ENTRABOT_DATA_DIR".into(), path(state.join("data"))),
            ("ENTRABOT_LOG_DIR".into(), path(state.join("logs"))),
        ]);
        for (setting, key) in [
            ("ENTRABOT_AUTHORITY_BASE", "authority_base"),
            ("ENTRABOT_GRAPH_BASE", "graph_base"),
            ("ENTRABOT_A365_BASE", "a365_base"),
            ("ENTRABOT_CA_BUNDLE", "ca_bundle"),
            ("ENTRABOT_TENANT_ID", "tenant_id"),
            ("ENTRABOT_PROVISIONER_CLIENT_ID", "provisioner_client_id"),
            ("ENTRABOT_A365_TOOLING_MANIFEST", "manifest"),
        ] {
            environment.push((setting.into(), cloud.get(key)?.into()));
        }
        let agent = Self { home: home.to_owned(), environment, _keyring: keyring };

        let certificate = fs::read(cloud.get("provisioner_cert_pem")?)?;
        let entry = ["keystore", "set", "entrabot-provisioner-cert", cloud.get("tenant_id")?];
        agent.entrabot(&entry, &certificate)?;
        account.step("keystore", "the Provisioner app's certificate went into the keyring");

        let upn = format!("demo-{}@contoso.example", agent.run_name());
        let sponsor = cloud.get("sponsor_id")?;
        let provision = [
            "provision",
            "--new",
            "--name",
            "Demo Agent",
            "--agent-user-upn",
            &upn,
            "--sponsor",
            sponsor,
            "--with-a365-work-iq",
            "--yes",
            "--json",
        ];
        agent.entrabot(&provision, &[])?;
        account.step(
            "provision",
            "blueprint, key, certificate, agent identity and agent user, each on record first",
        );
        Ok(agent)
    }

    fn run_name(&self) -> String {
        self.home.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned())
    }

    pub(super) fn audit_dir(&self) -> PathBuf {
        self.home.join("home/.entrabot/audit")
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    pub(super) fn client_configuration(&self) -> Value {
        let environment: serde_json::Map<_, _> =
            self.environment.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({"mcpServers": {"entrabot": {"command": binary("entrabot"), "args": ["serve"], "env": environment}}})
    }

    /// Create, look up, read back, comment, reply.
    pub(super) fn write_document(&self, html: &Path, account: &mut Account) -> Result<Work, Failure> {
        let script = json!([
            {"save": "who", "tool": "whoami", "arguments": {}},
            {"save": "created", "tool": "create_word_document", "arguments":
                {"file_name": "Coastal report.docx", "content_html": fs::read_to_string(html)?}},
            {"save": "file", "tool": "get_a365_file_metadata_by_url", "arguments": {"url": "${created.url}"}},
            {"save": "read", "tool": "read_word_document", "arguments": {"url": "${created.url}"}},
            {"save": "comment", "tool": "add_word_comment", "arguments":
                {"drive_id": "${file.document_library_id}", "document_id": "${file.item_id}",
                 "content": "Is the budget for field work confirmed? – the agent"}},
            {"save": "reply", "tool": "reply_to_word_comment", "arguments":
                {"drive_id": "${file.document_library_id}", "document_id": "${file.item_id}",
                 "comment_id": "${comment.comment_id}", "content": "Yes: € 6,000 move on 1 December."}},
        ]);
        let script_file = self.home.join("script.json");
        fs::write(&script_file, serde_json::to_vec(&script)?)?;
        let output = Command::new(binary("mcp-client"))
            .arg("--script")
            .arg(&script_file)
            .arg("--")
            .arg(binary("entrabot"))
            .arg("serve")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()?;
        let lines = succeeded("mcp-client", output)?;
        let mut work = Work { who: Value::Null, calls: Vec::new() };
        let mut read_back = String::new();
        for line in lines.lines() {
            let step: Value = serde_json::from_str(line)?;
            let tool = step["tool"].as_str().unwrap_or_default().to_owned();
            if step["is_error"] == json!(true) {
                return Err(format!("{tool} failed: {}", step["text"]).into());
            }
            match tool.as_str() {
                "whoami" => work.who = step["structured"].clone(),
                "read_word_document" => read_back = step["structured"].to_string(),
                _ => {}
            }
            work.calls.push(Call {
                tool,
                milliseconds: step["milliseconds"].as_f64().unwrap_or_default(),
                call_id: step["_meta"]["entrabot/audit"]["call_id"].as_str().unwrap_or_default().to_owned(),
            });
        }
        for expected in ["Zatoka Gdańska", "東京湾", "Cost per station fell"] {
            if !read_back.contains(expected) {
                return Err(format!("the document read back does not hold {expected:?}").into());
            }
        }
        account.step("work", "an MCP client had the agent write, find, read, comment and reply");
        Ok(work)
    }

    pub(super) fn verify_audit(&self, account: &mut Account) -> Result<Audit, Failure> {
        let report: Value = serde_json::from_str(&self.entrabot(&["audit", "verify", "--json"], &[])?)?;
        if report["ok"] != json!(true) {
            return Err(format!("the audit does not verify: {report}").into());
        }
        account.step("audit", "verified: nothing changed, removed or added");
        Ok(Audit { events: report["events"].as_u64().unwrap_or_default(), report })
    }

    /// Flips one bit of one byte in the middle of a copy, and wants to see it found.
    pub(super) fn show_tampering_is_seen(&self, account: &mut Account) -> Result<(), Failure> {
        let copy = self.home.join("tampered-copy");
        copy_directory(&self.audit_dir(), &copy)?;
        let day = fs::read_dir(&copy)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
            .ok_or("the audit has no day file")?;
        let mut bytes = fs::read(&day)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&day, &bytes)?;
        let copy = copy.display().to_string();
        let output = self.command(&["audit", "verify", "--json", "--dir", &copy]).output()?;
        let report: Value = serde_json::from_slice(&output.stdout)?;
        if output.status.code() != Some(1) || report["ok"] != json!(false) {
            return Err(format!("one byte of a copy was changed and verify did not say so: {report}").into());
        }
        let first = &report["first_error"];
        account.tampering =
            format!("{} line {}: {}", first["file"], first["line"], first["reason"]).replace('"', "");
        account.step("tampering", "one byte of a copy was changed, and the verification found it");
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("entrabot"));
        command.args(arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn entrabot(&self, arguments: &[&str], input: &[u8]) -> Result<String, Failure> {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().ok_or("no stdin")?.write_all(input)?;
        succeeded(&format!("entrabot {}", arguments.join(" ")), child.wait_with_output()?)
    }
}

fn succeeded(what: &str, output: Output) -> Result<String, Failure> {
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    Err(format!("`{what}` failed: {}\n{said}{printed}", output.status).into())
}

fn copy_directory(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
