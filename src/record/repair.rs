//! Tokens that the JSON parser cannot hold, taken out of its way: a member that nobody reads is no reason to refuse a message.
//!
//! Integers beyond 64 bits, floats beyond a double, and (for mappings) the `NaN` and `Infinity` that some producers write. Only reached
//! when the parser has refused a message; the bytes that letters and held records carry are never touched.
//!
//! Does not judge: a text that is no JSON for another reason stays none.

use std::ops::Range;

/// What takes the place of a half surrogate pair: a code point that no text has.
pub(super) const HALF_PAIR: char = '\u{fdd0}';

/// A place in a JSON text where the parser would stop.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Obstacle {
    /// A number that no 64-bit integer and no double can hold.
    Number(Range<usize>),
    /// `NaN`, `Infinity` and their like.
    NoNumber(Range<usize>),
    /// The escape of one half of a surrogate pair without the other: six bytes.
    HalfPair(usize),
}

/// Overwrites numbers that cannot be held with one of the same length that every bound refuses; false when there are none.
///
/// Places in the text stay what they are, so that a reject can show the number as it was written.
pub(super) fn in_place(text: &mut [u8]) -> bool {
    let mut places = Vec::new();
    obstacles(text, |obstacle| {
        if let Obstacle::Number(place) = obstacle {
            places.push(place);
        }
    });
    for place in &places {
        let number = &mut text[place.clone()];
        let digits = usize::from(number[0] == b'-');
        // Beyond a 32-bit float, within a double. No such number is shorter than 1e309.
        let number = &mut number[digits..];
        number.fill(b'0');
        number[..2].copy_from_slice(b"1e");
        let end = number.len();
        number[end - 2..].copy_from_slice(b"99");
    }
    !places.is_empty()
}

/// Appends `text` with numbers that cannot be held as texts of their digits, and half surrogate pairs as [`HALF_PAIR`]; false when
/// there are none.
pub(super) fn quoted(text: &[u8], out: &mut Vec<u8>) -> bool {
    let mut from = 0;
    let mut any = false;
    let mut push = |obstacle: Obstacle| {
        any = true;
        match obstacle {
            Obstacle::Number(place) | Obstacle::NoNumber(place) => {
                out.extend_from_slice(&text[from..place.start]);
                out.push(b'"');
                out.extend_from_slice(&text[place.clone()]);
                out.push(b'"');
                from = place.end;
            }
            Obstacle::HalfPair(at) => {
                out.extend_from_slice(&text[from..at]);
                out.extend_from_slice(b"\\ufdd0");
                from = at + 6;
            }
        }
    };
    obstacles(text, &mut push);
    out.extend_from_slice(&text[from..]);
    any
}

/// Calls `each` with every obstacle, in the order of the text.
fn obstacles(text: &[u8], mut each: impl FnMut(Obstacle)) {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at = string(text, at + 1, &mut each),
            b'-' | b'+' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                let start = at;
                while text.get(at).is_some_and(|byte| {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
                }) {
                    at += 1;
                }
                let token = std::str::from_utf8(&text[start..at]).unwrap_or_default();
                if is_number(token) {
                    if !can_be_held(token) {
                        each(Obstacle::Number(start..at));
                    }
                } else if is_no_number(token) {
                    each(Obstacle::NoNumber(start..at));
                }
            }
            _ => at += 1,
        }
    }
}

/// Passes a string's contents; returns the position behind its closing quote.
fn string(text: &[u8], mut at: usize, each: &mut impl FnMut(Obstacle)) -> usize {
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => {
                match unit(text, at) {
                    Some(0xd800..=0xdbff)
                        if unit(text, at + 6)
                            .is_some_and(|low| (0xdc00..0xe000).contains(&low)) =>
                    {
                        at += 6;
                    }
                    Some(0xd800..=0xdfff) => each(Obstacle::HalfPair(at)),
                    _ => {}
                }
                at += if unit(text, at).is_some() { 6 } else { 2 };
            }
            _ => at += 1,
        }
    }
    at
}

/// The code unit of the escape `\uXXXX` at this position.
fn unit(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, &digit| {
        Some(unit * 16 + char::from(digit).to_digit(16)?)
    })
}

