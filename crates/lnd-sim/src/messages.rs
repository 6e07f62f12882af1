//! The simulated records as LND's messages.

use fedimint_tonic_lnd::lnrpc;
use fedimint_tonic_lnd::lnrpc::htlc_attempt::HtlcStatus;
use fedimint_tonic_lnd::lnrpc::invoice::InvoiceState as WireState;
use fedimint_tonic_lnd::lnrpc::payment::PaymentStatus as WireStatus;
use fedimint_tonic_lnd::lnrpc::{InvoiceHtlcState, PaymentFailureReason};

use crate::bolt11::Decoded;
use crate::channel::Channel;
use crate::invoice::{HtlcState, Invoice, InvoiceHtlc, InvoiceState};
use crate::network::Network;
use crate::node::Node;
use crate::payment::{Attempt, FailureReason, Outcome, Payment, PaymentStatus};

#[expect(deprecated, reason = "LND still fills them, and clients may read them")]
pub(crate) fn invoice(invoice: &Invoice) -> lnrpc::Invoice {
    let shown = invoice.preimage.filter(|_| invoice.state == InvoiceState::Settled);
    lnrpc::Invoice {
        memo: invoice.memo.clone(),
        r_preimage: shown.map(|preimage| preimage.0.to_vec()).unwrap_or_default(),
        r_hash: invoice.hash.0.to_vec(),
        value: sat(invoice.value_msat),
        value_msat: signed(invoice.value_msat),
        settled: invoice.state == InvoiceState::Settled,
        creation_date: signed(invoice.created_at),
        settle_date: signed(invoice.settled_at),
        payment_request: invoice.bolt11.clone(),
        description_hash: invoice.description_hash.map(|h| h.0.to_vec()).unwrap_or_default(),
        expiry: signed(invoice.expiry_secs),
        cltv_expiry: u64::from(invoice.cltv_expiry),
        add_index: invoice.add_index,
        settle_index: invoice.settle_index,
        amt_paid: signed(invoice.amt_paid_msat),
        amt_paid_sat: sat(invoice.amt_paid_msat),
        amt_paid_msat: signed(invoice.amt_paid_msat),
        state: match invoice.state {
            InvoiceState::Open => WireState::Open,
            InvoiceState::Accepted => WireState::Accepted,
            InvoiceState::Settled => WireState::Settled,
            InvoiceState::Canceled => WireState::Canceled,
        }
        .into(),
        htlcs: invoice.htlcs.iter().map(invoice_htlc).collect(),
        payment_addr: invoice.payment_addr.0.to_vec(),
        ..Default::default()
    }
}

#[expect(deprecated, reason = "LND still fills them, and clients may read them")]
pub(crate) fn payment(
    payment: &Payment,
    attempt: Option<&Attempt>,
    network: &Network,
) -> lnrpc::Payment {
    let fee_msat = match payment.status {
        PaymentStatus::Failed(_) => 0,
        _ => attempt.map_or(0, Attempt::fee_msat),
    };
    lnrpc::Payment {
        payment_hash: payment.hash.to_string(),
        value: sat(payment.amount_msat),
        value_sat: sat(payment.amount_msat),
        value_msat: signed(payment.amount_msat),
        creation_date: signed(payment.created_at.as_secs()),
        creation_time_ns: nanos(payment.created_at),
        fee: sat(fee_msat),
        fee_sat: sat(fee_msat),
        fee_msat: signed(fee_msat),
        payment_preimage: match payment.preimage {
            Some(preimage) => preimage.into(),
            None => hex::encode([0; 32]),
        },
        payment_request: payment.bolt11.clone(),
        status: match payment.status {
            PaymentStatus::InFlight => WireStatus::InFlight,
            PaymentStatus::Succeeded => WireStatus::Succeeded,
            PaymentStatus::Failed(_) => WireStatus::Failed,
        }
        .into(),
        failure_reason: match payment.status {
            PaymentStatus::Failed(reason) => failure(reason),
            _ => PaymentFailureReason::FailureReasonNone,
        }
        .into(),
        htlcs: attempt.map(|attempt| htlc_attempt(attempt, network)).into_iter().collect(),
        payment_index: payment.index,
        ..Default::default()
    }
}

