//! The judgement as pure logic: manifests in, ledger lines in, verdict out.
//!
//! A record is known by (serial, type, time). Order is that of FIRST arrivals: a record is reordered when one behind it in
//! its manifest arrived before it; repeats do not count. Five bytes are kept per record and nothing else that grows with them,
//! as times are arithmetic.

use std::collections::HashMap;

use anyhow::ensure;
use serde::Serialize;

use crate::load::manifest::{Run, each_kind};
use crate::record::RecordType;

/// How many examples of each finding are kept.
pub const EXAMPLES: usize = 5;

const FATE: u8 = 0b0011_0000;
const BAD: u8 = 0b0001_0000;
const POISON: u8 = 0b0010_0000;
const UNKNOWN: u8 = 0b0100_0000;
const KIND: u8 = 0b0000_1111;

/// Evenly spaced records of one serial: a run of the manifest.
#[derive(Debug)]
struct Segment {
    start: i64,
    step: i64,
    /// Place of the first record in the track.
    first: u32,
    /// How many distinct times there are.
    ticks: u32,
    /// Place of each tick's first record, relative to `first`; empty when every tick has one record.
    places: Vec<u32>,
    /// Ticks that have each other's time with the next one, ascending.
    swapped: Vec<u32>,
}

impl Segment {
    /// No record of the segment is later; a swap may put the last one a step behind its slot.
    fn end(&self) -> i64 {
        self.start + i64::from(self.ticks) * self.step
    }

    /// From a tick to the slot of its time, and back: a swap is its own inverse.
    fn swap(&self, tick: u32) -> u32 {
        if self.swapped.is_empty() {
            tick
        } else if self.swapped.binary_search(&tick).is_ok() {
            tick + 1
        } else if tick > 0 && self.swapped.binary_search(&(tick - 1)).is_ok() {
            tick - 1
        } else {
            tick
        }
    }

    fn time_of(&self, place: u32) -> i64 {
        let tick = if self.places.is_empty() {
            place
        } else {
            (self.places.partition_point(|first| *first <= place) - 1) as u32
        };
        self.start + i64::from(self.swap(tick)) * self.step
    }

    /// Places (relative) of the records at a time.
    fn at(&self, time: i64, records: u32) -> Option<std::ops::Range<u32>> {
        let since = time.checked_sub(self.start)?;
        if since < 0 || since % self.step != 0 {
            return None;
        }
        let slot = u32::try_from(since / self.step)
            .ok()
            .filter(|slot| *slot <= self.ticks)?;
        let tick = self.swap(slot) as usize;
        if tick >= self.ticks as usize {
            return None;
        }
        if self.places.is_empty() {
            return Some(tick as u32..tick as u32 + 1);
        }
        Some(self.places[tick]..self.places.get(tick + 1).copied().unwrap_or(records))
    }
}

/// One serial's records of one manifest, in the order of their partition.
#[derive(Debug, Default)]
struct Track {
    segments: Vec<Segment>,
    /// Type, fate and confirmation of each record.
    records: Vec<u8>,
    /// The ledger line each record first arrived on, from 1; 0 while it has not.
    arrived: Vec<u32>,
    /// The furthest record that arrived.
    furthest: Option<u32>,
    /// The segment of the last arrival: the next one is mostly in it or in the one behind.
    hint: usize,
    latest: i64,
}

impl Track {
    fn segment_of(&self, place: u32) -> &Segment {
        &self.segments[self
            .segments
            .partition_point(|segment| segment.first <= place)
            - 1]
    }

    fn records_of(&self, segment: usize) -> u32 {
        let end = self
            .segments
            .get(segment + 1)
            .map_or(self.records.len() as u32, |next| next.first);
        end - self.segments[segment].first
    }

    fn find_in(&self, at: usize, kind: RecordType, time: i64) -> Option<u32> {
        let segment = &self.segments[at];
        let mut places = segment.at(time, self.records_of(at))?;
        places
            .find(|place| self.records[(segment.first + place) as usize] & KIND == kind as u8)
            .map(|p| p + segment.first)
    }

    fn find(&self, kind: RecordType, time: i64) -> Option<(usize, u32)> {
        let near = self.hint..(self.hint + 2).min(self.segments.len());
        near.chain(0..self.segments.len())
            .find_map(|at| Some((at, self.find_in(at, kind, time)?)))
    }

