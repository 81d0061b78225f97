//! The loopback listener that the browser comes back to (RFC 8252, section 7.3).
//!
//! `GET /` leads to the sign-in page, so that the page's long address stands in no argument list; `GET /?code=..&state=..`
//! is where that page leads back to. The page at the end says what really came of it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use oauth2::url::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::DelegatedError;
use crate::tokens::is_code;

/// Longest head of a request.
const MAX_HEAD: usize = 16 * 1024;
/// How long one connection may take to say what it wants. A browser opens some that say nothing.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long the page waits for what became of the code.
const VERDICT_WITHIN: Duration = Duration::from_secs(40);

/// Listening on `localhost`, in both families where there are both.
pub(super) struct Loopback {
    listeners: Vec<TcpListener>,
    port: u16,
}

/// An authorization code, with the browser that waits to hear what becomes of it.
pub(super) struct Callback {
    pub(super) code: Zeroizing<String>,
    page: oneshot::Sender<bool>,
}

impl Callback {
    /// Lets the browser show how it ended.
    pub(super) fn finish(self, signed_in: bool) {
        // The browser may be gone; the sign-in does not depend on it.
        let _gone = self.page.send(signed_in);
    }
}

impl Loopback {
    /// `0` takes any free port. Only this machine can connect.
    pub(super) async fn bind(port: u16) -> Result<Self, DelegatedError> {
        let refused = |error: std::io::Error| DelegatedError::Listener { port, kind: error.kind() };
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(refused)?;
        let port = first.local_addr().map_err(refused)?.port();
        let mut listeners = vec![first];
        // `localhost` is `::1` to some browsers; a machine without IPv6 does without it. Another program on that
        // address would get the answers that are meant for us.
        match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
            Ok(second) => listeners.push(second),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => return Err(refused(error)),
            Err(_) => {}
        }
        Ok(Self { listeners, port })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Serves `page_url` and waits for the answer that carries `state`. An answer with another one is refused and
    /// waited on: a page that somebody planted cannot end the sign-in.
    pub(super) async fn answer(
        self,
        page_url: &str,
        state: &str,
        within: Duration,
    ) -> Result<(Callback, Serving), DelegatedError> {
        let (to, mut answers) = mpsc::channel(1);
        let mut serving = JoinSet::new();
        for listener in self.listeners {
            let door = Door {
                port: self.port,
                page_url: page_url.to_owned(),
                state: Zeroizing::new(state.to_owned()),
                to: to.clone(),
            };
            serving.spawn(door.serve(listener));
        }
        drop(to);
        match tokio::time::timeout(within, answers.recv()).await {
            Ok(Some(Ok(callback))) => Ok((callback, Serving(serving))),
            Ok(Some(Err(error))) => {
                Serving(serving).end().await;
                Err(error)
            }
            Ok(None) | Err(_) => Err(DelegatedError::TimedOut { within }),
        }
    }
}

/// The listener at work: kept until the browser has its last page.
pub(super) struct Serving(JoinSet<()>);

impl Serving {
    /// Lets the last page leave, then closes the port.
    pub(super) async fn end(mut self) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.0.shutdown().await;
    }
}

type Answered = Result<Callback, DelegatedError>;

#[derive(Clone)]
struct Door {
    port: u16,
    page_url: String,
    state: Zeroizing<String>,
    to: mpsc::Sender<Answered>,
}

/// What a request asks for.
enum Wanted {
    /// `/`: the way to the sign-in page.
    SignInPage,
    /// The way back from it.
    Back(HashMap<String, Zeroizing<String>>),
    /// Anything else, with the status for it.
    Nothing(u16),
}

