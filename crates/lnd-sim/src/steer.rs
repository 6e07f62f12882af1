//! The handle's verbs: what people do with the wallets, and what goes wrong.

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
use crate::shared::{Premises, ring};
use crate::sim::{LndSim, no_node};

/// What a wallet allows a payment of its own to cost: 5 % and a little.
fn fee_allowance(msat: i64) -> i64 {
    msat / 20 + 10_000
}

/// People and their wallets.
impl LndSim {
    /// A wallet pays an invoice. Answers how the payment stands: of a hold invoice, `IN_FLIGHT`.
    ///
    /// # Errors
    /// No such wallet, or LND's refusal before it tries.
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

    /// A wallet sends what this request says, as through its own `SendPaymentV2`.
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

    /// A wallet asks to be paid; 0 lets the payer choose how much.
    ///
    /// # Errors
    /// No such wallet, or LND's refusal.
    pub fn invoice(&self, wallet: &str, sats: u64) -> Result<String, SimError> {
        let value = i64::try_from(sats).unwrap_or(i64::MAX);
        self.invoice_with(wallet, lnrpc::Invoice { value, ..Default::default() })
    }

    /// A wallet asks to be paid on these terms (`memo`, `value`, `value_msat`, `expiry`,
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

    /// From now on a node treats payments to its ordinary invoices so.
    ///
    /// # Errors
    /// No such node.
    pub fn set_payee(&self, node: &str, manner: Payee) -> Result<(), SimError> {
        self.on(node, |network| {
            if let Some(record) = network.record_mut(node) {
                record.payee = manner;
            }
        })
    }

    /// A payee takes what it holds ([`Payee::Holds`]).
    ///
    /// # Errors
    /// No such node or invoice, or LND's refusal.
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

    /// Opens a channel with so many sats on either side.
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

    /// What a node asks for forwarding; the default is nothing.
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

/// What goes wrong.
impl LndSim {
    /// Arms any fault.
    pub(crate) fn arm(&self, armed: Armed) {
        self.shared.with(|network| network.faults.arm(armed));
    }

    /// The hub: the next call of this kind fails so.
    pub fn fault_next(&self, rpc: Rpc, fault: Fault) {
        self.arm(Armed { node: HUB.to_owned(), rpc, hash: None, fault, times: Some(1) });
    }

    /// The hub: every call of this kind fails so until faults are cleared.
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
    pub fn answer_lost(&self, rpc: Rpc) {
        self.fault_next(rpc, Fault::LoseAnswer);
    }

    /// Disarms every fault. Calls that hang already stay lost.
    pub fn clear_faults(&self) {
        self.shared.with(|network| network.faults.clear());
    }

    /// Lets frozen calls ([`Fault::Freeze`]) take effect.
    pub fn thaw(&self) {
        ring(&self.shared.thawed);
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
        self.change(node, |node| node.fails = Some((reason, times)))
    }

    /// Sets a node's `max-cltv-expiry`: it refuses to send what asks for a longer time lock.
    ///
    /// # Errors
    /// No such node.
    pub fn set_max_cltv_expiry(&self, node: &str, blocks: u32) -> Result<(), SimError> {
        self.change(node, |node| node.max_cltv_expiry = blocks)
    }

    /// The next payment a node sends is registered and never leaves: `IN_FLIGHT` for ever.
    ///
    /// # Errors
    /// No such node.
    pub fn dangle_next(&self, node: &str) -> Result<(), SimError> {
        self.change(node, |node| node.dangles += 1)
    }

    /// The channel of a dangling payment was closed and LND restarted: `FAILED/NO_ROUTE`.
    ///
    /// # Errors
    /// No such node, or no dangling payment.
    pub fn end_dangling(&self, node: &str, hash: PaymentHash) -> Result<(), SimError> {
        self.on(node, |network| found(network.end_dangling(node, hash), node, hash))?
    }

    /// Another program on this LND modifies HTLCs: from now on a payment to an invoice of the node is
    /// accepted whatever it brings, and LND calls it `msat`; `None` ends it. Channels show what came.
    ///
    /// # Errors
    /// No such node.
    pub fn modify_htlcs(&self, node: &str, msat: Option<u64>) -> Result<(), SimError> {
        self.change(node, |node| node.calls_htlcs_msat = msat)
    }

