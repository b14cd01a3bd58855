//! One store, one world and one reconciler, for tests that tell a story step by step. The clock is the world's.

use std::sync::Arc;
use std::time::Duration;

use dig_ingest::orders::Clock;
use dig_ingest::orders::alarms::AlarmShown;
use dig_ingest::orders::calls::Calls;
use dig_ingest::orders::journey::{Actor, Parcel, Serial, Tags};
use dig_ingest::orders::registrar::Registrar;
use dig_ingest::orders::round::Reconciler;
use dig_ingest::orders::settings::{Approval, CheckContracts, Config, Fulfilment, Mode};
use dig_ingest::orders::store::identity::Proof;
use dig_ingest::orders::store::read::Filter;
use dig_ingest::orders::store::rows::UnitRow;
use dig_ingest::orders::store::{self, Store};
use dig_ingest::orders::views::{self, Explained, OrderShown};
use dig_ingest::orders::wait::Wait;
use dig_ingest::sim::market;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::model::{self, world::World};
use super::registry::{Shared, registrar};
use crate::support::marks as made_up;

/// Longer than any holder of these tests is silent.
const LEASE: Duration = Duration::from_secs(10_000_000);

pub struct Site {
    pub world: World,
    pub store: Store,
    pub config: Arc<Config>,
    pub calls: Calls,
    pub reconciler: Reconciler<World>,
    /// The registry's topic.
    pub topic: Shared,
    registrar: Arc<Registrar>,
    clock: Clock,
    folder: tempfile::TempDir,
    /// The store's file.
    file: std::path::PathBuf,
}

pub fn ann() -> Actor {
    Actor::Person("ann".into())
}

impl Site {
    /// A calm world, and settings that ask no person before there is trouble.
    pub async fn new(mode: Mode, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut dice = StdRng::seed_from_u64(1);
        let world = World::new(1, &mut dice);
        world.calm();
        let mut config = Config {
            approval: Approval::default(),
            fulfilment: Fulfilment {
                mode,
                ..Fulfilment::default()
            },
            ..model::config(&mut dice)
        };
        config.inventory.auto = false;
        config.provision.check_contracts = CheckContracts::Auto;
        change(&mut config);
        config.check().unwrap();
        let config = Arc::new(config);
        let place = store::Config {
            file: folder.path().join("orders.db"),
            ..store::Config::default()
        };
        let store = Store::init(&place).await.unwrap();
        let clock: Clock = {
            let world = world.clone();
            Arc::new(move || world.now())
        };
        let calls = Calls::default();
        let lease = store.take_lease("one", LEASE, world.now());
        let token = lease.await.unwrap().expect("nobody has it");
        let topic = Shared::default();
        let registrar = Arc::new(registrar(&store, &topic, Arc::clone(&clock), token));
        registrar.compare().await.unwrap();
        let reconciler = Reconciler::new(
            world.clone(),
            store.clone(),
            Arc::clone(&config),
            Arc::clone(&clock),
            token,
            calls.clone(),
            Arc::clone(&registrar),
        );
        Self {
            registrar,
            topic,
            world,
            store,
            config,
            calls,
            reconciler,
            clock,
            file: place.file,
            folder,
        }
    }

    /// The same world with another store, of which an instance takes the lease.
    pub async fn with_store(self, store: Store) -> Self {
        self.store.close().await;
        // A copy has the lease of when it was made.
        let holder = store.lease_holder().await.unwrap();
        store.leave_lease(holder.token).await.unwrap();
        let lease = store.take_lease("two", LEASE, self.world.now());
        let token = lease.await.unwrap().expect("nobody has it");
        let file = self.another().file;
        let registrar = registrar(&store, &self.topic, Arc::clone(&self.clock), token);
        let registrar = Arc::new(registrar);
        registrar.compare().await.unwrap();
        let reconciler = Reconciler::new(
            self.world.clone(),
            store.clone(),
            Arc::clone(&self.config),
            Arc::clone(&self.clock),
            token,
            self.calls.clone(),
            Arc::clone(&registrar),
        );
        Self {
            store,
            reconciler,
            registrar,
            file,
            ..self
        }
    }

