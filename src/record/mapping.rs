//! Vendor shapes: a mapping file turns one vendor message into records.

use super::decode::Checker;
use super::{Decoded, SerialOf};

/// A compiled mapping file.
#[derive(Debug)]
pub struct Mapping {}

impl Mapping {
    /// Turns one vendor message into records, through [`Checker::push`].
    pub(super) fn decode(
        &self,
        payload: &[u8],
        devices: &impl SerialOf,
        now: i64,
        checker: &mut Checker,
        out: &mut Decoded,
    ) {
        let _ = (devices, now);
        checker.refuse_unreadable(payload, out);
    }
}
