//! Sockets: three listeners, TLS, the request loop, faults and the record around every request.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::http::{Answer, Connection, Request, date};
use super::record::Arrival;
use super::{Addresses, Cloud, FirstByte, Options, Role, control, entra, faults, fixture, graph, work_iq};

/// A listener with what it serves.
pub(crate) type Listeners = [(Role, TcpListener); 3];

/// Binds the ports, makes the keys and fills the directory.
pub(crate) async fn bind(options: &Options, dir: &Path) -> io::Result<(Arc<Cloud>, Listeners)> {
    let any = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (authority, graph, a365) = (any().await?, any().await?, any().await?);
    let addresses = Addresses {
        authority: authority.local_addr()?,
        graph: graph.local_addr()?,
        a365: a365.local_addr()?,
    };
    let cloud = Arc::new(fixture::build(options, dir, addresses)?);
    Ok((cloud, [(Role::Authority, authority), (Role::Graph, graph), (Role::A365, a365)]))
}

/// Serves until dropped.
pub(crate) async fn serve(cloud: Arc<Cloud>, listeners: Listeners) {
    let mut accepting = JoinSet::new();
    for (role, listener) in listeners {
        accepting.spawn(accept(Arc::clone(&cloud), role, listener, acceptor(&cloud, role)));
    }
    while accepting.join_next().await.is_some() {}
}

fn acceptor(cloud: &Cloud, role: Role) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&cloud.certificates[&role]) as _);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(cloud: Arc<Cloud>, role: Role, listener: TcpListener, acceptor: TlsAcceptor) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // Out of descriptors, perhaps: let some connections end.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                let (cloud, acceptor) = (Arc::clone(&cloud), acceptor.clone());
                connections.spawn(async move {
                    // A connection that breaks concerns only its peer; the record shows what came of it.
                    let _ended = converse(&cloud, role, stream, acceptor).await;
                });
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn converse(cloud: &Cloud, role: Role, stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if stream.peek(&mut [0]).await? == 0 {
        return Ok(());
    }
    let connected_at = SystemTime::now();
    let connection = cloud.connections.fetch_add(1, Ordering::Relaxed) + 1;
    announce(cloud, FirstByte { role, connection, request: None, at: connected_at });
    let tls = tokio::time::timeout(Duration::from_secs(10), acceptor.accept(stream)).await??;
    let mut peer = Connection::new(tls);
    while peer.wait().await? {
        let at = SystemTime::now();
        let number = cloud.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        announce(cloud, FirstByte { role, connection, request: Some(number), at });
        let request = peer.read().await?;
        let close = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let arrival = Arrival { role, connection, connected_at, at, number };
        let answer = answer(cloud, arrival, &request);
        if !peer.write(answer, close).await? {
            break;
        }
    }
    Ok(())
}

fn announce(cloud: &Cloud, first_byte: FirstByte) {
    if let Some(hook) = &cloud.hook {
        hook(&first_byte);
    }
}

/// The answer to one request, faults applied, on record.
fn answer(cloud: &Cloud, arrival: Arrival, request: &Request) -> Answer {
    if arrival.role == Role::Authority && request.path == control::PATH {
        return control::answer(cloud, request);
    }
    let effect = faults::take(&mut cloud.world().faults, arrival.role, request);
    let honest = || match arrival.role {
        Role::Authority => entra::answer(cloud, request),
        Role::Graph => graph::answer(cloud, request),
        Role::A365 => work_iq::answer(cloud, request),
    };
    let answer = match &effect {
        Some(effect) => effect.apply(request, honest),
        None => honest(),
    };
    cloud.records.add(arrival, request, answer.status, effect.map(|effect| effect.name()));
    match cloud.world().behaviour.clock_ahead_s {
        0 => answer,
        ahead => answer.with("Date", date(ahead)),
    }
}
