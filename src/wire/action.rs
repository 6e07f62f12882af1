//! The actions of the protocol, one row each.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::payload::Payload;

/// Who sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Clients.
    In,
    /// Daemons, or clients to each other; ignored when it is sent to us.
    Out,
    /// Daemons, and clients as a request.
    Both,
}

/// Whether a request of this action names an order, or a dispute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Id {
    Required,
    Optional,
    Forbidden,
}

/// How old a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MaxAge {
    /// Minutes: no one should be matched with an order that they wanted an hour ago.
    Fresh,
    /// Hours or more: it helps a running trade.
    Late,
}

macro_rules! actions {
    ($(
        $direction:ident, $id:ident, $age:ident,
        $action:ident = $name:literal: $payload:pat $(if $guard:expr)?,
    )*) => {
        /// What a message requests or reports.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Action {
            $(#[serde(rename = $name)] $action,)*
        }

        impl Action {
            pub const ALL: &'static [Self] = &[$(Self::$action,)*];

            /// The name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$action => $name,)* }
            }

            #[must_use]
            pub const fn direction(self) -> Direction {
                match self { $(Self::$action => Direction::$direction,)* }
            }

            const fn id(self) -> Id {
                match self { $(Self::$action => Id::$id,)* }
            }

            const fn max_age(self) -> MaxAge {
                match self { $(Self::$action => MaxAge::$age,)* }
            }

            #[expect(clippy::redundant_pattern_matching, reason = "some rows have no payload")]
            fn may_carry(self, payload: Option<&Payload>) -> bool {
                match self { $(Self::$action => matches!(payload, $payload $(if $guard)?),)* }
            }
        }
    };
}

/// All payloads but those that belong to certain actions only.
macro_rules! general {
    () => {
        None | Some(
            Payload::Order(_)
                | Payload::PaymentRequest(..)
                | Payload::TextMessage(_)
                | Payload::Peer(_)
                | Payload::RatingUser(_)
                | Payload::Amount(_)
                | Payload::Dispute(..)
                | Payload::CantDo(_)
                | Payload::NextTrade(..)
                | Payload::PaymentFailed { .. }
                | Payload::RestoreData(_)
                | Payload::Ids(_)
                | Payload::Orders(_)
                | Payload::CashuLockProof(_)
                | Payload::CashuSignatures(_)
                | Payload::ReputationExportRequest { .. }
                | Payload::ReputationAttestation(_),
        )
    };
}

