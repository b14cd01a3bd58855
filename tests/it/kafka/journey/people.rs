//! The people of the journey: customers, the Partner, the warehouse, and the office that looks at what is parked.
//!
//! They act on what they see, a little at every look: on the market as its control API does, on the orders as `dig-ingest orders`
//! does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use dig_ingest::orders::journey::order::{Open, Order};
use dig_ingest::orders::journey::unit::Unit;
use dig_ingest::orders::journey::way::Live;
use dig_ingest::orders::journey::{Actor, Code, Parcel, Serial, Tags};
use dig_ingest::orders::store::intents::Outcome;
use dig_ingest::orders::store::operator_actions::Subject;
use dig_ingest::orders::store::read::Whole;
use dig_ingest::orders::store::rows::UnitRow;
use dig_ingest::orders::store::{Error, Store};
use dig_ingest::sim::market::{self, Stage};
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

pub struct People {
    size: Size,
    /// Units of the orders still to be placed.
    to_order: Vec<u32>,
    /// By the order's id.
    pub fates: BTreeMap<u64, Fate>,
    /// Devices in the warehouse that no unit has.
    drawer: Vec<String>,
    /// Serials whose termination was asked for.
    pub terminated: BTreeSet<String>,
}

/// Everything the store has.
pub async fn wholes(store: &Store) -> Vec<Whole> {
    store.open_orders(Timestamp::MIN).await.expect("the store")
}

fn ann() -> Actor {
    Actor::Person("ann".into())
}

