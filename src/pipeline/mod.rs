//! The streaming path: Kafka to DIG.

pub mod consumer;
pub mod dispatch;
pub mod feed;
pub mod gate;
pub mod guard;
pub mod kafka;
pub mod letter;
pub mod offsets;
pub mod partition;
pub mod permits;
pub mod producer;
pub mod queues;
pub mod reader;
pub mod request;
pub mod settings;
pub mod upload;
pub mod worker;
