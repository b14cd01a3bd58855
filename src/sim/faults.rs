//! Scripted faults: an ordered list of rules that say which request goes wrong, how, and how often.
//!
//! A request takes the first rule that matches and has an action; delays of rules before it add up. Rules that cut the
//! connection before or during the body are asked first, when only the headers are there, and cannot name a serial.
//! Random choices come from each rule's own seed, so that a script repeats itself. Pure: the time is an argument.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

pub use super::operation::Operation;

/// The body of a scripted status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyKind {
    /// The error envelope.
    #[default]
    Json,
    /// A proxy's error page.
    Html,
    Empty,
}

/// The `Retry-After` header of a scripted status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    #[default]
    None,
    Seconds(u32),
    /// As an HTTP date this many seconds ahead.
    DateIn(u32),
}

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CutAt {
    /// Once the headers are read, before any of the body.
    BeforeBody,
    /// Once a part of the body is read.
    DuringBody,
    /// Once the whole body is read, and nothing done with it.
    AfterBody,
}

/// How an answer gets lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// The connection is cut instead.
    #[default]
    Cut,
    /// Nothing comes until the client gives up.
    Silence,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing: the request is answered as if there were no further rules.
    Pass,
    Status {
        status: u16,
        #[serde(default)]
        body: BodyKind,
        #[serde(default)]
        text: Option<String>,
        #[serde(default)]
        retry_after: RetryAfter,
    },
    Cut(CutAt),
    /// The request takes effect, and its answer gets lost.
    LoseAnswer(Loss),
    /// The request takes no effect and no answer comes until the client gives up.
    Stall,
    /// MyAdmin throws this exception, with 200; elsewhere its text comes with 500.
    Throw {
        name: String,
        #[serde(default)]
        text: String,
    },
}

/// A wait before the action.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delay {
    FixedMs(u64),
    UniformMs(u64, u64),
    /// Exponential with this mean.
    ExponentialMs(f64),
}

impl Delay {
    fn draw(self, rng: &mut StdRng) -> Duration {
        match self {
            Self::FixedMs(ms) => Duration::from_millis(ms),
            Self::UniformMs(low, high) => {
                Duration::from_millis(rng.random_range(low.min(high)..=high.max(low)))
            }
            Self::ExponentialMs(mean) => {
                let unit: f64 = rng.random();
                let ms = -mean.max(0.0) * (1.0 - unit).ln();
                Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
            }
        }
    }
}

/// One rule. Without any scope it holds until it is cleared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Only this operation, or those of this group.
    pub operation: Option<Operation>,
    /// Only requests whose body contains this text, e.g. a serial.
    pub serial: Option<String>,
    /// None: only the delay; later rules are asked too.
    pub action: Option<Action>,
    pub delay: Option<Delay>,
    /// Let this many matching requests go first.
    pub skip: u64,
    /// Then take this many, and be done.
    pub count: Option<u64>,
    /// Take each with this probability.
    pub rate: Option<f64>,
    /// Be done this many seconds after the rule was made.
    pub seconds: Option<f64>,
    /// Seed of `rate` and `delay`.
    pub seed: u64,
}

impl Rule {
    /// A rule for every request, until cleared.
    #[must_use]
    pub fn new(action: Action) -> Self {
        Self {
            action: Some(action),
            ..Self::default()
        }
    }

    /// Answers with this status and the error envelope.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::new(Action::Status {
            status,
            body: BodyKind::Json,
            text: None,
            retry_after: RetryAfter::None,
        })
    }

    #[must_use]
    pub fn cut(at: CutAt) -> Self {
        Self::new(Action::Cut(at))
    }

    #[must_use]
    pub fn lose_answer(how: Loss) -> Self {
        Self::new(Action::LoseAnswer(how))
    }

    /// MyAdmin throws.
    #[must_use]
    pub fn throw(name: &str, text: &str) -> Self {
        Self::new(Action::Throw {
            name: name.to_owned(),
            text: text.to_owned(),
        })
    }

    #[must_use]
    pub fn delay(delay: Delay) -> Self {
        Self {
            delay: Some(delay),
            ..Self::default()
        }
    }

    #[must_use]
    pub fn on(self, operation: Operation) -> Self {
        Self {
            operation: Some(operation),
            ..self
        }
    }

    #[must_use]
    pub fn with_serial(self, serial: &str) -> Self {
        Self {
            serial: Some(serial.to_owned()),
            ..self
        }
    }

    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self {
            count: Some(count),
            ..self
        }
    }

    #[must_use]
    pub fn after(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    #[must_use]
    pub fn at_rate(self, rate: f64, seed: u64) -> Self {
        Self {
            rate: Some(rate),
            seed,
            ..self
        }
    }

    #[must_use]
    pub fn retry_after(mut self, hint: RetryAfter) -> Self {
        if let Some(Action::Status { retry_after, .. }) = &mut self.action {
            *retry_after = hint;
        }
        self
    }

    #[must_use]
    pub fn body(mut self, kind: BodyKind) -> Self {
        if let Some(Action::Status { body, .. }) = &mut self.action {
            *body = kind;
        }
        self
    }

    /// Judged on the headers alone. A MyAdmin call says in its body what it is: its cut waits for that.
    fn early(&self) -> bool {
        matches!(
            self.action,
            Some(Action::Cut(CutAt::BeforeBody | CutAt::DuringBody))
        ) && !self.operation.is_some_and(Operation::is_told_by_body)
    }
}

