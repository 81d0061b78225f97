//! A query by way of the index finds what reading every line finds, whatever became of the index or of the log.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use entrabot_identity::AttributionType;
use sha2::{Digest as _, Sha256};

use crate::test_bench::Bench;
use crate::{LogEntry, Query, Seen, Timestamp, query, query_indexed};

/// Many pieces: here they are small.
const LINES: usize = 600;

/// A log of many lines, 200 ms apart, with a data directory.
fn home_at(start: i64) -> Bench {
    let home = Bench::at(start, 200_000);
    fs::create_dir(home.data()).unwrap();
    append(&home, 0..LINES);
    home
}

/// Of 2026-07-12.
fn day_file(home: &Bench) -> PathBuf {
    home.audit().join("2026-07-12.jsonl")
}

/// A log of one day, 2026-07-12 from ten o'clock on.
fn large() -> Bench {
    home_at(1_783_850_400_000_000)
}

fn entry(number: usize) -> LogEntry {
    let action = format!("test.action{}", number % 7);
    let resource = format!("planted resource {number}");
    let outcome = if number.is_multiple_of(97) { "failure" } else { "success" };
    let who = if number.is_multiple_of(101) { AttributionType::None } else { AttributionType::Agent };
    LogEntry::cli(&action, &resource, outcome, who)
}

fn append(home: &Bench, numbers: std::ops::Range<usize>) {
    let entries: Vec<LogEntry> = numbers.map(entry).collect();
    home.open().log_events(&entries, |_, result| assert!(result.is_ok())).unwrap();
}

fn told(seen: Seen) -> String {
    match seen {
        Seen::Event(event) => event.to_json().to_owned(),
        Seen::Skipped(line) => format!("{line:?}"),
    }
}

fn read(home: &Bench, wanted: &Query) -> Vec<String> {
    let mut all = Vec::new();
    let each = |seen| {
        all.push(told(seen));
        ControlFlow::Continue(())
    };
    query(&home.audit(), wanted, each).unwrap();
    all
}

fn indexed(home: &Bench, wanted: &Query) -> Vec<String> {
    let mut all = Vec::new();
    let each = |seen| {
        all.push(told(seen));
        ControlFlow::Continue(())
    };
    query_indexed(&home.audit(), &home.data(), wanted, each).unwrap();
    all
}

