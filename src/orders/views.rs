//! Orders and units as people and programs see them: the flat form that commands, the HTTP API and exports share.
//!
//! Owns nothing. What is shown holds no secret: the store has none.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::identifiers;
use super::journey::order::{Open, Order};
use super::journey::unit::Unit;
use super::journey::{Needs, Reason, Serial};
use super::mail::check::DIFFERS;
use super::settings::Config;
use super::store::intents::Outcome;
use super::store::read::Whole;
use super::store::rows::{Contact, OrderRow, UnitRow};
use super::store::{Error, Refusal, Store};
use super::wait::{self, For, Scene, Wait};

/// An order without its units.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OrderShown {
    pub id: String,
    pub state: &'static str,
    /// Why it is parked, or what a person is asked to approve it for.
    pub reason: Option<String>,
    /// What a person can do about it.
    pub remedy: Option<String>,
    /// What it waits for, since when, and what a person can do; none where that was not asked for, or it waits for nothing.
    pub wait: Option<Wait>,
    /// Its units by state, where that was asked for.
    pub unit_states: BTreeMap<&'static str, usize>,
    /// MyAdmin's own word for it.
    pub status: String,
    pub account: String,
    pub reference: String,
    pub purchase_order: String,
    pub order_date: String,
    pub comment: String,
    pub contact: Contact,
    pub reseller: String,
    pub reseller_email: String,
    /// What MyAdmin shows of the shipment.
    pub carrier: Option<String>,
    pub tracking: Option<String>,
    pub created_at: String,
    pub updated_at: String,
}

/// A unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnitShown {
    pub id: String,
    pub order: String,
    /// The unit whose device it replaces.
    pub replaces: Option<String>,
    pub product_code: String,
    pub state: &'static str,
    pub reason: Option<String>,
    pub remedy: Option<String>,
    /// As an order's.
    pub wait: Option<Wait>,
    /// What its line asks for and it has not.
    pub lacking: Vec<&'static str>,
    pub needs: Needs,
    pub serial: Option<String>,
    pub sim: Option<String>,
    pub imei: Option<String>,
    pub device_id: Option<String>,
    /// What looks wrong with its IMEI or SIM: older than the checks, or taken by force.
    pub odd: Vec<String>,
    pub carrier: Option<String>,
    pub tracking: Vec<String>,
    pub database: Option<String>,
    pub active_since: Option<String>,
    pub retry_at: Option<String>,
    pub updated_at: String,
}

/// An order with its units.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WholeShown {
    #[serde(flatten)]
    pub order: OrderShown,
    pub units: Vec<UnitShown>,
    /// What letters by mail say of it otherwise than MyAdmin, while the alarm stands.
    pub mail_differs: Vec<String>,
}

impl WholeShown {
    /// `differ` is of all orders: see [`mail_differs`].
    #[must_use]
    pub fn of(whole: &Whole, differ: &Differ) -> Self {
        Self {
            order: OrderShown::from(&whole.row),
            units: whole.units.iter().map(UnitShown::from).collect(),
            mail_differs: differ.get(&whole.row.id).cloned().unwrap_or_default(),
        }
    }

    /// Units as MyAdmin counts them: a cancelled one is none, and a replaced device and the one in its place are one.
    pub fn counted(&self) -> impl Iterator<Item = &UnitShown> {
        let going = || self.units.iter().filter(|unit| unit.state != "cancelled");
        let replaced: BTreeSet<&str> = going()
            .filter_map(|unit| unit.replaces.as_deref())
            .collect();
        going().filter(move |unit| !replaced.contains(&*unit.id))
    }

    /// How many of each product, such as `2 x CTD-200`.
    #[must_use]
    pub fn items(&self) -> Vec<String> {
        let mut items: BTreeMap<&str, usize> = BTreeMap::new();
        for unit in self.counted() {
            *items.entry(&unit.product_code).or_default() += 1;
        }
        items
            .into_iter()
            .map(|(product, count)| format!("{count} x {product}"))
            .collect()
    }
}

impl UnitShown {
    /// Its line, with what tells a replacement from the unit before it.
    #[must_use]
    pub fn line(&self) -> &str {
        let line = self.id.strip_prefix(&self.order);
        line.and_then(|line| line.strip_prefix('.'))
            .unwrap_or(&self.id)
    }
}

/// What letters say otherwise than MyAdmin, by order.
pub type Differ = BTreeMap<String, Vec<String>>;

