//! What must be asked outside before an input can be decided.

use crate::{HoldStatus, PaymentHash};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Has this hold been accepted meanwhile (C6, C7, C8)?
    HoldStatus { hash: PaymentHash },
}

/// An answer, with its subject. Gathered for one input and thrown away after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    HoldSeen { hash: PaymentHash, status: HoldStatus },
}
