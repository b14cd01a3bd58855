//! The memory formula: what the job may need at most, term by term, before it reads a single message.
//!
//! `check` prints it, `run` refuses to start when it exceeds `[memory] limit_bytes` (M1 bounds the first term while
//! running; the others are bounded by the client's settings).

use serde::Serialize;

use super::problem::{Error, Place};
use super::{Settings, rules};

/// What the program itself needs: code, allocator, runtime, client threads, metrics, one spare for each.
const BASE_BYTES: u64 = 96 * 1024 * 1024;

/// One part of the sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Term {
    pub name: &'static str,
    pub bytes: u64,
    /// How it came about, in the words of the settings.
    pub how: String,
}

/// The sum and its parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Formula {
    pub partitions: u64,
    pub terms: Vec<Term>,
    pub total_bytes: u64,
    /// What the job is given; 0 for no limit.
    pub limit_bytes: u64,
}

impl Formula {
    /// Whether the job may start.
    ///
    /// # Errors
    /// The sum exceeds the limit.
    pub fn check(&self) -> Result<(), Error> {
        if self.limit_bytes == 0 || self.total_bytes <= self.limit_bytes {
            return Ok(());
        }
        Err(Error(vec![rules::too_much(
            Place::Default,
            self.total_bytes,
            self.limit_bytes,
        )]))
    }
}

impl Settings {
    /// The formula for an instance that owns so many partitions.
    pub fn memory_formula(&self, partitions: u64) -> Formula {
        let Self {
            memory,
            kafka,
            batch,
            pacing,
            ..
        } = self;
        let permits = memory
            .total_bytes
            .min(partitions.saturating_mul(memory.partition_bytes));
        let prefetch =
            partitions.saturating_mul(u64::from(kafka.prefetch_kib_per_partition) * 1024);
        let requests = u64::from(pacing.concurrency_cap);
        let bodies = requests.saturating_mul(batch.max_bytes as u64);
        let terms = vec![
            Term {
                name: "records in hand",
                bytes: permits,
                how: format!(
                    "the lesser of memory.total_bytes {} and {partitions} partitions x memory.partition_bytes {}",
                    memory.total_bytes, memory.partition_bytes
                ),
            },
            Term {
                name: "prefetched by the client",
                bytes: prefetch,
                how: format!(
                    "{partitions} partitions x kafka.prefetch_kib_per_partition {} x 1024",
                    kafka.prefetch_kib_per_partition
                ),
            },
            Term {
                name: "request bodies in flight",
                bytes: bodies,
                how: format!(
                    "{requests} requests at once x batch.max_bytes {}",
                    batch.max_bytes
                ),
            },
            Term {
                name: "the program itself",
                bytes: BASE_BYTES,
                how: "fixed allowance".to_owned(),
            },
        ];
        let total_bytes = terms
            .iter()
            .map(|term| term.bytes)
            .fold(0, u64::saturating_add);
        Formula {
            partitions,
            terms,
            total_bytes,
            limit_bytes: memory.limit_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_its_terms_and_the_limit_is_kept() {
        let mut settings = Settings::default();
        let formula = settings.memory_formula(4);
        assert_eq!(
            formula.total_bytes,
            formula.terms.iter().map(|term| term.bytes).sum::<u64>()
        );
        assert!(formula.check().is_ok(), "no limit is set");
        settings.memory.limit_bytes = formula.total_bytes;
        assert!(settings.memory_formula(4).check().is_ok());
        settings.memory.limit_bytes -= 1;
        let error = settings.memory_formula(4).check().unwrap_err().to_string();
        assert!(
            error.contains("memory.limit_bytes: the job may need"),
            "{error}"
        );
    }

    #[test]
    fn partitions_count_until_the_whole_is_reached() {
        let settings = Settings::default();
        let permits = |partitions| settings.memory_formula(partitions).terms[0].bytes;
        assert_eq!(permits(1), settings.memory.partition_bytes);
        assert_eq!(permits(1000), settings.memory.total_bytes);
    }
}
