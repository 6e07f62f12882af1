//! `routerrpc.Router`.

use fedimint_tonic_lnd::lnrpc;
use fedimint_tonic_lnd::lnrpc::payment::PaymentStatus as WireStatus;
use fedimint_tonic_lnd::routerrpc::{SendPaymentRequest, TrackPaymentRequest};
use tonic::{Code, Request, Response, Status};

use super::follow::{AtStop, Follow, Messages, Next};
use super::generated::router_server::Router;
use super::lnd::Lnd;
use crate::bolt11;
use crate::faults::{Fault, Rpc};
use crate::hash::PaymentHash;
use crate::lnd_error::LndError;
use crate::network::Network;

#[tonic::async_trait]
impl Router for Lnd {
    type SendPaymentV2Stream = Messages<lnrpc::Payment>;
    type TrackPaymentV2Stream = Messages<lnrpc::Payment>;

    async fn send_payment_v2(
        &self,
        request: Request<SendPaymentRequest>,
    ) -> Result<Response<Self::SendPaymentV2Stream>, Status> {
        let asked = request.into_inner();
        let only_final = asked.no_inflight_updates;
        let hash = match bolt11::decode(&asked.payment_request) {
            Ok(invoice) => Some(invoice.hash),
            Err(_) => PaymentHash::read(&asked.payment_hash).ok(),
        };
        let send = move |network: &mut Network, node: &str| network.send_payment(node, &asked);
        let ((hash, begins), fault) = self.work(Rpc::SendPaymentV2, hash, send).await?;
        self.follow_payment(hash, begins, only_final, fault).await
    }

    async fn track_payment_v2(
        &self,
        request: Request<TrackPaymentRequest>,
    ) -> Result<Response<Self::TrackPaymentV2Stream>, Status> {
        let asked = request.into_inner();
        let only_final = asked.no_inflight_updates;
        let hash = PaymentHash::read(&asked.payment_hash);
        let find = {
            let hash = hash.clone();
            move |network: &mut Network, node: &str| {
                let hash = hash?;
                let unknown = || LndError::new(Code::NotFound, "payment isn't initiated");
                let payment = network.find_payment(node, hash).ok_or_else(unknown)?;
                Ok((hash, payment.log.len().saturating_sub(1)))
            }
        };
        let ((hash, begins), fault) = self.work(Rpc::TrackPaymentV2, hash.ok(), find).await?;
        self.follow_payment(hash, begins, only_final, fault).await
    }
}

impl Lnd {
    async fn follow_payment(
        &self,
        hash: PaymentHash,
        begins: usize,
        only_final: bool,
        fault: Option<Fault>,
    ) -> Result<Response<Messages<lnrpc::Payment>>, Status> {
        let node = self.name.clone();
        let mut next = begins;
        let mut is_over = false;
        let look = Box::new(move |network: &Network| {
            if is_over {
                return Next::End;
            }
            let Some(payment) = network.find_payment(&node, hash) else { return Next::Wait };
            while let Some(message) = payment.log.get(next) {
                next += 1;
                is_over = matches!(message.status(), WireStatus::Succeeded | WireStatus::Failed);
                if is_over || !only_final {
                    return Next::Message(Box::new(message.clone()));
                }
            }
            Next::Wait
        });
        let at_stop = AtStop::Fails("routerrpc server shutting down");
        Follow::new(self, fault, at_stop, look).open().await
    }
}
