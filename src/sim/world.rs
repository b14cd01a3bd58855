//! The plain truth behind the gateway's face: who may call, what is accepted, what is remembered. Knows no HTTP.
//!
//! Owns sessions, serials, poison, faults, ledger, invalid records and the market. Each has its own lock, held for one short act and
//! never across an await: requests of many connections meet here, and what they share is this world itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use super::counters::{Counters, Snapshot};
use super::faults::Faults;
use super::instants::{Clock, TICKS};
use super::invalid::InvalidRecords;
use super::ledger::{Ledger, Tally};
use super::market::Market;
use super::market::devices::Judgement;
use super::myadmin::limits::Limiter;
use super::myadmin::sessions::Logins;
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
    /// Read once per request of records, written by the few acts of people and MyAdmin calls.
    market: RwLock<Market>,
    logins: Mutex<Logins>,
    limiter: Mutex<Limiter>,
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
            market: RwLock::new(Market::new(&config.market, config.seed)),
            logins: Mutex::default(),
            limiter: Mutex::default(),
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

    /// The market, to read. Not to be held when another act of the world is called.
    pub fn market(&self) -> RwLockReadGuard<'_, Market> {
        self.market.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The market, to act on.
    pub fn market_mut(&self) -> RwLockWriteGuard<'_, Market> {
        self.market.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sessions of MyAdmin.
    pub fn logins(&self) -> MutexGuard<'_, Logins> {
        lock(&self.logins)
    }

    /// Rate limits of MyAdmin.
    pub fn limiter(&self) -> MutexGuard<'_, Limiter> {
        lock(&self.limiter)
    }

    /// Notes that something tests may wait for has happened.
    pub fn touch(&self) {
        self.changed.send_replace(());
    }

    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Gives a request its number.
    pub fn begin(&self) -> u64 {
        self.requests.fetch_add(1, Relaxed) + 1
    }

    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.counters.snapshot(self.faults().applied());
        if self.settings.get().market {
            snapshot.market = Some(self.market().counts(self.clock.now_us()));
        }
        snapshot
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
        if settings.market {
            self.judge(body, records, &settings, now);
        }
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

    /// Records of devices that may not send become invalid; the first valid one of a device starts its billing.
    fn judge(&self, body: &[u8], records: &mut [Scanned], settings: &Settings, now: i64) {
        // Records that start or resume a billing, with the device's place.
        let mut starts = Vec::new();
        let market = self.market();
        let mut last: Option<(&[u8], Judgement)> = None;
        for (at, record) in records.iter_mut().enumerate() {
            if record.fate != Fate::Valid {
                continue;
            }
            let serial = record.serial.of(body);
            // Records of one serial come in runs.
            let judgement = match last {
                Some((same, judgement)) if same == serial => judgement,
                _ => market.judge(serial, now),
            };
            last = Some((serial, judgement));
            starts.extend(judgement.bills.map(|place| (at, place)));
            match judgement.state.cause() {
                Some(_) if settings.silent_serials => record.fate = Fate::Dropped,
                Some(cause) => record.fate = Fate::Invalid(cause),
                None => {}
            }
        }
        drop(market);
        if !starts.is_empty() {
            let mut market = self.market_mut();
            for (at, place) in starts {
                records[at].bills = market.bill(place, now);
            }
        }
    }

    /// Forgets what was accepted, ordered, made and scripted; tokens, settings and counters stay.
    pub fn reset(&self) {
        self.ledger().clear();
        *self.invalid() = InvalidRecords::new(self.seed);
        let mut faults = self.faults();
        faults.clear();
        faults.outage(None);
        drop(faults);
        self.poisons.change(Poisons::clear);
        self.serials.change(Serials::clear);
        self.market_mut().reset();
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
