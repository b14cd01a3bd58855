//! Named parameters of a call, read as the method's signature has them.

use serde_json::{Map, Value};

use crate::sim::instants;
use crate::sim::market::Thrown;

/// The parameters of one call.
#[derive(Debug, Clone, Copy)]
pub struct Params<'a>(pub &'a Map<String, Value>);

fn wrong(name: &str, expected: &str) -> Thrown {
    Thrown::new(
        "ArgumentException",
        format!("Parameter '{name}': {expected} expected."),
    )
}

impl<'a> Params<'a> {
    fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// # Errors
    /// `ArgumentException` for anything but a text.
    pub fn text(self, name: &str) -> Result<Option<&'a str>, Thrown> {
        self.get(name)
            .map(|value| value.as_str().ok_or_else(|| wrong(name, "a string")))
            .transpose()
    }

    /// # Errors
    /// `ArgumentException` when it is missing or empty too.
    pub fn needed_text(self, name: &str) -> Result<&'a str, Thrown> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| wrong(name, "a string"))
    }

    /// A whole number, also one written as a text (U24).
    ///
    /// # Errors
    /// `ArgumentException` for anything else.
    pub fn integer(self, name: &str) -> Result<Option<i64>, Thrown> {
        let read = |value: &Value| {
            let text = || value.as_str()?.parse().ok();
            value.as_i64().or_else(text)
        };
        self.get(name)
            .map(|value| read(value).ok_or_else(|| wrong(name, "an integer")))
            .transpose()
    }

    /// # Errors
    /// `ArgumentException` when it is missing too.
    pub fn needed_integer(self, name: &str) -> Result<i64, Thrown> {
        self.integer(name)?.ok_or_else(|| wrong(name, "an integer"))
    }

    /// # Errors
    /// `ArgumentException` for anything but true and false.
    pub fn flag(self, name: &str) -> Result<bool, Thrown> {
        self.get(name).map_or(Ok(false), |value| {
            value.as_bool().ok_or_else(|| wrong(name, "a boolean"))
        })
    }

    /// # Errors
    /// `ArgumentException` for anything but an array of texts.
    pub fn texts(self, name: &str) -> Result<Option<Vec<&'a str>>, Thrown> {
        self.get(name)
            .map(|value| {
                let values = value.as_array().ok_or_else(|| wrong(name, "an array"))?;
                let texts = values.iter().map(Value::as_str);
                texts
                    .collect::<Option<_>>()
                    .ok_or_else(|| wrong(name, "an array of strings"))
            })
            .transpose()
    }

    /// A date-time, microseconds since the epoch.
    ///
    /// # Errors
    /// `ArgumentException` for anything but an ISO 8601 text.
    pub fn instant(self, name: &str) -> Result<Option<i64>, Thrown> {
        self.text(name)?
            .map(|text| {
                let day = format!("{text}T00:00:00Z");
                let full = if text.len() == 10 { day.as_str() } else { text };
                instants::parse(full.as_bytes(), true)
                    .map(|ticks| ticks / 10)
                    .ok_or_else(|| wrong(name, "a date"))
            })
            .transpose()
    }
}
