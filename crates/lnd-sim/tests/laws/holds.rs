//! Hold invoices: added, watched, held, settled, canceled, expired.

use std::time::Duration;

use fedimint_tonic_lnd::invoicesrpc::lookup_invoice_msg::InvoiceRef;
use fedimint_tonic_lnd::invoicesrpc::{LookupInvoiceMsg, SettleInvoiceMsg};
use fedimint_tonic_lnd::lnrpc::invoice::InvoiceState::{Accepted, Canceled, Open, Settled};
use fedimint_tonic_lnd::lnrpc::payment::PaymentStatus;
use fedimint_tonic_lnd::lnrpc::{Invoice, InvoiceHtlcState};
use lnd_sim::{HUB, PaymentHash, Rpc};

use crate::fixture::{
    Fixture, PREIMAGE, SELLER, answer, client, error_text, payment, rest, status_text,
};

fn states(seen: &[Invoice]) -> Vec<&'static str> {
    seen.iter().map(|invoice| invoice.state().as_str_name()).collect()
}

// case: add_duplicate
#[tokio::test]
async fn a_hash_can_be_added_only_once_whatever_the_state_of_its_invoice() {
    let mut fixture = Fixture::start().await;
    let refused = "UNKNOWN: invoice with payment hash already exists";

    fixture.add_hold(|_| ()).await.unwrap();
    assert_eq!(answer(fixture.add_hold(|_| ()).await), refused);
    fixture.cancel().await.unwrap();
    assert_eq!(answer(fixture.add_hold(|_| ()).await), refused);
    let other = |r: &mut fedimint_tonic_lnd::invoicesrpc::AddHoldInvoiceRequest| {
        r.hash = lnd_sim::Preimage([8; 32]).hash().0.to_vec();
    };
    let bolt11 = fixture.add_hold(other).await.unwrap();
    fixture.sim.pay(SELLER, &bolt11).unwrap();
    assert_eq!(answer(fixture.add_hold(other).await), refused);
    let preimage = vec![8; 32];
    fixture.client.invoices().settle_invoice(SettleInvoiceMsg { preimage }).await.unwrap();
    assert_eq!(answer(fixture.add_hold(other).await), refused);
    fixture.check_laws();
}

// case: add_defaults
#[tokio::test]
async fn zeros_mean_one_day_eighty_blocks_and_any_amount() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture
        .add_hold(|request| {
            request.value = 0;
            request.cltv_expiry = 0;
        })
        .await
        .unwrap();

    let added = fixture.lookup().await.unwrap();

    assert_eq!((added.expiry, added.cltv_expiry, added.value), (86_400, 80, 0));
    let mut seller = client(&fixture.sim, SELLER).await;
    let mut request = payment(&bolt11);
    request.amt = 777;
    let mut stream = seller.router().send_payment_v2(request).await.unwrap().into_inner();
    stream.message().await.unwrap();
    assert_eq!(fixture.lookup().await.unwrap().amt_paid_sat, 777);
}

