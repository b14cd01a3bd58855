//! Rebuilding the held index before a partition begins, on a blocking thread.
//!
//! It creates the held topic if that is missing and may be created, asks for the source's committed offset, and reads marks and
//! held records. Every failure is published with its cause and remedy ([`Blocked`]), and the step is repeated; the wait ends
//! when the next step succeeds (H1).
//!
//! It writes nothing but the topic itself. Stopped, it leaves nothing behind.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Found;
use crate::ops::metrics::held as metrics;
use crate::ops::status_registry::StatusRegistry;
use crate::ops::waits::{Kind, Wait, open_transaction};
use crate::pipeline::held_topic::{self, NotAllowed};
use crate::pipeline::release::{
    HeldPartition, Progress, Turn, UnreadableBatch, UnreadableMark, rebuild, rest,
};
use crate::pipeline::settings::Topics;
use crate::rights;
use crate::topic_partition::TopicPartition;

/// Pause before the rebuilding is repeated after a failure.
const FAILED: Duration = Duration::from_secs(1);
/// After this long a wait for a turn is published.
const LONG: Duration = Duration::from_secs(10);

/// The failure that keeps a partition from beginning, as it is published.
struct Blocked {
    kind: Kind,
    cause: String,
    remedy: String,
}

impl Blocked {
    fn of(error: &anyhow::Error, place: &HeldPartition) -> Self {
        let cause = format!("what is held cannot be found out: {error:#}");
        let (kind, remedy) = if let Some(batch) = error.downcast_ref::<UnreadableBatch>() {
            (Kind::Batch, batch.remedy())
        } else if let Some(mark) = error.downcast_ref::<UnreadableMark>() {
            (Kind::State, mark.remedy())
        } else if let Some(missing) = error.downcast_ref::<NotAllowed>() {
            (Kind::HeldTopic, missing.remedy())
        } else {
            let remedy = format!(
                "check the broker, the topics {} and {}, and that this user may describe and read them; it is tried again every second",
                place.held.topic, place.state_topic
            );
            (Kind::HeldTopic, remedy)
        };
        Self {
            kind,
            cause,
            remedy,
        }
    }
}

/// See the module's documentation.
pub(super) struct Beginning {
    /// Client settings and names of the held partition; a clone of `Side`'s.
    pub place: HeldPartition,
    /// A gate holds records. Without one there may be no held topic until a device is quarantined.
    pub gated: bool,
    /// The partition of the input topic.
    pub input: TopicPartition,
    /// Settings by which a missing held topic is created.
    pub topics: Topics,
    /// Where what keeps the partition from beginning is published.
    pub board: Arc<StatusRegistry>,
    /// A clone of `Side`'s token: cancelled, the thread ends without a result.
    pub stop: CancellationToken,
}

impl Beginning {
    /// Waits until few other partitions of the job rebuild; `None` once stopped. A long wait is published.
    pub async fn turn(&self) -> Option<Turn> {
        let turn = self.place.asked.turn();
        tokio::pin!(turn);
        tokio::select! {
            () = self.stop.cancelled() => return None,
            turn = &mut turn => return Some(turn),
            () = tokio::time::sleep(LONG) => {}
        }
        let _wait = self.board.wait(
            Kind::HeldTopic,
            self.input.to_string(),
            "other partitions of this instance read first what they hold",
            "nothing is to be done: the partition begins by itself when they have read it",
        );
        tokio::select! {
            () = self.stop.cancelled() => None,
            turn = turn => Some(turn),
        }
    }

    /// Blocks until the held index is rebuilt; `None` once stopped.
    pub fn run(&self, turn: Turn) -> Option<Found> {
        let mut turn = Some(turn);
        // Kept while failures are of the same kind, so that the wait shows since when.
        let mut wait: Option<(Kind, Wait)> = None;
        loop {
            let turn = match turn.take() {
                Some(turn) => turn,
                None => tokio::runtime::Handle::current().block_on(self.turn())?,
            };
            match self.found(&mut wait, turn) {
                Ok(found) => return Some(found),
                Err(_) if self.stop.is_cancelled() => return None,
                Err(error) => {
                    metrics::unread(&self.place.held.topic);
                    self.publish(&mut wait, Blocked::of(&error, &self.place));
                    rest(FAILED, &self.stop);
                }
            }
        }
    }

    fn publish(&self, wait: &mut Option<(Kind, Wait)>, blocked: Blocked) {
        let Blocked {
            kind,
            cause,
            remedy,
        } = blocked;
        match wait {
            Some((known, wait)) if *known == kind => wait.update(cause),
            _ => {
                let subject = self.input.to_string();
                *wait = Some((kind, self.board.wait(kind, subject, cause, remedy)));
            }
        }
    }

    fn found(&self, wait: &mut Option<(Kind, Wait)>, turn: Turn) -> anyhow::Result<Found> {
        let mut turn = Some(turn);
        let place = &self.place;
        if self.gated {
            held_topic::ensure(&place.kafka, &self.topics, &self.input)?;
        } else if !place.is_there()? {
            return Ok(Found::nothing());
        }
        let asker = place.asker()?;
        let (committed, source_end) = place.source(&asker, &self.input)?;
        let mut reading = |progress: Progress| match progress {
            // A message was read: the failure before has passed.
            Progress::Read => *wait = None,
            Progress::Failed(error) => {
                // The client tries again for as long as it takes: the others need not wait for it.
                drop(turn.take());
                let topic = &place.held.topic;
                let error = rights::named(error, topic, &place.kafka.group)
                    .context(format!("cannot read {topic}"));
                self.publish(wait, Blocked::of(&error, place));
            }
            Progress::Hidden(stable) => {
                drop(turn.take());
                let TopicPartition { topic, partition } = &place.held;
                let blocked = Blocked {
                    kind: Kind::HeldTopic,
                    cause: format!(
                        "an open transaction of another producer hides the held records of {topic}/{partition} from offset {stable} on"
                    ),
                    remedy: open_transaction(topic, *partition),
                };
                self.publish(wait, blocked);
            }
        };
        let rebuilt = rebuild(place, &asker, &mut reading, &self.stop)?;
        Ok(Found {
            rebuilt,
            committed,
            source_end: Some(source_end),
            topic_there: true,
        })
    }
}
