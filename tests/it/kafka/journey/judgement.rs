//! What must be true at the end of a journey, read from the simulator's ledger, the market, the store, the topic and the manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::BufReader;
use std::time::Duration;

use dig_ingest::load::manifest;
use dig_ingest::orders::outbox::Entry;
use dig_ingest::orders::store::intents::Outcome;
use dig_ingest::registry::{Device, State, topic};
use dig_ingest::sim::ledger::{LedgerLine, Standing};
use dig_ingest::sim::market;
use jiff::Timestamp;
use rdkafka::ClientConfig;
use serde_json::{Value, json};

use super::{Journey, PARTS};
use crate::support::world::World;

/// Serials that may not talk any more, with how often they had been heard when every owner of a partition knew.
pub type Silent = BTreeMap<String, u64>;

/// A device as the registry has it at the end, and when it became active first: in whatever store that was known.
#[derive(Debug, Clone)]
struct Subject {
    device_id: String,
    serial: String,
    state: State,
    since: Option<Timestamp>,
}

impl Subject {
    fn is(&self, state: State) -> bool {
        self.state == state
    }

    /// Whether it has an IMEI, and talks.
    fn talks(&self) -> bool {
        self.device_id != self.serial
    }
}

/// Device id by serial.
fn names(subjects: &[Subject]) -> BTreeMap<String, String> {
    let talking = subjects.iter().filter(|subject| subject.talks());
    talking
        .map(|subject| (subject.serial.clone(), subject.device_id.clone()))
        .collect()
}

fn arrivals(world: &World<'_>) -> BTreeMap<String, u64> {
    let digests = world.gateway.digests().into_iter();
    digests
        .map(|digest| (digest.serial, digest.count + digest.duplicates))
        .collect()
}

/// Serials that letters say are terminated, with the times of their records.
fn lettered(world: &World<'_>) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for letter in world.letters() {
        let reason = letter.headers.iter().find(|(name, _)| name == "reason");
        let reason = reason.map(|(_, value)| value.as_str());
        assert_eq!(reason, Some("device.terminated"), "{:?}", letter.headers);
        let record: Value = serde_json::from_slice(&letter.payload).expect("a record");
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        found
            .entry(text("SerialNo"))
            .or_default()
            .insert(text("DateTime"));
    }
    found
}

