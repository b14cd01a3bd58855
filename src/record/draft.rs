//! Records that come from elsewhere than native JSON: a mapping describes one as a [`Draft`], and [`Checker::push`] puts it through
//! the same rules and the same renderer as a native record, and appends what it came to.
//!
//! ```text
//! let members = [(Member::Latitude, Value::Float(47.3)), (Member::Longitude, Value::Float(8.5))];
//! let draft = Draft { kind: RecordType::Gps, whose: Whose::Device("352093081452251"), ticks, members: &members, index: None, original: 0..payload.len() };
//! checker.push(&draft, devices, now, out);
//! ```
//!
//! A message that is no JSON, or too large, is refused with [`Checker::refuse_unreadable`] and [`Checker::refuse_oversized`], so that
//! mapped and native topics tell the same story. A mapping's own rejects (stage `Map`) are pushed to `out.outcomes` directly.

use std::ops::Range;

use simd_json::{Node, StaticNode, Tape};

use super::decode::Checker;
use super::judge::RecordValidator;
use super::members::Member;
use super::refuse::{self, RejectPlace};
use super::rules::RuleNo;
use super::validate::Rules;
use super::view::{MemberSlot, Subject, View, Violation};
use super::work::Sink;
use super::{Decoded, RecordType, SerialOf, datetime};

/// A member's value in a draft.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// As if the member were absent.
    Null,
    Bool(bool),
    /// For members of integer type; a [`Value::Float`] is rejected there, even a whole one.
    Int(i64),
    /// Rendered in its shortest form that reads back the same. Not finite: rejected.
    Float(f64),
    Text(&'a str),
}

/// Whose record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'a> {
    /// A Geotab serial, in any form the rules can normalise.
    Serial(&'a str),
    /// A device id, to be resolved through the device registry.
    Device(&'a str),
}

/// A record to be, described by values.
#[derive(Debug, Clone)]
pub struct Draft<'a> {
    pub kind: RecordType,
    pub whose: Whose<'a>,
    /// Units of 100 ns since the epoch.
    pub ticks: i64,
    /// Everything but Type, DateTime, SerialNo and DeviceId, in any order.
    pub members: &'a [(Member, Value<'a>)],
    /// Its index within the message, when one message makes several records; part of a reject's field path.
    pub index: Option<usize>,
    /// The bytes of the payload it was made of; kept in rejects and unknowns.
    pub original: Range<usize>,
}

impl Checker {
    /// Checks the draft and appends one outcome: valid, unknown device, or reject. `now` is microseconds since the epoch.
    pub fn push(
        &mut self,
        draft: &Draft<'_>,
        devices: &impl SerialOf,
        now: i64,
        out: &mut Decoded,
    ) {
        let datetime = datetime::render(draft.ticks);
        let datetime = std::str::from_utf8(datetime.bytes()).unwrap_or_default();
        let (whose, id) = match draft.whose {
            Whose::Serial(serial) => (Member::SerialNo, serial),
            Whose::Device(id) => (Member::DeviceId, id),
        };
        let mut nodes = std::mem::replace(&mut self.tape, Tape(Vec::new()))
            .reset()
            .0;
        let mut seen = 0;
        let mut violation = None;
        if !datetime::is_writable(draft.ticks) {
            let about = Subject::Member(Member::DateTime);
            violation = Some(Violation {
                rule: RuleNo::DateTimeForm,
                about,
            });
        }
        for (member, node) in [
            (Member::Type, Node::String(draft.kind.name())),
            (Member::DateTime, Node::String(datetime)),
            (whose, Node::String(id)),
        ]
        .into_iter()
        .chain(
            draft
                .members
                .iter()
                .filter_map(|&(member, value)| Some((member, value.node()?))),
        ) {
            let slot = MemberSlot {
                node: nodes.len() as u32,
                at: 0,
            };
            nodes.push(node);
            if seen & member.bit() != 0 {
                let about = Subject::Repeated(member, slot);
                violation.get_or_insert(Violation {
                    rule: RuleNo::MemberDuplicate,
                    about,
                });
                continue;
            }
            seen |= member.bit();
            self.slots[member as usize] = slot;
        }
        let view = View {
            nodes: &nodes,
            slots: &self.slots,
            seen,
            text: None,
        };
        self.work.desk.begin(true, 0);
        let checked = match violation {
            Some(violation) => Err(violation),
            None => self.work.desk.check(&self.rules, view, devices, now),
        };
        let place = RejectPlace {
            index: draft.index,
            original: draft.original.clone(),
        };
        let mut sink = Sink {
            outcomes: &mut out.outcomes,
            notes: &mut out.notes,
            tally: &mut out.tally,
        };
        self.work
            .conclude(&self.rules, checked, view, place, &mut sink);
        self.tape = Tape(nodes).reset();
        self.work.move_written(out);
    }

    /// The rules and limits in force.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Appends the reject of a message that the JSON parser refused: empty, not UTF-8, too deep, or no JSON.
    pub fn refuse_unreadable(&self, payload: &[u8], out: &mut Decoded) {
        let reject = refuse::unreadable(&self.rules, payload);
        out.reject(reject.rule, || reject);
    }

