//! Vendor shapes: a mapping file turns one vendor message into records.

/// A compiled mapping file.
#[derive(Debug)]
pub struct Mapping {}
