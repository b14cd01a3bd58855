//! Orders and units as people and programs see them: the flat form that commands, the HTTP API and exports share.
//!
//! Owns nothing. What is shown holds no secret: the store has none.

use jiff::Timestamp;
use serde::Serialize;

use super::journey::order::{Open, Order};
use super::journey::unit::Unit;
use super::journey::{Needs, Reason, Serial};
use super::store::rows::{Contact, OrderRow, UnitRow};
use super::store::{Error, Refusal, Store};

/// An order without its units.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OrderShown {
    pub id: String,
    pub state: &'static str,
    /// Why it is parked, or what a person is asked to approve it for.
    pub reason: Option<String>,
    /// What a person can do about it.
    pub remedy: Option<String>,
    /// MyAdmin's own word for it.
    pub status: String,
    pub account: String,
    pub reference: String,
    pub purchase_order: String,
    pub order_date: String,
    pub comment: String,
    pub contact: Contact,
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
    pub product_code: String,
    pub state: &'static str,
    pub reason: Option<String>,
    pub remedy: Option<String>,
    /// What its line asks for and it has not.
    pub lacking: Vec<&'static str>,
    pub needs: Needs,
    pub serial: Option<String>,
    pub sim: Option<String>,
    pub imei: Option<String>,
    pub device_id: Option<String>,
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
}

fn parked(reason: &Reason) -> (Option<String>, Option<String>) {
    (
        Some(reason.to_string()),
        Some(reason.code.remedy().to_owned()),
    )
}

impl From<&OrderRow> for OrderShown {
    fn from(row: &OrderRow) -> Self {
        let (reason, remedy) = match &row.order {
            Order::Open(Open::Received(received)) => (
                Some(received.asks.join("; ")),
                Some("`orders approve` when it may go on".to_owned()),
            ),
            Order::Open(Open::Approved(_)) => (None, None),
            Order::Parked(by) => parked(&by.reason),
            Order::Cancelled(cancelled) => (Some(cancelled.why.to_string()), None),
            Order::Closed(closed) => (Some(closed.why.to_string()), None),
        };
        let head = row.head.clone();
        Self {
            id: row.id.clone(),
            state: row.order.state(),
            reason,
            remedy,
            status: head.status,
            account: head.account,
            reference: head.reference,
            purchase_order: head.purchase_order,
            order_date: head.order_date,
            comment: head.comment,
            contact: head.contact,
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
        let (reason, remedy) = match &row.unit {
            Unit::Parked(by) => parked(&by.reason),
            Unit::Live(_) | Unit::Cancelled(_) | Unit::Terminated(_) => (None, None),
        };
        let parcel = known.parcel.as_ref();
        Self {
            id: row.id.clone(),
            order: row.order_id.clone(),
            product_code: row.line.product_code.clone(),
            state: row.unit.state(),
            reason,
            remedy,
            lacking,
            needs,
            serial: known.serial.as_ref().map(ToString::to_string),
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

/// An order with its units, as the store has them now.
///
/// # Errors
/// The store cannot be read.
pub async fn whole(store: &Store, order: &OrderRow) -> Result<WholeShown, Error> {
    let units = store.units(&order.id).await?;
    Ok(WholeShown {
        order: OrderShown::from(order),
        units: units.iter().map(UnitShown::from).collect(),
    })
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
