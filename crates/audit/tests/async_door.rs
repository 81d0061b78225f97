//! The doors for tasks keep the promises of those for threads, and never block the runtime: all of these run on one
//! thread, which could not go on if they did.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashMap;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use common::{Call, Home, chain, entry, who};
use entrabot_audit::{AuditError, AuditLog, OutcomeSync, SettleError, verify};
use serde_json::Value;

/// A share of its time, after which whoever waits gives up.
async fn for_polls<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        let polled = std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// Outcomes by call id, in the order in which they are on record.
fn spans(home: &Home) -> HashMap<String, Vec<(String, Value)>> {
    let mut spans: HashMap<_, Vec<_>> = HashMap::new();
    for line in home.lines() {
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        spans.entry(text("call_id")).or_default().push((text("outcome"), line["metadata"].clone()));
    }
    spans
}

#[tokio::test]
async fn a_task_s_call_is_pending_before_its_act_and_its_outcome_shares_the_call_id() {
    for sync in [OutcomeSync::Background, OutcomeSync::Strict] {
        let home = Home::new();
        let log = AuditLog::open(home.options().with_outcome_sync(sync), who()).unwrap();
        let permit = log.permit_async(Call).await.unwrap();
        let pending = home.lines();
        assert_eq!(pending.len(), 1);
        assert_eq!(pending[0]["outcome"], "pending");
        assert_eq!(
            pending[0]["metadata"],
            serde_json::json!({"server": "mcp_WordServer", "tool": "GetDocumentContent"})
        );
        let recorded = permit.recorded();
        assert_eq!(permit.finish_async(Ok::<_, ()>(5)).await.into_result().unwrap(), 5);
        let lines = home.lines();
        assert_eq!(
            (&lines[1]["outcome"], &lines[1]["call_id"]),
            (&"success".into(), &recorded.call_id.to_string().into())
        );
        let failed = log.permit_async(Call).await.unwrap().finish_async(Err::<(), _>("no")).await;
        assert!(matches!(failed.into_result(), Err(SettleError::Failed("no"))));
        assert_eq!(home.lines()[3]["outcome"], "failure");
        assert!(verify(&home.audit()).unwrap().ok);
    }
}

#[tokio::test]
async fn many_tasks_beside_threads_share_one_chain() {
    let home = Home::new();
    let log = home.open();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let log = log.clone();
            std::thread::spawn(move || {
                (0..25)
                    .map(|n| log.log_event(&entry(thread * 100 + n)).unwrap().to_string())
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut ids = Vec::new();
                for n in 0..10 {
                    ids.push(log.log_event_async(&entry(task * 1000 + n)).await.unwrap().to_string());
                    let permit = log.permit_async(Call).await.unwrap();
                    ids.push(permit.recorded().event_id.to_string());
                    assert!(permit.finish_async(Ok::<_, ()>(())).await.into_result().is_ok());
                }
                ids
            })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for task in tasks {
        acknowledged.extend(task.await.unwrap());
    }
    acknowledged.extend(threads.into_iter().flat_map(|thread| thread.join().unwrap()));
    let lines = home.lines();
    assert_eq!((acknowledged.len(), lines.len()), (4 * 25 + 64 * 20, 4 * 25 + 64 * 30));
    for id in acknowledged {
        assert_eq!(lines.iter().filter(|line| line["event_id"] == id.as_str()).count(), 1);
    }
    let report = verify(&home.audit()).unwrap();
    assert!(report.ok && report.pending_without_outcome == 0, "{report:?}");
}

