//! A Lightning node in memory, with a ledger of all sats, and with faults.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use mostrod::clock::{Clock as _, ManualClock};
use mostrod::lightning::{
    AddedHold, Htlc, InvoiceState, LightningError, LightningNode, NewHold, NewPayment,
    NodeDescription, Readiness,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, oneshot};
use trade::{
    BlockHeight, EscrowEvidence, FailureReason, HoldStatus, LightningIdentity, Msats, Network,
    NodeKey, PaymentHash, PaymentStatus, Preimage, Sats, Timestamp,
};

use crate::ops::End;
use crate::simulation::{Plant, START};

pub(crate) const IDENTITY: LightningIdentity =
    LightningIdentity { key: NodeKey([2; 33]), network: Network::Regtest };

/// How many blocks before an HTLC's expiry LND refunds it by itself.
const OWN_DELTA: u32 = 18;

/// The difference of two payment indexes. LND skips indexes too.
const INDEX_STEP: u64 = 10;

/// Not a whole number of sats, so that the ledgers must be exact to the msat.
const ROUTING_FEE: Msats = Msats(1_237);

/// The longest delay of a request. A payout is sent again only after a longer quiet time (P6).
const MOST_LATE: Duration = Duration::from_secs(45);

#[derive(Debug)]
pub(crate) struct FakeLnd {
    ledger: Mutex<Ledger>,
    plant: Option<Plant>,
    clock: Arc<ManualClock>,
    /// Notified when a call begins to hang.
    parked: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) holds: BTreeMap<PaymentHash, Invoice>,
    pub(crate) payments: BTreeMap<PaymentHash, Payment>,
    /// The invoices that we can be asked to pay.
    pub(crate) payees: BTreeMap<PaymentHash, Payee>,
    /// The gain of our channels.
    pub(crate) balance: i64,
    /// All updates for streams, in order.
    pub(crate) updates: Vec<(PaymentHash, Update)>,
    pub(crate) faults: VecDeque<Fault>,
    pub(crate) fails: bool,
    /// Refuses every send.
    pub(crate) refuses: bool,
    /// How often sends of a hash were refused in a row.
    pub(crate) refusals: BTreeMap<PaymentHash, Refusals>,
    /// No channel is active.
    pub(crate) has_no_channel: bool,
    /// Steps until the daemon crashes.
    pub(crate) steps_to_crash: Option<u8>,
    now: Timestamp,
    height: BlockHeight,
    last_index: u64,
    late: VecDeque<(Timestamp, Call)>,
    waiting: VecDeque<oneshot::Sender<()>>,
}

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Refusals {
    pub(crate) count: u32,
    /// A call was lost, late or interrupted, so a refusal does not show that LND has no payment.
    pub(crate) is_uncertain: bool,
}

#[derive(Debug)]
pub(crate) struct Invoice {
    pub(crate) amount: Sats,
    expires_at: Timestamp,
    cltv_delta: u32,
    pub(crate) status: HoldStatus,
    pub(crate) was_paid: bool,
}

