//! A person signs in: in the browser, by a device code, silently afterwards, and in an agent's place only where the
//! operator allowed it.

mod journey;

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use entrabot_tests::https::Https;
use entrabot_tests::mcp::Client;
use entrabot_tests::stand_in::{Effect, Fault, Options, RecordedRequest, Role};
use journey::{Finished, Home, files_with};
use serde_json::{Value, json};

const NO_GRANT: &str = r#"{"error":"invalid_client","error_description":"AADSTS700027: PLANTED"}"#;

/// A home where acts are a person's.
fn delegated() -> io::Result<Home> {
    let mut home = Home::bare(Options::default())?;
    home.set("ENTRABOT_CLIENT_ID", home.cloud.info().client_id.clone());
    home.set("ENTRABOT_MODE", "delegated");
    Ok(home)
}

/// `entrabot sign-in` that waits for a browser, and the address it says.
struct InBrowser {
    child: Child,
    link: String,
    stderr: BufReader<std::process::ChildStderr>,
}

/// What a browser shows.
#[derive(Debug)]
struct Page {
    status: u16,
    location: String,
    text: String,
}

impl InBrowser {
    fn start(home: &Home) -> io::Result<Self> {
        let mut command = home.command(&["sign-in", "--no-browser", "--port", "0", "--json"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut said = String::new();
        let link = loop {
            let from = said.len();
            if stderr.read_line(&mut said)? == 0 {
                return Err(io::Error::other(said));
            }
            let line = &said[from..];
            if let Some(link) = line.split_whitespace().find(|word| word.starts_with("http://")) {
                break link.to_owned();
            }
        };
        Ok(Self { child, link, stderr })
    }

    /// `GET` of an address on the listener.
    fn get(&self, target: &str) -> io::Result<Page> {
        let host = self.link.trim_start_matches("http://").trim_end_matches('/');
        get(host, host, target)
    }

    /// The sign-in page's address, as the listener gives it to the browser.
    fn page(&self) -> io::Result<String> {
        let page = self.get("/")?;
        assert_eq!(page.status, 302, "{page:?}");
        Ok(page.location)
    }

    fn finish(mut self) -> io::Result<Finished> {
        let mut stdout = String::new();
        self.child.stdout.take().expect("stdout is piped").read_to_string(&mut stdout)?;
        let mut stderr = String::new();
        self.stderr.read_to_string(&mut stderr)?;
        Ok(Finished { code: self.child.wait()?.code(), stdout, stderr })
    }
}

fn get(address: &str, host: &str, target: &str) -> io::Result<Page> {
    let mut stream = TcpStream::connect(address.replace("localhost", "127.0.0.1"))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let location =
        text.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap_or_default().to_owned();
    Ok(Page { status, location, text })
}

/// Entra's part: the page signs the person in and leads back. The target of the way back.
fn through_entra(home: &Home, page: &str) -> io::Result<String> {
    let reply = Https::trusting(&home.cloud.info().ca_bundle)?.send("GET", page, &[], b"")?;
    let back = reply.header("location").unwrap_or_default();
    let back = url::Url::parse(back).map_err(io::Error::other)?;
    Ok(format!("/?{}", back.query().unwrap_or_default()))
}

fn sign_in(home: &Home) -> io::Result<Finished> {
    let browser = InBrowser::start(home)?;
    let back = through_entra(home, &browser.page()?)?;
    let page = browser.get(&back)?;
    assert!(page.text.contains("You are signed in to entrabot. You may close this window."), "{page:?}");
    browser.finish()
}

fn to(requests: &[RecordedRequest], endpoint: &str) -> usize {
    requests.iter().filter(|request| request.path.ends_with(endpoint)).count()
}

fn who(client: &Client) -> io::Result<Value> {
    Ok(client.call("whoami", &json!({}))?.value())
}

fn waited(mut done: impl FnMut() -> io::Result<bool>) -> io::Result<bool> {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if done()? {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(false)
}

#[test]
fn a_person_signs_in_once_and_their_acts_are_on_record_as_theirs() -> io::Result<()> {
    let home = delegated()?;
    let info = home.cloud.info().clone();
    let nobody = home.run(&["call", "mcp_WordServer", "GetDocumentContent"], b"")?;
    assert!(nobody.stderr.contains("AuthRefreshRequiredError") && nobody.stderr.contains("entrabot sign-in"));
    nobody.assert_code(6);

    let signed_in = sign_in(&home)?;
    assert_eq!(signed_in.assert_code(0).json()["object_id"], info.sponsor_id.as_str());
    assert_eq!(to(&home.cloud.requests(), "/token"), 1);

    // Another process: silently, with the refresh token of the keyring.
    home.cloud.clear_requests();
    let client = home.serve()?;
    let said = who(&client)?;
    assert_eq!(
        (&said["status"], &said["auth_mode"]),
        (&json!("authenticated"), &json!("delegated")),
        "{said}"
    );
    assert_eq!(said["human_object_id"], info.sponsor_id.as_str());
    assert_eq!(said["attribution_type"], "delegated-human");
    who(&client)?;
    let logged = client.call("audit_log", &json!({"action": "note.taken", "resource": "1"}))?;
    assert!(!logged.is_error, "{}", logged.text);
    // Work IQ's tokens are the agent's alone: the act is on record as the person's, and fails before it leaves.
    let refused =
        client.call("read_word_document", &json!({"url": "https://contoso.sharepoint.com/x.docx"}))?;
    assert!(refused.is_error && refused.text.contains("A365TokenError"), "{}", refused.text);
    drop(client);

    let requests = home.cloud.requests();
    assert_eq!(requests.len(), 1, "one refresh, and nothing while the token is in time: {requests:?}");
    assert_eq!(requests[0].field("grant_type"), Some("refresh_token"));
    let records = home.records()?;
    assert_eq!(records.len(), 3, "{records:?}");
    for record in &records {
        assert_eq!(record["attribution_type"], "delegated-human", "{record}");
        assert_eq!(record["agent_id"], info.sponsor_id.as_str(), "{record}");
        assert_eq!(record["via"], "session", "{record}");
    }
    assert_eq!(records[2]["outcome"], "failure");

    // The newest refresh token is the one that is kept, in the keyring alone.
    let kept = home.run(&["keystore", "get", "entrabot", "delegated-sign-in"], b"")?;
    let kept = kept.assert_code(0).json();
    assert_eq!(kept["oid"], info.sponsor_id.as_str());
    let token = kept["refresh_token"].as_str().unwrap_or_default();
    assert!(token.starts_with("1.") && requests[0].field("refresh_token") != Some(token), "{token}");
    assert_eq!(files_with(&home.state(), token.as_bytes())?, [""; 0].map(std::path::PathBuf::from));

    home.run(&["sign-out"], b"")?.assert_code(0);
    home.run(&["keystore", "get", "entrabot", "delegated-sign-in"], b"")?.assert_code(4);
    home.run(&["whoami"], b"")?.assert_code(6);
    Ok(())
}

#[test]
fn an_answer_of_another_sign_in_changes_nothing() -> io::Result<()> {
    let home = delegated()?;
    let browser = InBrowser::start(&home)?;
    let page = browser.page()?;
    for (target, status) in [
        ("/?code=PLANTED&state=PLANTED", 400),
        ("/?code=PLANTED", 400),
        ("/?error=access_denied&state=PLANTED", 400),
        ("/favicon.ico", 404),
        ("//elsewhere.example/?code=x", 404),
    ] {
        let refused = browser.get(target)?;
        assert_eq!(refused.status, status, "{refused:?}");
        assert!(!refused.text.contains("PLANTED"), "{refused:?}");
    }
    let address = browser.link.trim_start_matches("http://").trim_end_matches('/').to_owned();
    assert_eq!(get(&address, "elsewhere.example", "/")?.status, 421);
    assert_eq!(to(&home.cloud.requests(), "/token"), 0, "no code was redeemed");
    // A browser opens connections that it says nothing on; they hold nobody up.
    let _silent = TcpStream::connect(address.replace("localhost", "127.0.0.1"))?;

    // The same page with another nonce: the id token that comes is not of this sign-in.
    let url = url::Url::parse(&page).map_err(io::Error::other)?;
    let mut other = url.clone();
    other.query_pairs_mut().clear();
    for (name, value) in url.query_pairs() {
        let value = if name == "nonce" { "PLANTED".into() } else { value };
        other.query_pairs_mut().append_pair(&name, &value);
    }
    let shown = browser.get(&through_entra(&home, other.as_str())?)?;
    assert!(shown.text.contains("You are not signed in"), "{shown:?}");
    let finished = browser.finish()?;
    finished.assert_code(6);
    assert!(finished.stderr.contains("nonce") && !finished.stderr.contains("PLANTED"), "{finished:?}");
    home.run(&["keystore", "get", "entrabot", "delegated-sign-in"], b"")?.assert_code(4);
    Ok(())
}

#[test]
fn a_person_who_declines_is_not_signed_in() -> io::Result<()> {
    let home = delegated()?;
    let browser = InBrowser::start(&home)?;
    let page = url::Url::parse(&browser.page()?).map_err(io::Error::other)?;
    let state = page.query_pairs().find(|(name, _)| name == "state").map(|(_, value)| value.into_owned());
    let state = state.expect("a state was sent");
    let shown = browser.get(&format!("/?error=access_denied&error_description=PLANTED&state={state}"))?;
    assert!(shown.text.contains("You are not signed in") && !shown.text.contains("PLANTED"), "{shown:?}");
    let finished = browser.finish()?;
    assert_eq!(finished.assert_code(6).json()["error_type"], "AuthCancelledError");
    assert!(!finished.stderr.contains("PLANTED"), "{finished:?}");
    Ok(())
}

#[test]
fn a_device_code_is_polled_at_the_services_pace() -> io::Result<()> {
    let home = delegated()?;
    let slow_down = Effect::Respond {
        status: 400,
        headers: Vec::new(),
        body: r#"{"error":"slow_down","error_description":"PLANTED"}"#.into(),
    };
    // The first poll is told that nobody has entered the code, the second to slow down, the third succeeds.
    home.cloud.set_fault(Fault { skip: 1, ..Fault::sts(slow_down).times(1) });
    let started = Instant::now();
    let signed_in = home.run(&["sign-in", "--device-code", "--json"], b"")?;
    let took = started.elapsed();
    assert_eq!(signed_in.assert_code(0).json()["signed_in"], true);
    let code = signed_in.stderr.contains("enter the code") && signed_in.stderr.contains("/device");
    assert!(code && !signed_in.stderr.contains("PLANTED"), "{signed_in:?}");
    assert!(took >= Duration::from_secs(7), "1 s, then 6 s as RFC 8628 says: {took:?}");
    let requests = home.cloud.requests();
    assert_eq!(
        (to(&requests, "/devicecode"), to(&requests, "/token"), to(&requests, "/authorize")),
        (1, 3, 0)
    );
    Ok(())
}

#[test]
fn a_device_code_that_nobody_enters_ends_and_a_malformed_one_is_not_shown() -> io::Result<()> {
    let home = delegated()?;
    let begin = |body: Value| Fault {
        target: Some(Role::Authority),
        path_contains: Some("/devicecode".into()),
        times: Some(1),
        effect: Effect::Respond { status: 200, headers: Vec::new(), body: body.to_string() },
        ..Fault::default()
    };
    let details = |uri: &str, life: u64| {
        json!({"device_code": "PLANTED-device", "user_code": "ABCD-EFGH",
        "verification_uri": uri, "expires_in": life, "interval": 1, "message": "PLANTED"})
    };
    home.cloud.set_fault(begin(details("https://login.example/device", 2)));
    home.cloud.set_fault(Fault::sts(Effect::Respond {
        status: 400,
        headers: Vec::new(),
        body: r#"{"error":"authorization_pending"}"#.into(),
    }));
    let late = home.run(&["sign-in", "--device-code", "--json"], b"")?;
    assert_eq!(late.assert_code(5).json()["error_type"], "AuthTimeoutError", "{late:?}");
    assert!(late.stderr.contains("ABCD-EFGH") && !late.stderr.contains("PLANTED"), "{late:?}");

    home.cloud.set_fault(begin(details("http://login.example/PLANTED", 900)));
    let malformed = home.run(&["sign-in", "--device-code", "--json"], b"")?;
    malformed.assert_code(6);
    assert!(malformed.stderr.contains("malformed_device_code"), "{malformed:?}");
    assert!(!malformed.stderr.contains("PLANTED"), "{malformed:?}");
    Ok(())
}

#[test]
fn a_fallback_that_was_not_allowed_never_asks_a_person() -> io::Result<()> {
    let mut home = Home::ready(Options::default())?;
    home.set("ENTRABOT_CLIENT_ID", home.cloud.info().client_id.clone());
    // Somebody has signed in here before: even the silent way is not taken.
    sign_in(&home)?.assert_code(0);
    home.cloud.set_fault(refused_agent());
    for (name, value) in [
        ("ENTRABOT_MODE", "auto"),
        ("ENTRABOT_MODE", "agent_user"),
        // The mode says the agent and nobody else, whatever the other setting says.
        ("ENTRABOT_ALLOW_DELEGATED_FALLBACK", "1"),
    ] {
        home.set(name, value);
        home.cloud.clear_requests();
        let client = home.serve()?;
        let said = who(&client)?;
        assert_eq!(said["identity_state"], "UNAUTHENTICATED", "{name}={value}: {said}");
        assert_eq!(said["error_type"], "TokenExchangeError", "{said}");
        drop(client);
        let requests = home.cloud.requests();
        assert!(to(&requests, "/token") > 0, "the agent tried");
        assert_eq!((to(&requests, "/authorize"), to(&requests, "/devicecode")), (0, 0), "{name}={value}");
        let hops = requests.iter().filter(|request| request.path.ends_with("/token"));
        assert!(hops.clone().all(|request| request.hop() == Some(1)), "{name}={value}: only the agent's own");
    }
    Ok(())
}

fn refused_agent() -> Fault {
    Fault::hop(1, Effect::Respond { status: 401, headers: Vec::new(), body: NO_GRANT.into() })
}

#[test]
fn an_allowed_fallback_is_on_record_before_the_person_acts() -> io::Result<()> {
    let mut home = Home::ready(Options::default())?;
    let info = home.cloud.info().clone();
    home.set("ENTRABOT_CLIENT_ID", info.client_id.clone());
    home.set("ENTRABOT_ALLOW_DELEGATED_FALLBACK", "1");
    home.cloud.set_fault(refused_agent());

    // Nobody signed in before, and there is no browser: a code, on stderr alone.
    let client = home.serve()?;
    let asked = waited(|| Ok(std::fs::read_to_string(home.serve_log())?.contains("enter the code")))?;
    assert!(asked, "{}", std::fs::read_to_string(home.serve_log())?);
    assert!(waited(|| Ok(who(&client)?["auth_mode"] == "delegated"))?, "{}", who(&client)?);
    client.call("audit_log", &json!({"action": "note.taken", "resource": "1"}))?;
    // The agent could sign in again: who acts does not change back under the client's feet.
    home.cloud.clear_faults();
    let refused =
        client.call("read_word_document", &json!({"url": "https://contoso.sharepoint.com/x.docx"}))?;
    assert!(refused.is_error, "{}", refused.text);
    drop(client);

    let records = home.records()?;
    let change = &records[0];
    assert_eq!(change["action"], "identity.delegated_fallback", "{records:?}");
    assert_eq!(change["src"], "system");
    assert_eq!((&change["agent_id"], &change["attribution_type"]), (&json!(info.agent_id), &json!("agent")));
    assert_eq!(change["resource"], info.sponsor_id.as_str());
    assert_eq!(
        change["metadata"],
        json!({"from": "agent_user", "to": "delegated", "error_type": "TokenExchangeError"})
    );
    for record in &records[1..] {
        assert_eq!(record["attribution_type"], "delegated-human", "{record}");
        assert_eq!(record["agent_id"], info.sponsor_id.as_str(), "{record}");
    }
    assert_eq!(records.len(), 4, "{records:?}");
    let calls = home.cloud.requests().iter().filter(|request| request.host == Role::A365).count();
    assert_eq!(calls, 0, "no token of the agent went out under the person's name");
    Ok(())
}

#[test]
fn a_fallback_that_cannot_be_recorded_does_not_happen() -> io::Result<()> {
    let mut home = Home::ready(Options::default())?;
    home.set("ENTRABOT_CLIENT_ID", home.cloud.info().client_id.clone());
    sign_in(&home)?.assert_code(0);
    home.set("ENTRABOT_ALLOW_DELEGATED_FALLBACK", "1");
    home.cloud.set_fault(refused_agent());
    // A file where the directory should be.
    let place = home.scratch().join("no-directory");
    std::fs::write(&place, "")?;
    home.set("ENTRABOT_AUDIT_DIR", place.display().to_string());
    let whoami = home.run(&["whoami", "--json"], b"")?;
    let said = whoami.json();
    assert_eq!(said["identity_state"], "UNAUTHENTICATED", "{whoami:?}");
    assert_eq!(said["error_type"], "TransitionError", "{whoami:?}");
    Ok(())
}

#[test]
fn a_refresh_that_is_refused_signs_the_person_out_and_says_what_to_do() -> io::Result<()> {
    let home = delegated()?;
    sign_in(&home)?.assert_code(0);
    home.cloud.set_fault(Fault::sts(Effect::Respond {
        status: 400,
        headers: Vec::new(),
        body: json!({"error": "invalid_grant", "error_description": "AADSTS50173: PLANTED", "error_codes": [50173],
            "access_token": "PLANTED", "refresh_token": "PLANTED"})
        .to_string(),
    }));
    let whoami = home.run(&["whoami", "--json"], b"")?;
    whoami.assert_code(6);
    let said = whoami.json();
    assert_eq!(
        (&said["identity_state"], &said["error_type"]),
        (&json!("UNAUTHENTICATED"), &json!("TokenExchangeError"))
    );
    assert!(said["error"].as_str().is_some_and(|text| text.contains("invalid_grant, AADSTS50173")), "{said}");
    assert!(said["hint"].as_str().is_some_and(|text| text.contains("entrabot sign-in")), "{said}");
    assert!(!format!("{whoami:?}").contains("PLANTED"), "{whoami:?}");
    assert_eq!(files_with(&home.state(), b"PLANTED")?.len(), 0);
    Ok(())
}
