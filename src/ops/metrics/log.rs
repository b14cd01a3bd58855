//! Metrics of the log and of panics.

use metrics::counter;

/// Log lines that could not be written: `full` (the reader of the log is too slow) or `write` (writing failed).
pub fn count_lost(reason: &'static str, lines: u64) {
    counter!("dig_ingest_log_lines_lost_total", "reason" => reason).increment(lines);
}

/// A panic: `contained` ones ended one request or one file, all others end the process.
pub fn count_panic(outcome: &'static str) {
    counter!("dig_ingest_panics_total", "outcome" => outcome).increment(1);
}
