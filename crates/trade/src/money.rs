//! Amounts of money and the rates applied to them. Checked arithmetic only, never a float.

use std::fmt;

/// Whole satoshis: what orders, fees and hold invoices are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sats(pub u64);

/// Thousandths of a satoshi: what Lightning counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Msats(pub u64);

/// Whole units of a fiat currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fiat(pub u64);

/// Parts per million: how the settings' fractions reach the core. `Ppm(6_000)` is 0.6 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ppm(pub u32);

impl Sats {
    pub const ZERO: Self = Self(0);

    /// The sum, `None` on overflow.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, `None` below zero.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The same amount in millisatoshis, `None` on overflow.
    #[must_use]
    pub fn to_msats(self) -> Option<Msats> {
        self.0.checked_mul(1_000).map(Msats)
    }

    /// What each side of a trade of this size pays, `round(rate × amount / 2)`, half away from
    /// zero (behaviour §4.1). `None` on overflow.
    #[must_use]
    pub fn side_fee(self, rate: Ppm) -> Option<Self> {
        let doubled = u128::from(self.0).checked_mul(u128::from(rate.0))?;
        let rounded = doubled.checked_add(1_000_000)?.checked_div(2_000_000)?;
        u64::try_from(rounded).ok().map(Self)
    }

    /// The share `rate` of this amount, rounded down. `None` on overflow.
    #[must_use]
    pub fn share(self, rate: Ppm) -> Option<Self> {
        share(self.0, rate).map(Self)
    }
}

impl Msats {
    pub const ZERO: Self = Self(0);

    /// The sum, `None` on overflow.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, `None` below zero.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The share `rate` of this amount, rounded down. `None` on overflow.
    #[must_use]
    pub fn share(self, rate: Ppm) -> Option<Self> {
        share(self.0, rate).map(Self)
    }
}

fn share(amount: u64, rate: Ppm) -> Option<u64> {
    let scaled = u128::from(amount).checked_mul(u128::from(rate.0))?;
    u64::try_from(scaled.checked_div(1_000_000)?).ok()
}

impl fmt::Display for Sats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sats", self.0)
    }
}

impl fmt::Display for Msats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} msats", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: I11
    #[test]
    fn a_side_fee_is_half_the_rate_rounded_half_away_from_zero() {
        for (amount, ppm, fee) in [
            (100_000, 6_000, 300),
            (100_000, 10_000, 500),
            (333, 5_000, 1),
            (1_000, 3_000, 2),
            (1_000_000, 0, 0),
        ] {
            assert_eq!(Sats(amount).side_fee(Ppm(ppm)), Some(Sats(fee)), "{amount} at {ppm} ppm");
        }
    }

    // spec: I11
    #[test]
    fn money_never_wraps() {
        assert_eq!(Sats(u64::MAX).checked_add(Sats(1)), None);
        assert_eq!(Sats(1).checked_sub(Sats(2)), None);
        assert_eq!(Sats(u64::MAX).to_msats(), None);
    }
}
