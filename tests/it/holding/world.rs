//! The random world of held records: its registry, its owners, their faults, and the judgement of what comes of them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dig_ingest::pipeline::gate::{Config, Gate, Mode, TerminatedPolicy};
use dig_ingest::pipeline::hold::{Hold, Mark};
use dig_ingest::pipeline::isolation::Pauses;
use dig_ingest::pipeline::letter::{Destination, Letter};
use dig_ingest::pipeline::partition::{HeldMessage, Partition, Read};
use dig_ingest::pipeline::queues::{Limits, PackedRequest};
use dig_ingest::pipeline::request::{Refused, Request, Verdicts};
use dig_ingest::record::Decoded;
use dig_ingest::record::decode::{Decoder, Shape};
use dig_ingest::record::validate::Rules;
use dig_ingest::registry::{Device, Snapshot, State};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::failure::failed;
use super::sent::Sent;

const NOW_US: i64 = 1_790_000_000_000_000;
pub const DEVICES: u32 = 6;

pub fn device_id(device: u32) -> String {
    format!("imei-{device}")
}

fn serial(device: u32) -> String {
    format!("CX000000000{device}")
}

pub struct Owner {
    partition: Partition,
    decoder: Decoder,
    decoded: Decoded,
    /// In force since the last review.
    devices: Snapshot,
    position: usize,
    flights: Vec<(Request, PackedRequest)>,
    letters: VecDeque<Letter>,
    /// Letters the topic has and whose confirmation is on its way.
    confirmations: VecDeque<(Letter, i64)>,
    marks: VecDeque<Mark>,
}

