use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::strict_json;
use crate::{Config, InvalidId};

/// What a token is for: the scope that is asked for. A token knows its resource, and goes nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resource(Arc<str>);

impl Resource {
    /// From a scope such as `https://graph.microsoft.com/.default` or `{audience}/{scope}`.
    ///
    /// # Errors
    /// When it is empty, longer than 512 bytes or not printable ASCII without spaces and quotes.
    pub fn from_scope(scope: &str) -> Result<Self, InvalidId> {
        let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        if scope.is_empty() || scope.len() > 512 || !scope.bytes().all(plain) {
            return Err(InvalidId::expected("a scope (printable ASCII without spaces, at most 512 bytes)"));
        }
        Ok(Self(scope.into()))
    }
    /// Microsoft Graph in the configured cloud. The scope keeps Graph's public name whatever the base is.
    #[must_use]
    pub fn graph(config: &Config) -> Self {
        Self(format!("{}/.default", config.cloud().graph_audience()).into())
    }
    /// The scope.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A CAE claims challenge, as it came in `WWW-Authenticate` (decoded JSON text).
///
/// Source: "Claims challenges, claims requests and client capabilities" in Microsoft's documentation.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClaimsChallenge(Arc<str>);

const MAX_CHALLENGE: usize = 8 * 1024;

impl ClaimsChallenge {
    /// # Errors
    /// When it is not a JSON object of at most 8 KiB.
    pub fn parse(json: &str) -> Result<Self, InvalidId> {
        let wrong = || InvalidId::expected("a claims challenge (a JSON object of at most 8 KiB)");
        if json.len() > MAX_CHALLENGE {
            return Err(wrong());
        }
        match strict_json::object(json.as_bytes()) {
            // Kept in one spelling, so that the same challenge is one flight.
            Ok(object) => Ok(Self(Value::Object(object).to_string().into())),
            Err(_) => Err(wrong()),
        }
    }

    /// The `claims` parameter of hop 3: our capability `cp1`, with the challenge merged in when there is one.
    pub(super) fn parameter(challenge: Option<&Self>) -> String {
        let mut root = match challenge.map(|challenge| serde_json::from_str(&challenge.0)) {
            Some(Ok(Value::Object(object))) => object,
            // Parsed before, so this is the case without a challenge.
            _ => Map::new(),
        };
        let access_token = root.entry("access_token").or_insert_with(|| Value::Object(Map::new()));
        if !access_token.is_object() {
            *access_token = Value::Object(Map::new());
        }
        if let Value::Object(access_token) = access_token {
            access_token.insert("xms_cc".into(), serde_json::json!({ "values": ["cp1"] }));
        }
        Value::Object(root).to_string()
    }
}

impl fmt::Debug for ClaimsChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimsChallenge").field("bytes", &self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capability_is_sent_in_msals_form_and_a_challenge_is_merged_into_it() {
        assert_eq!(ClaimsChallenge::parameter(None), r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#);
        let challenge = ClaimsChallenge::parse(
            r#"{"access_token": {"nbf": {"essential": true, "value": "1700000000"}}}"#,
        )
        .unwrap();
        assert_eq!(
            ClaimsChallenge::parameter(Some(&challenge)),
            r#"{"access_token":{"nbf":{"essential":true,"value":"1700000000"},"xms_cc":{"values":["cp1"]}}}"#
        );
    }

    #[test]
    fn what_is_no_challenge_is_refused() {
        for text in ["", "[]", "null", "\"x\"", "{\"a\":1,\"a\":2}", "{"] {
            assert!(ClaimsChallenge::parse(text).is_err(), "{text}");
        }
        assert!(ClaimsChallenge::parse(&format!("{{\"a\":\"{}\"}}", "x".repeat(9000))).is_err());
    }

    #[test]
    fn a_scope_is_one_printable_word() {
        assert!(Resource::from_scope("api://x/.default").is_ok());
        for text in ["", "a b", "a\n", "é", "a\"b"] {
            assert!(Resource::from_scope(text).is_err(), "{text}");
        }
    }
}
