//! Microsoft Graph, as far as this crate reads and changes it.

mod error;
#[cfg(feature = "provisioning")]
mod operation;
mod preflight;
mod sponsors;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::tokens::http::{Answer, Http, HttpError, Method, Request};
use crate::tokens::resting::Resting;
use crate::tokens::strict_json;
use crate::{AccessToken, BaseUrl, Resource};

pub use error::GraphError;
#[cfg(feature = "provisioning")]
pub(crate) use operation::Operation;
pub use preflight::{CertificateStatus, Preflight, SignedIn};
#[cfg(feature = "provisioning")]
pub(crate) use sponsors::sponsors_of;
pub use sponsors::{Sponsor, Sponsors, SponsorsError};

/// What Graph is shown: an app's or an agent's token, or a person's. They stay different types.
pub(crate) trait Bearer: Send + Sync {
    /// The token's text, if it is for this resource.
    fn text_for(&self, resource: &Resource) -> Option<&str>;
}

impl<T: Bearer> Bearer for &T {
    fn text_for(&self, resource: &Resource) -> Option<&str> {
        (*self).text_for(resource)
    }
}

impl Bearer for AccessToken {
    fn text_for(&self, resource: &Resource) -> Option<&str> {
        self.expose_for(resource)
    }
}

const ONE_TRY: Duration = Duration::from_secs(30);
/// A page of 100 objects with all their properties stays well below.
const MAX_BODY: usize = 8 << 20;
const MAX_PAGES: usize = 200;
const PAUSES: [Duration; 4] =
    [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(8)];
/// A longer `Retry-After` ends the command rather than holding it up.
#[cfg(feature = "provisioning")]
const PATIENCE_OF_COMMANDS: Duration = Duration::from_secs(120);
const PATIENCE_OF_CALLS: Duration = Duration::from_secs(10);

/// Graph at the configured base. A token goes only there: a path is appended to the base, and the link to a next page
/// is followed only below the base.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    http: Arc<Http>,
    base: BaseUrl,
    resource: Resource,
    patience: Duration,
    /// Until when the service wants no request, and with which status it said so. Shared by all clones.
    resting: Arc<Resting<u16>>,
}

impl Graph {
    /// For use within a call: waits little.
    pub(crate) fn new(http: Arc<Http>, base: &BaseUrl, resource: Resource) -> Self {
        Self { http, base: base.clone(), resource, patience: PATIENCE_OF_CALLS, resting: Arc::default() }
    }

    /// For a command that runs for minutes anyway.
    #[cfg(feature = "provisioning")]
    pub(crate) fn patient(self) -> Self {
        Self { patience: PATIENCE_OF_COMMANDS, ..self }
    }

    #[cfg(feature = "provisioning")]
    pub(crate) fn base(&self) -> &BaseUrl {
        &self.base
    }

    pub(crate) fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Reads one object. `path` begins with `/v1.0/` or `/beta/` and is encoded.
    pub(crate) async fn get(
        &self,
        what: &'static str,
        token: &dyn Bearer,
        path: &str,
    ) -> Result<Map<String, Value>, GraphError> {
        self.read(what, token, &format!("{}{path}", self.base)).await
    }

