//! A call that nobody waits for any longer: the connection closes, and so does the record.

use std::time::{Duration, Instant};

use entrabot_a365::tools::CreateWordDocument;
use entrabot_a365::{Resource, TokenSource};
use entrabot_identity::{AccessToken, ClaimsChallenge, TokenFuture};

use entrabot_tests::stand_in::{Effect, Fault};

use crate::harness::Door;

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_is_on_record_as_a_failure() {
    let door = std::sync::Arc::new(Door::open());
    let url = door.create("x").await.unwrap().reply.url;
    door.cloud.set_fault(Fault::case("GetDocumentContent", "hang"));
    for wait in [0, 1, 5, 20, 200] {
        let call = {
            let (door, url) = (std::sync::Arc::clone(&door), url.clone());
            tokio::spawn(async move { door.read(&url).await.map(drop) })
        };
        tokio::time::sleep(Duration::from_millis(wait)).await;
        call.abort();
        assert!(call.await.is_err_and(|error| error.is_cancelled()));
    }
    let started = Instant::now();
    while !door.all_closed() {
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", door.outcomes());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let failed = door.outcomes().iter().filter(|(_, outcome)| outcome == "failure").count();
    assert!(failed >= 1, "{:?}", door.outcomes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_dropped_while_it_waits_for_its_token_is_closed_too() {
    let door = std::sync::Arc::new(Door::open());
    door.cloud.set_fault(Fault::hop(1, Effect::Hang));
    let call = {
        let door = std::sync::Arc::clone(&door);
        tokio::spawn(async move { door.create("x").await.map(drop) })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    call.abort();
    let _cancelled = call.await;
    let started = Instant::now();
    while !door.all_closed() {
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", door.outcomes());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(door.work_iq().is_empty());
}

/// A part of the program that breaks.
#[derive(Debug)]
struct Broken;

impl TokenSource for Broken {
    fn token<'a>(&'a self, _: &'a Resource) -> TokenFuture<'a> {
        Box::pin(async { panic!("broken on purpose") })
    }
    fn token_after_rejection<'a>(
        &'a self,
        resource: &'a Resource,
        _: &'a AccessToken,
        _: Option<&'a ClaimsChallenge>,
    ) -> TokenFuture<'a> {
        self.token(resource)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_which_something_panics_is_closed_too() {
    let door = Door::open();
    let broken = door.with_tokens(std::sync::Arc::new(Broken));
    let call = tokio::spawn(async move {
        broken.create_word_document(CreateWordDocument::new("x", "<p>x</p>").unwrap()).await.map(drop)
    });
    assert!(call.await.unwrap_err().is_panic());
    let outcomes: Vec<_> = door.outcomes().into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(outcomes, ["pending", "failure"]);
    assert!(door.work_iq().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_reaches_work_iq_before_the_pending_line_is_on_disk() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, OnceLock};

    use entrabot_tests::stand_in::{FirstByte, Options, Role};

    let audit: Arc<OnceLock<std::path::PathBuf>> = Arc::default();
    let seen: Arc<Mutex<Vec<usize>>> = Arc::default();
    let requests = Arc::new(AtomicUsize::new(0));
    let hook = {
        let (audit, seen, requests) = (Arc::clone(&audit), Arc::clone(&seen), Arc::clone(&requests));
        Arc::new(move |byte: &FirstByte| {
            if byte.role != Role::A365 {
                return;
            }
            requests.fetch_add(1, Ordering::SeqCst);
            let directory = audit.get().expect("set before the first call");
            let pending = std::fs::read_dir(directory)
                .expect("the audit directory")
                .filter_map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).ok())
                .map(|text| text.matches("\"outcome\":\"pending\"").count())
                .sum();
            seen.lock().expect("no panic").push(pending);
        })
    };
    let options = Options { on_first_byte: Some(hook), ..Options::default() };
    let door = Door::open_with(options, |_| Vec::new());
    audit.set(door.directory().join("audit")).unwrap();
    door.create("x").await.unwrap();
    let seen = seen.lock().unwrap().clone();
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|pending| *pending >= 1), "{seen:?}");
}
