//! Metrics of pipeline.
