//! Alarms: what a person should know and no state shows. One per kind and subject; the same again only counts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::change::Change;
use super::rows::{Reader, shown};
use super::{During as _, Error, Store, micros};

/// An alarm as stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlarmRow {
    /// A stable word, such as `orphan-serial`.
    pub kind: String,
    /// The subject: an order, a unit, a serial, a file.
    pub subject: String,
    pub said: String,
    pub evidence: Option<Value>,
    #[serde(serialize_with = "shown")]
    pub first_at: Timestamp,
    #[serde(serialize_with = "shown")]
    pub last_at: Timestamp,
    pub times: i64,
}

/// An alarm whose cause is not known to be gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    pub said: String,
    /// A person cleared it.
    pub cleared: bool,
}

impl Change {
    /// Raises an alarm, or counts it again. True if it was not standing before.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn alarm(
        &mut self,
        kind: &str,
        subject: &str,
        said: &str,
        evidence: Option<&Value>,
    ) -> Result<bool, Error> {
        let now = micros(self.now());
        let standing = sqlx::query(
            "SELECT times FROM alarms WHERE kind = $1 AND subject = $2 AND cleared_at IS NULL",
        )
        .bind(kind.to_owned())
        .bind(subject.to_owned())
        .fetch_optional(&mut *self.tx)
        .await
        .during("reading an alarm")?
        .is_some();
        sqlx::query(
            "INSERT INTO alarms (kind, subject, said, evidence, first_at, last_at, times) VALUES ($1, $2, $3, $4, $5, $5, 1) \
             ON CONFLICT (kind, subject) DO UPDATE SET said = excluded.said, evidence = excluded.evidence, \
             first_at = CASE WHEN alarms.cleared_at IS NULL THEN alarms.first_at ELSE excluded.first_at END, \
             times = CASE WHEN alarms.cleared_at IS NULL THEN alarms.times + 1 ELSE 1 END, \
             last_at = excluded.last_at, cleared_at = NULL, ended = NULL",
        )
        .bind(kind.to_owned())
        .bind(subject.to_owned())
        .bind(said.to_owned())
        .bind(evidence.map(Value::to_string))
        .bind(now)
        .execute(&mut *self.tx)
        .await
        .during("raising an alarm")?;
        Ok(!standing)
    }

    /// Clears all alarms of a kind.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn clear_alarms(&mut self, kind: &str) -> Result<(), Error> {
        sqlx::query("UPDATE alarms SET cleared_at = $2 WHERE kind = $1 AND cleared_at IS NULL")
            .bind(kind.to_owned())
            .bind(micros(self.now()))
            .execute(&mut *self.tx)
            .await
            .during("clearing alarms")?;
        Ok(())
    }

    /// Clears an alarm; nothing if it is not standing.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn clear_alarm(&mut self, kind: &str, subject: &str) -> Result<bool, Error> {
        let cleared = sqlx::query("UPDATE alarms SET cleared_at = $3 WHERE kind = $1 AND subject = $2 AND cleared_at IS NULL")
            .bind(kind.to_owned())
            .bind(subject.to_owned())
            .bind(micros(self.now()))
            .execute(&mut *self.tx)
            .await
            .during("clearing an alarm")?
            .rows_affected();
        Ok(cleared > 0)
    }
}

impl Change {
    /// Ends an alarm whose cause is gone: it is raised again when the cause returns, also if a person had cleared it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn end_alarm(&mut self, kind: &str, subject: &str) -> Result<(), Error> {
        sqlx::query("UPDATE alarms SET ended = 1, cleared_at = COALESCE(cleared_at, $3) WHERE kind = $1 AND subject = $2")
            .bind(kind.to_owned())
            .bind(subject.to_owned())
            .bind(micros(self.now()))
            .execute(&mut *self.tx)
            .await
            .during("ending an alarm")?;
        Ok(())
    }
}

impl Store {
    /// Alarms whose cause is not known to be gone, by kind and subject.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn raised_alarms(&self) -> Result<BTreeMap<(String, String), Raised>, Error> {
        let rows = sqlx::query("SELECT * FROM alarms WHERE ended IS NULL")
            .fetch_all(&self.pool)
            .await
            .during("listing alarms")?;
        rows.iter()
            .map(|row| {
                let reader = Reader::new(row, "an alarm");
                let raised = Raised {
                    said: reader.text("said")?,
                    cleared: reader.maybe_time("cleared_at")?.is_some(),
                };
                Ok(((reader.text("kind")?, reader.text("subject")?), raised))
            })
            .collect()
    }

    /// Kind and subject of every alarm ever raised, cleared ones too: what a person has seen is not raised again by itself.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn raised(&self) -> Result<std::collections::BTreeSet<(String, String)>, Error> {
        let rows = sqlx::query("SELECT kind, subject FROM alarms WHERE ended IS NULL")
            .fetch_all(&self.pool)
            .await
            .during("listing alarms")?;
        rows.iter()
            .map(|row| {
                let reader = Reader::new(row, "an alarm");
                Ok((reader.text("kind")?, reader.text("subject")?))
            })
            .collect()
    }

    /// Standing alarms, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn alarms(&self) -> Result<Vec<AlarmRow>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM alarms WHERE cleared_at IS NULL ORDER BY first_at, kind, subject",
        )
        .fetch_all(&self.pool)
        .await
        .during("listing alarms")?;
        rows.iter()
            .map(|row| {
                let reader = Reader::new(row, "an alarm");
                Ok(AlarmRow {
                    kind: reader.text("kind")?,
                    subject: reader.text("subject")?,
                    said: reader.text("said")?,
                    evidence: reader.json("evidence")?,
                    first_at: reader.time("first_at")?,
                    last_at: reader.time("last_at")?,
                    times: reader.number("times")?,
                })
            })
            .collect()
    }
}
