//! Traders with a minimal fake node: their messages can be opened, received messages are kept in
//! order, and messages that no node may send are refused.

use std::time::Duration;

use anyhow::{Context as _, Result};
use devnet::{Relay, Trader, Transport};
use mostro_core::error::CantDoReason;
use mostro_core::message::{Action, Message, MessageKind, Payload};
use mostro_core::nip59::{UnwrappedMessage, WrapOptions, wrap_message};
use mostro_core::order::{Kind as Side, SmallOrder};
use mostro_core::transport::{unwrap_incoming, wrap_message_nip44};
use nostr_sdk::{Client, Filter, Keys, Kind, RelayPoolNotification, Timestamp};
use tokio::sync::broadcast::Receiver;
use uuid::Uuid;

#[tokio::test]
async fn a_request_opens_at_the_node_with_trade_key_and_identity() -> Result<()> {
    for transport in [Transport::GiftWrap, Transport::Nip44] {
        let relay = Relay::start().await?;
        let mut node = Node::open(&relay).await?;
        let mut trader = node.trader(&relay, transport).await?;

        let sent = trader.new_order(order()).await?;
        let got = node.next().await?;

        let kind = got.message.get_inner_message_kind();
        assert_eq!(got.sender, sent.from);
        assert_eq!(got.identity, trader.identity());
        assert_eq!(kind.request_id, Some(sent.request_id));
        assert_eq!(kind.trade_index, Some(1));
        assert!(matches!(&kind.payload, Some(Payload::Order(sent)) if sent.amount == 10_000));
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_arrives_on_the_transport_it_was_sent_on() -> Result<()> {
    for transport in [Transport::GiftWrap, Transport::Nip44] {
        let relay = Relay::start().await?;
        let mut node = Node::open(&relay).await?;
        let mut trader = node.trader(&relay, transport).await?;

        let sent = trader.new_order(order()).await?;
        let request = node.next().await?;
        node.refuse(transport, &request).await?;
        let answer = trader.expect(Action::CantDo).await?;

        assert_eq!(answer.transport, transport);
        assert_eq!(answer.to, sent.from);
        assert_eq!(answer.kind().request_id, Some(sent.request_id));
    }
    Ok(())
}

#[tokio::test]
async fn each_order_has_a_trade_key_of_its_own() -> Result<()> {
    let relay = Relay::start().await?;
    let mut node = Node::open(&relay).await?;
    let mut trader = node.trader(&relay, Transport::Nip44).await?;
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());

    let took_first = trader.take_sell(first, None).await?;
    let took_second = trader.take_buy(second).await?;
    let later = trader.fiat_sent(first).await?;

    assert_ne!(took_first.from, took_second.from);
    assert_eq!(took_second.trade_index, Some(2));
    assert_eq!(later.from, took_first.from);
    assert_eq!(later.trade_index, None);
    assert_eq!(node.next().await?.sender, took_first.from);
    Ok(())
}

#[tokio::test]
async fn a_message_that_does_not_come_is_an_error_that_lists_what_came() -> Result<()> {
    let relay = Relay::start().await?;
    let mut node = Node::open(&relay).await?;
    let mut trader = node.trader(&relay, Transport::Nip44).await?;
    trader.set_patience(Duration::from_millis(200));

    trader.new_order(order()).await?;
    let request = node.next().await?;
    node.refuse(Transport::Nip44, &request).await?;
    let error = trader.expect(Action::NewOrder).await.unwrap_err().to_string();

    assert!(error.contains("anna waited for new-order"), "{error}");
    assert!(error.contains(r#""cant_do":"not_found""#), "{error}");
    Ok(())
}

#[tokio::test]
async fn the_absence_of_messages_is_proved_by_a_refused_marker_request() -> Result<()> {
    let relay = Relay::start().await?;
    let mut node = Node::open(&relay).await?;
    let mut trader = node.trader(&relay, Transport::Nip44).await?;
    let order = Uuid::new_v4();
    trader.take_sell(order, None).await?;
    node.next().await?;

    tokio::try_join!(trader.receives_nothing_more(order), async {
        let request = node.next().await?;
        node.refuse(Transport::Nip44, &request).await
    })?;
    Ok(())
}

#[tokio::test]
async fn a_message_whose_inner_signature_is_not_the_nodes_is_rejected() -> Result<()> {
    let relay = Relay::start().await?;
    let mut node = Node::open(&relay).await?;
    let mut trader = node.trader(&relay, Transport::Nip44).await?;
    trader.new_order(order()).await?;
    let request = node.next().await?;

    node.answer(Transport::Nip44, &request, WrapOptions { signed: true, ..expiring() }).await?;
    let error = trader.expect(Action::CantDo).await.unwrap_err();

    assert!(format!("{error:#}").contains("inner signature"), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn the_relay_accepts_more_than_a_public_one() -> Result<()> {
    let relay = Relay::start().await?;
    let node = Node::open(&relay).await?;
    let mut trader = node.trader(&relay, Transport::Nip44).await?;
    let order = Uuid::new_v4();

    for _ in 0..150 {
        trader.cancel(order).await?;
    }
    Ok(())
}

fn order() -> SmallOrder {
    SmallOrder {
        kind: Some(Side::Sell),
        amount: 10_000,
        fiat_code: "EUR".to_owned(),
        fiat_amount: 10,
        payment_method: "face to face".to_owned(),
        ..SmallOrder::default()
    }
}

fn expiring() -> WrapOptions {
    let expiration = Some(Timestamp::now() + Duration::from_mins(1));
    WrapOptions { expiration, signed: false, ..WrapOptions::default() }
}

/// A fake node that refuses everything, built on `mostro-core`.
struct Node {
    keys: Keys,
    client: Client,
    events: Receiver<RelayPoolNotification>,
}

impl Node {
    async fn open(relay: &Relay) -> Result<Self> {
        let keys = Keys::generate();
        let client = Client::default();
        client.add_relay(relay.url()).await?;
        client.connect().await;
        let events = client.notifications();
        let inbox = Filter::new()
            .kinds([Kind::GiftWrap, Kind::PrivateDirectMessage])
            .pubkey(keys.public_key());
        client.subscribe(inbox, None).await?;
        Ok(Self { keys, client, events })
    }

    async fn trader(&self, relay: &Relay, transport: Transport) -> Result<Trader> {
        Trader::join("anna", relay.url(), self.keys.public_key(), transport).await
    }

    async fn next(&mut self) -> Result<UnwrappedMessage> {
        loop {
            if let RelayPoolNotification::Event { event, .. } = self.events.recv().await? {
                return unwrap_incoming(&event, &self.keys).await?.context("it is not for us");
            }
        }
    }

    async fn refuse(&self, transport: Transport, request: &UnwrappedMessage) -> Result<()> {
        self.answer(transport, request, expiring()).await
    }

    async fn answer(
        &self,
        transport: Transport,
        request: &UnwrappedMessage,
        with: WrapOptions,
    ) -> Result<()> {
        let asked = request.message.get_inner_message_kind();
        let reason = Payload::CantDo(Some(CantDoReason::NotFound));
        let mut kind =
            MessageKind::new(asked.id, asked.request_id, None, Action::CantDo, Some(reason));
        kind.version = if transport == Transport::GiftWrap { 1 } else { 2 };
        let (message, keys, to) = (Message::CantDo(kind), &self.keys, request.sender);
        let event = match transport {
            Transport::GiftWrap => wrap_message(&message, keys, keys, to, with).await?,
            Transport::Nip44 => wrap_message_nip44(&message, keys, keys, to, with)?,
        };
        self.client.send_event(&event).await?;
        Ok(())
    }
}
