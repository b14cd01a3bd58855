//! Intents: one row per provisioning call, committed before the call (P1).

use jiff::Timestamp;
use serde_json::Value;

use super::change::Change;
use super::rows::Reader;
use super::{During as _, Error, Store, micros};
use crate::orders::journey::Serial;

/// The outcome of a provisioning call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The call may be under way, or its answer was lost. Never repeated; reconciled.
    Open,
    /// A serial came back.
    Answered,
    /// MyAdmin said no.
    Refused,
    /// It never reached MyAdmin, or was turned away before anything was done.
    WithoutEffect,
    /// Its answer was lost, and the one new serial was taken for its own.
    Adopted,
    /// Its answer was lost and a person must decide.
    Unresolved,
    /// A person decided that nothing came of it.
    Abandoned,
}

impl Outcome {
    pub const ALL: [Self; 7] = [
        Self::Open,
        Self::Answered,
        Self::Refused,
        Self::WithoutEffect,
        Self::Adopted,
        Self::Unresolved,
        Self::Abandoned,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::WithoutEffect => "without-effect",
            Self::Adopted => "adopted",
            Self::Unresolved => "unresolved",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether a serial may have been made that nobody has told us.
    #[must_use]
    pub const fn in_doubt(self) -> bool {
        match self {
            Self::Open | Self::Unresolved | Self::Abandoned => true,
            Self::Answered | Self::Refused | Self::WithoutEffect | Self::Adopted => false,
        }
    }
}

/// A provisioning call to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub unit_id: String,
    pub product_code: String,
    pub product_id: i64,
    /// The serial's first characters, if the settings tell; else empty.
    pub prefix: String,
    pub erp_no: String,
    /// When the partner's devices were last listed before the call.
    pub listed_at: Option<Timestamp>,
}

/// An intent as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct IntentRow {
    pub id: i64,
    pub wish: Wish,
    pub outcome: Outcome,
    pub begun_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    pub serial: Option<Serial>,
    pub evidence: Option<Value>,
}

impl Change {
    /// Writes an intent with a generation of its own; the call may be made once this is committed and the generation is published
    /// (P3).
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn begin_intent(&mut self, wish: &Wish) -> Result<i64, Error> {
        self.issue_generation().await?;
        let id = self.number("intent").await?;
        sqlx::query(
            "INSERT INTO intents (id, unit_id, product_code, product_id, prefix, erp_no, state, begun_at, listed_at) \
             VALUES ($1, $2, $3, $4, $5, $6, 'open', $7, $8)",
        )
        .bind(id)
        .bind(wish.unit_id.clone())
        .bind(wish.product_code.clone())
        .bind(wish.product_id)
        .bind(wish.prefix.clone())
        .bind(wish.erp_no.clone())
        .bind(micros(self.now()))
        .bind(wish.listed_at.map(micros))
        .execute(&mut *self.tx)
        .await
        .during("writing an intent")?;
        Ok(id)
    }

    /// Writes what became of an intent.
    ///
    /// # Errors
    /// [`Error::Changed`] if its outcome is not `from` any more.
    pub async fn close_intent(
        &mut self,
        id: i64,
        from: Outcome,
        to: Outcome,
        serial: Option<&Serial>,
        evidence: Option<&Value>,
    ) -> Result<(), Error> {
        let closed = sqlx::query(
            "UPDATE intents SET state = $3, closed_at = $4, serial = $5, evidence = $6 WHERE id = $1 AND state = $2",
        )
        .bind(id)
        .bind(from.name())
        .bind(to.name())
        .bind(micros(self.now()))
        .bind(serial.map(ToString::to_string))
        .bind(evidence.map(Value::to_string))
        .execute(&mut *self.tx)
        .await
        .during("closing an intent")?
        .rows_affected();
        if closed == 1 {
            Ok(())
        } else {
            Err(Error::Changed(format!("intent {id}")))
        }
    }

    /// The intents of a unit, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn intents_of(&mut self, unit: &str) -> Result<Vec<IntentRow>, Error> {
        let rows = sqlx::query("SELECT * FROM intents WHERE unit_id = $1 ORDER BY id")
            .bind(unit.to_owned())
            .fetch_all(&mut *self.tx)
            .await
            .during("reading intents")?;
        rows.iter().map(IntentRow::read).collect()
    }

    /// How many intents of a product are open.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open_intents(&mut self, product_code: &str) -> Result<i64, Error> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS n FROM intents WHERE product_code = $1 AND state = 'open'",
        )
        .bind(product_code.to_owned())
        .fetch_one(&mut *self.tx)
        .await
        .during("counting intents")?;
        Reader::new(&row, "intents").number("n")
    }
}

impl Store {
    /// Intents of which a serial may have come that nobody told us, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn intents_in_doubt(&self) -> Result<Vec<IntentRow>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM intents WHERE state IN ('open', 'unresolved', 'abandoned') ORDER BY id",
        )
        .fetch_all(&self.pool)
        .await
        .during("reading intents")?;
        rows.iter().map(IntentRow::read).collect()
    }

    /// All intents, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn intents(&self) -> Result<Vec<IntentRow>, Error> {
        let rows = sqlx::query("SELECT * FROM intents ORDER BY id")
            .fetch_all(&self.pool)
            .await
            .during("reading intents")?;
        rows.iter().map(IntentRow::read).collect()
    }
}

impl IntentRow {
    fn read(row: &sqlx::any::AnyRow) -> Result<Self, Error> {
        let reader = Reader::new(row, "an intent");
        let state = reader.text("state")?;
        Ok(Self {
            id: reader.number("id")?,
            wish: Wish {
                unit_id: reader.text("unit_id")?,
                product_code: reader.text("product_code")?,
                product_id: reader.number("product_id")?,
                prefix: reader.text("prefix")?,
                erp_no: reader.text("erp_no")?,
                listed_at: reader.maybe_time("listed_at")?,
            },
            outcome: Outcome::ALL
                .into_iter()
                .find(|outcome| outcome.name() == state)
                .ok_or_else(|| reader.corrupt(format!("there is no outcome {state:?}")))?,
            begun_at: reader.time("begun_at")?,
            closed_at: reader.maybe_time("closed_at")?,
            serial: reader.serial("serial")?,
            evidence: reader.json("evidence")?,
        })
    }
}