    /// Where the store is, and where another one is put.
    pub fn place(&self) -> store::Config {
        store::Config {
            file: self.file(),
            ..store::Config::default()
        }
    }

    pub fn another(&self) -> store::Config {
        store::Config {
            file: self.folder.path().join("another.db"),
            ..store::Config::default()
        }
    }

    /// Compares store and topic, and writes what waits.
    pub async fn publish(&self) -> anyhow::Result<()> {
        super::registry::publish(&self.registrar).await
    }

    pub fn is_proven(&self) -> bool {
        self.registrar.standing() == Proof::Proven
    }

    pub fn clock(&self) -> Clock {
        Arc::clone(&self.clock)
    }

    pub fn file(&self) -> std::path::PathBuf {
        self.file.clone()
    }

    /// Time passes, and the job looks.
    pub async fn round(&mut self, after_s: i64) {
        self.world.pass(after_s);
        self.reconciler.round().await.unwrap();
    }

    /// Rounds until something is so.
    pub async fn until(&mut self, what: &str, mut holds: impl AsyncFnMut(&Store) -> bool) {
        for _ in 0..60 {
            if holds(&self.store).await {
                return;
            }
            self.round(130).await;
        }
        let units = self.store.units_by_order().await.unwrap();
        panic!("{what}: {units:#?}");
    }

    /// An order whose units all have this state.
    pub async fn all(&mut self, order: &str, state: &str) {
        self.until(&format!("{order} {state}"), async |store| {
            let units = store.units(order).await.unwrap();
            !units.is_empty() && units.iter().all(|row| row.unit.state() == state)
        })
        .await;
    }

    /// An order of `CTD-200` devices, each with its marks, ready to ship.
    pub async fn assigned(&mut self, quantity: u32) -> String {
        let order = self.world.place("CTD-200", quantity).to_string();
        self.all(&order, "provisioned").await;
        for row in self.units(&order).await {
            let tags = marks(&row);
            let now = self.world.now();
            self.store
                .assign(&row.id, None, &tags, &ann(), now)
                .await
                .unwrap();
        }
        order
    }

    /// As [`Site::assigned`], and shipped in one parcel.
    pub async fn shipped(&mut self, quantity: u32) -> String {
        let order = self.assigned(quantity).await;
        self.ship(&order, None, "T1").await.unwrap();
        order
    }

    pub async fn ship(
        &self,
        order: &str,
        units: Option<&[String]>,
        number: &str,
    ) -> Result<Vec<UnitRow>, store::Error> {
        let parcel = Parcel::new("Post", [number]).unwrap();
        let now = self.world.now();
        self.store.ship(order, units, &parcel, &ann(), now).await
    }

    pub async fn units(&self, order: &str) -> Vec<UnitRow> {
        self.store.units(order).await.unwrap()
    }

    pub async fn unit(&self, id: &str) -> UnitRow {
        self.store.unit(id).await.unwrap().expect("it is there")
    }

    pub async fn explained(&self, order: &str) -> Explained {
        let row = self.store.order(order).await.unwrap().expect("it is there");
        let now = (self.clock)();
        let shown = views::explained(&self.store, &self.config, &row, now);
        shown.await.unwrap()
    }

    /// What a unit waits for.
    pub async fn wait(&self, unit: &str) -> Wait {
        let order = unit.split('.').next().unwrap_or(unit);
        let explained = self.explained(order).await;
        let mut units = explained.whole.units.into_iter();
        let unit = units.find(|shown| shown.id == unit).expect("it is there");
        unit.wait.expect("it waits")
    }

    pub async fn listed(&self, state: Option<&str>) -> Vec<OrderShown> {
        let filter = Filter {
            state: state.map(str::to_owned),
            named: None,
        };
        let rows = self.store.orders(&filter).await.unwrap();
        let now = (self.clock)();
        let listed = views::listed(&self.store, &self.config, &rows, now);
        listed.await.unwrap()
    }

