//! Settings: read once, typed, strict. The only reader of `ENTRABOT_*`.

mod base_url;
mod cloud;
pub(crate) mod env_file;
mod error;
mod key_vault;
mod names;
mod otlp;
mod read;
pub(crate) mod show;
mod values;

use std::path::{Path, PathBuf};

use entrabot_keystore::{CertificateThumbprint, KeystorePolicy, SignatureAlgorithm};

pub use base_url::BaseUrl;
pub use cloud::Cloud;
pub use error::ConfigError;
pub use key_vault::{VaultKey, VaultToken};
pub use otlp::{Otlp, OtlpEndpoint, OtlpProtocol, OtlpSignal, OtlpTarget};
pub use show::{Origin, ShownSetting};
pub use values::{AuditSigning, BlueprintCredential, ConfirmWrites, LogLevel, Mode, OutcomeSync};

use crate::{AgentId, AgentUserId, BlueprintAppId, ClientId, ObjectId, TenantId};
use read::{Raw, Secretive};

/// Every setting of entrabot, read once.
///
/// The process environment wins over the file named by `ENTRABOT_ENV_FILE`, else `~/.entrabot/.env`; a `.env` of
/// the current directory is never read. An empty value counts as absent, but for the keyring allowlist.
#[derive(Debug)]
pub struct Config {
    raw: Raw,
    warnings: Vec<String>,
    env_file: Option<PathBuf>,
    home: Option<PathBuf>,

    tenant_id: Option<TenantId>,
    blueprint_app_id: Option<BlueprintAppId>,
    blueprint_object_id: Option<ObjectId>,
    thumbprint: Option<CertificateThumbprint>,
    credential: BlueprintCredential,
    algorithm: SignatureAlgorithm,
    agent_id: Option<AgentId>,
    agent_object_id: Option<ObjectId>,
    agent_user_id: Option<AgentUserId>,
    agent_upn: Option<String>,
    client_id: Option<ClientId>,
    provisioner_client_id: Option<ClientId>,
    mode: Mode,
    delegated_fallback: bool,
    skip_provisioning: bool,

    cloud: Cloud,
    authority: BaseUrl,
    graph: BaseUrl,
    a365: BaseUrl,
    ca_bundle: Option<PathBuf>,
    proxy: Option<Secretive>,

    keystore_policy: KeystorePolicy,
    audit_dir: PathBuf,
    audit_signing: AuditSigning,
    outcome_sync: OutcomeSync,
    data_dir: PathBuf,
    log_dir: PathBuf,
    log_level: LogLevel,
    confirm_writes: ConfirmWrites,
    http_bearer_file: Option<PathBuf>,
    tooling_manifest: Option<PathBuf>,
    xpia_wrap: bool,
    human_user_ids: Vec<String>,
    human_upns: Vec<String>,
    otlp: Result<Otlp, ConfigError>,
}

