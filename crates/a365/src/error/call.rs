use std::borrow::Cow;
use std::fmt;

use entrabot_identity::TokenError;
use entrabot_keystore::KeystoreError;

use super::UpstreamText;
use crate::{Diagnose, ErrorClass, ServerName, ToolName};

/// Whether a failed call may have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// Nothing left, or the server said that it did nothing.
    NotApplied,
    /// A write left, and nobody knows: it may or may not have been applied.
    Unknown,
}

/// Why a call failed: which tool, at which host, and what happened.
#[derive(Debug)]
pub struct CallError {
    pub(crate) server: ServerName,
    pub(crate) tool: ToolName,
    pub(crate) host: String,
    pub(crate) failure: CallFailure,
    pub(crate) fate: Fate,
    pub(crate) upstream: Option<UpstreamText>,
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum CallFailure {
    /// There was no token to send.
    Token {
        /// For which audience and scope.
        scope: String,
        /// Why.
        error: TokenError,
    },
    /// 401, also with a fresh token.
    TokenRejected,
    /// 403: a permission was not consented to.
    ConsentMissing {
        /// The permission, from the server's message where it names one, else from the manifest.
        scope: Option<String>,
    },
    /// 403: the user holds no licence.
    LicenceMissing,
    /// 403 for another reason: a policy, or the server is blocked for the tenant.
    Forbidden,
    /// 404: the server is not there for this tenant.
    TenantNotActivated,
    /// 400: the address lacks the tenant, or names a wrong one.
    EndpointInvalid {
        /// Whether the address named a tenant.
        named_tenant: bool,
    },
    /// 429, and waiting would take longer than the call may.
    RateLimited {
        /// Seconds to wait, as the server said.
        retry_after: Option<u64>,
    },
    /// Another HTTP error.
    Http {
        /// The status code.
        status: u16,
    },
    /// A redirect, which is never followed.
    Redirect {
        /// The status code.
        status: u16,
        /// The host it pointed to.
        to: Option<String>,
    },
    /// An answer that is not JSON, with its media type where that is a plain word.
    NonJson {
        /// The status code.
        status: u16,
        /// The answer's media type.
        media_type: Option<String>,
    },
    /// An answer that is JSON and breaks the protocol.
    Protocol {
        /// Which rule.
        rule: Cow<'static, str>,
    },
    /// The server answered with a JSON-RPC error.
    Upstream {
        /// Its code.
        code: i64,
    },
    /// The tool ran and said that it failed (`isError`).
    ToolFailed,
    /// The server has no tool of that name.
    UnknownTool,
    /// The tool's definition is not the one that was pinned.
    DefinitionChanged,
    /// The arguments do not fit the schema that the server advertises. They did not leave.
    ArgumentsRefused {
        /// Which rule of the schema, without any of the arguments' text.
        rule: String,
    },
    /// The answer is larger than anything honest.
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// How much is allowed, in bytes.
        limit: usize,
    },
    /// The answer is compressed although that was not asked for.
    ContentEncoding,
    /// Time ran out.
    Timeout {
        /// What was waited for.
        waiting_for: &'static str,
        /// How long, in seconds.
        seconds: u64,
    },
    /// No connection.
    Connect {
        /// Why.
        reason: Cow<'static, str>,
    },
    /// No trustworthy connection.
    Tls {
        /// Why.
        reason: Cow<'static, str>,
    },
    /// The connection ended before the answer did.
    Disconnected,
    /// The pins of the tools' definitions cannot be read or written.
    Pins {
        /// What is wrong.
        reason: Cow<'static, str>,
    },
    /// The pins are not what was left: somebody else changed, removed or rolled them back.
    PinsBroken {
        /// What was found.
        reason: &'static str,
    },
    /// The keyring, which vouches for the pins, cannot be asked.
    PinsKeyring {
        /// Why.
        error: KeystoreError,
    },
}

