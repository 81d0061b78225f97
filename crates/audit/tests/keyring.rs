//! The signing key in a real, private, encrypted keyring.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;

use common::{AGENT, Call, Home, entry};
use entrabot_audit::{
    Attribute, AttributionChain, AttributionType, AuditError, AuditLog, Config, Diagnose as _, LogEntry,
    Session, SigningPolicy, VerifyLevel, VerifyOptions, VerifyReport, verify_with,
};
use entrabot_identity::AgentUserId;
use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use entrabot_keystore::{EntryName, KeystorePolicy, SecretBytes, Surroundings};

struct Keyed {
    home: Home,
    keyring: PrivateKeyring,
}

impl Keyed {
    fn new() -> Self {
        Self { home: Home::new(), keyring: PrivateKeyring::start(Mode::Encrypted).unwrap() }
    }
    fn policy(&self) -> KeystorePolicy {
        KeystorePolicy::default().in_surroundings(Surroundings::from_vars(&self.keyring.env()))
    }
    fn open(&self) -> AuditLog {
        let options = self.home.options().with_signing(SigningPolicy::Keystore(self.policy()));
        AuditLog::open(options, common::who()).unwrap()
    }
    fn verify(&self) -> VerifyReport {
        verify_with(&self.home.audit(), &VerifyOptions::new().with_data_dir(&self.home.data())).unwrap()
    }
    fn vkeys(&self) -> usize {
        std::fs::read_to_string(self.home.data().join("audit-vkeys")).unwrap().lines().count()
    }
}

#[test]
fn the_key_is_made_on_first_use_and_by_one_of_many() {
    let keyed = Keyed::new();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let keyed = &keyed;
            scope.spawn(move || {
                let log = keyed.open();
                log.log_event(&entry(n)).unwrap();
                log.checkpoint().unwrap();
            });
        }
    });
    let report = keyed.verify();
    assert_eq!(
        (report.ok, report.level, report.sealed_lines),
        (true, VerifyLevel::Anchored, 4),
        "{report:?}"
    );
    assert_eq!(keyed.vkeys(), 1);
    let stored = keyed.policy().open().unwrap().get(&EntryName::audit_signing_key()).unwrap();
    assert!(stored.expose().starts_with(b"-----BEGIN PRIVATE KEY-----\n"));
    // Nothing of it lies in either directory.
    let secret = String::from_utf8(stored.expose()[30..90].to_vec()).unwrap();
    for dir in [keyed.home.audit(), keyed.home.data()] {
        for file in
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
        {
            assert!(!std::fs::read_to_string(&file).unwrap().contains(&secret), "{}", file.display());
        }
    }
}

#[test]
fn case_37_the_key_is_rotated_with_a_checkpoint_signed_by_both() {
    let keyed = Keyed::new();
    let log = keyed.open();
    log.log_event(&entry(0)).unwrap();
    log.checkpoint().unwrap();
    let sealed = log.rotate_signing_key().unwrap().unwrap();
    assert_eq!(sealed.note.unwrap().matches("\u{2014} ").count(), 2);
    log.log_event(&entry(1)).unwrap();
    assert_eq!(log.checkpoint().unwrap().unwrap().note.unwrap().matches("\u{2014} ").count(), 1);
    drop(log);
    keyed.open().log_event(&entry(2)).unwrap();
    keyed.open().checkpoint().unwrap();
    let report = keyed.verify();
    assert_eq!((report.ok, report.level), (true, VerifyLevel::Anchored), "{report:?}");
    assert_eq!(keyed.vkeys(), 2);
    assert!(keyed.home.lines().iter().any(|line| line["action"] == "audit.key_rotated"));
    let stored = keyed.policy().open().unwrap().get(&EntryName::audit_signing_key()).unwrap();
    assert_eq!(String::from_utf8_lossy(stored.expose()).matches("BEGIN").count(), 1);
}

#[test]
fn case_38_a_locked_keyring_stops_the_seals_and_not_the_log() {
    let keyed = Keyed::new();
    let log = keyed.open();
    log.log_event(&entry(0)).unwrap();
    log.checkpoint().unwrap();
    drop(log);
    keyed.keyring.lock().unwrap();
    let log = keyed.open();
    log.log_event(&entry(1)).unwrap();
    assert!(log.checkpoint().is_err());
    let report = keyed.verify();
    assert_eq!((report.ok, report.events, report.sealed_lines), (true, 2, 1));
}

