//! Follows load, story and job until they have come to their end, and shows how far they are.

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinHandle;

use super::screen::Screen;
use super::script::Script;
use crate::load::drive::{Counters, Outcome};
use crate::ops::status::Totals;
use crate::ops::status_registry::StatusRegistry;
use crate::pipeline::End;
use crate::sim;

/// What is followed.
pub struct Watcher<'a> {
    pub gateway: &'a sim::Handle,
    pub board: &'a StatusRegistry,
    pub counters: &'a Counters,
    pub script: &'a Script,
    pub screen: &'a Screen,
    pub records: u64,
}

impl Watcher<'_> {
    /// Until the load and the story are over.
    pub async fn until_told<T>(
        &self,
        mut load: JoinHandle<anyhow::Result<Outcome>>,
        story: impl Future<Output = anyhow::Result<T>>,
        job: &mut JoinHandle<anyhow::Result<End>>,
    ) -> anyhow::Result<(Outcome, T)> {
        let mut story = std::pin::pin!(story);
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let (mut loaded, mut told, mut shown) = (None, None, 0_u32);
        loop {
            tokio::select! {
                outcome = &mut load, if loaded.is_none() => {
                    loaded = Some(outcome.context("the load's thread panicked")??);
                }
                end = &mut story, if told.is_none() => told = Some(end?),
                ended = &mut *job => {
                    ended.context("the job panicked")?.context("the job failed")?;
                    anyhow::bail!("the job ended before it was told to");
                }
                _ = tick.tick() => {}
            }
            let totals = totals(self.board);
            let settled = totals.settled();
            self.script
                .half_way(self.gateway, settled * 2 >= self.records);
            shown += 1;
            self.show(totals, shown.is_multiple_of(10));
            match (loaded.take(), told.take()) {
                (Some(loaded), Some(told)) => return Ok((loaded, told)),
                waiting => (loaded, told) = waiting,
            }
        }
    }

    fn show(&self, totals: Totals, is_due: bool) {
        let counters = self.gateway.counters();
        let text = format!(
            "produced {}  accepted {}  dead letters {}  held {}  requests {}  faults {}",
            self.counters.records(),
            totals.accepted,
            totals.dead_lettered,
            totals.held,
            counters
                .requests
                .get(&sim::Operation::Records)
                .unwrap_or(&0),
            counters.faults_applied,
        );
        self.screen.progress(totals.settled(), text, is_due);
    }
}

/// All partitions together.
pub fn totals(board: &StatusRegistry) -> Totals {
    let mut sum = Totals::default();
    for partition in board.snapshot().partitions {
        sum.read += partition.totals.read;
        sum.accepted += partition.totals.accepted;
        sum.dead_lettered += partition.totals.dead_lettered;
        sum.held += partition.totals.held;
        sum.discarded += partition.totals.discarded;
    }
    sum
}
