//! The publisher: carries the outbox to the device registry's topic, in order.
//!
//! A row is marked only after the broker confirmed it; what is unmarked at start is published again, in the same order, which
//! changes nothing. A failed write is tried again for ever with growing waits: nothing may be left out, because the pipeline's gate
//! follows the topic. Dropped at any await, it repeats at worst what was confirmed and not marked.

use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::journey::registration::Registration;
use super::store::outbox::Letter;
use super::store::{Error, Store};
use crate::http::retry::Backoff;
use crate::ops::metrics::orders as metrics;
use crate::registry::Device;

/// Changes written at once at most.
const BATCH: i64 = 500;
/// How often the store is asked when nothing wakes us: a command in another process may have left something.
const LOOK: Duration = Duration::from_secs(1);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// One change of the device registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Put(Device),
    /// No unit goes by this id any more: a tombstone.
    Forget(Box<str>),
}

/// Writes changes in their order and returns once the broker has confirmed all of them. Handed in: only the registry knows Kafka.
pub type Publish = Box<dyn Fn(Vec<Entry>) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

impl From<&Registration> for Entry {
    fn from(registration: &Registration) -> Self {
        match &registration.serial {
            None => Self::Forget(registration.device_id.clone()),
            Some(serial) => Self::Put(Device {
                device_id: registration.device_id.clone(),
                serial: Some(serial.as_str().into()),
                state: registration.state,
                order: registration.order.clone(),
                since: registration.since,
            }),
        }
    }
}

/// Publishes what is there now; how many changes that were.
///
/// # Errors
/// The store or the broker failed; what was not marked is published again.
pub async fn publish_all(
    store: &Store,
    publish: &Publish,
    keep: Duration,
    now: impl Fn() -> Timestamp,
) -> anyhow::Result<usize> {
    let mut published = 0;
    loop {
        let letters = store.unpublished(BATCH).await?;
        let Some(last) = letters.last() else {
            return Ok(published);
        };
        let entries = letters
            .iter()
            .map(|letter: &Letter| Entry::from(&letter.device));
        publish(entries.collect()).await?;
        let at = now();
        let keep = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
        let forget = at.saturating_sub(keep).unwrap_or(Timestamp::MIN);
        store.mark_published(last.seq, at, forget).await?;
        published += letters.len();
        metrics::count_published(letters.len());
    }
}

/// Publishes whenever something is left in the outbox, until dropped. `permitted` is asked before every write: a holder whose lease
/// may be over must not write, or an old state could overtake a new one.
///
/// # Errors
/// Never by itself; a type for callers that race it.
pub async fn run<P, F>(
    store: &Store,
    publish: &Publish,
    keep: Duration,
    permitted: P,
    now: impl Fn() -> Timestamp + Copy,
) -> Result<(), Error>
where
    P: Fn() -> F,
    F: Future<Output = bool>,
{
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut dice = StdRng::from_os_rng();
    loop {
        if permitted().await {
            match publish_all(store, publish, keep, now).await {
                Ok(_) => {
                    backoff.reset();
                    metrics::set_outbox(0);
                }
                Err(error) => {
                    if let Ok(waiting) = store.unpublished_count().await {
                        metrics::set_outbox(waiting);
                    }
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "the device registry could not be written; tried again"
                    );
                    tokio::time::sleep(backoff.next(&mut dice)).await;
                    continue;
                }
            }
        }
        let _ = tokio::time::timeout(LOOK, store.outbox_filled()).await;
    }
}
