//! Making, resuming, rotating and removing an agent, through the crate itself: real keyring, real audit log, the
//! stand-in's Graph. The keyring is found through the environment, so each step is a process of its own: this test
//! program again, as [`child`].

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "the child answers on its stdout")]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use entrabot_audit::{AuditLog, AuditOptions};
use entrabot_identity::{
    Attribute, AttributionChain, AttributionType, BlueprintChoice, CertificateStatus, Config, Desired,
    Diagnose, Egress, GrantResource, KeystoreSigner, ObjectId, Preflight, Provisioner, Resource, Session,
    Teardown, TokenExchange, TokenSource,
};
use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use entrabot_keystore::{CertificateThumbprint, EntryName, SecretBytes};
use entrabot_tests::settings;
use entrabot_tests::stand_in::{Behaviour, Options, RecordedRequest, Role, StandIn};
use serde_json::{Value, json};

const UPN: &str = "demo-agent@contoso.example";

struct Home {
    cloud: StandIn,
    keyring: PrivateKeyring,
    dir: tempfile::TempDir,
}

/// What a child came to.
#[derive(Debug)]
struct Answer {
    ok: bool,
    value: Value,
}

impl Home {
    fn new(options: Options) -> Self {
        let home = Self::without_certificate(options, Mode::Encrypted);
        home.child("store-provisioner", &[]).expect_ok();
        home
    }

