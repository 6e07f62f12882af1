//! What a node does with its invoices: adds, holds, settles, cancels and expires them.

use std::time::Duration;

use sha2::{Digest, Sha256};
use tonic::Code;

use crate::bolt11::{self, Terms};
use crate::hash::{PaymentHash, Preimage};
use crate::invoice::{HtlcState, Invoice, InvoiceHtlc, InvoiceState, NewInvoice, held};
use crate::lnd_error::LndError;
use crate::messages;
use crate::network::Network;
use crate::node::{Node, Payee};
use crate::payment::{FailureReason, Outcome};

const DEFAULT_EXPIRY_SECS: u64 = 86_400;
const MAX_EXPIRY_SECS: u64 = 31_536_000;
const DEFAULT_CLTV: u32 = 80;
const MIN_CLTV: u64 = 24;
const MAX_CLTV: u64 = 65_535;
const MAX_MEMO_BYTES: usize = 1024;
/// The fewest blocks an HTLC must have left when it arrives, whatever its invoice asks for.
const MIN_BLOCKS_LEFT: u32 = 19;

impl Network {
    /// `AddHoldInvoice`.
    pub(crate) fn add_hold_invoice(
        &mut self,
        node: &str,
        hash: PaymentHash,
        new: &NewInvoice,
    ) -> Result<Invoice, LndError> {
        self.insert_invoice(node, hash, None, new)
    }

    /// `AddInvoice`: an ordinary one, whose preimage LND knows.
    pub(crate) fn add_invoice(
        &mut self,
        node: &str,
        preimage: Preimage,
        new: &NewInvoice,
    ) -> Result<Invoice, LndError> {
        self.insert_invoice(node, preimage.hash(), Some(preimage), new)
    }

    fn insert_invoice(
        &mut self,
        node: &str,
        hash: PaymentHash,
        preimage: Option<Preimage>,
        new: &NewInvoice,
    ) -> Result<Invoice, LndError> {
        let value_msat = amount(new.value_sat, new.value_msat)?;
        if new.memo.len() > MAX_MEMO_BYTES {
            return Err(LndError::unknown(format!(
                "memo too large: {} bytes (maxsize={MAX_MEMO_BYTES})",
                new.memo.len()
            )));
        }
        let description_hash = match new.description_hash.as_slice() {
            [] => None,
            bytes => Some(<[u8; 32]>::try_from(bytes).map_err(|_| {
                LndError::unknown(format!("description hash is {} bytes, must be 32", bytes.len()))
            })?),
        };
        let expiry_secs = expiry(new.expiry)?;
        let cltv_expiry = cltv(new.cltv_expiry)?;
        let created_at = self.now;
        let known = self.nodes.get(node).ok_or_else(|| LndError::unknown("no such node"))?;
        let add_index = known.record.last_add_index + 1;
        let payment_addr = payment_addr(&known.key.secret_bytes(), hash, created_at);
        let bolt11 = bolt11::encode(
            &Terms {
                hash,
                payment_addr,
                value_msat,
                memo: &new.memo,
                description_hash,
                created_at,
                expiry_secs,
                cltv_expiry,
            },
            &known.key,
        )?;
        if known.invoices.contains_key(&hash) {
            return Err(LndError::unknown("invoice with payment hash already exists"));
        }
        let invoice = Invoice {
            hash,
            preimage,
            value_msat,
            memo: new.memo.clone(),
            description_hash: description_hash.map(PaymentHash),
            expiry_secs,
            cltv_expiry,
            payment_addr: PaymentHash(payment_addr),
            bolt11,
            add_index,
            settle_index: 0,
            created_at: created_at.as_secs(),
            settled_at: 0,
            state: InvoiceState::Open,
            amt_paid_msat: 0,
            htlcs: Vec::new(),
            log: Vec::new(),
        };
        self.expiries.insert((invoice.expires_at_secs(), node.to_owned(), hash));
        if let Some(record) = self.record_mut(node) {
            record.last_add_index = add_index;
        }
        if let Some(known) = self.nodes.get_mut(node) {
            known.invoices.insert(hash, invoice.clone());
        }
        self.log_invoice(node, hash);
        Ok(invoice)
    }

