//! The token service refuses what Entra refuses, and its tokens are what they should be.

use std::io;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use entrabot_tests::https::{ReadyAgent, Reply, access_token};
use entrabot_tests::stand_in::{Effect, Fault, Options, StandIn};
use serde_json::{Value, json};

const EXCHANGE: &str = "api://AzureADTokenExchange/.default";

fn claims(token: &str) -> Value {
    let middle = token.split('.').nth(1).unwrap_or_default();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(middle).unwrap_or_default()).unwrap_or_default()
}

#[track_caller]
fn assert_refused(reply: &Reply, error: &str, number: u32) {
    let body = reply.json();
    assert!(reply.status >= 400, "{body}");
    assert_eq!((body["error"].as_str(), &body["error_codes"]), (Some(error), &json!([number])), "{body}");
    let description = body["error_description"].as_str().unwrap_or_default();
    assert!(description.starts_with(&format!("AADSTS{number}: ")), "{description}");
    assert!(body.get("access_token").is_none());
}

#[test]
fn three_hops_give_an_agent_users_token() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let info = cloud.info();
    let agent = ReadyAgent::of(info)?;

    let reply = agent.hop1(&agent.assertion(), &info.agent_id)?;
    let t1 = access_token(&reply)?;
    let body = reply.json();
    assert_eq!((&body["token_type"], body["expires_in"].is_i64()), (&json!("Bearer"), true));
    for unasked in ["id_token", "refresh_token", "client_info"] {
        assert!(body.get(unasked).is_none(), "{unasked}");
    }
    let said = claims(&t1);
    assert_eq!(said["aud"], "fb60f99c-7a34-4190-8149-302f77469936");
    assert_eq!(said["exp"].as_i64().unwrap_or(0) - said["nbf"].as_i64().unwrap_or(0), 3900);
    let subject = said["sub"].as_str().unwrap_or_default();
    assert!(
        subject.starts_with("/eid1/c/pub/t/") && subject.ends_with(&format!("/{}", info.agent_id)),
        "{subject}"
    );

    let t2 = access_token(&agent.hop2(&info.agent_id, &t1, EXCHANGE)?)?;
    let scope = format!("{}/.default", info.resource);
    let reply = agent.hop3(&info.agent_id, &t1, &t2, &[("scope", &scope), ("username", &info.agent_upn)])?;
    let said = claims(&access_token(&reply)?);
    assert_eq!(said["iss"], format!("https://sts.windows.net/{}/", info.tenant_id));
    assert_eq!((&said["idtyp"], &said["appidacr"]), (&json!("user"), &json!("2")));
    assert_eq!(
        (said["oid"].as_str(), said["appid"].as_str()),
        (Some(&*info.agent_user_id), Some(&*info.agent_id))
    );
    assert_eq!(said["xms_par_app_azp"], info.blueprint_app_id);
    assert!(said["xms_act_fct"].as_str().is_some_and(|facts| facts.split(' ').any(|fact| fact == "11")));
    assert_eq!(said["xms_sub_fct"], "13");
    assert!(reply.json()["scope"].as_str().is_some_and(|scopes| scopes.split(' ').any(|name| name == scope)));

    let hops: Vec<Option<u8>> = cloud.requests().iter().map(|request| request.hop()).collect();
    assert_eq!(hops, [Some(1), Some(2), Some(3)]);
    Ok(())
}

#[test]
fn discovery_leads_to_keys_that_verify_the_tokens() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let info = cloud.info();
    let agent = ReadyAgent::of(info)?;
    let url = format!("{}/{}/v2.0/.well-known/openid-configuration", info.authority_base, info.tenant_id);
    let discovery = agent.https().send("GET", &url, &[], &[])?.json();
    assert_eq!(discovery["token_endpoint"], agent.token_url());
    let token = agent.exchange_tokens(&info.agent_id)?.0;
    assert_eq!(claims(&token)["iss"], discovery["issuer"]);

    let keys =
        agent.https().send("GET", discovery["jwks_uri"].as_str().unwrap_or_default(), &[], &[])?.json();
    let key = &keys["keys"][0];
    let number =
        |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap_or_default()).unwrap_or_default();
    let public = RsaPublicKeyComponents { n: number("n"), e: number("e") };
    let (signed, signature) = token.rsplit_once('.').unwrap_or_default();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    public
        .verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature)
        .expect("the published key verifies the token");
    Ok(())
}

