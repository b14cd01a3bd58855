//! The order half of the job with its store, as whoever runs it keeps them: started and stopped beside the pipeline, copied, and put
//! back from an older copy.
//!
//! The store is open twice: in the job, and here for the story's people. Dropped, the job ends with the process.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::{self, Chosen};
use crate::config::Settings;
use crate::ops::status_registry::StatusRegistry;
use crate::orders::journey::Actor;
use crate::orders::recall::{self, Recovery};
use crate::orders::store::Store;
use crate::page::Mounts;
use crate::pipeline::End;

/// How long reading the registry may take.
const READ: Duration = Duration::from_secs(20);

/// The running order half.
struct Job {
    /// Ends it in order.
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<End>>,
}

/// See the module's documentation.
pub struct Keep {
    settings: Settings,
    /// Where the order half answers the operator page.
    mounts: Mounts,
    /// A copy of the store.
    copy: PathBuf,
    /// As the warehouse's own program would open it. Exchanged with the file; never locked across an await.
    store: Mutex<Store>,
    /// None while it is stopped.
    job: Mutex<Option<Job>>,
}

impl Keep {
    /// Makes an empty store, and starts the order half.
    ///
    /// # Errors
    /// The store cannot be made.
    pub async fn start(settings: Settings, mounts: Mounts, place: &Path) -> anyhow::Result<Self> {
        let store = Store::init(&settings.orders.store).await?;
        let keep = Self {
            copy: place.join("copy.db"),
            settings,
            mounts,
            store: Mutex::new(store),
            job: Mutex::new(None),
        };
        keep.run();
        Ok(keep)
    }

    /// The store as it is now.
    pub fn store(&self) -> Store {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.clone()
    }

    fn run(&self) {
        let (settings, stop) = (self.settings.clone(), CancellationToken::new());
        let chosen = Chosen {
            pipeline: false,
            orders: true,
        };
        let board = StatusRegistry::new(Instant::now());
        let task = tokio::spawn(app::run(
            settings,
            chosen,
            None,
            Arc::clone(&board),
            self.mounts.clone(),
            stop.clone(),
        ));
        let mut job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        *job = Some(Job { stop, task });
    }

    /// Ends the order half in order.
    ///
    /// # Errors
    /// It failed.
    pub async fn stop(&self) -> anyhow::Result<()> {
        let job = {
            let mut job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
            job.take()
        };
        let Some(job) = job else { return Ok(()) };
        job.stop.cancel();
        let ended = job.task.await.context("the order half panicked")?;
        ended.context("the order half failed").map(drop)
    }

    /// Copies the store while it is in use, as `dig-ingest orders backup` does.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn back_up(&self) -> anyhow::Result<()> {
        let place = &self.settings.orders.store;
        self.store().backup(place, &self.copy).await?;
        Ok(())
    }

    /// The store's file is lost: the copy takes its place, and the order half starts again.
    ///
    /// # Errors
    /// The order half failed before, or the copy cannot be put back.
    pub async fn restore(&self) -> anyhow::Result<()> {
        self.stop().await?;
        self.store().close().await;
        let place = &self.settings.orders.store;
        for ending in ["-wal", "-shm", "-journal"] {
            let mut name = place.file.clone().into_os_string();
            name.push(ending);
            match tokio::fs::remove_file(&name).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).context("removing what is left of the store");
                }
                _ => {}
            }
        }
        tokio::fs::copy(&self.copy, &place.file)
            .await
            .context("putting the copy back")?;
        let restored = Store::open(place).await?;
        {
            let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
            *store = restored;
        }
        self.run();
        Ok(())
    }

    /// What the registry and MyAdmin prove, as `dig-ingest orders recover` shows it; with a person's name it is accepted.
    ///
    /// # Errors
    /// They cannot be asked, or a person must settle something first.
    pub async fn recover(&self, accept: Option<&Actor>) -> anyhow::Result<Recovery> {
        let (store, config) = (self.store(), &self.settings.orders);
        let witnesses = app::witnesses(&self.settings)?;
        recall::recover(&store, &witnesses, config, accept, READ).await
    }
}