impl Door {
    async fn serve(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) if is_here(peer) => {
                        let door = self.clone();
                        connections.spawn(async move { door.converse(stream).await });
                    }
                    Ok(_) => {}
                    // Out of descriptors, say: not a reason to spin.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn converse(self, mut stream: TcpStream) {
        let Ok(Some(wanted)) = tokio::time::timeout(HEAD_WITHIN, self.read(&mut stream)).await else {
            return;
        };
        let reply = match wanted {
            Wanted::SignInPage => redirect(&self.page_url),
            Wanted::Nothing(status) => page(status, "This is not a page of the sign-in."),
            Wanted::Back(query) => self.came_back(query).await,
        };
        // A browser that went away misses its page, nothing else.
        let _gone = stream.write_all(reply.as_bytes()).await;
        let _gone = stream.shutdown().await;
    }

    async fn read(&self, stream: &mut TcpStream) -> Option<Wanted> {
        let mut head = Zeroizing::new(Vec::with_capacity(MAX_HEAD));
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 100];
            let mut request = httparse::Request::new(&mut headers);
            match request.parse(&head) {
                Ok(httparse::Status::Complete(_)) => return Some(self.wanted(&request)),
                Ok(httparse::Status::Partial) if head.len() < MAX_HEAD => {}
                Ok(httparse::Status::Partial) => return Some(Wanted::Nothing(431)),
                Err(_) => return Some(Wanted::Nothing(400)),
            }
            let room = MAX_HEAD - head.len();
            let mut chunk = Zeroizing::new([0; 2048]);
            let read = stream.read(&mut chunk[..room.min(2048)]).await.ok()?;
            if read == 0 {
                return None;
            }
            head.extend_from_slice(&chunk[..read]);
        }
    }

    fn wanted(&self, request: &httparse::Request<'_, '_>) -> Wanted {
        // A name that resolves to this machine is not enough: a page elsewhere could have one.
        let host = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("host"));
        let ours = ["localhost", "127.0.0.1", "[::1]"].map(|name| format!("{name}:{}", self.port));
        if !host.is_some_and(|host| ours.iter().any(|ours| host.value.eq_ignore_ascii_case(ours.as_bytes())))
        {
            return Wanted::Nothing(421);
        }
        let target = request.path.unwrap_or_default();
        if request.method != Some("GET") {
            return Wanted::Nothing(405);
        }
        match target.split_once('?') {
            None if target == "/" => Wanted::SignInPage,
            Some(("/", query)) => {
                // Only the query is read; the host is there to make it a URL.
                let Ok(url) = Url::parse(&format!("http://localhost/?{query}")) else {
                    return Wanted::Nothing(400);
                };
                let pairs = url.query_pairs().map(|(k, v)| (k.into_owned(), Zeroizing::new(v.into_owned())));
                Wanted::Back(pairs.collect())
            }
            _ => Wanted::Nothing(404),
        }
    }

    async fn came_back(&self, mut query: HashMap<String, Zeroizing<String>>) -> String {
        if query.get("state") != Some(&self.state) {
            tracing::warn!("an answer that does not belong to this sign-in was refused");
            return page(
                400,
                "This answer does not belong to the sign-in that is under way. Nothing was done.",
            );
        }
        if let Some(error) = query.get("error") {
            let error = match error.as_str() {
                "access_denied" => DelegatedError::Cancelled,
                code if is_code(code) => DelegatedError::Refused { code: code.to_owned() },
                _ => DelegatedError::Refused { code: "malformed_error".into() },
            };
            // A second answer finds nobody to take it.
            let _late = self.to.try_send(Err(error));
            return page(200, "You are not signed in. You may close this window.");
        }
        let Some(code) = query.remove("code").filter(|code| !code.is_empty()) else {
            return page(400, "The answer holds no code. Nothing was done.");
        };
        let (page_to, verdict) = oneshot::channel();
        if self.to.try_send(Ok(Callback { code, page: page_to })).is_err() {
            return page(400, "The sign-in was answered before. Nothing was done.");
        }
        match tokio::time::timeout(VERDICT_WITHIN, verdict).await {
            Ok(Ok(true)) => page(200, "You are signed in to entrabot. You may close this window."),
            _ => page(200, "You are not signed in: entrabot says why. You may close this window."),
        }
    }
}

fn is_here(peer: SocketAddr) -> bool {
    peer.ip().is_loopback()
}

fn redirect(to: &str) -> String {
    format!(
        "HTTP/1.1 302 Found\r\nLocation: {to}\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    )
}

/// A page without scripts, and without anything that came from outside.
fn page(status: u16, text: &str) -> String {
    let reason = match status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        _ => "Bad Request",
    };
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>entrabot</title>\
         <body style=\"font-family:sans-serif;margin:4em auto;max-width:36em\"><h1>entrabot</h1><p>{text}</p></body></html>"
    );
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}