#[test]
fn forms_of_real_clients_are_tolerated() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let info = cloud.info();
    let agent = ReadyAgent::of(info)?;
    let key = agent.key();
    let (header, good) = key.assertion(&agent.token_url(), &info.blueprint_app_id);
    let sha1 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &key.certificate);
    let mut lines = STANDARD.encode(&key.certificate);
    for at in (64..lines.len()).step_by(65) {
        lines.insert(at, '\n');
    }
    let headers = [
        header.clone(),
        json!({"alg": "PS256", "typ": "JWT", "x5t#S256": format!("{}=", key.thumbprint())}),
        json!({"alg": "RS256", "typ": "JWT", "x5t#S256": key.thumbprint()}),
        json!({"alg": "RS256", "typ": "JWT", "x5t": format!("{}=", URL_SAFE_NO_PAD.encode(sha1))}),
        json!({"alg": "PS256", "typ": "JWT", "x5c": [lines], "x5t#S256": key.thumbprint()}),
    ];
    for (number, header) in headers.iter().enumerate() {
        let mut said = good.clone();
        said["jti"] = json!(format!("id-{number}"));
        // MSAL Python writes floats and no nbf.
        said["exp"] = json!(said["exp"].as_f64().unwrap_or(0.0) + 0.25);
        said.as_object_mut().and_then(|claims| claims.remove("nbf"));
        access_token(&agent.hop1(&key.sign(header, &said), &info.agent_id)?)?;
    }
    let reply = agent.https().form(
        &format!("{}?client-request-id=abc", agent.token_url()),
        &[
            ("client_id", &info.blueprint_app_id),
            ("grant_type", "client_credentials"),
            ("scope", "api://AzureAdTokenExchange/.default"),
            ("fmi_path", &info.agent_id),
            ("client_info", "1"),
            ("x-client-SKU", "msal.js.node"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &agent.assertion()),
        ],
    )?;
    access_token(&reply)?;
    Ok(())
}

#[test]
fn an_assertion_that_proves_nothing_is_refused() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let info = cloud.info();
    let agent = ReadyAgent::of(info)?;
    let key = agent.key();
    let (header, good) = key.assertion(&agent.token_url(), &info.blueprint_app_id);
    let now = chrono::Utc::now().timestamp();
    let spoilt = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims["jti"] = json!(uuid::Uuid::new_v4().to_string());
        key.sign(&header, &claims)
    };
    let cases = [
        (spoilt("aud", json!("https://login.microsoftonline.com/x/oauth2/v2.0/token")), 700_023),
        (spoilt("exp", json!(now - 1000)), 700_024),
        (spoilt("nbf", json!(now + 1000)), 700_024),
        (spoilt("exp", json!(now + 200_000)), 700_024),
        (spoilt("iss", json!(info.agent_id)), 700_021),
        (spoilt("sub", json!(info.agent_id)), 700_021),
        (key.sign(&json!({"alg": "PS256", "x5t#S256": "AAAA"}), &good), 700_027),
        (key.sign(&json!({"alg": "none", "x5t#S256": key.thumbprint()}), &good), 700_027),
        (key.sign(&json!({"alg": "PS256"}), &good), 700_027),
    ];
    for (assertion, number) in cases {
        assert_refused(&agent.hop1(&assertion, &info.agent_id)?, "invalid_client", number);
    }
    // The signature of another message.
    let (one, two) = (agent.assertion(), agent.assertion());
    let mixed = format!(
        "{}.{}",
        one.rsplit_once('.').unwrap_or_default().0,
        two.rsplit_once('.').unwrap_or_default().1
    );
    assert_refused(&agent.hop1(&mixed, &info.agent_id)?, "invalid_client", 700_027);
    assert_refused(&agent.hop1("a.b.c", &info.agent_id)?, "invalid_request", 50_027);
    Ok(())
}

#[test]
fn a_jti_belongs_to_one_assertion() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let info = cloud.info();
    let agent = ReadyAgent::of(info)?;
    let (header, mut claims) = agent.key().assertion(&agent.token_url(), &info.blueprint_app_id);
    let first = agent.key().sign(&header, &claims);
    access_token(&agent.hop1(&first, &info.agent_id)?)?;
    // The same assertion may be used again while it lives ...
    access_token(&agent.hop1(&first, &info.agent_id)?)?;
    // ... but its id not in another.
    claims["exp"] = json!(claims["exp"].as_i64().unwrap_or(0) - 1);
    let second = agent.key().sign(&header, &claims);
    assert_refused(&agent.hop1(&second, &info.agent_id)?, "invalid_client", 50_027);
    cloud.set_behaviour(|behaviour| behaviour.assertion_once = true);
    assert_refused(&agent.hop1(&first, &info.agent_id)?, "invalid_client", 50_027);
    Ok(())
}

