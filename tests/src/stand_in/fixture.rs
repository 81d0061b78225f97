//! What exists from the start: a tenant, a ready agent, a second one, a human sponsor, a public
//! client, and an app that may provision others.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::directory::{Directory, FIRST_PARTY, GRAPH_APP_ID, Kind, Sku, WORD_APP_ID, WORK_IQ_APP_ID, odata};
use super::documents::Documents;
use super::entra::StsState;
use super::graph::permissions;
use super::jose::TokenSigner;
use super::pki::{Authority, Credential, SwitchableCertificate, TlsFault};
use super::record::Recorder;
use super::{Addresses, Cloud, Info, Options, Role, World};

/// File name of the V2 manifest in the state directory.
pub(crate) const MANIFEST_V2: &str = "ToolingManifest.v2.json";
const DOMAIN: &str = "contoso.example";

/// Scopes that the agent user's identity holds on Graph.
const GRAPH_SCOPES: &str = "Chat.Create Chat.ReadWrite ChatMessage.Send User.Read User.ReadBasic.All Files.ReadWrite \
    Files.Read.All Sites.Read.All Sites.ReadWrite.All Mail.Read Mail.Send";
/// Scopes of the V1 Work IQ servers that the ready agent was granted.
const WORK_IQ_SCOPES: &str = "McpServers.Word.All McpServers.OneDriveSharepoint.All McpServersMetadata.Read.All \
    McpServers.Calendar.All McpServers.Me.All";

/// Builds the cloud behind these addresses and writes its files.
pub(crate) fn build(options: &Options, dir: &Path, addresses: Addresses) -> io::Result<Cloud> {
    let authority = Authority::generate()?;
    let certificate =
        || Ok::<_, io::Error>(Arc::new(SwitchableCertificate::new(authority.certified(TlsFault::None)?)));
    let certificates =
        Role::ALL.into_iter().map(|role| Ok((role, certificate()?))).collect::<io::Result<_>>()?;
    let (signing, blueprint, provisioner) = credentials(options)?;

    let mut directory = Directory::default();
    let graph_principal = seed_resources(&mut directory, options);
    let agents = seed_agents(&mut directory, &graph_principal, &blueprint, options);
    let provisioner_client_id = seed_provisioner(&mut directory, &graph_principal, &provisioner);
    let client_id = seed_app(&mut directory, "entrabot sign-in", json!({"isFallbackPublicClient": true}));
    for number in 0..options.other_apps {
        seed_app(&mut directory, &format!("unrelated app {number}"), json!({}));
    }

    let base = |address: std::net::SocketAddr| format!("https://localhost:{}", address.port());
    let info = Info {
        authority_base: base(addresses.authority),
        graph_base: base(addresses.graph),
        a365_base: format!("{}/agents/servers", base(addresses.a365)),
        ca_bundle: dir.join("ca.pem"),
        tenant_id: Uuid::new_v4().to_string(),
        blueprint_app_id: agents.blueprint_app_id,
        agent_id: agents.agent_id.clone(),
        agent_object_id: agents.agent_id,
        agent_user_id: agents.agent_user_id.clone(),
        agent_upn: agents.agent_upn.clone(),
        other_agent_id: agents.other_agent_id,
        other_agent_user_id: agents.other_agent_user_id,
        blueprint_key_pem: dir.join("blueprint-key.pem"),
        blueprint_cert_pem: dir.join("blueprint-cert.pem"),
        blueprint_cert_thumbprint: blueprint.thumbprint(),
        manifest: dir.join("ToolingManifest.json"),
        resource: WORK_IQ_APP_ID.to_owned(),
        client_id,
        provisioner_client_id,
        provisioner_cert_pem: dir.join("provisioner.pem"),
        sponsor_id: agents.sponsor_id,
        log_file: dir.join("requests.jsonl"),
    };
    fs::write(&info.ca_bundle, authority.pem())?;
    write_private(&info.blueprint_key_pem, &blueprint.key_pem)?;
    fs::write(&info.blueprint_cert_pem, &blueprint.cert_pem)?;
    write_private(&info.provisioner_cert_pem, &format!("{}{}", provisioner.cert_pem, provisioner.key_pem))?;
    fs::write(&info.manifest, pretty(&manifest(&info.a365_base, false)))?;
    fs::write(dir.join(MANIFEST_V2), pretty(&manifest(&info.a365_base, true)))?;

    let mut documents = Documents::open(dir.join("documents"))?;
    documents.seed(&agents.agent_user_id, &agents.agent_upn)?;
    Ok(Cloud {
        dir: dir.to_owned(),
        signer: TokenSigner::new(&signing)?,
        records: Recorder::create(&info.log_file)?,
        hook: options.on_first_byte.clone(),
        authority,
        certificates,
        connections: AtomicU64::new(0),
        numbers: AtomicU64::new(0),
        world: Mutex::new(World {
            directory,
            documents,
            sts: StsState::default(),
            behaviour: options.behaviour.clone(),
            faults: Vec::new(),
            events: Vec::new(),
        }),
        info,
    })
}

