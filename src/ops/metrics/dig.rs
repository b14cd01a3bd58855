//! Metrics of the session with the gateway.

use std::time::Duration;

use metrics::{counter, gauge};

/// One authentication call ended; `outcome` is `ok`, a status or a failure's name.
pub fn count_auth(endpoint: &'static str, outcome: &'static str) {
    counter!("dig_ingest_auth_calls_total", "endpoint" => endpoint, "outcome" => outcome)
        .increment(1);
}

/// A token was rejected by the gateway (once per token).
pub fn count_rejected() {
    counter!("dig_ingest_auth_tokens_rejected_total").increment(1);
}

/// Credentials, or the token of a fresh login, were refused: somebody must act.
pub fn count_denied() {
    counter!("dig_ingest_auth_denied_total").increment(1);
}

/// A new token was published.
///
/// * `dig_ingest_auth_token_generation`: Number of the token in use; rises with every login and renewal.
/// * `dig_ingest_auth_token_life_seconds`: Seconds the token in use lives, from its issue.
pub fn set_token(generation: u64, life: Duration) {
    gauge!("dig_ingest_auth_token_generation").set(generation as f64);
    gauge!("dig_ingest_auth_token_life_seconds").set(life.as_secs_f64());
}

/// 1 for the session's present state, 0 for the others.
pub fn set_state(state: &'static str) {
    for name in ["starting", "ready", "renewing", "refused", "closed"] {
        gauge!("dig_ingest_auth_session", "state" => name).set(if name == state {
            1.0
        } else {
            0.0
        });
    }
}
