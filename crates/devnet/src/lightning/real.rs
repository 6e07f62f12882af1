//! Real nodes, queried over LND's API.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fedimint_tonic_lnd::lnrpc;
use lnd_sim::{Balance, InvoiceState, PaymentHash};
use regtest::{NodeAccess, Regtest};
use tokio::time::sleep;

use super::Lightning;
use crate::ledger::list_invoices;

const POLL_INTERVAL: Duration = Duration::from_millis(50);

impl Lightning for Regtest {
    fn access(&self, node: &str) -> Result<NodeAccess> {
        self.node(node)
    }

    /// LND takes the fee of a channel's commitment transaction and its anchors off the balance of the
    /// node that opened it. It is counted as that node's here.
    async fn balance(&self, node: &str) -> Result<Balance> {
        let mut lnd = self.wallet(node)?.lightning();
        let balance = lnd.channel_balance(lnrpc::ChannelBalanceRequest {}).await?.into_inner();
        let listed = lnd.list_channels(lnrpc::ListChannelsRequest::default()).await?.into_inner();
        let opened = listed.channels.iter().filter(|channel| channel.initiator).count();
        let capacity = listed.channels.iter().map(|channel| channel.capacity).sum::<i64>();
        let msat = |amount: Option<lnrpc::Amount>| amount.unwrap_or_default().msat;
        let outgoing_held_msat = msat(balance.unsettled_remote_balance);
        let incoming_held_msat = msat(balance.unsettled_local_balance);
        let others = msat(balance.remote_balance) + outgoing_held_msat + incoming_held_msat;
        let available_msat = match opened {
            0 => msat(balance.local_balance),
            all if all == listed.channels.len() => u64::try_from(capacity)? * 1000 - others,
            _ => bail!("{node} opened only some of its channels, so its fees cannot be computed"),
        };
        let node = node.to_owned();
        Ok(Balance { node, available_msat, outgoing_held_msat, incoming_held_msat })
    }

    async fn list_invoices(&self, node: &str, state: InvoiceState) -> Result<Vec<PaymentHash>> {
        let wanted = match state {
            InvoiceState::Open => lnrpc::invoice::InvoiceState::Open,
            InvoiceState::Accepted => lnrpc::invoice::InvoiceState::Accepted,
            InvoiceState::Settled => lnrpc::invoice::InvoiceState::Settled,
            InvoiceState::Canceled => lnrpc::invoice::InvoiceState::Canceled,
        };
        let listed = list_invoices(&self.wallet(node)?).await?;
        let listed = listed.into_iter().filter(|invoice| invoice.state() == wanted);
        let hash = |invoice: lnrpc::Invoice| Some(PaymentHash(invoice.r_hash.try_into().ok()?));
        listed.map(|invoice| hash(invoice).context("a hash has 32 bytes")).collect()
    }

    /// Both ends of a channel report the same balances.
    async fn broken_laws(&self) -> Result<Vec<String>> {
        let mut seen = BTreeMap::new();
        let mut broken = Vec::new();
        for name in self.running() {
            let mut lnd = self.wallet(&name)?.lightning();
            let listed = lnd.list_channels(lnrpc::ListChannelsRequest::default()).await?;
            for channel in listed.into_inner().channels {
                let (ours, theirs) = (channel.local_balance, channel.remote_balance);
                match seen.insert(channel.channel_point, (theirs, ours)) {
                    Some(reported) if reported != (ours, theirs) => broken.push(format!(
                        "in channel {} {name} reports {ours} sat as its own and {theirs} as its peer's, \
                         which reports {} and {}",
                        channel.chan_id, reported.0, reported.1
                    )),
                    _ => {}
                }
            }
        }
        Ok(broken)
    }

    /// Real nodes do not notify of events, so this only waits a little.
    async fn news(&self, seen: &mut u64) -> Result<()> {
        sleep(POLL_INTERVAL).await;
        *seen += 1;
        Ok(())
    }

    async fn mine(&self, blocks: u32) -> Result<()> {
        Regtest::mine(self, blocks).await
    }

    async fn stop_node(&self, node: &str) -> Result<()> {
        self.stop(node).await
    }

    async fn kill_node(&self, node: &str) -> Result<()> {
        self.kill(node)
    }

    async fn start_node(&self, node: &str) -> Result<()> {
        Regtest::start_node(self, node).await
    }

    async fn start_locked(&self, node: &str) -> Result<()> {
        Regtest::start_locked(self, node).await
    }

    async fn unlock(&self, node: &str) -> Result<()> {
        Regtest::unlock(self, node).await
    }

    async fn renew_certificate(&self, node: &str) -> Result<()> {
        Regtest::renew_certificate(self, node).await
    }

    async fn bake_macaroon(&self, node: &str, root_key: u64, calls: &[&str]) -> Result<Vec<u8>> {
        let permission = |call: &&str| lnrpc::MacaroonPermission {
            entity: "uri".to_owned(),
            action: (*call).to_owned(),
        };
        let asked = lnrpc::BakeMacaroonRequest {
            permissions: calls.iter().map(permission).collect(),
            root_key_id: root_key,
            allow_external_permissions: false,
        };
        let baked = self.wallet(node)?.lightning().bake_macaroon(asked).await?.into_inner();
        Ok(hex::decode(baked.macaroon)?)
    }

    fn end(self) -> Result<()> {
        Regtest::end(self);
        Ok(())
    }
}
