//! The daemon's process and its public events, both faked: by shell scripts and by a client.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;

use anyhow::Result;
use devnet::book::{INFO, ORDER, tag};
use devnet::{Book, Daemon, Relay};
use nostr_sdk::{Client, EventBuilder, Keys, Kind, Tag, TagKind, Timestamp};
use tempfile::TempDir;
use uuid::Uuid;

#[tokio::test]
async fn a_daemon_that_ends_is_not_ready_and_its_log_says_why() -> Result<()> {
    let fixture = Fixture::set("echo the settings are wrong >&2; exit 2").await?;
    let mut daemon = fixture.spawn().await?;

    let error = format!("{:#}", daemon.wait_ready().await.unwrap_err());

    assert!(error.contains("exit status: 2"), "{error}");
    assert!(error.contains("the settings are wrong"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_daemon_is_ready_when_it_describes_itself() -> Result<()> {
    let fixture = Fixture::set("exec sleep 1000").await?;
    fixture.publish(INFO, &fixture.node.public_key().to_hex(), &[], 1).await?;
    let mut daemon = fixture.spawn().await?;

    let fresh = fixture.publish(INFO, &fixture.node.public_key().to_hex(), &[], 2).await?;
    let ready = daemon.wait_ready().await?;

    assert_eq!(ready.created_at, fresh);
    Ok(())
}

#[tokio::test]
async fn a_daemon_stops_when_it_is_asked_to_and_starts_again() -> Result<()> {
    let fixture = Fixture::set("echo started; exec sleep 1000").await?;
    let mut daemon = fixture.spawn().await?;

    let status = daemon.sigterm().await?;
    let was_running = daemon.is_running();
    daemon.start().await?;

    assert_eq!(status.signal(), Some(15));
    assert!(!was_running);
    assert!(daemon.is_running());
    Ok(())
}

#[tokio::test]
async fn a_killed_daemon_does_not_run() -> Result<()> {
    let fixture = Fixture::set("trap '' TERM; exec sleep 1000").await?;
    let mut daemon = fixture.spawn().await?;

    daemon.kill().await?;

    assert!(!daemon.is_running());
    Ok(())
}

#[tokio::test]
async fn the_book_keeps_every_revision_and_knows_the_newest() -> Result<()> {
    let fixture = Fixture::set("").await?;
    let (order, id) = (Uuid::new_v4(), |order: Uuid| order.to_string());
    let mut book = Book::watch(fixture.relay.url(), fixture.node.public_key()).await?;

    fixture.publish(ORDER, &id(order), &[("s", "pending")], 1).await?;
    fixture.publish(ORDER, &id(order), &[("s", "in-progress")], 2).await?;
    fixture.publish(ORDER, &id(Uuid::new_v4()), &[("s", "pending")], 3).await?;
    book.until(order, "in-progress").await?;

    let shown: Vec<_> = book.revisions(order).map(|event| tag(event, "s").concat()).collect();
    assert_eq!(shown, ["pending", "in-progress"]);
    Ok(())
}

/// A relay, a node's key, and a script instead of the daemon.
struct Fixture {
    relay: Relay,
    node: Keys,
    client: Client,
    script: PathBuf,
    dir: TempDir,
}

impl Fixture {
    async fn set(script: &str) -> Result<Self> {
        let relay = Relay::start().await?;
        let client = Client::default();
        client.add_relay(relay.url()).await?;
        client.connect().await;
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("mostrod");
        fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Self { relay, node: Keys::generate(), client, script: path, dir })
    }

    async fn spawn(&self) -> Result<Daemon> {
        let node = self.node.public_key();
        Daemon::spawn(&self.script, self.dir.path(), self.relay.url(), node).await
    }

    /// Publishes an addressable event with a time this many seconds after a fixed date.
    async fn publish(
        &self,
        kind: Kind,
        id: &str,
        tags: &[(&str, &str)],
        at: u64,
    ) -> Result<Timestamp> {
        let tags = tags.iter().map(|(name, value)| Tag::custom(TagKind::custom(*name), [*value]));
        let created_at = Timestamp::from_secs(978_307_200 + at);
        let event = EventBuilder::new(kind, "")
            .tag(Tag::identifier(id))
            .tags(tags)
            .custom_created_at(created_at)
            .sign_with_keys(&self.node)?;
        self.client.send_event(&event).await?;
        Ok(created_at)
    }
}
