//! What a crash made the held topic hold twice, step by step.

use std::sync::Arc;
use std::time::Instant;

use dig_ingest::pipeline::gate::{Config, Gate, Mode};
use dig_ingest::pipeline::hold::Hold;
use dig_ingest::pipeline::letter::{Destination, Letter};
use dig_ingest::pipeline::partition::{HeldMessage, Partition, Read};
use dig_ingest::pipeline::queues::Limits;
use dig_ingest::pipeline::request::{Refused, Verdicts};
use dig_ingest::record::Decoded;
use dig_ingest::record::decode::{Decoder, Shape};
use dig_ingest::record::validate::Rules;
use dig_ingest::registry::{Device, Snapshot, State};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const BEGIN_MS: i64 = 1_790_000_000_000;
const SERIAL: &str = "CX0000000001";

/// One partition, its held topic, and what has become of its records.
struct Scene {
    partition: Partition,
    decoder: Decoder,
    decoded: Decoded,
    devices: Snapshot,
    topic: Vec<HeldMessage>,
    /// Numbers in the order the gateway got them.
    sent: Vec<u32>,
    /// Reason and number of each dead letter.
    dead: Vec<(String, u32)>,
}

fn record(number: u32) -> String {
    format!(
        r#"{{"Type":"GenericStatusRecord","DateTime":"2026-09-21T10:00:{number:02}Z","SerialNo":"{SERIAL}","Code":107,"Value":{number}}}"#
    )
}

fn number(record: &[u8]) -> u32 {
    let record: serde_json::Value = serde_json::from_slice(record).expect("JSON");
    let value = record["Value"].as_u64().expect("a number");
    u32::try_from(value).expect("a small one")
}

fn partition() -> Partition {
    let gate = Gate::new(Config {
        mode: Mode::Registry,
        hold_max_days: 1,
        ..Config::default()
    });
    Partition::new("telemetry", 0, gate)
}

impl Scene {
    fn new() -> Self {
        let rules = Arc::new(Rules::new(&dig_ingest::record::validate::Config::default()));
        Self {
            partition: partition(),
            decoder: Decoder::new(Shape::Native, rules),
            decoded: Decoded::default(),
            devices: Snapshot::default(),
            topic: Vec::new(),
            sent: Vec::new(),
            dead: Vec::new(),
        }
    }

    fn set(&mut self, state: State, now_ms: i64) {
        self.devices
            .set(&Device {
                device_id: "one".into(),
                serial: Some(SERIAL.into()),
                state,
                order: None,
                since: None,
            })
            .expect("fits");
        self.review(now_ms);
    }

    fn review(&mut self, now_ms: i64) {
        let letters = self.partition.review(&self.devices, now_ms);
        self.write(letters);
    }

    /// Reads the messages of these numbers: number `n` lies at offset `n` and is `n` hours old when the story begins.
    fn read(&mut self, numbers: std::ops::Range<u32>, committed: i64) {
        self.partition.set_committed(committed);
        for number in numbers {
            let payload = record(number);
            self.decoded.outcomes.clear();
            self.decoder.decode(
                Some(payload.as_bytes()),
                &self.devices,
                BEGIN_MS * 1_000,
                &mut self.decoded,
            );
            let read = Read {
                offset: i64::from(number),
                timestamp_ms: Some(BEGIN_MS + i64::from(number) * HOUR_MS + 1),
                key: None,
                payload: Some(payload.as_bytes()),
                records: 1,
            };
            let letters = self.partition.admit(
                std::iter::once(read),
                &mut self.decoded,
                None,
                &self.devices,
                Instant::now(),
            );
            self.write(letters);
        }
    }

    fn write(&mut self, letters: Vec<Letter>) {
        for letter in letters {
            let mut offset = 0;
            match letter.destination {
                Destination::DeadLetter => {
                    let code = letter.reason.code.clone();
                    self.dead.push((code, number(&letter.value)));
                }
                Destination::Held => {
                    offset = self.topic.len() as i64;
                    self.topic.push(HeldMessage {
                        offset,
                        name: letter.key.clone().expect("a held record has a name"),
                        value: letter.value.clone(),
                        letter: Some((letter.reason.clone(), letter.source.clone())),
                        timestamp_ms: Some(BEGIN_MS + DAY_MS + offset),
                    });
                }
            }
            self.partition.letter_written(&letter, offset);
        }
    }

