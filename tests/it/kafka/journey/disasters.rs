//! What becomes of the store, the registry's topic and the leader, beside kills: the store is lost, or put back from an older copy, and a
//! person recovers it; the topic is deleted; a leader sleeps beyond its lease and still has something to write.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use dig_ingest::orders::journey::{Serial, Tags};
use dig_ingest::orders::registrar;
use dig_ingest::orders::store::identity::Proof;
use dig_ingest::orders::store::{Config, Store};
use dig_ingest::registry::entries::Entries;
use dig_ingest::registry::topic;
use rand::Rng as _;
use rdkafka::ClientConfig;
use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};

use super::people::{ann, told};
use super::{Journey, PARTS};
use crate::support::wait_until;

/// Copies of the store that are kept.
const COPIES: usize = 4;
/// The instances that hold the store.
const ORDERS: [usize; 2] = [0, 2];

/// What happens at a random moment of a journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Kill,
    StoreLost,
    StoreRestored,
    TopicLost,
    LateWrites,
}

impl Event {
    /// Those that are no kill of one instance.
    pub const DISASTERS: [Self; 4] = [
        Self::StoreLost,
        Self::StoreRestored,
        Self::TopicLost,
        Self::LateWrites,
    ];
}

/// How often each happened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    pub store_lost: u64,
    pub store_restored: u64,
    pub topic_lost: u64,
    pub late_writes: u64,
    pub recovered: u64,
}

