//! The fixed names of the protocol.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Defines an enum whose variants are names on the wire.
macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($(#[$note:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$note])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names! {
    /// The single key around a message. Requests are distinguished by action, not by wrapper.
    Wrapper {
        Order = "order",
        Dispute = "dispute",
        CantDo = "cant-do",
        Rate = "rate",
        Dm = "dm",
        Restore = "restore",
    }
}

names! {
    /// Why a request was refused.
    CantDoReason {
        InvalidSignature = "invalid_signature",
        InvalidTradeIndex = "invalid_trade_index",
        InvalidAmount = "invalid_amount",
        InvalidInvoice = "invalid_invoice",
        InvalidPaymentRequest = "invalid_payment_request",
        InvalidPeer = "invalid_peer",
        InvalidRating = "invalid_rating",
        InvalidTextMessage = "invalid_text_message",
        InvalidOrderKind = "invalid_order_kind",
        InvalidOrderStatus = "invalid_order_status",
        InvalidPubkey = "invalid_pubkey",
        InvalidParameters = "invalid_parameters",
        InvalidPayload = "invalid_payload",
        OrderAlreadyCanceled = "order_already_canceled",
        CantCreateUser = "cant_create_user",
        IsNotYourOrder = "is_not_your_order",
        NotAllowedByStatus = "not_allowed_by_status",
        OutOfRangeFiatAmount = "out_of_range_fiat_amount",
        OutOfRangeSatsAmount = "out_of_range_sats_amount",
        PriceTooStale = "price_too_stale",
        IsNotYourDispute = "is_not_your_dispute",
        DisputeTakenByAdmin = "dispute_taken_by_admin",
        NotAuthorized = "not_authorized",
        DisputeCreationError = "dispute_creation_error",
        NotFound = "not_found",
        InvalidDisputeStatus = "invalid_dispute_status",
        InvalidAction = "invalid_action",
        PendingOrderExists = "pending_order_exists",
        InvalidFiatCurrency = "invalid_fiat_currency",
        TooManyRequests = "too_many_requests",
        InvalidCashuToken = "invalid_cashu_token",
        CashuMintUnavailable = "cashu_mint_unavailable",
        InvalidMintUrl = "invalid_mint_url",
        CashuEscrowNotLocked = "cashu_escrow_not_locked",
        CashuSignatureMissing = "cashu_signature_missing",
        MaintenanceMode = "maintenance_mode",
        InvalidPaymentHash = "invalid_payment_hash",
        PayerNotDeclared = "payer_not_declared",
        ReputationIdentityRequired = "reputation_identity_required",
        NotEligibleForReputationExport = "not_eligible_for_reputation_export",
        ReputationBoundToOtherIdentity = "reputation_bound_to_other_identity",
        InvalidReputationRebind = "invalid_reputation_rebind",
        InvalidReputationAttestation = "invalid_reputation_attestation",
        UntrustedReputationIssuer = "untrusted_reputation_issuer",
        ExpiredReputationAttestation = "expired_reputation_attestation",
        ReputationIdentityMismatch = "reputation_identity_mismatch",
        ReputationAlreadyImported = "reputation_already_imported",
        /// A reason newer than this list; read, never sent.
        #[serde(other)]
        Unknown = "unknown",
    }
}

names! {
    /// Which side of the trade the maker is on.
    Kind {
        Buy = "buy",
        Sell = "sell",
    }
}

names! {
    /// The status of an order, as other programs see it.
    Status {
        Active = "active",
        Canceled = "canceled",
        CanceledByAdmin = "canceled-by-admin",
        SettledByAdmin = "settled-by-admin",
        CompletedByAdmin = "completed-by-admin",
        Dispute = "dispute",
        Expired = "expired",
        FiatSent = "fiat-sent",
        SettledHoldInvoice = "settled-hold-invoice",
        Pending = "pending",
        Success = "success",
        WaitingBuyerInvoice = "waiting-buyer-invoice",
        WaitingPayment = "waiting-payment",
        WaitingTakerBond = "waiting-taker-bond",
        CooperativelyCanceled = "cooperatively-canceled",
        InProgress = "in-progress",
        WaitingMakerBond = "waiting-maker-bond",
    }
}

names! {
    /// The status of a dispute.
    DisputeStatus {
        Initiated = "initiated",
        InProgress = "in-progress",
        SellerRefunded = "seller-refunded",
        Settled = "settled",
        Released = "released",
        CooperativelyCanceled = "cooperatively-canceled",
    }
}

names! {
    /// One of the two parties.
    Side {
        Buyer = "buyer",
        Seller = "seller",
    }
}

names! {
    /// Whether a payment history belongs to an identity.
    BuyerMode {
        Reputation = "reputation",
        FullPrivacy = "full_privacy",
        Unknown = "unknown",
    }
}

impl From<trade::Kind> for Kind {
    fn from(kind: trade::Kind) -> Self {
        match kind {
            trade::Kind::Buy => Self::Buy,
            trade::Kind::Sell => Self::Sell,
        }
    }
}

impl From<Kind> for trade::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Buy => Self::Buy,
            Kind::Sell => Self::Sell,
        }
    }
}

impl From<trade::Status> for Status {
    fn from(status: trade::Status) -> Self {
        match status {
            trade::Status::Pending => Self::Pending,
            trade::Status::WaitingPayment => Self::WaitingPayment,
            trade::Status::WaitingBuyerInvoice => Self::WaitingBuyerInvoice,
            trade::Status::Active => Self::Active,
            trade::Status::FiatSent => Self::FiatSent,
            trade::Status::SettledHoldInvoice => Self::SettledHoldInvoice,
            trade::Status::Success => Self::Success,
            trade::Status::Canceled => Self::Canceled,
            trade::Status::Expired => Self::Expired,
        }
    }
}

impl From<trade::Refusal> for CantDoReason {
    fn from(refusal: trade::Refusal) -> Self {
        use trade::Refusal as R;
        match refusal {
            R::InvalidAction => Self::InvalidAction,
            R::InvalidAmount => Self::InvalidAmount,
            R::InvalidFiatCurrency => Self::InvalidFiatCurrency,
            R::InvalidInvoice => Self::InvalidInvoice,
            R::InvalidMintUrl => Self::InvalidMintUrl,
            R::InvalidOrderKind => Self::InvalidOrderKind,
            R::InvalidOrderStatus => Self::InvalidOrderStatus,
            R::InvalidParameters => Self::InvalidParameters,
            R::InvalidPayload => Self::InvalidPayload,
            R::InvalidPeer => Self::InvalidPeer,
            R::InvalidPubkey => Self::InvalidPubkey,
            R::InvalidSignature => Self::InvalidSignature,
            R::InvalidTradeIndex => Self::InvalidTradeIndex,
            R::IsNotYourOrder => Self::IsNotYourOrder,
            R::NotAllowedByStatus => Self::NotAllowedByStatus,
            R::NotAuthorized => Self::NotAuthorized,
            R::NotFound => Self::NotFound,
            R::OrderAlreadyCanceled => Self::OrderAlreadyCanceled,
            R::OutOfRangeSatsAmount => Self::OutOfRangeSatsAmount,
            R::PendingOrderExists => Self::PendingOrderExists,
        }
    }
}
