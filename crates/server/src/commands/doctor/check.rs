//! One line of the doctor's report, and how the report looks.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::failure::{Failure, cleaned};
use crate::terminal::{self, Ink, Style};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Pass,
    Warn,
    Fail,
    Skip,
}

impl Status {
    fn shown(self) -> (&'static str, Ink) {
        match self {
            Self::Pass => ("pass", Ink::Green),
            Self::Warn => ("warn", Ink::Yellow),
            Self::Fail => ("FAIL", Ink::Red),
            Self::Skip => ("skip", Ink::Dim),
        }
    }
}

/// What a check is about, in the order in which a person would mend things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Group {
    Keyring,
    Settings,
    Network,
    Agent,
    #[serde(rename = "work iq")]
    WorkIq,
    Audit,
    #[serde(rename = "this machine")]
    Machine,
}

impl Group {
    fn title(self) -> &'static str {
        match self {
            Self::Keyring => "Keyring",
            Self::Settings => "Settings",
            Self::Network => "Network",
            Self::Agent => "Agent",
            Self::WorkIq => "Work IQ",
            Self::Audit => "Audit",
            Self::Machine => "This machine",
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Check {
    name: &'static str,
    status: Status,
    detail: String,
    hint: Option<String>,
}

impl Check {
    pub(super) fn new(
        name: &'static str,
        status: Status,
        detail: impl Into<String>,
        hint: Option<&str>,
    ) -> Self {
        Self { name, status, detail: cleaned(&detail.into()), hint: hint.map(cleaned) }
    }
    pub(super) fn pass(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Pass, detail, None)
    }
    pub(super) fn skip(name: &'static str, detail: &str, hint: &str) -> Self {
        Self::new(name, Status::Skip, detail, Some(hint))
    }
    pub(super) fn failed(name: &'static str, failure: &Failure) -> Self {
        Self::of(name, Status::Fail, failure)
    }
    /// For what the agent can live with.
    pub(super) fn doubtful(name: &'static str, failure: &Failure) -> Self {
        Self::of(name, Status::Warn, failure)
    }
    fn of(name: &'static str, status: Status, failure: &Failure) -> Self {
        Self::new(name, status, failure.to_string(), failure.hint())
    }
}

#[derive(Debug, Serialize)]
struct Listed {
    group: Group,
    #[serde(flatten)]
    check: Check,
}

/// What was found, in the order of the checks.
#[derive(Debug, Default)]
pub(super) struct Report {
    checks: Vec<Listed>,
    /// What `--json` says of the keyring beside the checks.
    pub(super) keystore: Map<String, Value>,
}

impl Report {
    pub(super) fn add(&mut self, group: Group, check: Check) {
        self.checks.push(Listed { group, check });
    }

    pub(super) fn is_ok(&self) -> bool {
        self.count(Status::Fail) == 0
    }

    fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|listed| listed.check.status == status).count()
    }

    pub(super) fn to_json(&self) -> Value {
        serde_json::json!({"ok": self.is_ok(), "checks": self.checks, "keystore": self.keystore})
    }

    pub(super) fn print(&self) -> Result<(), Failure> {
        let style = Style::of_stdout();
        terminal::bytes(self.text(style, terminal::width()).as_bytes())
    }

    /// Groups under their titles, details and hints in one column, and at the end what to do first.
    fn text(&self, style: Style, width: Option<usize>) -> String {
        let widest = self.checks.iter().map(|listed| listed.check.name.len()).max().unwrap_or_default();
        let indent = 2 + 4 + 2 + widest + 2;
        let mut text = String::new();
        let mut last = None;
        for Listed { group, check } in &self.checks {
            if last.replace(*group) != Some(*group) {
                let gap = if text.is_empty() { "" } else { "\n" };
                text.push_str(&format!("{gap}{}\n", style.paint(Ink::Bold, group.title())));
            }
            let (word, ink) = check.status.shown();
            let detail = terminal::wrapped(&check.detail, indent, width);
            let detail = if check.status == Status::Skip { style.paint(Ink::Dim, &detail) } else { detail };
            text.push_str(&format!("  {}  {:widest$}  {detail}\n", style.paint(ink, word), check.name));
            if let Some(hint) = &check.hint {
                let hint = terminal::wrapped(&format!("hint: {hint}"), indent, width);
                let ink = if check.status == Status::Skip { Ink::Dim } else { Ink::Cyan };
                text.push_str(&format!("{:indent$}{}\n", "", style.paint(ink, &hint)));
            }
        }
        text.push_str(&format!("\n{}\n", self.summary(style)));
        text
    }

    fn summary(&self, style: Style) -> String {
        let counted = [
            (Status::Pass, "passed"),
            (Status::Warn, "to look at"),
            (Status::Fail, "failed"),
            (Status::Skip, "skipped"),
        ];
        let counts: Vec<_> = counted
            .into_iter()
            .map(|(status, word)| (self.count(status), word, status.shown().1))
            .filter(|(count, ..)| *count > 0)
            .map(|(count, word, ink)| style.paint(ink, &format!("{count} {word}")))
            .collect();
        let first = self.checks.iter().find(|listed| listed.check.status == Status::Fail);
        let end = match first {
            Some(listed) => {
                format!("Begin with {}: it is the first of what stops the agent.", listed.check.name)
            }
            None => "Nothing stops the agent.".to_owned(),
        };
        format!("{}. {end}", counts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.add(Group::Keyring, Check::pass("keyring", "sound"));
        let long = "a detail of so many words that it does not fit on one line of a narrow terminal";
        report.add(Group::Network, Check::new("clock", Status::Fail, long, Some("set the clock")));
        report.add(Group::Network, Check::skip("Graph", "not asked", "nothing to do"));
        report
    }

    #[test]
    fn a_report_is_grouped_aligned_and_says_what_to_begin_with() {
        let text = report().text(Style::Plain, Some(60));
        assert_eq!(
            text,
            "Keyring\n  pass  keyring  sound\n\nNetwork\n  \
             FAIL  clock    a detail of so many words that it does not\n                 \
             fit on one line of a narrow terminal\n                 \
             hint: set the clock\n  \
             skip  Graph    not asked\n                 hint: nothing to do\n\n\
             1 passed, 1 failed, 1 skipped. Begin with clock: it is the first of what stops the agent.\n"
        );
        assert!(!report().is_ok());
    }

    #[test]
    fn colours_change_nothing_but_the_colour() {
        let coloured = report().text(Style::Coloured, None);
        assert!(coloured.contains("\u{1b}[31mFAIL\u{1b}[0m"), "{coloured:?}");
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = after.split_once('m').map_or("", |(_, after)| after);
        }
        plain.push_str(rest);
        assert_eq!(plain, report().text(Style::Plain, None));
    }
}
