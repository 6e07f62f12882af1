//! A relay goes away in the middle of a trade, and comes back without a memory.

use anyhow::{Context as _, Result, ensure};
use devnet::{Book, Relay, Settings, Transport};
use mostro_core::message::Action;
use mostro_core::order::Kind;

use crate::harness::{BUYER_GETS, SELLER_PAYS, World};

// spec: INV-6 D5 T10
#[tokio::test]
async fn what_happened_while_the_relay_was_away_is_told_when_it_is_back() -> Result<()> {
    let mut w = World::open(Transport::Nip44).await?;
    let (offer, hold) = w.sale_invoiced().await?;

    w.net.relay.die();
    w.seller.wallet.pay(&hold).await?;
    w.net.daemon.says("no relay is connected").await?;
    w.relay_comes_back().await?;

    w.is_active().await?;
    w.book.until(offer.id, "in-progress").await?;
    w.released(&offer).await?;
    w.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

// spec: K-09 INV-6
#[tokio::test]
async fn a_relay_that_lost_its_memory_shows_the_book_again() -> Result<()> {
    let mut w = World::open(Transport::Nip44).await?;
    let sale = w.offered(Kind::Sell).await?;
    let purchase = w.offered(Kind::Buy).await?;
    let before = w.book.newest(sale.id).context("it was shown")?.clone();

    w.net.relay.die();
    w.relay_comes_back().await?;

    w.book.until(purchase.id, "pending").await?;
    let shown = w.book.until(sale.id, "pending").await?;
    ensure!(shown.id == before.id, "the same revision is another event: {shown:?}");
    ensure!(w.book.infos().next().is_some(), "the node does not say what it is");
    w.net.end()
}

// spec: D15 K-09
#[tokio::test]
async fn a_relay_that_was_away_learns_what_has_left_the_book() -> Result<()> {
    let mut w = World::open(Transport::Nip44).await?;
    let mut other = w.second_relay().await?;
    let offer = w.offered(Kind::Sell).await?;
    Book::watch(other.url(), w.net.node()).await?.until(offer.id, "pending").await?;

    other.die();
    w.seller.trader.cancel(offer.id).await?;
    w.seller.trader.wait_for(Action::Canceled).await?;
    w.book.until(offer.id, "canceled").await?;
    other.come_back().await?;

    Book::watch(other.url(), w.net.node()).await?.until(offer.id, "canceled").await?;
    w.close(offer.id, 0, 0).await
}

// spec: INV-6
#[tokio::test]
async fn a_message_sent_while_a_relay_was_away_reaches_those_who_read_only_there() -> Result<()> {
    let mut w = World::open(Transport::Nip44).await?;
    let mut other = w.second_relay().await?;
    let offer = w.offered(Kind::Sell).await?;
    Book::watch(other.url(), w.net.node()).await?.until(offer.id, "pending").await?;

    other.die();
    w.seller.trader.cancel(offer.id).await?;
    w.book.until(offer.id, "canceled").await?;
    other.come_back().await?;

    w.seller.trader.move_to(other.url()).await?;
    w.seller.trader.wait_for(Action::Canceled).await?;
    w.net.end()
}

impl World {
    /// The daemon starts anew with one more relay.
    async fn second_relay(&mut self) -> Result<Relay> {
        let other = Relay::start().await?;
        self.net.daemon.sigterm().await?;
        let relays = [self.net.relay.url(), other.url()].map(toml::Value::from).to_vec();
        let home = self.net.daemon.dir();
        Settings::read(home)?.set("nostr", "relays", relays).write(home)?;
        self.net.daemon.start().await?;
        self.net.daemon.wait_ready().await?;
        Ok(other)
    }

    /// Traders open their clients again; whoever reads the book begins anew.
    async fn relay_comes_back(&mut self) -> Result<()> {
        self.net.relay.come_back().await?;
        self.seller.trader.reconnect().await?;
        self.buyer.trader.reconnect().await?;
        self.book = self.net.book().await?;
        Ok(())
    }
}