/// A refusal is a person's to read; anything else is a fault of the store.
fn told<T>(result: Result<T, Error>) {
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
        }
    }

    /// Units there will be.
    pub fn expected(&self) -> usize {
        self.size.units
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
            lines.filter(|lines| lines.len() == self.size.units)
        });
    }

    pub fn has_terminated(&self) -> bool {
        self.terminated.len() >= self.size.terminations
    }

    /// Whether every termination and cancellation has reached the store.
    pub fn all_known(&self, units: &[UnitRow]) -> bool {
        units.iter().all(|row| {
            let order: u64 = row.order_id.parse().expect("a number");
            let serial = row.unit.serial().map(|serial| serial.to_string());
            let ended = serial.is_some_and(|serial| self.terminated.contains(&serial));
            match self.fates[&order] {
                Fate::Active if ended => matches!(row.unit, Unit::Terminated(_)),
                Fate::Active => row.unit.is_active(),
                Fate::CancelledEarly | Fate::CancelledLate => {
                    matches!(row.unit, Unit::Cancelled(_))
                }
            }
        })
    }

    /// Everybody does a little of what there is to do.
    pub async fn act(&mut self, world: &World<'_>, store: &Store, dice: &mut StdRng) {
        if !self.to_order.is_empty() && dice.random_bool(0.5) {
            self.place(world, dice);
        }
        let wholes = wholes(store).await;
        self.cancel(world, &wholes);
        for whole in &wholes {
            if matches!(whole.row.order, Order::Open(Open::Received(_))) {
                told(store.approve(&whole.row.id, &ann(), Timestamp::now()).await);
            }
            self.assign(store, whole).await;
            ship(store, whole, dice).await;
        }
        if dice.random_bool(0.2) {
            clear_up(world, store, &wholes).await;
        }
        self.own(world, dice);
        self.terminate(world, &wholes, dice);
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

    /// Every unit gets a device out of the drawer, also one whose line asks for none.
    async fn assign(&mut self, store: &Store, whole: &Whole) {
        for row in &whole.units {
            let waits = matches!(
                row.unit,
                Unit::Live(Live::Ordered(_) | Live::Provisioned(_) | Live::Assigned(_))
            );
            if !waits || row.unit.known().tags.imei.is_some() {
                continue;
            }
            let Some(imei) = self.drawer.last() else {
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
                Ok(_) => {
                    self.drawer.pop();
                }
                refused => told(refused),
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
    fn terminate(&mut self, world: &World<'_>, wholes: &[Whole], dice: &mut StdRng) {
        if self.has_terminated() || !dice.random_bool(0.2) {
            return;
        }
        let active: Vec<String> = wholes
            .iter()
            .flat_map(|whole| &whole.units)
            .filter(|row| row.unit.is_active())
            .filter_map(|row| row.unit.serial())
            .map(|serial| serial.to_string())
            .filter(|serial| !self.terminated.contains(serial))
            .collect();
        if active.is_empty() {
            return;
        }
        let serial = &active[dice.random_range(0..active.len())];
        world.gateway.market(|market, now| {
            let heard = market
                .device(serial)
                .is_some_and(|device| device.billing.started_us.is_some());
            if heard {
                market
                    .terminate(serial, 1, "", "the Partner", now)
                    .expect("an active device");
                self.terminated.insert(serial.clone());
            }
        });
    }
}

async fn ship(store: &Store, whole: &Whole, dice: &mut StdRng) {
    let assigned: Vec<String> = whole
        .units
        .iter()
        .filter(|row| matches!(row.unit, Unit::Live(Live::Assigned(_))))
        .filter(|row| row.unit.known().tags.imei.is_some())
        .map(|row| row.id.clone())
        .collect();
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
    let named = dice.random_bool(0.2).then_some(&assigned[..some]);
    let number = format!("T{}", dice.random_range(1..10_000));
    let parcel = Parcel::new("Post", [number]).expect("a parcel");
    told(
        store
            .ship(&whole.row.id, named, &parcel, &ann(), Timestamp::now())
            .await,
    );
}

/// The office looks in MyAdmin before it lets a lost answer go on: with the serial that was made for it, or without.
async fn clear_up(world: &World<'_>, store: &Store, wholes: &[Whole]) {
    for whole in wholes {
        if matches!(whole.row.order, Order::Parked(_)) {
            let subject = Subject::Order(whole.row.id.clone());
            told(store.retry(&subject, &ann(), Timestamp::now()).await);
        }
        for row in &whole.units {
            let subject = Subject::Unit(row.id.clone());
            let parked = match &row.unit {
                Unit::Parked(parked) => parked,
                // Of one that has ended, only a call in doubt is left to be settled.
                Unit::Cancelled(_) => {
                    told(
                        store
                            .retry_as(&subject, true, &ann(), Timestamp::now())
                            .await,
                    );
                    continue;
                }
                Unit::Live(_) | Unit::Terminated(_) => continue,
            };
            if parked.reason.code == Code::LostAnswer
                && let Some(serial) = orphan(world, store, row).await
            {
                told(
                    store
                        .assign(
                            &row.id,
                            Some(&serial),
                            &Tags::default(),
                            &ann(),
                            Timestamp::now(),
                        )
                        .await,
                );
            }
            told(
                store
                    .retry_as(&subject, true, &ann(), Timestamp::now())
                    .await,
            );
        }
    }
}

/// A serial of the unit's product that is ours and nobody's.
async fn orphan(world: &World<'_>, store: &Store, row: &UnitRow) -> Option<Serial> {
    let code = &row.line.product_code;
    let open = store
        .intents()
        .await
        .expect("the store")
        .iter()
        .any(|intent| intent.outcome == Outcome::Open && intent.wish.product_code == *code);
    // One that a call made which is still open is not this unit's.
    if open {
        return None;
    }
    let claimed: BTreeSet<String> = wholes(store)
        .await
        .iter()
        .flat_map(|whole| &whole.units)
        .filter_map(|row| row.unit.serial())
        .map(|serial| serial.to_string())
        .collect();
    let ours: Vec<String> = world.gateway.market(|market, _| {
        let made = market.devices().iter();
        made.filter(|device| device.maker == market::INTEGRATOR && device.product_code == *code)
            .map(|device| device.serial.clone())
            .collect()
    });
    let orphan = ours.into_iter().find(|serial| !claimed.contains(serial))?;
    Serial::parse(&orphan).ok()
}