    pub async fn alarms(&self) -> Vec<AlarmShown> {
        let alarms = self.store.alarms().await.unwrap();
        alarms.into_iter().map(AlarmShown::from).collect()
    }

    /// Kind and subject of what stands.
    pub async fn standing(&self) -> Vec<(String, String)> {
        let alarms = self.alarms().await.into_iter();
        alarms
            .map(|alarm| (alarm.row.kind, alarm.row.subject))
            .collect()
    }

    pub async fn acts(&self, order: &str) -> Vec<String> {
        let events = self.store.events(order).await.unwrap();
        events.into_iter().map(|event| event.act).collect()
    }

    /// A person keys a unit into MyAdmin, as it is or with a typing mistake.
    pub fn key_in(&self, row: &UnitRow, mistake: impl FnOnce(&mut market::UnitReport)) {
        let known = row.unit.known();
        let mut report = market::UnitReport {
            serial: known.serial.map(|serial| serial.to_string()),
            sim: known.tags.sim.map(String::from),
            imei: known.tags.imei.map(String::from),
        };
        mistake(&mut report);
        let (order, line) = (row.order_id.parse().unwrap(), row.line.id.parse().unwrap());
        self.world.key_in(order, line, &report);
    }

    pub fn key_in_shipment(&self, order: &str, tracking: &str, status: &str) {
        let shipment = market::Shipment {
            carrier: Some("Post".into()),
            tracking: Some(tracking.into()),
            status: Some(status.into()),
        };
        self.world
            .key_in_shipment(order.parse().unwrap(), &shipment);
    }

    /// Does what a remedy says: the program itself, with this store.
    pub fn apply(&self, remedy: &str, of: &str) -> std::process::Output {
        let output = self.run(remedy, of, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{of} of {remedy}: {said}");
        output
    }

    /// As [`Site::apply`], with more settings; a report of what is wrong is no failure.
    pub fn run(&self, remedy: &str, of: &str, more: &[&str]) -> std::process::Output {
        let output = self.try_run(remedy, of, more);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() < Some(2), "{of} of {remedy}: {said}");
        output
    }

    /// Executes the first command of a kind that a text prints between backticks.
    pub fn try_run(&self, remedy: &str, of: &str, more: &[&str]) -> std::process::Output {
        let start = format!("`orders {of} ");
        let text = remedy
            .replace("`dig-ingest ", "`")
            .replace(" --by NAME", "");
        let text = text.replace(&format!("`orders {of}`"), &format!("{start}`"));
        let (_, rest) = text
            .split_once(&start)
            .unwrap_or_else(|| panic!("no {of} in {remedy:?}"));
        let place = format!("orders.store.file={}", self.file().display());
        // The subject may hold backticks itself: in single quotes they do not end the command.
        let (mut quoted, mut escaped) = (false, false);
        let end = rest.find(|sign: char| {
            if escaped {
                escaped = false;
                return false;
            }
            escaped = sign == '\\' && !quoted;
            quoted ^= sign == '\'';
            sign == '`' && !quoted
        });
        let command = format!("orders {of} {}", &rest[..end.expect("a command ends")]);
        std::process::Command::new(env!("CARGO_BIN_EXE_dig-ingest"))
            .args(words(&command))
            .args(["--by", "ann", "--set", &place])
            .args(more)
            .output()
            .unwrap()
    }
}

/// The words of a command as a shell makes them.
fn words(command: &str) -> Vec<String> {
    let script = format!("for word in {command}; do printf '%s\\0' \"$word\"; done");
    let output = std::process::Command::new("bash")
        .args(["-c", &script])
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// Marks that no other unit has.
pub fn marks(row: &UnitRow) -> Tags {
    let line: u64 = row.line.id.parse().unwrap();
    Tags {
        imei: Some(made_up::imei(line).into()),
        sim: Some(made_up::iccid(line).into()),
        device_id: None,
    }
}

pub fn serial(row: &UnitRow) -> Serial {
    row.unit.serial().expect("it has one")
}
