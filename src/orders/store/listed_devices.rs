//! The partner's devices as last listed, and the time at which each full listing was last done.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::rows::{Reader, shown};
use super::{During as _, Error, Store, micros};
use crate::orders::journey::Serial;
use crate::orders::store::change::Change;

/// Name of the time at which the partner's devices were first listed.
pub const DEVICES_FIRST: &str = "devices-first-listed";

/// A serial of the partner's device list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeenRow {
    pub serial: Serial,
    pub product_code: String,
    pub owner_database: String,
    /// When we first saw it, not when it was made.
    #[serde(serialize_with = "shown")]
    pub first_seen: Timestamp,
    #[serde(serialize_with = "shown")]
    pub last_seen: Timestamp,
}

impl Change {
    /// Notes a serial of the list; true if it was never seen before.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn see_serial(
        &mut self,
        serial: &Serial,
        product_code: &str,
        database: &str,
        at: Timestamp,
    ) -> Result<bool, Error> {
        let known = sqlx::query("UPDATE seen_serials SET product_code = $2, owner_database = $3, last_seen = $4 WHERE serial = $1")
            .bind(serial.to_string())
            .bind(product_code.to_owned())
            .bind(database.to_owned())
            .bind(micros(at))
            .execute(&mut *self.tx)
            .await
            .during("noting a serial")?
            .rows_affected();
        if known > 0 {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO seen_serials (serial, product_code, owner_database, first_seen, last_seen) VALUES ($1, $2, $3, $4, $4)",
        )
        .bind(serial.to_string())
        .bind(product_code.to_owned())
        .bind(database.to_owned())
        .bind(micros(at))
        .execute(&mut *self.tx)
        .await
        .during("noting a serial")?;
        Ok(true)
    }

    /// The product that the list names for a serial, if it has the serial and names one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn listed_product(
        &mut self,
        serial: &Serial,
    ) -> Result<Option<String>, Error> {
        let row = sqlx::query("SELECT product_code FROM seen_serials WHERE serial = $1")
            .bind(serial.to_string())
            .fetch_optional(&mut *self.tx)
            .await
            .during("finding a listed serial")?;
        let product = row.map(|row| Reader::new(&row, "a listed serial").text("product_code"));
        Ok(product.transpose()?.filter(|product| !product.is_empty()))
    }

    /// Notes that something was done in full.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn mark(&mut self, name: &str, at: Timestamp) -> Result<(), Error> {
        sqlx::query("INSERT INTO marks (name, at) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET at = excluded.at")
            .bind(name.to_owned())
            .bind(micros(at))
            .execute(&mut *self.tx)
            .await
            .during("setting a mark")?;
        Ok(())
    }
}

/// Listed serials that no unit has.
const UNCLAIMED: &str = "SELECT s.* FROM seen_serials s LEFT JOIN units u ON u.serial = s.serial WHERE u.id IS NULL ORDER BY s.serial";

impl Change {
    /// Listed serials that no unit has.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn unclaimed(&mut self) -> Result<Vec<SeenRow>, Error> {
        let rows = sqlx::query(UNCLAIMED)
            .fetch_all(&mut *self.tx)
            .await
            .during("listing unclaimed serials")?;
        rows.iter().map(SeenRow::read).collect()
    }
}

impl Store {
    /// Serials that no unit has, with when they were first seen.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn unclaimed(&self) -> Result<Vec<SeenRow>, Error> {
        let rows = sqlx::query(UNCLAIMED)
            .fetch_all(&self.pool)
            .await
            .during("listing unclaimed serials")?;
        rows.iter().map(SeenRow::read).collect()
    }

    /// Terminated units that were listed with a database later than `after` their end: unit and what was seen.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn reappeared(&self, after: SignedDuration) -> Result<Vec<(String, SeenRow)>, Error> {
        let terminated =
            "u.state = 'terminated' AND s.owner_database <> '' AND s.last_seen > u.ended_at + $1";
        self.at_odds(terminated, after).await
    }

    /// Active units that were listed without a database later than `after` their activation: unit and what was seen.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn left(&self, after: SignedDuration) -> Result<Vec<(String, SeenRow)>, Error> {
        let active =
            "u.state = 'active' AND s.owner_database = '' AND s.last_seen > u.active_since + $1";
        self.at_odds(active, after).await
    }

    /// Active units that were listed with another database than theirs later than `after` their activation: unit and what was seen.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn moved(&self, after: SignedDuration) -> Result<Vec<(String, SeenRow)>, Error> {
        let moved = "u.state = 'active' AND s.owner_database <> '' AND s.owner_database <> u.owner_database \
                     AND s.last_seen > u.active_since + $1";
        self.at_odds(moved, after).await
    }

    async fn at_odds(
        &self,
        which: &'static str,
        after: SignedDuration,
    ) -> Result<Vec<(String, SeenRow)>, Error> {
        let lag = i64::try_from(after.as_micros()).unwrap_or(i64::MAX / 4);
        let sql = format!(
            "SELECT s.*, u.id AS unit_id FROM seen_serials s JOIN units u ON u.serial = s.serial WHERE {which} ORDER BY u.id"
        );
        let rows = sqlx::query(&sql)
            .bind(lag)
            .fetch_all(&self.pool)
            .await
            .during("comparing devices with the partner's list")?;
        rows.iter()
            .map(|row| {
                let unit = Reader::new(row, "a listed unit").text("unit_id")?;
                Ok((unit, SeenRow::read(row)?))
            })
            .collect()
    }

    /// All serials ever seen.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn seen(&self) -> Result<HashMap<Serial, SeenRow>, Error> {
        let rows = sqlx::query("SELECT * FROM seen_serials")
            .fetch_all(&self.pool)
            .await
            .during("listing seen serials")?;
        rows.iter()
            .map(|row| SeenRow::read(row).map(|seen| (seen.serial.clone(), seen)))
            .collect()
    }

    /// All these times by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn marks(&self) -> Result<HashMap<String, Timestamp>, Error> {
        let rows = sqlx::query("SELECT * FROM marks")
            .fetch_all(&self.pool)
            .await
            .during("reading marks")?;
        rows.iter()
            .map(|row| {
                let reader = Reader::new(row, "a mark");
                Ok((reader.text("name")?, reader.time("at")?))
            })
            .collect()
    }
}

impl SeenRow {
    fn read(row: &sqlx::any::AnyRow) -> Result<Self, Error> {
        let reader = Reader::new(row, "a seen serial");
        Ok(Self {
            serial: reader
                .serial("serial")?
                .ok_or_else(|| reader.corrupt("a serial is missing"))?,
            product_code: reader.text("product_code")?,
            owner_database: reader.text("owner_database")?,
            first_seen: reader.time("first_seen")?,
            last_seen: reader.time("last_seen")?,
        })
    }
}
