//! What the world counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::ledger::Tally;
use super::market::Counts;
use super::operation::Operation;

/// Live counters: atomics for what happens per record's request, one small map per answer.
#[derive(Default)]
pub struct Counters {
    pub connections: AtomicU64,
    pub body_bytes: AtomicU64,
    pub largest_body: AtomicU64,
    pub in_flight: AtomicU64,
    pub max_in_flight: AtomicU64,
    pub poisoned: AtomicU64,
    pub overlapping_serials: AtomicU64,
    pub cut: AtomicU64,
    pub lost_answers: AtomicU64,
    pub abandoned: AtomicU64,
    accepted: AtomicU64,
    new: AtomicU64,
    duplicates: AtomicU64,
    dropped: AtomicU64,
    invalid: AtomicU64,
    inversions: AtomicU64,
    serials: AtomicU64,
    requests: Mutex<BTreeMap<Operation, u64>>,
    /// A lock, because answers are few beside records.
    answers: Mutex<BTreeMap<(Operation, u16), u64>>,
    refusals: Mutex<BTreeMap<String, u64>>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Requests whose headers arrived, by operation.
    pub requests: BTreeMap<Operation, u64>,
    /// Answers by operation and status; `0` is a cut connection or a lost answer.
    pub answers: BTreeMap<Operation, BTreeMap<u16, u64>>,
    /// Records in requests answered (or about to be) with 202: new + duplicates + dropped + invalid.
    pub records_accepted: u64,
    pub records_new: u64,
    /// Same serial, type and instant as one before.
    pub records_duplicate: u64,
    /// Status codes 128 to 1999.
    pub records_dropped: u64,
    pub records_invalid: u64,
    /// First arrivals older than one of their serial before them. Not counted with `--ledger none`.
    pub inversions: u64,
    /// Distinct serials. Not counted with `--ledger none`.
    pub serials: u64,
    /// Serials found in two requests at once.
    pub overlapping_serials: u64,
    pub connections: u64,
    pub body_bytes: u64,
    pub largest_body: u64,
    /// Requests to `/records` from headers to answer.
    pub in_flight: u64,
    pub max_in_flight: u64,
    /// Requests refused for a poisonous record.
    pub poisoned: u64,
    /// Connections cut by a fault.
    pub cut: u64,
    /// Requests that took effect and whose answer was lost.
    pub lost_answers: u64,
    /// Requests whose client went away before its answer.
    pub abandoned: u64,
    pub faults_applied: u64,
    /// Why bodies were refused, without places.
    pub refusals: BTreeMap<String, u64>,
    /// Of the market, when it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub market: Option<Counts>,
}

impl Counters {
    pub fn tally(&self, tally: &Tally) {
        self.accepted.fetch_add(
            tally.new + tally.duplicates + tally.dropped + tally.invalid,
            Relaxed,
        );
        self.new.fetch_add(tally.new, Relaxed);
        self.duplicates.fetch_add(tally.duplicates, Relaxed);
        self.dropped.fetch_add(tally.dropped, Relaxed);
        self.invalid.fetch_add(tally.invalid, Relaxed);
        self.inversions.fetch_add(tally.inversions, Relaxed);
        self.serials.fetch_add(tally.serials, Relaxed);
    }

    pub fn body(&self, bytes: usize) {
        self.body_bytes.fetch_add(bytes as u64, Relaxed);
        self.largest_body.fetch_max(bytes as u64, Relaxed);
    }

    /// A request's headers arrived.
    pub fn request(&self, operation: Operation) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry(operation).or_default() += 1;
    }

    /// An answer went out; status 0 stands for none.
    pub fn answer(&self, operation: Operation, status: u16) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry((operation, status)).or_default() += 1;
    }

    pub fn refusal(&self, reason: String) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals.entry(reason).or_default() += 1;
    }

    #[must_use]
    pub fn snapshot(&self, faults_applied: u64) -> Snapshot {
        let mut answers: BTreeMap<Operation, BTreeMap<u16, u64>> = BTreeMap::new();
        for ((operation, status), count) in
            &*self.answers.lock().unwrap_or_else(PoisonError::into_inner)
        {
            answers
                .entry(*operation)
                .or_default()
                .insert(*status, *count);
        }
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        Snapshot {
            requests: self
                .requests
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            answers,
            records_accepted: get(&self.accepted),
            records_new: get(&self.new),
            records_duplicate: get(&self.duplicates),
            records_dropped: get(&self.dropped),
            records_invalid: get(&self.invalid),
            inversions: get(&self.inversions),
            serials: get(&self.serials),
            overlapping_serials: get(&self.overlapping_serials),
            connections: get(&self.connections),
            body_bytes: get(&self.body_bytes),
            largest_body: get(&self.largest_body),
            in_flight: get(&self.in_flight),
            max_in_flight: get(&self.max_in_flight),
            poisoned: get(&self.poisoned),
            cut: get(&self.cut),
            lost_answers: get(&self.lost_answers),
            abandoned: get(&self.abandoned),
            faults_applied,
            refusals: self
                .refusals
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            market: None,
        }
    }
}
