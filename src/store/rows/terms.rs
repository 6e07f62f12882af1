//! `orders.terms`.

use serde::{Deserialize, Serialize};
use trade::{Fiat, FiatAmount, Kind, Price, Quote, Sats, Terms, Timestamp};

/// Without what queries ask for, which has columns of its own.
#[derive(Serialize, Deserialize)]
#[serde(tag = "v")]
pub(in crate::store) enum TermsDocument {
    #[serde(rename = "1")]
    V1 {
        fiat_code: String,
        fiat: FiatV1,
        price: PriceV1,
        payment_method: String,
        quote: Option<QuoteV1>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::store) enum FiatV1 {
    Fixed(u64),
    Range { min: u64, max: u64 },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::store) enum PriceV1 {
    Fixed,
    Market { premium: i64 },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::store) struct QuoteV1 {
    fiat: u64,
    amount: u64,
    fee: u64,
}

impl From<&Terms> for TermsDocument {
    fn from(terms: &Terms) -> Self {
        Self::V1 {
            fiat_code: terms.fiat_code.clone(),
            fiat: match terms.fiat {
                FiatAmount::Fixed(fiat) => FiatV1::Fixed(fiat.0),
                FiatAmount::Range { min, max } => FiatV1::Range { min: min.0, max: max.0 },
            },
            price: match terms.price {
                Price::Fixed => PriceV1::Fixed,
                Price::Market { premium } => PriceV1::Market { premium },
            },
            payment_method: terms.payment_method.clone(),
            quote: terms.quote.map(|quote| QuoteV1 {
                fiat: quote.fiat().0,
                amount: quote.amount().0,
                fee: quote.fee().0,
            }),
        }
    }
}

impl TermsDocument {
    /// `None` if its figures are no possible quote.
    pub(in crate::store) fn into_terms(
        self,
        kind: Kind,
        created_at: Timestamp,
        expires_at: Timestamp,
    ) -> Option<Terms> {
        let Self::V1 { fiat_code, fiat, price, payment_method, quote } = self;
        let quote = match quote {
            Some(quote) => Some(Quote::new(Fiat(quote.fiat), Sats(quote.amount), Sats(quote.fee))?),
            None => None,
        };
        Some(Terms {
            kind,
            fiat_code,
            fiat: match fiat {
                FiatV1::Fixed(fiat) => FiatAmount::Fixed(Fiat(fiat)),
                FiatV1::Range { min, max } => FiatAmount::Range { min: Fiat(min), max: Fiat(max) },
            },
            price: match price {
                PriceV1::Fixed => Price::Fixed,
                PriceV1::Market { premium } => Price::Market { premium },
            },
            payment_method,
            quote,
            created_at,
            expires_at,
        })
    }
}
