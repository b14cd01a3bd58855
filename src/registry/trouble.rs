//! The published wait for a device registry that cannot be read (H1).
//!
//! Owns at most one published wait. The wait begins with any error of the client, and when the end offset has grown and nothing
//! of that was read for [`BEHIND`]. It ends when the broker answers for every partition and nothing is behind. States are
//! compared, not events: an error that is reported once, or never, is found all the same.
//!
//! Meanwhile the last snapshot stays in force (G1).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ops::status_registry::StatusRegistry;
use crate::ops::waits::{Kind, Wait};

/// How long an end offset may be ahead of what was read.
const BEHIND: Duration = Duration::from_secs(10);

/// See the module's documentation.
pub struct Trouble {
    /// Where the wait is published.
    board: Arc<StatusRegistry>,
    /// Name of the topic, or path of the file.
    place: String,
    /// The published wait. Dropped, it ends on the board.
    wait: Option<Wait>,
    /// Per partition: its end offset as last asked, and since when something of it is unread.
    ends: HashMap<i32, (i64, Option<Instant>)>,
    /// Partitions of which a message was read since the end offsets were last asked for: what they grew by may be read already.
    moved: HashSet<i32>,
}

impl Trouble {
    pub fn new(board: Arc<StatusRegistry>, place: String) -> Self {
        Self {
            board,
            place,
            wait: None,
            ends: HashMap::new(),
            moved: HashSet::new(),
        }
    }

    /// Publishes the wait, or updates its cause.
    pub fn begin(&mut self, error: &str) {
        let cause = format!(
            "the device registry {} cannot be read: {error}; the devices stay what they were",
            self.place
        );
        match &self.wait {
            Some(wait) => wait.update(cause),
            None => {
                let remedy = format!(
                    "check that {} exists and that this user may read it (right Read); it is followed again by itself",
                    self.place
                );
                self.wait = Some(self.board.wait(Kind::Registry, &*self.place, cause, remedy));
            }
        }
    }

    /// Ends the wait.
    pub fn end(&mut self) {
        self.wait = None;
    }

    /// Notes that a message of a partition was read, or its end reached.
    pub fn moved(&mut self, partition: i32) {
        self.moved.insert(partition);
        if let Some((_, behind)) = self.ends.get_mut(&partition) {
            *behind = None;
        }
    }

    /// Compares the end offsets that the broker gave, one per partition, or publishes why it gave none.
    pub fn asked(&mut self, ends: Result<Vec<(i32, i64)>, String>, now: Instant) {
        let ends = match ends {
            Ok(ends) => ends,
            Err(error) => return self.begin(&error),
        };
        for (partition, end) in ends {
            let moved = self.moved.remove(&partition);
            let known = self.ends.entry(partition).or_insert((end, None));
            if known.0 != end {
                let unread = (!moved).then(|| known.1.unwrap_or(now));
                *known = (end, unread);
            }
        }
        let behind = self.ends.iter().find(|(_, (_, since))| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= BEHIND)
        });
        match behind {
            Some((partition, (end, _))) => {
                let error = format!(
                    "partition {partition} has grown to offset {end}, and nothing of that is read"
                );
                self.begin(&error);
            }
            None => self.end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_grows_and_is_not_read_is_published() {
        let start = Instant::now();
        let board = StatusRegistry::new(start);
        let mut trouble = Trouble::new(Arc::clone(&board), "dig.devices".to_owned());
        let waits = || board.snapshot().waits;
        trouble.asked(Ok(vec![(0, 5)]), start);
        trouble.asked(Ok(vec![(0, 6)]), start + BEHIND);
        assert!(waits().is_empty());
        trouble.moved(0);
        trouble.asked(Ok(vec![(0, 6)]), start + BEHIND * 3);
        assert!(waits().is_empty(), "it was read");
        trouble.asked(Ok(vec![(0, 7)]), start + BEHIND * 3);
        trouble.asked(Ok(vec![(0, 8)]), start + BEHIND * 4);
        assert_eq!(waits()[0].kind, Kind::Registry);
        assert!(waits()[0].cause.contains("offset 8"), "{:?}", waits());
        trouble.moved(0);
        trouble.asked(Ok(vec![(0, 8)]), start + BEHIND * 5);
        assert!(waits().is_empty());
    }

    /// The usual case: a message is read before the end is asked, and nothing comes behind it.
    #[test]
    fn what_was_read_before_the_end_was_asked_is_not_behind() {
        let start = Instant::now();
        let board = StatusRegistry::new(start);
        let mut trouble = Trouble::new(Arc::clone(&board), "dig.devices".to_owned());
        trouble.asked(Ok(vec![(0, 5)]), start);
        trouble.moved(0);
        trouble.asked(Ok(vec![(0, 7)]), start + BEHIND);
        trouble.asked(Ok(vec![(0, 7)]), start + BEHIND * 5);
        assert!(board.snapshot().waits.is_empty());
    }

    #[test]
    fn an_error_stands_until_the_broker_answers() {
        let start = Instant::now();
        let board = StatusRegistry::new(start);
        let mut trouble = Trouble::new(Arc::clone(&board), "dig.devices".to_owned());
        trouble.begin("transport");
        trouble.asked(Err("unknown topic".to_owned()), start);
        let waits = board.snapshot().waits;
        assert_eq!(waits.len(), 1);
        assert!(waits[0].cause.contains("unknown topic"), "{waits:?}");
        trouble.asked(Ok(vec![(0, 5)]), start);
        assert!(board.snapshot().waits.is_empty());
    }
}