#[derive(Debug)]
pub(crate) struct Payment {
    pub(crate) status: PaymentStatus,
    amount: Msats,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Payee {
    pub(crate) preimage: Preimage,
    pub(crate) amount: Option<Sats>,
    pub(crate) expires_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Update {
    Hold(HoldStatus),
    Payment(PaymentStatus),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    LoseRequest,
    LoseReply,
    DelayRequest,
    HangBefore,
    HangAfter,
}

#[derive(Debug, Clone)]
enum Call {
    Add(NewHold),
    Settle(Preimage),
    Cancel(PaymentHash),
    Send(NewPayment),
}

impl FakeLnd {
    pub(crate) fn new(clock: Arc<ManualClock>, height: u32, plant: Option<Plant>) -> Self {
        let ledger = Ledger { height: BlockHeight(height), ..Ledger::default() };
        Self { ledger: Mutex::new(ledger), plant, clock, parked: Notify::new() }
    }

    /// The ledger as of now.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.now = self.clock.now();
        let most_late = match self.plant {
            Some(Plant::ArrivesAfterQuietTime) => MOST_LATE * 9,
            _ => MOST_LATE,
        };
        ledger.expire();
        while ledger.late.front().is_some_and(|(at, _)| at.after(most_late) <= ledger.now) {
            ledger.arrive();
        }
        ledger
    }

    pub(crate) async fn parked(&self) {
        self.parked.notified().await;
    }

    /// Whether the daemon crashes now. Called before every step at which it can crash.
    pub(crate) fn crashes_here(&self) -> bool {
        let mut ledger = self.ledger();
        let crashes = ledger.steps_to_crash == Some(0);
        ledger.steps_to_crash =
            ledger.steps_to_crash.and_then(|steps| steps.checked_sub(1)).or(crashes.then_some(0));
        crashes
    }

    async fn call(&self, name: &'static str, call: Call) -> Result<(), LightningError> {
        let (fault, fails) = {
            let mut ledger = self.ledger();
            (ledger.faults.pop_front(), ledger.fails)
        };
        let call_made = call.clone();
        let was_uncertain = self.ledger().mark_uncertain(&call_made);
        if self.crashes_here() {
            self.park().await;
        }
        match fault {
            _ if fails => return Err(lost(name)),
            Some(Fault::LoseRequest) => return Err(lost(name)),
            Some(Fault::DelayRequest) => {
                let mut ledger = self.ledger();
                let at = ledger.now;
                ledger.late.push_back((at, call));
                return Err(lost(name));
            }
            Some(Fault::HangBefore) => self.park().await,
            Some(Fault::HangAfter | Fault::LoseReply) | None => {}
        }
        let done = self.ledger().perform(&call);
        if self.crashes_here() || fault == Some(Fault::HangAfter) {
            self.park().await;
        }
        if fault == Some(Fault::LoseReply) {
            return Err(lost(name));
        }
        self.ledger().record_answer(&call_made, was_uncertain || fault.is_some(), done.is_err());
        done.map_err(|reason| LightningError::Refused {
            call: name,
            code: tonic::Code::Unknown,
            reason: reason.to_owned(),
        })
    }

    async fn park(&self) {
        let (resume, resumed) = oneshot::channel();
        self.ledger().waiting.push_back(resume);
        self.parked.notify_one();
        drop(resumed.await);
    }

    fn look(&self, name: &'static str) -> Result<MutexGuard<'_, Ledger>, LightningError> {
        let ledger = self.ledger();
        if ledger.fails { Err(lost(name)) } else { Ok(ledger) }
    }

    /// The result of a lost answer, unless a fault is planted.
    fn or_planted(
        &self,
        hash: PaymentHash,
        answer: Result<(), LightningError>,
    ) -> Result<InvoiceState, LightningError> {
        match answer {
            Ok(()) => Ok(state_of(self.ledger().hold(hash))),
            Err(_) if self.plant == Some(Plant::LostMeansCanceled) => Ok(InvoiceState::Canceled),
            Err(error) => Err(error),
        }
    }
}

/// The state that LND reports for a hold, without a look at its channels.
fn state_of(status: HoldStatus) -> InvoiceState {
    match status {
        HoldStatus::Unknown => InvoiceState::Unknown,
        HoldStatus::Open => InvoiceState::Open,
        HoldStatus::Accepted { .. } => InvoiceState::Accepted,
        HoldStatus::Settled => InvoiceState::Settled,
        HoldStatus::Canceled => InvoiceState::Canceled,
    }
}

impl Ledger {
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.iter().filter(|call| !call.is_closed()).count()
    }

    /// Marks the result of a send as uncertain. Returns whether it was uncertain before.
    fn mark_uncertain(&mut self, call: &Call) -> bool {
        let Call::Send(payment) = call else { return false };
        let refusals = self.refusals.entry(payment.hash).or_default();
        std::mem::replace(&mut refusals.is_uncertain, true)
    }

    fn record_answer(&mut self, call: &Call, is_uncertain: bool, is_refused: bool) {
        let Call::Send(payment) = call else { return };
        let refusals = self.refusals.entry(payment.hash).or_default();
        *refusals = if is_refused {
            Refusals { count: refusals.count + 1, is_uncertain }
        } else {
            Refusals::default()
        };
    }

    /// Continues the oldest hanging call.
    pub(crate) fn answer_late(&mut self) {
        self.waiting.retain(|call| !call.is_closed());
        if let Some(resume) = self.waiting.pop_front() {
            resume.send(()).expect("the call waits");
        }
    }

    /// Delivers the oldest delayed request.
    pub(crate) fn arrive(&mut self) {
        if let Some((_, call)) = self.late.pop_front() {
            _ = self.perform(&call);
        }
    }

    /// Ends all faults. Delayed requests arrive, and hanging calls continue.
    pub(crate) fn clear_faults(&mut self) {
        self.faults.clear();
        (self.fails, self.has_no_channel, self.steps_to_crash) = (false, false, None);
        self.refuses = false;
        while !self.late.is_empty() {
            self.arrive();
        }
        while self.waiting() > 0 {
            self.answer_late();
        }
    }

    pub(crate) fn mine(&mut self, blocks: u32) {
        self.height.0 += blocks;
        self.expire();
    }

    /// Pays an open hold invoice: its amount, `over` per mille more, and `missing` msats less. LND's
    /// invoice does not show the difference.
    pub(crate) fn pay(&mut self, hash: PaymentHash, over: u8, missing: u64) {
        let Some(invoice) = self.holds.get_mut(&hash) else { return };
        if invoice.status != HoldStatus::Open {
            return;
        }
        let asked = invoice.amount.0 * 1_000;
        let paid = Msats((asked + asked * u64::from(over) / 1_000).saturating_sub(missing));
        let expires_at = BlockHeight(self.height.0 + invoice.cltv_delta + 3);
        invoice.was_paid = true;
        invoice.status = HoldStatus::Accepted { paid, expires_at };
        self.updates.push((hash, Update::Hold(invoice.status)));
    }

    /// Ends the `nth` of the payments in flight.
    pub(crate) fn resolve(&mut self, nth: u8, how: End) {
        let under_way =
            |payment: &Payment| matches!(payment.status, PaymentStatus::InFlight { .. });
        let mut payments = self.payments.iter().filter(|(_, payment)| under_way(payment));
        if let Some((hash, _)) = payments.nth(usize::from(nth)) {
            self.end_payment(*hash, how);
        }
    }

    /// Ends a payment in flight.
    pub(crate) fn end_payment(&mut self, hash: PaymentHash, how: End) {
        let Some(payment) = self.payments.get_mut(&hash) else { return };
        let PaymentStatus::InFlight { index } = payment.status else { return };
        let failed = |reason| PaymentStatus::Failed { index, reason };
        payment.status = match how {
            End::Paid => {
                let spent = payment.amount.0 + ROUTING_FEE.0;
                self.balance -= i64::try_from(spent).expect("small");
                let receipt = self.payees[&hash].preimage;
                PaymentStatus::Succeeded { index, receipt, fee: ROUTING_FEE }
            }
            End::NoRoute => failed(FailureReason::NoRoute),
            End::Refused => failed(FailureReason::IncorrectPaymentDetails),
        };
        self.updates.push((hash, Update::Payment(payment.status)));
    }

    /// Adds a hold from an old database in the state that the daemon saw. A settled one was paid `earned`.
    pub(crate) fn restore_hold(
        &mut self,
        hash: PaymentHash,
        amount: Sats,
        status: HoldStatus,
        earned: Msats,
    ) {
        let was_paid = matches!(status, HoldStatus::Accepted { .. } | HoldStatus::Settled);
        if status == HoldStatus::Settled {
            self.balance += i64::try_from(earned.0).expect("small");
        }
        let expires_at = self.now.after(Duration::from_mins(3));
        let invoice = Invoice { amount, expires_at, cltv_delta: 144, status, was_paid };
        self.holds.insert(hash, invoice);
    }

    /// Adds a payment from an old database.
    pub(crate) fn restore_payment(
        &mut self,
        hash: PaymentHash,
        amount: Msats,
        status: PaymentStatus,
    ) {
        match status {
            PaymentStatus::Unknown => return,
            PaymentStatus::Succeeded { index, fee, .. } => {
                self.last_index = self.last_index.max(index);
                self.balance -= i64::try_from(amount.0 + fee.0).expect("small");
            }
            PaymentStatus::InFlight { index } | PaymentStatus::Failed { index, .. } => {
                self.last_index = self.last_index.max(index);
            }
        }
        self.payments.insert(hash, Payment { status, amount });
    }

    pub(crate) fn height(&self) -> BlockHeight {
        self.height
    }

    pub(crate) fn hold(&self, hash: PaymentHash) -> HoldStatus {
        self.holds.get(&hash).map_or(HoldStatus::Unknown, |invoice| invoice.status)
    }

    pub(crate) fn payment(&self, hash: PaymentHash) -> PaymentStatus {
        self.payments.get(&hash).map_or(PaymentStatus::Unknown, |payment| payment.status)
    }

    /// Performs a call; the error is LND's refusal. Every call may be repeated.
    fn perform(&mut self, call: &Call) -> Result<(), &'static str> {
        match call {
            Call::Add(hold) => {
                let expires_at = self.now.after(hold.expiry);
                self.holds.entry(hold.hash).or_insert(Invoice {
                    amount: hold.amount,
                    expires_at,
                    cltv_delta: hold.cltv_delta,
                    status: HoldStatus::Open,
                    was_paid: false,
                });
            }
            Call::Settle(preimage) => {
                let hash = hash_of(*preimage);
                if let HoldStatus::Accepted { paid, .. } = self.hold(hash) {
                    self.balance += i64::try_from(paid.0).expect("small");
                    self.change(hash, HoldStatus::Settled);
                }
            }
            Call::Cancel(hash) => {
                if matches!(self.hold(*hash), HoldStatus::Open | HoldStatus::Accepted { .. }) {
                    self.change(*hash, HoldStatus::Canceled);
                }
            }
            Call::Send(payment) => return self.send(payment),
        }
        Ok(())
    }

