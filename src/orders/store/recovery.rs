//! Writing an accepted recovery, and what is left of it for units that come later.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::json;

use super::change::{Cause, Change};
use super::identity::Proof;
use super::intents::Outcome;
use super::rows::{Reader, UnitRow};
use super::{During as _, Error, Store, micros};
use crate::orders::journey::registration::{Registration, device_id};
use crate::orders::journey::unit::{Live, Unit};
use crate::orders::journey::{Actor, Code, Reason, Serial, Tags};
use crate::orders::recovery::{Adoption, Plan, Target};
use crate::registry::State;

/// What a recovery left for a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub id: String,
    /// None: the registry does not say which unit of the order it is.
    pub unit: Option<String>,
    /// None: a call was made of which nobody knows the answer.
    pub serial: Option<Serial>,
    pub device_id: Option<Box<str>>,
    /// The registry calls the device terminated.
    pub terminated: bool,
}

impl Store {
    /// Serials that need no unit: a person accepted them, or the registry has them as devices that no unit is.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn accepted_serials(&self) -> Result<HashSet<Serial>, Error> {
        let rows = sqlx::query(
            "SELECT serial FROM accepted_serials UNION SELECT serial FROM devices WHERE unit_id IS NULL AND serial IS NOT NULL",
        )
            .fetch_all(&self.pool)
            .await
            .during("listing accepted serials")?;
        let serials = rows
            .iter()
            .map(|row| Reader::new(row, "an accepted serial").serial("serial"));
        serials.filter_map(Result::transpose).collect()
    }

    /// Writes an accepted plan: what the registry proves is adopted, the rest is accepted, and the next comparison decides anew.
    ///
    /// # Errors
    /// The store cannot be written, or somebody changed a unit meanwhile: nothing is written then.
    pub async fn recover(&self, plan: &Plan, by: &Actor, now: Timestamp) -> Result<(), Error> {
        let mut change = self.change(by.clone(), None, now).await?;
        let why = plan
            .doubt
            .clone()
            .unwrap_or_else(|| "serials that nothing explains".to_owned());
        let evidence = json!({
            "published": plan.published,
            "adopted": plan.adopt.len(),
            "in_doubt": plan.in_doubt,
            "accepted": plan.accept,
        });
        let cause = Cause::new("recover", why).with(evidence);
        change.note(None, None, cause).await?;
        for adoption in &plan.adopt {
            change.adopt(adoption).await?;
        }
        for unit in &plan.in_doubt {
            change.leave_in_doubt(unit).await?;
        }
        for serial in &plan.accept {
            change.accept_serial(&serial.serial).await?;
        }
        // Everything that was listed is accepted.
        change.clear_alarms("fleet-not-accepted").await?;
        if plan.doubt.is_some() {
            if let Some(mark) = &plan.published {
                change.know_generation(mark.generation, &mark.nonce).await?;
                change.raise_generation(mark.generation).await?;
            }
            change.put_proof(Proof::Accepted, "").await?;
        }
        change.commit().await
    }
}

impl Change {
    async fn raise_generation(&mut self, to: i64) -> Result<(), Error> {
        sqlx::query("UPDATE identity SET generation = $1 WHERE name = 'store' AND generation < $1")
            .bind(to)
            .execute(&mut *self.tx)
            .await
            .during("raising the generation")?;
        Ok(())
    }

    pub(super) async fn accept_serial(&mut self, serial: &str) -> Result<(), Error> {
        let by = self.by().name().to_owned();
        sqlx::query(
            "INSERT INTO accepted_serials (serial, accepted_by, accepted_at) VALUES ($1, $2, $3) ON CONFLICT (serial) DO NOTHING",
        )
        .bind(serial.to_owned())
        .bind(by)
        .bind(micros(self.now))
        .execute(&mut *self.tx)
        .await
        .during("accepting a serial")?;
        self.clear_alarm("orphan-serial", serial).await?;
        Ok(())
    }

