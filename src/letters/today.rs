//! Judging letters by today's mapping, rules, gate and registry, without sending anything.
//!
//! Owns the decoders for it. What it finds is what the job would make of the same bytes now; the gateway's own verdict is not known
//! before they are sent.
//!
//! Pure, but for the clock that the caller gives, and the schema registry, which is asked for a schema that is not known.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::formats::{Formats, Intake, Limits};
use crate::pipeline::gate::{Decision, Gate};
use crate::record::decode::{Decoder, Shape};
use crate::record::mapping::Mapping;
use crate::record::origin::Origin;
use crate::record::validate::Rules;
use crate::record::{Decoded, Outcome, RecordType};
use crate::registry::Snapshot;

/// Code of a message that makes no record: the mapping leaves it out.
pub const NO_RECORD: &str = "no-record";

/// What the records of a letter would come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Records that would be sent.
    pub sent: u64,
    /// Records that would be held until their device is active.
    pub held: u64,
    /// Records that would become letters again, or be discarded, by rule or reason.
    pub refused: BTreeMap<String, u64>,
    /// The first refusal in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Verdict {
    /// Whether replaying would repair something. `in_part`: also if some of its records would be refused again.
    #[must_use]
    pub fn passes(&self, in_part: bool) -> bool {
        self.sent + self.held > 0 && (in_part || self.refused.is_empty())
    }

    /// The rule that refuses most records, and the first refusal in words.
    #[must_use]
    pub fn reason(&self) -> (String, String) {
        let most = self.refused.iter().max_by_key(|(_, count)| **count);
        let code = most.map_or(NO_RECORD, |(code, _)| code);
        (code.to_owned(), self.why.clone().unwrap_or_default())
    }

    fn refuse(&mut self, code: &str, records: u32, why: impl FnOnce() -> String) {
        *self.refused.entry(code.to_owned()).or_default() += u64::from(records);
        self.why.get_or_insert_with(why);
    }
}

/// A letter's value as it would be written to the input topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    pub verdict: Verdict,
    /// `None`: the bytes as they are.
    pub value: Option<Vec<u8>>,
    /// Whether the value is in the gateway's shape and the topic has another.
    pub native: bool,
    /// The serial, else the device id, of the first record.
    pub subject: Option<String>,
}

/// Finds the shape of a topic's messages.
pub type Shapes = Box<dyn Fn(&str) -> Shape + Send>;

/// See the module's documentation.
pub struct Today {
    /// The shape of a topic's messages, by the settings.
    shapes: Shapes,
    /// The formats of topics, by the settings.
    formats: Formats,
    /// The rules of today's settings, shared by the decoders.
    rules: Arc<Rules>,
    /// The gate of today's settings.
    gate: Gate,
    /// The device registry as it was when the command began.
    devices: Snapshot,
    /// A decoder for each topic, and whether its messages are anything but records in the gateway's shape.
    decoders: HashMap<String, (Intake, bool)>,
    /// Decoder of records in the gateway's shape.
    native: Decoder,
    /// Decoder of a patch, which is applied to every letter.
    patch: Option<Decoder>,
    /// Buffer of the decoders.
    decoded: Decoded,
}

/// Whether bytes are a record in the gateway's shape: one of its types, with a serial or a device id. A letter does not say whether
/// it was mapped before, and no vendor's message looks like that.
#[must_use]
pub fn is_native(value: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Named {
        #[serde(rename = "Type")]
        kind: String,
        serial_no: Option<String>,
        device_id: Option<String>,
    }
    serde_json::from_slice::<Named>(value).is_ok_and(|named| {
        (named.serial_no.is_some() || named.device_id.is_some())
            && RecordType::ALL.iter().any(|kind| kind.name() == named.kind)
    })
}

impl Today {
    #[must_use]
    pub fn new(
        shapes: Shapes,
        formats: Formats,
        rules: Arc<Rules>,
        gate: Gate,
        devices: Snapshot,
        patch: Option<Arc<Mapping>>,
    ) -> Self {
        Self {
            native: Decoder::new(Shape::Native, Arc::clone(&rules)),
            patch: patch.map(|patch| Decoder::new(Shape::Mapped(patch), Arc::clone(&rules))),
            shapes,
            formats,
            rules,
            gate,
            devices,
            decoders: HashMap::new(),
            decoded: Decoded::default(),
        }
    }

    /// The serial of a device by the registry, for a name that is a device id.
    #[must_use]
    pub fn serial_of(&self, name: &str) -> Option<&str> {
        self.devices.device(name)?.serial()
    }

