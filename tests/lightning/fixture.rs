//! Our client on all three nodes of a network, and the steps of the laws.

use std::time::Duration;

use devnet::{BUYER, HUB, Lightning, Proxy, SELLER, Wallet};
use fedimint_tonic_lnd::lnrpc::{FeatureBit, PayReqString};
use fedimint_tonic_lnd::routerrpc::SendPaymentRequest;
use futures::{Stream, StreamExt};
use lightning_invoice::Bolt11Invoice;
use mostrod::entropy::{SystemEntropy, draw_hold_secret};
use mostrod::lightning::{
    InvoiceState, LightningNode, Lnd, LndAccess, NewHold, NewPayment, Readiness, invoice,
};
use tempfile::TempDir;
use trade::{
    BlockHeight, Destination, HoldSecret, HoldStatus, Msats, PaymentHash, PaymentStatus, Preimage,
    Sats,
};

/// How long a law waits for an expected event.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How many blocks before its HTLC's expiry LND refunds a held payment.
pub(crate) const HOLD_EXPIRY_DELTA: u32 = 18;

pub(crate) const AMOUNT: Sats = Sats(10_003);
pub(crate) const CLTV_DELTA: u32 = 144;

/// Blocks that an LND payer adds to the payee's delta.
pub(crate) const PAYER_PADDING: u32 = 3;

pub(crate) struct Fixture<N> {
    pub(crate) network: N,
    pub(crate) ours: Lnd,
    pub(crate) seller: Lnd,
    pub(crate) buyer: Lnd,
    _dir: Option<TempDir>,
}

/// A hold invoice and its preimage.
#[derive(Clone)]
pub(crate) struct Escrow {
    pub(crate) hash: PaymentHash,
    pub(crate) preimage: Preimage,
    pub(crate) bolt11: String,
}

impl<N: Lightning> Fixture<N> {
    /// `dir` is the network's folder, which is deleted with the fixture.
    pub(crate) fn on(network: N, dir: Option<TempDir>) -> Self {
        let client = |node| Lnd::new(access(&network, node)).expect("a URL");
        let (ours, seller, buyer) = (client(HUB), client(SELLER), client(BUYER));
        Self { network, ours, seller, buyer, _dir: dir }
    }

    /// Ends the network after a success.
    pub(crate) fn end(self) {
        self.network.end().expect("no law is broken");
    }

    pub(crate) async fn mine(&self, blocks: u32) {
        self.network.mine(blocks).await.expect("blocks");
    }

    pub(crate) async fn kill(&self, node: &str) {
        self.network.kill_node(node).await.expect("it is killed");
    }

    pub(crate) async fn stop(&self, node: &str) {
        self.network.stop_node(node).await.expect("it stops");
    }

    pub(crate) async fn start(&self, node: &str) {
        self.network.start_node(node).await.expect("it starts again");
    }

    /// Waits until our node has this number of active channels.
    pub(crate) async fn wait_for_active_channels(&self, channels: usize) -> Readiness {
        let noticed = async {
            let mut seen = 0;
            loop {
                let readiness = self.ours.readiness().await.expect("it is up");
                if readiness.channels_active == Some(channels) {
                    return readiness;
                }
                self.network.news(&mut seen).await.expect("it goes on");
            }
        };
        tokio::time::timeout(TIMEOUT, noticed).await.expect("it notices")
    }

    /// An ordinary invoice of the buyer; without an amount it is left to the payer.
    pub(crate) async fn invoice(&self, amount: Option<Sats>) -> String {
        let amount = amount.unwrap_or_default();
        self.wallet(BUYER).await.invoice(amount.0).await.expect("an invoice")
    }

    /// The seller pays an invoice with another amount than it asks for.
    pub(crate) async fn pay_other_amount(&self, bolt11: &str, amount: Msats) {
        let invoice: Bolt11Invoice = bolt11.parse().expect("an invoice");
        let payment_hash: &[u8; 32] = invoice.payment_hash().as_ref();
        let request = SendPaymentRequest {
            dest: invoice.get_payee_pub_key().serialize().to_vec(),
            payment_hash: payment_hash.to_vec(),
            payment_addr: invoice.payment_secret().0.to_vec(),
            amt_msat: i64::try_from(amount.0).expect("an amount"),
            final_cltv_delta: i32::try_from(invoice.min_final_cltv_expiry_delta()).expect("few"),
            // Set explicitly: the gossip about the payee may not have arrived.
            dest_features: vec![FeatureBit::TlvOnionReq.into(), FeatureBit::PaymentAddrReq.into()],
            timeout_seconds: 60,
            ..Default::default()
        };
        self.wallet(SELLER).await.router().send_payment_v2(request).await.expect("it is sent");
    }

