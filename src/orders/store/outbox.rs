//! The outbox: changes of the device registry that the topic has not confirmed yet, in order.

use std::collections::HashSet;

use jiff::Timestamp;

use super::rows::Reader;
use super::{During as _, Error, Store, micros};
use crate::orders::journey::registration::Registration;

/// One change to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxMessage {
    pub seq: i64,
    pub device: Registration,
    /// The unit that the device is.
    pub unit: Option<Box<str>>,
}

impl Store {
    /// The oldest changes behind number `after` that are not published yet.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn unpublished(&self, after: i64, most: i64) -> Result<Vec<OutboxMessage>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM outbox WHERE published_at IS NULL AND seq > $1 ORDER BY seq LIMIT $2",
        )
        .bind(after)
        .bind(most)
        .fetch_all(&self.pool)
        .await
        .during("reading the outbox")?;
        rows.iter()
            .map(|row| {
                let reader = Reader::new(row, "the outbox");
                Ok(OutboxMessage {
                    seq: reader.number("seq")?,
                    device: Registration::read(row)?,
                    unit: reader.maybe_text("unit_id")?.map(Into::into),
                })
            })
            .collect()
    }

    /// Ids of all devices with a change that is not published yet.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn unpublished_ids(&self) -> Result<HashSet<String>, Error> {
        let rows = sqlx::query("SELECT DISTINCT device_id FROM outbox WHERE published_at IS NULL")
            .fetch_all(&self.pool)
            .await
            .during("reading the outbox")?;
        rows.iter()
            .map(|row| Reader::new(row, "the outbox").text("device_id"))
            .collect()
    }

    /// How many changes are not published yet.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn unpublished_count(&self) -> Result<i64, Error> {
        let row = sqlx::query("SELECT COUNT(*) AS n FROM outbox WHERE published_at IS NULL")
            .fetch_one(&self.pool)
            .await
            .during("counting the outbox")?;
        Reader::new(&row, "the outbox").number("n")
    }

    /// Marks single changes as published, because others before them are not.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn mark_each_published(&self, seqs: &[i64], now: Timestamp) -> Result<(), Error> {
        for seq in seqs {
            sqlx::query("UPDATE outbox SET published_at = $2 WHERE seq = $1")
                .bind(*seq)
                .bind(micros(now))
                .execute(&self.pool)
                .await
                .during("marking the outbox")?;
        }
        Ok(())
    }

    /// Marks all changes up to a number as published. Those of before `forget` are removed: the topic and `devices` have them.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn mark_published(
        &self,
        seq: i64,
        now: Timestamp,
        forget: Timestamp,
    ) -> Result<(), Error> {
        sqlx::query("UPDATE outbox SET published_at = $2 WHERE seq <= $1 AND published_at IS NULL")
            .bind(seq)
            .bind(micros(now))
            .execute(&self.pool)
            .await
            .during("marking the outbox")?;
        sqlx::query("DELETE FROM outbox WHERE published_at < $1")
            .bind(micros(forget))
            .execute(&self.pool)
            .await
            .during("clearing the outbox")?;
        Ok(())
    }
}