/// A rule at work.
#[derive(Debug, Clone, Serialize)]
pub struct Armed {
    pub id: u64,
    /// How many requests it was applied to.
    pub applied: u64,
    pub rule: Rule,
    #[serde(skip)]
    seen: u64,
    #[serde(skip)]
    until_us: i64,
    #[serde(skip)]
    rng: StdRng,
}

impl Armed {
    fn takes(&mut self, operation: Operation, body: Option<&[u8]>, now: i64) -> bool {
        let rule = &self.rule;
        if rule.operation.is_some_and(|only| !only.covers(operation)) || now >= self.until_us {
            return false;
        }
        if rule.count.is_some_and(|count| self.applied >= count) {
            return false;
        }
        if let Some(serial) = &rule.serial
            && !body.is_some_and(|body| contains(body, serial.as_bytes()))
        {
            return false;
        }
        self.seen += 1;
        if self.seen <= rule.skip {
            return false;
        }
        if rule
            .rate
            .is_some_and(|rate| self.rng.random::<f64>() >= rate)
        {
            return false;
        }
        self.applied += 1;
        true
    }
}

/// What happens to one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub delay: Duration,
    pub action: Action,
}

/// The list of rules, and the outage that beats them all.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Vec<Armed>,
    outage: Option<Action>,
    last_id: u64,
    /// Of rules that were cleared or replaced.
    applied_before: u64,
}

impl Faults {
    /// Appends a rule and returns its id.
    ///
    /// # Errors
    /// A rule that can never be judged.
    pub fn push(&mut self, rule: Rule, now: i64) -> Result<u64, &'static str> {
        if rule.early() && rule.serial.is_some() {
            return Err(
                "`serial` needs the body, which a cut before or during it does not wait for",
            );
        }
        if rule.rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
            return Err("`rate` is a probability between 0 and 1");
        }
        if rule.action.is_none() && rule.delay.is_none() {
            return Err("a rule needs an `action` or a `delay`");
        }
        if let Some(Action::Status { status, .. }) = rule.action
            && !(200..=599).contains(&status)
        {
            return Err("`status` is between 200 and 599");
        }
        self.last_id += 1;
        let until_us = rule.seconds.map_or(i64::MAX, |seconds| {
            now.saturating_add((seconds * 1e6) as i64)
        });
        let rng = StdRng::seed_from_u64(rule.seed);
        self.rules.push(Armed {
            id: self.last_id,
            applied: 0,
            seen: 0,
            until_us,
            rng,
            rule,
        });
        Ok(self.last_id)
    }

    /// Removes one rule; true if it was there.
    pub fn remove(&mut self, id: u64) -> bool {
        let found = self.rules.iter().position(|armed| armed.id == id);
        if let Some(at) = found {
            self.applied_before += self.rules.remove(at).applied;
        }
        found.is_some()
    }

    /// Removes every rule; the outage stays as it is.
    pub fn clear(&mut self) {
        self.applied_before = self.applied();
        self.rules.clear();
    }

    /// Starts or ends an outage: every request gets this action.
    pub fn outage(&mut self, action: Option<Action>) {
        self.outage = action;
    }

    #[must_use]
    pub fn rules(&self) -> &[Armed] {
        &self.rules
    }

    /// How often any rule was applied.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied_before + self.rules.iter().map(|armed| armed.applied).sum::<u64>()
    }

    /// Asked when the headers are there: a cut that does not wait for the body.
    pub fn early(&mut self, operation: Operation, now: i64) -> Option<Plan> {
        if let Some(Action::Cut(at @ (CutAt::BeforeBody | CutAt::DuringBody))) = self.outage {
            return Some(Plan {
                delay: Duration::ZERO,
                action: Action::Cut(at),
            });
        }
        let armed = self.rules.iter_mut().filter(|armed| armed.rule.early());
        for armed in armed {
            if armed.takes(operation, None, now) {
                let delay = armed
                    .rule
                    .delay
                    .map(|delay| delay.draw(&mut armed.rng))
                    .unwrap_or_default();
                return armed
                    .rule
                    .action
                    .clone()
                    .map(|action| Plan { delay, action });
            }
        }
        None
    }

    /// Asked when the body is there.
    pub fn decide(&mut self, operation: Operation, body: &[u8], now: i64) -> Plan {
        let mut plan = Plan {
            delay: Duration::ZERO,
            action: Action::Pass,
        };
        if let Some(action) = &self.outage {
            plan.action = action.clone();
            return plan;
        }
        for armed in self.rules.iter_mut().filter(|armed| !armed.rule.early()) {
            if armed.takes(operation, Some(body), now) {
                if let Some(delay) = armed.rule.delay {
                    plan.delay += delay.draw(&mut armed.rng);
                }
                if let Some(action) = &armed.rule.action {
                    plan.action = action.clone();
                    break;
                }
            }
        }
        plan
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    let Some((first, rest)) = text.split_first() else {
        return true;
    };
    let mut from = body;
    while let Some(at) = from.iter().position(|byte| byte == first) {
        from = &from[at + 1..];
        if from.starts_with(rest) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests;
