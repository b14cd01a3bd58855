//! What can go wrong with a call whose answer we need: the caller branches on who must act.

use std::time::Duration;

use crate::http::retry::Failure;

/// Why a call other than `POST /records` gave nothing usable.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer. Retryable; may have had effects if the failure says so.
    #[error("{act}: {source}")]
    Failed {
        act: &'static str,
        #[source]
        source: Failure,
    },
    /// The gateway answered with an error status. Whether to ask again depends on the status.
    #[error("{act}: HTTP {status}: {text}")]
    Status {
        act: &'static str,
        status: u16,
        text: String,
        retry_after: Option<Duration>,
    },
    /// A success without what it must hold. Retryable, but somebody should look.
    #[error("{act}: HTTP {status} with an answer that cannot be read: {why}")]
    Unreadable {
        act: &'static str,
        status: u16,
        why: String,
    },
    /// A success with more bytes than are read. Retryable for less.
    #[error("{act}: HTTP {status} with an answer of more than {most} bytes")]
    TooLarge {
        act: &'static str,
        status: u16,
        most: usize,
    },
}

impl CallError {
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Failed { .. } | Self::Unreadable { .. } | Self::TooLarge { .. } => None,
        }
    }

    /// How long the gateway asked to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Failed { .. } | Self::Unreadable { .. } | Self::TooLarge { .. } => None,
        }
    }

    /// Whether the gateway may have acted on the call all the same.
    #[must_use]
    pub fn may_have_effects(&self) -> bool {
        match self {
            Self::Failed { source, .. } => source.may_have_effects(),
            Self::Status { status, .. } => *status >= 500 || *status == 408,
            Self::Unreadable { .. } | Self::TooLarge { .. } => true,
        }
    }
}