#[tokio::test]
async fn a_task_cancelled_at_any_moment_leaves_no_open_span() {
    let home = Home::new();
    let log = home.open();
    let (mut given_up, mut acted) = (0, 0);
    for round in 0..300 {
        // Others at work, so that it waits at different places.
        let others: Vec<_> = (0..round % 3)
            .map(|n| {
                let log = log.clone();
                tokio::spawn(async move { log.log_event_async(&entry(n)).await.unwrap() })
            })
            .collect();
        match for_polls(round % 40, log.permit_async(Call)).await {
            Some(permit) => {
                acted += 1;
                drop(for_polls(round % 7, permit.unwrap().finish_async(Ok::<_, ()>(()))).await);
            }
            None => given_up += 1,
        }
        for other in others {
            other.await.unwrap();
        }
    }
    assert!(given_up > 20, "cancelled {given_up} times");
    drop(log);
    let mut closed = 0;
    for (call, outcomes) in spans(&home) {
        let names: Vec<&str> = outcomes.iter().map(|(outcome, _)| outcome.as_str()).collect();
        match names.as_slice() {
            // An event of its own, which is no span.
            ["success"] => {}
            ["pending", "success" | "failure"] => closed += 1,
            other => panic!("{call}: {other:?}"),
        }
    }
    assert!(closed >= acted);
    let report = verify(&home.audit()).unwrap();
    assert!(report.ok && report.pending_without_outcome == 0, "{report:?}");
}

#[tokio::test]
async fn an_outcome_is_on_record_although_nobody_waited_for_it() {
    let home = Home::new();
    let log = home.open();
    let permit = log.permit_async(Call).await.unwrap();
    // Nobody can write before the task has given up.
    let held = std::fs::File::open(home.audit().join(".lock")).unwrap();
    held.lock().unwrap();
    assert!(for_polls(1, permit.finish_async(Ok::<_, ()>(()))).await.is_none());
    drop(held);
    let permit = log.permit_async(Call).await.unwrap();
    drop(permit.finish_async(Ok::<_, ()>(())));
    drop(log);
    let mut last: Vec<String> = spans(&home).into_values().map(|mut span| span.pop().unwrap().0).collect();
    last.sort();
    assert_eq!(last, ["failure", "success"], "not even begun, it is a call that was abandoned");
}

#[tokio::test]
async fn a_log_that_hangs_refuses_a_task_at_the_deadline_and_holds_up_nothing_else() {
    let home = Home::new();
    let deadline = Duration::from_secs(2);
    let log = AuditLog::open(home.options().with_deadline(deadline), who()).unwrap();
    log.log_event_async(&entry(0)).await.unwrap();
    let held = std::fs::File::open(home.audit().join(".lock")).unwrap();
    held.lock().unwrap();
    let begin = Instant::now();
    let permit = log.permit_async(Call);
    let ticks = async {
        let mut ticks = 0;
        while begin.elapsed() < deadline / 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            ticks += 1;
        }
        ticks
    };
    let (refused, ticks) = tokio::join!(permit, ticks);
    let (error, after) = (refused.unwrap_err(), begin.elapsed());
    assert!(matches!(error, AuditError::LockTimeout { .. }), "{error:?} after {after:?}");
    assert!(after >= deadline && after < 5 * deadline, "{after:?}");
    assert!(ticks > 20, "the runtime went on: {ticks}");
    held.unlock().unwrap();
    log.log_event_async(&entry(1)).await.unwrap();
    drop(log);
    let report = verify(&home.audit()).unwrap();
    assert!(report.ok && report.pending_without_outcome == 0, "{report:?}");
}

#[tokio::test]
async fn without_an_identity_nothing_is_written() {
    let home = Home::new();
    // The keyring would be the last to be asked: that blocks, so it is asked on another thread.
    let log = AuditLog::open(home.options(), chain(&[])).unwrap();
    let refused = log.permit_async(Call).await.unwrap_err();
    assert!(matches!(refused, AuditError::Attribution(_) | AuditError::InsecureKeyring(_)), "{refused:?}");
    let refused = log.log_event_async(&entry(0)).await.unwrap_err();
    assert!(matches!(refused, AuditError::Attribution(_) | AuditError::InsecureKeyring(_)), "{refused:?}");
    drop(log);
    assert!(home.lines().is_empty());
}
