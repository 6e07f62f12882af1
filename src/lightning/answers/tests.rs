use fedimint_tonic_lnd::lnrpc::Chain;

use super::*;

const PREIMAGE: Preimage = Preimage([7; 32]);

// spec: E4 D33
#[test]
fn an_escrow_expires_with_its_first_held_part_and_its_amount_is_their_sum() {
    let invoice = Invoice {
        htlcs: vec![
            part(InvoiceHtlcState::Canceled, 9_000, 100),
            InvoiceHtlc { htlc_index: 1, ..part(InvoiceHtlcState::Accepted, 40_000, 147) },
            InvoiceHtlc { htlc_index: 2, ..part(InvoiceHtlcState::Accepted, 60_500, 145) },
        ],
        amt_paid_msat: 109_500,
        ..invoice(LndInvoiceState::Accepted)
    };
    let channels = [channel(0, &[(hash(), 1, 40), (hash(), 2, 60)])];

    assert_eq!(seen(&invoice, &channels), Some(accepted(100_500, 145)));
}

// spec: D33 E4
#[test]
fn the_amount_of_a_part_counts_only_if_its_channel_shows_as_many_whole_sats() {
    for (reported, shown, amount) in [
        (100_300_000, 100_300, 100_300_000),
        (100_300_999, 100_300, 100_300_999),
        (100_300_000, 100_301, 100_300_000),
        (100_300_000, 100_299, 100_299_000),
        (100_300_000, 0, 0),
        (999, 0, 999),
        (0, 100_300, 0),
        (100_300_000, -1, 0),
    ] {
        let held = Invoice {
            htlcs: vec![part(InvoiceHtlcState::Accepted, reported, 145)],
            amt_paid_msat: 100_300_000,
            ..invoice(LndInvoiceState::Accepted)
        };

        let seen = seen(&held, &[channel(0, &[(hash(), 0, shown)])]);
        assert_eq!(seen, Some(accepted(amount, 145)), "{reported} msats of {shown} sats");
    }
}

// spec: D33 E4
#[test]
fn two_parts_over_one_channel_are_told_apart() {
    let over = |htlc_index, reported| InvoiceHtlc {
        chan_id: 5,
        htlc_index,
        ..part(InvoiceHtlcState::Accepted, reported, 145)
    };
    let held = Invoice {
        htlcs: vec![over(7, 60_000), over(8, 40_000)],
        ..invoice(LndInvoiceState::Accepted)
    };
    let other = PaymentHash([9; 32]);
    let worth = |htlcs: &[_]| seen(&held, &[channel(4, &[]), channel(5, htlcs)]);

    assert_eq!(
        worth(&[(other, 6, 9), (hash(), 8, 40), (hash(), 7, 60)]),
        Some(accepted(100_000, 145))
    );
    assert_eq!(worth(&[(hash(), 7, 60), (hash(), 8, 1)]), Some(accepted(61_000, 145)));
    assert_eq!(worth(&[(hash(), 7, 100), (hash(), 8, 0)]), Some(accepted(60_000, 145)));
    assert_eq!(worth(&[(hash(), 7, 100), (other, 8, 40)]), None, "one of them is gone");
}

// spec: D33
#[test]
fn the_amount_of_a_part_in_a_closing_channel_is_unknown() {
    let held = Invoice {
        htlcs: vec![part(InvoiceHtlcState::Accepted, 100_300_000, 145)],
        ..invoice(LndInvoiceState::Accepted)
    };

    assert_eq!(seen(&held, &[]), Some(accepted(0, 145)));
}

// spec: P0 E2
#[test]
fn an_accepted_hold_that_its_channel_does_not_carry_was_given_back() {
    let over = |chan_id| InvoiceHtlc { chan_id, ..part(InvoiceHtlcState::Accepted, 1_000, 145) };
    let held = Invoice { htlcs: vec![over(1), over(2)], ..invoice(LndInvoiceState::Accepted) };
    let (ours, other) = ((hash(), 0, 1), (PaymentHash([9; 32]), 0, 1));
    let gone = |channels: &[Channel]| seen(&held, channels).is_none();

    assert!(!gone(&[channel(1, &[ours]), channel(2, &[other, ours])]), "both are there");
    assert!(gone(&[channel(1, &[ours]), channel(2, &[other])]), "one is gone");
    assert!(!gone(&[channel(1, &[ours])]), "a channel that closes is not listed");
    assert!(!gone(&[]));
}