pub(crate) fn channel(channel: &Channel, node: &str, network: &Network) -> Option<lnrpc::Channel> {
    let local = channel.local(node)?;
    let remote = channel.remote(node)?;
    let peer = network.nodes.get(&remote.node)?;
    let pending_htlcs = pending(channel, node, network);
    let unsettled: u64 = channel.capacity_msat - local.msat - remote.msat;
    Some(lnrpc::Channel {
        active: network.is_active(channel),
        remote_pubkey: peer.pubkey.clone(),
        peer_alias: peer.record.name.clone(),
        channel_point: format!("{:064x}:0", channel.id),
        chan_id: channel.id,
        capacity: sat(channel.capacity_msat),
        local_balance: sat(local.msat),
        remote_balance: sat(remote.msat),
        unsettled_balance: sat(unsettled),
        pending_htlcs,
        ..Default::default()
    })
}

pub(crate) fn channel_balance(node: &str, network: &Network) -> lnrpc::ChannelBalanceResponse {
    let balance = network.balance(node);
    let remote: u64 =
        network.channels.values().filter_map(|c| c.remote(node)).map(|side| side.msat).sum();
    #[expect(deprecated, reason = "LND still fills it, and clients may read it")]
    lnrpc::ChannelBalanceResponse {
        balance: sat(balance.available_msat),
        local_balance: Some(both(balance.available_msat)),
        remote_balance: Some(both(remote)),
        unsettled_local_balance: Some(both(balance.outgoing_held_msat)),
        unsettled_remote_balance: Some(both(balance.incoming_held_msat)),
        ..Default::default()
    }
}

#[expect(deprecated, reason = "LND still fills it, and clients may read it")]
pub(crate) fn info(node: &Node, network: &Network, uri: String) -> lnrpc::GetInfoResponse {
    let (active, inactive): (Vec<&Channel>, Vec<&Channel>) = network
        .channels
        .values()
        .filter(|channel| channel.local(&node.record.name).is_some())
        .partition(|channel| network.is_active(channel));
    lnrpc::GetInfoResponse {
        version: node.version.clone(),
        identity_pubkey: node.pubkey.clone(),
        alias: node.record.name.clone(),
        num_active_channels: count(active.len()),
        num_inactive_channels: count(inactive.len()),
        num_peers: count(active.len()),
        block_height: network.height,
        block_hash: format!("{:064x}", network.height),
        best_header_timestamp: signed(network.tip_at),
        synced_to_chain: node.synced,
        synced_to_graph: node.synced,
        chains: vec![lnrpc::Chain { chain: "bitcoin".to_owned(), network: node.network.clone() }],
        uris: vec![uri],
        ..Default::default()
    }
}

pub(crate) fn pay_req(decoded: Decoded) -> lnrpc::PayReq {
    let msat = decoded.amount_msat.unwrap_or_default();
    lnrpc::PayReq {
        destination: decoded.payee,
        payment_hash: decoded.hash.to_string(),
        num_satoshis: sat(msat),
        num_msat: signed(msat),
        timestamp: signed(decoded.created_at_secs),
        expiry: signed(decoded.expiry_secs),
        description: decoded.description,
        description_hash: decoded.description_hash.map(hex::encode).unwrap_or_default(),
        cltv_expiry: signed(decoded.min_final_cltv),
        payment_addr: decoded.payment_addr.map(|addr| addr.to_vec()).unwrap_or_default(),
        ..Default::default()
    }
}

/// A time as Go prints it.
pub(crate) fn go_time(secs: u64) -> String {
    let days = secs / 86_400;
    let (hour, minute, second) = (secs / 3600 % 24, secs / 60 % 60, secs % 60);
    // Days since 0000-03-01, in eras of 400 years: the leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000 UTC")
}

