//! How journeys end early: cancelled with their order, or terminated.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::change::{About, Cause, Change};
use super::devices::Ended;
use super::operator_actions::refused_order;
use super::rows::OrderRow;
use super::{Error, Store};
use crate::orders::journey::order::Order;
use crate::orders::journey::registration::Registration;
use crate::orders::journey::unit::Unit;
use crate::orders::journey::{Actor, Serial};
use crate::registry::{Device, State};

/// The outcome of a termination.
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
                    for kind in ["cancelled-serial", "cancelled-active"] {
                        change.end_alarm(kind, &row.id).await?;
                    }
                    change.commit().await?;
                    Ok(Termination::Done { unit: row.id })
                }
                None => Ok(Termination::Already { unit: row.id }),
            }
        })
        .await
    }
}

impl Store {
    /// Terminates a device of the registry that no unit is. Doing it twice changes nothing.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn terminate_device(
        &self,
        (device, serial): (&Device, &Serial),
        why: &str,
        evidence: &Value,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Ended, Error> {
        self.act(by, now, async |mut change: Change| {
            let ended = Registration {
                device_id: device.device_id.clone(),
                serial: Some(serial.clone()),
                state: State::Terminated,
                order: device.order.clone(),
                since: Some(now),
            };
            let done = change.end_device(&ended).await?;
            if done == Ended::Now {
                let about = About {
                    from: Some(device.state.name()),
                    to: Some(State::Terminated.name()),
                    ..About::default()
                };
                let cause = Cause::new("terminate", why).with(evidence.clone());
                change.event(about, cause).await?;
                change.commit().await?;
            }
            Ok(done)
        })
        .await
    }
}

impl Change {
    /// Cancels an order and its units, except active ones, which an operator decides about. Units with a serial are reported.
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
