//! One change of the store: a transaction that writes rows, their events and what the registry must learn, or nothing.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::Row as _;

use super::lease::Token;
use super::rows::{OrderRow, Reader, UnitRow};
use super::transaction::Transaction;
use super::{During as _, Error, Refusal, Store, micros};
use crate::orders::journey::{Actor, Reason};

/// Why a change is made, for its event.
#[derive(Debug, Clone, Default)]
pub struct Cause {
    /// A verb, such as `provision`.
    pub act: &'static str,
    pub why: String,
    pub evidence: Option<Value>,
    /// How often it was tried in vain, and when it may be tried again: kept with the row.
    pub attempts: i64,
    pub retry_at: Option<Timestamp>,
}

impl Cause {
    pub fn new(act: &'static str, why: impl Into<String>) -> Self {
        Self {
            act,
            why: why.into(),
            evidence: None,
            attempts: 0,
            retry_at: None,
        }
    }

    #[must_use]
    pub fn with(mut self, evidence: Value) -> Self {
        self.evidence = Some(evidence);
        self
    }

    #[must_use]
    pub fn tried(mut self, attempts: i64, retry_at: Option<Timestamp>) -> Self {
        self.attempts = attempts;
        self.retry_at = retry_at;
        self
    }
}

/// A transaction. Dropped without [`Change::commit`], nothing of it is written.
pub struct Change {
    pub(super) tx: Transaction,
    store: Store,
    by: Actor,
    pub(super) now: Timestamp,
    pub(super) published: bool,
}

/// The subject of an event, and the states before and after.
#[derive(Debug, Default)]
pub(super) struct About<'a> {
    pub(super) order: Option<&'a str>,
    pub(super) unit: Option<&'a str>,
    pub(super) from: Option<&'a str>,
    pub(super) to: Option<&'a str>,
}

impl Store {
    /// Begins a change. With a token it is the reconciler's: it fails if the lease is lost, and holds the lease's row until
    /// it ends, so that nobody takes over in between.
    ///
    /// # Errors
    /// The store cannot be reached, or [`Error::LeaseLost`].
    pub async fn change(
        &self,
        by: Actor,
        lease: Option<Token>,
        now: Timestamp,
    ) -> Result<Change, Error> {
        let mut tx = Transaction::begin(&self.pool, self.postgres).await?;
        if let Some(token) = lease {
            let held =
                sqlx::query("UPDATE lease SET token = token WHERE name = 'orders' AND token = $1")
                    .bind(token.0)
                    .execute(&mut *tx)
                    .await
                    .during("checking the lease")?
                    .rows_affected();
            if held != 1 {
                return Err(Error::LeaseLost);
            }
        }
        Ok(Change {
            tx,
            store: self.clone(),
            by,
            now,
            published: false,
        })
    }
}