    /// Our LND's error when it decodes an invoice, if any.
    pub(crate) async fn decode_error(&self, bolt11: &str) -> Option<String> {
        let request = PayReqString { pay_req: bolt11.to_owned() };
        let read = self.wallet(HUB).await.lightning().decode_pay_req(request).await;
        read.err().map(|status| status.message().to_owned())
    }

    /// Our LND's error when it is asked to pay an invoice, if any. Otherwise the payment was tried.
    pub(crate) async fn payment_error(&self, bolt11: &str, amt_msat: u64) -> Option<String> {
        let request = SendPaymentRequest {
            payment_request: bolt11.to_owned(),
            amt_msat: i64::try_from(amt_msat).expect("an amount"),
            fee_limit_sat: 200,
            timeout_seconds: 60,
            ..Default::default()
        };
        let tried = async {
            let sent = self.wallet(HUB).await.router().send_payment_v2(request).await;
            let mut updates = sent?.into_inner();
            while updates.message().await?.is_some() {}
            Ok::<_, tonic::Status>(())
        };
        let tried = tokio::time::timeout(TIMEOUT, tried).await.expect("it ends");
        tried.err().map(|status| status.message().to_owned())
    }

    async fn wallet(&self, node: &str) -> Wallet {
        let access = self.network.access(node).expect("the node exists");
        Wallet::open(&access).await.expect("it answers")
    }

    /// An unpaid hold invoice of ours.
    pub(crate) async fn open_escrow(&self) -> Escrow {
        hold_at(&self.ours, |hold| hold).await
    }

    /// A hold invoice of ours that the seller has paid.
    pub(crate) async fn held_escrow(&self) -> Escrow {
        let escrow = self.open_escrow().await;
        self.seller_pays(&escrow).await;
        escrow
    }

    /// The same, safe against a kill of our node: after a kill in the first milliseconds LND can fail
    /// the HTLC and keep the invoice accepted. A channel handles its HTLCs one after the other, so a
    /// later one shows that this one is safe.
    pub(crate) async fn durable_escrow(&self) -> Escrow {
        let escrow = self.held_escrow().await;
        self.held_escrow().await;
        escrow
    }

    /// The seller pays, and our node holds it.
    pub(crate) async fn seller_pays(&self, escrow: &Escrow) {
        self.seller.send(payment(&escrow.bolt11)).await.expect("it is sent");
        let held = |status: &InvoiceState| matches!(status, InvoiceState::Accepted);
        until(self.ours.watch(escrow.hash), held).await;
    }

    /// The amount that our node holds, once it holds it.
    pub(crate) async fn held_amount(&self, escrow: &Escrow) -> Msats {
        until(self.ours.watch(escrow.hash), |state| *state == InvoiceState::Accepted).await;
        let status = self.ours.hold_status(escrow.hash).await.expect("an answer");
        let HoldStatus::Accepted { paid, .. } = status else { panic!("{status:?}") };
        paid
    }

    /// The end of the seller's payment.
    pub(crate) async fn end_of_seller_payment(&self, hash: PaymentHash) -> PaymentStatus {
        last(self.seller.follow(hash)).await
    }

    /// A hold invoice of the buyer.
    pub(crate) async fn buyer_hold(&self) -> Escrow {
        hold_at(&self.buyer, |hold| hold).await
    }

    /// A payment of ours that the buyer keeps in flight.
    pub(crate) async fn payment_in_flight(&self) -> Escrow {
        let invoice = self.buyer_hold().await;
        self.ours.send(payment(&invoice.bolt11)).await.expect("it is sent");
        let held = |status: &InvoiceState| matches!(status, InvoiceState::Accepted);
        until(self.buyer.watch(invoice.hash), held).await;
        invoice
    }

    /// Our client behind a connection that can fail.
    pub(crate) async fn linked(&self) -> (Lnd, Proxy) {
        let node = self.network.access(HUB).expect("the node exists");
        let link = Proxy::start(node.address).await.expect("a port");
        let host = format!("https://{}", link.address());
        let access = LndAccess { host, ..access(&self.network, HUB) };
        (Lnd::new(access).expect("a URL"), link)
    }

