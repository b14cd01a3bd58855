//! A worker's letters: queued, handed to the producer in their order, and settled when the broker has them.

use std::time::Instant;

use super::{LETTERS, Worker, letter_bytes};
use crate::ops::metrics::pipeline as metrics;
use crate::pipeline::guard::dead_messages;
use crate::pipeline::letter::Letter;

impl Worker {
    /// Queues letters of messages that were read before, unless the guard says that there are too many.
    pub(super) fn post(&mut self, letters: Vec<Letter>) -> anyhow::Result<()> {
        let dead = dead_messages(letters.iter(), |_| None, &mut self.last_dead);
        self.shared.guard.note(0, &dead, Instant::now())?;
        self.queue(letters);
        Ok(())
    }

    pub(super) fn queue(&mut self, letters: Vec<Letter>) {
        for letter in &letters {
            metrics::letter(letter.destination, &letter.reason);
            self.letter_bytes += letter.bytes();
        }
        self.outbox.extend(letters);
    }

    /// Bytes of letters that may be caused now; at least one letter is.
    pub(super) fn letter_room(&self) -> u64 {
        letter_bytes(self.permits.limit())
            .saturating_sub(self.letter_bytes)
            .max(1)
    }

    /// Whether more letters may be caused.
    pub(super) fn letters_fit(&self) -> bool {
        self.outbox.len() + self.letters.len() < LETTERS
            && self.letter_bytes < letter_bytes(self.permits.limit())
    }

    pub(super) fn hand_over_letters(&mut self) {
        while let Some(letter) = self.outbox.front() {
            let Some(delivery) = self.shared.producer.enqueue(letter) else {
                break;
            };
            let Some(letter) = self.outbox.pop_front() else {
                break;
            };
            self.letters.push(Box::pin(async move {
                let result = match delivery.await {
                    Ok(Ok(delivered)) => Ok(delivered.offset),
                    Ok(Err((error, _))) => Err(error.to_string()),
                    Err(_) => Err("the producer was closed".to_owned()),
                };
                (letter, result)
            }));
        }
        let waiting = !self.outbox.is_empty() || !self.letters.is_empty();
        match (waiting, self.letter_waits_since) {
            (false, _) => {
                self.letter_waits_since = None;
                self.letters_blocked = false;
            }
            (true, None) => self.letter_waits_since = Some(Instant::now()),
            (true, Some(since)) if since.elapsed() >= self.shared.alarm => {
                self.letters_blocked = true;
                metrics::letters_stuck(&self.progress.topic);
                tracing::error!(
                    topic = %self.progress.topic, partition = self.progress.partition,
                    waiting = self.outbox.len() + self.letters.len(), seconds = since.elapsed().as_secs(),
                    "letters are not confirmed: the partition waits until their topic can be written"
                );
                self.letter_waits_since = Some(Instant::now());
            }
            (true, Some(_)) => {}
        }
    }

    pub(super) fn written(&mut self, letter: Letter, result: Result<i64, String>) {
        match result {
            Ok(offset) => {
                self.letter_waits_since = None;
                self.letters_blocked = false;
                self.letter_bytes -= letter.bytes();
                self.partition.letter_written(&letter, offset);
            }
            Err(error) => {
                metrics::letter_refused();
                tracing::error!(
                    topic = %self.progress.topic, partition = self.progress.partition, offset = letter.source.offset, %error,
                    "a letter was refused; it is tried again and the partition waits"
                );
                let at = self.outbox.partition_point(|other| other.seq < letter.seq);
                self.outbox.insert(at, letter);
            }
        }
    }
}
