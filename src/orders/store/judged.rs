//! Sheets of terminations by their content: what was thought of each and what was decided, and the devices that vanished from them.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::any::AnyRow;

use super::change::{Change, changed};
use super::rows::{Reader, shown};
use super::{During as _, Error, Store, micros};
use crate::config::printable;
use crate::orders::journey::Serial;

/// The outcome of a sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It ends nobody, and waits for a person or for a corrected one.
    Doubted,
    #[serde(rename = "applied")]
    Obeyed,
    /// A person accepted it.
    Accepted,
    /// A person refused it.
    Refused,
    /// A later one of the same name accounts for all its devices.
    Replaced,
}

impl Standing {
    const ALL: [Self; 5] = [
        Self::Doubted,
        Self::Obeyed,
        Self::Accepted,
        Self::Refused,
        Self::Replaced,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Doubted => "doubted",
            Self::Obeyed => "applied",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Replaced => "replaced",
        }
    }

    /// As the table calls it: what earlier versions wrote stays readable.
    const fn stored(self) -> &'static str {
        match self {
            Self::Obeyed => "obeyed",
            other => other.name(),
        }
    }
}

/// A sheet that was judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JudgedRow {
    pub place: String,
    pub name: String,
    pub digest: String,
    /// Its name in alarms and for operators.
    pub subject: String,
    pub state: Standing,
    /// Of a doubt: its alarm's kind.
    pub kind: Option<String>,
    pub said: String,
    pub rows: i64,
    /// Rows that are not understood.
    pub bad: i64,
    #[serde(skip)]
    pub judged_by: String,
    #[serde(serialize_with = "shown")]
    pub judged_at: Timestamp,
    #[serde(skip)]
    pub again_at: Option<Timestamp>,
    pub decided_by: Option<String>,
    #[serde(skip)]
    pub decided_at: Option<Timestamp>,
    /// Its rows as text; none: it was no sheet at all.
    #[serde(skip)]
    pub content: Option<String>,
}

impl JudgedRow {
    /// The sheet as one word of a command that can be pasted into a shell.
    #[must_use]
    pub fn word(&self) -> String {
        printable::word(&self.subject)
    }
}

/// A device that a sheet was to end later and that the next one did not name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VanishedRow {
    pub serial: Serial,
    /// The sheet that named it last.
    pub named_by: String,
    /// The sheet that did not.
    pub missing_in: String,
    #[serde(skip)]
    pub since: Option<Timestamp>,
    #[serde(serialize_with = "shown")]
    pub at: Timestamp,
}

impl JudgedRow {
    fn read(row: &AnyRow) -> Result<Self, Error> {
        let reader = Reader::new(row, "a judged sheet");
        let state = reader.text("state")?;
        let known = Standing::ALL
            .into_iter()
            .find(|known| known.stored() == state);
        Ok(Self {
            place: reader.text("place")?,
            name: reader.text("name")?,
            digest: reader.text("digest")?,
            subject: reader.text("subject")?,
            state: known.ok_or_else(|| reader.corrupt(format!("the state {state:?} is none")))?,
            kind: reader.maybe_text("kind")?,
            said: reader.text("said")?,
            rows: reader.number("row_count")?,
            bad: reader.number("bad_count")?,
            judged_by: reader.text("judged_by")?,
            judged_at: reader.time("judged_at")?,
            again_at: reader.maybe_time("again_at")?,
            decided_by: reader.maybe_text("decided_by")?,
            decided_at: reader.maybe_time("decided_at")?,
            content: reader.maybe_text("content")?,
        })
    }
}

