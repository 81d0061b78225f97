//! A software TPM for tests, with seeds of its own: `swtpm` on a Unix socket in a directory of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = "/usr/bin/swtpm";
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// A running one; it ends when this is dropped.
#[derive(Debug)]
pub struct SoftwareTpm {
    child: Child,
    directory: PathBuf,
}

impl SoftwareTpm {
    /// Whether the program is there; says on stdout which package has it where it is not.
    #[must_use]
    #[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
    pub fn is_installed() -> bool {
        let installed = Path::new(PROGRAM).exists();
        if !installed {
            println!("not run: swtpm is not installed (apt-get install --no-install-recommends swtpm)");
        }
        installed
    }

    /// Starts one that keeps its state in this directory, which is made.
    ///
    /// # Errors
    /// It cannot be started, or does not answer in time.
    pub fn start(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let at = |name: &str| format!("type=unixio,path={}", directory.join(name).display());
        let child = Command::new(PROGRAM)
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", directory.display())])
            .args(["--server", &at("tpm"), "--ctrl", &at("control")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let started = Self { child, directory: directory.to_owned() };
        let until = Instant::now() + STARTS_WITHIN;
        while !started.socket().exists() {
            if Instant::now() > until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(started)
    }

    /// For `ENTRABOT_TPM_DEVICE`.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("tpm")
    }
}

impl Drop for SoftwareTpm {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