    /// Sends one payment per hash, and none to an expired invoice. A refusal comes before any lookup.
    fn send(&mut self, payment: &NewPayment) -> Result<(), &'static str> {
        let hash = payment.hash;
        let Some(payee) = self.payees.get(&hash).filter(|payee| payee.expires_at > self.now) else {
            return Err("invoice expired");
        };
        if self.refuses {
            return Err("total time lock of 1008 exceeds max allowed 600");
        }
        if matches!(
            self.payment(hash),
            PaymentStatus::InFlight { .. } | PaymentStatus::Succeeded { .. }
        ) {
            return Ok(());
        }
        let amount = payee.amount.or(payment.amount).and_then(Sats::to_msats).unwrap_or_default();
        self.last_index += INDEX_STEP;
        let status = PaymentStatus::InFlight { index: self.last_index };
        self.payments.insert(hash, Payment { status, amount });
        self.updates.push((hash, Update::Payment(status)));
        Ok(())
    }

    /// Cancels invoices that have expired by time or blocks.
    fn expire(&mut self) {
        let (now, height) = (self.now, self.height);
        let is_over = |invoice: &Invoice| match invoice.status {
            HoldStatus::Open => invoice.expires_at <= now,
            HoldStatus::Accepted { expires_at, .. } => expires_at.before(OWN_DELTA) <= height,
            _ => false,
        };
        let over: Vec<_> = self
            .holds
            .iter()
            .filter(|(_, invoice)| is_over(invoice))
            .map(|(hash, _)| *hash)
            .collect();
        for hash in over {
            self.change(hash, HoldStatus::Canceled);
        }
    }

    fn change(&mut self, hash: PaymentHash, status: HoldStatus) {
        if let Some(invoice) = self.holds.get_mut(&hash) {
            invoice.status = status;
            self.updates.push((hash, Update::Hold(status)));
        }
    }
}

