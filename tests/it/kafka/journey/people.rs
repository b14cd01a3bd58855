//! The people of the journey: customers, the Partner, the warehouse; the [`super::office`] looks at what is parked.
//!
//! They act on what they see, a little at every look: on the market as its control API does, on the orders as `dig-ingest orders`
//! does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use dig_ingest::orders::journey::order::{Open, Order};
use dig_ingest::orders::journey::unit::{Live, Unit};
use dig_ingest::orders::journey::{Actor, Parcel, Tags};
use dig_ingest::orders::settings::Status;
use dig_ingest::orders::store::intents::Outcome;
use dig_ingest::orders::store::operator_actions::Subject;
use dig_ingest::orders::store::read::Whole;
use dig_ingest::orders::store::rows::UnitRow;
use dig_ingest::orders::store::{Error, Store};
use dig_ingest::registry::State;
use dig_ingest::sim::market::Stage;
use jiff::Timestamp;
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::Value;

use super::Size;
use crate::support::marks::iccid;
use crate::support::trade;
use crate::support::wait_for;
use crate::support::world::World;

/// What is to become of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Active,
    /// Cancelled once its first unit has a serial.
    CancelledEarly,
    /// Cancelled once it is fulfilled.
    CancelledLate,
}

/// What the warehouse has on paper of a unit: the label of its device, and how it travels. It outlives the store.
#[derive(Debug, Default)]
pub struct Paper {
    pub serial: Option<String>,
    pub imei: Option<String>,
    parcel: Option<Parcel>,
    /// When it became active first.
    pub since: Option<Timestamp>,
    /// As far as it ever came.
    pub furthest: usize,
}

pub struct People {
    size: Size,
    /// Units of the orders still to be placed.
    to_order: Vec<u32>,
    /// By the order's id.
    pub fates: BTreeMap<u64, Fate>,
    /// Devices in the warehouse that no unit has.
    drawer: Vec<String>,
    /// Serials whose termination was asked for by the Partner.
    pub terminated: BTreeSet<String>,
    /// Units whose device was replaced, with its serial.
    pub replaced: BTreeMap<String, String>,
    /// Lines that were added to orders and taken out of them.
    pub added: usize,
    pub dropped: usize,
    /// Closed orders that were taken up again.
    pub reopened: usize,
    /// By the unit's id.
    pub paper: BTreeMap<String, Paper>,
}

/// Everything the store has.
pub async fn wholes(store: &Store) -> Vec<Whole> {
    store.open_orders(Timestamp::MIN).await.expect("the store")
}

pub fn ann() -> Actor {
    Actor::Person("ann".into())
}

