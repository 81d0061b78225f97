//! Other people's clients, installed below the target directory from their registries, pinned.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The packages, pinned: what the captured wire forms were made with.
const PACKAGES: &[&str] = &[
    "msal==1.39.0",
    "python-docx==1.2.0",
    "ocsf-json-schema==1.2.0",
    "jsonschema==4.25.1",
    "aat-mcp==0.1.0",
    "keyring==25.7.0",
    "secretstorage==3.5.0",
];

const MSAL_NODE: &str = "@azure/msal-node@7.2.3";

/// A virtual environment that holds the pinned packages.
#[derive(Debug)]
pub struct Python {
    program: PathBuf,
}

impl Python {
    /// Makes the environment below `target`, once: other test processes wait for it.
    ///
    /// # Errors
    /// When `python3` with `venv` is missing or the packages cannot be had.
    pub fn ready(target: &Path) -> io::Result<Self> {
        fs::create_dir_all(target)?;
        let lock = File::create(target.join("python-venv.lock"))?;
        lock.lock()?;
        let home = target.join("python-venv");
        let program = home.join("bin/python");
        let wanted = PACKAGES.join("\n");
        let done = home.join("packages.txt");
        if fs::read_to_string(&done).is_ok_and(|present| present == wanted) {
            return Ok(Self { program });
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
        let mut install = Command::new(&program);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
        run(&mut install)?;
        fs::write(done, wanted)?;
        Ok(Self { program })
    }

    /// Runs a program text with arguments; its stdout when it succeeds.
    ///
    /// # Errors
    /// When it fails; the error holds its stderr.
    pub fn run(&self, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> io::Result<String> {
        let mut command = Command::new(&self.program);
        command.arg("-W").arg("ignore").arg("-c").arg(program).args(arguments);
        command.envs(environment.iter().copied());
        let output = run(&mut command)?;
        String::from_utf8(output.stdout).map_err(io::Error::other)
    }
}

/// A Node program's home with `@azure/msal-node`.
#[derive(Debug)]
pub struct Node {
    home: PathBuf,
}

impl Node {
    /// Installs the package below `target`, once: other test processes wait for it.
    ///
    /// # Errors
    /// When `node` (20 or later) or `npm` is missing or the package cannot be had.
    pub fn ready(target: &Path) -> io::Result<Self> {
        let home = target.join("node-peers");
        fs::create_dir_all(&home)?;
        let lock = File::create(target.join("node-peers.lock"))?;
        lock.lock()?;
        let done = home.join("packages.txt");
        if !fs::read_to_string(&done).is_ok_and(|present| present == MSAL_NODE) {
            fs::write(home.join("package.json"), r#"{"private": true, "type": "module"}"#)?;
            run(Command::new("npm")
                .args(["install", "--silent", "--no-audit", "--no-fund", MSAL_NODE])
                .current_dir(&home))?;
            fs::write(done, MSAL_NODE)?;
        }
        Ok(Self { home })
    }

    /// Runs a program text with arguments; its stdout when it succeeds.
    ///
    /// # Errors
    /// When it fails; the error holds its stderr.
    pub fn run(&self, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> io::Result<String> {
        let mut command = Command::new("node");
        command.args(["--input-type=module", "-e", program, "--"]).args(arguments).current_dir(&self.home);
        command.envs(environment.iter().copied());
        String::from_utf8(run(&mut command)?.stdout).map_err(io::Error::other)
    }
}

fn run(command: &mut Command) -> io::Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| {
        io::Error::other(format!(
            "{name} cannot be run ({error}); the tests need python3 with venv, the long ones node and npm"
        ))
    })?;
    if output.status.success() {
        return Ok(output);
    }
    Err(io::Error::other(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr))))
}
