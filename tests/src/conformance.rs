//! The official MCP conformance suite: runs it, and holds what it finds against what is expected.
//!
//! What is expected lies in `conformance/expected.json`, with a reason for every check that fails. A check that fails
//! unexpectedly, one that was to fail and does not, and a scenario too few or too many are all errors.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::peers::Node;

/// A release of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// 0.1.16, of revision 2025-11-25.
    Of2025,
    /// 0.2.0-alpha.12, of both revisions.
    Of2026,
}

impl Suite {
    fn script(self) -> &'static str {
        match self {
            Self::Of2025 => "conformance-2025-11-25/dist/index.js",
            Self::Of2026 => "conformance-2026-07-28/dist/index.js",
        }
    }

    /// Lets it loose on the server at `url`; every check of every scenario that `set` (more arguments) chooses.
    ///
    /// # Errors
    /// When it cannot be run or leaves no results. That checks fail is no error here.
    pub fn server(self, node: &Node, url: &str, set: &[&str]) -> io::Result<Vec<Finding>> {
        self.run(node, &[&["server", "--url", url], set].concat(), "server-")
    }

    /// Lets a client loose on it: `command`, to which it appends its own address.
    ///
    /// # Errors
    /// As [`Suite::server`].
    pub fn client(self, node: &Node, command: &str, set: &[&str]) -> io::Result<Vec<Finding>> {
        self.run(node, &[&["client", "--command", command], set].concat(), "")
    }

    fn run(self, node: &Node, arguments: &[&str], prefix: &str) -> io::Result<Vec<Finding>> {
        let results = tempfile::tempdir()?;
        let mut command = node.script(self.script());
        command.args(arguments).arg("--output-dir").arg(results.path());
        let output = command.output()?;
        let findings = findings(results.path(), prefix)?;
        if findings.is_empty() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(io::Error::other(format!("the suite ran no scenario ({}): {said}", output.status)));
        }
        Ok(findings)
    }
}

/// What the suite says of one thing it looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The scenario.
    pub scenario: String,
    /// The check in it; one id may come several times. Empty in the entry that says that it ran.
    pub check: String,
    /// `SUCCESS`, `FAILURE`, `WARNING`, `SKIPPED` or `INFO`.
    pub status: String,
    /// Why it is no success.
    pub message: String,
}

#[derive(Deserialize)]
struct Check {
    id: String,
    status: String,
    #[serde(default, rename = "errorMessage")]
    message: String,
}

/// Reads every `SCENARIO-TIMESTAMP/checks.json`, with `prefix` before it. A scenario may have a slash in its name.
fn findings(results: &Path, prefix: &str) -> io::Result<Vec<Finding>> {
    /// As in `-2026-11-24T10-24-49-743Z`.
    const TIMESTAMP: usize = 25;
    let mut findings = Vec::new();
    let mut directories = vec![results.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.ends_with("checks.json") {
                let name = directory.strip_prefix(results).map_err(io::Error::other)?.to_string_lossy();
                let name = name.strip_prefix(prefix).unwrap_or(&name);
                let scenario = name.get(..name.len().saturating_sub(TIMESTAMP)).unwrap_or_default();
                let checks: Vec<Check> =
                    serde_json::from_slice(&fs::read(&path)?).map_err(io::Error::other)?;
                findings.push(Finding::started(scenario));
                findings.extend(checks.into_iter().map(|check| Finding::of(scenario, check)));
            }
        }
    }
    Ok(findings)
}

impl Finding {
    /// Some scenarios have nothing to check; that they ran counts all the same.
    fn started(scenario: &str) -> Self {
        Self::of(scenario, Check { id: String::new(), status: "INFO".to_owned(), message: String::new() })
    }

    fn of(scenario: &str, Check { id, status, message }: Check) -> Self {
        Self { scenario: scenario.to_owned(), check: id, status, message }
    }

    fn is_named(&self, name: &str) -> bool {
        match name.split_once('#') {
            Some((scenario, check)) => self.scenario == scenario && self.check == check,
            None => self.scenario == name,
        }
    }
}

/// What is to come of one run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// How many scenarios the suite has for it.
    pub scenarios: usize,
    /// What fails, and why that is right.
    #[serde(default)]
    pub failures: Vec<ExpectedFailures>,
}

/// Failures of one cause.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedFailures {
    /// Why they are right.
    pub reason: String,
    /// `scenario` for whatever fails or is warned of in it, `scenario#check` for one check.
    pub checks: Vec<String>,
}

