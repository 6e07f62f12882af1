//! Payments: checked, registered by hash, followed, failed, sent again.

use std::convert::Infallible;
use std::time::Duration;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{Secp256k1, SecretKey};
use fedimint_tonic_lnd::lnrpc::payment::PaymentStatus;
use fedimint_tonic_lnd::lnrpc::{self, ListChannelsRequest, ListPaymentsRequest, Payment};
use fedimint_tonic_lnd::routerrpc::{SendPaymentRequest, TrackPaymentRequest};
use lightning_invoice::{Currency, InvoiceBuilder};
use lnd_sim::{FailureReason, HUB, LndState, Payee, PaymentHash, Preimage, Rpc};

use crate::fixture::{
    BEGIN_SECS, BUYER, Fixture, PREIMAGE, SELLER, answer, client, error_text, hash_of, payment,
    rest, status_text,
};

fn states(seen: &[Payment]) -> Vec<(String, usize)> {
    seen.iter().map(|payment| (status_text(payment), payment.htlcs.len())).collect()
}

fn seen(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
    expected.iter().map(|(state, htlcs)| ((*state).to_owned(), *htlcs)).collect()
}

// case: pay_first_update
#[tokio::test]
async fn a_payment_is_reported_without_its_htlc_then_with_it_then_at_its_end() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture.sim.invoice(BUYER, 5_000).unwrap();
    let hash = hash_of(&fixture.sim, BUYER);

    let (updates, end) = rest(fixture.send(payment(&bolt11)).await.unwrap()).await;

    assert_eq!(states(&updates), seen(&[("IN_FLIGHT", 0), ("IN_FLIGHT", 1), ("SUCCEEDED", 1)]));
    assert!(end.is_ok());
    let preimage = Preimage::try_from(updates[2].payment_preimage.clone()).unwrap();
    assert_eq!(preimage.hash(), hash);
    fixture.check_laws();
}

// case: send_again
#[tokio::test]
async fn a_hash_is_paid_once_and_tried_again_after_a_failure_under_a_new_index() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture.sim.invoice(BUYER, 5_000).unwrap();
    fixture.sim.set_payee(BUYER, Payee::Refuses).unwrap();
    let (first, _) = rest(fixture.send(payment(&bolt11)).await.unwrap()).await;
    assert_eq!(status_text(first.last().unwrap()), "FAILED/INCORRECT_PAYMENT_DETAILS");

    fixture.sim.set_payee(BUYER, Payee::Holds).unwrap();
    let mut second = fixture.send(payment(&bolt11)).await.unwrap();
    let update = second.message().await.unwrap().unwrap();
    assert_eq!((update.status(), update.payment_index), (PaymentStatus::InFlight, 2));
    assert_eq!(fixture.outcome(payment(&bolt11)).await, "ALREADY_EXISTS: payment is in transition");

    let hash = PaymentHash::try_from(update.payment_hash).unwrap();
    fixture.sim.payee_settles(BUYER, hash).unwrap();
    let (rest, end) = rest(second).await;
    assert_eq!((status_text(rest.last().unwrap()), end.is_ok()), ("SUCCEEDED".to_owned(), true));
    assert_eq!(fixture.outcome(payment(&bolt11)).await, "ALREADY_EXISTS: invoice is already paid");
    assert_eq!(fixture.sim.calls_about(Rpc::SendPaymentV2, hash), 4);
    fixture.check_laws();
}

// case: send_expired
#[tokio::test]
async fn an_expired_invoice_is_refused_before_its_payment_is_looked_up() {
    let mut fixture = Fixture::start().await;
    let terms = lnrpc::Invoice { value: 5_000, expiry: 2, ..Default::default() };
    let bolt11 = fixture.sim.invoice_with(BUYER, terms).unwrap();
    fixture.sim.set_payee(BUYER, Payee::Holds).unwrap();
    let hash = hash_of(&fixture.sim, BUYER);
    let mut stream = fixture.send(payment(&bolt11)).await.unwrap();
    stream.message().await.unwrap();
    fixture.advance(3);
    let refused = "UNKNOWN: invoice expired. Valid until 2026-11-21 15:00:02 +0000 UTC";

    assert_eq!(fixture.outcome(payment(&bolt11)).await, refused);
    fixture.sim.payee_settles(BUYER, hash).unwrap();
    assert_eq!(fixture.outcome(payment(&bolt11)).await, refused);

    let (tracked, _) = rest(fixture.track(hash).await.unwrap()).await;
    assert_eq!(status_text(&tracked[0]), "SUCCEEDED");
}

