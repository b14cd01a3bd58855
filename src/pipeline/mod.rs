//! The streaming path: Kafka to DIG.

pub mod request;