    /// A crash: a new owner finds the whole topic held, as no mark was written.
    fn crash(&mut self) {
        let mut hold = Hold::default();
        for message in &self.topic {
            let since = message.since_ms();
            hold.found(&message.name, message.offset, message.bytes(), since, "");
        }
        hold.ends_at(self.topic.len() as i64);
        self.partition = partition();
        self.partition.set_hold(hold, "telemetry.held");
    }

    /// Takes up what wants to be read, sends what may be sent, and marks what is settled, until nothing is left to do.
    fn settle(&mut self, now_ms: i64) {
        let limits = Limits {
            records: 1,
            bytes: 1_000,
        };
        loop {
            if let Some(from) = self.partition.hold().wanted() {
                let messages = &self.topic[from as usize..];
                let next = self.topic.len() as i64;
                let letters = self.partition.feed(
                    messages,
                    next,
                    (&mut self.decoder, &mut self.decoded),
                    None,
                    &self.devices,
                    (Instant::now(), now_ms * 1_000),
                );
                self.write(letters);
            }
            let mut idle = true;
            while let Some((request, ticket)) = self.partition.pack(limits) {
                idle = false;
                let body: &[u8] = &request.body;
                self.sent.push(number(&body[1..body.len() - 1]));
                let verdicts = Verdicts::default();
                let letters = self.partition.complete(&request, &ticket, &verdicts);
                assert!(letters.is_empty());
            }
            for mark in self.partition.hold_mut().marks() {
                idle = false;
                self.partition.hold_mut().marked(&mark);
            }
            if idle && self.partition.hold().wanted().is_none() {
                return;
            }
        }
    }

    fn expired(&self) -> Vec<u32> {
        let all = self.dead.iter();
        all.map(|(code, number)| {
            assert_eq!(code, "held.expired");
            *number
        })
        .collect()
    }
}

/// The first copy became a letter, so the second one must not come behind what is younger than both.
#[test]
fn the_second_copy_of_an_expired_record_is_a_letter_too() {
    let mut scene = Scene::new();
    scene.set(State::Pending, BEGIN_MS);
    scene.read(1..4, 1);
    scene.crash();
    scene.set(State::Pending, BEGIN_MS);
    scene.read(1..5, 1);
    assert_eq!(scene.topic.len(), 7, "three of them twice");
    scene.partition.set_committed(5);
    // The first one is too old now, and no other.
    let now_ms = BEGIN_MS + DAY_MS + HOUR_MS + 30_000;
    scene.review(now_ms);
    scene.settle(now_ms);
    assert_eq!(scene.expired(), [1]);
    scene.set(State::Active, now_ms);
    scene.settle(now_ms);
    assert_eq!(scene.expired(), [1, 1]);
    assert_eq!(
        scene.sent,
        [2, 3, 2, 3, 4],
        "a copy repeats, and overtakes nothing"
    );
    assert!(scene.partition.hold().is_empty());
}

/// Until its commit is confirmed a record does not expire: a crash would bring it back, and its device may be active by then.
#[test]
fn what_a_crash_would_bring_back_does_not_expire() {
    let mut scene = Scene::new();
    scene.set(State::Pending, BEGIN_MS);
    scene.read(1..4, 1);
    let now_ms = BEGIN_MS + DAY_MS + 2 * HOUR_MS + 30_000;
    scene.review(now_ms);
    scene.settle(now_ms);
    assert!(scene.dead.is_empty(), "{:?}", scene.dead);
    scene.partition.set_committed(2);
    scene.review(now_ms);
    scene.settle(now_ms);
    assert_eq!(
        scene.expired(),
        [1],
        "the second is as old, but not committed"
    );
    scene.set(State::Active, now_ms);
    scene.settle(now_ms);
    assert_eq!(scene.sent, [2, 3]);
    assert_eq!(scene.expired(), [1]);
}

/// What was taken back before it was sent keeps its source's time, so that its copies grow too old with it.
#[test]
fn what_was_taken_back_is_as_old_as_its_source() {
    let mut scene = Scene::new();
    scene.set(State::Active, BEGIN_MS);
    scene.read(1..3, 1);
    scene.set(State::Pending, BEGIN_MS);
    let since: Vec<_> = scene.topic.iter().map(HeldMessage::since_ms).collect();
    assert_eq!(since, [1, 2].map(|hour| Some(BEGIN_MS + hour * HOUR_MS)));
    assert!(scene.sent.is_empty() && scene.dead.is_empty());
}