pub struct World {
    pub rng: StdRng,
    now: Instant,
    pub policy: TerminatedPolicy,
    /// Payload, device and number of each message.
    pub log: Vec<(Vec<u8>, u32, u32)>,
    /// Milliseconds since the epoch of each message.
    times: Vec<i64>,
    /// Milliseconds since the epoch, now.
    now_ms: i64,
    /// How long a record may be held; 0 for ever.
    hold_max_days: u32,
    committed: usize,
    held: Vec<HeldMessage>,
    /// Offsets of each number in the held topic.
    places: HashMap<u32, Vec<usize>>,
    through: HashMap<Vec<u8>, i64>,
    low: i64,
    pub registry: Snapshot,
    rules: Arc<Rules>,
    owner: Option<Owner>,
    pub accepted: HashSet<u32>,
    newest: HashMap<u32, u32>,
    pub lettered: HashSet<u32>,
    ever_active: HashSet<u32>,
    pub late_letters: Vec<Letter>,
    late_marks: Vec<Mark>,
    late_bodies: Vec<Vec<u8>>,
    discards: u64,
    pub repeats: u64,
    pub released: u64,
    /// Records that went from their queue to the held topic because the gateway failed on them.
    pub quarantined: u64,
    pub faults: bool,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let messages = rng.random_range(20..200);
        let log = (0..messages)
            .map(|number| {
                let device = rng.random_range(0..DEVICES);
                let whose = if rng.random_bool(0.5) {
                    format!(r#""SerialNo":"{}""#, serial(device))
                } else {
                    format!(r#""DeviceId":"{}""#, device_id(device))
                };
                let text = format!(
                    r#"{{"Type":"GenericStatusRecord","DateTime":"2026-09-21T10:00:00.{number:06}Z",{whose},"Code":5,"Value":{number}}}"#
                );
                (text.into_bytes(), device, number)
            })
            .collect();
        // About in their order, and all within two days.
        let times = (0..i64::from(messages))
            .map(|number| NOW_US / 1_000 + number * 860_000 + rng.random_range(-2_000_000..0))
            .collect();
        let hold_max_days = rng.random_range(0..3);
        let policy = match rng.random_bool(0.5) {
            true => TerminatedPolicy::DeadLetter,
            false => TerminatedPolicy::Discard,
        };
        Self {
            rng,
            now: Instant::now(),
            policy,
            log,
            times,
            now_ms: NOW_US / 1_000,
            hold_max_days,
            committed: 0,
            held: Vec::new(),
            places: HashMap::new(),
            through: HashMap::new(),
            low: 0,
            registry: Snapshot::default(),
            rules: Arc::new(Rules::new(&dig_ingest::record::validate::Config::default())),
            owner: None,
            accepted: HashSet::new(),
            newest: HashMap::new(),
            lettered: HashSet::new(),
            ever_active: HashSet::new(),
            late_letters: Vec::new(),
            late_marks: Vec::new(),
            late_bodies: Vec::new(),
            discards: 0,
            repeats: 0,
            released: 0,
            quarantined: 0,
            faults: true,
        }
    }

    pub fn step(&mut self) {
        self.now += Duration::from_millis(self.rng.random_range(0..50));
        // A few steps make a minute, and some make hours.
        self.now_ms += match self.rng.random_range(0..100) {
            0 => self.rng.random_range(0..10_000_000),
            _ => self.rng.random_range(0..60_000),
        };
        if self.owner.is_none() {
            self.assign();
        }
        match self.rng.random_range(0..100) {
            0..15 => self.read(),
            15..30 => self.pack(),
            30..50 => self.answer(),
            50..60 => self.letter(),
            60..68 => self.confirm(),
            68..78 => self.feed(),
            78..84 => self.mark(),
            84..88 => self.review(),
            88..91 => self.store(),
            91..94 if self.faults => self.change(),
            94..96 if self.faults => self.late(),
            96..97 if self.faults => self.leave(true),
            97..98 if self.faults => self.leave(false),
            _ => {}
        }
        self.judge();
    }

    fn assign(&mut self) {
        let gate = Gate::new(Config {
            mode: Mode::Registry,
            terminated: self.policy,
            hold_max_days: self.hold_max_days,
            ..Config::default()
        });
        let mut hold = Hold::default();
        for message in &self.held {
            let through = self.through.get(&message.name);
            if message.offset >= self.low && through.is_none_or(|t| message.offset > *t) {
                let since = message.since_ms();
                let why = message.letter.as_ref().map(|(reason, _)| &*reason.code);
                let (offset, bytes) = (message.offset, message.bytes());
                hold.found(&message.name, offset, bytes, since, why.unwrap_or_default());
            }
        }
        hold.ends_at(self.held.len() as i64);
        let mut partition = Partition::new("telemetry", 0, gate);
        let quick = Duration::from_millis(20);
        partition.set_pauses(Pauses {
            retry: quick,
            retry_max: quick * 10,
            quarantine_after: quick * 20,
            probe: quick * 5,
            probe_max: quick * 40,
        });
        partition.set_hold(hold, "telemetry.held");
        partition.restore_quarantine(&self.registry, self.now);
        self.owner = Some(Owner {
            partition,
            decoder: Decoder::new(Shape::Native, Arc::clone(&self.rules)),
            decoded: Decoded::default(),
            devices: Snapshot::default(),
            position: self.committed,
            flights: Vec::new(),
            letters: VecDeque::new(),
            confirmations: VecDeque::new(),
            marks: VecDeque::new(),
        });
        self.review();
    }

    /// Somebody changes the registry. A terminated device stays terminated.
    fn change(&mut self) {
        let device = self.rng.random_range(0..DEVICES);
        let state = match self.rng.random_range(0..10) {
            0 => State::Terminated,
            1..4 => State::Pending,
            _ => State::Active,
        };
        self.set(device, state);
    }

    pub fn set(&mut self, device: u32, state: State) {
        let known = self.registry.device(&device_id(device));
        if known.is_some_and(|known| known.state() == State::Terminated) {
            return;
        }
        self.registry
            .set(&Device {
                device_id: device_id(device).into(),
                serial: Some(serial(device).into()),
                state,
                order: None,
                since: None,
            })
            .expect("fits");
        if state == State::Active {
            self.ever_active.insert(device);
        }
    }

    fn review(&mut self) {
        let Some(owner) = &mut self.owner else { return };
        owner.devices = self.registry.clone();
        owner.partition.begin_probes(self.now);
        let short = self.faults && self.rng.random_bool(0.1);
        let letters = owner.partition.quarantine(short, &owner.devices, self.now);
        self.quarantined += letters.len() as u64;
        owner.letters.extend(letters);
        owner.partition.set_committed(self.committed as i64);
        let letters = owner.partition.review(&owner.devices, self.now_ms);
        owner.letters.extend(letters);
    }

    fn read(&mut self) {
        let Some(owner) = &mut self.owner else { return };
        let most = self
            .rng
            .random_range(1..8)
            .min(self.log.len() - owner.position);
        if most == 0 || owner.partition.hold().crowded() {
            return;
        }
        let messages = &self.log[owner.position..owner.position + most];
        owner.decoded.outcomes.clear();
        for (payload, ..) in messages {
            owner
                .decoder
                .decode(Some(payload), &owner.devices, NOW_US, &mut owner.decoded);
        }
        assert_eq!(owner.decoded.outcomes.len(), most);
        let reads = messages.iter().enumerate().map(|(i, (payload, ..))| Read {
            offset: (owner.position + i) as i64,
            timestamp_ms: Some(self.times[owner.position + i]),
            key: None,
            payload: Some(payload),
            records: 1,
        });
        let letters =
            owner
                .partition
                .admit(reads, &mut owner.decoded, None, &owner.devices, self.now);
        owner.letters.extend(letters);
        owner.position += most;
    }

    fn feed(&mut self) {
        let Some(owner) = &mut self.owner else { return };
        let Some(from) = owner.partition.hold().wanted() else {
            return;
        };
        let (from, end) = (from as usize, self.held.len());
        let most = self.rng.random_range(1..10).min(end.saturating_sub(from));
        if most == 0 {
            return;
        }
        let next = (from + most) as i64;
        let letters = owner.partition.feed(
            &self.held[from..from + most],
            next,
            (&mut owner.decoder, &mut owner.decoded),
            None,
            &owner.devices,
            (self.now, self.now_ms * 1_000),
        );
        owner.letters.extend(letters);
    }

    fn pack(&mut self) {
        let Some(owner) = &mut self.owner else { return };
        let limits = Limits {
            records: self.rng.random_range(1..20),
            bytes: 100_000,
        };
        let again = owner.partition.pack_failing(limits, self.now);
        let again = again.map(|(request, ticket, _)| (request, ticket));
        let Some((request, ticket)) = again.or_else(|| owner.partition.pack(limits)) else {
            return;
        };
        let sent: Vec<Sent> = serde_json::from_slice(&request.body).expect("valid JSON");
        for sent in &sent {
            let known = owner.devices.device(&device_id(sent.device()));
            let state = known.map(|known| known.state());
            assert_eq!(state, Some(State::Active), "G1: sent for {}", sent.device());
        }
        owner.flights.push((request, ticket));
    }

    fn take(&mut self, body: &[u8]) {
        let sent: Vec<Sent> = serde_json::from_slice(body).expect("valid JSON");
        for sent in sent {
            let device = sent.device();
            assert!(self.ever_active.contains(&device), "G1: before activation");
            if !self.accepted.insert(sent.value) {
                self.repeats += 1;
                continue;
            }
            let newest = self.newest.insert(device, sent.value);
            assert!(
                newest.is_none_or(|newest| newest < sent.value),
                "S1: {} of device {device} after {newest:?}",
                sent.value
            );
        }
    }

    fn answer(&mut self) {
        let Some(owner) = &mut self.owner else { return };
        if owner.flights.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..owner.flights.len());
        let (request, ticket) = owner.flights.swap_remove(at);
        let mut verdicts = Verdicts::default();
        let records: Vec<&[u8]> = request
            .records
            .iter()
            .map(|span| &request.body[span.start as usize..span.end as usize])
            .collect();
        let fails = records
            .iter()
            .any(|record| Sent::of(record).device() % 3 == 1);
        let fails = self.faults && (fails || self.rng.random_bool(0.05));
        let judged = match fails {
            true => self.rng.random_range(0..records.len()),
            false => records.len(),
        };
        if fails {
            let until = self.rng.random_range(judged..records.len()) as u32 + 1;
            verdicts.failed = Some(failed(&mut self.rng, judged as u32, until));
        }
        // What failed may have been taken all the same, if nothing of it is refused.
        let part = &records[judged
            ..verdicts
                .failed
                .as_ref()
                .map_or(judged, |f| f.until as usize)];
        let refused = part.iter().any(|record| Sent::of(record).value % 11 == 3);
        let taken = !refused && self.rng.random_bool(0.2);
        let taken: Vec<Vec<u8>> = part.iter().filter(|_| taken).map(|r| r.to_vec()).collect();
        let records = &records[..judged];
        for (at, record) in records.iter().enumerate() {
            let sent = Sent::of(record);
            // Some records no gateway takes, however often they come.
            if sent.value % 11 == 3 {
                verdicts.refused.push(Refused {
                    record: at as u32,
                    status: 400,
                    text: "no".to_owned(),
                    attempts: 1,
                });
            } else {
                self.take(&[b"[", *record, b"]"].concat());
            }
        }
        for record in taken {
            self.take(&[b"[", &*record, b"]"].concat());
        }
        if let Some(owner) = &mut self.owner {
            let letters = match verdicts.failed {
                None => owner.partition.complete(&request, &ticket, &verdicts),
                Some(_) => owner
                    .partition
                    .give_back(request, ticket, verdicts, None, self.now),
            };
            owner.letters.extend(letters);
            if owner.partition.withdraws() {
                let one = Limits {
                    records: 1,
                    bytes: 1_000,
                };
                assert!(owner.partition.pack(one).is_none());
                owner
                    .letters
                    .extend(owner.partition.withdraw(&owner.devices));
            }
        }
    }

