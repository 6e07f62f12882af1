//! Which feature bits LND can pay: even ones are required, odd ones optional.

/// What a payee may require: the onion of variable length, payment secrets, payments in parts, and
/// metadata. LND knows each of them; it finds no route to a payee that requires anything else.
const MAY_BE_REQUIRED: [usize; 4] = [8, 14, 16, 48];

/// What a payee must understand.
const ONION: usize = 9;
const PAYMENT_SECRET: usize = 15;

/// Payments that are split by another scheme, which our payouts do not use.
const AMP: usize = 31;

/// LND pays no payee that sets the first bit without the second.
const NEEDS: [(usize, usize); 13] = [
    (21, 13),
    (23, 13),
    (51, 47),
    (81, 23),
    (81, 45),
    (181, 23),
    (181, 45),
    (263, 25),
    (2023, 23),
    (2023, 45),
    (2025, 9),
    (2025, 47),
    (2025, 181),
];

/// `flags` has the lowest eight bits first.
pub(super) fn are_payable(flags: &[u8]) -> bool {
    let is_set = |bit: usize| flags.get(bit / 8).is_some_and(|byte| (byte >> (bit % 8)) & 1 == 1);
    let has = |odd: usize| is_set(odd) || is_set(odd - 1);
    let is_known = |bit: usize| MAY_BE_REQUIRED.contains(&bit);
    let mut required = (0..flags.len() * 8).step_by(2).filter(|bit| is_set(*bit));
    has(ONION)
        && has(PAYMENT_SECRET)
        && !has(AMP)
        && required.all(is_known)
        && NEEDS.into_iter().all(|(bit, needed)| !has(bit) || has(needed))
}
