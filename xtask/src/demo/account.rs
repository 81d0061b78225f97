//! What the person sees.

use std::path::Path;
use std::time::{Duration, Instant};

use super::journey::{Agent, Audit, Work};

/// Prints each step as it is done, and the account at the end.
pub(super) struct Account {
    quiet: bool,
    last: Instant,
    pub(super) tampering: String,
}

impl Account {
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, last: Instant::now(), tampering: String::new() }
    }

    pub(super) fn step(&mut self, name: &str, what: &str) {
        let took = self.last.elapsed().as_millis();
        eprintln!("  {name:<10} {what} ({took} ms)");
        self.last = Instant::now();
    }

    pub(super) fn finish(
        &self,
        agent: &Agent<'_>,
        work: &Work,
        document: &Path,
        audit: &Audit,
        elapsed: Duration,
    ) {
        if self.quiet {
            return;
        }
        let field = |name: &str| work.who[name].as_str().unwrap_or("-").to_owned();
        println!("\nWho acted");
        println!("  agent     {} ({})", field("agent_upn"), field("agent_id"));
        println!("  blueprint {}", field("blueprint_app_id"));
        println!("  tenant    {}", field("tenant_id"));
        println!("\nWhat it did");
        for call in &work.calls {
            println!("  {:<30} {:>7.1} ms  {}", call.tool, call.milliseconds, on_record(&call.call_id));
        }
        println!("\nWhat the log holds");
        let count = |name: &str| audit.report[name].to_string().replace('"', "");
        println!("  {} events, level {}, verified", audit.events, count("level"));
        println!("  pending without outcome: {}", open_spans(&audit.report["pending_without_outcome"]));
        println!("  a changed copy is refused at {}", self.tampering);
        println!("\nWhere it is");
        println!("  document  {}", document.display());
        println!("  audit     {}", agent.audit_dir().display());
        println!("  all of it {}", agent.home().display());
        println!("\n{:.1} s", elapsed.as_secs_f64());
    }
}

fn on_record(call_id: &str) -> String {
    if call_id.is_empty() { "no act".into() } else { format!("on record as {call_id}") }
}

fn open_spans(value: &serde_json::Value) -> String {
    match value.as_array() {
        Some(ids) => ids.len().to_string(),
        None => value.to_string(),
    }
}
