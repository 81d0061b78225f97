use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex};

use super::*;

/// An endpoint that answers in order; what it was asked.
struct Scripted {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn start(answers: Vec<(u16, String, String)>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (record, mut answers) = (Arc::clone(&seen), VecDeque::from(answers));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                let mut byte = [0; 1];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                    head.push(byte[0]);
                }
                record.lock().unwrap().push(String::from_utf8_lossy(&head).to_lowercase());
                let Some((status, headers, body)) = answers.pop_front() else { return };
                let text = format!(
                    "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(text.as_bytes()).unwrap();
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

const CLIENT: &str = "00000000-0000-4000-8000-000000000001";

fn identity(variables: &[(&str, &str)]) -> Result<ManagedIdentity, FederatedError> {
    // Http is built on the process's TLS provider.
    let config = Config::from_variables(variables.iter().copied()).unwrap();
    drop(crate::Egress::from_config(&config).unwrap());
    ManagedIdentity::from_config(&config)
}

const EXCHANGE: &str = "api://AzureADTokenExchange";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn ask(identity: &ManagedIdentity) -> Result<TokenText, FederatedError> {
    runtime().block_on(identity.token(EXCHANGE, Budget::start())).map_err(|error| match error {
        TokenError::Federated(error) => error,
        other => panic!("{other:?}"),
    })
}

fn good(more: &str) -> (u16, String, String) {
    (
        200,
        String::new(),
        format!(r#"{{"access_token":"planted","token_type":"Bearer","expires_in":"86399"{more}}}"#),
    )
}

#[test]
fn the_host_is_told_by_what_it_sets_and_an_unknown_one_is_refused_by_name() {
    let host = |variables: &[(&str, &str)]| match identity(variables) {
        Ok(identity) => identity.host_name().to_owned(),
        Err(error) => error.to_string(),
    };
    let (endpoint, header) =
        (("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token/"), ("IDENTITY_HEADER", "x"));
    assert_eq!(host(&[]), "IMDS");
    assert_eq!(host(&[endpoint, header]), "App Service");
    assert_eq!(host(&[endpoint, ("IMDS_ENDPOINT", "http://localhost:1")]), "Azure Arc");
    assert!(host(&[endpoint, header, ("IDENTITY_SERVER_THUMBPRINT", "x")]).contains("Service Fabric"));
    assert!(host(&[("MSI_ENDPOINT", "http://x"), ("MSI_SECRET", "x")]).contains("Machine Learning"));
    assert!(host(&[("MSI_ENDPOINT", "http://x")]).contains("Cloud Shell"));
    let elsewhere = ("IDENTITY_ENDPOINT", "http://planted.example/token");
    assert!(host(&[elsewhere, ("IMDS_ENDPOINT", "http://localhost:1")]).contains("this host alone"));
    assert!(host(&[("AZURE_CLIENT_ID", "x")]).contains("AZURE_CLIENT_ID"));
}

#[test]
fn imds_is_asked_again_after_410_429_and_500_and_its_token_is_kept() {
    let busy = |status: u16, headers: &str| (status, headers.to_owned(), "{}".to_owned());
    let host = Scripted::start(vec![busy(410, ""), busy(429, "Retry-After: 0\r\n"), busy(500, ""), good("")]);
    let imds = identity(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &host.address), ("AZURE_CLIENT_ID", CLIENT)])
        .unwrap();
    assert_eq!(ask(&imds).unwrap().as_str(), "planted");
    assert_eq!(ask(&imds).unwrap().as_str(), "planted");
    let seen = host.seen();
    assert_eq!(seen.len(), 4, "and none for the second token");
    for head in &seen {
        let wanted = format!(
            "get /metadata/identity/oauth2/token?api-version=2018-02-01&resource=api%3a%2f%2fazureadtokenexchange&client_id={CLIENT} "
        );
        assert!(head.starts_with(&wanted), "{head}");
        assert!(head.contains("metadata: true") && !head.contains("x-forwarded-for"), "{head}");
    }
    assert!(!format!("{imds:?}").contains("planted"));
}

#[test]
fn a_refusal_is_final_and_shows_nothing_of_the_answer() {
    for (answer, code) in [
        (
            (400, r#"{"error":"invalid_request","error_description":"Identity not found planted"}"#),
            "identity_not_found",
        ),
        ((400, r#"{"error":"invalid_resource","error_description":"planted"}"#), "invalid_resource"),
        ((403, "planted unreachable"), "not_the_endpoint"),
        ((401, r#"{"statusCode":401,"message":"planted"}"#), "refused"),
        ((302, "planted"), "refused"),
        ((200, "planted"), "malformed_answer"),
        ((200, r#"{"access_token":"planted"}"#), "malformed_answer"),
        ((200, r#"{"access_token":"pla nted","expires_in":5}"#), "malformed_answer"),
    ] {
        let headers = if answer.0 == 302 { "Location: http://127.0.0.1:1/planted\r\n" } else { "" };
        let host = Scripted::start(vec![(answer.0, headers.into(), answer.1.into())]);
        let error =
            ask(&identity(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &host.address)]).unwrap()).unwrap_err();
        let FederatedError::Endpoint { code: found, .. } = &error else { panic!("{error:?}") };
        assert_eq!(found, code);
        assert_eq!(host.seen().len(), 1, "{code}");
        assert!(!format!("{error} {error:?}").contains("planted"), "{error:?}");
    }
}

#[test]
fn app_service_is_shown_its_header_and_tells_only_when_the_token_ends() {
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3_600;
    let body = format!(r#"{{"access_token":"planted","expires_on":"{end}","token_type":"Bearer"}}"#);
    let host = Scripted::start(vec![(200, String::new(), body)]);
    let endpoint = format!("{}/msi/token/", host.address);
    let identity = identity(&[("IDENTITY_ENDPOINT", &endpoint), ("IDENTITY_HEADER", "s3cret")]).unwrap();
    assert_eq!(ask(&identity).unwrap().as_str(), "planted");
    let head = &host.seen()[0];
    assert!(head.starts_with("get /msi/token/?api-version=2019-08-01&resource=api%3a"), "{head}");
    assert!(head.contains("x-identity-header: s3cret"), "{head}");
    assert!(!format!("{identity:?}").contains("s3cret"));
}

fn arc(host: &Scripted, tokens: &std::path::Path, variables: &[(&str, &str)]) -> ManagedIdentity {
    let mut identity = identity(variables).unwrap();
    let endpoint = Arc::get_mut(&mut identity.endpoint).unwrap();
    endpoint.host = Host::Arc {
        endpoint: format!("{}/metadata/identity/oauth2/token", host.address),
        tokens: tokens.into(),
    };
    identity
}

#[test]
fn arc_is_shown_the_key_of_the_file_that_it_names_if_that_is_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (own, other) = (dir.path().join("a.key"), dir.path().join("a.txt"));
    std::fs::write(&own, "a2V5").unwrap();
    std::fs::write(&other, "planted").unwrap();
    let challenge = |path: &std::path::Path| {
        (401, format!("WWW-Authenticate: Basic realm={}\r\n", path.display()), String::new())
    };
    let host = Scripted::start(vec![challenge(&own), good("")]);
    assert_eq!(ask(&arc(&host, dir.path(), &[])).unwrap().as_str(), "planted");
    assert!(host.seen()[1].contains("authorization: basic a2v5"), "{:?}", host.seen());

    let host = Scripted::start(vec![challenge(&other), good("")]);
    let error = ask(&arc(&host, dir.path(), &[])).unwrap_err();
    assert!(error.to_string().contains("key_file_refused"), "{error}");
    assert_eq!(host.seen().len(), 1, "nothing was sent for it");

    // An old agent ignores the parameter and answers for the system's identity.
    for (echo, sound) in [(format!(r#","client_id":"{CLIENT}""#), true), (String::new(), false)] {
        let host = Scripted::start(vec![challenge(&own), good(&echo)]);
        let result = ask(&arc(&host, dir.path(), &[("AZURE_CLIENT_ID", CLIENT)]));
        assert_eq!(result.is_ok(), sound, "{result:?}");
    }
}

#[test]
fn an_endpoint_that_takes_longer_than_a_call_is_asked_on_and_the_next_call_has_its_token() {
    let gone = || (410, String::new(), String::new());
    let host = Scripted::start(vec![gone(), gone(), gone(), good("")]);
    let variables = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", host.address.as_str())];
    let mut imds = identity(&variables).unwrap();
    let pause = [Duration::from_millis(150); 5];
    Arc::get_mut(&mut imds.endpoint).unwrap().pace =
        Pace { in_call: Duration::from_millis(200), pauses: pause, gone: pause };
    runtime().block_on(async {
        let error = imds.token(EXCHANGE, Budget::start()).await.unwrap_err();
        assert!(error.to_string().contains("HTTP 410"), "what it was told, not that it was slow: {error}");
        // Nobody waits now.
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(host.seen().len(), 4);
        assert_eq!(imds.token(EXCHANGE, Budget::start()).await.unwrap().as_str(), "planted");
    });
    assert_eq!(host.seen().len(), 4);
}

#[test]
fn each_resource_has_a_token_of_its_own() {
    let answer = |token: &str| {
        (
            200,
            String::new(),
            format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":"86399"}}"#),
        )
    };
    let host = Scripted::start(vec![answer("exchange"), answer("vault"), answer("newer")]);
    let imds = identity(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", host.address.as_str())]).unwrap();
    runtime().block_on(async {
        let token = async |resource| imds.token(resource, Budget::start()).await.unwrap();
        assert_eq!(token(EXCHANGE).await.as_str(), "exchange");
        assert_eq!(token("https://vault.azure.net").await.as_str(), "vault");
        assert_eq!(token(EXCHANGE).await.as_str(), "exchange");
        imds.forget(EXCHANGE);
        assert_eq!(token(EXCHANGE).await.as_str(), "newer");
        assert_eq!(token("https://vault.azure.net").await.as_str(), "vault");
    });
}
