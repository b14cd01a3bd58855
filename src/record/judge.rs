//! The rules applied to one record.
//!
//! Order: type, foreign members, DateTime, serial or device id, then the type's members in table order, then rules over several
//! members. The first broken rule that rejects ends the check; notes (warnings, normalisations) count only for records that pass.
//! Owns the normalised texts of the record in hand; allocates nothing once these have grown.

use simd_json::{Node, StaticNode};

use super::datetime::{self, LastDay, Unreadable};
use super::members::{self, Member};
use super::rules::{self, Form, RuleNo};
use super::steps::Step;
use super::text;
use super::validate::{Action, Limit, Rules, UnknownMembers};
use super::view::{Subject, View, Violation};
use super::{RecordType, SerialOf};

/// What a record that broke no rejecting rule is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passed {
    pub kind: RecordType,
    /// The device id is in the record, but the device registry has no serial for it.
    pub unknown_device: bool,
}

/// The record in hand: what was normalised, and what is to be counted.
#[derive(Debug, Default)]
pub(super) struct RecordValidator {
    /// Whether the record must be written anew.
    pub rewrite: bool,
    /// Rules to be counted, as bits.
    pub notes: u128,
    /// The normalised serial; meaningful when `serial_rewritten`.
    pub serial: String,
    pub serial_rewritten: bool,
    /// The instant to be written in place of DateTime's text, in units of 100 ns since the epoch.
    pub datetime: Option<i64>,
    /// The record's own time in microseconds since the epoch, however it was written.
    pub micros: i64,
    /// Its seventh fraction digit.
    tick: u8,
    last_day: LastDay,
    /// The normalised Bluetooth address or VIN.
    pub member_text: String,
    pub member_rewritten: bool,
}

const MEMBERS_OF: [u64; 12] = {
    let mut sets = [0; 12];
    let mut at = 0;
    while at < sets.len() {
        sets[RecordType::ALL[at] as usize] = rules::members_of(RecordType::ALL[at]);
        at += 1;
    }
    sets
};

type Checked<T = ()> = Result<T, Violation>;

#[inline]
fn broken(rule: RuleNo, member: Member) -> Violation {
    Violation {
        rule,
        about: Subject::Member(member),
    }
}

impl RecordValidator {
    /// Clears the desk for a record whose scan found this.
    #[inline]
    pub fn begin(&mut self, rewrite: bool, notes: u128) {
        self.rewrite = rewrite;
        self.notes = notes;
        self.serial_rewritten = false;
        self.member_rewritten = false;
        self.datetime = None;
    }

    /// The record's own time in units of 100 ns since the epoch.
    #[inline]
    pub fn ticks(&self) -> i64 {
        self.micros * datetime::TICKS + i64::from(self.tick)
    }

    #[inline]
    pub fn note(&mut self, rule: RuleNo) {
        self.notes |= 1 << rule as u8;
    }

    fn normalised(&mut self, rule: RuleNo) {
        self.rewrite = true;
        self.note(rule);
    }

    /// A broken rule: rejects, is counted, or is ignored.
    #[inline]
    fn violate(&mut self, rules: &Rules, rule: RuleNo, about: Subject) -> Checked {
        match rules.action(rule) {
            Action::Reject => Err(Violation { rule, about }),
            Action::Note => {
                self.note(rule);
                Ok(())
            }
            Action::Ignore => Ok(()),
        }
    }

