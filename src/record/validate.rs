//! The settings of validation, and the table of rules compiled with them.
//!
//! Owns what may be changed about the table in [`super::rules`]: severities and bounds of assumptions. Unknown rule ids and
//! fixed rules are refused while the settings are read, so compiling cannot fail.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::RecordType;
use super::diagnostics::Diagnostics;
use super::members::{self, Member};
use super::rules::{self, Check, Form, RuleNo, Severity};
use super::steps::{Step, Steps};

/// What `hold_back` rules do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldBack {
    /// The record is sent and the rule counted.
    #[default]
    Warn,
    /// The record becomes a dead letter.
    Reject,
}

/// What becomes of members that a type does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownMembers {
    /// The record becomes a dead letter.
    #[default]
    Reject,
    /// The member is removed, the record sent.
    Drop,
}

/// Settings of validation (`[validate]`). `dig-ingest explain` lists the rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Maximum size of a message in bytes; a larger message is rejected without being parsed.
    pub max_message_bytes: u32,
    /// Maximum nesting of objects and arrays in a message, in levels (1 or more).
    pub max_depth: u16,
    /// Treatment of members that the record type does not define: `reject` the record, or `drop` the member.
    pub unknown_members: UnknownMembers,
    /// Treatment of records that break a rule of severity `hold_back`: `warn` sends and counts the record, `reject` makes it a dead
    /// letter.
    pub hold_back: HoldBack,
    /// Whether serials are normalised: hyphens and zero-width spaces removed, letters upper-cased.
    pub normalise_serial: bool,
    /// Unit of the size limits of Base64 members: encoded characters (true) or decoded bytes (false).
    pub strict_base64: bool,
    /// Codes from 128 to 1999 that are permitted in a `StatusRecord` by agreement with Geotab.
    pub status_code_allow: Vec<i64>,
    /// Maximum age of a record in days (rule `record.datetime.past`).
    pub past_days: u32,
    /// Maximum time in seconds by which the date of a record may lie in the future (rule `record.datetime.future`).
    pub future_s: u32,
    /// Severity by rule id: `reject`, `hold_back`, `warn` or `off`. Only the severities of assumptions and advice can be changed.
    #[serde(deserialize_with = "severities")]
    pub severity: BTreeMap<RuleNo, Severity>,
    /// Lowest and highest permitted value by rule id. Only bounds that are assumptions can be changed.
    #[serde(deserialize_with = "bounds")]
    pub bounds: BTreeMap<RuleNo, [f64; 2]>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_message_bytes: 1024 * 1024,
            max_depth: 32,
            unknown_members: UnknownMembers::Reject,
            hold_back: HoldBack::Warn,
            normalise_serial: true,
            strict_base64: false,
            status_code_allow: Vec::new(),
            past_days: 365,
            future_s: 300,
            severity: BTreeMap::new(),
            bounds: BTreeMap::new(),
        }
    }
}

/// Reads a map by rule id, refusing ids that do not exist or whose value `refusal` has an objection to.
struct ByRule<V> {
    refusal: fn(RuleNo, &V) -> Option<&'static str>,
}

impl<'de, V: Deserialize<'de>> Visitor<'de> for ByRule<V> {
    type Value = BTreeMap<RuleNo, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table by rule id")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut out = BTreeMap::new();
        while let Some(id) = map.next_key::<String>()? {
            let rule = RuleNo::find(&id).map_err(de::Error::custom)?;
            let value = map.next_value()?;
            if let Some(objection) = (self.refusal)(rule, &value) {
                return Err(de::Error::custom(format!(
                    "{id}: {objection}; see `dig-ingest explain {id}`"
                )));
            }
            out.insert(rule, value);
        }
        Ok(out)
    }
}

fn severities<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<RuleNo, Severity>, D::Error> {
    deserializer.deserialize_map(ByRule {
        refusal: |rule, severity| match severity {
            _ if !rule.rule().has_free_severity() => Some("this rule's severity is fixed"),
            Severity::Normalise => Some("a severity is one of reject, hold_back, warn, off"),
            _ => None,
        },
    })
}

fn bounds<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<RuleNo, [f64; 2]>, D::Error> {
    deserializer.deserialize_map(ByRule {
        refusal: |rule, [low, high]: &[f64; 2]| match () {
            () if !rule.rule().has_free_bounds() => Some("this rule's bounds are fixed"),
            () if !matches!(
                low.partial_cmp(high),
                Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal)
            ) =>
            {
                Some("bounds are [lowest, highest]")
            }
            () => None,
        },
    })
}

/// What to do when a rule is broken, the settings considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Reject,
    Note,
    Ignore,
}