// case: add_limits
#[tokio::test]
async fn terms_out_of_bounds_are_refused_with_lnds_text() {
    type Change = fn(&mut fedimint_tonic_lnd::invoicesrpc::AddHoldInvoiceRequest);
    let cases: &[(Change, &str)] = &[
        (|r| r.cltv_expiry = 23, "UNKNOWN: CLTV delta of 23 must be greater than minimum of 24"),
        (
            |r| r.cltv_expiry = 65_536,
            "UNKNOWN: CLTV delta of 65536 is too large, max accepted is: 65535",
        ),
        (
            |r| r.expiry = 31_536_001,
            "UNKNOWN: expiry of 3.1536001e+07 seconds greater than max expiry of 3.1536e+07 seconds",
        ),
        (|r| r.value_msat = 1, "UNKNOWN: sat and msat arguments are mutually exclusive"),
        (|r| r.value = -1, "UNKNOWN: amount cannot be negative"),
        (|r| r.memo = "x".repeat(640), "UNKNOWN: data length too big to fit within 10 bits: 1024"),
        (|r| r.memo = "x".repeat(1025), "UNKNOWN: memo too large: 1025 bytes (maxsize=1024)"),
        (|r| r.hash = vec![1; 31], "UNKNOWN: invalid hash length of 31, want 32"),
        (|r| r.hash = vec![], "UNKNOWN: invalid hash length of 0, want 32"),
        (|r| r.expiry = -1, "OK"),
        (|r| r.hash = vec![0; 32], "OK"),
    ];
    let mut fixture = Fixture::start().await;
    for (change, expected) in cases {
        assert_eq!(answer(fixture.add_hold(*change).await), *expected);
    }
    for (nth, change) in [
        (|r| r.cltv_expiry = 24) as Change,
        |r| r.cltv_expiry = 65_535,
        |r| r.expiry = 31_536_000,
        |r| r.memo = "x".repeat(639),
    ]
    .iter()
    .enumerate()
    {
        let added = fixture
            .add_hold(|request| {
                change(request);
                request.hash = vec![u8::try_from(nth).unwrap() + 1; 32];
            })
            .await;
        assert_eq!(answer(added), "OK");
    }
}

// case: sub_to_settled
#[tokio::test]
async fn a_subscription_reports_the_state_then_every_change_and_ends() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture.add_hold(|_| ()).await.unwrap();
    let stream = fixture.subscribe().await.unwrap();
    fixture.sim.pay(SELLER, &bolt11).unwrap();
    fixture.settle().await.unwrap();

    let (seen, end) = rest(stream).await;

    assert_eq!(states(&seen), ["OPEN", "ACCEPTED", "SETTLED"]);
    assert!(end.is_ok());
    assert_eq!(seen[1].r_preimage, Vec::<u8>::new());
    assert_eq!(seen[2].r_preimage, PREIMAGE.0);
    let (replayed, end) = rest(fixture.subscribe().await.unwrap()).await;
    assert_eq!((states(&replayed), end.is_ok()), (vec!["SETTLED"], true));
}

// case: sub_to_canceled
#[tokio::test]
async fn a_canceled_hold_ends_its_subscription_and_fails_the_payer() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture.add_hold(|_| ()).await.unwrap();
    let stream = fixture.subscribe().await.unwrap();
    fixture.sim.pay(SELLER, &bolt11).unwrap();
    fixture.cancel().await.unwrap();

    let (seen, end) = rest(stream).await;

    assert_eq!((states(&seen), end.is_ok()), (vec!["OPEN", "ACCEPTED", "CANCELED"], true));
    let paid = fixture.sim.find_payment(SELLER, PREIMAGE.hash()).unwrap();
    assert_eq!(status_text(&paid), "FAILED/INCORRECT_PAYMENT_DETAILS");
    assert_eq!(seen[2].amt_paid_msat, 10_000_000, "the amount stays after a cancel");
    fixture.check_laws();
}

// case: sub_unknown
#[tokio::test]
async fn a_subscription_to_an_unknown_hash_sends_no_headers() {
    let mut fixture = Fixture::start().await;

    let opened = tokio::time::timeout(Duration::from_millis(200), fixture.subscribe()).await;

    assert!(opened.is_err());
}

// case: sub_before_add
#[tokio::test]
async fn a_subscription_made_before_the_invoice_delivers_it() {
    let mut fixture = Fixture::start().await;
    let mut early = client(&fixture.sim, HUB).await;
    let request = fedimint_tonic_lnd::invoicesrpc::SubscribeSingleInvoiceRequest {
        r_hash: PREIMAGE.hash().0.to_vec(),
    };
    let follows = async {
        rest(early.invoices().subscribe_single_invoice(request).await.unwrap().into_inner()).await
    };
    let acts = async {
        fixture.until(|sim| sim.calls(Rpc::SubscribeSingleInvoice) == 1).await;
        fixture.add_held().await;
        fixture.settle().await.unwrap();
    };

    let ((seen, end), ()) = tokio::join!(follows, acts);

    assert_eq!((states(&seen), end.is_ok()), (vec!["OPEN", "ACCEPTED", "SETTLED"], true));
}

