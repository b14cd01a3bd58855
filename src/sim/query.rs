//! Names and values of a query or a form: `application/x-www-form-urlencoded`.

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// The pairs of a text, decoded, in its order. What is no UTF-8 is replaced.
#[must_use]
pub fn pairs(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

/// A text as a query's value.
#[must_use]
pub fn encode(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, NON_ALPHANUMERIC).into()
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
