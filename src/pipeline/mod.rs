//! The streaming path: Kafka to DIG.

pub mod request;
pub mod split;
pub mod upload;
