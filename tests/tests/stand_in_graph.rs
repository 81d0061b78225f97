//! The directory behaves like the real one where provisioning can be hurt by it.

use std::io;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrabot_tests::https::{AssertionKey, ReadyAgent, Reply, access_token};
use entrabot_tests::stand_in::{Options, StandIn};
use serde_json::{Value, json};

/// Calls Graph as the Provisioner app.
struct Provisioner<'a> {
    cloud: &'a StandIn,
    agent: ReadyAgent<'a>,
    token: String,
}

impl<'a> Provisioner<'a> {
    fn of(cloud: &'a StandIn) -> io::Result<Self> {
        let info = cloud.info();
        let agent = ReadyAgent::of(info)?;
        let key = AssertionKey::read(&info.provisioner_cert_pem, &info.provisioner_cert_pem)?;
        let (header, claims) = key.assertion(&agent.token_url(), &info.provisioner_client_id);
        let fields = [
            ("client_id", info.provisioner_client_id.as_str()),
            ("grant_type", "client_credentials"),
            ("scope", "https://graph.microsoft.com/.default"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &key.sign(&header, &claims)),
        ];
        let token = access_token(&agent.https().form(&agent.token_url(), &fields)?)?;
        Ok(Self { cloud, agent, token })
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> io::Result<Reply> {
        let url =
            format!("{}{}", self.cloud.info().graph_base, path.replace(' ', "%20").replace('\'', "%27"));
        self.agent.https().call(method, &url, &self.token, body)
    }

    fn get(&self, path: &str) -> io::Result<Reply> {
        self.call("GET", path, &Value::Null)
    }

    fn sponsor(&self) -> Value {
        json!([format!("https://graph.microsoft.com/v1.0/users/{}", self.cloud.info().sponsor_id)])
    }

    fn blueprint(&self, name: &str) -> io::Result<Value> {
        let body = json!({"displayName": name, "sponsors@odata.bind": self.sponsor()});
        let reply = self.call("POST", "/v1.0/applications/microsoft.graph.agentIdentityBlueprint", &body)?;
        assert_eq!(reply.status, 201, "{}", reply.json());
        Ok(reply.json())
    }
}

fn code(reply: &Reply) -> (u16, String) {
    (reply.status, reply.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_provisioned_agent_gets_a_token_and_is_gone_after_teardown() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let graph = Provisioner::of(&cloud)?;
    let info = cloud.info();
    let blueprint = graph.blueprint("demo")?;
    let (object, app) =
        (blueprint["id"].as_str().unwrap_or_default(), blueprint["appId"].as_str().unwrap_or_default());
    let identity = json!({"displayName": "demo agent", "agentIdentityBlueprintId": app, "sponsors@odata.bind": graph.sponsor()});
    let identities = "/v1.0/servicePrincipals/microsoft.graph.agentIdentity";
    // No principal yet: it is not made by itself.
    assert_eq!(graph.call("POST", identities, &identity)?.status, 400);
    let principals = "/v1.0/servicePrincipals/microsoft.graph.agentIdentityBlueprintPrincipal";
    assert_eq!(graph.call("POST", principals, &json!({"appId": app}))?.status, 201);
    assert_eq!(graph.call("POST", principals, &json!({"appId": app}))?.status, 409);

    let certificate = STANDARD.encode(&graph.agent.key().certificate);
    let key =
        json!({"type": "AsymmetricX509Cert", "usage": "Verify", "key": certificate, "displayName": "ours"});
    let path = format!("/v1.0/applications/{object}");
    assert_eq!(graph.call("PATCH", &path, &json!({"keyCredentials": [key]}))?.status, 204);
    let identity = graph.call("POST", identities, &identity)?.json();
    assert!(identity.get("appId").is_none(), "the real answer has none");
    let id = identity["id"].as_str().unwrap_or_default();
    let user = json!({"@odata.type": "microsoft.graph.agentUser", "displayName": "demo user", "mailNickname": "demo",
        "userPrincipalName": "demo@contoso.example", "identityParentId": id, "accountEnabled": true});
    let made = graph.call("POST", "/beta/users", &user)?;
    assert_eq!(made.status, 201, "{}", made.json());
    let made = made.json();
    let user_id = made["id"].as_str().unwrap_or_default();
    assert_eq!(graph.call("POST", "/beta/users", &user)?.status, 400, "the UPN is taken");
    let resource =
        graph.get("/v1.0/servicePrincipals?$filter=appId eq '00000003-0000-0000-c000-000000000000'")?.json();
    let grant = json!({"clientId": id, "consentType": "Principal", "principalId": user_id,
        "resourceId": resource["value"][0]["id"], "scope": "User.Read"});
    assert_eq!(graph.call("POST", "/v1.0/oauth2PermissionGrants", &grant)?.status, 201);
    assert_eq!(graph.call("POST", "/v1.0/oauth2PermissionGrants", &grant)?.status, 409);

    // By the new blueprint, whose key is the ready agent's here.
    let mut mine = info.clone();
    mine.blueprint_app_id = app.to_owned();
    let agent = ReadyAgent::of(&mine)?;
    let token = agent.token_of(id, user_id, "https://graph.microsoft.com")?;
    let me = agent.https().call("GET", &format!("{}/v1.0/me", info.graph_base), &token, &Value::Null)?;
    assert_eq!(me.json()["userPrincipalName"], "demo@contoso.example");

    for path in [format!("/beta/users/{user_id}"), format!("/v1.0/servicePrincipals/{id}"), path] {
        assert_eq!(graph.call("DELETE", &path, &Value::Null)?.status, 204);
        assert_eq!(graph.get(&path)?.status, 404);
    }
    assert_eq!(
        graph.get(&format!("/v1.0/servicePrincipals?$filter=appId eq '{app}'"))?.json()["value"],
        json!([])
    );
    assert!(agent.exchange_tokens(id).is_err());
    assert_eq!(graph.get(&format!("/v1.0/directory/deletedItems/{object}"))?.status, 200);
    assert_eq!(
        graph.call("DELETE", &format!("/v1.0/directory/deletedItems/{object}"), &Value::Null)?.status,
        204
    );
    assert_eq!(graph.get(&format!("/v1.0/directory/deletedItems/{object}"))?.status, 404);
    Ok(())
}

#[test]
fn the_certificate_list_is_replaced_as_a_whole() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let graph = Provisioner::of(&cloud)?;
    let blueprint = graph.blueprint("demo")?;
    let path = format!("/v1.0/applications/{}", blueprint["id"].as_str().unwrap_or_default());
    let entry = |certificate: &[u8]| json!({"type": "AsymmetricX509Cert", "usage": "Verify", "key": STANDARD.encode(certificate), "displayName": "x"});
    let provisioner = &cloud.info().provisioner_cert_pem;
    let other = AssertionKey::read(provisioner, provisioner)?;
    let first = entry(&graph.agent.key().certificate);
    assert_eq!(graph.call("PATCH", &path, &json!({"keyCredentials": [first]}))?.status, 204);
    let keys = |selected: bool| -> io::Result<Vec<Value>> {
        let path = if selected { format!("{path}?$select=id,keyCredentials") } else { path.clone() };
        Ok(graph.get(&path)?.json()["keyCredentials"].as_array().cloned().unwrap_or_default())
    };
    assert!(keys(true)?[0]["key"].is_string());
    assert!(keys(false)?[0]["key"].is_null(), "without $select no key is shown");
    let listed =
        graph.get("/v1.0/applications?$filter=displayName eq 'demo'&$select=id,keyCredentials")?.json();
    assert!(listed["value"][0]["keyCredentials"][0]["key"].is_null(), "a list shows no key");

    // The old entry by its keyId alone is kept, what is not named is gone.
    let kept = json!({"keyId": keys(true)?[0]["keyId"], "type": "AsymmetricX509Cert", "usage": "Verify", "key": null});
    let both = json!({"keyCredentials": [kept, entry(&other.certificate)]});
    assert_eq!(graph.call("PATCH", &path, &both)?.status, 204);
    assert_eq!(keys(true)?.len(), 2);
    assert_eq!(keys(true)?[0]["key"], entry(&graph.agent.key().certificate)["key"]);
    let unknown = json!({"keyCredentials": [{"keyId": uuid::Uuid::new_v4().to_string(), "key": null}]});
    assert_eq!(graph.call("PATCH", &path, &unknown)?.status, 400);
    assert_eq!(
        graph.call("PATCH", &path, &json!({"keyCredentials": [entry(b"no certificate")]}))?.status,
        400
    );
    assert_eq!(graph.call("PATCH", &path, &json!({"keyCredentials": []}))?.status, 204);
    assert!(keys(true)?.is_empty(), "nothing stops a lock-out");
    Ok(())
}

#[test]
fn queries_that_graph_refuses_are_refused_and_lists_page() -> io::Result<()> {
    let cloud = StandIn::start(Options { other_apps: 250, ..Options::default() });
    let graph = Provisioner::of(&cloud)?;
    let refused = graph.get("/v1.0/servicePrincipals?$filter=agentIdentityBlueprintId eq 'x'")?;
    assert_eq!(code(&refused), (400, "Request_UnsupportedQuery".into()));
    assert_eq!(graph.get("/v1.0/applications?$filter=displayName")?.status, 400);
    let mut url = Some("/v1.0/applications?$select=id,displayName".to_owned());
    let (mut pages, mut seen) = (0, 0);
    while let Some(path) = url {
        let page = graph.get(&path)?.json();
        seen += page["value"].as_array().map_or(0, Vec::len);
        pages += 1;
        url = page["@odata.nextLink"]
            .as_str()
            .and_then(|link| link.strip_prefix(&cloud.info().graph_base))
            .map(str::to_owned);
    }
    assert_eq!((pages, seen), (3, 253), "250 others, the blueprint, the provisioner, the public client");
    // A quote in a name is doubled.
    assert_eq!(graph.get("/v1.0/applications?$filter=displayName eq 'it''s'")?.json()["value"], json!([]));
    Ok(())
}

#[test]
fn what_was_made_shows_only_after_a_while() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let graph = Provisioner::of(&cloud)?;
    cloud.set_behaviour(|behaviour| behaviour.replication_delay_ms = 400);
    let begun = Instant::now();
    let blueprint = graph.blueprint("slow")?;
    let path = format!("/v1.0/applications/{}", blueprint["id"].as_str().unwrap_or_default());
    let first = graph.get(&path)?.status;
    let listed = graph.get("/v1.0/applications?$filter=displayName eq 'slow'")?.json();
    if begun.elapsed() < Duration::from_millis(400) {
        assert_eq!((first, &listed["value"]), (404, &json!([])));
    }
    std::thread::sleep(Duration::from_millis(450));
    assert_eq!(graph.get(&path)?.status, 200);
    Ok(())
}

