//! Changes of units after their order was taken in: a unit cancelled on its own, a device replaced, what was cancelled taken up
//! again, a device moved to another database.
//!
//! * P1: a device that is replaced keeps its unit and its serial, both terminated; its replacement is another unit of the same line.
//! * G1: what is cancelled or replaced is terminated in the registry, in the same transaction.

use jiff::Timestamp;
use serde_json::json;

use super::change::{Cause, Change};
use super::intents::Outcome;
use super::operator_actions::{Subject, refused_order, refused_unit};
use super::rows::{LineStanding, OrderRow, UnitRow, unit_id};
use super::{During as _, Error, Store};
use crate::orders::journey::kit::OwnerDatabase;
use crate::orders::journey::order::{Approved, Open, Order};
use crate::orders::journey::unit::{Live, Unit};
use crate::orders::journey::{Actor, Code, Reason};
use crate::orders::settings::{Standing, Status};

impl Store {
    /// Cancels an order with its units, or one unit.
    ///
    /// # Errors
    /// As [`Store::cancel`] and [`Store::cancel_unit`].
    pub async fn cancel_any(
        &self,
        subject: &Subject,
        why: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), Error> {
        match subject {
            Subject::Order(order) => self.cancel(order, why, by, now).await,
            Subject::Unit(unit) => self.cancel_unit(unit, why, by, now).await,
        }
    }

    /// Cancels a unit; its order and the other units go on. A serial that it has is told of by an alarm.
    ///
    /// # Errors
    /// It is active, or has ended. A serial that a call under way makes for it is told of once it is known.
    pub async fn cancel_unit(
        &self,
        unit: &str,
        why: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.act(by, now, async |mut change: Change| {
            let row = change.unit(unit).await?;
            if row.unit.is_active() {
                return Err(refused_unit(
                    &row,
                    "it is active: its device sends",
                    &format!(
                        "have the device terminated in MyAdmin, or `orders replace {} --why WHY` if another device takes its place",
                        row.id
                    ),
                ));
            }
            if matches!(row.unit, Unit::Cancelled(_) | Unit::Terminated(_)) {
                return Err(refused_unit(
                    &row,
                    &format!("it is {} already", row.unit.state()),
                    "nothing is left to do",
                ));
            }
            change.cancel_unit(&row, Cause::new("cancel", why)).await?;
            change.commit().await
        })
        .await
    }

