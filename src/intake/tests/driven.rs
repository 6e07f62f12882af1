//! Facts of the whole of intake, driven step by step.

use std::time::Duration;

use trade::{FrozenBecause, HoldStatus, Input, Observation, OrderState, Timestamp};

use super::fixture::{Fixture, Trader, buyer, seller};
use crate::clock::Clock as _;
use crate::engine::Write;
use crate::engine::tests::HEIGHT;
use crate::nostr::{Phase, Transport};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

// spec: D5 INV-9
#[tokio::test]
async fn intake_can_be_driven_step_by_step() {
    let mut fixture = Fixture::new().await;
    let order = fixture.active().await;

    fixture.says(&buyer(), order, "fiat-sent").await;
    assert!(fixture.is_fiat_sent(order).await);

    fixture.says(&seller(), order, "release").await;
    assert!(matches!(fixture.order(order).await.state, OrderState::Settling { .. }));
}

// spec: D40 T24 T27 C20
#[tokio::test]
async fn what_was_said_during_an_outage_comes_before_its_blocks() {
    let mut fixture = Fixture::new().await;
    let order = fixture.active().await;
    let mut fixture = fixture.restarted().await;
    fixture.mines(200).await;
    fixture.wakes(order).await;
    assert!(fixture.is_active(order).await, "nothing has been read yet");

    let said = fixture.written(&buyer(), order, "fiat-sent", fixture.base.clock.now());
    fixture.stands(Phase::Paging).await;
    fixture.arrives(said).await;
    fixture.wakes(order).await;
    fixture.is_heard().await;
    fixture.wakes(order).await;

    assert!(fixture.is_fiat_sent(order).await);
}

// spec: D40 T27
#[tokio::test]
async fn once_all_is_read_and_decided_blocks_end_a_trade_without_fiat() {
    let mut fixture = Fixture::new().await;
    let order = fixture.active().await;
    let mut fixture = fixture.restarted().await;
    fixture.mines(200).await;
    fixture.is_heard().await;

    fixture.wakes(order).await;

    assert!(fixture.order(order).await.state.is_final());
}

// spec: D40 C13
#[tokio::test]
async fn an_escrow_that_lnd_gave_back_meanwhile_freezes_what_was_paid_in_time() {
    let mut fixture = Fixture::new().await;
    let order = fixture.active().await;
    let hash = fixture.order(order).await.state.hold().unwrap();
    let mut fixture = fixture.restarted().await;
    let canceled = Observation::Hold { hash, status: HoldStatus::Canceled };
    fixture.lnd_says(order, canceled.clone()).await;

    fixture.is_heard().await;
    fixture.says(&buyer(), order, "fiat-sent").await;
    fixture.lnd_says(order, canceled).await;

    let because = FrozenBecause::EscrowLost;
    assert!(
        matches!(fixture.order(order).await.state, OrderState::Frozen { because: is, .. } if is == because)
    );
}

// spec: D40 T27
#[tokio::test]
async fn without_a_relay_for_ten_minutes_the_blocks_count_three_later() {
    let mut fixture = Fixture::new().await;
    let order = fixture.active().await;
    let mut fixture = fixture.restarted().await;
    fixture.mines(147 - 24 + 2).await;
    fixture.lives(10 * MINUTE).await;
    fixture.wakes(order).await;
    assert!(fixture.is_active(order).await);

    fixture.mines(147 - 24 + 3).await;
    fixture.wakes(order).await;

    assert!(fixture.order(order).await.state.is_final());
}

// spec: D40
#[tokio::test]
async fn a_fiat_sent_is_honoured_at_any_age_since_the_take() {
    let mut fixture = Fixture::new().await;
    let order = fixture.active().await;
    let said = fixture.written(&buyer(), order, "fiat-sent", fixture.base.clock.now());
    let mut fixture = fixture.restarted().await;
    fixture.base.clock.advance(HOUR * 24 * 9);
    fixture.is_heard().await;

    fixture.arrives(said).await;

    assert!(fixture.is_fiat_sent(order).await);
}

