use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use trade::{Command, LightningIdentity, Network, NodeKey, Observation, Request, Timestamp};

use super::{HEIGHT, PAID, World, answers, buyer, secret, seller};
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
async fn a_message_whose_id_was_forgotten_is_a_repeat_all_the_same() {
    let world = World::new().await;
    let id = world.create(1).await;
    let delivery = world.delivery(seller().trade);
    let release = Request { sender: seller(), request_id: None, command: Command::Release };
    let deliver = || world.engine.deliver(delivery, id, release.clone(), answers(None));
    assert!(matches!(deliver().await.unwrap(), Applied::Refused(_)));
    world.acts().await;
    world.clock.advance(MEMORY + SECOND);

    world.engine.write(Write::Forget { inbox_memory: MEMORY }).await.unwrap();

    assert!(!world.reader.is_remembered(delivery.event_id).await.unwrap());
    assert_eq!(deliver().await.unwrap(), Applied::Repeat);
    assert_eq!(world.acts().await, [], "and not answered again");
}

// spec: I7
#[tokio::test]
async fn a_trade_goes_on_after_its_first_messages_were_forgotten() {
    let world = World::new().await;
    let id = world.awaiting_hold(1).await;
    world.acts().await;
    world.clock.advance(MEMORY + SECOND);

    world.engine.write(Write::Forget { inbox_memory: MEMORY }).await.unwrap();

    let world = world.restarted().await;
    world.engine.write(Write::SetTip(HEIGHT)).await.unwrap();
    let paid = Observation::Hold { hash: secret(1).hash, status: PAID };
    assert_eq!(world.lnd_says(id, paid).await, Applied::Saved);
    assert_eq!(world.say(buyer(), id, Command::FiatSent).await, Applied::Saved);
}

#[tokio::test]
async fn what_was_kept_long_enough_is_forgotten_while_the_daemon_runs() {
    let world = World::new().await;
    let delivery = world.delivery(seller().trade);
    let release = Request { sender: seller(), request_id: None, command: Command::Release };
    let id = world.create(1).await;
    world.engine.deliver(delivery, id, release, answers(None)).await.unwrap();
    world.clock.advance(MEMORY + SECOND);
    let nowhere = LndAccess {
        host: "https://127.0.0.1:1".to_owned(),
        cert_file: "none".into(),
        macaroon_file: "none".into(),
    };
    let timers = Timers {
        reader: world.reader.clone(),
        engine: world.engine.clone(),
        facts: Facts::new(Arc::new(Lnd::new(nowhere).unwrap())),
        clock: world.clock.clone(),
        health: watch::channel(Some(ready_at(world.clock.now()))).1,
        inbox_memory: MEMORY,
    };

    let mut commits = world.engine.commits();
    let mut tasks = Tasks::new();
    tasks.spawn("timers", timers.run(tasks.shutdown()));

    while world.reader.is_remembered(delivery.event_id).await.unwrap() {
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
