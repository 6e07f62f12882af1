//! Answers that are lost, late or never come, on the simulated node only.

use devnet::HUB;
use lnd_sim::{Fault, Rpc};
use mostrod::lightning::{InvoiceState, LightningError, LightningNode, Lnd};
use tonic::Code;
use trade::EscrowEvidence::{Required, Waived};
use trade::{FailureReason, HoldStatus, Msats, PaymentHash, PaymentStatus};

use crate::fixture::{all, index, last, new_hold, next, payment, until, with_short_deadline};
use crate::simulated::fixture;

// simulated only: a connection loses bytes, not answers
// spec: E1
#[tokio::test]
async fn a_hold_whose_answer_was_lost_is_adopted() {
    let fixture = fixture().await;
    fixture.network.lose_next_answer(Rpc::AddHoldInvoice);
    let (hold, _) = new_hold();

    let added = fixture.ours.add_hold(hold.clone()).await.expect("adopted");

    assert_eq!(crate::fixture::hash_of(&added.bolt11), hold.hash);
    assert_eq!(fixture.network.calls(Rpc::AddHoldInvoice), 1);
}

// simulated only: a connection loses bytes, not requests
// spec: E1
#[tokio::test]
async fn a_hold_that_never_arrived_is_an_error_and_can_be_added() {
    let fixture = fixture().await;
    fixture.network.fail_next(Rpc::AddHoldInvoice, Code::Unavailable, "gone");
    let (hold, _) = new_hold();

    let answer = fixture.ours.add_hold(hold.clone()).await;

    assert!(matches!(answer, Err(LightningError::Unreachable { .. })), "{answer:?}");
    fixture.ours.add_hold(hold).await.expect("added");
}

// simulated only: a connection loses bytes, not answers
// spec: E2
#[tokio::test]
async fn the_result_of_a_settle_is_looked_up_whatever_it_answered() {
    let fixture = fixture().await;

    let escrow = fixture.held_escrow().await;
    fixture.network.lose_next_answer(Rpc::SettleInvoice);
    let status = fixture.ours.settle_hold(escrow.preimage, Required).await.expect("looked up");
    assert_eq!(status, InvoiceState::Settled);

    let escrow = fixture.held_escrow().await;
    fixture.network.fail_next(Rpc::SettleInvoice, Code::Unknown, "invoice already canceled");
    let status = fixture.ours.settle_hold(escrow.preimage, Required).await.expect("looked up");
    assert!(matches!(status, InvoiceState::Accepted), "{status:?}");
}

// simulated only: a connection loses bytes, not answers
// spec: E2
#[tokio::test]
async fn the_result_of_a_cancel_is_looked_up_whatever_it_answered() {
    let fixture = fixture().await;

    let escrow = fixture.held_escrow().await;
    fixture.network.lose_next_answer(Rpc::CancelInvoice);
    let status = fixture.ours.cancel_hold(escrow.hash).await.expect("looked up");
    assert_eq!(status, InvoiceState::Canceled);

    let escrow = fixture.held_escrow().await;
    fixture.network.fail_next(Rpc::CancelInvoice, Code::NotFound, "unable to locate invoice");
    let status = fixture.ours.cancel_hold(escrow.hash).await.expect("looked up");
    assert!(matches!(status, InvoiceState::Accepted), "{status:?}");
}

// simulated only: a connection loses bytes, not requests
// spec: E3
#[tokio::test]
async fn without_a_lookup_the_result_of_a_settle_is_unknown() {
    let fixture = fixture().await;
    let escrow = fixture.held_escrow().await;
    fixture.network.fail_next(Rpc::LookupInvoice, Code::Unavailable, "gone");

    let answer = fixture.ours.settle_hold(escrow.preimage, Required).await;

    assert!(matches!(answer, Err(LightningError::Unreachable { .. })), "{answer:?}");
}

