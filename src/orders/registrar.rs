//! The registrar: the one writer of the device registry's topic for the holder of the lease, and its comparison with the store.
//!
//! Owns the topic's writer for one holding of the lease. To open it fences the writer of the holder before (G2).
//!
//! * P3: provisioning is permitted only after the store was compared with the registry under this lease and was proven. Every
//!   provisioning intent's generation is published before its call leaves ([`Registrar::witness`]).
//! * G2: store and topic are compared when the lease is taken, every `orders.compare_every_s` and after every failure; what differs
//!   is written again, counted and alarmed.
//! * While the store is not proven only terminations are published.
//! * A row of the outbox is marked only after the broker committed it. A failed write is tried again for ever, with growing waits,
//!   by a new writer that begins with a comparison.
//! * D1: a change that the topic does not take for its size keeps no other one back. It stays in the outbox, has an alarm
//!   ([`TOO_LARGE`]), and is tried again with every comparison.
//!
//! No queue but the outbox, a table of the store. Dropped at any await, it repeats at worst what was committed and not marked.

mod sized;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::Clock;
use super::journey::Actor;
use super::outbox::{Entry, TooLarge, newest};
use super::proof::{self, Doubt, Own};
use super::store::identity::Proof;
use super::store::lease::Token;
use super::store::outbox::OutboxMessage;
use super::store::{Error, Store};
use crate::http::retry::Backoff;
use crate::ops::metrics::orders as metrics;
use crate::registry::entries::Entries;
use crate::registry::mark::Mark;

/// Changes written at once at most.
const BATCH: i64 = 500;
/// How often the store is asked when nothing wakes us: a command in another process may have left something.
const LOOK: Duration = Duration::from_secs(1);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The kind of the alarm for a store that is not proven.
pub const NOT_PROVEN: &str = "store-not-proven";
/// The kind of the alarm for a registry that was not as the store had written it.
pub const DIFFERS: &str = "registry-differs";
/// The kind of the alarm for a change that is larger than the topic takes; its subject is the device.
pub const TOO_LARGE: &str = "registry-too-large";
/// The subject of alarms about the whole registry.
pub const SUBJECT: &str = "registry";

/// Writes messages in their order, in one transaction, and returns once the broker has committed it. Handed in: only the registry
/// knows Kafka.
pub type Publish = Box<dyn Fn(Vec<Entry>) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;
/// Reads the topic to its end.
pub type Read = Box<dyn Fn() -> BoxFuture<'static, anyhow::Result<Entries>> + Send + Sync>;
/// Takes the topic over: from then on the writer before this one writes nothing.
pub type Open = Arc<dyn Fn() -> BoxFuture<'static, anyhow::Result<Topic>> + Send + Sync>;
/// Whether the lease is ours for long enough to write.
pub type Permitted = Arc<dyn Fn() -> bool + Send + Sync>;

/// The registry's topic, taken over.
pub struct Topic {
    /// Writes one transaction with the producer of this take-over.
    pub publish: Publish,
    /// Reads the topic with a client of its own.
    pub read: Read,
}

/// How it goes about.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Published changes are kept in the outbox for so long.
    pub keep: Duration,
    /// Between two comparisons.
    pub compare_every: Duration,
}

/// See the module's documentation.
pub struct Registrar {
    /// The orders store, with the outbox.
    store: Store,
    /// Takes the topic over; fences the writer of an earlier holder of the lease.
    open: Open,
    /// Whether the lease is ours for long enough to write; asked before every publication.
    permitted: Permitted,
    /// How often store and topic are compared, and how long published changes are kept.
    pace: Pace,
    /// The wall clock, for the rows of the store.
    clock: Clock,
    /// Token of the lease, under which every change of the store is made.
    token: Token,
    /// The writer of the topic and what was published. Held over awaits: the topic is read, compared and written by one task at
    /// a time, or a difference would be seen that is just being written.
    desk: Mutex<Desk>,
    /// The result of the last comparison under this lease; the reconciler reads it before it provisions.
    standing: watch::Sender<Proof>,
}

