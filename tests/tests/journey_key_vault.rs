//! An agent whose blueprint's key is in Azure Key Vault: it signs there, and this host has neither key nor keyring.

#![cfg(target_os = "linux")]

mod journey;

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use entrabot_tests::mcp::Client;
use entrabot_tests::stand_in::{Metadata, Vault};
use journey::replica::{ISSUER, Replica, SUBJECT};
use journey::{files_with, records};
use serde_json::{Value, json};

/// A virtual machine whose managed identity may use the vault.
struct Host {
    replica: Replica,
    vault: Vault,
    metadata: Metadata,
}

impl Host {
    fn new() -> io::Result<Self> {
        let mut replica = Replica::new("key-vault")?;
        let (vault, metadata) = (replica.cloud.vault()?, replica.cloud.metadata()?);
        replica.set("ENTRABOT_KEY_VAULT_KEY", vault.certificate_id());
        replica.set("ENTRABOT_KEY_VAULT_TOKEN", "managed-identity");
        replica.set("ENTRABOT_PROXY", vault.proxy());
        for (name, value) in metadata.imds() {
            replica.set(name, value);
        }
        Ok(Self { replica, vault, metadata })
    }

    /// What `whoami` says when it fails.
    fn refused(&self) -> io::Result<Value> {
        let whoami = self.replica.run(&["whoami", "--json"])?;
        assert_ne!(whoami.code, Some(0), "{whoami:?}");
        Ok(whoami.json())
    }

    fn signatures(&self) -> usize {
        self.vault
            .requests()
            .iter()
            .filter(|asked| asked.line.ends_with("/sign") && asked.bearer.is_some())
            .count()
    }
}

#[track_caller]
fn assert_says(said: &Value, member: &str, wanted: &str) {
    assert!(said[member].as_str().is_some_and(|text| text.contains(wanted)), "{wanted} in {said}");
}

#[test]
fn a_host_serves_with_a_key_that_never_leaves_the_vault() -> io::Result<()> {
    let host = Host::new()?;
    let mut command = host.replica.command(&["serve"]);
    command.stderr(std::process::Stdio::null());
    let client = Client::start(command)?;
    let created =
        client.call("create_word_document", &json!({"file_name": "x.docx", "content_html": "<p>x</p>"}))?;
    assert!(!created.is_error, "{}", created.text);
    drop(client);

    let asked: Vec<_> = host.vault.requests();
    let lines: Vec<_> =
        asked.iter().map(|request| request.line.split('/').take(3).collect::<String>()).collect();
    // The certificate first: without a token, then with one; then one signature for all hops and calls.
    assert_eq!(
        lines,
        ["GET certificatesentrabot", "GET certificatesentrabot", "POST keysentrabot"],
        "{asked:?}"
    );
    assert_eq!((&asked[0].bearer, asked[0].body.as_str()), (&None, ""));
    assert_eq!(host.metadata.requests().len(), 1, "the vault's token is kept");
    let token = asked[2].bearer.clone().unwrap_or_default();
    assert!(token.len() > 100);
    assert_eq!(files_with(host.replica.dir(), token.as_bytes())?, Vec::<std::path::PathBuf>::new());

    for record in records(&host.replica.audit_dir())?.iter().filter(|record| record["src"] == "transport") {
        assert_eq!(record["attribution_type"], "agent", "{record}");
    }
    host.replica.run(&["audit", "verify"])?.assert_code(0);
    Ok(())
}

