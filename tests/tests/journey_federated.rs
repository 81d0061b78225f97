//! An agent in a cluster or on a host with an identity of its own: no key, no keyring, no session bus.

#![cfg(target_os = "linux")]

mod journey;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use entrabot_tests::mcp::Client;
use entrabot_tests::stand_in::{Effect, Fault, FirstByteHook, Options, Role};
use journey::records;
use journey::replica::{ISSUER, Replica, SUBJECT, project};
use serde_json::json;

fn write(client: &Client) -> io::Result<entrabot_tests::mcp::Answer> {
    client.call("create_word_document", &json!({"file_name": "x.docx", "content_html": "<p>x</p>"}))
}

#[test]
fn a_replica_in_a_cluster_serves_with_no_key_no_keyring_and_no_bus() -> io::Result<()> {
    let mut replica = Replica::new("workload-identity")?;
    let token = replica.token_file()?;
    // Short-lived tokens, so that each call goes through hop 1 again.
    replica.cloud.set_behaviour(|behaviour| behaviour.token_lifetime_s = 2);
    let mut command = replica.command(&["serve"]);
    command.stderr(std::process::Stdio::null());
    let client = Client::start(command)?;
    let who = client.call("whoami", &json!({}))?.value();
    assert_eq!((&who["status"], &who["auth_mode"]), (&json!("authenticated"), &json!("agent_user")), "{who}");
    let created = write(&client)?;
    assert!(!created.is_error, "{}", created.text);

    project(&replica.cloud, &token, 3_600)?;
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    let created = write(&client)?;
    assert!(!created.is_error, "{}", created.text);
    assert_eq!(replica.assertions().last().map(String::as_str), Some(fs::read_to_string(&token)?.as_str()));
    let different: std::collections::BTreeSet<_> = replica.assertions().into_iter().collect();
    assert_eq!(different.len(), 2, "the token before the rotation, and the one after it");

    // One that has ended is not sent, and the call says which file.
    project(&replica.cloud, &token, 30)?;
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    let asked = replica.assertions().len();
    let refused = write(&client)?;
    assert!(refused.is_error && refused.text.contains("its token has ended"), "{}", refused.text);
    assert_eq!(replica.assertions().len(), asked);
    drop(client);

    let records = records(&replica.audit_dir())?;
    let acts: Vec<_> = records.iter().filter(|record| record["src"] == "transport").collect();
    assert!(acts.len() >= 6, "{records:?}");
    for record in acts {
        assert_eq!(record["attribution_type"], "agent", "{record}");
    }
    replica.run(&["audit", "verify"])?.assert_code(0);
    Ok(())
}

#[test]
fn the_doctor_opens_no_keyring_where_there_is_nothing_in_it() -> io::Result<()> {
    let mut replica = Replica::new("workload-identity")?;
    replica.token_file()?;
    let doctor = replica.run(&["doctor", "--json"])?;
    let said = doctor.assert_code(0).json();
    let check = |name: &str| {
        let checks = said["checks"].as_array().expect("checks");
        checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("{name} in {said}"))
            .clone()
    };
    assert_eq!(check("keyring")["status"], "skip");
    assert_eq!(check("audit signing")["status"], "warn");
    assert!(check("blueprint key")["detail"].as_str().is_some_and(|text| text.contains("workload identity")));
    assert_eq!(
        (&check("token mint")["status"], &check("certificate")["status"]),
        (&json!("pass"), &json!("skip"))
    );

    // The audit's key is the one thing that would need one, and the doctor says so.
    replica.set("ENTRABOT_AUDIT_SIGNING", "keystore");
    let doctor = replica.run(&["doctor", "--json"])?;
    assert!(doctor.assert_code(1).stdout.contains("InsecureKeyringBackendError"), "{doctor:?}");
    Ok(())
}

#[test]
fn a_credential_that_is_not_there_is_an_error_and_no_other_one_is_tried() -> io::Result<()> {
    let mut replica = Replica::new("workload-identity")?;
    let whoami = replica.run(&["whoami", "--json"])?;
    assert_eq!(whoami.json()["error_type"], "CredentialUnavailableError", "{whoami:?}");
    assert!(whoami.stdout.contains("AZURE_FEDERATED_TOKEN_FILE"), "{whoami:?}");

    let path = replica.dir().join("gone");
    replica.set("AZURE_FEDERATED_TOKEN_FILE", path.display().to_string());
    let whoami = replica.run(&["whoami", "--json"])?;
    assert_eq!(whoami.json()["error_type"], "FederatedTokenError", "{whoami:?}");

    // No credential of the blueprint matches.
    fs::write(&path, replica.cloud.service_account_token(ISSUER, "system:serviceaccount:other:one", 3_600))?;
    let whoami = replica.run(&["whoami", "--json"])?;
    let said = whoami.json();
    assert!(said["error"].as_str().is_some_and(|text| text.contains("AADSTS7002")), "{said}");
    assert!(said["hint"].as_str().is_some_and(|text| text.contains("federated credential")), "{said}");
    assert_eq!(replica.assertions().len(), 1);
    Ok(())
}