    /// Judges bytes as a message of the topic. `now_us`: microseconds since the epoch. Blocks while a schema is asked for.
    ///
    /// # Errors
    /// The schema registry does not answer.
    pub fn judge(&mut self, topic: &str, value: &[u8], now_us: i64) -> anyhow::Result<Judged> {
        let Self {
            shapes,
            formats,
            rules,
            gate,
            devices,
            decoders,
            native,
            patch,
            decoded,
        } = self;
        let devices = &*devices;
        let (ordinary, other) = decoders.entry(topic.to_owned()).or_insert_with(|| {
            let shape = shapes(topic);
            let reader = formats.reader(topic, Limits::of(rules));
            let other = reader.is_some() || matches!(shape, Shape::Mapped(_));
            let decoder = Decoder::new(shape, Arc::clone(rules));
            (Intake::new(reader, decoder), other)
        });
        let patched = patch.is_some();
        let read_as_native = *other && is_native(value);
        decoded.clear();
        if read_as_native {
            let decoder = patch.as_mut().unwrap_or(native);
            decoder.decode(Some(value), devices, now_us, decoded);
        } else {
            let call = (&Origin::NONE, devices, now_us);
            ordinary.decode_asking(patch.as_mut(), Some(value), call, decoded)?;
        }
        let mut verdict = Verdict::default();
        let mut subject = None;
        let mut records: Vec<&[u8]> = Vec::new();
        for outcome in &decoded.outcomes {
            let (decision, name, record) = match outcome {
                Outcome::Valid(record) => {
                    let serial = record.serial(&decoded.bytes);
                    let (decision, _) = gate.decide(record.hash(), serial, devices);
                    let name = String::from_utf8_lossy(serial).into_owned();
                    (decision, name, record.bytes(&decoded.bytes))
                }
                Outcome::Unknown(unknown) => {
                    let decision = gate.decide_unknown(&unknown.device_id, devices);
                    (decision, unknown.device_id.clone(), unknown.native(value))
                }
                Outcome::Reject(reject) => {
                    verdict.refuse(reject.rule, 1, || reject.to_string());
                    continue;
                }
                Outcome::Excess(excess) => {
                    for (rule, count) in &excess.rules {
                        verdict.refuse(rule, *count, || excess.detail());
                    }
                    continue;
                }
            };
            match decision {
                Decision::Send => verdict.sent += 1,
                Decision::Hold(_) => verdict.held += 1,
                Decision::DeadLetter(code) => {
                    verdict.refuse(code, 1, || format!("the gate does not pass {name}"));
                    subject.get_or_insert(name);
                    continue;
                }
                Decision::Discard => {
                    verdict.refuse("device.terminated", 1, || format!("{name} is terminated"));
                    subject.get_or_insert(name);
                    continue;
                }
            }
            subject.get_or_insert(name);
            records.push(record);
        }
        if decoded.outcomes.is_empty() {
            let notes: Vec<&str> = decoded.notes.iter().map(|(rule, _)| *rule).collect();
            verdict.refuse(NO_RECORD, 1, || {
                format!("no record is made of it ({})", notes.join(", "))
            });
        }
        Ok(Judged {
            value: patched.then(|| joined(&records)),
            native: *other && (patched || read_as_native),
            verdict,
            subject,
        })
    }
}