impl Config {
    /// The process environment, then the `.env` file (`ENTRABOT_ENV_FILE`, else `~/.entrabot/.env`).
    ///
    /// # Errors
    /// Names the first malformed setting, or the file when it is one that others can write.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::read(Raw::from_process()?, true)
    }

    /// The same from given variables, for tests and embedders: no process environment, no home directory but
    /// `HOME` among the variables, no file but the one that `ENTRABOT_ENV_FILE` among them names.
    ///
    /// # Errors
    /// As [`Config::from_env`].
    pub fn from_variables<I, K, V>(variables: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator<Item = (K, V)>,
        K: Into<String>,
        V: Into<String>,
    {
        Self::read(Raw::from_pairs(variables), false)
    }

    /// `ENTRABOT_TENANT_ID`.
    #[must_use]
    pub fn tenant_id(&self) -> Option<&TenantId> {
        self.tenant_id.as_ref()
    }
    /// `ENTRABOT_BLUEPRINT_APP_ID`.
    #[must_use]
    pub fn blueprint_app_id(&self) -> Option<&BlueprintAppId> {
        self.blueprint_app_id.as_ref()
    }
    /// `ENTRABOT_BLUEPRINT_OBJECT_ID`.
    #[must_use]
    pub fn blueprint_object_id(&self) -> Option<&ObjectId> {
        self.blueprint_object_id.as_ref()
    }
    /// `ENTRABOT_BLUEPRINT_CERT_THUMBPRINT`: SHA-256, base64url, 43 characters.
    #[must_use]
    pub fn blueprint_cert_thumbprint(&self) -> Option<&CertificateThumbprint> {
        self.thumbprint.as_ref()
    }
    /// The thumbprint as it is now: a rotation changes the settings file while servers run.
    #[must_use]
    pub fn current_thumbprint(&self) -> Option<CertificateThumbprint> {
        let now = self.thumbprint_file().and_then(thumbprint_in);
        now.or_else(|| self.thumbprint.clone())
    }
    /// The settings file, when it is what names the thumbprint.
    pub(crate) fn thumbprint_file(&self) -> Option<&Path> {
        match self.raw.origin(THUMBPRINT) {
            Some(Origin::File(path)) => Some(path),
            _ => None,
        }
    }
    /// `ENTRABOT_BLUEPRINT_CREDENTIAL`.
    #[must_use]
    pub fn blueprint_credential(&self) -> &BlueprintCredential {
        &self.credential
    }
    /// The settings file, where a rotation may move the key: not when the environment says where the key is.
    #[cfg(all(feature = "tpm2", unix))]
    pub(crate) fn credential_file(&self) -> Option<&Path> {
        self.thumbprint_file().filter(|_| self.raw.origin(CREDENTIAL) != Some(&Origin::Environment))
    }
    /// The algorithm of a key in the TPM or in the keystore. `None` where the settings say one for both.
    #[cfg(all(feature = "tpm2", unix))]
    pub(crate) fn algorithm_of_place(&self, is_tpm: bool) -> Option<SignatureAlgorithm> {
        self.raw.get("ENTRABOT_ASSERTION_ALGORITHM").is_none().then(|| default_algorithm(is_tpm))
    }
    /// Whether the blueprint proves itself without a key on this machine: then no keyring is opened for it, nor to say who
    /// acts.
    #[must_use]
    pub fn needs_no_keystore(&self) -> bool {
        // A TPM takes the place of one entry of the keyring, and changes nothing for the others.
        !matches!(self.credential, BlueprintCredential::Keystore | BlueprintCredential::Tpm)
    }
    /// `ENTRABOT_TPM_DEVICE`: a device of the kernel, or the Unix socket of a software TPM.
    #[must_use]
    pub fn tpm_device(&self) -> &Path {
        Path::new(self.raw.get("ENTRABOT_TPM_DEVICE").unwrap_or("/dev/tpmrm0"))
    }
    /// Where the key of a certificate lies, as the TPM wrapped it.
    #[must_use]
    pub fn tpm_key_file(&self, thumbprint: &CertificateThumbprint) -> PathBuf {
        tpm_key_file(&self.data_dir, thumbprint)
    }
    /// `ENTRABOT_ASSERTION_ALGORITHM`: PS256 unless RS256 was set.
    #[must_use]
    pub fn assertion_algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }
    /// `ENTRABOT_AGENT_ID`.
    #[must_use]
    pub fn agent_id(&self) -> Option<&AgentId> {
        self.agent_id.as_ref()
    }
    /// `ENTRABOT_AGENT_OBJECT_ID`, else the agent id (the agent identity has no other object id).
    #[must_use]
    pub fn agent_object_id(&self) -> Option<&str> {
        self.agent_object_id.as_ref().map(ObjectId::as_str).or(self.agent_id.as_ref().map(AgentId::as_str))
    }
    /// `ENTRABOT_AGENT_USER_ID`.
    #[must_use]
    pub fn agent_user_id(&self) -> Option<&AgentUserId> {
        self.agent_user_id.as_ref()
    }
    /// `ENTRABOT_AGENT_UPN`, else `ENTRABOT_AGENT_USER_UPN`.
    #[must_use]
    pub fn agent_upn(&self) -> Option<&str> {
        self.agent_upn.as_deref()
    }
    /// `ENTRABOT_CLIENT_ID`: the public client of a person's sign-in.
    #[must_use]
    pub fn client_id(&self) -> Option<&ClientId> {
        self.client_id.as_ref()
    }
    /// `ENTRABOT_PROVISIONER_CLIENT_ID`: the app that makes agents.
    #[must_use]
    pub fn provisioner_client_id(&self) -> Option<&ClientId> {
        self.provisioner_client_id.as_ref()
    }
    /// `ENTRABOT_MODE`.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }
    /// Whether a person may take the place of an agent whose sign-in failed: `ENTRABOT_MODE` is `auto` and
    /// `ENTRABOT_ALLOW_DELEGATED_FALLBACK` is on. Never by default.
    #[must_use]
    pub fn allows_delegated_fallback(&self) -> bool {
        self.mode == Mode::Auto && self.delegated_fallback
    }
    /// `ENTRABOT_SKIP_PROVISIONING`: do not sign in as the agent at start.
    #[must_use]
    pub fn skip_provisioning(&self) -> bool {
        self.skip_provisioning
    }
    /// `ENTRABOT_CLOUD`.
    #[must_use]
    pub fn cloud(&self) -> Cloud {
        self.cloud
    }
    /// `ENTRABOT_AUTHORITY_BASE` (or its alias `ENTRABOT_AUTHORITY`).
    #[must_use]
    pub fn authority_base(&self) -> &BaseUrl {
        &self.authority
    }
    /// `ENTRABOT_GRAPH_BASE`.
    #[must_use]
    pub fn graph_base(&self) -> &BaseUrl {
        &self.graph
    }
    /// `ENTRABOT_A365_BASE`, no slash at the end.
    #[must_use]
    pub fn a365_base(&self) -> &str {
        self.a365.as_str()
    }
    /// The same as a base.
    #[must_use]
    pub fn a365(&self) -> &BaseUrl {
        &self.a365
    }
    /// Whether the operator set `ENTRABOT_A365_BASE` (then its origin joins the egress allowlist).
    #[must_use]
    pub fn a365_base_is_custom(&self) -> bool {
        self.raw.get("ENTRABOT_A365_BASE").is_some()
    }
    /// The bases that are not Microsoft's, as (setting, base). Empty in a Microsoft cloud.
    #[must_use]
    pub fn foreign_bases(&self) -> Vec<(&'static str, &BaseUrl)> {
        [
            ("ENTRABOT_AUTHORITY_BASE", &self.authority),
            ("ENTRABOT_GRAPH_BASE", &self.graph),
            ("ENTRABOT_A365_BASE", &self.a365),
        ]
        .into_iter()
        .filter(|(_, base)| !base.is_microsoft())
        .collect()
    }
    /// `ENTRABOT_CA_BUNDLE`, else `SSL_CERT_FILE`: PEM roots trusted in addition.
    #[must_use]
    pub fn ca_bundle(&self) -> Option<&Path> {
        self.ca_bundle.as_deref()
    }
    /// A variable that the platform sets for the workloads on it.
    #[cfg(feature = "federated")]
    pub(crate) fn host_variable(&self, name: &str) -> Option<&str> {
        self.raw.get(name)
    }
    /// Which of the two names the bundle, for an error.
    #[cfg(feature = "tokens")]
    pub(crate) fn ca_bundle_setting(&self) -> &'static str {
        if self.raw.get("ENTRABOT_CA_BUNDLE").is_some() { "ENTRABOT_CA_BUNDLE" } else { "SSL_CERT_FILE" }
    }
    /// `ENTRABOT_PROXY`. May hold credentials: do not print it.
    #[must_use]
    pub fn proxy(&self) -> Option<&str> {
        self.proxy.as_ref().map(Secretive::as_str)
    }
    /// The keyring settings; a malformed one is refused when the keyring is opened, not here.
    #[must_use]
    pub fn keystore_policy(&self) -> &KeystorePolicy {
        &self.keystore_policy
    }
    /// `ENTRABOT_AUDIT_DIR`.
    #[must_use]
    pub fn audit_dir(&self) -> &Path {
        &self.audit_dir
    }
    /// `ENTRABOT_AUDIT_SIGNING`.
    #[must_use]
    pub fn audit_signing(&self) -> &AuditSigning {
        &self.audit_signing
    }
    /// `ENTRABOT_AUDIT_OUTCOME_SYNC`.
    #[must_use]
    pub fn audit_outcome_sync(&self) -> OutcomeSync {
        self.outcome_sync
    }
    /// `ENTRABOT_DATA_DIR`.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }
    /// `ENTRABOT_LOG_DIR`.
    #[must_use]
    pub fn log_dir(&self) -> &Path {
        &self.log_dir
    }
    /// `ENTRABOT_LOG_LEVEL`.
    #[must_use]
    pub fn log_level(&self) -> LogLevel {
        self.log_level
    }
    /// `ENTRABOT_CONFIRM_WRITES`.
    #[must_use]
    pub fn confirm_writes(&self) -> ConfirmWrites {
        self.confirm_writes
    }
    /// `ENTRABOT_HTTP_BEARER_FILE`.
    #[must_use]
    pub fn http_bearer_file(&self) -> Option<&Path> {
        self.http_bearer_file.as_deref()
    }
    /// `ENTRABOT_A365_TOOLING_MANIFEST`, `~` expanded.
    #[must_use]
    pub fn tooling_manifest(&self) -> Option<PathBuf> {
        self.tooling_manifest.clone()
    }
    /// `ENTRABOT_XPIA_WRAP_ENABLE`.
    #[must_use]
    pub fn xpia_wrap(&self) -> bool {
        self.xpia_wrap
    }
    /// `ENTRABOT_HUMAN_USER_IDS`, else `ENTRABOT_HUMAN_USER_ID`; blanks dropped.
    #[must_use]
    pub fn human_user_ids(&self) -> &[String] {
        &self.human_user_ids
    }
    /// `ENTRABOT_HUMAN_UPNS`, else `ENTRABOT_HUMAN_UPN`; blanks dropped.
    #[must_use]
    pub fn human_upns(&self) -> &[String] {
        &self.human_upns
    }
    /// `OTEL_*`: where traces, metrics and the audit's export go. Those variables are not ours alone, so what is wrong with
    /// one stops nothing but the telemetry.
    ///
    /// # Errors
    /// Names the first that cannot be used.
    pub fn otlp(&self) -> Result<&Otlp, &ConfigError> {
        self.otlp.as_ref()
    }
    /// The settings file: read when it was there, and where `provision` writes. `None` without a home directory.
    #[must_use]
    pub fn env_file(&self) -> Option<&Path> {
        self.env_file.as_deref()
    }
    /// What the operator should know and need not stop for: unknown names, unread lines, ignored proxies.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

