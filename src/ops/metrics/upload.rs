//! Metrics of the upload: requests and their outcomes, splits, pacing.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

/// One request ended with an HTTP status.
///
/// * `dig_ingest_upload_request_seconds`: Seconds from sending a request to its answer.
pub fn count_answer(status: u16, took: Duration) {
    counter!("dig_ingest_upload_answers_total", "status" => status_label(status)).increment(1);
    histogram!("dig_ingest_upload_request_seconds").record(took.as_secs_f64());
}

/// Known statuses by number, the rest by class, so that the label stays bounded.
fn status_label(status: u16) -> &'static str {
    match status {
        200 => "200",
        202 => "202",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        408 => "408",
        413 => "413",
        429 => "429",
        500 => "500",
        502 => "502",
        503 => "503",
        504 => "504",
        _ => match status / 100 {
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => "other",
        },
    }
}

/// One request got no answer; `kind` is the failure's name.
pub fn count_failure(kind: &'static str) {
    counter!("dig_ingest_upload_failures_total", "kind" => kind).increment(1);
}

/// The gateway may have taken a request whose end we did not learn.
///
/// * `dig_ingest_upload_ambiguous_requests_total`: Requests that the gateway may have taken although no answer came.
/// * `dig_ingest_upload_ambiguous_records_total`: Records of the requests that the gateway may have taken although no answer came.
pub fn count_ambiguous(records: u32) {
    counter!("dig_ingest_upload_ambiguous_requests_total").increment(1);
    counter!("dig_ingest_upload_ambiguous_records_total").increment(u64::from(records));
}

/// The same records went again. `ambiguous`: they may have been taken before.
///
/// * `dig_ingest_upload_resent_requests_total`: Requests sent again; `ambiguous`: the gateway may have taken them before.
/// * `dig_ingest_upload_resent_records_total`: Records sent again; `ambiguous`: the gateway may have taken them before.
pub fn count_resend(records: u32, ambiguous: bool) {
    let ambiguous = if ambiguous { "true" } else { "false" };
    counter!("dig_ingest_upload_resent_requests_total", "ambiguous" => ambiguous).increment(1);
    counter!("dig_ingest_upload_resent_records_total", "ambiguous" => ambiguous)
        .increment(u64::from(records));
}

/// A body of so many records and bytes was sent.
///
/// * `dig_ingest_upload_sent_records_total`: Records sent to the gateway, repeated ones each time.
/// * `dig_ingest_upload_sent_bytes_total`: Bytes of the bodies sent to the gateway.
/// * `dig_ingest_upload_request_records`: Records of a body sent to the gateway.
pub fn count_sent(records: u32, bytes: usize) {
    counter!("dig_ingest_upload_sent_records_total").increment(u64::from(records));
    counter!("dig_ingest_upload_sent_bytes_total").increment(bytes as u64);
    histogram!("dig_ingest_upload_request_records").record(f64::from(records));
}

/// Records the gateway accepted.
pub fn count_accepted(records: u32) {
    counter!("dig_ingest_upload_accepted_records_total").increment(u64::from(records));
}

/// One record was refused alone, with 400 or 413.
pub fn count_refused(status: u16) {
    counter!("dig_ingest_upload_refused_records_total", "status" => status_label(status))
        .increment(1);
}

/// A request had to be split: `bad` (400), `large` (413) or `probe`.
pub fn count_split(reason: &'static str) {
    counter!("dig_ingest_upload_splits_total", "reason" => reason).increment(1);
}

/// Refusals (400) in a row of all workers, without an acceptance between them.
pub fn set_refused_in_a_row(count: u64) {
    gauge!("dig_ingest_upload_refused_in_a_row").set(count as f64);
}

/// The body byte limit now in force.
pub fn set_byte_limit(bytes: usize) {
    gauge!("dig_ingest_upload_byte_limit").set(bytes as f64);
}

/// Requests that may be out at once now.
pub fn set_concurrency(limit: usize) {
    gauge!("dig_ingest_upload_concurrency_limit").set(limit as f64);
}

/// 1 for the circuit's present state, 0 for the others.
pub fn set_circuit(state: &'static str) {
    for name in ["closed", "open", "probing"] {
        gauge!("dig_ingest_upload_circuit", "state" => name).set(if name == state {
            1.0
        } else {
            0.0
        });
    }
}

/// The circuit opened: only probes go out until it closes.
pub fn count_circuit_opened() {
    counter!("dig_ingest_upload_circuit_opened_total").increment(1);
}
