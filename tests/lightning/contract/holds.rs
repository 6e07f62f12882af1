//! Hold invoices.

use std::time::Duration;

use devnet::Lightning;
use mostrod::lightning::{
    AddedHold, InvoiceState, LightningError, LightningNode, NewHold, invoice,
};
use trade::EscrowEvidence::Required;
use trade::{BlockHeight, Destination, HoldStatus, Msats, PaymentHash, PaymentStatus, Sats};

use crate::fixture::{
    AMOUNT, CLTV_DELTA, Escrow, Fixture, HOLD_EXPIRY_DELTA, PAYER_PADDING, all, hold_at, new_hold,
    next, until,
};

// measured: add_duplicate
// spec: E1
pub(crate) async fn adding_a_hold_again_returns_the_existing_hold(
    fixture: &Fixture<impl Lightning>,
) {
    let (hold, preimage) = new_hold();
    let hash = hold.hash;
    let first = fixture.ours.add_hold(hold.clone()).await.expect("added");
    let again = async || fixture.ours.add_hold(hold.clone()).await.expect("adopted");

    assert_eq!(first.state, InvoiceState::Open);
    assert_eq!(again().await, first);
    let bolt11 = first.bolt11;
    fixture.seller_pays(&Escrow { hash, preimage, bolt11: bolt11.clone() }).await;
    assert!(matches!(again().await.state, InvoiceState::Accepted));
    fixture.ours.settle_hold(preimage, Required).await.expect("settled");
    assert_eq!(again().await, AddedHold { bolt11, state: InvoiceState::Settled });
}

// measured: add_duplicate
// spec: E1 D17
pub(crate) async fn a_hold_that_has_ended_is_adopted_in_its_state(
    fixture: &Fixture<impl Lightning>,
) {
    let (canceled, _) = new_hold();
    let (hold, _) = new_hold();
    let expired = NewHold { expiry: Duration::from_secs(1), ..hold };
    for hold in [canceled, expired] {
        let first = fixture.ours.add_hold(hold.clone()).await.expect("added");
        if hold.expiry > Duration::from_secs(1) {
            fixture.ours.cancel_hold(hold.hash).await.expect("canceled");
        } else {
            let is_over = |status: &InvoiceState| *status == InvoiceState::Canceled;
            until(fixture.ours.watch(hold.hash), is_over).await;
        }

        let adopted = fixture.ours.add_hold(hold).await.expect("adopted");

        assert_eq!(adopted, AddedHold { state: InvoiceState::Canceled, ..first });
    }
}

// measured: add_duplicate
// spec: E1
pub(crate) async fn a_hold_of_another_amount_is_never_adopted(fixture: &Fixture<impl Lightning>) {
    let (hold, _) = new_hold();
    fixture.ours.add_hold(hold.clone()).await.expect("added");

    let answer = fixture.ours.add_hold(NewHold { amount: Sats(10_004), ..hold.clone() }).await;

    let Err(LightningError::OtherHold { hash, wanted, found }) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!((hash, wanted, found), (hold.hash, Sats(10_004), 10_003_000));
}

pub(crate) async fn a_hold_invoice_has_the_requested_terms(fixture: &Fixture<impl Lightning>) {
    let escrow = fixture.open_escrow().await;

    let Destination::Bolt11(invoice) = invoice::decode(&escrow.bolt11) else {
        panic!("no invoice: {}", escrow.bolt11)
    };

    let identity = fixture.ours.readiness().await.expect("it is up").identity;
    assert_eq!(invoice.hash, escrow.hash);
    assert_eq!(invoice.amount, AMOUNT.to_msats());
    assert_eq!(invoice.min_final_cltv, CLTV_DELTA);
    assert_eq!((invoice.payee, invoice.network), (identity.key, identity.network));
}

// measured: add_limits
pub(crate) async fn terms_that_lnd_refuses_create_no_invoice(fixture: &Fixture<impl Lightning>) {
    let (hold, _) = new_hold();
    for wrong in [
        NewHold { cltv_delta: 23, ..hold.clone() },
        NewHold { cltv_delta: 65_536, ..hold.clone() },
        NewHold { expiry: Duration::from_secs(31_536_001), ..hold.clone() },
        NewHold { memo: "m".repeat(640), ..hold.clone() },
    ] {
        let answer = fixture.ours.add_hold(wrong).await;
        assert!(matches!(answer, Err(LightningError::Refused { .. })), "{answer:?}");
        let status = fixture.ours.hold_status(hold.hash).await.expect("an answer");
        assert_eq!(status, HoldStatus::Unknown);
    }

    for (cltv_delta, memo_bytes) in [(24, 639), (65_535, 0)] {
        let (hold, _) = new_hold();
        let hold = NewHold { cltv_delta, memo: "m".repeat(memo_bytes), ..hold };
        fixture.ours.add_hold(hold).await.expect("within the limits");
    }
}

