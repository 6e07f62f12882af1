//! What was agreed on, and when: what the maker offers, and what the trade is about once its price is
//! known.

use crate::{Fiat, Kind, Sats, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    pub kind: Kind,
    pub fiat_code: String,
    pub fiat: FiatAmount,
    pub price: Price,
    pub payment_method: String,
    /// Agreed at creation where the price is fixed, at the take where it follows the market: an order
    /// without a quote can neither be held nor paid.
    pub quote: Option<Quote>,
    pub created_at: Timestamp,
    /// The end of its time in the book.
    pub expires_at: Timestamp,
}

/// How much fiat the maker offers or asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FiatAmount {
    Fixed(Fiat),
    /// The taker chooses.
    Range {
        min: Fiat,
        max: Fiat,
    },
}

/// How many sats that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Price {
    /// The maker named the sats.
    Fixed,
    /// What they cost when the order is taken, and whole percents on top.
    Market { premium: i64 },
}

/// What one trade is about, in figures: the only thing that can be held and paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    fiat: Fiat,
    amount: Sats,
    fee: Sats,
    to_hold: Sats,
    to_pay_out: Sats,
}

impl Quote {
    /// `fee` is what each side pays. None if it leaves the buyer nothing, or the figures are too large.
    #[must_use]
    pub fn new(fiat: Fiat, amount: Sats, fee: Sats) -> Option<Self> {
        let to_hold = amount.checked_add(fee)?;
        let to_pay_out = amount.checked_sub(fee).filter(|sats| *sats > Sats::ZERO)?;
        Some(Self { fiat, amount, fee, to_hold, to_pay_out })
    }

    #[must_use]
    pub fn fiat(&self) -> Fiat {
        self.fiat
    }

    /// Without fees.
    #[must_use]
    pub fn amount(&self) -> Sats {
        self.amount
    }

    /// Of each side.
    #[must_use]
    pub fn fee(&self) -> Sats {
        self.fee
    }

    /// What the seller puts into the hold.
    #[must_use]
    pub fn to_hold(&self) -> Sats {
        self.to_hold
    }

    /// What the buyer is owed.
    #[must_use]
    pub fn to_pay_out(&self) -> Sats {
        self.to_pay_out
    }
}

impl Terms {
    /// The fiat of the trade as far as it is known; zero of a range nobody has taken.
    #[must_use]
    pub fn fiat_amount(&self) -> Fiat {
        match (self.quote, self.fiat) {
            (Some(quote), _) => quote.fiat,
            (None, FiatAmount::Fixed(fiat)) => fiat,
            (None, FiatAmount::Range { .. }) => Fiat(0),
        }
    }

    /// The sats of the trade, without fees, as far as they are known; zero is the market price.
    #[must_use]
    pub fn amount(&self) -> Sats {
        self.quote.map(|quote| quote.amount).unwrap_or_default()
    }

    /// Whole percents on top of the market price.
    #[must_use]
    pub fn premium(&self) -> i64 {
        match self.price {
            Price::Fixed => 0,
            Price::Market { premium } => premium,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: I11
    #[test]
    fn a_quote_says_what_the_seller_puts_in_and_what_the_buyer_gets() {
        let quote = Quote::new(Fiat(50), Sats(100_000), Sats(300)).expect("a fair price");

        assert_eq!(quote.to_hold(), Sats(100_300));
        assert_eq!(quote.to_pay_out(), Sats(99_700));
    }

    // spec: I11
    #[test]
    fn there_is_no_quote_that_leaves_the_buyer_nothing_or_overflows() {
        for (amount, fee) in [(300, 300), (300, 301), (0, 0), (u64::MAX, 1)] {
            assert_eq!(Quote::new(Fiat(50), Sats(amount), Sats(fee)), None, "{amount} less {fee}");
        }
    }

    #[test]
    fn what_is_not_quoted_yet_is_shown_as_zero() {
        let terms = |fiat, price, quote| Terms {
            kind: Kind::Sell,
            fiat_code: "EUR".to_owned(),
            fiat,
            price,
            payment_method: "SEPA".to_owned(),
            quote,
            created_at: Timestamp(1),
            expires_at: Timestamp(2),
        };
        let range = FiatAmount::Range { min: Fiat(10), max: Fiat(50) };
        let quote = Quote::new(Fiat(20), Sats(40_000), Sats(0));
        let premium = -2;
        let market = Price::Market { premium };
        let fixed = FiatAmount::Fixed(Fiat(20));

        for (terms, fiat, sats, premium) in [
            (terms(fixed, Price::Fixed, quote), 20, 40_000, 0),
            (terms(fixed, market, None), 20, 0, premium),
            (terms(range, market, None), 0, 0, premium),
            (terms(range, market, quote), 20, 40_000, premium),
        ] {
            assert_eq!(
                (terms.fiat_amount(), terms.amount(), terms.premium()),
                (Fiat(fiat), Sats(sats), premium),
                "{terms:?}"
            );
        }
    }
}
