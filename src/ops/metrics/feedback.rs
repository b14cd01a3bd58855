//! Metrics of the feedback: what the gateway rejected later.

use metrics::{counter, gauge};

/// One invalid record was handed on; the caller bounds the number of labels.
pub fn count_invalid(cause: String) {
    counter!("dig_ingest_invalid_records_total", "cause" => cause).increment(1);
}

/// One page was read; `repeated` items of it were known.
///
/// * `dig_ingest_invalid_pages_total`: Pages of invalid records that were read.
/// * `dig_ingest_invalid_repeated_total`: Invalid records of the pages read that were known already.
pub fn count_page(repeated: usize) {
    counter!("dig_ingest_invalid_pages_total").increment(1);
    counter!("dig_ingest_invalid_repeated_total").increment(repeated as u64);
}

/// A page could not be read; it is asked for again.
pub fn count_failure() {
    counter!("dig_ingest_invalid_poll_failures_total").increment(1);
}

/// Items could not be handed on and are tried again.
pub fn count_sink_failure() {
    counter!("dig_ingest_invalid_sink_failures_total").increment(1);
}

/// How many invalid records the gateway holds for the account.
pub fn set_total(total: i64) {
    gauge!("dig_ingest_invalid_records_held").set(total as f64);
}
