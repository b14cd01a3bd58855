//! Metrics of formats: questions to the schema registry, and the schemas that are kept.

use metrics::{counter, gauge};

/// A question for a schema ended, by outcome: `found`, `unknown`, `unfit` or `away` (to be asked again).
pub fn schema_asked(outcome: &'static str) {
    counter!("dig_ingest_schema_requests_total", "outcome" => outcome).increment(1);
}

/// What is kept of the schema registry.
///
/// * `dig_ingest_schemas`: Schemas kept, those that cannot be used included.
/// * `dig_ingest_schema_bytes`: Bytes of the texts of these schemas.
pub fn schemas_kept(count: usize, bytes: usize) {
    gauge!("dig_ingest_schemas").set(count as f64);
    gauge!("dig_ingest_schema_bytes").set(bytes as f64);
}
