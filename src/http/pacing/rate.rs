//! Requests, records and bytes per second. The only file beside `dig/session` that knows `governor`.
//!
//! Owns three optional limiters. A cell count larger than a burst is taken in several draws, so that no request is
//! too large to ever pass. The burst is one second's worth.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// The clock of the runtime, so that a paused runtime pauses the limiters too.
#[derive(Debug, Clone, Copy, Default)]
pub struct RuntimeClock;

impl Clock for RuntimeClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// At most so many cells per second.
pub struct Limiter {
    inner: RateLimiter<NotKeyed, InMemoryState, RuntimeClock, NoOpMiddleware<Instant>>,
    burst: NonZeroU32,
}

impl Limiter {
    /// `None` when `per_second` is zero: no limit.
    #[must_use]
    pub fn per_second(per_second: f64) -> Option<Self> {
        let burst = (per_second.min(f64::from(u32::MAX)) as u32).max(1);
        Self::spaced(per_second, burst)
    }

    /// As [`Limiter::per_second`] with a burst of `burst` cells. With a burst of one, any half-open second of time
    /// sees at most `per_second` cells (rounded up).
    #[must_use]
    pub fn spaced(per_second: f64, burst: u32) -> Option<Self> {
        if !per_second.is_finite() || per_second <= 0.0 {
            return None;
        }
        let period = Duration::try_from_secs_f64(1.0 / per_second)
            .unwrap_or(Duration::MAX)
            .max(Duration::from_nanos(1));
        let burst = NonZeroU32::new(burst)?;
        let quota =
            Quota::with_period(period.min(Duration::from_secs(24 * 3600)))?.allow_burst(burst);
        Some(Self {
            inner: RateLimiter::direct_with_clock(quota, RuntimeClock),
            burst,
        })
    }

    /// Waits until `cells` may pass. Cancelled, the draws made so far are spent.
    pub async fn take(&self, cells: u32) {
        let mut left = cells;
        while let Some(draw) = NonZeroU32::new(left.min(self.burst.get())) {
            match self.inner.check_n(draw) {
                Ok(Ok(())) => left -= draw.get(),
                Ok(Err(not_until)) => {
                    let wait = not_until.wait_time_from(RuntimeClock.now());
                    // The timer's grain: never spin on a wait shorter than it.
                    tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
                }
                // A draw is never larger than the burst.
                Err(_) => return,
            }
        }
    }
}

/// Limits of one instance.
#[derive(Default)]
pub struct Rates {
    requests: Option<Limiter>,
    records: Option<Limiter>,
    kibibytes: Option<Limiter>,
}

impl Rates {
    /// Zero is no limit; `share` is this instance's part of each, in (0, 1].
    #[must_use]
    pub fn new(requests_per_s: f64, records_per_s: f64, bytes_per_s: f64, share: f64) -> Self {
        Self {
            requests: Limiter::per_second(requests_per_s * share),
            records: Limiter::per_second(records_per_s * share),
            kibibytes: Limiter::per_second(bytes_per_s / 1024.0 * share),
        }
    }

    /// Waits until one request of so many records and bytes may go.
    pub async fn take(&self, records: u32, bytes: usize) {
        if let Some(limiter) = &self.requests {
            limiter.take(1).await;
        }
        if let Some(limiter) = &self.records {
            limiter.take(records).await;
        }
        if let Some(limiter) = &self.kibibytes {
            limiter
                .take(u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX))
                .await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_request_larger_than_the_burst_passes_in_its_time() {
        let rates = Rates::new(0.0, 1_000.0, 0.0, 0.5);
        let start = Instant::now();
        rates.take(5_000, 1).await;
        rates.take(5_000, 1).await;
        let took = start.elapsed().as_secs_f64();
        // 10,000 at 500/s, the first 500 at once.
        assert!((18.5..20.5).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn spaced_calls_never_exceed_the_limit_in_any_window() {
        let limiter = Limiter::spaced(4.0 / 60.0, 1).unwrap();
        let mut at = Vec::new();
        for _ in 0..30 {
            limiter.take(1).await;
            at.push(Instant::now());
        }
        for (i, start) in at.iter().enumerate() {
            let within = at[i..]
                .iter()
                .filter(|t| t.duration_since(*start) < Duration::from_secs(60))
                .count();
            assert!(within <= 4, "{within} in a minute");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_never_waits() {
        let start = Instant::now();
        Rates::new(0.0, 0.0, 0.0, 1.0)
            .take(u32::MAX, usize::MAX)
            .await;
        assert_eq!(Instant::now(), start);
        assert!(Limiter::per_second(-1.0).is_none() && Limiter::per_second(f64::NAN).is_none());
    }
}
