//! A person's sign-in beside PyPI's `msal`, against the same stand-in in the same run: the same forms but for the
//! differences that we chose.

mod journey;

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use entrabot_tests::peers::Python;
use entrabot_tests::stand_in::{Options, RecordedRequest};
use journey::Home;

const MSAL: &str = r#"
import json, sys, time, urllib.parse, msal, requests
info, part = json.loads(sys.argv[1]), sys.argv[2]
app = msal.PublicClientApplication(info["client_id"], instance_discovery=False,
    authority=f"{info['authority_base']}/{info['tenant_id']}")
def back(uri):
    location = requests.get(uri, allow_redirects=False).headers["Location"]
    return dict(urllib.parse.parse_qsl(urllib.parse.urlparse(location).query))
if part == "code":
    flow = app.initiate_auth_code_flow(["User.Read"], redirect_uri="http://localhost:8400")
    token = app.acquire_token_by_auth_code_flow(flow, back(flow["auth_uri"]))
    assert "access_token" in token, token
    assert token["id_token_claims"]["oid"] == info["sponsor_id"], token
    again = app.acquire_token_silent(["User.Read"], account=app.get_accounts()[0])
    assert again["access_token"] == token["access_token"], "silent while in time"
    new = app.acquire_token_silent(["User.Read"], account=app.get_accounts()[0], force_refresh=True)
    assert "access_token" in new, new
else:
    token = app.acquire_token_by_device_flow(app.initiate_device_flow(["User.Read"]))
    assert "access_token" in token, token
"#;

/// A browser for `BROWSER`: it goes where it is led, and shows nothing.
const BROWSER: &str = r#"#!PYTHON
import ssl, sys, urllib.request
context = ssl.create_default_context(cafile="CA")
print(urllib.request.urlopen(sys.argv[1], context=context).read().decode())
"#;

type Fields = BTreeMap<String, String>;

/// The values that differ each time, as `*`.
fn fields(pairs: impl Iterator<Item = (String, String)>) -> Fields {
    let fresh = ["code", "code_challenge", "code_verifier", "device_code", "nonce", "refresh_token", "state"];
    pairs
        .map(|(name, value)| {
            let value = if fresh.contains(&name.as_str()) { "*".to_owned() } else { value };
            (name, value)
        })
        .collect()
}

fn query(requests: &[RecordedRequest]) -> Fields {
    let request =
        requests.iter().find(|request| request.path.ends_with("/authorize")).expect("a page was asked for");
    fields(url::form_urlencoded::parse(request.query.as_bytes()).into_owned())
}

fn form(requests: &[RecordedRequest], path: &str, grant: Option<&str>) -> Fields {
    let request = requests
        .iter()
        .find(|request| request.path.ends_with(path) && request.field("grant_type") == grant)
        .unwrap_or_else(|| panic!("{path} {grant:?} in {requests:?}"));
    fields(request.form.iter().flatten().cloned())
}

#[cfg(unix)]
fn browser(home: &Home) -> io::Result<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let python = Python::ready(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let path = home.scratch().join("browser");
    let ca = home.cloud.info().ca_bundle.display().to_string();
    let text = BROWSER.replace("PYTHON", &python.program().display().to_string()).replace("CA", &ca);
    std::fs::write(&path, text)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
    Ok(path.display().to_string())
}

#[cfg(unix)]
#[test]
fn our_sign_in_is_msals_but_for_what_we_chose() -> io::Result<()> {
    let python = Python::ready(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let mut home = Home::bare(Options::default())?;
    let info = home.cloud.info().clone();
    home.set("ENTRABOT_CLIENT_ID", info.client_id.clone());
    home.set("ENTRABOT_MODE", "delegated");
    home.set("BROWSER", browser(&home)?);
    let json = serde_json::to_string(&info).map_err(io::Error::other)?;
    let ca = info.ca_bundle.display().to_string();
    let msal = |part: &str| -> io::Result<Vec<RecordedRequest>> {
        home.cloud.clear_requests();
        python.run(MSAL, &[&json, part], &[("REQUESTS_CA_BUNDLE", &ca)])?;
        Ok(home.cloud.requests())
    };

    // The browser is opened and comes back by itself.
    home.run(&["sign-in", "--port", "0"], b"")?.assert_code(0);
    home.run(&["whoami"], b"")?.assert_code(0);
    let (ours, theirs) = (home.cloud.requests(), msal("code")?);
    let (our_page, mut their_page) = (query(&ours), query(&theirs));
    // An account object that nobody reads: the id token names the person.
    assert_eq!(their_page.remove("client_info").as_deref(), Some("1"));
    // Any port of localhost is the registered redirect.
    let local = |fields: &Fields| {
        let mut fields = fields.clone();
        let redirect = fields.get_mut("redirect_uri").expect("a redirect");
        assert!(redirect.starts_with("http://localhost:"), "{redirect}");
        *redirect = "http://localhost".into();
        fields
    };
    assert_eq!(local(&our_page), local(&their_page));
    let raw = |requests: &[RecordedRequest], name: &str| {
        let page = requests.iter().find(|request| request.path.ends_with("/authorize")).expect("a page");
        let mut pairs = url::form_urlencoded::parse(page.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.len()).unwrap_or_default()
    };
    assert_eq!((raw(&ours, "state"), raw(&ours, "code_challenge"), raw(&ours, "nonce")), (22, 43, 43));

    let grant = Some("authorization_code");
    let (ours_redeems, mut theirs_redeems) = (form(&ours, "/token", grant), form(&theirs, "/token", grant));
    theirs_redeems.remove("client_info");
    assert_eq!(local(&ours_redeems), local(&theirs_redeems));
    let grant = Some("refresh_token");
    let (ours_refreshes, mut theirs_refreshes) =
        (form(&ours, "/token", grant), form(&theirs, "/token", grant));
    theirs_refreshes.remove("client_info");
    assert_eq!(ours_refreshes, theirs_refreshes);

    home.cloud.clear_requests();
    home.run(&["sign-in", "--device-code"], b"")?.assert_code(0);
    let (ours, theirs) = (home.cloud.requests(), msal("device")?);
    assert_eq!(form(&ours, "/devicecode", None), form(&theirs, "/devicecode", None));
    let grant = Some("urn:ietf:params:oauth:grant-type:device_code");
    let (ours_polls, mut theirs_polls) = (form(&ours, "/token", grant), form(&theirs, "/token", grant));
    theirs_polls.remove("client_info");
    // For an old AD FS.
    theirs_polls.remove("code");
    assert_eq!(ours_polls, theirs_polls);
    Ok(())
}

#[cfg(unix)]
#[test]
fn the_port_of_the_registered_redirect_is_8400_and_a_taken_one_leads_to_a_code() -> io::Result<()> {
    let mut home = Home::bare(Options::default())?;
    home.set("ENTRABOT_CLIENT_ID", home.cloud.info().client_id.clone());
    home.set("BROWSER", "/bin/true");
    // Another test, or another program, may have it; all that matters is that it is taken.
    let _taken = std::net::TcpListener::bind("127.0.0.1:8400");
    let mut command = home.command(&["sign-in"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
    let said: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(said.iter().any(|line| line.contains("enter the code")), "{said:?}");
    assert!(child.wait()?.success(), "{said:?}");
    Ok(())
}
