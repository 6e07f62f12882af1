use std::time::Duration;

use trade::OrderState;

use super::{EngineFixture, START, invoice, policy};
use crate::engine::{Applied, Write};

const AHEAD: Duration = Duration::from_hours(10);

// spec: D41
#[tokio::test]
async fn a_deadline_set_by_a_fast_clock_gets_one_full_window_once_the_clock_is_right() {
    let fixture = EngineFixture::new().await;
    fixture.clock.set(START.after(AHEAD));
    let id = fixture.awaiting_hold(1).await;
    fixture.clock.set(START);

    assert_eq!(fixture.engine.clock_corrected().await.unwrap(), Applied::Saved);

    let order = fixture.order(id).await;
    let OrderState::AwaitingHold { until, .. } = order.state else { panic!("{:?}", order.state) };
    assert_eq!(until, START.after(policy().duty_window));
}

// spec: D41
#[tokio::test]
async fn an_order_with_correct_times_is_not_changed() {
    let fixture = EngineFixture::new().await;
    let (waits, in_book) = (fixture.awaiting_hold(1).await, fixture.create(2).await);
    let before = [fixture.order(waits).await, fixture.order(in_book).await];

    fixture.engine.clock_corrected().await.unwrap();

    assert_eq!([fixture.order(waits).await, fixture.order(in_book).await], before);
    assert!(before[0].destination.as_ref().is_some_and(|to| *to == invoice(101)));
}

// spec: D41
#[tokio::test]
async fn work_scheduled_by_a_fast_clock_is_done_immediately_once_the_clock_is_right() {
    let fixture = EngineFixture::new().await;
    fixture.clock.set(START.after(AHEAD));
    fixture.awaiting_hold(1).await;
    fixture.clock.set(START);
    assert_eq!(fixture.acts().await, [], "all of it lies ahead");

    fixture.engine.write(Write::RetryWhatLiesAhead).await.unwrap();

    assert!(!fixture.acts().await.is_empty());
}
