//! The handle's methods: payments of the wallets, faults, and queries.

use fedimint_tonic_lnd::lnrpc;
use fedimint_tonic_lnd::routerrpc::SendPaymentRequest;
use tokio::sync::watch;
use tonic::Code;

use crate::error::SimError;
use crate::faults::{Armed, Fault, Rpc};
use crate::hash::{PaymentHash, Preimage};
use crate::identity::write;
use crate::invoice::{InvoiceState, NewInvoice};
use crate::ledger::Balance;
use crate::messages;
use crate::network::Network;
use crate::node::{HUB, LndState, Node, Payee};
use crate::payment::FailureReason;
use crate::shared::{Endpoint, notify};
use crate::sim::{LndSim, no_node};

/// The fee limit of a wallet's payment: 5 % and 10 sat.
fn fee_allowance(msat: i64) -> i64 {
    msat / 20 + 10_000
}

/// Payments of the wallets.
impl LndSim {
    /// A wallet pays an invoice. Returns the payment; that of a hold invoice is `IN_FLIGHT`.
    ///
    /// # Errors
    /// No such wallet, or LND refuses the request.
    pub fn pay(&self, wallet: &str, bolt11: &str) -> Result<lnrpc::Payment, SimError> {
        let amount = crate::bolt11::decode(bolt11)?.amount_msat.unwrap_or_default();
        self.pay_with(
            wallet,
            &SendPaymentRequest {
                payment_request: bolt11.to_owned(),
                fee_limit_msat: fee_allowance(i64::try_from(amount).unwrap_or(i64::MAX)),
                timeout_seconds: 60,
                ..Default::default()
            },
        )
    }

    /// A wallet sends this request, as by `SendPaymentV2`.
    ///
    /// # Errors
    /// As [`LndSim::pay`].
    pub fn pay_with(
        &self,
        wallet: &str,
        request: &SendPaymentRequest,
    ) -> Result<lnrpc::Payment, SimError> {
        self.on(wallet, |network| {
            let (hash, _) = network.send_payment(wallet, request)?;
            payment_of(network, wallet, hash).ok_or_else(|| no_hash(wallet, hash))
        })?
    }

    /// A wallet makes an invoice; 0 leaves the amount to the payer.
    ///
    /// # Errors
    /// No such wallet, or LND refuses.
    pub fn invoice(&self, wallet: &str, sats: u64) -> Result<String, SimError> {
        let value = i64::try_from(sats).unwrap_or(i64::MAX);
        self.invoice_with(wallet, lnrpc::Invoice { value, ..Default::default() })
    }

    /// A wallet makes an invoice on these terms (`memo`, `value`, `value_msat`, `expiry`,
    /// `cltv_expiry`, `description_hash`).
    ///
    /// # Errors
    /// As [`LndSim::invoice`].
    pub fn invoice_with(&self, wallet: &str, terms: lnrpc::Invoice) -> Result<String, SimError> {
        let new = NewInvoice {
            memo: terms.memo,
            value_sat: terms.value,
            value_msat: terms.value_msat,
            description_hash: terms.description_hash,
            expiry: terms.expiry,
            cltv_expiry: terms.cltv_expiry,
        };
        let mut preimage = [0; 32];
        getrandom::fill(&mut preimage)?;
        self.on(wallet, |network| {
            Ok(network.add_invoice(wallet, Preimage(preimage), &new)?.bolt11)
        })?
    }

    /// Sets what a node does with payments to its ordinary invoices.
    ///
    /// # Errors
    /// No such node.
    pub fn set_payee(&self, node: &str, payee: Payee) -> Result<(), SimError> {
        self.on(node, |network| {
            if let Some(record) = network.record_mut(node) {
                record.payee = payee;
            }
        })
    }

    /// A payee settles an invoice that it holds ([`Payee::Holds`]).
    ///
    /// # Errors
    /// No such node or invoice, or LND refuses.
    pub fn payee_settles(&self, node: &str, hash: PaymentHash) -> Result<(), SimError> {
        self.on(node, |network| {
            let invoice = network.find_invoice(node, hash).ok_or_else(|| no_hash(node, hash))?;
            let preimage = invoice.preimage.ok_or_else(|| no_hash(node, hash))?;
            Ok(network.settle_invoice(node, preimage)?)
        })?
    }
}