// case: track_unknown
#[tokio::test]
async fn an_unknown_payment_is_not_found() {
    let mut fixture = Fixture::start().await;

    let tracked = fixture.track(PREIMAGE.hash()).await;

    assert_eq!(answer(tracked), "NOT_FOUND: payment isn't initiated");
}

// case: pay_self, pay_other_network, pay_garbage, pay_zero_without_amt, pay_amt_given_twice,
// pay_fee_both, pay_cltv_too_small, pay_cltv_too_big, pay_min_final_over_limit,
// pay_min_final_over_max
#[tokio::test]
async fn an_invoice_that_cannot_be_paid_is_refused_with_lnds_text() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture.sim.invoice(BUYER, 5_000).unwrap();
    let open = fixture.sim.invoice(BUYER, 0).unwrap();
    let own = fixture.sim.invoice(HUB, 5_000).unwrap();
    let slow = |cltv_expiry| lnrpc::Invoice { value: 5_000, cltv_expiry, ..Default::default() };
    let slow_500 = fixture.sim.invoice_with(BUYER, slow(500)).unwrap();
    let slow_2100 = fixture.sim.invoice_with(BUYER, slow(2100)).unwrap();
    let mainnet = "lnbc20m1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqhp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqs9qrsgq7ea976txfraylvgzuxs8kgcw23ezlrszfnh8r6qtfpr6cxga50aj6txm9rxrydzd06dfeawfk6swupvz4erwnyutnjq7x39ymw6j38gp7ynn44";
    let changed = |text: &str, change: fn(&mut SendPaymentRequest)| {
        let mut request = payment(text);
        change(&mut request);
        request
    };
    let cases = [
        (payment(&own), "UNKNOWN: self-payments not allowed"),
        (payment(mainnet), "UNKNOWN: invoice not for current active network 'regtest'"),
        (
            payment("lnbcrt1bogusbogus"),
            "UNKNOWN: failed converting data to bytes: invalid character not part of charset: 98",
        ),
        (payment(&open), "UNKNOWN: amount must be specified when paying a zero amount invoice"),
        (
            changed(&bolt11, |r| r.amt = 5_000),
            "UNKNOWN: amount must not be specified when paying a non-zero amount invoice",
        ),
        (
            changed(&bolt11, |r| r.fee_limit_msat = 1),
            "UNKNOWN: sat and msat arguments are mutually exclusive",
        ),
        (
            changed(&bolt11, |r| r.cltv_limit = 20),
            "UNKNOWN: cltv limit 20 should be greater than 83",
        ),
        (
            changed(&bolt11, |r| r.cltv_limit = 2017),
            "UNKNOWN: total time lock of 2017 exceeds max allowed 2016",
        ),
        (payment(&slow_500), "UNKNOWN: cltv limit 432 should be greater than 503"),
        (
            changed(&slow_2100, |r| r.cltv_limit = 0),
            "UNKNOWN: cltv limit 2016 should be greater than 2103",
        ),
        (changed(&open, |r| r.amt = 777), "SUCCEEDED"),
        (changed(&bolt11, |r| r.cltv_limit = 84), "SUCCEEDED"),
    ];

    for (request, expected) in cases {
        assert_eq!(fixture.outcome(request).await, expected);
    }
    fixture.check_laws();
}

// case: pay_no_secret
#[tokio::test]
async fn an_invoice_without_a_payment_secret_is_refused() {
    let mut fixture = Fixture::start().await;
    let curve = Secp256k1::new();
    let key = SecretKey::from_slice(&[5; 32]).unwrap();
    let bare = InvoiceBuilder::new(Currency::Regtest)
        .description("no secret".to_owned())
        .payment_hash(sha256::Hash::from_byte_array(PREIMAGE.hash().0))
        .duration_since_epoch(Duration::from_secs(BEGIN_SECS))
        .amount_milli_satoshis(5_000_000)
        .build_raw()
        .unwrap()
        .sign(|digest| Ok::<_, Infallible>(curve.sign_ecdsa_recoverable(digest, &key)))
        .unwrap();

    assert_eq!(
        fixture.outcome(payment(&bare.to_string())).await,
        "UNKNOWN: payment request must contain either a payment address or blinded paths"
    );
}