#[test]
fn both_algorithms_and_a_bare_key_sign_and_the_doctor_says_where() -> io::Result<()> {
    let mut host = Host::new()?;
    let key = host.replica.doctor("blueprint key")?;
    assert_says(&key, "detail", "key vault agents.vault.azure.net");
    assert_says(&key, "detail", "managed identity, IMDS");
    assert_eq!(host.replica.doctor("token mint")?["status"], "pass");
    assert_eq!(host.replica.doctor("keyring")?["status"], "skip");

    host.replica.set("ENTRABOT_ASSERTION_ALGORITHM", "RS256");
    host.replica.set("ENTRABOT_BLUEPRINT_CERT_THUMBPRINT", host.vault.thumbprint());
    host.replica.set("ENTRABOT_KEY_VAULT_KEY", host.vault.key_id());
    let before = host.vault.requests().len();
    let minted = host.replica.run(&["token", "check", "--json"])?;
    minted.assert_code(0);
    let asked = host.vault.requests().split_off(before);
    assert!(asked.iter().all(|request| request.line.starts_with("POST /keys/")), "{asked:?}");
    assert_says(&json!({"body": asked[1].body}), "body", "\"alg\":\"RS256\"");
    // The certificate in use is looked at as one in a keyring would be.
    assert_eq!(host.replica.doctor("certificate")?["status"], "pass");
    Ok(())
}

#[test]
fn a_vault_that_asks_for_a_token_of_something_else_is_sent_none() -> io::Result<()> {
    let host = Host::new()?;
    let info = host.replica.cloud.info().clone();
    let own = format!("{}/{}", info.authority_base, info.tenant_id);
    for (challenge, code) in [
        (
            format!("Bearer authorization=\"{own}\", resource=\"https://graph.microsoft.com\""),
            "spoofed_challenge",
        ),
        (format!("Bearer authorization=\"{own}\", resource=\"https://azure.net\""), "spoofed_challenge"),
        (
            format!(
                "Bearer authorization=\"https://evil.example/{}\", resource=\"https://vault.azure.net\"",
                info.tenant_id
            ),
            "spoofed_challenge",
        ),
        (
            format!(
                "Bearer authorization=\"{}/00000000-0000-4000-8000-00000000000f\", resource=\"https://vault.azure.net\"",
                info.authority_base
            ),
            "other_tenant",
        ),
        ("Basic realm=\"x\"".to_owned(), "no_challenge"),
    ] {
        host.vault.challenge_with(&challenge);
        let said = host.refused()?;
        assert_eq!(said["error_type"], "KeyVaultError", "{said}");
        assert_says(&said, "error", code);
    }
    assert!(
        host.metadata.requests().is_empty(),
        "no token was even asked for: {:?}",
        host.metadata.requests()
    );
    assert!(
        host.vault.requests().iter().all(|request| request.bearer.is_none()),
        "{:?}",
        host.vault.requests()
    );
    assert_eq!(host.replica.assertions().len(), 0);
    Ok(())
}

#[test]
fn a_busy_vault_is_waited_for_as_it_says_and_a_refusal_is_final_with_its_remedy() -> io::Result<()> {
    let host = Host::new()?;
    let error = |code: &str, inner: Option<&str>| {
        let mut error = json!({"code": code, "message": "planted"});
        if let Some(inner) = inner {
            error["innererror"] = json!({"code": inner});
        }
        json!({ "error": error })
    };
    let started = Instant::now();
    host.vault.refuse_once(429, &[("Retry-After", "1")], error("Throttled", None));
    host.vault.refuse_once(503, &[], json!({}));
    host.replica.run(&["whoami"])?.assert_code(0);
    assert!(started.elapsed() > Duration::from_millis(1_700), "{:?}", started.elapsed());

    for (status, code, inner, wanted, remedy) in [
        (403, "Forbidden", Some("ForbiddenByFirewall"), "ForbiddenByFirewall", "firewall"),
        (403, "Forbidden", Some("ForbiddenByRbac"), "ForbiddenByRbac", "Key Vault Crypto User"),
        (403, "Forbidden", None, "Forbidden", "Key Vault Crypto User"),
        (404, "KeyNotFound", None, "KeyNotFound", "ENTRABOT_KEY_VAULT_KEY"),
        (400, "BadParameter", None, "BadParameter", "ENTRABOT_ASSERTION_ALGORITHM"),
    ] {
        let before = host.vault.requests().len();
        host.vault.refuse_once(status, &[], error(code, inner));
        let said = host.refused()?;
        assert_says(&said, "error", wanted);
        assert_says(&said, "hint", remedy);
        assert!(!said.to_string().contains("planted"), "{said}");
        assert_eq!(host.vault.requests().len(), before + 2, "without a token, with one, and not again");
    }
    // A wait that no call can wait for is told, and nothing more is sent.
    host.vault.refuse_once(429, &[("Retry-After", "600")], error("Throttled", None));
    assert_says(&host.refused()?, "hint", "wait 600 s");

    host.vault.disable();
    let said = host.refused()?;
    assert_says(&said, "error", "KeyDisabled");
    assert_says(&said, "hint", "enable that version");
    Ok(())
}

