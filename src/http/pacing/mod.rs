//! How fast requests go. Inside the retry loop, so that retries count: circuit -> rate -> concurrency -> send.
//!
//! Owns one [`Pacing`] per remote service, shared by all workers: the circuit, the concurrency limit and the rates.
//! [`Pacing::slot`] is the right to hold a packed request; [`Pacing::pass`] is the right to send it once. Both are
//! move-only and come back when dropped, so a cancelled worker leaves nothing behind. No queue: waiters wait.
//! Slots are given in the order they were asked for.
//!
//! The lock around the state machines is held for a few assignments, never across an await: every worker needs the
//! answer of one state at once, and a task between them would cost two hops per request.

pub mod aimd;
pub mod blame;
pub mod circuit;
pub mod rate;
mod ticket;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use self::aimd::Aimd;
use self::blame::{Evidence, History};
use self::circuit::{Circuit, Pass, State};
use self::rate::Rates;
pub use self::ticket::SendPermit;
use crate::ops::metrics::upload as metrics;

/// Settings of pacing (`[pacing]`). Rates are for the whole cluster: each instance takes its share of partitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Rate limit in requests per second, all instances together; each instance takes a share by its number of partitions. 0: no limit.
    pub requests_per_s: f64,
    /// Rate limit in records per second, all instances together; each instance takes a share by its number of partitions. 0: no limit.
    pub records_per_s: f64,
    /// Rate limit in body bytes per second, all instances together; each instance takes a share by its number of partitions. 0: no limit.
    pub bytes_per_s: f64,
    /// Lower bound of the limit on in-flight requests (1 or more).
    pub concurrency_floor: u32,
    /// Limit on in-flight requests at start (from `pacing.concurrency_floor` to `pacing.concurrency_cap`).
    pub concurrency_start: u32,
    /// Upper bound of the limit on in-flight requests; counted by the memory formula.
    pub concurrency_cap: u32,
    /// Number of consecutive failures, all workers together, that open the circuit breaker (1 or more).
    pub failures_to_open: u32,
    /// Initial interval in milliseconds (1 or more) before an open circuit breaker lets a probe pass; doubles from probe to probe.
    pub probe_interval_ms: u64,
    /// Maximum interval in milliseconds between two probes of an open circuit breaker.
    pub probe_interval_max_ms: u64,
    /// Maximum number of in-flight probes (1 or more).
    pub probes: u32,
    /// Number of successful probes that close the circuit breaker (1 or more).
    pub probes_to_close: u32,
    /// Maximum number of records in a probe (1 or more).
    pub probe_records: u32,
    /// Initial pause in milliseconds of every worker after a 429 or 503 without `Retry-After`; doubles from answer to answer.
    pub throttle_pause_ms: u64,
    /// Maximum `Retry-After` in seconds that is applied; a longer `Retry-After` is shortened to this value.
    pub retry_after_max_s: u64,
    /// Interval in milliseconds between probes while the URL or the API contract seems wrong (404, 405, 415, redirects).
    pub misconfigured_pause_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            requests_per_s: 0.0,
            records_per_s: 0.0,
            bytes_per_s: 0.0,
            concurrency_floor: 1,
            concurrency_start: 2,
            concurrency_cap: 8,
            failures_to_open: 5,
            probe_interval_ms: 1_000,
            probe_interval_max_ms: 10_000,
            probes: 1,
            probes_to_close: 2,
            probe_records: 20,
            throttle_pause_ms: 1_000,
            retry_after_max_s: 900,
            misconfigured_pause_ms: 60_000,
        }
    }
}

impl Config {
    /// These settings with the concurrency limits of others.
    #[must_use]
    pub fn with_concurrency_of(self, other: &Self) -> Self {
        Self {
            concurrency_floor: other.concurrency_floor,
            concurrency_start: other.concurrency_start,
            concurrency_cap: other.concurrency_cap,
            ..self
        }
    }

    /// # Errors
    /// The first setting out of its bounds, with the remedy.
    pub fn check(&self) -> anyhow::Result<()> {
        for (name, rate) in [
            ("requests_per_s", self.requests_per_s),
            ("records_per_s", self.records_per_s),
            ("bytes_per_s", self.bytes_per_s),
        ] {
            anyhow::ensure!(
                rate.is_finite() && rate >= 0.0,
                "[pacing] {name} = {rate}: use 0 (no limit) or a positive number"
            );
        }
        for (name, count) in [
            ("concurrency_floor", self.concurrency_floor),
            ("failures_to_open", self.failures_to_open),
            ("probes", self.probes),
            ("probes_to_close", self.probes_to_close),
            ("probe_records", self.probe_records),
        ] {
            anyhow::ensure!(count >= 1, "[pacing] {name} = 0: use 1 or more");
        }
        anyhow::ensure!(
            self.probe_interval_ms >= 1,
            "[pacing] probe_interval_ms = 0: use 1 or more"
        );
        anyhow::ensure!(
            self.concurrency_floor <= self.concurrency_start
                && self.concurrency_start <= self.concurrency_cap,
            "[pacing] concurrency: floor {} <= start {} <= cap {} does not hold",
            self.concurrency_floor,
            self.concurrency_start,
            self.concurrency_cap
        );
        anyhow::ensure!(
            self.concurrency_cap <= 1_024,
            "[pacing] concurrency_cap = {}: use at most 1024",
            self.concurrency_cap
        );
        Ok(())
    }
}

