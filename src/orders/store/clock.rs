//! Times in the store that are still to come: a wall clock was ahead when they were written, and came back.
//!
//! Nothing waits for them: a listing would be due only then, and a retry, and a doubt. They are set to now, which makes whatever rests
//! on them wait its full time once more.

use jiff::{SignedDuration, Timestamp};
use sqlx::Row as _;

use super::change::Cause;
use super::lease::Token;
use super::{During as _, Error, Store, micros};
use crate::orders::journey::Actor;

/// Clocks of several instances may differ so much.
const SLACK: SignedDuration = SignedDuration::from_secs(60);

/// Columns that hold when something happened.
const HAPPENED: [(&str, &str); 5] = [
    ("marks", "at"),
    ("intents", "begun_at"),
    ("intents", "listed_at"),
    ("seen_serials", "first_seen"),
    ("seen_serials", "last_seen"),
];
/// Columns that hold when something is tried again.
const PLANNED: [(&str, &str); 2] = [("units", "retry_at"), ("orders", "retry_at")];

impl Store {
    /// Sets times that cannot be to now; `longest` is the longest wait before a retry. How many there were.
    ///
    /// # Errors
    /// The store cannot be written, or [`Error::LeaseLost`].
    pub async fn straighten(
        &self,
        token: Token,
        longest: SignedDuration,
        now: Timestamp,
    ) -> Result<u64, Error> {
        let act = "looking for times that are still to come";
        let after = |wait: SignedDuration| now.saturating_add(wait).unwrap_or(Timestamp::MAX);
        let bounds: Vec<(&str, &str, i64)> = HAPPENED
            .iter()
            .map(|(table, column)| (*table, *column, micros(after(SLACK))))
            .chain(PLANNED.iter().map(|(table, column)| {
                let longest = longest.saturating_add(SLACK);
                (*table, *column, micros(after(longest)))
            }))
            .collect();
        let mut odd = Vec::new();
        for (table, column, bound) in bounds {
            let sql = format!("SELECT COUNT(*) AS n FROM {table} WHERE {column} > $1");
            let row = sqlx::query(&sql)
                .bind(bound)
                .fetch_one(&self.pool)
                .await
                .during(act)?;
            if row.try_get::<i64, _>("n").during(act)? > 0 {
                odd.push((table, column, bound));
            }
        }
        if odd.is_empty() {
            return Ok(0);
        }
        let mut change = self.change(Actor::Reconciler, Some(token), now).await?;
        let mut changed = 0;
        for (table, column, bound) in odd {
            let sql = format!("UPDATE {table} SET {column} = $1 WHERE {column} > $2");
            changed += sqlx::query(&sql)
                .bind(micros(now))
                .bind(bound)
                .execute(&mut *change.tx)
                .await
                .during("setting times that are still to come")?
                .rows_affected();
        }
        let why = format!(
            "{changed} stored times were still to come, as if a clock had been ahead and came back: set to now"
        );
        tracing::warn!("{why}");
        change.note(None, None, Cause::new("clock", why)).await?;
        change.commit().await?;
        Ok(changed)
    }
}
