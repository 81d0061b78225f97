#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod attribution;
#[cfg(feature = "runtime")]
mod blocking;
mod config;
#[cfg(feature = "federated")]
mod federated;
mod gate;
mod ids;
mod session;

#[cfg(feature = "delegated")]
mod delegated;
#[cfg(feature = "tokens")]
mod graph;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(feature = "provisioning")]
mod provisioning;
#[cfg(feature = "tokens")]
mod tokens;

pub use attribution::{Attribute, Attribution, AttributionChain, AttributionType, Unattributed, Via};
#[cfg(feature = "runtime")]
pub use blocking::{Lost, off_runtime, spawn_blocking};
pub use config::{
    AuditSigning, BaseUrl, BlueprintCredential, Cloud, Config, ConfigError, ConfirmWrites, LogLevel, Mode,
    Origin, Otlp, OtlpEndpoint, OtlpProtocol, OtlpSignal, OtlpTarget, OutcomeSync, ShownSetting, VaultKey,
    VaultToken,
};
#[cfg(feature = "delegated")]
pub use delegated::{Delegated, DelegatedError, DelegatedToken, DeviceCodePrompt, SignInPrompt, SignInWay};
pub use entrabot_keystore::{Diagnose, ErrorClass};
#[cfg(feature = "federated")]
pub use federated::{FederatedError, KeyVaultError};
pub use gate::{Action, ActionGate, Admitted, GateError};
#[cfg(feature = "tokens")]
pub use graph::{CertificateStatus, GraphError, Preflight, SignedIn, Sponsor, Sponsors, SponsorsError};
pub use ids::{AgentId, AgentUserId, BlueprintAppId, ClientId, InvalidId, ObjectId, TenantId};
#[cfg(feature = "otlp")]
pub use otlp::{OtlpError, OtlpSender, Taken};
#[cfg(feature = "provisioning")]
pub use provisioning::{
    BlueprintChoice, Change, Desired, Fate, FoundThing, GrantResource, HeldCertificate, HeldGrant,
    InvalidDesired, MigrationError, MigrationPlan, Plan, Progress, Provisioned, Provisioner,
    ProvisioningError, ProvisioningLock, Remains, Rotated, Step as ProvisioningStep, StepKind, Teardown,
    TeardownPlan,
};
#[cfg(all(feature = "delegated", feature = "provisioning"))]
pub use provisioning::{ProvisionerApp, ProvisionerAppMade, ProvisionerAppPlan, ProvisionerAppRemoval};
pub use session::{
    Human, InvalidTransitionError, Making, Session, SessionChange, SessionError, SessionSnapshot,
    SessionState, SessionUser, Step,
};
#[cfg(feature = "tokens")]
pub use tokens::{
    AccessToken, AgentIdentity, ClaimsChallenge, Egress, Hop, HopReport, HopSuccess, KeystoreSigner,
    ReachError, Reached, Resource, ShownClaim, SignerSource, TlsFault, TokenError, TokenExchange,
    TokenExchangeError, TokenFuture, TokenResponse, TokenSource, fmi_subject, parse_token_response, reach,
};
