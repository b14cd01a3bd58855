//! The order sentinel: batches packed, and their records that were out of the order of their serial.

/// A sentinel with its denominator: checks S1 at the last place where it can be checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Watch {
    pub batches: u64,
    /// Must stay 0.
    pub out_of_order: u64,
}