// spec: D40 D42
#[tokio::test]
async fn relays_are_asked_from_the_last_message_that_was_decided() {
    let mut fixture = Fixture::new().await;
    fixture.active().await;
    let heard = fixture.base.clock.now();
    fixture.lives(MINUTE).await;
    let lived = fixture.base.clock.now();
    assert_eq!(*fixture.cursor.borrow(), lived);
    fixture.stands(Phase::Closed).await;
    fixture.lives(MINUTE).await;

    let mut fixture = fixture.restarted().await;

    assert!(heard < lived);
    assert_eq!(*fixture.cursor.borrow(), lived);
    fixture.is_heard().await;
}

// spec: D41 T24
#[tokio::test]
async fn a_slow_clock_at_the_start_eats_no_fiat_sent() {
    let mut fixture = Fixture::new().await;
    let order = fixture.active().await;
    let right = fixture.base.clock.now();
    let mut fixture = fixture.restarted().await;
    fixture.base.clock.set(Timestamp(right.0 - 3 * 86_400));
    fixture.is_heard().await;

    let said = fixture.written(&buyer(), order, "fiat-sent", right);
    fixture.arrives(said).await;
    assert!(fixture.is_active(order).await);
    fixture.base.clock.set(right);
    fixture.lives(MINUTE).await;

    assert!(fixture.is_fiat_sent(order).await);
}

// spec: D41
#[tokio::test]
async fn a_date_that_lies_ahead_leaves_no_row_of_its_author() {
    let mut fixture = Fixture::new().await;
    let (order, somebody) = (fixture.pending().await, Trader::new(99));
    let now = fixture.base.clock.now();
    for (ahead, is_remembered) in [(2, true), (48, false)] {
        let event = fixture.sent_by(
            &somebody,
            order,
            "take-sell",
            now.after(HOUR * ahead),
            Transport::Nip44,
        );
        let id = crate::store::EventId(event.id.to_bytes());

        fixture.arrives(event).await;

        assert_eq!(fixture.base.reader.is_remembered(id).await.unwrap(), is_remembered);
    }
    assert_eq!(fixture.base.reader.find_transport(somebody.key()).await.unwrap(), None);
}

// spec: D42 INV-9 T24
#[tokio::test]
async fn a_flood_of_the_sellers_does_not_push_out_the_buyers_fiat_sent() {
    let mut fixture = Fixture::new().await;
    let order = fixture.active().await;
    let now = fixture.base.clock.now();
    let mut fixture = fixture.restarted().await;
    for n in 0..200 {
        let flood = fixture.written(&seller(), order, "release", Timestamp(now.0 - 3_000 + n));
        fixture.events.send(flood).await.unwrap();
    }
    let said = fixture.written(&buyer(), order, "fiat-sent", now);
    fixture.arrives(said).await;

    fixture.is_heard().await;
    fixture.lives(MINUTE).await;

    assert!(fixture.is_fiat_sent(order).await);
    assert_eq!(
        *fixture.cursor.borrow(),
        fixture.base.clock.now(),
        "and the cursor has passed them"
    );
}

// spec: D42 C25
#[tokio::test]
async fn honest_retries_over_five_relays_leave_room_for_the_other_party() {
    let mut fixture = Fixture::unreachable().await;
    let order = fixture.active().await;
    let now = fixture.base.clock.now();
    for retry in 0..7 {
        let event = fixture.written(&seller(), order, "release", Timestamp(now.0 - 60 + retry));
        for _relay in 0..5 {
            fixture.events.send(event.clone()).await.unwrap();
        }
    }
    let said = fixture.written(&buyer(), order, "fiat-sent", Timestamp(now.0 - 61));
    fixture.arrives(said).await;

    fixture.is_heard().await;

    assert!(matches!(fixture.order(order).await.state, OrderState::Settling { .. }));
}

impl Fixture {
    async fn mines(&self, blocks: u32) {
        self.base.engine.write(Write::SetTip(HEIGHT.above(blocks))).await.unwrap();
    }

    async fn wakes(&self, order: trade::OrderId) {
        self.base.engine.apply(order, Input::Deadline).await.unwrap();
    }

    async fn is_active(&self, order: trade::OrderId) -> bool {
        matches!(self.order(order).await.state, OrderState::Active { .. })
    }

    async fn is_fiat_sent(&self, order: trade::OrderId) -> bool {
        matches!(self.order(order).await.state, OrderState::FiatSent { .. })
    }
}