/// Three RSA keys, made side by side: that is most of the time a start takes.
fn credentials(options: &Options) -> io::Result<(Credential, Credential, Credential)> {
    const DAYS: i64 = 90;
    let days = options.certificate_days.unwrap_or(DAYS);
    std::thread::scope(|scope| {
        let signing = scope.spawn(|| Credential::generate("stand-in token signing", DAYS));
        let blueprint = scope.spawn(move || Credential::generate("demo blueprint", days));
        let provisioner = Credential::generate("entrabot provisioner", DAYS)?;
        let join = |thread: std::thread::ScopedJoinHandle<'_, io::Result<Credential>>| {
            thread.join().map_err(|_| io::Error::other("key generation panicked"))?
        };
        Ok((join(signing)?, join(blueprint)?, provisioner))
    })
}

struct Agents {
    blueprint_app_id: String,
    agent_id: String,
    agent_user_id: String,
    agent_upn: String,
    other_agent_id: String,
    other_agent_user_id: String,
    sponsor_id: String,
}

/// Microsoft's service principals and the subscriptions; returns the id of Graph's principal.
fn seed_resources(directory: &mut Directory, options: &Options) -> String {
    let mut graph_principal = String::new();
    for (app_id, name) in FIRST_PARTY {
        if *app_id != GRAPH_APP_ID && options.without_work_iq {
            continue;
        }
        let mut body = principal(app_id, name);
        if *app_id == GRAPH_APP_ID {
            body["appRoles"] = permissions::app_roles();
        }
        let id = directory.add(Kind::ServicePrincipal, body, Duration::ZERO);
        if *app_id == GRAPH_APP_ID {
            graph_principal = id;
        }
    }
    let free = options.free_seats.unwrap_or(5);
    directory.skus = vec![
        Sku {
            id: "06ebc4ee-1bb5-47dd-8120-11324bc54e06".into(),
            part_number: "SPE_E5".into(),
            plans: vec!["TEAMS1", "EXCHANGE_S_ENTERPRISE", "SHAREPOINTENTERPRISE"],
            // Two agents hold one each.
            seats: free + 2,
        },
        Sku {
            id: "639dec6b-bb19-468b-871c-c5c441c4b0cb".into(),
            part_number: "Microsoft_365_Copilot".into(),
            plans: vec!["M365_COPILOT_APPS", "M365_COPILOT_CONNECTORS"],
            seats: free + 2,
        },
        Sku {
            id: "b05e124f-c7cc-45a0-a6aa-8cf78c946968".into(),
            part_number: "EMSPREMIUM".into(),
            plans: vec!["AAD_PREMIUM_P2"],
            seats: 10,
        },
    ];
    graph_principal
}