/// A refusal is a person's to read; anything else is a fault of the store.
pub fn told<T>(result: Result<T, Error>) {
    match result {
        Ok(_) | Err(Error::Refused(_) | Error::Changed(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

impl People {
    pub fn new(size: Size) -> Self {
        let (orders, units) = (size.orders as u32, size.units as u32);
        let share = |at: u32| units / orders + u32::from(at < units % orders);
        Self {
            size,
            to_order: (0..orders).map(share).collect(),
            fates: BTreeMap::new(),
            drawer: Vec::new(),
            terminated: BTreeSet::new(),
            replaced: BTreeMap::new(),
            added: 0,
            dropped: 0,
            reopened: 0,
            paper: BTreeMap::new(),
        }
    }

    /// The warehouse gets the devices that the load plays.
    pub fn find_devices(&mut self, fleet: &Path) {
        self.drawer = wait_for("the load wrote its devices", || {
            let text = fs::read_to_string(fleet).ok()?;
            let lines: Option<Vec<String>> = text
                .lines()
                .map(|line| {
                    let device: Value = serde_json::from_str(line).ok()?;
                    device["device_id"].as_str().map(str::to_owned)
                })
                .collect();
            lines.filter(|lines| lines.len() == self.size.devices())
        });
    }

    fn has_terminated(&self) -> bool {
        self.terminated.len() >= self.size.terminations
    }

    /// One more device is terminated.
    pub fn want_another_sheet(&mut self) {
        self.size.terminations = self.terminated.len() + 1;
    }

    /// Whether everything that is to be asked for was asked for.
    pub fn has_asked_for_all(&self) -> bool {
        self.to_order.is_empty()
            && self.has_terminated()
            && self.replaced.len() >= self.size.changes
    }

    /// Whether a serial's device has ended for good: its Partner terminated it, or it was replaced.
    pub fn has_ended(&self, serial: &str) -> bool {
        self.terminated.contains(serial)
            || self.replaced.values().any(|replaced| replaced == serial)
    }

    /// Everybody sees what the store has.
    pub async fn look(&mut self, store: &Store) -> Vec<Whole> {
        let wholes = wholes(store).await;
        self.remember(&wholes);
        wholes
    }

    /// P1, over all stores that there were: no unit is ever seen with two serials, and no serial as two units'.
    fn remember(&mut self, wholes: &[Whole]) {
        for row in wholes.iter().flat_map(|whole| &whole.units) {
            let known = row.unit.known();
            let paper = self.paper.entry(row.id.clone()).or_default();
            if let Some(serial) = known.serial.map(|serial| serial.to_string()) {
                let before = paper.serial.get_or_insert_with(|| serial.clone());
                // Its line has the serial of the device that took its place, and the store that knew of the first one is gone.
                let follows = self.replaced.contains_key(&row.id);
                assert!(
                    *before == serial || follows,
                    "unit {} had serial {before} and has {serial}",
                    row.id
                );
            }
            paper.imei = known.tags.imei.map(String::from).or(paper.imei.take());
            paper.parcel = known.parcel.or(paper.parcel.take());
            paper.since = match (paper.since, known.active_since) {
                (Some(before), Some(now)) => Some(before.min(now)),
                (before, now) => before.or(now),
            };
            paper.furthest = paper.furthest.max(super::rank(&row.unit));
        }
    }

    /// The paper of the device with a serial.
    fn label(&self, serial: &str) -> Option<&Paper> {
        let mut papers = self.paper.values();
        papers.find(|paper| paper.serial.as_deref() == Some(serial))
    }

    /// What has not come to the end that customers, Partners and the office ask for.
    pub async fn left_behind(&self, world: &World<'_>, store: &Store) -> Vec<String> {
        let mut left = Vec::new();
        if !self.to_order.is_empty() {
            left.push(format!("{} orders are not placed", self.to_order.len()));
        }
        let states: BTreeMap<String, State> = devices(store).await;
        for (&order, &fate) in &self.fates {
            let Some(row) = store.order(&order.to_string()).await.expect("the store") else {
                left.push(format!("order {order} is not taken in"));
                continue;
            };
            let fits = match fate {
                Fate::Active => {
                    row.order.clear().is_some() || matches!(row.order, Order::Closed(_))
                }
                Fate::CancelledEarly | Fate::CancelledLate => row.order.is_over(),
            };
            if !fits {
                left.push(format!("order {order}: {:?}", row.order));
            }
            let units = store.units(&row.id).await.expect("the store");
            for unit in &units {
                let serial = unit.unit.serial().map(|serial| serial.to_string());
                let ended = serial
                    .as_deref()
                    .is_some_and(|serial| self.has_ended(serial));
                let over = matches!(unit.unit, Unit::Cancelled(_) | Unit::Terminated(_));
                let fits = match fate {
                    _ if ended => matches!(unit.unit, Unit::Terminated(_)),
                    Fate::Active if !shows(world, order, unit) => over || unit.unit.is_active(),
                    Fate::Active => unit.unit.is_active(),
                    Fate::CancelledEarly | Fate::CancelledLate => over,
                };
                if !fits {
                    left.push(format!("unit {}: {:?}", unit.id, unit.unit));
                }
            }
            if fate == Fate::Active && !matches!(row.order, Order::Closed(_)) {
                for line in lines(world, order) {
                    if !units.iter().any(|unit| unit.line.id == line) {
                        left.push(format!("line {line} of order {order} has no unit"));
                    }
                }
            }
        }
        for (unit, paper) in &self.paper {
            let Some(serial) = &paper.serial else {
                continue;
            };
            let order: u64 = order_of(unit).parse().expect("a number");
            let state = states.get(serial);
            let fits = if self.has_ended(serial) {
                state == Some(&State::Terminated)
            } else if self.fates[&order] != Fate::Active {
                state != Some(&State::Active)
            } else {
                // A line that was taken out may have been active by then.
                state == Some(&State::Active) || !is_line(world, order, unit)
            };
            if !fits {
                left.push(format!("device {serial} of unit {unit} is {state:?}"));
            }
        }
        for intent in store.intents().await.expect("the store") {
            if matches!(intent.outcome, Outcome::Open | Outcome::Unresolved) {
                left.push(format!("{intent:?}"));
            }
        }
        left
    }

    /// Everybody does a little of what there is to do.
    pub async fn act(&mut self, world: &World<'_>, store: &Store, dice: &mut StdRng) {
        if !self.to_order.is_empty() && dice.random_bool(0.5) {
            self.place(world, dice);
        }
        let wholes = self.look(store).await;
        self.cancel(world, &wholes);
        for whole in &wholes {
            if matches!(whole.row.order, Order::Open(Open::Received(_))) {
                told(store.approve(&whole.row.id, &ann(), Timestamp::now()).await);
            }
            self.assign(store, whole).await;
            self.ship(store, whole, dice).await;
        }
        if dice.random_bool(0.2) {
            self.clear_up(world, store, &wholes).await;
        }
        if dice.random_bool(0.1) {
            self.change_quantity(world, &wholes, dice);
        }
        if dice.random_bool(0.1) {
            self.replace(world, store, &wholes, dice).await;
        }
        if dice.random_bool(0.1) {
            self.reopen(store).await;
        }
        self.own(world, dice);
        self.terminate(world, store, dice).await;
    }

    fn place(&mut self, world: &World<'_>, dice: &mut StdRng) {
        let Some(units) = self.to_order.pop() else {
            return;
        };
        let product = if dice.random_bool(0.7) {
            "CTD-200"
        } else {
            "CTD-100"
        };
        let fate = match dice.random_range(0..10) {
            0 => Fate::CancelledEarly,
            1 => Fate::CancelledLate,
            _ => Fate::Active,
        };
        let order = trade::ordered(world, product, units);
        self.fates.insert(order, fate);
    }

    fn cancel(&self, world: &World<'_>, wholes: &[Whole]) {
        for (&order, &fate) in &self.fates {
            let stage = world
                .gateway
                .market(|market, _| market.get(order).map(|order| order.stage));
            let due = match fate {
                Fate::Active => false,
                Fate::CancelledLate => stage == Some(Stage::Fulfilled),
                Fate::CancelledEarly => {
                    stage != Some(Stage::Cancelled)
                        && wholes
                            .iter()
                            .filter(|whole| whole.row.id == order.to_string())
                            .flat_map(|whole| &whole.units)
                            .any(|row| row.unit.serial().is_some())
                }
            };
            if due {
                world
                    .gateway
                    .market(|market, now| market.cancel(order, now))
                    .expect("not cancelled yet");
            }
        }
    }

    /// Every unit gets a device out of the drawer, also one whose line asks for none; one that has a label gets that device again.
    async fn assign(&mut self, store: &Store, whole: &Whole) {
        for row in &whole.units {
            let waits = matches!(
                row.unit,
                Unit::Live(Live::Ordered(_) | Live::Provisioned(_) | Live::Assigned(_))
            );
            if !waits || row.unit.known().tags.imei.is_some() {
                continue;
            }
            let serial = row.unit.serial().map(|serial| serial.to_string());
            let label = match &serial {
                Some(serial) => self.label(serial),
                None => self.paper.get(&row.id),
            };
            let labelled = label.and_then(|paper| paper.imei.clone());
            let Some(imei) = labelled.as_ref().or(self.drawer.last()) else {
                continue;
            };
            // A device's SIM lies in its box: the number of one tells the other's.
            let number: u64 = imei[..14].parse().expect("digits");
            let tags = Tags {
                sim: Some(iccid(number).into()),
                imei: Some(imei.as_str().into()),
                device_id: None,
            };
            match store
                .assign(&row.id, None, &tags, &ann(), Timestamp::now())
                .await
            {
                Ok(_) if labelled.is_none() => {
                    self.drawer.pop();
                }
                result => told(result),
            }
        }
    }

    async fn ship(&self, store: &Store, whole: &Whole, dice: &mut StdRng) {
        let assigned: Vec<&UnitRow> = whole
            .units
            .iter()
            .filter(|row| matches!(row.unit, Unit::Live(Live::Assigned(_))))
            .filter(|row| row.unit.known().tags.imei.is_some())
            .collect();
        // What left before the store was lost travels as it did.
        for row in &assigned {
            let serial = row.unit.serial().map(|serial| serial.to_string());
            let label = serial.and_then(|serial| self.label(&serial));
            if let Some(parcel) = label.and_then(|paper| paper.parcel.clone()) {
                let named = [row.id.clone()];
                let now = Timestamp::now();
                told(
                    store
                        .ship(&whole.row.id, Some(&named), &parcel, &ann(), now)
                        .await,
                );
            }
        }
        let on_the_way = whole.units.iter().filter(|row| {
            matches!(
                row.unit,
                Unit::Live(Live::Ordered(_) | Live::Provisioned(_))
            )
        });
        if assigned.is_empty() || on_the_way.count() > 0 || dice.random_bool(0.7) {
            return;
        }
        // A few go in several packages.
        let some = dice.random_range(1..=assigned.len());
        let named: Vec<String> = assigned[..some].iter().map(|row| row.id.clone()).collect();
        let named = dice.random_bool(0.2).then_some(&*named);
        let number = format!("T{}", dice.random_range(1..10_000));
        let parcel = Parcel::new("Post", [number]).expect("a parcel");
        told(
            store
                .ship(&whole.row.id, named, &parcel, &ann(), Timestamp::now())
                .await,
        );
    }

    /// A customer wants one more of an order that goes on, or one less.
    fn change_quantity(&mut self, world: &World<'_>, wholes: &[Whole], dice: &mut StdRng) {
        let going_on: Vec<&Whole> = wholes
            .iter()
            .filter(|whole| whole.row.order.clear().is_some() && whole.units.len() > 1)
            .filter(|whole| self.fates[&number(&whole.row.id)] == Fate::Active)
            .collect();
        if going_on.is_empty() {
            return;
        }
        let whole = going_on[dice.random_range(0..going_on.len())];
        let order = number(&whole.row.id);
        let row = &whole.units[dice.random_range(0..whole.units.len())];
        let early = matches!(
            row.unit,
            Unit::Live(Live::Ordered(_) | Live::Provisioned(_) | Live::Assigned(_))
        );
        world.gateway.market(|market, now| {
            // MyAdmin refuses either once the order is fulfilled.
            if self.added < self.size.changes
                && market.add_unit(order, &row.line.product_code, now).is_ok()
            {
                self.added += 1;
            } else if early
                && self.dropped < self.size.changes
                && market.drop_unit(order, number(&row.line.id), now).is_ok()
            {
                self.dropped += 1;
            }
        });
    }

    /// A device that was heard comes back broken: another one takes its place, and its Partner terminates the broken one.
    async fn replace(
        &mut self,
        world: &World<'_>,
        store: &Store,
        wholes: &[Whole],
        dice: &mut StdRng,
    ) {
        let rows = || wholes.iter().flat_map(|whole| &whole.units);
        // The store that knew of it may be gone: then it is said again.
        for (unit, serial) in &self.replaced {
            let row = rows().find(|row| row.id == *unit);
            let forgotten = row.is_some_and(|row| {
                row.unit
                    .serial()
                    .is_some_and(|known| known.to_string() == *serial)
                    && !rows().any(|other| other.replaces.as_ref() == Some(unit))
            });
            if forgotten {
                told(store.replace(unit, "RMA", &ann(), Timestamp::now()).await);
            }
        }
        if self.replaced.len() >= self.size.changes {
            return;
        }
        let heard: Vec<&UnitRow> = rows()
            .filter(|row| row.unit.is_active())
            .filter(|row| shows(world, number(&row.order_id), row))
            .filter(|row| {
                let serial = row.unit.serial().map(|serial| serial.to_string());
                serial.is_some_and(|serial| !self.has_ended(&serial) && is_billed(world, &serial))
            })
            .collect();
        if heard.is_empty() {
            return;
        }
        let row = heard[dice.random_range(0..heard.len())];
        let Some(serial) = row.unit.serial() else {
            return;
        };
        match store
            .replace(&row.id, "RMA", &ann(), Timestamp::now())
            .await
        {
            Ok(_) => {
                self.replaced.insert(row.id.clone(), serial.to_string());
                world.gateway.market(|market, now| {
                    market
                        .terminate(serial.as_str(), 1, "", "the Partner", now)
                        .expect("an active device");
                });
            }
            refused => told(refused),
        }
    }

    /// An order that was fulfilled before a lost store knew it is taken up again, while a device of it waits for its activation.
    async fn reopen(&mut self, store: &Store) {
        let states = devices(store).await;
        let mut orders: BTreeSet<&str> = BTreeSet::new();
        for (unit, paper) in &self.paper {
            let Some(serial) = &paper.serial else {
                continue;
            };
            let order = order_of(unit);
            let waits = states.get(serial) != Some(&State::Active) && !self.has_ended(serial);
            if waits && self.fates[&number(order)] == Fate::Active {
                orders.insert(order);
            }
        }
        for order in orders {
            let row = store.order(order).await.expect("the store");
            if row.is_some_and(|row| matches!(row.order, Order::Closed(_))) {
                let subject = Subject::Order(order.to_owned());
                let now = Timestamp::now();
                told(
                    store
                        .resume(
                            &subject,
                            "its devices wait",
                            &Status::default(),
                            &ann(),
                            now,
                        )
                        .await,
                );
                self.reopened += 1;
            }
        }
    }

    /// Customers put what has arrived into their databases, or first only share it.
    fn own(&self, world: &World<'_>, dice: &mut StdRng) {
        world.gateway.market(|market, now| {
            let arrived: Vec<String> = market
                .all_orders()
                .filter(|order| order.stage == Stage::Fulfilled)
                .filter(|order| self.fates.get(&order.id) == Some(&Fate::Active))
                .flat_map(|order| &order.units)
                .filter_map(|unit| unit.serial.clone())
                .collect();
            for serial in arrived {
                let known = market.device(&serial);
                if known.is_none_or(|device| device.owner.is_some() || device.termination.is_some())
                {
                    continue;
                }
                let done = match dice.random_range(0..20) {
                    0..4 => market.assign(&serial, "customer", now),
                    4 => market.share(&serial, "visitor", now),
                    _ => Ok(()),
                };
                done.expect("a device that is there");
            }
        });
    }

    /// The Partner terminates some of those that were heard.
    async fn terminate(&mut self, world: &World<'_>, store: &Store, dice: &mut StdRng) {
        if self.has_terminated() || !dice.random_bool(0.2) {
            return;
        }
        let states = devices(store).await;
        let active: Vec<&String> = states
            .iter()
            .filter(|(serial, state)| **state == State::Active && !self.has_ended(serial))
            .map(|(serial, _)| serial)
            .collect();
        if active.is_empty() {
            return;
        }
        let serial = active[dice.random_range(0..active.len())];
        if is_billed(world, serial) {
            world.gateway.market(|market, now| {
                market
                    .terminate(serial, 1, "", "the Partner", now)
                    .expect("an active device");
            });
            self.terminated.insert(serial.clone());
        }
    }
}

pub fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

fn order_of(unit: &str) -> &str {
    unit.split('.').next().unwrap_or(unit)
}

/// State by serial of every device that the store knows.
pub async fn devices(store: &Store) -> BTreeMap<String, State> {
    let devices = store.devices().await.expect("the store");
    let named = devices.into_iter();
    named
        .filter_map(|device| Some((device.serial?.to_string(), device.state)))
        .collect()
}

/// Ids of the lines that MyAdmin shows.
fn lines(world: &World<'_>, order: u64) -> Vec<String> {
    world.gateway.market(|market, _| {
        let units = market.get(order).into_iter().flat_map(|order| &order.units);
        units.map(|unit| unit.id.to_string()).collect()
    })
}

pub fn shows(world: &World<'_>, order: u64, row: &UnitRow) -> bool {
    lines(world, order).contains(&row.line.id)
}

/// Whether MyAdmin shows the line of a unit, by the unit's id.
fn is_line(world: &World<'_>, order: u64, unit: &str) -> bool {
    let line = unit.split('.').nth(1).unwrap_or_default();
    let line = line.split('r').next().unwrap_or(line);
    lines(world, order).iter().any(|shown| shown == line)
}

fn is_billed(world: &World<'_>, serial: &str) -> bool {
    world.gateway.market(|market, _| {
        let device = market.device(serial);
        device.is_some_and(|device| {
            device.billing.started_us.is_some() && device.termination.is_none()
        })
    })
}
