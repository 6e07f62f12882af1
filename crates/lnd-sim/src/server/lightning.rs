//! `lnrpc.Lightning` and `lnrpc.State`.

use fedimint_tonic_lnd::lnrpc;
use fedimint_tonic_lnd::staterpc::{GetStateRequest, GetStateResponse, WalletState};
use tonic::{Code, Request, Response, Status};

use super::generated::lightning_server::Lightning;
use super::generated::state_server::State;
use super::lnd::Lnd;
use crate::faults::Rpc;
use crate::hash::{PaymentHash, Preimage};
use crate::invoice::{Invoice, InvoiceState, NewInvoice};
use crate::invoice_registry::unlocated;
use crate::lnd_error::LndError;
use crate::network::Network;
use crate::node::{LndState, Node};
use crate::payment::{Payment, PaymentStatus};
use crate::{bolt11, messages};

/// Entries in a list when the caller gives no limit.
const DEFAULT_PAGE: u64 = 100;

#[tonic::async_trait]
impl State for Lnd {
    async fn get_state(
        &self,
        _: Request<GetStateRequest>,
    ) -> Result<Response<GetStateResponse>, Status> {
        self.answer(Rpc::GetState, None, |network, node| {
            let state = match find(network, node)?.state {
                LndState::WaitingToStart => WalletState::WaitingToStart,
                LndState::NonExisting => WalletState::NonExisting,
                LndState::Locked => WalletState::Locked,
                LndState::Unlocked => WalletState::Unlocked,
                LndState::RpcActive => WalletState::RpcActive,
                LndState::ServerActive => WalletState::ServerActive,
            };
            Ok(GetStateResponse { state: state.into() })
        })
        .await
    }
}

#[tonic::async_trait]
impl Lightning for Lnd {
    async fn get_info(
        &self,
        _: Request<lnrpc::GetInfoRequest>,
    ) -> Result<Response<lnrpc::GetInfoResponse>, Status> {
        let address = self.shared.endpoints().get(&self.name).map(|endpoint| endpoint.address);
        self.answer(Rpc::GetInfo, None, move |network, node| {
            let node = find(network, node)?;
            let uri = address.map(|at| format!("{}@{at}", node.pubkey)).unwrap_or_default();
            Ok(messages::info(node, network, uri))
        })
        .await
    }

    async fn add_invoice(
        &self,
        request: Request<lnrpc::Invoice>,
    ) -> Result<Response<lnrpc::AddInvoiceResponse>, Status> {
        let asked = request.into_inner();
        let preimage = match asked.r_preimage.as_slice() {
            [] => draw_preimage(),
            given => Preimage::read(given),
        };
        let hash = preimage.as_ref().ok().map(Preimage::hash);
        self.answer(Rpc::AddInvoice, hash, move |network, node| {
            let new = NewInvoice {
                memo: asked.memo,
                value_sat: asked.value,
                value_msat: asked.value_msat,
                description_hash: asked.description_hash,
                expiry: asked.expiry,
                cltv_expiry: asked.cltv_expiry,
            };
            let added = network.add_invoice(node, preimage?, &new)?;
            Ok(lnrpc::AddInvoiceResponse {
                r_hash: added.hash.0.to_vec(),
                payment_request: added.bolt11,
                add_index: added.add_index,
                payment_addr: added.payment_addr.0.to_vec(),
            })
        })
        .await
    }

    async fn lookup_invoice(
        &self,
        request: Request<lnrpc::PaymentHash>,
    ) -> Result<Response<lnrpc::Invoice>, Status> {
        let asked = request.into_inner();
        #[expect(deprecated, reason = "LND still reads it")]
        let bytes = if asked.r_hash.is_empty() {
            hex::decode(&asked.r_hash_str).unwrap_or_default()
        } else {
            asked.r_hash
        };
        let hash = PaymentHash::read(&bytes);
        self.answer(Rpc::LookupInvoice, hash.clone().ok(), move |network, node| {
            let node = find(network, node)?;
            let found = node.invoices.get(&hash?).map(messages::invoice);
            found.ok_or_else(|| unlocated(node, Code::NotFound))
        })
        .await
    }

