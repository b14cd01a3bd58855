//! The registry's topic as the journey meets it, without a broker: transactions, and writers that fence each other.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dig_ingest::orders::Clock;
use dig_ingest::orders::outbox::{Entry, TooLarge};
use dig_ingest::orders::registrar::{self, Open, Pace, Registrar};
use dig_ingest::orders::store::Store;
use dig_ingest::orders::store::lease::Token;
use dig_ingest::registry::entries::{self, Entries};

/// What becomes of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Committed,
    /// The broker refuses it.
    Aborted,
    /// It is committed, and the answer is lost.
    AnswerLost,
}

/// The topic as its readers see it.
#[derive(Default)]
pub struct Topic {
    pub entries: Entries,
    /// Everything that was committed, in its order.
    pub log: Vec<Entry>,
    /// Whoever took over last writes; every other writer is refused.
    writer: u64,
    /// What becomes of the next transactions; committed when there is none left.
    pub fates: Vec<Fate>,
    /// Writes of replaced writers that were refused.
    pub refused: u64,
    /// Whether the first device that is written from now on is larger than the topic takes.
    pub picky: bool,
    /// The device that is too large.
    pub too_large: Option<String>,
}

impl Topic {
    /// Whether the topic takes a transaction for its size.
    fn fits(&mut self, entries: &[Entry]) -> bool {
        let mut devices = entries.iter().filter_map(Entry::device_id);
        if std::mem::take(&mut self.picky) {
            self.too_large = devices.clone().next().map(str::to_owned);
            self.picky = self.too_large.is_none();
        }
        devices.all(|device| Some(device) != self.too_large.as_deref())
    }

    pub fn commit(&mut self, entry: Entry) {
        self.log.push(entry.clone());
        match entry {
            Entry::Put(device, unit) => {
                let id = device.device_id.clone();
                self.entries
                    .devices
                    .insert(id, entries::Entry { device, unit });
            }
            Entry::Forget(id) => {
                self.entries.devices.remove(&id);
            }
            Entry::Mark(mark) => self.entries.mark = Some(mark),
        }
    }

    /// Devices written since the last look, without marks.
    pub fn taken(&mut self) -> Vec<Entry> {
        let mut log = std::mem::take(&mut self.log);
        log.retain(|entry| !matches!(entry, Entry::Mark(_)));
        log
    }
}

pub type Shared = Arc<Mutex<Topic>>;

/// Takes the topic over.
pub fn open(topic: &Shared) -> Open {
    let topic = Arc::clone(topic);
    Arc::new(move || {
        let topic = Arc::clone(&topic);
        Box::pin(async move {
            tokio::task::yield_now().await;
            let writer = {
                let mut topic = topic.lock().unwrap();
                topic.writer += 1;
                topic.writer
            };
            let (written, read) = (Arc::clone(&topic), topic);
            Ok(registrar::Topic {
                publish: Box::new(move |entries| {
                    let topic = Arc::clone(&written);
                    Box::pin(async move {
                        tokio::task::yield_now().await;
                        let fate = {
                            let mut topic = topic.lock().unwrap();
                            if topic.writer != writer {
                                topic.refused += 1;
                                anyhow::bail!("another writer took over");
                            }
                            if !topic.fits(&entries) {
                                let error = TooLarge("the topic takes less".to_owned());
                                return Err(error.into());
                            }
                            let fate = topic.fates.pop().unwrap_or(Fate::Committed);
                            if fate != Fate::Aborted {
                                entries.into_iter().for_each(|entry| topic.commit(entry));
                            }
                            fate
                        };
                        tokio::task::yield_now().await;
                        anyhow::ensure!(fate == Fate::Committed, "the broker went away");
                        Ok(())
                    })
                }),
                read: Box::new(move || {
                    let topic = Arc::clone(&read);
                    Box::pin(async move {
                        tokio::task::yield_now().await;
                        Ok(topic.lock().unwrap().entries.clone())
                    })
                }),
            })
        })
    })
}

/// The registrar of a holder of the lease.
pub fn registrar(store: &Store, topic: &Shared, clock: Clock, token: Token) -> Registrar {
    let pace = Pace {
        keep: Duration::from_secs(3600),
        compare_every: Duration::from_secs(300),
    };
    let sure = Arc::new(|| true);
    Registrar::new(store.clone(), open(topic), sure, pace, clock, token)
}

/// Compares, and publishes all there is.
pub async fn publish(registrar: &Registrar) -> anyhow::Result<()> {
    registrar.compare().await?;
    while registrar.publish().await? > 0 {}
    Ok(())
}
