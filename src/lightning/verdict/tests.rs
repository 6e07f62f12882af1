use trade::{BlockHeight, Msats};

use super::*;

const ACCEPTED: HoldStatus =
    HoldStatus::Accepted { paid: Msats(100_300_000), expires_at: BlockHeight(900_147) };

const EVERY_STATUS: [HoldStatus; 5] =
    [HoldStatus::Unknown, HoldStatus::Open, ACCEPTED, HoldStatus::Settled, HoldStatus::Canceled];

// spec: E2
#[test]
fn a_cancel_is_repeated_until_lnd_holds_nothing_any_more() {
    use HoldStatus::{Canceled, Settled};

    let verdicts = EVERY_STATUS.map(|status| of_hold(HoldDecision::Cancel, status));

    assert_eq!(verdicts, [Some(Canceled), None, None, Some(Settled), Some(Canceled)]);
}

// spec: E2
#[test]
fn a_settle_is_repeated_while_the_sats_are_held_and_lost_when_they_are_not() {
    use HoldStatus::{Canceled, Settled, Unknown};

    let verdicts = EVERY_STATUS.map(|status| of_hold(HoldDecision::Settle, status));

    assert_eq!(verdicts, [Some(Unknown), Some(Canceled), None, Some(Settled), Some(Canceled)]);
}
