//! `entrabot doctor` on machines where one thing or another is wrong.

mod journey;

use std::io;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use entrabot_tests::collector::{Behaviour as Collected, Collector, Transport};
use entrabot_tests::stand_in::{Effect, Fault, Options, TlsFault};
use serde_json::Value;

use journey::Home;

/// Each network check 2 s, all of them 10 s, and what the keyring takes.
const ALL: Duration = Duration::from_secs(12);
const LOGIN: &str = "Entra login";
const GRAPH: &str = "Microsoft Graph";
const WORK_IQ: &str = "Work IQ";

/// What the doctor says, by the name of the check.
struct Said(Value);

impl Said {
    #[track_caller]
    fn by(home: &Home) -> Self {
        let finished = home.run(&["doctor", "--json"], &[]).expect("it runs");
        let said = finished.json();
        assert_eq!(finished.code, Some(i32::from(said["ok"] != true)), "{finished:?}");
        for check in said["checks"].as_array().into_iter().flatten() {
            assert!(check["status"] == "pass" || check["hint"].is_string(), "no remedy: {check}");
        }
        Self(said)
    }

    #[track_caller]
    fn check(&self, name: &str) -> &Value {
        let checks = self.0["checks"].as_array().expect("checks");
        checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name} in {}", self.0))
    }

    #[track_caller]
    fn expect(&self, name: &str, status: &str, words: &str) -> &Self {
        let check = self.check(name);
        let text = format!("{} {}", check["detail"], check["hint"]);
        assert!(check["status"] == status && text.contains(words), "{words:?}: {check}");
        self
    }
}

fn ready() -> io::Result<Home> {
    Home::ready(Options::default())
}

#[test]
fn a_healthy_home_passes_in_the_order_in_which_one_would_mend_it() -> io::Result<()> {
    let mut home = ready()?;
    let collector = Collector::start(Transport::Plain)?;
    home.set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
    home.run(&["audit", "append", "--action", "a", "--resource", "r", "--outcome", "success"], &[])?
        .assert_code(0);
    let server = home.serve()?;
    let said = Said::by(&home);
    let names: Vec<_> = said.0["checks"].as_array().expect("checks").iter().map(|c| &c["name"]).collect();
    let expected = [
        "keyring",
        "keyring probe",
        "leaked keys",
        "settings",
        "clock",
        LOGIN,
        GRAPH,
        WORK_IQ,
        "blueprint key",
        "token mint",
        "agent user",
        "licence",
        "certificate",
        "tooling manifest",
        "consent",
        "audit directory",
        "audit chain",
        "audit signing",
        "disk space",
        "other instances",
        "telemetry",
    ];
    assert_eq!(names, expected);
    for name in expected {
        // The stand-in is no Microsoft cloud, and its manifest names a server that is on its way out.
        let status = if ["settings", "tooling manifest"].contains(&name) { "warn" } else { "pass" };
        assert_eq!(said.check(name)["status"], status, "{}", said.check(name));
    }
    said.expect("clock", "pass", "in step").expect("consent", "pass", "audiences");
    said.expect("other instances", "pass", "of ours").expect("telemetry", "pass", "127.0.0.1");
    server.stop()?;

    let text = home.run(&["doctor"], &[])?.assert_code(0).stdout.clone();
    assert!(text.starts_with("Keyring\n  pass  keyring ") && !text.contains('\u{1b}'), "{text}");
    assert!(text.ends_with("Nothing stops the agent.\n"), "{text}");
    Ok(())
}

#[test]
fn a_base_that_is_silent_refuses_or_is_a_stranger_is_told_apart_in_time() -> io::Result<()> {
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut home = ready()?;
    home.set("ENTRABOT_GRAPH_BASE", format!("https://localhost:{}", silent.local_addr()?.port()));
    home.set("ENTRABOT_A365_BASE", format!("https://localhost:{closed}/agents/servers"));
    let begun = Instant::now();
    let said = Said::by(&home);
    assert!(begun.elapsed() < ALL, "{:?}", begun.elapsed());
    said.expect(LOGIN, "pass", "answers over TLS");
    said.expect(GRAPH, "fail", "no answer over TLS in time").expect(WORK_IQ, "fail", "refused");

    home.set("ENTRABOT_GRAPH_BASE", "https://no-such-host.invalid");
    Said::by(&home).expect(GRAPH, "fail", "cannot be resolved");
    Ok(())
}

