//! Lists that run every time: failures of the past, and cases that must never fail.

use crate::ops::End::{NoRoute, Paid, Refused};
use crate::ops::Op::{
    self, Advance, Crash, DelayRequest, HangAfter, HangBefore, Hear, HearLate, LnAnswersLate,
    LnArrives, LoseReply, LoseRequest, Make, Mine, Offline, Pay, PeersLeave, PeersReturn,
    Reconcile, Resolve, Restart, Say, Underpay,
};
use crate::ops::Said::{AddInvoice, Cancel, FiatSent, Release, Take, TakeWithInvoice};
use crate::ops::Who::{Maker, Rival, Taker};
use crate::run;
use crate::simulation::Plant;

#[track_caller]
fn check(ops: &[Op], end: &str) {
    let ended = run(ops, 0, None).map(|ended| ended.as_what);
    assert_eq!(ended, Ok([(end.to_owned(), 1)].into()));
}

/// A sell order up to `fiat-sent`; the release is still to be sent.
const FIAT_SENT: [Op; 5] = [
    Make { trade: 0 },
    Say { trade: 0, who: Taker, what: TakeWithInvoice },
    Pay { trade: 0, over: 0 },
    Reconcile,
    Say { trade: 0, who: Taker, what: FiatSent },
];

const RELEASE: Op = Say { trade: 0, who: Maker, what: Release };

#[track_caller]
fn check_release(then: &[Op], end: &str) {
    check(&[&FIAT_SENT, then].concat(), end);
}

#[test]
fn an_order_that_nobody_takes_expires() {
    check(&[Make { trade: 0 }, Advance { secs: 620 }], "expired");
}

// spec: D41
#[test]
fn a_settle_postponed_by_a_fast_clock_is_done_once_the_clock_is_right() {
    let (ahead, right) = (Op::Clock { ahead: 7_200 }, Op::Clock { ahead: 0 });
    check_release(&[ahead, LoseRequest, RELEASE, right], "success");
}

// spec: D41
#[test]
fn a_message_postponed_by_a_clock_change_is_sent() {
    let take = Say { trade: 1, who: Taker, what: Release };
    let refused = [Make { trade: 1 }, Op::RelayRefuses { times: 3 }, Mine { blocks: 40 }, take];
    check(&[&refused[..], &[Op::Clock { ahead: 700_000 }]].concat(), "expired");
}

#[test]
fn a_settle_whose_answer_is_lost_is_retried() {
    check_release(&[LoseReply, RELEASE, Advance { secs: 20 }], "success");
}

// spec: INV-2
#[test]
fn a_daemon_that_dies_at_any_step_from_the_release_to_the_payout_pays_once() {
    for steps in 0..16 {
        let ends = Resolve { nth: 0, how: Paid };
        let then = [Crash { steps }, RELEASE, Advance { secs: 20 }, ends, Advance { secs: 140 }];
        check_release(&then, "success");
    }
}

// spec: INV-2
#[test]
fn a_payout_that_arrives_late_is_paid_once() {
    let settles = [RELEASE, Advance { secs: 2 }];
    let delayed = [HangBefore, DelayRequest];
    let late = [LnAnswersLate, Reconcile, Advance { secs: 20 }, LnArrives, Advance { secs: 140 }];
    check_release(&[&delayed[..], &settles, &late].concat(), "success");
}

/// A send is reported as failed while the next one waits for a channel.
const GIVEN_UP_WHILE_IT_WAITS: [Op; 10] = [
    HangBefore,
    DelayRequest,
    RELEASE,
    Advance { secs: 2 },
    LnAnswersLate,
    PeersLeave,
    Advance { secs: 140 },
    LnArrives,
    Resolve { nth: 0, how: Refused },
    HearLate,
];

// spec: P1 P7 INV-2
#[test]
fn a_delayed_send_is_not_made_when_its_attempt_was_given_up() {
    let names = Say { trade: 0, who: Taker, what: AddInvoice };
    let paid = Resolve { nth: 0, how: Paid };
    let both = [names, PeersReturn, Advance { secs: 20 }, paid, paid, Reconcile];
    let ops = [&FIAT_SENT[..], &GIVEN_UP_WHILE_IT_WAITS, &both].concat();
    let late = Some(Plant::ArrivesAfterTheQuiet);
    let ended = run(&ops, 0, late).map(|ended| ended.as_what);
    assert_eq!(ended, Ok([("success".to_owned(), 1)].into()));
}

