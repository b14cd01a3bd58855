//! One serial's part of a manifest: which records it has, and what became of each.
//!
//! Five bytes per record, as times are arithmetic; a sixth only where a letter was found.

use anyhow::ensure;

use super::dead_letter_match::{DEAD, HELD};
use crate::load::manifest::{Run, each_kind};
use crate::record::RecordType;

pub(super) const FATE: u8 = 0b0011_0000;
pub(super) const BAD: u8 = 0b0001_0000;
pub(super) const POISON: u8 = 0b0010_0000;
pub(super) const UNKNOWN: u8 = 0b0100_0000;
pub(super) const KIND: u8 = 0b0000_1111;

/// Evenly spaced records of one serial: a run of the manifest.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) start: i64,
    pub(super) step: i64,
    /// Place of the first record in the track.
    pub(super) first: u32,
    /// How many distinct times there are.
    pub(super) ticks: u32,
    /// Place of each tick's first record, relative to `first`; empty when every tick has one record.
    pub(super) places: Vec<u32>,
    /// Ticks that have each other's time with the next one, ascending.
    pub(super) swapped: Vec<u32>,
}

impl Segment {
    /// No record of the segment is later; a swap may put the last one a step behind its slot.
    pub(super) fn end(&self) -> i64 {
        self.start + i64::from(self.ticks) * self.step
    }

    /// From a tick to the slot of its time, and back: a swap is its own inverse.
    pub(super) fn swap(&self, tick: u32) -> u32 {
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

    pub(super) fn time_of(&self, place: u32) -> i64 {
        let tick = if self.places.is_empty() {
            place
        } else {
            (self.places.partition_point(|first| *first <= place) - 1) as u32
        };
        self.start + i64::from(self.swap(tick)) * self.step
    }

    /// Places (relative) of the records at a time.
    pub(super) fn at(&self, time: i64, records: u32) -> Option<std::ops::Range<u32>> {
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
pub(super) struct Track {
    pub(super) segments: Vec<Segment>,
    /// Type, fate and confirmation of each record.
    pub(super) records: Vec<u8>,
    /// The ledger line each record first arrived on, from 1; 0 while it has not.
    pub(super) arrived: Vec<u32>,
    /// What letters say of each record; empty while there is none.
    aside: Vec<u8>,
    /// The furthest record that arrived.
    pub(super) furthest: Option<u32>,
    /// The segment of the last arrival: the next one is mostly in it or in the one behind.
    pub(super) hint: usize,
    pub(super) latest: i64,
}

impl Track {
    pub(super) fn segment_of(&self, place: u32) -> &Segment {
        &self.segments[self
            .segments
            .partition_point(|segment| segment.first <= place)
            - 1]
    }

    pub(super) fn records_of(&self, segment: usize) -> u32 {
        let end = self
            .segments
            .get(segment + 1)
            .map_or(self.records.len() as u32, |next| next.first);
        end - self.segments[segment].first
    }

    pub(super) fn find_in(&self, at: usize, kind: RecordType, time: i64) -> Option<u32> {
        let segment = &self.segments[at];
        let mut places = segment.at(time, self.records_of(at))?;
        places
            .find(|place| self.records[(segment.first + place) as usize] & KIND == kind as u8)
            .map(|p| p + segment.first)
    }

    pub(super) fn find(&self, kind: RecordType, time: i64) -> Option<(usize, u32)> {
        let near = self.hint..(self.hint + 2).min(self.segments.len());
        near.chain(0..self.segments.len())
            .find_map(|at| Some((at, self.find_in(at, kind, time)?)))
    }

    pub(super) fn add(&mut self, run: &Run) -> anyhow::Result<()> {
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

    pub(super) fn has_arrived(&self, place: u32) -> bool {
        self.arrived[place as usize] != 0
    }

    /// The marks of [`super::aside`].
    pub(super) fn aside(&self, place: u32) -> u8 {
        self.aside.get(place as usize).copied().unwrap_or_default()
    }

    /// Notes a letter; false if the record had one of the kind.
    pub(super) fn set_aside(&mut self, place: u32, held: bool) -> bool {
        if self.aside.len() < self.records.len() {
            self.aside.resize(self.records.len(), 0);
        }
        let mark = if held { HELD } else { DEAD };
        let marks = &mut self.aside[place as usize];
        let is_new = *marks & mark == 0;
        *marks |= mark;
        is_new
    }
}
