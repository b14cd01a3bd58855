//! What becomes of the store and the topic: lost, put back from an older copy, written by hand; and the person who recovers.

use std::collections::BTreeSet;
use std::path::Path;

use dig_ingest::orders::journey::{Actor, Serial, Tags};
use dig_ingest::orders::outbox::Entry;
use dig_ingest::orders::recovery::{self, Known};
use dig_ingest::orders::registrar;
use dig_ingest::orders::store::identity::Proof;
use dig_ingest::orders::store::intents::Outcome;
use dig_ingest::orders::store::listed_devices::SeenRow;
use dig_ingest::orders::store::{Error, Store};
use dig_ingest::registry::State;
use jiff::Timestamp;
use rand::Rng as _;

use super::Run;

/// How often each happened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    lost: u64,
    put_back: u64,
    topic_lost: u64,
    by_hand: u64,
}

impl Count {
    pub fn all(self) -> [u64; 4] {
        [self.lost, self.put_back, self.topic_lost, self.by_hand]
    }

    /// Those after which the store does not know everything that happened.
    pub fn of_store(self) -> u64 {
        self.lost + self.put_back
    }
}

fn remove(file: &Path) {
    for ending in ["", "-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(ending);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }
}

impl Run {
    /// Whether the topic tells of all that the store provisioned: losing the store before that would lose what nobody else knows.
    async fn is_published(&self) -> bool {
        let identity = self.store.identity().await.unwrap();
        let topic = self.topic.lock().unwrap();
        topic
            .entries
            .mark
            .as_ref()
            .is_some_and(|mark| *mark.store == *identity.id)
    }

    pub async fn disaster(&mut self) {
        match self.dice.random_range(0..40) {
            0 if self.is_published().await => {
                self.store.close().await;
                remove(&self.place.file);
                self.put(Store::init(&self.place).await.unwrap());
                self.disasters.lost += 1;
            }
            1 if !self.copies.is_empty() && self.is_published().await => {
                let copy = self.copies[self.dice.random_range(0..self.copies.len())].clone();
                self.store.close().await;
                remove(&self.place.file);
                std::fs::copy(copy, &self.place.file).unwrap();
                self.put(Store::open(&self.place).await.unwrap());
                self.disasters.put_back += 1;
            }
            // Two losses at once are a person's to sort out from MyAdmin alone.
            2 if self.is_proven() => {
                self.topic.lock().unwrap().entries = Default::default();
                self.disasters.topic_lost += 1;
                // Compared before anything else happens, as it is every few minutes.
                self.compare().await;
            }
            3 if self.is_proven() => self.write_by_hand().await,
            4..=7 => {
                let file = self
                    .directory
                    .path()
                    .join(format!("copy-{}", self.copies.len()));
                self.store.backup(&self.place, &file).await.unwrap();
                self.copies.push(file);
            }
            8..=14 => self.recover().await,
            _ => {}
        }
    }

    fn is_proven(&self) -> bool {
        let live = self.live.as_ref();
        live.is_some_and(|live| live.registrar.standing() == Proof::Proven)
    }

    async fn compare(&self) {
        let live = self.live.as_ref().expect("it is proven");
        // Fenced by one that lost the lease, it takes the topic over again.
        let proof = match live.registrar.compare().await {
            Ok(proof) => proof,
            Err(_) => live.registrar.compare().await.unwrap(),
        };
        assert_eq!(proof, Proof::Proven, "seed {}", self.seed);
    }

    /// Another store is opened: whoever used the one before has ended.
    fn put(&mut self, store: Store) {
        self.store = store;
        self.live = None;
        self.zombie = None;
    }

    /// Somebody changes a device, or makes it unknown.
    async fn write_by_hand(&mut self) {
        let entry = {
            let topic = self.topic.lock().unwrap();
            let entries: Vec<_> = topic.entries.devices.values().cloned().collect();
            drop(topic);
            if entries.is_empty() {
                return;
            }
            entries[self.dice.random_range(0..entries.len())].clone()
        };
        let written = match self.dice.random_range(0..3) {
            0 => Entry::Forget(entry.device.device_id),
            n => {
                let mut device = entry.device;
                device.state = if n == 1 {
                    State::Pending
                } else {
                    State::Terminated
                };
                Entry::Put(device, entry.unit)
            }
        };
        self.topic.lock().unwrap().commit(written);
        self.disasters.by_hand += 1;
        // What a hand terminates is not terminated by the journey.
        self.compare().await;
    }

    /// A person gives units the serials that the labels of their devices show. False while one of them is not taken in yet.
    async fn give_labelled(&self) -> bool {
        let own = registrar::own(&self.store).await.unwrap();
        let registered: BTreeSet<String> = {
            let topic = self.topic.lock().unwrap();
            let devices = topic.entries.devices.values();
            devices
                .filter_map(|entry| entry.device.serial.as_ref().map(ToString::to_string))
                .collect()
        };
        let mut all = true;
        for serial in self.world.made_for_us() {
            let serial = Serial::parse(&serial).unwrap();
            let Some(unit) = self.world.unit_labelled(serial.as_str()) else {
                continue;
            };
            // What the registry has of it is adopted.
            if own.serials.contains(&serial) || registered.contains(serial.as_str()) {
                continue;
            }
            let (none, ann) = (Tags::default(), Actor::Person("ann".into()));
            match self.store.unit(&unit).await.unwrap() {
                // A unit that nobody takes in any more: its order is closed, or it replaced another one.
                None => {
                    let order = unit.split('.').next().unwrap_or(&unit);
                    all &= self.store.order(order).await.unwrap().is_some();
                }
                Some(_) => {
                    let now = self.world.now();
                    let given = self
                        .store
                        .assign(&unit, Some(&serial), &none, &ann, now)
                        .await;
                    // The store refuses it where the unit has ended, or a call for it is open.
                    if let Err(error) = given {
                        assert!(matches!(error, Error::Refused(_)), "{error}");
                    }
                }
            }
        }
        all
    }

    /// A person looks at what is known, and accepts it.
    pub async fn recover(&mut self) {
        if !self.give_labelled().await {
            return;
        }
        let entries = self.topic.lock().unwrap().entries.clone();
        let wholes = self.store.open_orders(Timestamp::MIN).await.unwrap();
        let own = registrar::own(&self.store).await.unwrap();
        let now = self.world.now();
        let unclaimed = self
            .world
            .listed()
            .into_iter()
            .filter_map(|(serial, product_code)| {
                let serial = Serial::parse(&serial).unwrap();
                (!own.serials.contains(&serial)).then(|| SeenRow {
                    serial,
                    product_code,
                    owner_database: String::new(),
                    first_seen: now,
                    last_seen: now,
                })
            })
            .collect();
        let known = Known {
            own,
            entries,
            wholes,
            unclaimed,
            accepted: self.store.accepted_serials().await.unwrap(),
            intents: self.store.intents_in_doubt().await.unwrap(),
        };
        let plan = recovery::plan(&known, &self.config);
        assert_eq!(plan.open, [""; 0], "seed {}: {plan:#?}", self.seed);
        // A serial of a call in doubt is not accepted as a stranger's: the person who retries the unit gives it.
        if plan.doubt.is_none() && self.is_in_doubt().await {
            return;
        }
        if !plan.is_empty() {
            let ann = Actor::Person("ann".into());
            self.store.recover(&plan, &ann, now).await.unwrap();
        }
    }

    async fn is_in_doubt(&self) -> bool {
        let intents = self.store.intents().await.unwrap();
        let open = |outcome| matches!(outcome, Outcome::Open | Outcome::Unresolved);
        intents.iter().any(|intent| open(intent.outcome))
    }
}