// case: pay_no_balance, pay_unknown_hash
#[tokio::test]
async fn a_payment_without_a_route_or_funds_fails_with_the_reason() {
    let mut fixture = Fixture::start_with(|config| config.channel_sats = 1_000_000).await;
    let dear = fixture.sim.invoice(BUYER, 3_000_000).unwrap();
    assert_eq!(fixture.outcome(payment(&dear)).await, "FAILED/INSUFFICIENT_BALANCE");
    let unknown = SendPaymentRequest {
        dest: hex::decode(fixture.sim.node(BUYER).unwrap().pubkey).unwrap(),
        payment_hash: PREIMAGE.hash().0.to_vec(),
        payment_addr: vec![1; 32],
        amt: 5_000,
        ..Default::default()
    };
    assert_eq!(fixture.outcome(unknown).await, "FAILED/INCORRECT_PAYMENT_DETAILS");
    fixture.check_laws();
}

// case: pay_fee_0_direct, pay_fee_0_routed, pay_fee_routed, pay_cltv_short_routed
#[tokio::test]
async fn a_routed_payment_costs_its_fee_and_a_direct_one_nothing() {
    let mut fixture = Fixture::start().await;
    fixture.sim.add_node("router").await.unwrap();
    fixture.sim.add_node("far").await.unwrap();
    let sats = 10_000_000;
    fixture.sim.open_channel_with((HUB, sats), ("router", sats)).unwrap();
    fixture.sim.open_channel_with(("router", sats), ("far", sats)).unwrap();
    fixture.sim.set_forwarding_fee("router", 1_000, 100).unwrap();
    let (direct, routed) =
        (fixture.sim.invoice(BUYER, 5_000).unwrap(), fixture.sim.invoice("far", 5_000).unwrap());
    let with = |text: &str, fee_limit_sat, cltv_limit| SendPaymentRequest {
        fee_limit_sat,
        cltv_limit,
        ..payment(text)
    };

    assert_eq!(fixture.outcome(with(&direct, 0, 432)).await, "SUCCEEDED");
    assert_eq!(fixture.outcome(with(&routed, 0, 432)).await, "FAILED/NO_ROUTE");
    assert_eq!(fixture.outcome(with(&routed, 2, 90)).await, "FAILED/NO_ROUTE");
    let before = fixture.sim.balance(HUB).unwrap().available_msat;
    let (updates, _) = rest(fixture.send(with(&routed, 2, 432)).await.unwrap()).await;

    assert_eq!(status_text(updates.last().unwrap()), "SUCCEEDED");
    assert_eq!(updates.last().unwrap().fee_msat, 1_500);
    assert_eq!(fixture.sim.balance(HUB).unwrap().available_msat, before - 5_001_500);
    fixture.check_laws();
}

// case: stuck_payee, auto_cancel
#[tokio::test]
async fn a_payee_that_holds_keeps_a_payment_in_flight_until_its_lnd_gives_it_back() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture.sim.invoice(BUYER, 5_000).unwrap();
    fixture.sim.set_payee(BUYER, Payee::Holds).unwrap();
    let hash = hash_of(&fixture.sim, BUYER);
    let mut stream = fixture.send(payment(&bolt11)).await.unwrap();
    stream.message().await.unwrap();
    let held = stream.message().await.unwrap().unwrap();
    assert_eq!((status_text(&held), held.htlcs.len()), ("IN_FLIGHT".to_owned(), 1));
    fixture.advance(600);
    let channels = fixture.client.lightning().list_channels(ListChannelsRequest::default()).await;
    let listed = channels.unwrap().into_inner().channels;
    assert!(listed.iter().any(|c| c.pending_htlcs.iter().any(|h| h.hash_lock == hash.0)));
    assert_eq!(fixture.sim.find_payment(HUB, hash).unwrap().status(), PaymentStatus::InFlight);

    fixture.sim.mine(80 + 3 - 18);

    let (last, end) = rest(stream).await;
    assert_eq!(status_text(&last[0]), "FAILED/INCORRECT_PAYMENT_DETAILS");
    assert!(end.is_ok());
    fixture.check_laws();
}

