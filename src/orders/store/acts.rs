//! What people, imports and sheets may do: each act one change, refused with what is wrong and the remedy.
//!
//! They need no lease: a person may act at any time, and the rows' versions keep them and the reconciler apart. An act that met
//! another change is begun anew a few times before [`Error::Changed`] is given back.

use std::future::Future;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::change::{Cause, Change};
use super::intents::Outcome;
use super::rows::{OrderRow, UnitRow};
use super::{Error, Refusal, Store};
use crate::orders::journey::order::{Open, Order};
use crate::orders::journey::unit::Unit;
use crate::orders::journey::way::{Live, NotNow};
use crate::orders::journey::{Actor, Code, Parcel, Reason, Serial, Tags};

/// How often an act is begun anew when somebody else was faster.
const TRIES: usize = 5;

/// What an act is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Order(String),
    Unit(String),
}

impl Subject {
    /// Reads an id as people write it: a unit's has a dot.
    #[must_use]
    pub fn parse(id: &str) -> Self {
        if id.contains('.') {
            Self::Unit(id.to_owned())
        } else {
            Self::Order(id.to_owned())
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Order(id) => write!(f, "order {id}"),
            Self::Unit(id) => write!(f, "unit {id}"),
        }
    }
}

/// What became of a termination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Termination {
    /// The unit was terminated by this act.
    Done { unit: String },
    /// It was terminated before.
    Already { unit: String },
    /// No unit has this serial.
    Unknown,
}

