//! Which identifiers are taken. Nobody gets one under which the registry looks up another device (G1, P1): the entry of that device
//! would be overwritten, and a terminated device would become unknown.
//!
//! A serial is its device's for ever, whatever became of its unit. An IMEI, a SIM and a device id are a unit's until its journey is over.
//! Nobody may insist: `--force` is for values that look wrong, and these are right and another's.

use jiff::Timestamp;

use super::change::Change;
use super::operator_actions::refused_unit;
use super::rows::UnitRow;
use super::{During as _, Error};
use crate::orders::journey::unit::Unit;
use crate::orders::journey::{Serial, Tags};
use crate::registry::State;

const OF_A_DEVICE: &str =
    "copy it again from the device's label; a serial is the identifier of its own device only";

impl Change {
    /// Whether a unit may be given a serial and tags.
    ///
    /// # Errors
    /// One of them is another device's.
    pub(super) async fn check_claims(
        &mut self,
        row: &UnitRow,
        serial: Option<&Serial>,
        tags: &Tags,
    ) -> Result<(), Error> {
        if let Some(sim) = &tags.sim {
            for other in self.units_by("sim", sim).await? {
                if other.id != row.id && !has_ended(&other) {
                    return Err(taken(row, "SIM", sim, &other.id));
                }
            }
        }
        let own = row.unit.serial();
        let own = serial.or(own.as_ref());
        for (name, value) in [("IMEI", &tags.imei), ("device id", &tags.device_id)] {
            if let Some(value) = value {
                self.check_key(row, own, name, value).await?;
            }
        }
        if let Some(serial) = serial {
            self.check_serial(row, serial).await?;
        }
        Ok(())
    }

    /// Whether a value can be the key of a unit's device.
    async fn check_key(
        &mut self,
        row: &UnitRow,
        own: Option<&Serial>,
        name: &str,
        value: &str,
    ) -> Result<(), Error> {
        // A serial as the box prints it is that serial.
        let normal = Serial::parse(value).ok();
        let is_serial = |serial: &Serial| normal.as_ref() == Some(serial);
        let as_serial = normal.as_ref().map_or(value, Serial::as_str).to_owned();
        let rows = sqlx::query(
            "SELECT * FROM units WHERE id <> $1 AND (imei = $2 OR device_id = $2 OR serial = $3)",
        )
        .bind(row.id.clone())
        .bind(value.to_owned())
        .bind(as_serial.clone())
        .fetch_all(&mut *self.tx)
        .await
        .during("finding who has an identifier")?;
        for other in &rows {
            let other = UnitRow::read(other)?;
            if other.unit.serial().as_ref().is_some_and(is_serial) {
                let what = format!("{name} {value} is the serial of unit {}", other.id);
                return Err(refused_unit(row, &what, OF_A_DEVICE));
            }
            if !has_ended(&other) {
                return Err(taken(row, name, value, &other.id));
            }
        }
        let mut devices = self.devices("serial", &as_serial).await?;
        devices.extend(self.devices("device_id", value).await?);
        for (unit, device) in devices {
            let ours = unit.as_deref() == Some(&*row.id) || device.serial.as_ref() == own;
            let is_its_serial = device.serial.as_ref().is_some_and(is_serial);
            if unit.is_none() && !ours && (is_its_serial || device.state == State::Terminated) {
                let what = format!(
                    "{name} {value} is of device {} of the device registry, which is {}",
                    device.device_id,
                    device.state.name()
                );
                return Err(refused_unit(row, &what, OF_A_DEVICE));
            }
        }
        Ok(())
    }

    /// Whether a serial that a person gives can be a unit's.
    async fn check_serial(&mut self, row: &UnitRow, serial: &Serial) -> Result<(), Error> {
        let rows =
            sqlx::query("SELECT * FROM units WHERE id <> $1 AND (imei = $2 OR device_id = $2)")
                .bind(row.id.clone())
                .bind(serial.to_string())
                .fetch_all(&mut *self.tx)
                .await
                .during("finding who has an identifier")?;
        for other in &rows {
            let other = UnitRow::read(other)?;
            if !has_ended(&other) {
                let what = format!("serial {serial} is an identifier of unit {}", other.id);
                return Err(refused_unit(
                    row,
                    &what,
                    "correct the device id of that unit first",
                ));
            }
        }
        for (unit, device) in self.devices("serial", serial.as_str()).await? {
            if unit.is_none()
                && device.state == State::Terminated
                && !self.is_adopted(&device.device_id).await?
            {
                let what = format!("serial {serial} was terminated{}", at(device.since));
                let remedy =
                    "a terminated serial stays terminated: let the unit get a serial of its own";
                return Err(refused_unit(row, &what, remedy));
            }
        }
        Ok(())
    }
}

fn taken(row: &UnitRow, name: &str, value: &str, other: &str) -> Error {
    let remedy = format!(
        "give this unit another one, or correct that unit first; if their devices were mixed up: `orders swap {} {other}`",
        row.id
    );
    refused_unit(
        row,
        &format!("{name} {value} belongs to unit {other}"),
        &remedy,
    )
}

fn at(since: Option<Timestamp>) -> String {
    since
        .map(|since| format!(" at {since}"))
        .unwrap_or_default()
}

fn has_ended(row: &UnitRow) -> bool {
    matches!(row.unit, Unit::Cancelled(_) | Unit::Terminated(_))
}