// case: settle_twice, settle_open, settle_canceled, settle_unknown, settle_short_preimage
#[tokio::test]
async fn settling_is_idempotent_and_refused_where_nothing_is_held() {
    let mut fixture = Fixture::start().await;
    assert_eq!(answer(fixture.settle().await), "UNKNOWN: unable to locate invoice");
    let short = SettleInvoiceMsg { preimage: vec![7; 31] };
    assert_eq!(
        answer(fixture.client.invoices().settle_invoice(short).await),
        "UNKNOWN: invalid preimage length of 31, want 32"
    );
    let bolt11 = fixture.add_hold(|_| ()).await.unwrap();
    assert_eq!(answer(fixture.settle().await), "UNKNOWN: invoice still open");
    fixture.sim.pay(SELLER, &bolt11).unwrap();
    assert_eq!(answer(fixture.settle().await), "OK");
    assert_eq!(answer(fixture.settle().await), "OK");
    assert_eq!(answer(fixture.cancel().await), "UNKNOWN: invoice already settled");
    assert_eq!(fixture.state().await, Settled);
    fixture.check_laws();
}

// case: settle_canceled_held, cancel_twice, cancel_unknown
#[tokio::test]
async fn canceling_is_idempotent_and_final() {
    let mut fixture = Fixture::start().await;
    assert_eq!(answer(fixture.cancel().await), "UNKNOWN: unable to locate invoice");
    fixture.add_held().await;
    assert_eq!(answer(fixture.cancel().await), "OK");
    assert_eq!(answer(fixture.cancel().await), "OK");
    assert_eq!(answer(fixture.settle().await), "UNKNOWN: invoice already canceled");
    fixture.check_laws();
}

#[tokio::test]
async fn a_node_that_never_had_an_invoice_answers_with_two_different_codes() {
    let mut fixture = Fixture::start().await;

    assert_eq!(answer(fixture.lookup().await), "UNKNOWN: there are no existing invoices");
    assert_eq!(answer(fixture.lookup_v1().await), "NOT_FOUND: there are no existing invoices");

    assert_eq!(answer(fixture.settle().await), "UNKNOWN: unable to locate invoice");
}

// case: lookup_v2_unknown, lookup_v2_empty, lookup_v1_unknown, lookup_v2_canceled
#[tokio::test]
async fn only_an_unknown_hash_is_not_found() {
    let mut fixture = Fixture::start().await;
    fixture.sim.invoice(HUB, 1).unwrap();
    let unlocated = "NOT_FOUND: unable to locate invoice";
    assert_eq!(answer(fixture.lookup().await), unlocated);
    assert_eq!(answer(fixture.lookup_v1().await), unlocated);
    let empty = LookupInvoiceMsg::default();
    let refused = fixture.client.invoices().lookup_invoice_v2(empty).await;
    assert_eq!(answer(refused), "INVALID_ARGUMENT: invoice ref must be set");

    fixture.add_hold(|_| ()).await.unwrap();
    fixture.cancel().await.unwrap();

    let canceled = fixture.lookup().await.unwrap();
    let by_addr = LookupInvoiceMsg {
        invoice_ref: Some(InvoiceRef::PaymentAddr(canceled.payment_addr.clone())),
        ..Default::default()
    };
    let found = fixture.client.invoices().lookup_invoice_v2(by_addr).await.unwrap().into_inner();
    assert_eq!((canceled.state(), found.state()), (Canceled, Canceled));
}

