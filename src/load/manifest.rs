//! The manifest: what was produced and what the broker confirmed, compact enough for tens of millions of records.
//!
//! JSON lines. The first is the [`Header`]; each further one is a [`Run`]: consecutive records of one serial, in the order of
//! their partition, as evenly spaced times and a string of types. A serial may have several runs; they follow each other.
//!
//! ```text
//! {"manifest":1,"topic":"telemetry","seed":7,"shape":"native","devices":2,"records":9,"confirmed":8}
//! {"serial":"CX0B21338D8D","device":"861234567890123","start":1763899200000123,"step":1000000,"kinds":"G3SG","bad":[1]}
//! {"serial":"CX7A0000F3B1","device":"861234567890131","start":1763899200017123,"step":1000000,"kinds":"G4","unknown":[3]}
//! ```
//!
//! * `start`, `step`: microseconds since the epoch, microseconds. Record `n` of a run is at `start + n * step`.
//! * `kinds`: a letter per record, a number behind it repeats it (`G3SG` is `GGGSG`), and a `+` before it gives the record the
//!   time of the one before (several records of one message). Letters: A acceleration, B binary, T bluetooth, D driver
//!   change, F generic fault, S generic status, G GPS, H J1708 fault, J J1939 fault, O OBD-II fault, C status, V VIN.
//! * `swapped`: times (not records) `n` and `n + 1` are exchanged, for each `n` listed; if the run ends at `n`, that record
//!   has the time behind its end.
//! * `bad`: records that validation must reject. `poison`: valid records the gateway is told to refuse. `unknown`: records
//!   the broker did not confirm; each may or may not be in the topic. All are places in the run, from 0, ascending.
//!
//! Empty members are left out.
//!
//! L4: a record is absent from `unknown` only if the broker confirmed it.

use std::collections::HashSet;
use std::io::{BufRead, Write};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use super::plan::{Device, Fate, Plan};
use super::{Tally, plan};
use crate::record::RecordType;

/// The version this build writes and reads.
pub const VERSION: u32 = 1;

const LETTERS: [u8; 12] = *b"ABTDFSGHJOCV";

/// The first line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Header {
    pub manifest: u32,
    /// Empty when the records went to a file.
    pub topic: String,
    pub seed: u64,
    pub shape: String,
    pub devices: u32,
    pub messages: u64,
    pub records: u64,
    /// Records in messages the broker confirmed.
    pub confirmed: u64,
    pub bad: u64,
    pub poison: u64,
    /// The vehicle identification number of every `poison` record.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub poison_marker: String,
}

/// Consecutive records of one serial.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub serial: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device: String,
    pub start: i64,
    pub step: i64,
    pub kinds: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub swapped: Vec<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad: Vec<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poison: Vec<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<u32>,
}

/// Builds the `kinds` string of a run.
#[derive(Debug, Default)]
pub struct Kinds {
    text: Vec<u8>,
    last: Option<(u8, bool)>,
    repeats: u32,
    records: u32,
}

impl Kinds {
    /// `joined` gives the record the time of the one before.
    pub fn push(&mut self, kind: RecordType, joined: bool) {
        let next = Some((LETTERS[kind as usize], joined));
        self.records += 1;
        if next == self.last {
            self.repeats += 1;
            return;
        }
        self.close();
        self.last = next;
        self.repeats = 1;
    }

    /// Records so far.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.records
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    fn close(&mut self) {
        if let Some((letter, joined)) = self.last.take() {
            if joined {
                self.text.push(b'+');
            }
            self.text.push(letter);
            if self.repeats > 1 {
                super::text::put_uint(&mut self.text, u64::from(self.repeats));
            }
        }
    }

    #[must_use]
    pub fn finish(mut self) -> String {
        self.close();
        String::from_utf8(self.text).unwrap_or_default()
    }
}

