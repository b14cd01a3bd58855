//! Tells the judge which records were replayed: those of letters that are marked so in the state topic.
//!
//! A letter's bytes become records by the settings' mapping and rules, as the replay made them. A letter that was repaired by a patch
//! tells its records only if they need no patch to be told.

use std::ops::ControlFlow;
use std::sync::Arc;

use anyhow::Context as _;

use crate::config::Settings;
use crate::formats::{Formats, Intake, Limits};
use crate::letters::entry::{Entry, Kind};
use crate::letters::marks::Mark;
use crate::letters::read::Letters;
use crate::letters::today::is_native;
use crate::record::decode::{Decoder, Shape};
use crate::record::origin::Origin;
use crate::record::validate::Rules;
use crate::record::{Decoded, Outcome, SerialOf};
use crate::verify::judge::Judge;

/// Reads marked letters.
pub(super) struct Replays {
    settings: Settings,
    /// The shape of a topic's messages.
    shapes: Box<dyn Fn(&str) -> Shape + Send>,
    /// The formats of topics.
    formats: Formats,
    rules: Arc<Rules>,
    decoded: Decoded,
}

/// The serials of the manifests.
struct Manifests<'j>(&'j Judge);

impl SerialOf for Manifests<'_> {
    fn serial_of(&self, device_id: &str) -> Option<&str> {
        self.0.serial_of(device_id)
    }
}

impl Replays {
    pub fn new(settings: Settings) -> anyhow::Result<Self> {
        Ok(Self {
            shapes: Box::new(crate::app::shapes(&settings)?),
            formats: crate::app::formats(&settings)?,
            rules: Arc::new(crate::app::rules(&settings)?),
            settings,
            decoded: Decoded::default(),
        })
    }

    /// Hands over the records of every letter that is marked as replayed by now.
    pub async fn follow(mut self, mut judge: Judge) -> anyhow::Result<(Self, Judge)> {
        tokio::task::spawn_blocking(move || {
            self.read(&mut judge)?;
            Ok((self, judge))
        })
        .await
        .context("reading replayed letters failed")?
    }

    fn read(&mut self, judge: &mut Judge) -> anyhow::Result<()> {
        let (kafka, topics) = (self.settings.kafka.clone(), self.settings.topics.clone());
        let kinds = [Kind::DeadLetter, Kind::Held];
        let letters = Letters::open(&kafka, &topics, &self.settings.input, &kinds)?;
        let marks = letters.marks(&kafka, &topics.state)?;
        let mut bounds = letters.bounds()?;
        let marked = marks.topics();
        bounds.retain(|key, _| marked.contains(&*key.topic));
        letters.read(&bounds, &mut |entry, _| {
            let in_order = match marks.of(&entry.place) {
                // One that came back is behind younger ones that passed at once.
                Some(Mark::Replayed) => entry.replays == 0,
                Some(Mark::OutOfOrder) => false,
                Some(Mark::Dismissed) | None => return Ok(ControlFlow::Continue(())),
            };
            self.tell(judge, &entry, in_order)?;
            Ok(ControlFlow::Continue(()))
        })
    }

    fn tell(&mut self, judge: &mut Judge, entry: &Entry, in_order: bool) -> anyhow::Result<()> {
        let topic = entry.source.as_ref().map(|source| &*source.topic);
        let (shape, reader) = match topic {
            Some(topic) if !is_native(&entry.value) => {
                let reader = self.formats.reader(topic, Limits::of(&self.rules));
                ((self.shapes)(topic), reader)
            }
            _ => (Shape::Native, None),
        };
        let mut intake = Intake::new(reader, Decoder::new(shape, Arc::clone(&self.rules)));
        let now = jiff::Timestamp::now().as_microsecond();
        self.decoded.clear();
        let call = (&Origin::NONE, &Manifests(judge), now);
        intake.decode_asking(None, Some(&entry.value), call, &mut self.decoded)?;
        for outcome in &self.decoded.outcomes {
            if let Outcome::Valid(record) = outcome {
                let serial = String::from_utf8_lossy(record.serial(&self.decoded.bytes));
                judge.replayed(&serial, record.kind(), record.micros(), in_order);
            }
        }
        Ok(())
    }
}