    fn add(&mut self, run: &Run) -> anyhow::Result<()> {
        ensure!(run.step > 0, "`step` must be above zero");
        let first = u32::try_from(self.records.len())?;
        let (mut places, mut joins) = (Vec::new(), false);
        let records = &mut self.records;
        each_kind(&run.kinds, |kind, joined| {
            joins |= joined;
            if !joined {
                places.push(records.len() as u32 - first);
            }
            records.push(kind as u8);
        })?;
        let here = self.records.len() as u32 - first;
        ensure!(here > 0, "`kinds` is empty");
        ensure!(
            run.swapped.windows(2).all(|pair| pair[0] + 1 < pair[1]),
            "`swapped` must ascend without touching pairs"
        );
        for (name, marked, mark) in [
            ("bad", &run.bad, BAD),
            ("poison", &run.poison, POISON),
            ("unknown", &run.unknown, UNKNOWN),
        ] {
            for place in marked {
                ensure!(
                    *place < here,
                    "`{name}` has {place}, but the run has {here} records"
                );
                self.records[(first + place) as usize] |= mark;
            }
        }
        self.arrived.resize(self.records.len(), 0);
        let segment = Segment {
            start: run.start,
            step: run.step,
            first,
            ticks: places.len() as u32,
            places: if joins { places } else { Vec::new() },
            swapped: run.swapped.clone(),
        };
        self.latest = self.latest.max(segment.end());
        self.segments.push(segment);
        Ok(())
    }
}

/// What was produced, according to manifests, and what has arrived of it.
#[derive(Debug, Default)]
pub struct Judge {
    serials: HashMap<Box<str>, Vec<u32>, foldhash::fast::FixedState>,
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
}

/// The first of each finding.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Examples {
    pub lost: Vec<Example>,
    pub unseen: Vec<Example>,
    pub duplicated: Vec<Example>,
    pub reordered: Vec<Example>,
    pub phantom: Vec<Example>,
}

/// One record that something is to be said about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Example {
    pub serial: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub date_time: String,
    /// Its place among the serial's records of its manifest, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<u32>,
    /// The ledger line it is about, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    pub why: String,
}

/// The judgement. `lost`, `unseen`, `duplicated`, `reordered` and `phantom` count records or lines as their docs say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Confirmed by the broker, to be accepted, and not in the ledger.
    pub lost: u64,
    /// Not confirmed by the broker and not in the ledger: allowed.
    pub unseen: u64,
    /// Ledger lines beyond the first of a record.
    pub duplicated: u64,
    /// Records whose first line is behind that of a later record of their serial.
    pub reordered: u64,
    /// Ledger lines of records in no manifest, or that must not be accepted.
    pub phantom: u64,
    /// Confirmed by the broker and to be accepted.
    pub expected: u64,
    /// Distinct records of the manifests in the ledger.
    pub accepted: u64,
    /// Of those, not confirmed by the broker.
    pub accepted_unconfirmed: u64,
    /// Records of the manifests that validation must reject.
    pub expected_rejected: u64,
    /// Records of the manifests that the gateway must refuse.
    pub expected_refused: u64,
    /// Lines of the ledger.
    pub ledger: u64,
    pub examples: Examples,
}

impl Verdict {
    /// Nothing lost, reordered or made up.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.lost == 0 && self.reordered == 0 && self.phantom == 0
    }
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

    /// The verdict on what has arrived so far.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut examples = self.examples.clone();
        let (mut lost, mut unseen) = (0, 0);
        let mut serials: Vec<(&str, u32)> = self
            .serials
            .iter()
            .flat_map(|(serial, of)| of.iter().map(move |at| (&**serial, *at)))
            .collect();
        serials.sort_by_key(|(_, at)| *at);
        for (serial, at) in serials {
            let track = &self.tracks[at as usize];
            for (place, record) in track
                .records
                .iter()
                .enumerate()
                .filter(|(at, _)| track.arrived[*at] == 0)
            {
                let place = place as u32;
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
                match (record & FATE, record & UNKNOWN != 0) {
                    (0, false) => note(&mut lost, &mut examples.lost, || {
                        missing("confirmed, never accepted")
                    }),
                    (0, true) => note(&mut unseen, &mut examples.unseen, || {
                        missing("not confirmed by the broker")
                    }),
                    _ => {}
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
            examples,
        }
    }
}

fn note(count: &mut u64, examples: &mut Vec<Example>, example: impl FnOnce() -> Example) {
    *count += 1;
    if examples.len() < EXAMPLES {
        examples.push(example());
    }
}

fn time_text(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us)
        .map_or_else(|_| format!("{us} us"), |time| format!("{time:.6}"))
}

#[cfg(test)]
mod tests;