/// Calls `each` with the type of every record and whether it has the time of the one before.
///
/// # Errors
/// When the text is not of the documented form.
pub fn each_kind(kinds: &str, mut each: impl FnMut(RecordType, bool)) -> anyhow::Result<()> {
    let bytes = kinds.as_bytes();
    let mut at = 0;
    let mut first = true;
    while at < bytes.len() {
        let joined = bytes[at] == b'+';
        at += usize::from(joined);
        let place = bytes
            .get(at)
            .and_then(|letter| LETTERS.iter().position(|known| known == letter));
        let Some(place) = place else {
            bail!("`kinds` has no record type at character {at}")
        };
        ensure!(!(first && joined), "`kinds` must not begin with `+`");
        first = false;
        at += 1;
        let digits = bytes[at..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let repeats = match &kinds[at..at + digits] {
            "" => 1,
            number => number
                .parse::<u32>()
                .with_context(|| format!("`kinds` repeats {number} times"))?,
        };
        at += digits;
        for _ in 0..repeats {
            each(RecordType::ALL[place], joined);
        }
    }
    Ok(())
}

/// Writes the manifest of a plan. `failed` are the numbers of the messages that were not confirmed.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(
    out: &mut impl Write,
    header: &Header,
    plan: &Plan,
    tally: &Tally,
    failed: &HashSet<u64>,
) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(header)?;
    line.push(b'\n');
    out.write_all(&line)?;
    for index in 0..plan
        .devices
        .min(u32::try_from(tally.messages).unwrap_or(u32::MAX))
    {
        let device = plan.device(index);
        if let Some(run) = run_of(plan, &device, tally, failed) {
            line.clear();
            serde_json::to_writer(&mut line, &run)?;
            line.push(b'\n');
            out.write_all(&line)?;
        }
    }
    out.flush()?;
    Ok(())
}

/// A device's whole part of the plan, if it sent anything.
#[must_use]
pub fn run_of(plan: &Plan, device: &Device, tally: &Tally, failed: &HashSet<u64>) -> Option<Run> {
    let mut run = Run {
        serial: device.serial().to_owned(),
        device: device.id().to_owned(),
        start: plan.first_time(device),
        step: plan.step_us,
        ..Run::default()
    };
    let mut kinds = Kinds::default();
    let full = plan.ticks_per_message();
    let mut ticks_seen = 0;
    for nth in 0.. {
        let message = plan.index_of(device.index, nth);
        if message >= tally.messages {
            break;
        }
        let ticks = if message + 1 == tally.messages {
            tally.last_ticks
        } else {
            full
        };
        let is_unknown = !failed.is_empty() && failed.contains(&message);
        for tick in nth * full..nth * full + ticks {
            let draw = plan.draw(device, tick);
            ticks_seen = tick + 1;
            for (at, kind) in plan.kinds(&draw).iter().enumerate() {
                let place = kinds.len();
                kinds.push(*kind, at > 0);
                match plan.fate_of(&draw, *kind) {
                    Fate::Accepted => {}
                    Fate::Rejected(_) => run.bad.push(place),
                    Fate::Refused => run.poison.push(place),
                }
                if is_unknown {
                    run.unknown.push(place);
                }
            }
        }
    }
    if kinds.is_empty() {
        return None;
    }
    if plan.late_share > 0.0 {
        run.swapped = (0..ticks_seen.div_ceil(2))
            .filter(|pair| plan.is_swapped(device, *pair))
            .filter_map(|pair| u32::try_from(pair * 2).ok())
            .collect();
    }
    run.kinds = kinds.finish();
    Some(run)
}

/// Reads a manifest, handing over one run at a time.
///
/// # Errors
/// When a line cannot be read, names its number.
pub fn read(
    from: impl BufRead,
    mut each: impl FnMut(Run) -> anyhow::Result<()>,
) -> anyhow::Result<Header> {
    let mut header: Option<Header> = None;
    for (at, line) in from.lines().enumerate() {
        let number = at + 1;
        let line = line.with_context(|| format!("line {number}"))?;
        if header.is_none() {
            let found: Header =
                serde_json::from_str(&line).context("line 1: not a manifest's header")?;
            ensure!(
                found.manifest == VERSION,
                "line 1: manifest version {} (this build reads {VERSION}); produce it again with this build",
                found.manifest
            );
            header = Some(found);
            continue;
        }
        let run: Run = serde_json::from_str(&line).with_context(|| format!("line {number}"))?;
        each(run).with_context(|| format!("line {number}"))?;
    }
    header.context("the manifest is empty; was the load ended before it wrote it?")
}

impl Header {
    #[must_use]
    pub fn of(plan: &plan::Plan, topic: &str, tally: &Tally, confirmed: u64) -> Self {
        Self {
            manifest: VERSION,
            topic: topic.to_owned(),
            seed: plan.seed,
            shape: plan.shape.name().to_owned(),
            devices: plan.devices,
            messages: tally.messages,
            records: tally.records,
            confirmed,
            bad: tally.bad,
            poison: tally.poison,
            poison_marker: if plan.poison_share > 0.0 {
                plan.poison_marker.clone()
            } else {
                String::new()
            },
        }
    }
}
