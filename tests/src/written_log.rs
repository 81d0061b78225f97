//! Audit logs written by hand, from the page that describes their format: any time, any text, any number.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};
use uuid::Uuid;

/// What varies from record to record.
#[derive(Clone, Debug)]
pub struct Entry {
    /// In microseconds since the epoch.
    pub time: i64,
    /// The `agent_id`.
    pub agent: String,
    /// The `attribution_type`.
    pub attribution: &'static str,
    /// `action` and `resource`.
    pub action: String,
    /// The `outcome`.
    pub outcome: &'static str,
    /// The `metadata`.
    pub metadata: Value,
    /// The `src`.
    pub source: &'static str,
    /// Joins pending and outcome.
    pub call: u64,
}

/// A log under construction. Entries come in the order of their times.
#[derive(Debug)]
pub struct WrittenLog {
    days: BTreeMap<String, String>,
    chain: [u8; 32],
    seq: u64,
}

impl WrittenLog {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { days: BTreeMap::new(), chain: [0; 32], seq: 0 }
    }

    /// A record at the end of the log.
    ///
    /// # Panics
    /// When the time is none that chrono knows.
    pub fn add(&mut self, entry: &Entry) {
        let time = DateTime::from_timestamp_micros(entry.time)
            .expect("a time")
            .to_rfc3339_opts(SecondsFormat::Micros, false);
        let text = |text: &str| json!(text).to_string();
        let line = format!(
            r#"{{"event_id":"{}","timestamp":"{time}","agent_id":{},"action":{},"resource":{},"outcome":"{}","attribution_type":"{}","metadata":{},"v":1,"seq":{},"call_id":"{}","src":"{}","via":"session","prev":"{}"}}"#,
            id(1, self.seq),
            text(&entry.agent),
            text(&entry.action),
            text(&entry.action),
            entry.outcome,
            entry.attribution,
            entry.metadata,
            self.seq,
            id(2, entry.call),
            entry.source,
            self.chain.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        );
        let hash = digest(&SHA256, &[&self.chain[..], line.as_bytes()].concat());
        self.chain.copy_from_slice(hash.as_ref());
        self.seq += 1;
        let day = self.days.entry(time[..10].to_owned()).or_default();
        day.push_str(&line);
        day.push('\n');
    }

    /// Writes the day files.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn save(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)?;
        self.days.iter().try_for_each(|(day, text)| fs::write(directory.join(format!("{day}.jsonl")), text))
    }
}

impl Default for WrittenLog {
    fn default() -> Self {
        Self::new()
    }
}

/// A UUIDv7 by its shape.
fn id(kind: u128, number: u64) -> Uuid {
    Uuid::from_u128((kind << 96) | (7 << 76) | (0b10 << 62) | u128::from(number))
}

/// `days` working days of two agents that write, read and send, `calls` a day; now and then one fails, and the
/// morning after a person's token is used once. The same every time.
#[must_use]
pub fn working_days(days: i64, calls: i64) -> WrittenLog {
    const AGENTS: [&str; 2] =
        ["3f0c9a52-7d1e-4c2b-9a51-6f2f0f6a9d11", "b84e2f6d-10c4-4f0e-8a3f-2d7c5b1e9f20"];
    const PERSON: &str = "91d2c7aa-53be-4e8d-b6f4-0c1d2e3f4a5b";
    const TOOLS: [(&str, &str, i64); 6] = [
        ("mcp_WordServer", "GetDocumentContent", 380_000),
        ("mcp_WordServer", "CreateDocument", 1_450_000),
        ("mcp_MailTools", "SearchMessages", 210_000),
        ("mcp_MailTools", "SendMail", 640_000),
        ("mcp_CalendarTools", "ListEvents", 150_000),
        ("mcp_SharePointTools", "FindFile", 5_200_000),
    ];
    let mut log = WrittenLog::new();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: i64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        i64::try_from(random >> 1).expect("63 bits") % below.max(1)
    };
    let first = 1_783_843_200_000_000; // 2026-07-12T08:00:00Z
    let mut call = 0;
    for day in 0..days {
        let mut time = first + day * 86_400_000_000;
        let gap = 9 * 3_600_000_000 / calls.max(1);
        for _ in 0..calls {
            let (server, tool, usual) = TOOLS[usize::try_from(next(13).min(next(9)).min(5)).expect("small")];
            time += gap / 2 + next(gap);
            let spread = 60 + next(80) + if next(40) == 0 { 900 } else { 0 };
            let took = (usual * spread / 100).min(gap / 3 + 2_000);
            let failed = next(if tool == "FindFile" { 6 } else { 45 }) == 0;
            let mut entry = Entry {
                time,
                agent: if call % 977 == 5 { PERSON } else { AGENTS[usize::from(next(4) == 0)] }.to_owned(),
                attribution: if call % 977 == 5 { "delegated-human" } else { "agent" },
                action: format!("a365.{server}.{tool}"),
                outcome: "pending",
                metadata: json!({"server": server, "tool": tool}),
                source: "transport",
                call,
            };
            log.add(&entry);
            if call != 411 {
                entry.time = time + took;
                entry.outcome = if failed { "failure" } else { "success" };
                log.add(&entry);
            }
            time += took;
            call += 1;
        }
        let mut entry = Entry {
            time: time + 60_000_000,
            agent: "unknown".to_owned(),
            attribution: "none",
            action: "provision.grant".to_owned(),
            outcome: "pending",
            metadata: json!({}),
            source: "provisioning",
            call,
        };
        log.add(&entry);
        entry.time += 800_000;
        (entry.outcome, entry.metadata) = ("failure", json!({"error_type": "GraphApiError"}));
        log.add(&entry);
        entry.time += 1_000_000;
        (entry.agent, entry.attribution) = (AGENTS[0].to_owned(), "agent");
        (entry.outcome, entry.source, entry.call) = ("success", "tool", call + 1);
        (entry.action, entry.metadata) = ("review.done".to_owned(), json!({}));
        log.add(&entry);
        call += 2;
    }
    log
}
