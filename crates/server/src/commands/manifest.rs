//! `entrabot manifest lint`.

use std::path::Path;

use entrabot_a365::{Severity, lint_manifest};
use serde_json::json;

use super::{NO, YES};
use crate::failure::{Failure, cleaned};
use crate::terminal;

pub(crate) fn lint(file: &Path, json: bool) -> Result<u8, Failure> {
    let findings = lint_manifest(file, &super::config()?)?;
    let refused = findings.iter().any(|finding| finding.severity == Severity::Error);
    if json {
        terminal::json(&json!({"ok": !refused, "findings": findings}))?;
    } else {
        for finding in &findings {
            let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
            let place = if finding.field.is_empty() { String::new() } else { format!("{}: ", finding.field) };
            terminal::line(&cleaned(&format!("{severity}: {place}{}", finding.message)))?;
            terminal::line(&cleaned(&format!("  hint: {}", finding.hint)))?;
        }
        if findings.is_empty() {
            terminal::line("the manifest is sound")?;
        }
    }
    Ok(if refused { NO } else { YES })
}
