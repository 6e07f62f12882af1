//! One node's door: a TLS listener, and what becomes of its connections when LND stops or dies.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::shared::Shared;

mod calls;
mod follow;
mod gate;
mod invoices;
mod lightning;
mod router;

/// Services as tonic-build wrote them, over the client crate's messages.
#[expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::default_trait_access,
    clippy::doc_markdown,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "tonic-build wrote it"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/lnrpc.State.rs"));
    include!(concat!(env!("OUT_DIR"), "/lnrpc.Lightning.rs"));
    include!(concat!(env!("OUT_DIR"), "/invoicesrpc.Invoices.rs"));
    include!(concat!(env!("OUT_DIR"), "/routerrpc.Router.rs"));
}

/// What the process behind the door is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    /// SIGTERM: streams end as LND ends them, then the connections close.
    Stopping,
}

/// What every service of one node knows.
#[derive(Clone)]
pub(crate) struct Lnd {
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: String,
    pub(crate) life: watch::Receiver<Life>,
}

/// How long connections may take to close once their streams have ended.
const LEAVE_WITHIN: Duration = Duration::from_millis(500);

/// Serves until told to stop. Dropped, it is a SIGKILL: every connection breaks.
pub(crate) async fn serve(lnd: Lnd, listener: TcpListener, broken: watch::Receiver<u64>) {
    let mut life = lnd.life.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((tcp, _)) = accepted {
                connections.spawn(connection(lnd.clone(), tcp, broken.clone()));
            },
            Some(_) = connections.join_next() => {}
            () = stopping(&mut life) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(lnd: Lnd, tcp: TcpStream, mut broken: watch::Receiver<u64>) {
    broken.mark_unchanged();
    let Some(tls) = lnd.shared.premises().get(&lnd.name).map(|premises| premises.tls.clone())
    else {
        return;
    };
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, "a connection without TCP_NODELAY");
    }
    let mut life = lnd.life.clone();
    let service = TowerToHyperService::new(gate::Gate::new(lnd));
    let serving = async {
        let stream = match TlsAcceptor::from(tls).accept(tcp).await {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%error, "a client gave up on TLS"),
        };
        let http = auto::Builder::new(TokioExecutor::new()).http2_only();
        let mut serving = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = stopping(&mut life) => {
                serving.as_mut().graceful_shutdown();
                match tokio::time::timeout(LEAVE_WITHIN, serving).await {
                    Ok(ended) => ended,
                    Err(_) => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        }
    };
    tokio::select! {
        () = serving => {}
        _ = broken.changed() => {}
    }
}

/// Waits for SIGTERM, or for the end of whoever could send it.
async fn stopping(life: &mut watch::Receiver<Life>) {
    drop(life.wait_for(|life| *life == Life::Stopping).await);
}