// measured: sub_to_settled
pub(crate) async fn a_watch_reports_every_change_up_to_settled(fixture: &Fixture<impl Lightning>) {
    let escrow = fixture.open_escrow().await;
    let mut watch = fixture.ours.watch(escrow.hash);

    assert_eq!(next(&mut watch).await, Some(InvoiceState::Open));
    fixture.seller_pays(&escrow).await;
    assert!(matches!(next(&mut watch).await, Some(InvoiceState::Accepted)));
    fixture.ours.settle_hold(escrow.preimage, Required).await.expect("an answer");
    assert_eq!(all(watch).await, [InvoiceState::Settled]);

    assert_eq!(all(fixture.ours.watch(escrow.hash)).await, [InvoiceState::Settled], "replayed");
}

// measured: sub_to_canceled
pub(crate) async fn a_watch_reports_every_change_up_to_canceled(fixture: &Fixture<impl Lightning>) {
    let open = fixture.open_escrow().await;
    let mut watch = fixture.ours.watch(open.hash);
    assert_eq!(next(&mut watch).await, Some(InvoiceState::Open));
    fixture.ours.cancel_hold(open.hash).await.expect("an answer");
    assert_eq!(all(watch).await, [InvoiceState::Canceled]);

    let held = fixture.held_escrow().await;
    let mut watch = fixture.ours.watch(held.hash);
    assert!(matches!(next(&mut watch).await, Some(InvoiceState::Accepted)));
    fixture.ours.cancel_hold(held.hash).await.expect("an answer");
    assert_eq!(all(watch).await, [InvoiceState::Canceled]);

    assert_eq!(all(fixture.ours.watch(held.hash)).await, [InvoiceState::Canceled], "replayed");
    crate::contract::payments::assert_refused(fixture.end_of_seller_payment(held.hash).await);
}

// measured: sub_unknown
pub(crate) async fn a_watch_of_an_unknown_hash_reports_nothing_and_ends(
    fixture: &Fixture<impl Lightning>,
) {
    let with_short_deadline = fixture.ours.clone().with_deadline(Duration::from_millis(100));
    assert_eq!(all(with_short_deadline.watch(PaymentHash([7; 32]))).await, []);
}

// measured: sub_before_add
pub(crate) async fn a_watch_started_before_the_hold_is_added_reports_it(
    fixture: &Fixture<impl Lightning>,
) {
    let (hold, _) = new_hold();
    let mut watch = fixture.ours.watch(hold.hash);

    let (state, added) = futures::join!(next(&mut watch), fixture.ours.add_hold(hold));

    added.expect("added");
    assert_eq!(state, Some(InvoiceState::Open));
}

// measured: lookup_v1_unknown, settle_unknown, cancel_unknown
pub(crate) async fn an_unknown_hash_is_unknown_to_every_call(fixture: &Fixture<impl Lightning>) {
    let (hold, preimage) = new_hold();
    let node = &fixture.ours;

    assert_eq!(node.hold_status(hold.hash).await.expect("an answer"), HoldStatus::Unknown);
    assert_eq!(
        node.settle_hold(preimage, Required).await.expect("an answer"),
        InvoiceState::Unknown
    );
    assert_eq!(node.cancel_hold(hold.hash).await.expect("an answer"), InvoiceState::Unknown);
}

// measured: settle_twice
// spec: E2
pub(crate) async fn settling_twice_has_the_effect_of_once(fixture: &Fixture<impl Lightning>) {
    let escrow = fixture.held_escrow().await;

    for _ in 0..2 {
        let status = fixture.ours.settle_hold(escrow.preimage, Required).await.expect("an answer");
        assert_eq!(status, InvoiceState::Settled);
    }

    let learned = fixture.end_of_seller_payment(escrow.hash).await;
    let PaymentStatus::Succeeded { receipt, .. } = learned else { panic!("{learned:?}") };
    assert!(receipt == escrow.preimage, "the payment has the preimage");
}

// measured: settle_open
pub(crate) async fn an_open_hold_is_not_settled(fixture: &Fixture<impl Lightning>) {
    let escrow = fixture.open_escrow().await;

    let status = fixture.ours.settle_hold(escrow.preimage, Required).await.expect("an answer");

    assert_eq!(status, InvoiceState::Open);
}

// measured: settle_canceled, settle_canceled_held, lookup_v2_canceled
// spec: E2
pub(crate) async fn a_canceled_hold_is_never_settled(fixture: &Fixture<impl Lightning>) {
    for escrow in [fixture.open_escrow().await, fixture.held_escrow().await] {
        fixture.ours.cancel_hold(escrow.hash).await.expect("an answer");

        let settled = fixture.ours.settle_hold(escrow.preimage, Required).await.expect("an answer");
        let looked_up = fixture.ours.hold_status(escrow.hash).await.expect("an answer");

        assert_eq!((settled, looked_up), (InvoiceState::Canceled, HoldStatus::Canceled));
    }
}

// measured: cancel_twice
// spec: E2
pub(crate) async fn canceling_twice_has_the_effect_of_once(fixture: &Fixture<impl Lightning>) {
    let escrow = fixture.held_escrow().await;

    for _ in 0..2 {
        let status = fixture.ours.cancel_hold(escrow.hash).await.expect("an answer");
        assert_eq!(status, InvoiceState::Canceled);
    }
}

