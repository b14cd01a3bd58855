//! Rejects: a broken rule put into words, with the place and the value.
//!
//! Only reached by what is not accepted, so it may allocate.

use std::ops::Range;

use super::judge::device_id;
use super::members::Member;
use super::rules::{Form, RuleNo, fields};
use super::text;
use super::validate::Rules;
use super::view::{MemberSlot, Subject, View, Violation, shorten};
use super::{RecordType, Reject};

/// Where a record stands in its message.
#[derive(Debug, Clone)]
pub(super) struct RejectPlace {
    /// Its index, when the message is an array.
    pub index: Option<usize>,
    /// Its bytes within the payload.
    pub original: Range<usize>,
}

/// A record that broke a rule.
#[cold]
pub(super) fn record(
    rules: &Rules,
    violation: Violation,
    view: View<'_, '_>,
    place: RejectPlace,
) -> Reject {
    let (name, slot) = match violation.about {
        Subject::Record => (String::new(), None),
        Subject::Member(member) => (
            member.name().to_owned(),
            view.has(member).then(|| view.slots[member as usize]),
        ),
        Subject::Repeated(member, slot) => (member.name().to_owned(), Some(slot)),
        Subject::Named(key, slot) => (view.shown(MemberSlot { node: key, at: 0 }), Some(slot)),
    };
    Reject {
        rule: violation.rule.id(),
        field: path(place.index, &name),
        value: slot.map_or_else(String::new, |slot| view.shown(slot)),
        bound: bound(rules, violation, view),
        stage: violation.rule.rule().stage(),
        subject: subject(view),
        original: place.original,
    }
}

/// An element of an array that is no record at all.
#[cold]
pub(super) fn element(rules: &Rules, value: String, place: RejectPlace) -> Reject {
    Reject {
        rule: RuleNo::RecordObject.id(),
        field: path(place.index, ""),
        value,
        bound: rules.expected(RuleNo::RecordObject),
        stage: RuleNo::RecordObject.rule().stage(),
        subject: None,
        original: place.original,
    }
}

/// A message refused as a whole.
#[cold]
pub(super) fn message(rules: &Rules, rule: RuleNo, value: String, payload: &[u8]) -> Reject {
    Reject {
        rule: rule.id(),
        field: String::new(),
        value,
        bound: rules.expected(rule),
        stage: rule.rule().stage(),
        subject: None,
        original: 0..payload.len(),
    }
}

/// A message the JSON parser refused: says why, judged on the bytes alone.
#[cold]
pub(super) fn unreadable(rules: &Rules, payload: &[u8]) -> Reject {
    let rule = match std::str::from_utf8(payload) {
        Err(_) => RuleNo::MessageUtf8,
        Ok(text) if text.trim_ascii().is_empty() => RuleNo::MessageEmpty,
        Ok(_) if depth(payload) > rules.max_depth() => RuleNo::MessageDepth,
        Ok(_) => RuleNo::MessageJson,
    };
    message(rules, rule, excerpt(payload), payload)
}

/// A message above the limit.
#[cold]
pub(super) fn oversized(rules: &Rules, payload: &[u8]) -> Reject {
    message(
        rules,
        RuleNo::MessageSize,
        format!("{} bytes", payload.len()),
        payload,
    )
}

/// The first 120 characters of a payload, whatever it is.
pub(super) fn excerpt(payload: &[u8]) -> String {
    shorten(&String::from_utf8_lossy(&payload[..payload.len().min(480)]))
}

/// How deep brackets and braces outside strings are nested.
pub(super) fn depth(payload: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0usize, 0, false, false);
    for byte in payload {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn path(index: Option<usize>, name: &str) -> String {
    match index {
        None => name.to_owned(),
        Some(index) if name.is_empty() => format!("[{index}]"),
        Some(index) => format!("[{index}].{name}"),
    }
}

fn bound(rules: &Rules, violation: Violation, view: View<'_, '_>) -> String {
    match (violation.rule, violation.about) {
        (RuleNo::MemberJson | RuleNo::MemberMissing, Subject::Member(member)) => {
            wanted(member, view).to_owned()
        }
        (rule, _) => rules.expected(rule),
    }
}

/// The JSON type a member should have.
fn wanted(member: Member, view: View<'_, '_>) -> &'static str {
    match member {
        Member::Type => return "one of the twelve record type names",
        Member::DateTime => return "an RFC 3339 instant with Z or an offset",
        Member::SerialNo => return "a string; SerialNo, or DeviceId to be resolved",
        _ => {}
    }
    let name = view.shown(view.slots[Member::Type as usize]);
    let kind = RecordType::ALL
        .into_iter()
        .find(|kind| kind.name().eq_ignore_ascii_case(&name));
    let field = kind.and_then(|kind| fields(kind).iter().find(|field| field.member == member));
    field.map_or("a value of the member's JSON type", |field| {
        match field.form {
            Form::TroubleCode => "a trouble code such as \"P0301\"",
            Form::Base64(..) => "a string of Base64",
            Form::Address => "a string such as \"FF:FF:FF:00:AA:9B\"",
            form => form.name(),
        }
    })
}

/// The serial, else the device id, when either can be read.
fn subject(view: View<'_, '_>) -> Option<String> {
    if let Some(simd_json::Node::String(given)) = view.node(Member::SerialNo) {
        let mut serial = String::new();
        super::serial::normalise(given, &mut serial);
        if !serial.is_empty() && serial.len() <= 200 && text::is_plain(&serial) {
            return Some(serial);
        }
    }
    device_id(view).map(str::to_owned)
}
