//! Metrics of dig.
