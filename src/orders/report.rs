//! Telling MyAdmin which device a unit is, and how an order travels.
//!
//! 1. The data to report are read in the transaction that records it, under the lease: an order that is parked, cancelled or shipped
//!    otherwise by then is not told of.
//! 2. Every call has its event before (`tell`) and after (`report`, `put-off` or `park`). The event after is a fact: it is written
//!    even if the lease was lost meanwhile, and a process that leaves waits for it ([`super::calls`]).
//! 3. Last write wins (U7), so a lost answer is no reason not to tell again. What MyAdmin refuses is told `fulfilment.tries` times,
//!    then a person is asked.
//!
//! A crash between call and event leaves a `tell` without an end; the next reading back shows what came of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Clock;
use super::calls::Tries;
use super::executor::{Done, Executor, park, park_order};
use super::journey::unit::{Live, Unit};
use super::journey::{Actor, Code, Reason};
use super::market::Market;
use super::reconcile::{View, fulfil};
use super::settings::{Config, Partial};
use super::store::change::{Cause, Change};
use super::store::lease::Token;
use super::store::read::Whole;
use super::store::rows::{OrderRow, Shipment, UnitRow};
use super::store::{Error, Store};
use crate::myadmin;
use crate::myadmin::wire;

/// The parts with which one report is finished in the background.
struct Report<M> {
    market: M,
    store: Store,
    config: Arc<Config>,
    clock: Clock,
    token: Token,
    /// When it is told again if it could not be told.
    retry_at: Timestamp,
}

/// The outcome of a report.
enum Told {
    Yes,
    /// Nobody knows, or it could not be said now: it is said again, without a bound.
    NotNow(String),
    /// It was refused as it is: it is said again a few times.
    Refused(String),
}

impl From<Result<(), myadmin::Error>> for Told {
    fn from(told: Result<(), myadmin::Error>) -> Self {
        match told {
            Ok(()) => Self::Yes,
            Err(error) if error.retryable() => Self::NotNow(error.to_string()),
            Err(error) => Self::Refused(error.to_string()),
        }
    }
}

impl<M: Market + Clone + 'static> Executor<M> {
    fn report(&mut self, subject: &str) -> Report<M> {
        Report {
            retry_at: self.later(subject),
            market: self.market.clone(),
            store: self.store.clone(),
            config: Arc::clone(&self.config),
            clock: Arc::clone(&self.clock),
            token: self.token,
        }
    }

    pub(super) async fn report_unit(
        &mut self,
        row: UnitRow,
        line: wire::LineUnit,
        view: &mut View,
    ) -> Result<Done, Error> {
        let (id, order) = (row.id.clone(), row.order_id.clone());
        let report = self.report(&id);
        let done = self.calls.begin(report.unit(row, line)).await?;
        self.reported(&id, &order, done, view).await
    }

    pub(super) async fn report_shipment(
        &mut self,
        row: OrderRow,
        order: wire::Order,
        shipment: Shipment,
        view: &mut View,
    ) -> Result<Done, Error> {
        let id = row.id.clone();
        let report = self.report(&id);
        let done = self
            .calls
            .begin(report.shipment(row, order, shipment))
            .await?;
        self.reported(&id, &id, done, view).await
    }

    async fn reported(
        &mut self,
        subject: &str,
        order: &str,
        (done, told): (Done, bool),
        view: &mut View,
    ) -> Result<Done, Error> {
        if done == Done::Changed {
            // Written or not: what was read before does not count any more.
            view.wrote(order);
        }
        if told {
            self.forgive(subject);
        }
        Ok(done)
    }
}

impl<M: Market> Report<M> {
    async fn unit(self, row: UnitRow, line: wire::LineUnit) -> Result<(Done, bool), Error> {
        let Ok(order) = row.order_id.parse::<i64>() else {
            return Ok((Done::Same, false));
        };
        let Unit::Live(Live::Shipped(unit)) = &row.unit else {
            return Ok((Done::Same, false));
        };
        let kit = unit.kit();
        let report = wire::UnitReport {
            serial: kit.serial().map(ToString::to_string),
            sim: kit.tags().sim.as_deref().map(str::to_owned),
            imei: kit.tags().imei.as_deref().map(str::to_owned),
        };
        let said = json!({ "serial": report.serial, "sim": report.sim, "imei": report.imei });
        let mut change = self.change(Some(self.token)).await?;
        let clear = change.order(&row.order_id).await?.order.clear().is_some();
        if !clear || change.unit(&row.id).await?.version != row.version {
            return Ok((Done::Same, false));
        }
        let cause = Cause::new("tell", "to be told to MyAdmin").with(said.clone());
        change
            .note(Some(&row.order_id), Some(&row.id), cause)
            .await?;
        change.commit().await?;
        let told = Told::from(self.market.report_unit(order, &line, &report).await);
        let mut tries = Tries::new(self.patience());
        loop {
            match self.unit_told(&row, &told, &said, &line).await {
                Err(error) if tries.again(&error).await => {}
                written => return written.map(|()| (Done::Changed, matches!(told, Told::Yes))),
            }
        }
    }

