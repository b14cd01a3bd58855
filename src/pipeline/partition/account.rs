//! The account of one partition's records: read, accepted, dead-lettered, held, discarded.

/// The account of records (O2) and messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    pub messages: u64,
    /// Tombstones and empty arrays: messages without a record.
    pub empty: u64,
    pub read: u64,
    pub accepted: u64,
    pub dead_lettered: u64,
    pub held: u64,
    /// Of terminated devices, by the gate's policy.
    pub discarded: u64,
}

impl Account {
    /// Records neither accepted nor confirmed elsewhere yet.
    #[must_use]
    pub fn in_hand(&self) -> u64 {
        self.read - self.accepted - self.dead_lettered - self.held - self.discarded
    }
}
