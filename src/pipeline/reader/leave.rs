//! The last commit of the consumer thread, and its confirmation by the broker.
//!
//! Waits at most [`LAST_COMMIT`]; records of offsets that the broker did not confirm by then may be re-delivered to the next
//! owner.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;

use super::{Reader, list};
use crate::pipeline::consumer::Event;
use crate::pipeline::feed::commit_stored;
use crate::poll;
use crate::topic_partition::TopicPartition;

/// How long the last commit may take.
const LAST_COMMIT: Duration = Duration::from_secs(3);

impl Reader {
    /// Commits the stored offsets and waits a bounded time for the broker's confirmation; leaving the group would commit too,
    /// but without a confirmation that is seen. `owed` is what the broker has not confirmed yet.
    pub(super) fn commit_last(&self, mut owed: HashMap<TopicPartition, i64>) {
        // No worker is left to drain: a pending rebalance is answered by the callback itself, and below.
        self.consumer.context().close();
        poll::serve(&self.consumer, |_| {});
        self.settle_up(&mut owed);
        if owed.is_empty() {
            return;
        }
        if let Err(error) = commit_stored(&self.consumer) {
            tracing::info!(%error, "the last commit was not sent");
            return;
        }
        let deadline = Instant::now() + LAST_COMMIT;
        while Instant::now() < deadline {
            // Only events arrive: no feed is read any more. The client's own waits follow the time of day.
            poll::serve(&self.consumer, |_| {});
            std::thread::park_timeout(Duration::from_millis(5));
            if self.settle_up(&mut owed) || owed.is_empty() {
                return;
            }
        }
        tracing::warn!(
            partitions = owed.len(),
            "the broker did not acknowledge the last commit; some records may be sent twice"
        );
    }

    /// Removes confirmed offsets from `owed`; true if a commit was refused.
    fn settle_up(&self, owed: &mut HashMap<TopicPartition, i64>) -> bool {
        let mut refused = false;
        while let Ok(event) = self.events.try_recv() {
            let granted = match event {
                Event::Committed(offsets) => {
                    for (key, committed) in offsets {
                        let reached = |wanted: &i64| committed.offset >= *wanted;
                        if owed.get(&key).is_some_and(reached) {
                            owed.remove(&key);
                        }
                    }
                    Ok(())
                }
                Event::CommitFailed(error) => {
                    tracing::info!(%error, "the last commit was rejected");
                    refused = true;
                    Ok(())
                }
                // The rebalance was sent as an event before `close`.
                Event::Assigned(keys) => self
                    .consumer
                    .incremental_assign(&list(keys.iter().map(|key| (key, None)))),
                Event::Revoked(keys) => self
                    .consumer
                    .incremental_unassign(&list(keys.iter().map(|key| (key, None)))),
                Event::NothingToCommit
                | Event::Lag(_)
                | Event::Membership { .. }
                | Event::Fetched(_)
                | Event::Failed { .. }
                | Event::OffsetReset
                | Event::Log(_) => Ok(()),
            };
            if let Err(error) = granted {
                tracing::warn!(%error, "a pending rebalance was not completed during shutdown");
            }
        }
        refused
    }
}
