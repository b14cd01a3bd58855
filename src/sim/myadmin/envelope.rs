//! The envelopes of JSON-RPC 1.0 as MyAdmin speaks it (myadmin/API.md 1.2, 1.3).

use serde_json::{Map, Value, json};

use super::methods;
use super::params::Params;
use crate::sim::answers::Answer;
use crate::sim::market::Thrown;
use crate::sim::operation::Operation;
use crate::sim::query;

/// A call as it came; `id` means nothing.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub method: String,
    params: Map<String, Value>,
    /// Version 3 only, beside the parameters.
    pub pagination: Option<Value>,
}

impl Request {
    /// Reads a body of either encoding. What cannot be read is a call without a method.
    #[must_use]
    pub fn read(content_type: &str, body: &[u8]) -> Self {
        let media = content_type.split(';').next().unwrap_or("").trim();
        if media.eq_ignore_ascii_case("application/json") {
            return Self::of(body).unwrap_or_default();
        }
        let text = String::from_utf8_lossy(body);
        query::pairs(&text)
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("JSON-RPC"))
            .and_then(|(_, value)| Self::of(value.as_bytes()))
            .unwrap_or_default()
    }

    fn of(body: &[u8]) -> Option<Self> {
        let Ok(Value::Object(mut members)) = serde_json::from_slice(body) else {
            return None;
        };
        let Some(Value::String(method)) = members.remove("method") else {
            return None;
        };
        let params = match members.remove("params") {
            Some(Value::Object(params)) => params,
            _ => Map::new(),
        };
        Some(Self {
            method,
            params,
            pagination: members.remove("pagination"),
        })
    }

    /// What it asks, for fault rules and counters.
    #[must_use]
    pub fn operation(&self) -> Operation {
        methods::find(&self.method).map_or(Operation::MyAdminOther, |method| method.operation)
    }

    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.params.get(name)?.as_str()
    }

    #[must_use]
    pub const fn params(&self) -> Params<'_> {
        Params(&self.params)
    }
}

/// The error envelope, with 200.
#[must_use]
pub fn failure(thrown: &Thrown, ref_id: bool) -> Answer {
    let mut text = thrown.text.clone();
    if ref_id {
        text = format!("{text} (Ref ID: {})", uuid::Uuid::new_v4());
    }
    Answer::json_of(
        200,
        &json!({"error": {
            "name": "JSONRPCError",
            "message": text,
            "errors": [{"name": thrown.name, "message": text}],
        }}),
    )
}

/// The success envelope; no result is `{}`.
#[must_use]
pub fn success(result: Option<Value>, pagination: Option<Value>, nulls: bool) -> Answer {
    let mut members = Map::new();
    for (name, value) in [("result", result), ("pagination", pagination)] {
        if let Some(mut value) = value.filter(|value| !value.is_null()) {
            if !nulls {
                drop_nulls(&mut value);
            }
            members.insert(name.to_owned(), value);
        }
    }
    Answer::json_of(200, &Value::Object(members))
}

/// Leaves out members without a value, at any depth.
pub fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(values) => values.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_say_the_same() {
        let call = r#"{"id":-1,"method":"GetUser","params":{"email":"a+b@c"}}"#;
        let form = format!("JSON-RPC={}", query::encode(call));
        for (media, body) in [
            ("application/json; charset=utf-8", call),
            ("application/x-www-form-urlencoded", form.as_str()),
        ] {
            let request = Request::read(media, body.as_bytes());
            assert_eq!(
                (request.operation(), request.text("email")),
                (Operation::GetUser, Some("a+b@c"))
            );
        }
        for (media, body) in [
            ("application/json", form.as_str()),
            ("application/json", "[]"),
            ("text/plain", call),
            ("application/json", r#"{"method":7}"#),
        ] {
            assert_eq!(Request::read(media, body.as_bytes()).method, "");
        }
    }

    #[test]
    fn nothing_is_an_empty_object() {
        let body = |answer: Answer| String::from_utf8(answer.body.to_vec()).unwrap();
        assert_eq!(body(success(None, None, false)), "{}");
        let rows = json!([{"a": null, "b": {"c": null}}]);
        assert_eq!(
            body(success(Some(rows.clone()), None, false)),
            r#"{"result":[{"b":{}}]}"#
        );
        assert!(body(success(Some(rows), None, true)).contains("null"));
    }
}