    /// A client of our node with a macaroon for these calls.
    pub(crate) async fn allowed(&self, calls: &[&str]) -> Lnd {
        let macaroon = self.network.bake_macaroon(HUB, 77, calls).await.expect("it is baked");
        with_macaroon(&self.network, &macaroon)
    }

    pub(crate) async fn height(&self) -> BlockHeight {
        self.ours.readiness().await.expect("it is up").height
    }
}

/// The settings of our client for a node.
pub(crate) fn access(network: &impl Lightning, node: &str) -> LndAccess {
    let access = network.access(node).expect("the node exists");
    LndAccess { host: access.url(), cert_file: access.tls_cert, macaroon_file: access.macaroon }
}

/// A client of our node with this macaroon.
pub(crate) fn with_macaroon(network: &impl Lightning, macaroon: &[u8]) -> Lnd {
    let access = access(network, HUB);
    let macaroon_file = access.macaroon_file.with_file_name("baked.macaroon");
    std::fs::write(&macaroon_file, macaroon).expect("written");
    Lnd::new(LndAccess { macaroon_file, ..access }).expect("a URL")
}

/// A client with a short deadline.
pub(crate) fn with_short_deadline(node: &Lnd) -> Lnd {
    node.clone().with_deadline(Duration::from_secs(1))
}

/// Adds a hold invoice at a node, on the default terms after `change`.
pub(crate) async fn hold_at(node: &Lnd, change: impl FnOnce(NewHold) -> NewHold) -> Escrow {
    let (hold, preimage) = new_hold();
    let hold = change(hold);
    let hash = hold.hash;
    let bolt11 = node.add_hold(hold).await.expect("it is added").bolt11;
    Escrow { hash, preimage, bolt11 }
}

/// The default terms, with a new hash.
pub(crate) fn new_hold() -> (NewHold, Preimage) {
    let HoldSecret { hash, preimage } = draw_hold_secret(&SystemEntropy);
    let hold = NewHold {
        hash,
        amount: AMOUNT,
        expiry: Duration::from_hours(1),
        cltv_delta: CLTV_DELTA,
        memo: "an escrow".to_owned(),
    };
    (hold, preimage)
}

/// The default limits.
pub(crate) fn payment(bolt11: &str) -> NewPayment {
    NewPayment {
        hash: hash_of(bolt11),
        bolt11: bolt11.to_owned(),
        amount: None,
        max_fee: Sats(200),
        cltv_limit: 432,
    }
}

pub(crate) fn hash_of(bolt11: &str) -> PaymentHash {
    match invoice::decode(bolt11) {
        Destination::Bolt11(invoice) => invoice.hash,
        Destination::Unsupported => panic!("no invoice: {bolt11}"),
    }
}

/// LND's index of the registration that `status` is about.
pub(crate) fn index(status: PaymentStatus) -> u64 {
    match status {
        PaymentStatus::InFlight { index }
        | PaymentStatus::Succeeded { index, .. }
        | PaymentStatus::Failed { index, .. } => index,
        PaymentStatus::Unknown => panic!("LND does not know the payment"),
    }
}

/// The next item of a stream, which must come.
pub(crate) async fn next<T>(stream: &mut (impl Stream<Item = T> + Unpin)) -> Option<T> {
    tokio::time::timeout(TIMEOUT, stream.next()).await.expect("the stream has an item")
}

/// The first item that is wanted. It must come before the stream ends.
pub(crate) async fn until<T: Copy + std::fmt::Debug>(
    mut stream: impl Stream<Item = T> + Unpin,
    is_wanted: impl Fn(&T) -> bool,
) -> T {
    loop {
        let state = next(&mut stream).await.expect("the stream has the wanted item");
        if is_wanted(&state) {
            return state;
        }
    }
}

/// All items of a stream.
pub(crate) async fn all<T>(stream: impl Stream<Item = T>) -> Vec<T> {
    tokio::time::timeout(TIMEOUT, stream.collect()).await.expect("the stream ends")
}

/// The last item of a stream.
pub(crate) async fn last<T>(stream: impl Stream<Item = T>) -> T {
    all(stream).await.pop().expect("the stream has an item")
}
