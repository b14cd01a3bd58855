//! Replaying letters: which would pass today, and writing those to their input topics again.
//!
//! Owns a [`Replay`] for the time of one command. It reads the letters once to judge them and to make their order, then again to send
//! them, batch by batch, each with its marks in one transaction.
//!
//! * L1, L2, L3: through `super::writer`, [`super::order`] and the headers of [`crate::pipeline::replay`].
//! * Only what would pass today's mapping, rules and gate is written; what would become a letter again stays where it is.
//! * Bounded: letters that are read before their turn wait in a bounded number of bytes; those beyond are read again later.
//!
//! Stopped, it ends behind the batch in hand; the marks are its progress, so the same command goes on where it ended. Blocks the
//! calling thread, which must be a blocking thread of the runtime.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::entry::{Entry, Kind};
use super::filter::Filter;
use super::marks::Marks;
use super::order::{self, Item};
use super::original::{Originals, part_of};
use super::read::{Bounds, Letters, Progress};
use super::today::{Judged, Today};
use super::writer::{Outgoing, Writer};
use crate::pipeline::kafka;
use crate::pipeline::settings::{Input, Topics};

mod report;
mod sending;

pub use report::{Count, Report, Stays};

/// What a person asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Judge only.
    pub dry_run: bool,
    /// Let a letter pass an older one of its subject that stays.
    pub out_of_order: bool,
    /// Also replay letters of which some records would be refused again.
    pub in_part: bool,
    /// Also replay letters that are marked.
    pub again: bool,
    /// Take the whole message that a letter came from instead of the letter's bytes.
    pub original: bool,
    /// Replay into this input topic instead of that of the source.
    pub to: Option<String>,
    /// A letter that was replayed so often stays.
    pub max_replays: u32,
    /// Messages in a second; 0: as fast as it goes.
    pub rate: f64,
}

/// Settings that a replay needs.
#[derive(Debug, Clone)]
pub struct Settings {
    pub kafka: kafka::Config,
    pub topics: Topics,
    pub input: Input,
    /// Whether the gate is on: held records are released by the job then.
    pub gated: bool,
}

/// What a letter would be written as.
struct Ready {
    outgoing: Outgoing,
    judged: Judged,
}

/// How far it is, for a person who waits.
#[derive(Debug, Clone, Copy)]
pub enum Told {
    /// Letters are read and judged.
    Judging(Progress),
    /// Messages replayed, of how many.
    Replaying(u64, u64),
}

/// See the module's documentation.
pub struct Replay<'a> {
    settings: &'a Settings,
    options: &'a Options,
    filter: &'a Filter,
    /// Reader of letters, of all kinds that count for the order.
    letters: Arc<Letters>,
    /// Judge of bytes.
    today: Today,
    /// Marks as they are written; changed behind each transaction.
    marks: Marks,
    /// Reader of originals; opened with the first that is needed.
    originals: Option<Originals>,
    report: Report,
    /// Told of progress.
    told: &'a mut dyn FnMut(Told),
    /// Ends the replay behind the batch in hand.
    stop: &'a CancellationToken,
}

/// Judges the letters that the filter takes, and replays those that would pass, unless it is a dry run.
///
/// # Errors
/// The broker does not answer or refuses; another replay began; more letters than [`order::MOST`].
pub fn run(
    settings: &Settings,
    options: &Options,
    filter: &Filter,
    today: Today,
    told: &mut dyn FnMut(Told),
    stop: &CancellationToken,
) -> anyhow::Result<Report> {
    let writer = match options.dry_run {
        true => None,
        false => {
            let writer = Writer::open(&settings.kafka, &settings.topics.state)?;
            // Before the marks are read: a replay that began earlier adds none any more.
            writer.take_over()?;
            Some(writer)
        }
    };
    let kinds = match filter.kinds.is_empty() {
        true => vec![Kind::DeadLetter],
        false => filter.kinds.clone(),
    };
    let letters = Letters::open(&settings.kafka, &settings.topics, &settings.input, &kinds)?;
    let marks = letters.marks(&settings.kafka, &settings.topics.state)?;
    if let Some(to) = &options.to {
        let reads = settings.input.matcher()?;
        anyhow::ensure!(
            reads(to) && letters.partitions(to).is_some(),
            "--to {to}: it is no input topic that exists; name one of input.topics"
        );
    }
    let bounds = letters.bounds()?;
    let replay = Replay {
        settings,
        options,
        filter,
        letters: Arc::new(letters),
        today,
        marks,
        originals: None,
        report: Report::new(options.dry_run),
        told,
        stop,
    };
    replay.run(writer, &bounds)
}

