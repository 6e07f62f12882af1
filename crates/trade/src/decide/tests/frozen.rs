use std::time::Duration;

use crate::fixture::{SUCCEEDED, Story, TAKER, add_invoice, check, failed, hold, payment};
use crate::{
    FailureReason, FrozenBecause, FrozenState, HoldStatus, Kind, OrderState, PaymentStatus,
    PayoutPurpose, PayoutState, Status, invariants,
};

/// Orders that LND's word about their escrow froze, with the state before it.
fn frozen_by_holds() -> Vec<(Story, OrderState)> {
    let stories = [
        (Story::awaiting_hold(Kind::Sell), HoldStatus::Unknown),
        (Story::buy_awaiting_invoice(), HoldStatus::Settled),
        (Story::active(Kind::Sell), HoldStatus::Unknown),
        (Story::fiat_sent(Kind::Buy), HoldStatus::Canceled),
        (Story::settling(Kind::Sell), HoldStatus::Canceled),
    ];
    let freeze = |(mut story, status): (Story, HoldStatus)| {
        let state = story.order.state.clone();
        story.hears(hold(1, status));
        (story, state)
    };
    stories.map(freeze).into()
}

/// LND has forgotten the second payment; the first one failed.
fn forgotten() -> Story {
    let mut story = Story::paying(Kind::Sell);
    story.hears(payment(1, failed(1, FailureReason::IncorrectPaymentDetails)));
    story.says(TAKER, add_invoice(2));
    story.hears(payment(2, PaymentStatus::InFlight { index: 2 }));
    story.hears(payment(2, PaymentStatus::Unknown));
    story.after(Duration::from_mins(1)).hears(payment(2, PaymentStatus::Unknown));
    story
}

// spec: D13
#[test]
fn a_frozen_order_keeps_the_whole_state_that_it_stood_in() {
    for (story, before) in frozen_by_holds() {
        assert!(matches!(story.order.state, OrderState::Frozen { .. }), "{before:?}");
        assert_eq!(story.order.state.before_freeze(), Some(&before));
        assert_eq!(story.order.status(), before.status());
        assert_eq!(story.order.state.hold(), before.hold());
    }
    assert_eq!(forgotten().order.state.before_freeze(), Some(&OrderState::PayingBuyer));
}

// spec: D13
#[test]
fn a_frozen_order_can_be_put_back_into_the_state_that_it_stood_in() {
    for (mut story, before) in frozen_by_holds() {
        story.order.state = before;
        assert_eq!(invariants::check(&story.order), Ok(()), "{:?}", story.order.state);
    }
    let mut story = forgotten();
    story.order.state = story.order.state.before_freeze().expect("all of it").clone();
    story.order.payout_mut(PayoutPurpose::Buyer).expect("a payout").state = PayoutState::Sending;

    let told = story.hears(payment(2, SUCCEEDED));

    assert_eq!(told.place, "Ended(Success)");
}

// spec: D13
#[test]
fn an_order_that_freezes_again_keeps_the_state_that_it_stood_in_first() {
    let mut story = forgotten();

    let told = story.hears(payment(1, SUCCEEDED));

    check(&told, "Frozen(PaidThoughGivenUp)", &["alarm: PaidThoughGivenUp"]);
    assert_eq!(story.order.state.before_freeze(), Some(&OrderState::PayingBuyer));
}

// spec: D13
#[test]
fn an_order_that_an_older_version_froze_shows_its_status_and_cannot_be_put_back() {
    let was = FrozenState::StatusOnly(Status::FiatSent);
    let state = OrderState::Frozen { was, because: FrozenBecause::EscrowLost };

    assert_eq!(state.status(), Status::FiatSent);
    assert_eq!(state.before_freeze(), None);
    assert_eq!(state.hold(), None);
}