    fn write(&mut self, letter: &Letter) -> i64 {
        let sent: Sent = serde_json::from_slice(&letter.value).expect("a record");
        match letter.destination {
            Destination::DeadLetter => {
                self.lettered.insert(sent.value);
                0
            }
            Destination::Held => {
                let offset = self.held.len() as i64;
                let places = self.places.entry(sent.value).or_default();
                places.push(self.held.len());
                self.held.push(HeldMessage {
                    offset,
                    name: letter.key.clone().expect("a held record has a name"),
                    value: letter.value.clone(),
                    letter: Some((letter.reason.clone(), letter.source.clone())),
                    timestamp_ms: Some(self.now_ms),
                });
                offset
            }
        }
    }

    /// The topic takes the oldest letter; its confirmation is on its way.
    fn letter(&mut self) {
        let Some(owner) = &mut self.owner else { return };
        if let Some(letter) = owner.letters.pop_front() {
            let offset = self.write(&letter);
            if let Some(owner) = &mut self.owner {
                owner.confirmations.push_back((letter, offset));
            }
        }
    }

    fn confirm(&mut self) {
        let Some(owner) = &mut self.owner else { return };
        if let Some((letter, offset)) = owner.confirmations.pop_front() {
            owner.partition.letter_written(&letter, offset);
        }
    }

