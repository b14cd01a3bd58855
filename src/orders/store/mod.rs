//! The orders store: what is known of every order and unit, in SQLite (a file) or PostgreSQL (by URL).
//!
//! * Every change is made in one transaction with its event: the audit trail is the table.
//! * Every row of an order or a unit has a version; a change of a row that somebody else changed meanwhile is
//!   [`Error::Changed`], never a lost update.
//! * The reconciler writes under its lease's token ([`lease::Token`]): with a lost lease it writes nothing.
//! * A change of what the device registry must say writes the outbox row in the same transaction.
//!
//! Only this folder knows the database. A dropped future leaves no half of a change behind: the transaction is rolled back.

pub mod alarms;
pub mod backup;
pub mod cancel_terminate;
pub mod change;
mod claims;
mod clock;
pub mod devices;
pub mod identity;
pub mod intents;
pub mod judged;
mod later;
pub mod lease;
pub mod listed_devices;
pub mod operator_actions;
mod orders;
pub mod outbox;
pub mod read;
pub mod recovery;
pub mod rows;
pub mod sheets;
pub mod standing;
pub mod stranded;
mod transaction;
mod units;
pub mod views;
mod warehouse;

use std::borrow::Cow;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyPool, Row as _};
use tokio::sync::Notify;

use crate::config::private;
use crate::config::secret::Secret;

/// The migrations, oldest first. One that was released never changes.
const MIGRATIONS: [(i64, &str, &str); 7] = [
    (1, "journey", include_str!("migrations/0001_journey.sql")),
    (2, "sheets", include_str!("migrations/0002_sheets.sql")),
    (3, "identity", include_str!("migrations/0003_identity.sql")),
    (4, "waits", include_str!("migrations/0004_waits.sql")),
    (
        5,
        "judged_sheets",
        include_str!("migrations/0005_judged_sheets.sql"),
    ),
    (6, "lines", include_str!("migrations/0006_lines.sql")),
    (
        7,
        "identifiers",
        include_str!("migrations/0007_identifiers.sql"),
    ),
];

/// A PostgreSQL transaction in which nothing happens ends after so many times the lock timeout.
const ASLEEP: u64 = 3;

/// Settings (`[orders.store]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// SQLite file, created by `orders init`. Not used if `url` is set.
    pub file: PathBuf,
    /// PostgreSQL URL (`postgres://user:password@host/database`), used in place of the file; empty for the file.
    pub url: Secret,
    /// Maximum number of database connections (1 or more).
    pub connections: u32,
    /// Lock and pool timeout in milliseconds: how long a statement waits for another writer, and a caller for a connection. With
    /// PostgreSQL a transaction in which nothing happens for three times as long is ended.
    pub busy_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: "orders.db".into(),
            url: Secret::default(),
            connections: 4,
            busy_ms: 10_000,
        }
    }
}

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database did not do it, or we did not learn whether it did.
    #[error("orders store: {act}: {said}{}", help(said))]
    Database {
        act: &'static str,
        /// Part of the message, and so no source: a printed chain would have it twice.
        said: sqlx::Error,
    },
    /// Somebody else changed the same row first; nothing was written.
    #[error("{0} was changed by somebody else meanwhile: look at it again, then repeat")]
    Changed(String),
    /// Another instance has taken over; nothing was written.
    #[error("another orders instance has taken over the lease")]
    LeaseLost,
    /// Stored data are impossible; nothing was written.
    #[error(
        "orders store: {subject}: {why}; stop the orders instances, put a copy made by `dig-ingest orders backup FILE` in its place, \
         start them, and see with `dig-ingest orders recover` what happened since the copy"
    )]
    Corrupt { subject: String, why: String },
    /// There is none where the settings say.
    #[error(
        "orders store: {0} is not there; name the store of the job with orders.store.file or orders.store.url. Only if there never \
         was one, make it with `dig-ingest orders init`. If it was lost, put a copy made by `dig-ingest orders backup FILE` in its place; \
         `dig-ingest orders recover` then shows what happened since the copy"
    )]
    Missing(String),
    /// The act does not fit; nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Why an act was refused, for the person who asked for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {what}; {remedy}")]
pub struct Refusal {
    pub subject: String,
    pub what: String,
    pub remedy: String,
}

