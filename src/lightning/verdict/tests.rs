use super::*;

const EVERY_STATE: [InvoiceState; 5] = [
    InvoiceState::Unknown,
    InvoiceState::Open,
    InvoiceState::Accepted,
    InvoiceState::Settled,
    InvoiceState::Canceled,
];

// spec: E2
#[test]
fn a_cancel_is_repeated_until_lnd_has_no_htlc_of_the_hold() {
    use HoldStatus::{Canceled, Settled};

    let verdicts = EVERY_STATE.map(|state| of_hold(HoldDecision::Cancel, state));

    assert_eq!(verdicts, [Some(Canceled), None, None, Some(Settled), Some(Canceled)]);
}

// spec: E2
#[test]
fn a_settle_is_repeated_while_the_sats_are_held_and_lost_when_they_are_not() {
    use HoldStatus::{Canceled, Settled, Unknown};

    let verdicts = EVERY_STATE.map(|state| of_hold(HoldDecision::Settle, state));

    assert_eq!(verdicts, [Some(Unknown), Some(Canceled), None, Some(Settled), Some(Canceled)]);
}
