//! Compares the daemon's ledger with what its LND reports.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use fedimint_tonic_lnd::lnrpc::invoice::InvoiceState;
use fedimint_tonic_lnd::lnrpc::payment::PaymentStatus;
use fedimint_tonic_lnd::lnrpc::{Invoice, ListInvoiceRequest, ListPaymentsRequest, Payment};
use uuid::Uuid;

use crate::{Exchange, Lightning, Wallet};

/// The balance of each account of the daemon, in msat, as `mostrod check` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger(BTreeMap<String, i64>);

impl Ledger {
    /// Reads the lines `ledger.<account> = <msat>`; others are skipped. An account without
    /// bookings has no line.
    ///
    /// # Errors
    /// If such a line has no number.
    pub fn parse(text: &str) -> Result<Self> {
        let mut accounts = BTreeMap::new();
        for line in text.lines() {
            let Some(line) = line.strip_prefix("ledger.") else { continue };
            let (account, msat) = line.split_once(" = ").with_context(|| line.to_owned())?;
            accounts.insert(account.to_owned(), msat.parse().with_context(|| line.to_owned())?);
        }
        Ok(Self(accounts))
    }

    /// The balance of an account, 0 without bookings.
    #[must_use]
    pub fn of(&self, account: &str) -> i64 {
        self.0.get(account).copied().unwrap_or_default()
    }
}

/// What an LND reports of its sats while nothing is in progress, in msat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeTotals {
    in_channels: u64,
    /// By all its settled invoices.
    received: i64,
    /// By all its successful payments, without fees.
    sent: i64,
    fees: i64,
}

/// Payments in one answer.
const PAGE: u64 = 1_000;
/// More invoices than any test makes.
const ALL: u64 = 100_000;

impl NodeTotals {
    /// None if a payment is in flight.
    pub(crate) async fn read(wallet: &Wallet, in_channels: u64) -> Result<Option<Self>> {
        let mut totals = Self { in_channels, received: 0, sent: 0, fees: 0 };
        let invoices = list_invoices(wallet).await?;
        let settled = invoices.iter().filter(|invoice| invoice.state() == InvoiceState::Settled);
        totals.received = settled.map(|invoice| invoice.amt_paid_msat).sum();
        for payment in list_payments(wallet).await? {
            match payment.status() {
                PaymentStatus::Succeeded => {
                    totals.sent += payment.value_msat;
                    totals.fees += payment.fee_msat;
                }
                PaymentStatus::Failed => {}
                _ => return Ok(None),
            }
        }
        Ok(Some(totals))
    }

    /// The gain since `before`, if channels, invoices and payments agree on it.
    fn gained_since(&self, before: &Self) -> Result<i64> {
        let channels = i64::try_from(self.in_channels)? - i64::try_from(before.in_channels)?;
        let received = self.received - before.received;
        let (sent, fees) = (self.sent - before.sent, self.fees - before.fees);
        ensure!(
            channels == received - sent - fees,
            "LND's channels gained {channels} msat; its invoices received {received}, its payments sent \
             {sent} and cost {fees}"
        );
        Ok(channels)
    }
}

/// Every invoice of a node, oldest first.
///
/// # Errors
/// LND refuses.
pub async fn list_invoices(wallet: &Wallet) -> Result<Vec<Invoice>> {
    let asked = ListInvoiceRequest { num_max_invoices: ALL, ..ListInvoiceRequest::default() };
    Ok(wallet.lightning().list_invoices(asked).await?.into_inner().invoices)
}

/// Every payment of a node, failed ones too, oldest first.
///
/// # Errors
/// LND refuses.
pub async fn list_payments(wallet: &Wallet) -> Result<Vec<Payment>> {
    let mut all = Vec::new();
    let mut asked = ListPaymentsRequest {
        include_incomplete: true,
        max_payments: PAGE,
        ..ListPaymentsRequest::default()
    };
    loop {
        let page = wallet.lightning().list_payments(asked).await?.into_inner();
        if page.payments.is_empty() {
            return Ok(all);
        }
        asked.index_offset = page.last_index_offset;
        all.extend(page.payments);
    }
}

impl<L: Lightning> Exchange<L> {
    /// Once nothing is in progress, compares the daemon's ledger with LND's gain since `before`, by its
    /// channels and by its invoices and payments, and checks the laws of the Lightning network. Exactly
    /// the orders in `frozen` are frozen. Returns the ledger.
    ///
    /// # Errors
    /// The first difference.
    pub async fn audit(&self, before: &NodeTotals, frozen: &[Uuid]) -> Result<Ledger> {
        let gained = self.settled_totals().await?.gained_since(before)?;
        let broken = self.lnd.broken_laws().await?;
        ensure!(broken.is_empty(), "laws of Lightning are broken: {broken:#?}");
        let ledger = Ledger::parse(&self.daemon.check(frozen).await?)?;
        let booked = ledger.of("lightning");
        ensure!(
            booked == gained,
            "LND gained {booked} msat by the daemon's ledger, but {gained} by its own records"
        );
        Ok(ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_the_ledger_are_read() {
        let text = "relays: 1\nledger.lightning = 60000\nledger.fee-income = -60000\n";

        let ledger = Ledger::parse(text).unwrap();

        assert_eq!(ledger.of("lightning"), 60_000);
        assert_eq!(ledger.of("fee-income"), -60_000);
        assert_eq!(ledger.of("buyer"), 0);
    }

    #[test]
    fn channels_that_gained_what_no_invoice_brought_are_an_error() {
        let before = NodeTotals { in_channels: 5_000, received: 700, sent: 600, fees: 1 };
        let after = NodeTotals { in_channels: 5_098, received: 1_000, sent: 800, fees: 3 };

        assert_eq!(after.gained_since(&before).unwrap(), 98);
        assert!(NodeTotals { received: 1_001, ..after }.gained_since(&before).is_err());
        assert!(NodeTotals { fees: 4, ..after }.gained_since(&before).is_err());
    }

    #[test]
    fn a_ledger_without_a_number_is_an_error() {
        assert!(Ledger::parse("ledger.lightning = locked\n").is_err());
    }
}