impl Store {
    async fn act<T, F, R>(&self, by: &Actor, now: Timestamp, act: F) -> Result<T, Error>
    where
        F: Fn(Change) -> R,
        R: Future<Output = Result<T, Error>>,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            match act(self.change(by.clone(), None, now).await?).await {
                Err(Error::Changed(_)) if tries < TRIES => {}
                result => return result,
            }
        }
    }

    /// Approves an order that a rule holds for a person.
    ///
    /// # Errors
    /// It does not wait for approval.
    pub async fn approve(&self, order: &str, by: &Actor, now: Timestamp) -> Result<(), Error> {
        self.act(by, now, async |mut change: Change| {
            let row = change.order(order).await?;
            match &row.order {
                Order::Open(Open::Received(received)) => {
                    let why = format!("was asked because of: {}", received.asks.join("; "));
                    let approved = Order::Open(Open::Approved(received.clone().approve(by)));
                    change
                        .put_order(&row, &approved, Cause::new("approve", why))
                        .await?;
                    change.commit().await
                }
                Order::Open(Open::Approved(_)) => Err(refused_order(
                    &row,
                    "it is approved already",
                    "nothing is left to do",
                )),
                Order::Parked(parked) => Err(refused_order(
                    &row,
                    &format!("it is parked ({})", parked.reason),
                    "retry it first, then approve it",
                )),
                Order::Cancelled(_) | Order::Closed(_) => Err(refused_order(
                    &row,
                    "it is over",
                    "an order that is over stays so",
                )),
            }
        })
        .await
    }

    /// Parks an order or a unit for a person.
    ///
    /// # Errors
    /// It is parked already, or over.
    pub async fn park(
        &self,
        subject: &Subject,
        why: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), Error> {
        let reason = Reason::new(Code::Person, why);
        self.act(by, now, async |mut change: Change| {
            match subject {
                Subject::Order(id) => {
                    let row = change.order(id).await?;
                    let Order::Open(open) = row.order.clone() else {
                        return Err(refused_order(
                            &row,
                            "it is not under way",
                            "`orders show` tells where it is",
                        ));
                    };
                    let parked = Order::Parked(open.park(reason.clone()));
                    change
                        .put_order(&row, &parked, Cause::new("park", why))
                        .await?;
                }
                Subject::Unit(id) => {
                    let row = change.unit(id).await?;
                    let Unit::Live(live) = row.unit.clone() else {
                        return Err(refused_unit(
                            &row,
                            "it is not under way",
                            "`orders show` tells where it is",
                        ));
                    };
                    let parked = Unit::Parked(live.park(reason.clone()));
                    change
                        .put_unit(&row, parked, Cause::new("park", why))
                        .await?;
                }
            }
            change.commit().await
        })
        .await
    }

    /// Lets a parked order or unit go on from where it was, and whatever waits for a later try be tried now. An order takes
    /// its parked units along, except those whose provisioning is in doubt: each of them must be named.
    ///
    /// # Errors
    /// It is over.
    pub async fn retry(&self, subject: &Subject, by: &Actor, now: Timestamp) -> Result<(), Error> {
        self.act(by, now, async |mut change: Change| {
            match subject {
                Subject::Order(id) => {
                    let row = change.order(id).await?;
                    match row.order.clone() {
                        Order::Parked(parked) => {
                            let why = format!("was parked for {}", parked.reason);
                            let open = Order::Open(parked.unpark());
                            change.put_order(&row, &open, Cause::new("retry", why)).await?;
                        }
                        Order::Open(_) => {
                            change
                                .put_reported(&row, row.reported.as_ref(), None, Cause::new("retry", "try now"))
                                .await?;
                        }
                        Order::Cancelled(_) | Order::Closed(_) => {
                            return Err(refused_order(&row, "it is over", "an order that is over stays so"));
                        }
                    }
                    for unit in change.units(id).await? {
                        let in_doubt = matches!(&unit.unit, Unit::Parked(parked) if parked.reason.code == Code::LostAnswer);
                        let waits = matches!(unit.unit, Unit::Parked(_)) || unit.retry_at.is_some();
                        if waits && !in_doubt {
                            retry_unit(&mut change, &unit).await?;
                        }
                    }
                }
                Subject::Unit(id) => {
                    let row = change.unit(id).await?;
                    retry_unit(&mut change, &row).await?;
                }
            }
            change.commit().await
        })
        .await
    }

    /// Gives a unit its marks: SIM, IMEI, own device id; and a serial that was made by other means.
    /// A unit that has all its line asks for becomes assigned.
    ///
    /// # Errors
    /// A mark that another unit has, another serial than the unit's, a unit that is active or has ended.
    pub async fn assign(
        &self,
        unit: &str,
        serial: Option<&Serial>,
        tags: &Tags,
        by: &Actor,
        now: Timestamp,
    ) -> Result<UnitRow, Error> {
        self.act(by, now, async |mut change: Change| {
            let mut row = change.unit(unit).await?;
            let order = change.order(&row.order_id).await?;
            if matches!(order.order, Order::Cancelled(_)) {
                return Err(refused_unit(
                    &row,
                    "its order is cancelled",
                    "nothing of it may go on",
                ));
            }
            unclaimed(&mut change, &row, tags).await?;
            if let Some(serial) = serial {
                row = give_serial(&mut change, row, serial, by).await?;
            }
            let parked = match &row.unit {
                Unit::Parked(parked) => Some(parked.reason.clone()),
                _ => None,
            };
            let live = match row.unit.clone() {
                Unit::Live(live) => live,
                Unit::Parked(parked) => parked.before,
                Unit::Cancelled(_) | Unit::Terminated(_) => {
                    return Err(refused_unit(
                        &row,
                        "its journey is over",
                        "assign another unit",
                    ));
                }
            };
            let live = live.tag(tags.clone()).map_err(|not_now| {
                refused_unit(
                    &row,
                    &not_now.to_string(),
                    "cancel it and order another one if the device was swapped",
                )
            })?;
            let live = if parked.is_none() {
                complete(live, &row)
            } else {
                live
            };
            let unit = match parked {
                Some(reason) => Unit::Parked(live.park(reason)),
                None => Unit::Live(live),
            };
            let evidence = json!({ "tags": tags, "serial": serial });
            let cause = Cause::new("assign", "marks given").with(evidence);
            let row = change.put_unit(&row, unit, cause).await?;
            change.commit().await?;
            Ok(row)
        })
        .await
    }

    /// Ships units of an order, or corrects how they were shipped: all that are assigned or beyond, or those named.
    ///
    /// # Errors
    /// Nothing to ship; a named unit that cannot ship, and why.
    pub async fn ship(
        &self,
        order: &str,
        units: Option<&[String]>,
        parcel: &Parcel,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Vec<UnitRow>, Error> {
        self.act(by, now, async |mut change: Change| {
            let row = change.order(order).await?;
            if row.order.clear().is_none() {
                return Err(refused_order(
                    &row,
                    &format!("it is {}", row.order.state()),
                    "approve or retry it first",
                ));
            }
            let all = change.units(order).await?;
            if let Some(stranger) = units
                .unwrap_or_default()
                .iter()
                .find(|id| !all.iter().any(|unit| unit.id == **id))
            {
                return Err(refused_order(
                    &row,
                    &format!("it has no unit {stranger}"),
                    "`orders show` lists its units",
                ));
            }
            let mut shipped = Vec::new();
            let mut waiting = Vec::new();
            for unit in all {
                let named = units.is_some_and(|named| named.contains(&unit.id));
                if units.is_some() && !named {
                    continue;
                }
                let live = match unit.unit.clone() {
                    Unit::Live(live) => live,
                    other => {
                        if named {
                            return Err(refused_unit(
                                &unit,
                                &format!("it is {}", other.state()),
                                "ship the others by name",
                            ));
                        }
                        continue;
                    }
                };
                match live.ship(parcel.clone()) {
                    Ok(live) => {
                        let evidence = json!({ "parcel": parcel });
                        let cause = Cause::new("ship", "handed to the carrier").with(evidence);
                        shipped.push(change.put_unit(&unit, Unit::Live(live), cause).await?);
                    }
                    Err(NotNow::NotAssigned | NotNow::Active) => {
                        let lacking = unit.unit.known().tags.lacking(unit.line.needs);
                        let what = if unit.unit.serial().is_none() && unit.line.needs.serial {
                            "it has no serial yet".to_owned()
                        } else {
                            format!(
                                "it is not assigned yet; its line asks for {}",
                                lacking.join(" and ")
                            )
                        };
                        let refusal =
                            refused_unit(&unit, &what, "assign what is missing, then ship it");
                        if named {
                            return Err(refusal);
                        }
                        waiting.push(refusal.to_string());
                    }
                }
            }
            if shipped.is_empty() {
                return Err(refused_order(
                    &row,
                    &format!("it has no unit that can ship ({})", waiting.join("; ")),
                    "`orders show` tells what each unit waits for",
                ));
            }
            change.commit().await?;
            Ok(shipped)
        })
        .await
    }

    /// Cancels an order with all its units. Units that have a serial are flagged by an alarm: a person must see to them.
    ///
    /// # Errors
    /// It is cancelled already.
    pub async fn cancel(
        &self,
        order: &str,
        why: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.act(by, now, async |mut change: Change| {
            let row = change.order(order).await?;
            if matches!(row.order, Order::Cancelled(_)) {
                return Err(refused_order(
                    &row,
                    "it is cancelled already",
                    "nothing is left to do",
                ));
            }
            change
                .cancel_order(&row, &Cause::new("cancel", why))
                .await?;
            change.commit().await
        })
        .await
    }

    /// Terminates the device with a serial. Doing it twice changes nothing.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn terminate(
        &self,
        serial: &Serial,
        why: &str,
        evidence: &Value,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Termination, Error> {
        self.act(by, now, async |mut change: Change| {
            let Some(row) = change.unit_with(serial.as_str()).await? else {
                return Ok(Termination::Unknown);
            };
            match row.unit.clone().terminate(now) {
                Some(terminated) => {
                    let cause = Cause::new("terminate", why).with(evidence.clone());
                    change
                        .put_unit(&row, Unit::Terminated(terminated), cause)
                        .await?;
                    change.commit().await?;
                    Ok(Termination::Done { unit: row.id })
                }
                None => Ok(Termination::Already { unit: row.id }),
            }
        })
        .await
    }

    /// Raises an alarm that no change belongs to. True if it was not standing before.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn note_alarm(
        &self,
        kind: &str,
        subject: &str,
        said: &str,
        evidence: Option<&Value>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.act(by, now, async |mut change: Change| {
            let fresh = change.alarm(kind, subject, said, evidence).await?;
            change.commit().await?;
            Ok(fresh)
        })
        .await
    }

    /// Clears an alarm; false if it is not standing.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn clear_alarm(
        &self,
        kind: &str,
        subject: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.act(by, now, async |mut change: Change| {
            let cleared = change.clear_alarm(kind, subject).await?;
            change.commit().await?;
            Ok(cleared)
        })
        .await
    }
}

