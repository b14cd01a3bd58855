//! The pipeline's core against a fake clock and random faults: thousands of seeds, no threads, no sockets.
//!
//! A world of a few partitions whose owners come and go. The gateway takes requests, loses answers, refuses, cuts; owners are
//! revoked, lost and killed, and what they had in flight may still arrive after their successor has begun. After every step the
//! invariants are judged from outside: by what the gateway got, what the letters say and what was committed.
//!
//! A failing seed is printed; `DIG_SIMULATION_SEED=N` runs that one alone, `DIG_SIMULATION_SEEDS=N` as many.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dig_ingest::pipeline::gate::Gate;
use dig_ingest::pipeline::isolation::Pauses;
use dig_ingest::pipeline::letter::Letter;
use dig_ingest::pipeline::partition::{Partition, Read};
use dig_ingest::pipeline::permits::{PartitionPermits, Permits};
use dig_ingest::pipeline::queues::{Limits, PackedRequest};
use dig_ingest::pipeline::request::Request;
use dig_ingest::pipeline::split::Split;
use dig_ingest::record::Decoded;
use dig_ingest::record::decode::{Decoder, Shape};
use dig_ingest::record::validate::Rules;
use dig_ingest::registry::Snapshot;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::holding::failure::failed;

const PARTITION_BYTES: u64 = 6_000;
const TOTAL_BYTES: u64 = 10_000;
const NOW_US: i64 = 1_790_000_000_000_000;

#[derive(serde::Deserialize)]
struct Sent {
    #[serde(rename = "SerialNo")]
    serial: String,
    #[serde(rename = "Value")]
    value: u32,
}

/// One partition's log and what is known of it.
struct Log {
    /// The payload of each message (`None`: a tombstone) and the numbers of its records.
    messages: Vec<(Option<Vec<u8>>, Vec<u32>)>,
    committed: i64,
}

struct Flight {
    request: Request,
    ticket: PackedRequest,
    split: Split,
    serials: HashSet<String>,
}

struct Owner {
    partition: Partition,
    decoder: Decoder,
    decoded: Decoded,
    permits: Arc<PartitionPermits>,
    position: usize,
    flights: Vec<Flight>,
    letters: VecDeque<Letter>,
    stored: i64,
}

#[derive(Default)]
struct Gateway {
    /// Position of each serial's newest first arrival.
    newest: HashMap<String, u32>,
    accepted: HashSet<u32>,
    poison: HashSet<u32>,
    repeats: u64,
}

impl Gateway {
    /// Takes a body as a whole; S1 is judged by first arrivals.
    fn take(&mut self, body: &[u8]) {
        for sent in serde_json::from_slice::<Vec<Sent>>(body).expect("a body is always valid JSON")
        {
            if !self.accepted.insert(sent.value) {
                self.repeats += 1;
                continue;
            }
            if let Some(&newest) = self.newest.get(&sent.serial) {
                assert!(
                    newest < sent.value,
                    "S1: {} of {} after {newest}",
                    sent.value,
                    sent.serial
                );
            }
            self.newest.insert(sent.serial, sent.value);
        }
    }

    /// Whether it fails on a device of this body.
    fn fails(&self, body: &[u8]) -> bool {
        let sent: Vec<Sent> = serde_json::from_slice(body).expect("a body is always valid JSON");
        sent.iter().any(|sent| sent.serial.ends_with('3'))
    }

    fn refuses(&self, body: &[u8]) -> bool {
        let sent: Vec<Sent> = serde_json::from_slice(body).expect("a body is always valid JSON");
        sent.iter().any(|sent| self.poison.contains(&sent.value))
    }
}

fn partition(number: i32) -> Partition {
    let mut partition = Partition::new("telemetry", number, Gate::default());
    let quick = Duration::from_millis(5);
    partition.set_pauses(Pauses {
        retry: quick,
        retry_max: quick * 20,
        quarantine_after: quick * 100,
        probe: quick,
        probe_max: quick * 20,
    });
    partition
}

struct World {
    rng: StdRng,
    now: Instant,
    logs: Vec<Log>,
    owners: Vec<Option<Owner>>,
    permits: Arc<Permits>,
    rules: Arc<Rules>,
    gateway: Gateway,
    lettered: HashSet<u32>,
    /// Parts that dead owners had on the wire.
    zombies: Vec<Vec<u8>>,
    byte_limit: usize,
    faults: bool,
}

