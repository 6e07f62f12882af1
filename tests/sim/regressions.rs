//! Fixed lists of operations, each for a case that the random lists reach rarely.

use crate::ops::ClientAction::{AddInvoice, Cancel, FiatSent, Release, Take, TakeWithInvoice};
use crate::ops::End::{NoRoute, Paid, Refused};
use crate::ops::Op::{
    self, Advance, Crash, CreateOrder, DelayRequest, DeliverAllPayments, DeliverDelayedRequest,
    DeliverUpdates, HangAfter, HangBefore, LoseReply, LoseRequest, Mine, Offline, Pay,
    PeersDisconnect, PeersReconnect, Reconcile, Resolve, Restart, ResumeHangingCall, Send,
    Underpay,
};
use crate::ops::Who::{Maker, Rival, Taker};
use crate::run;
use crate::simulation::Plant;

#[track_caller]
fn check(ops: &[Op], end: &str) {
    let ended = run(ops, 0, None).map(|ended| ended.orders_by_end);
    assert_eq!(ended, Ok([(end.to_owned(), 1)].into()));
}

/// A sell order up to `fiat-sent`; the release is still to be sent.
const FIAT_SENT: [Op; 5] = [
    CreateOrder { trade: 0 },
    Send { trade: 0, who: Taker, action: TakeWithInvoice },
    Pay { trade: 0, over: 0 },
    Reconcile,
    Send { trade: 0, who: Taker, action: FiatSent },
];

const RELEASE: Op = Send { trade: 0, who: Maker, action: Release };

#[track_caller]
fn check_release(then: &[Op], end: &str) {
    check(&[&FIAT_SENT, then].concat(), end);
}

#[test]
fn an_order_that_nobody_takes_expires() {
    check(&[CreateOrder { trade: 0 }, Advance { secs: 620 }], "expired");
}

// spec: D41
#[test]
fn a_settle_postponed_by_a_fast_clock_is_done_once_the_clock_is_right() {
    let (ahead, right) = (Op::SetDaemonClock { ahead: 7_200 }, Op::SetDaemonClock { ahead: 0 });
    check_release(&[ahead, LoseRequest, RELEASE, right], "success");
}

// spec: D41
#[test]
fn a_message_postponed_by_a_clock_change_is_sent() {
    let release = Send { trade: 1, who: Taker, action: Release };
    let refused =
        [CreateOrder { trade: 1 }, Op::RelaysRefuse { times: 3 }, Mine { blocks: 40 }, release];
    check(&[&refused[..], &[Op::SetDaemonClock { ahead: 700_000 }]].concat(), "expired");
}

#[test]
fn a_settle_whose_answer_is_lost_is_retried() {
    check_release(&[LoseReply, RELEASE, Advance { secs: 20 }], "success");
}

// spec: INV-2
#[test]
fn a_daemon_that_crashes_at_any_step_from_the_release_to_the_payout_pays_once() {
    for steps in 0..16 {
        let paid = Resolve { nth: 0, how: Paid };
        let then = [Crash { steps }, RELEASE, Advance { secs: 20 }, paid, Advance { secs: 140 }];
        check_release(&then, "success");
    }
}

// spec: INV-2
#[test]
fn a_payout_that_arrives_late_is_paid_once() {
    let release = [RELEASE, Advance { secs: 2 }];
    let delayed = [HangBefore, DelayRequest];
    let late = [
        ResumeHangingCall,
        Reconcile,
        Advance { secs: 20 },
        DeliverDelayedRequest,
        Advance { secs: 140 },
    ];
    check_release(&[&delayed[..], &release, &late].concat(), "success");
}

/// A payment is reported as failed while its next send waits for a channel.
const FAILED_BEFORE_ITS_NEXT_SEND: [Op; 10] = [
    HangBefore,
    DelayRequest,
    RELEASE,
    Advance { secs: 2 },
    ResumeHangingCall,
    PeersDisconnect,
    Advance { secs: 140 },
    DeliverDelayedRequest,
    Resolve { nth: 0, how: Refused },
    DeliverAllPayments,
];

