//! The faults of the demonstration: one of each kind the upload knows, while records flow.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::sim::{BodyKind, CutAt, Handle, Loss, Operation, RetryAfter, Rule};

/// A fault and how often it struck.
#[derive(Debug, Clone, Serialize)]
pub struct Applied {
    pub what: &'static str,
    pub times: u64,
}

/// The rules that were given to the gateway.
pub struct Script {
    rules: Vec<(u64, &'static str)>,
    revoked: AtomicBool,
}

impl Script {
    /// Gives the gateway its rules.
    pub fn play(gateway: &Handle) -> Self {
        let rules = [
            (
                Rule::status(503)
                    .retry_after(RetryAfter::Seconds(1))
                    .after(4)
                    .times(2),
                "answered 503, Retry-After 1 s",
            ),
            (
                Rule::lose_answer(Loss::Cut).after(10).times(2),
                "accepted, but the answer was lost",
            ),
            (
                Rule::cut(CutAt::DuringBody).after(16).times(2),
                "cut the connection during the body",
            ),
            (
                Rule::status(500).body(BodyKind::Html).after(22).times(1),
                "answered 500 with an HTML page",
            ),
            (
                Rule::status(429).after(28).times(1),
                "answered 429 without Retry-After",
            ),
        ];
        let rules = rules
            .into_iter()
            .map(|(rule, what)| (gateway.faults().push(rule.on(Operation::Records)), what))
            .collect();
        Self {
            rules,
            revoked: AtomicBool::new(false),
        }
    }

    /// Half way, every bearer token is blocked, once.
    pub fn half_way(&self, gateway: &Handle, is_there: bool) {
        if is_there && !self.revoked.swap(true, Ordering::Relaxed) {
            gateway.block_all_bearers();
        }
    }

    /// What struck how often.
    pub fn applied(&self, gateway: &Handle) -> Vec<Applied> {
        let scripted = self.rules.iter().map(|(id, what)| Applied {
            what,
            times: gateway.faults().applied(*id),
        });
        let own = [
            Applied {
                what: "revoked every bearer token",
                times: u64::from(self.revoked.load(Ordering::Relaxed)),
            },
            Applied {
                what: "refused a request for a record in it",
                times: gateway.counters().poisoned,
            },
        ];
        scripted.chain(own).collect()
    }
}
