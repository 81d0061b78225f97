use super::*;
use crate::Diagnose;

const GUID: &str = "0c4f7a5e-9a1f-4b8c-8a53-5d1b0a3c2e11";
const SECRET: &str = "planted-Secret.Token-1";

/// What an answer must come to.
enum Want {
    /// A token, with this lifetime in seconds.
    Token(Option<u64>),
    /// An error with this code.
    Code(&'static str),
}
use Want::{Code, Token};

#[test]
fn every_answer_of_a_token_endpoint_comes_to_a_token_or_to_a_named_error() {
    let good = |extra: &str| format!(r#"{{"access_token":"{SECRET}","token_type":"Bearer"{extra}}}"#);
    let huge = format!(r#"{{"access_token":"{}","token_type":"Bearer"}}"#, "x".repeat(5 << 20));
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let described = format!(
        r#"{{"error":"invalid_client","error_description":"AADSTS700027: {SECRET} Trace ID: x","trace_id":"{GUID}"}}"#
    );
    let cases: Vec<(&str, u16, String, Want)> = vec![
        // Good.
        ("good", 200, good(r#","expires_in":3599"#), Token(Some(3599))),
        ("numeric string", 200, good(r#","expires_in":"3599""#), Token(Some(3599))),
        ("decimal string", 200, good(r#","expires_in":"3599.0""#), Token(Some(3599))),
        ("float", 200, good(r#","expires_in":3599.7"#), Token(Some(3599))),
        ("no expires_in", 200, good(""), Token(None)),
        ("null expires_in", 200, good(r#","expires_in":null"#), Token(None)),
        ("endless expiry is capped", 200, good(r#","expires_in":1e308"#), Token(Some(86400))),
        ("two days are capped", 200, good(r#","expires_in":172800"#), Token(Some(86400))),
        (
            "the largest integer is capped",
            200,
            good(r#","expires_in":18446744073709551615"#),
            Token(Some(86400)),
        ),
        ("error null", 200, good(r#","error":null,"expires_in":60"#), Token(Some(60))),
        (
            "bearer in lower case",
            200,
            format!(r#"{{"access_token":"{SECRET}","token_type":"bearer"}}"#),
            Token(None),
        ),
        ("BEARER", 200, format!(r#"{{"access_token":"{SECRET}","token_type":"BEARER"}}"#), Token(None)),
        ("more fields", 200, good(r#","id_token":"x","refresh_token":"y","ext_expires_in":1"#), Token(None)),
        ("whitespace around", 200, format!("\n {} \n", good("")), Token(None)),
        // Errors.
        ("error", 400, r#"{"error":"invalid_grant"}"#.into(), Code("invalid_grant")),
        ("error and token", 200, good(r#","error":"invalid_grant""#), Code("invalid_grant")),
        ("200 with error", 200, r#"{"error":"invalid_scope"}"#.into(), Code("invalid_scope")),
        ("error with description", 401, described, Code("invalid_client")),
        ("error as object", 400, format!(r#"{{"error":{{"code":"{SECRET}"}}}}"#), Code("malformed_error")),
        ("error as list", 400, format!(r#"{{"error":["{SECRET}"]}}"#), Code("malformed_error")),
        ("error as number", 400, r#"{"error":400}"#.into(), Code("malformed_error")),
        ("error false", 200, good(r#","error":false"#), Code("malformed_error")),
        ("error empty", 200, good(r#","error":"""#), Code("malformed_error")),
        ("error that is a token", 400, format!(r#"{{"error":"{SECRET}"}}"#), Code("malformed_error")),
        ("long error", 400, format!(r#"{{"error":"{}"}}"#, "a".repeat(65)), Code("malformed_error")),
        // No token response.
        ("empty", 200, String::new(), Code("non_json_response")),
        ("null", 200, "null".into(), Code("non_json_response")),
        ("list", 200, format!(r#"[{}]"#, good("")), Code("non_json_response")),
        ("string", 200, format!("\"{SECRET}\""), Code("non_json_response")),
        ("number", 200, "42".into(), Code("non_json_response")),
        ("html", 200, format!("<html>{SECRET}</html>"), Code("non_json_response")),
        ("html of a proxy", 503, "<html>busy</html>".into(), Code("non_json_response")),
        ("cut off", 200, format!(r#"{{"access_token":"{SECRET}"#), Code("non_json_response")),
        ("two objects", 200, format!("{}{}", good(""), good("")), Code("non_json_response")),
        ("duplicate key", 200, good(r#","access_token":"other""#), Code("non_json_response")),
        ("duplicate error", 200, good(r#","error":null,"error":"x""#), Code("non_json_response")),
        ("deep", 200, deep, Code("non_json_response")),
        (
            "not UTF-8 escaped",
            200,
            r#"{"access_token":"\ud800","token_type":"Bearer"}"#.into(),
            Code("non_json_response"),
        ),
        ("empty object", 200, "{}".into(), Code("missing_token")),
        ("empty token", 200, r#"{"access_token":"","token_type":"Bearer"}"#.into(), Code("missing_token")),
        ("token null", 200, r#"{"access_token":null,"token_type":"Bearer"}"#.into(), Code("missing_token")),
        ("token number", 200, r#"{"access_token":1,"token_type":"Bearer"}"#.into(), Code("missing_token")),
        (
            "token list",
            200,
            format!(r#"{{"access_token":["{SECRET}"],"token_type":"Bearer"}}"#),
            Code("missing_token"),
        ),
        (
            "token with a line break",
            200,
            r#"{"access_token":"a\r\nb","token_type":"Bearer"}"#.into(),
            Code("missing_token"),
        ),
        ("token of 5 MB", 200, huge, Code("missing_token")),
        ("no token_type", 200, format!(r#"{{"access_token":"{SECRET}"}}"#), Code("invalid_token_type")),
        (
            "token_type pop",
            200,
            format!(r#"{{"access_token":"{SECRET}","token_type":"pop"}}"#),
            Code("invalid_token_type"),
        ),
        (
            "token_type null",
            200,
            format!(r#"{{"access_token":"{SECRET}","token_type":null}}"#),
            Code("invalid_token_type"),
        ),
        ("expires zero", 200, good(r#","expires_in":0"#), Code("invalid_expires_in")),
        ("expires negative", 200, good(r#","expires_in":-1"#), Code("invalid_expires_in")),
        ("expires text", 200, good(r#","expires_in":"soon""#), Code("invalid_expires_in")),
        ("expires signed text", 200, good(r#","expires_in":"+60""#), Code("invalid_expires_in")),
        ("expires infinity", 200, good(r#","expires_in":"inf""#), Code("invalid_expires_in")),
        ("expires true", 200, good(r#","expires_in":true"#), Code("invalid_expires_in")),
        ("expires list", 200, good(r#","expires_in":[60]"#), Code("invalid_expires_in")),
        ("expires empty", 200, good(r#","expires_in":"""#), Code("invalid_expires_in")),
        // Status.
        ("201 with token", 201, good(""), Code("unexpected_status")),
        ("400 with token", 400, good(""), Code("unexpected_status")),
        ("500 with token", 500, good(""), Code("unexpected_status")),
        ("204", 204, "{}".into(), Code("unexpected_status")),
        ("redirect", 302, String::new(), Code("redirect_refused")),
        ("redirect with token", 302, good(""), Code("redirect_refused")),
        ("redirect with html", 307, "<html>".into(), Code("redirect_refused")),
        ("429", 429, r#"{"error":"temporarily_unavailable"}"#.into(), Code("temporarily_unavailable")),
    ];
    assert!(cases.len() >= 40);
    for (name, status, body, want) in cases {
        for hop in [Hop::Blueprint, Hop::AgentIdentity, Hop::AgentUser, Hop::Provisioner] {
            let result = parse_token_response(hop, status, None, body.as_bytes());
            let shown = match &result {
                Ok(response) => format!("{response:?}"),
                Err(error) => format!("{error} {error:?} {:?} {}", error.hint(), error.error_type()),
            };
            assert!(!shown.to_lowercase().contains("planted"), "{name}: {shown}");
            match (result, &want) {
                (Ok(response), Token(lifetime)) => {
                    assert_eq!(response.lifetime().map(|lifetime| lifetime.as_secs()), *lifetime, "{name}");
                    assert_eq!(response.into_token().as_str(), SECRET, "{name}");
                }
                (Err(error), Code(code)) => {
                    assert_eq!(
                        (error.code(), error.hop(), error.status()),
                        (*code, hop, Some(status)),
                        "{name}"
                    );
                    assert!(error.to_string().contains(hop.as_str()), "{name}: {error}");
                    assert!(error.hint().is_some(), "{name}");
                }
                (Ok(_), Code(code)) => panic!("{name}: a token instead of {code}"),
                (Err(error), Token(_)) => panic!("{name}: {error}"),
            }
        }
    }
}

#[test]
fn an_error_keeps_its_numbers_and_ids_and_nothing_else() {
    let body = format!(
        r#"{{"error":"invalid_grant","error_description":"AADSTS50057: {SECRET}","error_codes":[50057,1],
            "timestamp":"2026-11-24 02:00:00Z","trace_id":"{GUID}","correlation_id":"{GUID}","suberror":"bad_token",
            "claims":"{{\"access_token\":\"{SECRET}\"}}","access_token":"{SECRET}"}}"#
    );
    let error =
        parse_token_response(Hop::AgentUser, 400, Some(Duration::from_secs(7)), body.as_bytes()).unwrap_err();
    assert_eq!(error.aadsts(), Some(50057));
    assert_eq!(error.suberror(), Some("bad_token"));
    assert_eq!(error.trace_id(), Some(GUID));
    assert_eq!(error.correlation_id(), Some(GUID));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(
        error.to_string(),
        "token exchange failed at hop3:agent_user: invalid_grant, AADSTS50057 (HTTP 400)"
    );
    assert_eq!(
        error.hint().unwrap(),
        "wait 7 s; the agent user is disabled: an administrator has to enable it"
    );
    assert!(!format!("{error:?}").contains("planted"));
}

#[test]
fn the_number_is_found_in_the_description_when_the_list_is_absent_or_strange() {
    for (body, number) in [
        (r#"{"error":"x","error_description":"AADSTS700027: text"}"#, Some(700_027)),
        (r#"{"error":"x","error_codes":"7","error_description":"AADSTS90002: text"}"#, Some(90_002)),
        (r#"{"error":"x","error_codes":[],"error_description":"no number"}"#, None),
        (r#"{"error":"x","error_description":"AADSTS"}"#, None),
        (r#"{"error":"x","error_description":"AADSTS99999999999999999999: text"}"#, None),
        (r#"{"error":"x","error_codes":[-1]}"#, None),
        (r#"{"error":"x","error_description":["AADSTS7"]}"#, None),
    ] {
        let error = parse_token_response(Hop::Blueprint, 400, None, body.as_bytes()).unwrap_err();
        assert_eq!(error.aadsts(), number, "{body}");
    }
}

#[test]
fn ids_that_are_no_guids_are_not_repeated() {
    let body = format!(r#"{{"error":"x","trace_id":"{SECRET}","correlation_id":7,"suberror":"{SECRET}"}}"#);
    let error = parse_token_response(Hop::Blueprint, 400, None, body.as_bytes()).unwrap_err();
    assert_eq!((error.trace_id(), error.correlation_id(), error.suberror()), (None, None, None));
}

proptest::proptest! {
    /// No body and no status yields a token beside an error, from another status than 200, or a life beyond a day.
    #[test]
    fn any_answer_is_a_sound_token_or_an_error_that_shows_nothing(
        status in 100u16..600,
        error in proptest::option::of("[a-z_]{0,10}|[A-Z!]{1,5}"),
        token in proptest::option::of("[ -~]{0,20}|[\\PC]{0,5}"),
        kind in proptest::option::of("bearer|Bearer|BEARER|pop|"),
        life in proptest::option::of(proptest::num::f64::ANY),
        cut in 0usize..200,
    ) {
        let mut object = serde_json::Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                object.insert(name.into(), value);
            }
        };
        put("error", error.clone().map(Value::from));
        put("access_token", token.map(|token| Value::from(format!("planted{token}"))));
        put("token_type", kind.map(Value::from));
        put("expires_in", life.map(Value::from));
        let whole = Value::Object(object).to_string();
        for body in [whole.as_bytes(), &whole.as_bytes()[..cut.min(whole.len())]] {
            match parse_token_response(Hop::AgentUser, status, None, body) {
                Ok(response) => {
                    proptest::prop_assert_eq!(status, 200);
                    proptest::prop_assert!(error.is_none());
                    let bounded = |life: Duration| !life.is_zero() && life <= MAX_LIFETIME;
                    proptest::prop_assert!(response.lifetime().is_none_or(bounded));
                }
                Err(error) => {
                    let shown = format!("{error} {error:?}");
                    proptest::prop_assert!(!shown.contains("planted"), "{}", shown);
                }
            }
        }
    }
}