    /// Replaces the device of a unit (RMA): its serial is terminated, and a new unit of the same line goes the whole journey. Gives the
    /// new unit's id.
    ///
    /// # Errors
    /// It has no serial, was replaced before, or its order is over; a provisioning call for it is in doubt.
    pub async fn replace(
        &self,
        unit: &str,
        why: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<String, Error> {
        self.act(by, now, async |mut change: Change| {
            let row = change.unit(unit).await?;
            let order = change.order(&row.order_id).await?;
            if order.order.is_over() {
                return Err(refused_unit(
                    &row,
                    &format!("its order is {}", order.order.state()),
                    &format!("`orders resume {} --why WHY` takes a cancelled order up again; otherwise order another unit", order.id),
                ));
            }
            if row.unit.serial().is_none() {
                return Err(refused_unit(
                    &row,
                    "it has no serial yet, so there is no device to replace",
                    &format!("`orders assign {} --imei IMEI` corrects its IMEI, as --sim and --device-id do", row.id),
                ));
            }
            let units = change.units(&row.order_id).await?;
            if let Some(other) = units.iter().find(|other| other.replaces.as_deref() == Some(unit)) {
                return Err(refused_unit(
                    &row,
                    &format!("it was replaced by unit {}", other.id),
                    &format!("`orders replace {} --why WHY` if that device is replaced too", other.id),
                ));
            }
            if change.is_in_doubt(unit).await? {
                return Err(refused_unit(
                    &row,
                    "a provisioning call for it is under way or in doubt",
                    &format!("wait until it is settled: `orders show {}` tells what settles it", row.id),
                ));
            }
            let of_line = units.iter().filter(|other| other.line.id == row.line.id).count();
            let id = unit_id(&row.order_id, &format!("{}r{of_line}", row.line.id));
            change.add_replacement(&row, &id, why).await?;
            change.commit().await?;
            Ok(id)
        })
        .await
    }

    /// Takes up again what was cancelled: a unit, or an order with the units that were cancelled with it; or an order that was closed,
    /// because it was fulfilled before this store knew it.
    ///
    /// # Errors
    /// It is neither, or its order is cancelled; MyAdmin shows the order as cancelled, by the words of `status`.
    pub async fn resume(
        &self,
        subject: &Subject,
        why: &str,
        status: &Status,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.act(by, now, async |mut change: Change| {
            match subject {
                Subject::Order(id) => {
                    let row = change.order(id).await?;
                    let cause = Cause::new("resume", why);
                    if matches!(row.order, Order::Closed(_)) {
                        // Fulfilled before this store knew it: its lines are taken in by the next round.
                        let by = Some(by.name().into());
                        let open = Order::Open(Open::Approved(Approved { by }));
                        change.put_order(&row, &open, cause).await?;
                        return change.commit().await;
                    }
                    let Order::Cancelled(cancelled) = row.order.clone() else {
                        return Err(refused_order(
                            &row,
                            &format!("it is {}, not cancelled", row.order.state()),
                            &format!("`orders show {}` tells what it waits for", row.id),
                        ));
                    };
                    if status.standing(&row.head.status) == Standing::Cancelled {
                        return Err(refused_order(
                            &row,
                            &format!("MyAdmin shows it as {:?}", &*row.head.status),
                            "have it made pending in MyAdmin first, or it would be cancelled again by the next listing",
                        ));
                    }
                    let open = Order::Open(Open::Approved(cancelled.clone().resume(by)));
                    change.put_order(&row, &open, cause).await?;
                    for unit in change.units(id).await? {
                        if let Unit::Cancelled(ended) = &unit.unit
                            && ended.at == cancelled.at
                        {
                            change.resume_unit(&unit, why).await?;
                        }
                    }
                    change.end_alarm("cancelled-reappears", id).await?;
                }
                Subject::Unit(id) => {
                    let row = change.unit(id).await?;
                    let order = change.order(&row.order_id).await?;
                    if matches!(order.order, Order::Cancelled(_)) {
                        return Err(refused_unit(
                            &row,
                            "its order is cancelled",
                            &format!(
                                "`orders resume {} --why WHY` takes the order up again",
                                order.id
                            ),
                        ));
                    }
                    change.resume_unit(&row, why).await?;
                }
            }
            change.commit().await
        })
        .await
    }
}

impl Change {
    /// Cancels a unit that is under way; another stays as it is. A serial that it has is told of by an alarm.
    ///
    /// # Errors
    /// As [`Change::put_unit`].
    pub async fn cancel_unit(&mut self, row: &UnitRow, cause: Cause) -> Result<(), Error> {
        let Some(cancelled) = row.unit.clone().cancel(self.now()) else {
            return Ok(());
        };
        let known = row.unit.known();
        self.put_unit(row, Unit::Cancelled(cancelled), cause)
            .await?;
        if let Some(serial) = known.serial {
            let said = "it was cancelled after its serial was made: have the serial terminated";
            let evidence = json!({ "serial": serial, "parcel": known.parcel });
            self.alarm("cancelled-serial", &row.id, said, Some(&evidence))
                .await?;
        }
        Ok(())
    }

    /// Takes up a cancelled unit again, as far on its way as what is known of it reaches.
    ///
    /// # Errors
    /// It is not cancelled.
    pub async fn resume_unit(&mut self, row: &UnitRow, why: &str) -> Result<(), Error> {
        let Unit::Cancelled(cancelled) = row.unit.clone() else {
            return Err(refused_unit(
                row,
                &format!("it is {}, not cancelled", row.unit.state()),
                &format!(
                    "`orders show {0}` tells what it waits for; a terminated device stays so: `orders replace {0} --why WHY` gives another one",
                    row.id
                ),
            ));
        };
        let live = cancelled.resume(row.line.needs);
        let unit = if self.is_in_doubt(&row.id).await? {
            let text = "it was cancelled while the answer of its provisioning call was in doubt";
            Unit::Parked(live.park(Reason::new(Code::LostAnswer, text)))
        } else {
            Unit::Live(live)
        };
        self.put_unit(row, unit, Cause::new("resume", why)).await?;
        self.put_line_standing(&row.id, LineStanding::AsTaken)
            .await?;
        self.end_alarm("cancelled-serial", &row.id).await
    }