#[test]
fn another_certificate_than_the_configured_one_signs_nothing() -> io::Result<()> {
    let mut host = Host::new()?;
    let other = host.replica.cloud.info().blueprint_cert_thumbprint.clone();
    host.replica.set("ENTRABOT_BLUEPRINT_CERT_THUMBPRINT", other);
    let said = host.refused()?;
    assert_says(&said, "error", "other_certificate");
    assert_says(&said, "hint", &host.vault.thumbprint());
    assert_eq!(host.signatures(), 0);

    // Without its certificate's thumbprint a bare key is no credential; a version that is not pinned is no setting.
    host.replica.set("ENTRABOT_BLUEPRINT_CERT_THUMBPRINT", "");
    host.replica.set("ENTRABOT_KEY_VAULT_KEY", host.vault.key_id());
    assert_says(&host.refused()?, "error", "ENTRABOT_BLUEPRINT_CERT_THUMBPRINT");
    let unpinned = host.vault.key_id();
    host.replica.set("ENTRABOT_KEY_VAULT_KEY", unpinned.rsplit_once('/').map_or("", |(head, _)| head));
    assert_says(&host.refused()?, "error", "the version is pinned");
    Ok(())
}

#[test]
fn a_pods_service_account_asks_the_vault_and_a_claims_challenge_is_answered_once() -> io::Result<()> {
    let mut host = Host::new()?;
    let app = host.replica.cloud.workload_app(ISSUER, SUBJECT);
    host.replica.set("ENTRABOT_KEY_VAULT_TOKEN", "workload-identity");
    let said = host.refused()?;
    assert_eq!(said["error_type"], "CredentialUnavailableError", "{said}");
    assert_says(&said, "error", "AZURE_FEDERATED_TOKEN_FILE, AZURE_CLIENT_ID");

    host.replica.token_file()?;
    host.replica.set("AZURE_CLIENT_ID", app.as_str());
    let info = host.replica.cloud.info().clone();
    let claims = "eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZX19fQ";
    let challenge = format!(
        "Bearer authorization=\"{}/{}\", resource=\"https://vault.azure.net\", error=\"insufficient_claims\", claims=\"{claims}\"",
        info.authority_base, info.tenant_id
    );
    host.vault.refuse_once(401, &[("WWW-Authenticate", &challenge)], json!({}));
    host.replica.run(&["whoami"])?.assert_code(0);
    let requests = host.replica.cloud.requests();
    let asked: Vec<_> =
        requests.iter().filter(|request| request.field("client_id") == Some(app.as_str())).collect();
    assert_eq!(asked.len(), 2, "one token, and one that answers the claims");
    assert_eq!(asked[0].field("scope"), Some("https://vault.azure.net/.default"));
    assert_eq!(
        (asked[0].field("claims"), asked[1].field("claims")),
        (None, Some(r#"{"access_token":{"nbf":{"essential":true}}}"#))
    );
    let shown: BTreeSet<_> = host.vault.requests().into_iter().filter_map(|request| request.bearer).collect();
    assert_eq!(shown.len(), 2);

    // A vault that is never content is not asked for ever.
    for _ in 0..2 {
        host.vault.refuse_once(401, &[("WWW-Authenticate", &challenge)], json!({}));
    }
    let before = host.vault.requests().len();
    assert_says(&host.refused()?, "error", "HTTP 401");
    assert_eq!(host.vault.requests().len(), before + 3);
    Ok(())
}
