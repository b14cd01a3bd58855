//! The judgement as pure logic: manifests in, ledger lines and letters in, verdict out.
//!
//! A record is known by (serial, type, time). Order is that of FIRST arrivals: a record is reordered when one behind it in
//! its manifest arrived before it; repeats do not count.
//!
//! A record whose letter was replayed ([`Judge::replayed`]) comes behind what was accepted meanwhile, by its nature: that is
//! counted apart and is no disorder, but among each other replayed records must keep their order. One that had to be rejected may
//! arrive then, as a patch may have repaired it.
//!
//! Letters are judged only when [`Judge::expect_letters`] was called: then every record of a manifest must be in the ledger
//! or in a letter. A letter whose record cannot be told (a truncated one, one without a time) counts for its serial.

use std::collections::HashMap;

use super::dead_letter_match::{Aside, DEAD, DeadLetter, HELD};
use super::track::{BAD, FATE, KIND, Track, UNKNOWN};
pub use super::verdict::{CameTo, EXAMPLES, Example, Examples, Verdict};
use super::verdict::{Letters, note, time_text};
use crate::load::manifest::Run;
use crate::record::RecordType;

/// What was produced, according to manifests, and what has arrived of it.
#[derive(Debug, Default)]
pub struct Judge {
    serials: HashMap<Box<str>, Vec<u32>, foldhash::fast::FixedState>,
    /// Serial by device id: letters of records that never got a serial.
    devices: HashMap<Box<str>, Box<str>, foldhash::fast::FixedState>,
    tracks: Vec<Track>,
    /// Tracks from here on belong to the manifest being read.
    current: u32,
    expected: u64,
    unconfirmed: u64,
    rejected: u64,
    refused: u64,
    lines: u64,
    confirmed_arrived: u64,
    unconfirmed_arrived: u64,
    duplicated: u64,
    phantom: u64,
    examples: Examples,
    aside: Option<Aside>,
    /// Records that arrived behind a later one of their serial, in the order of the ledger.
    late: Vec<Arrival>,
    /// Ledger lines of records that must not arrive.
    unwanted: Vec<Arrival>,
    /// Records whose letter was replayed; whether in the order of their serial.
    replayed: HashMap<(u32, u32), bool, foldhash::fast::FixedState>,
}

/// A ledger line that is judged at the end, when all letters are known.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    track: u32,
    place: u32,
    /// The ledger line.
    line: u32,
    /// The line of the later record; of one that must not arrive, 0.
    ahead: u32,
}

impl Judge {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The runs added from here on are of a further manifest: order is not judged between manifests.
    pub fn next_manifest(&mut self) {
        self.current = self.tracks.len() as u32;
    }

    /// # Errors
    /// When the run contradicts itself, or a record of it is in a run added before.
    pub fn add(&mut self, run: &Run) -> anyhow::Result<()> {
        if !run.device.is_empty() {
            self.devices
                .insert(run.device.as_str().into(), run.serial.as_str().into());
        }
        let of_serial = self.serials.entry(run.serial.as_str().into()).or_default();
        let mut fresh = Track::default();
        fresh.add(run)?;
        for track in of_serial.iter().map(|at| &self.tracks[*at as usize]) {
            if fresh.segments[0].start > track.latest {
                continue;
            }
            let clash = fresh
                .records
                .iter()
                .enumerate()
                .find_map(|(place, record)| {
                    let kind = RecordType::ALL[(record & KIND) as usize];
                    let time = fresh.segments[0].time_of(place as u32);
                    track.find(kind, time).map(|_| (kind, time))
                });
            if let Some((kind, time)) = clash {
                anyhow::bail!(
                    "{} of {} at {} was produced before; give each load its own --run-id",
                    kind.name(),
                    run.serial,
                    time_text(time)
                );
            }
        }
        for record in &fresh.records {
            match (record & FATE, record & UNKNOWN != 0) {
                (0, false) => self.expected += 1,
                (0, true) => self.unconfirmed += 1,
                (BAD, _) => self.rejected += 1,
                _ => self.refused += 1,
            }
        }
        match of_serial.iter().find(|at| **at >= self.current) {
            Some(at) => self.tracks[*at as usize].add(run),
            None => {
                of_serial.push(self.tracks.len() as u32);
                self.tracks.push(fresh);
                Ok(())
            }
        }
    }

