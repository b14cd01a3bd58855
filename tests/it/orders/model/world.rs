//! The world: the simulator's plain market behind the journey's seam, with faults at every call.

mod seam;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dig_ingest::http::retry::Failure;
use dig_ingest::myadmin::Error;
use dig_ingest::myadmin::error::{Kind, Refusal, Why};
use dig_ingest::sim::market::{
    self, Cart, Config, INTEGRATOR, Market, PARTNER, Refused, Settings, Stage,
};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;

const PRODUCTS: [&str; 3] = ["CTD-100", "CTD-200", "CABLE-1"];

/// Where a call can be held up by [`World::hold`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before a provisioning call may leave.
    Permit,
    /// A provisioning call has had its effect and is not answered.
    Provision,
    /// The same of a report of a unit.
    Report,
}

/// The world; beside it where calls are held up, and where one is.
#[derive(Clone)]
pub struct World(Arc<Mutex<Inner>>, Arc<Gate>);

struct Gate {
    held: watch::Sender<Option<Place>>,
    reached: watch::Sender<Option<Place>>,
}

struct Inner {
    market: Market,
    now_us: i64,
    dice: StdRng,
    /// How often a call goes wrong.
    rate: f64,
    /// Serials somebody else made with the same account.
    strangers: BTreeSet<String>,
    /// The serial that each unit was first seen with: what its label says, whatever becomes of the store.
    labels: BTreeMap<String, String>,
    reported: BTreeSet<String>,
    owned: BTreeSet<String>,
    /// Calls that change something.
    writes: u64,
    /// What reports of units and of shipments are refused with.
    refusing: [Option<u16>; 2],
    /// Reports that came, refused or not.
    reports: usize,
    /// The account may not list contracts.
    no_contracts: bool,
    /// Orders have no lines, and a device is listed that cannot be one.
    odd: bool,
}

/// An order as the judge sees it.
pub struct Truth {
    pub id: String,
    pub cancelled: bool,
}

/// When a call fails: before its effect or after it, or by an answer that says so.
enum Fault {
    Before(Why),
    After(Why),
    Declined,
    Nothing,
}

impl World {
    pub fn new(seed: u64, dice: &mut StdRng) -> Self {
        let config = Config {
            settings: Settings {
                visible_max_ms: 600_000,
                database_lag_ms: dice.random_range(0..120_000),
                cancelled_vanish: false,
                ..Settings::prompt()
            },
            ..Config::default()
        };
        let inner = Arc::new(Mutex::new(Inner {
            market: Market::new(&config, seed),
            now_us: 1_800_000_000_000_000,
            dice: StdRng::seed_from_u64(seed ^ 0x5eed),
            rate: [0.0, 0.05, 0.15, 0.4][dice.random_range(0..4)],
            strangers: BTreeSet::new(),
            labels: BTreeMap::new(),
            reported: BTreeSet::new(),
            owned: BTreeSet::new(),
            writes: 0,
            refusing: [None; 2],
            reports: 0,
            no_contracts: false,
            odd: false,
        }));
        let gate = Gate {
            held: watch::Sender::new(None),
            reached: watch::Sender::new(None),
        };
        Self(inner, Arc::new(gate))
    }

    /// Calls that come to this place wait there until another one is named.
    pub fn hold(&self, place: Option<Place>) {
        self.1.held.send_replace(place);
    }

    /// Waits until a call is held up.
    pub async fn reached(&self, place: Place) {
        let mut reached = self.1.reached.subscribe();
        let here = reached.wait_for(|at| *at == Some(place));
        here.await.expect("the world is there");
    }

    async fn pass_by(&self, place: Place) {
        let mut held = self.1.held.subscribe();
        if *held.borrow_and_update() == Some(place) {
            self.1.reached.send_replace(Some(place));
            let free = held.wait_for(|held| *held != Some(place));
            free.await.expect("the world is there");
            self.1.reached.send_replace(None);
        }
    }

    /// From now on reports are refused with this status.
    pub fn refuse_reports(&self, status: Option<u16>) {
        self.inner().refusing = [status; 2];
    }

