//! The one table of rules, and the shape of the twelve record types.
//!
//! A rule is data: id, severity, whom it concerns, the kind of check, what may be set, and where it comes from. The
//! settings of `[validate]` change severities and bounds of those rules that are assumptions; the gateway's own
//! specification is fixed. `explain` prints this table, `judge` applies it. Rules that concern a whole request
//! (records, bytes, uniqueness) are not records' and not here.

use std::fmt;

use super::members::Member::{self, *};
use super::{RecordType as T, Stage};

/// What happens when a rule is broken.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The record becomes a dead letter.
    Reject,
    /// The gateway is likely to hand the record back later: `hold_back` in `[validate]` says whether it is let through
    /// with a warning (the default) or rejected.
    HoldBack,
    /// Sent, and counted.
    Warn,
    /// Repaired, sent, and counted.
    Normalise,
    /// Not looked at.
    Off,
}

impl Severity {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::HoldBack => "hold_back",
            Self::Warn => "warn",
            Self::Normalise => "normalise",
            Self::Off => "off",
        }
    }
}

/// How a rule is checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Check {
    /// By code that belongs to the form of the message or member.
    Coded,
    /// The number lies between the two, both included.
    Within(f64, f64),
    /// The number does not lie between the two, both included.
    Outside(f64, f64),
    /// The text has between so many characters, both included.
    Chars(f64, f64),
    /// Elsewhere in the program; listed so that `explain` knows it.
    Elsewhere,
}

/// What the settings may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tune {
    /// Nothing: the gateway's specification says so.
    Fixed,
    /// `severity."ID"`.
    Severity,
    /// `severity."ID"` and `bounds."ID"`.
    Bounds,
    /// `bounds."ID"` only.
    BoundsOnly,
    /// This one setting.
    Named(&'static str),
    /// This one setting, and `severity."ID"`.
    NamedAndSeverity(&'static str),
}

/// A rule of the table.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub id: &'static str,
    pub severity: Severity,
    /// The record types it concerns; empty means all.
    pub types: &'static [T],
    /// The members it concerns; empty means the message or record as a whole.
    pub members: &'static [Member],
    pub check: Check,
    pub tune: Tune,
    /// What would be right.
    pub expected: &'static str,
    /// What the rule says and why, one or two sentences.
    pub what: &'static str,
    /// Document and section.
    pub source: &'static str,
}

impl Rule {
    #[must_use]
    pub fn stage(&self) -> Stage {
        if self.id.starts_with("message.") {
            Stage::Decode
        } else {
            Stage::Validate
        }
    }

    /// Whether `severity."ID"` may be set.
    #[must_use]
    pub fn has_free_severity(&self) -> bool {
        matches!(
            self.tune,
            Tune::Severity | Tune::Bounds | Tune::NamedAndSeverity(_)
        )
    }

    /// Whether `bounds."ID"` may be set.
    #[must_use]
    pub fn has_free_bounds(&self) -> bool {
        matches!(self.tune, Tune::Bounds | Tune::BoundsOnly)
    }

    pub(super) fn concerns(&self, kind: T) -> bool {
        self.types.is_empty() || self.types.contains(&kind)
    }
}

macro_rules! rules {
    ($($name:ident: $id:literal, $severity:ident, $types:expr, $members:expr, $check:expr, $tune:expr, $expected:literal, $what:literal, $source:literal;)*) => {
        /// A rule's number in the table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum RuleNo { $($name),* }

        /// How many rules there are.
        pub const COUNT: usize = [$(RuleNo::$name),*].len();

        /// The table, by number.
        pub static RULES: [Rule; COUNT] = [$(Rule {
            id: $id, severity: Severity::$severity, types: &$types, members: &$members, check: $check, tune: $tune,
            expected: $expected, what: $what, source: $source,
        }),*];

        const NUMBERS: [RuleNo; COUNT] = [$(RuleNo::$name),*];
    };
}

use self::Check::{Chars, Coded, Elsewhere, Outside, Within};
use self::Tune::{Bounds, BoundsOnly, Fixed, Named, NamedAndSeverity};

const INT32: Check = Within(-2_147_483_648.0, 2_147_483_647.0);

