//! The circuit: closed (everybody sends), open (nobody does), probing (a few small requests find out). Pure.
//!
//! Owns when a request may start. Invariants:
//! * C-a: while open nobody passes; while probing at most `probes` are out at once.
//! * C-b: a failed or lost probe opens the circuit for at least the interval of [`interval`], so an outage of length T
//!   costs at most [`most_probes`] probes.
//! * C-c: the end of a request that started in an earlier era changes nothing but a longer wait the gateway asked for.

use std::time::{Duration, Instant};

use rand::Rng;

use super::Config;

/// May a request start?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    Go,
    /// Yes, but a small one: it is to find out whether the gateway is back.
    Probe,
    /// Not before this instant.
    Wait(Instant),
    /// Not before another request has ended.
    Full,
}

/// How a request ended, as far as pacing cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestResult {
    /// The gateway works (also when it refused the content).
    Good,
    /// Says nothing about the gateway's health: a rejected token.
    Neutral,
    /// The gateway asked to wait, possibly for how long.
    Throttled { retry_after: Option<Duration> },
    /// No usable answer. `overload`: a sign of too much load rather than of a broken line.
    Failed {
        overload: bool,
        retry_after: Option<Duration>,
    },
    /// The address or the contract is wrong.
    Misconfigured,
}

/// What operators see of the circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Closed,
    Open,
    Probing,
}

impl State {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probing => "probing",
        }
    }
}

