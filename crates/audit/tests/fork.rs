//! Case 28, in a process of its own: a log that was open when the process was forked.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Call, Home, entry};
use entrabot_audit::{AuditError, verify};
use entrabot_keystore::in_a_fork;

#[test]
fn case_28_a_forked_process_writes_only_with_a_log_of_its_own() {
    let home = Home::new();
    let log = home.open();
    log.log_event(&entry(0)).unwrap();
    let child = || {
        let refused = [
            log.log_event(&entry(1)).map(drop),
            log.permit(Call).map(drop),
            log.log_events(&[entry(1)], |_, _| {}),
        ];
        if !refused.iter().all(|result| matches!(result, Err(AuditError::Forked))) {
            return 1;
        }
        u8::from(home.open().log_event(&entry(2)).is_err()) * 2
    };
    assert_eq!(in_a_fork(child).unwrap(), Some(0));
    log.log_event(&entry(3)).unwrap();
    let report = verify(&home.audit()).unwrap();
    assert_eq!((report.ok, report.events), (true, 3), "{report:?}");
}
