//! The plainest message, read in one pass: one object of scalars, names exact, no white space, no escapes.
//!
//! Most native traffic looks like this, and building a general tape for it costs more than all else a record needs. Whatever is not
//! plain (also: nulls, repeated or unknown names, exponents, integers of more than 18 digits, errors of any kind) is left to the JSON
//! parser: this reader never refuses a message, it only declines. What it takes, it takes exactly as the parser would; the tests hold the
//! two against each other.

use simd_json::{Node, StaticNode};

use super::members::{self, COUNT, Member};
use super::view::{MemberSlot, Slots};

/// Which member followed which the last time: producers write theirs in one order, so a name is compared before it is searched.
#[derive(Debug)]
pub(super) struct Expected([Member; COUNT + 1]);

impl Default for Expected {
    fn default() -> Self {
        Self([Member::Type; COUNT + 1])
    }
}

impl Expected {
    #[inline]
    fn after(&self, last: Option<Member>) -> Member {
        self.0[last.map_or(COUNT, |member| member as usize)]
    }

    #[inline]
    fn learn(&mut self, last: Option<Member>, next: Member) {
        self.0[last.map_or(COUNT, |member| member as usize)] = next;
    }
}

/// Reads the payload into `nodes` (values only) and fills the slots; a value's mark is the position of its first byte
/// ([`Marks::Bytes`]).
///
/// Returns the set of members that are there, or `None` when the message is not plain.
///
/// [`Marks::Bytes`]: super::view::Marks::Bytes
#[inline]
pub(super) fn read<'p>(
    payload: &'p str,
    nodes: &mut Vec<Node<'p>>,
    slots: &mut Slots,
    expected: &mut Expected,
) -> Option<u64> {
    let bytes = payload.as_bytes();
    let mut seen = 0;
    let mut at = 1;
    let mut last = None;
    if *bytes.first()? != b'{' {
        return None;
    }
    loop {
        let rest = bytes.get(at..)?;
        let guess = expected.after(last);
        let (member, start) = match guess.begins(rest) {
            Some(len) => (guess, at + len),
            None => {
                let (member, start) = key(bytes, at)?;
                expected.learn(last, member);
                (member, start)
            }
        };
        if seen & member.bit() != 0 {
            return None;
        }
        seen |= member.bit();
        last = Some(member);
        let (node, next) = match *bytes.get(start)? {
            b'"' => {
                let end = quote(bytes, start + 1)?;
                (Node::String(payload.get(start + 1..end)?), end + 1)
            }
            b't' if bytes.get(start..)?.starts_with(b"true") => {
                (Node::Static(StaticNode::Bool(true)), start + 4)
            }
            b'f' if bytes.get(start..)?.starts_with(b"false") => {
                (Node::Static(StaticNode::Bool(false)), start + 5)
            }
            _ => number(bytes, start)?,
        };
        slots[member as usize] = MemberSlot {
            node: nodes.len() as u32,
            at: start as u32,
        };
        nodes.push(node);
        match *bytes.get(next)? {
            b',' => at = next + 1,
            b'}' if next + 1 == bytes.len() => return Some(seen),
            _ => return None,
        }
    }
}

/// The position of the quote that ends a string without escapes and control characters.
#[inline]
fn quote(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<WIDTH>()) {
        if let Some(ahead) = first_stop(chunk) {
            at += ahead;
            return (bytes[at] == b'"').then_some(at);
        }
        at += WIDTH;
    }
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return Some(at),
            b'\\' | ..0x20 => return None,
            _ => at += 1,
        }
    }
    None
}

/// The member named at this position, and where its value begins.
#[inline(never)]
fn key(bytes: &[u8], at: usize) -> Option<(Member, usize)> {
    if *bytes.get(at)? != b'"' {
        return None;
    }
    let end = quote(bytes, at + 1)?;
    let member = members::exact(bytes.get(at + 1..end)?)?;
    (*bytes.get(end + 1)? == b':').then_some((member, end + 2))
}

/// How many bytes are looked at at once.
const WIDTH: usize = 8;

/// The first quote, backslash or control character.
#[inline]
fn first_stop(chunk: &[u8; WIDTH]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(*chunk);
    // A high bit for each such byte; exact up to the lowest.
    let quotes = word ^ (ONES * b'"' as u64);
    let slashes = word ^ (ONES * b'\\' as u64);
    let stops = ((quotes.wrapping_sub(ONES) & !quotes)
        | (slashes.wrapping_sub(ONES) & !slashes)
        | (word.wrapping_sub(ONES * 0x20) & !word))
        & (ONES << 7);
    (stops != 0).then(|| (stops.trailing_zeros() / 8) as usize)
}

