//! Facts of the whole of intake, driven step by step.

use std::time::Duration;

use trade::{FrozenBecause, HoldStatus, Input, Observation, OrderState, Timestamp};

use super::stage::{Stage, Trader, buyer, seller};
use crate::clock::Clock as _;
use crate::engine::Write;
use crate::engine::tests::HEIGHT;
use crate::nostr::{Phase, Transport};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

// spec: D5 INV-9
#[tokio::test]
async fn intake_can_be_driven_step_by_step() {
    let mut stage = Stage::new().await;
    let order = stage.active().await;

    stage.says(&buyer(), order, "fiat-sent").await;
    assert!(stage.is_fiat_sent(order).await);

    stage.says(&seller(), order, "release").await;
    assert!(matches!(stage.order(order).await.state, OrderState::Settling { .. }));
}

// spec: D40 T24 T27 C20
#[tokio::test]
async fn what_was_said_during_an_outage_comes_before_its_blocks() {
    let mut stage = Stage::new().await;
    let order = stage.active().await;
    let mut stage = stage.restarted().await;
    stage.mines(200).await;
    stage.wakes(order).await;
    assert!(stage.is_active(order).await, "nothing has been read yet");

    let said = stage.written(&buyer(), order, "fiat-sent", stage.world.clock.now());
    stage.stands(Phase::Paging).await;
    stage.arrives(said).await;
    stage.wakes(order).await;
    stage.is_heard().await;
    stage.wakes(order).await;

    assert!(stage.is_fiat_sent(order).await);
}

// spec: D40 T27
#[tokio::test]
async fn once_all_is_read_and_decided_blocks_end_a_trade_without_fiat() {
    let mut stage = Stage::new().await;
    let order = stage.active().await;
    let mut stage = stage.restarted().await;
    stage.mines(200).await;
    stage.is_heard().await;

    stage.wakes(order).await;

    assert!(stage.order(order).await.state.is_final());
}

// spec: D40 C13
#[tokio::test]
async fn an_escrow_that_lnd_gave_back_meanwhile_freezes_what_was_paid_in_time() {
    let mut stage = Stage::new().await;
    let order = stage.active().await;
    let hash = stage.order(order).await.state.hold().unwrap();
    let mut stage = stage.restarted().await;
    let canceled = Observation::Hold { hash, status: HoldStatus::Canceled };
    stage.lnd_says(order, canceled.clone()).await;

    stage.is_heard().await;
    stage.says(&buyer(), order, "fiat-sent").await;
    stage.lnd_says(order, canceled).await;

    let because = FrozenBecause::EscrowLost;
    assert!(
        matches!(stage.order(order).await.state, OrderState::Frozen { because: is, .. } if is == because)
    );
}

// spec: D40 T27
#[tokio::test]
async fn without_a_relay_for_ten_minutes_the_blocks_count_three_later() {
    let mut stage = Stage::new().await;
    let order = stage.active().await;
    let mut stage = stage.restarted().await;
    stage.mines(147 - 24 + 2).await;
    stage.lives(10 * MINUTE).await;
    stage.wakes(order).await;
    assert!(stage.is_active(order).await);

    stage.mines(147 - 24 + 3).await;
    stage.wakes(order).await;

    assert!(stage.order(order).await.state.is_final());
}

// spec: D40
#[tokio::test]
async fn a_fiat_sent_is_honoured_at_any_age_since_the_take() {
    let mut stage = Stage::new().await;
    let order = stage.active().await;
    let said = stage.written(&buyer(), order, "fiat-sent", stage.world.clock.now());
    let mut stage = stage.restarted().await;
    stage.world.clock.advance(HOUR * 24 * 9);
    stage.is_heard().await;

    stage.arrives(said).await;

    assert!(stage.is_fiat_sent(order).await);
}

