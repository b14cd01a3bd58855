//! The plain truth behind the gateway's face: who may call, what is accepted, what is remembered. Knows no HTTP.
//!
//! Owns sessions, serials, poison, faults, ledger and invalid records. Each has its own lock, held for one short act and
//! never across an await: requests of many connections meet here, and what they share is this world itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::watch;

use super::counters::{Counters, Snapshot};
use super::faults::{Faults, Operation};
use super::instants::{Clock, TICKS};
use super::invalid::InvalidRecords;
use super::ledger::{Ledger, Tally};
use super::overlap::Overlaps;
use super::poison::Poisons;
use super::scan::{self, Fate, Limits, Refusal, Scanned};
use super::serials::Serials;
use super::sessions::Sessions;
use super::settings::{Config, Keep, Settings};

/// A value that is read as a whole and replaced as a whole.
pub struct Shared<T>(RwLock<Arc<T>>);

impl<T: Clone> Shared<T> {
    fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    pub fn get(&self) -> Arc<T> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(Arc::make_mut(
            &mut *self.0.write().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

/// The simulated gateway's world.
pub struct World {
    pub clock: Clock,
    pub counters: Counters,
    pub settings: Shared<Settings>,
    pub serials: Shared<Serials>,
    pub poisons: Shared<Poisons>,
    pub overlaps: Arc<Overlaps>,
    pub keep: Keep,
    sessions: Mutex<Sessions>,
    faults: Mutex<Faults>,
    ledger: Mutex<Ledger>,
    invalid: Mutex<InvalidRecords>,
    requests: AtomicU64,
    seed: u64,
    /// Ticks whenever a request ends or a fault begins to wait; tests wait on it.
    changed: watch::Sender<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut settings = config.settings.clone();
        settings.watch_overlap |= config.keep == Keep::Full;
        Self {
            clock: Clock::default(),
            counters: Counters::default(),
            settings: Shared::new(settings),
            serials: Shared::new(Serials::default()),
            poisons: Shared::new(Poisons::default()),
            overlaps: Arc::default(),
            keep: config.keep,
            sessions: Mutex::new(Sessions::new(config.account.clone())),
            faults: Mutex::default(),
            ledger: Mutex::new(Ledger::new(config.keep)),
            invalid: Mutex::new(InvalidRecords::new(config.seed)),
            requests: AtomicU64::new(0),
            seed: config.seed,
            changed: watch::Sender::new(()),
        }
    }

    pub fn sessions(&self) -> MutexGuard<'_, Sessions> {
        lock(&self.sessions)
    }

    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    pub fn invalid(&self) -> MutexGuard<'_, InvalidRecords> {
        lock(&self.invalid)
    }

    /// Notes that something tests may wait for has happened.
    pub fn touch(&self) {
        self.changed.send_replace(());
    }

    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Counts a request and gives it its number.
    pub fn begin(&self, operation: Operation) -> u64 {
        self.counters.request(operation);
        self.requests.fetch_add(1, Relaxed) + 1
    }

    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.counters.snapshot(self.faults().applied())
    }

    /// Reads a body as records.
    ///
    /// # Errors
    /// The first thing that keeps the whole body from being accepted.
    pub fn read(&self, body: &mut Vec<u8>, records: &mut Vec<Scanned>) -> Result<(), Refusal> {
        let settings = self.settings.get();
        let now = self.clock.now_us() * 10;
        let limits = Limits {
            max_records: settings.max_records,
            oldest: now - i64::from(settings.max_age_days) * 86_400 * TICKS,
            newest: now + i64::from(settings.max_ahead_s) * TICKS,
            now,
            zoneless_is_utc: settings.zoneless_is_utc,
            refuse_extra_members: settings.refuse_extra_members,
            strict_base64: settings.strict_base64,
        };
        scan::scan(body, &limits, records)
    }

    /// Accepts records that [`Self::read`] found to fit: all of them, or with poison among them none.
    ///
    /// # Errors
    /// The poisonous record.
    pub fn accept<'a>(
        &self,
        user: &str,
        request: u64,
        body: &'a [u8],
        records: &mut [Scanned],
    ) -> Result<Tally, &'a [u8]> {
        if let Some(place) = self.poisons.get().find(body, records) {
            self.counters.poisoned.fetch_add(1, Relaxed);
            return Err(place.of(body));
        }
        let settings = self.settings.get();
        let serials = self.serials.get();
        if !serials.is_empty() {
            for record in records.iter_mut() {
                match serials.state(record.serial.of(body)).cause() {
                    Some(_) if settings.silent_serials => record.fate = Fate::Dropped,
                    Some(cause) => record.fate = Fate::Invalid(cause),
                    None => {}
                }
            }
        }
        let now = self.clock.now_us();
        let mut rejected = Vec::new();
        let reject = |cause, bytes| rejected.push((cause, bytes));
        let tally = if self.keep == Keep::None {
            // Nothing to remember: no lock to take.
            Ledger::new(Keep::None).add(request, now, body, records, reject)
        } else {
            self.ledger().add(request, now, body, records, reject)
        };
        self.counters.tally(&tally);
        if !rejected.is_empty() {
            let mut invalid = self.invalid();
            for (cause, bytes) in rejected {
                invalid.add(user, cause, bytes, now, &settings);
            }
        }
        Ok(tally)
    }

    /// Forgets what was accepted and scripted; tokens, settings and counters stay.
    pub fn reset(&self) {
        self.ledger().clear();
        *self.invalid() = InvalidRecords::new(self.seed);
        let mut faults = self.faults();
        faults.clear();
        faults.outage(None);
        drop(faults);
        self.poisons.change(Poisons::clear);
        self.serials.change(Serials::clear);
    }

    /// Members of a JSON object of texts, names lower-cased; `None` when it is anything else.
    #[must_use]
    pub fn texts(body: &[u8]) -> Option<BTreeMap<String, String>> {
        let members: BTreeMap<String, String> = serde_json::from_slice(body).ok()?;
        Some(
            members
                .into_iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value))
                .collect(),
        )
    }
}