    fn without_certificate(options: Options, mode: Mode) -> Self {
        Self {
            cloud: StandIn::start(options),
            keyring: PrivateKeyring::start(mode).unwrap(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn state(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, what: &str, more: &[(&str, &str)]) -> Command {
        let info = self.cloud.info();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"]);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.keyring.env());
        command.envs(settings::of_cloud(info)).envs(settings::of_state(self.dir.path()));
        command.envs([
            ("ENTRABOT_PROVISIONER_CLIENT_ID", info.provisioner_client_id.clone()),
            ("CHILD_DOES", what.to_owned()),
            ("CHILD_SPONSOR", info.sponsor_id.clone()),
            ("CHILD_PROVISIONER_PEM", info.provisioner_cert_pem.display().to_string()),
        ]);
        command.envs(more.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn child(&self, what: &str, more: &[(&str, &str)]) -> Answer {
        let output = self.command(what, more).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.split_once("ANSWER ").map(|(_, json)| json.to_owned()));
        let line = line.unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)));
        let value: Value = serde_json::from_str(&line).unwrap();
        Answer { ok: value["ok"].as_bool().unwrap(), value }
    }

    fn changes(&self) -> Vec<RecordedRequest> {
        let mut requests = self.cloud.requests();
        requests.retain(|request| request.host == Role::Graph && request.method != "GET");
        requests
    }

    fn records(&self) -> Vec<Value> {
        let mut records = Vec::new();
        let Ok(days) = std::fs::read_dir(self.state("audit")) else { return records };
        for day in days.map(|day| day.unwrap().path()) {
            if day.extension().is_some_and(|extension| extension == "jsonl") {
                let text = std::fs::read_to_string(day).unwrap();
                // The last line may be one that is just being written.
                let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
                records.extend(lines.map(|line| serde_json::from_str::<Value>(line).unwrap()));
            }
        }
        records
    }
}

impl Answer {
    #[track_caller]
    fn expect_ok(self) -> Value {
        assert!(self.ok, "{}", self.value);
        self.value
    }
    #[track_caller]
    fn expect_error(self, class: u8, text: &str) -> Value {
        assert!(!self.ok, "{}", self.value);
        assert_eq!(self.value["class"], class, "{}", self.value);
        assert!(self.value["error"].as_str().unwrap().contains(text), "{}", self.value);
        self.value
    }
}

/// One of each, and only one.
#[track_caller]
fn assert_one_of_everything(home: &Home) {
    let made = |path: &str| {
        let made = |request: &&RecordedRequest| {
            request.method == "POST" && request.path.contains(path) && request.status == 201
        };
        home.changes().iter().filter(made).count()
    };
    assert_eq!(made("agentIdentityBlueprint") - made("agentIdentityBlueprintPrincipal"), 1, "blueprint");
    assert_eq!(made("agentIdentityBlueprintPrincipal"), 1, "principal");
    assert_eq!(made("microsoft.graph.agentIdentity") - made("agentIdentityBlueprint"), 1, "identity");
    assert_eq!(made("/beta/users"), 1, "user");
}

#[test]
fn from_nothing_to_a_signed_in_agent_and_back() {
    let home = Home::new(Options { without_work_iq: true, ..Options::default() });

    // A dry run reads and changes nothing: no record, no file, no entry.
    let plan = home.child("plan", &[]).expect_ok();
    for word in ["blueprint", "principal", "certificate", "identity", "user", "grant", "licence"] {
        assert!(plan["steps"].to_string().contains(word), "{word}: {plan}");
    }
    assert!(home.changes().is_empty());
    assert_eq!(std::fs::read_dir(home.dir.path()).unwrap().count(), 0, "a plan writes nothing");

    let first = home.child("provision", &[]).expect_ok();
    assert_eq!(first["warnings"], json!([]));
    assert_one_of_everything(&home);
    let settings = std::fs::read_to_string(home.state(".env")).unwrap();
    for name in ["BLUEPRINT_APP_ID", "BLUEPRINT_CERT_THUMBPRINT", "AGENT_ID", "AGENT_USER_ID", "AGENT_UPN"] {
        assert!(settings.contains(&format!("ENTRABOT_{name}=")), "{settings}");
    }
    assert!(!home.state("data/provisioning.json").exists());

    // Every change was on record before it was sent, by nobody, with nothing that names a person.
    let records = home.records();
    let pending = records.iter().filter(|record| record["outcome"] == "pending").count();
    assert!(pending >= home.changes().len(), "{pending} for {}", home.changes().len());
    assert_eq!(records.iter().filter(|record| record["outcome"] == "success").count(), pending);
    for record in &records {
        if record["src"] == "provisioning" {
            assert_eq!(record["attribution_type"], "none", "{record}");
        }
        assert!(!record.to_string().contains('@'), "{record}");
    }

    home.child("token", &[]).expect_ok();

    // The second time there is nothing to do.
    home.cloud.clear_requests();
    let second = home.child("provision", &[]).expect_ok();
    assert_eq!(second["changed"], 0, "{second}");
    assert!(home.changes().is_empty(), "{:?}", home.changes());
    assert_eq!(second["agent_id"], first["agent_id"]);
    assert_eq!(home.child("plan", &[]).expect_ok()["is_empty"], true);

    // The people who answer for it, and its scopes, change afterwards too.
    let changed = home.child("sponsors-and-scopes", &[]).expect_ok();
    assert_eq!(changed["new"], json!(["Calendars.Read"]));
    assert_eq!(changed["gone"], json!(["Calendars.Read", "Mail.Send"]));
    assert_eq!(changed["second"], json!([]));
    assert_eq!(changed["preflight"], json!([UPN, true, false]), "{changed}");

    // A new key and certificate; the old ones are gone, and the token comes with the new ones.
    let rotated = home.child("rotate", &[]).expect_ok();
    assert_eq!(rotated["removed"], 1);
    assert_ne!(rotated["thumbprint"], first["thumbprint"]);
    let held = home.child("certificates", &[]).expect_ok();
    assert_eq!(held["held"].as_array().unwrap().len(), 1, "{held}");
    assert_eq!(held["held"][0], json!([rotated["thumbprint"], true]));
    home.child("token", &[]).expect_ok();
    assert_eq!(home.child("entries", &[]).expect_ok()["private_keys"], json!(["blueprint-private-key"]));

    // And back.
    home.child("teardown", &[]).expect_ok();
    let entries = home.child("entries", &[]).expect_ok();
    assert_eq!(entries["private_keys"], json!([]));
    assert!(!std::fs::read_to_string(home.state(".env")).unwrap().contains("ENTRABOT_AGENT"));
    assert!(home.state("audit").exists(), "the audit log stays");
}

#[test]
fn a_run_that_is_killed_anywhere_is_resumed_and_nothing_is_made_twice() {
    // Killed after the n-th changing request has been answered or is under way; the directory shows things late.
    // Three at a time: most of it is waiting.
    let killed_after = |kill_after: usize| {
        let behaviour = Behaviour { replication_delay_ms: 150, ..Behaviour::default() };
        let home = Home::new(Options { without_work_iq: true, behaviour, ..Options::default() });
        let mut child = home.command("provision", &[]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while home.changes().len() < kill_after && Instant::now() < deadline {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let done = home.child("provision", &[]).expect_ok();
        assert_eq!(done["warnings"], json!([]), "killed after {kill_after}");
        assert_one_of_everything(&home);
        assert_eq!(home.child("entries", &[]).expect_ok()["private_keys"], json!(["blueprint-private-key"]));
        let held = home.child("certificates", &[]).expect_ok();
        assert_eq!(held["held"].as_array().unwrap().len(), 1, "killed after {kill_after}: {held}");
        home.child("token", &[]).expect_ok();
    };
    std::thread::scope(|scope| {
        for first in 1..=3 {
            scope.spawn(move || (first..=9).step_by(3).for_each(killed_after));
        }
    });
}

#[test]
fn a_rotation_that_is_killed_anywhere_leaves_an_agent_that_signs_in() {
    let killed_after = |records: usize| {
        let home = Home::new(Options { without_work_iq: true, ..Options::default() });
        home.child("provision", &[]).expect_ok();
        let wanted = home.records().len() + records;
        let mut child = home.command("rotate", &[]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while home.records().len() < wanted
            && Instant::now() < deadline
            && child.try_wait().unwrap().is_none()
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        home.child("token", &[]).expect_ok();
        home.child("rotate", &[]).expect_ok();
        home.child("token", &[]).expect_ok();
        let held = home.child("certificates", &[]).expect_ok();
        assert_eq!(held["held"].as_array().unwrap().len(), 1, "killed after {records}: {held}");
        assert_eq!(held["held"][0][1], true, "killed after {records}: {held}");
        let keys = home.child("entries", &[]).expect_ok();
        assert_eq!(keys["private_keys"], json!(["blueprint-private-key"]), "killed after {records}");
    };
    // A rotation is ten records: key, certificate, switch, removal, settling; each pending and done.
    std::thread::scope(|scope| {
        for first in 1..=3 {
            scope.spawn(move || (first..=9).step_by(3).for_each(killed_after));
        }
    });
}

#[test]
fn without_a_record_nothing_happens() {
    let home = Home::new(Options::default());
    std::fs::write(home.state("audit"), "a file where the directory should be").unwrap();
    let answer = home.child("provision", &[]);
    assert_eq!(answer.value["class"], 7, "{}", answer.value);
    assert!(home.changes().is_empty());
    assert_eq!(home.child("entries", &[]).expect_ok()["private_keys"], json!([]));
    assert!(!home.state(".env").exists());
}

#[test]
fn an_insecure_or_locked_keyring_means_no_request_and_no_file() {
    for (mode, class) in [(Mode::Cleartext, 3), (Mode::NoProvider, 3), (Mode::Locked, 5)] {
        let home = Home::without_certificate(Options::default(), mode);
        for what in ["plan", "provision", "teardown", "certificates"] {
            let answer =
                home.child(what, &[("ENTRABOT_BLUEPRINT_APP_ID", "0c4f7a5e-9a1f-4b8c-8a53-5d1b0a3c2e11")]);
            assert_eq!(answer.value["class"], class, "{mode:?} {what}: {}", answer.value);
        }
        assert!(home.cloud.requests().is_empty(), "{mode:?}");
        assert!(!home.state(".env").exists() && !home.state("data/provisioning.json").exists());
        assert!(home.records().is_empty(), "{mode:?}");
    }
}

#[test]
fn what_is_not_ours_is_refused_before_any_change() {
    let home = Home::new(Options::default());
    let ready = home.cloud.info().agent_upn.clone();
    home.child("plan", &[("CHILD_UPN", &ready)]).expect_error(1, "agent user of another identity");
    home.child("plan", &[("CHILD_UPN", "ada@contoso.example")]).expect_error(1, "person");
    home.child("plan", &[("CHILD_NAME", "ready blueprint")]).expect_error(1, "not ours");
    home.child("plan", &[("CHILD_USE", "0c4f7a5e-9a1f-4b8c-8a53-5d1b0a3c2e11")])
        .expect_error(4, "does not exist");
    // A key that nobody can say the origin of is never replaced.
    home.child("store-foreign-key", &[]).expect_ok();
    home.child("provision", &[]).expect_error(1, "not this blueprint's");
    assert!(home.changes().is_empty());
}

#[test]
fn a_missing_permission_is_named_and_the_run_resumes_when_it_is_there() {
    let missing = ["AgentIdentity.Create.All", "AgentIdentity.ReadWrite.All"].map(str::to_owned).to_vec();
    let behaviour = Behaviour { missing_permissions: missing, ..Behaviour::default() };
    let home = Home::new(Options { behaviour, ..Options::default() });
    let refused = home.child("provision", &[]).expect_error(6, "create the agent identity");
    assert!(refused["hint"].as_str().unwrap().contains("AgentIdentity.Create.All"), "{refused}");
    let failed = home.records().into_iter().filter(|record| record["outcome"] == "failure").count();
    assert_eq!(failed, 1);
    home.cloud.set_behaviour(|behaviour| behaviour.missing_permissions.clear());
    home.child("provision", &[]).expect_ok();
    assert_one_of_everything(&home);
}

#[test]
fn without_the_provisioners_certificate_the_answer_says_how_to_put_it_there() {
    let home = Home::without_certificate(Options::default(), Mode::Encrypted);
    let answer = home.child("plan", &[]).expect_error(4, "entrabot-provisioner-cert");
    assert!(answer["hint"].as_str().unwrap().contains("entrabot keystore set"), "{answer}");
}

#[test]
fn no_licence_free_is_a_warning() {
    let home = Home::new(Options { free_seats: Some(0), ..Options::default() });
    let made = home.child("provision", &[]).expect_ok();
    assert_eq!(made["warnings"].as_array().unwrap().len(), 2, "{made}");
}

#[test]
fn the_last_link_of_the_attribution_chain_is_the_keystore() {
    let home = Home::without_certificate(Options::default(), Mode::Encrypted);
    let nobody = home.child("who", &[]).expect_error(7, "no identity");
    assert_eq!(nobody["error_type"], "AuditAttributionError");
    assert_eq!(
        home.child("who", &[("CHILD_KIND", "none")]).expect_ok()["who"],
        json!(["unknown", "none", "none"])
    );
    let id = "0c4f7a5e-9a1f-4b8c-8a53-5d1b0a3c2e11";
    home.child("store-active-client", &[("CHILD_ID", id)]).expect_ok();
    assert_eq!(home.child("who", &[]).expect_ok()["who"], json!([id, "agent", "store"]));
    let agent = "935f2967-9cc4-4b1c-93f2-2cd059eb8f23";
    let who = home.child("who", &[("ENTRABOT_AGENT_ID", agent)]).expect_ok();
    assert_eq!(who["who"], json!([agent, "agent", "agent_id"]), "an earlier link wins");

    // A keyring that does not open is "none found", and says so; one that is not safe is an error of its own.
    let locked = Home::without_certificate(Options::default(), Mode::Locked);
    locked.child("who", &[]).expect_error(7, "locked");
    let cleartext = Home::without_certificate(Options::default(), Mode::Cleartext);
    cleartext.child("who", &[("CHILD_KIND", "none")]).expect_error(3, "insecure keyring backend");
}

/// Not a test: what the tests above run as a process of its own.
#[test]
#[ignore = "run by the other tests"]
fn child() {
    let Ok(what) = std::env::var("CHILD_DOES") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let value = match runtime.block_on(act(&what)) {
        Ok(mut value) => {
            value["ok"] = json!(true);
            value
        }
        Err(error) => json!({
            "ok": false, "error": error.to_string(), "error_type": error.error_type(),
            "hint": error.hint(), "class": error.class() as u8,
        }),
    };
    println!("\nANSWER {value}");
}

async fn act(what: &str) -> Result<Value, Box<dyn Diagnose>> {
    let variable = |name: &str| std::env::var(name).ok();
    let config = Config::from_env().map_err(boxed)?;
    let egress = Egress::from_config(&config).map_err(boxed)?;
    let provisioner = || Provisioner::new(&config, &egress).map_err(boxed);
    let gate = || -> Result<Arc<AuditLog>, Box<dyn Diagnose>> {
        let who = Arc::new(AttributionChain::new(&config, Arc::new(Session::new())));
        let options = AuditOptions::from_config(&config).map_err(boxed)?;
        Ok(Arc::new(AuditLog::open(options, who).map_err(boxed)?))
    };
    let desired = || {
        let name = variable("CHILD_NAME").unwrap_or_else(|| "demo".into());
        let choice = match variable("CHILD_USE") {
            Some(id) => BlueprintChoice::Use(entrabot_identity::BlueprintAppId::parse(&id).unwrap()),
            None => BlueprintChoice::New,
        };
        let sponsor = ObjectId::parse(&variable("CHILD_SPONSOR").unwrap()).unwrap();
        let upn = variable("CHILD_UPN").unwrap_or_else(|| UPN.into());
        Desired::new(&name, choice, &upn, vec![sponsor]).unwrap().with_work_iq(true)
    };
    match what {
        "store-provisioner" => {
            let pem = std::fs::read(variable("CHILD_PROVISIONER_PEM").unwrap()).unwrap();
            let entry =
                EntryName::new("entrabot-provisioner-cert", config.tenant_id().unwrap().as_str()).unwrap();
            config
                .keystore_policy()
                .open()
                .and_then(|store| store.put(&entry, &SecretBytes::new(pem)))
                .map_err(boxed)?;
            Ok(json!({}))
        }
        "store-foreign-key" => {
            // The Provisioner's own key stands for any key that is not the blueprint's.
            let pem = std::fs::read(variable("CHILD_PROVISIONER_PEM").unwrap()).unwrap();
            let store = config.keystore_policy().open().map_err(boxed)?;
            store.put(&EntryName::blueprint_private_key(), &SecretBytes::new(pem)).map_err(boxed)?;
            Ok(json!({}))
        }
        "store-active-client" => {
            let id = SecretBytes::new(variable("CHILD_ID").unwrap().into_bytes());
            let store = config.keystore_policy().open().map_err(boxed)?;
            store.put(&EntryName::active_client_id(), &id).map_err(boxed)?;
            Ok(json!({}))
        }
        "who" => {
            let chain = AttributionChain::new(&config, Arc::new(Session::new()));
            let who = match variable("CHILD_KIND") {
                Some(_) => chain.attribute_as(AttributionType::None),
                None => chain.attribute(),
            };
            let who = who.map_err(boxed)?;
            Ok(json!({ "who": [who.agent_id(), who.kind().as_str(), who.via().as_str()] }))
        }
        "entries" => {
            let all =
                config.keystore_policy().open().and_then(|store| store.list("entrabot")).map_err(boxed)?;
            let keys: Vec<&str> =
                all.iter().map(EntryName::username).filter(|name| *name != "audit-signing-key").collect();
            Ok(json!({ "private_keys": keys }))
        }
        "plan" => {
            let plan = provisioner()?.plan(&desired()).await.map_err(boxed)?;
            let steps: Vec<_> = plan
                .steps()
                .iter()
                .map(|step| json!([step.kind.as_str(), step.change.as_str(), step.detail]))
                .collect();
            Ok(json!({ "steps": steps, "is_empty": plan.is_empty() }))
        }
        "provision" => {
            let provisioner = provisioner()?;
            let plan = provisioner.plan(&desired()).await.map_err(boxed)?;
            let lock = provisioner.lock().map_err(boxed)?;
            let made = provisioner.apply(plan, &lock, gate()?, &|_| {}).await.map_err(boxed)?;
            Ok(json!({
                "agent_id": made.agent_id, "thumbprint": made.thumbprint, "changed": made.changed,
                "warnings": made.warnings,
            }))
        }
        "certificates" => {
            let held = provisioner()?.certificates().await.map_err(boxed)?;
            let held: Vec<_> = held
                .iter()
                .map(|held| {
                    json!([held.thumbprint.as_ref().map(|thumbprint| thumbprint.as_str()), held.ours])
                })
                .collect();
            Ok(json!({ "held": held }))
        }
        "rotate" => {
            let provisioner = provisioner()?;
            let lock = provisioner.lock().map_err(boxed)?;
            let rotated = provisioner.rotate_certificate(&lock, gate()?, &|_| {}).await.map_err(boxed)?;
            Ok(json!({ "thumbprint": rotated.thumbprint.as_str(), "removed": rotated.removed }))
        }
        "sponsors-and-scopes" => {
            let provisioner = provisioner()?;
            let (lock, gate) = (provisioner.lock().map_err(boxed)?, gate()?);
            let only = ObjectId::parse(&variable("CHILD_SPONSOR").unwrap()).unwrap();
            let present = provisioner.sponsors().await.map_err(boxed)?;
            assert!(matches!(present.as_slice(), [one] if one.id == only.as_str()), "{present:?}");
            assert!(!provisioner.add_sponsor(&only, &lock, gate.clone()).await.map_err(boxed)?);
            assert!(
                provisioner.remove_sponsor(&only, &lock, gate.clone()).await.is_err(),
                "the last one stays"
            );
            let new = ["Calendars.Read", "Mail.Read"];
            let new = provisioner
                .grant_scopes(&GrantResource::Graph, &new, &lock, gate.clone())
                .await
                .map_err(boxed)?;
            let gone = ["Calendars.Read", "Mail.Send"];
            let mut first = provisioner
                .revoke_scopes(&GrantResource::Graph, &gone, &lock, gate.clone())
                .await
                .map_err(boxed)?;
            first.sort_unstable();
            let second =
                provisioner.revoke_scopes(&GrantResource::Graph, &gone, &lock, gate).await.map_err(boxed)?;
            let signer = Arc::new(KeystoreSigner::from_config(&config).map_err(boxed)?);
            let tokens = TokenExchange::from_config(&config, signer, &egress).map_err(boxed)?;
            let preflight = Preflight::new(&config, tokens, &egress);
            let upn = preflight.signed_in().await.map_err(boxed)?.upn;
            let ours =
                preflight.certificate(config.blueprint_cert_thumbprint().unwrap()).await.map_err(boxed)?;
            let other =
                preflight.certificate(&CertificateThumbprint::of_der(b"other")).await.map_err(boxed)?;
            let held = |status: &CertificateStatus| matches!(status, CertificateStatus::Held { .. });
            Ok(json!({
                "new": new, "gone": first, "second": second, "preflight": [upn, held(&ours), held(&other)],
            }))
        }
        "teardown" => {
            let provisioner = provisioner()?;
            let plan = provisioner.plan_teardown(&Teardown::default()).await.map_err(boxed)?;
            let lock = provisioner.lock().map_err(boxed)?;
            provisioner.tear_down(plan, &lock, gate()?, &|_| {}).await.map_err(boxed)?;
            Ok(json!({}))
        }
        "token" => {
            let signer = Arc::new(KeystoreSigner::from_config(&config).map_err(boxed)?);
            let tokens = TokenExchange::from_config(&config, signer, &egress).map_err(boxed)?;
            tokens.token(&Resource::graph(&config)).await.map_err(boxed)?;
            Ok(json!({}))
        }
        other => panic!("{other}"),
    }
}

fn boxed<E: Diagnose + 'static>(error: E) -> Box<dyn Diagnose> {
    Box::new(error)
}