// case: expiry_open, expiry_accepted
#[tokio::test]
async fn an_expired_invoice_is_canceled_if_open_and_kept_if_held() {
    let mut fixture = Fixture::start().await;
    let open = lnd_sim::Preimage([8; 32]).hash();
    let bolt11 = fixture.add_hold(|r| r.expiry = 2).await.unwrap();
    fixture.sim.pay(SELLER, &bolt11).unwrap();
    let unpaid = fixture
        .add_hold(|request| {
            request.hash = open.0.to_vec();
            request.expiry = 2;
        })
        .await
        .unwrap();

    fixture.advance(2);

    assert_eq!(fixture.sim.find_invoice(HUB, open).unwrap().state(), Canceled);
    assert_eq!(fixture.state().await, Accepted);
    assert_eq!(answer(fixture.settle().await), "OK");
    fixture.advance(1);
    let refused = fixture.sim.pay(SELLER, &unpaid).unwrap_err().to_string();
    assert!(refused.contains("invoice expired. Valid until 2026-11-21 15:00:02 +0000 UTC"));
    fixture.check_laws();
}

// case: amounts_and_secrets
#[tokio::test]
async fn overpaying_is_accepted_and_underpaying_and_wrong_secrets_are_refused() {
    let mut fixture = Fixture::start().await;
    fixture.add_hold(|_| ()).await.unwrap();
    let invoice = fixture.lookup().await.unwrap();
    let mut seller = client(&fixture.sim, SELLER).await;
    let hub = hex::decode(fixture.sim.node(HUB).unwrap().pubkey).unwrap();
    let bare =
        |amt, payment_addr, final_cltv_delta| fedimint_tonic_lnd::routerrpc::SendPaymentRequest {
            dest: hub.clone(),
            payment_hash: PREIMAGE.hash().0.to_vec(),
            amt,
            payment_addr,
            final_cltv_delta,
            ..Default::default()
        };
    let addr = invoice.payment_addr;
    for wrong in [
        bare(9_999, addr.clone(), 144),
        bare(10_000, vec![1; 32], 144),
        bare(10_000, addr.clone(), 100),
    ] {
        let stream = seller.router().send_payment_v2(wrong).await.unwrap().into_inner();
        let (seen, _) = rest(stream).await;
        assert_eq!(status_text(seen.last().unwrap()), "FAILED/INCORRECT_PAYMENT_DETAILS");
        assert_eq!(fixture.state().await, Open);
    }

    seller.router().send_payment_v2(bare(100_000, addr, 144)).await.unwrap();

    let held = fixture.lookup().await.unwrap();
    assert_eq!((held.state(), held.amt_paid_msat), (Accepted, 100_000_000));
    fixture.check_laws();
}

// case: second_payer
#[tokio::test]
async fn a_second_payer_is_failed_back_and_the_first_stays_held() {
    let mut fixture = Fixture::start().await;
    let bolt11 = fixture.add_held().await;

    let second = fixture.sim.pay("buyer", &bolt11).unwrap();

    assert_eq!(status_text(&second), "FAILED/INCORRECT_PAYMENT_DETAILS");
    assert_eq!(fixture.lookup().await.unwrap().htlcs.len(), 1);
    assert_eq!(fixture.state().await, Accepted);
    fixture.check_laws();
}

// case: auto_cancel
#[tokio::test]
async fn a_held_invoice_is_refunded_eighteen_blocks_before_its_expiry_and_not_earlier() {
    let mut fixture = Fixture::start().await;
    fixture.add_held().await;
    let htlc = fixture.lookup().await.unwrap().htlcs[0].clone();
    assert_eq!(htlc.accept_height, i32::try_from(fixture.sim.height()).unwrap());
    assert_eq!(htlc.expiry_height, htlc.accept_height + 144 + 3);

    fixture.sim.mine(144 + 3 - 18 - 1);
    assert_eq!(fixture.state().await, Accepted);
    fixture.sim.mine(1);

    assert_eq!(fixture.state().await, Canceled);
    assert_eq!(answer(fixture.settle().await), "UNKNOWN: invoice already canceled");
    let paid = fixture.sim.find_payment(SELLER, PREIMAGE.hash()).unwrap();
    assert_eq!(status_text(&paid), "FAILED/INCORRECT_PAYMENT_DETAILS");
    fixture.check_laws();
}

