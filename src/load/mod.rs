//! Realistic telemetry in any amount: what a fleet would send, decided by a seed.
//!
//! Owns the plan (pure arithmetic from a seed to every message), the bytes of the messages, the way to Kafka or to a file,
//! and the manifest that says what the broker confirmed. Invariants L1 to L3 are in [`plan`]; L4 is in [`manifest`].
//!
//! It does not judge: that is `verify`. It imports neither `pipeline` nor `dig`.
//!
//! Queues: librdkafka's own producer queue, bounded by messages and bytes ([`produce`]); when it is full, generation waits.
//! Cancelling ([`drive::Counters::stop`]) ends generation after the current message; what was handed over is still flushed and
//! written to the manifest.

pub mod binary;
pub mod drive;
pub mod manifest;
pub mod mix;
pub mod native;
pub mod plan;
pub mod produce;
pub mod text;
pub mod vendor;

use plan::{Device, Fate, Plan, Shape};

/// What was generated, by type and fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub messages: u64,
    pub records: u64,
    pub bytes: u64,
    /// Indexed by `RecordType as usize`.
    pub by_kind: [u64; 12],
    pub bad: u64,
    pub poison: u64,
    /// Ticks in the last message, when it is shorter than a full one.
    pub last_ticks: u64,
}

/// Appends the `nth` message of a device, of `ticks` records (1 unless the shape is an array), and counts it.
pub fn put_message(
    out: &mut Vec<u8>,
    plan: &Plan,
    device: &Device,
    nth: u64,
    ticks: u64,
    tally: &mut Tally,
) {
    let start = out.len();
    let first = nth * plan.ticks_per_message();
    let array = plan.shape == Shape::NativeArray;
    for tick in first..first + ticks {
        let draw = plan.draw(device, tick);
        if array {
            out.push(if tick == first { b'[' } else { b',' });
        }
        if plan.shape.is_vendor() {
            vendor::put_message(out, plan, device, &draw);
        } else {
            native::put_record(out, plan, device, &draw);
        }
        for kind in plan.kinds(&draw) {
            tally.records += 1;
            tally.by_kind[*kind as usize] += 1;
            match plan.fate_of(&draw, *kind) {
                Fate::Accepted => {}
                Fate::Rejected(_) => tally.bad += 1,
                Fate::Refused => tally.poison += 1,
            }
        }
    }
    if array {
        out.push(b']');
    }
    tally.messages += 1;
    tally.last_ticks = ticks;
    tally.bytes += (out.len() - start) as u64;
}

/// How many records message `number` of a finished load has.
#[must_use]
pub fn records_in(plan: &Plan, tally: &Tally, number: u64) -> u64 {
    let (device, nth) = plan.sender(number);
    let ticks = if number + 1 == tally.messages {
        tally.last_ticks
    } else {
        plan.ticks_per_message()
    };
    if !plan.shape.is_vendor() {
        return ticks;
    }
    plan.kinds(&plan.draw(&plan.device(device), nth)).len() as u64
}

#[cfg(test)]
mod tests;
