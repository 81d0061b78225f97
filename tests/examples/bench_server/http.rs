//! A thousand connections held open, each of them served again and again.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{Failure, Settings};

const CONNECTIONS: usize = 1_000;
const ROUNDS: usize = 3;

/// How long each request took, over all rounds on all connections.
pub(crate) fn held(settings: &Settings) -> Result<Vec<Duration>, Failure> {
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits })?;
    let mut server = Listening::start(settings)?;
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(&server.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        connections.push(BufReader::with_capacity(1024, stream));
    }
    let mut taken = Vec::with_capacity(CONNECTIONS * ROUNDS);
    for _ in 0..ROUNDS {
        // All ask before the first is read, as clients do that know nothing of each other.
        let started = Instant::now();
        for connection in &mut connections {
            connection.get_mut().write_all(server.ping.as_bytes())?;
        }
        for connection in &mut connections {
            answer(connection)?;
            taken.push(started.elapsed());
        }
    }
    drop(connections);
    server.stop()?;
    Ok(taken)
}

fn answer(connection: &mut BufReader<TcpStream>) -> Result<(), Failure> {
    let mut length = 0;
    let mut line = String::new();
    connection.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200") {
        return Err(format!("a connection was refused: {line}").into());
    }
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        if line == "\r\n" || line.is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    Ok(connection.read_exact(&mut body)?)
}

struct Listening {
    child: std::process::Child,
    address: String,
    ping: String,
}

impl Listening {
    fn start(settings: &Settings) -> Result<Self, Failure> {
        let mut child = settings
            .command(&["serve", "--http", "127.0.0.1:0", "--no-bearer"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no stderr")?).lines();
        let address = loop {
            let line = lines.next().ok_or("it did not say where it listens")??;
            if let Some(rest) = line.strip_prefix("http://") {
                break rest.trim_end_matches("/mcp").to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let ping = format!(
            "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(Self { child, address, ping })
    }

    fn stop(&mut self) -> Result<(), Failure> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Already gone when the run went well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
