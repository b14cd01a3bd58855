//! A transaction on a connection of its own: ended in order, or its connection is closed.
//!
//! A `BEGIN`, `COMMIT` or `ROLLBACK` that failed or whose answer nobody waited for leaves a connection of which nobody knows whether
//! it is in a transaction; back in the pool it would fail every later change (sqlx#3932). So the connection of a transaction goes
//! back to the pool only after a `COMMIT` or a `ROLLBACK` that succeeded; every other one is closed.
//!
//! Dropped at any await, the transaction is rolled back by a task of its own.

use std::ops::{Deref, DerefMut};

use sqlx::AnyConnection;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyPool, Executor as _};

use super::{During as _, Error};

/// See the module's documentation.
pub(super) struct Transaction {
    /// None once it ended.
    connection: Option<PoolConnection<Any>>,
}

impl Transaction {
    /// Begins one, in a task of its own: a caller that is dropped meanwhile leaves nothing half begun.
    pub(super) async fn begin(pool: &AnyPool, postgres: bool) -> Result<Self, Error> {
        // SQLite: the write lock at once, or two readers that both want to write would refuse each other.
        let begin = if postgres { "BEGIN" } else { "BEGIN IMMEDIATE" };
        let pool = pool.clone();
        let begun = tokio::spawn(async move {
            let mut connection = pool.acquire().await?;
            match connection.execute(begin).await {
                Ok(_) => Ok(Self {
                    connection: Some(connection),
                }),
                Err(error) => {
                    close(connection).await;
                    Err(error)
                }
            }
        });
        joined(begun.await).during("beginning a change")
    }

    /// Writes all of it, also when the caller is dropped meanwhile.
    pub(super) async fn commit(mut self) -> Result<(), Error> {
        let Some(mut connection) = self.connection.take() else {
            return Ok(());
        };
        let ended = tokio::spawn(async move {
            match connection.execute("COMMIT").await {
                Ok(_) => Ok(()),
                Err(error) => {
                    close(connection).await;
                    Err(error)
                }
            }
        });
        joined(ended.await).during("committing a change")
    }
}

fn joined<T>(
    result: Result<Result<T, sqlx::Error>, tokio::task::JoinError>,
) -> Result<T, sqlx::Error> {
    result.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// Closes a connection in whatever state it is; the database rolls back what was open on it.
async fn close(connection: PoolConnection<Any>) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "a connection whose transaction failed was not closed in order");
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    if connection.execute("ROLLBACK").await.is_err() {
                        close(connection).await;
                    }
                });
            }
            // Outside of the runtime nobody could wait for it.
            Err(_) => drop(connection.detach()),
        }
    }
}

impl Deref for Transaction {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        self.connection
            .as_ref()
            .expect("the connection is taken only by the end of the transaction")
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        self.connection
            .as_mut()
            .expect("the connection is taken only by the end of the transaction")
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::change::{Cause, Change};
    use super::super::{Config, Error, Store};
    use crate::orders::journey::Actor;

    /// With one connection: whatever a failure leaves behind, the next change meets it.
    async fn store(folder: &tempfile::TempDir) -> Store {
        let config = Config {
            file: folder.path().join("orders.db"),
            connections: 1,
            busy_ms: 2_000,
            ..Config::default()
        };
        Store::init(&config).await.expect("a store")
    }

    async fn change(store: &Store) -> Change {
        let now = Timestamp::UNIX_EPOCH;
        let change = store.change(Actor::Reconciler, None, now).await;
        change.expect("no connection is left in a transaction")
    }

    async fn works(store: &Store) {
        let mut change = change(store).await;
        let cause = Cause::new("test", "still works");
        change.note(None, None, cause).await.expect("written");
        change.commit().await.expect("committed");
    }

    /// As SQLite answers a `COMMIT` that finds no room: an error, and the transaction stays open.
    #[tokio::test]
    async fn a_commit_that_failed_leaves_no_connection_in_a_transaction() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder).await;
        for _ in 0..3 {
            let mut change = change(&store).await;
            for sql in [
                "PRAGMA defer_foreign_keys = ON",
                "INSERT INTO units (id, order_id, version, line_id, product_code, needs_serial, needs_sim, needs_imei, state, \
                 attempts, created_at, updated_at) VALUES ('9.1', '9', 1, '1', 'X', 0, 0, 0, 'ordered', 0, 0, 0)",
            ] {
                sqlx::query(sql)
                    .execute(&mut *change.tx)
                    .await
                    .expect("it shows only at the end");
            }
            let failed = change.commit().await.expect_err("there is no order 9");
            assert!(matches!(failed, Error::Database { .. }), "{failed}");
            works(&store).await;
        }
        assert!(store.units("9").await.expect("readable").is_empty());
        store.close().await;
    }

    /// SQLITE_FULL in the middle of a change.
    #[tokio::test]
    async fn a_full_disk_fails_the_change_and_not_the_next_ones() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder).await;
        let limit = async |pages: &str| {
            let pragma = format!("PRAGMA max_page_count = {pages}");
            let mut change = change(&store).await;
            sqlx::query(&pragma)
                .execute(&mut *change.tx)
                .await
                .expect("a limit");
            change.commit().await.expect("committed");
        };
        for _ in 0..3 {
            // Never below what there is.
            limit("1").await;
            let mut change = change(&store).await;
            let text = "x".repeat(100_000);
            let full = change.note(None, None, Cause::new("test", text)).await;
            let full = full.expect_err("there is no room").to_string();
            assert!(full.contains("is full; make room on its disk"), "{full}");
            drop(change);
            limit("1000000").await;
            works(&store).await;
        }
        store.close().await;
    }
}
