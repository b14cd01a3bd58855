//! How many requests may be out at once: a little more after success, half after overload. Pure.
//!
//! Owns the limit, always between floor and cap. Requests that started before a cut do not cut again: they report the
//! same overload. After a cut the limit climbs quickly to near the last good value and slowly past it.

use std::time::Instant;

/// Up to this share of the last good value the limit climbs by one per success.
const NEAR: f64 = 0.75;

/// See the module.
#[derive(Debug)]
pub struct Aimd {
    floor: f64,
    cap: f64,
    limit: f64,
    /// The limit at the last cut that followed a success.
    good: f64,
    cut_at: Option<Instant>,
    succeeded_since_cut: bool,
}

impl Aimd {
    /// `floor <= start <= cap`, each at least 1; bounds given the wrong way round are put right.
    #[must_use]
    pub fn new(floor: u32, start: u32, cap: u32) -> Self {
        let floor = f64::from(floor.max(1));
        let cap = f64::from(cap).max(floor);
        let limit = f64::from(start).clamp(floor, cap);
        Self {
            floor,
            cap,
            limit,
            good: 0.0,
            cut_at: None,
            succeeded_since_cut: false,
        }
    }

    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// A request succeeded. `saturated`: the limit was in use, so that success says something about it.
    pub fn succeeded(&mut self, saturated: bool) {
        self.succeeded_since_cut = true;
        if saturated {
            let step = if self.limit < self.good * NEAR {
                1.0
            } else {
                1.0 / self.limit
            };
            self.limit = (self.limit + step).min(self.cap);
        }
    }

    /// A request that started at `started` met overload.
    pub fn overloaded(&mut self, started: Instant, now: Instant) {
        if self.cut_at.is_some_and(|cut| started <= cut) {
            return;
        }
        if self.succeeded_since_cut || self.cut_at.is_none() {
            self.good = self.limit;
        }
        self.succeeded_since_cut = false;
        self.limit = (self.limit / 2.0).max(self.floor);
        self.cut_at = Some(now);
    }

    /// The gateway is back after an outage: begin at half of what was good.
    pub fn restart(&mut self) {
        self.limit = self.limit.max(self.good / 2.0).clamp(self.floor, self.cap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn one_burst_of_overload_cuts_once() {
        let now = Instant::now();
        let mut aimd = Aimd::new(1, 16, 32);
        for _ in 0..16 {
            aimd.overloaded(now, now + Duration::from_millis(5));
        }
        assert_eq!(aimd.limit(), 8);
        aimd.overloaded(
            now + Duration::from_millis(6),
            now + Duration::from_millis(7),
        );
        assert_eq!(aimd.limit(), 4);
        aimd.restart();
        assert_eq!(aimd.limit(), 8, "half of the last good value");
        for _ in 0..4 {
            aimd.succeeded(true);
        }
        assert_eq!(aimd.limit(), 12, "quickly to near the last good value");
        aimd.succeeded(true);
        assert_eq!(aimd.limit(), 12, "slowly past it");
    }

    #[test]
    fn an_idle_limit_does_not_grow() {
        let mut aimd = Aimd::new(1, 2, 8);
        for _ in 0..1000 {
            aimd.succeeded(false);
        }
        assert_eq!(aimd.limit(), 2);
    }

    proptest! {
        #[test]
        fn the_limit_stays_between_floor_and_cap(
            floor in 0u32..5, start in 0u32..50, cap in 0u32..50, steps in proptest::collection::vec((0u8..3, 0u64..100), 0..200),
        ) {
            let base = Instant::now();
            let mut aimd = Aimd::new(floor, start, cap);
            let mut now = base;
            for (step, at) in steps {
                match step {
                    0 => aimd.succeeded(true),
                    1 => { aimd.overloaded(now, now + Duration::from_millis(at)); now += Duration::from_millis(at); }
                    _ => aimd.restart(),
                }
                let floor = floor.max(1) as usize;
                prop_assert!(aimd.limit() >= floor && aimd.limit() <= (cap as usize).max(floor));
            }
        }
    }
}