    /// An HTLC reaches its payee, which holds, settles or refuses it.
    pub(crate) fn htlc_arrives(&mut self, attempt: u64) {
        let Some(sent) = self.attempts.get(&attempt).cloned() else { return };
        let Some(last) = sent.hops.last() else { return };
        let (payee, hash, height) = (sent.payee.clone(), sent.hash, self.height);
        let mode = self.nodes.get(&payee).map_or(Payee::Refuses, |node| node.record.payee);
        let reported_msat = self.nodes.get(&payee).and_then(|node| node.reported_htlc_msat);
        let fits = self.find_invoice(&payee, hash).is_some_and(|invoice| {
            invoice.state == InvoiceState::Open
                && mode != Payee::Refuses
                && sent.payment_addr == Some(invoice.payment_addr)
                && (reported_msat.is_some() || last.amount_msat >= invoice.value_msat)
                && last.expiry_height >= height.saturating_add(invoice.cltv_expiry)
                && last.expiry_height >= height.saturating_add(MIN_BLOCKS_LEFT)
        });
        if !fits {
            self.resolve(attempt, Outcome::Failed(FailureReason::IncorrectPaymentDetails));
            return;
        }
        let accepted_at = self.now.as_secs();
        let htlc = InvoiceHtlc {
            attempt,
            channel: last.channel,
            amount_msat: reported_msat.unwrap_or(last.amount_msat),
            accept_height: height,
            expiry_height: last.expiry_height,
            accepted_at,
            resolved_at: 0,
            state: HtlcState::Accepted,
            is_lost: false,
        };
        let Some(invoice) = self.invoice_mut(&payee, hash) else { return };
        invoice.amt_paid_msat = htlc.amount_msat;
        invoice.htlcs.push(htlc);
        let settles_at_once = invoice.preimage.filter(|_| mode == Payee::Settles);
        match settles_at_once {
            Some(preimage) => self.settle_held(&payee, hash, preimage),
            None => self.move_invoice(&payee, hash, InvoiceState::Accepted),
        }
    }

    /// `SettleInvoice`.
    pub(crate) fn settle_invoice(
        &mut self,
        node: &str,
        preimage: Preimage,
    ) -> Result<(), LndError> {
        let hash = preimage.hash();
        match self.find_invoice(node, hash).ok_or_else(unlocated_unknown)?.state {
            InvoiceState::Settled => Ok(()),
            InvoiceState::Open => Err(LndError::unknown("invoice still open")),
            InvoiceState::Canceled => Err(LndError::unknown("invoice already canceled")),
            InvoiceState::Accepted => {
                self.settle_held(node, hash, preimage);
                Ok(())
            }
        }
    }

    /// `CancelInvoice`.
    pub(crate) fn cancel_invoice(&mut self, node: &str, hash: PaymentHash) -> Result<(), LndError> {
        match self.find_invoice(node, hash).ok_or_else(unlocated_unknown)?.state {
            InvoiceState::Canceled => Ok(()),
            InvoiceState::Settled => Err(LndError::unknown("invoice already settled")),
            InvoiceState::Open | InvoiceState::Accepted => {
                self.cancel_and_refund(node, hash);
                Ok(())
            }
        }
    }

    /// LND was killed after it had recorded an HTLC as seen and before it had recorded it as handled.
    /// After its start it fails the HTLC as a replay, and its invoice stays accepted.
    pub(crate) fn fail_as_replay(&mut self, node: &str, hash: PaymentHash) -> bool {
        let Some(invoice) = self.invoice_mut(node, hash) else { return false };
        let mut lost = Vec::new();
        for htlc in invoice.htlcs.iter_mut().filter(|htlc| htlc.state == HtlcState::Accepted) {
            htlc.is_lost = true;
            lost.push(htlc.attempt);
        }
        for attempt in &lost {
            self.resolve(*attempt, Outcome::Failed(FailureReason::NoRoute));
        }
        !lost.is_empty()
    }

    /// Cancels open invoices that have expired. Held ones do not expire by time.
    pub(crate) fn expire_invoices(&mut self) {
        let now = self.now.as_secs();
        let due: Vec<(u64, String, PaymentHash)> = self
            .expiries
            .iter()
            .take_while(|(at, _, _)| *at <= now)
            .filter(|(_, name, _)| self.nodes.get(name).is_some_and(|node| node.up))
            .cloned()
            .collect();
        for entry in due {
            self.expiries.remove(&entry);
            let (_, name, hash) = entry;
            if self.find_invoice(&name, hash).is_some_and(|i| i.state == InvoiceState::Open) {
                self.cancel_and_refund(&name, hash);
            }
        }
    }

    /// LND cancels a held invoice by itself when its HTLC comes near its expiry.
    pub(crate) fn cancel_near_expiry(&mut self, name: &str) {
        for hash in self.list_near_expiry(name) {
            self.cancel_and_refund(name, hash);
        }
    }

    /// The held invoices that are due to be canceled for that.
    pub(crate) fn list_near_expiry(&self, name: &str) -> Vec<PaymentHash> {
        let horizon = self.height.saturating_add(self.rules.hold_expiry_delta);
        let known = self.nodes.get(name).into_iter().flat_map(|node| node.invoices.values());
        known
            .filter(|invoice| invoice.state == InvoiceState::Accepted)
            .filter(|invoice| held(invoice).any(|htlc| htlc.expiry_height <= horizon))
            .map(|invoice| invoice.hash)
            .collect()
    }

