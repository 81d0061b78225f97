//! `entrabot service`: the HTTP server as a service of this user, under systemd or launchd.

mod launchd;
mod systemd;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, Subcommand, ValueEnum};
use entrabot_keystore::ErrorClass;
use serde_json::json;

use super::bench::confirmed;
use super::diff::diff;
use super::{NO, YES};
use crate::failure::Failure;
use crate::{private_files, terminal};

/// Stands in every file that is ours: no other is ever replaced or removed.
const MARK: &str = "Written by entrabot service install";

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Serve MCP over loopback HTTP whenever this user is logged in
    #[command(
        after_help = "Examples:\n  entrabot service install --dry-run\n  entrabot service install --yes && entrabot serve --show-bearer"
    )]
    Install(InstallArgs),
    /// Stop the service and remove its file
    Uninstall(UninstallArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// Where to listen; loopback only
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8765", value_parser = loopback)]
    http: SocketAddr,
    /// Only write the file; the service manager is not spoken to
    #[arg(long)]
    no_start: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct UninstallArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// The service manager [default: this system's]
    #[arg(long, value_enum)]
    manager: Option<Manager>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Manager {
    /// A user unit of systemd
    Systemd,
    /// A launch agent of macOS
    Launchd,
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "not of the form 127.0.0.1:8765".to_owned())?;
    if address.ip().is_loopback() { Ok(address) } else { Err("the service listens on loopback only".into()) }
}

/// What the service starts.
#[derive(Debug)]
struct Program {
    path: String,
    address: SocketAddr,
    /// `ENTRABOT_ENV_FILE`, where it is set.
    env_file: Option<String>,
}

impl Program {
    fn this(address: SocketAddr) -> Result<Self, Failure> {
        let path = std::env::current_exe().map_err(|error| Failure::io("find this program", &error))?;
        let text = |path: PathBuf| {
            path.into_os_string()
                .into_string()
                .ok()
                .filter(|text| !text.chars().any(char::is_control))
                .ok_or_else(|| Failure::usage("a path is no plain text", "move it to a plain one"))
        };
        let env_file = std::env::var_os("ENTRABOT_ENV_FILE").filter(|file| !file.is_empty());
        let env_file = env_file
            .map(|file| text(std::path::absolute(&file).unwrap_or_else(|_| file.into())))
            .transpose()?;
        Ok(Self { path: text(path)?, address, env_file })
    }
}

impl Manager {
    fn of_this_system() -> Result<Self, Failure> {
        if cfg!(target_os = "macos") {
            Ok(Self::Launchd)
        } else if cfg!(unix) {
            Ok(Self::Systemd)
        } else {
            Err(Failure::usage(
                "no service manager is known for this system",
                "let it run `entrabot serve --http 127.0.0.1:8765`",
            ))
        }
    }

    fn file(self) -> Result<PathBuf, Failure> {
        let variable =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || {
            variable("HOME").ok_or_else(|| Failure::usage("HOME is not set", "set it to your home directory"))
        };
        Ok(match self {
            Self::Systemd => match variable("XDG_CONFIG_HOME") {
                Some(config) => config,
                None => home()?.join(".config"),
            }
            .join("systemd/user")
            .join(systemd::UNIT),
            Self::Launchd => home()?.join("Library/LaunchAgents").join(format!("{}.plist", launchd::LABEL)),
        })
    }

    fn text(self, program: &Program) -> String {
        match self {
            Self::Systemd => systemd::unit(program),
            Self::Launchd => launchd::property_list(program),
        }
    }

    /// What makes the manager start it, now and at each login.
    fn start(self, file: &Path) -> Vec<Vec<String>> {
        match self {
            Self::Systemd => systemd::start(),
            Self::Launchd => launchd::start(file),
        }
    }

    fn stop(self, file: &Path) -> Vec<Vec<String>> {
        match self {
            Self::Systemd => systemd::stop(),
            Self::Launchd => launchd::stop(file),
        }
    }