#[test]
fn case_38_a_lost_key_is_never_replaced_in_silence() {
    let keyed = Keyed::new();
    let log = keyed.open();
    log.log_event(&entry(0)).unwrap();
    log.checkpoint().unwrap();
    drop(log);
    keyed.policy().open().unwrap().delete(&EntryName::audit_signing_key()).unwrap();
    let log = keyed.open();
    log.log_event(&entry(1)).unwrap();
    let error = log.checkpoint().unwrap_err().to_string();
    assert!(error.contains("gone"), "{error}");
    assert_eq!(keyed.vkeys(), 1);
    assert!(keyed.verify().ok);
}

#[test]
fn an_insecure_keyring_makes_no_key() {
    let home = Home::new();
    let keyring = PrivateKeyring::start(Mode::NoProvider).unwrap();
    let policy = KeystorePolicy::default().in_surroundings(Surroundings::from_vars(&keyring.env()));
    let log =
        AuditLog::open(home.options().with_signing(SigningPolicy::Keystore(policy)), common::who()).unwrap();
    log.log_event(&entry(0)).unwrap();
    let error = log.checkpoint().unwrap_err();
    assert_eq!(entrabot_audit::Diagnose::error_type(&error), "InsecureKeyringBackendError");
}

const BLUEPRINT: &str = "33333333-3333-4333-8333-333333333333";
const USER: &str = "44444444-4444-4444-8444-444444444444";
const STORED: &str = "55555555-5555-4555-8555-555555555555";

/// The chain asks the keyring of the session that the process runs in. So a test of it starts itself again there: the
/// first run, which gets `true`, has passed then.
fn runs_again_in(session: impl FnOnce() -> PrivateKeyring, test: &str) -> bool {
    const INSIDE: &str = "ENTRABOT_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let keyring = session();
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).envs(keyring.env()).env(INSIDE, "1");
    let output = command.output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    true
}

/// An encrypted keyring that says who acts, or with nothing in it.
fn storing(id: Option<&[u8]>) -> PrivateKeyring {
    let keyring = PrivateKeyring::start(Mode::Encrypted).unwrap();
    if let Some(id) = id {
        let policy = KeystorePolicy::default().in_surroundings(Surroundings::from_vars(&keyring.env()));
        policy.open().unwrap().put(&EntryName::active_client_id(), &SecretBytes::new(id.to_vec())).unwrap();
    }
    keyring
}

/// The chain over these settings, and its session.
fn chain(settings: &[(&str, &str)]) -> (Arc<dyn Attribute>, Arc<Session>) {
    let config = Config::from_variables(settings.iter().copied()).unwrap();
    let session = Arc::new(Session::new());
    (Arc::new(AttributionChain::new(&config, Arc::clone(&session))), session)
}

/// Who stands in the last record, and which link answered.
fn last(home: &Home) -> [String; 3] {
    let line = home.lines().pop().unwrap();
    ["agent_id", "via", "attribution_type"].map(|name| line[name].as_str().unwrap().to_owned())
}

fn event(kind: AttributionType) -> LogEntry {
    LogEntry::cli("report.sent", "report 7", "success", kind)
}

#[test]
fn a_record_names_the_first_link_that_answers_and_says_which_it_was() {
    let test = "a_record_names_the_first_link_that_answers_and_says_which_it_was";
    if runs_again_in(|| storing(Some(STORED.as_bytes())), test) {
        return;
    }
    let (agent, blueprint) = (("ENTRABOT_AGENT_ID", AGENT), ("ENTRABOT_BLUEPRINT_APP_ID", BLUEPRINT));
    let empty = [("ENTRABOT_AGENT_ID", ""), ("ENTRABOT_BLUEPRINT_APP_ID", "")];
    let cases = [
        (vec![agent, blueprint], true, [USER, "session"]),
        (vec![agent, blueprint], false, [AGENT, "agent_id"]),
        (vec![blueprint], false, [BLUEPRINT, "blueprint_app_id"]),
        (vec![], false, [STORED, "store"]),
        // What is empty counts as absent.
        (empty.to_vec(), false, [STORED, "store"]),
        (vec![], true, [USER, "session"]),
    ];
    for (settings, signed_in, [id, via]) in cases {
        let home = Home::new();
        let (who, session) = chain(&settings);
        let log = AuditLog::open(home.options(), who).unwrap();
        if signed_in {
            session.agent_signed_in(AgentUserId::parse(USER).unwrap()).unwrap();
        }
        for kind in [AttributionType::Agent, AttributionType::DelegatedHuman, AttributionType::None] {
            log.log_event(&event(kind)).unwrap();
            assert_eq!(last(&home), [id, via, kind.as_str()], "{settings:?}");
        }
        drop(log.permit(Call).unwrap());
        drop(log);
        assert_eq!(last(&home), [id, via, "agent"], "{settings:?}");
    }
}

