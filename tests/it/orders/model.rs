//! Random worlds, random faults, a crash at every await of the reconciler: what must hold, holds.
//!
//! Per seed: a market where customers order, cancel, assign and terminate; calls that fail before, after or instead of their effect;
//! people who approve, assign, ship and retry; a reconciler that is dropped at a random poll and started again from the store, beside
//! one that lost its lease and goes on. Afterwards the faults end, and everything must come to its end.
//!
//! * P1: every serial the world made for us is a unit's, or in doubt and told to a person; no unit has two.
//! * P2: nothing is activated that was not shown as reported and owned by a database; nothing of a cancelled order.
//! * G1: the topic follows the store, and calls nothing active again that it called terminated.
//! * At the end store = topic = world, and nothing is left behind.
//!
//! Meanwhile the store is lost or put back from an older copy, the topic is lost or written by hand, and replaced holders of the lease
//! still write: P3 and G2.
//!
//! `DIG_MODEL_SEED=n` runs one seed; `DIG_MODEL_S=n` looks for n seconds instead of the short while of every day.

mod disasters;
mod ending;
pub mod people;
pub mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use dig_ingest::orders::Clock;
use dig_ingest::orders::calls::Calls;
use dig_ingest::orders::journey::unit::Unit;
use dig_ingest::orders::registrar::Registrar;
use dig_ingest::orders::round::Reconciler;
use dig_ingest::orders::settings::{CheckContracts, Config, Fulfilment, Mode, Partial, Product};
use dig_ingest::orders::store::identity::Proof;
use dig_ingest::orders::store::intents::Outcome;
use dig_ingest::orders::store::lease::Token;
use dig_ingest::orders::store::{Error, Store};
use dig_ingest::registry::State;
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::registry::{Fate, Shared, registrar};
use crate::support::marks::{iccid, imei};
use world::World;

/// What every day's run may take, and how many seeds it runs at least.
const EVERY_DAY: Duration = Duration::from_secs(20);
const AT_LEAST: u64 = 40;

/// Worlds at once: they wait for their files more than they compute.
const THREADS: usize = 4;

/// Steps with faults, and rounds without them that must be enough for everything to end.
const STEPS: usize = 24;
const CALM: usize = 80;

/// A future that is polled so often, and then dropped.
struct Budget<F> {
    inner: Pin<Box<F>>,
    polls: usize,
}

impl<F: Future> Future for Budget<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        self.inner.as_mut().poll(context).map(Some)
    }
}

async fn within<F: Future>(polls: Option<usize>, inner: F) -> Option<F::Output> {
    match polls {
        Some(polls) => {
            Budget {
                inner: Box::pin(inner),
                polls,
            }
            .await
        }
        None => Some(inner.await),
    }
}

/// An instance: who writes the topic and who decides.
struct Instance {
    registrar: Arc<Registrar>,
    reconciler: Reconciler<World>,
}

struct Run {
    seed: u64,
    dice: StdRng,
    world: World,
    store: Store,
    place: dig_ingest::orders::store::Config,
    config: Arc<Config>,
    topic: Shared,
    /// Serials that the topic has called terminated.
    terminated: BTreeSet<String>,
    /// Serials that a unit was ever seen with, in any store and in the topic.
    serials: BTreeMap<String, BTreeSet<String>>,
    clock: Clock,
    live: Option<Instance>,
    zombie: Option<Instance>,
    instances: u64,
    crashes: u64,
    /// Copies of the store, with the number of the copy that is next.
    copies: Vec<std::path::PathBuf>,
    /// What became of the store and the topic.
    disasters: disasters::Count,
    /// What an instance that leaves finishes.
    calls: Calls,
    /// Holds the store's file.
    directory: tempfile::TempDir,
}

pub fn config(dice: &mut StdRng) -> Config {
    let product = |product_id, prefix: &str| Product {
        product_id,
        prefix: prefix.into(),
        ..Product::default()
    };
    let mut config = Config {
        accounts: vec!["PART01".into()],
        products: [
            ("CTD-100".into(), product(10032, "CX")),
            ("CTD-200".into(), product(10184, "C8")),
        ]
        .into(),
        orders_every_s: 60,
        readiness_every_s: 10,
        devices_every_s: 120,
        sweep_every_h: 2,
        backoff_s: 5,
        backoff_max_s: 120,
        fulfilment: Fulfilment {
            mode: if dice.random_bool(0.7) {
                Mode::Api
            } else {
                Mode::Worksheet
            },
            partial: if dice.random_bool(0.5) {
                Partial::Wait
            } else {
                Partial::Report
            },
            ..Fulfilment::default()
        },
        ..Config::default()
    };
    config.approval.comments = dice.random_bool(0.3);
    config.provision.check_contracts = [
        CheckContracts::Auto,
        CheckContracts::Always,
        CheckContracts::Never,
    ][dice.random_range(0..3)];
    config.check().unwrap();
    config
}

