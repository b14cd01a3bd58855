//! The device registry as it is to be: written with every change of a unit, carried to the topic by the outbox.

use std::collections::{HashMap, HashSet};

use sqlx::any::AnyRow;

use super::change::{Cause, Change};
use super::rows::{Reader, UnitRow};
use super::{During as _, Error, Store, micros};
use crate::orders::journey::Serial;
use crate::orders::journey::registration::{Registration, registration};
use crate::registry::State;

impl Store {
    /// All devices as the registry must have them: what the topic is compared with.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn devices(&self) -> Result<Vec<Registration>, Error> {
        let rows = sqlx::query("SELECT * FROM devices ORDER BY device_id")
            .fetch_all(&self.pool)
            .await
            .during("listing devices")?;
        rows.iter().map(Registration::read).collect()
    }

    /// All devices, each with the unit it is.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn registered(&self) -> Result<Vec<(Registration, Option<Box<str>>)>, Error> {
        let rows = sqlx::query("SELECT * FROM devices ORDER BY device_id")
            .fetch_all(&self.pool)
            .await
            .during("listing devices")?;
        rows.iter()
            .map(|row| {
                let unit = Reader::new(row, "a device").maybe_text("unit_id")?;
                Ok((Registration::read(row)?, unit.map(Into::into)))
            })
            .collect()
    }

    /// Serials of all units.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn serials(&self) -> Result<HashSet<Serial>, Error> {
        let rows = sqlx::query("SELECT serial FROM units WHERE serial IS NOT NULL")
            .fetch_all(&self.pool)
            .await
            .during("listing serials")?;
        let serials = rows
            .iter()
            .map(|row| Reader::new(row, "a unit").serial("serial"));
        serials.filter_map(Result::transpose).collect()
    }

    /// Ids of the devices no unit is that were terminated here, and whether the topic has that.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn ended_devices(&self) -> Result<HashMap<Box<str>, bool>, Error> {
        let sql = "SELECT device_id, (SELECT COUNT(*) FROM outbox WHERE outbox.device_id = devices.device_id \
                   AND published_at IS NULL) AS waiting FROM devices WHERE unit_id IS NULL AND state = 'terminated'";
        let rows = sqlx::query(sql)
            .fetch_all(&self.pool)
            .await
            .during("listing terminated devices")?;
        rows.iter()
            .map(|row| {
                let reader = Reader::new(row, "a device");
                let published = reader.number("waiting")? == 0;
                Ok((reader.text("device_id")?.into(), published))
            })
            .collect()
    }
}

/// The outcome for a device that belongs to no unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Now,
    Before,
    /// A unit goes by its id: the journey's word counts.
    OfUnit,
}

/// Whether an entry is neither the unit's own nor of the device that takes its key.
fn is_of_another(
    (owner, known): &(Option<String>, Registration),
    unit: &str,
    taking: &Registration,
) -> bool {
    owner.as_deref() != Some(unit) && known.serial != taking.serial
}

impl Registration {
    /// The same device under its serial as its id; none if it has no serial.
    fn by_serial(&self) -> Option<Self> {
        let serial = self.serial.as_ref()?;
        Some(Self {
            device_id: serial.as_str().into(),
            ..self.clone()
        })
    }

    pub(super) fn read(row: &AnyRow) -> Result<Self, Error> {
        let reader = Reader::new(row, "a device");
        let state = reader.text("state")?;
        Ok(Self {
            device_id: reader.text("device_id")?.into(),
            serial: reader.serial("serial")?,
            state: [State::Pending, State::Active, State::Terminated]
                .into_iter()
                .find(|known| known.name() == state)
                .ok_or_else(|| reader.corrupt(format!("there is no state {state:?}")))?,
            order: reader.maybe_text("order_id")?.map(Into::into),
            since: reader.maybe_time("since")?,
        })
    }
}

