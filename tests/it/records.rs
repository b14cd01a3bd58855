//! Tests of native records: every rule of the table, every edge, and agreement with a second implementation on any input.

mod edges;
mod oracle;
mod rows;
mod samples;

use std::collections::BTreeMap;
use std::sync::Arc;

use dig_ingest::record::decode::{Decoder, Shape};
use dig_ingest::record::validate::{Config, Rules};
use dig_ingest::record::{Decoded, Outcome, SerialOf, serial_hash};
use proptest::prelude::*;

use oracle::{Opinion, Verdict};

/// 2025-11-21T04:40:00Z.
const NOW: i64 = 1_763_700_000_000_000;

/// The devices the tests know.
struct Fleet;

impl SerialOf for Fleet {
    fn serial_of(&self, device_id: &str) -> Option<&str> {
        match device_id {
            "352093081452251" => Some("CX0B21338D8D"),
            "untidy" => Some(" g9-00 "),
            _ => None,
        }
    }
}

fn decode_with(config: &Config, payload: Option<&[u8]>) -> Decoded {
    let mut out = Decoded::default();
    Decoder::new(Shape::Native, Arc::new(Rules::new(config)))
        .decode(payload, &Fleet, NOW, &mut out);
    out
}

/// What the decoder makes of a message, in the oracle's terms.
fn opinion(payload: &[u8], out: &Decoded) -> Opinion {
    let verdicts = out.outcomes.iter().map(|outcome| match outcome {
        Outcome::Valid(record) => {
            let serial = record.serial(&out.bytes);
            assert_eq!(record.hash(), serial_hash(serial));
            let bytes = std::str::from_utf8(record.bytes(&out.bytes)).expect("UTF-8");
            let sent: serde_json::Value = serde_json::from_str(bytes).expect("JSON");
            assert_eq!(sent["Type"], record.kind().name());
            Verdict::Valid {
                bytes: bytes.to_owned(),
                serial: String::from_utf8(serial.to_vec()).expect("UTF-8"),
            }
        }
        Outcome::Unknown(unknown) => {
            assert!(unknown.original.end <= payload.len());
            Verdict::Unknown {
                device_id: unknown.device_id.clone(),
            }
        }
        Outcome::Reject(reject) => {
            assert!(
                reject.original.start <= reject.original.end
                    && reject.original.end <= payload.len()
            );
            assert!(reject.value.chars().count() <= 120);
            assert!(!reject.bound.is_empty());
            Verdict::Reject {
                rule: reject.rule.to_owned(),
                field: reject.field.clone(),
            }
        }
        Outcome::Excess(excess) => panic!("the messages here have few records: {excess:?}"),
    });
    let verdicts = verdicts.collect();
    let notes: BTreeMap<String, u64> = out
        .notes
        .iter()
        .map(|&(rule, count)| (rule.to_owned(), count))
        .collect();
    Opinion { verdicts, notes }
}

fn agree(payload: &[u8]) {
    thread_local! {
        static REUSED: std::cell::RefCell<(Decoder, Decoded)> =
            std::cell::RefCell::new((Decoder::new(Shape::Native, Arc::default()), Decoded::default()));
    }
    let expected = oracle::judge(payload, &|id| Fleet.serial_of(id).map(str::to_owned), NOW);
    // Twice in one run with one decoder, so that nothing left over from another message may matter.
    REUSED.with_borrow_mut(|(decoder, out)| {
        // With white space around it no message is plain, so both ways of reading are taken.
        let spaced = [b" ", payload, b"\n"].concat();
        out.clear();
        decoder.decode(Some(&spaced), &Fleet, NOW, out);
        let text = String::from_utf8_lossy(payload);
        assert_eq!(opinion(&spaced, out), expected, "spaced: {text}");
        out.clear();
        decoder.decode(Some(payload), &Fleet, NOW, out);
        assert_eq!(opinion(payload, out), expected, "{text}");
        let first = out.outcomes.len();
        decoder.decode(Some(payload), &Fleet, NOW, out);
        let second = out.outcomes.split_off(first);
        out.notes.iter_mut().for_each(|(_, count)| *count /= 2);
        out.outcomes = second;
        assert_eq!(opinion(payload, out), expected, "second time: {text}");
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_oracle_on_records(message in samples::message()) {
        agree(message.as_bytes());
    }

    #[test]
    fn agrees_with_the_oracle_on_mutated_bytes(message in samples::mutated()) {
        agree(&message);
    }

    #[test]
    fn agrees_with_the_oracle_on_any_bytes(message in prop::collection::vec(any::<u8>(), 0..40)) {
        agree(&message);
    }
}

#[test]
fn agrees_with_the_oracle_on_known_traps() {
    for trap in samples::TRAPS {
        agree(trap.as_bytes());
        agree(format!("[{trap}]").as_bytes());
        for value in samples::VALUES {
            agree(trap.replace("VALUE", value).as_bytes());
        }
    }
    for sample in samples::RECORDS {
        agree(sample.as_bytes());
        for cut in 0..sample.len() {
            agree(&sample.as_bytes()[..cut]);
        }
    }
}