/// The chain and the channels.
impl LndSim {
    /// Adds blocks.
    pub fn mine(&self, blocks: u32) {
        self.shared.with(|network| network.mine(blocks));
    }

    #[must_use]
    pub fn height(&self) -> u32 {
        self.shared.read(|network| network.height)
    }

    /// Opens a channel with these sats on its sides.
    ///
    /// # Errors
    /// No such node.
    pub fn open_channel_with(&self, a: (&str, u64), b: (&str, u64)) -> Result<(), SimError> {
        let msat = |sats: u64| sats.saturating_mul(1000);
        self.on(a.0, |_| ())?;
        self.on(b.0, |network| {
            network.open_channel((a.0, msat(a.1)), (b.0, msat(b.1)));
        })
    }

    /// Sets a node's forwarding fee; the default is none.
    ///
    /// # Errors
    /// No such node.
    pub fn set_forwarding_fee(&self, node: &str, base_msat: u64, ppm: u64) -> Result<(), SimError> {
        self.on(node, |network| {
            if let Some(record) = network.record_mut(node) {
                record.fee_base_msat = base_msat;
                record.fee_ppm = ppm;
            }
        })
    }
}

/// Faults.
impl LndSim {
    /// Arms a fault.
    pub(crate) fn arm(&self, armed: Armed) {
        self.shared.with(|network| network.faults.arm(armed));
    }

    /// The hub: the next call of this kind fails in this way.
    pub fn fault_next(&self, rpc: Rpc, fault: Fault) {
        self.arm(Armed { node: HUB.to_owned(), rpc, hash: None, fault, times: Some(1) });
    }

    /// The hub: every call of this kind fails in this way until faults are cleared.
    pub fn fault_always(&self, rpc: Rpc, fault: Fault) {
        self.arm(Armed { node: HUB.to_owned(), rpc, hash: None, fault, times: None });
    }

    /// The hub: calls of this kind are lost until faults are cleared.
    pub fn hang(&self, rpc: Rpc) {
        self.fault_always(rpc, Fault::Hang);
    }

    /// The hub: the next call of this kind is refused before any effect.
    pub fn fail_next(&self, rpc: Rpc, code: Code, text: &str) {
        self.fault_next(rpc, Fault::Refuse { code: code.into(), text: text.to_owned() });
    }

    /// The hub: the next call of this kind takes effect, then its connection fails.
    pub fn lose_next_answer(&self, rpc: Rpc) {
        self.fault_next(rpc, Fault::LoseAnswer);
    }

    /// Disarms every fault. Calls that already hang stay lost.
    pub fn clear_faults(&self) {
        self.shared.with(|network| network.faults.clear());
    }

    /// Lets frozen calls ([`Fault::Freeze`]) take effect.
    pub fn thaw(&self) {
        notify(&self.shared.thawed);
    }

    /// Breaks every open stream of a node (Unavailable).
    pub fn drop_streams(&self, node: &str) {
        self.shared.cut.send_modify(|cuts| *cuts.entry(node.to_owned()).or_default() += 1);
    }

    /// # Errors
    /// No such node.
    pub fn set_state(&self, node: &str, state: LndState) -> Result<(), SimError> {
        self.change(node, |node| node.state = state)
    }

    /// `GetInfo.version`, like `0.19.3-beta`.
    ///
    /// # Errors
    /// No such node.
    pub fn set_version(&self, node: &str, version: &str) -> Result<(), SimError> {
        self.change(node, |node| version.clone_into(&mut node.version))
    }

    /// `GetInfo.chains[0].network`, like `mainnet`.
    ///
    /// # Errors
    /// No such node.
    pub fn set_network(&self, node: &str, network: &str) -> Result<(), SimError> {
        self.change(node, |node| network.clone_into(&mut node.network))
    }

    /// `GetInfo.synced_to_chain`.
    ///
    /// # Errors
    /// No such node.
    pub fn set_synced(&self, node: &str, is_synced: bool) -> Result<(), SimError> {
        self.change(node, |node| node.synced = is_synced)
    }

