use trade::{BlockHeight, HoldSecret, Msats, PaymentHash, Preimage, Sats};

use super::*;

const ACCEPTED: HoldStatus =
    HoldStatus::Accepted { paid: Msats(100_300_000), expires_at: BlockHeight(900_147) };

const EVERY_STATUS: [HoldStatus; 5] =
    [HoldStatus::Unknown, HoldStatus::Open, ACCEPTED, HoldStatus::Settled, HoldStatus::Canceled];

/// The rows of the table for one decision, in the order of `EVERY_STATUS`.
#[track_caller]
fn check(hold: &Hold, expected: [HoldVerdict; 5]) {
    assert_eq!(EVERY_STATUS.map(|status| of_hold(hold, status)), expected);
}

// spec: E1
#[test]
fn a_hold_that_lnd_never_acknowledged_and_does_not_know_is_added_again() {
    use HoldVerdict::{AddAgain, Report};

    check(
        &hold(None, Acknowledged::No),
        [
            AddAgain,
            Report(HoldStatus::Open),
            Report(ACCEPTED),
            Report(HoldStatus::Settled),
            Report(HoldStatus::Canceled),
        ],
    );
}

// spec: E3
#[test]
fn before_a_decision_every_word_about_an_acknowledged_hold_is_reported_as_it_is() {
    check(&hold(None, Acknowledged::Yes), EVERY_STATUS.map(HoldVerdict::Report));
}

#[test]
fn a_hold_seen_by_lnd_counts_as_acknowledged_though_its_invoice_was_lost() {
    let mut hold = hold(None, Acknowledged::No);
    hold.seen = Seen::Open;

    assert_eq!(of_hold(&hold, HoldStatus::Unknown), HoldVerdict::Report(HoldStatus::Unknown));
}

// spec: E2
#[test]
fn a_cancel_is_repeated_until_lnd_holds_nothing_any_more() {
    use HoldVerdict::{CallAgain, Report};

    for acknowledged in [Acknowledged::No, Acknowledged::Yes] {
        check(
            &hold(Some(HoldDecision::Cancel), acknowledged),
            [
                Report(HoldStatus::Canceled),
                CallAgain,
                CallAgain,
                Report(HoldStatus::Settled),
                Report(HoldStatus::Canceled),
            ],
        );
    }
}

// spec: E2
#[test]
fn a_settle_is_repeated_while_the_sats_are_held_and_lost_when_they_are_not() {
    use HoldVerdict::{CallAgain, Report};

    for acknowledged in [Acknowledged::No, Acknowledged::Yes] {
        check(
            &hold(Some(HoldDecision::Settle), acknowledged),
            [
                Report(HoldStatus::Unknown),
                Report(HoldStatus::Canceled),
                CallAgain,
                Report(HoldStatus::Settled),
                Report(HoldStatus::Canceled),
            ],
        );
    }
}

#[derive(Clone, Copy)]
enum Acknowledged {
    No,
    Yes,
}

fn hold(decision: Option<HoldDecision>, acknowledged: Acknowledged) -> Hold {
    let secret = HoldSecret { hash: PaymentHash([1; 32]), preimage: Preimage([2; 32]) };
    let mut hold = Hold::wanted(secret, Sats(100_300));
    hold.decision = decision;
    hold.bolt11 = match acknowledged {
        Acknowledged::No => None,
        Acknowledged::Yes => Some("lnbcrt1".to_owned()),
    };
    hold
}