    /// What it has to be told once the file is gone.
    fn forget(self) -> Vec<Vec<String>> {
        match self {
            Self::Systemd => systemd::reload(),
            Self::Launchd => Vec::new(),
        }
    }
}

pub(crate) fn run(command: &ServiceCommand, json: bool) -> Result<u8, Failure> {
    match command {
        ServiceCommand::Install(args) => install(args, json),
        ServiceCommand::Uninstall(args) => uninstall(&args.common, json),
    }
}

fn install(args: &InstallArgs, json: bool) -> Result<u8, Failure> {
    let manager = args.common.manager()?;
    let file = manager.file()?;
    let old = ours(&file)?;
    let new = manager.text(&Program::this(args.http)?);
    let change = diff(old.as_deref().unwrap_or_default(), &new);
    if !json {
        terminal::line(&file.display().to_string())?;
        terminal::bytes(change.as_bytes())?;
    }
    let told = |installed: bool, started: bool| {
        if json {
            terminal::json(&json!({
                "file": file.display().to_string(), "installed": installed, "started": started, "diff": change,
            }))?;
        }
        Ok(YES)
    };
    if args.common.dry_run {
        return told(false, false);
    }
    if old.as_deref() != Some(&*new) {
        if !confirmed(args.common.yes, "Install the service?")? {
            return Ok(NO);
        }
        let directory = file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)
            .and_then(|()| private_files::replace(&file, new.as_bytes()))
            .map_err(|error| Failure::io(&format!("write {}", file.display()), &error))?;
    }
    if args.no_start {
        return told(true, false);
    }
    carry_out(&manager.start(&file))?;
    if !json {
        terminal::line(&format!(
            "serving at http://{}/mcp; entrabot serve --show-bearer prints what clients show",
            args.http
        ))?;
    }
    told(true, true)
}

fn uninstall(common: &Common, json: bool) -> Result<u8, Failure> {
    let manager = common.manager()?;
    let file = manager.file()?;
    let told = |removed: bool| {
        if json {
            terminal::json(&json!({"file": file.display().to_string(), "removed": removed}))?;
        } else {
            let what = if removed { "removed" } else { "not removed" };
            terminal::line(&format!("{}: {what}", file.display()))?;
        }
        Ok(YES)
    };
    if ours(&file)?.is_none() || common.dry_run {
        return told(false);
    }
    if !confirmed(common.yes, &format!("Stop the service and remove {}?", file.display()))? {
        return Ok(NO);
    }
    // It may not run at all; the file goes in any case.
    if let Err(failure) = carry_out(&manager.stop(&file)) {
        terminal::note(&format!("warning: {failure}"));
    }
    fs::remove_file(&file).map_err(|error| Failure::io(&format!("remove {}", file.display()), &error))?;
    if let Err(failure) = carry_out(&manager.forget()) {
        terminal::note(&format!("warning: {failure}"));
    }
    told(true)
}

impl Common {
    fn manager(&self) -> Result<Manager, Failure> {
        self.manager.map_or_else(Manager::of_this_system, Ok)
    }
}

/// The text of the file, which must be ours; `None` when there is none.
fn ours(file: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(file) {
        Ok(text) if text.contains(MARK) => Ok(Some(text)),
        Ok(_) => Err(Failure::new(
            "ServiceError",
            format!("{} is not ours, so it was left as it is", file.display()),
            Some("move it away, then try again"),
            ErrorClass::Configuration,
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io(&format!("read {}", file.display()), &error)),
    }
}

/// Runs the commands in order until one fails.
fn carry_out(commands: &[Vec<String>]) -> Result<(), Failure> {
    for command in commands {
        let [program, arguments @ ..] = &command[..] else { continue };
        let status =
            Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status();
        let why = match status {
            Ok(status) if status.success() => continue,
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        return Err(Failure::new(
            "ServiceError",
            format!("`{}` failed: {why}", command.join(" ")),
            Some(
                "the file is in its place; look at what the service manager says, then run that command yourself",
            ),
            ErrorClass::Failed,
        ));
    }
    Ok(())
}
