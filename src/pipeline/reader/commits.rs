//! Commits of the reader beside those of the client's timer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{Assigned, Key, Reader};
use crate::pipeline::feed::commit_stored;

/// Commit intervals without a confirmation after which the client's timer is taken to be late.
const LATE: u32 = 4;

impl Reader {
    /// Commits ahead of the client's timer when half a window is settled and not confirmed: nobody waits for the timer. Commits
    /// in its place when it is late by our own clock: the timer follows the time of day, which may be set back (librdkafka#2145).
    pub(super) fn commit_early(&self, assigned: &mut HashMap<Key, Assigned>, asked: &mut bool) {
        let late = Duration::from_millis(self.shared.kafka.commit_interval_ms.into()) * LATE;
        let half = self.memory.window_messages / 2;
        let due = assigned.values().any(|partition| {
            let open = partition.unconfirmed(partition.stored);
            open >= half || open > 0 && partition.confirmed_at.elapsed() >= late
        });
        if due && !*asked {
            for partition in assigned.values_mut() {
                partition.confirmed_at = Instant::now();
            }
            match commit_stored(&self.consumer) {
                Ok(()) => *asked = true,
                Err(error) => tracing::info!(%error, "a commit was not sent"),
            }
        }
    }
}
