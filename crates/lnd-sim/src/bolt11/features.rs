//! Feature bits of an invoice, checked as by LND.

use std::collections::BTreeSet;

/// Even: required; odd: optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Features(BTreeSet<usize>);

const PAYMENT_ADDR: usize = 15;
const AMP: usize = 31;

/// The features that LND 0.21 knows, as the even bit of each pair.
const KNOWN: [usize; 28] = [
    0, 4, 6, 8, 12, 14, 16, 18, 20, 22, 24, 26, 30, 34, 38, 44, 46, 48, 50, 54, 60, 80, 160, 180,
    260, 262, 2022, 2026,
];

/// The features that LND requires together with a bit, each as the odd bit of its pair.
const NEEDS: [(usize, usize); 18] = [
    (15, 9),
    (17, 15),
    (21, 13),
    (23, 13),
    (31, 15),
    (51, 47),
    (55, 9),
    (25, 9),
    (263, 25),
    (2023, 45),
    (2023, 23),
    (81, 23),
    (81, 45),
    (181, 23),
    (181, 45),
    (2025, 181),
    (2025, 9),
    (2025, 47),
];

impl Features {
    /// The last group has the lowest bits.
    pub(super) fn from_groups(groups: &[u8]) -> Self {
        let bits = groups.iter().rev().enumerate().flat_map(|(index, group)| {
            (0..5).filter(move |bit| (group >> bit) & 1 == 1).map(move |bit| index * 5 + bit)
        });
        Self(bits.collect())
    }

    pub(crate) fn is_amp(&self) -> bool {
        self.has(AMP)
    }

    /// Whether LND finds no route to a payee that requires this.
    pub(crate) fn are_unpayable(&self) -> bool {
        let is_unknown = |bit: &usize| bit.is_multiple_of(2) && !KNOWN.contains(bit);
        let is_missing = |(bit, needed): (usize, usize)| self.has(bit) && !self.has(needed);
        self.0.iter().any(is_unknown)
            || NEEDS.into_iter().any(is_missing)
            || !self.has(PAYMENT_ADDR)
    }

    fn has(&self, odd: usize) -> bool {
        self.0.contains(&odd) || self.0.contains(&(odd - 1))
    }
}
