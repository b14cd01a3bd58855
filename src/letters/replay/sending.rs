//! Writing the letters of a plan to their input topics, batch by batch.
//!
//! * L2: a letter is written when all before it in its group are. One that comes earlier waits in memory; where there is no room it
//!   is read again in the next pass, in which at least the first of every group goes.
//! * L1: a batch and its marks are one transaction. A message that the broker refuses alone stays, and keeps its group back.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Replay, Told};
use crate::letters::entry::Entry;
use crate::letters::marks::Mark;
use crate::letters::order::{Plan, Step, Topics};
use crate::letters::place::LetterPlace;
use crate::letters::read::Bounds;
use crate::letters::writer::{Outgoing, WriteError, Writer};
use crate::pipeline::release::rest;

/// Most messages of one transaction.
const BATCH: usize = 200;
/// Bytes of one transaction, about.
const BATCH_BYTES: usize = 1024 * 1024;
/// Bytes of letters that wait for older ones of their group.
const AHEAD: usize = 64 * 1024 * 1024;

/// A message of a batch.
struct Parcel {
    group: u32,
    outgoing: Outgoing,
    /// Letters about the same bytes.
    twins: Vec<LetterPlace>,
}

struct Sending<'p> {
    plan: &'p Plan,
    topics: &'p Topics,
    writer: &'p Writer,
    /// The next turn of each group.
    next: Vec<u32>,
    /// Groups of which a letter could not be written: the rest stays.
    blocked: HashSet<u32>,
    /// Letters that came before their turn, by group and turn.
    ahead: HashMap<(u32, u32), Entry>,
    ahead_bytes: usize,
    batch: Vec<Parcel>,
    batch_bytes: usize,
    /// When the first message was due; the rate is kept from there.
    began: Instant,
    /// Messages that were written, and those that took a turn of the rate.
    sent: u64,
}

