//! `entrabot client`: makes an MCP client start this server. Shows what will change, keeps a copy of what was, and edits
//! nothing that it does not understand.

mod edit;
mod place;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use entrabot_keystore::ErrorClass;
use serde_json::json;

use self::edit::{Entry, NotUnderstood};
use super::bench::confirmed;
use super::diff::diff;
use super::{NO, YES};
use crate::failure::Failure;
use crate::{private_files, terminal};

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Add this server to a client's configuration
    #[command(
        after_help = "Examples:\n  entrabot client add claude-code --dry-run\n  entrabot client add vscode --config .vscode/mcp.json"
    )]
    Add(AddArgs),
    /// Take this server out of a client's configuration
    Remove(ClientArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    change: ClientArgs,
    /// What the client shall start [default: this program]
    #[arg(long, value_name = "PROGRAM")]
    command: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// The client
    #[arg(value_enum)]
    client: Client,
    /// Its configuration file, instead of the user's own
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// An MCP client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// Claude Code: ~/.claude.json
    ClaudeCode,
    /// Claude Desktop: claude_desktop_config.json
    ClaudeDesktop,
    /// Visual Studio Code: mcp.json of the user profile
    Vscode,
    /// GitHub Copilot CLI: ~/.copilot/mcp-config.json
    Copilot,
}

impl Client {
    fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::ClaudeDesktop => "claude-desktop",
            Self::Vscode => "vscode",
            Self::Copilot => "copilot",
        }
    }

    /// The member of the configuration that lists servers.
    fn list(self) -> &'static str {
        match self {
            Self::Vscode => "servers",
            Self::ClaudeCode | Self::ClaudeDesktop | Self::Copilot => "mcpServers",
        }
    }

    /// The entry, in the client's own words and order. No secret is ever part of it.
    fn entry(self, command: &str) -> Entry {
        let (kind, tools) = match self {
            Self::ClaudeCode | Self::Vscode => (Some("stdio"), None),
            Self::ClaudeDesktop => (None, None),
            Self::Copilot => (Some("local"), Some(json!(["*"]))),
        };
        let mut entry = Entry::new();
        entry.extend(kind.map(|kind| ("type", json!(kind))));
        entry.push(("command", json!(command)));
        entry.push(("args", json!(["serve"])));
        entry.extend(tools.map(|tools| ("tools", tools)));
        // Where the settings are is not known to a program that the client starts.
        if let Some(file) = std::env::var_os("ENTRABOT_ENV_FILE").filter(|file| !file.is_empty()) {
            let file = std::path::absolute(&file).unwrap_or_else(|_| file.into());
            entry.push(("env", json!({"ENTRABOT_ENV_FILE": file.display().to_string()})));
        }
        entry
    }
}

pub(crate) fn run(command: &ClientCommand, json: bool) -> Result<u8, Failure> {
    match command {
        ClientCommand::Add(args) => {
            let (program, args) = (args.program()?, &args.change);
            let entry = args.client.entry(&program);
            args.change(json, |text| edit::add(text, args.client.list(), &entry))
        }
        ClientCommand::Remove(args) => args.change(json, |text| edit::remove(text, args.client.list())),
    }
}

impl AddArgs {
    fn program(&self) -> Result<String, Failure> {
        let program = match &self.command {
            Some(command) => command.clone(),
            None => std::env::current_exe().map_err(|error| Failure::io("find this program", &error))?,
        };
        program
            .into_os_string()
            .into_string()
            .map_err(|_| Failure::usage("the program's path is no text", "name one that is with --command"))
    }
}

impl ClientArgs {
    fn file(&self) -> Result<PathBuf, Failure> {
        match &self.config {
            Some(file) => Ok(file.clone()),
            None => place::of(self.client).ok_or_else(|| {
                Failure::usage(
                    format!("where {} keeps its configuration is not known here", self.client.name()),
                    "name the file with --config",
                )
            }),
        }
    }

    fn change(
        &self,
        json: bool,
        edit: impl FnOnce(&str) -> Result<String, NotUnderstood>,
    ) -> Result<u8, Failure> {
        let file = self.file()?;
        let old = read(&file)?;
        let new = edit(old.as_deref().unwrap_or_default()).map_err(|error| not_understood(&file, &error))?;
        let change = diff(old.as_deref().unwrap_or_default(), &new);
        let told = |changed: bool, backup: Option<&Path>| {
            let backup = backup.map(|path| path.display().to_string());
            if json {
                return terminal::json(&json!({
                    "client": self.client.name(),
                    "file": file.display().to_string(),
                    "changed": changed,
                    "backup": backup,
                    "diff": change,
                }));
            }
            backup.map_or(Ok(()), |backup| terminal::line(&format!("the file as it was: {backup}")))
        };
        if old.as_deref() == Some(&*new) || (old.is_none() && new.is_empty()) {
            told(false, None)?;
            if !json {
                terminal::line(&format!("{}: nothing to change", file.display()))?;
            }
            return Ok(YES);
        }
        if !json {
            terminal::line(&file.display().to_string())?;
            terminal::bytes(change.as_bytes())?;
        }
        if self.dry_run {
            told(false, None)?;
            return Ok(YES);
        }
        if !confirmed(self.yes, "Change the file so?")? {
            return Ok(NO);
        }
        let backup = write(&file, old.as_deref(), &new)?;
        told(true, backup.as_deref())?;
        if !json {
            terminal::line(&format!("done; start {} anew", self.client.name()))?;
        }
        Ok(YES)
    }
}

/// `None` when there is no file yet.
fn read(file: &Path) -> Result<Option<String>, Failure> {
    match fs::read(file) {
        Ok(bytes) => String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| not_understood(file, &NotUnderstood::new("it is no UTF-8"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io(&format!("read {}", file.display()), &error)),
    }
}

fn not_understood(file: &Path, error: &NotUnderstood) -> Failure {
    Failure::new(
        "ClientConfigError",
        format!("{} was left as it is: {error}", file.display()),
        Some("mend the file, or add the server by hand: its command is entrabot, its one argument serve"),
        ErrorClass::Configuration,
    )
}

/// Puts the new text in place, the old one beside it. The backup's path, where there was a file.
fn write(file: &Path, old: Option<&str>, new: &str) -> Result<Option<PathBuf>, Failure> {
    let failed = |error: io::Error| Failure::io(&format!("write {}", file.display()), &error);
    let Some(old) = old else {
        if let Some(directory) = file.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        private_files::replace(file, new.as_bytes()).map_err(failed)?;
        return Ok(None);
    };
    let mut name = file.as_os_str().to_owned();
    name.push(chrono::Utc::now().format(".%Y%m%dT%H%M%S%.6fZ.bak").to_string());
    let backup = PathBuf::from(name);
    private_files::replace(&backup, old.as_bytes()).map_err(failed)?;
    let replacement = private_files::Replacement::with(file, new.as_bytes()).map_err(failed)?;
    // Somebody may have answered slowly, and the client may have written meanwhile.
    if read(file)?.as_deref() != Some(old) {
        return Err(not_understood(file, &NotUnderstood::new("somebody changed it meanwhile")));
    }
    replacement.put().map_err(failed)?;
    Ok(Some(backup))
}
