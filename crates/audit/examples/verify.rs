//! Says whether a log was tampered with: `verify AUDIT_DIRECTORY [DATA_DIRECTORY]`.
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::path::Path;
use std::process::ExitCode;

use entrabot_audit::{AuditError, VerifyOptions, verify_with};

fn main() -> Result<ExitCode, AuditError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut options = VerifyOptions::new();
    if let Some(data) = arguments.get(1) {
        options = options.with_data_dir(Path::new(data));
    }
    let report = verify_with(Path::new(arguments.first().map_or(".", String::as_str)), &options)?;
    print!("{}", report.to_text());
    Ok(ExitCode::from(u8::from(!report.ok)))
}
