//! The order sentinel: batches packed, and records of them that broke the order of their serial.

/// A sentinel with its denominator: S1 seen from the last place where it can be seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Watch {
    pub batches: u64,
    /// Must stay 0.
    pub out_of_order: u64,
}
