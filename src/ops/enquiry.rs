//! A question that a person asks about one device, and what each partition's worker knows of it in memory: how much is held, since
//! when, why.
//!
//! At most one question stands; a younger one takes its place. A worker compares a number when it posts, and answers once for each
//! question; nobody waits for anybody (N1). Both are gone with the board.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// What a partition holds of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldOf {
    pub records: u64,
    pub bytes: u64,
    /// When the oldest was written to its source, in milliseconds since the epoch.
    pub since_ms: Option<i64>,
    /// Why the newest was held.
    pub reason: Box<str>,
}

/// The question that stands.
#[derive(Debug, Default)]
pub(super) struct Question {
    /// 0 before the first; rises with each.
    number: AtomicU64,
    /// The names a device may be held under.
    names: Mutex<Vec<Box<str>>>,
}

impl Question {
    /// Asks; the number of the question.
    pub(super) fn ask(&self, names: Vec<Box<str>>) -> u64 {
        let mut standing = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        *standing = names;
        self.number.fetch_add(1, Ordering::Release) + 1
    }

    /// The question, unless it is the one that was answered.
    pub(super) fn beyond(&self, answered: u64) -> Option<(u64, Vec<Box<str>>)> {
        if self.number.load(Ordering::Acquire) == answered {
            return None;
        }
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        Some((self.number.load(Ordering::Acquire), names.clone()))
    }
}

/// A worker's answer to the newest question it has seen.
#[derive(Debug, Default)]
pub(super) struct Answer {
    number: AtomicU64,
    held: Mutex<Option<HeldOf>>,
}

impl Answer {
    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    pub(super) fn give(&self, number: u64, held: Option<HeldOf>) {
        let mut given = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *given = held;
        self.number.store(number, Ordering::Release);
    }

    /// The answer to a question, once there is one.
    pub(super) fn to(&self, number: u64) -> Option<Option<HeldOf>> {
        let given = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        (self.number() == number).then(|| given.clone())
    }
}