// case: auto_cancel; delta 12 is LND before 0.21
#[tokio::test]
async fn the_refund_delta_is_a_setting() {
    let mut fixture = Fixture::start_with(|config| config.hold_expiry_delta = 12).await;
    fixture.add_held().await;

    fixture.sim.mine(144 + 3 - 13);
    assert_eq!(fixture.state().await, Accepted);
    fixture.sim.mine(1);

    assert_eq!(fixture.state().await, Canceled);
}

// case: settle_cancel_race
#[tokio::test]
async fn of_concurrent_settle_and_cancel_exactly_one_wins() {
    let mut fixture = Fixture::start().await;
    fixture.add_held().await;
    let (mut one, mut two) = (client(&fixture.sim, HUB).await, client(&fixture.sim, HUB).await);
    let settle = SettleInvoiceMsg { preimage: PREIMAGE.0.to_vec() };
    let cancel = fedimint_tonic_lnd::invoicesrpc::CancelInvoiceMsg {
        payment_hash: PREIMAGE.hash().0.to_vec(),
    };

    let (settled, canceled) =
        tokio::join!(one.invoices().settle_invoice(settle), two.invoices().cancel_invoice(cancel));

    match (settled, canceled) {
        (Ok(_), Err(lost)) => assert_eq!(error_text(&lost), "UNKNOWN: invoice already settled"),
        (Err(lost), Ok(_)) => assert_eq!(error_text(&lost), "UNKNOWN: invoice already canceled"),
        both => panic!("{both:?}"),
    }
    fixture.check_laws();
}

// case: gc_canceled
#[tokio::test]
async fn a_deleted_invoice_is_unknown_to_every_call() {
    let mut fixture = Fixture::start().await;
    fixture.add_hold(|_| ()).await.unwrap();
    fixture.cancel().await.unwrap();
    fixture.sim.delete_invoice(HUB, PREIMAGE.hash()).unwrap();

    assert_eq!(answer(fixture.lookup().await), "NOT_FOUND: unable to locate invoice");
    assert_eq!(answer(fixture.cancel().await), "UNKNOWN: unable to locate invoice");
    assert_eq!(answer(fixture.settle().await), "UNKNOWN: unable to locate invoice");
    assert_eq!(answer(fixture.add_hold(|_| ()).await), "OK");
}

// case: sub_to_settled; with the balances
#[tokio::test]
async fn a_settled_hold_moves_exactly_its_amount_from_payer_to_payee() {
    let mut fixture = Fixture::start().await;
    let before = fixture.sim.balance(SELLER).unwrap().available_msat;
    let node_before = fixture.sim.balance(HUB).unwrap().available_msat;
    fixture.add_held().await;
    let held = fixture.sim.balance(SELLER).unwrap();
    assert_eq!(held.outgoing_held_msat, 10_000_000);
    assert_eq!(fixture.sim.balance(HUB).unwrap().incoming_held_msat, 10_000_000);

    fixture.settle().await.unwrap();

    assert_eq!(fixture.sim.balance(SELLER).unwrap().available_msat, before - 10_000_000);
    assert_eq!(fixture.sim.balance(HUB).unwrap().available_msat, node_before + 10_000_000);
    let paid = fixture.sim.find_payment(SELLER, PREIMAGE.hash()).unwrap();
    assert_eq!(paid.status(), PaymentStatus::Succeeded);
    let htlc = fixture.lookup().await.unwrap().htlcs[0].clone();
    assert_eq!(htlc.state(), InvoiceHtlcState::Settled);
    assert_eq!(PaymentHash::try_from(paid.payment_hash).unwrap(), PREIMAGE.hash());
    fixture.check_laws();
}
