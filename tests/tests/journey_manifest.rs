//! The tooling manifest through the real binary: what is refused before a token is asked for, and which token is asked
//! for otherwise. Cases 40 to 43 of docs/hostile-cases.md.

mod journey;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use entrabot_tests::stand_in::Options;
use journey::watched::{Ended, traced, watched};
use journey::{Home, spans};
use serde_json::{Value, json};

const MANIFEST: &str = "ENTRABOT_A365_TOOLING_MANIFEST";
const SHARED: &str = "ea9ffc3e-8a23-4a7d-836d-234d7c7565c1";
const WORD: &str = "c2d0c2b6-8013-4346-9f8b-b81d3b754a29";
/// Twice what linting a small file takes. It is not measured beside one: so short a run may end between two looks.
const MOST_KIB: u64 = 32 * 1024;

/// Addresses that no token may go to.
fn refused_urls() -> Vec<String> {
    serde_json::from_str(include_str!("../../crates/a365/tests/refused_urls.json"))
        .expect("a list of strings")
}

fn with_url(url: &str) -> Value {
    json!({"mcpServers": [{"mcpServerName": "mcp_WordServer", "url": url}]})
}

struct Machine {
    home: Home,
}

impl Machine {
    fn new() -> io::Result<Self> {
        Ok(Self { home: Home::ready(Options::default())? })
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> io::Result<PathBuf> {
        let path = self.home.scratch().join(name);
        fs::write(&path, bytes)?;
        Ok(path)
    }

    /// `entrabot manifest lint`.
    fn lint(&self, path: &Path) -> io::Result<Ended> {
        watched(self.home.command(&["manifest", "lint", &path.display().to_string(), "--json"]))
    }

    /// A call of a server of this manifest.
    fn call(&mut self, path: &Path) -> io::Result<Ended> {
        self.home.set(MANIFEST, path.display().to_string());
        self.call_as_it_is()
    }

    fn call_as_it_is(&self) -> io::Result<Ended> {
        let arguments = r#"{"fileName":"x","contentInHtml":"<p>x</p>"}"#;
        let call = ["call", "mcp_WordServer", "CreateDocument", "--args", arguments];
        watched(self.home.command(&call))
    }

    /// The call ended with 2 and these words, nothing was asked of anybody, and nothing is on record as an act.
    #[track_caller]
    fn assert_refused(&self, ended: &Ended, name: &str, words: &str) {
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(name) && ended.stderr.contains(words), "{name}, {words}: {ended:?}");
        assert!(ended.stderr.contains("hint: ") && ended.stdout.is_empty(), "{ended:?}");
        assert_eq!(self.home.cloud.requests().len(), 0, "no token is fetched");
        assert_eq!(self.home.a365_records().expect("a readable log"), Vec::<Value>::new());
    }
}

/// The findings of a lint that are errors: field and message.
fn errors(ended: &Ended) -> Vec<(String, String)> {
    let report: Value =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().into_iter().flatten();
    let errors = findings.filter(|finding| finding["severity"] == "error").inspect(|finding| {
        assert!(
            finding["hint"].as_str().is_some_and(|hint| !hint.is_empty()),
            "every finding has a remedy: {finding}"
        );
    });
    errors.map(|finding| (text(finding, "field"), text(finding, "message"))).collect()
}

/// Case 40: every trick is found and explained, by its field and without a word of it.
#[test]
fn case_40_every_trick_of_an_address_is_explained() -> io::Result<()> {
    let machine = Machine::new()?;
    let urls = refused_urls();
    let entries: Vec<_> =
        (0..).zip(&urls).map(|(at, url)| json!({"mcpServerName": format!("s{at}"), "url": url})).collect();
    let path = machine.file("tricks.json", json!({"mcpServers": entries}).to_string())?;
    let linted = machine.lint(&path)?;
    assert_eq!(linted.code, Some(1), "{linted:?}");
    let found = errors(&linted);
    let fields: Vec<_> = found.iter().map(|(field, _)| field.as_str()).collect();
    let expected: Vec<_> = (0..urls.len()).map(|at| format!("mcpServers[{at}].url")).collect();
    assert_eq!(fields, expected);
    assert!(found.iter().all(|(_, message)| !message.is_empty()));
    for part in ["evil", "127.0.0.1", "secret", "xn--"] {
        assert!(!linted.stdout.contains(part), "{part}: {}", linted.stdout);
    }
    // The same for a person at a terminal.
    let read = machine.home.run(&["manifest", "lint", &path.display().to_string()], b"")?;
    let read = &read.assert_code(1).stdout;
    assert_eq!(
        (read.matches("error: mcpServers[").count(), read.matches("  hint: ").count()),
        (urls.len(), urls.len())
    );
    Ok(())
}