#[test]
fn the_amount_of_a_canceled_invoice_is_not_held() {
    let invoice = Invoice {
        htlcs: vec![part(InvoiceHtlcState::Canceled, 9_000, 100)],
        amt_paid_msat: 9_000,
        ..invoice(LndInvoiceState::Canceled)
    };
    assert_eq!(
        invoice_state("LookupInvoice", hash(), &invoice).expect("makes sense"),
        InvoiceState::Canceled
    );
}

#[test]
fn an_invoice_that_contradicts_itself_is_no_answer() {
    let other_hash = Invoice { r_hash: vec![9; 32], ..invoice(LndInvoiceState::Settled) };
    let new_state = Invoice { state: 17, ..invoice(LndInvoiceState::Open) };
    let held_by_nothing = invoice(LndInvoiceState::Accepted);
    let held_for_ever = Invoice {
        htlcs: vec![part(InvoiceHtlcState::Accepted, 1, -1)],
        ..invoice(LndInvoiceState::Accepted)
    };

    for invoice in [other_hash, new_state, held_by_nothing, held_for_ever] {
        let answer = invoice_state("LookupInvoice", hash(), &invoice);
        assert!(matches!(answer, Err(LightningError::Nonsense { .. })), "{invoice:?}");
    }
}

// spec: P4
#[test]
fn a_success_comes_with_its_receipt() {
    let payment = Payment {
        payment_preimage: hex::encode(PREIMAGE.0),
        fee_msat: 1_001,
        ..payment(LndPaymentStatus::Succeeded)
    };
    assert_eq!(
        payment_status("TrackPaymentV2", hash(), &payment).expect("makes sense"),
        PaymentStatus::Succeeded { index: 3, receipt: PREIMAGE, fee: Msats(1_001) }
    );
}

// spec: P4
#[test]
fn a_success_with_another_preimage_is_no_answer() {
    for preimage in [String::new(), hex::encode([8; 32]), hex::encode([7; 31]), "x".repeat(64)] {
        let payment =
            Payment { payment_preimage: preimage, ..payment(LndPaymentStatus::Succeeded) };
        let answer = payment_status("TrackPaymentV2", hash(), &payment);
        assert!(matches!(answer, Err(LightningError::Nonsense { .. })));
    }
}

#[test]
fn an_update_of_another_payment_is_not_an_answer() {
    let payment =
        Payment { payment_hash: hex::encode([9; 32]), ..payment(LndPaymentStatus::Failed) };
    let answer = payment_status("TrackPaymentV2", hash(), &payment);
    assert!(matches!(answer, Err(LightningError::Nonsense { .. })));
}

#[test]
fn a_status_that_lnd_invents_is_not_final() {
    let initiated = payment(LndPaymentStatus::Initiated);
    let invented = Payment { status: 99, ..payment(LndPaymentStatus::InFlight) };

    for payment in [initiated, invented] {
        let status = payment_status("TrackPaymentV2", hash(), &payment).expect("makes sense");
        assert_eq!(status, PaymentStatus::InFlight { index: 3 });
    }
}

#[test]
fn a_failure_keeps_lnds_reason() {
    for (lnd, ours) in [
        (0, FailureReason::Error),
        (1, FailureReason::Timeout),
        (2, FailureReason::NoRoute),
        (3, FailureReason::Error),
        (4, FailureReason::IncorrectPaymentDetails),
        (5, FailureReason::InsufficientBalance),
        (6, FailureReason::Canceled),
        (99, FailureReason::Error),
    ] {
        let payment = Payment { failure_reason: lnd, ..payment(LndPaymentStatus::Failed) };
        assert_eq!(
            payment_status("TrackPaymentV2", hash(), &payment).expect("makes sense"),
            PaymentStatus::Failed { index: 3, reason: ours }
        );
    }
}

