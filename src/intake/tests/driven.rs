//! Tests of the whole intake, driven step by step.

use std::time::Duration;

use trade::{FrozenBecause, HoldStatus, Input, Observation, OrderId, OrderState, Timestamp};

use super::fixture::{Fixture, Trader, buyer, seller};
use crate::clock::Clock as _;
use crate::engine::Write;
use crate::engine::tests::HEIGHT;
use crate::intake::opener::Opening;
use crate::nostr::{Event, Phase, Transport};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

// spec: D5 INV-9
#[tokio::test]
async fn intake_can_be_driven_step_by_step() {
    let mut fixture = Fixture::new().await;
    let order = fixture.active().await;

    fixture.send(&buyer(), order, "fiat-sent").await;
    assert!(fixture.is_fiat_sent(order).await);

    fixture.send(&seller(), order, "release").await;
    assert!(matches!(fixture.order(order).await.state, OrderState::Settling { .. }));
}

// spec: D40 T24 T27 C20
#[tokio::test]
async fn messages_sent_during_an_outage_are_decided_before_its_blocks() {
    let mut fixture = Fixture::new().await;
    let order = fixture.active().await;
    let mut fixture = fixture.restarted().await;
    fixture.set_blocks(200).await;
    fixture.apply_deadline(order).await;
    assert!(fixture.is_active(order).await, "nothing has been read yet");

    let fiat_sent = fixture.message(&buyer(), order, "fiat-sent", fixture.base.clock.now());
    fixture.set_phase(Phase::Paging).await;
    fixture.receive(fiat_sent).await;
    fixture.apply_deadline(order).await;
    fixture.connect_relay().await;
    fixture.apply_deadline(order).await;

    assert!(fixture.is_fiat_sent(order).await);
}

// spec: D40 T27
#[tokio::test]
async fn blocks_end_a_trade_without_fiat_once_the_backlog_is_decided() {
    let mut fixture = Fixture::new().await;
    let order = fixture.active().await;
    let mut fixture = fixture.restarted().await;
    fixture.set_blocks(200).await;
    fixture.connect_relay().await;

    fixture.apply_deadline(order).await;

    assert!(fixture.order(order).await.state.is_final());
}

// spec: D40 C13
#[tokio::test]
async fn a_fiat_sent_in_time_freezes_an_order_whose_escrow_lnd_canceled_meanwhile() {
    let mut fixture = Fixture::new().await;
    let order = fixture.active().await;
    let hash = fixture.order(order).await.state.hold().unwrap();
    let mut fixture = fixture.restarted().await;
    let canceled = Observation::Hold { hash, status: HoldStatus::Canceled };
    fixture.report(order, canceled.clone()).await;

    fixture.connect_relay().await;
    fixture.send(&buyer(), order, "fiat-sent").await;
    fixture.report(order, canceled).await;

    let because = FrozenBecause::EscrowLost;
    assert!(
        matches!(fixture.order(order).await.state, OrderState::Frozen { because: is, .. } if is == because)
    );
}

// spec: D40 T27
#[tokio::test]
async fn after_ten_minutes_without_a_relay_blocks_end_a_trade_three_later() {
    let mut fixture = Fixture::new().await;
    let order = fixture.active().await;
    let mut fixture = fixture.restarted().await;
    fixture.set_blocks(147 - 24 + 2).await;
    fixture.pass(10 * MINUTE).await;
    fixture.apply_deadline(order).await;
    assert!(fixture.is_active(order).await);

    fixture.set_blocks(147 - 24 + 3).await;
    fixture.apply_deadline(order).await;

    assert!(fixture.order(order).await.state.is_final());
}

// spec: D40
#[tokio::test]
async fn a_fiat_sent_is_accepted_at_any_age_since_the_take() {
    let mut fixture = Fixture::new().await;
    let order = fixture.active().await;
    let fiat_sent = fixture.message(&buyer(), order, "fiat-sent", fixture.base.clock.now());
    let mut fixture = fixture.restarted().await;
    fixture.base.clock.advance(HOUR * 24 * 9);
    fixture.connect_relay().await;

    fixture.receive(fiat_sent).await;

    assert!(fixture.is_fiat_sent(order).await);
}

// spec: D40 D42
#[tokio::test]
async fn the_cursor_starts_at_the_last_decided_message() {
    let mut fixture = Fixture::new().await;
    fixture.active().await;
    let connected_at = fixture.base.clock.now();
    fixture.pass(MINUTE).await;
    let last_heartbeat = fixture.base.clock.now();
    assert_eq!(*fixture.cursor.borrow(), last_heartbeat);
    fixture.set_phase(Phase::Closed).await;
    fixture.pass(MINUTE).await;

    let mut fixture = fixture.restarted().await;

    assert!(connected_at < last_heartbeat);
    assert_eq!(*fixture.cursor.borrow(), last_heartbeat);
    fixture.connect_relay().await;
}

