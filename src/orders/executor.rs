//! Doing what was decided, one act at a time: the marketplace is told, then the store, each act its own change.
//!
//! * An act whose row changed since the decision is dropped; the next round decides anew.
//! * Every change is made under the lease's token; with a lost lease the round ends before its next act.
//! * Every act reads what it acts on in the transaction that records it: a unit goes no step while its order is not clear.
//! * A crash between a call and its row is healed by the next round, because it decides by what is shown. Calls that change the
//!   world are in `provision` and `report`.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use super::Clock;
use super::calls::Calls;
use super::inventory::Spare;
use super::journey::order::Order;
use super::journey::unit::{Live, Ordered, Unit};
use super::journey::{Actor, Reason, Tags};
use super::market::Market;
use super::reconcile::{Action, View, fulfil, seconds};
use super::registrar::Registrar;
use super::settings::Config;
use super::store::change::{Cause, Change};
use super::store::intents::{IntentRow, Outcome};
use super::store::lease::Token;
use super::store::rows::{LineStanding, OrderRow, UnitRow};
use super::store::{Error, Store};
use crate::ops::metrics::orders as metrics;

/// Does acts. One at a time; owns how often what failed in a row.
pub struct Executor<M> {
    /// Client of MyAdmin; calls that outlive their round have clones.
    pub(super) market: M,
    /// The orders store.
    pub(super) store: Store,
    /// Settings of the journey.
    pub(super) config: Arc<Config>,
    /// The wall clock.
    pub(super) clock: Clock,
    /// Token of the lease: with it every change is refused once another instance has the lease.
    pub(super) token: Token,
    /// Publishes the store's newest generation before every provisioning call (P3).
    pub(super) registrar: Arc<Registrar>,
    /// Calls begun; the process waits for them before it ends, also when this is dropped.
    pub(super) calls: Calls,
    /// Failures in a row by unit or order, for the backoff; forgotten with the lease.
    failures: HashMap<String, u32>,
}

/// What became of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Something is different now.
    Changed,
    /// Nothing is: it was dropped, put off or not needed any more.
    Same,
}