#[test]
fn each_hop_is_bound_to_the_one_before() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let info = cloud.info();
    let agent = ReadyAgent::of(info)?;
    let (mine, other) = (&info.agent_id, &info.other_agent_id);
    let (t1, t2) = agent.exchange_tokens(mine)?;
    let (other_t1, other_t2) = agent.exchange_tokens(other)?;
    let scope = format!("{}/.default", info.resource);
    let user = info.agent_user_id.as_str();

    assert_refused(&agent.hop1(&agent.assertion(), "")?, "invalid_request", 900_144);
    assert_refused(
        &agent.hop1(&agent.assertion(), &uuid::Uuid::new_v4().to_string())?,
        "invalid_request",
        90_023,
    );
    assert_refused(&agent.hop2(mine, &other_t1, EXCHANGE)?, "invalid_client", 700_213);
    assert_refused(&agent.hop2(mine, &t2, EXCHANGE)?, "invalid_client", 700_213);
    assert_refused(&agent.hop2(mine, &agent.assertion(), EXCHANGE)?, "invalid_client", 700_027);
    assert_refused(&agent.hop2("no-such-app", &t1, EXCHANGE)?, "unauthorized_client", 700_016);
    let resource_token = agent.token(&info.resource)?;
    assert_refused(&agent.hop2(mine, &resource_token, EXCHANGE)?, "invalid_client", 700_212);

    let hop3 = |t1: &str, t2: &str, more: &[(&str, &str)]| agent.hop3(mine, t1, t2, more);
    let for_user = [("scope", scope.as_str()), ("user_id", user)];
    assert_refused(&hop3(&t1, &other_t2, &for_user)?, "invalid_grant", 700_213);
    assert_refused(&hop3(&other_t1, &t2, &for_user)?, "invalid_client", 700_213);
    assert_refused(&hop3(&t1, &t1, &for_user)?, "invalid_grant", 700_213);
    assert_refused(&hop3(&t1, &t2, &[("scope", &scope)])?, "invalid_request", 900_144);
    let both = [("scope", scope.as_str()), ("user_id", user), ("username", info.agent_upn.as_str())];
    assert_refused(&hop3(&t1, &t2, &both)?, "invalid_request", 900_144);
    let foreign = [("scope", scope.as_str()), ("user_id", info.other_agent_user_id.as_str())];
    assert_refused(&hop3(&t1, &t2, &foreign)?, "invalid_grant", 50_105);
    let nobody = [("scope", scope.as_str()), ("username", "nobody@contoso.example")];
    assert_refused(&hop3(&t1, &t2, &nobody)?, "invalid_grant", 50_034);
    Ok(())
}

#[test]
fn only_what_was_granted_is_given() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let info = cloud.info();
    let agent = ReadyAgent::of(info)?;
    let (t1, t2) = agent.exchange_tokens(&info.agent_id)?;
    let ask = |scope: &str| {
        agent.hop3(&info.agent_id, &t1, &t2, &[("scope", scope), ("user_id", &info.agent_user_id)])
    };
    assert_refused(&ask("11111111-2222-3333-4444-555555555555/.default")?, "invalid_resource", 500_011);
    assert_refused(&ask("16b1878d-62c7-4009-aa25-68989d63bbad/.default")?, "invalid_grant", 65_001);
    assert_refused(&ask(&format!("{}/McpServers.Mail.All", info.resource))?, "invalid_grant", 65_001);
    assert_eq!(ask("16b1878d-62c7-4009-aa25-68989d63bbad/.default")?.json()["suberror"], "consent_required");
    access_token(&ask(&format!("{}/McpServers.Word.All", info.resource))?)?;
    access_token(&ask("https://graph.microsoft.com/.default")?)?;

    // App-only: Graph yes, Work IQ never, and a blueprint not at all.
    access_token(&agent.hop2(&info.agent_id, &t1, "https://graph.microsoft.com/.default")?)?;
    let scope = format!("{}/.default", info.resource);
    assert_refused(&agent.hop2(&info.agent_id, &t1, &scope)?, "unauthorized_client", 82_001);
    Ok(())
}

