//! Metrics of feedback.