impl Change {
    /// Writes the registry's entry of a unit if it differs, with its outbox row.
    ///
    /// A serial is the key of its own device before it is anybody's device id: an entry that stands in the way goes on under its own
    /// serial, so that no device of the registry becomes unknown (G1).
    pub(super) async fn register(
        &mut self,
        unit: &str,
        wanted: Option<Registration>,
    ) -> Result<(), Error> {
        let Some(mut wanted) = wanted else {
            return Ok(());
        };
        let before = self.devices("unit_id", unit).await?;
        if before.iter().any(|(_, device)| *device == wanted) {
            return Ok(());
        }
        let mut claimed = self.claimed(&wanted.device_id).await?;
        if wanted.state == State::Pending
            && let Some((_, known)) = &claimed
            && known.serial == wanted.serial
            && self.is_adopted(&wanted.device_id).await?
        {
            // The registry was ahead of us when the store was recovered: its word stays until the unit has caught up.
            return self.own_device(unit, &wanted).await;
        }
        if let Some(serial) = wanted.serial.clone() {
            self.forget_adopted(unit, &serial, &wanted.device_id)
                .await?;
        }
        if let Some(by_serial) = wanted.by_serial()
            && by_serial.device_id != wanted.device_id
            && self.must_yield(unit, &wanted, claimed.as_ref()).await?
        {
            if before.iter().any(|(_, device)| *device == by_serial) {
                return Ok(());
            }
            wanted = by_serial;
            claimed = self.claimed(&wanted.device_id).await?;
        }
        for (_, left) in before {
            if left.device_id != wanted.device_id {
                self.forget_device(unit, left.device_id).await?;
            }
        }
        self.put_device(Some(unit), &wanted).await?;
        let mut displaced = claimed.filter(|claimed| is_of_another(claimed, unit, &wanted));
        while let Some((owner, known)) = displaced {
            let Some(by_serial) = known.by_serial() else {
                break;
            };
            let claimed = self.claimed(&by_serial.device_id).await?;
            displaced = claimed.filter(|(_, next)| next.serial != by_serial.serial);
            self.put_device(owner.as_deref(), &by_serial).await?;
        }
        Ok(())
    }

    /// Whether a unit's device cannot have the key that it asks for, and is known by its serial instead: the key is the serial of
    /// another device, or the unit has ended and the key went on to another one.
    async fn must_yield(
        &mut self,
        unit: &str,
        wanted: &Registration,
        claimed: Option<&(Option<String>, Registration)>,
    ) -> Result<bool, Error> {
        if wanted.state == State::Terminated
            && claimed.is_some_and(|(owner, _)| owner.as_deref().is_some_and(|owner| owner != unit))
        {
            return Ok(true);
        }
        let of_unit = self.unit_with(&wanted.device_id).await?;
        if of_unit.is_some_and(|other| other.id != unit) {
            return Ok(true);
        }
        let same = self.devices("serial", &wanted.device_id).await?;
        Ok(same.iter().any(|(owner, _)| owner.as_deref() != Some(unit)))
    }

    /// The entry with this key, and the unit that it is of.
    async fn claimed(
        &mut self,
        device_id: &str,
    ) -> Result<Option<(Option<String>, Registration)>, Error> {
        Ok(self
            .devices("device_id", device_id)
            .await?
            .into_iter()
            .next())
    }