    /// Whether the node's links to its peers are up.
    ///
    /// # Errors
    /// No such node.
    pub fn set_channels_active(&self, node: &str, are_active: bool) -> Result<(), SimError> {
        self.change(node, |node| node.links_up = are_active)
    }

    /// The next so many payments that a node sends fail for this reason, at once.
    ///
    /// # Errors
    /// No such node.
    pub fn fail_payments(
        &self,
        node: &str,
        reason: FailureReason,
        times: u32,
    ) -> Result<(), SimError> {
        self.change(node, |node| node.forced_failure = Some((reason, times)))
    }

    /// Sets a node's `max-cltv-expiry`: it refuses payments with a longer time lock.
    ///
    /// # Errors
    /// No such node.
    pub fn set_max_cltv_expiry(&self, node: &str, blocks: u32) -> Result<(), SimError> {
        self.change(node, |node| node.max_cltv_expiry = blocks)
    }

    /// The next payment of a node is registered and never sent: `IN_FLIGHT` permanently.
    ///
    /// # Errors
    /// No such node.
    pub fn dangle_next(&self, node: &str) -> Result<(), SimError> {
        self.change(node, |node| node.dangles += 1)
    }

    /// The channel of a dangling payment is closed and LND restarted: `FAILED/NO_ROUTE`.
    ///
    /// # Errors
    /// No such node, or no dangling payment.
    pub fn end_dangling(&self, node: &str, hash: PaymentHash) -> Result<(), SimError> {
        self.on(node, |network| found(network.end_dangling(node, hash), node, hash))?
    }

    /// Another program modifies this LND's HTLCs: a payment of any amount to an invoice of the node is
    /// accepted, and LND reports it as `msat`; `None` ends this. Channels show the real amount.
    ///
    /// # Errors
    /// No such node.
    pub fn modify_htlcs(&self, node: &str, msat: Option<u64>) -> Result<(), SimError> {
        self.change(node, |node| node.reported_htlc_msat = msat)
    }

    /// LND was killed milliseconds after a hold was paid: when its channels are active again it fails
    /// the HTLC as a replay ("sphinx packet replay attempted"), and the invoice stays `ACCEPTED`.
    /// Settling makes it `SETTLED` and brings no sats.
    ///
    /// # Errors
    /// No such node, or no held invoice of this hash.
    pub fn fail_as_replay(&self, node: &str, hash: PaymentHash) -> Result<(), SimError> {
        self.on(node, |network| found(network.fail_as_replay(node, hash), node, hash))?
    }

    /// LND has lost its record of a payment: `NotFound`. An HTLC in flight stays in flight.
    ///
    /// # Errors
    /// No such node or payment.
    pub fn delete_payment(&self, node: &str, hash: PaymentHash) -> Result<(), SimError> {
        self.on(node, |network| found(network.delete_payment(node, hash), node, hash))?
    }

    /// LND has garbage-collected a canceled invoice: `NotFound`.
    ///
    /// # Errors
    /// No such node, or no canceled invoice of this hash.
    pub fn delete_invoice(&self, node: &str, hash: PaymentHash) -> Result<(), SimError> {
        self.on(node, |network| found(network.delete_invoice(node, hash), node, hash))?
    }

    /// Writes a new certificate and closes the node's connections; new ones get the new certificate.
    ///
    /// # Errors
    /// No such node, or files that cannot be written.
    pub fn renew_certificate(&self, node: &str) -> Result<(), SimError> {
        self.at(node, |endpoint| {
            endpoint.tls = endpoint.folder.renew_certificate()?;
            Ok(())
        })?;
        self.drop_connections(node);
        Ok(())
    }

    /// Writes a new admin macaroon; the old one is refused from now on.
    ///
    /// # Errors
    /// As [`LndSim::renew_certificate`].
    pub fn renew_macaroon(&self, node: &str) -> Result<(), SimError> {
        self.at(node, |endpoint| {
            let macaroon = endpoint.bakery.renew();
            write(&endpoint.folder.macaroon(), &macaroon)
        })
    }

    /// Deletes a root key: macaroons baked with it are refused. The admin macaroon's is 0.
    ///
    /// # Errors
    /// No such node.
    pub fn delete_macaroon(&self, node: &str, root_key: u64) -> Result<(), SimError> {
        self.at(node, |endpoint| {
            endpoint.bakery.delete(root_key);
            Ok(())
        })
    }

