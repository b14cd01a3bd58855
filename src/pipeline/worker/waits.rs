//! The wait that a worker publishes for letters that are not confirmed (H1).
//!
//! Owns at most one published wait. The wait begins when no letter was confirmed for [`SOON`] although some are in flight or
//! refused, long before the alarm, and ends with the first confirmation.

use std::time::{Duration, Instant};

use super::Worker;
use crate::ops::waits::{Kind, Wait};

/// How long letters stay unconfirmed before the wait is published; an undisturbed broker confirms much sooner.
pub(super) const SOON: Duration = Duration::from_secs(2);

/// The published wait, while letters are not confirmed.
pub(super) type LettersWait = Option<Wait>;

impl Worker {
    /// When the wait or the alarm for unconfirmed letters is due.
    pub(super) fn letters_looked_at(&self) -> Option<Instant> {
        let after = match self.letters_wait {
            None => SOON.min(self.shared.alarm),
            Some(_) => self.shared.alarm,
        };
        self.letter_waits_since.map(|since| since + after)
    }

    pub(super) fn show_letters(&mut self, now: Instant) {
        let soon = |since| now.saturating_duration_since(since) >= SOON;
        let waits = self.letters_blocked || self.letter_waits_since.is_some_and(soon);
        if !waits {
            self.letters_wait = None;
            return;
        }
        if self.letters_wait.is_some() {
            return;
        }
        let cause = match &self.letters_refused {
            Some(refused) => format!("letters are refused: {refused}"),
            None => "letters are not confirmed by the broker".to_owned(),
        };
        let input = &self.progress.input;
        let topics = &self.shared.topics;
        let remedy = format!(
            "check that {} and {} exist, take messages of this size and may be written by this user; the partition goes on by itself",
            topics.dead_letter,
            topics.held(&input.topic)
        );
        let subject = input.to_string();
        self.letters_wait = Some(self.shared.board.wait(Kind::Letter, subject, cause, remedy));
    }
}