// spec: D41 T24
#[tokio::test]
async fn a_slow_clock_at_the_start_loses_no_fiat_sent() {
    let mut fixture = Fixture::new().await;
    let order = fixture.active().await;
    let right = fixture.base.clock.now();
    let mut fixture = fixture.restarted().await;
    fixture.base.clock.set(Timestamp(right.0 - 3 * 86_400));
    fixture.connect_relay().await;

    let fiat_sent = fixture.message(&buyer(), order, "fiat-sent", right);
    fixture.receive(fiat_sent).await;
    assert!(fixture.is_active(order).await);
    fixture.base.clock.set(right);
    fixture.pass(MINUTE).await;

    assert!(fixture.is_fiat_sent(order).await);
}

// spec: D41
#[tokio::test]
async fn a_message_dated_ahead_leaves_no_row_about_its_author() {
    let mut fixture = Fixture::new().await;
    let (order, stranger) = (fixture.pending().await, Trader::new(99));
    let now = fixture.base.clock.now();
    for (ahead, is_remembered) in [(2, true), (48, false)] {
        let event = fixture.message_over(
            &stranger,
            order,
            "take-sell",
            now.after(HOUR * ahead),
            Transport::Nip44,
        );
        let id = crate::store::EventId(event.id.to_bytes());

        fixture.receive(event).await;

        assert_eq!(fixture.base.reader.is_remembered(id).await.unwrap(), is_remembered);
    }
    assert_eq!(fixture.base.reader.find_transport(stranger.key()).await.unwrap(), None);
}

// spec: D42 INV-9 T24
#[tokio::test]
async fn a_flood_from_the_seller_does_not_displace_the_buyers_fiat_sent() {
    let mut fixture = Fixture::new().await;
    let order = fixture.active().await;
    let now = fixture.base.clock.now();
    let mut fixture = fixture.restarted().await;
    for n in 0..200 {
        let flood = fixture.message(&seller(), order, "release", Timestamp(now.0 - 3_000 + n));
        fixture.events.send(flood).await.unwrap();
    }
    let fiat_sent = fixture.message(&buyer(), order, "fiat-sent", now);
    fixture.receive(fiat_sent).await;

    fixture.connect_relay().await;
    fixture.pass(MINUTE).await;

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
        let event = fixture.message(&seller(), order, "release", Timestamp(now.0 - 60 + retry));
        for _relay in 0..5 {
            fixture.events.send(event.clone()).await.unwrap();
        }
    }
    let fiat_sent = fixture.message(&buyer(), order, "fiat-sent", Timestamp(now.0 - 61));
    fixture.receive(fiat_sent).await;

    fixture.connect_relay().await;

    assert!(matches!(fixture.order(order).await.state, OrderState::Settling { .. }));
}

impl Fixture {
    async fn set_blocks(&self, blocks: u32) {
        self.base.engine.write(Write::SetTip(HEIGHT.above(blocks))).await.unwrap();
    }

    async fn apply_deadline(&self, order: trade::OrderId) {
        self.base.engine.apply(order, Input::Deadline).await.unwrap();
    }

    async fn is_active(&self, order: trade::OrderId) -> bool {
        matches!(self.order(order).await.state, OrderState::Active { .. })
    }

    async fn is_fiat_sent(&self, order: trade::OrderId) -> bool {
        matches!(self.order(order).await.state, OrderState::FiatSent { .. })
    }
}

// spec: D42
#[tokio::test]
async fn a_strangers_refused_request_is_dropped_while_answers_are_at_their_limit() {
    let mut fixture = Fixture::new().await;
    let (known, unknown) = (fixture.pending().await, OrderId([99; 16]));
    let at = fixture.base.clock.now();
    let stranger = Trader::new(40);
    let offer = |sats: u32| {
        let json = format!(
            r#"{{"order":{{"version":2,"trade_index":1,"action":"new-order","payload":{{"order":{{
                "kind":"sell","status":"pending","amount":{sats},"fiat_code":"EUR",
                "fiat_amount":10,"payment_method":"SEPA","premium":0}}}}}}}}"#
        );
        fixture.sealed(&stranger, &json, at, Transport::Nip44)
    };
    let refused = [fixture.message(&stranger, unknown, "take-sell", at), offer(1)];
    let others = [
        offer(10_000),
        fixture.message(&stranger, known, "take-sell", at),
        fixture.message(&seller(), unknown, "release", at),
    ];
    let is_handled = async |event: &Event| {
        let opening = fixture.intake.opener.clone().open(event.clone(), at).await;
        matches!(opening.expect("of use"), Opening::Handle(_))
    };
    for event in refused.iter().chain(&others) {
        assert!(is_handled(event).await, "there is room to answer");
    }

    fixture.fill_answers().await;

    for event in &refused {
        assert!(!is_handled(event).await);
    }
    for event in &others {
        assert!(is_handled(event).await);
    }
}
