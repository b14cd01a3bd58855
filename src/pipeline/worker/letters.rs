//! A worker's letters: queued, fitted to their topic, handed to the producer in order, and settled when the broker has
//! confirmed them.
//!
//! Owns the letters in flight ([`OnWay`]); the [`Outbox`](super::Outbox) owns those that wait.
//!
//! * D1: a letter too large for its topic is written shortened; a held record too large for the held topic becomes a dead
//!   letter. After any other refusal the letter is written again after a backoff, with an alarm, and no letter behind it is
//!   lost.
//! * S1: as [`crate::pipeline::outbox`] says.
//!
//! Dropping it drops the unconfirmed letters; their records are unsettled and are read again.

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use rdkafka::error::KafkaError;

use super::{LETTER_RETRY, LETTERS, Worker, letter_bytes};
use crate::ops::metrics::pipeline as metrics;
use crate::pipeline::fit::{self, Form};
use crate::pipeline::guard::dead_messages;
use crate::pipeline::letter::{Destination, Letter};
use crate::pipeline::outbox::Parcel;
use crate::pipeline::producer::{self, Withheld, WriteError};
use crate::pipeline::refusal::Refusal;

/// Reason code of a held record that is too large for the held topic.
const HELD_TOO_LARGE: &str = "held.too-large";
/// Reason code of a held record that could not be written before younger ones of its device.
const HELD_OVERTAKEN: &str = "held.overtaken";
/// Reason code of a held record whose held topic can never exist.
const HELD_NO_TOPIC: &str = "held.no-topic";

/// The delivery report of a letter, or the end of a question about limits.
pub(super) enum Event {
    Written(Parcel, i64),
    /// Refused, by the client of this generation.
    Refused(Parcel, KafkaError, u64),
    /// The broker was asked for the limits; its answer, if there was one, is noted.
    Learned,
}

type Reporting = Pin<Box<dyn Future<Output = Event> + Send>>;

/// Letters in flight; held records are reported in the order in which they were handed over.
#[derive(Default)]
pub(super) struct OnWay {
    /// Dead letters, reported in any order.
    dead: FuturesUnordered<Reporting>,
    /// Held records, reported in the order in which they were handed over (S1).
    held: FuturesOrdered<Reporting>,
    /// The question about a topic's limit, while one is asked; one at a time.
    learning: Option<Reporting>,
}