impl Refusal {
    pub fn new(
        subject: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            subject: subject.into(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl Error {
    /// Whether the very same act may succeed later without anybody acting.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Database { .. } | Self::Changed(_) => true,
            Self::LeaseLost | Self::Corrupt { .. } | Self::Missing(_) | Self::Refused(_) => false,
        }
    }

    /// Whether the database is only not there yet: it does not listen, has no connection to spare, or is starting up.
    #[must_use]
    pub fn is_away(&self) -> bool {
        let Self::Database { said: error, .. } = self else {
            return false;
        };
        match error {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
            // PostgreSQL: too many connections; cannot connect now; shut down by its operator; a lock that was not given in time.
            sqlx::Error::Database(said) => {
                matches!(
                    said.code().as_deref(),
                    Some("53300" | "57P01" | "57P03" | "55P03")
                ) || is_busy(error)
            }
            _ => false,
        }
    }

    /// Whether it may have been written all the same: a commit whose answer was lost. What is read next tells.
    #[must_use]
    pub fn may_have_effects(&self) -> bool {
        match self {
            Self::Database { .. } => true,
            Self::Changed(_)
            | Self::LeaseLost
            | Self::Corrupt { .. }
            | Self::Missing(_)
            | Self::Refused(_) => false,
        }
    }

    pub(super) fn corrupt(subject: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Corrupt {
            subject: subject.into(),
            why: why.to_string(),
        }
    }
}

/// Names the act of a failed statement.
pub(super) trait During<T> {
    fn during(self, act: &'static str) -> Result<T, Error>;
}

impl<T> During<T> for Result<T, sqlx::Error> {
    fn during(self, act: &'static str) -> Result<T, Error> {
        self.map_err(|source| match damage(&source) {
            Some(said) => Error::corrupt(act, said),
            None => Error::Database { act, said: source },
        })
    }
}

/// The message of an error that reports damaged files of the database; none for any other error.
fn damage(error: &sqlx::Error) -> Option<String> {
    let sqlx::Error::Database(said) = error else {
        return None;
    };
    let code = said.code()?;
    // SQLite: corrupt (11), not a database (26), with their extended codes. PostgreSQL: class XX001, XX002.
    let damaged = match code.parse::<u32>() {
        Ok(number) => matches!(number & 0xff, 11 | 26) && number < 10_000,
        Err(_) => matches!(&*code, "XX001" | "XX002"),
    };
    damaged.then(|| said.message().to_owned())
}

/// SQLite's own code, without what extends it.
fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    let sqlx::Error::Database(said) = error else {
        return None;
    };
    let code = said.code()?;
    // A code of PostgreSQL has five characters.
    (code.len() < 5).then(|| Some(code.parse::<u32>().ok()? & 0xff))?
}

/// Whether another connection had the SQLite file locked for too long.
fn is_busy(error: &sqlx::Error) -> bool {
    matches!(sqlite_code(error), Some(5 | 6))
}

/// The remedy for an error of the database, if it is more than waiting.
fn help(error: &sqlx::Error) -> &'static str {
    if matches!(error, sqlx::Error::PoolTimedOut) {
        return "; no connection was free or could be opened within orders.store.busy_ms; if the store is a file, see which processes \
                have it open (`fuser -v FILE`), and end the one that is stopped or hangs";
    }
    if let sqlx::Error::Migrate(error) = error {
        return match **error {
            MigrateError::VersionMissing(_) => {
                "; a later version of this program wrote the store: use that version, or put a copy from before in its place"
            }
            _ => {
                "; nothing was changed: use the version that wrote the store, or put a copy of it in its place"
            }
        };
    }
    if let sqlx::Error::Database(said) = error
        && said.code().as_deref() == Some("55P03")
    {
        return "; another connection had it locked for longer than orders.store.busy_ms; what is asleep in a transaction loses it \
                by itself";
    }
    match sqlite_code(error) {
        Some(5 | 6) => {
            "; another process had the file locked for longer than orders.store.busy_ms: see which ones have it open (`fuser -v FILE`), \
             and end the one that is stopped or hangs"
        }
        Some(8) => "; let this user write the file and its folder",
        Some(10) => "; look at the disk: its kernel log says what failed",
        Some(13) => {
            "; make room on its disk: nothing was written, and the same act can be repeated"
        }
        Some(14) => {
            "; see that its folder is there, and that this user may write the file and the folder"
        }
        _ => "",
    }
}

