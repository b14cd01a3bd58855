//! Writing units: taken in, their state, and when they are tried again.

use jiff::Timestamp;

use super::change::{About, Cause, Change, changed, columns, json};
use super::rows::{LineStanding, OrderLine, UnitRow, unit_id};
use super::{During as _, Error, Refusal, micros};
use crate::orders::journey::registration::registration;
use crate::orders::journey::stored::FlatUnit;
use crate::orders::journey::unit::Unit;

impl Change {
    /// Takes in a unit of an order; false if it is there already.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn add_unit(
        &mut self,
        order: &str,
        line: &OrderLine,
        unit: &Unit,
        cause: Cause,
    ) -> Result<bool, Error> {
        let row = UnitRow {
            id: unit_id(order, &line.id),
            order_id: order.to_owned(),
            version: 1,
            line: line.clone(),
            unit: unit.clone(),
            standing: LineStanding::default(),
            replaces: None,
            attempts: 0,
            retry_at: None,
            created_at: self.now,
            updated_at: self.now,
        };
        self.add_unit_row(&row, cause).await
    }

    /// As [`Change::add_unit`], with the unit's id and what it replaces.
    ///
    /// # Errors
    /// The store cannot be written.
    pub(super) async fn add_unit_row(
        &mut self,
        row: &UnitRow,
        cause: Cause,
    ) -> Result<bool, Error> {
        let line = &row.line;
        let flat = FlatUnit::from(&row.unit);
        let (code, text) = columns(flat.reason.as_ref());
        let made = sqlx::query(
            "INSERT INTO units (id, order_id, version, line_id, product_code, needs_serial, needs_sim, needs_imei, attribute, \
             state, parked_from, reason_code, reason_text, replaces, attempts, created_at, updated_at) \
             VALUES ($1, $2, 1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, $14, $14) ON CONFLICT (id) DO NOTHING",
        )
        .bind(row.id.clone())
        .bind(row.order_id.clone())
        .bind(line.id.clone())
        .bind(line.product_code.clone())
        .bind(i64::from(line.needs.serial))
        .bind(i64::from(line.needs.sim))
        .bind(i64::from(line.needs.imei))
        .bind(line.attribute.clone())
        .bind(flat.state)
        .bind(flat.parked_from)
        .bind(code)
        .bind(text)
        .bind(row.replaces.clone())
        .bind(micros(self.now))
        .execute(&mut *self.tx)
        .await
        .during("taking in a unit")?
        .rows_affected();
        if made == 1 {
            let about = About {
                order: Some(&row.order_id),
                unit: Some(&row.id),
                to: Some(row.unit.state()),
                ..About::default()
            };
            self.event(about, cause).await?;
        }
        Ok(made == 1)
    }

    /// Writes that a unit is tried again no earlier than `at`.
    ///
    /// # Errors
    /// [`Error::Changed`] if the row is not as it was read.
    pub async fn put_retry(
        &mut self,
        row: &UnitRow,
        attempts: i64,
        at: Option<Timestamp>,
        cause: Cause,
    ) -> Result<(), Error> {
        let written = sqlx::query(
            "UPDATE units SET version = version + 1, attempts = $3, retry_at = $4 WHERE id = $1 AND version = $2",
        )
        .bind(row.id.clone())
        .bind(row.version)
        .bind(attempts)
        .bind(at.map(micros))
        .execute(&mut *self.tx)
        .await
        .during("delaying a unit")?
        .rows_affected();
        changed(written, || format!("unit {}", row.id))?;
        self.note(Some(&row.order_id), Some(&row.id), cause).await
    }

    /// Writes a unit's new state, and what the registry must learn of it. Returns the row as it is then.
    ///
    /// # Errors
    /// [`Error::Changed`] if the row is not as it was read; a serial that is taken, or that would replace another (P1).
    pub async fn put_unit(
        &mut self,
        row: &UnitRow,
        unit: Unit,
        cause: Cause,
    ) -> Result<UnitRow, Error> {
        let known = unit.known();
        if let (Some(had), has) = (row.unit.serial(), &known.serial)
            && Some(&had) != has.as_ref()
        {
            return Err(Refusal::new(
                format!("unit {}", row.id),
                format!("it has serial {had}, and a unit keeps its serial"),
                format!(
                    "`orders replace {} --why WHY` if the device was swapped",
                    row.id
                ),
            )
            .into());
        }
        if let Some(serial) = &known.serial
            && let Some(other) = self.unit_with(serial.as_str()).await?
            && other.id != row.id
        {
            return Err(Refusal::new(
                format!("unit {}", row.id),
                format!("serial {serial} belongs to unit {}", other.id),
                "look in MyAdmin which of them has it",
            )
            .into());
        }
        if let (None, Some(serial)) = (row.unit.serial(), &known.serial)
            && let Some(other) = self.reserved_for(serial).await?
            && other != row.id
        {
            return Err(Refusal::new(
                format!("unit {}", row.id),
                format!("serial {serial} is of unit {other} by the device registry"),
                "look in MyAdmin which of them has it",
            )
            .into());
        }
        let flat = FlatUnit::from(&unit);
        let (code, text) = columns(flat.reason.as_ref());
        let written = sqlx::query(
            "UPDATE units SET version = version + 1, state = $3, parked_from = $4, reason_code = $5, reason_text = $6, \
             serial = $7, sim = $8, imei = $9, device_id = $10, carrier = $11, tracking = $12, owner_database = $13, \
             active_since = $14, ended_at = $15, updated_at = $16, attempts = $17, retry_at = $18 \
             WHERE id = $1 AND version = $2",
        )
        .bind(row.id.clone())
        .bind(row.version)
        .bind(flat.state)
        .bind(flat.parked_from)
        .bind(code)
        .bind(text)
        .bind(known.serial.map(|serial| serial.to_string()))
        .bind(known.tags.sim.map(String::from))
        .bind(known.tags.imei.map(String::from))
        .bind(known.tags.device_id.map(String::from))
        .bind(known.parcel.as_ref().map(|parcel| parcel.carrier.to_string()))
        .bind(known.parcel.as_ref().map(|parcel| json(&parcel.tracking())))
        .bind(known.database.map(String::from))
        .bind(known.active_since.map(micros))
        .bind(flat.ended_at.map(micros))
        .bind(micros(self.now))
        .bind(cause.attempts)
        .bind(cause.retry_at.map(micros))
        .execute(&mut *self.tx)
        .await
        .during("writing a unit")?
        .rows_affected();
        changed(written, || format!("unit {}", row.id))?;
        let (attempts, retry_at) = (cause.attempts, cause.retry_at);
        let about = About {
            order: Some(&row.order_id),
            unit: Some(&row.id),
            from: Some(row.unit.state()),
            to: Some(unit.state()),
        };
        self.event(about, cause).await?;
        self.register(&row.id, registration(&unit, &row.order_id))
            .await?;
        Ok(UnitRow {
            unit,
            version: row.version + 1,
            attempts,
            retry_at,
            updated_at: self.now,
            ..row.clone()
        })
    }
}
