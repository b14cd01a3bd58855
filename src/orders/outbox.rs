//! The publisher: carries the outbox to the device registry's topic, in order.
//!
//! A row is marked only after the broker confirmed it; what is unmarked at start is published again, in the same order, which
//! changes nothing. A failed write is tried again for ever with growing waits: nothing may be left out, because the pipeline's gate
//! follows the topic. Dropped at any await, it repeats at worst what was confirmed and not marked.

use std::collections::HashSet;
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

/// Of each device its last change only, in the order of these. What was written before may be written again behind a part of it that
/// was written already: with the last changes alone no device can then be called active after it was called terminated.
fn newest(letters: &[Letter]) -> Vec<Entry> {
    let mut seen = HashSet::new();
    let mut entries: Vec<Entry> = letters
        .iter()
        .rev()
        .filter(|letter| seen.insert(&*letter.device.device_id))
        .map(|letter| Entry::from(&letter.device))
        .collect();
    entries.reverse();
    entries
}

/// Publishes the oldest changes that are there now; how many these were. `permitted` is asked when they have been read, as close to
/// the write as can be.
async fn publish_some<F: Future<Output = bool>>(
    store: &Store,
    publish: &Publish,
    keep: Duration,
    permitted: impl Fn() -> F,
    now: impl Fn() -> Timestamp,
) -> anyhow::Result<usize> {
    let letters = store.unpublished(BATCH).await?;
    let Some(last) = letters.last() else {
        metrics::set_outbox(0);
        return Ok(0);
    };
    if !permitted().await {
        return Ok(0);
    }
    publish(newest(&letters)).await?;
    let at = now();
    let keep = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
    let forget = at.saturating_sub(keep).unwrap_or(Timestamp::MIN);
    store.mark_published(last.seq, at, forget).await?;
    metrics::count_published(letters.len());
    Ok(letters.len())
}

/// Publishes what is there now; how many changes that were.
///
/// # Errors
/// The store or the broker failed; what was not marked is published again.
pub async fn publish_all(
    store: &Store,
    publish: &Publish,
    keep: Duration,
    now: impl Fn() -> Timestamp + Copy,
) -> anyhow::Result<usize> {
    let mut published = 0;
    loop {
        match publish_some(store, publish, keep, || std::future::ready(true), now).await? {
            0 => return Ok(published),
            some => published += some,
        }
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
        match publish_some(store, publish, keep, &permitted, now).await {
            Ok(0) => backoff.reset(),
            // Asked again whether it is permitted: the next ones may take as long.
            Ok(_) => continue,
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
        let _ = tokio::time::timeout(LOOK, store.outbox_filled()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::journey::Serial;
    use crate::registry::State;

    fn letter(seq: i64, device_id: &str, serial: Option<&str>, state: State) -> Letter {
        let serial = serial.map(|text| Serial::parse(text).unwrap());
        let device = Registration {
            device_id: device_id.into(),
            serial,
            state,
            order: None,
            since: None,
        };
        Letter { seq, device }
    }

    #[test]
    fn of_each_device_only_the_last_change_is_written_in_its_place() {
        let serial = Some("CXBBE850E8BE");
        let letters = [
            letter(1, "a", serial, State::Pending),
            letter(2, "b", Some("CX0000000002"), State::Active),
            letter(3, "a", serial, State::Active),
            letter(4, "c", None, State::Terminated),
            letter(5, "b", Some("CX0000000002"), State::Terminated),
        ];
        let written: Vec<_> = newest(&letters)
            .into_iter()
            .map(|entry| match entry {
                Entry::Put(device) => (device.device_id.to_string(), Some(device.state)),
                Entry::Forget(id) => (id.to_string(), None),
            })
            .collect();
        let expected = [
            ("a", Some(State::Active)),
            ("c", None),
            ("b", Some(State::Terminated)),
        ];
        assert_eq!(written, expected.map(|(id, state)| (id.to_owned(), state)));
        assert_eq!(newest(&[]), []);
    }
}