/// The state of the writer.
#[derive(Default)]
struct Desk {
    /// The topic's writer and reader; `None` before it is taken over and after a failure, and then a comparison follows.
    topic: Option<Topic>,
    /// Newest generation that the broker has confirmed.
    published: i64,
    /// Rows in the outbox at the last comparison.
    waiting: i64,
    /// Changes that are too large for the topic.
    oversized: Oversized,
}

/// Changes that are too large for the topic (D1).
#[derive(Default)]
struct Oversized {
    /// Devices whose change was refused since the last comparison: not tried again before the next one.
    refused: HashSet<Box<str>>,
    /// Subjects of the alarms [`TOO_LARGE`] that have not ended.
    alarmed: HashSet<String>,
}

impl Registrar {
    pub fn new(
        store: Store,
        open: Open,
        permitted: Permitted,
        pace: Pace,
        clock: Clock,
        token: Token,
    ) -> Self {
        metrics::set_proven(false);
        Self {
            store,
            open,
            permitted,
            pace,
            clock,
            token,
            desk: Mutex::default(),
            standing: watch::Sender::new(Proof::Unchecked),
        }
    }

    /// The result of the last comparison under this lease.
    #[must_use]
    pub fn standing(&self) -> Proof {
        *self.standing.borrow()
    }

    fn stand(&self, proof: Proof) {
        metrics::set_proven(proof == Proof::Proven);
        self.standing.send_replace(proof);
    }

    /// Compares store and topic, and writes again what differs.
    ///
    /// # Errors
    /// The store or the broker failed, or the lease is not sure: nothing is provisioned until a comparison succeeds.
    pub async fn compare(&self) -> anyhow::Result<Proof> {
        let mut desk = self.desk.lock().await;
        let result = self.compared(&mut desk).await;
        if result.is_err() {
            desk.topic = None;
            self.stand(Proof::Unchecked);
        }
        result
    }

    async fn compared(&self, desk: &mut Desk) -> anyhow::Result<Proof> {
        anyhow::ensure!((self.permitted)(), "the lease is not sure");
        let Desk {
            topic,
            published,
            waiting,
            oversized,
        } = desk;
        let topic = match topic {
            Some(topic) => topic,
            None => topic.insert((self.open)().await?),
        };
        *oversized = self.oversized().await?;
        let entries = (topic.read)().await?;
        let mut own = self.own().await?;
        let proof = match proof::judge(&own, &entries) {
            Some(doubt) => {
                self.tell(&doubt).await?;
                let ended = proof::terminations(&own, &entries);
                self.write(topic, ended, oversized).await?;
                Proof::Unproven
            }
            None => {
                if self.learn_ends(&own, &entries).await? | self.register_missing().await? {
                    own = self.own().await?;
                }
                let mark = self.heal(topic, &own, &entries, oversized).await?;
                if let Some(mark) = mark {
                    *published = mark.generation;
                    self.store.confirmed(mark.generation).await?;
                }
                let mut change = self.change().await?;
                change.put_proof(Proof::Proven, "").await?;
                change.clear_alarm(NOT_PROVEN, SUBJECT).await?;
                change.commit().await?;
                Proof::Proven
            }
        };
        *waiting = self.store.unpublished_count().await?;
        if proof == Proof::Proven && self.standing() != proof {
            // What waited for it goes on at once.
            self.store.hint();
        }
        self.stand(proof);
        Ok(proof)
    }

    async fn change(&self) -> Result<super::store::change::Change, Error> {
        let now = (self.clock)();
        self.store
            .change(Actor::Reconciler, Some(self.token), now)
            .await
    }

    /// The topic was read before: what changed since then waits in the outbox.
    async fn own(&self) -> Result<Own, Error> {
        own(&self.store).await
    }

    async fn tell(&self, doubt: &Doubt) -> Result<(), Error> {
        let why = doubt.to_string();
        let mut change = self.change().await?;
        if change.put_proof(Proof::Unproven, &why).await? {
            let said = format!(
                "nothing is provisioned: {why}; `dig-ingest orders recover` shows what is known, and with --accept --by NAME it goes on"
            );
            change.alarm(NOT_PROVEN, SUBJECT, &said, None).await?;
            metrics::count_alarm(NOT_PROVEN);
            tracing::error!("{said}");
        }
        change.commit().await
    }

