//! Names and values of a query or a form: `application/x-www-form-urlencoded`.

/// The pairs of a text, decoded, in its order. What is no UTF-8 is replaced.
#[must_use]
pub fn pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = bytes
                    .clone()
                    .take(2)
                    .map(|byte| char::from(byte).to_digit(16));
                match digits.collect::<Option<Vec<_>>>().as_deref() {
                    Some([high, low]) => {
                        out.push((high * 16 + low) as u8);
                        bytes.nth(1);
                    }
                    _ => out.push(byte),
                }
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A text as a query's value.
#[must_use]
pub fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let text = "a+b c%&=ü\"{}";
        let form = format!("x=1&JSON-RPC={}&y", encode(text));
        let expected = [("x", "1"), ("JSON-RPC", text), ("y", "")];
        let found = pairs(&form);
        assert_eq!(found.len(), expected.len());
        for ((name, value), expected) in found.iter().zip(expected) {
            assert_eq!((name.as_str(), value.as_str()), expected);
        }
        assert_eq!(
            pairs("a=%4&b=%zz&c=1+2"),
            [
                ("a".to_owned(), "%4".to_owned()),
                ("b".to_owned(), "%zz".to_owned()),
                ("c".to_owned(), "1 2".to_owned())
            ]
        );
    }
}