#[test]
fn a_missing_permission_is_refused_without_being_named() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let graph = Provisioner::of(&cloud)?;
    cloud.set_behaviour(|behaviour| {
        behaviour.missing_permissions =
            vec!["AgentIdentityBlueprint.Create".into(), "AgentIdentityBlueprint.ReadWrite.All".into()];
    });
    let body = json!({"displayName": "demo", "sponsors@odata.bind": graph.sponsor()});
    let refused = graph.call("POST", "/v1.0/applications/microsoft.graph.agentIdentityBlueprint", &body)?;
    assert_eq!(code(&refused), (403, "Authorization_RequestDenied".into()));
    assert!(!String::from_utf8_lossy(&refused.body).contains("AgentIdentityBlueprint"));
    cloud.set_behaviour(|behaviour| behaviour.missing_permissions.clear());
    let without = json!({"displayName": "demo"});
    let refused =
        graph.call("POST", "/v1.0/applications/microsoft.graph.agentIdentityBlueprint", &without)?;
    assert_eq!(refused.status, 400, "a sponsor is demanded");
    Ok(())
}

#[test]
fn seats_are_counted_and_a_location_is_demanded() -> io::Result<()> {
    let cloud = StandIn::start(Options { free_seats: Some(1), ..Options::default() });
    let graph = Provisioner::of(&cloud)?;
    let skus = graph.get("/v1.0/subscribedSkus")?.json();
    let sku = &skus["value"][0];
    assert_eq!((&sku["consumedUnits"], &sku["prepaidUnits"]["enabled"]), (&json!(2), &json!(3)));
    let assign = json!({"addLicenses": [{"skuId": sku["skuId"]}], "removeLicenses": []});
    let sponsor = format!("/v1.0/users/{}", cloud.info().sponsor_id);
    assert_eq!(graph.call("POST", &format!("{sponsor}/assignLicense"), &assign)?.status, 400);
    assert_eq!(graph.call("PATCH", &sponsor, &json!({"usageLocation": "US"}))?.status, 204);
    assert_eq!(graph.call("POST", &format!("{sponsor}/assignLicense"), &assign)?.status, 200);
    assert_eq!(graph.get("/v1.0/subscribedSkus")?.json()["value"][0]["consumedUnits"], 3);
    Ok(())
}

