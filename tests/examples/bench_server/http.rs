//! A thousand connections held open, each of them served again and again.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use entrabot_tests::listening::{Listening, request};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::{Failure, Settings};

const CONNECTIONS: usize = 1_000;
const ROUNDS: usize = 3;

/// How long each request took, over all rounds on all connections.
pub(crate) fn held(settings: &Settings) -> Result<Vec<Duration>, Failure> {
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits })?;
    let server = Listening::start(settings.command(&["serve", "--http", "127.0.0.1:0", "--no-bearer"]))?;
    let ping = request(server.address(), "", &json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}));
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(server.address())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        connections.push(BufReader::with_capacity(1024, stream));
    }
    let mut taken = Vec::with_capacity(CONNECTIONS * ROUNDS);
    for _ in 0..ROUNDS {
        // All ask before the first is read, as clients do that know nothing of each other.
        let started = Instant::now();
        for connection in &mut connections {
            connection.get_mut().write_all(ping.as_bytes())?;
        }
        for connection in &mut connections {
            answer(connection)?;
            taken.push(started.elapsed());
        }
    }
    drop(connections);
    let status = server.stop()?;
    if status.success() { Ok(taken) } else { Err(format!("the server ended with {status}").into()) }
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
