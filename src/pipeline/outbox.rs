//! The letters of one partition on the way to the broker: their order, and the effect of a refusal on it.
//!
//! Owns letters that wait. Pure: the worker hands them to the producer and awaits their delivery.
//!
//! * S1: held records of one device lie in the held topic in the order of their partition. While a refused record waits to be
//!   written again, no held record is handed over before every one in flight is confirmed or refused. If a younger record of
//!   the same name was confirmed meanwhile, the refused one would lie behind it, so it becomes a dead letter instead
//!   ([`Outbox::overtaken`]).
//! * Letters wait in the order they were queued in.
//!
//! Capacity: the worker stops taking chunks at a number and at an amount of bytes. Dropping it drops what waits; those records are
//! unsettled and are read again.

use std::collections::{HashMap, VecDeque};

use super::letter::{Destination, Letter};

/// A letter, its place in the order, and its refusals so far.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The letter; its records are settled when the broker has confirmed it.
    pub letter: Letter,
    /// Its place in the order of the outbox, kept through refusals.
    number: u64,
    /// How often it was refused as too large although it seemed to fit the topic's limit.
    pub too_large: u32,
    /// The topic's limit then; with another limit the count begins anew.
    pub limit: usize,
    /// Whether it is written with a key in any case, because the topic refused it without one.
    pub keyed: bool,
}

impl Parcel {
    fn is_held(&self) -> bool {
        self.letter.destination == Destination::Held
    }

    fn name(&self) -> &[u8] {
        self.letter.key.as_deref().unwrap_or_default()
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Letters that wait, ascending by number.
    waiting: VecDeque<Parcel>,
    /// Number of the next letter.
    next: u64,
    /// Held records that the producer has and that are not reported yet.
    on_way: u64,
    /// Generation of the client that carries them.
    carrier: u64,
    /// Whether a held record was refused and those handed over behind it are not all reported yet.
    settling: bool,
    /// Number of the newest record of each name that was confirmed while settling.
    accepted: HashMap<Vec<u8>, u64>,
}

impl Outbox {
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Queues a letter behind all others.
    pub fn push(&mut self, letter: Letter) {
        let number = self.next;
        self.next += 1;
        self.waiting.push_back(Parcel {
            letter,
            number,
            too_large: 0,
            limit: 0,
            keyed: false,
        });
    }

    /// The letter that is next, unless it has to wait for held records in flight. `carrier`: the client that would carry it.
    pub fn next(&mut self, carrier: u64) -> Option<&mut Parcel> {
        let (settling, busy) = (self.settling, self.on_way > 0 && self.carrier != carrier);
        let next = self.waiting.front_mut()?;
        let waits = next.is_held() && (settling || busy);
        (!waits).then_some(next)
    }

    /// The letter at the head, even if it has to wait.
    pub fn next_mut(&mut self) -> Option<&mut Parcel> {
        self.waiting.front_mut()
    }

    /// Takes out the letter at the head: it is handed to the producer.
    pub fn take(&mut self, carrier: u64) -> Option<Parcel> {
        let parcel = self.waiting.pop_front()?;
        if parcel.is_held() {
            self.on_way += 1;
            self.carrier = carrier;
        }
        Some(parcel)
    }

    /// The broker has confirmed the letter. Held records are confirmed or refused in the order in which they were handed over.
    pub fn confirmed(&mut self, parcel: &Parcel) {
        if !parcel.is_held() {
            return;
        }
        self.on_way -= 1;
        if self.settling {
            self.accepted.insert(parcel.name().to_vec(), parcel.number);
        }
    }

    /// The broker has refused the letter; the caller returns it by [`Outbox::put`].
    pub fn refused(&mut self, parcel: &Parcel) {
        if parcel.is_held() {
            self.on_way -= 1;
            self.settling = true;
        }
    }

    /// Held records that were overtaken by younger ones of the same name, once none is in flight: they must not be written to
    /// the held topic any more. The caller returns each by [`Outbox::put`], as a dead letter.
    pub fn overtaken(&mut self) -> Vec<Parcel> {
        if !self.settling || self.on_way > 0 {
            return Vec::new();
        }
        self.settling = false;
        let accepted = std::mem::take(&mut self.accepted);
        if accepted.is_empty() {
            return Vec::new();
        }
        let passed = |parcel: &Parcel| {
            let newest = accepted.get(parcel.name());
            parcel.is_held() && newest.is_some_and(|newest| *newest > parcel.number)
        };
        let (gone, stay) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(passed);
        self.waiting = VecDeque::from(Vec::from_iter::<VecDeque<Parcel>>(stay));
        Vec::from_iter::<VecDeque<Parcel>>(gone)
    }

