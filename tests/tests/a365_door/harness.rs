//! A door with everything real behind it, and what its log and its cloud say afterwards.

#[path = "../ready_agent/mod.rs"]
mod ready_agent;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use entrabot_a365::tools::{CreateWordDocument, CreatedDocument, ReadWordDocument, WordDocument};
use entrabot_a365::{
    A365Error, Answered, KeystoreError, PinSeal, ServerName, TokenSource, ToolName, WorkIqProvider,
};
use entrabot_audit::{AuditLog, AuditOptions};
use entrabot_identity::{AttributionChain, Config, Egress, Session, TokenExchange};
use entrabot_tests::cases::TRUE_TEXT;
use entrabot_tests::settings;
use entrabot_tests::stand_in::{Options, RecordedRequest, Role, StandIn};
use ready_agent::KeyFile;
use serde_json::{Map, Value};

/// What a keyring would keep of the pins.
#[derive(Debug, Default)]
struct SealInMemory {
    line: Mutex<Option<String>>,
}

impl PinSeal for SealInMemory {
    fn kept(&self) -> Result<Option<String>, KeystoreError> {
        Ok(self.line.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
    fn keep(&self, line: &str) -> Result<(), KeystoreError> {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = Some(line.to_owned());
        Ok(())
    }
}

pub(crate) struct Door {
    pub(crate) cloud: StandIn,
    pub(crate) provider: WorkIqProvider,
    pub(crate) tokens: Arc<TokenExchange>,
    seal: Arc<SealInMemory>,
    directory: tempfile::TempDir,
}

impl Door {
    pub(crate) fn open() -> Self {
        Self::open_with(Options::default(), |_| Vec::new())
    }

    /// With settings of its own on top.
    pub(crate) fn open_with(
        options: Options,
        settings: impl Fn(&StandIn) -> Vec<(&'static str, String)>,
    ) -> Self {
        let cloud = StandIn::start(options);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let seal = Arc::default();
        let (provider, tokens) = provider(&cloud, directory.path(), settings(&cloud), &seal);
        Self { cloud, provider, tokens, seal, directory }
    }

    /// Another door over the same cloud and the same directories, as a process started later has it.
    pub(crate) fn again(&mut self) {
        (self.provider, self.tokens) = provider(&self.cloud, self.directory.path(), Vec::new(), &self.seal);
    }

    /// Another door over the same directories, whose tokens come from elsewhere.
    pub(crate) fn with_tokens(&self, tokens: Arc<dyn TokenSource>) -> WorkIqProvider {
        door(&config(&self.cloud, self.directory.path(), Vec::new()), tokens, &self.seal)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) async fn create(&self, name: &str) -> Result<Answered<CreatedDocument>, A365Error> {
        let html = format!("<h1>Title</h1><p>{TRUE_TEXT}</p>");
        let request = CreateWordDocument::new(name, &html).expect("sound arguments");
        self.provider.create_word_document(request).await
    }

    pub(crate) async fn read(&self, url: &str) -> Result<Answered<WordDocument>, A365Error> {
        self.provider.read_word_document(ReadWordDocument::new(url).expect("a URL")).await
    }

    pub(crate) async fn call(
        &self,
        server: &str,
        tool: &str,
        arguments: Value,
    ) -> Result<Answered, A365Error> {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        let (server, tool) =
            (ServerName::parse(server).expect("a name"), ToolName::parse(tool).expect("a name"));
        self.provider.call(&server, &tool, arguments).await
    }

    /// The requests that reached Work IQ.
    pub(crate) fn work_iq(&self) -> Vec<RecordedRequest> {
        self.cloud.requests().into_iter().filter(|request| request.host == Role::A365).collect()
    }

    /// Their JSON-RPC methods.
    pub(crate) fn methods(&self) -> Vec<String> {
        self.work_iq()
            .iter()
            .map(|request| {
                let json = request.json.clone().unwrap_or_default();
                json["method"].as_str().unwrap_or("?").to_owned()
            })
            .collect()
    }

    /// The log, oldest line first, without what the log says of itself.
    pub(crate) fn log(&self) -> Vec<Map<String, Value>> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.directory().join("audit"))
            .expect("the audit directory")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
            .collect();
        files.sort();
        let text: String = files.iter().map(|path| fs::read_to_string(path).expect("a log file")).collect();
        text.lines()
            .filter_map(|line| match serde_json::from_str(line) {
                Ok(Value::Object(line)) => Some(line),
                _ => None,
            })
            .filter(|line| line["action"].as_str().is_some_and(|action| action.starts_with("a365.")))
            .collect()
    }

    /// (action, outcome) of each line.
    pub(crate) fn outcomes(&self) -> Vec<(String, String)> {
        let text = |line: &Map<String, Value>, key: &str| line[key].as_str().unwrap_or("?").to_owned();
        self.log().iter().map(|line| (text(line, "action"), text(line, "outcome"))).collect()
    }

    /// Whether every pending line has exactly one outcome.
    pub(crate) fn all_closed(&self) -> bool {
        let outcomes = self.outcomes();
        let pending = outcomes.iter().filter(|(_, outcome)| outcome == "pending").count();
        pending * 2 == outcomes.len() && pending > 0
    }
}

fn provider(
    cloud: &StandIn,
    directory: &Path,
    extra: Vec<(&'static str, String)>,
    seal: &Arc<SealInMemory>,
) -> (WorkIqProvider, Arc<TokenExchange>) {
    let config = config(cloud, directory, extra);
    let tokens = Arc::new(ready_agent::exchange(KeyFile::of(cloud.info()), &config));
    (door(&config, Arc::clone(&tokens) as _, seal), tokens)
}

fn door(config: &Config, tokens: Arc<dyn TokenSource>, seal: &Arc<SealInMemory>) -> WorkIqProvider {
    let session = Arc::new(Session::new());
    let audit = AuditLog::open(
        AuditOptions::new(config.audit_dir(), config.data_dir()),
        Arc::new(AttributionChain::new(config, session)),
    )
    .expect("an audit log");
    let egress = Egress::from_config(config).expect("the stand-in's CA");
    let seal = Some(Arc::clone(seal) as Arc<dyn PinSeal>);
    WorkIqProvider::with_seal(config, audit, tokens, &egress, seal).expect("a door")
}

pub(crate) fn config(cloud: &StandIn, directory: &Path, extra: Vec<(&'static str, String)>) -> Config {
    let mut settings = ready_agent::settings(cloud.info());
    settings.extend(settings::of_state(directory));
    for (name, value) in extra {
        settings.retain(|(known, _)| *known != name);
        settings.push((name, value));
    }
    Config::from_variables(settings).expect("sound settings")
}