include!("table.in");

impl RuleNo {
    pub fn all() -> impl Iterator<Item = Self> {
        NUMBERS.into_iter()
    }

    #[must_use]
    pub const fn rule(self) -> &'static Rule {
        &RULES[self as usize]
    }

    #[must_use]
    pub const fn id(self) -> &'static str {
        self.rule().id
    }

    /// The rule with this id.
    ///
    /// # Errors
    /// [`NoSuchRule`] with the ids that are most alike.
    pub fn find(id: &str) -> Result<Self, NoSuchRule> {
        Self::all()
            .find(|no| no.id() == id)
            .ok_or_else(|| NoSuchRule {
                id: id.chars().take(120).collect(),
                alike: alike(id, RULES.iter().map(|rule| rule.id)),
            })
    }

    pub(super) fn from_number(number: u32) -> Option<Self> {
        NUMBERS.get(number as usize).copied()
    }
}

impl serde::Serialize for RuleNo {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

/// There is no rule of that id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSuchRule {
    pub id: String,
    pub alike: Vec<&'static str>,
}

impl fmt::Display for NoSuchRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no rule {:?}", self.id)?;
        if !self.alike.is_empty() {
            write!(f, "; did you mean {}?", self.alike.join(", "))?;
        }
        Ok(())
    }
}

impl std::error::Error for NoSuchRule {}

/// Up to five of the ids, most alike first: those that contain the text, then by edits needed.
pub fn alike(text: &str, ids: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let needle: String = text.to_lowercase().chars().take(60).collect();
    let mut ranked: Vec<(usize, &'static str)> = ids
        .filter_map(|id| {
            if !needle.is_empty() && id.contains(&needle) {
                return Some((0, id));
            }
            let edits = strsim::levenshtein(&needle, id);
            (edits <= 2 + id.len() / 4).then_some((edits, id))
        })
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().take(5).map(|(_, id)| id).collect()
}

/// The form of a member's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Any JSON number that a 32-bit float can hold.
    Number,
    /// A JSON number written without fraction and exponent.
    Integer,
    Bool,
    /// A trouble code.
    TroubleCode,
    /// Base64; the two rules are for its form and its size.
    Base64(RuleNo, RuleNo),
    /// A Bluetooth address.
    Address,
    Vin,
}

impl Form {
    /// What is expected, in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Integer => "an integer without fraction or exponent",
            Self::Bool => "true or false",
            Self::TroubleCode | Self::Base64(..) | Self::Address | Self::Vin => "a string",
        }
    }
}

/// A member of a type beside `Type`, `DateTime` and `SerialNo`.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub member: Member,
    pub form: Form,
    /// The rule broken when it is absent.
    pub absent: Option<RuleNo>,
}

const fn required(member: Member, form: Form) -> Field {
    Field {
        member,
        form,
        absent: Some(RuleNo::MemberMissing),
    }
}

const fn optional(member: Member, form: Form) -> Field {
    Field {
        member,
        form,
        absent: None,
    }
}

const fn advised(member: Member, form: Form, rule: RuleNo) -> Field {
    Field {
        member,
        form,
        absent: Some(rule),
    }
}

