//! A server of ours over HTTP, as a process of its own.

use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// It listens; killed when dropped.
#[derive(Debug)]
pub struct Listening {
    child: Child,
    url: String,
}

impl Listening {
    /// Starts the command and waits until its stderr says where it listens.
    ///
    /// # Errors
    /// When it does not start or ends before it listens.
    pub fn start(mut command: Command) -> io::Result<Self> {
        // A server that ends with its stdin keeps it as long as we live.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| io::Error::other("the server has no stderr"))?;
        let mut lines = BufReader::new(stderr).lines();
        let mut said = String::new();
        let url = loop {
            match lines.next() {
                Some(line) => match line? {
                    line if line.starts_with("http://") => break line,
                    other => said.push_str(&format!("{other}\n")),
                },
                None => {
                    child.wait()?;
                    return Err(io::Error::other(format!("the server ended before it listened:\n{said}")));
                }
            }
        };
        // Or it would wait for a reader some day.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, url })
    }

    /// Where MCP is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Already gone, perhaps.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
