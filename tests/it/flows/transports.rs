//! Old and new clients on one node: each is answered only on the transport that it last used.

use anyhow::Result;
use devnet::{Trader, Transport};

use crate::fixture::{BUYER_GETS, Fixture, SELLER_PAYS};

// spec: D4 D14
#[tokio::test]
async fn an_old_and_a_new_client_trade_with_each_other() -> Result<()> {
    for (seller, buyer) in
        [(Transport::GiftWrap, Transport::Nip44), (Transport::Nip44, Transport::GiftWrap)]
    {
        let mut fixture = Fixture::open(seller).await?;
        fixture.buyer.trader.set_transport(buyer);

        let offer = fixture.sale_active().await?;
        fixture.released(&offer).await?;

        assert!(transports_of(&fixture.seller.trader).iter().all(|transport| *transport == seller));
        assert!(transports_of(&fixture.buyer.trader).iter().all(|transport| *transport == buyer));
        fixture.close(offer.id, -SELLER_PAYS, BUYER_GETS).await?;
    }
    Ok(())
}

// spec: D4
#[tokio::test]
async fn a_client_updated_during_a_trade_is_answered_on_its_new_transport() -> Result<()> {
    let mut fixture = Fixture::open(Transport::GiftWrap).await?;
    let offer = fixture.sale_active().await?;
    let before = fixture.buyer.trader.received().len();

    fixture.buyer.trader.set_transport(Transport::Nip44);
    fixture.released(&offer).await?;

    let used = transports_of(&fixture.buyer.trader);
    let (old, new) = used.split_at(before);
    assert!(old.iter().all(|transport| *transport == Transport::GiftWrap));
    assert!(new.iter().all(|transport| *transport == Transport::Nip44));
    fixture.close(offer.id, -SELLER_PAYS, BUYER_GETS).await
}

fn transports_of(trader: &Trader) -> Vec<Transport> {
    trader.received().iter().map(|message| message.transport).collect()
}
