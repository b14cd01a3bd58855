//! States in the flat form of the store, and back.
//!
//! Both ways are exhaustive: a state without a flat form does not compile, and a flat form that cannot have come from a state
//! is [`Corrupt`], never a guess.

use jiff::Timestamp;

use super::kit::{Kit, Known, OwnerDatabase};
use super::order::{self, Open, Order};
use super::unit::{self, Assigned, Live, Ordered, Provisioned, Unit};
use super::{Code, Needs, Parcel, Reason};

/// A unit's state, flat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlatUnit {
    pub state: String,
    pub parked_from: Option<String>,
    pub reason: Option<Reason>,
    /// When it was cancelled or terminated.
    pub ended_at: Option<Timestamp>,
    pub known: Known,
}

/// An order's state, flat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlatOrder {
    pub state: String,
    pub parked_from: Option<String>,
    pub reason: Option<Reason>,
    pub asks: Vec<Box<str>>,
    pub approved_by: Option<Box<str>>,
    pub ended_at: Option<Timestamp>,
    pub ended_why: Option<Box<str>>,
}

/// A row that no state can have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state {state:?} cannot be: {why}")]
pub struct Corrupt {
    pub state: String,
    pub why: String,
}

fn corrupt(state: &str, why: impl Into<String>) -> Corrupt {
    Corrupt {
        state: state.to_owned(),
        why: why.into(),
    }
}

impl From<&Unit> for FlatUnit {
    fn from(unit: &Unit) -> Self {
        let known = unit.known();
        let state = unit.state().to_owned();
        match unit {
            Unit::Live(_) => Self {
                state,
                known,
                ..Self::default()
            },
            Unit::Parked(parked) => Self {
                state,
                parked_from: Some(parked.before.state().to_owned()),
                reason: Some(parked.reason.clone()),
                known,
                ..Self::default()
            },
            Unit::Cancelled(cancelled) => Self {
                state,
                ended_at: Some(cancelled.at),
                known,
                ..Self::default()
            },
            Unit::Terminated(terminated) => Self {
                state,
                ended_at: Some(terminated.at),
                known,
                ..Self::default()
            },
        }
    }
}

impl FlatUnit {
    /// Back to the state.
    ///
    /// # Errors
    /// A form that no state has.
    pub fn restore(self, needs: Needs) -> Result<Unit, Corrupt> {
        let missing = |what: &str| corrupt(&self.state, format!("{what} is missing"));
        match self.state.as_str() {
            "parked" => {
                let from = self
                    .parked_from
                    .as_deref()
                    .ok_or_else(|| missing("where it was"))?;
                let reason = self.reason.clone().ok_or_else(|| missing("the reason"))?;
                Ok(Unit::Parked(unit::Parked {
                    reason,
                    before: live(from, &self.known, needs)?,
                }))
            }
            "cancelled" => {
                let at = self.ended_at.ok_or_else(|| missing("the time"))?;
                Ok(Unit::Cancelled(unit::Cancelled {
                    known: self.known,
                    at,
                }))
            }
            "terminated" => {
                let at = self.ended_at.ok_or_else(|| missing("the time"))?;
                let serial = self
                    .known
                    .serial
                    .clone()
                    .ok_or_else(|| missing("the serial"))?;
                Ok(Unit::terminated(serial, self.known, at))
            }
            state => live(state, &self.known, needs).map(Unit::Live),
        }
    }
}

