//! The order sentinel: batches packed, and their records that were out of the order of their serial.

/// A sentinel with its denominator: checks S1 at the last place where it can be checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Watch {
    /// Batches packed.
    pub batches: u64,
    /// Records packed after a younger one of their serial; must stay 0.
    pub out_of_order: u64,
}