fn seed_agents(directory: &mut Directory, graph: &str, blueprint: &Credential, options: &Options) -> Agents {
    let sponsor_id = directory.add(
        Kind::User,
        json!({
            "@odata.type": "#microsoft.graph.user", "displayName": "Ada Sponsor",
            "userPrincipalName": format!("ada@{DOMAIN}"), "mail": format!("ada@{DOMAIN}"),
            "otherMails": [], "proxyAddresses": [format!("SMTP:ada@{DOMAIN}")], "accountEnabled": true,
            "identities": [{"signInType": "userPrincipalName", "issuer": DOMAIN, "issuerAssignedId": format!("ada@{DOMAIN}")}],
        }),
        Duration::ZERO,
    );
    let blueprint_app_id = Uuid::new_v4().to_string();
    directory.add(
        Kind::Application,
        json!({
            "@odata.type": odata::BLUEPRINT, "appId": blueprint_app_id, "displayName": "ready blueprint",
            "keyCredentials": [key_credential(blueprint)], "_sponsors": [sponsor_id],
            "createdDateTime": now(), "signInAudience": "AzureADMyOrg",
        }),
        Duration::ZERO,
    );
    let mut blueprint_principal = principal(&blueprint_app_id, "ready blueprint");
    blueprint_principal["@odata.type"] = json!(odata::BLUEPRINT_PRINCIPAL);
    let blueprint_principal = directory.add(Kind::ServicePrincipal, blueprint_principal, Duration::ZERO);
    let mut agent = |name: &str, upn: &str| {
        let identity = directory.add(
            Kind::ServicePrincipal,
            json!({
                "@odata.type": odata::AGENT_IDENTITY, "displayName": format!("{name} agent"), "accountEnabled": true,
                "agentIdentityBlueprintId": blueprint_app_id, "servicePrincipalType": "ServiceIdentity",
                "_sponsors": [sponsor_id], "createdDateTime": now(),
            }),
            Duration::ZERO,
        );
        let licences: Vec<Value> =
            directory.skus.iter().take(2).map(|sku| json!({"skuId": sku.id, "disabledPlans": []})).collect();
        let user = directory.add(
            Kind::User,
            json!({
                "@odata.type": odata::AGENT_USER, "displayName": format!("{name} user"), "userPrincipalName": upn,
                "mail": upn, "mailNickname": name, "identityParentId": identity, "accountEnabled": true,
                "usageLocation": "US", "assignedLicenses": licences,
            }),
            Duration::ZERO,
        );
        let mut grant = |client: &str, resource: &str, scope: &str, all: bool| {
            let mut body = json!({
                "clientId": client, "resourceId": resource, "scope": scope,
                "consentType": if all { "AllPrincipals" } else { "Principal" },
            });
            if !all {
                body["principalId"] = json!(user);
            }
            directory.add(Kind::Grant, body, Duration::ZERO)
        };
        grant(&identity, graph, GRAPH_SCOPES, false);
        directory.add(
            Kind::RoleAssignment,
            json!({
                "principalId": identity, "resourceId": graph,
                "appRoleId": permissions::role_id("Application.Read.All"),
            }),
            Duration::ZERO,
        );
        (identity, user)
    };
    let agent_upn = format!("agent@{DOMAIN}");
    let (agent_id, agent_user_id) = agent("ready", &agent_upn);
    let (other_agent_id, other_agent_user_id) = agent("other", &format!("other@{DOMAIN}"));
    if !options.without_work_iq {
        for (app_id, scope) in [(WORK_IQ_APP_ID, WORK_IQ_SCOPES), (WORD_APP_ID, "Tools.ListInvoke.All")] {
            let resource =
                directory.by_app_id(Kind::ServicePrincipal, app_id).map(|entry| entry.id().to_owned());
            directory.add(
                Kind::Grant,
                json!({
                    "clientId": blueprint_principal, "consentType": "AllPrincipals",
                    "resourceId": resource, "scope": scope,
                }),
                Duration::ZERO,
            );
        }
    }
    Agents {
        blueprint_app_id,
        agent_id,
        agent_user_id,
        agent_upn,
        other_agent_id,
        other_agent_user_id,
        sponsor_id,
    }
}