fn live(state: &str, known: &Known, needs: Needs) -> Result<Live, Corrupt> {
    let missing = |what: &str| corrupt(state, format!("{what} is missing"));
    let serial = || known.serial.clone().ok_or_else(|| missing("the serial"));
    let assigned = || {
        Kit::complete(known.serial.clone(), known.tags.clone(), needs)
            .map(Assigned::restored)
            .map_err(|lacking| corrupt(state, lacking.to_string()))
    };
    let parcel =
        || -> Result<Parcel, Corrupt> { known.parcel.clone().ok_or_else(|| missing("the parcel")) };
    let reported = || Ok(assigned()?.ship(parcel()?).report());
    let in_database = || {
        let database = known
            .database
            .as_deref()
            .and_then(OwnerDatabase::new)
            .ok_or_else(|| missing("the database"))?;
        reported()?
            .confirmed()
            .enter(database)
            .map_err(|_| missing("the serial"))
    };
    match state {
        "ordered" => Ok(Live::Ordered(Ordered {
            tags: known.tags.clone(),
        })),
        "provisioned" => Ok(Live::Provisioned(Provisioned {
            serial: serial()?,
            tags: known.tags.clone(),
        })),
        "assigned" => assigned().map(Live::Assigned),
        "shipped" => Ok(Live::Shipped(assigned()?.ship(parcel()?))),
        "reported" => reported().map(Live::Reported),
        "confirmed" => Ok(Live::Confirmed(reported()?.confirmed())),
        "in-database" => in_database().map(Live::InDatabase),
        "active" => {
            let since = known.active_since.ok_or_else(|| missing("the time"))?;
            Ok(Live::Active(in_database()?.active(since)))
        }
        other => Err(corrupt(other, "there is no such state of a unit")),
    }
}

impl From<&Order> for FlatOrder {
    fn from(order: &Order) -> Self {
        let state = order.state().to_owned();
        let of_open = |open: &Open| match open {
            Open::Received(received) => Self {
                state: "received".to_owned(),
                asks: received.asks.clone(),
                ..Self::default()
            },
            Open::Approved(approved) => Self {
                state: "approved".to_owned(),
                approved_by: approved.by.clone(),
                ..Self::default()
            },
        };
        match order {
            Order::Open(open) => of_open(open),
            Order::Parked(parked) => {
                let before = of_open(&parked.before);
                Self {
                    state,
                    parked_from: Some(before.state.clone()),
                    reason: Some(parked.reason.clone()),
                    ..before
                }
            }
            Order::Cancelled(cancelled) => Self {
                state,
                ended_at: Some(cancelled.at),
                ended_why: Some(cancelled.why.clone()),
                ..Self::default()
            },
            Order::Closed(closed) => Self {
                state,
                ended_why: Some(closed.why.clone()),
                ..Self::default()
            },
        }
    }
}

impl FlatOrder {
    /// Back to the state.
    ///
    /// # Errors
    /// A form that no state has.
    pub fn restore(self) -> Result<Order, Corrupt> {
        let missing = |what: &str| corrupt(&self.state, format!("{what} is missing"));
        let open = |state: &str| match state {
            "received" => Ok(Open::Received(order::Received {
                asks: self.asks.clone(),
            })),
            "approved" => Ok(Open::Approved(order::Approved {
                by: self.approved_by.clone(),
            })),
            other => Err(corrupt(other, "there is no such state of an order")),
        };
        let why = || self.ended_why.clone().ok_or_else(|| missing("why"));
        match self.state.as_str() {
            "parked" => Ok(Order::Parked(order::Parked {
                reason: self.reason.clone().ok_or_else(|| missing("the reason"))?,
                before: open(
                    self.parked_from
                        .as_deref()
                        .ok_or_else(|| missing("where it was"))?,
                )?,
            })),
            "cancelled" => Ok(Order::Cancelled(order::Cancelled {
                at: self.ended_at.ok_or_else(|| missing("the time"))?,
                why: why()?,
            })),
            "closed" => Ok(Order::Closed(order::Closed { why: why()? })),
            state => open(state).map(Order::Open),
        }
    }
}

/// A reason from its two columns.
///
/// # Errors
/// A code that does not exist.
pub fn reason(code: Option<&str>, text: Option<&str>) -> Result<Option<Reason>, Corrupt> {
    let Some(code) = code else { return Ok(None) };
    let known = Code::parse(code)
        .ok_or_else(|| corrupt("parked", format!("there is no reason code {code:?}")))?;
    Ok(Some(Reason::new(known, text.unwrap_or_default())))
}

#[cfg(test)]
#[path = "stored_tests.rs"]
mod tests;
