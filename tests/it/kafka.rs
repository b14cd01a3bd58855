//! Tests of kafka.