/// A bound of a number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub low: f64,
    pub high: f64,
    pub rule: RuleNo,
    /// Whether lying between the two is what is wrong.
    pub inverted: bool,
}

/// The table of rules compiled with the settings.
#[derive(Debug)]
pub struct Rules {
    pub(super) config: Config,
    actions: [Action; rules::COUNT],
    bounds: [(f64, f64); rules::COUNT],
    /// By record type.
    steps: Vec<Steps>,
    pub(super) limits: Vec<Limit>,
    /// Oldest and newest instant, relative to now. Microseconds.
    pub(super) past: i64,
    pub(super) future: i64,
    /// Code, lowest and highest raw value of every diagnostic a GenericStatusRecord may carry, ascending by code.
    diagnostics: Vec<(i32, i64, i64)>,
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(&Config::default())
    }
}

impl Rules {
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut rules = Self {
            config: config.clone(),
            actions: [Action::Ignore; rules::COUNT],
            bounds: [(f64::NEG_INFINITY, f64::INFINITY); rules::COUNT],
            steps: Vec::new(),
            limits: Vec::new(),
            past: i64::from(config.past_days) * 86_400_000_000,
            future: i64::from(config.future_s) * 1_000_000,
            diagnostics: Vec::new(),
        };
        for no in RuleNo::all() {
            let rule = no.rule();
            rules.actions[no as usize] =
                match config.severity.get(&no).copied().unwrap_or(rule.severity) {
                    Severity::Reject => Action::Reject,
                    Severity::HoldBack if config.hold_back == HoldBack::Reject => Action::Reject,
                    Severity::HoldBack | Severity::Warn | Severity::Normalise => Action::Note,
                    Severity::Off => Action::Ignore,
                };
            if let Check::Within(low, high) | Check::Outside(low, high) | Check::Chars(low, high) =
                rule.check
            {
                let [low, high] = config.bounds.get(&no).copied().unwrap_or([low, high]);
                rules.bounds[no as usize] = (low, high);
            }
        }
        for kind in RecordType::ALL {
            let mut list = Vec::new();
            for field in rules::fields(kind) {
                let first = rules.limits.len() as u16;
                rules.add_limits(kind, field.member, field.form);
                list.push(Step {
                    member: field.member,
                    form: field.form,
                    absent: field.absent,
                    from: first,
                    to: rules.limits.len() as u16,
                });
            }
            rules.steps.push(Steps::new(list));
        }
        match Diagnostics::shipped() {
            Ok(shipped) => rules.with_diagnostics(&shipped),
            // The shipped table is part of the binary; a test reads it.
            Err(_) => rules,
        }
    }

    /// The rules with these diagnostics known, in place of the shipped ones.
    #[must_use]
    pub fn with_diagnostics(mut self, diagnostics: &Diagnostics) -> Self {
        let generic = diagnostics
            .entries()
            .iter()
            .filter(|entry| entry.record == RecordType::GenericStatus);
        self.diagnostics = generic
            .map(|entry| (entry.code, entry.bounds().0, entry.bounds().1))
            .collect();
        // Of entries of one code the last one counts, as it does for mappings.
        self.diagnostics.reverse();
        self.diagnostics.sort_by_key(|&(code, ..)| code);
        self.diagnostics.dedup_by_key(|&mut (code, ..)| code);
        self
    }

    /// Lowest and highest raw value of a GenericStatusRecord's code, when it is known.
    pub(super) fn raw_bounds(&self, code: f64) -> Option<(i64, i64)> {
        let at = self
            .diagnostics
            .binary_search_by(|&(known, ..)| f64::from(known).total_cmp(&code))
            .ok()?;
        self.diagnostics.get(at).map(|&(_, low, high)| (low, high))
    }

    fn add_limits(&mut self, kind: RecordType, member: Member, form: Form) {
        if !matches!(form, Form::Number | Form::Integer) {
            return;
        }
        for no in RuleNo::all() {
            let rule = no.rule();
            let inverted = match rule.check {
                Check::Within(..) => false,
                Check::Outside(..) => true,
                Check::Coded | Check::Chars(..) | Check::Elsewhere => continue,
            };
            if rule.concerns(kind)
                && rule.members.contains(&member)
                && self.action(no) != Action::Ignore
            {
                let (low, high) = self.bounds(no);
                self.limits.push(Limit {
                    low,
                    high,
                    rule: no,
                    inverted,
                });
            }
        }
    }

    #[inline]
    pub(super) fn action(&self, rule: RuleNo) -> Action {
        self.actions[rule as usize]
    }

    /// A rule's lowest and highest, the settings considered.
    pub(super) fn bounds(&self, rule: RuleNo) -> (f64, f64) {
        self.bounds[rule as usize]
    }

    #[inline]
    pub(super) fn steps(&self, kind: RecordType) -> &Steps {
        &self.steps[kind as usize]
    }

    /// The severity of a rule, the settings considered; a `hold_back` rule stays one.
    #[must_use]
    pub fn severity(&self, rule: RuleNo) -> Severity {
        self.config
            .severity
            .get(&rule)
            .copied()
            .unwrap_or(rule.rule().severity)
    }

    /// What would have been right, the settings considered.
    #[must_use]
    pub fn expected(&self, no: RuleNo) -> String {
        let changed = self.config.bounds.get(&no);
        match (no, changed) {
            (RuleNo::MessageSize, _) => format!("at most {} bytes", self.config.max_message_bytes),
            (RuleNo::MessageDepth, _) => {
                format!("nesting of at most {} levels", self.config.max_depth)
            }
            (RuleNo::DateTimePast, _) => format!("not older than {} days", self.config.past_days),
            (RuleNo::DateTimeFuture, _) => {
                format!("not later than now + {} s", self.config.future_s)
            }
            (_, Some([low, high])) => format!("{low}..{high}"),
            (_, None) => no.rule().expected.to_owned(),
        }
    }

    /// The most bytes a message may have.
    #[must_use]
    pub fn max_message_bytes(&self) -> usize {
        self.config.max_message_bytes as usize
    }

    /// The deepest nesting a message may have.
    #[must_use]
    pub fn max_depth(&self) -> usize {
        usize::from(self.config.max_depth.max(1))
    }

    /// Whether the settings let this code of a StatusRecord pass.
    pub(super) fn allows_status(&self, code: f64) -> bool {
        self.config
            .status_code_allow
            .iter()
            .any(|&allowed| allowed as f64 == code)
    }
}