    /// Reads all pages of a list.
    pub(crate) async fn list(
        &self,
        what: &'static str,
        token: &dyn Bearer,
        path: &str,
    ) -> Result<Vec<Map<String, Value>>, GraphError> {
        let mut url = format!("{}{path}", self.base);
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            let mut page = self.read(what, token, &url).await?;
            let Some(Value::Array(items)) = page.remove("value") else {
                return Err(self.error(what).malformed());
            };
            for item in items {
                let Value::Object(item) = item else { return Err(self.error(what).malformed()) };
                found.push(item);
            }
            match page.remove("@odata.nextLink") {
                None | Some(Value::Null) => return Ok(found),
                Some(Value::String(next)) if self.is_below_base(&next) => url = next,
                Some(_) => return Err(self.error(what).foreign_link()),
            }
        }
        Err(self.error(what).malformed())
    }

    fn is_below_base(&self, url: &str) -> bool {
        url.strip_prefix(self.base.as_str()).is_some_and(|rest| rest.starts_with('/'))
            && url.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
    }

    async fn read(
        &self,
        what: &'static str,
        token: &dyn Bearer,
        url: &str,
    ) -> Result<Map<String, Value>, GraphError> {
        let answer = self.send(what, token, Method::Get, url, None, true).await?;
        self.understand(what, answer)
    }

    /// Changes something. Only what certainly did not happen is tried again: a throttled request, and one that could
    /// not be sent. An answer without a body is an empty object.
    #[cfg(feature = "provisioning")]
    pub(crate) async fn change(
        &self,
        operation: Operation,
        token: &dyn Bearer,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Map<String, Value>, GraphError> {
        let what = operation.what();
        let result = async {
            let answer = self.send(what, token, method, &format!("{}{path}", self.base), body, false).await?;
            self.understand(what, answer)
        };
        result.await.map_err(|error: GraphError| error.with_permissions(operation.permissions()))
    }

    fn error(&self, what: &'static str) -> GraphError {
        GraphError::new(what, self.base.host())
    }

    async fn send(
        &self,
        what: &'static str,
        token: &dyn Bearer,
        method: Method,
        url: &str,
        body: Option<&Value>,
        repeatable: bool,
    ) -> Result<Answer, GraphError> {
        let bearer = token.text_for(&self.resource).ok_or_else(|| self.error(what).wrong_token())?;
        let started = Instant::now();
        let mut pauses = PAUSES.into_iter();
        loop {
            self.rest(what, started).await?;
            let request = Request {
                method,
                url,
                headers: vec![
                    ("authorization", Zeroizing::new(format!("Bearer {bearer}"))),
                    ("client-request-id", Zeroizing::new(uuid::Uuid::new_v4().hyphenated().to_string())),
                    ("odata-version", Zeroizing::new("4.0".into())),
                ],
                body: body.map(|body| ("application/json", Zeroizing::new(body.to_string().into_bytes()))),
                timeout: ONE_TRY,
                max_body: MAX_BODY,
            };
            let result = self.http.send(request).await;
            let (wait, error) = match result {
                Ok(answer) => {
                    let throttled =
                        answer.status == 429 || (answer.status == 503 && answer.retry_after.is_some());
                    if throttled && let Some(wait) = answer.retry_after {
                        self.resting.begin(wait, answer.status);
                    }
                    if !(throttled || (repeatable && answer.status >= 500)) {
                        return Ok(answer);
                    }
                    (answer.retry_after, self.refused(what, &answer))
                }
                Err(error) => {
                    let again =
                        error == HttpError::NotConnected || (repeatable && error == HttpError::Interrupted);
                    if !again {
                        return Err(self.error(what).unreachable(error));
                    }
                    (None, self.error(what).unreachable(error))
                }
            };
            let Some(pause) = pauses.next() else { return Err(error) };
            let pause = wait.unwrap_or(pause);
            if started.elapsed() + pause > self.patience {
                return Err(error);
            }
            tracing::debug!(what, ?pause, "graph request tried again");
            tokio::time::sleep(pause).await;
        }
    }

    /// No request before the service's own `Retry-After` is over, whoever it was said to; an error when that takes longer
    /// than anybody waits.
    async fn rest(&self, what: &'static str, started: Instant) -> Result<(), GraphError> {
        let patience = || self.patience.saturating_sub(started.elapsed());
        let rested = self.resting.over(patience).await;
        rested.map_err(|(left, status)| self.error(what).refused(status, Some(left), b""))
    }

    fn understand(&self, what: &'static str, answer: Answer) -> Result<Map<String, Value>, GraphError> {
        match answer.status {
            204 => Ok(Map::new()),
            200..=299 if answer.body.iter().all(u8::is_ascii_whitespace) => Ok(Map::new()),
            200..=299 => strict_json::object(&answer.body).map_err(|_| self.error(what).malformed()),
            _ => Err(self.refused(what, &answer)),
        }
    }

    fn refused(&self, what: &'static str, answer: &Answer) -> GraphError {
        self.error(what).refused(answer.status, answer.retry_after, &answer.body)
    }
}

/// A text member.
pub(crate) fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}
