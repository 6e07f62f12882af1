//! How ids, keys, hashes and names are spelled in the database.

use std::fmt::Display;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use trade::{
    Alarm, FrozenBecause, HoldDecision, HoldPurpose, HorizonWarning, IdentityKey, Kind,
    LedgerAccount, Network, NodeKey, OrderId, Outcome, PaymentHash, PayoutPurpose, Preimage,
    Refusal, Side, Status, TradeKey,
};

use super::{Class, EventId, StoreError, Transport};

/// A value that is spelled in exactly one way in the database.
pub(super) trait Text: Sized {
    fn to_text(&self) -> String;
    fn from_text(text: &str) -> Option<Self>;
}

/// A [`Text`] in a stored JSON document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spelled<T>(pub(super) T);

impl<T: Text> Serialize for Spelled<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_text())
    }
}

impl<'de, T: Text> Deserialize<'de> for Spelled<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::from_text(&text).map(Self).ok_or_else(|| D::Error::custom("unknown spelling"))
    }
}

/// A row that is being read, for the error if it contradicts itself.
#[derive(Debug, Clone)]
pub(super) struct At {
    pub(super) table: &'static str,
    pub(super) row: String,
}

impl At {
    pub(super) fn new(table: &'static str, row: impl Display) -> Self {
        Self { table, row: row.to_string() }
    }

    pub(super) fn corrupt(&self, why: impl Display) -> StoreError {
        StoreError::Corrupt { table: self.table, row: self.row.clone(), why: why.to_string() }
    }

    pub(super) fn read<T: Text>(&self, column: &str, text: &str) -> Result<T, StoreError> {
        T::from_text(text).ok_or_else(|| self.corrupt(format!("{column} is unreadable")))
    }

    pub(super) fn read_some<T: Text>(
        &self,
        column: &str,
        text: Option<&str>,
    ) -> Result<Option<T>, StoreError> {
        text.map(|text| self.read(column, text)).transpose()
    }

    /// Values separated by blanks; no text is an empty list.
    pub(super) fn read_list<T: Text>(
        &self,
        column: &str,
        text: Option<&str>,
    ) -> Result<Vec<T>, StoreError> {
        let words = text.unwrap_or_default().split_whitespace();
        words.map(|word| self.read(column, word)).collect()
    }

    /// A stored integer as the unsigned type the core uses.
    pub(super) fn number<T: TryFrom<i64>>(
        &self,
        column: &str,
        number: i64,
    ) -> Result<T, StoreError> {
        T::try_from(number).map_err(|_| self.corrupt(format!("{column} is out of range")))
    }

    /// A number of the core as SQLite stores integers.
    pub(super) fn integer(&self, column: &str, number: u64) -> Result<i64, StoreError> {
        i64::try_from(number).map_err(|_| self.corrupt(format!("{column} is out of range")))
    }

    pub(super) fn parse<T: serde::de::DeserializeOwned>(
        &self,
        column: &str,
        json: &str,
    ) -> Result<T, StoreError> {
        serde_json::from_str(json).map_err(|error| self.corrupt(format!("{column}: {error}")))
    }

    pub(super) fn write<T: Serialize>(
        &self,
        column: &str,
        document: &T,
    ) -> Result<String, StoreError> {
        serde_json::to_string(document).map_err(|error| self.corrupt(format!("{column}: {error}")))
    }
}

macro_rules! hex_text {
    ($($type:ty),* $(,)?) => {$(
        impl Text for $type {
            fn to_text(&self) -> String {
                hex::encode(self.0)
            }

            fn from_text(text: &str) -> Option<Self> {
                let mut bytes = [0; _];
                hex::decode_to_slice(text, &mut bytes).ok().map(|()| Self(bytes))
            }
        }
    )*};
}
hex_text!(TradeKey, IdentityKey, NodeKey, PaymentHash, Preimage, EventId);

impl Text for OrderId {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        let id = uuid::Uuid::try_parse(text).ok().filter(|_| text.len() == 36)?;
        Some(Self(id.into_bytes()))
    }
}

