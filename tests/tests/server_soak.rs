//! A server that lives on while its upstream does not: nothing of it grows, hangs or stays behind.

mod journey;
#[path = "server_soak/relay.rs"]
mod relay;

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use entrabot_tests::stand_in::{Effect, Fault, Options};
use journey::Home;
use relay::Relay;
use serde_json::{Value, json};

/// How long, unless `SOAK_SECONDS` says otherwise.
const LONG: Duration = Duration::from_secs(30 * 60);
/// Calls in flight at a time.
const IN_FLIGHT: usize = 16;
/// How often something happens to the upstream.
const MISCHIEF: Duration = Duration::from_secs(5);
/// How long threads and connections that nobody uses may linger.
const LINGERING: Duration = Duration::from_secs(100);

#[test]
#[ignore = "long: half an hour, or SOAK_SECONDS"]
fn memory_threads_and_descriptors_stay_flat_while_the_upstream_is_killed() -> io::Result<()> {
    let length = std::env::var("SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let length = length.map_or(LONG, Duration::from_secs);
    let mut home = Home::ready(Options::default())?;
    let mut relay = through_a_relay(&mut home)?;
    home.set("ENTRABOT_LOG_LEVEL", "DEBUG");
    let mut server = Server::start(&home)?;

    let mut turn = 0_u64;
    let mut samples = Vec::new();
    let (started, mut next_mischief) = (Instant::now(), Instant::now() + MISCHIEF);
    while started.elapsed() < length {
        while server.open.len() < IN_FLIGHT {
            turn += 1;
            server.ask(turn, &home)?;
        }
        server.take_answers(Duration::from_millis(40))?;
        if Instant::now() > next_mischief {
            mischief(turn, &home, &mut relay)?;
            home.cloud.clear_requests();
            samples.push(server.sample()?);
            next_mischief = Instant::now() + MISCHIEF;
        }
    }
    relay.revive()?;
    home.cloud.clear_faults();
    server.take_all_answers(Duration::from_secs(60))?;
    assert!(server.succeeded > 100, "{} calls succeeded: too few to say anything", server.succeeded);
    assert!(server.failed > 10, "{} calls failed: the kills did nothing", server.failed);

    // Idle again: what was needed for the calls goes.
    let calm = wait_for_calm(&mut server)?;
    eprintln!(
        "{} succeeded, {} failed; {:?}; calm: {calm:?}",
        server.succeeded,
        server.failed,
        samples.last()
    );
    let (early, late) = (peak(&samples[..samples.len() / 3]), peak(&samples[2 * samples.len() / 3..]));
    assert!(late.resident <= early.resident + 3 * 1024, "{early:?} grew to {late:?}");
    // A build for debugging is twice as large before it does anything.
    assert!(cfg!(debug_assertions) || late.resident <= 24 * 1024, "{late:?}");
    assert!(late.descriptors <= early.descriptors + 16, "{early:?} grew to {late:?}");
    server.end()?;

    let log = std::fs::read_to_string(home.state().join("logs/entrabot.log"))?;
    let tasks =
        log.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok()?["tasks"].as_u64());
    // The one for signals, and what keeps the pools of connections: a handful, however many calls there were.
    assert!(tasks.is_some_and(|tasks| tasks <= 8), "tasks that were left at the end: {tasks:?}");
    let report = home.run(&["audit", "verify", "--json"], &[])?.assert_code(0).json();
    assert_eq!(report["pending_without_outcome"], 0, "{report}");
    Ok(())
}

/// A relay before Work IQ, and settings that lead there.
fn through_a_relay(home: &mut Home) -> io::Result<Relay> {
    let info = home.cloud.info().clone();
    let port = info.a365_base.split(['/', ':']).find_map(|part| part.parse().ok());
    let relay = Relay::to(port.expect("the base names its port"))?;
    let base = format!("https://localhost:{}/agents/servers", relay.port());
    let manifest = std::fs::read_to_string(&info.manifest)?.replace(&info.a365_base, &base);
    let place = home.scratch().join("ToolingManifest.json");
    std::fs::write(&place, manifest)?;
    home.set("ENTRABOT_A365_TOOLING_MANIFEST", place.display().to_string());
    home.set("ENTRABOT_A365_BASE", base);
    Ok(relay)
}

/// Something that happens to servers.
fn mischief(turn: u64, home: &Home, relay: &mut Relay) -> io::Result<()> {
    home.cloud.clear_faults();
    relay.revive()?;
    match turn % 6 {
        0 | 1 => relay.kill(),
        2 => relay.cut(),
        3 => home.cloud.set_fault(Fault::a365(Effect::Close)),
        4 => home.cloud.set_fault(Fault::a365(Effect::DelayMs(700))),
        _ => home.cloud.set_fault(Fault::sts(Effect::Close)),
    }
    Ok(())
}

/// What the process holds, in KiB and numbers.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    resident: u64,
    threads: u64,
    descriptors: u64,
}

fn peak(samples: &[Sample]) -> Sample {
    samples.iter().fold(Sample::default(), |peak, sample| Sample {
        resident: peak.resident.max(sample.resident),
        threads: peak.threads.max(sample.threads),
        descriptors: peak.descriptors.max(sample.descriptors),
    })
}