impl<M: Market + Clone + 'static> Executor<M> {
    pub fn new(
        market: M,
        store: Store,
        config: Arc<Config>,
        clock: Clock,
        token: Token,
        registrar: Arc<Registrar>,
        calls: Calls,
    ) -> Self {
        Self {
            market,
            store,
            config,
            clock,
            token,
            registrar,
            calls,
            failures: HashMap::new(),
        }
    }

    pub(super) async fn change(&self) -> Result<Change, Error> {
        let now = (self.clock)();
        self.store
            .change(Actor::Reconciler, Some(self.token), now)
            .await
    }

    /// Does one act. What was written to the marketplace is forgotten from the view.
    ///
    /// # Errors
    /// The store failed, or the lease is lost: the round ends. Acts that do not fit any more are no error.
    pub async fn act(&mut self, act: Action, view: &mut View) -> Result<Done, Error> {
        let name = act.name();
        let result = Box::pin(self.perform(act, view)).await;
        match result {
            Ok(done) => {
                if done == Done::Changed {
                    metrics::count_act(name);
                }
                Ok(done)
            }
            Err(Error::Changed(what)) => {
                tracing::debug!(act = name, %what, "was changed meanwhile; decided anew in the next round");
                Ok(Done::Same)
            }
            Err(Error::Refused(refusal)) => {
                tracing::warn!(act = name, "{refusal}");
                Ok(Done::Same)
            }
            Err(error) => Err(error),
        }
    }

    async fn perform(&mut self, act: Action, view: &mut View) -> Result<Done, Error> {
        match act {
            Action::TakeIn {
                id,
                order,
                head,
                lines,
                why,
            } => {
                let mut change = self.change().await?;
                let evidence = json!({ "head": head });
                let cause = Cause::new("take-in", why).with(evidence);
                if !change.add_order(&id, &order, &head, cause).await? {
                    return Ok(Done::Same);
                }
                for (line, reason) in &lines {
                    let unit = match reason {
                        None => Unit::ordered(),
                        Some(reason) => {
                            Unit::Parked(Live::Ordered(Ordered::default()).park(reason.clone()))
                        }
                    };
                    let why = reason
                        .as_ref()
                        .map_or_else(|| line.product_code.clone(), ToString::to_string);
                    change
                        .add_unit(&id, line, &unit, Cause::new("take-in", why))
                        .await?;
                }
                change.commit().await?;
                tracing::info!(order = %id, units = lines.len(), state = order.state(), "order received");
            }
            Action::Head { row, head, why } => {
                let mut change = self.change().await?;
                let evidence = json!({ "before": row.head, "now": head });
                let cause = Cause::new("head", why).with(evidence);
                change.put_head(&row, &head, cause).await?;
                change.commit().await?;
            }
            Action::Missing { row, missing } => {
                let mut change = self.change().await?;
                let why = format!("not listed by {missing} full sweeps");
                change
                    .put_missing(&row, missing, Cause::new("missing", why))
                    .await?;
                change.commit().await?;
            }
            Action::ParkOrder {
                row,
                reason,
                evidence,
            } => return self.park_order(&row, reason, evidence).await,
            Action::CancelOrder { row, why, evidence } => {
                let mut change = self.change().await?;
                tracing::warn!(order = %row.id, %why, "cancelled");
                let cause = Cause::new("cancel", why).with(evidence);
                change.cancel_order(&row, &cause).await?;
                change.commit().await?;
            }
            Action::ParkUnit {
                row,
                reason,
                evidence,
            } => return self.park_unit(&row, reason, evidence).await,
            Action::Assign { row } => return self.assign(&row).await,
            Action::Stock { row, spare } => return self.stock(&row, &spare).await,
            Action::Provision { row, account } => return self.provision(&row, &account).await,
            Action::Adopt {
                intent,
                serial,
                evidence,
            } => return self.adopt(&intent, &serial, &evidence).await,
            Action::Doubt { intent, evidence } => return self.doubt(&intent, &evidence).await,
            Action::ReportUnit { row, line } => return self.report_unit(*row, *line, view).await,
            Action::ReportShipment {
                row,
                order,
                shipment,
            } => return self.report_shipment(*row, *order, shipment, view).await,
            Action::Told { row } => {
                let Unit::Live(Live::Shipped(unit)) = row.unit.clone() else {
                    return Ok(Done::Same);
                };
                let cause =
                    Cause::new("told", "MyAdmin shows it as it is").tried(row.attempts, None);
                return self.put(&row, Live::Reported(unit.report()), cause).await;
            }
            Action::Confirm { row, line } => {
                let Unit::Live(Live::Reported(unit)) = row.unit.clone() else {
                    return Ok(Done::Same);
                };
                let Ok(matches) = fulfil::read_back(&line).compare(unit.kit()) else {
                    return Ok(Done::Same);
                };
                let cause =
                    Cause::new("confirm", "read back and compared").with(json!({ "line": line }));
                let confirmed = Live::Confirmed(unit.confirm(matches));
                return self.put(&row, confirmed, cause).await;
            }
            Action::Differs { row, differences } => {
                let Unit::Live(live @ Live::Reported(_)) = row.unit.clone() else {
                    return Ok(Done::Same);
                };
                // New marks that are the old ones: it has to be told again.
                let Ok(shipped) = live.tag(Tags::default()) else {
                    return Ok(Done::Same);
                };
                let retry = self.later(&row.id);
                let cause =
                    Cause::new("differs", differences.join("; ")).tried(row.attempts, Some(retry));
                return self.put(&row, shipped, cause).await;
            }
            Action::Activate { row, database } => return self.activate(&row, database).await,
            Action::Leave { row } => {
                let Unit::Live(Live::InDatabase(unit)) = row.unit.clone() else {
                    return Ok(Done::Same);
                };
                let cause = Cause::new("leave", "it is in no database any more");
                return self.put(&row, Live::Confirmed(unit.leave()), cause).await;
            }
            Action::AddUnit { row, line, reason } => {
                let mut change = self.change().await?;
                if change.order(&row.id).await?.version != row.version {
                    return Ok(Done::Same);
                }
                tracing::warn!(order = %row.id, line = line.id, "MyAdmin added a line; it is taken in");
                if !change.add_late_unit(&row, &line, reason).await? {
                    return Ok(Done::Same);
                }
                change.commit().await?;
            }
            Action::LineGone { row } => {
                let mut change = self.change().await?;
                if change.is_in_doubt(&row.id).await? {
                    return Ok(Done::Same);
                }
                tracing::warn!(unit = %row.id, "MyAdmin does not show its line any more; it is cancelled");
                let cause = Cause::new("cancel", "MyAdmin does not show its line any more");
                change.cancel_unit(&row, cause).await?;
                change
                    .put_line_standing(&row.id, LineStanding::Gone)
                    .await?;
                change.commit().await?;
            }
            Action::LineBack { row } => {
                let mut change = self.change().await?;
                if change.unit(&row.id).await?.version != row.version {
                    return Ok(Done::Same);
                }
                change
                    .resume_unit(&row, "MyAdmin shows its line again")
                    .await?;
                change.commit().await?;
            }
            Action::Move { unit, database } => {
                let mut change = self.change().await?;
                tracing::info!(%unit, database = database.as_str(), "an active device moved to another database");
                if !change.move_unit(&unit, database).await? {
                    return Ok(Done::Same);
                }
                change.commit().await?;
            }
            // Told at the end of the round, all at once.
            Action::Alarm(_) => return Ok(Done::Same),
        }
        Ok(Done::Changed)
    }

    /// A step of a unit; none if its order is not clear by now.
    async fn put(&self, row: &UnitRow, live: Live, cause: Cause) -> Result<Done, Error> {
        let mut change = self.change().await?;
        if change.order(&row.order_id).await?.order.clear().is_none() {
            return Ok(Done::Same);
        }
        change.put_unit(row, Unit::Live(live), cause).await?;
        change.commit().await?;
        Ok(Done::Changed)
    }

    async fn assign(&self, row: &UnitRow) -> Result<Done, Error> {
        let assigned = match row.unit.clone() {
            Unit::Live(Live::Ordered(unit)) => unit.assign(row.line.needs),
            Unit::Live(Live::Provisioned(unit)) => unit.assign(row.line.needs),
            _ => return Ok(Done::Same),
        };
        let Ok(assigned) = assigned else {
            return Ok(Done::Same);
        };
        let cause = Cause::new("assign", "it has all its line asks for");
        self.put(row, Live::Assigned(assigned), cause).await
    }

    /// A device of the shelf becomes the unit's; whoever was given it meanwhile keeps it.
    async fn stock(&self, row: &UnitRow, spare: &Spare) -> Result<Done, Error> {
        let mut change = self.change().await?;
        let order = change.order(&row.order_id).await?;
        if order.order.clear().is_none() || change.unit(&row.id).await?.version != row.version {
            return Ok(Done::Same);
        }
        let why = format!("from line {} of the inventory", spare.line);
        let cause = Cause::new("stock", why);
        change
            .note(Some(&row.order_id), Some(&row.id), cause)
            .await?;
        change.give(&row.id, &spare.given).await?;
        change.commit().await?;
        Ok(Done::Changed)
    }

    /// P2: the order is read in the transaction that activates.
    async fn activate(
        &self,
        row: &UnitRow,
        database: super::journey::kit::OwnerDatabase,
    ) -> Result<Done, Error> {
        let mut change = self.change().await?;
        let now = change.now();
        let order = change.order(&row.order_id).await?;
        let Some(clear) = order.order.clear() else {
            return Ok(Done::Same);
        };
        let (row, inside) = match row.unit.clone() {
            Unit::Live(Live::Confirmed(unit)) => {
                let why = format!("it is in database {}", database.as_str());
                let Ok(inside) = unit.enter(database) else {
                    return Ok(Done::Same);
                };
                let entered = Unit::Live(Live::InDatabase(inside.clone()));
                let cause = Cause::new("enter", why);
                (change.put_unit(row, entered, cause).await?, inside)
            }
            Unit::Live(Live::InDatabase(inside)) => (row.clone(), inside),
            _ => return Ok(Done::Same),
        };
        let active = Unit::Live(Live::Active(inside.activate(&clear, now)));
        let cause = Cause::new(
            "activate",
            "confirmed, in a database, and its order is clear",
        );
        change.put_unit(&row, active, cause).await?;
        change.commit().await?;
        tracing::info!(unit = %row.id, "active");
        Ok(Done::Changed)
    }

    async fn park_order(
        &self,
        row: &OrderRow,
        reason: Reason,
        evidence: serde_json::Value,
    ) -> Result<Done, Error> {
        let mut change = self.change().await?;
        let done = park_order(&mut change, row, reason, evidence).await?;
        change.commit().await?;
        Ok(done)
    }

    async fn park_unit(
        &self,
        row: &UnitRow,
        reason: Reason,
        evidence: serde_json::Value,
    ) -> Result<Done, Error> {
        let mut change = self.change().await?;
        let done = park(&mut change, row, reason, evidence).await?;
        change.commit().await?;
        Ok(done)
    }

    /// It did not fail this time.
    pub(super) fn forgive(&mut self, what: &str) {
        self.failures.remove(what);
    }

    /// When something that failed is tried again: later each time it fails in a row.
    pub(super) fn later(&mut self, what: &str) -> Timestamp {
        let times = self.failures.entry(what.to_owned()).or_default();
        let wait = self
            .config
            .backoff_s
            .saturating_mul(1 << (*times).min(16))
            .min(self.config.backoff_max_s);
        *times += 1;
        let now = (self.clock)();
        now.saturating_add(seconds(wait)).unwrap_or(Timestamp::MAX)
    }
}