// measured: deadline_then_effect
// simulated only: real nodes are not frozen here
// spec: E3
#[tokio::test]
async fn a_call_whose_deadline_passed_may_still_take_effect() {
    let fixture = fixture().await;
    let escrow = fixture.held_escrow().await;
    let mut watch = fixture.ours.watch(escrow.hash);
    assert!(matches!(next(&mut watch).await, Some(InvoiceState::Accepted)));
    fixture.network.fault_next(Rpc::SettleInvoice, Fault::Freeze);

    let status = with_short_deadline(&fixture.ours)
        .settle_hold(escrow.preimage, Required)
        .await
        .expect("looked up");
    assert!(matches!(status, InvoiceState::Accepted), "{status:?}");

    fixture.network.thaw();
    assert_eq!(all(watch).await, [InvoiceState::Settled]);
}

// simulated only: a connection loses bytes, not answers
// spec: P5
#[tokio::test]
async fn a_send_whose_answer_was_lost_is_found_by_a_lookup() {
    for fault in [Fault::LoseAnswer, Fault::WithholdAnswer, Fault::End { after: 0 }] {
        let fixture = fixture().await;
        let invoice = fixture.buyer_hold().await;
        fixture.network.fault_next(Rpc::SendPaymentV2, fault.clone());

        let answer = with_short_deadline(&fixture.ours).send(payment(&invoice.bolt11)).await;
        assert!(matches!(answer, Err(LightningError::Unreachable { .. })), "{fault:?}: {answer:?}");

        let status = fixture.ours.payment_status(invoice.hash).await.expect("an answer");
        assert!(matches!(status, PaymentStatus::InFlight { .. }), "{fault:?}: {status:?}");
    }
}

// simulated only: a connection loses bytes, not requests
// spec: P5
#[tokio::test]
async fn a_send_that_never_arrived_is_unknown_and_can_be_made_again() {
    let fixture = fixture().await;
    let invoice = fixture.buyer_hold().await;
    fixture.network.fail_next(Rpc::SendPaymentV2, Code::Unavailable, "gone");

    let answer = fixture.ours.send(payment(&invoice.bolt11)).await;
    assert!(matches!(answer, Err(LightningError::Unreachable { .. })), "{answer:?}");
    let status = fixture.ours.payment_status(invoice.hash).await.expect("an answer");
    assert_eq!(status, PaymentStatus::Unknown);

    let first = fixture.ours.send(payment(&invoice.bolt11)).await.expect("an answer");
    assert!(matches!(first, PaymentStatus::InFlight { .. }), "{first:?}");
}

// simulated only: real streams end early only with their node
// spec: E3
#[tokio::test]
async fn a_watch_that_ends_early_reports_only_what_it_received() {
    for fault in [Fault::Cut { after: 1 }, Fault::End { after: 1 }] {
        let fixture = fixture().await;
        let escrow = fixture.held_escrow().await;
        let held = InvoiceState::Accepted;
        fixture.network.fault_next(Rpc::SubscribeSingleInvoice, fault);

        assert_eq!(all(fixture.ours.watch(escrow.hash)).await, [held]);

        let mut again = fixture.ours.watch(escrow.hash);
        assert_eq!(next(&mut again).await, Some(held));
    }
}

// simulated only: real streams end early only with their node
// spec: P5
#[tokio::test]
async fn a_payment_whose_stream_ends_early_is_still_in_flight() {
    for fault in [Fault::Cut { after: 1 }, Fault::End { after: 1 }] {
        let fixture = fixture().await;
        let invoice = fixture.payment_in_flight().await;
        let flying = fixture.ours.payment_status(invoice.hash).await.expect("an answer");
        fixture.network.fault_next(Rpc::TrackPaymentV2, fault);

        assert_eq!(all(fixture.ours.follow(invoice.hash)).await, [flying]);

        let mut again = fixture.ours.follow(invoice.hash);
        assert_eq!(next(&mut again).await, Some(flying));
    }
}

// simulated only: a matter of milliseconds
// spec: P0 E2
#[tokio::test]
async fn a_hold_whose_htlc_lnd_failed_counts_as_canceled_even_if_lnd_calls_it_accepted() {
    let fixture = fixture().await;
    let escrow = fixture.held_escrow().await;
    fixture.kill(HUB).await;
    let hash = lnd_sim::PaymentHash(escrow.hash.0);
    fixture.network.fail_as_replay(HUB, hash).expect("it was held");
    fixture.start(HUB).await;

    let state = next(&mut fixture.ours.watch(escrow.hash)).await;
    assert!(matches!(state, Some(InvoiceState::Accepted)), "LND reports {state:?}");
    let node = &fixture.ours;
    assert_eq!(node.hold_status(escrow.hash).await.expect("an answer"), HoldStatus::Canceled);
    assert_eq!(
        node.settle_hold(escrow.preimage, Required).await.expect("an answer"),
        InvoiceState::Canceled
    );
    assert_eq!(fixture.network.calls(Rpc::SettleInvoice), 0);
    fixture.end();
}

