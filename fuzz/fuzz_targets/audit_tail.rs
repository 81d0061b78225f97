//! Whatever follows the last whole line, the log goes on behind it, and a log that verified goes on verifying.
#![no_main]

use std::io::Write as _;
use std::sync::Arc;

use entrabot_audit::{
    AttributionChain, AttributionType, AuditLog, AuditOptions, Config, LogEntry, Session, verify,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|tail: &[u8]| {
    let home = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let audit = home.path().join("audit");
    let open = || {
        let config = Config::from_variables([("ENTRABOT_AGENT_ID", "22222222-2222-4222-8222-222222222222")]);
        let chain = AttributionChain::new(&config.expect("sound settings"), Arc::new(Session::new()));
        AuditLog::open(AuditOptions::new(&audit, &home.path().join("data")), Arc::new(chain)).expect("a log")
    };
    let entry = || LogEntry::cli("a", "b", "success", AttributionType::Agent);
    open().log_event(&entry()).expect("on record");
    let day = std::fs::read_dir(&audit)
        .expect("readable")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .expect("a day file");
    std::fs::OpenOptions::new().append(true).open(&day).and_then(|mut file| file.write_all(tail)).expect("written");
    let before = verify(&audit).expect("readable").ok;
    open().log_event(&entry()).expect("the log goes on");
    assert_eq!(verify(&audit).expect("readable").ok, before);
});
