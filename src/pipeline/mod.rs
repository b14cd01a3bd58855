//! The streaming path: Kafka to DIG.

pub mod offsets;
pub mod permits;
pub mod queues;
pub mod request;
