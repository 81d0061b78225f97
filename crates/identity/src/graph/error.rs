use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::tokens::http::HttpError;
use crate::tokens::strict_json;
use crate::{Diagnose, ErrorClass};

/// Microsoft Graph refused, or could not be asked.
#[derive(Clone, Debug)]
pub struct GraphError(Box<Facts>);

#[derive(Clone, Debug)]
struct Facts {
    what: &'static str,
    host: String,
    kind: Kind,
    status: Option<u16>,
    code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
    retry_after: Option<Duration>,
    permissions: &'static [&'static str],
    of_person: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Refused,
    Unreachable(HttpError),
    Malformed,
    ForeignLink,
    WrongToken,
}

impl GraphError {
    pub(super) fn new(what: &'static str, host: &str) -> Self {
        Self(Box::new(Facts {
            what,
            host: host.to_owned(),
            kind: Kind::Malformed,
            status: None,
            code: None,
            message: None,
            request_id: None,
            retry_after: None,
            permissions: &[],
            of_person: false,
        }))
    }
    fn of_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }
    pub(super) fn malformed(self) -> Self {
        self.of_kind(Kind::Malformed)
    }
    pub(super) fn foreign_link(self) -> Self {
        self.of_kind(Kind::ForeignLink)
    }
    pub(super) fn wrong_token(self) -> Self {
        self.of_kind(Kind::WrongToken)
    }
    pub(super) fn unreachable(self, error: HttpError) -> Self {
        self.of_kind(Kind::Unreachable(error))
    }
    #[cfg(feature = "provisioning")]
    pub(crate) fn with_permissions(mut self, permissions: &'static [&'static str]) -> Self {
        self.0.permissions = permissions;
        self
    }
    /// It was a person who asked.
    #[cfg(all(feature = "delegated", feature = "provisioning"))]
    pub(crate) fn of_person(mut self) -> Self {
        self.0.of_person = true;
        self
    }
    /// `{error: {code, message, innerError: {request-id}}}`.
    pub(super) fn refused(mut self, status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let body = strict_json::object(body).unwrap_or_default();
        let error = body.get("error");
        let text = |name: &str| error.and_then(|error| error.get(name)).and_then(serde_json::Value::as_str);
        let request_id = error
            .and_then(|error| error.get("innerError"))
            .and_then(|inner| inner.get("request-id"))
            .and_then(serde_json::Value::as_str)
            .and_then(|id| uuid::Uuid::try_parse(id).ok());
        self.0.status = Some(status);
        self.0.retry_after = retry_after;
        self.0.code = text("code").filter(|code| is_code(code)).map(str::to_owned);
        self.0.message = text("message").map(cleaned);
        self.0.request_id = request_id.map(|id| id.hyphenated().to_string());
        self.of_kind(Kind::Refused)
    }

    /// The HTTP status, when Graph answered.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }
    /// Graph's own code, e.g. `Authorization_RequestDenied`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }
    /// Graph's own message: at most 300 characters, without control characters. Untrusted.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }
    /// The request's id, for Microsoft's support.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }
    /// Whether the request may have taken effect all the same.
    #[cfg(feature = "provisioning")]
    pub(crate) fn may_have_happened(&self) -> bool {
        match self.0.kind {
            Kind::Unreachable(error) => {
                matches!(error, HttpError::TimedOut | HttpError::Interrupted | HttpError::TooLarge)
            }
            Kind::Refused => self.0.status.is_some_and(|status| status >= 500),
            Kind::Malformed => true,
            Kind::ForeignLink | Kind::WrongToken => false,
        }
    }
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts { what, host, .. } = &*self.0;
        match self.0.kind {
            Kind::Refused => {
                write!(f, "graph ({host}) refused to {what}")?;
                if let Some(status) = self.0.status {
                    write!(f, ": HTTP {status}")?;
                }
                if let Some(code) = &self.0.code {
                    write!(f, " {code}")?;
                }
                match &self.0.message {
                    Some(message) => write!(f, " (the service's own words, untrusted: {message:?})"),
                    None => Ok(()),
                }
            }
            Kind::Unreachable(HttpError::TimedOut) => {
                write!(f, "graph ({host}) did not answer in time on the request to {what}")
            }
            Kind::Unreachable(HttpError::Tls(_)) => {
                write!(f, "no trusted connection to graph ({host}) to {what}")
            }
            Kind::Unreachable(_) => write!(f, "graph ({host}) cannot be reached to {what}"),
            Kind::Malformed => write!(f, "graph ({host}) answered nothing usable on the request to {what}"),
            Kind::ForeignLink => {
                write!(f, "graph ({host}) sent a link to another host on the request to {what}")
            }
            Kind::WrongToken => write!(f, "the token at hand is not for graph ({host})"),
        }
    }
}

impl std::error::Error for GraphError {}

impl Diagnose for GraphError {
    fn error_type(&self) -> &'static str {
        match self.0.status {
            Some(401) => "TokenExpiredError",
            Some(429) => "RateLimitError",
            _ => "GraphApiError",
        }
    }
    fn hint(&self) -> Option<Cow<'static, str>> {
        let wait = self.0.retry_after.map(|wait| format!("wait {} s, then try again", wait.as_secs()));
        Some(match (self.0.status, self.0.kind) {
            (Some(403), _) if self.0.of_person => {
                "sign in as an administrator who may register apps and consent to application permissions of Graph \
                 (Global Administrator, or Privileged Role Administrator)"
                    .into()
            }
            (Some(403), _) if !self.0.permissions.is_empty() => format!(
                "give the Provisioner app one of these application permissions, with admin consent: {}; an app that \
                 holds Directory.AccessAsUser.All or Directory.ReadWrite.All is refused on agent identities whatever \
                 else it holds",
                self.0.permissions.join(" or ")
            )
            .into(),
            (Some(403), _) => "the app lacks a permission on Graph: ask an administrator for consent".into(),
            (Some(401), _) => "sign in again; see `entrabot token check`".into(),
            (Some(429 | 503), _) => wait.map_or("try again in a while".into(), Cow::Owned),
            (_, Kind::Unreachable(HttpError::Tls(detail) | HttpError::Setup(detail))) => detail.into(),
            (_, Kind::Unreachable(_)) => {
                "check that the host can be reached from here (network, DNS, ENTRABOT_PROXY, ENTRABOT_GRAPH_BASE)".into()
            }
            (_, Kind::Malformed | Kind::ForeignLink) => "check ENTRABOT_GRAPH_BASE and what stands between".into(),
            _ => match &self.0.request_id {
                Some(id) => format!("Microsoft's support can find the request by its id {id}").into(),
                None => "try again; if it stays, ask an administrator".into(),
            },
        })
    }
    fn class(&self) -> ErrorClass {
        match (self.0.status, self.0.kind) {
            (Some(401 | 403), _) => ErrorClass::NotSignedIn,
            (Some(404), _) => ErrorClass::NotFound,
            (Some(429 | 503), _) | (_, Kind::Unreachable(HttpError::TimedOut)) => ErrorClass::Unavailable,
            _ => ErrorClass::Failed,
        }
    }
}

fn is_code(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 100
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
}

fn cleaned(text: &str) -> String {
    let visible = |c: char| if c.is_control() || is_format(c) { ' ' } else { c };
    text.chars().map(visible).take(300).collect()
}

/// Characters that change how text around them is read: directions, joiners, tags.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{e0000}'..='\u{e007f}')
}
