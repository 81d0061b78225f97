//! What an attempt ended in, and what may be done about it. Pure: no clock, no network.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use entrabot_identity::ClaimsChallenge;
use serde_json::Value;

use crate::error::CallFailure;
use crate::message;

/// A failed attempt.
pub(super) struct Failure {
    pub(super) what: CallFailure,
    /// The server's own words, as they came.
    pub(super) message: Option<String>,
    pub(super) again: Again,
    /// The request may have had its effect.
    pub(super) may_be_applied: bool,
}

/// Whether and how the request may be sent again.
pub(super) enum Again {
    /// Never.
    No,
    /// Whatever the tool does: nothing left, or the server said that it did nothing.
    Safe { after: Option<Duration> },
    /// Only if the tool only reads.
    IfRead { after: Option<Duration> },
    /// With another token.
    FreshToken { claims: Option<ClaimsChallenge> },
    /// After opening a session.
    Session,
    /// In the stateless revision.
    Stateless,
}

impl Failure {
    pub(super) fn before_sending(what: CallFailure) -> Self {
        Self { what, message: None, again: Again::No, may_be_applied: false }
    }
    pub(super) fn after_sending(what: CallFailure) -> Self {
        Self { what, message: None, again: Again::No, may_be_applied: true }
    }
    /// The server refused, so nothing was done.
    pub(super) fn refused(what: CallFailure, message: Option<String>) -> Self {
        Self { what, message, again: Again::No, may_be_applied: false }
    }
    pub(super) fn protocol(rule: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self::after_sending(CallFailure::Protocol { rule: rule.into() })
    }
    fn again(self, again: Again) -> Self {
        Self { again, ..self }
    }
}

/// An answer whose status is no success.
pub(super) struct Refusal<'a> {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) challenge: Option<&'a str>,
    pub(super) location: Option<String>,
    /// The body, where it is JSON.
    pub(super) body: Option<&'a Value>,
    /// A session id was sent.
    pub(super) in_session: bool,
    /// The address names the tenant.
    pub(super) named_tenant: bool,
    /// The permission that the manifest names.
    pub(super) scope: Option<&'a str>,
}

/// What a status other than 200 means.
pub(super) fn of_status(refusal: Refusal<'_>) -> Failure {
    let details = Details::read(refusal.body);
    let message = details.message.clone();
    let refused = |what: CallFailure| Failure::refused(what, message.clone());
    match refusal.status {
        200..=299 => Failure::protocol(format!("HTTP {} without an answer to the request", refusal.status)),
        status @ (300..=399) => refused(CallFailure::Redirect { status, to: refusal.location }),
        401 => {
            let claims = refusal.challenge.and_then(claims);
            refused(CallFailure::TokenRejected).again(Again::FreshToken { claims })
        }
        403 => forbidden(&refusal, &details),
        404 if refusal.in_session => refused(CallFailure::TenantNotActivated).again(Again::Session),
        404 if details.rpc_code.is_some() => {
            of_rpc_error(details.rpc_code.unwrap_or_default(), message.unwrap_or_default())
        }
        404 => refused(CallFailure::TenantNotActivated),
        400 if details.names_endpoint() => {
            refused(CallFailure::EndpointInvalid { named_tenant: refusal.named_tenant })
        }
        400 if details.rpc_code.is_some() => {
            of_rpc_error(details.rpc_code.unwrap_or_default(), message.unwrap_or_default())
        }
        400 if message.as_deref().is_some_and(message::means_session) => {
            refused(CallFailure::Http { status: 400 }).again(Again::Session)
        }
        429 => {
            refused(CallFailure::RateLimited { retry_after: refusal.retry_after.map(|wait| wait.as_secs()) })
                .again(Again::Safe { after: refusal.retry_after })
        }
        status @ (500 | 502 | 503 | 504) => Failure {
            message,
            again: Again::IfRead { after: refusal.retry_after },
            ..Failure::after_sending(CallFailure::Http { status })
        },
        status @ 500.. => Failure { message, ..Failure::after_sending(CallFailure::Http { status }) },
        status => refused(CallFailure::Http { status }),
    }
}

/// What a JSON-RPC error means.
pub(super) fn of_rpc_error(code: i64, message: String) -> Failure {
    let what = if message::means_unknown_tool(Some(code), &message) {
        CallFailure::UnknownTool
    } else {
        CallFailure::Upstream { code }
    };
    let again = match code {
        // HeaderMismatch and UnsupportedProtocolVersion of the 2026-07-28 revision: nothing was done.
        -32_020 | -32_022 => Again::Stateless,
        -32_099..=-32_000 if message::means_session(&message) => Again::Session,
        _ => Again::No,
    };
    Failure::refused(what, Some(message).filter(|message| !message.is_empty())).again(again)
}

