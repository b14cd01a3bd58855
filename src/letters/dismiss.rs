//! Dismissing letters: marking those that are never to be sent, so that they are hidden and keep nobody back.
//!
//! Blocks the calling thread, which must be a blocking thread of the runtime. Stopped or failed, it leaves whole batches of marks.

use std::ops::ControlFlow;

use super::filter::Filter;
use super::marks::Mark;
use super::order;
use super::place::LetterPlace;
use super::read::{Letters, Progress};
use super::replay::Settings;
use super::writer::Writer;
use crate::letters::entry::Kind;

/// Most letters whose marks are written in one transaction.
const TOGETHER: usize = 20_000;

/// Marks every letter of the filter that has no mark; gives their number.
///
/// # Errors
/// The broker does not answer or refuses; a replay began meanwhile; too many letters.
pub fn run(
    settings: &Settings,
    filter: &Filter,
    told: &mut dyn FnMut(Progress),
) -> anyhow::Result<u64> {
    let writer = Writer::open(&settings.kafka, &settings.topics.state)?;
    writer.take_over()?;
    let kinds = match filter.kinds.is_empty() {
        true => vec![Kind::DeadLetter],
        false => filter.kinds.clone(),
    };
    let letters = Letters::open(&settings.kafka, &settings.topics, &settings.input, &kinds)?;
    let mut marks = letters.marks(&settings.kafka, &settings.topics.state)?;
    let mut chosen: Vec<LetterPlace> = Vec::new();
    letters.read(&letters.bounds()?, &mut |entry, progress| {
        told(progress);
        if filter.takes(&entry) && marks.of(&entry.place).is_none() {
            anyhow::ensure!(
                chosen.len() < order::MOST,
                "more than {} letters: choose fewer, for example by --until",
                order::MOST
            );
            chosen.push(entry.place);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    for together in chosen.chunks(TOGETHER) {
        let changed = marks.with(together.iter().map(|place| (place, Mark::Dismissed)));
        writer.write(std::iter::empty(), marks.texts(&changed))?;
        marks.keep(changed);
    }
    Ok(chosen.len() as u64)
}