/// Replays the letters of the plan until all are done, or until `stop`.
///
/// # Errors
/// The broker does not answer or refuses; another replay began.
pub(super) fn send_all(
    replay: &mut Replay<'_>,
    writer: &Writer,
    bounds: &Bounds,
    plan: &Plan,
    topics: &Topics,
) -> anyhow::Result<()> {
    let mut sending = Sending {
        plan,
        topics,
        writer,
        next: vec![0; plan.groups as usize],
        blocked: HashSet::new(),
        ahead: HashMap::new(),
        ahead_bytes: 0,
        batch: Vec::new(),
        batch_bytes: 0,
        began: Instant::now(),
        sent: 0,
    };
    let total = plan.steps.len() as u64;
    let letters = Arc::clone(&replay.letters);
    loop {
        let before = replay.report.replayed + replay.report.failed;
        letters.read(bounds, &mut |entry, _| {
            sending.meet(replay, entry)?;
            Ok(match replay.stop.is_cancelled() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })?;
        sending.flush(replay)?;
        let done = replay.report.replayed + replay.report.failed;
        if done >= total {
            return Ok(());
        }
        if replay.stop.is_cancelled() {
            replay.report.stopped = true;
            return Ok(());
        }
        anyhow::ensure!(
            done > before,
            "{} letters were not found again while they were replayed; give the command again",
            total - done
        );
        sending.ahead.clear();
        sending.ahead_bytes = 0;
    }
}

impl Sending<'_> {
    /// Takes a letter that was read: it goes, waits for its turn, or is none of the plan.
    fn meet(&mut self, replay: &mut Replay<'_>, entry: Entry) -> anyhow::Result<()> {
        let step = self
            .topics
            .known(&entry.place)
            .and_then(|at| self.plan.steps.get(&at).copied());
        let Some(Step { group, nth }) = step else {
            return Ok(());
        };
        let next = self.next[group as usize];
        if nth > next {
            let bytes = entry.bytes();
            if self.ahead_bytes + bytes <= AHEAD && self.ahead.insert((group, nth), entry).is_none()
            {
                self.ahead_bytes += bytes;
            }
            return Ok(());
        }
        // Lower: it was done in an earlier pass.
        let mut turn = (nth == next).then_some(entry);
        while let Some(entry) = turn {
            self.take(replay, group, &entry)?;
            let next = &mut self.next[group as usize];
            *next += 1;
            turn = self.ahead.remove(&(group, *next));
            self.ahead_bytes -= turn.as_ref().map_or(0, Entry::bytes);
        }
        Ok(())
    }

    /// Adds a letter whose turn it is to the batch.
    fn take(&mut self, replay: &mut Replay<'_>, group: u32, entry: &Entry) -> anyhow::Result<()> {
        let ready = match replay.prepare(entry)? {
            Ok(ready) => ready,
            // It passed when it was judged: its original was deleted, or the clock has passed a bound of the rules.
            Err(stays) => {
                replay
                    .report
                    .stays(&stays.code, Some(&entry.place), &stays.why);
                self.block(replay, group);
                return Ok(());
            }
        };
        let same = self
            .topics
            .known(&entry.place)
            .and_then(|at| self.plan.twins.get(&at));
        let twins = same.into_iter().flatten();
        let twins = twins.filter_map(|at| self.topics.place(*at)).collect();
        self.batch_bytes += ready.outgoing.bytes();
        self.batch.push(Parcel {
            group,
            outgoing: ready.outgoing,
            twins,
        });
        let most = match replay.options.rate {
            rate if rate > 0.0 => (rate as usize).clamp(1, BATCH),
            _ => BATCH,
        };
        if self.batch.len() >= most || self.batch_bytes >= BATCH_BYTES {
            self.flush(replay)?;
        }
        Ok(())
    }

    /// A letter of the group is not written: the younger ones stay too.
    fn block(&mut self, replay: &mut Replay<'_>, group: u32) {
        replay.report.failed += 1;
        if !replay.options.out_of_order {
            self.blocked.insert(group);
        }
    }

    fn flush(&mut self, replay: &mut Replay<'_>) -> anyhow::Result<()> {
        self.batch_bytes = 0;
        let mut parts = VecDeque::from([std::mem::take(&mut self.batch)]);
        while let Some(mut part) = parts.pop_front() {
            part.retain(|parcel| {
                let blocked = self.blocked.contains(&parcel.group);
                if blocked {
                    replay.report.failed += 1;
                    replay.report.stays(
                        "order.behind",
                        Some(&parcel.outgoing.letter),
                        "an older letter of the same serial was not written",
                    );
                }
                !blocked
            });
            if part.is_empty() {
                continue;
            }
            match self.write(replay, &part) {
                Ok(()) => self.pace(replay, part.len() as u64),
                // One of them, or all together in one batch of the client, are too large.
                Err(WriteError::Refused(_)) if part.len() > 1 => {
                    let back = part.split_off(part.len() / 2);
                    parts.push_front(back);
                    parts.push_front(part);
                }
                Err(WriteError::Refused(error)) => {
                    let letter = &part[0].outgoing.letter;
                    let why = format!(
                        "its topic does not take it: {error}; raise max.message.bytes of the topic"
                    );
                    replay.report.stays("write.refused", Some(letter), &why);
                    self.block(replay, part[0].group);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn write(&self, replay: &mut Replay<'_>, part: &[Parcel]) -> Result<(), WriteError> {
        let mark = match replay.options.out_of_order {
            true => Mark::OutOfOrder,
            false => Mark::Replayed,
        };
        let places = part
            .iter()
            .flat_map(|parcel| std::iter::once(&parcel.outgoing.letter).chain(&parcel.twins));
        let changed = replay.marks.with(places.map(|place| (place, mark)));
        let messages = part.iter().map(|parcel| &parcel.outgoing);
        self.writer.write(messages, replay.marks.texts(&changed))?;
        replay.marks.keep(changed);
        replay.report.replayed += part.len() as u64;
        Ok(())
    }

    /// Keeps the rate, and tells of the progress.
    fn pace(&mut self, replay: &mut Replay<'_>, written: u64) {
        self.sent += written;
        let total = self.plan.steps.len() as u64;
        (replay.told)(Told::Replaying(self.sent, total));
        if replay.options.rate > 0.0 && self.sent < total {
            let due = Duration::from_secs_f64(self.sent as f64 / replay.options.rate);
            let left = due.saturating_sub(self.began.elapsed());
            if !left.is_zero() {
                rest(left, replay.stop);
            }
        }
    }
}
