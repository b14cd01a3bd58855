//! Metrics of our HTTP servers (`ops`, `orders`).

use metrics::counter;

/// An idle connection was closed so that a new one could be served.
pub fn count_evicted(server: &'static str) {
    counter!("dig_ingest_server_connections_evicted_total", "server" => server).increment(1);
}

/// A connection could not be accepted: no descriptor was left.
pub fn count_refused(server: &'static str) {
    counter!("dig_ingest_server_accept_failures_total", "server" => server).increment(1);
}
