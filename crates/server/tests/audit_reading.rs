//! What an auditor takes away: the page, and the log in other formats.

mod common;

use std::fs;

use common::{AGENT, Home};
use entrabot_keystore::private_keyring::Mode;

/// A home with a log of three records, sealed.
fn home_with_a_log() -> Home {
    let mut home = Home::with_directories(Mode::Encrypted);
    home.set("ENTRABOT_AGENT_ID", AGENT);
    for outcome in ["success", "failure", "success"] {
        let arguments =
            ["audit", "append", "--action", "test.act", "--resource", "a thing", "--outcome", outcome];
        home.run(&arguments).expect(0);
    }
    home
}

#[test]
fn the_report_is_a_private_page_that_tells_of_its_checkpoint() {
    let home = home_with_a_log();
    let file = home.path("report.html");
    let answer = home.run(&["audit", "report", "--html", "report.html", "--json"]).expect(0).json();
    assert_eq!((&answer["events"], &answer["intact"]), (&3.into(), &true.into()), "{answer}");
    let page = fs::read_to_string(&file).unwrap();
    assert!(page.contains("The log is intact, signed and anchored") && page.contains("chain "), "{page}");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // To stdout, and only what is asked for.
    let page = home.run(&["audit", "report", "--html", "-", "--action", "other.*"]).expect(0).text();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("Nothing is on record here."), "{page}");
}

#[test]
fn the_report_of_a_log_that_is_not_intact_is_made_and_exits_with_1() {
    let home = home_with_a_log();
    let day = fs::read_dir(home.path("audit"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .unwrap();
    fs::write(&day, fs::read_to_string(&day).unwrap().replacen("a thing", "b thing", 1)).unwrap();
    let finished = home.run(&["audit", "report", "--html", "report.html"]).expect(1);
    assert!(finished.stderr.contains("not intact"), "{finished:?}");
    assert!(fs::read_to_string(home.path("report.html")).unwrap().contains("The log is not intact"));
}

#[test]
fn the_report_refuses_to_replace_what_is_no_file_and_a_missing_log() {
    let home = home_with_a_log();
    fs::create_dir(home.path("folder")).unwrap();
    for arguments in [
        ["audit", "report", "--html", "folder"].as_slice(),
        &["audit", "report", "--html", "x", "--dir", "nowhere"],
    ] {
        let finished = home.run(arguments).expect(2);
        assert!(finished.stderr.contains("folder") || finished.stderr.contains("nowhere"), "{finished:?}");
    }
    assert!(!home.path("x").exists());
}