/// The members of a type, in the order they are checked and rendered, that of [`Member`] (source: OpenAPI v3.4.2; dig/API.md 8, 12).
#[must_use]
pub const fn fields(kind: T) -> &'static [Field] {
    use Form::{Base64, Bool, Integer, Number, TroubleCode};
    const STATUS: &[Field] = &[required(Code, Integer), required(Value, Integer)];
    match kind {
        T::Acceleration => {
            const {
                &[
                    required(X, Integer),
                    required(Y, Integer),
                    required(Z, Integer),
                ]
            }
        }
        T::Binary => {
            const {
                &[required(
                    Data,
                    Base64(RuleNo::BinaryBase64, RuleNo::BinarySize),
                )]
            }
        }
        T::Bluetooth => {
            const {
                &[
                    required(Address, Form::Address),
                    required(Data, Number),
                    required(DataType, Integer),
                ]
            }
        }
        T::DriverChange => {
            const {
                &[
                    required(KeyType, Integer),
                    required(
                        DriverId,
                        Base64(RuleNo::DriverIdBase64, RuleNo::DriverIdSize),
                    ),
                ]
            }
        }
        T::GenericFault => {
            const {
                &[
                    required(Code, Integer),
                    advised(FaultStateActive, Bool, RuleNo::GenericFaultStateAbsent),
                ]
            }
        }
        T::GenericStatus | T::Status => STATUS,
        T::Gps => {
            const {
                &[
                    required(Latitude, Number),
                    required(Longitude, Number),
                    optional(Speed, Number),
                    advised(IsGpsValid, Bool, RuleNo::GpsValidAbsent),
                    advised(IsIgnitionOn, Bool, RuleNo::GpsIgnitionAbsent),
                    optional(IsAuxiliary1On, Bool),
                    optional(IsAuxiliary2On, Bool),
                    optional(IsAuxiliary3On, Bool),
                    optional(IsAuxiliary4On, Bool),
                    optional(IsAuxiliary5On, Bool),
                    optional(IsAuxiliary6On, Bool),
                    optional(IsAuxiliary7On, Bool),
                    optional(IsAuxiliary8On, Bool),
                ]
            }
        }
        T::J1708Fault => {
            const {
                &[
                    required(MessageId, Integer),
                    optional(ParameterId, Integer),
                    optional(SubsystemId, Integer),
                    required(FailureModeIdentifier, Integer),
                    required(OccurrenceCount, Integer),
                    required(FaultStateActive, Bool),
                ]
            }
        }
        T::J1939Fault => {
            const {
                &[
                    required(SuspectParameterNumber, Integer),
                    required(FailureModeIdentifier, Integer),
                    required(OccurrenceCount, Integer),
                    required(SourceAddress, Integer),
                    optional(MalfunctionLamp, Bool),
                    optional(RedStopLamp, Bool),
                    optional(AmberWarningLamp, Bool),
                    optional(ProtectWarningLamp, Bool),
                    required(FaultStateActive, Bool),
                ]
            }
        }
        T::ObdiiFault => {
            const {
                &[
                    required(Code, TroubleCode),
                    required(FaultStateActive, Bool),
                ]
            }
        }
        T::Vin => const { &[required(VehicleIdentificationNumber, Form::Vin)] },
    }
}

/// The members a type may have, as a set; `DeviceId` is among them because it is taken out before sending.
#[must_use]
pub const fn members_of(kind: T) -> u64 {
    let mut set = Type.bit() | DateTime.bit() | SerialNo.bit() | DeviceId.bit();
    let fields = fields(kind);
    let mut at = 0;
    while at < fields.len() {
        set |= fields[at].member.bit();
        at += 1;
    }
    set
}

const _: () = assert!(COUNT <= 128, "the notes of a record are a set of 128 bits");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_well_formed() {
        let mut seen = std::collections::BTreeSet::new();
        for rule in &RULES {
            assert!(seen.insert(rule.id), "{} twice", rule.id);
            assert!(
                rule.id
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c))
            );
            assert!(
                !rule.what.is_empty() && !rule.source.is_empty() && !rule.expected.is_empty(),
                "{}",
                rule.id
            );
            assert!(
                !rule.has_free_bounds()
                    || matches!(rule.check, Within(..) | Outside(..) | Chars(..)),
                "{}",
                rule.id
            );
            for kind in rule.types {
                for member in rule.members {
                    assert!(
                        members_of(*kind) & member.bit() != 0,
                        "{}: {member:?} is no member of {kind:?}",
                        rule.id
                    );
                }
            }
        }
    }

    #[test]
    fn suggestions() {
        let wrong = RuleNo::find("gps.latitud.range").unwrap_err();
        assert_eq!(wrong.alike[0], "gps.latitude.range");
        assert!(
            wrong
                .to_string()
                .contains("did you mean gps.latitude.range")
        );
        assert!(
            RuleNo::find("speed")
                .unwrap_err()
                .alike
                .contains(&"gps.speed.high")
        );
        assert!(
            RuleNo::find("zzzzzzzzzzzzzzzzzzzzzzzzzzz")
                .unwrap_err()
                .alike
                .is_empty()
        );
    }
}