// spec: P1 P7 INV-2
#[test]
fn a_delayed_send_is_not_made_once_its_attempt_has_failed() {
    let new_invoice = Send { trade: 0, who: Taker, action: AddInvoice };
    let paid = Resolve { nth: 0, how: Paid };
    let both = [new_invoice, PeersReconnect, Advance { secs: 20 }, paid, paid, Reconcile];
    let ops = [&FIAT_SENT[..], &FAILED_BEFORE_ITS_NEXT_SEND, &both].concat();
    let late = Some(Plant::ArrivesAfterQuietTime);
    let ended = run(&ops, 0, late).map(|ended| ended.orders_by_end);
    assert_eq!(ended, Ok([("success".to_owned(), 1)].into()));
}

#[test]
fn a_failed_payout_is_retried_and_then_another_invoice_is_requested() {
    let fails = Resolve { nth: 0, how: NoRoute };
    let new_invoice = Send { trade: 0, who: Taker, action: AddInvoice };
    let tries = [
        fails,
        DeliverUpdates { max: 9 },
        Advance { secs: 40 },
        fails,
        DeliverUpdates { max: 9 },
        new_invoice,
    ];
    check_release(&[&[RELEASE][..], &tries].concat(), "success");
}

#[test]
fn a_take_whose_request_lnd_never_receives_is_undone() {
    let take = Send { trade: 0, who: Rival, action: TakeWithInvoice };
    let ops = [CreateOrder { trade: 0 }, LoseRequest, LoseRequest, LoseRequest, LoseRequest, take];
    check(&[&ops[..], &[Advance { secs: 600 }]].concat(), "expired");
}

// spec: D17 E1
#[test]
fn a_take_is_undone_when_its_hold_invoice_expired_during_downtime() {
    let take = Send { trade: 0, who: Taker, action: TakeWithInvoice };
    let downtime =
        [HangAfter, take, Offline { secs: 400 }, Restart, Reconcile, DeliverUpdates { max: 9 }];
    check(&[&[CreateOrder { trade: 0 }][..], &downtime].concat(), "expired");
}

#[test]
fn a_hold_invoice_created_after_the_take_was_undone_is_canceled() {
    let take = Send { trade: 0, who: Taker, action: Take };
    let invoice = Send { trade: 0, who: Taker, action: AddInvoice };
    let pay = Pay { trade: 0, over: 0 };
    let ops = [
        CreateOrder { trade: 0 },
        take,
        DelayRequest,
        invoice,
        Advance { secs: 10 },
        DeliverDelayedRequest,
    ];
    let pay_and_cancel = [pay, Send { trade: 0, who: Maker, action: Cancel }];
    check(&[&ops[..], &pay_and_cancel].concat(), "canceled");
}

// spec: D33
#[test]
fn an_escrow_below_the_requested_amount_starts_no_trade() {
    for missing in [1, 1_000, u64::MAX] {
        let take = Send { trade: 0, who: Taker, action: TakeWithInvoice };
        let paid = [
            CreateOrder { trade: 0 },
            take,
            Underpay { trade: 0, missing },
            DeliverUpdates { max: 9 },
        ];
        let fiat_sent = Send { trade: 0, who: Taker, action: FiatSent };
        check(&[&paid[..], &[Reconcile, fiat_sent, RELEASE]].concat(), "canceled");
    }
}

#[test]
fn an_escrow_that_expires_after_fiat_was_sent_is_frozen() {
    check_release(&[Mine { blocks: 140 }, Reconcile, Advance { secs: 20 }], "frozen");
}

/// Shows why a payout waits for the quiet time before it is sent again.
#[test]
fn a_send_that_arrives_after_the_quiet_time_would_pay_a_failed_attempt() {
    let ops = [
        CreateOrder { trade: 3 },
        Send { trade: 3, who: Taker, action: TakeWithInvoice },
        Pay { trade: 3, over: 5 },
        DeliverUpdates { max: 4 },
        HangAfter,
        Send { trade: 3, who: Maker, action: FiatSent },
        Send { trade: 3, who: Taker, action: Release },
        DelayRequest,
        Advance { secs: 140 },
        Resolve { nth: 0, how: NoRoute },
        DeliverUpdates { max: 4 },
    ];

    let wrong = run(&ops, 99, Some(Plant::ArrivesAfterQuietTime)).expect_err("it is detected");
    assert!(wrong.contains("failed, and LND: Succeeded"), "{wrong}");
    assert_eq!(
        run(&ops, 99, None).map(|ended| ended.orders_by_end),
        Ok([("success".to_owned(), 1)].into())
    );
}

