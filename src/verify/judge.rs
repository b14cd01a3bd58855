//! The judgement as pure logic: manifests in, ledger lines and letters in, verdict out.
//!
//! A record is known by (serial, type, time). Order is that of FIRST arrivals: a record is reordered when one behind it in
//! its manifest arrived before it; repeats do not count.
//!
//! Letters are judged only when [`Judge::expect_letters`] was called: then every record of a manifest must be in the ledger
//! or in a letter. A letter whose record cannot be told (a truncated one, one without a time) counts for its serial.

use std::collections::HashMap;

use super::aside::{Aside, DEAD, HELD, Letter};
use super::track::{BAD, FATE, KIND, Track, UNKNOWN};
pub use super::verdict::{CameTo, EXAMPLES, Example, Examples, Verdict};
use super::verdict::{note, time_text};
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
    reordered: u64,
    phantom: u64,
    examples: Examples,
    aside: Option<Aside>,
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
    pub fn letter(&mut self, letter: &Letter<'_>) {
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
        let Some((track, (segment, place))) = found else {
            let why = if of_serial.is_empty() {
                "no manifest has this serial"
            } else {
                "no manifest has this record"
            };
            return note(&mut self.phantom, &mut self.examples.phantom, || {
                example(None, why.to_owned())
            });
        };
        let track = &mut self.tracks[track as usize];
        track.hint = segment;
        let record = track.records[place as usize];
        if record & FATE != 0 {
            let why = if record & BAD != 0 {
                "validation must reject it"
            } else {
                "the gateway must refuse it"
            };
            return note(&mut self.phantom, &mut self.examples.phantom, || {
                example(Some(place), why.to_owned())
            });
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
                let ahead = track.arrived[furthest as usize];
                note(&mut self.reordered, &mut self.examples.reordered, || {
                    example(
                        Some(place),
                        format!("record {furthest} of the serial came before it, on line {ahead}"),
                    )
                });
            }
            _ => track.furthest = Some(place),
        }
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
            reordered: self.reordered,
            phantom: self.phantom,
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
