//! A command, what it took, and what it asked of the system.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The most memory it had, KiB.
    pub(crate) peak_kib: u64,
    pub(crate) took: Duration,
}

/// Runs a command and watches its memory.
pub(crate) fn watched(mut command: Command) -> io::Result<Ended> {
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let pid = child.id();
    let mut most = 0;
    let code = loop {
        most = peak_kib(pid).unwrap_or(0).max(most);
        if let Some(status) = child.try_wait()? {
            break status.code();
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let took = started.elapsed();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().expect("piped").read_to_string(&mut stdout)?;
    child.stderr.take().expect("piped").read_to_string(&mut stderr)?;
    Ok(Ended { code, stdout, stderr, peak_kib: most, took })
}

/// The most memory that a running process had so far, KiB.
pub(crate) fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix(" kB")?.parse().ok()
}

/// The same command under `strace`, which writes to a file.
pub(crate) fn traced(command: &Command, options: &[&str], to: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace.args(options).arg("-o").arg(to).arg(command.get_program()).args(command.get_args());
    strace.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = command.get_current_dir() {
        strace.current_dir(directory);
    }
    strace
}
