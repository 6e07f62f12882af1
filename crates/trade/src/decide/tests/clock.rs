use std::time::Duration;

use crate::fixture::{Scene, Story, add_invoice, payment, unanswered};
use crate::{
    Input, Kind, Order, OrderState, PaymentStatus, PayoutPurpose, PayoutState, Preparing,
    PreparingFrom, Timestamp,
};

const DUTY: Duration = Duration::from_mins(15);
const MONTH: Duration = Duration::from_hours(30 * 24);

/// The clock was this much ahead while the story was told, and is right now.
fn set_back(story: &mut Story, ahead: Duration) -> Timestamp {
    story.scene.now.0 = story.scene.now.0.saturating_sub_unsigned(ahead.as_secs());
    story.scene.now
}

fn due(order: &Order) -> Option<Timestamp> {
    order.deadline(24).at
}

fn waiting() -> [Story; 3] {
    [
        Story::awaiting_hold(Kind::Sell),
        Story::sell_awaiting_invoice(),
        Story::buy_awaiting_invoice(),
    ]
}

// spec: D41
#[test]
fn a_wait_that_a_fast_clock_made_endless_gets_one_full_window() {
    for mut story in waiting() {
        let now = set_back(&mut story, MONTH);

        assert_eq!(story.does(Input::ClockCorrected).lines, [""; 0]);

        assert_eq!(due(&story.order), Some(now.after(DUTY)));
    }
}

// spec: D41 D17
#[test]
fn a_request_that_waits_for_lnd_is_undone_after_its_seconds_and_its_duty_has_a_full_window() {
    let mut story = Story::sell_awaiting_invoice();
    let buyer = story.buyer();
    story.says(buyer, add_invoice(1));
    let now = set_back(&mut story, MONTH);

    story.does(Input::ClockCorrected);

    assert_eq!(due(&story.order), Some(now.after(story.scene.policy.reply_window)));
    let OrderState::PreparingHold(Preparing { from, .. }) = story.order.state else {
        panic!("{:?}", story.order.state)
    };
    assert_eq!(from, PreparingFrom::AwaitingInvoice { until: now.after(DUTY) });
}

// spec: D41
#[test]
fn an_order_dated_ahead_is_in_the_book_for_as_long_as_its_maker_asked() {
    let mut story = Story::sell();
    let asked = story.order.terms.expires_at.since(story.order.terms.created_at);
    let now = set_back(&mut story, MONTH);

    story.does(Input::ClockCorrected);

    assert_eq!(story.order.terms.expires_at, now.after(asked));
}

// spec: D41
#[test]
fn a_payout_that_a_fast_clock_put_off_is_due_now() {
    let mut story = Story::paying(Kind::Sell);
    let Some(payout) = story.order.payout_mut(PayoutPurpose::Buyer) else { panic!("a payout") };
    payout.state = PayoutState::Due { at: story.scene.now.after(Duration::from_secs(1)) };
    payout.attempt = None;
    let now = set_back(&mut story, MONTH);

    story.does(Input::ClockCorrected);

    assert_eq!(due(&story.order), Some(now));
}

// spec: D41 P6
#[test]
fn a_quiet_time_that_a_fast_clock_began_begins_now() {
    let mut story = Story::paying(Kind::Sell);
    story.hears(unanswered(1));
    let now = set_back(&mut story, MONTH);

    story.does(Input::ClockCorrected);

    let payout = story.order.payout(PayoutPurpose::Buyer).expect("a payout");
    let attempt = payout.attempt.as_ref().expect("an attempt");
    assert_eq!((attempt.unanswered_since, attempt.begun_at), (Some(now), now));
    assert_eq!(payout.state, PayoutState::Sending);
}

// spec: D41
#[test]
fn nothing_moves_that_its_kind_can_have_asked_for() {
    let preparing = Story::sell().taken();
    let mut stories = vec![Story::sell(), Story::buy(), preparing, Story::paying(Kind::Buy)];
    stories.extend(waiting());
    for mut story in stories {
        let before = story.order.clone();
        assert_eq!(story.scene.now, Scene::new().now);

        story.does(Input::ClockCorrected);

        assert_eq!(story.order, before);
    }
}

// spec: D41 P6
#[test]
fn the_quiet_time_of_a_send_starts_again_when_the_clock_is_set() {
    let mut story = Story::paying(Kind::Sell);
    let unknown = || payment(1, PaymentStatus::Unknown);
    story.hears(unanswered(1));
    story.after(Duration::from_mins(10));
    story.scene.clock_set_at = Some(story.scene.now);

    assert_eq!(story.hears(unknown()).lines, [""; 0]);
    story.after(Duration::from_secs(59));
    assert_eq!(story.hears(unknown()).lines, [""; 0]);
    story.after(Duration::from_secs(1));
    assert_ne!(story.hears(unknown()).lines, [""; 0]);
}