    /// Appends the reject of a message above [`Rules::max_message_bytes`].
    pub fn refuse_oversized(&self, payload: &[u8], out: &mut Decoded) {
        let reject = refuse::oversized(&self.rules, payload);
        out.reject(reject.rule, || reject);
    }
}

impl<'a> Value<'a> {
    fn node(self) -> Option<Node<'a>> {
        Some(match self {
            Value::Null => return None,
            Value::Bool(value) => Node::Static(StaticNode::Bool(value)),
            Value::Int(value) => Node::Static(StaticNode::I64(value)),
            Value::Float(value) => Node::Static(StaticNode::F64(value)),
            Value::Text(value) => Node::String(value),
        })
    }
}

impl RecordValidator {
    /// Counts this record's notes.
    #[cold]
    pub(super) fn count(&self, notes: &mut Vec<(&'static str, u64)>) {
        let mut left = self.notes;
        while left != 0 {
            if let Some(rule) = RuleNo::from_number(left.trailing_zeros()) {
                super::note(notes, rule.id());
            }
            left &= left - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::Outcome;

    const NOW: i64 = 1_763_700_000_000_000;
    const AT: i64 = 17_636_328_001_234_560;

    struct Fleet;

    impl SerialOf for Fleet {
        fn serial_of(&self, device_id: &str) -> Option<&str> {
            (device_id == "352093081452251").then_some("cx0b-2133-8d8d")
        }
    }

    /// The written record, or the broken rule and its field, or the unknown device id.
    fn push(
        whose: Whose<'_>,
        ticks: i64,
        kind: RecordType,
        members: &[(Member, Value<'_>)],
    ) -> String {
        let mut out = Decoded::default();
        let mut checker = Checker::new(Arc::default());
        let draft = Draft {
            kind,
            whose,
            ticks,
            members,
            index: Some(2),
            original: 0..9,
        };
        checker.push(&draft, &Fleet, NOW, &mut out);
        let [outcome] = &out.outcomes[..] else {
            panic!("{:?}", out.outcomes)
        };
        match outcome {
            Outcome::Valid(record) => {
                assert_eq!(record.serial(&out.bytes), b"CX0B21338D8D");
                String::from_utf8(record.bytes(&out.bytes).to_vec()).unwrap()
            }
            Outcome::Unknown(unknown) => {
                format!("unknown {} {:?}", unknown.device_id, unknown.original)
            }
            Outcome::Excess(excess) => panic!("one record was drafted: {excess:?}"),
            Outcome::Reject(reject) => {
                format!("{} {} = {}", reject.rule, reject.field, reject.value)
            }
        }
    }

    #[test]
    fn drafts_become_records_by_the_same_rules() {
        use Member::{Latitude, Longitude, Speed, VehicleIdentificationNumber, X, Y, Z};
        let device = Whose::Device("352093081452251");
        let place = [
            (Longitude, Value::Float(-79.6877)),
            (Latitude, Value::Int(43)),
            (Speed, Value::Null),
        ];
        assert_eq!(
            push(device, AT, RecordType::Gps, &place),
            r#"{"Type":"GpsRecord","DateTime":"2025-11-20T10:00:00.123456Z","SerialNo":"CX0B21338D8D","Latitude":43,"Longitude":-79.6877}"#
        );
        assert_eq!(
            push(Whose::Device("7"), AT, RecordType::Gps, &place),
            "unknown 7 0..9"
        );
        let vin = [(VehicleIdentificationNumber, Value::Text("a\"b"))];
        assert_eq!(
            push(Whose::Serial(" cx0b21338d8d"), AT, RecordType::Vin, &vin),
            r#"{"Type":"VinRecord","DateTime":"2025-11-20T10:00:00.123456Z","SerialNo":"CX0B21338D8D","VehicleIdentificationNumber":"A\"B"}"#
        );
        for (kind, at, members, expected) in [
            (
                RecordType::Gps,
                i64::MAX,
                &place[..],
                "record.datetime.form [2].DateTime = 9999-12-31T23:59:59.9999997Z",
            ),
            (
                RecordType::Gps,
                AT,
                &place[1..2],
                "record.member.missing [2].Longitude = ",
            ),
            (
                RecordType::Gps,
                AT,
                &[place[0], place[0]],
                "record.member.duplicate [2].Longitude = -79.6877",
            ),
            (
                RecordType::Gps,
                AT,
                &[place[0], (Latitude, Value::Float(f64::NAN))],
                "record.member.float32 [2].Latitude = NaN",
            ),
            (
                RecordType::Vin,
                AT,
                &[vin[0], (X, Value::Int(1))],
                "record.member.unknown [2].X = 1",
            ),
            (
                RecordType::Vin,
                AT,
                &[(VehicleIdentificationNumber, Value::Bool(true))],
                "record.member.json [2].VehicleIdentificationNumber = true",
            ),
            (
                RecordType::Acceleration,
                AT,
                &[
                    (X, Value::Int(1)),
                    (Y, Value::Float(1.0)),
                    (Z, Value::Int(1)),
                ],
                "record.member.json [2].Y = 1",
            ),
        ] {
            assert_eq!(push(device, at, kind, members), expected);
        }
    }
}