fn invoice_htlc(htlc: &InvoiceHtlc) -> lnrpc::InvoiceHtlc {
    lnrpc::InvoiceHtlc {
        chan_id: htlc.channel,
        htlc_index: htlc.attempt,
        amt_msat: htlc.amount_msat,
        accept_height: height(htlc.accept_height),
        accept_time: signed(htlc.accepted_at),
        resolve_time: signed(htlc.resolved_at),
        expiry_height: height(htlc.expiry_height),
        state: match htlc.state {
            HtlcState::Accepted => InvoiceHtlcState::Accepted,
            HtlcState::Settled => InvoiceHtlcState::Settled,
            HtlcState::Canceled => InvoiceHtlcState::Canceled,
        }
        .into(),
        mpp_total_amt_msat: htlc.amount_msat,
        ..Default::default()
    }
}

fn htlc_attempt(attempt: &Attempt, network: &Network) -> lnrpc::HtlcAttempt {
    let outcome = attempt.outcome.filter(|_| !attempt.is_in_flight());
    let hops = attempt.hops.iter().enumerate().map(|(place, hop)| {
        let onward = attempt.hops.get(place + 1);
        let forwarded = onward.map_or(attempt.amount_msat, |next| next.amount_msat);
        lnrpc::Hop {
            chan_id: hop.channel,
            expiry: onward.map_or(hop.expiry_height, |next| next.expiry_height),
            amt_to_forward_msat: signed(forwarded),
            fee_msat: signed(hop.amount_msat.saturating_sub(forwarded)),
            pub_key: network.nodes.get(&hop.to).map(|n| n.pubkey.clone()).unwrap_or_default(),
            ..Default::default()
        }
    });
    lnrpc::HtlcAttempt {
        attempt_id: attempt.id,
        status: match outcome {
            None => HtlcStatus::InFlight,
            Some(Outcome::Settled(_)) => HtlcStatus::Succeeded,
            Some(Outcome::Failed(_)) => HtlcStatus::Failed,
        }
        .into(),
        route: Some(lnrpc::Route {
            total_time_lock: attempt.hops.first().map_or(0, |hop| hop.expiry_height),
            total_fees_msat: signed(attempt.fee_msat()),
            total_amt_msat: signed(attempt.hops.first().map_or(0, |hop| hop.amount_msat)),
            hops: hops.collect(),
            ..Default::default()
        }),
        attempt_time_ns: nanos(attempt.sent_at),
        resolve_time_ns: attempt.resolved_at.map_or(0, nanos),
        preimage: match outcome {
            Some(Outcome::Settled(preimage)) => preimage.0.to_vec(),
            _ => Vec::new(),
        },
        ..Default::default()
    }
}

fn pending(channel: &Channel, node: &str, network: &Network) -> Vec<lnrpc::Htlc> {
    let mut htlcs = Vec::new();
    for attempt in network.locked() {
        for hop in attempt.hops.iter().filter(|hop| hop.channel == channel.id) {
            htlcs.push(lnrpc::Htlc {
                incoming: hop.to == node,
                amount: sat(hop.amount_msat),
                hash_lock: attempt.hash.0.to_vec(),
                expiration_height: hop.expiry_height,
                htlc_index: attempt.id,
                locked_in: true,
                ..Default::default()
            });
        }
    }
    htlcs
}

fn failure(reason: FailureReason) -> PaymentFailureReason {
    match reason {
        FailureReason::Timeout => PaymentFailureReason::FailureReasonTimeout,
        FailureReason::NoRoute => PaymentFailureReason::FailureReasonNoRoute,
        FailureReason::Error => PaymentFailureReason::FailureReasonError,
        FailureReason::IncorrectPaymentDetails => {
            PaymentFailureReason::FailureReasonIncorrectPaymentDetails
        }
        FailureReason::InsufficientBalance => {
            PaymentFailureReason::FailureReasonInsufficientBalance
        }
        FailureReason::Canceled => PaymentFailureReason::FailureReasonCanceled,
    }
}

fn both(msat: u64) -> lnrpc::Amount {
    lnrpc::Amount { sat: msat / 1000, msat }
}

fn sat(msat: u64) -> i64 {
    signed(msat / 1000)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn nanos(moment: std::time::Duration) -> i64 {
    i64::try_from(moment.as_nanos()).unwrap_or(i64::MAX)
}

fn height(blocks: u32) -> i32 {
    i32::try_from(blocks).unwrap_or(i32::MAX)
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}
