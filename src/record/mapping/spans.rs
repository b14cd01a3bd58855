//! Where the elements of a JSON array lie in its text.

use std::ops::Range;

/// The byte ranges of the elements of the array that `text` holds; `text` is JSON, checked by the parser before.
///
/// An array of vendor messages is held and dead-lettered element by element, so that a released element does not bring its
/// neighbours along a second time.
pub fn of_elements(text: &[u8]) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let Some(open) = text.iter().position(|&byte| byte == b'[') else {
        return spans;
    };
    let mut depth = 0usize;
    // From the first byte of the element being read to behind the last one seen of it.
    let mut element: Option<Range<usize>> = None;
    let mut at = open + 1;
    while at < text.len() {
        let from = at;
        at += 1;
        match text[from] {
            b'"' => {
                while at < text.len() && text[at] != b'"' {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
                at = (at + 1).min(text.len());
            }
            b'[' | b'{' => depth += 1,
            b']' if depth == 0 => break,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                spans.extend(element.take());
                continue;
            }
            byte if byte.is_ascii_whitespace() => continue,
            _ => {}
        }
        element.get_or_insert(from..at).end = at;
    }
    spans.extend(element);
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements() {
        for (text, wanted) in [
            ("[]", vec![]),
            (" [ ] ", vec![]),
            ("[1]", vec!["1"]),
            (
                " [ {\"a\":1} , {\"b\":[1,2]} ]\n",
                vec!["{\"a\":1}", "{\"b\":[1,2]}"],
            ),
            (
                "[\"a,]\\\"\",null,[[]],[]]",
                vec!["\"a,]\\\"\"", "null", "[[]]", "[]"],
            ),
            ("[[1],2]", vec!["[1]", "2"]),
        ] {
            let found: Vec<&str> = of_elements(text.as_bytes())
                .into_iter()
                .map(|span| &text[span])
                .collect();
            assert_eq!(found, wanted, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn as_many_as_the_parser_finds(elements in proptest::collection::vec("[a-z\\[\\]{},\" \\\\]{0,8}", 0..6), spaces in "[ \n]{0,2}") {
            let texts: Vec<String> = elements.iter().map(|e| serde_json::to_string(&[e]).unwrap()).collect();
            let text = format!("{spaces}[{spaces}{}{spaces}]", texts.join(&format!("{spaces},{spaces}")));
            let found: Vec<&str> = of_elements(text.as_bytes()).into_iter().map(|span| &text[span]).collect();
            proptest::prop_assert_eq!(found, texts);
        }

        #[test]
        fn no_text_panics(text in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            for span in of_elements(&text) {
                proptest::prop_assert!(span.start <= span.end && span.end <= text.len());
            }
        }
    }
}
