//! LND's messages, read as our own types. What makes no sense is an error, never a guess.

use fedimint_tonic_lnd::lnrpc::htlc_attempt::HtlcStatus;
use fedimint_tonic_lnd::lnrpc::invoice::InvoiceState as LndInvoiceState;
use fedimint_tonic_lnd::lnrpc::payment::PaymentStatus as LndPaymentStatus;
use fedimint_tonic_lnd::lnrpc::{
    Channel, GetInfoResponse, Htlc, Invoice, InvoiceHtlc, InvoiceHtlcState, Payment,
    PaymentFailureReason,
};
use fedimint_tonic_lnd::staterpc::WalletState;
use sha2::{Digest, Sha256};
use trade::{
    BlockHeight, FailureReason, HoldStatus, LightningIdentity, Msats, Network, NodeKey,
    PaymentHash, PaymentStatus, Preimage, Sats,
};

use super::{InvoiceState, LightningError, NodeDescription};

/// The oldest LND that the escrow can rely on.
const OLDEST_VERSION: (u32, u32) = (0, 20);

/// Whether LND is fully started; an error while it answers no calls at all.
pub(super) fn is_active(state: i32) -> Result<bool, LightningError> {
    match WalletState::try_from(state) {
        Ok(WalletState::ServerActive) => Ok(true),
        Ok(WalletState::RpcActive) => Ok(false),
        Ok(WalletState::Unlocked | WalletState::WaitingToStart) | Err(_) => {
            Err(LightningError::Starting)
        }
        Ok(WalletState::Locked) => Err(LightningError::Locked),
        Ok(WalletState::NonExisting) => Err(LightningError::NoWallet),
    }
}

/// The state of a hold's invoice. An accepted one has a part that is held.
pub(super) fn invoice_state(
    call: &'static str,
    hash: PaymentHash,
    invoice: &Invoice,
) -> Result<InvoiceState, LightningError> {
    let nonsense = |problem| LightningError::Nonsense { call, problem };
    if invoice.r_hash != hash.0 {
        return Err(nonsense("it is about another hash"));
    }
    match LndInvoiceState::try_from(invoice.state) {
        Ok(LndInvoiceState::Open) => Ok(InvoiceState::Open),
        Ok(LndInvoiceState::Settled) => Ok(InvoiceState::Settled),
        Ok(LndInvoiceState::Canceled) => Ok(InvoiceState::Canceled),
        Ok(LndInvoiceState::Accepted) => match lowest_expiry(invoice) {
            Some(_) => Ok(InvoiceState::Accepted),
            None => Err(nonsense("it is accepted without a part that is held")),
        },
        Err(_) => Err(nonsense("the invoice is in a state that we do not know")),
    }
}

/// What an accepted hold is worth and until when; `None` if a part of it is gone from the channel
/// that it came over.
///
/// LND's `amt_paid` does not change when the sats are given back, and other software can write it and
/// the amounts of the parts. So a part is worth what LND says only if its channel shows at least as
/// many whole sats, and otherwise what the channel shows (D33). A channel that is not listed is closing:
/// LND takes the part from the chain, and nobody can see how much it is.
pub(super) fn escrow(
    call: &'static str,
    hash: PaymentHash,
    invoice: &Invoice,
    channels: &[Channel],
) -> Result<Option<HoldStatus>, LightningError> {
    if is_given_back(hash, invoice, channels) {
        return Ok(None);
    }
    let paid = held(invoice)
        .try_fold(Msats::ZERO, |sum, part| sum.checked_add(worth(hash, part, channels)));
    match (paid, lowest_expiry(invoice)) {
        (Some(paid), Some(expires_at)) => Ok(Some(HoldStatus::Accepted { paid, expires_at })),
        _ => Err(LightningError::Nonsense {
            call,
            problem: "the parts of an accepted invoice have impossible amounts or heights",
        }),
    }
}

fn worth(hash: PaymentHash, part: &InvoiceHtlc, channels: &[Channel]) -> Msats {
    let carried = channel_of(part, channels).and_then(|channel| {
        incoming(hash, channel).find(|htlc| htlc.htlc_index == part.htlc_index)
    });
    let said = Msats(part.amt_msat);
    let shown = carried.and_then(|htlc| u64::try_from(htlc.amount).ok()).unwrap_or_default();
    // LND shows whole sats, rounded down.
    match Sats(shown).to_msats() {
        Some(shown) if shown.0 < said.0.saturating_sub(said.0 % 1_000) => {
            tracing::warn!(
                ln.hash = %hash, ln.channel = part.chan_id, %said, %shown,
                "LND says that a part of an escrow is more than its channel shows"
            );
            shown
        }
        _ => said,
    }
}

/// The parts of a payment that LND says it holds.
fn held(invoice: &Invoice) -> impl Iterator<Item = &InvoiceHtlc> {
    invoice.htlcs.iter().filter(|htlc| htlc.state == InvoiceHtlcState::Accepted as i32)
}

fn lowest_expiry(invoice: &Invoice) -> Option<BlockHeight> {
    let lowest = held(invoice).map(|htlc| htlc.expiry_height).min()?;
    Some(BlockHeight(u32::try_from(lowest).ok()?))
}

fn channel_of<'a>(part: &InvoiceHtlc, channels: &'a [Channel]) -> Option<&'a Channel> {
    channels.iter().find(|channel| channel.chan_id == part.chan_id)
}

fn incoming(hash: PaymentHash, channel: &Channel) -> impl Iterator<Item = &Htlc> {
    channel.pending_htlcs.iter().filter(move |htlc| htlc.incoming && htlc.hash_lock == hash.0)
}

