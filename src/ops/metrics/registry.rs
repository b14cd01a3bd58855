//! Metrics of the device registry: who is in it, and when it last changed.

use metrics::{counter, gauge};

use crate::registry::Counts;

/// The registry as it stands after a change.
///
/// * `dig_ingest_registry_devices`: Devices of the registry by state.
/// * `dig_ingest_registry_disputed_devices`: Devices whose serial another device claims too.
/// * `dig_ingest_registry_changed_timestamp_seconds`: When the registry last changed, since the epoch.
pub fn devices(counts: &Counts) {
    for (state, count) in [
        ("pending", counts.pending),
        ("active", counts.active),
        ("terminated", counts.terminated),
    ] {
        gauge!("dig_ingest_registry_devices", "state" => state).set(count as f64);
    }
    gauge!("dig_ingest_registry_disputed_devices").set(counts.disputed as f64);
    gauge!("dig_ingest_registry_changed_timestamp_seconds")
        .set(jiff::Timestamp::now().as_millisecond() as f64 / 1_000.0);
}

/// A message of the registry topic cannot be used.
pub fn unreadable() {
    counter!("dig_ingest_registry_unreadable_total").increment(1);
}