/// What `isError: true` means.
pub(super) fn of_tool_error(text: String) -> Failure {
    let what = if message::means_unknown_tool(None, &text) {
        CallFailure::UnknownTool
    } else {
        CallFailure::ToolFailed
    };
    Failure::refused(what, Some(text).filter(|text| !text.trim().is_empty()))
}

fn forbidden(refusal: &Refusal<'_>, details: &Details) -> Failure {
    let message = details.message.clone();
    let words = message.as_deref().unwrap_or_default().to_ascii_lowercase();
    let named = message.as_deref().and_then(permission_in).or_else(|| {
        refusal.challenge.and_then(|challenge| parameter(challenge, "scope")).and_then(permission)
    });
    if words.contains("licen") {
        return Failure::refused(CallFailure::LicenceMissing, message);
    }
    if named.is_some() || words.contains("scope") || words.contains("consent") {
        let scope = named.or_else(|| refusal.scope.and_then(permission));
        return Failure::refused(CallFailure::ConsentMissing { scope }, message);
    }
    Failure::refused(CallFailure::Forbidden, message)
}

/// The permission in `Access denied: Scope 'McpServers.Word.All' is not present in the request.`
fn permission_in(message: &str) -> Option<String> {
    message
        .split(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`' | ',' | ';' | '(' | ')'))
        .find_map(|word| {
            let word = word.trim_end_matches('.');
            let bare = word.rsplit('/').next().unwrap_or(word);
            let known =
                (bare.starts_with("McpServers.") && bare.ends_with(".All")) || bare == "Tools.ListInvoke.All";
            if known { permission(bare) } else { None }
        })
}

/// A permission's name, where it is plain enough to be shown.
fn permission(text: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':');
    ((1..=200).contains(&text.len()) && text.bytes().all(plain)).then(|| text.to_owned())
}

/// The value of a quoted parameter of a `WWW-Authenticate` header (RFC 9110, section 11.6.1).
fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = challenge;
    loop {
        let at = rest.to_ascii_lowercase().find(&format!("{name}=\""))?;
        let starts_word = at == 0 || matches!(rest.as_bytes()[at - 1], b' ' | b',' | b'\t');
        let value = &rest[at + name.len() + 2..];
        if starts_word {
            return value.split('"').next();
        }
        rest = value;
    }
}

/// The claims of a CAE challenge: base64 of JSON in the `claims` parameter.
fn claims(challenge: &str) -> Option<ClaimsChallenge> {
    let text = parameter(challenge, "claims").filter(|text| text.len() <= 16 * 1024)?;
    let engines = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
    let bytes = engines.into_iter().find_map(|engine| engine.decode(text).ok())?;
    ClaimsChallenge::parse(std::str::from_utf8(&bytes).ok()?).ok()
}

/// What an error body of any of the known shapes says.
struct Details {
    message: Option<String>,
    rpc_code: Option<i64>,
    codes: Vec<String>,
}

impl Details {
    fn read(body: Option<&Value>) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let Some(body) = body else { return Self { message: None, rpc_code: None, codes: Vec::new() } };
        let error = body.get("error");
        let nested = error.filter(|error| error.is_object());
        let message = text(nested.and_then(|error| error.get("message")))
            .or_else(|| text(body.get("message")))
            .or_else(|| text(body.get("error_description")))
            .or_else(|| text(body.get("detail")))
            .or_else(|| text(error));
        let inner = nested.and_then(|error| error.get("innererror").or_else(|| error.get("innerError")));
        let codes = [
            nested.and_then(|error| error.get("code")),
            inner.and_then(|inner| inner.get("code")),
            body.get("code"),
            error,
        ]
        .into_iter()
        .filter_map(text)
        .collect();
        Self { message, rpc_code: nested.and_then(|error| error.get("code")).and_then(Value::as_i64), codes }
    }

    fn names_endpoint(&self) -> bool {
        let names = |text: &str| text.contains("TenantIdInvalid") || text.contains("EndpointInvalid");
        self.codes.iter().any(|code| names(code)) || self.message.as_deref().is_some_and(names)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(status: u16, body: Option<&Value>) -> Refusal<'_> {
        Refusal {
            status,
            retry_after: None,
            challenge: None,
            location: None,
            body,
            in_session: false,
            named_tenant: false,
            scope: Some("McpServers.Word.All"),
        }
    }

    #[test]
    fn a_403_is_told_apart_by_its_body() {
        let body = |message: &str| json!({"error": "Forbidden", "message": message});
        let consent = of_status(refusal(
            403,
            Some(&body("Access denied: Scope 'McpServers.CopilotMCP.All' is not present in the request.")),
        ));
        assert!(
            matches!(consent.what, CallFailure::ConsentMissing { scope: Some(scope) } if scope == "McpServers.CopilotMCP.All")
        );
        let unnamed = of_status(refusal(403, Some(&body("Admin consent is required."))));
        assert!(
            matches!(unnamed.what, CallFailure::ConsentMissing { scope: Some(scope) } if scope == "McpServers.Word.All")
        );
        let licence = of_status(refusal(403, Some(&body("the user has no Microsoft 365 Copilot license."))));
        assert!(matches!(licence.what, CallFailure::LicenceMissing));
        assert!(matches!(
            of_status(refusal(403, Some(&body("blocked by policy")))).what,
            CallFailure::Forbidden
        ));
        assert!(matches!(of_status(refusal(403, None)).what, CallFailure::Forbidden));
        let challenged = Refusal {
            challenge: Some("Bearer error=\"insufficient_scope\", scope=\"api://x/McpServers.Mail.All\""),
            ..refusal(403, None)
        };
        assert!(
            matches!(of_status(challenged).what, CallFailure::ConsentMissing { scope: Some(scope) } if scope == "api://x/McpServers.Mail.All")
        );
    }

    #[test]
    fn a_claims_challenge_is_found_in_every_spelling() {
        let json = r#"{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}"#;
        for engine in [STANDARD.encode(json), STANDARD_NO_PAD.encode(json), URL_SAFE_NO_PAD.encode(json)] {
            let header = format!("Bearer realm=\"\", error=\"insufficient_claims\", claims=\"{engine}\"");
            let challenged = Refusal { challenge: Some(&header), ..refusal(401, None) };
            assert!(matches!(of_status(challenged).again, Again::FreshToken { claims: Some(_) }), "{header}");
        }
        for header in ["Bearer", "Bearer claims=\"\"", "Bearer claims=\"%%\"", "Bearer xclaims=\"e30=\""] {
            let challenged = Refusal { challenge: Some(header), ..refusal(401, None) };
            assert!(matches!(of_status(challenged).again, Again::FreshToken { claims: None }), "{header}");
        }
    }

    /// The retry table: what may be sent again, and what may have happened.
    #[test]
    fn a_write_is_sent_again_only_where_nothing_can_have_happened() {
        let body = |value: Value| Some(value);
        for (status, value, again, may_be_applied) in [
            (202, None, "no", true),
            (302, None, "no", false),
            (400, body(json!({"error": {"code": -32600, "message": "Invalid Request"}})), "no", false),
            (
                400,
                body(json!({"error": {"code": -32000, "message": "Bad Request: Server not initialized"}})),
                "session",
                false,
            ),
            (
                400,
                body(json!({"error": {"code": -32022, "message": "Unsupported protocol version"}})),
                "stateless",
                false,
            ),
            (400, body(json!({"error": "BadRequest", "message": "No session."})), "session", false),
            (400, body(json!({"error": {"code": "EndpointInvalid", "message": "m"}})), "no", false),
            (401, None, "token", false),
            (403, None, "no", false),
            (404, None, "no", false),
            (413, None, "no", false),
            (429, None, "safe", false),
            (500, None, "read", true),
            (501, None, "no", true),
            (502, None, "read", true),
            (503, None, "read", true),
            (504, None, "read", true),
        ] {
            let failure = of_status(refusal(status, value.as_ref()));
            let name = match failure.again {
                Again::No => "no",
                Again::Safe { .. } => "safe",
                Again::IfRead { .. } => "read",
                Again::FreshToken { .. } => "token",
                Again::Session => "session",
                Again::Stateless => "stateless",
            };
            assert_eq!((name, failure.may_be_applied), (again, may_be_applied), "{status} {value:?}");
        }
        let in_session = Refusal { in_session: true, ..refusal(404, None) };
        assert!(matches!(of_status(in_session).again, Again::Session));
    }

    #[test]
    fn the_servers_words_are_found_in_every_known_shape() {
        for body in [
            json!({"error": {"code": 1, "message": "words"}}),
            json!({"error": "Forbidden", "message": "words"}),
            json!({"error": "words"}),
            json!({"error": "x", "error_description": "words"}),
            json!({"detail": "words"}),
        ] {
            assert_eq!(of_status(refusal(500, Some(&body))).message.as_deref(), Some("words"), "{body}");
        }
        assert_eq!(of_status(refusal(500, Some(&json!("<html>")))).message, None);
    }

    #[test]
    fn an_unknown_tool_is_recognised_in_both_ways() {
        assert!(matches!(of_rpc_error(-32602, "Unknown tool: 'X'".into()).what, CallFailure::UnknownTool));
        assert!(matches!(of_tool_error("Unknown tool: X".into()).what, CallFailure::UnknownTool));
        assert!(matches!(of_tool_error("The file was not found.".into()).what, CallFailure::ToolFailed));
    }
}