impl Change {
    /// Cancels an order and its units, active ones excepted: those are a person's to decide. Whatever has a serial is told.
    ///
    /// # Errors
    /// As [`Change::put_order`] and [`Change::put_unit`].
    pub async fn cancel_order(&mut self, row: &OrderRow, cause: &Cause) -> Result<(), Error> {
        let Ok(cancelled) = row.order.clone().cancel(self.now(), &*cause.why) else {
            return Ok(());
        };
        self.put_order(row, &Order::Cancelled(cancelled), cause.clone())
            .await?;
        for unit in self.units(&row.id).await? {
            let known = unit.unit.known();
            let ended = matches!(unit.unit, Unit::Cancelled(_) | Unit::Terminated(_));
            let active = unit.unit.is_active();
            if !active && let Some(cancelled) = unit.unit.clone().cancel(self.now()) {
                self.put_unit(&unit, Unit::Cancelled(cancelled), cause.clone())
                    .await?;
            }
            if let Some(serial) = known.serial.filter(|_| !ended) {
                let (kind, said) = if active {
                    (
                        "cancelled-active",
                        "its order was cancelled while it is active: it goes on sending until it is terminated",
                    )
                } else {
                    (
                        "cancelled-serial",
                        "its order was cancelled after its serial was made: have the serial terminated",
                    )
                };
                let evidence = json!({ "serial": serial, "parcel": known.parcel });
                self.alarm(kind, &unit.id, said, Some(&evidence)).await?;
            }
        }
        Ok(())
    }
}

