//! The order journey's place on the board: its figures as the store last gave them, and how they are judged.
//!
//! * J1: the journey is ready once its store has answered. Who waits for the lease is ready too: it takes over by itself.
//! * J2: a store that refuses makes the job not ready: no order moves, and a restart would not help. One that does not answer at
//!   all for longer than the setting makes it not live. That MyAdmin is away is neither: the journey goes on when it is back.
//!
//! Does no I/O and reads no clock: time is an argument.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "lease")]
pub enum Lead {
    Ours,
    /// Another instance holds the lease.
    Waiting {
        holder: String,
    },
    /// It is free, and will be taken within a third of its life.
    Nobody,
}

/// The store, as it was last compared with the device registry and MyAdmin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    pub store: String,
    pub generation: i64,
    /// `proven`; else nothing is provisioned: `unchecked`, `unproven`, `accepted`.
    pub proof: &'static str,
    /// Why it is not proven.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Since when, as RFC 3339.
    pub since: String,
}

/// What the store holds, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figures {
    #[serde(flatten)]
    pub lead: Lead,
    /// Nothing is provisioned unless the store is proven.
    pub store: Proof,
    /// Orders by state.
    pub orders: BTreeMap<String, u64>,
    /// Units by state.
    pub units: BTreeMap<String, u64>,
    /// Orders and units that wait for a person.
    pub parked: u64,
    /// Alarms that nobody cleared yet.
    pub alarms: u64,
    /// Changes of the device registry that its topic has not confirmed.
    pub outbox_waiting: u64,
    /// Age of the oldest order with a unit whose journey has not ended.
    pub oldest_open_s: Option<u64>,
    /// What units wait for, by a stable word.
    pub waits: BTreeMap<String, Waiting>,
}

/// Units that wait for the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    pub units: u64,
    /// The unit that has waited longest, since when, for what exactly, and what a person can do.
    pub oldest: String,
    pub since: String,
    pub said: String,
    pub remedy: String,
}

/// The journey as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journey {
    /// The newest figures; `None` before the store has answered.
    pub figures: Option<Figures>,
    /// Why the last look failed, if it did.
    pub trouble: Option<String>,
    /// When the store last answered, be it with a refusal; at first, when the journey began.
    pub answered: Instant,
    /// When the store last gave its figures; at first, when the journey began.
    pub worked: Instant,
}

/// What board and slot share.
pub(super) type Shared = Arc<Mutex<Journey>>;

/// The journey's place; the only writer of its figures.
#[derive(Debug)]
pub struct JourneyStatus(pub(super) Shared);

impl JourneyStatus {
    pub(super) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Journey {
            figures: None,
            trouble: None,
            answered: now,
            worked: now,
        })))
    }

    /// The store has given its figures.
    pub fn post(&self, figures: Figures, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Journey {
            figures: Some(figures),
            trouble: None,
            answered: now,
            worked: now,
        };
    }

    /// The store has refused; the figures stay what they were.
    pub fn fail(&self, trouble: String, now: Instant) {
        let mut journey = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        journey.trouble = Some(trouble);
        journey.answered = now;
    }
}

pub(super) fn read(shared: &Shared) -> Journey {
    shared
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}