#[test]
fn a_payout_that_failed_is_tried_again_and_another_invoice_is_asked_for() {
    let fails = Resolve { nth: 0, how: NoRoute };
    let names = Say { trade: 0, who: Taker, what: AddInvoice };
    let tries = [fails, Hear { news: 9 }, Advance { secs: 40 }, fails, Hear { news: 9 }, names];
    check_release(&[&[RELEASE][..], &tries].concat(), "success");
}

#[test]
fn a_take_whose_request_lnd_never_receives_is_undone() {
    let take = Say { trade: 0, who: Rival, what: TakeWithInvoice };
    let ops = [Make { trade: 0 }, LoseRequest, LoseRequest, LoseRequest, LoseRequest, take];
    check(&[&ops[..], &[Advance { secs: 600 }]].concat(), "expired");
}

// spec: D17 E1
#[test]
fn a_take_whose_hold_invoice_expired_unseen_is_undone() {
    let take = Say { trade: 0, who: Taker, what: TakeWithInvoice };
    let long_away = [HangAfter, take, Offline { secs: 400 }, Restart, Reconcile, Hear { news: 9 }];
    check(&[&[Make { trade: 0 }][..], &long_away].concat(), "expired");
}

#[test]
fn a_hold_invoice_created_after_the_take_was_undone_is_canceled() {
    let take = Say { trade: 0, who: Taker, what: Take };
    let invoice = Say { trade: 0, who: Taker, what: AddInvoice };
    let pay = Pay { trade: 0, over: 0 };
    let ops = [Make { trade: 0 }, take, DelayRequest, invoice, Advance { secs: 10 }, LnArrives];
    let cancels = [pay, Say { trade: 0, who: Maker, what: Cancel }];
    check(&[&ops[..], &cancels].concat(), "canceled");
}

// spec: D33
#[test]
fn an_escrow_that_lnd_accepts_for_less_than_was_asked_starts_no_trade() {
    for lacks in [1, 1_000, u64::MAX] {
        let take = Say { trade: 0, who: Taker, what: TakeWithInvoice };
        let paid = [Make { trade: 0 }, take, Underpay { trade: 0, lacks }, Hear { news: 9 }];
        let says = Say { trade: 0, who: Taker, what: FiatSent };
        check(&[&paid[..], &[Reconcile, says, RELEASE]].concat(), "canceled");
    }
}

#[test]
fn an_escrow_that_expires_after_fiat_was_sent_is_frozen() {
    check_release(&[Mine { blocks: 140 }, Reconcile, Advance { secs: 20 }], "frozen");
}

/// Why a payout waits for the quiet time before it is sent again. Found by seed 99.
#[test]
fn a_send_that_arrives_after_the_quiet_time_would_pay_what_failed() {
    let ops = [
        Make { trade: 3 },
        Say { trade: 3, who: Taker, what: TakeWithInvoice },
        Pay { trade: 3, over: 5 },
        Hear { news: 4 },
        HangAfter,
        Say { trade: 3, who: Maker, what: FiatSent },
        Say { trade: 3, who: Taker, what: Release },
        DelayRequest,
        Advance { secs: 140 },
        Resolve { nth: 0, how: NoRoute },
        Hear { news: 4 },
    ];

    let wrong = run(&ops, 99, Some(Plant::ArrivesAfterTheQuiet)).expect_err("it is noticed");
    assert!(wrong.contains("failed, and LND: Succeeded"), "{wrong}");
    assert_eq!(
        run(&ops, 99, None).map(|ended| ended.as_what),
        Ok([("success".to_owned(), 1)].into())
    );
}

// spec: D39 P6 FL-F8
#[test]
fn a_payout_that_lnd_refuses_goes_back_to_the_buyer_and_is_paid_later() {
    let refuses = [Op::LndRefuses, RELEASE];
    let waits = [Advance { secs: 140 }; 12];
    check_release(&[&refuses[..], &waits, &[Op::LndPaysAgain]].concat(), "success");
}

