//! A tap on the wire: the last exchanges, kept when a test asks for them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::operation::Operation;

/// One request and its answer. Bodies of authentication calls hold credentials: an exchange has no `Debug` and is never logged.
#[derive(Clone)]
pub struct Exchange {
    pub operation: Operation,
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    pub content_type: Option<String>,
    /// Whether the request carried `Authorization: Bearer`.
    pub bearer: bool,
    pub request: Bytes,
    /// 0 when no answer was given: a cut connection or a lost answer.
    pub status: u16,
    pub answer_type: String,
    pub answer: Bytes,
    /// The answer was scripted by a fault rule.
    pub scripted: bool,
}

/// Keeps the last exchanges; none unless asked.
#[derive(Default)]
pub struct Tap {
    // One lock: keeping is for tests, and cheap when off.
    kept: Mutex<(usize, VecDeque<Exchange>)>,
}

impl Tap {
    /// Keeps the last `most` exchanges from now on; 0 stops and forgets.
    pub fn keep(&self, most: usize) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0 = most;
        while kept.1.len() > most {
            kept.1.pop_front();
        }
    }

    #[must_use]
    pub fn on(&self) -> bool {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).0 > 0
    }

    pub fn add(&self, exchange: Exchange) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.0 == 0 {
            return;
        }
        if kept.1.len() == kept.0 {
            kept.1.pop_front();
        }
        kept.1.push_back(exchange);
    }

    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .iter()
            .cloned()
            .collect()
    }
}
