use trade::{HoldStatus, Observation};

use super::*;
use crate::engine::tests::{EngineFixture, secret};
use crate::recorded_log::Log;

// spec: D13
#[tokio::test]
async fn what_waits_for_a_person_is_logged_each_time_and_not_once() {
    let fixture = EngineFixture::new().await;
    let order = fixture.awaiting_hold(1).await;
    let hash = secret(1).hash;
    fixture.lnd_says(order, Observation::Hold { hash, status: HoldStatus::Unknown }).await;
    let (reader, clock) = (fixture.reader.clone(), fixture.clock.clone());
    let reminder = Reminder { reader, clock, escrow_margin: 24 };
    let log = Log::default();
    let _logging = log.begin();

    for times in 1..=2 {
        reminder.remind().await.unwrap();

        assert_eq!(log.count("ALARM: LND does not know a hold"), times, "{log:?}");
    }
}