/// A variant after `or` holds a value with names of its own.
macro_rules! names {
    ($type:ty { $($variant:ident => $name:literal),* $(,)? } $(or $holds:ident)?) => {
        impl Text for $type {
            fn to_text(&self) -> String {
                match self {
                    $(Self::$variant => $name.to_owned(),)*
                    $(Self::$holds(of) => of.to_text(),)?
                }
            }

            fn from_text(text: &str) -> Option<Self> {
                match text {
                    $($name => Some(Self::$variant),)*
                    _ => None$(.or_else(|| Text::from_text(text).map(Self::$holds)))?,
                }
            }
        }
    };
}

names!(Kind { Buy => "buy", Sell => "sell" });

names!(Side { Buyer => "buyer", Seller => "seller" });

names!(Status {
    Pending => "pending",
    WaitingPayment => "waiting-payment",
    WaitingBuyerInvoice => "waiting-buyer-invoice",
    Active => "active",
    FiatSent => "fiat-sent",
    SettledHoldInvoice => "settled-hold-invoice",
    Success => "success",
    Canceled => "canceled",
    Expired => "expired",
});

names!(Outcome { Success => "success", Canceled => "canceled", Expired => "expired" });

names!(FrozenBecause {
    EscrowLost => "escrow-lost",
    HoldForgotten => "hold-forgotten",
    SettledWithoutDecision => "settled-without-decision",
    PayoutForgotten => "payout-forgotten",
    PayoutDangling => "payout-dangling",
    PaidThoughGivenUp => "paid-though-given-up",
    PayoutRefused => "payout-refused",
});

names!(HorizonWarning { NotYet => "not-yet", Near => "near", Reached => "reached" });

names!(HoldPurpose { Escrow => "escrow" });

names!(HoldDecision { Settle => "settle", Cancel => "cancel" });

names!(PayoutPurpose { Buyer => "buyer" });

names!(LedgerAccount {
    Lightning => "lightning",
    Buyer => "buyer",
    FeeIncome => "fee-income",
    OverpaymentIncome => "overpayment-income",
    EscrowShortfall => "escrow-shortfall",
    RoutingFees => "routing-fees",
});

names!(Network {
    Mainnet => "mainnet",
    Testnet => "testnet",
    Signet => "signet",
    Regtest => "regtest",
    Simnet => "simnet",
});

names!(Transport { GiftWrap => "gift-wrap", Nip44 => "nip44" });

names!(Class {
    Lightning => "lightning",
    Alarm => "alarm",
    Trade => "trade",
    Stranger => "stranger",
});

names!(Alarm {
    HorizonNear => "horizon-near",
    HorizonReached => "horizon-reached",
    SettleNearHorizon => "settle-near-horizon",
    SettleAtHorizon => "settle-at-horizon",
    EscrowUnseen => "escrow-unseen",
    EscrowBelowAsked => "escrow-below-asked",
    SettledThoughCanceled => "settled-though-canceled",
    PayoutsRefused => "payouts-refused",
    RoutingBudgetHalfSpent => "routing-budget-half-spent",
    RoutingBudgetUsedUp => "routing-budget-used-up",
    RoutingBeyondBudget => "routing-beyond-budget",
    NoBlocks => "no-blocks",
    ClockDoubtful => "clock-doubtful",
    ClockWasAhead => "clock-was-ahead",
} or Frozen);

names!(Refusal {
    InvalidAction => "invalid-action",
    InvalidAmount => "invalid-amount",
    InvalidFiatCurrency => "invalid-fiat-currency",
    InvalidInvoice => "invalid-invoice",
    InvalidMintUrl => "invalid-mint-url",
    InvalidOrderKind => "invalid-order-kind",
    InvalidOrderStatus => "invalid-order-status",
    InvalidParameters => "invalid-parameters",
    InvalidPayload => "invalid-payload",
    InvalidPeer => "invalid-peer",
    InvalidPubkey => "invalid-pubkey",
    InvalidSignature => "invalid-signature",
    InvalidTradeIndex => "invalid-trade-index",
    IsNotYourOrder => "is-not-your-order",
    NotAllowedByStatus => "not-allowed-by-status",
    NotAuthorized => "not-authorized",
    NotFound => "not-found",
    OrderAlreadyCanceled => "order-already-canceled",
    OutOfRangeSatsAmount => "out-of-range-sats-amount",
    PendingOrderExists => "pending-order-exists",
});
