//! TLS in front of a server that has none: a request is passed on as it came, and so is its answer.

use super::http::{Answer, Request};
use crate::https::plain;

/// Headers that belong to a connection and not to its message.
const OF_THE_CONNECTION: &[&str] =
    &["connection", "content-length", "content-type", "host", "keep-alive", "transfer-encoding"];

/// What the server at `url` says to this request; 502 when it says nothing.
pub(super) fn answer(url: &str, request: &Request) -> Answer {
    let passed_on = |name: &str| !OF_THE_CONNECTION.contains(&name.to_ascii_lowercase().as_str());
    let mut headers: Vec<(&str, &str)> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    // The bearer is for whoever stands behind the TLS of the endpoint's own host.
    headers.retain(|(name, _)| {
        passed_on(name) && !name.eq_ignore_ascii_case("authorization")
            || name.eq_ignore_ascii_case("content-type")
    });
    let Ok(reply) = plain(&request.method, url, &headers, &request.body) else { return Answer::empty(502) };
    let kind = reply.header("content-type").unwrap_or("application/octet-stream").to_owned();
    let mut answer = Answer::whole(reply.status, &kind, reply.body);
    for (name, value) in reply.headers.iter().filter(|(name, _)| passed_on(name)) {
        answer = answer.with(name, value);
    }
    answer
}
