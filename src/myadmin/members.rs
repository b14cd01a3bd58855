//! The members of a JSON object, taken one by one: names in any case, numbers given as text, null as absent. Pure.
//!
//! A member of an unexpected kind is left where it is: nothing of an answer is lost by being read.

use serde_json::{Map, Value};

/// What has not been taken yet.
pub(super) struct Members(Map<String, Value>);

impl Members {
    /// # Errors
    /// The value is no object; `what` names it.
    pub fn of(what: &str, value: Value) -> Result<Self, String> {
        match value {
            Value::Object(map) => Ok(Self(map)),
            other => Err(format!("{what}: not an object but {}", kind(&other))),
        }
    }

    /// The member's own spelling; the exact name wins.
    fn key(&self, name: &str) -> Option<String> {
        if self.0.contains_key(name) {
            return Some(name.to_owned());
        }
        self.0
            .keys()
            .find(|key| key.eq_ignore_ascii_case(name))
            .cloned()
    }

    fn take_if<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let key = self.key(name)?;
        let taken = read(self.0.get(&key)?)?;
        self.0.remove(&key);
        Some(taken)
    }

    /// Any value but null.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.take_if(name, |value| (!value.is_null()).then(|| value.clone()))
    }

    /// Text without white space around it, also of a number; empty is absent.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.take_if(name, |value| match value {
            Value::String(text) => Some(text.trim().to_owned()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
        .filter(|text| !text.is_empty())
    }

    /// A whole number, also one given as text.
    pub fn whole(&mut self, name: &str) -> Option<i64> {
        self.take_if(name, whole)
    }

    /// True or false, also given as text.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        self.take_if(name, |value| match value {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        })
    }

    /// Texts of an array, or the one text given instead of it.
    pub fn texts(&mut self, name: &str) -> Vec<String> {
        let texts = self.take_if(name, |value| match value {
            Value::Array(all) => Some(
                all.iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
            ),
            Value::String(one) => Some(vec![one.clone()]),
            _ => None,
        });
        let mut texts: Vec<String> = texts.unwrap_or_default();
        texts.retain(|text| !text.trim().is_empty());
        texts
    }

    /// An object inside.
    pub fn object(&mut self, name: &str) -> Option<Self> {
        self.take_if(name, |value| value.as_object().cloned().map(Self))
    }

    /// The elements of an array; absent is none.
    pub fn array(&mut self, name: &str) -> Vec<Value> {
        self.take_if(name, |value| value.as_array().cloned())
            .unwrap_or_default()
    }

    /// All that was not taken and is not null.
    pub fn rest(mut self) -> Map<String, Value> {
        self.0.retain(|_, value| !value.is_null());
        self.0
    }
}

/// A whole number, also one given as text.
pub(super) fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            // 7.0 is what some writers make of 7.
            let float = number.as_f64()?;
            (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_in_any_case_the_exact_one_first() {
        let mut members =
            Members::of("x", json!({"TRACKINGURL": "a", "trackingUrl": "b"})).unwrap();
        assert_eq!(members.text("trackingUrl").as_deref(), Some("b"));
        assert_eq!(members.text("trackingUrl").as_deref(), Some("a"));
        assert_eq!(members.text("trackingUrl"), None);
        assert!(
            Members::of("x", json!([1]))
                .err()
                .unwrap()
                .contains("an array")
        );
    }

    #[test]
    fn numbers_as_text_and_text_as_numbers() {
        let value =
            json!({"a": "9007199254740993", "b": 7.0, "c": 7.5, "d": 12, "e": "true", "f": "soon"});
        let mut members = Members::of("x", value).unwrap();
        assert_eq!(members.whole("a"), Some(9_007_199_254_740_993));
        assert_eq!(members.whole("b"), Some(7));
        assert_eq!(members.whole("c"), None);
        assert_eq!(members.text("d").as_deref(), Some("12"));
        assert_eq!(members.flag("e"), Some(true));
        assert_eq!(members.whole("f"), None);
        assert_eq!(
            Value::Object(members.rest()),
            json!({"c": 7.5, "f": "soon"}),
            "what was not understood is kept"
        );
    }

    #[test]
    fn null_and_empty_are_absent() {
        let value = json!({"a": null, "b": " ", "c": ["", "x", null, 1], "d": "y", "e": null});
        let mut members = Members::of("x", value).unwrap();
        assert_eq!(members.take("a"), None);
        assert_eq!(members.text("b"), None);
        assert_eq!(members.texts("c"), ["x"]);
        assert_eq!(members.texts("d"), ["y"]);
        assert!(members.array("e").is_empty() && members.rest().is_empty());
    }
}