impl Journey<'_> {
    /// Waits until everybody who may not talk any more was told so by a letter.
    pub(super) fn silent(&mut self) -> Silent {
        let mut ended = self.subjects();
        ended.retain(|subject| subject.is(State::Terminated));
        let talking: Vec<String> = names(&ended).into_keys().collect();
        self.until("a letter for everybody who has ended", |journey, _| {
            let lettered = lettered(&journey.world);
            talking.iter().all(|serial| lettered.contains_key(serial))
        });
        let arrived = arrivals(&self.world);
        talking
            .into_iter()
            .map(|serial| {
                let heard = arrived.get(&serial).copied().unwrap_or_default();
                (serial, heard)
            })
            .collect()
    }

    fn subjects(&self) -> Vec<Subject> {
        let devices = self.runtime.block_on(self.store.devices());
        let devices = devices.expect("the store").into_iter();
        devices
            .filter_map(|device| {
                let serial = device.serial?.to_string();
                let mut papers = self.people.paper.values();
                let paper = papers.find(|paper| paper.serial.as_ref() == Some(&serial));
                Some(Subject {
                    device_id: device.device_id.into(),
                    state: device.state,
                    since: paper.and_then(|paper| paper.since),
                    serial,
                })
            })
            .collect()
    }

    /// The load has ended. Everything is brought to its end and judged; the report.
    pub(super) fn judge(mut self, silent: &Silent) -> Value {
        let subjects = self.subjects();
        let produced = produced(&self.world, &names(&subjects));
        let active = subjects.iter().filter(|one| one.is(State::Active));
        let active: Vec<String> = active.map(|one| one.serial.clone()).collect();
        self.until("every active device is heard whole", |journey, _| {
            let digests = journey.world.gateway.digests();
            let heard: BTreeMap<&str, u64> = digests
                .iter()
                .map(|digest| (digest.serial.as_str(), digest.count))
                .collect();
            active
                .iter()
                .all(|serial| heard.get(serial.as_str()) == produced.get(serial))
        });
        self.world.instances.append(&mut self.running);
        self.world.drained();
        self.world.leave(usize::MAX);
        let verdict = self.world.verified(&["--registry"]);
        self.registry();
        self.serials();
        self.alarms();
        let lines = self.world.gateway.ledger();
        self.gate(&subjects, &lines, silent);
        self.billing(&subjects);
        let units = self.units();
        let count = |state| subjects.iter().filter(|one| one.is(state)).count();
        let cancelled = units.iter().filter(|row| row.unit.state() == "cancelled");
        let (disasters, people) = (self.disasters, &self.people);
        let adopted = self.outcomes(Outcome::Adopted);
        let counters = self.world.gateway.counters();
        let again = counters.lost_answers + counters.cut;
        let bound = self.bound + again * self.world.most_per_request;
        let duplicated = verdict["duplicated"].as_u64().expect("a count");
        assert!(
            duplicated <= bound,
            "{duplicated} duplicates, at most {bound} allowed"
        );
        let kills: BTreeMap<&str, u64> = PARTS
            .iter()
            .map(|part| part.unwrap_or("both"))
            .zip(self.kills)
            .collect();
        let report = json!({
            "seed": self.size.seed,
            "orders": self.size.orders,
            "units": units.len(),
            "active": count(State::Active),
            "terminated": count(State::Terminated),
            "cancelled": cancelled.count(),
            "added": people.added,
            "dropped": people.dropped,
            "replaced": people.replaced.len(),
            "reopened": people.reopened,
            "store_lost": disasters.store_lost,
            "store_restored": disasters.store_restored,
            "recovered": disasters.recovered,
            "topic_lost": disasters.topic_lost,
            "late_writes": disasters.late_writes,
            "serials": self.world.gateway.market(|market, _| market.devices().len()),
            "adopted": adopted,
            "kills_both": kills["both"],
            "kills_pipeline": kills["pipeline"],
            "kills_orders": kills["orders"],
            "accepted": verdict["accepted"],
            "dead_lettered": verdict["letters"]["dead_lettered"],
            "held": verdict["letters"]["held"],
            "lost": verdict["lost"],
            "unseen": verdict["unseen"],
            "duplicated": duplicated,
            "reordered": verdict["reordered"],
            "phantom": verdict["phantom"],
        });
        self.runtime.block_on(self.store.close());
        self.world.end();
        report
    }

    fn outcomes(&self, outcome: Outcome) -> usize {
        let intents = self
            .runtime
            .block_on(self.store.intents())
            .expect("the store");
        intents
            .iter()
            .filter(|intent| intent.outcome == outcome)
            .count()
    }

    /// Store and topic say the same, and nothing waits between them.
    fn registry(&self) {
        let devices = self
            .runtime
            .block_on(self.store.devices())
            .expect("the store");
        let stored: BTreeMap<String, Device> = devices
            .iter()
            .filter_map(|device| match Entry::of(device, None) {
                Entry::Put(device, _) => Some((device.device_id.to_string(), device)),
                Entry::Forget(_) | Entry::Mark(_) => None,
            })
            .collect();
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", self.world.broker.address());
        let name = format!("{}.devices", self.world.topic);
        let snapshot = topic::read(&client, &name, Duration::from_secs(60)).expect("the topic");
        let told: BTreeMap<String, Device> = snapshot
            .iter()
            .map(|known| (known.device_id().to_owned(), known.to_device()))
            .collect();
        assert_eq!(stored, told, "store and topic differ");
        let waiting = self.runtime.block_on(self.store.unpublished_count());
        assert_eq!(waiting.expect("the store"), 0);
    }

    /// P1: no serial is two units', in whatever store they were; every unit has one answer at most; and every serial that was made for
    /// us is a unit's or a device's, or a person was told of it or accepted it.
    fn serials(&self) {
        let papers = self.people.paper.values();
        let of_units: Vec<&String> = papers.filter_map(|paper| paper.serial.as_ref()).collect();
        let mut known: BTreeSet<String> = of_units.iter().copied().cloned().collect();
        assert_eq!(known.len(), of_units.len(), "a serial is two units'");
        let intents = self.runtime.block_on(self.store.intents());
        let intents = intents.expect("the store");
        let mut answers: BTreeMap<&str, u32> = BTreeMap::new();
        for intent in &intents {
            if matches!(intent.outcome, Outcome::Answered | Outcome::Adopted) {
                *answers.entry(&intent.wish.unit_id).or_default() += 1;
            }
        }
        let twice: Vec<_> = answers.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "provisioned twice: {twice:?}");
        let accepted = self.runtime.block_on(self.store.accepted_serials());
        let accepted = accepted.expect("the store").into_iter();
        known.extend(accepted.map(|serial| serial.to_string()));
        known.extend(self.subjects().into_iter().map(|subject| subject.serial));
        let alarms = self.runtime.block_on(self.store.alarms());
        let alarms = alarms.expect("the store");
        let made: Vec<String> = self.world.gateway.market(|market, _| {
            let ours = market.devices().iter();
            ours.filter(|device| device.maker == market::INTEGRATOR)
                .map(|device| device.serial.clone())
                .collect()
        });
        for orphan in made.iter().filter(|serial| !known.contains(*serial)) {
            let told = alarms.iter().any(|alarm| alarm.subject == *orphan);
            assert!(told, "nobody was told of serial {orphan}: {alarms:#?}");
        }
    }

    /// What a person was asked to have terminated in MyAdmin, and the Partner's sheet names, asks nobody any more.
    fn alarms(&self) {
        let alarms = self.runtime.block_on(self.store.alarms());
        for alarm in alarms.expect("the store") {
            let replaced = self.people.replaced.get(&alarm.subject);
            assert!(
                alarm.kind != "replaced-serial" || replaced.is_none(),
                "its serial is on the sheet: {alarm:?}"
            );
        }
    }

    /// G1: nobody was heard before activation, nor after everybody knew of the end.
    fn gate(&self, subjects: &[Subject], lines: &[LedgerLine], silent: &Silent) {
        let since: BTreeMap<String, i64> = subjects
            .iter()
            .filter_map(|subject| {
                let at = subject.since?.as_microsecond();
                Some((subject.serial.clone(), at))
            })
            .collect();
        let ended = subjects.iter().filter(|one| one.is(State::Terminated));
        let ended: BTreeSet<String> = ended.map(|one| one.serial.clone()).collect();
        let mut last: BTreeMap<String, String> = BTreeMap::new();
        let mut heard: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in lines {
            let name = line.member("SerialNo").expect("a serial");
            let Some(active) = since.get(&name) else {
                panic!("{name} was heard and never active: {line:?}");
            };
            assert!(
                line.at_us >= *active,
                "heard before it was active: {line:?}"
            );
            match line.standing {
                Standing::New | Standing::Duplicate => {}
                Standing::Invalid(_) if ended.contains(&name) => {}
                standing => panic!("{standing:?}: {line:?}"),
            }
            if ended.contains(&name) {
                let time = line.member("DateTime").expect("a time");
                let newest = last.entry(name.clone()).or_default();
                if *newest < time {
                    newest.clone_from(&time);
                }
                heard.entry(name).or_default().insert(time);
            }
        }
        let arrived = arrivals(&self.world);
        for (serial, before) in silent {
            let now = arrived.get(serial).copied().unwrap_or_default();
            assert_eq!(now, *before, "{serial} was heard after its end was known");
        }
        // What was not heard of a terminated device is behind everything that was.
        let lettered = lettered(&self.world);
        for (serial, newest) in &last {
            let Some(times) = lettered.get(serial) else {
                continue;
            };
            let unheard = times.iter().find(|time| !heard[serial].contains(*time));
            if let Some(first) = unheard {
                assert!(
                    first >= newest,
                    "{serial}: {first} was left out before {newest}"
                );
            }
        }
    }

    /// Billing began for those who were active, and for nobody else.
    fn billing(&self, subjects: &[Subject]) {
        let were = subjects.iter().filter(|one| one.since.is_some());
        let were: BTreeSet<String> = were.map(|one| one.serial.clone()).collect();
        let active = subjects.iter().filter(|one| one.is(State::Active));
        let active: BTreeSet<String> = active.map(|one| one.serial.clone()).collect();
        self.world.gateway.market(|market, _| {
            for device in market.devices() {
                let billed = device.billing.started_us.is_some();
                assert!(!billed || were.contains(&device.serial), "{device:?}");
                assert!(billed || !active.contains(&device.serial), "{device:?}");
            }
        });
    }
}

/// Records by serial, as the manifests have them by device id.
fn produced(world: &World<'_>, names: &BTreeMap<String, String>) -> BTreeMap<String, u64> {
    let serials: BTreeMap<&String, &String> =
        names.iter().map(|(serial, id)| (id, serial)).collect();
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    for path in world.manifests() {
        let file = fs::File::open(path).expect("a manifest");
        let read = manifest::read(BufReader::new(file), |run| {
            let Some(serial) = serials.get(&run.device) else {
                return Ok(());
            };
            let count = all.entry((*serial).clone()).or_default();
            manifest::each_kind(&run.kinds, |_, _| *count += 1)
        });
        read.expect("a manifest");
    }
    all
}
