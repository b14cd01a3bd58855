//! Tests of the serial queues against a plain model.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::record::serial_hash;

struct World {
    queues: SerialQueues,
    next: u64,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self {
            queues: SerialQueues::new(),
            next: 0,
            now: Instant::now(),
        }
    }

    /// One chunk with a record per serial given; the text of a record is `serial#seq` and padding.
    fn chunk(&mut self, serials: &[(u8, usize)]) {
        let mut bytes = self.queues.spare();
        let mut places = Vec::new();
        for &(serial, pad) in serials {
            let start = bytes.len();
            let name = format!("S{serial}");
            bytes.extend_from_slice(name.as_bytes());
            let serial_end = bytes.len();
            bytes.extend_from_slice(format!("#{}", self.next).as_bytes());
            bytes.resize(bytes.len() + pad, b'.');
            places.push((
                start..bytes.len(),
                start..serial_end,
                serial_hash(name.as_bytes()),
                MessageSeq(self.next),
            ));
            self.next += 1;
        }
        let id = self.queues.open_chunk(bytes, None, self.now);
        for (range, serial, hash, seq) in places {
            self.queues.push(
                id,
                range,
                serial,
                hash,
                Tag {
                    seq,
                    identity: seq.0,
                    place: 0,
                },
            );
        }
        self.queues.seal(id);
    }
}

fn texts(request: &Request) -> Vec<(String, u64)> {
    request
        .records
        .iter()
        .map(|span| {
            let text = std::str::from_utf8(&request.body[span.start as usize..span.end as usize])
                .expect("ascii");
            let (serial, rest) = text.split_once('#').expect("a hash");
            (
                serial.to_owned(),
                rest.trim_end_matches('.').parse().expect("a number"),
            )
        })
        .collect()
}

#[test]
fn a_body_is_the_array_exactly_as_limited() {
    let mut world = World::new();
    world.chunk(&[(1, 0), (2, 0), (1, 0)]);
    let (request, ticket) = world
        .queues
        .pack(Limits {
            records: 10,
            bytes: 100,
        })
        .expect("ready");
    assert_eq!(&request.body[..], b"[S1#0,S1#2,S2#1]");
    assert_eq!(request.batches, [0, 2]);
    assert_eq!(ticket.seqs, [MessageSeq(0), MessageSeq(2), MessageSeq(1)]);
    world.queues.complete(&ticket);
    assert_eq!(world.queues.serials(), 0);

    world.chunk(&[(1, 0), (2, 0)]);
    let exactly = b"[S1#3,S2#4]".len();
    let (request, _) = world
        .queues
        .pack(Limits {
            records: 10,
            bytes: exactly,
        })
        .expect("ready");
    assert_eq!(request.body.len(), exactly);
    world.chunk(&[(3, 0), (4, 0)]);
    let (request, _) = world
        .queues
        .pack(Limits {
            records: 10,
            bytes: exactly - 1,
        })
        .expect("ready");
    assert_eq!(request.records.len(), 1);
}

#[test]
fn a_record_above_the_byte_limit_goes_alone() {
    let mut world = World::new();
    world.chunk(&[(1, 500), (2, 0)]);
    let (request, _) = world
        .queues
        .pack(Limits {
            records: 10,
            bytes: 50,
        })
        .expect("ready");
    assert_eq!(request.records.len(), 1);
    let (request, _) = world
        .queues
        .pack(Limits {
            records: 10,
            bytes: 50,
        })
        .expect("ready");
    assert_eq!(texts(&request), [("S2".into(), 1)]);
}

#[test]
fn s2_a_serial_in_flight_is_not_served_again() {
    let mut world = World::new();
    world.chunk(&[(1, 0), (1, 0)]);
    let (_, ticket) = world
        .queues
        .pack(Limits {
            records: 1,
            bytes: 100,
        })
        .expect("ready");
    assert_eq!(world.queues.ready_records(), 0);
    assert!(
        world
            .queues
            .pack(Limits {
                records: 1,
                bytes: 100
            })
            .is_none()
    );
    world.queues.complete(&ticket);
    assert_eq!(world.queues.ready_records(), 1);
    assert!(
        world
            .queues
            .pack(Limits {
                records: 1,
                bytes: 100
            })
            .is_some()
    );
}

