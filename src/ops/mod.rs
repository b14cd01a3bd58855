//! What operators see: metrics, health, logs.

pub mod metrics;
