//! Making one vendor message's records: whose they are, and each through the checker.

use std::borrow::Cow;
use std::ops::Range;

use super::file::Unmatched;
use super::path_context::Here;
use super::plan::{Record, Source, ValuePath};
use super::value::{Scalar, Value};
use super::{Fault, Mapping};
use crate::record::decode::Checker;
use crate::record::draft::{self, Draft, Whose};
use crate::record::members::Member;
use crate::record::{Decoded, Reject, SerialOf, Stage};

/// What the records of one vendor message are made with and go into.
pub(super) struct Call<'a, D: SerialOf> {
    pub devices: &'a D,
    /// Microseconds since the epoch.
    pub now: i64,
    /// The vendor message's bytes within the payload.
    pub original: Range<usize>,
    pub checker: &'a mut Checker,
    pub out: &'a mut Decoded,
    /// Bytes and outcomes there were before the payload.
    pub before: (usize, usize),
}

/// Times `validate.max_message_bytes` that the records of one payload may take.
pub(super) const TIMES: usize = 16;
/// What an outcome takes beside its record's bytes.
const OUTCOME_BYTES: usize = 512;

impl<D: SerialOf> Call<'_, D> {
    /// Counts something that made no record on purpose.
    pub fn note(&mut self, rule: &'static str, why: &str) {
        if let Some(trace) = &mut self.checker.trace {
            trace.push(format!("nothing is made: {why} ({rule})"));
        }
        self.out.note(rule);
    }

    /// Whether the payload has made more than it may.
    pub fn is_full(&self) -> bool {
        let (bytes, outcomes) = self.before;
        let made =
            self.out.bytes.len() - bytes + (self.out.outcomes.len() - outcomes) * OUTCOME_BYTES;
        made > self.checker.rules().max_message_bytes() * TIMES
    }
}

/// Makes the records of one vendor message; the device is looked up when the first record applies.
pub(super) struct Maker<'a, 'c, D: SerialOf> {
    mapping: &'a Mapping,
    pub call: &'a mut Call<'c, D>,
    case: Option<u32>,
    subject: Option<Cow<'a, str>>,
    /// The subject is a device id that has no serial yet.
    unknown: bool,
    /// The file's time in the message or element in hand, once it was asked for; `Some(None)`: it is wrong, and the reject is out.
    shared_time: Option<Option<i64>>,
    /// The members of the record in hand.
    members: Vec<(Member, Value<'a>)>,
    /// Whether a record was made since `unmatched` was asked last.
    pub made: bool,
    /// Whether anything has come of the message: a record, a reject or a note.
    pub ended: bool,
}

/// The most members a record type has, status codes included.
const MOST: usize = 16;

impl<'a, 'c: 'a, D: SerialOf> Maker<'a, 'c, D> {
    pub fn new(mapping: &'a Mapping, call: &'a mut Call<'c, D>, case: Option<u32>) -> Self {
        Self {
            mapping,
            call,
            case,
            subject: None,
            unknown: false,
            shared_time: None,
            members: Vec::new(),
            made: false,
            ended: false,
        }
    }

    /// Makes the records of this list, or those of the message, that apply.
    pub fn records<'n: 'a>(
        &mut self,
        here: &Here<'_, 'n>,
        list: Option<usize>,
    ) -> Result<(), Fault> {
        self.shared_time = None;
        for record in &self.mapping.records {
            if record.list != list {
                continue;
            }
            if here.applies(record, self.case) {
                self.look_up(here)?;
                self.record(here, record);
            } else if let Some(trace) = &mut self.call.checker.trace {
                trace.push(here.why_not(record, self.case));
            }
        }
        Ok(())
    }

    /// The next element is of a device of its own.
    pub fn forget_device(&mut self) {
        self.subject = None;
        self.unknown = false;
    }

    fn record<'n: 'a>(&mut self, here: &Here<'_, 'n>, record: &'a Record) {
        let before = (self.made, self.ended);
        (self.made, self.ended) = (true, true);
        let serial = self.subject.as_deref().unwrap_or_default();
        let time = match self.shared_time {
            Some(time) if !record.own_time => time.ok_or(None),
            _ => here.time(&record.time).map_err(Some),
        };
        if !record.own_time {
            self.shared_time = Some(time.as_ref().ok().copied());
        }
        let time = match time {
            Ok(time) => Ok(time),
            Err(Some(fault)) => Err(fault),
            // One wrong time is one reject, however many records it would have been the time of.
            Err(None) => return,
        };
        self.members.clear();
        let made = time.and_then(|ticks| Ok((ticks, here.members(record, &mut self.members)?)));
        let original = self.call.original.clone();
        if let Some(trace) = &mut self.call.checker.trace {
            trace.push(here.told(record, &made));
        }
        match made {
            // What its value is cut from holds none.
            Ok((_, false)) => (self.made, self.ended) = before,
            Ok((ticks, true)) => {
                let mut members = [(Member::Type, draft::Value::Null); MOST];
                for (slot, (member, value)) in members.iter_mut().zip(&self.members) {
                    *slot = (*member, value.as_draft());
                }
                let members = &members[..self.members.len().min(MOST)];
                let index = here.index();
                let draft = Draft {
                    kind: record.kind,
                    whose: if self.unknown {
                        Whose::Device(serial)
                    } else {
                        Whose::Serial(serial)
                    },
                    ticks,
                    members,
                    index,
                    original,
                };
                self.call
                    .checker
                    .push(&draft, self.call.devices, self.call.now, self.call.out);
            }
            // V2
            Err(fault) => {
                let subject = serial.to_owned();
                self.call
                    .out
                    .reject(fault.rule, || reject(fault, Some(subject), &original));
            }
        }
    }

