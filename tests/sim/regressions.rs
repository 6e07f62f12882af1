//! Lists to run every time, whatever the seeds draw: what once went wrong, and what must never.

use crate::ops::End::{NoRoute, Paid};
use crate::ops::Op::{
    self, Advance, Crash, DelayRequest, HangBefore, Hear, LnAnswersLate, LnArrives, LoseReply,
    LoseRequest, Make, Mine, Pay, Reconcile, Resolve, Say,
};
use crate::ops::Said::{AddInvoice, Cancel, FiatSent, Release, Take, TakeWithInvoice};
use crate::ops::Who::{Maker, Rival, Taker};
use crate::run;

#[track_caller]
fn check(ops: &[Op], end: &str) {
    let ended = run(ops, 0, None).map(|ended| ended.as_what);
    assert_eq!(ended, Ok([(end.to_owned(), 1)].into()));
}

/// A sell order up to the release, which is still to be said.
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

#[test]
fn a_daemon_that_dies_before_it_settles_settles_later() {
    check_release(&[Crash { steps: 1 }, RELEASE, Advance { secs: 20 }], "success");
}

#[test]
fn a_settle_whose_answer_is_lost_is_asked_for_again() {
    check_release(&[LoseReply, RELEASE, Advance { secs: 20 }], "success");
}

// spec: P1 P5
#[test]
fn a_daemon_that_dies_while_it_pays_pays_once() {
    let dies = Crash { steps: 4 };
    let ends = Resolve { nth: 0, how: Paid };
    check_release(&[dies, RELEASE, Advance { secs: 20 }, ends, Advance { secs: 140 }], "success");
}

// spec: P5 P6
#[test]
fn a_payout_that_arrives_late_is_not_sent_twice() {
    let settles = [RELEASE, Advance { secs: 2 }];
    let delayed = [HangBefore, DelayRequest];
    let late = [LnAnswersLate, Reconcile, Advance { secs: 20 }, LnArrives, Advance { secs: 140 }];
    check_release(&[&delayed[..], &settles, &late].concat(), "success");
}

// spec: D20
#[test]
fn a_payout_that_failed_is_tried_again_and_another_invoice_is_asked_for() {
    let fails = Resolve { nth: 0, how: NoRoute };
    let names = Say { trade: 0, who: Taker, what: AddInvoice };
    let tries = [fails, Hear { news: 9 }, Advance { secs: 40 }, fails, Hear { news: 9 }, names];
    check_release(&[&[RELEASE][..], &tries].concat(), "success");
}

#[test]
fn a_take_that_lnd_does_not_hear_of_goes_back_to_the_book() {
    let take = Say { trade: 0, who: Rival, what: TakeWithInvoice };
    let ops = [Make { trade: 0 }, LoseRequest, LoseRequest, LoseRequest, LoseRequest, take];
    check(&[&ops[..], &[Advance { secs: 600 }]].concat(), "expired");
}

#[test]
fn an_invoice_that_lnd_makes_after_the_take_was_undone_holds_nobody() {
    let take = Say { trade: 0, who: Taker, what: Take };
    let invoice = Say { trade: 0, who: Taker, what: AddInvoice };
    let pay = Pay { trade: 0, over: 0 };
    let ops = [Make { trade: 0 }, take, DelayRequest, invoice, Advance { secs: 10 }, LnArrives];
    let cancels = [pay, Say { trade: 0, who: Maker, what: Cancel }];
    check(&[&ops[..], &cancels].concat(), "canceled");
}

#[test]
fn an_escrow_that_runs_out_after_fiat_was_sent_is_for_a_person() {
    check_release(&[Mine { blocks: 140 }, Reconcile, Advance { secs: 20 }], "frozen");
}