/// The powers of ten that a double holds exactly, as far as needed.
const POWERS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// A number without exponent, and where it ends.
#[inline]
fn number(bytes: &[u8], start: usize) -> Option<(Node<'static>, usize)> {
    let negative = bytes.get(start) == Some(&b'-');
    let first = start + usize::from(negative);
    let (mut mantissa, mut at) = digits(bytes, first, 0);
    let whole = at - first;
    if whole == 0 || whole > 18 || (whole > 1 && bytes[first] == b'0') {
        return None;
    }
    if bytes.get(at) != Some(&b'.') {
        // As the parser has it: what has a sign is signed.
        let node = if negative {
            StaticNode::I64(-(mantissa as i64))
        } else {
            StaticNode::U64(mantissa)
        };
        return Some((Node::Static(node), at));
    }
    let point = at;
    (mantissa, at) = digits(bytes, point + 1, mantissa);
    let fraction = at - point - 1;
    if fraction == 0 {
        return None;
    }
    let value = if whole + fraction <= 15 {
        // Both are exact, so the quotient is the nearest double.
        let value = mantissa as f64 / POWERS[fraction];
        if negative { -value } else { value }
    } else {
        std::str::from_utf8(&bytes[start..at]).ok()?.parse().ok()?
    };
    Some((Node::Static(StaticNode::F64(value)), at))
}

/// Digits appended to a number, and where they end; what overflows is not used.
#[inline]
fn digits(bytes: &[u8], mut at: usize, mut number: u64) -> (u64, usize) {
    while let Some(digit) = bytes
        .get(at)
        .map(|byte| byte.wrapping_sub(b'0'))
        .filter(|&digit| digit < 10)
    {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (number, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<StaticNode> {
        match number(text.as_bytes(), 0)? {
            (Node::Static(node), end) if end == text.len() => Some(node),
            _ => None,
        }
    }

    #[test]
    fn numbers_as_the_parser_has_them() {
        for text in [
            "0",
            "-0",
            "7",
            "-7",
            "999999999999999999",
            "-999999999999999999",
            "0.5",
            "-0.0",
            "43.4516",
            "-79.6877",
            "123456789012.345",
            "0.1234567890123456789",
            "43.451600000000000",
            "123456789012345678.5",
            "9007199254740993.0",
        ] {
            let mut source = text.as_bytes().to_vec();
            let tape = simd_json::to_tape(&mut source).unwrap();
            assert_eq!(value(text).map(Node::Static), Some(tape.0[0]), "{text}");
        }
        for declined in [
            "",
            "-",
            "01",
            "-01",
            "1.",
            ".5",
            "1e5",
            "1.5e5",
            "1000000000000000000",
            "+1",
            "NaN",
        ] {
            assert_eq!(value(declined), None, "{declined}");
        }
    }

    #[test]
    fn strings_end_at_their_quote() {
        for filler in 0..20 {
            let text = "é".repeat(filler);
            for (ending, found) in [
                ("\"", true),
                ("\\\"", false),
                ("\u{1f}\"", false),
                ("", false),
            ] {
                let whole = format!("{text}{ending}and more");
                assert_eq!(
                    quote(whole.as_bytes(), 0),
                    found.then_some(text.len()),
                    "{whole:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_plain_is_declined() {
        let read = |text: &str| {
            let mut slots = [MemberSlot::default(); COUNT];
            read(text, &mut Vec::new(), &mut slots, &mut Expected::default()).is_some()
        };
        assert!(read(
            r#"{"Type":"GpsRecord","Latitude":1,"Longitude":-1.5,"IsGpsValid":true,"IsIgnitionOn":false}"#
        ));
        for text in [
            "",
            "{",
            "{}",
            "[]",
            " {\"X\":1}",
            "{\"X\":1} ",
            "{\"X\": 1}",
            "{\"X\":1,\"X\":1}",
            "{\"x\":1}",
            "{\"Q\":1}",
            "{\"X\":null}",
            "{\"X\":[]}",
            "{\"X\":{}}",
            "{\"X\":\"\\u0031\"}",
            "{\"X\":tru}",
            "{\"X\":1",
            "{\"X\":1,}",
            "{\"X\":\"",
            "{\"X",
            "{\"X\":1}}",
        ] {
            assert!(!read(text), "{text}");
        }
    }
}
