//! Changes of a partition's log: its end offset, and the start of another life (E1). Pure.

use super::Partition;

impl Partition {
    /// See [`OffsetTracker::begin_life`](crate::pipeline::offsets::OffsetTracker::begin_life). No commit covers anything of the new
    /// life.
    pub fn begin_life(&mut self, from: i64) {
        self.tracker.begin_life(from);
        self.replays.clear();
        (self.committed, self.end) = (0, None);
    }

    /// See [`OffsetTracker::passes`](crate::pipeline::offsets::OffsetTracker::passes).
    pub fn passes(&mut self, offset: i64) {
        self.tracker.passes(offset);
    }

    /// Notes the end offset of the input's log when it was checked.
    pub fn log_ends_at(&mut self, end: i64) {
        self.end = Some(end);
    }

    /// See [`OffsetTracker::life`](crate::pipeline::offsets::OffsetTracker::life).
    #[must_use]
    pub fn life(&self) -> u32 {
        self.tracker.life()
    }

    /// End offset of the log, as far as it is known.
    pub(super) fn end(&self) -> Option<i64> {
        self.end.map(|end| end.max(self.tracker.read_to()))
    }
}

/// Whether a crash would re-deliver this offset of the source: no commit covers it, and it lies below the log's end offset. An
/// offset behind the end belongs to another life.
pub(super) fn may_come_back(offset: i64, committed: i64, end: Option<i64>) -> bool {
    offset >= committed && end.is_none_or(|end| offset < end)
}

#[cfg(test)]
mod tests {
    use super::may_come_back;

    #[test]
    fn what_lies_behind_the_end_of_the_log_does_not_come_back() {
        for (offset, committed, end, back) in [
            (5, 6, None, false),
            (6, 6, None, true),
            (6, 6, Some(7), true),
            // Held in a life of the log that had more.
            (1_000, 6, Some(7), false),
            (7, 6, Some(7), false),
        ] {
            assert_eq!(may_come_back(offset, committed, end), back, "{offset}");
        }
    }
}