/// Provisioned by other means, or the answer to what was in doubt.
async fn give_serial(
    change: &mut Change,
    row: UnitRow,
    serial: &Serial,
    by: &Actor,
) -> Result<UnitRow, Error> {
    if row.unit.serial().as_ref() == Some(serial) {
        return Ok(row);
    }
    let live = match row.unit.clone() {
        Unit::Live(live) => live,
        Unit::Parked(parked) => parked.before,
        Unit::Cancelled(_) | Unit::Terminated(_) => {
            return Err(refused_unit(
                &row,
                "its journey is over",
                "assign another unit",
            ));
        }
    };
    let Live::Ordered(ordered) = live else {
        return Err(refused_unit(
            &row,
            &format!(
                "it has serial {}, and a unit keeps its serial",
                row.unit.serial().map(|s| s.to_string()).unwrap_or_default()
            ),
            "cancel it and order another one if the device was swapped",
        ));
    };
    for intent in change.intents_of(&row.id).await? {
        match intent.outcome {
            Outcome::Open => {
                return Err(refused_unit(
                    &row,
                    "a provisioning call for it is under way or in doubt",
                    "wait until it is settled or parked",
                ));
            }
            Outcome::Unresolved | Outcome::Abandoned => {
                let evidence = json!({ "by": by });
                change
                    .close_intent(
                        intent.id,
                        intent.outcome,
                        Outcome::Adopted,
                        Some(serial),
                        Some(&evidence),
                    )
                    .await?;
            }
            Outcome::Answered | Outcome::Refused | Outcome::WithoutEffect | Outcome::Adopted => {}
        }
    }
    let provisioned = Unit::Live(Live::Provisioned(ordered.provision(serial.clone())));
    let cause =
        Cause::new("provision", "serial given by a person").with(json!({ "serial": serial }));
    change.put_unit(&row, provisioned, cause).await
}

/// Assigned, if it has all its line asks for.
fn complete(live: Live, row: &UnitRow) -> Live {
    let needs = row.line.needs;
    match live {
        Live::Ordered(ordered) if !needs.serial => match ordered.clone().assign(needs) {
            Ok(assigned) => Live::Assigned(assigned),
            Err(_) => Live::Ordered(ordered),
        },
        Live::Provisioned(provisioned) => match provisioned.clone().assign(needs) {
            Ok(assigned) => Live::Assigned(assigned),
            Err(_) => Live::Provisioned(provisioned),
        },
        other => other,
    }
}

/// No other unit on its way goes by one of these marks.
async fn unclaimed(change: &mut Change, row: &UnitRow, tags: &Tags) -> Result<(), Error> {
    for (what, column, value) in [
        ("SIM", "sim", &tags.sim),
        ("IMEI", "imei", &tags.imei),
        ("device id", "device_id", &tags.device_id),
    ] {
        let Some(value) = value else { continue };
        for other in change.units_by(column, value).await? {
            let ended = matches!(other.unit, Unit::Cancelled(_) | Unit::Terminated(_));
            if other.id != row.id && !ended {
                return Err(refused_unit(
                    row,
                    &format!("{what} {value} belongs to unit {}", other.id),
                    "give this unit another one, or correct that unit first",
                ));
            }
        }
    }
    Ok(())
}

async fn retry_unit(change: &mut Change, row: &UnitRow) -> Result<(), Error> {
    match row.unit.clone() {
        Unit::Parked(parked) => {
            for intent in change.intents_of(&row.id).await? {
                if intent.outcome == Outcome::Unresolved {
                    let evidence = json!({ "decided": "nothing came of it", "by": change.by() });
                    change
                        .close_intent(
                            intent.id,
                            Outcome::Unresolved,
                            Outcome::Abandoned,
                            None,
                            Some(&evidence),
                        )
                        .await?;
                }
            }
            let why = format!("was parked for {}", parked.reason);
            let live = Unit::Live(parked.unpark());
            change
                .put_unit(row, live, Cause::new("retry", why))
                .await
                .map(drop)
        }
        Unit::Live(_) => {
            change
                .put_retry(row, 0, None, Cause::new("retry", "try now"))
                .await
        }
        Unit::Cancelled(_) | Unit::Terminated(_) => Err(refused_unit(
            row,
            "its journey is over",
            "a unit that has ended stays so",
        )),
    }
}

fn refused_order(row: &OrderRow, what: &str, remedy: &str) -> Error {
    Refusal::new(format!("order {}", row.id), what, remedy).into()
}

fn refused_unit(row: &UnitRow, what: &str, remedy: &str) -> Error {
    Refusal::new(format!("unit {}", row.id), what, remedy).into()
}