// Who sends it, whether it has an id, how old it may be; its name on the wire: its payloads.
actions! {
    Both, Optional,  Fresh, NewOrder = "new-order": Some(Payload::Order(_)),
    In,   Required,  Fresh, TakeSell = "take-sell": general!(),
    In,   Required,  Fresh, TakeBuy = "take-buy": general!(),
    Both, Required,  Fresh, PayInvoice = "pay-invoice": Some(Payload::PaymentRequest(..)),
    Out,  Required,  Fresh, PayBondInvoice = "pay-bond-invoice": Some(Payload::PaymentRequest(..)),
    In,   Required,  Late,  FiatSent = "fiat-sent": general!(),
    Out,  Required,  Fresh, FiatSentOk = "fiat-sent-ok": general!(),
    In,   Required,  Late,  Release = "release": general!(),
    Out,  Required,  Fresh, Released = "released": general!(),
    In,   Required,  Late,  Cancel = "cancel": general!(),
    Out,  Required,  Fresh, Canceled = "canceled": general!(),
    Out,  Required,  Fresh, CooperativeCancelInitiatedByYou = "cooperative-cancel-initiated-by-you": general!(),
    Out,  Required,  Fresh, CooperativeCancelInitiatedByPeer = "cooperative-cancel-initiated-by-peer": general!(),
    Out,  Required,  Fresh, DisputeInitiatedByYou = "dispute-initiated-by-you": general!(),
    Out,  Required,  Fresh, DisputeInitiatedByPeer = "dispute-initiated-by-peer": general!(),
    Out,  Required,  Fresh, CooperativeCancelAccepted = "cooperative-cancel-accepted": general!(),
    Out,  Required,  Fresh, BuyerInvoiceAccepted = "buyer-invoice-accepted": general!(),
    Out,  Required,  Fresh, BondInvoiceAccepted = "bond-invoice-accepted": general!(),
    Out,  Required,  Fresh, PurchaseCompleted = "purchase-completed": general!(),
    Out,  Required,  Fresh, BondPayoutCompleted = "bond-payout-completed": general!(),
    Out,  Required,  Fresh, BondSlashed = "bond-slashed": general!(),
    Out,  Required,  Fresh, HoldInvoicePaymentAccepted = "hold-invoice-payment-accepted": general!(),
    Out,  Required,  Fresh, HoldInvoicePaymentSettled = "hold-invoice-payment-settled": general!(),
    Out,  Required,  Fresh, HoldInvoicePaymentCanceled = "hold-invoice-payment-canceled": general!(),
    Out,  Required,  Fresh, WaitingSellerToPay = "waiting-seller-to-pay": general!(),
    Out,  Required,  Fresh, WaitingBuyerInvoice = "waiting-buyer-invoice": general!(),
    Both, Required,  Late,  AddInvoice = "add-invoice": Some(Payload::PaymentRequest(..)),
    Both, Required,  Fresh, AddBondInvoice = "add-bond-invoice": Some(Payload::PaymentRequest(..) | Payload::BondPayoutRequest { .. }),
    Out,  Required,  Fresh, BuyerTookOrder = "buyer-took-order": general!(),
    Out,  Required,  Fresh, Rate = "rate": general!(),
    In,   Optional,  Late,  RateUser = "rate-user": Some(Payload::RatingUser(_)),
    Out,  Required,  Fresh, RateReceived = "rate-received": general!(),
    Out,  Optional,  Fresh, CantDo = "cant-do": Some(Payload::CantDo(_)),
    In,   Required,  Late,  Dispute = "dispute": general!(),
    In,   Required,  Late,  AdminCancel = "admin-cancel": None | Some(Payload::BondResolution(_)),
    Out,  Required,  Fresh, AdminCanceled = "admin-canceled": general!(),
    In,   Required,  Late,  AdminSettle = "admin-settle": None | Some(Payload::BondResolution(_)),
    Out,  Required,  Fresh, AdminSettled = "admin-settled": general!(),
    In,   Required,  Late,  AdminAddSolver = "admin-add-solver": general!(),
    In,   Required,  Late,  AdminTakeDispute = "admin-take-dispute": general!(),
    Out,  Required,  Fresh, AdminTookDispute = "admin-took-dispute": general!(),
    Out,  Required,  Fresh, PaymentFailed = "payment-failed": Some(Payload::PaymentFailed { .. }),
    Out,  Required,  Fresh, InvoiceUpdated = "invoice-updated": general!(),
    Out,  Required,  Fresh, SendDm = "send-dm": general!(),
    In,   Required,  Late,  TradePubkey = "trade-pubkey": general!(),
    In,   Optional,  Fresh, RestoreSession = "restore-session": None,
    In,   Optional,  Fresh, LastTradeIndex = "last-trade-index": None,
    In,   Forbidden, Fresh, UserInfo = "user-info": None | Some(Payload::UserInfo(_)),
    In,   Optional,  Fresh, Orders = "orders": Some(Payload::Ids(_) | Payload::Orders(_)),
    In,   Required,  Fresh, AddCashuEscrow = "add-cashu-escrow": Some(Payload::CashuLockProof(_)),
    Out,  Required,  Fresh, CashuEscrowLocked = "cashu-escrow-locked": general!(),
    Out,  Required,  Fresh, CashuPmSignature = "cashu-pm-signature": Some(Payload::CashuSignatures(list)) if !list.is_empty(),
    In,   Required,  Fresh, DeclarePayer = "declare-payer": Some(Payload::PayerDeclaration { .. }),
    Out,  Required,  Fresh, PayerDeclared = "payer-declared": Some(Payload::PayerDeclaration { .. }),
    In,   Required,  Fresh, PaymentHistory = "payment-history": None | Some(Payload::PaymentHistory(_)),
    In,   Forbidden, Fresh, ExportReputation = "export-reputation": Some(Payload::ReputationExportRequest { .. }),
    Out,  Forbidden, Fresh, ReputationExported = "reputation-exported": Some(Payload::ReputationAttestation(_)),
    In,   Forbidden, Fresh, ImportReputation = "import-reputation": Some(Payload::ReputationAttestation(_)),
    Out,  Forbidden, Fresh, ReputationImported = "reputation-imported": None,
}

impl Action {
    /// Whether a request has the id and the payload that its action needs.
    #[must_use]
    pub fn is_well_formed(self, has_id: bool, payload: Option<&Payload>) -> bool {
        let has_right_id = match self.id() {
            Id::Required => has_id,
            Id::Optional => true,
            Id::Forbidden => !has_id,
        };
        has_right_id && self.may_carry(payload)
    }

    /// Whether a late request is honoured, back to the start of its trade.
    #[must_use]
    pub fn is_honoured_late(self) -> bool {
        self.max_age() == MaxAge::Late
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
