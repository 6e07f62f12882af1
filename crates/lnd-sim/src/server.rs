//! One node's TLS listener, and how its connections end when LND is stopped or killed.

use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

mod calls;
mod follow;
mod gate;
mod generated;
mod invoices;
mod lightning;
mod lnd;
mod router;

use lnd::stopping;
pub(crate) use lnd::{Life, Lnd};

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
    let Some(tls) = lnd.shared.endpoints().get(&lnd.name).map(|endpoint| endpoint.tls.clone())
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