impl Change {
    /// Writes a sheet as it is judged now.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn put_judged(&mut self, row: &JudgedRow) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO judged_sheets (place, name, digest, subject, state, kind, said, row_count, bad_count, judged_by, judged_at, \
             again_at, decided_by, decided_at, content) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
             ON CONFLICT (place, name, digest) DO UPDATE SET subject = excluded.subject, state = excluded.state, kind = excluded.kind, \
             said = excluded.said, row_count = excluded.row_count, bad_count = excluded.bad_count, judged_by = excluded.judged_by, \
             judged_at = excluded.judged_at, again_at = excluded.again_at, decided_by = excluded.decided_by, \
             decided_at = excluded.decided_at, content = excluded.content",
        )
        .bind(row.place.clone())
        .bind(row.name.clone())
        .bind(row.digest.clone())
        .bind(row.subject.clone())
        .bind(row.state.stored())
        .bind(row.kind.clone())
        .bind(row.said.clone())
        .bind(row.rows)
        .bind(row.bad)
        .bind(row.judged_by.clone())
        .bind(micros(row.judged_at))
        .bind(row.again_at.map(micros))
        .bind(row.decided_by.clone())
        .bind(row.decided_at.map(micros))
        .bind(row.content.clone())
        .execute(&mut *self.tx)
        .await
        .during("writing a judged sheet")?;
        Ok(())
    }

    /// Decides about a sheet that is still in `row`'s state.
    ///
    /// # Errors
    /// [`Error::Changed`] if somebody else decided first; the store cannot be written.
    pub async fn decide_sheet(
        &mut self,
        row: &JudgedRow,
        state: Standing,
        content: Option<&str>,
        again_at: Option<Timestamp>,
    ) -> Result<(), Error> {
        let by = format!("{} {}", self.by().kind(), self.by().name());
        let written = sqlx::query(
            "UPDATE judged_sheets SET state = $1, decided_by = $2, decided_at = $3, content = $4, again_at = $5 \
             WHERE place = $6 AND name = $7 AND digest = $8 AND state = $9 AND judged_at = $10",
        )
        .bind(state.stored())
        .bind(by.trim().to_owned())
        .bind(micros(self.now()))
        .bind(content.map(str::to_owned))
        .bind(again_at.map(micros))
        .bind(row.place.clone())
        .bind(row.name.clone())
        .bind(row.digest.clone())
        .bind(row.state.stored())
        .bind(micros(row.judged_at))
        .execute(&mut *self.tx)
        .await
        .during("deciding about a sheet")?
        .rows_affected();
        changed(written, || format!("the sheet {}", row.subject))
    }

    /// Clearing the alarm of a doubted sheet refuses the sheet.
    pub(super) async fn refuse_sheet(&mut self, kind: &str, subject: &str) -> Result<bool, Error> {
        let by = format!("{} {}", self.by().kind(), self.by().name());
        let refused = sqlx::query(
            "UPDATE judged_sheets SET state = 'refused', decided_by = $1, decided_at = $2 \
             WHERE kind = $3 AND subject = $4 AND state = 'doubted'",
        )
        .bind(by)
        .bind(micros(self.now()))
        .bind(kind.to_owned())
        .bind(subject.to_owned())
        .execute(&mut *self.tx)
        .await
        .during("refusing a sheet")?
        .rows_affected();
        Ok(refused > 0)
    }

    /// The sheet that is now the last one applied in its place: what the next one is compared with.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn put_obeyed_rows(&mut self, row: &JudgedRow) -> Result<(), Error> {
        sqlx::query(
            "UPDATE sheets SET obeyed_rows = $1, obeyed_at = $2 WHERE place = $3 AND name = $4",
        )
        .bind(row.rows)
        .bind(micros(self.now()))
        .bind(row.place.clone())
        .bind(row.name.clone())
        .execute(&mut *self.tx)
        .await
        .during("noting an accepted sheet")?;
        Ok(())
    }

    /// Forgets sheets that were decided before, and have nothing that waits.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn forget_sheets(&mut self, before: Timestamp) -> Result<(), Error> {
        sqlx::query("DELETE FROM judged_sheets WHERE state <> 'doubted' AND again_at IS NULL AND judged_at < $1")
            .bind(micros(before))
            .execute(&mut *self.tx)
            .await
            .during("forgetting old sheets")?;
        Ok(())
    }

    /// Notes a device that vanished.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn put_vanished(&mut self, row: &VanishedRow) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO vanished_devices (serial, named_by, missing_in, since, at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (serial) DO UPDATE SET named_by = excluded.named_by, missing_in = excluded.missing_in, \
             since = excluded.since, at = excluded.at",
        )
        .bind(row.serial.to_string())
        .bind(row.named_by.clone())
        .bind(row.missing_in.clone())
        .bind(row.since.map(micros))
        .bind(micros(row.at))
        .execute(&mut *self.tx)
        .await
        .during("noting a vanished device")?;
        Ok(())
    }

    /// A device is named again, or is ended.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn remove_vanished(&mut self, serial: &Serial) -> Result<(), Error> {
        sqlx::query("DELETE FROM vanished_devices WHERE serial = $1")
            .bind(serial.to_string())
            .execute(&mut *self.tx)
            .await
            .during("removing a vanished device")?;
        Ok(())
    }
}

