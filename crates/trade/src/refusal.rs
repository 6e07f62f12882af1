//! Why the rules say no. One variant per `cant-do` reason that this daemon gives.

/// The reason a request changes nothing. Its name on the wire is `wire`'s business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    #[error("the action does not exist here")]
    InvalidAction,
    #[error("an amount is out of place")]
    InvalidAmount,
    #[error("the currency is not accepted here")]
    InvalidFiatCurrency,
    #[error("the invoice cannot be paid by this node")]
    InvalidInvoice,
    #[error("this node takes no Cashu mint")]
    InvalidMintUrl,
    #[error("the order is of the wrong kind")]
    InvalidOrderKind,
    #[error("the order is in another status")]
    InvalidOrderStatus,
    #[error("the parameters contradict one another or the node's settings")]
    InvalidParameters,
    #[error("the payload does not belong to the action")]
    InvalidPayload,
    #[error("the message is not from the party whose turn it is")]
    InvalidPeer,
    #[error("the sender has no part in this")]
    InvalidPubkey,
    #[error("who the sender is behind the trade key is not proven")]
    InvalidSignature,
    #[error("the trade index is not above the last one used")]
    InvalidTradeIndex,
    #[error("the order is somebody else's")]
    IsNotYourOrder,
    #[error("the status of the order does not allow it")]
    NotAllowedByStatus,
    #[error("the identity may not trade here")]
    NotAuthorized,
    #[error("no such order")]
    NotFound,
    #[error("the order was canceled before")]
    OrderAlreadyCanceled,
    #[error("the amount is outside the node's limits")]
    OutOfRangeSatsAmount,
    #[error("the identity has an unfinished duty of the same kind")]
    PendingOrderExists,
}