    /// Writes which database owns an active device now; false if the unit is not active, or is there already.
    ///
    /// # Errors
    /// As [`Change::put_unit`].
    pub async fn move_unit(&mut self, unit: &str, to: OwnerDatabase) -> Result<bool, Error> {
        let row = self.unit(unit).await?;
        let Unit::Live(Live::Active(active)) = row.unit.clone() else {
            return Ok(false);
        };
        let from = active.database().as_str().to_owned();
        if from == to.as_str() {
            return Ok(false);
        }
        let why = format!("it moved from database {from} to {}", to.as_str());
        let evidence = json!({ "from": from, "to": to.as_str() });
        let moved = Unit::Live(Live::Active(active.moved(to)));
        self.put_unit(&row, moved, Cause::new("move", why).with(evidence))
            .await?;
        Ok(true)
    }

    /// Writes what a change of the unit's line came to.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn put_line_standing(
        &mut self,
        unit: &str,
        standing: LineStanding,
    ) -> Result<(), Error> {
        sqlx::query("UPDATE units SET line_standing = $2 WHERE id = $1")
            .bind(unit.to_owned())
            .bind(standing as i64)
            .execute(&mut *self.tx)
            .await
            .during("writing a line's standing")?;
        Ok(())
    }

    /// Whether a provisioning call for a unit is under way, or was and nobody knows what it made.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn is_in_doubt(&mut self, unit: &str) -> Result<bool, Error> {
        let calls = self.intents_of(unit).await?;
        let unknown = |outcome| matches!(outcome, Outcome::Open | Outcome::Unresolved);
        Ok(calls.iter().any(|call| unknown(call.outcome)))
    }

    /// Whether a sheet of terminations ended the unit: its serial is terminated in MyAdmin, and nobody has to see to that.
    async fn is_ended_by_sheet(&mut self, unit: &str) -> Result<bool, Error> {
        let sql = "SELECT seq FROM events WHERE unit_id = $1 AND act = 'terminate' AND evidence LIKE '%\"sheet\":%' LIMIT 1";
        let ended = sqlx::query(sql)
            .bind(unit.to_owned())
            .fetch_optional(&mut *self.tx)
            .await
            .during("looking for a termination")?;
        Ok(ended.is_some())
    }

    /// A unit of a line that came after its order was taken in; false if it is there already.
    ///
    /// # Errors
    /// As [`Change::add_unit`].
    pub async fn add_late_unit(
        &mut self,
        order: &OrderRow,
        line: &super::rows::OrderLine,
        reason: Option<Reason>,
    ) -> Result<bool, Error> {
        let why = reason.as_ref().map_or_else(
            || format!("MyAdmin added its line ({})", line.product_code),
            ToString::to_string,
        );
        let unit = match reason {
            None => Unit::ordered(),
            Some(reason) => match Unit::ordered() {
                Unit::Live(live) => Unit::Parked(live.park(reason)),
                other => other,
            },
        };
        self.add_unit(&order.id, line, &unit, Cause::new("take-in", why))
            .await
    }
}

impl Change {
    /// Terminates a unit whose device is replaced, and adds the unit that takes its place, with this id.
    ///
    /// # Errors
    /// The store cannot be written, or has a unit with this id.
    pub(super) async fn add_replacement(
        &mut self,
        row: &UnitRow,
        id: &str,
        why: &str,
    ) -> Result<UnitRow, Error> {
        let known = row.unit.known();
        let evidence = json!({ "serial": known.serial, "tags": known.tags });
        if let Some(terminated) = row.unit.clone().terminate(self.now()) {
            let cause = Cause::new("replace", why).with(evidence.clone());
            self.put_unit(row, Unit::Terminated(terminated), cause)
                .await?;
        }
        for kind in ["cancelled-serial", "cancelled-active"] {
            self.end_alarm(kind, &row.id).await?;
        }
        if !self.is_ended_by_sheet(&row.id).await? {
            let said = "its device was replaced: have the serial terminated in MyAdmin";
            self.alarm("replaced-serial", &row.id, said, Some(&evidence))
                .await?;
        }
        let fresh = UnitRow {
            id: id.to_owned(),
            replaces: Some(row.id.clone()),
            unit: Unit::ordered(),
            ..row.clone()
        };
        let cause = Cause::new("take-in", format!("replaces unit {}: {why}", row.id));
        if !self.add_unit_row(&fresh, cause).await? {
            return Err(Error::Changed(format!("unit {id}")));
        }
        self.unit(id).await
    }
}