/// Headers that somebody else wrote name a source that has no such offset yet: no commit will ever cover it, so nothing waits for one.
#[test]
fn a_source_that_cannot_be_does_not_keep_a_record_for_ever() {
    let now_ms = BEGIN_MS + 2 * DAY_MS + HOUR_MS;
    for (offset, expires) in [(1, false), (9, true), (i64::MAX, true), (-1, true)] {
        let mut scene = Scene::new();
        scene.set(State::Pending, BEGIN_MS);
        scene.read(1..2, 1);
        let (_, source) = scene.topic[0].letter.as_mut().expect("a letter of ours");
        source.offset = offset;
        scene.crash();
        scene.set(State::Pending, BEGIN_MS);
        scene.partition.set_source_end(9);
        scene.partition.set_committed(1);
        scene.review(now_ms);
        scene.settle(now_ms);
        assert_eq!(
            scene.expired().len(),
            usize::from(expires),
            "offset {offset}"
        );
    }
}

/// A held record that can never be written to the held topic is no longer waited for: it is a letter, and the next one is held.
#[test]
fn a_record_that_cannot_be_held_blocks_nothing() {
    let mut scene = Scene::new();
    scene.set(State::Pending, BEGIN_MS);
    let payload = record(1);
    scene.decoder.decode(
        Some(payload.as_bytes()),
        &scene.devices,
        BEGIN_MS * 1_000,
        &mut scene.decoded,
    );
    let read = Read {
        offset: 1,
        timestamp_ms: Some(BEGIN_MS),
        key: None,
        payload: Some(payload.as_bytes()),
        records: 1,
    };
    let mut letters = scene.partition.admit(
        std::iter::once(read),
        &mut scene.decoded,
        None,
        &scene.devices,
        Instant::now(),
    );
    let letter = &mut letters[0];
    scene.partition.cannot_hold(
        letter,
        "held.too-large",
        "the record is too large".to_owned(),
    );
    assert_eq!(letter.destination, Destination::DeadLetter);
    assert_eq!(letter.reason.code, "held.too-large");
    assert!(
        letter
            .reason
            .detail
            .ends_with("was to be held as device.pending"),
        "{}",
        letter.reason.detail
    );
    scene.write(letters);
    assert!(scene.partition.hold().is_empty(), "nothing is waited for");
    let account = scene.partition.account();
    assert_eq!(
        (account.dead_lettered, account.held, account.in_hand()),
        (1, 0, 0)
    );
    assert_eq!(scene.partition.watermark(), Some(2));
}

/// A letter about a record that was held and released names the message of the input: the copy in the held topic is deleted after the
/// release. Headers that cannot be true are not believed.
#[test]
fn a_letter_about_a_released_record_names_its_original() {
    for (forged, topic, offset) in [(false, "telemetry", 3), (true, "telemetry.held", 0)] {
        let mut scene = Scene::new();
        scene.partition.set_held_topic("telemetry.held");
        scene.set(State::Pending, BEGIN_MS);
        scene.read(3..4, 4);
        if forged {
            let (_, source) = scene.topic[0].letter.as_mut().expect("a letter of ours");
            source.topic = "another".to_owned();
        }
        scene.set(State::Active, BEGIN_MS);
        let now = (Instant::now(), BEGIN_MS * 1_000);
        let decoding = (&mut scene.decoder, &mut scene.decoded);
        let (topics, devices) = (&scene.topic, &scene.devices);
        let letters = scene
            .partition
            .feed(topics, 1, decoding, None, devices, now);
        assert!(letters.is_empty());
        let limits = Limits {
            records: 1,
            bytes: 1_000,
        };
        let (request, ticket) = scene.partition.pack(limits).expect("it is released");
        let refusal = Refused {
            record: 0,
            status: 400,
            text: String::new(),
            attempts: 1,
        };
        let verdicts = Verdicts {
            refused: vec![refusal],
            failed: None,
        };
        assert_eq!(scene.partition.origins(&ticket, &verdicts).count(), 0);
        let letters = scene.partition.complete(&request, &ticket, &verdicts);
        let source = &letters[0].source;
        assert_eq!((source.topic.as_str(), source.offset), (topic, offset));
        assert_eq!(source.record, Some(0));
    }
}