    async fn adopt(&mut self, adoption: &Adoption) -> Result<(), Error> {
        let device = &adoption.device;
        match &adoption.target {
            Target::Unit { unit } => {
                let row = self.unit(unit).await?;
                self.adopt_device(Some(unit), device).await?;
                self.give_recovered(&row, device, "the registry shows that it has this serial")
                    .await
            }
            Target::CatchUp { unit } => {
                let row = self.unit(unit).await?;
                self.adopt_device(Some(unit), device).await?;
                self.catch_up(&row, device).await
            }
            Target::Replacement { unit, replaces } => {
                let before = self.unit(replaces).await?;
                let why = "the registry shows the device that replaces it";
                let row = self.add_replacement(&before, unit, why).await?;
                self.adopt_device(Some(unit), device).await?;
                self.give_recovered(&row, device, "the registry shows that it has this serial")
                    .await
            }
            Target::Later { unit } => {
                self.adopt_device(None, device).await?;
                self.leave(unit, Some(unit), Some(device)).await
            }
            Target::Order { .. } => {
                self.adopt_device(None, device).await?;
                let id = device.serial.as_ref().map(ToString::to_string);
                self.leave(&id.unwrap_or_default(), None, Some(device))
                    .await
            }
            Target::Device => {
                self.adopt_device(None, device).await?;
                let cause = Cause::new("adopt", "the registry shows it, and no unit lacks it")
                    .with(evidence(device));
                self.note(device.order.as_deref(), None, cause).await
            }
        }
    }

    /// Keeps what is known of a unit that comes later.
    async fn leave(
        &mut self,
        id: &str,
        unit: Option<&str>,
        device: Option<&Registration>,
    ) -> Result<(), Error> {
        let order = device
            .and_then(|device| device.order.as_deref())
            .or_else(|| Some(unit?.split('.').next().unwrap_or_default()))
            .unwrap_or_default()
            .to_owned();
        let serial = device.and_then(|device| device.serial.as_ref());
        sqlx::query(
            "INSERT INTO recovered (id, order_id, unit_id, serial, device_id, recovered_at) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (id) DO UPDATE SET serial = excluded.serial, device_id = excluded.device_id",
        )
        .bind(id.to_owned())
        .bind(order)
        .bind(unit.map(str::to_owned))
        .bind(serial.map(ToString::to_string))
        .bind(device.map(|device| device.device_id.to_string()))
        .bind(micros(self.now))
        .execute(&mut *self.tx)
        .await
        .during("keeping what was recovered")?;
        Ok(())
    }

    /// A unit with a call of which nobody knows the answer is a person's to decide.
    async fn leave_in_doubt(&mut self, unit: &str) -> Result<(), Error> {
        let known = self.units_by("id", unit).await?;
        let Some(row) = known.into_iter().next() else {
            return self.leave(unit, Some(unit), None).await;
        };
        self.park_in_doubt(
            &row,
            "a provisioning call for it was under way when the registry was last published, and this store does not know the answer",
        )
        .await
    }

    /// Parks a unit as one whose call has no answer.
    ///
    /// # Errors
    /// As [`Change::put_unit`].
    pub async fn park_in_doubt(&mut self, row: &UnitRow, why: &str) -> Result<(), Error> {
        let Unit::Live(live) = row.unit.clone() else {
            return Ok(());
        };
        let reason = Reason::new(Code::LostAnswer, why);
        let cause = Cause::new("park", reason.to_string());
        self.put_unit(row, Unit::Parked(live.park(reason)), cause)
            .await?;
        Ok(())
    }

    /// Gives a unit the serial that the registry shows for it.
    ///
    /// # Errors
    /// As [`Change::put_unit`].
    pub async fn give_recovered(
        &mut self,
        row: &UnitRow,
        device: &Registration,
        why: &str,
    ) -> Result<(), Error> {
        let Some(serial) = device.serial.clone() else {
            return Ok(());
        };
        let named = |mut tags: Tags| {
            if device_id(&serial, &tags) != device.device_id {
                tags.device_id = Some(device.device_id.clone());
            }
            tags
        };
        let provisioned = |live: Live| match live {
            Live::Ordered(mut unit) => {
                unit.tags = named(unit.tags);
                Live::Provisioned(unit.provision(serial.clone()))
            }
            other => other,
        };
        let unit = match row.unit.clone() {
            Unit::Live(live) => Unit::Live(provisioned(live)),
            Unit::Parked(parked) if parked.reason.code == Code::LostAnswer => {
                Unit::Live(provisioned(parked.before))
            }
            Unit::Parked(parked) => Unit::Parked(provisioned(parked.before).park(parked.reason)),
            Unit::Cancelled(mut cancelled) if cancelled.known.serial.is_none() => {
                cancelled.known.tags = named(cancelled.known.tags);
                cancelled.known.serial = Some(serial.clone());
                Unit::Cancelled(cancelled)
            }
            other => other,
        };
        let cause = Cause::new("adopt", why).with(evidence(device));
        let row = self.put_unit(row, unit, cause).await?;
        // What this store knew as a call without an answer is answered.
        for intent in self.intents_of(&row.id).await? {
            if matches!(intent.outcome, Outcome::Open | Outcome::Unresolved) {
                let found = evidence(device);
                self.close_intent(
                    intent.id,
                    intent.outcome,
                    Outcome::Adopted,
                    Some(&serial),
                    Some(&found),
                )
                .await?;
            }
        }
        self.clear_alarm("lost-answer", &row.id).await?;
        self.clear_alarm("orphan-serial", serial.as_str()).await?;
        self.end_if_ended(&row, device).await
    }