#[test]
fn a_wrong_certificate_is_named_and_nothing_is_minted_over_it() -> io::Result<()> {
    let home = ready()?;
    for (fault, words) in [
        (TlsFault::Expired, "has expired"),
        (TlsFault::WrongName, "another name"),
        (TlsFault::UnknownAuthority, "ENTRABOT_CA_BUNDLE"),
    ] {
        home.cloud.set_tls_fault(fault)?;
        home.cloud.clear_requests();
        let said = Said::by(&home);
        for base in [LOGIN, GRAPH, WORK_IQ] {
            said.expect(base, "fail", words);
        }
        said.expect("token mint", "skip", "mend the network").expect("clock", "skip", "mend the network");
        assert!(home.cloud.requests().is_empty());
    }
    Ok(())
}

#[test]
fn a_clock_that_is_wrong_either_way_is_told() -> io::Result<()> {
    let home = ready()?;
    for (ahead, status, words) in
        [(3_600, "fail", "s behind that of"), (-3_600, "fail", "s ahead of that of"), (60, "warn", "behind")]
    {
        home.cloud.set_behaviour(|behaviour| behaviour.clock_ahead_s = ahead);
        Said::by(&home).expect("clock", status, words);
    }
    Ok(())
}

#[test]
fn a_hop_that_hangs_or_is_refused_is_told_with_its_own_error() -> io::Result<()> {
    let mut home = ready()?;
    home.cloud.set_fault(Fault::hop(2, Effect::Hang));
    home.cloud.set_fault(Fault::graph(Effect::Hang));
    let begun = Instant::now();
    let said = Said::by(&home);
    assert!(begun.elapsed() < ALL, "{:?}", begun.elapsed());
    said.expect("token mint", "fail", "hop2").expect(GRAPH, "fail", "in time");

    home.cloud.clear_faults();
    home.set("ENTRABOT_BLUEPRINT_CERT_THUMBPRINT", "A".repeat(43));
    Said::by(&home).expect("token mint", "fail", "AADSTS");
    Ok(())
}

#[test]
fn what_nobody_consented_to_and_a_manifest_with_a_slip_are_told() -> io::Result<()> {
    let mut home = Home::ready(Options { without_work_iq: true, ..Options::default() })?;
    Said::by(&home).expect("consent", "fail", "AADSTS");
    let manifest = home.scratch().join("manifest.json");
    std::fs::write(&manifest, r#"{"mcpServers": []}"#)?;
    home.set("ENTRABOT_A365_TOOLING_MANIFEST", manifest.display().to_string());
    let check = Said::by(&home).check("tooling manifest").clone();
    assert!(check["status"] != "pass", "{check}");
    Ok(())
}

#[test]
fn offline_asks_nobody_and_says_what_it_did_not_do() -> io::Result<()> {
    let home = ready()?;
    home.cloud.clear_requests();
    let finished = home.run(&["doctor", "--offline"], &[])?;
    finished.assert_code(0);
    assert!(finished.stdout.contains("not asked: --offline"), "{finished:?}");
    assert!(home.cloud.requests().is_empty());
    Ok(())
}

#[test]
fn a_collector_that_refuses_is_a_warning_that_shows_no_header() -> io::Result<()> {
    let mut home = ready()?;
    let collector = Collector::start(Transport::Plain)?;
    home.set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
    home.set("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=planted-secret");
    collector.behave([Collected::Status(401)]);
    let said = Said::by(&home);
    said.expect("telemetry", "warn", "OTEL_EXPORTER_OTLP_HEADERS");
    assert!(!said.0.to_string().contains("planted-secret"));
    home.set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:4317");
    Said::by(&home).expect("telemetry", "warn", "use https");
    Ok(())
}
