//! The streaming path: Kafka to DIG.

pub mod dispatch;
pub mod gate;
pub mod letter;
pub mod offsets;
pub mod partition;
pub mod permits;
pub mod queues;
pub mod request;