// simulated only: real nodes list their channels
// spec: D23 INV-3
#[tokio::test]
async fn a_cancel_needs_no_list_of_channels() {
    let fixture = fixture().await;
    let escrow = fixture.held_escrow().await;
    fixture.network.fault_always(Rpc::ListChannels, refuses());

    let state = fixture.ours.cancel_hold(escrow.hash).await.expect("an answer");

    assert_eq!(state, InvoiceState::Canceled);
    assert_eq!(fixture.network.calls(Rpc::ListChannels), 0, "the list was requested");
}

// simulated only: real nodes list their channels
// spec: D23 P0
#[tokio::test]
async fn a_settle_waits_for_the_list_of_channels_unless_that_is_waived() {
    let fixture = fixture().await;
    let escrow = fixture.held_escrow().await;
    fixture.network.fault_always(Rpc::ListChannels, refuses());

    let waits = fixture.ours.settle_hold(escrow.preimage, Required).await;
    assert!(matches!(waits, Err(LightningError::EscrowUnseen { .. })), "{waits:?}");
    assert_eq!(fixture.network.calls(Rpc::SettleInvoice), 0);

    let state = fixture.ours.settle_hold(escrow.preimage, Waived).await.expect("an answer");
    assert_eq!(state, InvoiceState::Settled);
}

// simulated only: real nodes list their channels
// spec: D23 E5 E6 P9
#[tokio::test]
async fn a_node_that_does_not_list_its_channels_has_a_height_and_is_not_ready() {
    let fixture = fixture().await;
    let height = fixture.height().await;
    fixture.network.fault_always(Rpc::ListChannels, refuses());

    let readiness = fixture.ours.readiness().await.expect("it answers");

    assert_eq!((readiness.height, readiness.channels_active), (height, None));
    assert!(!readiness.may_escrow() && !readiness.may_pay(), "{readiness:?}");
    let text = readiness.shortcoming().expect("a shortcoming");
    assert!(text.contains("ListChannels"), "{text}");
}

// simulated only: a matter of milliseconds
// spec: D23 P0 E2
#[tokio::test]
async fn an_escrow_that_is_gone_is_not_settled_even_if_the_channel_list_is_waived() {
    let fixture = fixture().await;
    let escrow = fixture.held_escrow().await;
    let hash = lnd_sim::PaymentHash(escrow.hash.0);
    fixture.network.fail_as_replay(HUB, hash).expect("it was held");

    let state = fixture.ours.settle_hold(escrow.preimage, Waived).await.expect("an answer");

    assert_eq!(state, InvoiceState::Canceled);
    assert_eq!(fixture.network.calls(Rpc::SettleInvoice), 0);
}

// simulated only: real nodes do not count calls
// spec: D33
#[tokio::test]
async fn one_list_of_channels_shows_the_amount_of_an_escrow() {
    let fixture = fixture().await;
    let escrow = fixture.open_escrow().await;
    fixture.ours.hold_status(escrow.hash).await.expect("an answer");
    assert_eq!(fixture.network.calls(Rpc::ListChannels), 0, "an open hold needs no list");
    fixture.seller_pays(&escrow).await;

    fixture.ours.hold_status(escrow.hash).await.expect("an answer");

    assert_eq!(fixture.network.calls(Rpc::ListChannels), 1);
}