#[derive(Debug)]
enum Inner {
    Closed {
        failures: u32,
        paused_until: Option<Instant>,
    },
    /// `step` counts the openings in a row.
    Open {
        until: Instant,
        step: u32,
        misconfigured: bool,
    },
    Probing {
        out: u32,
        good: u32,
        step: u32,
        misconfigured: bool,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Circuit {
    inner: Inner,
    era: u64,
}

/// The wait before the n-th probe, without jitter: doubling from `probe_interval_ms` to `probe_interval_max_ms`.
#[must_use]
pub fn interval(config: &Config, step: u32) -> Duration {
    let first = Duration::from_millis(config.probe_interval_ms);
    first
        .saturating_mul(1 << step.min(20))
        .min(Duration::from_millis(config.probe_interval_max_ms))
        .max(first)
}

/// The most probes an outage of this length can cost (C-b).
#[must_use]
pub fn most_probes(config: &Config, outage: Duration) -> u64 {
    let (mut at, mut count) = (Duration::ZERO, 0);
    for step in 0.. {
        at += interval(config, step);
        if at > outage {
            break;
        }
        count += u64::from(config.probes);
    }
    count
}

impl Default for Circuit {
    fn default() -> Self {
        Self {
            inner: Inner::Closed {
                failures: 0,
                paused_until: None,
            },
            era: 0,
        }
    }
}

impl Circuit {
    /// Counts transitions; a request remembers the era it started in.
    #[must_use]
    pub fn era(&self) -> u64 {
        self.era
    }

    #[must_use]
    pub fn state(&self) -> State {
        match self.inner {
            Inner::Closed { .. } => State::Closed,
            Inner::Open { .. } => State::Open,
            Inner::Probing { .. } => State::Probing,
        }
    }

    /// Whether the last opening was for a wrong address or contract.
    #[must_use]
    pub fn misconfigured(&self) -> bool {
        matches!(
            self.inner,
            Inner::Open {
                misconfigured: true,
                ..
            } | Inner::Probing {
                misconfigured: true,
                ..
            }
        )
    }

    /// Until when nobody may start, if so.
    #[must_use]
    pub fn waits_until(&self) -> Option<Instant> {
        match self.inner {
            Inner::Closed { paused_until, .. } => paused_until,
            Inner::Open { until, .. } => Some(until),
            Inner::Probing { .. } => None,
        }
    }

    /// Records a probe may hold: half as many after each that failed, because one that holds no failing device must be found.
    #[must_use]
    pub fn probe_records(&self, config: &Config) -> u32 {
        let step = match self.inner {
            Inner::Closed { .. } => 0,
            Inner::Open { step, .. } | Inner::Probing { step, .. } => step,
        };
        (config.probe_records >> step.min(31)).max(1)
    }

    /// Asks to start a request; `Probe` counts it as out.
    pub fn ask(&mut self, config: &Config, now: Instant) -> Pass {
        match &mut self.inner {
            Inner::Closed { paused_until, .. } => match *paused_until {
                Some(until) if now < until => Pass::Wait(until),
                _ => {
                    *paused_until = None;
                    Pass::Go
                }
            },
            Inner::Open { until, .. } if now < *until => Pass::Wait(*until),
            Inner::Open {
                step,
                misconfigured,
                ..
            } => {
                self.inner = Inner::Probing {
                    out: 1,
                    good: 0,
                    step: *step,
                    misconfigured: *misconfigured,
                };
                self.era += 1;
                Pass::Probe
            }
            Inner::Probing { out, .. } if *out < config.probes => {
                *out += 1;
                Pass::Probe
            }
            Inner::Probing { .. } => Pass::Full,
        }
    }

    /// A request allowed in `era` was never sent.
    pub fn unsent(&mut self, era: u64) {
        if let Inner::Probing { out, .. } = &mut self.inner
            && era == self.era
        {
            *out = out.saturating_sub(1);
        }
    }

    /// A request allowed in `era` was sent, and nobody waited for its end.
    pub fn lost(&mut self, config: &Config, now: Instant, era: u64, dice: &mut impl Rng) {
        if era == self.era && matches!(self.inner, Inner::Probing { .. }) {
            self.open(config, now, None, false, dice);
        }
    }

    /// A request allowed in `era` ended. True when this closed the circuit.
    pub fn ended(
        &mut self,
        config: &Config,
        now: Instant,
        era: u64,
        signal: RequestResult,
        dice: &mut impl Rng,
    ) -> bool {
        let asked = match signal {
            RequestResult::Throttled { retry_after }
            | RequestResult::Failed { retry_after, .. } => {
                retry_after.map(|wait| wait.min(Duration::from_secs(config.retry_after_max_s)))
            }
            RequestResult::Good | RequestResult::Neutral | RequestResult::Misconfigured => None,
        };
        if era != self.era {
            self.prolong(now, asked);
            return false;
        }
        match (&mut self.inner, signal) {
            (Inner::Closed { failures, .. }, RequestResult::Good) => *failures = 0,
            (Inner::Closed { .. }, RequestResult::Neutral) => {}
            (
                Inner::Closed {
                    failures,
                    paused_until,
                },
                RequestResult::Throttled { .. } | RequestResult::Failed { .. },
            ) => {
                *failures += 1;
                if *failures >= config.failures_to_open {
                    self.open(config, now, asked, false, dice);
                } else {
                    let own = matches!(signal, RequestResult::Throttled { .. }).then(|| {
                        let whole = Duration::from_millis(config.throttle_pause_ms)
                            * (1 << (*failures - 1).min(6));
                        whole.mul_f64(dice.random_range(0.5..=1.0))
                    });
                    if let Some(wait) = asked.or(own) {
                        *paused_until = Some((now + wait).max(paused_until.unwrap_or(now)));
                    }
                }
            }
            (Inner::Probing { out, good, .. }, RequestResult::Good) => {
                *out = out.saturating_sub(1);
                *good += 1;
                if *good >= config.probes_to_close {
                    self.inner = Inner::Closed {
                        failures: 0,
                        paused_until: None,
                    };
                    self.era += 1;
                    return true;
                }
            }
            (Inner::Probing { out, .. }, RequestResult::Neutral) => *out = out.saturating_sub(1),
            (
                Inner::Probing { .. },
                RequestResult::Throttled { .. } | RequestResult::Failed { .. },
            ) => {
                self.open(config, now, asked, false, dice);
            }
            (Inner::Closed { .. } | Inner::Probing { .. }, RequestResult::Misconfigured) => {
                let pause = Duration::from_millis(config.misconfigured_pause_ms);
                self.open(config, now, Some(pause), true, dice);
            }
            // Nothing starts in an open era.
            (Inner::Open { .. }, _) => {}
        }
        false
    }

    fn prolong(&mut self, now: Instant, asked: Option<Duration>) {
        let Some(wait) = asked else { return };
        match &mut self.inner {
            Inner::Open { until, .. } => *until = (*until).max(now + wait),
            Inner::Closed { paused_until, .. } => {
                *paused_until = Some((now + wait).max(paused_until.unwrap_or(now)));
            }
            Inner::Probing { .. } => {}
        }
    }

    fn open(
        &mut self,
        config: &Config,
        now: Instant,
        least: Option<Duration>,
        wrong: bool,
        dice: &mut impl Rng,
    ) {
        let step = match self.inner {
            Inner::Closed { .. } => 0,
            Inner::Open { step, .. } | Inner::Probing { step, .. } => step + 1,
        };
        // Only upward, so that C-b holds.
        let wait = interval(config, step).mul_f64(dice.random_range(1.0..=1.25));
        let until = now + least.unwrap_or_default().max(wait);
        self.inner = Inner::Open {
            until,
            step,
            misconfigured: wrong,
        };
        self.era += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    const FAILED: RequestResult = RequestResult::Failed {
        overload: true,
        retry_after: None,
    };

    fn config(probes: u32) -> Config {
        Config {
            probes,
            failures_to_open: 3,
            probe_interval_ms: 500,
            probe_interval_max_ms: 4_000,
            ..Config::default()
        }
    }

    #[test]
    fn one_throttled_answer_pauses_everybody() {
        let (config, now) = (config(1), Instant::now());
        let mut dice = StdRng::seed_from_u64(1);
        let mut circuit = Circuit::default();
        let asked = Duration::from_secs(7);
        circuit.ended(
            &config,
            now,
            0,
            RequestResult::Throttled {
                retry_after: Some(asked),
            },
            &mut dice,
        );
        assert_eq!(circuit.ask(&config, now), Pass::Wait(now + asked));
        assert_eq!(circuit.ask(&config, now + asked), Pass::Go);
        circuit.ended(
            &config,
            now,
            0,
            RequestResult::Throttled { retry_after: None },
            &mut dice,
        );
        assert!(matches!(circuit.ask(&config, now), Pass::Wait(_)));
    }

    #[test]
    fn an_unreasonable_retry_after_is_capped() {
        let (config, now) = (config(1), Instant::now());
        let mut circuit = Circuit::default();
        let forever = Some(Duration::from_secs(u64::from(u32::MAX)));
        circuit.ended(
            &config,
            now,
            0,
            RequestResult::Throttled {
                retry_after: forever,
            },
            &mut StdRng::seed_from_u64(1),
        );
        assert_eq!(
            circuit.waits_until(),
            Some(now + Duration::from_secs(config.retry_after_max_s))
        );
    }

    #[test]
    fn a_wrong_address_opens_at_once_and_is_probed() {
        let (config, now) = (config(1), Instant::now());
        let mut dice = StdRng::seed_from_u64(1);
        let mut circuit = Circuit::default();
        circuit.ended(&config, now, 0, RequestResult::Misconfigured, &mut dice);
        assert!(circuit.misconfigured());
        let later =
            now + Duration::from_millis(config.misconfigured_pause_ms) + Duration::from_secs(60);
        assert_eq!(circuit.ask(&config, later), Pass::Probe);
        assert_eq!(circuit.ask(&config, later), Pass::Full);
        let era = circuit.era();
        assert!(!circuit.ended(&config, later, era, RequestResult::Good, &mut dice));
        assert_eq!(circuit.ask(&config, later), Pass::Probe);
        assert!(circuit.ended(&config, later, era, RequestResult::Good, &mut dice));
        assert_eq!(circuit.ask(&config, later), Pass::Go);
    }

    proptest! {
        /// C-a and C-b, with workers that ask all the time, requests of any length, and some that are dropped.
        #[test]
        fn an_outage_costs_at_most_the_configured_probes(
            seed: u64, probes in 1u32..4, workers in 1usize..20, outage_ms in 1_000u64..120_000, tick_ms in 1u64..400,
        ) {
            let config = config(probes);
            let mut dice = StdRng::seed_from_u64(seed);
            let start = Instant::now();
            let mut circuit = Circuit::default();
            let mut opened_at = None;
            // Each worker: the era it was allowed in and when its request ends.
            let mut out: Vec<Option<(u64, u64, bool)>> = vec![None; workers];
            let mut probed = 0u64;
            let mut now_ms = 0;
            while now_ms <= outage_ms {
                let now = start + Duration::from_millis(now_ms);
                for slot in &mut out {
                    match *slot {
                        Some((era, ends, _)) if ends <= now_ms => {
                            if dice.random_bool(0.1) {
                                circuit.lost(&config, now, era, &mut dice);
                            } else {
                                circuit.ended(&config, now, era, FAILED, &mut dice);
                            }
                            *slot = None;
                        }
                        Some(_) => {}
                        None => {
                            let pass = circuit.ask(&config, now);
                            if pass == Pass::Probe { probed += 1; }
                            if pass == Pass::Go || pass == Pass::Probe {
                                if dice.random_bool(0.05) && pass == Pass::Go {
                                    circuit.unsent(circuit.era());
                                } else {
                                    let length = dice.random_range(0..2_000);
                                    *slot = Some((circuit.era(), now_ms + length, pass == Pass::Probe));
                                }
                            }
                        }
                    }
                    if opened_at.is_none() && circuit.state() == State::Open { opened_at = Some(now_ms); }
                }
                let era = circuit.era();
                let probing = out.iter().flatten().filter(|(e, _, probe)| *probe && *e == era).count();
                prop_assert!(probing <= probes as usize, "C-a: {probing} probes out");
                now_ms += tick_ms;
            }
            if let Some(opened) = opened_at {
                let most = most_probes(&config, Duration::from_millis(outage_ms - opened));
                prop_assert!(probed <= most, "C-b: {probed} probes, at most {most} allowed");
            }
        }
    }
}
