//! A Python environment with other people's clients, below the target directory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The packages, pinned: what the captured wire forms were made with.
const PACKAGES: &[&str] = &["msal==1.39.0", "python-docx==1.2.0"];

/// A virtual environment that holds [`PACKAGES`].
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

fn run(command: &mut Command) -> io::Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| {
        io::Error::other(format!("{name} cannot be run ({error}); install python3 and python3-venv"))
    })?;
    if output.status.success() {
        return Ok(output);
    }
    Err(io::Error::other(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr))))
}
