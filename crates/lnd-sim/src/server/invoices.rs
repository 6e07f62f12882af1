//! `invoicesrpc.Invoices`.

use fedimint_tonic_lnd::invoicesrpc::lookup_invoice_msg::InvoiceRef;
use fedimint_tonic_lnd::invoicesrpc::{
    AddHoldInvoiceRequest, AddHoldInvoiceResp, CancelInvoiceMsg, CancelInvoiceResp,
    LookupInvoiceMsg, SettleInvoiceMsg, SettleInvoiceResp, SubscribeSingleInvoiceRequest,
};
use fedimint_tonic_lnd::lnrpc;
use fedimint_tonic_lnd::lnrpc::invoice::InvoiceState as WireState;
use tonic::{Code, Request, Response, Status};

use super::follow::{AtStop, Follow, Messages, Next};
use super::generated::invoices_server::Invoices;
use super::lightning::find;
use super::lnd::Lnd;
use crate::faults::Rpc;
use crate::hash::{PaymentHash, Preimage};
use crate::invoice::NewInvoice;
use crate::invoice_registry::unlocated;
use crate::lnd_error::LndError;
use crate::messages;
use crate::network::Network;

#[tonic::async_trait]
impl Invoices for Lnd {
    type SubscribeSingleInvoiceStream = Messages<lnrpc::Invoice>;

    async fn add_hold_invoice(
        &self,
        request: Request<AddHoldInvoiceRequest>,
    ) -> Result<Response<AddHoldInvoiceResp>, Status> {
        let asked = request.into_inner();
        let hash = PaymentHash::read(&asked.hash);
        self.answer(Rpc::AddHoldInvoice, hash.clone().ok(), move |network, node| {
            let new = NewInvoice {
                memo: asked.memo,
                value_sat: asked.value,
                value_msat: asked.value_msat,
                description_hash: asked.description_hash,
                expiry: asked.expiry,
                cltv_expiry: asked.cltv_expiry,
            };
            let added = network.add_hold_invoice(node, hash?, &new)?;
            Ok(AddHoldInvoiceResp {
                payment_request: added.bolt11,
                add_index: added.add_index,
                payment_addr: added.payment_addr.0.to_vec(),
            })
        })
        .await
    }

    async fn settle_invoice(
        &self,
        request: Request<SettleInvoiceMsg>,
    ) -> Result<Response<SettleInvoiceResp>, Status> {
        let preimage = Preimage::read(&request.into_inner().preimage);
        let hash = preimage.as_ref().ok().map(Preimage::hash);
        self.answer(Rpc::SettleInvoice, hash, move |network, node| {
            network.settle_invoice(node, preimage?)?;
            Ok(SettleInvoiceResp {})
        })
        .await
    }

    async fn cancel_invoice(
        &self,
        request: Request<CancelInvoiceMsg>,
    ) -> Result<Response<CancelInvoiceResp>, Status> {
        let hash = PaymentHash::read(&request.into_inner().payment_hash);
        self.answer(Rpc::CancelInvoice, hash.clone().ok(), move |network, node| {
            network.cancel_invoice(node, hash?)?;
            Ok(CancelInvoiceResp {})
        })
        .await
    }

    async fn lookup_invoice_v2(
        &self,
        request: Request<LookupInvoiceMsg>,
    ) -> Result<Response<lnrpc::Invoice>, Status> {
        let asked = request.into_inner().invoice_ref;
        let hash = match &asked {
            Some(InvoiceRef::PaymentHash(bytes)) => PaymentHash::read(bytes).ok(),
            _ => None,
        };
        self.answer(Rpc::LookupInvoiceV2, hash, move |network, node| {
            let node = find(network, node)?;
            let known = &node.invoices;
            let found = match asked {
                None => {
                    let text = "invoice ref must be set";
                    return Err(LndError::new(Code::InvalidArgument, text));
                }
                Some(InvoiceRef::PaymentHash(bytes)) => known.get(&PaymentHash::read(&bytes)?),
                Some(InvoiceRef::PaymentAddr(bytes)) => {
                    known.values().find(|invoice| invoice.payment_addr.0[..] == bytes)
                }
                Some(InvoiceRef::SetId(_)) => None, // only AMP invoices have sets
            };
            found.map(messages::invoice).ok_or_else(|| unlocated(node, Code::Unknown))
        })
        .await
    }

    async fn subscribe_single_invoice(
        &self,
        request: Request<SubscribeSingleInvoiceRequest>,
    ) -> Result<Response<Self::SubscribeSingleInvoiceStream>, Status> {
        let hash = PaymentHash::read(&request.into_inner().r_hash);
        let known = hash.clone().ok();
        let begin = move |network: &mut Network, node: &str| {
            let hash = hash?;
            // The current state, then every later one; for a hash not known yet, every state.
            let reported = network.find_invoice(node, hash).map_or(0, |invoice| invoice.log.len());
            Ok((hash, reported.saturating_sub(1)))
        };
        let ((hash, begins), fault) = self.work(Rpc::SubscribeSingleInvoice, known, begin).await?;
        let node = self.name.clone();
        let mut next = begins;
        let mut is_over = false;
        let look = Box::new(move |network: &Network| {
            if is_over {
                return Next::End;
            }
            let found = network.find_invoice(&node, hash).and_then(|invoice| invoice.log.get(next));
            let Some(message) = found else { return Next::Wait };
            next += 1;
            is_over = matches!(message.state(), WireState::Settled | WireState::Canceled);
            Next::Message(Box::new(message.clone()))
        });
        Follow::new(self, fault, AtStop::EndsOk, look).open().await
    }
}