impl CallError {
    /// What happened.
    #[must_use]
    pub fn failure(&self) -> &CallFailure {
        &self.failure
    }
    /// Whether it may have changed something.
    #[must_use]
    pub fn fate(&self) -> Fate {
        self.fate
    }
    /// The server.
    #[must_use]
    pub fn server(&self) -> &ServerName {
        &self.server
    }
    /// The tool.
    #[must_use]
    pub fn tool(&self) -> &ToolName {
        &self.tool
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, tool, host, failure, fate, upstream } = self;
        write!(f, "{server}.{tool} at {host}: ")?;
        match failure {
            CallFailure::Token { scope, error } => write!(f, "no token for {scope}: {error}"),
            CallFailure::TokenRejected => f.write_str("token rejected with 401, also after a refresh"),
            CallFailure::ConsentMissing { scope: Some(scope) } => {
                write!(f, "HTTP 403: the permission {scope} was not consented to")
            }
            CallFailure::ConsentMissing { scope: None } => {
                f.write_str("HTTP 403: a permission was not consented to")
            }
            CallFailure::LicenceMissing => f.write_str("HTTP 403: the agent's user lacks a licence"),
            CallFailure::Forbidden => f.write_str("HTTP 403: refused by a policy"),
            CallFailure::TenantNotActivated => f.write_str(
                "HTTP 404: the server is not there (Work IQ may not be activated for this tenant)",
            ),
            CallFailure::EndpointInvalid { named_tenant: true } => {
                f.write_str("HTTP 400: the tenant in the server's address is not the token's")
            }
            CallFailure::EndpointInvalid { named_tenant: false } => {
                f.write_str("HTTP 400: the server's address must name the tenant")
            }
            CallFailure::RateLimited { retry_after: Some(seconds) } => {
                write!(f, "HTTP 429: too many requests, retry after {seconds} s")
            }
            CallFailure::RateLimited { retry_after: None } => f.write_str("HTTP 429: too many requests"),
            CallFailure::Http { status } => write!(f, "HTTP {status}"),
            CallFailure::Redirect { status, to: Some(to) } => {
                write!(f, "HTTP {status}: a redirect to {to}, which is not followed")
            }
            CallFailure::Redirect { status, to: None } => {
                write!(f, "HTTP {status}: a redirect, which is not followed")
            }
            CallFailure::NonJson { status, media_type: Some(kind) } => {
                write!(f, "non-JSON answer (HTTP {status}, {kind})")
            }
            CallFailure::NonJson { status, media_type: None } => write!(f, "non-JSON answer (HTTP {status})"),
            CallFailure::Protocol { rule } => write!(f, "protocol error: {rule}"),
            CallFailure::Upstream { code } => write!(f, "the server answered with error {code}"),
            CallFailure::ToolFailed => f.write_str("the tool failed"),
            CallFailure::UnknownTool => f.write_str("the server has no such tool"),
            CallFailure::DefinitionChanged => {
                f.write_str("the tool's definition is not the one that was pinned; nothing was sent")
            }
            CallFailure::ArgumentsRefused { rule } => write!(f, "the arguments do not fit the tool: {rule}"),
            CallFailure::TooLarge { what, limit } => write!(f, "{what} larger than {limit} bytes"),
            CallFailure::ContentEncoding => f.write_str("a compressed answer, which was not asked for"),
            CallFailure::Timeout { waiting_for, seconds } => {
                write!(f, "timed out after {seconds} s waiting for {waiting_for}")
            }
            CallFailure::Connect { reason } => write!(f, "cannot connect: {reason}"),
            CallFailure::Tls { reason } => write!(f, "TLS refused: {reason}"),
            CallFailure::Disconnected => f.write_str("the connection ended before the answer was complete"),
            CallFailure::Pins { reason } => write!(f, "the pinned definitions cannot be used: {reason}"),
            CallFailure::PinsBroken { reason } => {
                write!(f, "the pinned definitions cannot be relied on: {reason}; nothing was sent")
            }
            CallFailure::PinsKeyring { error } => {
                write!(f, "the keyring cannot vouch for the pinned definitions: {error}")
            }
        }?;
        if *fate == Fate::Unknown {
            f.write_str("; the change may or may not have been applied")?;
        }
        match upstream {
            Some(text) => write!(f, "; the server says: {text}"),
            None => Ok(()),
        }
    }
}

/// The cause is part of the message, because a tool's caller may see nothing else; what lies below it is the source.
impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.failure {
            CallFailure::Token { error, .. } => error.source(),
            CallFailure::PinsKeyring { error } => error.source(),
            _ => None,
        }
    }
}