/// Whether a part of an accepted hold is gone from the channel that it came over. A channel that is
/// not listed is closing, and LND takes the part from the chain.
fn is_given_back(hash: PaymentHash, invoice: &Invoice, channels: &[Channel]) -> bool {
    held(invoice).filter_map(|part| Some((part, channel_of(part, channels)?))).any(
        |(part, channel)| {
            let over_it = held(invoice).filter(|other| other.chan_id == part.chan_id);
            incoming(hash, channel).count() < over_it.count()
        },
    )
}

/// The state of a payment. It is a success only with the preimage as receipt (P4).
pub(super) fn payment_status(
    call: &'static str,
    hash: PaymentHash,
    payment: &Payment,
) -> Result<PaymentStatus, LightningError> {
    let nonsense = |problem| LightningError::Nonsense { call, problem };
    if PaymentHash::from_hex(&payment.payment_hash) != Some(hash) {
        return Err(nonsense("it is about another hash"));
    }
    let index = payment.payment_index;
    match LndPaymentStatus::try_from(payment.status) {
        Ok(LndPaymentStatus::Succeeded) => {
            let receipt = receipt(hash, &payment.payment_preimage)
                .ok_or(nonsense("it is paid, and the preimage is not that of the hash"))?;
            let fee = u64::try_from(payment.fee_msat)
                .map_err(|_| nonsense("the routing fee is negative"))?;
            Ok(PaymentStatus::Succeeded { index, receipt, fee: Msats(fee) })
        }
        Ok(LndPaymentStatus::Failed) => {
            Ok(PaymentStatus::Failed { index, reason: failure_reason(payment.failure_reason) })
        }
        // A state that we do not know is not final.
        Ok(
            LndPaymentStatus::InFlight | LndPaymentStatus::Initiated | LndPaymentStatus::Unknown,
        )
        | Err(_) => Ok(PaymentStatus::InFlight { index }),
    }
}

/// The active channel that should carry the HTLC of a payment in flight, if no channel does.
///
/// A channel that is closing, or whose peer is away, may carry it unseen: nothing is missing then.
pub(super) fn missing_from(
    hash: PaymentHash,
    payment: &Payment,
    channels: &[Channel],
) -> Option<u64> {
    let is_carried = |channel: &Channel| {
        channel.pending_htlcs.iter().any(|htlc| !htlc.incoming && htlc.hash_lock == hash.0)
    };
    if channels.iter().any(is_carried) {
        return None;
    }
    let is_active = |id| channels.iter().any(|channel| channel.chan_id == id && channel.active);
    let first_hops: Option<Vec<u64>> = payment
        .htlcs
        .iter()
        .filter(|attempt| attempt.status == HtlcStatus::InFlight as i32)
        .map(|attempt| Some(attempt.route.as_ref()?.hops.first()?.chan_id))
        .collect();
    let first_hops = first_hops.filter(|ids| ids.iter().copied().all(is_active))?;
    first_hops.first().copied()
}

fn receipt(hash: PaymentHash, preimage: &str) -> Option<Preimage> {
    let preimage: [u8; 32] = hex::decode(preimage).ok()?.try_into().ok()?;
    let preimage = Preimage(preimage);
    (hash_of(&preimage) == hash).then_some(preimage)
}

pub(super) fn hash_of(preimage: &Preimage) -> PaymentHash {
    PaymentHash(Sha256::digest(preimage.0).into())
}

fn failure_reason(reason: i32) -> FailureReason {
    match PaymentFailureReason::try_from(reason) {
        Ok(PaymentFailureReason::FailureReasonTimeout) => FailureReason::Timeout,
        Ok(PaymentFailureReason::FailureReasonNoRoute) => FailureReason::NoRoute,
        Ok(PaymentFailureReason::FailureReasonIncorrectPaymentDetails) => {
            FailureReason::IncorrectPaymentDetails
        }
        Ok(PaymentFailureReason::FailureReasonInsufficientBalance) => {
            FailureReason::InsufficientBalance
        }
        Ok(PaymentFailureReason::FailureReasonCanceled) => FailureReason::Canceled,
        Ok(PaymentFailureReason::FailureReasonNone | PaymentFailureReason::FailureReasonError)
        | Err(_) => FailureReason::Error,
    }
}

/// Who the node is, if it is new enough to be relied on.
pub(super) fn identity(
    call: &'static str,
    node: &GetInfoResponse,
) -> Result<LightningIdentity, LightningError> {
    let nonsense = |problem| LightningError::Nonsense { call, problem };
    if is_too_old(&node.version) {
        return Err(LightningError::TooOld { version: node.version.clone() });
    }
    let key =
        NodeKey::from_hex(&node.identity_pubkey).ok_or(nonsense("its public key is not one"))?;
    let network = match node.chains.first().map(|chain| chain.network.as_str()) {
        Some("mainnet") => Network::Mainnet,
        Some("testnet" | "testnet4") => Network::Testnet,
        Some("signet") => Network::Signet,
        Some("regtest") => Network::Regtest,
        Some("simnet") => Network::Simnet,
        _ => return Err(nonsense("its network is not one that we know")),
    };
    Ok(LightningIdentity { key, network })
}

/// A version that does not begin with two numbers is that of an own build, and not judged.
fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split(['.', '-', ' ']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < OLDEST_VERSION,
        _ => false,
    }
}

pub(super) fn description(node: GetInfoResponse) -> NodeDescription {
    let networks = node.chains.iter().map(|chain| chain.network.clone()).collect();
    NodeDescription {
        version: node.version,
        commit_hash: node.commit_hash,
        alias: node.alias,
        // LND knows no other chain, and does not name it any more.
        chains: node.chains.iter().map(|_| "bitcoin".to_owned()).collect(),
        networks,
        uris: node.uris,
    }
}

#[cfg(test)]
mod tests;