    /// Applies every rule to the record. `now` is microseconds since the epoch.
    #[inline]
    pub fn check(
        &mut self,
        rules: &Rules,
        view: View<'_, '_>,
        devices: &impl SerialOf,
        now: i64,
    ) -> Checked<Passed> {
        let kind = self.kind(view)?;
        if view.seen & !MEMBERS_OF[kind as usize] != 0 {
            self.foreign(rules, view, kind)?;
        }
        let instant = self.instant(rules, view, now)?;
        let unknown_device = self.whose(rules, view, devices)?;
        let steps = rules.steps(kind);
        if steps.required & !view.seen == 0 {
            // Nothing is said about a member that may be absent and is.
            let mut there = steps.members & view.seen;
            while there != 0 {
                if let Some(step) = steps.of(there.trailing_zeros() as usize) {
                    self.step(rules, view, step)?;
                }
                there &= there - 1;
            }
        } else {
            for step in &steps.list {
                self.step(rules, view, step)?;
            }
        }
        match kind {
            RecordType::Gps => self.position(rules, view)?,
            RecordType::GenericStatus => self.diagnostic(rules, view)?,
            RecordType::J1708Fault
                if view.has(Member::ParameterId) == view.has(Member::SubsystemId) =>
            {
                self.violate(
                    rules,
                    RuleNo::J1708One,
                    Subject::Member(Member::ParameterId),
                )?;
            }
            RecordType::DriverChange if instant > now => {
                self.violate(
                    rules,
                    RuleNo::DriverChangeFuture,
                    Subject::Member(Member::DateTime),
                )?;
            }
            _ => {}
        }
        Ok(Passed {
            kind,
            unknown_device,
        })
    }

    #[inline]
    fn kind(&mut self, view: View<'_, '_>) -> Checked<RecordType> {
        let name = string(view, Member::Type)?;
        match members::exact_type(name.as_bytes()) {
            Some(kind) => Ok(kind),
            None => match members::any_case_type(name.as_bytes()) {
                Some(kind) => {
                    self.normalised(RuleNo::TypeCase);
                    Ok(kind)
                }
                None => Err(broken(RuleNo::TypeName, Member::Type)),
            },
        }
    }

    #[cold]
    fn foreign(&mut self, rules: &Rules, view: View<'_, '_>, kind: RecordType) -> Checked {
        let foreign = view.seen & !MEMBERS_OF[kind as usize];
        match rules.config.unknown_members {
            UnknownMembers::Drop => {
                self.normalised(RuleNo::MemberDropped);
                Ok(())
            }
            UnknownMembers::Reject => {
                let first = Member::from_number(foreign.trailing_zeros() as usize);
                let about = first.map_or(Subject::Record, Subject::Member);
                Err(Violation {
                    rule: RuleNo::MemberUnknown,
                    about,
                })
            }
        }
    }

    #[inline]
    fn instant(&mut self, rules: &Rules, view: View<'_, '_>, now: i64) -> Checked<i64> {
        let text = string(view, Member::DateTime)?;
        let instant = datetime::parse_after(text.as_bytes(), &mut self.last_day);
        let instant = instant.map_err(|why| match why {
            Unreadable::Form => broken(RuleNo::DateTimeForm, Member::DateTime),
            Unreadable::Zoneless => broken(RuleNo::DateTimeZone, Member::DateTime),
        })?;
        (self.micros, self.tick) = (instant.micros, instant.tick);
        if !instant.verbatim {
            self.datetime = Some(instant.ticks());
            self.normalised(RuleNo::DateTimeUtc);
        }
        if instant.micros < now.saturating_sub(rules.past) {
            self.violate(
                rules,
                RuleNo::DateTimePast,
                Subject::Member(Member::DateTime),
            )?;
        }
        if instant.micros > now.saturating_add(rules.future) {
            self.violate(
                rules,
                RuleNo::DateTimeFuture,
                Subject::Member(Member::DateTime),
            )?;
        }
        Ok(instant.micros)
    }

