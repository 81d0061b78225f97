//! What a person at a terminal sees of work that takes long, and what a pipe, `--json` and `NO_COLOR` do not.

use std::path::Path;
use std::process::{Command, Stdio};

use entrabot_tests::built;
use entrabot_tests::written_log::working_days;

/// What `script` (util-linux) saw on a terminal of its own.
fn on_a_terminal(arguments: &str, home: &Path, term: &str, more: &[(&str, &str)]) -> String {
    let line = format!("{} {arguments}", built::entrabot().display());
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("TERM", term)
        .envs(more.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("util-linux has script");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "seven runs over 40,000 records in a debug build"]
fn long_work_tells_how_far_it_is_on_a_terminal_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().expect("a directory");
    let log = home.path().join("log");
    working_days(2, 20_000).save(&log).expect("a log");
    let dir = log.display();
    let export = format!("audit export --format jsonl --dir {dir} -o {}", home.path().join("out").display());
    let report = format!("audit report --dir {dir} --html {}", home.path().join("page.html").display());
    for (arguments, words) in [
        (format!("audit verify --dir {dir}"), "verifying "),
        (report, "reading "),
        (export.clone(), " records ("),
    ] {
        let seen = on_a_terminal(&arguments, home.path(), "xterm", &[]);
        assert!(seen.contains(words) && seen.contains(" %"), "{arguments}: {seen:?}");
        let after = seen.rsplit("\r\u{1b}[2K").next().unwrap_or_default();
        assert!(!after.contains(words), "the line is gone in the end: {seen:?}");
    }
    for (term, more) in [("xterm", &[("NO_COLOR", "1")][..]), ("dumb", &[])] {
        let seen = on_a_terminal(&export, home.path(), term, more);
        assert!(!seen.contains('\u{1b}') && !seen.contains(" records ("), "{seen:?}");
    }
    let seen = on_a_terminal(&format!("{export} --json"), home.path(), "xterm", &[]);
    assert!(seen.starts_with('{'), "{seen:?}");
    let shown = on_a_terminal(&format!("audit export --format jsonl --dir {dir}"), home.path(), "xterm", &[]);
    assert!(!shown.contains("\u{1b}[2K"), "records on the terminal stand alone");
}