// spec: D40 D42
#[tokio::test]
async fn relays_are_asked_from_the_last_message_that_was_decided() {
    let mut stage = Stage::new().await;
    stage.active().await;
    let heard = stage.world.clock.now();
    stage.lives(MINUTE).await;
    let lived = stage.world.clock.now();
    assert_eq!(*stage.cursor.borrow(), lived);
    stage.stands(Phase::Closed).await;
    stage.lives(MINUTE).await;

    let mut stage = stage.restarted().await;

    assert!(heard < lived);
    assert_eq!(*stage.cursor.borrow(), lived);
    stage.is_heard().await;
}

// spec: D41 T24
#[tokio::test]
async fn a_slow_clock_at_the_start_eats_no_fiat_sent() {
    let mut stage = Stage::new().await;
    let order = stage.active().await;
    let right = stage.world.clock.now();
    let mut stage = stage.restarted().await;
    stage.world.clock.set(Timestamp(right.0 - 3 * 86_400));
    stage.is_heard().await;

    let said = stage.written(&buyer(), order, "fiat-sent", right);
    stage.arrives(said).await;
    assert!(stage.is_active(order).await);
    stage.world.clock.set(right);
    stage.lives(MINUTE).await;

    assert!(stage.is_fiat_sent(order).await);
}

// spec: D41
#[tokio::test]
async fn a_date_that_lies_ahead_leaves_no_row_of_its_author() {
    let mut stage = Stage::new().await;
    let (order, somebody) = (stage.pending().await, Trader::new(99));
    let now = stage.world.clock.now();
    for (ahead, is_remembered) in [(2, true), (48, false)] {
        let event =
            stage.sent_by(&somebody, order, "take-sell", now.after(HOUR * ahead), Transport::Nip44);
        let id = crate::store::EventId(event.id.to_bytes());

        stage.arrives(event).await;

        assert_eq!(stage.world.reader.is_remembered(id).await.unwrap(), is_remembered);
    }
    assert_eq!(stage.world.reader.find_transport(somebody.key()).await.unwrap(), None);
}

// spec: D42 INV-9 T24
#[tokio::test]
async fn a_flood_of_the_sellers_does_not_push_out_the_buyers_fiat_sent() {
    let mut stage = Stage::new().await;
    let order = stage.active().await;
    let now = stage.world.clock.now();
    let mut stage = stage.restarted().await;
    for n in 0..200 {
        let flood = stage.written(&seller(), order, "release", Timestamp(now.0 - 3_000 + n));
        stage.events.send(flood).await.unwrap();
    }
    let said = stage.written(&buyer(), order, "fiat-sent", now);
    stage.arrives(said).await;

    stage.is_heard().await;
    stage.lives(MINUTE).await;

    assert!(stage.is_fiat_sent(order).await);
    assert_eq!(*stage.cursor.borrow(), stage.world.clock.now(), "and the cursor has passed them");
}

// spec: D42 C25
#[tokio::test]
async fn honest_retries_over_five_relays_leave_room_for_the_other_party() {
    let mut stage = Stage::unreachable().await;
    let order = stage.active().await;
    let now = stage.world.clock.now();
    for retry in 0..7 {
        let event = stage.written(&seller(), order, "release", Timestamp(now.0 - 60 + retry));
        for _relay in 0..5 {
            stage.events.send(event.clone()).await.unwrap();
        }
    }
    let said = stage.written(&buyer(), order, "fiat-sent", Timestamp(now.0 - 61));
    stage.arrives(said).await;

    stage.is_heard().await;

    assert!(matches!(stage.order(order).await.state, OrderState::Settling { .. }));
}

impl Stage {
    async fn mines(&self, blocks: u32) {
        self.world.engine.write(Write::SetTip(HEIGHT.above(blocks))).await.unwrap();
    }

    async fn wakes(&self, order: trade::OrderId) {
        self.world.engine.apply(order, Input::Deadline).await.unwrap();
    }

    async fn is_active(&self, order: trade::OrderId) -> bool {
        matches!(self.order(order).await.state, OrderState::Active { .. })
    }

    async fn is_fiat_sent(&self, order: trade::OrderId) -> bool {
        matches!(self.order(order).await.state, OrderState::FiatSent { .. })
    }
}