impl Journey<'_> {
    fn place(&self) -> Config {
        Config {
            file: self.world.path("orders.db"),
            ..Config::default()
        }
    }

    fn proof(&self) -> Proof {
        let identity = self.runtime.block_on(self.store.identity());
        identity.expect("the store").proof
    }

    /// The topic as its readers see it; none while it is away.
    pub(super) fn topic(&self) -> Option<Entries> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", self.world.broker.address());
        let name = format!("{}.devices", self.world.topic);
        topic::entries(&client, &name, Duration::from_secs(30)).ok()
    }

    /// Whether the store is proven, and the topic has been told of it: nothing is known that only the store knows for long.
    fn is_published(&self) -> bool {
        let identity = self.runtime.block_on(self.store.identity());
        let identity = identity.expect("the store");
        let mark = self.topic().and_then(|entries| entries.mark);
        identity.proof == Proof::Proven
            && mark.is_some_and(|mark| {
                *mark.store == *identity.id && mark.generation <= identity.generation
            })
    }

    pub(super) fn happen(&mut self, event: Event) {
        if event != Event::Kill {
            self.until("the store is proven and published", |journey, _| {
                journey.is_published()
            });
            eprintln!("{event:?}");
        }
        match event {
            Event::Kill => {}
            Event::StoreLost => self.lose(None),
            Event::StoreRestored => {
                let copy = self.copies[self.dice.random_range(0..self.copies.len())].clone();
                self.lose(Some(copy));
            }
            Event::TopicLost => {
                let name = format!("{}.devices", self.world.topic);
                self.world.broker.delete(&name);
                self.disasters.topic_lost += 1;
                self.until("the topic is written again", |journey, _| {
                    journey.is_published()
                });
            }
            Event::LateWrites => self.outlast_lease(),
        }
    }

    /// A copy while everything runs, as a timer makes it.
    pub(super) fn copy(&mut self) {
        if self.proof() != Proof::Proven {
            return;
        }
        self.copied += 1;
        let file = self.world.path(&format!("copy-{}.db", self.copied));
        let copied = self
            .runtime
            .block_on(self.store.backup(&self.place(), &file));
        copied.expect("a copy");
        self.copies.push(file);
        if self.copies.len() > COPIES {
            let old = self.copies.remove(0);
            fs::remove_file(old).expect("a copy of ours");
        }
    }

    /// The orders instances are killed, their store is gone; an empty one or an older copy takes its place, and a person recovers it.
    fn lose(&mut self, copy: Option<PathBuf>) {
        for place in ORDERS {
            self.fell(place);
        }
        // What happened since people last looked is in no other place.
        self.runtime.block_on(self.people.look(&self.store));
        self.runtime.block_on(self.store.close());
        let place = self.place();
        for ending in ["", "-wal", "-shm", "-journal"] {
            let file = format!("{}{ending}", place.file.display());
            match fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
                _ => {}
            }
        }
        let opened = match copy {
            None => {
                self.disasters.store_lost += 1;
                self.runtime.block_on(Store::init(&place))
            }
            Some(copy) => {
                self.disasters.store_restored += 1;
                fs::copy(copy, &place.file).expect("the copy is put back");
                self.runtime.block_on(Store::open(&place))
            }
        };
        self.store = opened.expect("a store");
        for place in ORDERS {
            self.running[place] = self.start(place);
        }
        self.until("the store is recovered", |journey, _| {
            journey.is_published() || {
                journey.recover();
                false
            }
        });
    }

    /// A person looks at the labels of the devices, then accepts what registry and MyAdmin show.
    fn recover(&mut self) {
        let Some(entries) = self.topic() else { return };
        if self.proof() == Proof::Accepted || !self.all_taken_in() {
            return;
        }
        self.give_labelled(&entries);
        let settings = self.world.settings_file("recover", &[]);
        let args = [
            "orders", "recover", "--accept", "--by", "ann", "--report", "json", "--config",
        ];
        let mut args: Vec<String> = args.map(str::to_owned).into();
        args.push(settings.display().to_string());
        let mut command = self.world.command("recover", &args);
        if !command.ended().success() {
            // MyAdmin may go wrong for a person too, and a question may be answered by the next look at a label.
            eprintln!("recover: {}", command.log());
            return;
        }
        let (_, report) = command.report();
        if report["accepted"] == true {
            self.disasters.recovered += 1;
            let count = |name: &str| report[name].as_array().map_or(0, Vec::len);
            eprintln!(
                "recovered: {} adopted, {} parked, {} accepted",
                count("adopt"),
                count("park"),
                count("accept")
            );
        } else {
            assert_eq!(report["accepted"], Value::Bool(false), "{report:#}");
        }
    }

    fn all_taken_in(&self) -> bool {
        let known = self.runtime.block_on(self.store.order_ids());
        let known = known.expect("the store");
        let mut orders = self.people.fates.keys();
        orders.all(|order| known.contains(&order.to_string()))
    }

    /// Units get the serials that the labels of their devices show, where the registry does not tell of them.
    fn give_labelled(&self, entries: &Entries) {
        let own = self.runtime.block_on(registrar::own(&self.store));
        let own = own.expect("the store");
        let registered = |serial: &str| {
            let mut devices = entries.devices.values();
            devices.any(|entry| entry.device.serial.as_deref() == Some(serial))
        };
        for (unit, paper) in &self.people.paper {
            let Some(text) = &paper.serial else { continue };
            let serial = Serial::parse(text).expect("a serial");
            if own.serials.contains(&serial) || registered(text) {
                continue;
            }
            let row = self.runtime.block_on(self.store.unit(unit));
            if row.expect("the store").is_some() {
                let now = jiff::Timestamp::now();
                let (none, by) = (Tags::default(), ann());
                let given = self.store.assign(unit, Some(&serial), &none, &by, now);
                told(self.runtime.block_on(given));
            }
        }
    }

    /// The leader sleeps beyond its lease and wakes up with what it was about to write.
    fn outlast_lease(&mut self) {
        self.until("an instance has the lease", |journey, _| {
            journey.leader().is_some()
        });
        let Some(place) = self.leader() else { return };
        let before = self.world.arrived();
        self.put_to_sleep(place);
        self.until("another instance has the lease", |journey, _| {
            journey.leader().is_some_and(|leader| leader != place)
        });
        self.running[place].signal("CONT");
        self.disasters.late_writes += 1;
        if place == 0 {
            // What it had in hand is somebody else's by now, and it may have sent it.
            let lag = self.world.lag().unsigned_abs();
            self.bound += before.max(self.world.arrived()) + lag;
        }
    }

    /// SIGSTOP for an instance that does not have the store's file locked: asleep with the lock it would keep everybody from the store,
    /// and no lease helps against that.
    fn put_to_sleep(&mut self, place: usize) {
        let url = format!("sqlite://{}", self.place().file.display());
        let lock = async {
            let mut connection = SqliteConnection::connect(&url).await?;
            sqlx::raw_sql("PRAGMA busy_timeout = 60000; BEGIN EXCLUSIVE")
                .execute(&mut connection)
                .await?;
            Ok::<_, sqlx::Error>(connection)
        };
        let connection = self.runtime.block_on(lock).expect("the store is locked");
        self.running[place].signal("STOP");
        let stat = format!("/proc/{}/stat", self.running[place].pid());
        wait_until("the instance sleeps", || {
            let stat = fs::read_to_string(&stat).expect("it runs");
            let state = stat.rsplit(')').next().unwrap_or_default();
            state.trim_start().starts_with('T')
        });
        let closed = self.runtime.block_on(connection.close());
        closed.expect("the lock ends with its connection");
    }

    /// Which instance holds the lease.
    fn leader(&self) -> Option<usize> {
        let holder = self.runtime.block_on(self.store.lease_holder());
        let holder = holder.expect("the store");
        if holder.until <= jiff::Timestamp::now() {
            return None;
        }
        let pid: u32 = holder.name.rsplit(':').next()?.parse().ok()?;
        let mut places = 0..PARTS.len();
        places.find(|place| self.running[*place].pid() == pid)
    }
}
