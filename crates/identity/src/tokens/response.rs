//! One parser for every token response there is.
//!
//! Sources: RFC 6749, sections 5.1 and 5.2; "Microsoft identity platform: error response" for the codes, ids and
//! `suberror`. The check comes before any use of the token.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::strict_json;
use super::{Hop, TokenExchangeError};

/// A day: no token is believed to live longer.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// A token that a token endpoint issued.
pub struct TokenResponse {
    token: Zeroizing<String>,
    lifetime: Option<Duration>,
    #[cfg(feature = "delegated")]
    person: OfPerson,
}

/// What comes beside a person's access token.
#[cfg(feature = "delegated")]
#[derive(Default)]
pub(crate) struct OfPerson {
    pub(crate) id_token: Option<Zeroizing<String>>,
    pub(crate) refresh_token: Option<Zeroizing<String>>,
}

impl TokenResponse {
    /// `expires_in`, at most 24 h; `None` when the answer had none: then the token is for one use.
    #[must_use]
    pub fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }
    pub(crate) fn into_token(self) -> Zeroizing<String> {
        self.token
    }
    #[cfg(feature = "delegated")]
    pub(crate) fn take_person(&mut self) -> OfPerson {
        std::mem::take(&mut self.person)
    }
}

impl std::fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenResponse").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// Reads the answer of a token endpoint: its status, its `Retry-After` (already understood) and its body.
///
/// # Errors
/// Anything but a 200 with a JSON object that holds a Bearer token and no `error`. The error holds the answer's own
/// code, numbers and trace ids, and nothing else of it.
pub fn parse_token_response(
    hop: Hop,
    status: u16,
    retry_after: Option<Duration>,
    body: &[u8],
) -> Result<TokenResponse, TokenExchangeError> {
    let refuse = |code: Cow<'static, str>| {
        TokenExchangeError::new(hop, code).with(|facts| {
            facts.status = Some(status);
            facts.retry_after = retry_after;
        })
    };
    let Ok(mut object) = strict_json::object(body) else {
        return Err(refuse(
            if is_redirect(status) { "redirect_refused" } else { "non_json_response" }.into(),
        ));
    };
    let result = read(&mut object, status, refuse);
    object.values_mut().for_each(strict_json::wipe);
    result
}

fn read(
    object: &mut Map<String, Value>,
    status: u16,
    refuse: impl Fn(Cow<'static, str>) -> TokenExchangeError,
) -> Result<TokenResponse, TokenExchangeError> {
    // An error with a token is an error.
    if let Some(error) = object.get("error").filter(|error| !error.is_null()) {
        let code = match error.as_str().filter(|code| is_code(code)) {
            Some(code) => code.to_owned().into(),
            None => "malformed_error".into(),
        };
        return Err(refuse(code).with(|facts| {
            facts.aadsts = aadsts(object);
            facts.suberror = object
                .get("suberror")
                .and_then(Value::as_str)
                .filter(|text| is_code(text))
                .map(str::to_owned);
            facts.trace_id = guid(object, "trace_id");
            facts.correlation_id = guid(object, "correlation_id");
        }));
    }
    if is_redirect(status) {
        return Err(refuse("redirect_refused".into()));
    }
    if status != 200 {
        return Err(refuse("unexpected_status".into()));
    }
    let Some(token) = take_token(object, "access_token") else { return Err(refuse("missing_token".into())) };
    match object.get("token_type").and_then(Value::as_str) {
        Some(kind) if kind.eq_ignore_ascii_case("bearer") => {}
        _ => return Err(refuse("invalid_token_type".into())),
    }
    let Ok(lifetime) = lifetime(object.get("expires_in")) else {
        return Err(refuse("invalid_expires_in".into()));
    };
    Ok(TokenResponse {
        token,
        lifetime,
        #[cfg(feature = "delegated")]
        person: OfPerson {
            id_token: take_token(object, "id_token"),
            refresh_token: take_token(object, "refresh_token"),
        },
    })
}

/// A token of the answer. It becomes a header's or a form's value later on: what is not plain ASCII was never one.
fn take_token(object: &mut Map<String, Value>, name: &str) -> Option<Zeroizing<String>> {
    match object.get_mut(name).map(Value::take)? {
        Value::String(token) => Some(Zeroizing::new(token)).filter(|token| {
            !token.is_empty() && token.len() <= 64 * 1024 && token.bytes().all(|b| b.is_ascii_graphic())
        }),
        mut other => {
            strict_json::wipe(&mut other);
            None
        }
    }
}

fn is_redirect(status: u16) -> bool {
    (300..400).contains(&status)
}

/// A positive number or numeric string, capped; `None` when absent.
fn lifetime(value: Option<&Value>) -> Result<Option<Duration>, ()> {
    let seconds = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_f64().ok_or(())?,
        Some(Value::String(text)) if is_decimal(text) => text.parse().map_err(|_| ())?,
        Some(_) => return Err(()),
    };
    if seconds.is_nan() || seconds <= 0.0 {
        return Err(());
    }
    Ok(Some(Duration::try_from_secs_f64(seconds).unwrap_or(MAX_LIFETIME).min(MAX_LIFETIME)))
}

fn is_decimal(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits =
        |part: &str| !part.is_empty() && part.len() <= 20 && part.bytes().all(|b| b.is_ascii_digit());
    digits(whole) && digits(fraction)
}

/// A registered error code looks like this; anything else may be content and is not repeated.
pub(crate) fn is_code(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The AADSTS number: the first of `error_codes`, else the one that the description begins with.
fn aadsts(object: &Map<String, Value>) -> Option<u32> {
    let listed = object.get("error_codes").and_then(|codes| codes.get(0)).and_then(Value::as_u64);
    let number = listed.or_else(|| {
        let description = object.get("error_description")?.as_str()?;
        let digits = description.split_once("AADSTS")?.1;
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse().ok()
    })?;
    u32::try_from(number).ok().filter(|number| (1..=99_999_999).contains(number))
}

fn guid(object: &Map<String, Value>, name: &str) -> Option<String> {
    let text = object.get(name)?.as_str()?;
    uuid::Uuid::try_parse(text).ok().map(|id| id.hyphenated().to_string())
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