/// Parks a unit that is under way; another stays as it is.
pub(super) async fn park(
    change: &mut Change,
    row: &UnitRow,
    reason: Reason,
    evidence: serde_json::Value,
) -> Result<Done, Error> {
    let Unit::Live(live) = row.unit.clone() else {
        return Ok(Done::Same);
    };
    let cause = Cause::new("park", reason.to_string()).with(evidence);
    metrics::count_parked(reason.code.name());
    tracing::warn!(unit = %row.id, "parked for {reason}; {}", reason.code.remedy(&row.id));
    change
        .put_unit(row, Unit::Parked(live.park(reason)), cause)
        .await?;
    Ok(Done::Changed)
}

/// Parks an order that is under way; another stays as it is.
pub(super) async fn park_order(
    change: &mut Change,
    row: &OrderRow,
    reason: Reason,
    evidence: serde_json::Value,
) -> Result<Done, Error> {
    let Order::Open(open) = row.order.clone() else {
        return Ok(Done::Same);
    };
    let cause = Cause::new("park", reason.to_string()).with(evidence);
    metrics::count_parked(reason.code.name());
    tracing::warn!(order = %row.id, "parked for {reason}; {}", reason.code.remedy(&row.id));
    change
        .put_order(row, &Order::Parked(open.park(reason)), cause)
        .await?;
    Ok(Done::Changed)
}

/// Whether an intent is still as it was decided upon.
pub(super) async fn unchanged(change: &mut Change, intent: &IntentRow) -> Result<bool, Error> {
    let now = change.intents_of(&intent.wish.unit_id).await?;
    Ok(now
        .iter()
        .any(|row| row.id == intent.id && row.outcome == Outcome::Open))
}
