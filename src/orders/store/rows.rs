//! Rows as values: what the store keeps of orders, units, events.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{During as _, Error};
use crate::orders::journey::kit::Known;
use crate::orders::journey::order::Order;
use crate::orders::journey::stored::{self, FlatOrder, FlatUnit};
use crate::orders::journey::unit::Unit;
use crate::orders::journey::{Needs, Parcel, Serial, Tags};

/// Where an order goes (myadmin/API.md 3.1). There is no country in the source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contact {
    pub name: String,
    pub email: String,
    pub street1: String,
    pub street2: String,
    pub city: String,
    pub state: String,
    pub zip_code: String,
    pub telephone1: String,
    pub telephone2: String,
}

/// What the remote side says of an order as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    /// An open string (U2).
    pub status: String,
    /// `account.accountId`: the number that provisioning calls `erpNo`.
    pub account: String,
    pub header_id: String,
    /// `shipmentReference`, the order's name for people.
    pub reference: String,
    pub purchase_order: String,
    pub order_date: String,
    pub comment: String,
    pub reseller_name: String,
    pub reseller_email: String,
    pub validated: Option<bool>,
    pub contact: Contact,
    /// What is shown of the shipment, if it is.
    pub carrier: Option<String>,
    pub tracking: Option<String>,
}

/// What was last told of an order's shipment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    pub carrier: String,
    /// All tracking numbers, joined as the settings say.
    pub tracking: String,
    pub status: String,
}

/// An order as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderRow {
    /// The `id` of the shipping header.
    pub id: String,
    pub version: i64,
    pub order: Order,
    pub head: Head,
    /// Full sweeps in a row that did not list it.
    pub missing: i64,
    pub reported: Option<Shipment>,
    pub attempts: i64,
    pub retry_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A line of an order as it was when it was taken in: one physical unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderLine {
    pub id: String,
    pub product_code: String,
    pub needs: Needs,
    pub attribute: Option<String>,
}

/// What a change of a unit's line came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LineStanding {
    /// The line is as it was taken in.
    #[default]
    AsTaken = 0,
    /// It changed or is not shown any more, and a person lets the unit go on all the same.
    Kept = 1,
    /// The unit was cancelled because its line is not shown any more; it goes on when the line is shown again.
    Gone = 2,
}

/// A unit as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitRow {
    /// Order id and line id, joined by a dot; of a replacement with `r` and a number behind them.
    pub id: String,
    pub order_id: String,
    pub version: i64,
    pub line: OrderLine,
    pub unit: Unit,
    pub standing: LineStanding,
    /// The unit of the same line whose device it replaces.
    pub replaces: Option<String>,
    pub attempts: i64,
    pub retry_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// One line of the audit trail.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventRow {
    pub seq: i64,
    #[serde(serialize_with = "shown")]
    pub at: Timestamp,
    pub order_id: Option<String>,
    pub unit_id: Option<String>,
    pub actor_kind: String,
    pub actor: String,
    pub act: String,
    pub from_state: Option<String>,
    pub to_state: Option<String>,
    pub why: String,
    pub evidence: Option<Value>,
}

/// A time as RFC 3339 text.
pub(crate) fn shown<S: serde::Serializer>(
    at: &Timestamp,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

/// The id of a unit.
#[must_use]
pub fn unit_id(order: &str, line: &str) -> String {
    format!("{order}.{line}")
}

/// Reads one row, naming what cannot be read.
pub(super) struct Reader<'a> {
    row: &'a AnyRow,
    subject: String,
}

impl<'a> Reader<'a> {
    pub(super) fn new(row: &'a AnyRow, subject: impl Into<String>) -> Self {
        Self {
            row,
            subject: subject.into(),
        }
    }

    pub(super) fn text(&self, column: &str) -> Result<String, Error> {
        self.row.try_get(column).during("reading a text")
    }

    pub(super) fn maybe_text(&self, column: &str) -> Result<Option<String>, Error> {
        self.row.try_get(column).during("reading a text")
    }

    pub(super) fn number(&self, column: &str) -> Result<i64, Error> {
        self.row.try_get(column).during("reading a number")
    }

    pub(super) fn maybe_number(&self, column: &str) -> Result<Option<i64>, Error> {
        self.row.try_get(column).during("reading a number")
    }

    pub(super) fn time(&self, column: &str) -> Result<Timestamp, Error> {
        self.number(column).and_then(|at| self.timestamp(at))
    }

    pub(super) fn maybe_time(&self, column: &str) -> Result<Option<Timestamp>, Error> {
        self.maybe_number(column)?
            .map(|at| self.timestamp(at))
            .transpose()
    }