    /// Writes the entries of units that have a serial and none: a version that let one device take the key of another left such
    /// units. The ids of the units.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub(in crate::orders) async fn register_missing(&mut self) -> Result<Vec<String>, Error> {
        let sql = "SELECT * FROM units WHERE serial IS NOT NULL \
                   AND NOT EXISTS (SELECT 1 FROM devices WHERE devices.unit_id = units.id) ORDER BY id";
        let rows = sqlx::query(sql)
            .fetch_all(&mut *self.tx)
            .await
            .during("finding units without a device")?;
        let mut missing = Vec::new();
        for row in &rows {
            let row = UnitRow::read(row)?;
            let wanted = registration(&row.unit, &row.order_id);
            self.register(&row.id, wanted).await?;
            let cause = Cause::new(
                "register",
                "the device registry of the store had no entry of it: another device had taken its key",
            );
            self.note(Some(&row.order_id), Some(&row.id), cause).await?;
            missing.push(row.id);
        }
        Ok(missing)
    }

    /// A device that was recovered without its unit is this one now, by another id.
    async fn forget_adopted(
        &mut self,
        unit: &str,
        serial: &Serial,
        but: &str,
    ) -> Result<(), Error> {
        let rows = sqlx::query(
            "SELECT device_id FROM devices WHERE serial = $1 AND adopted = 1 AND unit_id IS NULL AND device_id <> $2",
        )
        .bind(serial.to_string())
        .bind(but.to_owned())
        .fetch_all(&mut *self.tx)
        .await
        .during("reading a device")?;
        for row in &rows {
            let id = Reader::new(row, "a device").text("device_id")?;
            self.forget_device(unit, id.into()).await?;
        }
        Ok(())
    }

    pub(super) async fn is_adopted(&mut self, device_id: &str) -> Result<bool, Error> {
        let row = sqlx::query("SELECT adopted FROM devices WHERE device_id = $1")
            .bind(device_id.to_owned())
            .fetch_optional(&mut *self.tx)
            .await
            .during("reading a device")?;
        row.map(|row| Reader::new(&row, "a device").number("adopted"))
            .transpose()
            .map(|adopted| adopted == Some(1))
    }

    /// The device belongs to a unit from now on; what the registry says of it stays.
    async fn own_device(&mut self, unit: &str, device: &Registration) -> Result<(), Error> {
        sqlx::query("UPDATE devices SET unit_id = $2, order_id = $3 WHERE device_id = $1")
            .bind(device.device_id.to_string())
            .bind(unit.to_owned())
            .bind(device.order.as_deref().map(str::to_owned))
            .execute(&mut *self.tx)
            .await
            .during("writing a device")?;
        Ok(())
    }

    /// Writes a device as the registry has it, without an outbox row: the topic says so already.
    pub(super) async fn adopt_device(
        &mut self,
        unit: Option<&str>,
        device: &Registration,
    ) -> Result<(), Error> {
        self.write_device(unit, device, true).await
    }

    /// Writes that a device no unit is has ended, with its outbox row.
    pub(super) async fn end_device(&mut self, device: &Registration) -> Result<Ended, Error> {
        let known = self.devices("device_id", &device.device_id).await?;
        match known.first() {
            Some((Some(_), _)) => Ok(Ended::OfUnit),
            Some((None, known)) if known.state == State::Terminated => Ok(Ended::Before),
            _ => {
                // The topic goes on to say which unit it is, if that is known from a recovery.
                let unit = match &device.serial {
                    Some(serial) => self.reserved_for(serial).await?,
                    None => None,
                };
                self.write_device(None, device, false).await?;
                self.post(unit.as_deref(), device).await?;
                Ok(Ended::Now)
            }
        }
    }

    /// Whether the registry has a device with this serial as terminated: no unit gets it (G1).
    pub(super) async fn is_terminated(&mut self, serial: &Serial) -> Result<bool, Error> {
        let devices = self.devices("serial", serial.as_str()).await?;
        Ok(devices
            .iter()
            .any(|(_, device)| device.state == State::Terminated))
    }

    pub(super) async fn devices(
        &mut self,
        column: &'static str,
        value: &str,
    ) -> Result<Vec<(Option<String>, Registration)>, Error> {
        let rows = sqlx::query(&format!("SELECT * FROM devices WHERE {column} = $1"))
            .bind(value.to_owned())
            .fetch_all(&mut *self.tx)
            .await
            .during("reading a device")?;
        rows.iter()
            .map(|row| {
                Ok((
                    Reader::new(row, "a device").maybe_text("unit_id")?,
                    Registration::read(row)?,
                ))
            })
            .collect()
    }

    async fn put_device(&mut self, unit: Option<&str>, device: &Registration) -> Result<(), Error> {
        self.write_device(unit, device, false).await?;
        self.post(unit, device).await
    }

    async fn write_device(
        &mut self,
        unit: Option<&str>,
        device: &Registration,
        adopted: bool,
    ) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO devices (device_id, unit_id, serial, state, order_id, since, adopted) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (device_id) DO UPDATE SET unit_id = excluded.unit_id, serial = excluded.serial, \
             state = excluded.state, order_id = excluded.order_id, since = excluded.since, adopted = excluded.adopted",
        )
        .bind(device.device_id.to_string())
        .bind(unit.map(str::to_owned))
        .bind(device.serial.as_ref().map(ToString::to_string))
        .bind(device.state.name())
        .bind(device.order.as_deref().map(str::to_owned))
        .bind(device.since.map(micros))
        .bind(i64::from(adopted))
        .execute(&mut *self.tx)
        .await
        .during("writing a device")?;
        Ok(())
    }

    /// No unit goes by this id any more.
    async fn forget_device(&mut self, unit: &str, device_id: Box<str>) -> Result<(), Error> {
        sqlx::query("DELETE FROM devices WHERE device_id = $1")
            .bind(device_id.to_string())
            .execute(&mut *self.tx)
            .await
            .during("forgetting a device")?;
        let gone = Registration::left_behind(device_id, self.now);
        self.post(Some(unit), &gone).await
    }

    async fn post(&mut self, unit: Option<&str>, device: &Registration) -> Result<(), Error> {
        let seq = self.number("outbox").await?;
        sqlx::query(
            "INSERT INTO outbox (seq, device_id, serial, state, order_id, since, made_at, unit_id) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(seq)
        .bind(device.device_id.to_string())
        .bind(device.serial.as_ref().map(ToString::to_string))
        .bind(device.state.name())
        .bind(device.order.as_deref().map(str::to_owned))
        .bind(device.since.map(micros))
        .bind(micros(self.now))
        .bind(unit.map(str::to_owned))
        .execute(&mut *self.tx)
        .await
        .during("filling the outbox")?;
        self.published = true;
        Ok(())
    }
}