/// What operators and the guard see of pacing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// `closed`, `open` or `probing`.
    pub circuit: &'static str,
    /// The circuit opened because the address or the contract seems wrong.
    pub misconfigured: bool,
    /// Nobody sends for this many milliseconds more.
    pub paused_ms: u64,
    /// Requests that may be out at once now.
    pub limit: usize,
    /// Requests that are out.
    pub out: usize,
}

struct Gate {
    circuit: Circuit,
    evidence: Evidence,
    aimd: Aimd,
    /// Requests of records that never failed.
    out: usize,
    /// Requests of records that failed before: they take no slot of the others.
    retried: usize,
    /// Slots there are; `owed` of them are to be taken away when they come back.
    slots: usize,
    owed: usize,
}

/// What may be replaced while requests are out.
struct Tuned {
    config: Arc<Config>,
    /// This instance's share of the cluster's rates.
    share: f64,
    rates: Arc<Rates>,
}

/// See the module.
pub struct Pacing {
    /// Settings and rates. Locked for a clone of the pointers, before the gate if both are needed.
    tuned: Mutex<Tuned>,
    gate: Mutex<Gate>,
    slots: Arc<Semaphore>,
    /// Slots for records that failed before.
    retries: Arc<Semaphore>,
    changed: Notify,
}