fn seed_provisioner(directory: &mut Directory, graph: &str, credential: &Credential) -> String {
    let app_id =
        seed_app(directory, "ready provisioner", json!({"keyCredentials": [key_credential(credential)]}));
    let principal = directory.by_app_id(Kind::ServicePrincipal, &app_id).map(|entry| entry.id().to_owned());
    for role in permissions::PROVISIONER_ROLES {
        directory.add(
            Kind::RoleAssignment,
            json!({"principalId": principal, "resourceId": graph, "appRoleId": permissions::role_id(role)}),
            Duration::ZERO,
        );
    }
    app_id
}

/// An ordinary app with its principal; returns the app id.
pub(crate) fn seed_app(directory: &mut Directory, name: &str, more: Value) -> String {
    let app_id = Uuid::new_v4().to_string();
    let mut body = json!({
        "@odata.type": "#microsoft.graph.application", "appId": app_id, "displayName": name,
        "keyCredentials": [], "createdDateTime": now(), "signInAudience": "AzureADMyOrg",
    });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    directory.add(Kind::Application, body, Duration::ZERO);
    directory.add(Kind::ServicePrincipal, principal(&app_id, name), Duration::ZERO);
    app_id
}

/// A service principal of an app.
pub(crate) fn principal(app_id: &str, name: &str) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.servicePrincipal", "appId": app_id, "displayName": name,
        "servicePrincipalType": "Application", "accountEnabled": true, "appRoles": [], "createdDateTime": now(),
        "oauth2PermissionScopes": permissions::published_scopes(app_id),
    })
}

/// `now`, as Graph writes times.
pub(crate) fn now() -> String {
    chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(crate) fn key_credential(credential: &Credential) -> Value {
    use x509_parser::prelude::FromDer as _;
    let (_, certificate) = x509_parser::prelude::X509Certificate::from_der(&credential.cert_der)
        .expect("a certificate that was just made can be read");
    let time = |time: x509_parser::time::ASN1Time| {
        let time = chrono::DateTime::from_timestamp(time.timestamp(), 0).unwrap_or_default();
        time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let validity = certificate.validity();
    json!({
        "keyId": Uuid::new_v4().to_string(), "type": "AsymmetricX509Cert", "usage": "Verify",
        "displayName": "CN=stand-in", "key": STANDARD.encode(&credential.cert_der),
        "customKeyIdentifier": super::pki::thumbprint_sha1_hex(&credential.cert_der),
        "startDateTime": time(validity.not_before), "endDateTime": time(validity.not_after),
    })
}

fn manifest(a365_base: &str, v2: bool) -> Value {
    let server = |name: &str, v1_scope: &str, v2_audience: &str| {
        let (audience, scope) =
            if v2 { (v2_audience, "Tools.ListInvoke.All") } else { (WORK_IQ_APP_ID, v1_scope) };
        json!({
            "mcpServerName": name, "mcpServerUniqueName": name, "url": format!("{a365_base}/{name}"),
            "scope": scope, "audience": audience, "publisher": "Microsoft",
        })
    };
    let mut servers = vec![server("mcp_WordServer", "McpServers.Word.All", WORD_APP_ID)];
    // The deprecated file server has no audience of its own: it stays on the shared one.
    let mut files = server("mcp_ODSPRemoteServer", "McpServers.OneDriveSharepoint.All", WORK_IQ_APP_ID);
    files["scope"] = json!("McpServers.OneDriveSharepoint.All");
    servers.push(files);
    if !v2 {
        servers.push(server("mcp_CalendarTools", "McpServers.Calendar.All", ""));
        servers.push(server("mcp_MeServer", "McpServers.Me.All", ""));
    }
    json!({"version": "1.1", "mcpServers": servers})
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