impl Store {
    /// A sheet by its content.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn judged(
        &self,
        place: &str,
        name: &str,
        digest: &str,
    ) -> Result<Option<JudgedRow>, Error> {
        let sql = "SELECT * FROM judged_sheets WHERE place = $1 AND name = $2 AND digest = $3";
        let row = sqlx::query(sql)
            .bind(place)
            .bind(name)
            .bind(digest)
            .fetch_optional(&self.pool)
            .await
            .during("reading a judged sheet")?;
        row.as_ref().map(JudgedRow::read).transpose()
    }

    /// Sheets that wait for a decision, or all, the oldest first, without their content.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn judged_sheets(&self, only_doubted: bool) -> Result<Vec<JudgedRow>, Error> {
        let which = if only_doubted {
            "WHERE state = 'doubted'"
        } else {
            ""
        };
        let sql = format!(
            "SELECT place, name, digest, subject, state, kind, said, row_count, bad_count, judged_by, judged_at, again_at, decided_by, \
             decided_at, CAST(NULL AS TEXT) AS content FROM judged_sheets {which} ORDER BY judged_at, name, digest"
        );
        let rows = sqlx::query(&sql)
            .fetch_all(&self.pool)
            .await
            .during("listing judged sheets")?;
        rows.iter().map(JudgedRow::read).collect()
    }

    /// The doubted sheets of a name, with their content.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn doubted(&self, place: &str, name: &str) -> Result<Vec<JudgedRow>, Error> {
        let sql =
            "SELECT * FROM judged_sheets WHERE place = $1 AND name = $2 AND state = 'doubted'";
        let rows = sqlx::query(sql)
            .bind(place)
            .bind(name)
            .fetch_all(&self.pool)
            .await
            .during("listing doubted sheets")?;
        rows.iter().map(JudgedRow::read).collect()
    }

    /// The last sheet of a place that was applied, or accepted by a person.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn last_obeyed(&self, place: &str) -> Result<Option<JudgedRow>, Error> {
        let sql = "SELECT * FROM judged_sheets WHERE place = $1 AND state IN ('obeyed', 'accepted') ORDER BY decided_at DESC LIMIT 1";
        let row = sqlx::query(sql)
            .bind(place)
            .fetch_optional(&self.pool)
            .await
            .during("reading the last applied sheet")?;
        row.as_ref().map(JudgedRow::read).transpose()
    }

    /// Accepted sheets of which something is due.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn accepted_due(&self, now: Timestamp) -> Result<Vec<JudgedRow>, Error> {
        let sql = "SELECT * FROM judged_sheets WHERE state = 'accepted' AND again_at <= $1";
        let rows = sqlx::query(sql)
            .bind(micros(now))
            .fetch_all(&self.pool)
            .await
            .during("listing accepted sheets")?;
        rows.iter().map(JudgedRow::read).collect()
    }

    /// Devices that vanished from the sheets.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn vanished(&self) -> Result<Vec<VanishedRow>, Error> {
        let rows = sqlx::query("SELECT * FROM vanished_devices ORDER BY serial")
            .fetch_all(&self.pool)
            .await
            .during("listing vanished devices")?;
        rows.iter()
            .map(|row| {
                let reader = Reader::new(row, "a vanished device");
                Ok(VanishedRow {
                    serial: reader
                        .serial("serial")?
                        .ok_or_else(|| reader.corrupt("a serial is missing"))?,
                    named_by: reader.text("named_by")?,
                    missing_in: reader.text("missing_in")?,
                    since: reader.maybe_time("since")?,
                    at: reader.time("at")?,
                })
            })
            .collect()
    }
}