/// The store. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Store {
    /// Connections to the database; closed by `close`, or when the last clone is dropped.
    pool: AnyPool,
    /// Whether the database is PostgreSQL; otherwise it is SQLite.
    postgres: bool,
    /// Woken when a commit of this process left rows in the outbox.
    outbox: Arc<Notify>,
    /// Woken when an operator's action in this process changed something.
    hint: Arc<Notify>,
}

impl Store {
    /// Opens the store that is there, checks it and brings it to this version's form.
    ///
    /// # Errors
    /// There is none, it cannot be reached, is damaged, or was written by a later version.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        let name = shown(config);
        if config.url.is_empty() && !config.file.exists() {
            return Err(Error::Missing(name));
        }
        let store = Self::connect(config, "rw").await?;
        store.check().await?;
        if !store.has_tables().await? {
            store.pool.close().await;
            return Err(Error::Missing(name));
        }
        store.migrate().await?;
        store.identify(Timestamp::now()).await?;
        Ok(store)
    }

    /// Makes a store where there is none and opens it; one that is there is opened as it is.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn init(config: &Config) -> Result<Self, Error> {
        let store = Self::connect(config, "rwc").await?;
        store.check().await?;
        store.migrate().await?;
        store.identify(Timestamp::now()).await?;
        Ok(store)
    }

    /// Opens the store that is there as it is: nothing is changed, not even its form. Only for questions.
    ///
    /// # Errors
    /// There is none, it cannot be reached, or is damaged.
    pub async fn look(config: &Config) -> Result<Self, Error> {
        let name = shown(config);
        if config.url.is_empty() && !config.file.exists() {
            return Err(Error::Missing(name));
        }
        let store = Self::connect(config, "rw").await?;
        store.check().await?;
        if store.has_table("counters").await? {
            Ok(store)
        } else {
            store.pool.close().await;
            Err(Error::Missing(name))
        }
    }

    async fn connect(config: &Config, mode: &str) -> Result<Self, Error> {
        if config.url.is_empty() && !is_sqlite(&config.file) {
            return Err(Error::corrupt(shown(config), "it is no SQLite file"));
        }
        sqlx::any::install_default_drivers();
        let (url, postgres) = address(config, mode);
        if config.url.is_empty() && mode == "rwc" {
            // Customers' names and phones: the driver would make it readable by everybody, and its journal takes over the mode.
            private::prepare(&config.file)
                .map_err(sqlx::Error::Io)
                .during("making the file")?;
        }
        let options: AnyConnectOptions = url.parse().during("settings orders.store")?;
        let busy = config.busy_ms;
        let pool = AnyPoolOptions::new()
            .max_connections(config.connections.max(1))
            .acquire_timeout(Duration::from_millis(busy.max(1)))
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if postgres {
                        // A holder that sleeps in a transaction keeps its rows, the lease's too, from everybody else.
                        let asleep = busy.saturating_mul(ASLEEP);
                        for setting in [
                            format!("SET lock_timeout = {busy}"),
                            format!("SET idle_in_transaction_session_timeout = {asleep}"),
                        ] {
                            sqlx::query(&setting).execute(&mut *connection).await?;
                        }
                        return Ok(());
                    }
                    // A rollback journal: SQLite before 3.51.3 can damage a file in write-ahead mode when several connections write
                    // it. It cannot be changed while another process has the file open in that mode; then the next start does it.
                    let mode = sqlx::query("PRAGMA journal_mode = TRUNCATE");
                    if let Err(error) = mode.execute(&mut *connection).await {
                        tracing::debug!(%error, "the journal mode is what it was");
                    }
                    // FULL: a commit that was answered survives a power cut (P1 rests on it).
                    for pragma in [
                        format!("PRAGMA busy_timeout = {busy}"),
                        "PRAGMA synchronous = FULL".to_owned(),
                        "PRAGMA foreign_keys = ON".to_owned(),
                    ] {
                        sqlx::query(&pragma).execute(&mut *connection).await?;
                    }
                    Ok(())
                })
            })
            .connect_with(options)
            .await
            .during("opening")?;
        Ok(Self {
            pool,
            postgres,
            outbox: Arc::default(),
            hint: Arc::default(),
        })
    }

    /// Whether a store was ever made here.
    async fn has_tables(&self) -> Result<bool, Error> {
        self.has_table("counters").await
    }

    /// Whether it was opened by a version that gives stores an identity.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn has_identity(&self) -> Result<bool, Error> {
        self.has_table("identity").await
    }

    async fn has_table(&self, name: &'static str) -> Result<bool, Error> {
        let sql = if self.postgres {
            "SELECT COUNT(*) AS n FROM information_schema.tables WHERE table_name = $1 AND table_schema = current_schema()"
        } else {
            "SELECT COUNT(*) AS n FROM sqlite_master WHERE type = 'table' AND name = $1"
        };
        let row = sqlx::query(sql)
            .bind(name)
            .fetch_one(&self.pool)
            .await
            .during("looking for the store")?;
        Ok(row.try_get::<i64, _>("n").during("looking for the store")? > 0)
    }

    /// A store in memory, gone with its last clone: for tests and trials.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn in_memory() -> Result<Self, Error> {
        Self::init(&Config {
            url: Secret::new("sqlite::memory:"),
            connections: 1,
            ..Config::default()
        })
        .await
    }

    async fn check(&self) -> Result<(), Error> {
        if self.postgres {
            return Ok(());
        }
        let said: Vec<String> = sqlx::query("PRAGMA integrity_check(5)")
            .fetch_all(&self.pool)
            .await
            .during("checking the file's integrity")?
            .iter()
            .map(|row| row.try_get::<String, _>(0))
            .collect::<Result<_, _>>()
            .during("checking the file's integrity")?;
        if said.len() == 1 && said[0] == "ok" {
            Ok(())
        } else {
            Err(Error::corrupt("the file is damaged", said.join("; ")))
        }
    }

    async fn migrate(&self) -> Result<(), Error> {
        let migrations = MIGRATIONS
            .iter()
            .map(|(version, name, sql)| {
                Migration::new(
                    *version,
                    Cow::Borrowed(name),
                    MigrationType::Simple,
                    Cow::Borrowed(sql),
                    false,
                )
            })
            .collect();
        let migrator = Migrator {
            migrations: Cow::Owned(migrations),
            ..Migrator::DEFAULT
        };
        migrator
            .run(&self.pool)
            .await
            .map_err(|error| match error {
                // A file that is locked, say, is no matter of migrations.
                MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error,
                other => sqlx::Error::Migrate(Box::new(other)),
            })
            .during("migrating")
    }

    /// Waits until a commit of this process leaves something to publish.
    pub async fn outbox_filled(&self) {
        self.outbox.notified().await;
    }

    /// Waits until an operator's action in this process changes something.
    pub async fn hinted(&self) {
        self.hint.notified().await;
    }

    /// Asks the reconciler of this process to look now.
    pub fn hint(&self) {
        self.hint.notify_one();
    }

    /// Closes the connections; what is under way ends first. The file then holds everything by itself.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Whether a file is one, or could become one.
fn is_sqlite(file: &std::path::Path) -> bool {
    const HEAD: &[u8] = b"SQLite format 3\0";
    let mut head = Vec::new();
    match std::fs::File::open(file) {
        Ok(file) => {
            let read = file.take(HEAD.len() as u64).read_to_end(&mut head);
            read.is_err() || head.is_empty() || head == HEAD
        }
        // Whatever is wrong, opening it tells.
        Err(_) => true,
    }
}

fn address(config: &Config, mode: &str) -> (String, bool) {
    let url = config.url.reveal();
    if url.is_empty() {
        return (
            format!("sqlite://{}?mode={mode}", config.file.display()),
            false,
        );
    }
    (
        url.to_owned(),
        url.starts_with("postgres:") || url.starts_with("postgresql:"),
    )
}

/// The store's place for people, without its password.
fn shown(config: &Config) -> String {
    if config.url.is_empty() {
        config.file.display().to_string()
    } else {
        backup::without_password(config.url.reveal())
    }
}

fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}
