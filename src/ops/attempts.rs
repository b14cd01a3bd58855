//! Attempts: the published wait of an act that is repeated until it succeeds (H1).
//!
//! Owns at most one published wait. It begins with the first failure, has the newest failure as its cause, and ends with a success.
//! It repeats nothing itself.

use std::sync::{Arc, Mutex, PoisonError};

use super::status_registry::StatusRegistry;
use super::waits::{Kind, Wait};

/// See the module's documentation.
pub struct Attempts {
    /// Where the wait is published.
    board: Arc<StatusRegistry>,
    kind: Kind,
    subject: String,
    /// What a person can do.
    remedy: String,
    /// The published wait; dropped, it ends on the board. A lock: taken once per attempt, never across an await.
    wait: Mutex<Option<Wait>>,
}

impl Attempts {
    #[must_use]
    pub fn new(
        board: &Arc<StatusRegistry>,
        kind: Kind,
        subject: &str,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            board: Arc::clone(board),
            kind,
            subject: subject.to_owned(),
            remedy: remedy.into(),
            wait: Mutex::default(),
        }
    }

    /// Notes how an attempt ended; `None` for a success.
    pub fn note(&self, failure: Option<String>) {
        let mut wait = self.wait.lock().unwrap_or_else(PoisonError::into_inner);
        match (failure, &*wait) {
            (None, _) => *wait = None,
            (Some(cause), Some(wait)) => wait.update(cause),
            (Some(cause), None) => {
                *wait = Some(
                    self.board
                        .wait(self.kind, &*self.subject, cause, &*self.remedy),
                );
            }
        }
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        // Whoever tried ends, and has not succeeded: no word in the log that the wait is over.
        let wait = self.wait.get_mut().unwrap_or_else(PoisonError::into_inner);
        wait.take().into_iter().for_each(Wait::abandon);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_failure_is_published_until_an_attempt_succeeds() {
        let board = StatusRegistry::new(Instant::now());
        let causes = || {
            let waits = board.snapshot().waits;
            waits.into_iter().map(|wait| wait.cause).collect::<Vec<_>>()
        };
        let attempts = Attempts::new(&board, Kind::Feedback, "invalid records", "wait");
        attempts.note(None);
        assert!(causes().is_empty());
        attempts.note(Some("one".to_owned()));
        attempts.note(Some("two".to_owned()));
        assert_eq!(causes(), ["two"]);
        attempts.note(None);
        assert!(causes().is_empty());
        attempts.note(Some("three".to_owned()));
        drop(attempts);
        assert!(causes().is_empty());
    }
}