/// One of each sort, some that find nothing, some that find much.
fn queries(home: &Bench) -> Vec<Query> {
    let mut times = Vec::new();
    let mut ids = Vec::new();
    query(&home.audit(), &Query::new(), |seen| {
        if let Seen::Event(event) = seen {
            times.push(event.time().unwrap_or(Timestamp::parse("2026-01-01T00:00:00Z").unwrap()));
            ids.push((event.event_id().to_owned(), event.call_id().unwrap_or("none").to_owned()));
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    let (early, late) = (times[times.len() / 3], times[times.len() / 2]);
    let (event, call) = &ids[ids.len() / 2];
    vec![
        Query::new(),
        Query::new().outcome("failure"),
        Query::new().outcome("nothing"),
        Query::new().agent("unknown"),
        Query::new().agent("22222222-2222-4222-8222-222222222222").outcome("failure"),
        Query::new().action("test.action3").outcome("failure"),
        Query::new().action("test.*").agent("unknown"),
        Query::new().source("cli").since(late),
        Query::new().since(early).until(late),
        Query::new().until(times[0]),
        Query::new().event_id(event),
        Query::new().call_id(call),
        Query::new().call_id("00000000-0000-7000-8000-000000000000"),
    ]
}

fn assert_same(home: &Bench, when: &str) {
    for wanted in queries(home) {
        let (by_reading, by_index) = (read(home, &wanted), indexed(home, &wanted));
        assert!(
            by_reading == by_index,
            "{when}: {wanted:?}: {} and {} found",
            by_reading.len(),
            by_index.len()
        );
    }
}

fn index_files(home: &Bench) -> Vec<PathBuf> {
    let folder = fs::read_dir(home.data()).unwrap().map(|entry| entry.unwrap().path());
    let folder = folder.into_iter().find(|path| path.to_string_lossy().contains("audit-index-"));
    let Some(folder) = folder else { return Vec::new() };
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|extension| extension == "index")).collect()
}

fn index_file(home: &Bench) -> PathBuf {
    let files = index_files(home);
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn an_index_finds_what_reading_finds_while_the_log_grows() {
    let home = large();
    assert_same(&home, "at first");
    let file = index_file(&home);
    let before = fs::metadata(&file).unwrap();
    assert_eq!(before.mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    append(&home, LINES..LINES + 200);
    assert_same(&home, "grown");
    let after = fs::metadata(&file).unwrap();
    assert_eq!(before.ino(), after.ino(), "what was known is kept");
    assert!(after.len() > before.len(), "what came is remembered");
    append(&home, LINES + 200..LINES + 203);
    assert_same(&home, "grown by little");
    assert_eq!(fs::metadata(&file).unwrap().len(), after.len(), "a few lines are read each time");
}

#[test]
fn several_days_are_indexed_each_for_itself_and_a_day_that_is_over_to_its_end() {
    // 2026-07-12 23:59.
    let home = home_at(1_783_900_740_000_000);
    append(&home, LINES..LINES + 200);
    assert_same(&home, "two days");
    assert_same(&home, "two days again");
    let mut sizes: Vec<(PathBuf, u64)> = index_files(&home)
        .into_iter()
        .map(|path| (path.clone(), fs::metadata(path).unwrap().len()))
        .collect();
    sizes.sort();
    assert_eq!(sizes.len(), 2);
    let late = Query::new().since(Timestamp::parse("2026-07-13T00:00:00Z").unwrap());
    let days = fs::read_to_string(home.audit().join("2026-07-13.jsonl")).unwrap();
    assert_eq!(indexed(&home, &late).len(), days.lines().count());
}

#[test]
fn lines_that_are_no_events_are_told_each_time_with_their_number() {
    let home = large();
    let mut log = fs::OpenOptions::new().append(true).open(day_file(&home)).unwrap();
    let foreign = r#"{"event_id":"f","timestamp":"t","agent_id":"a","action":"x","resource":"y","outcome":"o","attribution_type":"agent","metadata":{}}"#;
    log.write_all(format!("no event\n{foreign}\n").as_bytes()).unwrap();
    append(&home, LINES..LINES + 200);
    assert_same(&home, "the index is made");
    assert_same(&home, "the index is there");
    let skipped = indexed(&home, &Query::new().outcome("nothing"));
    assert!(skipped.len() == 1 && skipped[0].contains(&format!("line: {}", LINES + 1)), "{skipped:?}");
    assert_eq!(indexed(&home, &Query::new().agent("a")).len(), 2, "the foreign line is found besides");
}

#[test]
fn an_index_that_was_changed_torn_or_emptied_costs_time_and_nothing_else() {
    let home = large();
    let wanted = Query::new().outcome("failure");
    let right = read(&home, &wanted);
    assert_eq!(indexed(&home, &wanted), right);
    let file = index_file(&home);
    let sound = fs::read(&file).unwrap();
    for at in (0..sound.len()).step_by(211) {
        let mut changed = sound.clone();
        changed[at] ^= 0x41;
        fs::write(&file, &changed).unwrap();
        assert_eq!(indexed(&home, &wanted), right, "a byte at {at}");
    }
    for length in [0, 1, 23, 24, 100, sound.len() / 2, sound.len() - 1] {
        fs::write(&file, &sound[..length]).unwrap();
        assert_eq!(indexed(&home, &wanted), right, "cut at {length}");
        assert_eq!(fs::read(&file).unwrap().len(), sound.len(), "cut at {length}, it is mended");
    }
}

/// Whoever runs as the same user can write an index whose digests fit.
#[test]
fn a_forged_index_makes_no_line_match_that_does_not() {
    let home = large();
    indexed(&home, &Query::new());
    let file = index_file(&home);
    let mut bytes = fs::read(&file).unwrap();
    let mut at = 24;
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let body = at + 4..at + 4 + length - 16;
        let text = bytes[body.clone()].to_vec();
        let forged = replace(
            &replace(&replace(&text, b"success", b"0000000"), b"failure", b"success"),
            b"0000000",
            b"failure",
        );
        bytes[body.clone()].copy_from_slice(&forged);
        let digest = Sha256::digest(&bytes[body.clone()]);
        bytes[body.end..body.end + 16].copy_from_slice(&digest[..16]);
        at += 4 + length;
    }
    fs::write(&file, bytes).unwrap();
    let found = indexed(&home, &Query::new().outcome("failure"));
    assert!(found.iter().all(|line| line.contains(r#""outcome":"failure""#)));
    assert!(
        indexed(&home, &Query::new().outcome("success"))
            .iter()
            .all(|line| line.contains(r#""outcome":"success""#))
    );
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at + from.len() <= out.len() {
        if &out[at..at + from.len()] == from {
            out[at..at + from.len()].copy_from_slice(to);
            at += from.len();
        } else {
            at += 1;
        }
    }
    out
}

#[test]
fn a_log_that_was_edited_or_put_in_the_place_of_another_is_read_as_it_is() {
    let home = large();
    assert_same(&home, "before");
    let text = fs::read_to_string(day_file(&home)).unwrap();
    // In place, of the same length, in the middle.
    std::thread::sleep(std::time::Duration::from_millis(30));
    let edited = text.replacen(r#""outcome":"failure""#, r#""outcome":"success""#, 1);
    fs::write(day_file(&home), &edited).unwrap();
    assert_same(&home, "one line edited");
    std::thread::sleep(std::time::Duration::from_millis(30));
    let edited = text.replacen(r#""outcome":"success""#, r#""outcome":"failure""#, 300);
    fs::write(day_file(&home), &edited).unwrap();
    assert_same(&home, "edited");
    // Another file of the same name.
    fs::remove_file(day_file(&home)).unwrap();
    fs::write(day_file(&home), text.replace("test.action3", "test.action9")).unwrap();
    assert_same(&home, "replaced");
    // Shorter, with other line ends.
    let half: String = text.lines().skip(150).map(|line| format!("{line}\n")).collect();
    fs::write(day_file(&home), half).unwrap();
    assert_same(&home, "cut at its front");
}

#[test]
fn without_a_place_for_it_the_log_is_read_and_nothing_is_written() {
    let home = large();
    fs::remove_dir_all(home.data()).unwrap();
    assert_same(&home, "no data directory");
    assert!(!home.data().exists(), "a query makes none");
    // Somebody else's rights to it, a file in its place, a name that cannot be written.
    fs::create_dir(home.data()).unwrap();
    indexed(&home, &Query::new());
    let file = index_file(&home);
    let folder = file.parent().unwrap().to_owned();
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_same(&home, "a directory in the file's place");
    fs::remove_dir(&file).unwrap();
    fs::set_permissions(&folder, PermissionsExt::from_mode(0o770)).unwrap();
    assert_same(&home, "a folder that others may write to");
    assert_eq!(index_files(&home), Vec::<PathBuf>::new());
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    assert_same(&home, "a file in the folder's place");
}

#[test]
fn a_small_log_has_no_index_and_a_day_that_is_gone_none_any_more() {
    let home = large();
    let text = fs::read_to_string(day_file(&home)).unwrap();
    fs::write(day_file(&home), &text[..20_000]).unwrap();
    indexed(&home, &Query::new());
    assert_eq!(index_files(&home), Vec::<PathBuf>::new());
    fs::write(day_file(&home), text).unwrap();
    indexed(&home, &Query::new());
    let stale = index_file(&home).with_file_name("2026-01-01.index");
    fs::write(&stale, "left behind").unwrap();
    append(&home, LINES..LINES + 200);
    indexed(&home, &Query::new());
    assert!(!stale.exists());
}

#[test]
fn the_index_holds_nothing_that_a_query_does_not_ask_for() {
    let home = large();
    indexed(&home, &Query::new());
    let bytes = fs::read(index_file(&home)).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("test.action3") && !text.contains("planted"));
}

#[test]
fn queries_and_writers_at_once_find_every_line_that_was_acknowledged() {
    let home = large();
    let wanted = Query::new().action("test.action3");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut before = 0;
                while !done.load(Ordering::Relaxed) {
                    let found = indexed(&home, &wanted).len();
                    assert!(found >= before, "a line was lost");
                    before = found;
                }
            });
        }
        (0..6).for_each(|part| append(&home, LINES + part * 100..LINES + (part + 1) * 100));
        done.store(true, Ordering::Relaxed);
    });
    assert_same(&home, "afterwards");
}

/// A file system without room.
#[test]
#[ignore = "long: mounts a file system, needs root"]
fn a_full_disk_costs_the_index_and_not_the_answer() {
    let home = large();
    let mount = |arguments: &[&str], at: &Path| {
        assert!(
            std::process::Command::new(arguments[0])
                .args(&arguments[1..])
                .arg(at)
                .status()
                .unwrap()
                .success()
        );
    };
    mount(&["mount", "-t", "tmpfs", "-o", "size=16k,mode=700", "tmpfs"], &home.data());
    fs::write(home.data().join("filler"), vec![0; 16 * 1024]).unwrap();
    let wanted = Query::new().outcome("failure");
    let found = indexed(&home, &wanted);
    let again = indexed(&home, &wanted);
    mount(&["umount"], &home.data());
    assert_eq!(found, read(&home, &wanted));
    assert_eq!(again, found);
}