    async fn list_invoices(
        &self,
        request: Request<lnrpc::ListInvoiceRequest>,
    ) -> Result<Response<lnrpc::ListInvoiceResponse>, Status> {
        let asked = request.into_inner();
        self.answer(Rpc::ListInvoices, None, move |network, node| {
            let pending = |invoice: &&Invoice| {
                !asked.pending_only
                    || matches!(invoice.state, InvoiceState::Open | InvoiceState::Accepted)
            };
            let mut all: Vec<&Invoice> =
                find(network, node)?.invoices.values().filter(pending).collect();
            all.sort_by_key(|invoice| invoice.add_index);
            let page = Page::of(asked.index_offset, asked.num_max_invoices, asked.reversed);
            let shown = page.cut(&all, |invoice| invoice.add_index);
            Ok(lnrpc::ListInvoiceResponse {
                first_index_offset: shown.first().map_or(0, |invoice| invoice.add_index),
                last_index_offset: shown.last().map_or(0, |invoice| invoice.add_index),
                invoices: shown.iter().map(|invoice| messages::invoice(invoice)).collect(),
            })
        })
        .await
    }

    async fn list_payments(
        &self,
        request: Request<lnrpc::ListPaymentsRequest>,
    ) -> Result<Response<lnrpc::ListPaymentsResponse>, Status> {
        let asked = request.into_inner();
        self.answer(Rpc::ListPayments, None, move |network, node| {
            let complete = |payment: &&Payment| {
                asked.include_incomplete || payment.status == PaymentStatus::Succeeded
            };
            let known = &find(network, node)?.payments;
            let mut all: Vec<&Payment> = known.values().filter(complete).collect();
            all.sort_by_key(|payment| payment.index);
            let page = Page::of(asked.index_offset, asked.max_payments, asked.reversed);
            let shown = page.cut(&all, |payment| payment.index);
            Ok(lnrpc::ListPaymentsResponse {
                first_index_offset: shown.first().map_or(0, |payment| payment.index),
                last_index_offset: shown.last().map_or(0, |payment| payment.index),
                total_num_payments: if asked.count_total_payments { known.len() as u64 } else { 0 },
                payments: shown
                    .iter()
                    .map(|payment| {
                        let attempt = payment.attempt.and_then(|id| network.attempts.get(&id));
                        messages::payment(payment, attempt, network)
                    })
                    .collect(),
            })
        })
        .await
    }

    async fn list_channels(
        &self,
        request: Request<lnrpc::ListChannelsRequest>,
    ) -> Result<Response<lnrpc::ListChannelsResponse>, Status> {
        let asked = request.into_inner();
        self.answer(Rpc::ListChannels, None, move |network, node| {
            let all = network.channels.values();
            let channels = all
                .filter_map(|channel| messages::channel(channel, node, network))
                .filter(|channel| !asked.active_only || channel.active)
                .filter(|channel| !asked.inactive_only || !channel.active)
                .collect();
            Ok(lnrpc::ListChannelsResponse { channels })
        })
        .await
    }

    async fn channel_balance(
        &self,
        _: Request<lnrpc::ChannelBalanceRequest>,
    ) -> Result<Response<lnrpc::ChannelBalanceResponse>, Status> {
        self.answer(Rpc::ChannelBalance, None, |network, node| {
            Ok(messages::channel_balance(node, network))
        })
        .await
    }

    async fn decode_pay_req(
        &self,
        request: Request<lnrpc::PayReqString>,
    ) -> Result<Response<lnrpc::PayReq>, Status> {
        let text = request.into_inner().pay_req;
        self.answer(Rpc::DecodePayReq, None, move |_, _| {
            Ok(messages::pay_req(bolt11::decode(&text)?))
        })
        .await
    }
}

/// Which part of a list is asked for.
struct Page {
    offset: u64,
    limit: usize,
    is_reversed: bool,
}

impl Page {
    fn of(offset: u64, limit: u64, is_reversed: bool) -> Self {
        let limit = if limit == 0 { DEFAULT_PAGE } else { limit };
        Self { offset, limit: usize::try_from(limit).unwrap_or(usize::MAX), is_reversed }
    }

    /// The entries after the offset, oldest first; reversed: the last ones before it.
    fn cut<'a, T>(&self, all: &[&'a T], index: impl Fn(&T) -> u64) -> Vec<&'a T> {
        if self.is_reversed {
            let before = |entry: &&&T| self.offset == 0 || index(entry) < self.offset;
            let mut shown: Vec<&T> =
                all.iter().rev().filter(before).take(self.limit).copied().collect();
            shown.reverse();
            shown
        } else {
            let after = |entry: &&&T| index(entry) > self.offset;
            all.iter().filter(after).take(self.limit).copied().collect()
        }
    }
}

pub(crate) fn draw_preimage() -> Result<Preimage, LndError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| LndError::unknown(error.to_string()))?;
    Ok(Preimage(bytes))
}

pub(super) fn find<'a>(network: &'a Network, node: &str) -> Result<&'a Node, LndError> {
    network.nodes.get(node).ok_or_else(|| LndError::unknown("no such node"))
}
