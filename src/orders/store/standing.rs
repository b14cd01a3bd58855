//! Where the journey stands, in figures: for the operations pages.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::identity::Identity;
use super::lease::Holder;
use super::read::ON_ITS_WAY;
use super::rows::Reader;
use super::{During as _, Error, Store};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub lease: Holder,
    pub identity: Identity,
    /// Orders by state.
    pub orders: BTreeMap<String, u64>,
    /// Units by state.
    pub units: BTreeMap<String, u64>,
    /// Alarms that stand.
    pub alarms: u64,
    /// Changes that the registry's topic has not confirmed.
    pub outbox: u64,
    /// When the oldest order was taken in that has a unit on its way.
    pub oldest_open: Option<Timestamp>,
    /// When this was asked.
    pub at: Timestamp,
}

impl Store {
    /// Counts everything. The figures are of neighbouring moments, not of one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn standing(&self, now: Timestamp) -> Result<Standing, Error> {
        let alarms = "SELECT COUNT(*) AS n FROM alarms WHERE cleared_at IS NULL";
        let row = sqlx::query(alarms)
            .fetch_one(&self.pool)
            .await
            .during("counting alarms")?;
        let alarms = count(&Reader::new(&row, "the alarms"))?;
        let oldest = format!(
            "SELECT MIN(o.created_at) AS oldest FROM orders o WHERE o.state IN ('received', 'approved', 'parked') \
             AND EXISTS (SELECT 1 FROM units x WHERE x.order_id = o.id AND {ON_ITS_WAY})"
        );
        let row = sqlx::query(&oldest)
            .fetch_one(&self.pool)
            .await
            .during("looking for the oldest order")?;
        Ok(Standing {
            lease: self.lease_holder().await?,
            identity: self.identity().await?,
            orders: self
                .by_state("SELECT state, COUNT(*) AS n FROM orders GROUP BY state")
                .await?,
            units: self
                .by_state("SELECT state, COUNT(*) AS n FROM units GROUP BY state")
                .await?,
            alarms,
            outbox: u64::try_from(self.unpublished_count().await?).unwrap_or_default(),
            oldest_open: Reader::new(&row, "the orders").maybe_time("oldest")?,
            at: now,
        })
    }

    async fn by_state(&self, sql: &str) -> Result<BTreeMap<String, u64>, Error> {
        let rows = sqlx::query(sql)
            .fetch_all(&self.pool)
            .await
            .during("counting by state")?;
        rows.iter()
            .map(|row| {
                let reader = Reader::new(row, "the counts");
                Ok((reader.text("state")?, count(&reader)?))
            })
            .collect()
    }
}

fn count(reader: &Reader<'_>) -> Result<u64, Error> {
    Ok(u64::try_from(reader.number("n")?).unwrap_or_default())
}