fn record(serial: u32, number: u32, code: u32) -> String {
    format!(
        r#"{{"Type":"GenericStatusRecord","DateTime":"2026-09-21T10:00:00.{number:06}Z","SerialNo":"CX00000000{serial:02}","Code":{code},"Value":{number}}}"#
    )
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let partitions = rng.random_range(1..4);
        let mut gateway = Gateway::default();
        let mut number = 0;
        let mut logs = Vec::new();
        for partition in 0..partitions {
            let messages = (0..rng.random_range(5..60)).map(|_| {
                let mut numbers = Vec::new();
                let kind = rng.random_range(0..20);
                if kind == 0 {
                    return (None, numbers);
                }
                let count = if kind < 5 { rng.random_range(0..4) } else { 1 };
                let texts: Vec<String> = (0..count)
                    .map(|_| {
                        number += 1;
                        numbers.push(number);
                        let serials = rng.random_range(1..8);
                        let serial = partition * 10 + rng.random_range(0..serials);
                        if rng.random_bool(0.03) {
                            gateway.poison.insert(number);
                        }
                        // Code 200 is a status code no gateway takes: rejected before it is sent.
                        record(serial, number, if rng.random_bool(0.05) { 200 } else { 5 })
                    })
                    .collect();
                let text = if kind < 5 {
                    format!("[{}]", texts.join(","))
                } else {
                    texts.concat()
                };
                (Some(text.into_bytes()), numbers)
            });
            logs.push(Log {
                messages: messages.collect(),
                committed: 0,
            });
        }
        Self {
            rng,
            now: Instant::now(),
            owners: logs.iter().map(|_| None).collect(),
            logs,
            permits: Permits::new(TOTAL_BYTES, None),
            rules: Arc::new(Rules::new(&dig_ingest::record::validate::Config::default())),
            gateway,
            lettered: HashSet::new(),
            zombies: Vec::new(),
            byte_limit: 2_000,
            faults: true,
        }
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(self.rng.random_range(0..50));
        let p = self.rng.random_range(0..self.logs.len());
        if self.owners[p].is_none() {
            self.assign(p);
        }
        match self.rng.random_range(0..100) {
            0..25 => self.read(p),
            25..45 => self.pack(p),
            45..75 => self.answer(p),
            75..85 => self.letter(p),
            85..93 => self.store(p),
            93..95 if self.faults => self.zombie_arrives(),
            95..97 if self.faults => self.revoke(p),
            97..98 if self.faults => self.kill(p),
            98..99 if self.faults => self.byte_limit = self.rng.random_range(250..3_000),
            _ => {}
        }
        self.judge(p);
    }

    fn assign(&mut self, p: usize) {
        let committed = self.logs[p].committed;
        self.owners[p] = Some(Owner {
            partition: partition(p as i32),
            decoder: Decoder::new(Shape::Native, Arc::clone(&self.rules)),
            decoded: Decoded::default(),
            permits: self.permits.partition(PARTITION_BYTES),
            position: committed as usize,
            flights: Vec::new(),
            letters: VecDeque::new(),
            stored: committed,
        });
    }

    fn read(&mut self, p: usize) {
        let Some(owner) = &mut self.owners[p] else {
            return;
        };
        let log = &self.logs[p];
        let most = self
            .rng
            .random_range(1..8)
            .min(log.messages.len() - owner.position);
        let reserve = most as u64 * 300;
        if most == 0 {
            return;
        }
        let (own, all) = (owner.permits.used(), self.permits.used());
        let Some(mut permit) = owner.permits.reserve(reserve) else {
            // M1: whoever is refused flushes what it has; with nothing queued and nothing on its way a refusal would be a deadlock.
            assert!(
                own + reserve > PARTITION_BYTES || all + reserve > TOTAL_BYTES,
                "M1: refused with room"
            );
            return;
        };
        assert!(own == 0 || own + reserve <= PARTITION_BYTES, "M1");
        let messages = &log.messages[owner.position..owner.position + most];
        permit.charge(
            messages
                .iter()
                .map(|(payload, _)| payload.as_ref().map_or(0, Vec::len) as u64)
                .sum(),
        );
        let mut counts = Vec::new();
        for (payload, numbers) in messages {
            let before = owner.decoded.outcomes.len();
            owner
                .decoder
                .decode(payload.as_deref(), &(), NOW_US, &mut owner.decoded);
            counts.push((owner.decoded.outcomes.len() - before) as u32);
            assert_eq!(
                counts.last().copied(),
                Some(numbers.len() as u32),
                "every record has one outcome"
            );
        }
        let reads =
            messages
                .iter()
                .zip(&counts)
                .enumerate()
                .map(|(i, ((payload, _), &records))| Read {
                    offset: (owner.position + i) as i64,
                    timestamp_ms: None,
                    key: None,
                    payload: payload.as_deref(),
                    records,
                });
        let letters = owner.partition.admit(
            reads,
            &mut owner.decoded,
            Some(permit),
            &Snapshot::default(),
            self.now,
        );
        owner.letters.extend(letters);
        owner.position += most;
    }

    fn pack(&mut self, p: usize) {
        let Some(owner) = &mut self.owners[p] else {
            return;
        };
        let limits = Limits {
            records: self.rng.random_range(1..25),
            bytes: self.rng.random_range(100..4_000),
        };
        let ready = owner.partition.queues().ready_records();
        let again = owner.partition.pack_failing(limits, self.now);
        let again = again.map(|(request, ticket, _)| (request, ticket));
        let Some((request, ticket)) = again.or_else(|| owner.partition.pack(limits)) else {
            assert_eq!(ready, 0, "what is ready can be packed");
            return;
        };
        let sent: Vec<Sent> =
            serde_json::from_slice(&request.body).expect("a body is always valid JSON");
        assert_eq!(sent.len(), request.records.len());
        let serials: HashSet<String> = sent.into_iter().map(|sent| sent.serial).collect();
        for flight in &owner.flights {
            assert!(
                flight.serials.is_disjoint(&serials),
                "S2: a serial is in two requests in flight"
            );
        }
        owner.flights.push(Flight {
            split: Split::new(request.clone()),
            request,
            ticket,
            serials,
        });
    }

    /// One attempt of one request in flight, with whatever the gateway makes of it.
    fn answer(&mut self, p: usize) {
        let Some(owner) = &mut self.owners[p] else {
            return;
        };
        if owner.flights.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..owner.flights.len());
        let flight = &mut owner.flights[at];
        if let Some(part) = flight.split.next(5_000, usize::MAX) {
            let body = flight.split.body(&part);
            let dice = if self.faults {
                self.rng.random_range(0..10)
            } else {
                9
            };
            // The gateway fails on some serials while there are faults, and on anything now and then.
            let fails = self.faults && (dice == 3 || self.gateway.fails(&body));
            match dice {
                0 | 1 => {}
                _ if fails => {
                    // It may have been taken all the same, at once or later.
                    match dice {
                        4 if !self.gateway.refuses(&body) => self.gateway.take(&body),
                        5 => self.zombies.push(body.to_vec()),
                        _ => {}
                    }
                    let failed = failed(&mut self.rng, part.start, part.end);
                    let flight = owner.flights.swap_remove(at);
                    let verdicts = flight.split.give_back(failed);
                    let letters = owner.partition.give_back(
                        flight.request,
                        flight.ticket,
                        verdicts,
                        None,
                        self.now,
                    );
                    owner.letters.extend(letters);
                    return;
                }
                _ if body.len() > self.byte_limit => {
                    flight.split.too_large(&part, "too large");
                }
                _ if self.gateway.refuses(&body) => flight.split.bad(&part, "refused"),
                2 => self.gateway.take(&body),
                _ => {
                    self.gateway.take(&body);
                    flight.split.accepted(&part);
                }
            }
        }
        if flight.split.next(5_000, usize::MAX).is_none() {
            let flight = owner.flights.swap_remove(at);
            let verdicts = flight.split.finish();
            let letters = owner
                .partition
                .complete(&flight.request, &flight.ticket, &verdicts);
            owner.letters.extend(letters);
        }
    }

    /// The broker confirms, refuses or silently writes the oldest letter.
    fn letter(&mut self, p: usize) {
        let Some(owner) = &mut self.owners[p] else {
            return;
        };
        let Some(letter) = owner.letters.pop_front() else {
            return;
        };
        let dice = if self.faults {
            self.rng.random_range(0..10)
        } else {
            9
        };
        if dice > 0 {
            for sent in one_or_many(&letter.value) {
                self.lettered.insert(sent.value);
            }
        }
        if dice > 1 {
            owner.partition.letter_written(&letter, 0);
        } else {
            owner.letters.push_front(letter);
        }
    }

    fn store(&mut self, p: usize) {
        let Some(owner) = &mut self.owners[p] else {
            return;
        };
        if let Some(watermark) = owner.partition.watermark() {
            assert!(watermark >= owner.stored, "O1: the watermark went down");
            owner.stored = watermark;
            self.logs[p].committed = watermark;
        }
    }

    /// The group takes the partition back: nothing new, what is in flight may finish, then the watermark is stored.
    fn revoke(&mut self, p: usize) {
        if let Some(owner) = &mut self.owners[p] {
            owner.partition.revoke();
            assert!(
                owner
                    .partition
                    .pack(Limits {
                        records: 10,
                        bytes: 1_000
                    })
                    .is_none(),
                "O3"
            );
        }
        for _ in 0..self.rng.random_range(0..20) {
            self.answer(p);
            self.letter(p);
        }
        self.store(p);
        self.kill(p);
    }

    /// The owner is gone; parts it had on the wire may arrive later.
    fn kill(&mut self, p: usize) {
        let Some(owner) = self.owners[p].take() else {
            return;
        };
        for flight in &owner.flights {
            if let Some(part) = flight.split.next(5_000, usize::MAX)
                && self.rng.random_bool(0.5)
            {
                self.zombies.push(flight.split.body(&part).to_vec());
            }
        }
    }

    fn zombie_arrives(&mut self) {
        if self.zombies.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.zombies.len());
        let body = self.zombies.swap_remove(at);
        if body.len() <= self.byte_limit && !self.gateway.refuses(&body) {
            self.gateway.take(&body);
        }
    }

    /// The invariants, from outside.
    fn judge(&self, p: usize) {
        let log = &self.logs[p];
        for (_, numbers) in &log.messages[..log.committed as usize] {
            for number in numbers {
                assert!(
                    self.gateway.accepted.contains(number) || self.lettered.contains(number),
                    "O1: {number} is behind the commit and nowhere"
                );
            }
        }
        if let Some(owner) = &self.owners[p] {
            let account = owner.partition.account();
            let in_flight: usize = owner
                .flights
                .iter()
                .map(|flight| flight.request.records.len())
                .sum();
            let known = owner.partition.queues().queued() + in_flight + owner.letters.len();
            assert_eq!(account.in_hand(), known as u64, "O2");
            assert_eq!(owner.partition.requests(), owner.flights.len());
        }
    }

    fn done(&self) -> bool {
        self.logs
            .iter()
            .all(|log| log.committed == log.messages.len() as i64)
    }
}