    /// Makes a macaroon for some calls only (`/lnrpc.Lightning/GetInfo`).
    ///
    /// # Errors
    /// No such node.
    pub fn bake_macaroon(
        &self,
        node: &str,
        root_key: u64,
        calls: &[String],
    ) -> Result<Vec<u8>, SimError> {
        self.at(node, |endpoint| Ok(endpoint.bakery.bake(root_key, calls)))
    }
}

/// The current state.
impl LndSim {
    /// A description of every law that is broken.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        self.shared.read(Network::check)
    }

    /// The balance of every node.
    #[must_use]
    pub fn balances(&self) -> Vec<Balance> {
        self.shared.read(|network| network.nodes.keys().map(|name| network.balance(name)).collect())
    }

    /// # Errors
    /// No such node.
    pub fn balance(&self, node: &str) -> Result<Balance, SimError> {
        self.on(node, |network| network.balance(node))
    }

    /// An invoice as LND returns it.
    #[must_use]
    pub fn find_invoice(&self, node: &str, hash: PaymentHash) -> Option<lnrpc::Invoice> {
        self.shared.read(|network| network.find_invoice(node, hash).map(messages::invoice))
    }

    /// A payment as LND returns it.
    #[must_use]
    pub fn find_payment(&self, node: &str, hash: PaymentHash) -> Option<lnrpc::Payment> {
        self.shared.read(|network| payment_of(network, node, hash))
    }

    /// The invoices a node has in this state, oldest first.
    #[must_use]
    pub fn list_invoices(&self, node: &str, state: InvoiceState) -> Vec<PaymentHash> {
        self.shared.read(|network| {
            let known = network.nodes.get(node).into_iter().flat_map(|node| node.invoices.values());
            let mut found: Vec<_> = known.filter(|invoice| invoice.state == state).collect();
            found.sort_by_key(|invoice| invoice.add_index);
            found.iter().map(|invoice| invoice.hash).collect()
        })
    }

    /// How often this call was made to the hub, including those that failed.
    #[must_use]
    pub fn calls(&self, rpc: Rpc) -> u64 {
        self.shared.read(|network| network.calls.of(HUB, rpc))
    }

    /// How often this call was made to the hub about this hash, including those that failed.
    #[must_use]
    pub fn calls_about(&self, rpc: Rpc, hash: PaymentHash) -> u64 {
        self.shared.read(|network| network.calls.about(HUB, rpc, hash))
    }

    /// Resets the counts of calls to zero.
    pub fn reset_calls(&self) {
        self.shared.with(|network| network.calls.forget());
    }

    /// Changes with every event, calls included: wait for it rather than sleep.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.activity.subscribe()
    }
}

impl LndSim {
    fn on<T>(&self, node: &str, work: impl FnOnce(&mut Network) -> T) -> Result<T, SimError> {
        self.shared.with(|network| {
            if network.nodes.contains_key(node) { Ok(work(network)) } else { Err(no_node(node)) }
        })
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Node)) -> Result<(), SimError> {
        self.shared.with(|network| match network.nodes.get_mut(name) {
            Some(node) => {
                change(node);
                Ok(())
            }
            None => Err(no_node(name)),
        })
    }

    fn at<T>(
        &self,
        node: &str,
        work: impl FnOnce(&mut Endpoint) -> Result<T, SimError>,
    ) -> Result<T, SimError> {
        work(self.shared.endpoints().get_mut(node).ok_or_else(|| no_node(node))?)
    }
}

fn payment_of(network: &Network, node: &str, hash: PaymentHash) -> Option<lnrpc::Payment> {
    let payment = network.find_payment(node, hash)?;
    let attempt = payment.attempt.and_then(|id| network.attempts.get(&id));
    Some(messages::payment(payment, attempt, network))
}

fn found(was_found: bool, node: &str, hash: PaymentHash) -> Result<(), SimError> {
    if was_found { Ok(()) } else { Err(no_hash(node, hash)) }
}

fn no_hash(node: &str, hash: PaymentHash) -> SimError {
    SimError::NoSuchHash { node: node.to_owned(), hash }
}
