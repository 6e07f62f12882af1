//! LND's errors, with LND's codes and texts.

use tonic::{Code, Status};

/// An error that LND answers with: a gRPC code and LND's exact text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {text}")]
pub struct LndError {
    pub code: Code,
    pub text: String,
}

impl LndError {
    /// A plain Go error: LND gives it no code of its own.
    pub(crate) fn unknown(text: impl Into<String>) -> Self {
        Self { code: Code::Unknown, text: text.into() }
    }

    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl From<LndError> for Status {
    fn from(error: LndError) -> Self {
        Self::new(error.code, error.text)
    }
}