    /// The same of shipments alone.
    pub fn refuse_shipments(&self, status: Option<u16>) {
        self.inner().refusing[1] = status;
    }

    /// Reports that came, refused or not.
    pub fn reports(&self) -> usize {
        self.inner().reports
    }

    /// From now on the account may not list contracts.
    pub fn deny_contracts(&self) {
        self.inner().no_contracts = true;
    }

    /// From now on orders have no lines, and a device is listed that cannot be one.
    pub fn list_oddly(&self, odd: bool) {
        self.inner().odd = odd;
    }

    /// An order is cancelled in MyAdmin.
    pub fn cancel(&self, order: &str) {
        let mut inner = self.inner();
        let now = inner.now_us;
        inner.market.cancel(order.parse().unwrap(), now).unwrap();
    }

    /// Somebody else makes a device of a product, for an account that is none of ours.
    pub fn make(&self, product: i64) -> String {
        let mut inner = self.inner();
        let now = inner.now_us;
        let made = inner.market.make(product, INTEGRATOR, INTEGRATOR, now);
        let made = made.unwrap();
        inner.strangers.insert(made.clone());
        made
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub fn now(&self) -> Timestamp {
        super::at(self.inner().now_us)
    }

    pub fn pass(&self, seconds: i64) {
        self.inner().now_us += seconds * 1_000_000;
    }

    pub fn writes(&self) -> u64 {
        self.inner().writes
    }

    pub fn faulty(&self) -> bool {
        self.inner().rate > 0.0
    }

    pub fn calm(&self) {
        self.inner().rate = 0.0;
    }

    pub fn was_reported(&self, serial: &str) -> bool {
        self.inner().reported.contains(serial)
    }

    pub fn was_owned(&self, serial: &str) -> bool {
        self.inner().owned.contains(serial)
    }

    pub fn strangers(&self) -> usize {
        self.inner().strangers.len()
    }

    /// Serials that our calls made, whether we were told or not.
    pub fn made_for_us(&self) -> Vec<String> {
        let inner = self.inner();
        let ours = inner.market.devices().iter();
        ours.map(|device| device.serial.clone())
            .filter(|serial| !inner.strangers.contains(serial))
            .collect()
    }

    /// Devices of a product that a person who looks in MyAdmin knows to be ours.
    pub fn ours_of(&self, product: &str) -> Vec<String> {
        let inner = self.inner();
        let devices = inner.market.devices().iter();
        devices
            .filter(|device| {
                device.product_code == product && !inner.strangers.contains(&device.serial)
            })
            .map(|device| device.serial.clone())
            .collect()
    }

    /// A unit has its serial, and with it a label.
    pub fn label(&self, unit: &str, serial: &str) {
        let labels = &mut self.inner().labels;
        labels.entry(unit.to_owned()).or_insert(serial.to_owned());
    }

    /// The unit whose label a device has.
    pub fn unit_labelled(&self, serial: &str) -> Option<String> {
        let inner = self.inner();
        let mut labels = inner.labels.iter();
        let found = labels.find(|(_, labelled)| *labelled == serial);
        found.map(|(unit, _)| unit.clone())
    }

    /// Serials that may be a unit's, as a person finds them who looks at the labels: its own, else those without one.
    pub fn labelled_or_free(&self, unit: &str, serials: Vec<String>) -> Vec<String> {
        let inner = self.inner();
        match inner.labels.get(unit) {
            Some(own) => vec![own.clone()],
            None => {
                let taken: BTreeSet<&String> = inner.labels.values().collect();
                let free = serials.into_iter();
                free.filter(|serial| !taken.contains(serial)).collect()
            }
        }
    }

    /// Somebody makes a device with the same account.
    pub fn stranger(&self) -> String {
        let mut inner = self.inner();
        let now = inner.now_us;
        let made = inner.market.make(10032, PARTNER, INTEGRATOR, now).unwrap();
        inner.strangers.insert(made.clone());
        made
    }

    /// Serials that MyAdmin lists, with their product codes.
    pub fn listed(&self) -> Vec<(String, String)> {
        let inner = self.inner();
        let listed = inner.market.partner_devices(inner.now_us);
        listed
            .into_iter()
            .map(|device| (device.serial, device.product_code))
            .collect()
    }

    pub fn approved_orders(&self) -> Vec<Truth> {
        let inner = self.inner();
        let orders = inner.market.all_orders();
        orders
            .filter(|order| order.approved_us.is_some())
            .map(|order| Truth {
                id: order.id.to_string(),
                cancelled: order.stage == Stage::Cancelled,
            })
            .collect()
    }

    /// An order that its Partner approves at once.
    pub fn place(&self, product: &str, quantity: u32) -> u64 {
        let mut inner = self.inner();
        let now = inner.now_us;
        let id = inner
            .market
            .order(&Cart::of(product, quantity), now)
            .unwrap();
        inner.market.approve(id, now).unwrap();
        id
    }

    /// What customers, Partners and strangers do.
    pub fn turn(&self, dice: &mut StdRng) {
        let mut inner = self.inner();
        let now = inner.now_us;
        if dice.random_bool(0.35) && inner.market.all_orders().count() < 4 {
            let mut cart = Cart::of(PRODUCTS[dice.random_range(0..3)], dice.random_range(1..3));
            if dice.random_bool(0.3) {
                cart = cart.and(PRODUCTS[dice.random_range(0..3)], 1);
            }
            cart.comment = dice
                .random_bool(0.3)
                .then(|| "call before delivery".to_owned());
            let id = inner.market.order(&cart, now).unwrap();
            if dice.random_bool(0.9) {
                inner.market.approve(id, now).unwrap();
            } else {
                inner.market.reject(id).unwrap();
            }
        }
        let serials: Vec<String> = inner
            .market
            .devices()
            .iter()
            .map(|device| device.serial.clone())
            .collect();
        if !serials.is_empty() {
            let serial = &serials[dice.random_range(0..serials.len())];
            match dice.random_range(0..10) {
                0..5 => inner.own(serial),
                5 => inner.market.share(serial, "other_db", now).unwrap(),
                6 => {
                    let _ = inner.market.unassign(serial);
                }
                _ => {}
            }
        }
        if dice.random_bool(0.03) {
            let made = inner.market.make(10032, PARTNER, INTEGRATOR, now).unwrap();
            inner.strangers.insert(made);
        }
        if dice.random_bool(0.05) {
            let ids: Vec<u64> = inner.market.all_orders().map(|order| order.id).collect();
            if !ids.is_empty() {
                let _ = inner
                    .market
                    .cancel(ids[dice.random_range(0..ids.len())], now);
            }
        }
    }

    /// Its Partner terminates a device, as the sheet will tell; false if that was asked for before.
    pub fn terminate(&self, serial: &str) -> bool {
        let mut inner = self.inner();
        let now = inner.now_us;
        inner.market.terminate(serial, 1, "", PARTNER, now).is_ok()
    }

    /// All orders, for whoever has to find out what went wrong.
    pub fn told(&self) -> String {
        let inner = self.inner();
        let orders: Vec<_> = inner.market.all_orders().collect();
        format!("{orders:#?}")
    }

    /// All devices are in a database at last.
    pub fn own_all(&self) {
        let mut inner = self.inner();
        let serials: Vec<String> = inner
            .market
            .devices()
            .iter()
            .filter(|device| device.owner.is_none())
            .map(|device| device.serial.clone())
            .collect();
        for serial in serials {
            inner.own(&serial);
        }
    }

    /// The customer changes an order, or its devices' database, by whatever means MyAdmin has.
    pub fn meanwhile<T>(&self, change: impl FnOnce(&mut market::Market, i64) -> T) -> T {
        let mut inner = self.inner();
        let now = inner.now_us;
        change(&mut inner.market, now)
    }

    /// Whether MyAdmin has this line in its order.
    pub fn shows(&self, order: u64, line: u64) -> bool {
        let inner = self.inner();
        let order = inner.market.get(order);
        order.is_some_and(|order| order.units.iter().any(|unit| unit.id == line))
    }

    /// Whether MyAdmin has this line and no serial on it, though it asks for one.
    pub fn is_blank(&self, order: u64, line: u64) -> bool {
        let inner = self.inner();
        let mut units = inner
            .market
            .get(order)
            .into_iter()
            .flat_map(|order| &order.units);
        units.any(|unit| unit.id == line && unit.requires_serial && unit.serial.is_none())
    }

    /// What a person keys into the fulfilment page.
    pub fn key_in(&self, order: u64, unit: u64, report: &market::UnitReport) {
        let mut inner = self.inner();
        let now = inner.now_us;
        if inner.market.report_unit(order, unit, report, now).is_ok() {
            inner.reported.extend(report.serial.clone());
        }
    }

    pub fn key_in_shipment(&self, order: u64, shipment: &market::Shipment) {
        let mut inner = self.inner();
        let now = inner.now_us;
        let _ = inner.market.report_shipment(order, shipment, now);
    }

    /// Every call comes by here: time passes, and it may fail before its effect or after it.
    async fn fault(&self, writes: bool) -> Option<Fault> {
        // A place to be dropped before anything has happened.
        tokio::task::yield_now().await;
        let mut inner = self.inner();
        inner.now_us += 1_000_000;
        inner.writes += u64::from(writes);
        let rate = inner.rate;
        if !inner.dice.random_bool(rate) {
            return None;
        }
        let refused = |kind, name: &str| {
            Why::Refused(Refusal {
                kind,
                name: name.into(),
                message: "simulated".into(),
                status: 200,
            })
        };
        Some(match inner.dice.random_range(0..10) {
            0 => Fault::Before(Why::Throttled {
                retry_after: Some(Duration::from_secs(3)),
            }),
            1 => Fault::Before(Why::Failed(Failure::Connect("refused".into()))),
            2 => Fault::Before(Why::Failed(Failure::Timeout("no answer".into()))),
            3 => Fault::Before(refused(Kind::Session, "SessionExpiredException")),
            4 => Fault::Before(refused(Kind::Transient, "GenericRequestError")),
            5 => Fault::After(Why::Failed(Failure::Cut("reset".into()))),
            6 => Fault::After(Why::Unreadable {
                status: 200,
                why: "cut short".into(),
            }),
            7 => Fault::After(refused(Kind::Transient, "GenericRequestError")),
            8 => Fault::Declined,
            _ => Fault::Nothing,
        })
    }

    /// A report came: of a unit or of a shipment.
    fn refused(&self, what: usize) -> Result<(), Error> {
        let mut inner = self.inner();
        inner.reports += 1;
        let Some(status) = inner.refusing[what] else {
            return Ok(());
        };
        Err(Error {
            act: "report",
            changes: true,
            why: Why::Status {
                status,
                text: "simulated".into(),
                retry_after: None,
            },
        })
    }

    /// A call: its effect, unless the fault comes first; its answer, unless the fault comes after.
    async fn call<T>(
        &self,
        act: &'static str,
        changes: bool,
        effect: impl FnOnce(&mut Inner) -> Result<T, Refused>,
    ) -> Result<T, Error> {
        let error = |why| Error { act, changes, why };
        let fault = self.fault(changes).await;
        if let Some(Fault::Before(why)) = fault {
            return Err(error(why));
        }
        let done = effect(&mut self.inner());
        // A place to be dropped before the answer is known.
        tokio::task::yield_now().await;
        if let Some(Fault::After(why)) = fault {
            return Err(error(why));
        }
        done.map_err(|refused| {
            error(Why::Status {
                status: 404,
                text: refused.to_string(),
                retry_after: None,
            })
        })
    }
}

impl Inner {
    fn own(&mut self, serial: &str) {
        self.market
            .assign(serial, "customer_db", self.now_us)
            .unwrap();
        self.owned.insert(serial.to_owned());
    }
}