// case: no_inflight
#[tokio::test]
async fn without_in_flight_updates_nothing_comes_before_the_end() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture.sim.invoice(BUYER, 5_000).unwrap();
    fixture.sim.set_payee(BUYER, Payee::Holds).unwrap();
    let hash = hash_of(&fixture.sim, BUYER);
    let request = SendPaymentRequest { no_inflight_updates: true, ..payment(&bolt11) };
    let opened = tokio::time::timeout(Duration::from_millis(200), fixture.send(request)).await;
    assert!(opened.is_err(), "not even headers");

    fixture.sim.payee_settles(BUYER, hash).unwrap();

    let request = TrackPaymentRequest { payment_hash: hash.0.to_vec(), no_inflight_updates: true };
    let tracked = fixture.client.router().track_payment_v2(request).await.unwrap().into_inner();
    assert_eq!(states(&rest(tracked).await.0), seen(&[("SUCCEEDED", 1)]));
}

// case: own_hash
#[tokio::test]
async fn an_invoice_of_another_node_with_the_hash_of_an_own_hold_is_paid() {
    let mut fixture = Fixture::start().await;
    fixture.add_held().await;
    let mut buyer = client(&fixture.sim, BUYER).await;
    let request = fedimint_tonic_lnd::invoicesrpc::AddHoldInvoiceRequest {
        hash: PREIMAGE.hash().0.to_vec(),
        value: 10_000,
        ..Default::default()
    };
    let added = buyer.invoices().add_hold_invoice(request).await.unwrap().into_inner();

    let mut stream = fixture.send(payment(&added.payment_request)).await.unwrap();

    assert_eq!(status_text(&stream.message().await.unwrap().unwrap()), "IN_FLIGHT");
    fixture.check_laws();
}

// case: dangling
#[tokio::test]
async fn a_dangling_payment_stays_in_flight_in_no_channel_until_its_channel_is_closed() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture.sim.invoice(BUYER, 5_000).unwrap();
    let hash = hash_of(&fixture.sim, BUYER);
    fixture.sim.dangle_next(HUB).unwrap();
    let mut stream = fixture.send(payment(&bolt11)).await.unwrap();
    stream.message().await.unwrap();
    fixture.sim.kill(HUB).await;
    fixture.sim.start_node(HUB).await.unwrap();
    fixture.sim.mine(100);

    assert_eq!(fixture.outcome(payment(&bolt11)).await, "ALREADY_EXISTS: payment is in transition");
    let channels = fixture.client.lightning().list_channels(ListChannelsRequest::default()).await;
    assert!(channels.unwrap().into_inner().channels.iter().all(|c| c.pending_htlcs.is_empty()));
    fixture.check_laws();

    fixture.sim.end_dangling(HUB, hash).unwrap();
    let (tracked, _) = rest(fixture.track(hash).await.unwrap()).await;
    assert_eq!(status_text(&tracked[0]), "FAILED/NO_ROUTE");
    assert_eq!(fixture.outcome(payment(&bolt11)).await, "SUCCEEDED");
    fixture.check_laws();
}

// case: payee_offline
#[tokio::test]
async fn an_offline_payee_is_no_route_and_paid_when_it_is_back() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture.sim.invoice(BUYER, 5_000).unwrap();
    fixture.sim.stop(BUYER).await;
    assert_eq!(fixture.outcome(payment(&bolt11)).await, "FAILED/NO_ROUTE");

    fixture.sim.start_node(BUYER).await.unwrap();

    assert_eq!(fixture.outcome(payment(&bolt11)).await, "SUCCEEDED");
    fixture.check_laws();
}

// case: links_down, startup
#[tokio::test]
async fn without_active_channels_a_payment_fails_locally() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture.sim.invoice(BUYER, 5_000).unwrap();
    fixture.sim.set_channels_active(HUB, false).unwrap();
    assert_eq!(fixture.outcome(payment(&bolt11)).await, "FAILED/INSUFFICIENT_BALANCE");
    fixture.sim.set_channels_active(HUB, true).unwrap();
    fixture.sim.set_state(HUB, LndState::RpcActive).unwrap();
    assert_eq!(fixture.outcome(payment(&bolt11)).await, "FAILED/INSUFFICIENT_BALANCE");

    fixture.sim.set_state(HUB, LndState::ServerActive).unwrap();

    assert_eq!(fixture.outcome(payment(&bolt11)).await, "SUCCEEDED");
}

