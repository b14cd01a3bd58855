//! The streaming path: Kafka to DIG.

pub mod dispatch;
pub mod feed;
pub mod gate;
pub mod guard;
pub mod kafka;
pub mod letter;
pub mod offsets;
pub mod partition;
pub mod permits;
pub mod queues;
pub mod request;
pub mod settings;