impl Change {
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    #[must_use]
    pub fn by(&self) -> &Actor {
        &self.by
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The database did not answer: it may be written or not.
    pub async fn commit(self) -> Result<(), Error> {
        let Self {
            tx,
            store,
            by,
            published,
            ..
        } = self;
        tx.commit().await?;
        if published {
            store.outbox.notify_one();
        }
        if by != Actor::Reconciler {
            store.hint.notify_one();
        }
        Ok(())
    }

    pub(super) async fn number(&mut self, counter: &'static str) -> Result<i64, Error> {
        sqlx::query("UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value")
            .bind(counter)
            .fetch_one(&mut *self.tx)
            .await
            .during("numbering")?
            .try_get(0)
            .during("numbering")
    }

    pub(super) async fn event(&mut self, about: About<'_>, cause: Cause) -> Result<(), Error> {
        let seq = self.number("event").await?;
        sqlx::query(
            "INSERT INTO events (seq, at, order_id, unit_id, actor_kind, actor, act, from_state, to_state, why, evidence) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(seq)
        .bind(micros(self.now))
        .bind(about.order.map(str::to_owned))
        .bind(about.unit.map(str::to_owned))
        .bind(self.by.kind())
        .bind(self.by.name().to_owned())
        .bind(cause.act)
        .bind(about.from.map(str::to_owned))
        .bind(about.to.map(str::to_owned))
        .bind(cause.why)
        .bind(cause.evidence.map(|evidence| evidence.to_string()))
        .execute(&mut *self.tx)
        .await
        .during("writing an event")?;
        Ok(())
    }

    /// An event that changes no state, such as an answer that was received.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn note(
        &mut self,
        order: Option<&str>,
        unit: Option<&str>,
        cause: Cause,
    ) -> Result<(), Error> {
        let about = About {
            order,
            unit,
            ..About::default()
        };
        self.event(about, cause).await
    }

    /// The order as it is now.
    ///
    /// # Errors
    /// There is none, or the store cannot be read.
    pub async fn order(&mut self, id: &str) -> Result<OrderRow, Error> {
        let row = sqlx::query("SELECT * FROM orders WHERE id = $1")
            .bind(id.to_owned())
            .fetch_optional(&mut *self.tx)
            .await
            .during("reading an order")?;
        match row {
            Some(row) => OrderRow::read(&row),
            None => {
                // A person may have named a unit.
                let remedy = match self
                    .text("SELECT order_id AS text FROM units WHERE id = $1", id)
                    .await?
                {
                    Some(order) => format!(
                        "that is a unit of order {order}: name the order (`dig-ingest orders ship {order} --unit {id} --carrier NAME --tracking NUMBER` ships one unit)"
                    ),
                    None => "`dig-ingest orders list` shows all".to_owned(),
                };
                Err(Refusal::new(format!("order {id}"), "there is none", remedy).into())
            }
        }
    }

    /// The units of an order as they are now.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn units(&mut self, order: &str) -> Result<Vec<UnitRow>, Error> {
        let rows = sqlx::query("SELECT * FROM units WHERE order_id = $1 ORDER BY id")
            .bind(order.to_owned())
            .fetch_all(&mut *self.tx)
            .await
            .during("listing units")?;
        rows.iter().map(UnitRow::read).collect()
    }

    /// The unit as it is now.
    ///
    /// # Errors
    /// There is none, or the store cannot be read.
    pub async fn unit(&mut self, id: &str) -> Result<UnitRow, Error> {
        let row = sqlx::query("SELECT * FROM units WHERE id = $1")
            .bind(id.to_owned())
            .fetch_optional(&mut *self.tx)
            .await
            .during("reading a unit")?;
        match row {
            Some(row) => UnitRow::read(&row),
            None => {
                let remedy = match self
                    .text("SELECT id AS text FROM orders WHERE id = $1", id)
                    .await?
                {
                    Some(order) => format!(
                        "that is an order: `dig-ingest orders show {order}` lists its units"
                    ),
                    None => "`dig-ingest orders show ORDER` lists an order's units".to_owned(),
                };
                Err(Refusal::new(format!("unit {id}"), "there is none", remedy).into())
            }
        }
    }

    /// A text by an id, if there is such a row.
    async fn text(&mut self, sql: &'static str, id: &str) -> Result<Option<String>, Error> {
        let row = sqlx::query(sql)
            .bind(id.to_owned())
            .fetch_optional(&mut *self.tx)
            .await
            .during("finding an id")?;
        row.map(|row| Reader::new(&row, "an id").text("text"))
            .transpose()
    }

    /// Units by one of their identifiers.
    pub(super) async fn units_by(
        &mut self,
        column: &'static str,
        value: &str,
    ) -> Result<Vec<UnitRow>, Error> {
        let rows = sqlx::query(&format!("SELECT * FROM units WHERE {column} = $1"))
            .bind(value.to_owned())
            .fetch_all(&mut *self.tx)
            .await
            .during("finding units")?;
        rows.iter().map(UnitRow::read).collect()
    }

    /// The unit with this serial, if there is one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn unit_with(&mut self, serial: &str) -> Result<Option<UnitRow>, Error> {
        let row = sqlx::query("SELECT * FROM units WHERE serial = $1")
            .bind(serial.to_owned())
            .fetch_optional(&mut *self.tx)
            .await
            .during("finding a serial")?;
        row.as_ref().map(UnitRow::read).transpose()
    }
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change")
            .field("by", &self.by)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

pub(super) fn columns(reason: Option<&Reason>) -> (Option<String>, Option<String>) {
    (
        reason.map(|reason| reason.code.name().to_owned()),
        reason.map(|reason| reason.text.to_string()),
    )
}

pub(super) fn changed(written: u64, what: impl Fn() -> String) -> Result<(), Error> {
    if written == 1 {
        Ok(())
    } else {
        Err(Error::Changed(what()))
    }
}

/// Rows as JSON text. Plain structs of texts and numbers cannot fail to serialise.
pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain structs serialise")
}
