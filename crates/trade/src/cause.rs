//! Why a decision was made.

use std::fmt;

/// One row for each cause: its name, and its text in the journal and as a label of metrics. A text
/// never changes, for the journal keeps it; it names the rule that was applied, where one was.
macro_rules! causes {
    ($($(#[$doc:meta])* $cause:ident = $text:literal,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Cause { $($(#[$doc])* $cause,)* }

        impl Cause {
            pub const ALL: &[Self] = &[$(Self::$cause,)*];

            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$cause => $text,)* }
            }
        }
    };
}

causes! {
    /// The maker created the order.
    Created = "T1",
    /// A buyer took a sell order and is asked for an invoice.
    TakenWithoutInvoice = "T7",
    /// Somebody took the order; LND is asked for the hold invoice.
    TakePrepared = "T8 prepared",
    /// The buyer gave an invoice; LND is asked for the hold invoice.
    InvoicePrepared = "T9 prepared",
    /// LND has the hold invoice: the seller is asked to pay it.
    HoldOpened = "T8 T9",
    /// The seller has paid, and the buyer's invoice is there: the trade begins.
    EscrowPaid = "T10",
    /// The seller has paid; the buyer is asked for an invoice.
    EscrowPaidFirst = "T11",
    /// The buyer's invoice is there, and so is the escrow: the trade begins.
    InvoiceGiven = "T12",
    /// The taker canceled while the seller was to pay.
    TakerCanceledBeforePayment = "T13",
    /// The maker canceled while the seller was to pay.
    MakerCanceledBeforePayment = "T14",
    /// The seller did not pay in time.
    SellerTimeout = "T15 T16",
    /// The taker canceled while the buyer was to give an invoice.
    TakerCanceledBeforeInvoice = "T17",
    /// The maker canceled while the buyer was to give an invoice.
    MakerCanceledBeforeInvoice = "T18",
    /// The buyer gave no invoice in time.
    BuyerTimeout = "T19 T20",
    /// The maker canceled an order that nobody took.
    MakerCanceledUntaken = "T21",
    /// The order's time in the book is over.
    Expired = "T23",
    /// The buyer has sent the fiat.
    FiatSent = "T24",
    /// No fiat was sent before the escrow reached its margin.
    EscrowAtMargin = "T27",
    /// The seller released; LND is asked to settle.
    Released = "T29 decided",
    /// LND has settled the escrow; the buyer is owed.
    Settled = "T29 T34",
    /// LND has paid the buyer.
    BuyerPaid = "T32",
    /// LND canceled a hold invoice that nobody had paid.
    HoldCanceled = "C12 T15 T16",
    /// LND gave the escrow back before fiat was sent.
    EscrowLostBeforeFiat = "C13 T27",
    /// LND gave the escrow back after fiat was sent.
    EscrowLostAfterFiat = "C13",
    /// LND gave the escrow back although we decided to settle it.
    EscrowLostOnSettle = "E2 lost",
    /// The seller paid far more than was asked.
    EscrowOverpaid = "D10 overpaid",
    /// LND canceled a hold invoice before it was shown to anybody.
    HoldRefused = "D17 refused",
    /// LND did not answer in time whether it has the hold invoice.
    HoldUnanswered = "D17 undone",
    /// The escrow ends too soon for a trade.
    EscrowTooLate = "D21 too late",
    /// Whether the escrow ends too soon cannot be judged yet.
    TipUnknown = "D21 tip unknown",
    /// The escrow holds less than was asked.
    EscrowBelowAsked = "D33 below asked",
    /// LND has taken no send of the payout for too long.
    PayoutNotTaken = "D39 not taken",
    /// LND refused the send and does not know the payment: this try is over.
    PayoutRefused = "D39 refused",
    /// LND answered a send with an error.
    SendRefused = "D39 send refused",
    /// Messages may still have to be read first.
    MessagesUnread = "D40 waits",
    /// Times that a wrong clock wrote are brought back.
    ClockCorrected = "D41",
    /// LND does not know the payment: it is sent again.
    PayoutSentAgain = "P6 again",
    /// LND does not know a payment that it acknowledged.
    PayoutForgotten = "P6 forgotten",
    /// LND began a payment that had failed before.
    PayoutBegunAnew = "P7 begun anew",
    /// LND paid an invoice that had been given up.
    PaidThoughGivenUp = "P7 given up and paid",
    /// The invoice expired before LND took the payment.
    InvoiceExpired = "P8 expired",
    /// LND calls a payment in flight that no channel carries.
    PayoutDangling = "P12 dangling",
    /// LND says that the payment failed.
    PayoutFailed = "FL-F8 failed",
    /// The payout is due again.
    PayoutDue = "payout",
    /// News of the payment that moves nothing else.
    PayoutSeen = "payout seen",
    /// A send was begun and its answer lost.
    SendUnanswered = "send unanswered",
    /// The channels were searched for the payment's HTLC.
    HtlcSearched = "HTLC missing",
    /// The buyer gave another invoice for the payout.
    InvoiceUpdated = "invoice updated",
    /// The relays could not be heard: deadlines move.
    ExtendDeadlines = "heard again",
    /// No deadline has passed.
    NothingDue = "nothing due",
    /// LND's news is older than what is known.
    LateNews = "late news",
    /// News of the hold that moves nothing else.
    HoldSeen = "seen",
    /// News of a hold that is to be given back.
    Refund = "refund",
    /// LND settled a hold without our decision.
    SettledWithoutDecision = "settled by nobody",
    /// LND does not know a hold that it acknowledged.
    HoldForgotten = "forgotten",
    /// Fiat was sent, and the escrow runs out soon.
    EscrowHorizon = "escrow horizon",
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_cause_has_a_text_of_its_own() {
        let texts: BTreeSet<&str> = Cause::ALL.iter().map(|cause| cause.text()).collect();

        assert_eq!(texts.len(), Cause::ALL.len());
        assert!(!texts.contains(""));
    }
}