    fn settle_held(&mut self, node: &str, hash: PaymentHash, preimage: Preimage) {
        let now = self.now.as_secs();
        let settle_index = self.record_mut(node).map_or(0, |record| {
            record.last_settle_index += 1;
            record.last_settle_index
        });
        let Some(invoice) = self.invoice_mut(node, hash) else { return };
        invoice.preimage = Some(preimage);
        invoice.settle_index = settle_index;
        invoice.settled_at = now;
        let attempts = close(invoice, HtlcState::Settled, now);
        self.move_invoice(node, hash, InvoiceState::Settled);
        for attempt in attempts {
            self.resolve(attempt, Outcome::Settled(preimage));
        }
    }

    fn cancel_and_refund(&mut self, node: &str, hash: PaymentHash) {
        let now = self.now.as_secs();
        let Some(invoice) = self.invoice_mut(node, hash) else { return };
        let attempts = close(invoice, HtlcState::Canceled, now);
        self.move_invoice(node, hash, InvoiceState::Canceled);
        for attempt in attempts {
            self.resolve(attempt, Outcome::Failed(FailureReason::IncorrectPaymentDetails));
        }
    }

    /// The one place where an invoice changes state.
    fn move_invoice(&mut self, node: &str, hash: PaymentHash, state: InvoiceState) {
        let Some(invoice) = self.invoice_mut(node, hash) else { return };
        let before = invoice.state;
        let was_final = invoice.is_final();
        invoice.state = state;
        let expires_at = invoice.expires_at_secs();
        if was_final {
            self.violations.push(format!("{node} moved {hash} from {before:?} to {state:?}"));
        }
        self.expiries.remove(&(expires_at, node.to_owned(), hash));
        self.log_invoice(node, hash);
    }

    /// Appends the invoice's current state to the log that subscribers read.
    pub(crate) fn log_invoice(&mut self, node: &str, hash: PaymentHash) {
        if let Some(invoice) = self.invoice_mut(node, hash) {
            let message = messages::invoice(invoice);
            invoice.log.push(message);
        }
    }
}

/// Why a lookup finds nothing. For a node that never had an invoice LND has another text, and in one
/// of its two calls another code.
pub(crate) fn unlocated(node: &Node, code_without_any: Code) -> LndError {
    if node.record.last_add_index == 0 {
        LndError::new(code_without_any, "there are no existing invoices")
    } else {
        LndError::new(Code::NotFound, UNLOCATED)
    }
}

/// Reads an amount that LND takes in sats or in msats.
pub(crate) fn amount(sat: i64, msat: i64) -> Result<u64, LndError> {
    if sat != 0 && msat != 0 {
        return Err(LndError::unknown("sat and msat arguments are mutually exclusive"));
    }
    let negative = |_| LndError::unknown("amount cannot be negative");
    let from_sat = u64::try_from(sat).map_err(negative)?.saturating_mul(1000);
    Ok(from_sat.saturating_add(u64::try_from(msat).map_err(negative)?))
}

const UNLOCATED: &str = "unable to locate invoice";

fn unlocated_unknown() -> LndError {
    LndError::unknown(UNLOCATED)
}

/// Returns the attempts that are to be resolved in the same way.
fn close(invoice: &mut Invoice, state: HtlcState, now: u64) -> Vec<u64> {
    let mut attempts = Vec::new();
    for htlc in invoice.htlcs.iter_mut().filter(|htlc| htlc.state == HtlcState::Accepted) {
        htlc.state = state;
        htlc.resolved_at = now;
        if !htlc.is_lost {
            attempts.push(htlc.attempt);
        }
    }
    attempts
}

fn expiry(asked: i64) -> Result<u64, LndError> {
    let secs = u64::try_from(asked).ok().filter(|secs| *secs > 0).unwrap_or(DEFAULT_EXPIRY_SECS);
    if secs > MAX_EXPIRY_SECS {
        return Err(LndError::unknown(format!(
            "expiry of {} seconds greater than max expiry of {} seconds",
            go_float(secs),
            go_float(MAX_EXPIRY_SECS)
        )));
    }
    Ok(secs)
}

fn cltv(asked: u64) -> Result<u32, LndError> {
    if asked > MAX_CLTV {
        return Err(LndError::unknown(format!(
            "CLTV delta of {asked} is too large, max accepted is: {MAX_CLTV}"
        )));
    }
    if asked != 0 && asked < MIN_CLTV {
        return Err(LndError::unknown(format!(
            "CLTV delta of {asked} must be greater than minimum of {MIN_CLTV}"
        )));
    }
    Ok(u32::try_from(asked).ok().filter(|blocks| *blocks > 0).unwrap_or(DEFAULT_CLTV))
}

/// A whole number as Go prints a large float.
fn go_float(number: u64) -> String {
    let digits = number.to_string();
    let exponent = digits.len() - 1;
    let (first, rest) = digits.split_at(1);
    match rest.trim_end_matches('0') {
        "" => format!("{first}e+{exponent:02}"),
        fraction => format!("{first}.{fraction}e+{exponent:02}"),
    }
}

fn payment_addr(key: &[u8; 32], hash: PaymentHash, now: Duration) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(b"payment addr");
    digest.update(key);
    digest.update(hash.0);
    digest.update(now.as_nanos().to_be_bytes());
    digest.finalize().into()
}
