//! Metrics of upload.