    /// Takes terminations that an older version's command wrote over into the store. True if there was any.
    async fn learn_ends(&self, own: &Own, entries: &Entries) -> Result<bool, Error> {
        let ended = proof::ended_before(own, entries);
        for (serial, device_id) in &ended {
            let evidence = json!({ "device_id": device_id });
            let why = "the registry called it terminated before this store had published anything";
            let now = (self.clock)();
            self.store
                .terminate(serial, why, &evidence, &Actor::Reconciler, now)
                .await?;
            tracing::warn!(%serial, %device_id, "{why}");
        }
        Ok(!ended.is_empty())
    }

    /// Gives units with a serial their entries back that another device's key had overwritten. True if there were any.
    async fn register_missing(&self) -> Result<bool, Error> {
        let mut change = self.change().await?;
        let missing = change.register_missing().await?;
        change.commit().await?;
        if let Some(example) = missing.first() {
            tracing::warn!(
                units = missing.len(),
                example,
                "units had no entry in the device registry because another device had their key; their entries are written again"
            );
        }
        Ok(!missing.is_empty())
    }

    /// Writes the entries that differ, and the store's mark if the topic has none of it. The mark that was published, if one was.
    async fn heal(
        &self,
        topic: &Topic,
        own: &Own,
        entries: &Entries,
        oversized: &mut Oversized,
    ) -> anyhow::Result<Option<Mark>> {
        let mut found = proof::differences(own, entries);
        // These have an alarm of their own.
        found
            .differing
            .retain(|id| !oversized.alarmed.contains(&**id));
        let marked = entries
            .mark
            .as_ref()
            .is_some_and(|mark| *mark.store == *own.identity.id);
        if found.write.is_empty() && marked {
            return Ok(None);
        }
        let mut change = self.change().await?;
        if !found.differing.is_empty() {
            let count = found.differing.len();
            let said = format!(
                "{count} devices of the registry were not as the store has them, such as {}, and were written again; find out who \
                 else writes the topic or deleted it, then clear this alarm",
                found.examples()
            );
            let evidence = json!({ "devices": &found.differing[..count.min(100)] });
            change
                .alarm(DIFFERS, SUBJECT, &said, Some(&evidence))
                .await?;
            metrics::count_differences(count);
            metrics::count_alarm(DIFFERS);
            tracing::error!("{said}");
        }
        change.issue_generation().await?;
        let mark = change.newest_mark().await?;
        change.commit().await?;
        let mut entries = vec![Entry::Mark(mark.clone())];
        entries.extend(found.write);
        self.write(topic, entries, oversized).await?;
        Ok(Some(mark))
    }

    /// The alarms for changes that are too large; every such change is tried again.
    async fn oversized(&self) -> Result<Oversized, Error> {
        let raised = self.store.raised_alarms().await?.into_keys();
        let alarmed = raised.filter_map(|(kind, subject)| (kind == TOO_LARGE).then_some(subject));
        Ok(Oversized {
            refused: HashSet::new(),
            alarmed: alarmed.collect(),
        })
    }