/// What letters by mail say of orders otherwise than MyAdmin, while no person has seen to it.
///
/// # Errors
/// The store cannot be read.
pub async fn mail_differs(store: &Store) -> Result<Differ, Error> {
    let alarms = store.alarms().await?.into_iter();
    let differ = alarms.filter(|alarm| alarm.kind == DIFFERS).map(|alarm| {
        let told = alarm
            .evidence
            .as_ref()
            .and_then(|evidence| evidence.get("differences"));
        let told = told.and_then(|told| serde_json::from_value(told.clone()).ok());
        (alarm.subject, told.unwrap_or_else(|| vec![alarm.said]))
    });
    Ok(differ.collect())
}

fn parked(reason: &Reason, id: &str) -> (Option<String>, Option<String>) {
    (Some(reason.to_string()), Some(reason.code.remedy(id)))
}

impl From<&OrderRow> for OrderShown {
    fn from(row: &OrderRow) -> Self {
        let (reason, remedy) = match &row.order {
            Order::Open(Open::Received(received)) => (
                Some(received.asks.join("; ")),
                Some(format!("`orders approve {}` when it may go on", row.id)),
            ),
            Order::Open(Open::Approved(_)) => (None, None),
            Order::Parked(by) => parked(&by.reason, &row.id),
            Order::Cancelled(cancelled) => (Some(cancelled.why.to_string()), None),
            Order::Closed(closed) => (Some(closed.why.to_string()), None),
        };
        let head = row.head.clone();
        Self {
            id: row.id.clone(),
            state: row.order.state(),
            reason,
            remedy,
            wait: None,
            unit_states: BTreeMap::new(),
            status: head.status,
            account: head.account,
            reference: head.reference,
            purchase_order: head.purchase_order,
            order_date: head.order_date,
            comment: head.comment,
            contact: head.contact,
            reseller: head.reseller_name,
            reseller_email: head.reseller_email,
            carrier: head.carrier,
            tracking: head.tracking,
            created_at: row.created_at.to_string(),
            updated_at: row.updated_at.to_string(),
        }
    }
}

impl From<&UnitRow> for UnitShown {
    fn from(row: &UnitRow) -> Self {
        let known = row.unit.known();
        let needs = row.line.needs;
        let mut lacking = known.tags.lacking(needs);
        if needs.serial && known.serial.is_none() {
            lacking.insert(0, "serial");
        }
        if matches!(row.unit, Unit::Cancelled(_) | Unit::Terminated(_)) {
            lacking.clear();
        }
        let (reason, remedy) = match &row.unit {
            Unit::Parked(by) => parked(&by.reason, &row.id),
            Unit::Live(_) | Unit::Cancelled(_) | Unit::Terminated(_) => (None, None),
        };
        let parcel = known.parcel.as_ref();
        Self {
            id: row.id.clone(),
            order: row.order_id.clone(),
            replaces: row.replaces.clone(),
            product_code: row.line.product_code.clone(),
            state: row.unit.state(),
            reason,
            remedy,
            wait: None,
            lacking,
            needs,
            serial: known.serial.as_ref().map(ToString::to_string),
            odd: identifiers::odd(&known.tags)
                .into_iter()
                .map(|(what, value, why)| format!("{what} {value:?} {why}"))
                .collect(),
            sim: known.tags.sim.map(String::from),
            imei: known.tags.imei.map(String::from),
            device_id: known.tags.device_id.map(String::from),
            carrier: parcel.map(|parcel| parcel.carrier.to_string()),
            tracking: parcel.map_or_else(Vec::new, |parcel| {
                parcel.tracking().iter().map(ToString::to_string).collect()
            }),
            database: known.database.map(String::from),
            active_since: known.active_since.map(text),
            retry_at: row.retry_at.map(text),
            updated_at: row.updated_at.to_string(),
        }
    }
}

fn text(at: Timestamp) -> String {
    at.to_string()
}

/// An order with its units, what each waits for, and its provisioning calls in doubt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explained {
    #[serde(flatten)]
    pub whole: WholeShown,
    pub doubts: Vec<DoubtShown>,
}

/// A provisioning call of which nobody knows what came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DoubtShown {
    pub call: i64,
    pub unit: String,
    pub since: String,
    pub product_code: String,
    pub account: String,
    /// Listed serials that no unit has and that it may have made.
    pub fitting: Vec<String>,
    /// What is known, and what happens next.
    pub said: String,
    pub remedy: String,
}