    /// Settles the serial; true when the device is unknown.
    #[inline]
    fn whose(
        &mut self,
        rules: &Rules,
        view: View<'_, '_>,
        devices: &impl SerialOf,
    ) -> Checked<bool> {
        if view.has(Member::SerialNo) {
            let serial = string(view, Member::SerialNo)?;
            if view.has(Member::DeviceId) {
                self.normalised(RuleNo::DeviceIdDropped);
            }
            if !super::serial::is_usual(serial.as_bytes()) {
                self.serial(rules, serial)?;
            }
            return Ok(false);
        }
        if !view.has(Member::DeviceId) {
            return Err(broken(RuleNo::MemberMissing, Member::SerialNo));
        }
        let Some(device_id) = device_id(view) else {
            return Err(broken(RuleNo::DeviceIdForm, Member::DeviceId));
        };
        self.rewrite = true;
        let Some(serial) = devices.serial_of(device_id) else {
            return Ok(true);
        };
        if super::serial::is_usual(serial.as_bytes()) {
            self.serial.clear();
            self.serial.push_str(serial);
        } else {
            self.serial(rules, serial)?;
        }
        self.serial_rewritten = true;
        Ok(false)
    }

    /// A serial that is not of the usual shape.
    #[cold]
    fn serial(&mut self, rules: &Rules, given: &str) -> Checked {
        if rules.config.normalise_serial {
            super::serial::normalise(given, &mut self.serial);
        } else {
            self.serial.clear();
            self.serial.push_str(given.trim());
        }
        if self.serial != given {
            self.serial_rewritten = true;
            self.normalised(RuleNo::SerialNormalised);
        }
        if !text::is_plain(&self.serial) {
            return Err(broken(RuleNo::SerialText, Member::SerialNo));
        }
        if !within(
            rules.bounds(RuleNo::SerialLength),
            self.serial.chars().count(),
        ) {
            return Err(broken(RuleNo::SerialLength, Member::SerialNo));
        }
        if !super::serial::is_usual(self.serial.as_bytes()) {
            self.violate(
                rules,
                RuleNo::SerialShape,
                Subject::Member(Member::SerialNo),
            )?;
        }
        Ok(())
    }

    #[inline]
    fn step(&mut self, rules: &Rules, view: View<'_, '_>, step: &Step) -> Checked {
        let about = Subject::Member(step.member);
        let Some(node) = view.node(step.member) else {
            return match step.absent {
                Some(rule) => self.violate(rules, rule, about),
                None => Ok(()),
            };
        };
        let limits = &rules.limits[usize::from(step.from)..usize::from(step.to)];
        match (step.form, node) {
            (Form::Bool, Node::Static(StaticNode::Bool(_))) => Ok(()),
            (Form::Number, Node::Static(StaticNode::F64(value))) => {
                if !(value as f32).is_finite() {
                    return Err(Violation {
                        rule: RuleNo::MemberFloat32,
                        about,
                    });
                }
                self.limits(rules, limits, value, about)
            }
            (Form::Number | Form::Integer, Node::Static(StaticNode::I64(value))) => {
                self.limits(rules, limits, value as f64, about)
            }
            (Form::Number | Form::Integer, Node::Static(StaticNode::U64(value))) => {
                self.limits(rules, limits, value as f64, about)
            }
            (Form::Base64(form, size), Node::String(value)) => {
                base64(rules, value, form, size, step.member)
            }
            (Form::TroubleCode, Node::String(value)) => self.trouble_code(rules, value, about),
            (Form::Address, Node::String(value)) => self.address(value),
            (Form::Vin, Node::String(value)) => self.vin(rules, value, about),
            _ => Err(Violation {
                rule: RuleNo::MemberJson,
                about,
            }),
        }
    }

    #[inline]
    fn limits(&mut self, rules: &Rules, limits: &[Limit], value: f64, about: Subject) -> Checked {
        for limit in limits {
            let between = limit.low <= value && value <= limit.high;
            if between == limit.inverted
                && !(limit.rule == RuleNo::StatusCodeDropped && rules.allows_status(value))
            {
                self.violate(rules, limit.rule, about)?;
            }
        }
        Ok(())
    }

    fn position(&mut self, rules: &Rules, view: View<'_, '_>) -> Checked {
        let valid = matches!(
            view.node(Member::IsGpsValid),
            Some(Node::Static(StaticNode::Bool(true)))
        );
        if valid
            && view.number(Member::Latitude) == Some(0.0)
            && view.number(Member::Longitude) == Some(0.0)
        {
            self.violate(rules, RuleNo::GpsZero, Subject::Member(Member::Latitude))?;
        }
        Ok(())
    }