impl Expected {
    /// What the committed file says of the run of this name.
    ///
    /// # Errors
    /// When it is unreadable, has no such run, or gives no reason for a failure.
    pub fn of(run: &str) -> io::Result<Self> {
        let all: Value = serde_json::from_str(include_str!("../conformance/expected.json"))?;
        let one =
            all.get(run).ok_or_else(|| io::Error::other(format!("expected.json has no run {run:?}")))?;
        let expected: Self = serde_json::from_value(one.clone()).map_err(io::Error::other)?;
        if expected.failures.iter().any(|failures| failures.reason.trim().len() < 20) {
            return Err(io::Error::other(format!("{run}: a failure is expected without a reason")));
        }
        Ok(expected)
    }

    /// A line of figures when everything came as expected.
    ///
    /// # Errors
    /// What did not, line by line.
    pub fn judge(&self, findings: &[Finding]) -> Result<String, String> {
        let mut wrong = String::new();
        let mut note = |line: String| writeln!(wrong, "  {line}").expect("a String takes any text");
        let scenarios: BTreeSet<&str> = findings.iter().map(|finding| finding.scenario.as_str()).collect();
        if scenarios.len() != self.scenarios {
            note(format!("{} scenarios ran, {} were to: {scenarios:?}", scenarios.len(), self.scenarios));
        }
        let named: Vec<&str> =
            self.failures.iter().flat_map(|failures| &failures.checks).map(String::as_str).collect();
        // What the suite warns of, a specification recommends: not to be passed over in silence either.
        let failed =
            findings.iter().filter(|finding| matches!(finding.status.as_str(), "FAILURE" | "WARNING"));
        let (expected, unexpected): (Vec<_>, Vec<_>) =
            failed.partition(|finding| named.iter().any(|name| finding.is_named(name)));
        for Finding { scenario, check, status, message } in &unexpected {
            note(format!("{scenario}#{check}: {status}: {message}"));
        }
        for name in &named {
            if !expected.iter().any(|finding| finding.is_named(name)) {
                note(format!("{name} was to fail and did not: take it out of expected.json"));
            }
        }
        let figures = format!(
            "{} scenarios, {} checks passed, {} failed as expected",
            scenarios.len(),
            findings.iter().filter(|finding| finding.status == "SUCCESS").count(),
            expected.len(),
        );
        if wrong.is_empty() { Ok(figures) } else { Err(format!("{figures}\n{wrong}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(scenario: &str, check: &str, status: &str) -> Finding {
        let [scenario, check, status] = [scenario, check, status].map(str::to_owned);
        Finding { scenario, check, status, message: "because".into() }
    }

    fn expected(scenarios: usize, checks: &[&str]) -> Expected {
        let checks = checks.iter().map(|check| (*check).to_owned()).collect();
        Expected { scenarios, failures: vec![ExpectedFailures { reason: "for the test".into(), checks }] }
    }

    #[test]
    fn what_is_expected_passes_and_nothing_else_does() {
        let ran = [
            finding("a", "one", "SUCCESS"),
            finding("a", "two", "FAILURE"),
            finding("b", "three", "FAILURE"),
            finding("auth/c", "four", "WARNING"),
            finding("auth/c", "five", "SKIPPED"),
        ];
        let figures = expected(3, &["a#two", "b", "auth/c"]).judge(&ran);
        assert_eq!(figures.as_deref(), Ok("3 scenarios, 1 checks passed, 3 failed as expected"));
        for (wrong, says) in [
            // One failure that nobody expected, also beside an expected one of the same scenario.
            (expected(3, &["b", "auth/c"]), "a#two: FAILURE: because"),
            (expected(3, &["a#one", "b", "auth/c"]), "a#two: FAILURE"),
            (expected(3, &["a", "b"]), "auth/c#four: WARNING"),
            // One that was expected and is gone.
            (expected(3, &["a#one", "a#two", "b", "auth/c"]), "a#one was to fail and did not"),
            (expected(3, &["a", "b", "auth/c", "d"]), "d was to fail and did not"),
            // A scenario that did not run.
            (expected(4, &["a", "b", "auth/c"]), "3 scenarios ran, 4 were to"),
        ] {
            let told = wrong.judge(&ran).expect_err("this is not as expected");
            assert!(told.contains(says), "{told}");
        }
    }

    #[test]
    fn every_run_of_the_file_gives_its_reasons() -> io::Result<()> {
        let all: Value = serde_json::from_str(include_str!("../conformance/expected.json"))?;
        for run in all.as_object().expect("an object of runs").keys() {
            Expected::of(run)?;
        }
        assert!(Expected::of("no such run").is_err());
        Ok(())
    }
}