    /// Lines taken so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Records that are expected and have not arrived.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.expected - self.confirmed_arrived
    }

    /// Records of the manifests that may be accepted, confirmed or not.
    #[must_use]
    pub fn acceptable(&self) -> u64 {
        self.expected + self.unconfirmed
    }

    /// From here on every record must be in the ledger or in a letter.
    pub fn expect_letters(&mut self) {
        self.aside.get_or_insert_default();
    }

    /// Takes a letter that was found.
    pub fn letter(&mut self, letter: &DeadLetter<'_>) {
        let aside = self.aside.get_or_insert_default();
        if !aside.is_new(letter) {
            return;
        }
        let serial = self.serials.get_key_value(letter.subject).or_else(|| {
            let serial = self.devices.get(letter.subject)?;
            self.serials.get_key_value(serial)
        });
        let Some((serial, of_serial)) = serial else {
            return aside.strange(letter);
        };
        let Some((kind, time)) = letter.identity else {
            return aside.nameless(letter, serial);
        };
        let found = of_serial
            .iter()
            .find_map(|at| Some((*at, self.tracks[*at as usize].find(kind, time)?)));
        match found {
            None => aside.strange(letter),
            Some((track, (_, place))) => {
                if !self.tracks[track as usize].set_aside(place, letter.held) {
                    aside.again(letter);
                }
            }
        }
    }

    /// Takes the next line of the ledger. `kind` is `None` for a type the gateway does not have.
    pub fn arrive(&mut self, serial: &str, kind: Option<RecordType>, time_us: i64) {
        self.lines += 1;
        let line = self.lines;
        let example = |place: Option<u32>, why: String| Example {
            serial: serial.to_owned(),
            kind: kind.map_or("unknown type", RecordType::name).to_owned(),
            date_time: time_text(time_us),
            place,
            line: Some(line),
            why,
        };
        let of_serial = self.serials.get(serial).map_or(&[][..], Vec::as_slice);
        let found = kind.and_then(|kind| {
            of_serial
                .iter()
                .find_map(|at| Some((*at, self.tracks[*at as usize].find(kind, time_us)?)))
        });
        let Some((at, (segment, place))) = found else {
            let why = if of_serial.is_empty() {
                "no manifest has this serial"
            } else {
                "no manifest has this record"
            };
            return note(&mut self.phantom, &mut self.examples.phantom, || {
                example(None, why.to_owned())
            });
        };
        let track = &mut self.tracks[at as usize];
        track.hint = segment;
        let record = track.records[place as usize];
        let arrival = |ahead| Arrival {
            track: at,
            place,
            line: u32::try_from(line).unwrap_or(u32::MAX),
            ahead,
        };
        if record & FATE != 0 {
            self.unwanted.push(arrival(0));
            return;
        }
        let arrived = &mut track.arrived[place as usize];
        if *arrived != 0 {
            let first = *arrived;
            return note(&mut self.duplicated, &mut self.examples.duplicated, || {
                example(Some(place), format!("first on line {first}"))
            });
        }
        *arrived = u32::try_from(line).unwrap_or(u32::MAX);
        if record & UNKNOWN != 0 {
            self.unconfirmed_arrived += 1;
        } else {
            self.confirmed_arrived += 1;
        }
        match track.furthest {
            Some(furthest) if furthest > place => {
                self.late.push(arrival(track.arrived[furthest as usize]));
            }
            _ => track.furthest = Some(place),
        }
    }

    /// The letter of a record was replayed. `in_order`: behind no younger replayed one of its serial.
    pub fn replayed(&mut self, serial: &str, kind: RecordType, time_us: i64, in_order: bool) {
        let of_serial = self.serials.get(serial).map_or(&[][..], Vec::as_slice);
        let found = of_serial
            .iter()
            .find_map(|at| Some((*at, self.tracks[*at as usize].find(kind, time_us)?)));
        if let Some((track, (_, place))) = found {
            let orderly = self.replayed.entry((track, place)).or_insert(in_order);
            *orderly &= in_order;
        }
    }

    /// The serial of a device id, by the manifests.
    #[must_use]
    pub fn serial_of(&self, device_id: &str) -> Option<&str> {
        self.devices.get(device_id).map(AsRef::as_ref)
    }

    /// Judges what arrived late or must not arrive, now that the letters are known. Gives reordered and phantom lines.
    fn settle_arrivals(
        &self,
        letters: Option<&mut Letters>,
        examples: &mut Examples,
    ) -> (u64, u64) {
        let (mut reordered, mut phantom) = (0, self.phantom);
        let (mut late, mut repaired) = (0, 0);
        // The last of the replayed ones that came late, by track.
        let mut last: HashMap<u32, u32> = HashMap::new();
        let names: HashMap<u32, &str> = self
            .serials
            .iter()
            .flat_map(|(serial, of)| of.iter().map(move |at| (*at, &**serial)))
            .collect();
        let example = |arrival: &Arrival, why: String| {
            let track = &self.tracks[arrival.track as usize];
            let segment = track.segment_of(arrival.place);
            let record = track.records[arrival.place as usize];
            Example {
                serial: names
                    .get(&arrival.track)
                    .copied()
                    .unwrap_or_default()
                    .to_owned(),
                kind: RecordType::ALL[(record & KIND) as usize].name().to_owned(),
                date_time: time_text(segment.time_of(arrival.place - segment.first)),
                place: Some(arrival.place),
                line: Some(arrival.line.into()),
                why,
            }
        };
        for arrival in &self.late {
            let Some(in_order) = self.replayed.get(&(arrival.track, arrival.place)) else {
                note(&mut reordered, &mut examples.reordered, || {
                    let arrived = &self.tracks[arrival.track as usize].arrived;
                    let furthest = arrived.iter().position(|line| *line == arrival.ahead);
                    let (furthest, ahead) = (furthest.unwrap_or_default(), arrival.ahead);
                    example(
                        arrival,
                        format!("record {furthest} of the serial came before it, on line {ahead}"),
                    )
                });
                continue;
            };
            late += 1;
            match last.get(&arrival.track).copied() {
                Some(before) if *in_order && before > arrival.place => {
                    note(&mut reordered, &mut examples.reordered, || {
                        let why = format!(
                            "record {before} of the serial was replayed too and came before it"
                        );
                        example(arrival, why)
                    });
                }
                _ => {
                    last.insert(arrival.track, arrival.place);
                }
            }
        }
        for arrival in &self.unwanted {
            if self.replayed.contains_key(&(arrival.track, arrival.place)) {
                repaired += 1;
                continue;
            }
            note(&mut phantom, &mut examples.phantom, || {
                let track = &self.tracks[arrival.track as usize];
                let why = match track.records[arrival.place as usize] & BAD != 0 {
                    true => "validation must reject it",
                    false => "the gateway must refuse it",
                };
                example(arrival, why.to_owned())
            });
        }
        if let Some(letters) = letters {
            letters.replayed = self.replayed.len() as u64;
            (letters.replayed_late, letters.repaired) = (late, repaired);
        }
        (reordered, phantom)
    }

    /// What became of the records of one serial so far.
    #[must_use]
    pub fn came_to(&self, serial: &str) -> CameTo {
        let mut came_to = CameTo::default();
        let of_serial = self.serials.get(serial).map_or(&[][..], Vec::as_slice);
        for track in of_serial.iter().map(|at| &self.tracks[*at as usize]) {
            for place in 0..track.records.len() as u32 {
                let (arrived, marks) = (track.has_arrived(place), track.aside(place));
                let (held, dead) = (marks & HELD != 0, marks & DEAD != 0);
                came_to.records += 1;
                came_to.accepted += u64::from(arrived);
                came_to.dead_lettered += u64::from(dead);
                came_to.held += u64::from(held);
                came_to.released += u64::from(held && arrived);
                came_to.waiting += u64::from(held && !arrived && !dead);
            }
        }
        came_to
    }

    /// Whether nothing more is waited for.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        if self.aside.is_none() {
            return self.missing() == 0;
        }
        self.verdict().lost == 0
    }

    /// The verdict on what has arrived so far.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut examples = self.examples.clone();
        let (mut lost, mut unseen) = (0, 0);
        let mut letters = self.aside.as_ref().map(Aside::counts);
        let (reordered, phantom) = self.settle_arrivals(letters.as_mut(), &mut examples);
        let mut serials: Vec<(&str, &[u32])> = self
            .serials
            .iter()
            .map(|(serial, of)| (&**serial, of.as_slice()))
            .collect();
        serials.sort_by_key(|(_, of)| of.first().copied());
        for (serial, of_serial) in serials {
            let mut nameless = self
                .aside
                .as_ref()
                .map(|aside| aside.nameless_of(serial))
                .unwrap_or_default();
            for track in of_serial.iter().map(|at| &self.tracks[*at as usize]) {
                for (place, record) in track.records.iter().enumerate() {
                    let place = place as u32;
                    let (bad, arrived) = (record & FATE != 0, track.has_arrived(place));
                    if let Some(letters) = &mut letters
                        && letters.settles(track.aside(place), bad, arrived, &mut nameless)
                    {
                        continue;
                    }
                    // Without letters nothing can be said about what must not arrive.
                    if arrived || bad && letters.is_none() {
                        continue;
                    }
                    let missing = |why: &str| {
                        let segment = track.segment_of(place);
                        Example {
                            serial: serial.to_owned(),
                            kind: RecordType::ALL[(record & KIND) as usize].name().to_owned(),
                            date_time: time_text(segment.time_of(place - segment.first)),
                            place: Some(place),
                            line: None,
                            why: why.to_owned(),
                        }
                    };
                    if record & UNKNOWN != 0 {
                        note(&mut unseen, &mut examples.unseen, || {
                            missing("not confirmed by the broker")
                        });
                    } else {
                        let why = match (bad, letters.is_some()) {
                            (true, _) => "confirmed, must be rejected, and in no letter",
                            (false, true) => "confirmed, never accepted, and in no letter",
                            (false, false) => "confirmed, never accepted",
                        };
                        note(&mut lost, &mut examples.lost, || missing(why));
                    }
                }
            }
        }
        Verdict {
            lost,
            unseen,
            duplicated: self.duplicated,
            reordered,
            phantom,
            expected: self.expected,
            accepted: self.confirmed_arrived + self.unconfirmed_arrived,
            accepted_unconfirmed: self.unconfirmed_arrived,
            expected_rejected: self.rejected,
            expected_refused: self.refused,
            ledger: self.lines,
            letters,
            examples,
        }
    }
}

#[cfg(test)]
mod tests;
