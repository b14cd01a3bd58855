//! The lease: of all orders instances that share a store, one acts.
//!
//! Safety does not rest on clocks: whoever takes over gets a higher token, and every transaction of the reconciler checks its
//! own. Clocks only decide when a silent holder may be replaced.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{During as _, Error, Store, micros};
use crate::orders::store::rows::Reader;

/// The right to act, until somebody else takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub i64);

/// Who holds the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub name: String,
    pub token: Token,
    pub until: Timestamp,
}

impl Store {
    /// Takes the lease if nobody holds it, or its holder fell silent.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn take_lease(
        &self,
        holder: &str,
        life: Duration,
        now: Timestamp,
    ) -> Result<Option<Token>, Error> {
        self.take_lease_from(holder, life, now, None).await
    }

    /// As [`Store::take_lease`], or if it still is as `silent` says, who was watched not renewing it for a whole life.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn take_lease_from(
        &self,
        holder: &str,
        life: Duration,
        now: Timestamp,
        silent: Option<&Holder>,
    ) -> Result<Option<Token>, Error> {
        let (token, until) =
            silent.map_or((-1, 0), |silent| (silent.token.0, micros(silent.until)));
        let row = sqlx::query(
            "UPDATE lease SET holder = $1, token = token + 1, expires_at = $2 \
             WHERE name = 'orders' AND (expires_at <= $3 OR (token = $4 AND expires_at = $5)) RETURNING token",
        )
        .bind(holder.to_owned())
        .bind(micros(end(now, life)))
        .bind(micros(now))
        .bind(token)
        .bind(until)
        .fetch_optional(&self.pool)
        .await
        .during("taking the lease")?;
        row.map(|row| Reader::new(&row, "the lease").number("token").map(Token))
            .transpose()
    }

    /// Extends the lease; false if somebody else has it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn keep_lease(
        &self,
        token: Token,
        life: Duration,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let kept =
            sqlx::query("UPDATE lease SET expires_at = $2 WHERE name = 'orders' AND token = $1")
                .bind(token.0)
                .bind(micros(end(now, life)))
                .execute(&self.pool)
                .await
                .during("keeping the lease")?
                .rows_affected();
        Ok(kept == 1)
    }

    /// Gives the lease back, so that the next one need not wait.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn leave_lease(&self, token: Token) -> Result<(), Error> {
        sqlx::query("UPDATE lease SET expires_at = 0 WHERE name = 'orders' AND token = $1")
            .bind(token.0)
            .execute(&self.pool)
            .await
            .during("leaving the lease")?;
        Ok(())
    }

    /// Who holds it, whether its time is over or not.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn lease_holder(&self) -> Result<Holder, Error> {
        let row = sqlx::query("SELECT * FROM lease WHERE name = 'orders'")
            .fetch_one(&self.pool)
            .await
            .during("reading the lease")?;
        let reader = Reader::new(&row, "the lease");
        Ok(Holder {
            name: reader.text("holder")?,
            token: Token(reader.number("token")?),
            until: reader.time("expires_at")?,
        })
    }
}

fn end(now: Timestamp, life: Duration) -> Timestamp {
    SignedDuration::try_from(life)
        .ok()
        .and_then(|life| now.checked_add(life).ok())
        .unwrap_or(Timestamp::MAX)
}