/// Waits until threads and descriptors are those of a server that was just started.
fn wait_for_calm(server: &mut Server) -> io::Result<Sample> {
    let started = Instant::now();
    loop {
        let now = server.sample()?;
        if now.threads <= server.at_start.threads + 2 && now.descriptors <= server.at_start.descriptors + 2 {
            return Ok(now);
        }
        assert!(
            started.elapsed() < LINGERING,
            "{now:?} is left of {:?}: {:?}",
            server.at_start,
            server.open_files()?
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// `entrabot serve` and every call that it was asked for and did not answer yet.
struct Server {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    /// When each was asked.
    open: HashMap<u64, Instant>,
    cancelled: Vec<u64>,
    succeeded: u64,
    failed: u64,
    at_start: Sample,
}

impl Server {
    fn start(home: &Home) -> io::Result<Self> {
        let mut child = home
            .command(&["serve"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdin = child.stdin.take().expect("stdin");
        let stdout = BufReader::new(child.stdout.take().expect("stdout"));
        let (to, lines) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
        let mut server = Self {
            child,
            stdin,
            lines,
            open: HashMap::new(),
            cancelled: Vec::new(),
            succeeded: 0,
            failed: 0,
            at_start: Sample::default(),
        };
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "soak", "version": "1"}});
        server.send(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}))?;
        server.lines.recv_timeout(Duration::from_secs(10)).map_err(io::Error::other)?;
        // Signed in, and with its audit open.
        server.call(1, "whoami", &json!({}))?;
        server.call(2, "audit_log", &json!({"action": "soak.start", "resource": "r"}))?;
        server.take_all_answers(Duration::from_secs(20))?;
        server.at_start = server.sample()?;
        Ok(server)
    }

    /// One of the things that clients do.
    fn ask(&mut self, turn: u64, home: &Home) -> io::Result<()> {
        let id = turn + 10;
        let file = &home.cloud.seeded_files()[0];
        let of_file = json!({"document_library_id": file.drive_id, "file_id": file.item_id});
        match turn % 8 {
            0 => self.call(id, "audit_log", &json!({"action": "soak", "resource": "r"})),
            1 => self.call(id, "whoami", &json!({})),
            2 => self.call(
                id,
                "create_word_document",
                &json!({"file_name": "", "content_html": "<p>soak</p>"}),
            ),
            3 => {
                self.call(id, "read_a365_text_file", &of_file)?;
                self.open.remove(&id);
                self.cancelled.push(id);
                self.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}))
            }
            4 => self.call(id, "read_word_document", &json!({"url": "http://not-https.example/"})),
            5 => self.stdin.write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"x\",\n"),
            6 => self.call(id, "get_a365_file_metadata_by_url", &json!({"url": file.web_url})),
            _ => self.call(id, "read_a365_text_file", &of_file),
        }
    }

    fn call(&mut self, id: u64, tool: &str, arguments: &Value) -> io::Result<()> {
        self.open.insert(id, Instant::now());
        let params = json!({"name": tool, "arguments": arguments});
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}))
    }

    fn send(&mut self, message: &Value) -> io::Result<()> {
        self.stdin.write_all(format!("{message}\n").as_bytes())
    }

    /// Takes what comes within a while.
    fn take_answers(&mut self, within: Duration) -> io::Result<()> {
        let until = Instant::now() + within;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => self.take(&line),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    fn take_all_answers(&mut self, within: Duration) -> io::Result<()> {
        let started = Instant::now();
        while !self.open.is_empty() {
            assert!(started.elapsed() < within, "never answered: {:?}", self.open);
            self.take_answers(Duration::from_millis(20))?;
        }
        Ok(())
    }

    fn take(&mut self, line: &str) {
        let answer: Value = serde_json::from_str(line).expect("JSON on every line");
        let Some(id) = answer["id"].as_u64() else {
            assert_eq!(answer["error"]["code"], -32700, "{line}");
            return;
        };
        if self.open.remove(&id).is_none() {
            // It may have been answered before the cancellation came.
            let at = self.cancelled.iter().position(|cancelled| *cancelled == id);
            self.cancelled.remove(at.unwrap_or_else(|| panic!("nobody asked, or a second answer: {line}")));
        }
        match answer["result"]["isError"].as_bool() {
            Some(false) => self.succeeded += 1,
            Some(true) => self.failed += 1,
            None => panic!("no result of a tool: {line}"),
        }
    }

    fn sample(&mut self) -> io::Result<Sample> {
        let pid = self.child.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap_or_default()
        };
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        Ok(Sample { resident: number("VmRSS"), threads: number("Threads"), descriptors })
    }

    /// What its descriptors are.
    fn open_files(&self) -> io::Result<Vec<String>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))? {
            // One may be closed while we look.
            files.extend(std::fs::read_link(entry?.path()).map(|file| file.display().to_string()));
        }
        files.sort();
        Ok(files)
    }

    fn end(mut self) -> io::Result<()> {
        let started = Instant::now();
        drop(self.stdin);
        let status = self.child.wait()?;
        assert!(
            status.success() && started.elapsed() < Duration::from_secs(5),
            "{status} {:?}",
            started.elapsed()
        );
        Ok(())
    }
}