    /// Returns a letter to its place in the order.
    pub fn put(&mut self, parcel: Parcel) {
        let number = parcel.number;
        let at = self.waiting.partition_point(|other| other.number < number);
        self.waiting.insert(at, parcel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::letter::{Reason, Source};
    use crate::pipeline::offsets::MessageSeq;
    use proptest::prelude::*;

    fn letter(name: u8, value: u64, destination: Destination) -> Letter {
        Letter {
            destination,
            key: Some(vec![name]),
            value: value.to_string().into_bytes(),
            reason: Reason {
                code: String::new(),
                detail: String::new(),
                stage: String::new(),
                http_status: None,
                server_text: None,
                serial: None,
                attempts: 0,
            },
            source: Source {
                topic: String::new(),
                partition: 0,
                offset: 0,
                timestamp_ms: None,
                replays: 0,
                record: None,
            },
            seq: MessageSeq(0),
            records: 1,
        }
    }

    fn value(parcel: &Parcel) -> u64 {
        let text = std::str::from_utf8(&parcel.letter.value).expect("text");
        text.parse().expect("a number")
    }

    #[test]
    fn a_refused_record_behind_which_a_younger_one_was_accepted_is_overtaken() {
        let mut outbox = Outbox::default();
        for number in 0..3 {
            outbox.push(letter(u8::from(number == 1), number, Destination::Held));
        }
        let parcels: Vec<_> = (0..3).filter_map(|_| outbox.take(0)).collect();
        let [first, other, last] = parcels.try_into().expect("three");
        outbox.refused(&first);
        outbox.put(first);
        assert!(outbox.next(0).is_none(), "two are on their way");
        outbox.refused(&other);
        outbox.put(other);
        assert!(outbox.overtaken().is_empty());
        outbox.confirmed(&last);
        let overtaken = outbox.overtaken();
        assert_eq!(overtaken.iter().map(value).collect::<Vec<_>>(), [0]);
        assert_eq!(outbox.next(0).map(|parcel| value(parcel)), Some(1));
    }

    #[test]
    fn held_records_wait_for_those_that_another_client_carries() {
        let mut outbox = Outbox::default();
        outbox.push(letter(0, 0, Destination::Held));
        outbox.push(letter(0, 1, Destination::Held));
        let first = outbox.take(0).expect("one");
        assert!(outbox.next(1).is_none());
        assert!(outbox.next(0).is_some());
        outbox.confirmed(&first);
        assert!(outbox.next(1).is_some());
    }

    proptest! {
        /// S1: whatever is refused and accepted, records of one name lie in the topic in their order.
        #[test]
        fn records_of_a_name_lie_in_their_order(
            names in prop::collection::vec(0u8..3, 1..40), choices in prop::collection::vec((0u8..4, any::<bool>()), 0..400),
        ) {
            let mut outbox = Outbox::default();
            for (number, name) in (0..).zip(&names) {
                outbox.push(letter(*name, number, Destination::Held));
            }
            let mut way: VecDeque<Parcel> = VecDeque::new();
            let mut topic: Vec<(u8, u64)> = Vec::new();
            let mut dead = 0;
            for (act, good) in choices.into_iter().chain([(0, true), (1, true)].into_iter().cycle().take(400)) {
                if act == 0 {
                    if outbox.next(0).is_some() {
                        way.extend(outbox.take(0));
                    }
                } else if let Some(parcel) = way.pop_front() {
                    if good {
                        topic.push((parcel.name()[0], value(&parcel)));
                        outbox.confirmed(&parcel);
                    } else {
                        outbox.refused(&parcel);
                        outbox.put(parcel);
                    }
                }
                dead += outbox.overtaken().len();
            }
            prop_assert_eq!(topic.len() + dead, names.len());
            for name in 0..3 {
                let order: Vec<u64> = topic.iter().filter(|(n, _)| *n == name).map(|(_, v)| *v).collect();
                prop_assert!(order.is_sorted(), "{order:?}");
            }
        }
    }
}