/// One record as it is, several as an array.
fn joined(records: &[&[u8]]) -> Vec<u8> {
    if let [record] = records {
        return record.to_vec();
    }
    let mut all = vec![b'['];
    all.extend(records.join(&b','));
    all.push(b']');
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::gate::{Config, Mode};
    use crate::record::diagnostics::Diagnostics;
    use crate::registry::{Device, State};

    const MAPPING: &str = r#"
[device]
serial = "id"

[time]
path = "at"
format = "rfc3339"

[[record]]
type = "GpsRecord"
[record.fields]
Latitude = "lat"
Longitude = "lon"
Speed = { path = "speed", default = 0 }
IsGpsValid = { path = "valid", default = true }
IsIgnitionOn = { path = "ignition", default = true }
"#;

    fn mapping() -> Arc<Mapping> {
        let diagnostics = Diagnostics::shipped().expect("shipped");
        Arc::new(Mapping::compile("test", MAPPING, &diagnostics).expect("compiles"))
    }

    fn today(gate: Config, devices: &[Device], patch: bool) -> Today {
        let shapes = |topic: &str| match topic {
            "vendor" => Shape::Mapped(mapping()),
            _ => Shape::Native,
        };
        Today::new(
            Box::new(shapes),
            Formats::default(),
            Arc::new(Rules::new(&Default::default())),
            Gate::new(gate),
            Snapshot::new(devices).expect("fits"),
            patch.then(mapping),
        )
    }

    fn now() -> i64 {
        "2026-01-31T12:00:10Z"
            .parse::<jiff::Timestamp>()
            .expect("a time")
            .as_microsecond()
    }

    const VENDOR: &[u8] =
        br#"{"id":"CXBBE850E8BE","at":"2026-01-31T12:00:00Z","lat":1.5,"lon":2.5}"#;
    const NATIVE: &[u8] = br#"{"Type":"GpsRecord","DateTime":"2026-01-31T12:00:00Z","SerialNo":"CXBBE850E8BE","Latitude":1.5,"Longitude":2.5,"Speed":0.0,"IsGpsValid":true,"IsIgnitionOn":true}"#;

    #[test]
    fn a_mapped_record_of_a_mapped_topic_is_read_in_the_gateways_shape() {
        let mut today = today(Config::default(), &[], false);
        let judged = today.judge("vendor", VENDOR, now()).expect("judged");
        assert!(judged.verdict.passes(false) && !judged.native, "{judged:?}");
        let judged = today.judge("vendor", NATIVE, now()).expect("judged");
        assert!(judged.verdict.passes(false) && judged.native, "{judged:?}");
        assert_eq!(judged.subject.as_deref(), Some("CXBBE850E8BE"));
        let judged = today.judge("telemetry", NATIVE, now()).expect("judged");
        assert!(judged.verdict.passes(false) && !judged.native);
        assert!(
            !today
                .judge("telemetry", VENDOR, now())
                .expect("judged")
                .verdict
                .passes(false)
        );
    }

    #[test]
    fn a_patch_makes_records_of_the_letters_bytes() {
        let mut today = today(Config::default(), &[], true);
        let judged = today.judge("telemetry", VENDOR, now()).expect("judged");
        assert!(judged.verdict.passes(false), "{judged:?}");
        let value = judged.value.expect("made by the patch");
        assert!(is_native(&value));
        let two = [VENDOR, VENDOR].join(&b',');
        let array = [b"[", &two[..], b"]"].concat();
        let value = today
            .judge("telemetry", &array, now())
            .expect("judged")
            .value
            .expect("made");
        let read: Vec<serde_json::Value> = serde_json::from_slice(&value).expect("an array");
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn a_letter_in_another_format_is_read_in_it_and_its_records_are_not() {
        let topic = crate::formats::Topic {
            format: crate::formats::Format::JsonWithHeader,
            ..Default::default()
        };
        let topics = ["vendor", "telemetry"].map(|name| (name.to_owned(), topic.clone()));
        let formats = || Formats::open(&topics.clone().into(), &Default::default());
        let framed = |json: &[u8]| [&[0, 0, 0, 0, 7], json].concat();
        let mut today = today(Config::default(), &[], false);
        today.formats = formats().expect("no schema is needed");
        for (topic, json) in [("vendor", VENDOR), ("telemetry", NATIVE)] {
            let judged = today.judge(topic, &framed(json), now()).expect("judged");
            assert!(judged.verdict.passes(false) && !judged.native, "{judged:?}");
            // What the gateway refused is a record in its shape, and is written as one.
            let judged = today.judge(topic, NATIVE, now()).expect("judged");
            assert!(judged.verdict.passes(false) && judged.native, "{judged:?}");
        }
        let judged = today.judge("telemetry", VENDOR, now()).expect("judged");
        assert!(
            judged.verdict.refused.contains_key("format.header"),
            "{judged:?}"
        );
        let mut patched = self::today(Config::default(), &[], true);
        patched.formats = formats().expect("no schema is needed");
        let judged = patched
            .judge("telemetry", &framed(VENDOR), now())
            .expect("judged");
        assert!(judged.verdict.passes(false) && judged.native, "{judged:?}");
        assert!(is_native(&judged.value.expect("made by the patch")));
    }

    #[test]
    fn the_gate_of_today_counts() {
        let device = |state| Device {
            device_id: "d".into(),
            serial: Some("CXBBE850E8BE".into()),
            state,
            order: None,
            since: None,
        };
        let gate = Config {
            mode: Mode::Registry,
            ..Config::default()
        };
        let of = |devices: &[Device]| {
            let mut today = today(gate.clone(), devices, false);
            today
                .judge("telemetry", NATIVE, now())
                .expect("judged")
                .verdict
        };
        assert_eq!((of(&[device(State::Active)]).sent, of(&[]).held), (1, 1));
        assert_eq!(of(&[device(State::Pending)]).held, 1);
        let ended = of(&[device(State::Terminated)]);
        assert!(!ended.passes(true));
        assert_eq!(ended.refused.get("device.terminated"), Some(&1));
    }

    #[test]
    fn hostile_bytes_are_refused_with_a_rule() {
        let mut today = today(Config::default(), &[], false);
        for value in [
            &b""[..],
            b"\xff\xfe",
            b"[[[[",
            b"null",
            b"{\"Type\":1}",
            b"[]",
        ] {
            for topic in ["vendor", "telemetry"] {
                let verdict = today.judge(topic, value, now()).expect("judged").verdict;
                assert!(
                    !verdict.passes(true) && !verdict.refused.is_empty(),
                    "{value:?}"
                );
            }
        }
    }
}