/// Case 40: and a call of such a server asks for no token.
#[test]
fn case_40_no_trick_of_an_address_gets_a_token() -> io::Result<()> {
    let mut machine = Machine::new()?;
    // One of each kind: a process for each of them would take long.
    let urls = refused_urls();
    for sign in [
        "http://",
        "user:secret@",
        "127.0.0.1",
        "[::1]",
        "localhost",
        ":8443",
        "\u{430}",
        "microsoft./",
        "\\@",
        "%2e",
    ] {
        let url = urls.iter().find(|url| url.contains(sign)).unwrap_or_else(|| panic!("none with {sign}"));
        let path = machine.file("trick.json", with_url(url).to_string())?;
        let ended = machine.call(&path)?;
        machine.assert_refused(&ended, "A365ManifestInvalidError", "mcpServers[0].url");
        assert!(!ended.stderr.contains("evil") && !ended.stderr.contains("secret"), "{ended:?}");
    }
    Ok(())
}

/// Case 40: not even a name is looked up.
#[test]
#[ignore = "long: needs strace"]
fn case_40_no_trick_of_an_address_opens_a_socket_to_the_network() -> io::Result<()> {
    let mut machine = Machine::new()?;
    for url in refused_urls() {
        let path = machine.file("trick.json", with_url(&url).to_string())?;
        machine.home.set(MANIFEST, path.display().to_string());
        let call = machine.home.command(&["call", "mcp_WordServer", "CreateDocument"]);
        let trace = machine.home.scratch().join("trace");
        let ended = watched(traced(&call, &["-f", "-e", "trace=socket"], &trace))?;
        machine.assert_refused(&ended, "A365ManifestInvalidError", "mcpServers[0].url");
        let trace = fs::read_to_string(trace)?;
        assert!(trace.contains("exited with 2"), "{trace}");
        assert!(!trace.contains("AF_INET"), "{url}: {trace}");
    }
    Ok(())
}

/// Case 40: what lies in a cloned repository may name Work IQ's own hosts and audiences, and no others.
#[test]
fn case_40_a_manifest_that_was_only_found_names_no_host_or_audience_of_its_own() -> io::Result<()> {
    let mut machine = Machine::new()?;
    machine.home.unset(MANIFEST);
    let own = format!("{}/mcp_WordServer", machine.home.cloud.info().a365_base);
    machine.home.unset("ENTRABOT_A365_BASE");
    machine.file("ToolingManifest.json", with_url(&own).to_string())?;
    let ended = machine.call_as_it_is()?;
    machine.assert_refused(&ended, "A365ManifestInvalidError", "mcpServers[0].url");
    let foreign = json!({"mcpServers": [{"mcpServerName": "mcp_WordServer",
        "audience": "11111111-2222-3333-4444-555555555555"}]});
    machine.file("ToolingManifest.json", foreign.to_string())?;
    let ended = machine.call_as_it_is()?;
    machine.assert_refused(&ended, "A365ManifestInvalidError", "mcpServers[0].audience");
    Ok(())
}

