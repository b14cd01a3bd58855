//! The people around the journey: warehouse, approver, whoever looks at what is parked, and the sheet of terminations.

use std::collections::BTreeSet;

use dig_ingest::orders::journey::order::{Open, Order};
use dig_ingest::orders::journey::unit::{Live, Unit};
use dig_ingest::orders::journey::{Actor, Code, Parcel, Serial, Tags};
use dig_ingest::orders::reconcile::fulfil::{all_shipped, wished};
use dig_ingest::orders::settings::{Config, Mode, Partial, Status};
use dig_ingest::orders::store::intents::Outcome;
use dig_ingest::orders::store::operator_actions::Subject;
use dig_ingest::orders::store::read::Whole;
use dig_ingest::orders::store::rows::UnitRow;
use dig_ingest::orders::store::{Error, Store};
use dig_ingest::sim::market;
use jiff::Timestamp;
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::json;

use super::world::World;
use crate::support::marks::{iccid, imei};

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

/// One thing somebody does.
pub async fn act(world: &World, store: &Store, config: &Config, dice: &mut StdRng) {
    let wholes = store.open_orders(Timestamp::MIN).await.unwrap();
    if wholes.is_empty() {
        return;
    }
    let whole = &wholes[dice.random_range(0..wholes.len())];
    match dice.random_range(0..12) {
        0 => approve(world, store, whole).await,
        1..3 => retry(world, store, &wholes, whole).await,
        3..6 => assign(world, store, whole, dice).await,
        6..8 => ship(world, store, whole, dice).await,
        8 => key_in(world, config, whole),
        9 => change_quantity(world, whole, dice),
        10 => change_units(world, store, whole, dice).await,
        _ => {
            let active = whole.units.iter().find(|row| row.unit.is_active());
            if let Some(serial) = active.and_then(|row| row.unit.serial()) {
                terminate(world, store, &serial).await;
            }
        }
    }
}

/// A customer wants one more, or one less.
fn change_quantity(world: &World, whole: &Whole, dice: &mut StdRng) {
    let order: u64 = whole.row.id.parse().unwrap();
    let Some(row) = whole.units.first() else {
        return;
    };
    let more = dice.random_bool(0.5) && whole.units.len() < 5;
    // MyAdmin may refuse either.
    world.meanwhile(|market, now| {
        if more {
            let _ = market.add_unit(order, &row.line.product_code, now);
        } else {
            let _ = market.drop_unit(order, row.line.id.parse().unwrap(), now);
        }
    });
}

/// One unit is cancelled, here and in MyAdmin; or its device is replaced; or something cancelled is taken up again.
async fn change_units(world: &World, store: &Store, whole: &Whole, dice: &mut StdRng) {
    let Some(row) = whole
        .units
        .get(dice.random_range(0..whole.units.len().max(1)))
    else {
        return;
    };
    let now = world.now();
    match dice.random_range(0..4) {
        0 => told(store.replace(&row.id, "RMA", &ann(), now).await.map(drop)),
        1 => {
            let unit = Subject::Unit(row.id.clone());
            told(
                store
                    .resume(&unit, "after all", &Status::default(), &ann(), now)
                    .await,
            );
        }
        2 => {
            let order = Subject::Order(whole.row.id.clone());
            told(
                store
                    .resume(&order, "after all", &Status::default(), &ann(), now)
                    .await,
            );
        }
        _ => cancel_unit(world, store, row).await,
    }
}

async fn cancel_unit(world: &World, store: &Store, row: &UnitRow) {
    let order: u64 = row.order_id.parse().unwrap();
    let line: u64 = row.line.id.parse().unwrap();
    let gone = world.meanwhile(|market, now| market.drop_unit(order, line, now).is_ok());
    if gone || !world.shows(order, line) {
        let now = world.now();
        told(store.cancel_unit(&row.id, "one less", &ann(), now).await);
    }
}

/// MyAdmin takes no order for fulfilled while a line of it is blank: what has ended is taken up again, or replaced.
async fn complete_lines(world: &World, store: &Store, whole: &Whole) {
    if whole.row.order.clear().is_none() {
        return;
    }
    let order: u64 = whole.row.id.parse().unwrap();
    for row in &whole.units {
        let live = |other: &&UnitRow| {
            other.line.id == row.line.id && matches!(other.unit, Unit::Live(_) | Unit::Parked(_))
        };
        if whole.units.iter().any(|row| live(&row))
            || !world.is_blank(order, row.line.id.parse().unwrap())
        {
            continue;
        }
        let now = world.now();
        match &row.unit {
            Unit::Cancelled(_) => {
                let unit = Subject::Unit(row.id.clone());
                told(
                    store
                        .resume(
                            &unit,
                            "it is still ordered",
                            &Status::default(),
                            &ann(),
                            now,
                        )
                        .await,
                );
            }
            Unit::Terminated(_) => {
                told(
                    store
                        .replace(&row.id, "it is still ordered", &ann(), now)
                        .await
                        .map(drop),
                );
            }
            Unit::Live(_) | Unit::Parked(_) => {}
        }
    }
}