const _: () = assert!(
    members::COUNT <= 64,
    "members of a record are a set of 64 bits"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_change_assumptions() {
        let config: Config = toml::from_str(
            r#"
            hold_back = "reject"
            status_code_allow = [293]
            [severity]
            "gps.speed.high" = "reject"
            "vin.alphabet" = "off"
            [bounds]
            "gps.speed.high" = [-1, 250.5]
            "#,
        )
        .unwrap();
        let rules = Rules::new(&config);
        assert_eq!(rules.action(RuleNo::SpeedHigh), Action::Reject);
        assert_eq!(rules.action(RuleNo::LatitudeRange), Action::Reject);
        assert_eq!(rules.action(RuleNo::VinAlphabet), Action::Ignore);
        assert_eq!(rules.expected(RuleNo::SpeedHigh), "-1..250.5");
        assert!(rules.allows_status(293.0) && !rules.allows_status(294.0));
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        for (text, complaint) in [
            (
                "[severity]\n\"gps.latitud.range\" = \"warn\"",
                "did you mean gps.latitude.range",
            ),
            (
                "[severity]\n\"record.member.json\" = \"warn\"",
                "severity is fixed",
            ),
            (
                "[severity]\n\"gps.speed.high\" = \"normalise\"",
                "one of reject",
            ),
            (
                "[bounds]\n\"j1708.message_id.range\" = [0, 1]",
                "bounds are fixed",
            ),
            ("[bounds]\n\"gps.speed.high\" = [5, 1]", "[lowest, highest]"),
            (
                "[bounds]\n\"gps.speed.high\" = [nan, 1]",
                "[lowest, highest]",
            ),
            ("max_dept = 3", "unknown field"),
        ] {
            let error = toml::from_str::<Config>(text).unwrap_err().to_string();
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }

    #[test]
    fn the_shipped_diagnostics_are_known() {
        let rules = Rules::default();
        let shipped = Diagnostics::shipped().unwrap();
        for entry in shipped.entries() {
            if entry.record == RecordType::GenericStatus {
                assert!(
                    rules.raw_bounds(entry.code.into()).is_some(),
                    "{}",
                    entry.code
                );
            }
        }
        assert_eq!(rules.raw_bounds(-7.0), None);
    }

    #[test]
    fn every_number_rule_is_compiled_into_a_limit() {
        let rules = Rules::default();
        for no in RuleNo::all() {
            let rule = no.rule();
            if !matches!(rule.check, Check::Within(..) | Check::Outside(..)) {
                continue;
            }
            let sized = matches!(no, RuleNo::BinarySize | RuleNo::DriverIdSize);
            assert!(
                sized || rules.limits.iter().any(|limit| limit.rule == no),
                "{}",
                rule.id
            );
        }
    }
}
