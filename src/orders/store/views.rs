//! Units as MyAdmin shows them, and the other data from which the waits of orders and units follow.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::json;

use super::change::{Cause, Change};
use super::identity::Proof;
use super::listed_devices::DEVICES_FIRST;
use super::rows::{Reader, UnitRow};
use super::{During as _, Error, Store, micros};
use crate::myadmin::wire;
use crate::orders::journey::kit::ReadBack;
use crate::orders::wait::Facts;

/// The line of a unit as MyAdmin shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineShown {
    pub serial: Option<String>,
    pub sim: Option<String>,
    pub imei: Option<String>,
    /// Since when it shows that, as far as we looked.
    pub since: Timestamp,
}

impl LineShown {
    #[must_use]
    pub fn new(line: &wire::LineUnit, since: Timestamp) -> Self {
        let filled = |text: &Option<String>| {
            let text = text.as_deref().map(str::trim).unwrap_or_default();
            (!text.is_empty()).then(|| text.to_owned())
        };
        Self {
            serial: filled(&line.serial_number),
            sim: filled(&line.sim_number),
            imei: filled(&line.imei),
            since,
        }
    }

    /// Whether MyAdmin shows the same, since whenever.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        (&self.serial, &self.sim, &self.imei) == (&other.serial, &other.sim, &other.imei)
    }

    #[must_use]
    pub fn read_back(&self) -> ReadBack<'_> {
        ReadBack {
            serial: self.serial.as_deref(),
            sim: self.sim.as_deref(),
            imei: self.imei.as_deref(),
        }
    }
}

impl Change {
    /// Writes the state that MyAdmin now shows for a unit. A difference from the store's is an event.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn put_shown(
        &mut self,
        row: &UnitRow,
        shown: &LineShown,
        differences: &[String],
    ) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO lines_shown (unit_id, serial, sim, imei, since) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (unit_id) DO UPDATE SET serial = excluded.serial, sim = excluded.sim, imei = excluded.imei, \
             since = excluded.since",
        )
        .bind(row.id.clone())
        .bind(shown.serial.clone())
        .bind(shown.sim.clone())
        .bind(shown.imei.clone())
        .bind(micros(shown.since))
        .execute(&mut *self.tx)
        .await
        .during("writing what MyAdmin shows")?;
        if differences.is_empty() {
            return Ok(());
        }
        let evidence = json!({ "serial": shown.serial, "sim": shown.sim, "imei": shown.imei });
        let cause = Cause::new("shown", differences.join("; ")).with(evidence);
        self.note(Some(&row.order_id), Some(&row.id), cause).await
    }
}

impl Store {
    /// The state that MyAdmin shows, by unit.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn lines_shown(&self) -> Result<BTreeMap<String, LineShown>, Error> {
        let rows = sqlx::query("SELECT * FROM lines_shown")
            .fetch_all(&self.pool)
            .await
            .during("reading what MyAdmin shows")?;
        rows.iter()
            .map(|row| {
                let reader = Reader::new(row, "a line as it is shown");
                let shown = LineShown {
                    serial: reader.maybe_text("serial")?,
                    sim: reader.maybe_text("sim")?,
                    imei: reader.maybe_text("imei")?,
                    since: reader.time("since")?,
                };
                Ok((reader.text("unit_id")?, shown))
            })
            .collect()
    }

    /// Since when orders that wait for a person are in their state.
    async fn stopped_since(&self) -> Result<HashMap<String, Timestamp>, Error> {
        let sql = "SELECT e.order_id AS id, MAX(e.at) AS since FROM events e JOIN orders o ON o.id = e.order_id \
                   WHERE o.state IN ('received', 'parked') AND e.unit_id IS NULL AND e.to_state IS NOT NULL \
                   GROUP BY e.order_id";
        let rows = sqlx::query(sql)
            .fetch_all(&self.pool)
            .await
            .during("looking since when orders wait")?;
        rows.iter()
            .map(|row| {
                let reader = Reader::new(row, "an order");
                Ok((reader.text("id")?, reader.time("since")?))
            })
            .collect()
    }

    /// All that tells, besides an order and its units, what they wait for.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn facts(&self, now: Timestamp) -> Result<Facts, Error> {
        let identity = self.identity().await?;
        let unproven =
            (identity.proof == Proof::Unproven).then_some((identity.why, identity.proof_at));
        Ok(Facts {
            doubts: self.intents_in_doubt().await?,
            unclaimed: self.unclaimed().await?,
            accepted: self.accepted_serials().await?,
            first_listed: self.marks().await?.get(DEVICES_FIRST).copied(),
            origin: identity.origin,
            unproven,
            shown: self.lines_shown().await?,
            stopped: self.stopped_since().await?,
            now,
        })
    }
}
