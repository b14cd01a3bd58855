//! The low mark: how far a held log is released for good. It shortens the next owner's reading; marks below it, and the records
//! themselves, are then deleted.
//!
//! * O3: an owner that lost the partition without knowing it has not seen the records that its successor holds. So a low offset
//!   counts only after as many looks as fill a session timeout: by then the group would have revoked the partition. Looks are
//!   counted instead of time, because a clock runs on while the process is suspended.
//! * Records are deleted only below a low mark that the broker has confirmed.
//!
//! Pure, except for the parts in [`Worker`]; dropping it loses nothing.

use std::collections::VecDeque;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;

use super::{LOW, Worker, Written};
use crate::ops::metrics::held as metrics;
use crate::pipeline::producer::Kept;
use crate::rights::{self, Operation, Resource};
use crate::topic_partition::TopicPartition;

/// How far the held log is released: as seen, as marked, as deleted.
pub(in crate::pipeline::worker) struct LowWatermarks {
    /// Low offsets of the newest looks, oldest first; never more than `looks`.
    seen: VecDeque<i64>,
    /// How many looks fill a session; a low counts only after so many, and never once `rest` was called.
    looks: usize,
    /// The low mark that is in the state topic, or in flight to it.
    marked: i64,
    /// The low mark that the broker has confirmed; nothing above it is deleted.
    sure: i64,
    /// Records below this offset were deleted by this worker.
    deleted: i64,
    /// Whether a deletion is in flight.
    deleting: bool,
    /// Whether records are deleted at all: a setting, cleared when the broker refuses for good.
    trims: bool,
}

/// The result of a deletion.
pub(in crate::pipeline::worker) struct Trim {
    below: i64,
    result: Result<(), Kept>,
}

impl LowWatermarks {
    pub fn new(session: Duration, trims: bool) -> Self {
        Self {
            seen: VecDeque::new(),
            looks: session.as_millis().div_ceil(LOW.as_millis()) as usize + 1,
            marked: 0,
            sure: 0,
            deleted: 0,
            deleting: false,
            trims,
        }
    }

    /// Stops marking and deleting: the held log has records that the index leaves out.
    pub fn rest(&mut self) {
        (self.looks, self.trims) = (usize::MAX, false);
    }

    /// Takes over the low mark that the state topic has at the start.
    pub fn begin(&mut self, marked: i64) {
        (self.marked, self.sure) = (marked, marked);
    }

    /// Notes one look; gives the mark that is due, if one is.
    fn look(&mut self, low: i64) -> Option<i64> {
        self.seen.push_back(low);
        if self.seen.len() <= self.looks {
            return None;
        }
        let low = self.seen.pop_front()?;
        (low > self.marked).then(|| {
            self.marked = low;
            low
        })
    }

    /// The mark was not written: the next look that is due writes one.
    pub fn unwritten(&mut self) {
        self.marked = self.sure;
    }

    fn due(&mut self) -> Option<i64> {
        let due = self.trims && !self.deleting && self.sure > self.deleted;
        due.then(|| {
            self.deleting = true;
            self.sure
        })
    }
}

impl Worker {
    pub(super) fn look_low(&mut self) {
        let low = self.partition.hold().low();
        if let Some(low) = self.side.low.look(low) {
            let (producer, topic) = (
                self.shared.producer.clone(),
                self.side.place.state_topic.clone(),
            );
            let key = self.side.place.low_mark();
            let value = self.side.text(low);
            self.side.writing.push(Box::pin(async move {
                let result = producer
                    .write(&topic, key.as_bytes(), value.as_bytes())
                    .await;
                (Written::Low(low), result.map_err(Into::into))
            }));
        }
        self.trim();
    }

    /// Erases the marks below the confirmed low mark, which covers them.
    pub(super) fn erase_below(&mut self, low: i64) {
        self.side.low.sure = low;
        let stale: Vec<Vec<u8>> = self
            .side
            .through
            .extract_if(|_, through| *through < low)
            .map(|(name, _)| self.side.place.mark(&name))
            .collect();
        if stale.is_empty() {
            return;
        }
        let (producer, topic) = (
            self.shared.producer.clone(),
            self.side.place.state_topic.clone(),
        );
        self.side.writing.push(Box::pin(async move {
            for key in stale {
                if let Err(error) = producer.erase(&topic, &key).await {
                    return (Written::Erased, Err(error.into()));
                }
            }
            (Written::Erased, Ok(()))
        }));
    }

    fn trim(&mut self) {
        let Some(below) = self.side.low.due() else {
            return;
        };
        let producer = self.shared.producer.clone();
        let held = self.side.place.held.clone();
        let id = self.side.topic_id.clone();
        self.side.writing.push(Box::pin(async move {
            let result = producer.delete_below(&held, below, id.as_ref()).await;
            (Written::Trimmed(Trim { below, result }), Ok(()))
        }));
    }

    pub(super) fn trimmed(&mut self, trim: Trim) {
        let TopicPartition { topic, partition } = &self.side.place.held;
        let lows = &mut self.side.low;
        lows.deleting = false;
        match trim.result {
            Ok(()) => {
                lows.deleted = trim.below;
                metrics::trimmed(&self.progress.input.topic);
                tracing::debug!(%topic, partition, below = trim.below, "released records were deleted");
            }
            // A broker for trying things out, which keeps everything.
            Err(Kept::ForGood(RDKafkaErrorCode::UnsupportedFeature)) => lows.trims = false,
            Err(Kept::ForGood(code)) => {
                lows.trims = false;
                let remedy = match code {
                    RDKafkaErrorCode::TopicAuthorizationFailed => {
                        rights::grant(Operation::Delete, Resource::Topic(topic))
                    }
                    _ => "allow records of the topic to be deleted".to_owned(),
                };
                tracing::warn!(
                    %topic, partition, %code, remedy,
                    "released records stay in the held topic until the next start, or set topics.trim_held = false"
                );
            }
            Err(Kept::ForNow(error)) => tracing::warn!(
                %topic, partition, error = format!("{error:#}"),
                "the deletion of released records failed; retrying"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_counts_only_after_the_looks_of_a_session() {
        let mut lows = LowWatermarks::new(Duration::from_secs(12), true);
        lows.begin(5);
        assert_eq!(lows.due(), Some(5), "what the one before left");
        (lows.deleting, lows.deleted) = (false, 5);
        let marks: Vec<_> = [7, 7, 9, 9, 9, 9, 20].map(|low| lows.look(low)).into();
        assert_eq!(marks, [None, None, None, None, Some(7), None, Some(9)]);
        assert_eq!(lows.due(), None, "no mark is sure yet");
        lows.unwritten();
        assert_eq!(lows.look(20), Some(9), "it is due again");
        lows.sure = 9;
        assert_eq!(lows.due(), Some(9));
        assert_eq!(lows.due(), None, "one at a time");
    }

    #[test]
    fn nothing_is_deleted_unless_it_is_wanted() {
        let mut lows = LowWatermarks::new(Duration::from_secs(12), false);
        lows.begin(5);
        assert_eq!(lows.due(), None);
    }
}
