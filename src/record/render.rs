//! A record written anew: exact names, fixed order, no white space, no nulls.
//!
//! Order: Type, DateTime, SerialNo (or DeviceId, while there is no serial), then the type's members in table order. Numbers of a native record are copied as they were
//! written; a draft's get their shortest form that reads back the same. Pure, infallible, allocates only to grow the buffer.

use std::io::Write;
use std::ops::Range;

use simd_json::{Node, StaticNode};

use super::RecordType;
use super::datetime;
use super::judge::{RecordValidator, device_id};
use super::members::Member;
use super::rules::{self, Form};
use super::view::View;

/// Appends the record, named by its serial or its device id; returns where the serial's text lies, from the record's start.
pub(super) fn render(
    kind: RecordType,
    view: View<'_, '_>,
    desk: &RecordValidator,
    whose: Member,
    out: &mut Vec<u8>,
) -> Range<usize> {
    let start = out.len();
    out.extend_from_slice(b"{\"Type\":\"");
    out.extend_from_slice(kind.name().as_bytes());
    out.extend_from_slice(b"\",\"DateTime\":\"");
    match (desk.datetime, view.node(Member::DateTime)) {
        (None, Some(Node::String(given))) => out.extend_from_slice(given.as_bytes()),
        (instant, _) => {
            out.extend_from_slice(datetime::render(instant.unwrap_or_default()).bytes());
        }
    }
    let serial = if whose == Member::DeviceId {
        out.extend_from_slice(b"\",\"DeviceId\":");
        string(device_id(view).unwrap_or_default(), out);
        0..0
    } else {
        out.extend_from_slice(b"\",\"SerialNo\":\"");
        let serial = match view.node(Member::SerialNo) {
            Some(Node::String(given)) if !desk.serial_rewritten => given,
            _ => desk.serial.as_str(),
        };
        let at = out.len() - start;
        out.extend_from_slice(serial.as_bytes());
        out.push(b'"');
        at..at + serial.len()
    };
    for field in rules::fields(kind) {
        let Some(node) = view.node(field.member) else {
            continue;
        };
        out.push(b',');
        out.extend_from_slice(field.member.key().as_bytes());
        match node {
            Node::String(_)
                if desk.member_rewritten && matches!(field.form, Form::Address | Form::Vin) =>
            {
                string(&desk.member_text, out);
            }
            Node::String(text) => string(text, out),
            Node::Static(StaticNode::Bool(true)) => out.extend_from_slice(b"true"),
            Node::Static(StaticNode::Bool(false)) => out.extend_from_slice(b"false"),
            Node::Static(number) => match view.text {
                Some(text) => {
                    out.extend_from_slice(text.number(view.slots[field.member as usize].at))
                }
                None => self::number(number, out),
            },
            Node::Object { .. } | Node::Array { .. } => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
    serial
}

fn number(number: StaticNode, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail, and validation let only finite floats pass.
    let _ = match number {
        StaticNode::I64(value) => write!(out, "{value}").is_ok(),
        StaticNode::U64(value) => write!(out, "{value}").is_ok(),
        StaticNode::F64(value) => serde_json::to_writer(&mut *out, &value).is_ok(),
        StaticNode::Bool(_) | StaticNode::Null => false,
    };
}

/// A JSON string, escaped no more than needed.
fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest
        .iter()
        .position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
    {
        out.extend_from_slice(&rest[..at]);
        let escape: &[u8] = match rest[at] {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0C => b"\\f",
            _ => b"",
        };
        out.extend_from_slice(escape);
        if escape.is_empty() {
            let _ = write!(out, "\\u{:04x}", rest[at]);
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    #[test]
    fn strings_are_escaped_as_serde_json_does() {
        let every: String = (0u8..128)
            .map(char::from)
            .chain("é\u{2028}😀".chars())
            .collect();
        let mut out = Vec::new();
        super::string(&every, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            serde_json::to_string(&every).unwrap()
        );
    }
}