impl Run {
    async fn new(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        // In memory where there is such a place: thousands of worlds sync their files.
        let directory = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let store = dig_ingest::orders::store::Config {
            file: directory.path().join("orders.db"),
            ..dig_ingest::orders::store::Config::default()
        };
        let world = World::new(seed, &mut dice);
        let clock: Clock = {
            let world = world.clone();
            Arc::new(move || world.now())
        };
        let mut config = config(&mut dice);
        if dice.random_bool(0.4) {
            config.inventory.auto = true;
            config.inventory.file = directory.path().join("shelf.csv");
            let spares =
                (0..dice.random_range(0..30)).map(|n| format!("{},{}\n", imei(n), iccid(n)));
            let text = format!("imei,sim\n{}", spares.collect::<String>());
            std::fs::write(&config.inventory.file, text).unwrap();
        }
        Self {
            seed,
            config: Arc::new(config),
            world,
            store: Store::init(&store).await.unwrap(),
            place: store,
            directory,
            topic: Shared::default(),
            terminated: BTreeSet::new(),
            serials: BTreeMap::new(),
            copies: Vec::new(),
            disasters: disasters::Count::default(),
            clock,
            live: None,
            zombie: None,
            instances: 0,
            crashes: 0,
            calls: Calls::default(),
            dice,
        }
    }

    /// A new instance takes over; the one before may go on without knowing.
    async fn start(&mut self) {
        self.world.pass(31);
        self.instances += 1;
        let name = format!("instance {}", self.instances);
        let life = Duration::from_secs(30);
        let token: Token = self
            .store
            .take_lease(&name, life, self.world.now())
            .await
            .unwrap()
            .expect("the lease of the one before is over");
        let registrar = Arc::new(registrar(
            &self.store,
            &self.topic,
            Arc::clone(&self.clock),
            token,
        ));
        let reconciler = Reconciler::new(
            self.world.clone(),
            self.store.clone(),
            Arc::clone(&self.config),
            Arc::clone(&self.clock),
            token,
            self.calls.clone(),
            Arc::clone(&registrar),
        );
        let fresh = Instance {
            registrar,
            reconciler,
        };
        self.zombie = self.live.replace(fresh).or(self.zombie.take());
    }

    async fn round(&mut self, polls: Option<usize>) {
        if self.live.is_none() {
            self.start().await;
        }
        let live = self.live.as_mut().expect("just started");
        // Dropped, it is killed where it is, or it leaves and finishes its call.
        let killed = self.dice.random_bool(0.7);
        self.calls.kill(killed);
        match within(polls, live.reconciler.round()).await {
            Some(result) => {
                result.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
            }
            None => {
                // Dropped in the middle: everything it remembered is gone.
                self.live = None;
                self.crashes += 1;
                let left = self.calls.ended(Duration::from_secs(60)).await;
                assert_eq!(left, 0, "seed {}: a call that never ends", self.seed);
            }
        }
    }

    /// One that lost its lease writes nothing, to the store or the world.
    async fn haunt(&mut self) {
        let Some(zombie) = &mut self.zombie else {
            return;
        };
        let writes = self.world.writes();
        let before = self.topic.lock().unwrap().entries.clone();
        // It may take the topic over once more, and still writes nothing.
        if self.dice.random_bool(0.5) {
            let _ = zombie.registrar.compare().await;
        }
        let _ = zombie.registrar.publish().await;
        let _ = zombie.registrar.witness().await;
        assert_eq!(
            self.topic.lock().unwrap().entries,
            before,
            "seed {}: published without a lease",
            self.seed
        );
        match zombie.reconciler.round().await {
            Ok(report) => assert_eq!(report.acts, 0, "seed {}: acts without a lease", self.seed),
            Err(error) => assert!(
                matches!(error, Error::LeaseLost),
                "seed {}: {error}",
                self.seed
            ),
        }
        assert_eq!(
            self.world.writes(),
            writes,
            "seed {}: spoke without a lease",
            self.seed
        );
    }

