//! The loop that turns a plan into messages at a given rate, into Kafka or into lines.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::binary::Encoding;
use super::plan::{By, Plan};
use super::produce::{Confirmation, Outlet};
use super::{Tally, put_message};

/// When to stop.
#[derive(Debug, Clone, Copy, Default)]
pub struct Goal {
    pub records: Option<u64>,
    pub duration: Option<Duration>,
}

/// How fast: records per second, 0 for as fast as it goes; with a burst, `factor` times that during the first `on` of each
/// `period`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    pub rate: f64,
    pub burst: Option<Burst>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    pub factor: f64,
    pub on: Duration,
    pub period: Duration,
}

impl Pace {
    /// Records that may have been sent `elapsed` after the start.
    #[must_use]
    pub fn allowed(&self, elapsed: Duration) -> f64 {
        if self.rate <= 0.0 {
            return f64::INFINITY;
        }
        let elapsed = elapsed.as_secs_f64();
        let Some(burst) = self.burst else {
            return elapsed * self.rate;
        };
        let (on, period) = (burst.on.as_secs_f64(), burst.period.as_secs_f64());
        let whole = (elapsed / period).floor();
        let in_burst = whole * on + (elapsed - whole * period).min(on);
        (elapsed + in_burst * (burst.factor - 1.0)) * self.rate
    }
}

/// Shared with whoever shows progress or stops the load.
#[derive(Debug, Default)]
pub struct Counters {
    records: AtomicU64,
    bytes: AtomicU64,
    confirmed: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
}

impl Counters {
    /// Ends the load after the current message.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn confirmed(&self, messages: u64) {
        self.confirmed.fetch_add(messages, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, messages: u64) {
        self.failed.fetch_add(messages, Ordering::Relaxed);
    }

    /// Records generated so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Payload bytes generated so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Messages confirmed so far.
    #[must_use]
    pub fn confirmed_messages(&self) -> u64 {
        self.confirmed.load(Ordering::Relaxed)
    }

    /// Messages given up so far.
    #[must_use]
    pub fn failed_messages(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Where the messages go.
pub enum Sink {
    Kafka(Box<Outlet>),
    /// One message per line.
    Lines(Box<dyn Write + Send>),
    /// Nowhere: to measure generation alone.
    Nothing,
}

/// What came of a load.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub tally: Tally,
    pub confirmation: Confirmation,
    pub elapsed: Duration,
    /// Why the sink failed for good before the goal was reached.
    pub broken: Option<String>,
}

const CHECK_EVERY: u64 = 256;

/// Runs a load to its end on the calling thread, which it blocks.
///
/// # Errors
/// When a file cannot be written. What Kafka does not confirm is no error: it is in the outcome.
pub fn drive(
    plan: &Plan,
    goal: Goal,
    pace: Pace,
    sink: Sink,
    counters: &Arc<Counters>,
) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let mut sink = sink;
    let mut tally = Tally::default();
    let mut message = Vec::with_capacity(4096);
    let limit = goal.records.unwrap_or(u64::MAX);
    let full = plan.ticks_per_message();
    let mut next_check = 0;
    let mut broken = None;
    while tally.records < limit {
        if tally.messages >= next_check {
            counters.records.store(tally.records, Ordering::Relaxed);
            counters.bytes.store(tally.bytes, Ordering::Relaxed);
            if counters.is_stopped() || goal.duration.is_some_and(|bound| begun.elapsed() >= bound)
            {
                break;
            }
            let ahead = tally.records as f64 - pace.allowed(begun.elapsed());
            if ahead > 0.0 {
                wait(
                    &sink,
                    Duration::from_secs_f64((ahead / pace.rate).clamp(0.000_5, 0.05)),
                );
                continue;
            }
            // A slow pace is kept by looking at it after every few messages.
            let stride = if pace.rate > 0.0 {
                ((pace.rate / 500.0) as u64).clamp(1, CHECK_EVERY)
            } else {
                CHECK_EVERY
            };
            next_check = tally.messages + stride;
        }
        let number = tally.messages;
        let (device, nth) = plan.sender(number);
        let device = plan.device(device);
        message.clear();
        let before = tally;
        put_message(
            &mut message,
            plan,
            &device,
            nth,
            full.min(limit - tally.records),
            &mut tally,
        );
        match &mut sink {
            Sink::Kafka(outlet) => {
                let key = if plan.by == By::DeviceId {
                    device.id()
                } else {
                    device.serial()
                };
                let sent = outlet.send(key, &message, number);
                if !matches!(sent, Ok(true)) {
                    tally = before;
                    broken = sent.err().map(|error| format!("{error:#}"));
                    break;
                }
            }
            Sink::Lines(out) => {
                if plan.encoding == Encoding::Json {
                    message.push(b'\n');
                }
                out.write_all(&message).context("cannot write the output")?;
            }
            Sink::Nothing => {}
        }
    }
    counters.records.store(tally.records, Ordering::Relaxed);
    counters.bytes.store(tally.bytes, Ordering::Relaxed);
    let confirmation = match sink {
        Sink::Kafka(outlet) => outlet.finish(),
        Sink::Lines(mut out) => {
            out.flush().context("cannot write the output")?;
            Confirmation {
                confirmed: tally.messages,
                ..Confirmation::default()
            }
        }
        Sink::Nothing => Confirmation {
            confirmed: tally.messages,
            ..Confirmation::default()
        },
    };
    Ok(Outcome {
        tally,
        confirmation,
        elapsed: begun.elapsed(),
        broken,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own that has nothing else to wait for than its pace"
)]
fn wait(sink: &Sink, span: Duration) {
    match sink {
        Sink::Kafka(outlet) => outlet.serve(span),
        Sink::Lines(_) | Sink::Nothing => std::thread::sleep(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_adds_its_share_once_per_period() {
        let burst = Burst {
            factor: 3.0,
            on: Duration::from_secs(2),
            period: Duration::from_secs(10),
        };
        let pace = Pace {
            rate: 100.0,
            burst: Some(burst),
        };
        assert_eq!(pace.allowed(Duration::from_secs(1)), 300.0);
        assert_eq!(pace.allowed(Duration::from_secs(10)), 1_400.0);
        assert_eq!(pace.allowed(Duration::from_secs(11)), 1_700.0);
        assert_eq!(
            Pace {
                rate: 100.0,
                burst: None
            }
            .allowed(Duration::from_secs(3)),
            300.0
        );
        assert!(Pace::default().allowed(Duration::ZERO).is_infinite());
    }
}
