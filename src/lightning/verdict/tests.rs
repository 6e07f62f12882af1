use super::*;

const EVERY_WORD: [HoldWord; 5] =
    [HoldWord::Unknown, HoldWord::Open, HoldWord::Accepted, HoldWord::Settled, HoldWord::Canceled];

// spec: E2
#[test]
fn a_cancel_is_repeated_until_lnd_holds_nothing_any_more() {
    use HoldStatus::{Canceled, Settled};

    let verdicts = EVERY_WORD.map(|word| of_hold(HoldDecision::Cancel, word));

    assert_eq!(verdicts, [Some(Canceled), None, None, Some(Settled), Some(Canceled)]);
}

// spec: E2
#[test]
fn a_settle_is_repeated_while_the_sats_are_held_and_lost_when_they_are_not() {
    use HoldStatus::{Canceled, Settled, Unknown};

    let verdicts = EVERY_WORD.map(|word| of_hold(HoldDecision::Settle, word));

    assert_eq!(verdicts, [Some(Unknown), Some(Canceled), None, Some(Settled), Some(Canceled)]);
}