#[test]
fn extras_come_only_when_asked_for() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let info = cloud.info();
    let agent = ReadyAgent::of(info)?;
    let (t1, t2) = agent.exchange_tokens(&info.agent_id)?;
    let scope = format!("{}/.default openid profile offline_access", info.resource);
    let more = [("scope", scope.as_str()), ("user_id", &info.agent_user_id), ("client_info", "1")];
    let body = agent.hop3(&info.agent_id, &t1, &t2, &more)?.json();
    assert_eq!(claims(body["id_token"].as_str().unwrap_or_default())["aud"], info.agent_id);
    assert!(body["refresh_token"].is_string() && body["client_info"].is_string());
    let refreshed = agent.https().form(
        &agent.token_url(),
        &[
            ("grant_type", "refresh_token"),
            ("client_id", &info.agent_id),
            ("refresh_token", body["refresh_token"].as_str().unwrap_or_default()),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &t1),
        ],
    )?;
    assert_eq!(claims(&access_token(&refreshed)?)["oid"], info.agent_user_id);
    Ok(())
}

#[test]
fn faults_hit_what_they_name_and_end() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let info = cloud.info();
    let agent = ReadyAgent::of(info)?;
    let body = r#"{"error":"temporarily_unavailable"}"#.to_owned();
    let headers = vec![("Retry-After".to_owned(), "7".to_owned())];
    cloud.set_fault(Fault::hop(2, Effect::Respond { status: 503, headers, body }).times(1));
    let t1 = access_token(&agent.hop1(&agent.assertion(), &info.agent_id)?)?;
    let refused = agent.hop2(&info.agent_id, &t1, EXCHANGE)?;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("7")));
    access_token(&agent.hop2(&info.agent_id, &t1, EXCHANGE)?)?;
    assert_eq!(cloud.requests()[1].fault.as_deref(), Some("respond_503"));

    // The same from outside, through the control endpoint.
    let url = format!("{}/_control", info.authority_base);
    let rule = json!({"faults": [{"target": "authority", "hop": 1, "effect": "close"}]});
    let state = agent.https().call("POST", &url, "", &rule)?;
    assert_eq!(state.status, 200);
    assert!(agent.hop1(&agent.assertion(), &info.agent_id).is_err());
    agent.https().call("POST", &url, "", &json!({"clear": true}))?;
    access_token(&agent.hop1(&agent.assertion(), &info.agent_id)?)?;
    assert_eq!(agent.https().call("POST", &url, "", &json!({"clean": true}))?.status, 400);
    Ok(())
}

#[test]
fn a_humans_sign_in_works_by_code_and_by_device() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let info = cloud.info();
    let agent = ReadyAgent::of(info)?;
    let verifier = "v".repeat(43);
    let challenge =
        URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes()));
    let base = format!("{}/{}/oauth2/v2.0", info.authority_base, info.tenant_id);
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("client_id", info.client_id.as_str()),
            ("response_type", "code"),
            ("redirect_uri", "http://localhost:8400"),
            ("scope", "User.Read openid offline_access"),
            ("state", "st"),
            ("nonce", "no"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ])
        .finish();
    let redirect = agent.https().send("GET", &format!("{base}/authorize?{query}"), &[], &[])?;
    let location =
        url::Url::parse(redirect.header("location").unwrap_or_default()).map_err(io::Error::other)?;
    let parameter =
        |name: &str| location.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    assert_eq!(parameter("state").as_deref(), Some("st"));
    let code = parameter("code").unwrap_or_default();
    let redeem = |verifier: &str| {
        agent.https().form(
            &format!("{base}/token"),
            &[
                ("grant_type", "authorization_code"),
                ("client_id", &info.client_id),
                ("code", &code),
                ("code_verifier", verifier),
                ("redirect_uri", "http://localhost:8400"),
                ("scope", "User.Read openid offline_access"),
            ],
        )
    };
    let body = redeem(&verifier)?.json();
    assert_eq!(claims(body["id_token"].as_str().unwrap_or_default())["nonce"], "no");
    assert_eq!(claims(body["access_token"].as_str().unwrap_or_default())["oid"], info.sponsor_id);
    assert_refused(&redeem(&verifier)?, "invalid_grant", 54_005);

    let start = [("client_id", info.client_id.as_str()), ("scope", "User.Read")];
    let device = agent.https().form(&format!("{base}/devicecode"), &start)?.json();
    let poll = || {
        agent.https().form(
            &format!("{base}/token"),
            &[
                ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
                ("client_id", &info.client_id),
                ("device_code", device["device_code"].as_str().unwrap_or_default()),
            ],
        )
    };
    assert_refused(&poll()?, "authorization_pending", 70_016);
    access_token(&poll()?)?;
    Ok(())
}