#[cfg(feature = "federated")]
pub(crate) use cloud::is_microsoft as is_microsoft_host;

pub(crate) fn tpm_key_file(data_dir: &Path, thumbprint: &CertificateThumbprint) -> PathBuf {
    data_dir.join("tpm-keys").join(format!("{}.pem", thumbprint.as_str()))
}

const THUMBPRINT: &str = "ENTRABOT_BLUEPRINT_CERT_THUMBPRINT";

#[cfg(all(feature = "tpm2", unix))]
const CREDENTIAL: &str = "ENTRABOT_BLUEPRINT_CREDENTIAL";

/// Whether a settings file says now that the key is in the TPM. `None` where it says neither that nor the keystore.
#[cfg(all(feature = "tpm2", unix))]
pub(crate) fn is_tpm_in(file: &Path) -> Option<bool> {
    match env_file::setting(file, CREDENTIAL)?.as_str() {
        "tpm" => Some(true),
        "keystore" => Some(false),
        _ => None,
    }
}

/// Most chips make PSS with another salt than JWS allows.
fn default_algorithm(is_tpm: bool) -> SignatureAlgorithm {
    if is_tpm { SignatureAlgorithm::Rs256 } else { SignatureAlgorithm::Ps256 }
}

/// The thumbprint that a settings file names now.
pub(crate) fn thumbprint_in(file: &Path) -> Option<CertificateThumbprint> {
    CertificateThumbprint::parse(&env_file::setting(file, THUMBPRINT)?).ok()
}

#[cfg(test)]
mod tests;