    fn timestamp(&self, micros: i64) -> Result<Timestamp, Error> {
        Timestamp::from_microsecond(micros).map_err(|error| self.corrupt(error))
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(
        &self,
        column: &str,
    ) -> Result<Option<T>, Error> {
        self.maybe_text(column)?
            .map(|text| serde_json::from_str(&text).map_err(|error| self.corrupt(error)))
            .transpose()
    }

    pub(super) fn serial(&self, column: &str) -> Result<Option<Serial>, Error> {
        self.maybe_text(column)?
            .map(|text| Serial::parse(&text).map_err(|error| self.corrupt(error)))
            .transpose()
    }

    pub(super) fn corrupt(&self, why: impl std::fmt::Display) -> Error {
        Error::corrupt(&*self.subject, why)
    }
}

impl OrderRow {
    pub(super) fn read(row: &AnyRow) -> Result<Self, Error> {
        let id: String = row.try_get("id").during("reading an order")?;
        let reader = Reader::new(row, format!("order {id}"));
        let flat = FlatOrder {
            state: reader.text("state")?,
            parked_from: reader.maybe_text("parked_from")?,
            reason: stored::reason(
                reader.maybe_text("reason_code")?.as_deref(),
                reader.maybe_text("reason_text")?.as_deref(),
            )
            .map_err(|error| reader.corrupt(error))?,
            asks: reader.json("asks")?.unwrap_or_default(),
            approved_by: reader.maybe_text("approved_by")?.map(Into::into),
            ended_at: reader.maybe_time("ended_at")?,
            ended_why: reader.maybe_text("ended_why")?.map(Into::into),
        };
        Ok(Self {
            order: flat.restore().map_err(|error| reader.corrupt(error))?,
            version: reader.number("version")?,
            head: reader.json("head")?.unwrap_or_default(),
            missing: reader.number("missing")?,
            reported: reader.json("reported")?,
            attempts: reader.number("attempts")?,
            retry_at: reader.maybe_time("retry_at")?,
            created_at: reader.time("created_at")?,
            updated_at: reader.time("updated_at")?,
            id,
        })
    }
}

impl UnitRow {
    pub(super) fn read(row: &AnyRow) -> Result<Self, Error> {
        let id: String = row.try_get("id").during("reading a unit")?;
        let reader = Reader::new(row, format!("unit {id}"));
        let tracking: Vec<Box<str>> = reader.json("tracking")?.unwrap_or_default();
        let known = Known {
            serial: reader.serial("serial")?,
            tags: Tags {
                sim: reader.maybe_text("sim")?.map(Into::into),
                imei: reader.maybe_text("imei")?.map(Into::into),
                device_id: reader.maybe_text("device_id")?.map(Into::into),
            },
            parcel: reader
                .maybe_text("carrier")?
                .and_then(|carrier| Parcel::new(carrier, tracking)),
            database: reader.maybe_text("owner_database")?.map(Into::into),
            active_since: reader.maybe_time("active_since")?,
        };
        let flat = FlatUnit {
            state: reader.text("state")?,
            parked_from: reader.maybe_text("parked_from")?,
            reason: stored::reason(
                reader.maybe_text("reason_code")?.as_deref(),
                reader.maybe_text("reason_text")?.as_deref(),
            )
            .map_err(|error| reader.corrupt(error))?,
            ended_at: reader.maybe_time("ended_at")?,
            known,
        };
        let needs = Needs {
            serial: reader.number("needs_serial")? != 0,
            sim: reader.number("needs_sim")? != 0,
            imei: reader.number("needs_imei")? != 0,
        };
        Ok(Self {
            unit: flat.restore(needs).map_err(|error| reader.corrupt(error))?,
            order_id: reader.text("order_id")?,
            version: reader.number("version")?,
            line: OrderLine {
                id: reader.text("line_id")?,
                product_code: reader.text("product_code")?,
                needs,
                attribute: reader.maybe_text("attribute")?,
            },
            standing: match reader.number("line_standing")? {
                0 => LineStanding::AsTaken,
                1 => LineStanding::Kept,
                2 => LineStanding::Gone,
                other => return Err(reader.corrupt(format!("there is no line standing {other}"))),
            },
            replaces: reader.maybe_text("replaces")?,
            attempts: reader.number("attempts")?,
            retry_at: reader.maybe_time("retry_at")?,
            created_at: reader.time("created_at")?,
            updated_at: reader.time("updated_at")?,
            id,
        })
    }
}

impl EventRow {
    pub(super) fn read(row: &AnyRow) -> Result<Self, Error> {
        let reader = Reader::new(row, "an event");
        Ok(Self {
            seq: reader.number("seq")?,
            at: reader.time("at")?,
            order_id: reader.maybe_text("order_id")?,
            unit_id: reader.maybe_text("unit_id")?,
            actor_kind: reader.text("actor_kind")?,
            actor: reader.text("actor")?,
            act: reader.text("act")?,
            from_state: reader.maybe_text("from_state")?,
            to_state: reader.maybe_text("to_state")?,
            why: reader.text("why")?,
            evidence: reader.json("evidence")?,
        })
    }
}