/// Everybody does all they have to.
pub async fn settle(world: &World, store: &Store, config: &Config, dice: &mut StdRng) {
    world.own_all();
    for whole in store.open_orders(Timestamp::MIN).await.unwrap() {
        approve(world, store, &whole).await;
        // What is not in MyAdmin any more cannot be reported there.
        for row in &whole.units {
            let order: u64 = row.order_id.parse().unwrap();
            if !world.shows(order, row.line.id.parse().unwrap()) {
                let now = world.now();
                told(store.cancel_unit(&row.id, "one less", &ann(), now).await);
            }
        }
        complete_lines(world, store, &whole).await;
        let wholes = store.open_orders(Timestamp::MIN).await.unwrap();
        retry(world, store, &wholes, &whole).await;
        assign(world, store, &whole, dice).await;
    }
    for whole in store.open_orders(Timestamp::MIN).await.unwrap() {
        let waits = whole
            .units
            .iter()
            .any(|row| matches!(row.unit, Unit::Live(Live::Assigned(_))));
        if waits {
            ship(world, store, &whole, dice).await;
        }
    }
    for whole in store.open_orders(Timestamp::MIN).await.unwrap() {
        key_in(world, config, &whole);
    }
}

async fn approve(world: &World, store: &Store, whole: &Whole) {
    if matches!(whole.row.order, Order::Open(Open::Received(_))) {
        told(store.approve(&whole.row.id, &ann(), world.now()).await);
    }
}

/// Looks in MyAdmin before letting a lost answer go on: with the serial that was made for it, or without.
async fn retry(world: &World, store: &Store, wholes: &[Whole], whole: &Whole) {
    if matches!(whole.row.order, Order::Parked(_)) {
        let subject = Subject::Order(whole.row.id.clone());
        told(store.retry(&subject, &ann(), world.now()).await);
    }
    for row in &whole.units {
        let subject = Subject::Unit(row.id.clone());
        let parked = match &row.unit {
            Unit::Parked(parked) => parked,
            // Of one that has ended, only a call in doubt is left to be settled.
            Unit::Cancelled(_) | Unit::Terminated(_) => {
                told(store.retry_as(&subject, true, &ann(), world.now()).await);
                continue;
            }
            Unit::Live(_) => continue,
        };
        if parked.reason.code == Code::LostAnswer
            && let Some(serial) = orphan(world, store, wholes, row).await
        {
            let now = world.now();
            told(
                store
                    .assign(&row.id, Some(&serial), &Tags::default(), &ann(), now)
                    .await,
            );
        }
        // Looked up: whatever still fits is somebody else's.
        told(store.retry_as(&subject, true, &ann(), world.now()).await);
    }
}

/// A serial of the unit's product that is ours and nobody's.
async fn orphan(world: &World, store: &Store, wholes: &[Whole], row: &UnitRow) -> Option<Serial> {
    let claimed: BTreeSet<String> = wholes
        .iter()
        .flat_map(|whole| &whole.units)
        .filter_map(|row| row.unit.serial())
        .map(|serial| serial.to_string())
        .collect();
    // One that a call made which is still open is not this unit's.
    let open = store.intents().await.unwrap().iter().any(|intent| {
        intent.outcome == Outcome::Open && intent.wish.product_code == row.line.product_code
    });
    if open {
        return None;
    }
    let ours = world.ours_of(&row.line.product_code);
    let ours = world.labelled_or_free(&row.id, ours);
    let orphan = ours.into_iter().find(|serial| !claimed.contains(serial))?;
    Serial::parse(&orphan).ok()
}

async fn assign(world: &World, store: &Store, whole: &Whole, dice: &mut StdRng) {
    for row in &whole.units {
        let Unit::Live(Live::Ordered(_) | Live::Provisioned(_)) = &row.unit else {
            continue;
        };
        let lacking = row.unit.known().tags.lacking(row.line.needs);
        if lacking.is_empty() {
            continue;
        }
        let number: u64 = dice.random_range(100_000_000_000_000..999_999_999_999_999);
        let tags = Tags {
            sim: Some(iccid(number).into()),
            imei: Some(imei(number).into()),
            device_id: None,
        };
        told(
            store
                .assign(&row.id, None, &tags, &ann(), world.now())
                .await,
        );
    }
}

async fn ship(world: &World, store: &Store, whole: &Whole, dice: &mut StdRng) {
    let parcel = Parcel::new("Post", [format!("T{}", dice.random_range(1..1000))]).unwrap();
    told(
        store
            .ship(&whole.row.id, None, &parcel, &ann(), world.now())
            .await,
    );
}

/// In worksheet mode: what has shipped is keyed into the fulfilment page.
fn key_in(world: &World, config: &Config, whole: &Whole) {
    if config.fulfilment.mode != Mode::Worksheet || whole.row.order.clear().is_none() {
        return;
    }
    let Some(shipment) = wished(whole, config) else {
        return;
    };
    if config.fulfilment.partial == Partial::Wait && !all_shipped(whole, config) {
        return;
    }
    let order: u64 = whole.row.id.parse().unwrap();
    for row in &whole.units {
        if let Unit::Live(Live::Shipped(unit)) = &row.unit {
            let tags = unit.kit().tags();
            let report = market::UnitReport {
                serial: unit.kit().serial().map(ToString::to_string),
                sim: tags.sim.as_deref().map(str::to_owned),
                imei: tags.imei.as_deref().map(str::to_owned),
            };
            world.key_in(order, row.line.id.parse().unwrap(), &report);
        }
    }
    let shipment = market::Shipment {
        carrier: Some(shipment.carrier),
        tracking: Some(shipment.tracking),
        status: Some(shipment.status),
    };
    world.key_in_shipment(order, &shipment);
}

async fn terminate(world: &World, store: &Store, serial: &Serial) {
    if !world.terminate(serial.as_str()) {
        return;
    }
    let sheet = Actor::Sheet("sheet.csv".into());
    let evidence = json!({ "row": 1 });
    let now = world.now();
    told(
        store
            .terminate(serial, "on the sheet", &evidence, &sheet, now)
            .await,
    );
}
