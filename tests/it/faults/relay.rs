//! A relay stops during a trade and is restarted without its events.

use anyhow::{Context as _, Result, ensure};
use devnet::{Book, Relay, Settings, Transport};
use mostro_core::message::Action;
use mostro_core::order::Kind;

use crate::fixture::{BUYER_GETS, Fixture, SELLER_PAYS};

// spec: INV-6 D5 T10
#[tokio::test]
async fn messages_due_during_a_relay_outage_are_sent_after_it() -> Result<()> {
    let mut fixture = Fixture::open(Transport::Nip44).await?;
    let (offer, hold) = fixture.sale_invoiced().await?;

    fixture.exchange.relay.die();
    fixture.seller.wallet.pay(&hold).await?;
    fixture.exchange.daemon.wait_for_log("no relay is connected").await?;
    fixture.restart_relay().await?;

    fixture.is_active().await?;
    fixture.book.until(offer.id, "in-progress").await?;
    fixture.released(&offer).await?;
    fixture.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: K-09 INV-6
#[tokio::test]
async fn a_relay_that_lost_its_events_gets_the_book_again() -> Result<()> {
    let mut fixture = Fixture::open(Transport::Nip44).await?;
    let sale = fixture.offered(Kind::Sell).await?;
    let purchase = fixture.offered(Kind::Buy).await?;
    let before = fixture.book.newest(sale.id).context("it was shown")?.clone();

    fixture.exchange.relay.die();
    fixture.restart_relay().await?;

    fixture.book.until(purchase.id, "pending").await?;
    let shown = fixture.book.until(sale.id, "pending").await?;
    ensure!(shown.id == before.id, "the same revision is another event: {shown:?}");
    ensure!(fixture.book.infos().next().is_some(), "the node does not publish its info event");
    fixture.exchange.end()
}

// spec: D15 K-09
#[tokio::test]
async fn a_relay_that_was_down_gets_the_orders_that_left_the_book() -> Result<()> {
    let mut fixture = Fixture::open(Transport::Nip44).await?;
    let mut other = fixture.second_relay().await?;
    let offer = fixture.offered(Kind::Sell).await?;
    Book::watch(other.url(), fixture.exchange.node()).await?.until(offer.id, "pending").await?;

    other.die();
    fixture.seller.trader.cancel(offer.id).await?;
    fixture.seller.trader.wait_for(Action::Canceled).await?;
    fixture.book.until(offer.id, "canceled").await?;
    other.come_back().await?;

    Book::watch(other.url(), fixture.exchange.node()).await?.until(offer.id, "canceled").await?;
    fixture.close(offer.id, 0, 0).await
}

// spec: INV-6
#[tokio::test]
async fn a_message_sent_while_one_relay_was_down_reaches_readers_of_that_relay() -> Result<()> {
    let mut fixture = Fixture::open(Transport::Nip44).await?;
    let mut other = fixture.second_relay().await?;
    let offer = fixture.offered(Kind::Sell).await?;
    Book::watch(other.url(), fixture.exchange.node()).await?.until(offer.id, "pending").await?;

    other.die();
    fixture.seller.trader.cancel(offer.id).await?;
    fixture.book.until(offer.id, "canceled").await?;
    other.come_back().await?;

    fixture.seller.trader.move_to(other.url()).await?;
    fixture.seller.trader.wait_for(Action::Canceled).await?;
    fixture.exchange.end()
}

impl Fixture {
    /// Restarts the daemon with one more relay.
    async fn second_relay(&mut self) -> Result<Relay> {
        let other = Relay::start().await?;
        self.exchange.daemon.sigterm().await?;
        let relays = [self.exchange.relay.url(), other.url()].map(toml::Value::from).to_vec();
        let home = self.exchange.daemon.dir();
        Settings::read(home)?.set("nostr", "relays", relays).write(home)?;
        self.exchange.daemon.start().await?;
        self.exchange.daemon.wait_ready().await?;
        Ok(other)
    }

    /// Restarts the relay; the traders and the book connect again.
    async fn restart_relay(&mut self) -> Result<()> {
        self.exchange.relay.come_back().await?;
        self.seller.trader.reconnect().await?;
        self.buyer.trader.reconnect().await?;
        self.book = self.exchange.book().await?;
        Ok(())
    }
}
