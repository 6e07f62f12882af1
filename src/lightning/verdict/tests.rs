use trade::{
    BlockHeight, FailureReason, HoldSecret, Msats, PaymentHash, Preimage, Sats, Timestamp,
};

use super::*;

const ACCEPTED: HoldStatus =
    HoldStatus::Accepted { paid: Msats(100_300_000), expires_at: BlockHeight(900_147) };

const EVERY_STATUS: [HoldStatus; 5] =
    [HoldStatus::Unknown, HoldStatus::Open, ACCEPTED, HoldStatus::Settled, HoldStatus::Canceled];

/// The rows of the table for one decision, in the order of `EVERY_STATUS`.
#[track_caller]
fn check(hold: &Hold, expected: [HoldVerdict; 5]) {
    assert_eq!(EVERY_STATUS.map(|status| of_hold(hold, Some(status))), expected);
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

    assert_eq!(of_hold(&hold, Some(HoldStatus::Unknown)), HoldVerdict::Report(HoldStatus::Unknown));
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

// spec: E3
#[test]
fn without_an_answer_nothing_is_known_of_a_hold() {
    for decision in [None, Some(HoldDecision::Settle), Some(HoldDecision::Cancel)] {
        for acknowledged in [Acknowledged::No, Acknowledged::Yes] {
            assert_eq!(of_hold(&hold(decision, acknowledged), None), HoldVerdict::AskAgain);
        }
    }
}

// spec: P5
#[test]
fn without_an_answer_nothing_is_known_of_a_payment() {
    for attempt in [first_try(), second_try(), acked(7)] {
        assert_eq!(of_payment(&attempt, None), PaymentVerdict::AskAgain);
    }
}

// spec: P6
#[test]
fn a_try_that_lnd_does_not_know_is_sent() {
    for attempt in [first_try(), second_try()] {
        assert_eq!(of_payment(&attempt, Some(PaymentStatus::Unknown)), PaymentVerdict::Send);
    }
}

// spec: P6
#[test]
fn an_acknowledged_payment_that_lnd_has_forgotten_is_never_sent_again() {
    let forgotten = PaymentVerdict::Report(PaymentStatus::Unknown);
    assert_eq!(of_payment(&acked(7), Some(PaymentStatus::Unknown)), forgotten);
}

// spec: P4
#[test]
fn a_success_counts_whatever_try_it_was() {
    for attempt in [first_try(), second_try(), acked(7)] {
        for index in [1, 4, 7, 9] {
            let receipt = Preimage([7; 32]);
            let paid = PaymentStatus::Succeeded { index, receipt, fee: Msats(1_000) };
            assert_eq!(of_payment(&attempt, Some(paid)), PaymentVerdict::Report(paid));
        }
    }
}

// spec: P3
#[test]
fn news_of_the_try_before_is_no_reason_not_to_send() {
    for index in [1, 4] {
        for old in [PaymentStatus::InFlight { index }, failed(index)] {
            assert_eq!(of_payment(&second_try(), Some(old)), PaymentVerdict::Send);
        }
    }
}

// spec: P3 P5
#[test]
fn what_a_copy_of_this_send_did_is_reported_and_nothing_is_sent() {
    for attempt in [first_try(), second_try()] {
        for new in [PaymentStatus::InFlight { index: 5 }, failed(5)] {
            assert_eq!(of_payment(&attempt, Some(new)), PaymentVerdict::Report(new));
        }
    }
}

// spec: P3
#[test]
fn once_acknowledged_only_a_failure_of_that_very_registration_is_the_end() {
    assert_eq!(of_payment(&acked(7), Some(failed(7))), PaymentVerdict::Report(failed(7)));
    for other in [1, 4, 5, 6, 8] {
        let verdict = of_payment(&acked(7), Some(failed(other)));
        assert_eq!(verdict, PaymentVerdict::Report(PaymentStatus::Unknown), "{other}");
    }
}

// spec: P3
#[test]
fn an_acknowledged_payment_in_flight_is_in_flight() {
    let flying = PaymentStatus::InFlight { index: 7 };
    assert_eq!(of_payment(&acked(7), Some(flying)), PaymentVerdict::Report(flying));
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

fn failed(index: u64) -> PaymentStatus {
    PaymentStatus::Failed { index, reason: FailureReason::NoRoute }
}

fn first_try() -> Attempt {
    Attempt {
        hash: PaymentHash([3; 32]),
        bolt11: "lnbcrt1".to_owned(),
        amount: None,
        max_fee: Sats(10),
        cltv_limit: 432,
        expires_at: Timestamp(1_760_086_400),
        tries: 1,
        begun_at: Timestamp(1_760_000_000),
        acked: false,
        base_index: 0,
        payment_index: 0,
        unanswered_since: None,
        missing_since: None,
        receipt: None,
    }
}

fn second_try() -> Attempt {
    Attempt { tries: 2, base_index: 4, payment_index: 4, ..first_try() }
}

fn acked(payment_index: u64) -> Attempt {
    Attempt { acked: true, payment_index, ..second_try() }
}
