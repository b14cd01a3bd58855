//! The right to send one request once, and what its end teaches: circuit, concurrency limit and evidence move together.
//!
//! Owns nothing but its place among the requests that are out. It is move-only: dropped before [`SendPermit::start`] it is as if never
//! given; dropped after, the request counts as lost.

use std::time::Instant;

use super::blame::{Blame, History, Judged};
use super::circuit::{RequestResult, State};
use super::{Pacing, locked, now};

/// The right to send once. Dropped before [`SendPermit::start`] it is as if never given; dropped after, the request counts
/// as lost.
pub struct SendPermit<'a> {
    pub(super) pacing: &'a Pacing,
    pub(super) era: u64,
    pub(super) history: History,
    /// Records it may hold at most, if it is a probe.
    pub(super) probe: Option<u32>,
    /// The limit was in use when this was given.
    pub(super) saturated: bool,
    pub(super) started: Option<Instant>,
    pub(super) ended: bool,
}

impl SendPermit<'_> {
    /// Records the request may hold at most, if it is a probe.
    #[must_use]
    pub fn probe(&self) -> Option<u32> {
        self.probe
    }

    /// Marks the request as sent from now on. False when the circuit changed since the ticket was given: then it must
    /// not be sent, and the ticket is to be dropped.
    pub fn start(&mut self) -> bool {
        let gate = locked(&self.pacing.gate);
        let open = match gate.circuit.waits_until() {
            Some(until) => now() < until,
            None => false,
        };
        if gate.circuit.era() != self.era || open {
            drop(gate);
            return false;
        }
        self.started = Some(now());
        true
    }

    /// The request ended in a way that the records it held have nothing to do with.
    pub fn end(self, signal: RequestResult) {
        self.judge(signal, false);
    }

    /// The request ended. `by_records`: it may have failed because of the records it held.
    pub fn judge(mut self, signal: RequestResult, by_records: bool) -> Judged {
        self.ended = true;
        let pacing = self.pacing;
        let config = pacing.config();
        let mut gate = locked(&pacing.gate);
        let gate = &mut *gate;
        *gate.count(self.history) -= 1;
        let before = gate.circuit.state();
        let failed = !matches!(signal, RequestResult::Good | RequestResult::Neutral);
        let history = if by_records {
            self.history
        } else {
            History::Fresh
        };
        let blamed = failed
            && gate
                .evidence
                .blames_records(&config, now(), history, before == State::Closed);
        let signal = if blamed {
            RequestResult::Neutral
        } else {
            signal
        };
        if signal == RequestResult::Good {
            gate.evidence.succeeded(self.history);
        }
        let closed = gate
            .circuit
            .ended(&config, now(), self.era, signal, &mut rand::rng());
        match signal {
            RequestResult::Good => gate.aimd.succeeded(self.saturated),
            RequestResult::Throttled { .. } | RequestResult::Failed { overload: true, .. } => {
                if let Some(started) = self.started {
                    gate.aimd.overloaded(started, now());
                }
            }
            RequestResult::Neutral
            | RequestResult::Failed {
                overload: false, ..
            }
            | RequestResult::Misconfigured => {}
        }
        if closed {
            gate.aimd.restart();
            gate.evidence.restored();
        }
        pacing.resize(gate);
        pacing.announce(before, gate);
        pacing.changed.notify_waiters();
        let works = gate.circuit.state() == State::Closed && !gate.evidence.unclear();
        Judged {
            blame: match blamed {
                true => Blame::Records,
                false if by_records && works => Blame::Unknown,
                false => Blame::Gateway,
            },
            seen: gate.evidence.successes(),
        }
    }
}

impl Drop for SendPermit<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let pacing = self.pacing;
        let config = pacing.config();
        let mut gate = locked(&pacing.gate);
        *gate.count(self.history) -= 1;
        let before = gate.circuit.state();
        if self.started.is_some() {
            gate.circuit
                .lost(&config, now(), self.era, &mut rand::rng());
        } else {
            gate.circuit.unsent(self.era);
        }
        pacing.announce(before, &gate);
        drop(gate);
        pacing.changed.notify_waiters();
    }
}
