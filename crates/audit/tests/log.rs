//! The log's promises on a real directory.

mod common;

use common::{AGENT, Call, Home, entry};
use entrabot_audit::{SettleError, tail, verify};

#[test]
fn an_event_is_on_disk_when_its_id_is_known() {
    let home = Home::new();
    let log = home.open();
    let ids: Vec<String> = (0..3).map(|n| log.log_event(&entry(n)).unwrap().to_string()).collect();
    let lines = home.lines();
    assert_eq!(lines.len(), 3);
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(line["event_id"], ids[index]);
        assert_eq!(line["agent_id"], AGENT);
        assert_eq!(line["via"], "agent_id");
        assert_eq!(line["seq"], index);
        assert_eq!(line["src"], "cli");
    }
    let report = verify(&home.audit()).unwrap();
    assert!(report.ok, "{report:?}");
    assert_eq!((report.events, report.foreign), (3, 0));
    assert_eq!(tail(&home.audit(), 2).unwrap().len(), 2);
}

#[test]
fn a_permit_is_pending_first_and_its_outcome_shares_the_call_id() {
    let home = Home::new();
    let log = home.open();
    let permit = log.permit(Call).unwrap();
    let pending = home.lines();
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0]["outcome"], "pending");
    assert_eq!(
        pending[0]["metadata"],
        serde_json::json!({"server": "mcp_WordServer", "tool": "GetDocumentContent"})
    );
    let recorded = permit.recorded();
    assert_eq!(pending[0]["event_id"], recorded.event_id.to_string());
    let settled = permit.finish(Ok::<_, ()>(5));
    assert_eq!(settled.into_result().unwrap(), 5);
    let lines = home.lines();
    assert_eq!(lines[1]["outcome"], "success");
    assert_eq!(lines[1]["call_id"], recorded.call_id.to_string());
    assert!(matches!(
        log.permit(Call).unwrap().finish(Err::<(), _>("no")).into_result(),
        Err(SettleError::Failed("no"))
    ));
    assert_eq!(home.lines()[3]["outcome"], "failure");
    assert!(verify(&home.audit()).unwrap().ok);
}

#[test]
fn a_dropped_permit_is_a_failure_on_record() {
    let home = Home::new();
    let log = home.open();
    drop(log.permit(Call).unwrap());
    drop(log);
    let lines = home.lines();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["outcome"], "failure");
    assert_eq!(lines[1]["metadata"], lines[0]["metadata"]);
    assert_eq!(verify(&home.audit()).unwrap().pending_without_outcome, 0);
}

#[test]
fn many_callers_share_one_chain() {
    let home = Home::new();
    let log = home.open();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..50 {
                    if n % 3 == 0 {
                        drop(log.permit(Call).unwrap().finish(Ok::<_, ()>(())).into_result());
                    } else {
                        log.log_event(&entry(thread * 1000 + n)).unwrap();
                    }
                }
            });
        }
    });
    drop(log);
    let report = verify(&home.audit()).unwrap();
    assert!(report.ok, "{report:?}");
    assert_eq!(report.events, 16 * (50 + 17));
}

#[test]
fn two_logs_of_one_directory_share_one_chain() {
    let home = Home::new();
    let logs = [home.open(), home.open(), home.open()];
    std::thread::scope(|scope| {
        for log in &logs {
            scope.spawn(move || (0..100).for_each(|n| assert!(log.log_event(&entry(n)).is_ok())));
        }
    });
    let report = verify(&home.audit()).unwrap();
    assert!(report.ok, "{report:?}");
    assert_eq!(report.events, 300);
}

#[test]
fn a_batch_keeps_its_order_and_a_bad_entry_does_not_keep_the_others_off() {
    let home = Home::new();
    let log = home.open();
    let mut entries: Vec<_> = (0..1500).map(entry).collect();
    entries[700] =
        entrabot_audit::LogEntry::cli("", "x", "success", entrabot_identity::AttributionType::Agent);
    let mut seen = Vec::new();
    log.log_events(&entries, |index, result| seen.push((index, result.map(|id| id.to_string()).ok())))
        .unwrap();
    assert_eq!(seen.iter().map(|(index, _)| *index).collect::<Vec<_>>(), (0..1500).collect::<Vec<_>>());
    assert!(seen[700].1.is_none());
    let lines = home.lines();
    let ids: Vec<_> = seen.iter().filter_map(|(_, id)| id.clone()).collect();
    assert_eq!(
        lines.iter().map(|line| line["event_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
        ids
    );
}
