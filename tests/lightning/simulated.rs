//! The simulated network.

use async_trait::async_trait;
use fedimint_tonic_lnd::routerrpc::SendPaymentRequest;
use lightning_invoice::Bolt11Invoice;
use lnd_sim::{Config, LndSim, MOSTRO};
use mostrod::lightning::LndAccess;
use tempfile::TempDir;
use trade::Sats;

use crate::network::{Network, Node};

/// A simulation with a folder of its own.
pub(crate) struct Simulated {
    pub(crate) sim: LndSim,
    _dir: TempDir,
}

pub(crate) async fn start() -> Simulated {
    let dir = tempfile::tempdir().expect("a folder");
    let sim = LndSim::start(Config::new(dir.path())).await.expect("the simulation starts");
    Simulated { sim, _dir: dir }
}

#[async_trait]
impl Network for Simulated {
    fn access(&self, node: Node) -> LndAccess {
        let access = self.sim.node(name(node)).expect("it is there");
        LndAccess { host: access.url(), cert_file: access.tls_cert, macaroon_file: access.macaroon }
    }

    async fn invoice(&self, amount: Option<Sats>) -> String {
        let amount = amount.unwrap_or_default();
        self.sim.invoice(name(Node::Buyer), amount.0).expect("an invoice")
    }

    async fn overpay(&self, bolt11: &str, amount: Sats) {
        let invoice: Bolt11Invoice = bolt11.parse().expect("an invoice");
        let payment_hash: &[u8; 32] = invoice.payment_hash().as_ref();
        let request = SendPaymentRequest {
            dest: invoice.get_payee_pub_key().serialize().to_vec(),
            payment_hash: payment_hash.to_vec(),
            payment_addr: invoice.payment_secret().0.to_vec(),
            amt: i64::try_from(amount.0).expect("an amount"),
            final_cltv_delta: i32::try_from(invoice.min_final_cltv_expiry_delta()).expect("few"),
            timeout_seconds: 60,
            ..Default::default()
        };
        self.sim.pay_with(name(Node::Seller), &request).expect("it is sent");
    }

    async fn mine(&self, blocks: u32) {
        self.sim.mine(blocks);
    }

    async fn kill(&self, node: Node) {
        self.sim.kill(name(node)).await;
    }

    async fn stop(&self, node: Node) {
        self.sim.stop(name(node)).await;
    }

    async fn start(&self, node: Node) {
        self.sim.start_node(name(node)).await.expect("it starts again");
    }
}

fn name(node: Node) -> &'static str {
    match node {
        Node::Ours => MOSTRO,
        Node::Seller => "seller",
        Node::Buyer => "buyer",
    }
}