#[test]
fn without_anybody_to_name_nothing_is_written_unless_the_record_speaks_for_nobody() {
    let test = "without_anybody_to_name_nothing_is_written_unless_the_record_speaks_for_nobody";
    let locked = || {
        let keyring = storing(Some(STORED.as_bytes()));
        keyring.lock().unwrap();
        keyring
    };
    // With nothing in it, with what is empty or no id, and locked.
    if runs_again_in(|| storing(None), test) {
        let others: [&dyn Fn() -> PrivateKeyring; 3] =
            [&|| storing(Some(b"")), &|| storing(Some(b"a title")), &locked];
        assert!(others.iter().all(|session| runs_again_in(session, test)));
        return;
    }
    let home = Home::new();
    let log = AuditLog::open(home.options(), chain(&[]).0).unwrap();
    let calls = [log.log_event(&event(AttributionType::Agent)).unwrap_err(), log.permit(Call).unwrap_err()];
    let named = [["report.sent", "report 7"], ["a365.mcp_WordServer.GetDocumentContent"; 2]];
    for (error, [action, resource]) in calls.into_iter().zip(named) {
        let AuditError::Attribution(error) = &error else { panic!("{error:?}") };
        // The text of the command line is quoted, since it may hold anything.
        assert_eq!([error.action(), error.resource()].map(|text| text.trim_matches('"')), [action, resource]);
        let text = error.to_string();
        assert_eq!(text, format!("cannot attribute {}: {}", error.action(), error.reason()));
        let asked = "no identity: session UNAUTHENTICATED; ENTRABOT_AGENT_ID not set; ENTRABOT_BLUEPRINT_APP_ID not set; \
                     keystore: ";
        assert!(error.reason().to_string().starts_with(asked), "{text}");
        assert_eq!(error.reason().error_type(), "AuditAttributionError");
        assert!(error.reason().hint().unwrap().contains("ENTRABOT_AGENT_ID"));
    }
    assert!(common::day_files(&home.audit()).is_empty(), "nothing was written");
    for kind in [AttributionType::None, AttributionType::DelegatedHuman] {
        log.log_event(&event(kind)).unwrap();
        assert_eq!(last(&home), ["unknown", "none", kind.as_str()]);
    }
}

#[test]
fn an_insecure_keyring_is_told_whoever_the_record_speaks_for_and_nothing_is_written() {
    let test = "an_insecure_keyring_is_told_whoever_the_record_speaks_for_and_nothing_is_written";
    if runs_again_in(|| PrivateKeyring::start(Mode::Cleartext).unwrap(), test) {
        return;
    }
    let home = Home::new();
    let log = AuditLog::open(home.options(), chain(&[]).0).unwrap();
    let kinds = [AttributionType::Agent, AttributionType::DelegatedHuman, AttributionType::None];
    let refused = kinds.map(|kind| log.log_event(&event(kind)).unwrap_err());
    for error in refused.into_iter().chain([log.permit(Call).unwrap_err()]) {
        assert!(matches!(error, AuditError::InsecureKeyring(_)), "{error:?}");
        assert_eq!(error.error_type(), "InsecureKeyringBackendError");
        assert!(error.to_string().contains("clear"), "{error}");
    }
    assert!(common::day_files(&home.audit()).is_empty());
    // Nobody asks it where a link before it answers.
    let log = AuditLog::open(home.options(), chain(&[("ENTRABOT_AGENT_ID", AGENT)]).0).unwrap();
    log.log_event(&event(AttributionType::Agent)).unwrap();
}
