//! The composition root: the one place where the parts are put together.
//!
//! Everything is made when it is first needed. A server starts, and says who it is, without an audit directory, a
//! manifest or a keyring; what then needs one is refused by its name, and tried again at the next call.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use entrabot_a365::{A365Error, WorkIqProvider};
use entrabot_audit::{AuditError, AuditLog, AuditOptions};
use entrabot_identity::{
    Attribute, AttributionChain, Config, Egress, Session, Sponsors, TokenError, TokenSource,
};

use crate::failure::Failure;
use crate::person::Person;
use crate::sign_in::SignIn;

/// What commands and the MCP server work with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Parts {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<Config>,
    session: Arc<Session>,
    egress: Egress,
    sign_in: Arc<SignIn>,
    audit: Arc<AuditDoor>,
    provider: Mutex<Option<WorkIqProvider>>,
    sponsors: OnceLock<Sponsors>,
}

impl Parts {
    /// # Errors
    /// The CA bundle of the settings cannot be read.
    pub(crate) fn new(config: Config) -> Result<Self, Failure> {
        let config = Arc::new(config);
        let session = Arc::new(Session::new());
        let egress = Egress::from_config(&config)?;
        let who = Arc::new(AttributionChain::new(&config, Arc::clone(&session)));
        let audit = Arc::new(AuditDoor { config: Arc::clone(&config), who, log: Mutex::new(None) });
        let (config_, session_, audit_) = (Arc::clone(&config), Arc::clone(&session), Arc::clone(&audit));
        let person = Person::new(config_, session_, egress.clone(), audit_);
        let sign_in = SignIn::new(Arc::clone(&config), Arc::clone(&session), egress.clone(), person);
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                session,
                egress,
                sign_in: Arc::new(sign_in),
                audit,
                provider: Mutex::new(None),
                sponsors: OnceLock::new(),
            }),
        })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.inner.config
    }

    pub(crate) fn session(&self) -> &Session {
        &self.inner.session
    }

    pub(crate) fn egress(&self) -> &Egress {
        &self.inner.egress
    }

    pub(crate) fn sign_in(&self) -> &Arc<SignIn> {
        &self.inner.sign_in
    }

    /// Who answers for the agent.
    ///
    /// # Errors
    /// The settings name no agent.
    pub(crate) fn sponsors(&self) -> Result<&Sponsors, TokenError> {
        let tokens = self.inner.sign_in.exchange()?.clone();
        let Inner { config, egress, sponsors, .. } = &*self.inner;
        Ok(sponsors.get_or_init(|| Sponsors::new(config, tokens, egress)))
    }

    /// The audit log, opened at the first call that succeeds. Blocks.
    ///
    /// # Errors
    /// The log cannot be written to; nothing may be done.
    pub(crate) fn audit(&self) -> Result<AuditLog, AuditError> {
        self.inner.audit.open(false)
    }

    /// [`Parts::audit`]; `as_root` lets root write to the log of another user.
    ///
    /// # Errors
    /// As [`Parts::audit`].
    pub(crate) fn open_audit(&self, as_root: bool) -> Result<AuditLog, AuditError> {
        self.inner.audit.open(as_root)
    }

    /// [`Parts::audit`] for a task.
    ///
    /// # Errors
    /// As [`Parts::audit`].
    pub(crate) async fn audit_async(&self) -> Result<AuditLog, Failure> {
        let opened = self.inner.audit.log.try_lock().ok().and_then(|log| log.clone());
        match opened {
            Some(log) => Ok(log),
            None => self.opening(|parts| Ok(parts.audit()?)).await,
        }
    }

    /// [`Parts::provider`] for a task.
    ///
    /// # Errors
    /// As [`Parts::provider`].
    pub(crate) async fn provider_async(&self) -> Result<WorkIqProvider, Failure> {
        let opened = self.inner.provider.try_lock().ok().and_then(|provider| provider.clone());
        match opened {
            Some(provider) => Ok(provider),
            None => self.opening(Self::provider).await,
        }
    }

    /// What is not open yet is opened on a thread that may block.
    async fn opening<T: Send + 'static>(
        &self,
        open: impl FnOnce(&Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let parts = self.clone();
        match entrabot_identity::spawn_blocking(move || open(&parts)).await {
            Ok(opened) => opened,
            Err(_) => Err(Failure::internal("opening the audit log")),
        }
    }

    /// The door to Work IQ. Blocks, because it opens the audit first.
    ///
    /// # Errors
    /// As [`Parts::audit`]; the TLS client cannot be set up.
    pub(crate) fn provider(&self) -> Result<WorkIqProvider, Failure> {
        let audit = self.audit()?;
        let mut provider = self.inner.provider.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(provider) = &*provider {
            return Ok(provider.clone());
        }
        let tokens: Arc<dyn TokenSource> = Arc::clone(&self.inner.sign_in) as _;
        let made = WorkIqProvider::new(&self.inner.config, audit, tokens, &self.inner.egress)
            .map_err(|error: A365Error| Failure::from(error))?;
        Ok(provider.insert(made).clone())
    }

    /// Seals what was written, if anything was, and gives back what should be said about it. Blocks; waits for no
    /// call. What is on record stays on record, whatever comes of it.
    pub(crate) fn close_audit(&self) -> Vec<String> {
        drop(self.inner.provider.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.inner.audit.close()
    }
}

/// The audit log, opened at the first call that succeeds.
pub(crate) struct AuditDoor {
    config: Arc<Config>,
    who: Arc<dyn Attribute>,
    log: Mutex<Option<AuditLog>>,
}

impl AuditDoor {
    /// Blocks. `as_root` lets root write to the log of another user.
    pub(crate) fn open(&self, as_root: bool) -> Result<AuditLog, AuditError> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = &*log {
            return Ok(log.clone());
        }
        let options = AuditOptions::from_config(&self.config)?;
        let options = if as_root { options.as_root() } else { options };
        let opened = AuditLog::open(options, Arc::clone(&self.who))?;
        Ok(log.insert(opened).clone())
    }

    fn close(&self) -> Vec<String> {
        let Some(log) = self.log.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Vec::new();
        };
        let sealed = if log.is_sealed() { log.checkpoint().err() } else { None };
        let mut warnings = log.take_notices();
        warnings.extend(sealed.map(|error| format!("no checkpoint: {}", Failure::from(error))));
        warnings
    }
}