/// Whether a token is a number as RFC 8259 writes them.
fn is_number(token: &str) -> bool {
    let rest = token.strip_prefix('-').unwrap_or(token);
    let whole = rest.bytes().take_while(u8::is_ascii_digit).count();
    if whole == 0 || (whole > 1 && rest.starts_with('0')) {
        return false;
    }
    let mut rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return false;
        }
        rest = &fraction[digits..];
    }
    match rest.strip_prefix(['e', 'E']) {
        None => rest.is_empty(),
        Some(exponent) => {
            let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        }
    }
}

/// Whether the parser has a type for the number.
fn can_be_held(number: &str) -> bool {
    if number
        .bytes()
        .any(|byte| matches!(byte, b'.' | b'e' | b'E'))
    {
        number.parse().is_ok_and(f64::is_finite)
    } else {
        number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok()
    }
}

/// Whether a token is what printing routines write for a value that is no number.
fn is_no_number(token: &str) -> bool {
    let word = token.strip_prefix(['-', '+']).unwrap_or(token);
    ["nan", "inf", "infinity"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(text: &str) -> (String, String) {
        let mut same = text.as_bytes().to_vec();
        let changed = in_place(&mut same);
        let same = String::from_utf8(same).unwrap();
        assert_eq!(changed, same != text, "{text}");
        let mut out = Vec::new();
        quoted(text.as_bytes(), &mut out);
        (same, String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_cannot_be_held_is_taken_out_of_the_way() {
        for (text, same, quoted) in [
            ("[1,-2.5,3e7]", "[1,-2.5,3e7]", "[1,-2.5,3e7]"),
            (
                "18446744073709551615",
                "18446744073709551615",
                "18446744073709551615",
            ),
            (
                "18446744073709551616",
                "1e000000000000000099",
                "\"18446744073709551616\"",
            ),
            (
                "[-9223372036854775809]",
                "[-1e00000000000000099]",
                "[\"-9223372036854775809\"]",
            ),
            (
                "{\"a\":1e309,\"b\":1}",
                "{\"a\":1e099,\"b\":1}",
                "{\"a\":\"1e309\",\"b\":1}",
            ),
            ("-9E+400", "-1e0099", "\"-9E+400\""),
            ("1e-400", "1e-400", "1e-400"),
            ("NaN", "NaN", "\"NaN\""),
            (
                "[-Infinity,nan]",
                "[-Infinity,nan]",
                "[\"-Infinity\",\"nan\"]",
            ),
            (
                "\"NaN 1e400 \\\" 1e400\"",
                "\"NaN 1e400 \\\" 1e400\"",
                "\"NaN 1e400 \\\" 1e400\"",
            ),
            (
                "\"\\ud83d\\ude00\"",
                "\"\\ud83d\\ude00\"",
                "\"\\ud83d\\ude00\"",
            ),
            (
                "\"\\ud83d\\u0041\"",
                "\"\\ud83d\\u0041\"",
                "\"\\ufdd0\\u0041\"",
            ),
            ("\"\\ude00\"", "\"\\ude00\"", "\"\\ufdd0\""),
            ("01e999", "01e999", "01e999"),
        ] {
            assert_eq!(both(text), (same.to_owned(), quoted.to_owned()), "{text}");
        }
    }

    proptest::proptest! {
        /// Whatever the parser refuses for its numbers alone, it takes afterwards, and nothing else.
        #[test]
        fn the_parser_takes_what_was_repaired(digits in "-?[1-9][0-9]{0,30}(\\.[0-9]{1,20})?([eE][-+]?[0-9]{1,4})?", text in ".{0,20}") {
            let source = format!("{{\"n\":{digits},\"t\":{}}}", serde_json::to_string(&text).unwrap());
            let refused = simd_json::to_tape(&mut source.as_bytes().to_vec()).is_err();
            let mut same = source.as_bytes().to_vec();
            proptest::prop_assert_eq!(in_place(&mut same), refused);
            proptest::prop_assert_eq!(same.len(), source.len());
            proptest::prop_assert!(simd_json::to_tape(&mut same).is_ok());
            let mut out = Vec::new();
            proptest::prop_assert_eq!(quoted(source.as_bytes(), &mut out), refused);
            proptest::prop_assert!(simd_json::to_tape(&mut out).is_ok());
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            in_place(&mut bytes.clone());
            quoted(&bytes, &mut Vec::new());
        }
    }
}