#[test]
fn the_oldest_ready_serial_is_served_first_even_when_it_came_back() {
    let mut world = World::new();
    world.chunk(&[(1, 0), (1, 0), (2, 0)]);
    let (_, ticket) = world
        .queues
        .pack(Limits {
            records: 1,
            bytes: 100,
        })
        .expect("ready");
    world.queues.complete(&ticket);
    let (request, _) = world
        .queues
        .pack(Limits {
            records: 1,
            bytes: 100,
        })
        .expect("ready");
    assert_eq!(texts(&request), [("S1".into(), 1)]);
}

#[derive(Debug, Clone)]
enum Step {
    Chunk(Vec<(u8, usize)>),
    Pack(usize, usize),
    Complete(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(
        prop_oneof![
            prop::collection::vec((0u8..8, 0usize..40), 0..12).prop_map(Step::Chunk),
            (1usize..9, 10usize..200).prop_map(|(records, bytes)| Step::Pack(records, bytes)),
            any::<prop::sample::Index>().prop_map(Step::Complete),
        ],
        1..120,
    )
}

proptest! {
    /// S1 and S2 under any interleaving; the counters agree with a model; every record leaves exactly once; chunks are freed.
    #[test]
    fn s1_s2_hold_under_any_interleaving(steps in steps()) {
        let mut world = World::new();
        let mut pushed = 0usize;
        let mut left: HashMap<String, u64> = HashMap::new();
        let mut flight: Vec<(Vec<String>, PackedRequest)> = Vec::new();
        let mut out = 0usize;
        let check = |request: &Request, flight: &[(Vec<String>, PackedRequest)], left: &mut HashMap<String, u64>| -> Result<Vec<String>, TestCaseError> {
            let records = texts(request);
            let mut names = Vec::new();
            for (i, &first) in request.batches.iter().enumerate() {
                let end = request.batches.get(i + 1).map_or(records.len(), |&e| e as usize);
                let batch = &records[first as usize..end];
                prop_assert!(!batch.is_empty());
                prop_assert!(batch.iter().all(|(s, _)| *s == batch[0].0));
                prop_assert!(flight.iter().all(|(names, _)| !names.contains(&batch[0].0)), "S2");
                prop_assert!(!names.contains(&batch[0].0), "one batch per serial");
                names.push(batch[0].0.clone());
            }
            for (serial, seq) in records {
                if let Some(&before) = left.get(&serial) {
                    prop_assert!(seq > before, "S1: {} after {}", seq, before);
                }
                left.insert(serial, seq);
            }
            Ok(names)
        };
        for step in steps {
            match step {
                Step::Chunk(serials) => { pushed += serials.len(); world.chunk(&serials); }
                Step::Pack(records, bytes) => {
                    let ready = world.queues.ready_records();
                    if let Some((request, ticket)) = world.queues.pack(Limits { records, bytes }) {
                        prop_assert!(request.records.len() <= records.min(ready));
                        prop_assert!(request.body.len() <= bytes || request.records.len() == 1);
                        out += request.records.len();
                        let names = check(&request, &flight, &mut left)?;
                        flight.push((names, ticket));
                    } else {
                        prop_assert_eq!(ready, 0);
                    }
                }
                Step::Complete(index) => if !flight.is_empty() {
                    let (_, ticket) = flight.remove(index.index(flight.len()));
                    world.queues.complete(&ticket);
                }
            }
            prop_assert_eq!(world.queues.queued() + out, pushed);
        }
        for (_, ticket) in flight.drain(..) { world.queues.complete(&ticket); }
        while let Some((request, ticket)) = world.queues.pack(Limits { records: 5, bytes: 120 }) {
            out += request.records.len();
            check(&request, &[], &mut left)?;
            world.queues.complete(&ticket);
        }
        prop_assert_eq!(out, pushed);
        prop_assert_eq!(world.queues.serials(), 0);
        prop_assert_eq!(world.queues.ready_bytes(), 0);
        prop_assert_eq!(world.queues.watch().out_of_order, 0);
        prop_assert!(world.queues.chunks.iter().all(Option::is_none));
    }
}