// measured: cancel_settled
// spec: E2
pub(crate) async fn a_settled_hold_is_never_canceled(fixture: &Fixture<impl Lightning>) {
    let escrow = fixture.held_escrow().await;
    fixture.ours.settle_hold(escrow.preimage, Required).await.expect("an answer");

    let status = fixture.ours.cancel_hold(escrow.hash).await.expect("an answer");

    assert_eq!(status, InvoiceState::Settled);
}

// measured: settle_cancel_race
// spec: E2
pub(crate) async fn of_concurrent_settle_and_cancel_one_wins_and_both_report_it(
    fixture: &Fixture<impl Lightning>,
) {
    for _ in 0..5 {
        let escrow = fixture.held_escrow().await;

        let (settled, canceled) = futures::join!(
            fixture.ours.settle_hold(escrow.preimage, Required),
            fixture.ours.cancel_hold(escrow.hash)
        );

        let (settled, canceled) = (settled.expect("an answer"), canceled.expect("an answer"));
        assert_eq!(settled, canceled);
        assert!(matches!(settled, InvoiceState::Settled | InvoiceState::Canceled), "{settled:?}");
    }
}

// spec: E4
pub(crate) async fn an_accepted_hold_has_its_amount_and_expiry_height(
    fixture: &Fixture<impl Lightning>,
) {
    let height = fixture.height().await;
    let escrow = fixture.held_escrow().await;

    let status = fixture.ours.hold_status(escrow.hash).await.expect("an answer");

    let expires_at = BlockHeight(height.0 + CLTV_DELTA + PAYER_PADDING);
    assert_eq!(status, HoldStatus::Accepted { paid: Msats(10_003_000), expires_at });
}

// measured: amounts_and_secrets
// spec: E4 D10 D33
pub(crate) async fn an_overpayment_is_accepted_and_reported(fixture: &Fixture<impl Lightning>) {
    let escrow = fixture.open_escrow().await;
    fixture.pay_other_amount(&escrow.bolt11, Msats(100_030_000)).await;

    assert_eq!(fixture.held_amount(&escrow).await, Msats(100_030_000));
}

// spec: E4 D33
pub(crate) async fn an_escrow_is_exact_to_the_millisat_although_its_channel_shows_whole_sats(
    fixture: &Fixture<impl Lightning>,
) {
    let escrow = fixture.open_escrow().await;
    fixture.pay_other_amount(&escrow.bolt11, Msats(10_003_777)).await;

    assert_eq!(fixture.held_amount(&escrow).await, Msats(10_003_777));
}

// measured: expiry_open
pub(crate) async fn an_unpaid_hold_is_canceled_when_it_expires(fixture: &Fixture<impl Lightning>) {
    let escrow = hold_at(&fixture.ours, short_lived).await;

    assert_eq!(
        all(fixture.ours.watch(escrow.hash)).await,
        [InvoiceState::Open, InvoiceState::Canceled]
    );
}

// measured: expiry_accepted
pub(crate) async fn an_accepted_hold_does_not_expire_by_time(fixture: &Fixture<impl Lightning>) {
    // Long enough for a payment on a busy machine.
    let brief = |hold| NewHold { expiry: Duration::from_secs(5), ..hold };
    let held = hold_at(&fixture.ours, brief).await;
    fixture.seller_pays(&held).await;
    let unpaid = hold_at(&fixture.ours, brief).await;
    until(fixture.ours.watch(unpaid.hash), |status| *status == InvoiceState::Canceled).await;

    let status = fixture.ours.hold_status(held.hash).await.expect("an answer");
    assert!(matches!(status, HoldStatus::Accepted { .. }), "{status:?}");
    let status = fixture.ours.settle_hold(held.preimage, Required).await.expect("an answer");
    assert_eq!(status, InvoiceState::Settled);
}

// measured: auto_cancel
pub(crate) async fn an_accepted_hold_is_refunded_at_its_horizon_and_not_a_block_earlier(
    fixture: &Fixture<impl Lightning>,
) {
    let escrow = fixture.held_escrow().await;
    let status = fixture.ours.hold_status(escrow.hash).await.expect("an answer");
    let HoldStatus::Accepted { expires_at, .. } = status else { panic!("{status:?}") };
    let left = expires_at.0 - HOLD_EXPIRY_DELTA - fixture.height().await.0;

    fixture.mine(left - 1).await;
    assert_eq!(fixture.ours.hold_status(escrow.hash).await.expect("an answer"), status);

    fixture.mine(1).await;
    until(fixture.ours.watch(escrow.hash), |status| *status == InvoiceState::Canceled).await;
    let status = fixture.ours.settle_hold(escrow.preimage, Required).await.expect("an answer");
    assert_eq!(status, InvoiceState::Canceled);
}

fn short_lived(hold: NewHold) -> NewHold {
    NewHold { expiry: Duration::from_secs(1), ..hold }
}
