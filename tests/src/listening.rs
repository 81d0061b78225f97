//! A server of ours over HTTP, as a process of its own.

use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

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

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        let rest = self.url.strip_prefix("http://").unwrap_or(&self.url);
        rest.split('/').next().unwrap_or_default()
    }

    /// The server's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, as a service manager does, and waits until it has.
    ///
    /// # Errors
    /// When it cannot be told, or waited for.
    pub fn stop(mut self) -> io::Result<ExitStatus> {
        Command::new("kill").arg(self.pid().to_string()).status()?;
        self.child.wait()
    }
}

/// A message as MCP's HTTP transport sends it to this host and port; `more_headers` are whole lines.
#[must_use]
pub fn request(address: &str, more_headers: &str, message: &Value) -> String {
    let body = message.to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\n{more_headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Already gone, perhaps.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