impl OnWay {
    pub fn len(&self) -> usize {
        self.dead.len() + self.held.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next report; pending while no letter is in flight. Cancelling loses nothing.
    pub async fn next(&mut self) -> Event {
        let learning = async {
            match &mut self.learning {
                Some(learning) => learning.await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            Some(event) = self.held.next() => event,
            Some(event) = self.dead.next() => event,
            event = learning => event,
        };
        if matches!(event, Event::Learned) {
            self.learning = None;
        }
        event
    }
}

impl Worker {
    /// Queues letters of messages that were read before, unless the guard trips.
    pub(super) fn post(&mut self, letters: Vec<Letter>) -> anyhow::Result<()> {
        let dead = dead_messages(letters.iter(), |_| None, &mut self.last_dead);
        self.shared.guard.note(0, &dead, Instant::now())?;
        self.queue(letters);
        Ok(())
    }

    pub(super) fn queue(&mut self, letters: Vec<Letter>) {
        for letter in letters {
            metrics::letter(letter.destination, &letter.reason);
            self.letter_bytes += letter.bytes();
            self.outbox.push(letter);
        }
    }

    /// Bytes of letters that may be made now; room for one letter is always given.
    pub(super) fn letter_room(&self) -> u64 {
        letter_bytes(self.permits.limit())
            .saturating_sub(self.letter_bytes)
            .max(1)
    }

    /// Whether more letters may be made.
    pub(super) fn letters_fit(&self) -> bool {
        self.outbox.len() + self.letters.len() < LETTERS
            && self.letter_bytes < letter_bytes(self.permits.limit())
    }

    pub(super) fn hand_over_letters(&mut self) {
        let now = Instant::now();
        if self.letters_after.is_none_or(|after| now >= after) {
            self.letters_after = None;
            while self.hand_over_next() {}
        }
        self.watch_letters();
    }

    /// Hands over the next letter; false if the letter has to wait.
    fn hand_over_next(&mut self) -> bool {
        let producer = self.shared.producer.clone();
        let carrier = producer.generation();
        let Some(parcel) = self.outbox.next(carrier) else {
            return false;
        };
        let destination = parcel.letter.destination;
        let topic = match destination {
            Destination::DeadLetter => self.shared.topics.dead_letter.clone(),
            Destination::Held => self.side.held_topic().to_owned(),
        };
        let partition = (destination == Destination::Held).then_some(self.progress.input.partition);
        let limit = producer.limits().of(&topic);
        if std::mem::replace(&mut parcel.limit, limit) != limit {
            // The topic's limit changed: earlier refusals of the letter say nothing about the new one.
            parcel.too_large = 0;
        }
        let room = producer.limits().room(&topic, parcel.too_large);
        let letter = &parcel.letter;
        let form = fit::fit(letter, parcel.keyed, room);
        let whole = form.as_ref().is_some_and(|form| form.whole);
        if !whole && !producer.limits().fresh(&topic, Instant::now()) {
            // The limit may have been raised since the broker was asked.
            self.learn(topic);
            return false;
        }
        let Some(form) = form else {
            if letter.destination == Destination::Held {
                self.cannot_hold(HELD_TOO_LARGE);
                return true;
            }
            metrics::letter_refused();
            tracing::error!(
                topic,
                room,
                offset = letter.source.offset,
                remedy = Refusal::TooLarge.remedy(),
                "a letter was rejected: its topic does not accept even the shortest form; the partition waits"
            );
            self.letters_after = Some(Instant::now() + 4 * LETTER_RETRY);
            return false;
        };
        if !whole && letter.destination == Destination::Held {
            self.cannot_hold(HELD_TOO_LARGE);
            return true;
        }
        let handed = match producer.enqueue(&topic, partition, &form) {
            Ok(handed) => handed,
            Err(Withheld::Full) => return false,
            Err(Withheld::Refused(error)) => {
                let Some(parcel) = self.outbox.take(carrier) else {
                    return false;
                };
                self.letters.dead.push(Box::pin(async move {
                    producer
                        .renew(&topic, producer::meaning(&error), carrier)
                        .await;
                    Event::Refused(parcel, error, carrier)
                }));
                return false;
            }
        };
        if !whole {
            tell_shortened(letter, &form, &topic, room);
        }
        let Some(parcel) = self.outbox.take(handed.generation) else {
            return false;
        };
        let held = parcel.letter.destination == Destination::Held;
        let report: Reporting = Box::pin(async move {
            let error = match handed.delivery.await {
                Ok(Ok(delivered)) => return Event::Written(parcel, delivered.offset),
                Ok(Err((error, _))) => error,
                Err(_) => KafkaError::Canceled,
            };
            let meaning = producer::meaning(&error);
            producer.renew(&topic, meaning, handed.generation).await;
            Event::Refused(parcel, error, handed.generation)
        });
        match held {
            true => self.letters.held.push_back(report),
            false => self.letters.dead.push(report),
        }
        true
    }

    /// Asks for a topic's limit; the next letter waits for the answer.
    fn learn(&mut self, topic: String) {
        self.letters_after = Some(Instant::now() + LETTER_RETRY);
        if self.letters.learning.is_some() {
            return;
        }
        let producer = self.shared.producer.clone();
        self.letters.learning = Some(Box::pin(async move {
            producer.learn(&[&topic]).await;
            Event::Learned
        }));
    }

    /// Turns the next letter, which can never be written to the held topic, into a dead letter in the same place.
    fn cannot_hold(&mut self, code: &str) {
        if let Some(parcel) = self.outbox.next_mut() {
            cannot_hold(&mut self.partition, parcel, code);
        }
    }

    fn watch_letters(&mut self) {
        let waiting = !self.outbox.is_empty() || !self.letters.is_empty();
        match (waiting, self.letter_waits_since) {
            (false, _) => {
                self.letter_waits_since = None;
                self.letters_blocked = false;
            }
            (true, None) => self.letter_waits_since = Some(Instant::now()),
            (true, Some(since)) if since.elapsed() >= self.shared.alarm => {
                self.letters_blocked = true;
                metrics::letters_stuck(&self.progress.input.topic);
                tracing::error!(
                    topic = %self.progress.input.topic, partition = self.progress.input.partition,
                    waiting = self.outbox.len() + self.letters.len(), seconds = since.elapsed().as_secs(),
                    "letters are not acknowledged: the partition waits until their topic accepts writes"
                );
                self.letter_waits_since = Some(Instant::now());
            }
            (true, Some(_)) => {}
        }
    }

    pub(super) fn written(&mut self, event: Event) {
        match event {
            Event::Learned => self.letters_after = None,
            Event::Written(parcel, offset) => {
                self.letter_waits_since = None;
                self.letters_blocked = false;
                self.letters_refused = None;
                self.letter_bytes -= parcel.letter.bytes();
                self.outbox.confirmed(&parcel);
                self.partition.letter_written(&parcel.letter, offset);
            }
            Event::Refused(parcel, error, by) => self.refused(parcel, &error, by),
        }
        for mut parcel in self.outbox.overtaken() {
            cannot_hold(&mut self.partition, &mut parcel, HELD_OVERTAKEN);
            self.outbox.put(parcel);
        }
    }

    fn refused(&mut self, mut parcel: Parcel, error: &KafkaError, by: u64) {
        let refusal = producer::meaning(error);
        let letter = &parcel.letter;
        metrics::letter_refused();
        let said = WriteError {
            topic: match letter.destination {
                Destination::DeadLetter => self.shared.topics.dead_letter.clone(),
                Destination::Held => self.side.held_topic().to_owned(),
            },
            refusal,
            error: error.clone(),
        };
        tracing::error!(
            topic = %self.progress.input.topic, partition = self.progress.input.partition, offset = letter.source.offset,
            to = ?letter.destination, error = %said, remedy = refusal.remedy(),
            "a letter was rejected; retrying while the partition waits"
        );
        if let Some(wait) = &self.letters_wait {
            wait.update(format!("letters are refused: {said}"));
        }
        self.letters_refused = Some(said.to_string());
        let held = letter.destination == Destination::Held;
        let at_once = match refusal {
            // The client was replaced and makes smaller batches: the batch may have been too large, not the letter.
            Refusal::TooLarge if self.shared.producer.generation() != by => true,
            Refusal::TooLarge => {
                parcel.too_large += 1;
                true
            }
            Refusal::Unfit => !std::mem::replace(&mut parcel.keyed, true),
            Refusal::Client => true,
            Refusal::NoSuchName | Refusal::Topic | Refusal::Passing => false,
        };
        if !at_once {
            self.letters_after = Some(Instant::now() + LETTER_RETRY);
        }
        self.outbox.refused(&parcel);
        if held && refusal == Refusal::NoSuchName {
            cannot_hold(&mut self.partition, &mut parcel, HELD_NO_TOPIC);
        }
        self.outbox.put(parcel);
    }
}

fn cannot_hold(
    partition: &mut crate::pipeline::partition::Partition,
    parcel: &mut Parcel,
    code: &str,
) {
    let why = match code {
        HELD_TOO_LARGE => "the record is larger than the held topic takes",
        HELD_NO_TOPIC => "no broker can have a held topic of this name",
        _ => "the held topic refused it and took younger records of its device",
    };
    partition.cannot_hold(&mut parcel.letter, code, why.to_owned());
    parcel.too_large = 0;
    metrics::letter(parcel.letter.destination, &parcel.letter.reason);
    tracing::warn!(
        offset = parcel.letter.source.offset,
        reason = code,
        "a record that was to be held becomes a dead letter: {why}"
    );
}

fn tell_shortened(letter: &Letter, form: &Form<'_>, to: &str, room: usize) {
    metrics::letter_shortened();
    tracing::warn!(
        to,
        topic = letter.source.topic,
        partition = letter.source.partition,
        offset = letter.source.offset,
        bytes = letter.value.len(),
        kept = form.value.len(),
        room,
        remedy = Refusal::TooLarge.remedy(),
        "a letter exceeds the maximum message size of its topic and is shortened"
    );
}
