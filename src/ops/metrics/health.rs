//! Metrics of health: what the health pages answer, and what waits. They are set when the metrics are asked for.

use metrics::gauge;

use crate::ops::health::Health;
use crate::ops::waits::Kind;

/// What `/livez` and `/readyz` answer (1 for 200, 0 for 503); what waits, and for how long the oldest of each kind has waited.
pub fn judged(health: &Health) {
    gauge!("dig_ingest_live").set(f64::from(u8::from(health.live)));
    gauge!("dig_ingest_ready").set(f64::from(u8::from(health.ready)));
    for kind in Kind::ALL {
        let of_kind = health.waits.iter().filter(|wait| wait.kind == kind);
        let oldest = of_kind.clone().map(|wait| wait.seconds).max();
        let name = kind.name();
        gauge!("dig_ingest_waits", "kind" => name).set(of_kind.count() as f64);
        gauge!("dig_ingest_wait_oldest_seconds", "kind" => name)
            .set(oldest.unwrap_or_default() as f64);
    }
}
