//! Our three hops beside those of PyPI's `msal` and npm's `@azure/msal-node`, against the same stand-in in the same run:
//! the same forms but for the differences that we chose.

mod ready_agent;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use entrabot_identity::{Config, Resource, TokenSource};
use entrabot_tests::peers::{MSAL, MSAL_NODE, Node, Python};
use entrabot_tests::stand_in::{Info, Options, RecordedRequest, StandIn};
use ready_agent::KeyFile;
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;
type Form = BTreeMap<String, String>;

const GRAPH: &str = "https://graph.microsoft.com";

fn ours(cloud: &StandIn) -> Result<Vec<RecordedRequest>, Failure> {
    let config = Config::from_variables(ready_agent::settings(cloud.info()))?;
    let exchange = ready_agent::exchange(KeyFile::of(cloud.info()), &config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let graph = Resource::graph(&config);
    runtime.block_on(exchange.token(&graph))?;
    let requests = cloud.requests();
    // What the tokens say of themselves is what Entra's say.
    for report in runtime.block_on(exchange.check(&graph)) {
        let success = report.outcome?;
        assert_eq!(success.oddities, [""; 0], "{}", report.hop);
    }
    cloud.clear_requests();

    // Three requests and no more, on one connection.
    assert_eq!(requests.iter().map(RecordedRequest::hop).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
    assert_eq!(requests.iter().map(|request| request.connection).collect::<BTreeSet<_>>().len(), 1);
    Ok(requests)
}

fn of_hop(requests: &[RecordedRequest], hop: u8) -> &RecordedRequest {
    requests.iter().find(|request| request.hop() == Some(hop)).expect("the hop was asked for")
}

/// The fields of a hop, by name, each of which must come once; assertions and tokens, which differ each time, as `*`.
fn form(requests: &[RecordedRequest], hop: u8) -> Form {
    let secret = ["client_assertion", "user_federated_identity_credential"];
    let mut form = Form::new();
    for (name, value) in of_hop(requests, hop).form.iter().flatten() {
        let value = if secret.contains(&name.as_str()) { "*" } else { value.as_str() };
        assert!(form.insert(name.clone(), value.to_owned()).is_none(), "{name} comes twice at hop {hop}");
    }
    form
}

/// Takes the fields out of `form` whose names begin so.
fn without(form: &mut Form, prefixes: &[&str]) {
    form.retain(|name, _| !prefixes.iter().any(|prefix| name.starts_with(prefix)));
}

/// Hop 3's scope, but for the id token and the refresh token, which we would have to keep safe and do not ask for.
fn resource_alone(form: &mut Form) {
    let scope = form.get_mut("scope").expect("a scope");
    let words: BTreeSet<_> = scope.split(' ').collect();
    let default = format!("{GRAPH}/.default");
    assert_eq!(words, BTreeSet::from([default.as_str(), "openid", "profile", "offline_access"]));
    *scope = default;
}

/// The JSON of hop 3's `claims`, written as we write it.
fn claims(form: &mut Form, keep: impl FnOnce(&mut Value)) -> Result<(), Failure> {
    let claims = form.get_mut("claims").expect("claims");
    let mut value: Value = serde_json::from_str(claims)?;
    keep(&mut value);
    *claims = value.to_string();
    Ok(())
}

/// Header and claims of hop 1's assertion.
fn assertion(requests: &[RecordedRequest]) -> Result<[Value; 2], Failure> {
    let text = of_hop(requests, 1).field("client_assertion").expect("an assertion");
    let mut parts = text.split('.').map(|part| {
        let padded = format!("{part}{}", "=".repeat((4 - part.len() % 4) % 4));
        Ok::<Value, Failure>(serde_json::from_slice(&URL_SAFE.decode(padded)?)?)
    });
    let (header, claims) = (parts.next().expect("a header")?, parts.next().expect("claims")?);
    Ok([header, claims])
}

/// What an assertion must say in whatever way: who, to whom, for how long, signed with which certificate.
fn said(requests: &[RecordedRequest], info: &Info) -> Result<Value, Failure> {
    let [header, claims] = assertion(requests)?;
    let seconds = |name: &str| claims[name].as_f64().ok_or_else(|| format!("{name} is no number"));
    assert_eq!(claims["iss"], info.blueprint_app_id.as_str());
    // msal sends no `nbf`; msal-node's `iat` is when it signs, which may be the next second.
    let begins = if claims["nbf"].is_null() { "iat" } else { "nbf" };
    assert_eq!((seconds("exp")? - seconds(begins)?).round(), 600.0);
    assert!(claims["jti"].as_str().is_some_and(|id| id.len() >= 32), "{claims}");
    let thumbprint = header["x5t#S256"].as_str().unwrap_or_default().trim_end_matches('=');
    Ok(json!({ "alg": header["alg"], "typ": header["typ"], "x5t#S256": thumbprint,
        "aud": claims["aud"], "iss": claims["iss"], "sub": claims["sub"] }))
}

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

/// T1 is the client's proof at hop 2 and at hop 3, and T2 is not T1.
fn assert_one_t1_for_two_hops(requests: &[RecordedRequest]) {
    let (second, third) = (of_hop(requests, 2), of_hop(requests, 3));
    assert_eq!(second.field("client_assertion"), third.field("client_assertion"));
    assert_ne!(third.field("client_assertion"), third.field("user_federated_identity_credential"));
}

#[test]
fn our_forms_are_msals_but_for_what_we_chose() -> Result<(), Failure> {
    let python = Python::ready(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let cloud = StandIn::start(Options::default());
    let info = serde_json::to_string(cloud.info()).map_err(io::Error::other)?;
    let ours = ours(&cloud)?;
    let program = format!("{MSAL}\nagent_user('{GRAPH}')");
    python.run(
        &program,
        &[&info],
        &[("REQUESTS_CA_BUNDLE", &cloud.info().ca_bundle.display().to_string())],
    )?;
    let msal = cloud.requests();

    for hop in 1..=3 {
        let mut theirs = form(&msal, hop);
        // An account object that nobody reads.
        assert_eq!(theirs.remove("client_info").as_deref(), Some("1"), "hop {hop}");
        if hop == 3 {
            resource_alone(&mut theirs);
            claims(&mut theirs, |_| {})?;
        }
        assert_eq!(form(&ours, hop), theirs, "hop {hop}");
    }
    assert_eq!(said(&ours, cloud.info())?, said(&msal, cloud.info())?);
    assert_one_t1_for_two_hops(&ours);
    assert_one_t1_for_two_hops(&msal);
    // msal asks for the discovery document of each application object; we know the path.
    assert!(msal.iter().any(|request| request.method == "GET"));
    Ok(())
}

#[test]
#[ignore = "long: needs node and npm"]
fn our_forms_are_msal_nodes_but_for_what_we_chose() -> Result<(), Failure> {
    let node = Node::ready(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let cloud = StandIn::start(Options::default());
    let info = serde_json::to_string(cloud.info()).map_err(io::Error::other)?;
    let ours = ours(&cloud)?;
    let program = format!("{MSAL_NODE}\nawait agentUser('{GRAPH}');");
    node.run(&program, &[&info], &[("NODE_EXTRA_CA_CERTS", &cloud.info().ca_bundle.display().to_string())])?;
    let msal = cloud.requests();

    for hop in 1..=3 {
        let mut theirs = form(&msal, hop);
        // Telemetry, which we keep out of the body and mostly do not send.
        assert_eq!(theirs.get("x-client-SKU").map(String::as_str), Some("msal.js.node"), "hop {hop}");
        without(&mut theirs, &["x-client-", "x-ms-lib-capability", "client-request-id"]);
        if hop == 3 {
            // An account object that nobody reads.
            assert_eq!(theirs.remove("client_info").as_deref(), Some("1"));
            resource_alone(&mut theirs);
            // Claims of the id token that we do not ask for.
            claims(&mut theirs, |claims| {
                assert!(claims.as_object_mut().is_some_and(|claims| claims.remove("id_token").is_some()));
            })?;
        }
        assert_eq!(form(&ours, hop), theirs, "hop {hop}");
    }
    // Of its assertion ours is the very form, name for name: integers, `nbf`, a thumbprint without padding.
    let ([our_header, our_claims], [header, claims]) = (assertion(&ours)?, assertion(&msal)?);
    assert_eq!(our_header, header);
    assert_eq!(names(&our_claims), names(&claims));
    for name in ["exp", "iat", "nbf"] {
        assert!(our_claims[name].is_u64() && claims[name].is_u64(), "{name}");
    }
    assert_eq!(said(&ours, cloud.info())?, said(&msal, cloud.info())?);
    assert_one_t1_for_two_hops(&msal);
    Ok(())
}