    /// Makes the records of one element of a list.
    pub fn element<'n: 'a>(&mut self, here: &Here<'_, 'n>, list: usize) -> Result<(), Fault> {
        self.records(here, Some(list))?;
        if std::mem::take(&mut self.made) {
            return Ok(());
        }
        let level = here
            .element
            .map_or(0, |element| element.list.levels.len() - 1);
        match self.unmatched(here.element_name(level)) {
            Err(fault) => self.fault(here, fault),
            made => made,
        }
    }

    /// Ends one element with a reject.
    pub fn fault<'n: 'a>(&mut self, here: &Here<'_, 'n>, fault: Fault) -> Result<(), Fault> {
        // Of an element with a device of its own only what was found so far is known.
        if here.element.is_none_or(|element| !element.list.own_device) {
            self.look_up(here)?;
        }
        self.ended = true;
        let (subject, original) = (self.subject.as_deref(), &self.call.original);
        self.call.out.reject(fault.rule, || {
            reject(fault, subject.map(str::to_owned), original)
        });
        Ok(())
    }

    /// V1: what becomes of a message (or its element, named `field`) that no record was made of.
    pub fn unmatched(&mut self, field: String) -> Result<(), Fault> {
        if std::mem::take(&mut self.made) {
            return Ok(());
        }
        match self.mapping.unmatched {
            Unmatched::Skip => {
                self.ended = true;
                self.call.note("map.unmatched", "no record applies");
                Ok(())
            }
            Unmatched::Reject => Err(Fault {
                rule: "map.unmatched",
                field,
                value: "no record applies".to_owned(),
                bound: "a message that fulfils a record's `when`".to_owned(),
            }),
        }
    }

    /// Finds the serial, once.
    fn look_up<'n: 'a>(&mut self, here: &Here<'_, 'n>) -> Result<(), Fault> {
        if self.subject.is_some() {
            return Ok(());
        }
        let device = here.device_of(self.mapping);
        for source in &device.serial {
            if let Some(serial) = self.named(here, source)? {
                self.subject = Some(serial);
                return Ok(());
            }
        }
        let mut found = None;
        for source in &device.id {
            found = self.named(here, source)?;
            if found.is_some() {
                break;
            }
        }
        let Some(id) = found else {
            let places: Vec<ValuePath> = device
                .serial
                .iter()
                .chain(&device.id)
                .flat_map(|source| source.places.iter().copied())
                .collect();
            return Err(Fault::absent(
                "map.device",
                here.names(&places),
                "a serial or a device id".to_owned(),
            ));
        };
        let device_id = id.trim();
        if device_id.chars().count() > 128 || device_id.chars().any(char::is_control) {
            let bound = "1..128 characters without control characters".to_owned();
            let names: Vec<ValuePath> = device.id.iter().flat_map(|id| id.places.clone()).collect();
            return Err(Fault::new(
                "map.device",
                &here.names(&names),
                Scalar::Text(&id),
                bound,
            ));
        }
        let devices = self.call.devices;
        self.subject = Some(match devices.serial_of(device_id) {
            Some(serial) => Cow::Borrowed(serial),
            None => {
                self.unknown = true;
                Cow::Owned(device_id.to_owned())
            }
        });
        Ok(())
    }

    /// The text of one of the device's names, unless it is blank.
    fn named<'n: 'a>(
        &self,
        here: &Here<'_, 'n>,
        source: &'a Source,
    ) -> Result<Option<Cow<'a, str>>, Fault> {
        let text = if source.is_plain() {
            here.pick(&source.places)?.map(|(_, scalar)| scalar.text())
        } else {
            here.value(source)?.map(Value::text)
        };
        Ok(text.filter(|text| !text.trim().is_empty()))
    }
}

pub(super) fn reject(fault: Fault, subject: Option<String>, original: &Range<usize>) -> Reject {
    let Fault {
        rule,
        field,
        value,
        bound,
    } = fault;
    Reject {
        rule,
        field,
        value,
        bound,
        stage: Stage::Map,
        subject,
        original: original.clone(),
    }
}