// case: track_unknown; what an operator's DeletePayment leaves behind
#[tokio::test]
async fn a_deleted_payment_is_not_found_while_its_htlc_is_in_flight() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture.sim.invoice(BUYER, 5_000).unwrap();
    fixture.sim.set_payee(BUYER, Payee::Holds).unwrap();
    let hash = hash_of(&fixture.sim, BUYER);
    let before = fixture.sim.balance(BUYER).unwrap().available_msat;
    fixture.send(payment(&bolt11)).await.unwrap();
    fixture.sim.delete_payment(HUB, hash).unwrap();
    assert_eq!(answer(fixture.track(hash).await), "NOT_FOUND: payment isn't initiated");

    fixture.sim.payee_settles(BUYER, hash).unwrap();

    assert_eq!(fixture.sim.balance(BUYER).unwrap().available_msat, before + 5_000_000);
    fixture.check_laws();
}

// case: pay_fee_0_routed; the handle's way to the same answer
#[tokio::test]
async fn a_failure_can_be_set_for_a_number_of_payments() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture.sim.invoice(BUYER, 5_000).unwrap();
    fixture.sim.fail_payments(HUB, FailureReason::Timeout, 2).unwrap();

    assert_eq!(fixture.outcome(payment(&bolt11)).await, "FAILED/TIMEOUT");
    assert_eq!(fixture.outcome(payment(&bolt11)).await, "FAILED/TIMEOUT");
    assert_eq!(fixture.outcome(payment(&bolt11)).await, "SUCCEEDED");
}

// case: none; LND's paging
#[tokio::test]
async fn payments_are_listed_oldest_first_and_in_pages() {
    let mut fixture = Fixture::start().await;
    for _ in 0..3 {
        let bolt11 = fixture.sim.invoice(BUYER, 5_000).unwrap();
        fixture.outcome(payment(&bolt11)).await;
    }
    let request = ListPaymentsRequest { index_offset: 1, max_payments: 1, ..Default::default() };

    let page = fixture.client.lightning().list_payments(request).await.unwrap().into_inner();

    assert_eq!(page.payments.iter().map(|p| p.payment_index).collect::<Vec<_>>(), [2]);
    assert_eq!((page.first_index_offset, page.last_index_offset), (2, 2));
}

// case: cancelable
#[tokio::test]
async fn a_payment_continues_without_its_stream() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture.sim.invoice(BUYER, 5_000).unwrap();
    fixture.sim.set_payee(BUYER, Payee::Holds).unwrap();
    let hash = hash_of(&fixture.sim, BUYER);
    drop(fixture.send(payment(&bolt11)).await.unwrap());

    fixture.sim.payee_settles(BUYER, hash).unwrap();

    let (tracked, _) = rest(fixture.track(hash).await.unwrap()).await;
    assert_eq!(status_text(&tracked[0]), "SUCCEEDED");
}

// case: decode_other_network
#[tokio::test]
async fn a_decoded_invoice_has_the_terms_it_was_made_with() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture.add_hold(|request| request.memo = "a memo".to_owned()).await.unwrap();

    let request = lnrpc::PayReqString { pay_req: bolt11 };
    let decoded = fixture.client.lightning().decode_pay_req(request).await.unwrap().into_inner();

    assert_eq!(decoded.destination, fixture.sim.node(HUB).unwrap().pubkey);
    assert_eq!(decoded.payment_hash, PREIMAGE.hash().to_string());
    assert_eq!((decoded.num_satoshis, decoded.cltv_expiry), (10_000, 144));
    assert_eq!(decoded.description, "a memo");
    let other = lnrpc::PayReqString { pay_req: "lntb1".to_owned() };
    let refused = fixture.client.lightning().decode_pay_req(other).await.unwrap_err();
    assert!(error_text(&refused).starts_with("UNKNOWN: "));
}

// case: sub_to_canceled; a wallet is an LND of its own
#[tokio::test]
async fn a_wallets_own_endpoint_pays_a_hold_invoice() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture.add_hold(|_| ()).await.unwrap();
    let mut seller = client(&fixture.sim, SELLER).await;
    let stream = seller.router().send_payment_v2(payment(&bolt11)).await.unwrap().into_inner();

    fixture.cancel().await.unwrap();

    let (updates, _) = rest(stream).await;
    assert_eq!(
        states(&updates),
        seen(&[("IN_FLIGHT", 0), ("IN_FLIGHT", 1), ("FAILED/INCORRECT_PAYMENT_DETAILS", 1)])
    );
}