/// The right to hold one packed request. Dropped, it comes back.
pub struct RequestSlot {
    pacing: Arc<Pacing>,
    permit: Option<OwnedSemaphorePermit>,
    /// One of those whose number follows the concurrency limit.
    counted: bool,
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the state whole, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pacing {
    #[must_use]
    pub fn new(config: Config) -> Arc<Self> {
        let aimd = Aimd::new(
            config.concurrency_floor,
            config.concurrency_start,
            config.concurrency_cap,
        );
        let slots = aimd.limit();
        metrics::set_concurrency(slots);
        metrics::set_circuit(State::Closed.name());
        Arc::new(Self {
            tuned: Mutex::new(Tuned {
                rates: Arc::new(rates(&config, 1.0)),
                share: 1.0,
                config: Arc::new(config.clone()),
            }),
            gate: Mutex::new(Gate {
                circuit: Circuit::default(),
                evidence: Evidence::default(),
                aimd,
                out: 0,
                retried: 0,
                slots,
                owed: 0,
            }),
            slots: Arc::new(Semaphore::new(slots)),
            retries: Arc::new(Semaphore::new(retries(&config))),
            changed: Notify::new(),
        })
    }

    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&locked(&self.tuned).config)
    }

    /// Takes over other settings, except the concurrency limits, by which slots and memory are sized. The limiters start full if
    /// the rates changed.
    pub fn set_config(&self, new: Config) {
        let mut tuned = locked(&self.tuned);
        let config = new.with_concurrency_of(&tuned.config);
        let limits = |config: &Config| {
            [
                config.requests_per_s,
                config.records_per_s,
                config.bytes_per_s,
            ]
        };
        if limits(&config) != limits(&tuned.config) {
            tuned.rates = Arc::new(rates(&config, tuned.share));
        }
        tuned.config = Arc::new(config);
        drop(tuned);
        self.changed.notify_waiters();
    }

    /// This instance now owns `assigned` of `total` partitions; the rates follow. The limiters start full: a change
    /// gives at most one second's worth of extra requests.
    pub fn set_share(&self, assigned: u32, total: u32) {
        let share = f64::from(assigned.clamp(1, total.max(1))) / f64::from(total.max(1));
        let mut tuned = locked(&self.tuned);
        tuned.rates = Arc::new(rates(&tuned.config, share));
        tuned.share = share;
    }

    /// Waits for the right to hold a packed request, in order of asking. Cancelled, it leaves nothing.
    pub async fn slot(self: &Arc<Self>) -> RequestSlot {
        // The semaphore is never closed; were it, `None` is a slot that nobody counts.
        let permit = Arc::clone(&self.slots).acquire_owned().await.ok();
        RequestSlot {
            pacing: Arc::clone(self),
            permit,
            counted: true,
        }
    }

    /// As [`Pacing::slot`], for records that failed before. These slots are beside the others, so that requests that hang for the
    /// sake of one device hold up no other device; together they still keep to `concurrency_cap`.
    pub async fn retry_slot(self: &Arc<Self>) -> RequestSlot {
        let permit = Arc::clone(&self.retries).acquire_owned().await.ok();
        RequestSlot {
            pacing: Arc::clone(self),
            permit,
            counted: false,
        }
    }

    /// Waits for the right to send one request. Cancelled, it leaves nothing.
    pub async fn pass(&self, history: History) -> SendPermit<'_> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Listening begins before asking: no wake-up is missed.
            changed.as_mut().enable();
            match self.ask(history) {
                Ok(ticket) => return ticket,
                Err(Some(until)) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(until.into()) => {}
                        () = changed => {}
                    }
                }
                Err(None) => changed.await,
            }
        }
    }

    fn ask(&self, history: History) -> Result<SendPermit<'_>, Option<Instant>> {
        let config = self.config();
        let mut gate = locked(&self.gate);
        let before = gate.circuit.state();
        let fresh = history == History::Fresh;
        // Probes have a bound of their own: requests that hang must not keep them from going.
        if before == State::Closed {
            if fresh {
                if gate.out >= gate.aimd.limit() {
                    return Err(None);
                }
            } else {
                if let Some(wait) = gate.evidence.wait(now()) {
                    return Err(Some(now() + wait));
                }
                if gate.evidence.spaced(&config) && gate.retried > 0 {
                    return Err(None);
                }
            }
            if gate.out + gate.retried >= config.concurrency_cap as usize {
                return Err(None);
            }
        }
        let pass = gate.circuit.ask(&config, now());
        if before != gate.circuit.state() {
            metrics::set_circuit(gate.circuit.state().name());
        }
        match pass {
            Pass::Go | Pass::Probe => {
                *gate.count(history) += 1;
                let saturated = fresh && gate.out >= gate.aimd.limit();
                let era = gate.circuit.era();
                let probe = (pass == Pass::Probe).then(|| gate.circuit.probe_records(&config));
                Ok(SendPermit {
                    pacing: self,
                    era,
                    history,
                    probe,
                    saturated,
                    started: None,
                    ended: false,
                })
            }
            Pass::Wait(until) => Err(Some(until)),
            Pass::Full => Err(None),
        }
    }

    /// Waits until the rates let one request of this size go. Cancelled, what was drawn is spent.
    pub async fn take(&self, records: u32, bytes: usize) {
        let rates = Arc::clone(&locked(&self.tuned).rates);
        rates.take(records, bytes).await;
    }

    /// The longest `Retry-After` that is applied.
    #[must_use]
    pub fn retry_after_max(&self) -> Duration {
        Duration::from_secs(self.config().retry_after_max_s)
    }

    /// Records and bytes that a request may hold at most: one second's worth of this instance's share of the rates.
    #[must_use]
    pub fn one_second(&self) -> (u32, usize) {
        locked(&self.tuned).rates.one_second()
    }

    /// Whether everybody may send: then a failed request waits for itself instead of for the circuit.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        locked(&self.gate).circuit.state() == State::Closed
    }

    #[must_use]
    pub fn status(&self) -> Status {
        let gate = locked(&self.gate);
        let paused = gate.circuit.waits_until().map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(now())
        });
        Status {
            circuit: gate.circuit.state().name(),
            misconfigured: gate.circuit.misconfigured(),
            paused_ms: u64::try_from(paused.as_millis()).unwrap_or(u64::MAX),
            limit: gate.aimd.limit(),
            out: gate.out + gate.retried,
        }
    }

    /// Brings the number of slots to the limit.
    fn resize(&self, gate: &mut Gate) {
        let limit = gate.aimd.limit();
        let mut there = gate.slots - gate.owed;
        if there < limit {
            let forgiven = gate.owed.min(limit - there);
            gate.owed -= forgiven;
            there += forgiven;
            self.slots.add_permits(limit - there);
            gate.slots += limit - there;
        } else if there > limit {
            let surplus = there - limit;
            let taken = self.slots.forget_permits(surplus);
            gate.slots -= taken;
            gate.owed += surplus - taken;
        }
        metrics::set_concurrency(limit);
    }
}

fn rates(config: &Config, share: f64) -> Rates {
    Rates::new(
        config.requests_per_s,
        config.records_per_s,
        config.bytes_per_s,
        share,
    )
}

impl Drop for RequestSlot {
    fn drop(&mut self) {
        let mut gate = locked(&self.pacing.gate);
        if self.counted
            && gate.owed > 0
            && let Some(permit) = self.permit.take()
        {
            gate.owed -= 1;
            gate.slots -= 1;
            permit.forget();
        }
    }
}

impl Gate {
    fn count(&mut self, history: History) -> &mut usize {
        match history {
            History::Fresh => &mut self.out,
            History::Failed { .. } | History::Isolated { .. } => &mut self.retried,
        }
    }
}

/// Requests of records that failed before, at once.
fn retries(config: &Config) -> usize {
    (config.concurrency_cap as usize / 2).max(1)
}

impl Pacing {
    /// Says once when the circuit changes: this is what an operator must know first.
    fn announce(&self, before: State, gate: &Gate) {
        let after = gate.circuit.state();
        if before == after {
            return;
        }
        metrics::set_circuit(after.name());
        match after {
            State::Open if before == State::Closed => {
                metrics::count_circuit_opened();
                tracing::error!(
                    misconfigured = gate.circuit.misconfigured(),
                    "the gateway does not work: nothing is sent but probes; nothing is lost, records wait"
                );
            }
            State::Closed => tracing::info!("the gateway works again"),
            State::Open | State::Probing => {}
        }
    }
}

#[cfg(test)]
mod tests;
