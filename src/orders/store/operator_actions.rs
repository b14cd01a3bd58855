//! Actions of operators, imports and sheets: each is one change, or is refused with its fault and the remedy.
//!
//! They need no lease: a person may act at any time, and the rows' versions keep them and the reconciler apart. An act that met
//! another change is begun anew a few times before [`Error::Changed`] is given back.

use std::future::Future;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::change::{Cause, Change};
use super::intents::{IntentRow, Outcome};
use super::rows::{LineStanding, OrderRow, UnitRow};
use super::{Error, Refusal, Store};
use crate::orders::journey::order::{Open, Order};
use crate::orders::journey::unit::Unit;
use crate::orders::journey::{Actor, Code, Reason};
use crate::orders::reconcile::doubt;

/// How often an act is begun anew when somebody else was faster.
const TRIES: usize = 5;

/// The subject of an action.
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

impl Store {
    pub(super) async fn act<T, F, R>(&self, by: &Actor, now: Timestamp, act: F) -> Result<T, Error>
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
                            &format!("`orders show {}` tells where it is", row.id),
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
                            &format!("`orders show {}` tells where it is", row.id),
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
    /// It is over; or a listed serial that no unit has may be what a call in doubt made.
    pub async fn retry(&self, subject: &Subject, by: &Actor, now: Timestamp) -> Result<(), Error> {
        self.retry_as(subject, false, by, now).await
    }

    /// As [`Store::retry`]; `anew` is the word that no listed serial is what a call in doubt made.
    ///
    /// # Errors
    /// As [`Store::retry`].
    pub async fn retry_as(
        &self,
        subject: &Subject,
        anew: bool,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.act(by, now, async |mut change: Change| {
            match subject {
                Subject::Order(id) => {
                    let row = change.order(id).await?;
                    match row.order.clone() {
                        Order::Parked(parked) => {
                            let why = format!("was parked for {}", parked.reason);
                            let elsewhere = parked.reason.code == Code::Elsewhere;
                            let open = Order::Open(parked.unpark());
                            change.put_order(&row, &open, Cause::new("retry", why)).await?;
                            if elsewhere {
                                change.keep_provisioned(id).await?;
                            }
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
                            retry_unit(&mut change, &unit, anew).await?;
                        }
                    }
                }
                Subject::Unit(id) => {
                    let row = change.unit(id).await?;
                    retry_unit(&mut change, &row, anew).await?;
                }
            }
            change.commit().await
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
            if cleared && kind == "orphan-serial" {
                // Its product was not provisioned while it stood: that ends with an operator's decision.
                change.accept_serial(subject).await?;
            }
            if cleared && change.refuse_sheet(kind, subject).await? {
                let why =
                    format!("the alarm {kind} of the sheet {subject} was cleared: it ends nobody");
                change
                    .note(None, None, Cause::new("refuse-sheet", why))
                    .await?;
            }
            change.commit().await?;
            Ok(cleared)
        })
        .await
    }
}

impl Change {
    /// A person compared the order with MyAdmin, which shows it as fulfilled: its units go on, those that still need a serial
    /// excepted, as somebody else may have made it (P1).
    async fn keep_provisioned(&mut self, order: &str) -> Result<(), Error> {
        for unit in self.units(order).await? {
            if unit.unit.serial().is_some() || !unit.line.needs.serial {
                self.put_line_standing(&unit.id, LineStanding::Kept).await?;
            }
        }
        Ok(())
    }
}

/// Lets a unit go on. Its retry also states that a call whose answer was lost had no effect.
async fn retry_unit(change: &mut Change, row: &UnitRow, anew: bool) -> Result<(), Error> {
    let mut abandoned = false;
    for intent in change.intents_of(&row.id).await? {
        if intent.outcome == Outcome::Unresolved {
            if !anew {
                nothing_fits(change, row, &intent).await?;
            }
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
            change.clear_alarm("lost-answer", &row.id).await?;
            abandoned = true;
        }
    }
    match row.unit.clone() {
        Unit::Parked(parked) => {
            let why = format!("was parked for {}", parked.reason);
            let kept = matches!(parked.reason.code, Code::LineChanged | Code::Elsewhere);
            let live = Unit::Live(parked.unpark());
            change.put_unit(row, live, Cause::new("retry", why)).await?;
            if kept {
                change
                    .put_line_standing(&row.id, LineStanding::Kept)
                    .await?;
            }
            Ok(())
        }
        Unit::Live(_) => {
            change
                .put_retry(row, 0, None, Cause::new("retry", "try now"))
                .await
        }
        Unit::Cancelled(_) | Unit::Terminated(_) if abandoned => {
            let cause = Cause::new("abandon", "a person says that nothing came of its call");
            change.note(Some(&row.order_id), Some(&row.id), cause).await
        }
        Unit::Cancelled(_) | Unit::Terminated(_) => Err(refused_unit(
            row,
            "its journey is over",
            "a unit that has ended stays so",
        )),
    }
}

/// Refuses to provision anew while a serial stands that the call in doubt may have made.
async fn nothing_fits(change: &mut Change, row: &UnitRow, call: &IntentRow) -> Result<(), Error> {
    let fitting = doubt::fitting(call, &change.unclaimed().await?);
    let Some(serial) = fitting.first() else {
        return Ok(());
    };
    let what = format!(
        "serial {serial} is listed, no unit has it, and its call of {} may have made it",
        call.begun_at
    );
    let anew = format!(
        "`orders retry {} --anew` says that it is somebody else's",
        row.id
    );
    let remedy = match row.unit {
        Unit::Live(_) | Unit::Parked(_) => {
            format!(
                "`orders assign {} --serial {serial}` adopts it; {anew}",
                row.id
            )
        }
        Unit::Cancelled(_) | Unit::Terminated(_) => {
            format!(
                "have it terminated in MyAdmin if it is this unit's; {anew}, or that it is ended"
            )
        }
    };
    Err(refused_unit(row, &what, &remedy))
}

pub(super) fn refused_order(row: &OrderRow, what: &str, remedy: &str) -> Error {
    Refusal::new(format!("order {}", row.id), what, remedy).into()
}

pub(super) fn refused_unit(row: &UnitRow, what: &str, remedy: &str) -> Error {
    Refusal::new(format!("unit {}", row.id), what, remedy).into()
}