    /// The event after.
    async fn unit_told(
        &self,
        row: &UnitRow,
        told: &Told,
        said: &Value,
        line: &wire::LineUnit,
    ) -> Result<(), Error> {
        let mut change = self.change(None).await?;
        let now = change.unit(&row.id).await?;
        let same = now.version == row.version;
        let about = (row.order_id.as_str(), Some(row.id.as_str()));
        match (told, now.unit.clone()) {
            (Told::Yes, Unit::Live(Live::Shipped(unit))) if same => {
                let cause = Cause::new("report", "told to MyAdmin")
                    .with(said.clone())
                    .tried(row.attempts + 1, None);
                let reported = Unit::Live(Live::Reported(unit.report()));
                change.put_unit(&now, reported, cause).await?;
            }
            (Told::NotNow(why), _) if same => {
                tracing::warn!(unit = %row.id, why, "the device assignment was not reported; retrying later");
                let cause = Cause::new("put-off", why.as_str());
                let at = Some(self.retry_at);
                change.put_retry(&now, row.attempts, at, cause).await?;
            }
            (Told::Refused(why), _) if same => {
                let tried = row.attempts + 1;
                if tried >= self.tries() {
                    let reason = Reason::new(Code::ReportRefused, why.as_str());
                    let evidence = json!({ "line": line, "said": said, "times": tried });
                    park(&mut change, &now, reason, evidence).await?;
                } else {
                    tracing::warn!(unit = %row.id, why, tried, "MyAdmin rejected the device assignment; retrying later");
                    let cause = Cause::new("put-off", format!("refused: {why}"));
                    let at = Some(self.retry_at);
                    change.put_retry(&now, tried, at, cause).await?;
                }
            }
            (told, _) => note(&mut change, about, told, said).await?,
        }
        change.commit().await
    }

    async fn shipment(
        self,
        row: OrderRow,
        order: wire::Order,
        shipment: Shipment,
    ) -> Result<(Done, bool), Error> {
        let report = wire::ShipmentReport {
            carrier: Some(shipment.carrier.clone()),
            tracking: Some(shipment.tracking.clone()),
            status: Some(shipment.status.clone()),
        };
        let mut change = self.change(Some(self.token)).await?;
        let now = Whole {
            row: change.order(&row.id).await?,
            units: change.units(&row.id).await?,
        };
        let untold = now.units.iter().any(fulfil::is_untold);
        let waits = self.config.fulfilment.partial == Partial::Wait
            && !fulfil::all_shipped(&now, &self.config);
        if now.row.order.clear().is_none()
            || now.row.version != row.version
            || untold
            || waits
            || fulfil::wished(&now, &self.config).as_ref() != Some(&shipment)
        {
            return Ok((Done::Same, false));
        }
        let said = json!({ "shipment": shipment });
        let cause = Cause::new("tell", "shipment to be told to MyAdmin").with(said.clone());
        change.note(Some(&row.id), None, cause).await?;
        change.commit().await?;
        let told = Told::from(self.market.report_shipment(&order, &report).await);
        let mut tries = Tries::new(self.patience());
        loop {
            match self.shipment_told(&row, &told, &said, &shipment).await {
                Err(error) if tries.again(&error).await => {}
                written => return written.map(|()| (Done::Changed, matches!(told, Told::Yes))),
            }
        }
    }

    /// The event after.
    async fn shipment_told(
        &self,
        row: &OrderRow,
        told: &Told,
        said: &Value,
        shipment: &Shipment,
    ) -> Result<(), Error> {
        let mut change = self.change(None).await?;
        let now = change.order(&row.id).await?;
        let same = now.version == row.version;
        match told {
            Told::Yes if same => {
                let again = row.reported.as_ref() == Some(shipment);
                let attempts = if again { row.attempts + 1 } else { 1 };
                let cause = Cause::new("report", "shipment told to MyAdmin").with(said.clone());
                let retry = Some((attempts, self.retry_at));
                change
                    .put_reported(&now, Some(shipment), retry, cause)
                    .await?;
            }
            Told::NotNow(why) if same => {
                tracing::warn!(order = %row.id, why, "the shipment was not reported; retrying later");
                let cause = Cause::new("put-off", why.as_str());
                let retry = Some((row.attempts, self.retry_at));
                change
                    .put_reported(&now, row.reported.as_ref(), retry, cause)
                    .await?;
            }
            Told::Refused(why) if same => {
                let tried = row.attempts + 1;
                if tried >= self.tries() {
                    let reason = Reason::new(Code::ReportRefused, why.as_str());
                    let evidence = json!({ "said": said, "times": tried });
                    park_order(&mut change, &now, reason, evidence).await?;
                } else {
                    tracing::warn!(order = %row.id, why, tried, "MyAdmin rejected the shipment; retrying later");
                    let cause = Cause::new("put-off", format!("refused: {why}"));
                    let retry = Some((tried, self.retry_at));
                    change
                        .put_reported(&now, row.reported.as_ref(), retry, cause)
                        .await?;
                }
            }
            told => note(&mut change, (&row.id, None), told, said).await?,
        }
        change.commit().await
    }

    async fn change(&self, lease: Option<Token>) -> Result<Change, Error> {
        let now = (self.clock)();
        self.store.change(Actor::Reconciler, lease, now).await
    }

    fn tries(&self) -> i64 {
        i64::from(self.config.fulfilment.tries)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.config.finish_s)
    }
}

/// The row was changed while it was told: what was told stands in the audit trail, and reading back decides what is told next.
async fn note(
    change: &mut Change,
    (order, unit): (&str, Option<&str>),
    told: &Told,
    said: &Value,
) -> Result<(), Error> {
    let now = change.order(order).await?;
    let cause = match told {
        Told::Yes => {
            if now.order.clear().is_none() {
                let subject = unit.unwrap_or(order);
                let text = format!(
                    "it was told to MyAdmin while its order became {}: correct it in MyAdmin",
                    now.order.state()
                );
                change
                    .alarm("told-late", subject, &text, Some(said))
                    .await?;
            }
            Cause::new("report", "told to MyAdmin; it was changed here meanwhile")
        }
        Told::NotNow(why) | Told::Refused(why) => Cause::new("put-off", why.as_str()),
    };
    change
        .note(Some(order), unit, cause.with(said.clone()))
        .await
}
