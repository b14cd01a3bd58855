//! Requests, records and bytes per second, and counts per window. The only file that knows `governor`.
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

    /// At most `count` cells in any window of this length, wherever it begins: a quarter of them at once, the rest evenly.
    /// `None` when `count` is below one or the window is nothing: no limit.
    #[must_use]
    pub fn windowed(count: f64, window: Duration) -> Option<Self> {
        if !count.is_finite() || count < 1.0 || window.is_zero() {
            return None;
        }
        let burst = ((count / 4.0).min(f64::from(u32::MAX)) as u32).max(1);
        let rest = (count.floor() - f64::from(burst)).max(0.0);
        // A window can hold the burst, and what is refilled while it lasts; one cell a window is the slowest there is.
        let evenly = if rest > 0.0 { rest } else { 1.0 };
        Self::spaced(evenly / window.as_secs_f64(), burst)
    }

    /// Takes one cell, waiting for it up to `bound`. Cancelled, nothing is spent.
    ///
    /// # Errors
    /// How long the wait would be, when that is longer; nothing is spent.
    pub async fn take_within(&self, bound: Duration) -> Result<(), Duration> {
        let until = tokio::time::Instant::now() + bound;
        while let Err(not_until) = self.inner.check() {
            let wait = not_until
                .wait_time_from(RuntimeClock.now())
                .max(Duration::from_millis(1));
            if tokio::time::Instant::now() + wait > until {
                return Err(wait);
            }
            tokio::time::sleep(wait).await;
        }
        Ok(())
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

    /// Records and bytes that a request may hold so that no more goes at once than one second's worth.
    #[must_use]
    pub fn one_second(&self) -> (u32, usize) {
        let burst = |limiter: &Option<Limiter>| limiter.as_ref().map(|limiter| limiter.burst.get());
        let kibibytes = burst(&self.kibibytes).map(|kibibytes| kibibytes as usize * 1024);
        (
            burst(&self.records).unwrap_or(u32::MAX),
            kibibytes.unwrap_or(usize::MAX),
        )
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
    async fn a_window_never_holds_more_than_its_count_and_a_quarter_goes_at_once() {
        for count in [1, 4, 9, 40] {
            let limiter = Limiter::windowed(f64::from(count), Duration::from_secs(60)).unwrap();
            let mut at = Vec::new();
            for _ in 0..3 * count {
                limiter.take(1).await;
                at.push(Instant::now());
            }
            for (i, start) in at.iter().enumerate() {
                let within = at[i..]
                    .iter()
                    .filter(|t| t.duration_since(*start) < Duration::from_secs(60))
                    .count();
                assert!(within <= count as usize, "{within} of {count} in a minute");
            }
            let at_once = at.iter().filter(|t| **t == at[0]).count();
            assert_eq!(at_once, (count as usize / 4).max(1));
        }
        assert!(Limiter::windowed(0.5, Duration::from_secs(60)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_beyond_its_bound_is_told_instead() {
        let limiter = Limiter::windowed(1.0, Duration::from_secs(60)).unwrap();
        assert_eq!(limiter.take_within(Duration::ZERO).await, Ok(()));
        let wait = limiter
            .take_within(Duration::from_secs(5))
            .await
            .unwrap_err();
        assert!(
            wait > Duration::from_secs(50) && wait <= Duration::from_secs(60),
            "{wait:?}"
        );
        assert_eq!(limiter.take_within(Duration::from_secs(61)).await, Ok(()));
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
