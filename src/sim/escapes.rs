//! Takes needless escapes out of a body, so that the scan may compare bytes.
//!
//! Only bodies with a backslash come here. `\u0041`, `\/` and the like become the character they stand for; what JSON
//! cannot write otherwise (quote, backslash, control characters) stays escaped, in one form.

use super::scan::Refusal;

/// The same JSON without needless escapes.
///
/// # Errors
/// An escape that is none, or half a surrogate pair.
pub fn reduce(body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    while let Some(&byte) = body.get(at) {
        if byte != b'\\' {
            out.push(byte);
            at += 1;
            continue;
        }
        let wrong = Refusal::Malformed {
            at,
            reason: "not an escape",
        };
        match body.get(at + 1) {
            Some(b'/') => out.push(b'/'),
            Some(kept @ (b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't')) => {
                out.extend([b'\\', *kept])
            }
            Some(b'u') => {
                let first = unit(body, at + 2).ok_or(wrong.clone())?;
                at += 4;
                let decoded = match first {
                    0xD800..0xDC00 => {
                        let second = (body.get(at + 2..at + 4) == Some(b"\\u"))
                            .then(|| unit(body, at + 4))
                            .flatten()
                            .filter(|unit| (0xDC00..0xE000).contains(unit))
                            .ok_or(wrong.clone())?;
                        at += 6;
                        0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
                    }
                    unit => unit,
                };
                match char::from_u32(decoded).ok_or(wrong)? {
                    '"' => out.extend(b"\\\""),
                    '\\' => out.extend(b"\\\\"),
                    control if control < ' ' => out.extend(format!("\\u{decoded:04x}").as_bytes()),
                    decoded => out.extend(decoded.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
            _ => return Err(wrong),
        }
        at += 2;
    }
    Ok(out)
}

fn unit(body: &[u8], at: usize) -> Option<u32> {
    let digits = body.get(at..at + 4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_the_meaning_alone() {
        for text in [
            r#"["\u0041\/\ud83d\ude00\"\\\n\u0007\u0022\u005c"]"#,
            r#"{"Serial\u004eo":"x"}"#,
        ] {
            let reduced = reduce(text.as_bytes()).expect(text);
            let before: serde_json::Value = serde_json::from_str(text).expect(text);
            let after: serde_json::Value = serde_json::from_slice(&reduced).expect(text);
            assert_eq!(before, after);
        }
        assert_eq!(reduce(br"\u0041\/").as_deref(), Ok(&b"A/"[..]));
    }

    #[test]
    fn refuses_what_is_no_escape() {
        for text in [
            r"\x",
            r"\u12",
            r"\ud83d",
            r"\ud83dx",
            r"\ud83d\u0041",
            r"\ude00",
            "\\",
            r"\u+123",
        ] {
            assert!(reduce(text.as_bytes()).is_err(), "{text}");
        }
    }
}