fn one_or_many(value: &[u8]) -> Vec<Sent> {
    serde_json::from_slice(value)
        .or_else(|_| serde_json::from_slice(value).map(|sent| vec![sent]))
        .expect("a letter holds the record's own bytes")
}

/// Names the seed when the test dies in its world.
pub struct Named(pub &'static str, pub u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failing seed: {}={}", self.0, self.1);
        }
    }
}

fn live_through(seed: u64) -> u64 {
    let _named = Named("DIG_SIMULATION_SEED", seed);
    let mut world = World::new(seed);
    for _ in 0..world.rng.random_range(100..600) {
        world.step();
    }
    world.faults = false;
    world.byte_limit = usize::MAX;
    let mut steps = 0;
    while !world.done() {
        world.step();
        steps += 1;
        assert!(
            steps < 50_000,
            "the world does not come to rest once the faults end"
        );
    }
    for log in &world.logs {
        for number in log.messages.iter().flat_map(|(_, numbers)| numbers) {
            let (accepted, lettered) = (
                world.gateway.accepted.contains(number),
                world.lettered.contains(number),
            );
            assert!(accepted || lettered, "lost: {number}");
            assert!(
                !(accepted && lettered),
                "{number} was accepted and dead-lettered"
            );
        }
    }
    world.owners.clear();
    assert_eq!(world.permits.used(), 0, "M1: every permit came back");
    world.gateway.repeats
}

#[test]
fn the_core_keeps_its_invariants_under_any_seed() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    if let Some(seed) = number("DIG_SIMULATION_SEED") {
        live_through(seed);
        return;
    }
    let seeds = number("DIG_SIMULATION_SEEDS").unwrap_or(4_000);
    let repeats: u64 = (0..seeds).map(live_through).sum();
    assert!(
        repeats > 0,
        "the faults never made a record arrive twice: they are not faults"
    );
}