#[test]
fn a_token_that_ended_on_its_way_is_replaced_by_the_newer_one_and_never_sent_twice() -> io::Result<()> {
    let newer: Arc<Mutex<Option<(PathBuf, String)>>> = Arc::default();
    let swap = Arc::clone(&newer);
    let on_first_byte: FirstByteHook = Arc::new(move |first| {
        if first.role == Role::Authority
            && first.request.is_some()
            && let Some((path, token)) = swap.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            fs::write(path, token).expect("a file");
        }
    });
    let mut replica = Replica::with(
        "workload-identity",
        Options { on_first_byte: Some(on_first_byte), ..Options::default() },
    )?;
    let path = replica.token_file()?;
    let before = fs::read_to_string(&path)?;
    let ended = r#"{"error":"invalid_client","error_description":"AADSTS700024","error_codes":[700024]}"#;
    let refuse = || {
        let effect = Effect::Respond { status: 401, headers: Vec::new(), body: ended.into() };
        replica.cloud.set_fault(Fault::hop(1, effect).times(1));
    };
    refuse();
    replica.run(&["whoami"])?.assert_code(6);
    assert_eq!(replica.assertions(), std::slice::from_ref(&before), "the same token is not sent twice");

    // kubelet swaps it while the request is under way.
    replica.cloud.clear_requests();
    refuse();
    let after = replica.cloud.service_account_token(ISSUER, SUBJECT, 3_601);
    *newer.lock().unwrap_or_else(PoisonError::into_inner) = Some((path, after.clone()));
    replica.run(&["whoami"])?.assert_code(0);
    assert_eq!(replica.assertions(), [before, after]);
    Ok(())
}

#[test]
fn a_host_with_a_managed_identity_needs_no_key() -> io::Result<()> {
    for kind in ["imds", "app service"] {
        let mut replica = Replica::new("managed-identity")?;
        let metadata = replica.cloud.metadata()?;
        let variables = if kind == "imds" { metadata.imds() } else { metadata.app_service() };
        for (name, value) in variables {
            replica.set(name, value);
        }
        metadata.refuse_once(429, "{}");
        let minted = replica.run(&["token", "check", "--json"])?;
        minted.assert_code(0);
        assert_eq!(metadata.requests().len(), 2, "{kind}: {:?}", metadata.requests());
        assert!(!minted.stdout.contains("eyJ"), "{minted:?}");

        metadata.refuse_once(400, r#"{"error":"invalid_request","error_description":"Identity not found"}"#);
        let refused = replica.run(&["whoami", "--json"])?;
        assert_eq!(refused.json()["error_type"], "ManagedIdentityError", "{refused:?}");
        assert_eq!(metadata.requests().len(), 3, "{kind}: not asked again");

        // An identity that is not assigned.
        replica.set("AZURE_CLIENT_ID", replica.cloud.info().client_id.clone());
        let refused = replica.run(&["whoami", "--json"])?;
        assert!(refused.stdout.contains("identity_not_found"), "{refused:?}");
    }
    Ok(())
}

#[test]
fn where_the_cluster_has_a_proxy_the_pods_token_goes_there_and_nowhere_else() -> io::Result<()> {
    let mut replica = Replica::new("workload-identity")?;
    replica.token_file()?;
    let proxy = replica.cloud.binding_proxy()?;
    let ca = replica.dir().join("cluster-ca.pem");
    fs::write(&ca, proxy.ca())?;
    for (name, value) in proxy.variables() {
        replica.set(name, value);
    }
    replica.set("AZURE_KUBERNETES_CA_FILE", ca.display().to_string());
    replica.cloud.set_behaviour(|behaviour| behaviour.token_lifetime_s = 2);
    let mut command = replica.command(&["serve"]);
    command.stderr(std::process::Stdio::null());
    let client = Client::start(command)?;
    let created = write(&client)?;
    assert!(!created.is_error, "{}", created.text);
    let seen = proxy.seen();
    let address = replica.variable("AZURE_KUBERNETES_TOKEN_PROXY").replace("https://", "");
    let (host, _) = address.split_once('/').unwrap_or_default();
    let tenant = &replica.cloud.info().tenant_id;
    assert_eq!(seen[0], format!("proxy.cluster.example {host} /apis/binding/{tenant}/oauth2/v2.0/token"));
    assert_eq!(replica.assertions(), Vec::<String>::new(), "Entra itself saw no token of the pod");

    // The cluster renews its authority; roots that are trusted elsewhere do not count.
    proxy.renew()?;
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    let (asked, refused) = (proxy.seen().len(), write(&client)?);
    // A connection that was open may still serve one request.
    assert!(refused.is_error == (proxy.seen().len() == asked), "{}", refused.text);
    fs::write(&ca, proxy.ca())?;
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    let created = write(&client)?;
    assert!(!created.is_error, "{}", created.text);
    drop(client);

    fs::copy(&replica.cloud.info().ca_bundle, &ca)?;
    let asked = proxy.seen().len();
    let refused = replica.run(&["whoami", "--json"])?;
    let told = &refused.assert_code(6).stdout;
    assert!(told.contains("tls_failed") && told.contains("AZURE_KUBERNETES_CA_FILE"), "{told}");
    assert!(!told.contains("ENTRABOT_CA_BUNDLE"), "roots that do not count are no remedy: {told}");
    assert_eq!(proxy.seen().len(), asked);
    Ok(())
}
