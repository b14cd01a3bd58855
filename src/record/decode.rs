//! Bytes of one message into records.

use std::sync::Arc;

use super::mapping::Mapping;
use super::validate::Rules;
use super::{Decoded, SerialOf};

/// The shape of a topic's messages.
#[derive(Debug, Clone)]
pub enum Shape {
    /// A JSON object or array of objects in the gateway's own shape.
    Native,
    /// A vendor's shape, turned into records by a mapping file.
    Mapped(Arc<Mapping>),
}

/// Turns messages into records; owns the parse buffers, one per partition worker.
pub struct Decoder {
    #[allow(dead_code)]
    shape: Shape,
    #[allow(dead_code)]
    rules: Arc<Rules>,
}

impl Decoder {
    #[must_use]
    pub fn new(shape: Shape, rules: Arc<Rules>) -> Self {
        Self { shape, rules }
    }

    /// Decodes, validates and appends one message's records to `out`, one outcome per record, in message order.
    ///
    /// `payload` is `None` for a tombstone. A tombstone and an empty array append nothing. `now` is microseconds since the epoch.
    pub fn decode(
        &mut self,
        payload: Option<&[u8]>,
        devices: &impl SerialOf,
        now: i64,
        out: &mut Decoded,
    ) {
        let _ = (payload, devices, now, out);
    }
}
