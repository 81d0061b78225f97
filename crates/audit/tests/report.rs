//! The page for people: right for nothing, for one call, for a log that was tampered with, and never more than text.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{AGENT, Call, Home, entry};
use entrabot_audit::{AttributionType, LogEntry, Query, Report, Timestamp, VerifyOptions};

fn report_with(home: &Home, query: &Query) -> (Report, String) {
    let report = Report::collect(&home.audit(), query, &VerifyOptions::new()).unwrap();
    let page = report.to_html();
    (report, page)
}

fn page(home: &Home) -> String {
    report_with(home, &Query::new()).1
}

#[test]
fn an_empty_log_is_told_as_such() {
    let home = Home::new();
    drop(home.open());
    let (report, page) = report_with(&home, &Query::new());
    assert!(report.is_intact() && report.events() == 0 && report.calls() == 0);
    for text in
        ["Nothing is on record here.", "The log is empty", "Every call has its outcome.", "No call failed."]
    {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[test]
fn one_call_is_one_call_by_one_actor_with_its_duration() {
    let home = Home::new();
    let log = home.open();
    let permit = log.permit(Call).unwrap();
    permit.finish(Ok::<_, std::io::Error>(())).into_result().unwrap();
    let (report, page) = report_with(&home, &Query::new());
    assert_eq!((report.events(), report.calls()), (2, 1));
    for text in
        ["1 actor made 1 call,", AGENT, "as itself, under its own identity", "mcp_WordServer", "✓ success"]
    {
        assert!(page.contains(text), "{text}: {page}");
    }
    // A call has a duration everywhere.
    assert!(!page.contains("<td class=\"n\">–</td>"), "{page}");
}

#[test]
fn a_report_counts_each_byte_twice_and_a_verification_once_whatever_is_asked_for() {
    let home = Home::new();
    let log = home.open();
    for _ in 0..40 {
        drop(log.permit(Call).unwrap());
    }
    let bytes = entrabot_audit::status(&home.audit(), &home.data()).unwrap().bytes;
    let read = Arc::<AtomicU64>::default();
    let options = VerifyOptions::new().counting(Arc::clone(&read));
    assert!(entrabot_audit::verify_with(&home.audit(), &options).unwrap().ok && bytes > 0);
    assert_eq!(read.swap(0, Ordering::Relaxed), bytes);
    let long_ago = Timestamp::parse("2001-01-01T00:00:00Z").unwrap();
    // The other query leaves every file unread.
    for query in [Query::new(), Query::new().until(long_ago)] {
        Report::collect(&home.audit(), &query, &options).unwrap();
        assert_eq!(read.swap(0, Ordering::Relaxed), 2 * bytes);
    }
}

#[test]
fn failures_bear_their_reason_where_the_record_has_one() {
    let home = Home::new();
    let log = home.open();
    let failed: Result<(), _> = Err(std::io::Error::other("secret text of an error"));
    drop(log.permit(Call).unwrap().finish(failed));
    drop(log.permit(Call).unwrap());
    let page = page(&home);
    assert!(page.contains("not on record") && !page.contains("secret text"), "{page}");
    assert!(page.contains("2 calls"), "{page}");
}

#[test]
fn a_call_whose_process_is_gone_is_an_orphan_and_one_at_work_is_not() {
    let home = Home::new();
    let log = home.open();
    let working = log.permit(Call).unwrap();
    let options = VerifyOptions::new().with_data_dir(&home.data());
    let page = Report::collect(&home.audit(), &Query::new(), &options).unwrap().to_html();
    assert!(page.contains("in flight: its process is at work"), "{page}");
    // Elsewhere nobody knows of the process.
    let page = self::page(&home);
    assert!(page.contains("orphan: its process is gone"), "{page}");
    drop(working);
}

#[test]
fn a_log_that_was_tampered_with_is_told_first_of_all_with_file_and_line() {
    let home = Home::new();
    let log = home.open();
    (0..4).for_each(|n| assert!(log.log_event(&entry(n)).is_ok()));
    let text = fs::read_to_string(home.day_file()).unwrap();
    fs::write(home.day_file(), text.replacen("thing 1", "thing 7", 1)).unwrap();
    let (report, page) = report_with(&home, &Query::new());
    assert!(!report.is_intact());
    assert!(page.contains("The log is not intact") && page.contains("line 3"), "{page}");
    assert!(page.find("The log is not intact") < page.find("Who acted"), "before anything else");
}

#[test]
fn text_from_the_log_is_never_markup() {
    let home = Home::new();
    let log = home.open();
    let hostile = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</title></style><svg/onload=alert(1)>",
        "</pre><a href=javascript:alert(1)>",
        "&lt;b&gt; &amp;",
        "\u{202e}gnp.exe \u{200b}\u{1b}[2J\u{2028}",
        "{{7*7}} ${7*7} <!--",
    ];
    for text in hostile {
        let entry = LogEntry::cli(text, text, "success", AttributionType::Agent);
        log.log_event(&entry).unwrap();
        // What the filter says is on the page too.
        let (_, page) = report_with(&home, &Query::new().agent(text).action(text));
        assert_inert(&page);
    }
    assert_inert(&page(&home));
    let page = page(&home);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "it is shown, as text");
    assert!(page.contains("\\u202egnp.exe"), "what would reorder text is shown as its code");
}

/// Every tag is one of the page's own, no attribute is one that acts, and nothing but printable text is in it.
fn assert_inert(page: &str) {
    const TAGS: &str = "!DOCTYPE html head meta title style body header main footer section div span p h1 h2 h3 dl dt dd \
                        table thead tbody tr th td ul li pre code strong svg g rect circle path line text";
    let allowed: Vec<&str> = TAGS.split(' ').collect();
    for rest in page.split('<').skip(1) {
        let tag = rest.split('>').next().unwrap();
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap();
        assert!(allowed.contains(&name), "<{tag}>");
        for attribute in tag.split('"').step_by(2) {
            assert!(
                !attribute.contains(" on") && !attribute.contains("href") && !attribute.contains("src"),
                "<{tag}>"
            );
        }
    }
    let strange = page.chars().find(|c| {
        c.is_control() && *c != '\n' || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
    });
    assert_eq!(strange, None);
}

#[test]
fn the_policy_of_the_page_allows_its_own_style_and_nothing_else() {
    use base64::Engine as _;
    use sha2::Digest as _;
    let home = Home::new();
    drop(home.open());
    let page = page(&home);
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(style));
    let policy = format!(
        "content=\"default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'\""
    );
    assert!(page.contains(&policy), "{}", &page[..600]);
    assert!(
        !page.contains(" style=") && !page.contains("url(") && !page.contains("://"),
        "nothing from elsewhere"
    );
}

#[test]
fn a_filter_is_told_and_counts_only_what_it_lets_through() {
    let home = Home::new();
    let log = home.open();
    log.permit(Call).unwrap().finish(Ok::<_, std::io::Error>(())).into_result().unwrap();
    (0..3).for_each(|n| assert!(log.log_event(&entry(n)).is_ok()));
    let (report, page) = report_with(&home, &Query::new().action("test.*"));
    assert_eq!((report.events(), report.calls()), (3, 0));
    assert!(page.contains("Only events with action <code>test.*</code>"), "{page}");
}
