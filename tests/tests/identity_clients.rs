//! Our three hops beside those of PyPI's `msal`, against the same stand-in in the same run: the same forms but for the
//! differences that we chose.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use entrabot_identity::{Config, Egress, Resource, SignerSource, TokenError, TokenExchange, TokenSource};
use entrabot_keystore::{CertificateThumbprint, PemSigner, SecretBytes, Signer};
use entrabot_tests::peers::Python;
use entrabot_tests::stand_in::{Info, Options, RecordedRequest, StandIn};

const MSAL: &str = r#"
import json, sys, msal
info = json.loads(sys.argv[1])
authority = f"{info['authority_base']}/{info['tenant_id']}"
app = lambda client, credential, **more: msal.ConfidentialClientApplication(
    client, authority=authority, instance_discovery=False, client_credential=credential, **more)
exchange = ["api://AzureADTokenExchange/.default"]
blueprint = app(info["blueprint_app_id"], {
    "private_key": open(info["blueprint_key_pem"]).read(),
    "public_certificate": open(info["blueprint_cert_pem"]).read()})
t1 = blueprint.acquire_token_for_client(exchange, fmi_path=info["agent_id"])
t2 = app(info["agent_id"], {"client_assertion": t1["access_token"]}).acquire_token_for_client(exchange)
user = app(info["agent_id"], {"client_assertion": t1["access_token"]}, client_capabilities=["cp1"])
token = user.acquire_token_by_user_federated_identity_credential(
    ["https://graph.microsoft.com/.default"], t2["access_token"], user_object_id=info["agent_user_id"])
assert "access_token" in token, token
"#;

#[derive(Debug)]
struct ThrowAwayKey(PathBuf, CertificateThumbprint);

impl SignerSource for ThrowAwayKey {
    fn signer(&self) -> Result<Box<dyn Signer>, TokenError> {
        let pem = std::fs::read(&self.0)
            .map_err(|error| TokenError::AgentIdNotAvailable { reason: error.to_string() })?;
        Ok(Box::new(PemSigner::from_pkcs8_pem(&SecretBytes::new(pem), self.1.clone())?))
    }
}

fn ours(info: &Info) -> Result<(), Box<dyn std::error::Error>> {
    let ca = info.ca_bundle.display().to_string();
    let config = Config::from_variables([
        ("ENTRABOT_AUTHORITY_BASE", info.authority_base.as_str()),
        ("ENTRABOT_CA_BUNDLE", &ca),
        ("ENTRABOT_TENANT_ID", &info.tenant_id),
        ("ENTRABOT_BLUEPRINT_APP_ID", &info.blueprint_app_id),
        ("ENTRABOT_BLUEPRINT_CERT_THUMBPRINT", &info.blueprint_cert_thumbprint),
        ("ENTRABOT_AGENT_ID", &info.agent_id),
        ("ENTRABOT_AGENT_USER_ID", &info.agent_user_id),
    ])?;
    let thumbprint = CertificateThumbprint::parse(&info.blueprint_cert_thumbprint)?;
    let key = Arc::new(ThrowAwayKey(info.blueprint_key_pem.clone(), thumbprint));
    let exchange = TokenExchange::from_config(&config, key, &Egress::from_config(&config)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        exchange.token(&Resource::graph(&config)).await?;
        // What the tokens say of themselves is what Entra's say.
        for report in exchange.check(&Resource::graph(&config)).await {
            let success = report.outcome?;
            assert_eq!(success.oddities, [""; 0], "{}", report.hop);
        }
        Ok(())
    })
}

/// The fields of the first request of a hop, by name; the assertions and tokens, which differ each time, as `*`.
fn form(requests: &[RecordedRequest], hop: u8) -> BTreeMap<String, String> {
    let request = requests.iter().find(|request| request.hop() == Some(hop)).expect("the hop was asked for");
    let secret = ["client_assertion", "user_federated_identity_credential"];
    let fields = request.form.iter().flatten();
    fields
        .map(|(name, value)| {
            let value = if secret.contains(&name.as_str()) { "*" } else { value.as_str() };
            (name.clone(), value.to_owned())
        })
        .collect()
}

#[test]
fn our_forms_are_msals_but_for_what_we_chose() -> Result<(), Box<dyn std::error::Error>> {
    let python = Python::ready(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let cloud = StandIn::start(Options::default());
    ours(cloud.info())?;
    let ours = cloud.requests();
    cloud.clear_requests();
    let info = serde_json::to_string(cloud.info()).map_err(io::Error::other)?;
    python.run(MSAL, &[&info], &[("REQUESTS_CA_BUNDLE", &cloud.info().ca_bundle.display().to_string())])?;
    let msal = cloud.requests();

    for hop in 1..=3 {
        let (ours, mut msal) = (form(&ours, hop), form(&msal, hop));
        // An account object that nobody reads.
        assert_eq!(msal.remove("client_info").as_deref(), Some("1"), "hop {hop}");
        if hop == 3 {
            // No id token and no refresh token to keep safe.
            let scope = msal.get_mut("scope").expect("a scope");
            assert!(scope.contains("offline_access"), "{scope}");
            *scope = "https://graph.microsoft.com/.default".into();
            // The same JSON, written without blanks.
            let claims = msal.get_mut("claims").expect("claims");
            *claims = claims.replace(' ', "");
        }
        assert_eq!(ours, msal, "hop {hop}");
    }
    // msal asks for the discovery document of each application object; we know the path.
    assert!(msal.iter().any(|request| request.method == "GET"));
    assert!(ours.iter().all(|request| request.method == "POST"));
    let connections: std::collections::BTreeSet<u64> =
        ours.iter().map(|request| request.connection).collect();
    assert_eq!(connections.len(), 1, "one connection for all our requests");
    Ok(())
}