// simulated only: shown on real nodes with a real modifier, by `tests/it/nodes/modifier.rs`
// spec: D33 E4
#[tokio::test]
async fn an_htlc_modifier_does_not_change_the_amount_of_an_escrow() {
    for (paid, reported, amount) in [
        (1_000, 10_003_000, 1_000),
        (10_002_999, 10_003_000, 10_002_000),
        (10_003_000, 20_006_000, 10_003_000),
        (10_003_000, 0, 0),
    ] {
        let fixture = fixture().await;
        fixture.network.modify_htlcs(HUB, Some(reported)).expect("the node exists");
        let escrow = fixture.open_escrow().await;
        fixture.pay_other_amount(&escrow.bolt11, Msats(paid)).await;

        assert_eq!(
            fixture.held_amount(&escrow).await,
            Msats(amount),
            "{paid} reported as {reported}"
        );
        fixture.end();
    }
}

fn refuses() -> Fault {
    Fault::Refuse { code: Code::Unknown.into(), text: "the channels cannot be listed".to_owned() }
}

// measured: gc_canceled
// simulated only: LND deletes them only with a setting
// spec: E2
#[tokio::test]
async fn a_canceled_hold_that_lnd_has_deleted_is_unknown_to_every_call() {
    let fixture = fixture().await;
    let escrow = fixture.open_escrow().await;
    fixture.ours.cancel_hold(escrow.hash).await.expect("an answer");
    let hash = lnd_sim::PaymentHash(escrow.hash.0);
    fixture.network.delete_invoice(HUB, hash).expect("it was there");

    let node = &fixture.ours;
    assert_eq!(node.hold_status(escrow.hash).await.expect("an answer"), HoldStatus::Unknown);
    assert_eq!(node.cancel_hold(escrow.hash).await.expect("an answer"), InvoiceState::Unknown);
    assert_eq!(
        node.settle_hold(escrow.preimage, Required).await.expect("an answer"),
        InvoiceState::Unknown
    );
    assert_eq!(all(with_short_deadline(node).watch(escrow.hash)).await, []);
}

// simulated only: LND deletes none in flight
#[tokio::test]
async fn a_payment_that_lnd_has_deleted_is_unknown() {
    let fixture = fixture().await;
    let invoice = fixture.payment_in_flight().await;
    let hash = lnd_sim::PaymentHash(invoice.hash.0);
    fixture.network.delete_payment(HUB, hash).expect("it was there");

    let status = fixture.ours.payment_status(invoice.hash).await.expect("an answer");

    assert_eq!(status, PaymentStatus::Unknown);
}

// measured: dangling
// simulated only: shown on real nodes as a whole trade, by `tests/it/nodes/dangling.rs`
// spec: P12
#[tokio::test]
async fn a_dangling_payment_stays_in_flight_until_its_channel_is_closed() {
    let fixture = fixture().await;
    fixture.network.dangle_next(HUB).expect("the node exists");
    let invoice = fixture.buyer_hold().await;
    let first = fixture.ours.send(payment(&invoice.bolt11)).await.expect("an answer");

    fixture.network.kill(HUB).await;
    fixture.network.start_node(HUB).await.expect("it starts again");
    fixture.network.mine(700);
    assert_eq!(flight(&fixture.ours, invoice.hash).await, index(first));
    let again = fixture.ours.send(payment(&invoice.bolt11)).await.expect("an answer");
    assert_eq!(index(again), index(first), "not sent twice");
    let htlc = fixture.ours.find_htlc(invoice.hash).await.expect("an answer").expect("in flight");
    assert_eq!(htlc.index, index(first));
    assert!(htlc.missing_from.is_some(), "no channel carries it");

    let hash = lnd_sim::PaymentHash(invoice.hash.0);
    fixture.network.end_dangling(HUB, hash).expect("it dangles");
    let end = last(fixture.ours.follow(invoice.hash)).await;
    let PaymentStatus::Failed { reason, .. } = end else { panic!("{end:?}") };
    assert_eq!(reason, FailureReason::NoRoute);

    fixture.ours.send(payment(&invoice.bolt11)).await.expect("an answer");
    let held = |status: &InvoiceState| matches!(status, InvoiceState::Accepted);
    until(fixture.buyer.watch(invoice.hash), held).await;
}

/// The index of a payment that is in flight.
async fn flight(node: &Lnd, hash: PaymentHash) -> u64 {
    match node.payment_status(hash).await.expect("an answer") {
        PaymentStatus::InFlight { index } => index,
        other => panic!("{other:?}"),
    }
}