#[async_trait]
impl LightningNode for FakeLnd {
    async fn add_hold(&self, hold: NewHold) -> Result<AddedHold, LightningError> {
        let hash = hold.hash;
        self.call("AddHoldInvoice", Call::Add(hold)).await?;
        Ok(AddedHold { bolt11: hash.to_string(), state: state_of(self.ledger().hold(hash)) })
    }

    async fn settle_hold(
        &self,
        preimage: Preimage,
        _: EscrowEvidence,
    ) -> Result<InvoiceState, LightningError> {
        let answer = self.call("SettleInvoice", Call::Settle(preimage)).await;
        self.or_planted(hash_of(preimage), answer)
    }

    async fn cancel_hold(&self, hash: PaymentHash) -> Result<InvoiceState, LightningError> {
        let answer = self.call("CancelInvoice", Call::Cancel(hash)).await;
        self.or_planted(hash, answer)
    }

    async fn hold_status(&self, hash: PaymentHash) -> Result<HoldStatus, LightningError> {
        Ok(self.look("LookupInvoice")?.hold(hash))
    }

    async fn send(&self, payment: NewPayment) -> Result<PaymentStatus, LightningError> {
        let hash = payment.hash;
        self.call("SendPaymentV2", Call::Send(payment)).await?;
        Ok(self.ledger().payment(hash))
    }

