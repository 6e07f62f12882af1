//! LND can register every invoice that our reader accepts: a property over random invoices, checked
//! with the simulated node, whose reader is independent of ours.

use devnet::{HUB, Lightning, Wallet};
use fedimint_tonic_lnd::lnrpc::PayReqString;
use fedimint_tonic_lnd::routerrpc::SendPaymentRequest;
use lnd_sim::{Config, LndSim};
use mostrod::lightning::invoice;
use proptest::prelude::*;
use proptest::sample::select;
use trade::Destination;

use crate::draft::{Draft, FEATURES, of_bits, of_bytes, of_number_in, plain};

/// One change to an invoice.
#[derive(Debug, Clone)]
enum Change {
    Prefix(String),
    /// A field, instead of those of its kind or after all others.
    Field {
        tag: u8,
        groups: Vec<u8>,
        is_one_more: bool,
    },
    Without(u8),
}

fn changes() -> impl Strategy<Value = Change> {
    let tag =
        prop_oneof![3 => select(vec![1_u8, 3, 5, 6, 9, 13, 16, 19, 20, 23, 24, 27]), 1 => 0..32_u8];
    prop_oneof![
        1 => "lnbcrt[0-9]{0,20}[munpx]?".prop_map(Change::Prefix),
        1 => "ln(bc|tb|tbs|bcrt|sb)[0-9]{1,3}[munp]?".prop_map(Change::Prefix),
        1 => (0..32_u8).prop_map(Change::Without),
        4 => (tag, groups(), any::<bool>())
            .prop_map(|(tag, groups, is_one_more)| Change::Field { tag, groups, is_one_more }),
        2 => prop::collection::vec(prop_oneof![select(vec![8, 9, 14, 15, 16, 17, 48, 49]), 0..160_usize], 0..6)
            .prop_map(|bits| Change::Field { tag: FEATURES, groups: of_bits(&bits), is_one_more: false }),
    ]
}

/// What a field may contain.
fn groups() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(0..32_u8, 0..60),
        prop::collection::vec(any::<u8>(), 0..110).prop_map(|bytes| of_bytes(&bytes)),
        any::<[u8; 32]>().prop_map(|bytes| of_bytes(&bytes)),
        (any::<u64>(), 0..64_u32, 1..15_u32)
            .prop_map(|(n, shift, width)| of_number_in(n >> shift, width)),
        (0..32_u8, select(vec![2_usize, 20, 32, 40]))
            .prop_map(|(version, length)| { [vec![version], of_bytes(&vec![1; length])].concat() }),
    ]
}

fn apply(draft: Draft, change: Change) -> Draft {
    match change {
        Change::Prefix(prefix) => draft.prefix(&prefix),
        Change::Field { tag, groups, is_one_more: true } => draft.and(tag, groups),
        Change::Field { tag, groups, is_one_more: false } => draft.set(tag, groups),
        Change::Without(tag) => draft.without(tag),
    }
}

// spec: D44
#[test]
fn an_invoice_that_we_accept_is_read_alike_and_registered_by_lnd() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a folder");
    let sim = runtime.block_on(LndSim::start(Config::new(dir.path()))).expect("it starts");
    let access = Lightning::access(&sim, HUB).expect("the node exists");
    let wallet = runtime.block_on(Wallet::open(&access)).expect("it answers");
    let drafts = prop::collection::vec(changes(), 0..4)
        .prop_map(|changes| changes.into_iter().fold(plain(), apply));

    proptest!(ProptestConfig::with_cases(2_000), |(draft in drafts)| {
        let text = draft.write();
        let Destination::Bolt11(ours) = invoice::decode(&text) else { return Ok(()) };
        prop_assume!(ours.network == trade::Network::Regtest);

        let request = PayReqString { pay_req: text.clone() };
        let read = runtime.block_on(wallet.lightning().decode_pay_req(request));
        let read = read.map_err(|status| TestCaseError::fail(status.to_string()))?.into_inner();
        let amount = ours.amount.map_or(0, |amount| amount.0.cast_signed());
        prop_assert_eq!(read.destination, ours.payee.to_string());
        prop_assert_eq!(read.payment_hash, ours.hash.to_string());
        prop_assert_eq!(read.num_msat, amount);
        prop_assert_eq!(read.timestamp + read.expiry, ours.expires_at.0);
        prop_assert_eq!(read.cltv_expiry, i64::from(ours.min_final_cltv));
        if ours.min_final_cltv > 144 {
            return Ok(()); // the core refuses it
        }
        let request = SendPaymentRequest {
            payment_request: text,
            amt: if ours.amount.is_none() { 1_000 } else { 0 },
            cltv_limit: 432,
            ..Default::default()
        };
        let sent = sim.pay_with(HUB, &request);
        prop_assert!(sent.is_ok(), "{sent:?}");
    });
}
