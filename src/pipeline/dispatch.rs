//! Dispatch: decides when a partition requests an upload slot. A pure function of queues and time.
//!
//! A request is due when a full one is ready, when the oldest ready record has waited for the linger time, or when memory is
//! needed (M1: a refused permit makes the worker flush).

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::queues::{Limits, SerialQueues};

/// Settings (`[batch]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Maximum number of records per request, 1 to 5000 (OpenAPI, `maxItems`).
    pub max_records: usize,
    /// Maximum size of a request body in bytes (1024 or more, at most `memory.partition_bytes`). The limit of the gateway is not
    /// published.
    pub max_bytes: usize,
    /// Linger time in milliseconds: how long a ready record waits for further records to fill a request.
    pub linger_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_records: 5000,
            max_bytes: 4 * 1024 * 1024,
            linger_ms: 200,
        }
    }
}

/// When to request an upload slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Now,
    At(Instant),
    Never,
}

/// Decides whether a request should be packed at `now`. `flush` ignores the linger time.
#[must_use]
pub fn due(
    queues: &SerialQueues,
    limits: Limits,
    linger: Duration,
    flush: bool,
    now: Instant,
) -> Due {
    let Some(oldest) = queues.oldest_ready() else {
        return Due::Never;
    };
    if flush || sated(queues, limits) {
        return Due::Now;
    }
    let at = oldest + linger;
    if at <= now { Due::Now } else { Due::At(at) }
}

/// Whether a full request is ready and only waits for an upload slot: reading on would only move records out of the client's
/// buffers and the processor's caches.
#[must_use]
pub fn sated(queues: &SerialQueues, limits: Limits) -> bool {
    let body = queues.ready_bytes() + queues.ready_records() as u64 + 1;
    queues.ready_records() >= limits.records || body >= limits.bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::offsets::MessageSeq;
    use crate::pipeline::queues::Tag;

    fn queues(records: u64, arrived: Instant) -> SerialQueues {
        let mut queues = SerialQueues::new();
        let id = queues.open_chunk(b"A".repeat(records as usize), None, arrived);
        for seq in 0..records {
            let at = seq as usize;
            let tag = Tag {
                seq: MessageSeq(seq),
                identity: 0,
                place: 0,
            };
            queues.push(id, at..at + 1, at..at + 1, 1, tag);
        }
        queues.seal(id);
        queues
    }

    #[test]
    fn waits_for_linger_unless_full_or_flushed() {
        let now = Instant::now();
        let linger = Duration::from_millis(100);
        let limits = Limits {
            records: 3,
            bytes: 1000,
        };
        assert_eq!(due(&queues(0, now), limits, linger, true, now), Due::Never);
        assert_eq!(
            due(&queues(2, now), limits, linger, false, now),
            Due::At(now + linger)
        );
        assert_eq!(
            due(&queues(2, now), limits, linger, false, now + linger),
            Due::Now
        );
        assert_eq!(due(&queues(2, now), limits, linger, true, now), Due::Now);
        assert_eq!(due(&queues(3, now), limits, linger, false, now), Due::Now);
        assert_eq!(
            due(
                &queues(2, now),
                Limits {
                    records: 9,
                    bytes: 5
                },
                linger,
                false,
                now
            ),
            Due::Now
        );
    }
}