impl Replay<'_> {
    fn run(mut self, writer: Option<Writer>, bounds: &Bounds) -> anyhow::Result<Report> {
        let mut topics = order::Topics::default();
        let items = self.judge_all(bounds, &mut topics)?;
        let plan = order::plan(items, self.options.out_of_order);
        self.report.to_replay = plan.steps.len() as u64;
        self.report.twins = plan.twins.values().map(|twins| twins.len() as u64).sum();
        for _ in &plan.behind {
            self.report.stays(
                "order.behind",
                None,
                "an older letter of the same serial stays; repair or dismiss that one, or say --out-of-order",
            );
        }
        if let Some(writer) = writer.filter(|_| !self.report.stopped) {
            sending::send_all(&mut self, &writer, bounds, &plan, &topics)?;
        }
        Ok(self.report)
    }

    fn judge_all(
        &mut self,
        bounds: &Bounds,
        topics: &mut order::Topics,
    ) -> anyhow::Result<Vec<Item>> {
        let mut items = Vec::new();
        let letters = Arc::clone(&self.letters);
        letters.read(bounds, &mut |entry, progress| {
            (self.told)(Told::Judging(progress));
            if self.stop.is_cancelled() {
                self.report.stopped = true;
                return Ok(ControlFlow::Break(()));
            }
            let mark = self.marks.of(&entry.place);
            let taken = self.filter.takes(&entry);
            if mark.is_some() && !(self.options.again && taken) {
                // It keeps nobody back.
                self.report.marked += u64::from(taken);
                return Ok(ControlFlow::Continue(()));
            }
            anyhow::ensure!(
                items.len() < order::MOST,
                "there are more than {} letters: choose fewer by --from, or dismiss what is never to be sent",
                order::MOST
            );
            let mut subject = entry.subject().map(str::to_owned);
            let mut goes = false;
            if taken {
                self.report.letters += 1;
                match self.prepare(&entry)? {
                    Ok(ready) => {
                        goes = true;
                        subject = ready.judged.subject.clone().or(subject);
                        self.report.passes(&ready.judged.verdict);
                    }
                    Err(stays) => self.report.stays(&stays.code, Some(&entry.place), &stays.why),
                }
            }
            let serial = subject
                .as_deref()
                .map(|name| self.today.serial_of(name).unwrap_or(name));
            items.push(Item {
                letter: topics.at(&entry.place),
                source: entry.source.as_ref().map(|source| topics.at(source)),
                subject: serial.map(|serial| order::hash(serial.as_bytes())),
                value: order::hash(&entry.value),
                goes,
            });
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(items)
    }

    /// The message that a letter would be written as, or why it stays.
    fn prepare(&mut self, entry: &Entry) -> anyhow::Result<Result<Ready, Stays>> {
        let options = self.options;
        if entry.kind == Kind::Held && (self.settings.gated || entry.reason == "gateway.failing") {
            return Ok(Err(Stays::new(
                "held.waits",
                "the job releases it when its device may send or the gateway takes it",
            )));
        }
        if entry.replays >= options.max_replays {
            return Ok(Err(Stays::new(
                "replay.limit",
                format!(
                    "it was replayed {} times and came back; repair it with --patch and --max-replays {}, or dismiss it",
                    entry.replays,
                    entry.replays + 1
                ),
            )));
        }
        let (topic, partition) = match self.target(entry) {
            Ok(target) => target,
            Err(stays) => return Ok(Err(stays)),
        };
        let value = match self.value(entry)? {
            Ok(value) => value,
            Err(stays) => return Ok(Err(stays)),
        };
        let value = value.as_deref().unwrap_or(&entry.value);
        let now = jiff::Timestamp::now().as_microsecond();
        let mut judged = self.today.judge(&topic, value, now)?;
        if !judged.verdict.passes(options.in_part) {
            let (code, why) = judged.verdict.reason();
            return Ok(Err(Stays::new(&code, why)));
        }
        let value = judged.value.take().unwrap_or_else(|| value.to_vec());
        let outgoing = Outgoing {
            letter: entry.place.clone(),
            topic,
            partition,
            key: entry.key.clone(),
            value,
            replays: entry.replays + 1,
            native: judged.native,
        };
        Ok(Ok(Ready { outgoing, judged }))
    }

    /// The input topic and partition of a letter. What its headers say is compared with the settings (L4).
    fn target(&self, entry: &Entry) -> Result<(String, Option<i32>), Stays> {
        let unknown = |why: String| Stays::new("source.unknown", why);
        let topics = &self.settings.topics;
        let source = entry.source.as_ref();
        let own = source.map(|source| topics.input_of(&source.topic).unwrap_or(&source.topic));
        let Some(topic) = self.options.to.as_deref().or(own) else {
            return Err(unknown(
                "it does not say which topic it came from; name an input topic by --to".to_owned(),
            ));
        };
        let reads = self.settings.input.matcher();
        let partitions = self.letters.partitions(topic);
        let is_input = reads.is_ok_and(|reads| reads(topic));
        let Some(partitions) = partitions.filter(|_| is_input) else {
            return Err(unknown(format!(
                "it says that it came from {topic}, which is no input topic that exists; name one by --to"
            )));
        };
        let partition = source.map(|source| source.partition);
        match partition.filter(|partition| (0..partitions).contains(partition)) {
            Some(partition) => Ok((topic.to_owned(), Some(partition))),
            None if self.options.to.is_some() => Ok((topic.to_owned(), None)),
            None => Err(unknown(format!(
                "it says that it came from partition {} of {topic}, which has {partitions}; say --to {topic} to let its key choose one",
                partition.unwrap_or(-1)
            ))),
        }
    }

    /// The bytes to be judged, where they are not the letter's own.
    fn value(&mut self, entry: &Entry) -> anyhow::Result<Result<Option<Vec<u8>>, Stays>> {
        if !self.options.original && entry.full.is_none() {
            return Ok(match entry.value.is_empty() {
                false => Ok(None),
                true => Err(Stays::new("letter.empty", "it has no bytes")),
            });
        }
        let gone = |why: String| Ok(Err(Stays::new("original.gone", why)));
        let Some(source) = &entry.source else {
            return gone("it does not say where its original is".to_owned());
        };
        if !self
            .letters
            .partitions(&source.topic)
            .is_some_and(|count| (0..count).contains(&source.partition))
        {
            return gone(format!(
                "its original was at {source}, which does not exist"
            ));
        }
        if self.originals.is_none() {
            self.originals = Some(Originals::open(&self.settings.kafka)?);
        }
        let original = match &self.originals {
            Some(originals) => originals.message(source)?,
            None => None,
        };
        let Some(original) = original else {
            return gone(format!(
                "its original was at {source} and is deleted by now"
            ));
        };
        if self.options.original {
            return Ok(match original.is_of_time(entry.source_time_ms) {
                Some(true) => Ok(Some(original.value)),
                Some(false) => Err(Stays::new(
                    "original.gone",
                    format!("another message is at {source} by now"),
                )),
                None => Err(Stays::new(
                    "original.unproven",
                    format!("it does not say when the message at {source} was written"),
                )),
            });
        }
        Ok(match part_of(&original.value, entry) {
            Some(part) => Ok(Some(part.to_vec())),
            None => Err(Stays::new(
                "original.gone",
                format!(
                    "it is shortened, and the message at {source} does not have the bytes it was made of; --original takes that message"
                ),
            )),
        })
    }
}
