//! Metrics of the client of MyAdmin. Labels are method names and outcomes: never an account, a serial or a server's text.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

/// One call to MyAdmin ended; `outcome` is `ok`, the kind of a refusal, a status or a failure's name.
pub fn count_call(method: &'static str, outcome: &'static str) {
    counter!("dig_ingest_myadmin_calls_total", "method" => method, "outcome" => outcome)
        .increment(1);
}

/// Time from sending a call to the end of its answer.
pub fn record_call(method: &'static str, took: Duration) {
    histogram!("dig_ingest_myadmin_call_seconds", "method" => method).record(took.as_secs_f64());
}

/// MyAdmin answered 429: the surface (`v2`, `v3`, `rest`) is left alone for a while.
pub fn count_throttled(surface: &'static str) {
    counter!("dig_ingest_myadmin_throttled_total", "surface" => surface).increment(1);
}

/// MyAdmin ended a session (once per session): the next call logs in again.
pub fn count_session_ended() {
    counter!("dig_ingest_myadmin_sessions_ended_total").increment(1);
}

/// MyAdmin refused a login: somebody must act.
pub fn count_denied() {
    counter!("dig_ingest_myadmin_denied_total").increment(1);
}

/// A row of an answer could not be read and was left out: without an id, or no object.
pub fn count_unreadable(method: &'static str) {
    counter!("dig_ingest_myadmin_rows_unreadable_total", "method" => method).increment(1);
}

/// Roles that the account does not have and that something switched on needs, as the start-up report found them.
pub fn set_roles_missing(count: usize) {
    gauge!("dig_ingest_myadmin_roles_missing").set(count as f64);
}