    async fn publish(&mut self, polls: Option<usize>) {
        if self.world.faulty() && self.dice.random_bool(0.3) {
            let fate = [Fate::Aborted, Fate::AnswerLost][self.dice.random_range(0..2)];
            self.topic.lock().unwrap().fates = vec![fate];
        }
        let Some(live) = &self.live else { return };
        let registrar = Arc::clone(&live.registrar);
        let compares = self.dice.random_bool(0.3) || registrar.standing() != Proof::Proven;
        let _ = within(polls, async {
            if compares {
                registrar.compare().await?;
            }
            while registrar.publish().await? > 0 {}
            anyhow::Ok(())
        })
        .await;
        self.topic.lock().unwrap().fates.clear();
    }

    async fn step(&mut self) {
        self.world.turn(&mut self.dice);
        self.disaster().await;
        if self.dice.random_bool(0.6) {
            people::act(&self.world, &self.store, &self.config, &mut self.dice).await;
        }
        if self.dice.random_bool(0.1) {
            self.start().await;
        }
        if self.dice.random_bool(0.2) {
            self.haunt().await;
        }
        let crash = self.dice.random_bool(0.5);
        let polls = crash.then(|| self.dice.random_range(1..160));
        self.round(polls).await;
        let crash = self.dice.random_bool(0.3);
        let polls = crash.then(|| self.dice.random_range(1..20));
        self.publish(polls).await;
        let seconds = self.dice.random_range(1..400);
        self.world.pass(seconds);
        self.invariants().await;
    }

    /// What must hold at every moment.
    async fn invariants(&mut self) {
        let seed = self.seed;
        let intents = self.store.intents().await.unwrap();
        let wholes = self.store.open_orders(Timestamp::MIN).await.unwrap();
        let units: Vec<_> = wholes.iter().flat_map(|whole| &whole.units).collect();
        // P1.
        let claimed: BTreeSet<String> = units
            .iter()
            .filter_map(|row| row.unit.serial())
            .map(|serial| serial.to_string())
            .collect();
        let unclaimed = self
            .world
            .made_for_us()
            .into_iter()
            .filter(|serial| !claimed.contains(serial));
        let doubts = intents
            .iter()
            .filter(|intent| intent.outcome.in_doubt())
            .count();
        // What came of a call a person judged wrongly stands for itself in the alarms; here nobody does.
        let unclaimed: Vec<_> = unclaimed.collect();
        // Of a store that was lost or put back, recovery tells: here every unit's serials are compared over all its stores.
        assert!(
            self.disasters.of_store() > 0 || unclaimed.len() <= doubts + self.world.strangers(),
            "seed {seed}: {unclaimed:?} explained by {doubts} doubts"
        );
        for row in &units {
            if let Some(serial) = row.unit.serial() {
                let seen = self.serials.entry(row.id.clone()).or_default();
                seen.insert(serial.to_string());
            }
        }
        for entry in self.topic.lock().unwrap().entries.devices.values() {
            if let (Some(unit), Some(serial)) = (&entry.unit, &entry.device.serial) {
                let seen = self.serials.entry(unit.to_string()).or_default();
                seen.insert(serial.to_string());
            }
        }
        for (unit, serials) in &self.serials {
            if let Some(first) = serials.first() {
                self.world.label(unit, first);
            }
            assert!(
                serials.len() <= 1,
                "seed {seed}: unit {unit} got several serials: {serials:?}"
            );
        }
        for row in &units {
            let given = intents
                .iter()
                .filter(|intent| intent.wish.unit_id == row.id)
                .filter(|intent| matches!(intent.outcome, Outcome::Answered | Outcome::Adopted))
                .count();
            assert!(
                given <= 1,
                "seed {seed}: unit {} got {given} serials",
                row.id
            );
        }
        let mut by_imei = BTreeMap::new();
        for row in &units {
            let known = row.unit.known();
            let ended = matches!(row.unit, Unit::Cancelled(_) | Unit::Terminated(_));
            if let Some(imei) = known.tags.imei.filter(|_| !ended) {
                let other = by_imei.insert(imei, &row.id);
                assert_eq!(
                    other, None,
                    "seed {seed}: two units with one IMEI: {}",
                    row.id
                );
            }
        }
        // P2.
        for row in &units {
            if !row.unit.is_active() {
                continue;
            }
            let serial = row
                .unit
                .serial()
                .expect("an active unit has one")
                .to_string();
            assert!(
                self.world.was_reported(&serial) && self.world.was_owned(&serial),
                "seed {seed}: {serial} is active before its time"
            );
        }
        for whole in &wholes {
            let events = self.store.events(&whole.row.id).await.unwrap();
            let cancelled = events.iter().find(|event| {
                event.unit_id.is_none() && event.to_state.as_deref() == Some("cancelled")
            });
            let resumed = |from: i64, to: i64| {
                events
                    .iter()
                    .any(|event| event.act == "resume" && (from..to).contains(&event.seq))
            };
            let late = events.iter().find(|event| {
                event.to_state.as_deref() == Some("active")
                    && event.act == "activate"
                    && cancelled.is_some_and(|cancelled| {
                        cancelled.seq < event.seq && !resumed(cancelled.seq, event.seq)
                    })
            });
            // What a person took up again after it was cancelled may become active.
            for unit in &whole.units {
                let mut of_unit = events
                    .iter()
                    .filter(|event| event.unit_id.as_deref() == Some(&*unit.id));
                let last = of_unit.rfind(|event| {
                    ["resume", "cancel", "terminate", "replace"].contains(&&*event.act)
                });
                if let (Some(serial), Some("resume")) =
                    (unit.unit.serial(), last.map(|event| &*event.act))
                {
                    self.terminated.remove(serial.as_str());
                }
            }
            assert!(
                late.is_none(),
                "seed {seed}: activated after it was cancelled: {late:?}"
            );
        }
        // G1.
        let topic = self.topic.lock().unwrap();
        for entry in topic.entries.devices.values() {
            let device = &entry.device;
            let serial = device.serial.as_deref().unwrap_or_default();
            if device.state == State::Terminated {
                self.terminated.insert(serial.to_owned());
            }
            if device.state == State::Active {
                assert!(
                    !self.terminated.contains(serial),
                    "seed {seed}: {serial} is active again"
                );
                assert!(
                    self.world.was_reported(serial) && self.world.was_owned(serial),
                    "seed {seed}: the topic calls {serial} active before its time"
                );
            }
        }
    }
}

