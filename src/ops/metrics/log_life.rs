//! Metrics of the life of logs: topics that were recreated, tails that were lost.

use metrics::counter;

use crate::log_life::Change;

/// A log was found to be in another life than what was remembered of it; `change` is `recreated`, `tail_lost` or `commit_above_end`.
pub fn changed(topic: &str, change: Change) {
    counter!("dig_ingest_log_life_changes_total", "topic" => topic.to_owned(), "change" => change.name())
        .increment(1);
}