    fn mark(&mut self) {
        let Some(owner) = &mut self.owner else { return };
        owner.marks.extend(owner.partition.hold_mut().marks());
        if let Some(mark) = owner.marks.pop_front() {
            if self.faults && self.rng.random_bool(0.1) {
                owner.partition.hold_mut().unmarked(&mark);
                return;
            }
            for name in &mark.names {
                self.through.insert(name.to_vec(), mark.through);
            }
            owner.partition.hold_mut().marked(&mark);
        }
        let low = owner.partition.hold().low();
        if self.rng.random_bool(0.2) && low > self.low {
            self.low = low;
        }
    }

    fn store(&mut self) {
        let Some(owner) = &mut self.owner else { return };
        if let Some(watermark) = owner.partition.watermark() {
            assert!(watermark as usize >= self.committed, "O1");
            self.committed = watermark as usize;
        }
    }

    /// The group takes the partition back (in order), or the owner is killed.
    pub fn leave(&mut self, ordered: bool) {
        if ordered {
            if let Some(owner) = &mut self.owner {
                owner.partition.revoke();
            }
            for _ in 0..self.rng.random_range(0..30) {
                self.answer();
                self.letter();
                self.confirm();
            }
            self.store();
        }
        let Some(owner) = self.owner.take() else {
            return;
        };
        self.discards += owner.partition.account().discarded;
        self.released += owner.partition.hold().released().accepted;
        if ordered {
            return;
        }
        // What the client library had in its hands may still arrive, in its order.
        let some = self.rng.random_range(0..3);
        self.late_letters
            .extend(owner.letters.into_iter().take(some));
        self.late_marks.extend(owner.marks);
        for (request, _) in owner.flights {
            if self.rng.random_bool(0.3) {
                self.late_bodies.push(request.body.to_vec());
            }
        }
    }

