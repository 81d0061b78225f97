//! What a request has to pass before rmcp sees it, and what rmcp does not check.

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use rmcp::ServerHandler;
use rmcp::transport::StreamableHttpService;
use tokio::sync::Semaphore;

use super::sessions::Sessions;
use super::{BODY_WITHIN, Bearer, MAX_BODY};
use crate::stdio::{Verdict, judge};

pub(super) type Answer = Response<BoxBody<Bytes, std::convert::Infallible>>;

pub(super) struct Gate<H, S> {
    service: StreamableHttpService<H, S>,
    bearer: Option<Bearer>,
    places: Semaphore,
}

impl<H: ServerHandler, S: Sessions> Gate<H, S> {
    pub(super) fn new(service: StreamableHttpService<H, S>, bearer: Option<Bearer>, most: usize) -> Self {
        Self { service, bearer, places: Semaphore::new(most) }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        if request.uri().path() != "/mcp" {
            return refusal(StatusCode::NOT_FOUND, "there is nothing here; MCP is at /mcp");
        }
        // Which of two names is checked, and which one is meant, would be anybody's guess (RFC 9112, 3.2).
        if request.headers().get_all(HOST).iter().count() > 1 {
            let mut answer = refusal(StatusCode::BAD_REQUEST, "there is more than one Host");
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return answer;
        }
        if let Some(bearer) = &self.bearer {
            let mut shown = request.headers().get_all(AUTHORIZATION).iter();
            let right = shown.next().is_some_and(|header| bearer.is_shown_by(header.as_bytes()));
            if !right || shown.next().is_some() {
                let mut answer =
                    refusal(StatusCode::UNAUTHORIZED, "show the bearer: entrabot serve --show-bearer");
                answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                return answer;
            }
        }
        let Ok(_place) = self.places.acquire().await else {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "the server is ending");
        };
        // One type of body for all, or all that answers is in the binary twice.
        let request = if request.method() == Method::POST {
            match whole(request).await {
                Ok(request) => request.map(Either::Left),
                Err(answer) => return answer,
            }
        } else {
            request.map(Either::Right)
        };
        self.service.handle(request).await
    }
}

/// The request with its body read and looked at: rmcp answers broken JSON as a wrong media type.
async fn whole(request: Request<Incoming>) -> Result<Request<Full<Bytes>>, Answer> {
    let (head, body) = request.into_parts();
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 1 MiB"));
    }
    let collected = match tokio::time::timeout(BODY_WITHIN, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 1 MiB"));
        }
        Ok(Err(_)) => return Err(refusal(StatusCode::BAD_REQUEST, "the body did not arrive whole")),
        Err(_) => return Err(refusal(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    };
    match judge(&collected) {
        Verdict::Deliver(_) => Ok(Request::from_parts(head, Full::new(collected))),
        Verdict::Refuse(refusals) => {
            let line = refusals.first().map(crate::stdio::Refusal::line).unwrap_or_default();
            Err(json(StatusCode::BAD_REQUEST, line))
        }
        Verdict::Ignore(_) => Err(refusal(StatusCode::BAD_REQUEST, "the body is no JSON-RPC message")),
    }
}

fn refusal(status: StatusCode, message: &str) -> Answer {
    let body =
        serde_json::json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": message}});
    json(status, body.to_string().into_bytes())
}

fn json(status: StatusCode, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)).boxed());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
