//! What is checked before a call reaches a service: has LND started, does the macaroon allow it?

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, StdError, http};
use tower::Service;

use super::generated::invoices_server::InvoicesServer;
use super::generated::lightning_server::LightningServer;
use super::generated::router_server::RouterServer;
use super::generated::state_server::StateServer;
use super::lnd::Lnd;
use crate::lnd_error::LndError;
use crate::node::LndState;

/// All services of one node behind these checks.
#[derive(Clone)]
pub(crate) struct Gate {
    lnd: Lnd,
    state: StateServer<Lnd>,
    lightning: LightningServer<Lnd>,
    invoices: InvoicesServer<Lnd>,
    router: RouterServer<Lnd>,
}

type Answer = Result<http::Response<Body>, Infallible>;

impl Gate {
    pub(crate) fn new(lnd: Lnd) -> Self {
        Self {
            state: StateServer::new(lnd.clone()),
            lightning: LightningServer::new(lnd.clone()),
            invoices: InvoicesServer::new(lnd.clone()),
            router: RouterServer::new(lnd.clone()),
            lnd,
        }
    }
}

impl<B> Service<http::Request<B>> for Gate
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        if service == "lnrpc.State" {
            return self.state.call(request);
        }
        if !matches!(service, "lnrpc.Lightning" | "invoicesrpc.Invoices" | "routerrpc.Router") {
            return Box::pin(refuse(Status::unimplemented(format!("unknown service {service}"))));
        }
        if let Err(error) = self.lnd.admit(&path, request.headers()) {
            return Box::pin(refuse(error.into()));
        }
        match service {
            "lnrpc.Lightning" => self.lightning.call(request),
            "invoicesrpc.Invoices" => self.invoices.call(request),
            _ => self.router.call(request),
        }
    }
}

fn refuse(status: Status) -> Ready<Answer> {
    ready(Ok(status.into_http()))
}

impl Lnd {
    fn admit(&self, path: &str, headers: &http::HeaderMap) -> Result<(), LndError> {
        let state =
            self.shared.read(|network| network.nodes.get(&self.name).map(|node| node.state));
        let too_early = match state {
            None | Some(LndState::RpcActive | LndState::ServerActive) => None,
            Some(LndState::WaitingToStart) => Some("waiting to start, RPC services not available"),
            Some(LndState::NonExisting) => {
                Some("wallet not created, create one to enable full RPC access")
            }
            Some(LndState::Locked) => Some("wallet locked, unlock it to enable full RPC access"),
            Some(LndState::Unlocked) => Some(
                "the RPC server is in the process of starting up, but not yet ready to accept calls",
            ),
        };
        if let Some(text) = too_early {
            return Err(LndError::unknown(text));
        }
        let macaroons: Vec<&[u8]> =
            headers.get_all("macaroon").iter().map(http::HeaderValue::as_bytes).collect();
        match self.shared.endpoints().get(&self.name) {
            Some(endpoint) => endpoint.bakery.check(&macaroons, path),
            None => Ok(()),
        }
    }
}