#[test]
fn sponsors_are_read_with_the_agents_own_tokens() -> io::Result<()> {
    let cloud = StandIn::start(Options::default());
    let info = cloud.info();
    let agent = ReadyAgent::of(info)?;
    let (t1, _) = agent.exchange_tokens(&info.agent_id)?;
    let app = access_token(&agent.hop2(&info.agent_id, &t1, "https://graph.microsoft.com/.default")?)?;
    let url = format!(
        "{}/v1.0/servicePrincipals/{}/microsoft.graph.agentIdentity/sponsors?$select=id,displayName",
        info.graph_base, info.agent_object_id
    );
    let sponsors = agent.https().call("GET", &url, &app, &Value::Null)?.json();
    assert_eq!(sponsors["value"][0]["id"], info.sponsor_id);
    let user = agent.token("https://graph.microsoft.com")?;
    let url = format!("{}/v1.0/users/{}?$select=userPrincipalName,mail", info.graph_base, info.sponsor_id);
    let sponsor = agent.https().call("GET", &url, &user, &Value::Null)?.json();
    assert_eq!(sponsor["userPrincipalName"], "ada@contoso.example");
    // A Work IQ token is no Graph token.
    let foreign = agent.token(&info.resource)?;
    assert_eq!(agent.https().call("GET", &url, &foreign, &Value::Null)?.status, 401);
    Ok(())
}
