//! Whole flows of wire-protocol §8: who gets which action, in answer to what, with which index.

use std::time::Duration;

use crate::fixture::{
    ACCEPTED, MAKER, SUCCEEDED, Story, TAKER, add_invoice, bolt11, failed, heading, hold,
    new_order, opened, payment, secret,
};
use crate::{
    Command, Effect, FailureReason, HoldStatus, Kind, NewOrder, Observation, PublicStatus, Sender,
    Status,
};

/// A flow as it is read in the paper: one line per message, one per status that was reached.
struct Flow {
    story: Story,
    rows: Vec<String>,
}

impl Flow {
    fn of(story: Story) -> Self {
        let mut flow = Self { story, rows: Vec::new() };
        flow.write();
        flow
    }

    fn says(mut self, who: Sender, command: Command) -> Self {
        self.story.says(who, command);
        self.write();
        self
    }

    fn hears(mut self, observation: Observation) -> Self {
        self.story.hears(observation);
        self.write();
        self
    }

    fn wakes_after(mut self, wait: Duration) -> Self {
        self.story.after(wait).wakes();
        self.write();
        self
    }

    /// What LND answers when the next input asks about the hold.
    fn asked(mut self, status: HoldStatus) -> Self {
        self.story.asked(status);
        self
    }

    fn write(&mut self) {
        for effect in &self.story.last.effects {
            if let Effect::Notify { to, request_id, trade_index, notice } = effect {
                self.rows.push(heading(*to, notice, *trade_index, *request_id));
            }
        }
    }

    #[track_caller]
    fn reads(self, rows: &[&str], status: Status, public: PublicStatus) {
        assert_eq!(self.rows, rows);
        assert_eq!((self.story.order.status(), self.story.order.public_status()), (status, public));
    }
}

fn minutes(n: u64) -> Duration {
    Duration::from_mins(n)
}

// spec: FL-F1 FL-F2 K-25 T7 T9 T10
#[test]
fn a_sell_order_taken_without_an_invoice() {
    Flow::of(Story::sell())
        .says(TAKER, Command::TakeSell { destination: None, secret: secret(9) })
        .says(TAKER, add_invoice(1))
        .hears(opened(1))
        .hears(hold(1, ACCEPTED))
        .reads(
            &[
                "maker: new-order #4 (answers new-order)",
                "taker: add-invoice #9 (answers take)",
                "maker: waiting-buyer-invoice #4",
                "maker: pay-invoice",
                "maker: pay-invoice #4",
                "taker: waiting-seller-to-pay #9 (answers add-invoice)",
                "maker: buyer-took-order",
                "taker: hold-invoice-payment-accepted",
            ],
            Status::Active,
            PublicStatus::InProgress,
        );
}

// spec: FL-F3 K-25 K-52 T8 T10
#[test]
fn a_sell_order_taken_with_an_invoice() {
    let destination = Some(bolt11(1));
    Flow::of(Story::sell())
        .says(TAKER, Command::TakeSell { destination, secret: secret(1) })
        .hears(opened(1))
        .hears(hold(1, ACCEPTED))
        .reads(
            &[
                "maker: new-order #4 (answers new-order)",
                "maker: pay-invoice",
                "maker: pay-invoice #4",
                "taker: waiting-seller-to-pay #9 (answers take)",
                "maker: buyer-took-order",
                "taker: hold-invoice-payment-accepted",
            ],
            Status::Active,
            PublicStatus::InProgress,
        );
}

// spec: FL-F4 K-25 T8 T11 T12
#[test]
fn a_buy_order_whose_maker_gives_its_invoice_after_the_escrow() {
    Flow::of(Story::buy())
        .says(TAKER, Command::TakeBuy { secret: secret(1) })
        .hears(opened(1))
        .hears(hold(1, ACCEPTED))
        .asked(ACCEPTED)
        .says(MAKER, add_invoice(1))
        .reads(
            &[
                "maker: new-order #4 (answers new-order)",
                "taker: pay-invoice #9 (answers take)",
                "maker: waiting-seller-to-pay #4",
                "maker: add-invoice",
                "taker: waiting-buyer-invoice",
                "maker: add-invoice",
                "taker: buyer-took-order",
                "maker: hold-invoice-payment-accepted (answers add-invoice)",
            ],
            Status::Active,
            PublicStatus::InProgress,
        );
}