// spec: D40 E4
#[test]
fn a_fiat_sent_from_an_outage_is_decided_before_the_blocks_of_the_outage() {
    for comes_back in [&[][..], &[Restart]] {
        let away = [Op::RelaysLeave, FIAT_SENT[4], Mine { blocks: 124 }];
        let ops = [&FIAT_SENT[..4], &away, comes_back, &[Op::RelaysReturn, RELEASE]];
        check(&ops.concat(), "success");
    }
}

// spec: D41
#[test]
fn a_fiat_sent_that_a_slow_clock_sees_in_the_future_counts_once_the_clock_is_right() {
    for behind in [-4_000, -100_000, -700_000] {
        let slow = [Op::Clock { ahead: behind }, Restart, FIAT_SENT[4], Op::Clock { ahead: 0 }];
        check(&[&FIAT_SENT[..4], &slow, &[Op::RelaysReturn, RELEASE]].concat(), "success");
    }
}

// spec: D40 D41
#[test]
fn a_fiat_sent_by_a_slow_phone_counts_soon_after_the_take_whatever_the_daemons_clock_shows() {
    let slow_phone = Op::ClientClock { trade: 0, who: Taker, ahead: -250 };
    let fast_clock = [Op::Clock { ahead: 700_000 }, FIAT_SENT[4]];
    let longer_than_what_is_asked_for_twice = [Offline { secs: 400 }; 2];
    let then = [&fast_clock[..], &longer_than_what_is_asked_for_twice, &[RELEASE]].concat();
    check(&[&[FIAT_SENT[0], slow_phone], &FIAT_SENT[1..4], &then].concat(), "success");
}

// spec: D42
#[test]
fn a_flood_by_the_seller_leaves_room_for_the_buyers_fiat_sent() {
    let flood = Op::Flood { trade: 0, who: Maker, times: 60 };
    // Relays send the newest events first.
    let away = [Op::RelaysLeave, FIAT_SENT[4], flood, Op::RelaysReturn];
    check(&[&FIAT_SENT[..4], &away, &[RELEASE]].concat(), "success");
}

// spec: D42
#[test]
fn a_flooding_sender_displaces_only_its_own_messages() {
    let flood = Op::Flood { trade: 0, who: Maker, times: 60 };
    let away = [Op::RelaysLeave, RELEASE, flood, Op::RelaysReturn];
    check_release(&[&away[..], &[RELEASE]].concat(), "success");
}

// spec: D40 D41
#[test]
fn messages_missed_while_a_clock_was_fast_are_fetched_once_it_is_right() {
    let heard_ahead = [Op::Clock { ahead: 100_000 }, Advance { secs: 20 }];
    let away = [Op::RelaysLeave, FIAT_SENT[4]];
    let longer_than_what_is_asked_for_twice = [Advance { secs: 140 }; 7];
    let right = [Op::Clock { ahead: 0 }, Op::RelaysReturn, RELEASE];
    let then = [&heard_ahead[..], &away, &longer_than_what_is_asked_for_twice, &right].concat();
    check(&[&FIAT_SENT[..4], &then].concat(), "success");
}

// spec: D41 P6 INV-2
#[test]
fn a_clock_that_is_set_does_not_end_the_wait_for_a_send_that_is_on_its_way() {
    let fails = [RELEASE, Resolve { nth: 0, how: Refused }, Hear { news: 4 }];
    let delayed = [DelayRequest, Say { trade: 0, who: Taker, what: AddInvoice }];
    let set = [Op::Clock { ahead: 400 }, Reconcile, Hear { news: 4 }];
    let ends = [Resolve { nth: 0, how: NoRoute }];
    let ops = [&FIAT_SENT[..], &fails, &delayed, &set, &ends].concat();
    for seed in 0..8 {
        let ended = run(&ops, seed, None).map(|ended| ended.as_what);
        assert_eq!(ended, Ok([("success".to_owned(), 1)].into()), "seed {seed}");
    }
}
