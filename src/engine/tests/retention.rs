use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use trade::{Command, LightningIdentity, Network, NodeKey, Observation, Request, Timestamp};

use super::{EngineFixture, HEIGHT, PAID, answers, buyer, secret, seller};
use crate::clock::Clock as _;
use crate::engine::{Applied, Write};
use crate::facts::Facts;
use crate::lightning::{Lnd, LndAccess, NodeDescription, Readiness};
use crate::tasks::Tasks;
use crate::timers::Timers;

const MEMORY: Duration = Duration::from_hours(96);
const SECOND: Duration = Duration::from_secs(1);

// spec: I7 C25
#[tokio::test]
async fn a_message_whose_id_was_deleted_is_still_detected_as_a_repeat() {
    let fixture = EngineFixture::new().await;
    let id = fixture.create(1).await;
    let delivery = fixture.delivery(seller().trade);
    let release = Request { sender: seller(), request_id: None, command: Command::Release };
    let deliver = || fixture.engine.deliver(delivery, id, release.clone(), answers(None));
    assert!(matches!(deliver().await.unwrap(), Applied::Refused(_)));
    fixture.acts().await;
    fixture.clock.advance(MEMORY + SECOND);

    fixture.engine.write(Write::Forget { inbox_memory: MEMORY }).await.unwrap();

    assert!(!fixture.reader.is_remembered(delivery.event_id).await.unwrap());
    assert_eq!(deliver().await.unwrap(), Applied::Repeat);
    assert_eq!(fixture.acts().await, [], "and not answered again");
}

// spec: I7
#[tokio::test]
async fn a_trade_continues_after_its_first_message_ids_were_deleted() {
    let fixture = EngineFixture::new().await;
    let id = fixture.awaiting_hold(1).await;
    fixture.acts().await;
    fixture.clock.advance(MEMORY + SECOND);

    fixture.engine.write(Write::Forget { inbox_memory: MEMORY }).await.unwrap();

    let fixture = fixture.restarted().await;
    fixture.engine.write(Write::SetTip(HEIGHT)).await.unwrap();
    let paid = Observation::Hold { hash: secret(1).hash, status: PAID };
    assert_eq!(fixture.lnd_says(id, paid).await, Applied::Saved);
    assert_eq!(fixture.say(buyer(), id, Command::FiatSent).await, Applied::Saved);
}

#[tokio::test]
async fn expired_rows_are_deleted_while_the_daemon_runs() {
    let fixture = EngineFixture::new().await;
    let delivery = fixture.delivery(seller().trade);
    let release = Request { sender: seller(), request_id: None, command: Command::Release };
    let id = fixture.create(1).await;
    fixture.engine.deliver(delivery, id, release, answers(None)).await.unwrap();
    fixture.clock.advance(MEMORY + SECOND);
    let nowhere = LndAccess {
        host: "https://127.0.0.1:1".to_owned(),
        cert_file: "none".into(),
        macaroon_file: "none".into(),
    };
    let timers = Timers {
        reader: fixture.reader.clone(),
        engine: fixture.engine.clone(),
        facts: Facts::new(Arc::new(Lnd::new(nowhere).unwrap())),
        clock: fixture.clock.clone(),
        health: watch::channel(Some(ready_at(fixture.clock.now()))).1,
        inbox_memory: MEMORY,
    };

    let mut commits = fixture.engine.commits();
    let mut tasks = Tasks::new();
    tasks.spawn("timers", timers.run(tasks.shutdown()));

    while fixture.reader.is_remembered(delivery.event_id).await.unwrap() {
        commits.changed().await.unwrap();
    }
}

fn ready_at(now: Timestamp) -> Readiness {
    Readiness {
        active: true,
        synced: true,
        channels_active: Some(1),
        lacks: vec![],
        height: HEIGHT,
        best_header_at: now,
        identity: LightningIdentity { key: NodeKey([2; 33]), network: Network::Regtest },
        node: NodeDescription::default(),
    }
}