    /// LND was killed in the milliseconds after a hold was paid: when its channels are up again it
    /// fails the HTLC as a replay ("sphinx packet replay attempted"), and goes on calling the
    /// invoice `ACCEPTED`. Settling makes it `SETTLED`, of no sats.
    ///
    /// # Errors
    /// No such node, or no held invoice of this hash.
    pub fn lose_held(&self, node: &str, hash: PaymentHash) -> Result<(), SimError> {
        self.on(node, |network| found(network.lose_held(node, hash), node, hash))?
    }

    /// LND has lost its record of a payment: `NotFound`. An HTLC under way stays under way.
    ///
    /// # Errors
    /// No such node or payment.
    pub fn forget_payment(&self, node: &str, hash: PaymentHash) -> Result<(), SimError> {
        self.on(node, |network| found(network.forget_payment(node, hash), node, hash))?
    }

    /// LND has garbage-collected a canceled invoice: `NotFound`.
    ///
    /// # Errors
    /// No such node, or no canceled invoice of this hash.
    pub fn forget_invoice(&self, node: &str, hash: PaymentHash) -> Result<(), SimError> {
        self.on(node, |network| found(network.forget_invoice(node, hash), node, hash))?
    }

    /// Writes a new certificate and breaks the node's connections: who dials again sees it.
    ///
    /// # Errors
    /// No such node, or files that cannot be written.
    pub fn renew_certificate(&self, node: &str) -> Result<(), SimError> {
        self.at(node, |premises| {
            premises.tls = premises.folder.renew_certificate()?;
            Ok(())
        })?;
        self.drop_connections(node);
        Ok(())
    }

    /// Writes a new admin macaroon; the one before is refused from now on.
    ///
    /// # Errors
    /// As [`LndSim::renew_certificate`].
    pub fn renew_macaroon(&self, node: &str) -> Result<(), SimError> {
        self.at(node, |premises| {
            let macaroon = premises.bakery.renew();
            write(&premises.folder.macaroon(), &macaroon)
        })
    }

    /// Deletes a root key: macaroons baked with it are refused. The admin macaroon's is 0.
    ///
    /// # Errors
    /// No such node.
    pub fn delete_macaroon(&self, node: &str, root_key: u64) -> Result<(), SimError> {
        self.at(node, |premises| {
            premises.bakery.delete(root_key);
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
        self.at(node, |premises| Ok(premises.bakery.bake(root_key, calls)))
    }
}

/// The current state.
impl LndSim {
    /// Every law that is broken, in words; empty when all is well.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        self.shared.read(Network::check)
    }

    /// Whose sats are where.
    #[must_use]
    pub fn balances(&self) -> Vec<Balance> {
        self.shared.read(|network| network.nodes.keys().map(|name| network.balance(name)).collect())
    }

    /// # Errors
    /// No such node.
    pub fn balance(&self, node: &str) -> Result<Balance, SimError> {
        self.on(node, |network| network.balance(node))
    }

    /// An invoice as its node's LND would show it.
    #[must_use]
    pub fn find_invoice(&self, node: &str, hash: PaymentHash) -> Option<lnrpc::Invoice> {
        self.shared.read(|network| network.find_invoice(node, hash).map(messages::invoice))
    }

    /// A payment as its node's LND would show it.
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

    /// How often this call came to the hub, faults included.
    #[must_use]
    pub fn calls(&self, rpc: Rpc) -> u64 {
        self.shared.read(|network| network.calls.of(HUB, rpc))
    }

    /// How often this call came to the hub about this hash, faults included.
    #[must_use]
    pub fn calls_about(&self, rpc: Rpc, hash: PaymentHash) -> u64 {
        self.shared.read(|network| network.calls.about(HUB, rpc, hash))
    }

    /// Counts calls from zero again.
    pub fn forget_calls(&self) {
        self.shared.with(|network| network.calls.forget());
    }

    /// Changes whenever something happens, calls included: wait on it rather than sleep.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.stirred.subscribe()
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
        work: impl FnOnce(&mut Premises) -> Result<T, SimError>,
    ) -> Result<T, SimError> {
        work(self.shared.premises().get_mut(node).ok_or_else(|| no_node(node))?)
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