    fn late(&mut self) {
        if !self.late_letters.is_empty() {
            let letter = self.late_letters.remove(0);
            self.write(&letter);
        }
        if let Some(mark) = self.late_marks.pop() {
            for name in &mark.names {
                self.through.insert(name.to_vec(), mark.through);
            }
        }
        if let Some(body) = self.late_bodies.pop() {
            let sent: Vec<Sent> = serde_json::from_slice(&body).expect("valid JSON");
            // A request cut off by a crash may only repeat: what nobody has got yet comes from the successor.
            if sent.iter().all(|sent| self.accepted.contains(&sent.value)) {
                self.take(&body);
            }
        }
    }

    fn judge(&self) {
        let Some(owner) = &self.owner else { return };
        let in_flight: u64 = owner
            .flights
            .iter()
            .map(|(r, _)| r.records.len() as u64)
            .sum();
        let letters = (owner.letters.len() + owner.confirmations.len()) as u64;
        let known = owner.partition.queues().queued() as u64 + in_flight + letters;
        let released = owner.partition.hold().released();
        let in_hand = owner.partition.account().in_hand() + released.in_hand();
        assert_eq!(in_hand, known, "O2: {released:?}");
        for (_, device, number) in &self.log[..self.committed] {
            let settled = self.accepted.contains(number)
                || self.lettered.contains(number)
                || self.is_held(*number)
                || self.policy == TerminatedPolicy::Discard && self.is_terminated(*device);
            assert!(settled, "O1: {number} is behind the commit and nowhere");
        }
    }

    fn is_terminated(&self, device: u32) -> bool {
        let known = self.registry.device(&device_id(device));
        known.is_some_and(|known| known.state() == State::Terminated)
    }

    /// In the held topic, and not released by what the marks say.
    pub fn is_held(&self, number: u32) -> bool {
        let places = self.places.get(&number).into_iter().flatten();
        places.map(|at| &self.held[*at]).any(|message| {
            let through = self.through.get(&message.name);
            message.offset >= self.low && through.is_none_or(|through| message.offset > *through)
        })
    }

    pub fn at_rest(&self) -> bool {
        let Some(owner) = &self.owner else {
            return false;
        };
        let released = |(name, _): (&[u8], _)| {
            let name = std::str::from_utf8(name).expect("a name of ours");
            let device: u32 = name[name.len() - 1..].parse().expect("a digit");
            let known = self.registry.device(&device_id(device));
            known.is_some_and(|known| known.state() != State::Pending)
        };
        self.committed == self.log.len()
            && owner.marks.is_empty()
            && owner.partition.hold().released().in_hand() == 0
            && !owner.partition.hold().held().any(released)
    }
}
