//! Which sheets of terminations were read, and what is known of the devices they name.

use std::collections::HashMap;

use jiff::Timestamp;

use super::change::Change;
use super::rows::Reader;
use super::{During as _, Error, Store, micros};
use crate::orders::journey::Serial;

/// A sheet that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SheetRow {
    /// Where it was found.
    pub place: String,
    pub name: String,
    /// Tells its content.
    pub digest: String,
    pub read_at: Timestamp,
    /// When it is to be judged again though it is the same.
    pub again_at: Option<Timestamp>,
    /// Of the last one of this name that was applied.
    pub obeyed_rows: Option<i64>,
    pub obeyed_at: Option<Timestamp>,
}

/// The outcome for the unit with a serial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    pub unit: String,
    pub terminated: bool,
}

impl Change {
    /// Notes that a sheet was read.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn put_sheet(&mut self, row: &SheetRow) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO sheets (place, name, digest, read_at, again_at, obeyed_rows, obeyed_at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (place, name) DO UPDATE SET digest = excluded.digest, read_at = excluded.read_at, \
             again_at = excluded.again_at, obeyed_rows = excluded.obeyed_rows, obeyed_at = excluded.obeyed_at",
        )
        .bind(row.place.clone())
        .bind(row.name.clone())
        .bind(row.digest.clone())
        .bind(micros(row.read_at))
        .bind(row.again_at.map(micros))
        .bind(row.obeyed_rows)
        .bind(row.obeyed_at.map(micros))
        .execute(&mut *self.tx)
        .await
        .during("noting a sheet")?;
        Ok(())
    }
}

impl Store {
    /// A sheet as it was last read.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn sheet(&self, place: &str, name: &str) -> Result<Option<SheetRow>, Error> {
        let row = sqlx::query("SELECT * FROM sheets WHERE place = $1 AND name = $2")
            .bind(place)
            .bind(name)
            .fetch_optional(&self.pool)
            .await
            .during("reading a sheet")?;
        row.map(|row| {
            let reader = Reader::new(&row, "a sheet");
            Ok(SheetRow {
                place: reader.text("place")?,
                name: reader.text("name")?,
                digest: reader.text("digest")?,
                read_at: reader.time("read_at")?,
                again_at: reader.maybe_time("again_at")?,
                obeyed_rows: reader.maybe_number("obeyed_rows")?,
                obeyed_at: reader.maybe_time("obeyed_at")?,
            })
        })
        .transpose()
    }

    /// Rows of the last sheet from a place that was applied.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn rows_before(&self, place: &str) -> Result<Option<u64>, Error> {
        let sql = "SELECT obeyed_rows FROM sheets WHERE obeyed_at IS NOT NULL AND place = $1 \
                   ORDER BY obeyed_at DESC LIMIT 1";
        let row = sqlx::query(sql)
            .bind(place)
            .fetch_optional(&self.pool)
            .await
            .during("reading the last sheet")?;
        let Some(row) = row else { return Ok(None) };
        let rows = Reader::new(&row, "a sheet").maybe_number("obeyed_rows")?;
        Ok(rows.and_then(|rows| u64::try_from(rows).ok()))
    }

    /// Every serial that a unit has.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn fates(&self) -> Result<HashMap<Serial, Fate>, Error> {
        let rows = sqlx::query("SELECT id, serial, state FROM units WHERE serial IS NOT NULL")
            .fetch_all(&self.pool)
            .await
            .during("listing serials")?;
        let mut fates = HashMap::with_capacity(rows.len());
        for row in &rows {
            let reader = Reader::new(row, "a unit");
            if let Some(serial) = reader.serial("serial")? {
                let fate = Fate {
                    unit: reader.text("id")?,
                    terminated: reader.text("state")? == "terminated",
                };
                fates.insert(serial, fate);
            }
        }
        Ok(fates)
    }
}