fn one(seed: u64) -> (u64, usize, disasters::Count) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut run = Run::new(seed).await;
        for _ in 0..STEPS {
            run.step().await;
        }
        run.calm_down().await;
        let active = run
            .store
            .devices()
            .await
            .unwrap()
            .iter()
            .filter(|device| device.state == State::Active)
            .count();
        run.store.close().await;
        run.directory.close().unwrap();
        (run.crashes, active, run.disasters)
    })
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn what_must_hold_holds_in_random_worlds() {
    if let Some(seed) = variable("DIG_MODEL_SEED") {
        one(seed);
        return;
    }
    let long = variable("DIG_MODEL_S").map(Duration::from_secs);
    let from = Instant::now();
    // Other seeds at length than every day.
    let first: u64 = if long.is_some() {
        rand::random::<u32>().into()
    } else {
        0
    };
    let next = AtomicU64::new(0);
    let bound = long.unwrap_or(EVERY_DAY);
    let look = || {
        let mut sums = [0; 7];
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= AT_LEAST && from.elapsed() >= bound {
                return sums;
            }
            let (crashed, activated, disasters) = one(first + n);
            let more = [1, crashed, activated as u64]
                .into_iter()
                .chain(disasters.all());
            sums.iter_mut()
                .zip(more)
                .for_each(|(sum, more)| *sum += more);
        }
    };
    let sums: Vec<[u64; 7]> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(look)).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let [seeds, crashes, active, disasters @ ..] =
        [0, 1, 2, 3, 4, 5, 6].map(|n| sums.iter().map(|sum| sum[n]).sum::<u64>());
    println!(
        "{seeds} worlds from seed {first}: {crashes} crashes, {active} devices active at the end; store lost, put back, topic lost, \
         written by hand: {disasters:?}"
    );
    assert!(
        crashes > seeds && active > seeds / 2 && disasters.iter().all(|count| *count > 0),
        "the worlds were too dull to prove anything"
    );
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap()
}