#[test]
fn the_error_of_a_stopped_node_has_a_remedy() {
    assert!(is_active(WalletState::ServerActive as i32).expect("answers"));
    assert!(!is_active(WalletState::RpcActive as i32).expect("answers"));
    for (state, remedy) in [
        (WalletState::Locked as i32, "LND's wallet is locked: unlock it"),
        (WalletState::NonExisting as i32, "LND has no wallet yet: create one"),
        (WalletState::Unlocked as i32, "LND is still starting: wait for it"),
        (WalletState::WaitingToStart as i32, "LND is still starting: wait for it"),
        (77, "LND is still starting: wait for it"),
    ] {
        assert_eq!(is_active(state).expect_err("not started").to_string(), remedy);
    }
}

#[test]
fn an_lnd_older_than_0_20_is_refused() {
    for version in ["0.19.3-beta commit=v0.19.3-beta", "0.13.0"] {
        let error = identity("GetInfo", &node(version, "regtest")).expect_err("too old");
        assert!(matches!(error, LightningError::TooOld { .. }), "{version}");
    }
    for version in ["0.20.0-beta", "0.21.2-beta commit=v0.21.2-beta", "1.0.0", "own build"] {
        assert!(identity("GetInfo", &node(version, "regtest")).is_ok(), "{version}");
    }
}

#[test]
fn a_node_is_on_the_network_it_names() {
    for (named, network) in [
        ("mainnet", Network::Mainnet),
        ("testnet", Network::Testnet),
        ("testnet4", Network::Testnet),
        ("signet", Network::Signet),
        ("regtest", Network::Regtest),
        ("simnet", Network::Simnet),
    ] {
        let identity = identity("GetInfo", &node("0.21.2-beta", named)).expect("makes sense");
        assert_eq!(identity, LightningIdentity { key: NodeKey([2; 33]), network });
    }
    assert!(identity("GetInfo", &node("0.21.2-beta", "elsewhere")).is_err());
}

fn hash() -> PaymentHash {
    hash_of(&PREIMAGE)
}

fn invoice(state: LndInvoiceState) -> Invoice {
    Invoice { r_hash: hash().0.to_vec(), state: state as i32, ..Default::default() }
}

fn part(state: InvoiceHtlcState, amt_msat: u64, expiry_height: i32) -> InvoiceHtlc {
    InvoiceHtlc { state: state as i32, amt_msat, expiry_height, ..Default::default() }
}

/// With incoming HTLCs, each by its hash, its index and its whole sats.
fn channel(chan_id: u64, htlcs: &[(PaymentHash, u64, i64)]) -> Channel {
    let incoming = |(hash, htlc_index, amount): &(PaymentHash, u64, i64)| Htlc {
        incoming: true,
        hash_lock: hash.0.to_vec(),
        htlc_index: *htlc_index,
        amount: *amount,
        ..Default::default()
    };
    Channel { chan_id, pending_htlcs: htlcs.iter().map(incoming).collect(), ..Default::default() }
}

fn seen(invoice: &Invoice, channels: &[Channel]) -> Option<HoldStatus> {
    escrow("LookupInvoice", hash(), invoice, channels).expect("makes sense")
}

fn accepted(paid: u64, expires_at: u32) -> HoldStatus {
    let expires_at = BlockHeight(expires_at);
    HoldStatus::Accepted { paid: Msats(paid), expires_at }
}

fn payment(status: LndPaymentStatus) -> Payment {
    Payment {
        payment_hash: hash().to_string(),
        payment_index: 3,
        status: status as i32,
        ..Default::default()
    }
}

fn node(version: &str, network: &str) -> GetInfoResponse {
    GetInfoResponse {
        version: version.to_owned(),
        identity_pubkey: hex::encode([2; 33]),
        chains: vec![Chain { network: network.to_owned(), ..Default::default() }],
        ..Default::default()
    }
}