/// Case 41: only one sensible, regular file, in which a name means one server.
#[test]
fn case_41_what_is_no_sound_manifest_is_refused_before_it_is_read() -> io::Result<()> {
    let mut machine = Machine::new()?;
    let word = json!({"mcpServers": [{"mcpServerName": "mcp_WordServer"}]}).to_string();
    let two = |first: Value, second: Value| json!({"mcpServers": [first, second]}).to_string();
    let named = |name: &str| json!({"mcpServerName": name});
    let utf16: Vec<u8> = word.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let good = machine.file("good.json", &word)?;
    let scratch = machine.home.scratch().to_owned();
    let (link, directory, fifo) = (scratch.join("link"), scratch.join("directory"), scratch.join("fifo"));
    std::os::unix::fs::symlink(&good, &link)?;
    fs::create_dir(&directory)?;
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status()?.success());
    let twice = "has the name of an earlier server";
    let same_key = "same key twice";
    let refused = [
        (link, "symbolic link"),
        (directory, "not a regular file"),
        (fifo, "not a regular file"),
        (PathBuf::from("/dev/zero"), "not a regular file"),
        (machine.file("large.json", " ".repeat(1024 * 1024 + 1))?, "larger than 1 MiB"),
        (machine.file("utf16.json", utf16)?, "UTF-16"),
        (machine.file("twice.json", two(named("mcp_WordServer"), named("mcp_WordServer")))?, twice),
        (machine.file("case.json", two(named("mcp_WordServer"), named("MCP_WORDSERVER")))?, twice),
        (
            machine.file(
                "unique.json",
                two(
                    named("mcp_WordServer"),
                    json!({"mcpServerName": "a", "mcpServerUniqueName": "mcp_wordserver"}),
                ),
            )?,
            twice,
        ),
        (machine.file("keys.json", r#"{"mcpServers":[],"mcpServers":[]}"#)?, same_key),
        (
            machine.file("inner.json", r#"{"mcpServers":[{"mcpServerName":"a","mcpServerName":"b"}]}"#)?,
            same_key,
        ),
    ];
    let ordinary = machine.lint(&good)?;
    assert_eq!(ordinary.code, Some(0), "{ordinary:?}");
    for (path, words) in refused {
        let linted = machine.lint(&path)?;
        assert_eq!(linted.code, Some(1), "{}: {linted:?}", path.display());
        assert!(errors(&linted).iter().any(|(_, message)| message.contains(words)), "{words}: {linted:?}");
        assert!(linted.peak_kib <= MOST_KIB, "{}: {linted:?}", path.display());
        let ended = machine.call(&path)?;
        machine.assert_refused(&ended, "A365ManifestInvalidError", words);
    }

    // What a Windows editor puts first is no harm.
    let marked = machine.file("bom.json", format!("\u{feff}{word}"))?;
    assert_eq!(machine.lint(&marked)?.code, Some(0));
    assert_eq!(machine.call(&marked)?.code, Some(0));
    assert_eq!(spans(&machine.home.a365_records()?), [["pending", "success"]]);
    Ok(())
}

/// Case 42: which token is asked for, and that a file sets no header.
#[test]
fn case_42_audience_and_scope_make_the_token_by_either_rule() -> io::Result<()> {
    let mut machine = Machine::new()?;
    let shared = format!("{SHARED}/.default");
    let own = format!("{WORD}/Tools.ListInvoke.All");
    let none = || Value::Null;
    for (audience, scope, asked) in [
        (json!(SHARED), json!("McpServers.Word.All"), &shared),
        (json!(format!("api://{SHARED}")), json!("McpServers.Word.All"), &shared),
        (json!("default"), none(), &shared),
        (none(), json!("null"), &shared),
        (none(), none(), &shared),
        (json!(WORD), json!("Tools.ListInvoke.All"), &own),
        (json!(WORD), none(), &format!("{WORD}/.default")),
    ] {
        machine.home.cloud.clear_requests();
        let entry = json!({"mcpServerName": "mcp_WordServer", "audience": audience, "scope": scope,
            "publisher": "Microsoft", "later": {"a": [1]}, "headers": {"Authorization": "Bearer x", "X-Evil": "1"}});
        let path =
            machine.file("manifest.json", json!({"$schema": "x", "mcpServers": [entry]}).to_string())?;
        let ended = machine.call(&path)?;
        assert_eq!(ended.code, Some(0), "{audience} {scope}: {ended:?}");
        assert!(
            ended.stderr.contains("warning: ") && ended.stderr.contains("mcpServers[0].headers is ignored"),
            "{ended:?}"
        );
        let requests = machine.home.cloud.requests();
        let scopes: Vec<_> = requests.iter().filter(|request| request.hop() == Some(3)).collect();
        assert_eq!(
            scopes.last().and_then(|request| request.field("scope")),
            Some(asked.as_str()),
            "{audience} {scope}"
        );
        let sent = requests.iter().find(|request| request.header("x-evil").is_some());
        assert!(sent.is_none(), "{sent:?}");
        assert!(requests.iter().all(|request| request.header("authorization") != Some("Bearer x")));
    }
    assert_eq!(spans(&machine.home.a365_records()?), vec![["pending", "success"]; 7]);

    // The server tells its log of it, once and not at every call.
    let client = machine.home.serve()?;
    for _ in 0..2 {
        let created =
            client.call("create_word_document", &json!({"file_name": "x", "content_html": "<p>x</p>"}))?;
        assert!(!created.is_error, "{}", created.text);
    }
    client.stop()?;
    let log = fs::read_to_string(machine.home.serve_log())?;
    assert_eq!(log.matches("mcpServers[0].headers is ignored").count(), 1, "{log}");
    Ok(())
}

/// Case 43: without a manifest the server starts and lists its tools, and a call says where one was looked for.
#[test]
fn case_43_a_missing_manifest_is_named_at_the_call_with_every_place() -> io::Result<()> {
    let mut machine = Machine::new()?;
    let places = ["./ToolingManifest.json", "./.a365/ToolingManifest.json"];
    for named in [Some(machine.home.scratch().join("gone.json")), None] {
        match &named {
            Some(path) => machine.home.set(MANIFEST, path.display().to_string()),
            None => machine.home.unset(MANIFEST),
        }
        let ended = machine.call_as_it_is()?;
        machine.assert_refused(&ended, "A365ManifestNotFoundError", places[0]);
        assert!(ended.stderr.contains(places[1]), "{ended:?}");
        assert!(ended.stderr.contains(MANIFEST), "{ended:?}");
    }
    let client = machine.home.serve()?;
    assert_eq!(client.tools()?.len(), 9);
    let refused =
        client.call("create_word_document", &json!({"file_name": "x", "content_html": "<p>x</p>"}))?;
    assert!(refused.is_error, "{}", refused.text);
    let told: Value = serde_json::from_str(&refused.text)?;
    assert_eq!(told["error_type"], "A365ManifestNotFoundError", "{told}");
    assert!(
        places.iter().all(|place| told["error"].as_str().is_some_and(|text| text.contains(place))),
        "{told}"
    );
    assert!(client.stop()?.success());
    assert_eq!(machine.home.a365_records()?, Vec::<Value>::new());
    Ok(())
}