    async fn payment_status(&self, hash: PaymentHash) -> Result<PaymentStatus, LightningError> {
        let ledger = self.look("TrackPaymentV2")?;
        let status = ledger.payment(hash);
        if status == PaymentStatus::Unknown && self.plant == Some(Plant::NotFoundMeansFailed) {
            let index = ledger.last_index + 1;
            return Ok(PaymentStatus::Failed { index, reason: FailureReason::NoRoute });
        }
        Ok(status)
    }

    /// No HTLC is ever lost in this simulation.
    async fn find_htlc(&self, hash: PaymentHash) -> Result<Option<Htlc>, LightningError> {
        let status = self.payment_status(hash).await?;
        let PaymentStatus::InFlight { index } = status else { return Ok(None) };
        Ok(Some(Htlc { index, missing_from: None }))
    }

    /// The simulation delivers the updates of streams itself.
    fn watch(&self, _: PaymentHash) -> BoxStream<'_, InvoiceState> {
        futures::stream::empty().boxed()
    }

    fn follow(&self, _: PaymentHash) -> BoxStream<'_, PaymentStatus> {
        futures::stream::empty().boxed()
    }

    async fn readiness(&self) -> Result<Readiness, LightningError> {
        let (height, has_no_channel) = {
            let ledger = self.look("GetInfo")?;
            (ledger.height, ledger.has_no_channel)
        };
        Ok(Readiness {
            active: true,
            synced: true,
            channels_active: Some(usize::from(!has_no_channel)),
            lacks: vec![],
            height,
            best_header_at: START.after(self.clock.monotonic()),
            identity: IDENTITY,
            node: NodeDescription::default(),
        })
    }
}

pub(crate) fn hash_of(preimage: Preimage) -> PaymentHash {
    PaymentHash(Sha256::digest(preimage.0).into())
}

fn lost(call: &'static str) -> LightningError {
    LightningError::Unreachable { call, source: "the connection broke".into() }
}