    /// Writes entries in their order. Those that the topic does not take for their size get an alarm, and those that it takes now lose
    /// theirs.
    async fn write(
        &self,
        topic: &Topic,
        entries: Vec<Entry>,
        oversized: &mut Oversized,
    ) -> anyhow::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let subject = |entry: &Entry| entry.device_id().unwrap_or(SUBJECT).to_owned();
        let mut over: HashSet<String> = entries.iter().map(subject).collect();
        over.retain(|subject| oversized.alarmed.contains(subject));
        let refused = sized::write(topic, &self.permitted, entries).await?;
        for one in &refused {
            over.remove(&*one.device_id);
        }
        if over.is_empty() && refused.is_empty() {
            return Ok(());
        }
        let mut change = self.change().await?;
        for subject in &over {
            change.end_alarm(TOO_LARGE, subject).await?;
        }
        for sized::Refused { device_id, said } in &refused {
            let said = format!(
                "the change of device {device_id} is not in the registry, and its records do not follow it: {said}; it is tried again by \
                 itself"
            );
            change.alarm(TOO_LARGE, device_id, &said, None).await?;
            metrics::count_alarm(TOO_LARGE);
            tracing::error!("{said}");
        }
        change.commit().await?;
        for subject in over {
            oversized.alarmed.remove(&subject);
        }
        for sized::Refused { device_id, .. } in refused {
            oversized.alarmed.insert(device_id.to_string());
            oversized.refused.insert(device_id);
        }
        Ok(())
    }

    /// The oldest changes that are not published and may be tried.
    async fn next(&self, refused: &HashSet<Box<str>>) -> Result<Vec<OutboxMessage>, Error> {
        let mut after = i64::MIN;
        loop {
            let mut letters = self.store.unpublished(after, BATCH).await?;
            let Some(last) = letters.last() else {
                return Ok(letters);
            };
            after = last.seq;
            letters.retain(|letter| !refused.contains(&letter.device.device_id));
            if !letters.is_empty() {
                return Ok(letters);
            }
        }
    }

    /// Publishes the oldest changes that are there now; how many these were. None while the store is not proven.
    ///
    /// # Errors
    /// The store or the broker failed; what was not marked is published again.
    pub async fn publish(&self) -> anyhow::Result<usize> {
        let mut desk = self.desk.lock().await;
        let result = self.published(&mut desk).await;
        if result.is_err() {
            desk.topic = None;
            self.stand(Proof::Unchecked);
        }
        result
    }

    async fn published(&self, desk: &mut Desk) -> anyhow::Result<usize> {
        let Desk {
            topic,
            published,
            oversized,
            ..
        } = desk;
        let Some(topic) = topic.as_ref().filter(|_| self.standing() == Proof::Proven) else {
            return Ok(0);
        };
        let mut letters = self.next(&oversized.refused).await?;
        let Some(last) = letters.last().map(|letter| letter.seq) else {
            let waiting = match oversized.refused.is_empty() {
                true => 0,
                false => self.store.unpublished_count().await?,
            };
            metrics::set_outbox(waiting);
            return Ok(0);
        };
        let mut change = self.change().await?;
        change.issue_generation().await?;
        let mark = change.newest_mark().await?;
        change.commit().await?;
        if !(self.permitted)() {
            return Ok(0);
        }
        let generation = mark.generation;
        let mut entries = vec![Entry::Mark(mark)];
        entries.extend(newest(&letters));
        self.write(topic, entries, oversized).await?;
        *published = generation;
        let at = (self.clock)();
        let keep = SignedDuration::try_from(self.pace.keep).unwrap_or(SignedDuration::MAX);
        let forget = at.saturating_sub(keep).unwrap_or(jiff::Timestamp::MIN);
        if oversized.refused.is_empty() {
            self.store.mark_published(last, at, forget).await?;
        } else {
            letters.retain(|letter| !oversized.refused.contains(&letter.device.device_id));
            let seqs: Vec<i64> = letters.iter().map(|letter| letter.seq).collect();
            self.store.mark_each_published(&seqs, at).await?;
        }
        self.store.confirmed(generation).await?;
        metrics::count_published(letters.len());
        Ok(letters.len())
    }

    /// Publishes the newest generation, if the topic does not have it yet: before a provisioning call leaves, so that an older copy of
    /// the store learns of it whatever becomes of this one (P3).
    ///
    /// # Errors
    /// The store is not proven, or it cannot be published: the call must not be made.
    pub async fn witness(&self) -> anyhow::Result<()> {
        let mut desk = self.desk.lock().await;
        let result = self.witnessed(&mut desk).await;
        if result.is_err() && self.standing() == Proof::Proven {
            desk.topic = None;
            self.stand(Proof::Unchecked);
        }
        result
    }

    async fn witnessed(&self, desk: &mut Desk) -> anyhow::Result<()> {
        let topic = desk
            .topic
            .as_ref()
            .filter(|_| self.standing() == Proof::Proven);
        let topic = topic.ok_or_else(|| anyhow::anyhow!("the store is not proven"))?;
        let mut change = self.change().await?;
        let mark = change.newest_mark().await?;
        change.commit().await?;
        if desk.published >= mark.generation {
            return Ok(());
        }
        anyhow::ensure!((self.permitted)(), "the lease is not sure");
        let generation = mark.generation;
        (topic.publish)(vec![Entry::Mark(mark)]).await?;
        desk.published = generation;
        self.store.confirmed(generation).await?;
        Ok(())
    }

    /// Compares and publishes whenever there is something to do, until the lease is lost.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] or a store that holds what cannot be: that is how it ends.
    pub async fn run(&self) -> Error {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut dice = StdRng::from_os_rng();
        let mut next = Instant::now();
        loop {
            let result = match self.is_due(next).await {
                Ok(true) => self.compare().await.map(|_| {
                    next = Instant::now() + self.pace.compare_every;
                    1
                }),
                Ok(false) => self.publish().await,
                Err(error) => Err(error.into()),
            };
            match result {
                Ok(0) => backoff.reset(),
                // Asked again whether it is permitted: the next ones may take as long.
                Ok(_) => continue,
                Err(error) => {
                    self.note_failure(&error).await;
                    match error.downcast::<Error>() {
                        Ok(error @ (Error::LeaseLost | Error::Corrupt { .. })) => return error,
                        Ok(error) => {
                            tracing::warn!(%error, "the comparison of store and device registry failed; retrying");
                        }
                        Err(error) => tracing::warn!(
                            error = format!("{error:#}"),
                            "the comparison of store and device registry failed; retrying"
                        ),
                    }
                    if let Ok(waiting) = self.store.unpublished_count().await {
                        metrics::set_outbox(waiting);
                    }
                    tokio::time::sleep(backoff.next(&mut dice)).await;
                    continue;
                }
            }
            let _ = tokio::time::timeout(LOOK, self.store.outbox_filled()).await;
        }
    }

    /// A store that was proven is not while nobody can compare it: shown to people with the reason.
    async fn note_failure(&self, error: &anyhow::Error) {
        let note = async {
            if let Some(TooLarge(said)) = error.downcast_ref() {
                let mut change = self.change().await?;
                let said = format!(
                    "nothing of the registry can be written, and nothing is provisioned: {said}"
                );
                if change.alarm(TOO_LARGE, SUBJECT, &said, None).await? {
                    metrics::count_alarm(TOO_LARGE);
                }
                change.commit().await?;
            }
            if self.store.identity().await?.proof == Proof::Proven {
                let mut change = self.change().await?;
                let why = format!("it cannot be compared with the registry: {error:#}");
                change.put_proof(Proof::Unchecked, &why).await?;
                change.commit().await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = note.await {
            tracing::debug!(%error, "that the registry cannot be compared is not in the store");
        }
    }

    /// Whether the next thing to do is a comparison.
    async fn is_due(&self, next: Instant) -> Result<bool, Error> {
        if Instant::now() >= next {
            return Ok(true);
        }
        match self.standing() {
            Proof::Proven => Ok(false),
            Proof::Unchecked | Proof::Accepted => Ok(true),
            // A person accepted, or a device was terminated meanwhile.
            Proof::Unproven => {
                let accepted = self.store.identity().await?.proof == Proof::Accepted;
                let waiting = self.store.unpublished_count().await?;
                metrics::set_outbox(waiting);
                Ok(accepted || waiting != self.desk.lock().await.waiting)
            }
        }
    }
}

/// The store's identity. The topic must have been read before.
///
/// # Errors
/// The store cannot be read.
pub async fn own(store: &Store) -> Result<Own, Error> {
    // In this order: a change between the two is in the second.
    let devices = store.registered().await?;
    Ok(Own {
        devices,
        waiting: store.unpublished_ids().await?,
        serials: store.serials().await?,
        nonces: store.nonces().await?,
        identity: store.identity().await?,
    })
}
