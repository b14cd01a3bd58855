//! Memory permits: how many bytes the pipeline may hold, in all and per partition.
//!
//! Owns two counters of bytes. A [`Permit`] is move-only and travels with the bytes it stands for; dropping it gives them back
//! and wakes the consumer thread.
//!
//! * M1: bytes in memory <= permits. A read is allowed only when its reserve fits under both limits; what one read brings beyond
//!   its reserve is charged as a debt that must be paid back before the next one (so the bound is limit + one read).
//!
//! It does not know what the bytes are. Capacity: `[memory] total_bytes` and `partition_bytes`; when full, nothing is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;

/// Limits shared by every partition.
#[derive(Debug)]
pub struct Permits {
    /// Bytes that all partitions together may hold (`memory.total_bytes`).
    total: u64,
    /// Bytes lent out, debts included.
    used: AtomicU64,
    /// Whether a reserve was refused since the consumer thread was last unparked.
    refused: AtomicBool,
    /// The consumer thread, unparked when bytes come back after a refusal.
    reader: Option<Thread>,
}

/// One partition's share of the permits.
#[derive(Debug)]
pub struct PartitionPermits {
    /// The permits of the job.
    shared: Arc<Permits>,
    /// Bytes that the partition may hold (`memory.partition_bytes`).
    limit: u64,
    /// Bytes lent to the partition, debts included.
    used: AtomicU64,
}

/// Bytes that one read may bring; dropping it returns them.
#[derive(Debug)]
pub struct Permit {
    /// The share that the bytes are returned to.
    owner: Arc<PartitionPermits>,
    /// Bytes it stands for.
    bytes: u64,
}

impl Permits {
    /// `total` in bytes; `reader` is unparked when bytes come back after a refusal.
    #[must_use]
    pub fn new(total: u64, reader: Option<Thread>) -> Arc<Self> {
        Arc::new(Self {
            total,
            used: AtomicU64::new(0),
            refused: AtomicBool::new(false),
            reader,
        })
    }

    /// Bytes lent out at this instant.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// A partition's share: at most `limit` bytes.
    #[must_use]
    pub fn partition(self: &Arc<Self>, limit: u64) -> Arc<PartitionPermits> {
        Arc::new(PartitionPermits {
            shared: Arc::clone(self),
            limit,
            used: AtomicU64::new(0),
        })
    }
}

/// Takes `bytes` if the sum stays within `limit`; an empty counter lends any amount, so that one large message cannot starve.
fn take(counter: &AtomicU64, bytes: u64, limit: u64) -> bool {
    counter
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            (used == 0 || used + bytes <= limit).then_some(used + bytes)
        })
        .is_ok()
}

impl PartitionPermits {
    /// Reserves `bytes` for a read, or refuses (M1).
    #[must_use]
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Permit> {
        if !take(&self.used, bytes, self.limit) {
            self.shared.refused.store(true, Ordering::Release);
            return None;
        }
        if !take(&self.shared.used, bytes, self.shared.total) {
            self.used.fetch_sub(bytes, Ordering::AcqRel);
            self.shared.refused.store(true, Ordering::Release);
            return None;
        }
        Some(Permit {
            owner: Arc::clone(self),
            bytes,
        })
    }

    /// Counts bytes that are in memory already: the body of a request that came back. The bound holds, because the body was
    /// counted until now.
    #[must_use]
    pub fn owe(self: &Arc<Self>, bytes: u64) -> Permit {
        self.used.fetch_add(bytes, Ordering::AcqRel);
        self.shared.used.fetch_add(bytes, Ordering::AcqRel);
        Permit {
            owner: Arc::clone(self),
            bytes,
        }
    }

    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// The most one partition may hold.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether more is held than allowed, by this partition or by all: a read brought more than its reserve.
    #[must_use]
    pub fn exceeded(&self) -> bool {
        self.used() > self.limit || self.shared.used() > self.shared.total
    }
}

impl Permit {
    /// Splits off `bytes`, at most all, as a permit of their own.
    #[must_use]
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            owner: Arc::clone(&self.owner),
            bytes,
        }
    }

    /// Corrects the reserve to the bytes that the read brought.
    pub fn charge(&mut self, bytes: u64) {
        if bytes >= self.bytes {
            let more = bytes - self.bytes;
            self.owner.used.fetch_add(more, Ordering::AcqRel);
            self.owner.shared.used.fetch_add(more, Ordering::AcqRel);
        } else {
            self.give_back(self.bytes - bytes);
        }
        self.bytes = bytes;
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn give_back(&self, bytes: u64) {
        self.owner.used.fetch_sub(bytes, Ordering::AcqRel);
        self.owner.shared.used.fetch_sub(bytes, Ordering::AcqRel);
        if let Some(reader) = &self.owner.shared.reader
            && self.owner.shared.refused.swap(false, Ordering::AcqRel)
        {
            reader.unpark();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_partition_cannot_take_the_share_of_another() {
        let permits = Permits::new(100, None);
        let (a, b) = (permits.partition(60), permits.partition(60));
        let first = a.reserve(60).expect("fits");
        assert!(a.reserve(1).is_none());
        assert!(b.reserve(60).is_none(), "the total is full");
        let second = b.reserve(40).expect("fits");
        drop(first);
        assert!(a.reserve(60).is_some());
        drop(second);
        assert_eq!(permits.used(), 0);
    }

    proptest! {
        /// M1: whatever is reserved, charged and returned, a refusal is the only answer once a limit is reached, and nothing leaks.
        #[test]
        fn m1_reads_stop_at_the_limit(steps in prop::collection::vec((0usize..3, 1u64..80, 0u64..120), 1..200)) {
            let permits = Permits::new(200, None);
            let shares: Vec<_> = (0..3).map(|_| permits.partition(90)).collect();
            let mut held: Vec<(usize, Permit)> = Vec::new();
            for (who, reserve, real) in steps {
                let before = permits.used();
                let own = shares[who].used();
                match shares[who].reserve(reserve) {
                    Some(mut permit) => {
                        prop_assert!(own == 0 || own + reserve <= 90);
                        prop_assert!(before == 0 || before + reserve <= 200);
                        permit.charge(real);
                        held.push((who, permit));
                    }
                    None => {
                        prop_assert!(own + reserve > 90 || before + reserve > 200);
                        if !held.is_empty() { held.remove(0); }
                    }
                }
                prop_assert_eq!(permits.used(), held.iter().map(|(_, p)| p.bytes()).sum::<u64>());
                for (i, share) in shares.iter().enumerate() {
                    prop_assert_eq!(share.used(), held.iter().filter(|(w, _)| *w == i).map(|(_, p)| p.bytes()).sum::<u64>());
                }
            }
            held.clear();
            prop_assert_eq!(permits.used(), 0);
        }
    }
}