    fn diagnostic(&mut self, rules: &Rules, view: View<'_, '_>) -> Checked {
        let (Some(code), Some(value)) = (view.number(Member::Code), view.number(Member::Value))
        else {
            return Ok(());
        };
        match rules.raw_bounds(code) {
            None => self.violate(
                rules,
                RuleNo::GenericStatusCodeUnknown,
                Subject::Member(Member::Code),
            ),
            Some((low, high)) if value < low as f64 || value > high as f64 => self.violate(
                rules,
                RuleNo::GenericStatusValueLength,
                Subject::Member(Member::Value),
            ),
            Some(_) => Ok(()),
        }
    }

    fn trouble_code(&mut self, rules: &Rules, value: &str, about: Subject) -> Checked {
        if !within(rules.bounds(RuleNo::ObdiiLength), value.chars().count()) {
            return Err(Violation {
                rule: RuleNo::ObdiiLength,
                about,
            });
        }
        if !text::is_trouble_code(value) {
            self.violate(rules, RuleNo::ObdiiShape, about)?;
        }
        Ok(())
    }

    fn address(&mut self, value: &str) -> Checked {
        let Some(address) = text::bluetooth_address(value) else {
            return Err(broken(RuleNo::AddressForm, Member::Address));
        };
        if value.as_bytes() != address {
            self.member_text.clear();
            self.member_text
                .extend(address.iter().map(|&byte| char::from(byte)));
            self.member_rewritten = true;
            self.normalised(RuleNo::AddressNormalised);
        }
        Ok(())
    }

    fn vin(&mut self, rules: &Rules, value: &str, about: Subject) -> Checked {
        let vin = text::normalise_vin(value);
        let characters = vin.chars().count();
        if !within(rules.bounds(RuleNo::VinLength), characters) {
            return Err(Violation {
                rule: RuleNo::VinLength,
                about,
            });
        }
        if vin != value {
            self.member_text.clear();
            self.member_text.push_str(&vin);
            self.member_rewritten = true;
            self.normalised(RuleNo::VinNormalised);
        }
        if characters != 17 {
            self.violate(rules, RuleNo::VinShort, about)?;
        }
        if !text::is_vin_alphabet(&vin) {
            self.violate(rules, RuleNo::VinAlphabet, about)?;
        } else if characters == 17 && !text::has_check_digit(&vin) {
            self.violate(rules, RuleNo::VinCheckDigit, about)?;
        }
        Ok(())
    }
}

/// A member that must be there and be a string.
#[inline]
fn string<'a>(view: View<'_, 'a>, member: Member) -> Checked<&'a str> {
    match view.node(member) {
        Some(Node::String(text)) => Ok(text),
        Some(_) => Err(broken(RuleNo::MemberJson, member)),
        None => Err(broken(RuleNo::MemberMissing, member)),
    }
}

/// The device id, trimmed, when it is a usable one.
pub(super) fn device_id<'a>(view: View<'_, 'a>) -> Option<&'a str> {
    let Some(Node::String(text)) = view.node(Member::DeviceId) else {
        return None;
    };
    let id = text.trim();
    let usable = !id.is_empty()
        && id.len() <= 512
        && id.chars().count() <= 128
        && !id.chars().any(char::is_control);
    usable.then_some(id)
}

fn base64(rules: &Rules, value: &str, form: RuleNo, size: RuleNo, member: Member) -> Checked {
    let Some(decoded) = text::base64_len(value) else {
        return Err(broken(form, member));
    };
    let (low, high) = rules.bounds(size);
    let fits = decoded as f64 >= low
        && (if rules.config.strict_base64 {
            value.len()
        } else {
            decoded
        }) as f64
            <= high;
    if fits {
        Ok(())
    } else {
        Err(broken(size, member))
    }
}

fn within((low, high): (f64, f64), count: usize) -> bool {
    (low..=high).contains(&(count as f64))
}