// spec: D39 P6 FL-F8
#[test]
fn a_payout_that_lnd_refuses_needs_a_new_invoice_and_is_paid_later() {
    let refused = [Op::LndRefusesPayments, RELEASE];
    let waits = [Advance { secs: 140 }; 12];
    check_release(&[&refused[..], &waits, &[Op::LndAcceptsPayments]].concat(), "success");
}

// spec: D40 E4
#[test]
fn a_fiat_sent_from_an_outage_is_decided_before_the_blocks_of_the_outage() {
    for restart in [&[][..], &[Restart]] {
        let outage = [Op::RelaysUnreachable, FIAT_SENT[4], Mine { blocks: 124 }];
        let ops = [&FIAT_SENT[..4], &outage, restart, &[Op::RelaysReachable, RELEASE]];
        check(&ops.concat(), "success");
    }
}

// spec: D41
#[test]
fn a_fiat_sent_ahead_of_a_slow_daemon_clock_counts_once_the_clock_is_right() {
    for behind in [-4_000, -100_000, -700_000] {
        let slow = [
            Op::SetDaemonClock { ahead: behind },
            Restart,
            FIAT_SENT[4],
            Op::SetDaemonClock { ahead: 0 },
        ];
        check(&[&FIAT_SENT[..4], &slow, &[Op::RelaysReachable, RELEASE]].concat(), "success");
    }
}

// spec: D40 D41
#[test]
fn a_fiat_sent_by_a_slow_phone_soon_after_the_take_counts_at_any_daemon_clock() {
    let slow_phone = Op::SetClientClock { trade: 0, who: Taker, ahead: -250 };
    let fast_clock = [Op::SetDaemonClock { ahead: 700_000 }, FIAT_SENT[4]];
    // After these, the message is older than the overlap of two subscriptions.
    let outages = [Offline { secs: 400 }; 2];
    let then = [&fast_clock[..], &outages, &[RELEASE]].concat();
    check(&[&[FIAT_SENT[0], slow_phone], &FIAT_SENT[1..4], &then].concat(), "success");
}

// spec: D42
#[test]
fn a_flood_by_the_seller_does_not_displace_the_buyers_fiat_sent() {
    let flood = Op::Flood { trade: 0, who: Maker, times: 60 };
    // Relays send the newest events first.
    let outage = [Op::RelaysUnreachable, FIAT_SENT[4], flood, Op::RelaysReachable];
    check(&[&FIAT_SENT[..4], &outage, &[RELEASE]].concat(), "success");
}

// spec: D42
#[test]
fn a_flooding_sender_displaces_only_its_own_messages() {
    let flood = Op::Flood { trade: 0, who: Maker, times: 60 };
    let outage = [Op::RelaysUnreachable, RELEASE, flood, Op::RelaysReachable];
    check_release(&[&outage[..], &[RELEASE]].concat(), "success");
}

// spec: D40 D41
#[test]
fn messages_missed_while_a_clock_was_fast_are_fetched_once_it_is_right() {
    let fast_clock = [Op::SetDaemonClock { ahead: 100_000 }, Advance { secs: 20 }];
    let outage = [Op::RelaysUnreachable, FIAT_SENT[4]];
    // Longer than the overlap of two subscriptions.
    let long_wait = [Advance { secs: 140 }; 7];
    let right = [Op::SetDaemonClock { ahead: 0 }, Op::RelaysReachable, RELEASE];
    let then = [&fast_clock[..], &outage, &long_wait, &right].concat();
    check(&[&FIAT_SENT[..4], &then].concat(), "success");
}

// spec: D41 P6 INV-2
#[test]
fn setting_the_clock_does_not_shorten_the_quiet_time_of_a_delayed_send() {
    let failed = [RELEASE, Resolve { nth: 0, how: Refused }, DeliverUpdates { max: 4 }];
    let delayed = [DelayRequest, Send { trade: 0, who: Taker, action: AddInvoice }];
    let set = [Op::SetDaemonClock { ahead: 400 }, Reconcile, DeliverUpdates { max: 4 }];
    let second_end = [Resolve { nth: 0, how: NoRoute }];
    let ops = [&FIAT_SENT[..], &failed, &delayed, &set, &second_end].concat();
    for seed in 0..8 {
        let ended = run(&ops, seed, None).map(|ended| ended.orders_by_end);
        assert_eq!(ended, Ok([("success".to_owned(), 1)].into()), "seed {seed}");
    }
}