impl Diagnose for CallError {
    fn error_type(&self) -> &'static str {
        match &self.failure {
            // A keyring refusal keeps its name, whatever was about to be done with the key.
            CallFailure::Token { error, .. } if error.class() == ErrorClass::InsecureKeyring => {
                error.error_type()
            }
            CallFailure::Token { .. } => "A365TokenError",
            CallFailure::PinsKeyring { error } => error.error_type(),
            CallFailure::PinsBroken { .. } => "ToolPinsBrokenError",
            CallFailure::ConsentMissing { .. } => "A365ConsentMissingError",
            CallFailure::TenantNotActivated => "A365TenantNotActivatedError",
            CallFailure::DefinitionChanged => "ToolDefinitionChangedError",
            CallFailure::ArgumentsRefused { .. } => "InvalidArgumentError",
            CallFailure::LicenceMissing => "A365LicenceMissingError",
            CallFailure::Forbidden => "A365ForbiddenError",
            CallFailure::RateLimited { .. } => "A365RateLimitedError",
            CallFailure::EndpointInvalid { .. } => "A365EndpointInvalidError",
            CallFailure::UnknownTool => "A365UnknownToolError",
            _ => "A365McpCallError",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let server = &self.server;
        Some(match &self.failure {
            CallFailure::Token { error, .. } => return error.hint(),
            CallFailure::TokenRejected => {
                "check the audience in the manifest (`entrabot manifest lint FILE`) and the agent user's sign-ins; \
                 `entrabot token check` shows each hop"
                    .into()
            }
            CallFailure::ConsentMissing { scope } => {
                let scope = scope.as_deref().unwrap_or("the server's permission");
                format!(
                    "ask a Global Administrator to grant {scope} to the agent (`a365 setup permissions mcp`); a manifest \
                     that mixes V1 and V2 gives the same error"
                )
                .into()
            }
            CallFailure::LicenceMissing => "assign a Microsoft 365 Copilot licence to the agent's user".into(),
            CallFailure::Forbidden => {
                format!("ask an administrator whether {server} is allowed for the tenant (Agents and Tools page)").into()
            }
            CallFailure::TenantNotActivated => {
                format!("activate Work IQ for the tenant, and check that {server} is the server's name").into()
            }
            CallFailure::EndpointInvalid { named_tenant: true } => {
                "correct the tenant in the manifest's `url`".into()
            }
            CallFailure::EndpointInvalid { named_tenant: false } => format!(
                "give the server a `url` of the form https://agent365.svc.cloud.microsoft/agents/tenants/TENANT/servers/\
                 {server} in the manifest"
            )
            .into(),
            CallFailure::RateLimited { retry_after: Some(seconds) } => format!("call again in {seconds} s").into(),
            CallFailure::UnknownTool => format!("`entrabot tools {server}` lists what the server offers").into(),
            CallFailure::DefinitionChanged => format!(
                "look at what changed (`entrabot tools {server}`), and accept it with `entrabot a365 trust {server}`"
            )
            .into(),
            CallFailure::ArgumentsRefused { .. } => {
                format!("`entrabot tools {server}` shows the schema; nothing was sent").into()
            }
            CallFailure::Tls { .. } => {
                "put right what the message says; ENTRABOT_CA_BUNDLE adds an issuer of your own, and TLS cannot be \
                 switched off"
                    .into()
            }
            CallFailure::Connect { .. } => "check the network, DNS and ENTRABOT_PROXY".into(),
            CallFailure::Pins { .. } => "check the file a365-pins.json in the data directory".into(),
            CallFailure::PinsBroken { .. } => format!(
                "find out who changed a365-pins.json in the data directory; then pin what is offered now, after a look at \
                 it (`entrabot tools {server}`), with `entrabot a365 trust {server}`: that drops all other pins"
            )
            .into(),
            CallFailure::PinsKeyring { error } => return error.hint(),
            CallFailure::Redirect { .. } => "the address in the manifest is not the server's own: correct its `url`".into(),
            CallFailure::NonJson { .. } | CallFailure::ContentEncoding => {
                "something between here and Work IQ answered in its place (a proxy or a gateway?)".into()
            }
            CallFailure::ToolFailed | CallFailure::Upstream { .. } | CallFailure::Protocol { .. }
                if self.fate == Fate::NotApplied =>
            {
                "the server refused or failed; see its message, and check the arguments".into()
            }
            CallFailure::TooLarge { .. } => "the service handles files of at most 5 MB".into(),
            _ if self.fate == Fate::Unknown => {
                "look whether the change is there before you call again: it was not sent a second time".into()
            }
            _ => "call again later".into(),
        })
    }

    fn class(&self) -> ErrorClass {
        match &self.failure {
            CallFailure::Token { error, .. } => error.class(),
            CallFailure::PinsKeyring { error } => error.class(),
            CallFailure::TokenRejected => ErrorClass::NotSignedIn,
            CallFailure::ArgumentsRefused { .. } | CallFailure::EndpointInvalid { .. } => {
                ErrorClass::Configuration
            }
            CallFailure::Timeout { .. } => ErrorClass::Unavailable,
            CallFailure::UnknownTool | CallFailure::TenantNotActivated => ErrorClass::NotFound,
            _ => ErrorClass::Failed,
        }
    }
}