/// An order as the store has it now, with what it waits for.
///
/// # Errors
/// The store cannot be read.
pub async fn explained(
    store: &Store,
    config: &Config,
    order: &OrderRow,
    now: Timestamp,
) -> Result<Explained, Error> {
    let facts = store.facts(now).await?;
    let whole = Whole {
        row: order.clone(),
        units: store.units(&order.id).await?,
    };
    let scene = Scene::new(&whole, &facts, config);
    let mut shown = WholeShown::of(&whole, &mail_differs(store).await?);
    shown.order = explain(&scene, &whole);
    for (row, unit) in whole.units.iter().zip(&mut shown.units) {
        unit.wait = scene.unit(row);
    }
    let ours = facts.doubts.iter().filter(|call| {
        call.outcome != Outcome::Abandoned
            && whole.units.iter().any(|row| row.id == call.wish.unit_id)
    });
    let doubts = ours
        .map(|call| {
            let next = wait::call::outlook(call, &facts, config);
            DoubtShown {
                call: call.id,
                unit: call.wish.unit_id.clone(),
                since: call.begun_at.to_string(),
                product_code: call.wish.product_code.clone(),
                account: call.wish.erp_no.clone(),
                fitting: next.fitting.iter().map(ToString::to_string).collect(),
                said: next.said,
                remedy: next.remedy,
            }
        })
        .collect();
    Ok(Explained {
        whole: shown,
        doubts,
    })
}

fn explain(scene: &Scene<'_>, whole: &Whole) -> OrderShown {
    let mut order = OrderShown::from(&whole.row);
    order.wait = scene.order();
    for row in &whole.units {
        *order.unit_states.entry(row.unit.state()).or_default() += 1;
    }
    order
}

impl OrderShown {
    /// Whether it is among the orders of a state: one of its own, `parked` for a unit too, `open` for what waits for something, or
    /// `done` for what waits for nothing any more and was not cancelled. Only for an order of [`listed`].
    #[must_use]
    pub fn is(&self, state: &str) -> bool {
        match state {
            "open" => self.wait.is_some(),
            "done" => self.wait.is_none() && !matches!(self.state, "cancelled" | "closed"),
            "parked" => self.state == state || self.unit_states.contains_key(state),
            state => self.state == state,
        }
    }
}

/// Orders without their units, with what they wait for.
///
/// # Errors
/// The store cannot be read.
pub async fn listed(
    store: &Store,
    config: &Config,
    orders: &[OrderRow],
    now: Timestamp,
) -> Result<Vec<OrderShown>, Error> {
    let facts = store.facts(now).await?;
    let mut units = store.units_by_order().await?;
    let explained = orders.iter().map(|row| {
        let whole = Whole {
            row: row.clone(),
            units: units.remove(&row.id).unwrap_or_default(),
        };
        explain(&Scene::new(&whole, &facts, config), &whole)
    });
    Ok(explained.collect())
}

/// Units that wait for the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Waits {
    pub units: u64,
    /// The unit that has waited longest.
    pub oldest: String,
    pub wait: Wait,
}

/// What the units of all orders that are not over wait for.
///
/// # Errors
/// The store cannot be read.
pub async fn waits(
    store: &Store,
    config: &Config,
    now: Timestamp,
) -> Result<BTreeMap<For, Waits>, Error> {
    let facts = store.facts(now).await?;
    let mut waits: BTreeMap<For, Waits> = BTreeMap::new();
    for whole in store.open_orders(now).await? {
        for (unit, wait) in Scene::new(&whole, &facts, config).units() {
            let fresh = Waits {
                units: 0,
                oldest: unit.to_owned(),
                wait: wait.clone(),
            };
            let known = waits.entry(wait.what).or_insert(fresh);
            known.units += 1;
            if wait.since < known.wait.since {
                known.oldest = unit.to_owned();
                known.wait = wait;
            }
        }
    }
    Ok(waits)
}

/// The order with an id, or of the one unit that goes by an id or a mark.
///
/// # Errors
/// Nothing goes by that name, or several orders do; the store cannot be read.
pub async fn find(store: &Store, name: &str) -> Result<OrderRow, Error> {
    if let Some(order) = store.order(name).await? {
        return Ok(order);
    }
    let mut orders: Vec<String> = match store.unit(name).await? {
        Some(unit) => vec![unit.order_id],
        None => {
            let marked = store.units_marked(name).await?;
            marked.into_iter().map(|unit| unit.order_id).collect()
        }
    };
    if orders.is_empty()
        && let Ok(serial) = Serial::parse(name)
    {
        let marked = store.units_marked(serial.as_str()).await?;
        orders = marked.into_iter().map(|unit| unit.order_id).collect();
    }
    orders.sort();
    orders.dedup();
    let refusal = match orders.as_slice() {
        [one] => match store.order(one).await? {
            Some(order) => return Ok(order),
            None => Refusal::new(
                name,
                format!("its order {one} is not in the store"),
                "look again",
            ),
        },
        [] => Refusal::new(
            name,
            "is no order, no unit, no serial, IMEI, SIM or device id",
            "`dig-ingest orders list` shows all orders",
        ),
        many => Refusal::new(
            name,
            format!("is in the orders {}", many.join(", ")),
            "name one of them",
        ),
    };
    Err(refusal.into())
}