    async fn end_if_ended(&mut self, row: &UnitRow, device: &Registration) -> Result<(), Error> {
        if device.state != State::Terminated {
            return Ok(());
        }
        let at = device.since.unwrap_or(self.now);
        if let Some(terminated) = row.unit.clone().terminate(at) {
            let cause = Cause::new("terminate", "the registry shows that it is terminated")
                .with(evidence(device));
            self.put_unit(row, Unit::Terminated(terminated), cause)
                .await?;
        }
        Ok(())
    }

    /// A unit of which the registry says more than the store.
    async fn catch_up(&mut self, row: &UnitRow, device: &Registration) -> Result<(), Error> {
        if device.state == State::Terminated {
            return self.end_if_ended(row, device).await;
        }
        let known = row.unit.known();
        let same = known
            .serial
            .as_ref()
            .is_some_and(|serial| device_id(serial, &known.tags) == device.device_id);
        let tags = Tags {
            device_id: Some(device.device_id.clone()),
            ..Tags::default()
        };
        if !same
            && let Unit::Live(live) = row.unit.clone()
            && let Ok(named) = live.tag(tags)
        {
            let cause = Cause::new("adopt", "the registry has it under this device id")
                .with(evidence(device));
            self.put_unit(row, Unit::Live(named), cause).await?;
            return Ok(());
        }
        let cause = Cause::new(
            "adopt",
            format!("the registry shows it as {}", device.state.name()),
        )
        .with(evidence(device));
        self.note(Some(&row.order_id), Some(&row.id), cause).await
    }

    /// The unit that a serial is kept for, whose order is not taken in yet.
    pub(super) async fn reserved_for(&mut self, serial: &Serial) -> Result<Option<String>, Error> {
        let row =
            sqlx::query("SELECT unit_id FROM recovered WHERE serial = $1 AND unit_id IS NOT NULL")
                .bind(serial.to_string())
                .fetch_optional(&mut *self.tx)
                .await
                .during("reading what was recovered")?;
        row.map(|row| Reader::new(&row, "what was recovered").text("unit_id"))
            .transpose()
    }

    /// What a recovery left for a unit, or for its order.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn left_for(&mut self, row: &UnitRow) -> Result<Option<Left>, Error> {
        let left = sqlx::query(
            "SELECT r.*, d.state AS device_state FROM recovered r LEFT JOIN devices d ON d.device_id = r.device_id \
             WHERE r.unit_id = $1 OR (r.order_id = $2 AND r.unit_id IS NULL) ORDER BY r.unit_id IS NULL, r.id LIMIT 1",
        )
        .bind(row.id.clone())
        .bind(row.order_id.clone())
        .fetch_optional(&mut *self.tx)
        .await
        .during("reading what was recovered")?;
        left.map(|left| {
            let reader = Reader::new(&left, "what was recovered");
            Ok(Left {
                id: reader.text("id")?,
                unit: reader.maybe_text("unit_id")?,
                serial: reader.serial("serial")?,
                device_id: reader.maybe_text("device_id")?.map(Into::into),
                terminated: reader.maybe_text("device_state")?.as_deref()
                    == Some(State::Terminated.name()),
            })
        })
        .transpose()
    }

    /// What a recovery left has been used.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn use_left(&mut self, left: &Left) -> Result<(), Error> {
        sqlx::query("DELETE FROM recovered WHERE id = $1")
            .bind(left.id.clone())
            .execute(&mut *self.tx)
            .await
            .during("using what was recovered")?;
        Ok(())
    }
}

fn evidence(device: &Registration) -> serde_json::Value {
    json!({
        "device_id": device.device_id,
        "serial": device.serial.as_ref().map(ToString::to_string),
        "state": device.state.name(),
        "order": device.order,
    })
}
