//! The account of one partition's records: read, accepted, dead-lettered, held, discarded.

/// The account of records (O2) and messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Messages read.
    pub messages: u64,
    /// Tombstones and empty arrays: messages without a record.
    pub empty: u64,
    /// Records of these messages.
    pub read: u64,
    /// Records that the gateway accepted.
    pub accepted: u64,
    /// Records whose dead letter the broker has confirmed.
    pub dead_lettered: u64,
    /// Records that the broker has confirmed in the held topic.
    pub held: u64,
    /// Records of terminated devices, discarded by the gate's policy.
    pub discarded: u64,
}

impl Account {
    /// Records neither accepted nor confirmed elsewhere yet.
    #[must_use]
    pub fn in_hand(&self) -> u64 {
        self.read - self.accepted - self.dead_lettered - self.held - self.discarded
    }
}