// spec: FL-F5 K-25 T8 T10
#[test]
fn a_buy_order_whose_maker_gave_its_invoice_at_creation() {
    let new = NewOrder { destination: Some(bolt11(1)), ..new_order(Kind::Buy) };
    Flow::of(Story::born(new))
        .says(TAKER, Command::TakeBuy { secret: secret(1) })
        .hears(opened(1))
        .hears(hold(1, ACCEPTED))
        .reads(
            &[
                "maker: new-order #4 (answers new-order)",
                "taker: pay-invoice #9 (answers take)",
                "maker: waiting-seller-to-pay #4",
                "taker: buyer-took-order",
                "maker: hold-invoice-payment-accepted",
            ],
            Status::Active,
            PublicStatus::InProgress,
        );
}

// spec: FL-F7 K-25 T24 T29 T34 T32
#[test]
fn fiat_sent_release_and_payout() {
    let mut story = Story::active(Kind::Sell);
    story.last.effects.clear();

    Flow::of(story)
        .says(TAKER, Command::FiatSent)
        .says(MAKER, Command::Release)
        .hears(hold(1, HoldStatus::Settled))
        .hears(payment(1, SUCCEEDED))
        .reads(
            &[
                "maker: fiat-sent-ok",
                "taker: fiat-sent-ok (answers fiat-sent)",
                "taker: released",
                "maker: hold-invoice-payment-settled (answers release)",
                "maker: rate",
                "taker: purchase-completed",
                "taker: rate",
            ],
            Status::Success,
            PublicStatus::Success,
        );
}

// spec: FL-F8 K-25 T32
#[test]
fn a_payout_that_fails_three_times_and_then_goes_elsewhere() {
    let mut story = Story::paying(Kind::Sell);
    story.last.effects.clear();
    let fails = |index| payment(1, failed(index, FailureReason::NoRoute));

    Flow::of(story)
        .hears(fails(1))
        .wakes_after(minutes(1))
        .hears(fails(2))
        .wakes_after(minutes(1))
        .hears(fails(3))
        .says(TAKER, add_invoice(2))
        .hears(payment(2, SUCCEEDED))
        .reads(
            &[
                "taker: payment-failed",
                "taker: add-invoice",
                "taker: invoice-updated (answers add-invoice)",
                "taker: purchase-completed",
                "taker: rate",
            ],
            Status::Success,
            PublicStatus::Success,
        );
}

// spec: FL-C4 K-25 T13
#[test]
fn a_taker_leaves_and_another_trade_begins() {
    let mut story = Story::awaiting_hold(Kind::Sell);
    story.last.effects.clear();
    let destination = Some(bolt11(2));

    Flow::of(story)
        .asked(HoldStatus::Open)
        .says(TAKER, Command::Cancel)
        .says(TAKER, Command::TakeSell { destination, secret: secret(2) })
        .hears(opened(2))
        .hears(hold(1, HoldStatus::Canceled))
        .hears(hold(2, ACCEPTED))
        .reads(
            &[
                "taker: canceled (answers cancel)",
                "maker: new-order",
                "maker: pay-invoice",
                "maker: pay-invoice #4",
                "taker: waiting-seller-to-pay #9 (answers take)",
                "maker: buyer-took-order",
                "taker: hold-invoice-payment-accepted",
            ],
            Status::Active,
            PublicStatus::InProgress,
        );
}

// spec: FL-T1 T19
#[test]
fn a_taker_that_stays_silent() {
    let mut story = Story::sell_awaiting_invoice();
    story.last.effects.clear();

    Flow::of(story).wakes_after(minutes(15)).reads(
        &["taker: canceled", "maker: new-order"],
        Status::Pending,
        PublicStatus::Pending,
    );
}

// spec: FL-T2 T20
#[test]
fn a_maker_that_stays_silent() {
    let mut story = Story::buy_awaiting_invoice();
    story.last.effects.clear();

    Flow::of(story).wakes_after(minutes(15)).reads(
        &["maker: canceled", "taker: canceled"],
        Status::Canceled,
        PublicStatus::Canceled,
    );
}
