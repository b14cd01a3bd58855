//! Members of a body or a query, read one by one, and the name in a path, so that whatever is wrong is told with its name and the
//! remedy.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse as _;
use serde_json::{Map, Value};

use super::problem::Problem;

/// Characters of a text at most.
const LONGEST: usize = 500;
/// Texts of a list at most.
const MOST: usize = 1000;

pub(super) type Body = Result<Bytes, BytesRejection>;
pub(super) type Asked = Result<Query<BTreeMap<String, String>>, QueryRejection>;

/// The name in a path: what is asked about. One that nothing can have is refused as any other member is.
#[derive(Debug)]
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let named = path.map(|Path(name)| name);
        match named {
            Ok(name) if fits(&name) => Ok(Self(name)),
            _ => {
                let path = parts.uri.path();
                let remedy = format!(
                    "give a name of 1 to {LONGEST} characters in UTF-8, percent-encoded, none of them a control character"
                );
                let what = "names nothing that can be";
                Err(Problem::field("path", Some(path), what, remedy))
            }
        }
    }
}

fn fits(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= LONGEST && !text.chars().any(char::is_control)
}

/// Members not yet read.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

/// The bytes of a body.
pub(super) fn bytes(body: Body) -> Result<Bytes, Problem> {
    body.map_err(|rejection| {
        let status = rejection.into_response().status();
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            let remedy = "send it in parts, or set orders.web.max_body_bytes higher";
            Problem::unreadable(status, "the body is too large", remedy)
        } else {
            let remedy = "send it again";
            Problem::unreadable(StatusCode::BAD_REQUEST, "the body broke off", remedy)
        }
    })
}

impl Fields {
    /// The members of a JSON object, none but those named. An empty body is an empty object.
    pub(super) fn body(body: Body, known: &[&str]) -> Result<Self, Problem> {
        let bytes = bytes(body)?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(Map::new()));
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(members)) => Self(members).none_but(known),
            Ok(_) => Err(Problem::unreadable(
                StatusCode::BAD_REQUEST,
                "the body is no JSON object",
                "send an object, such as {\"why\": \"...\"}",
            )),
            Err(error) => Err(Problem::unreadable(
                StatusCode::BAD_REQUEST,
                format!("the body is no JSON: {error}"),
                "send a JSON object in UTF-8",
            )),
        }
    }

    /// The members of a query, none but those named.
    pub(super) fn query(asked: Asked, known: &[&str]) -> Result<Self, Problem> {
        let Query(members) = asked.map_err(|rejection| {
            let remedy = "send it as ?name=value&name=value, percent-encoded";
            Problem::unreadable(StatusCode::BAD_REQUEST, rejection.body_text(), remedy)
        })?;
        let members = members
            .into_iter()
            .map(|(name, text)| (name, Value::String(text)))
            .collect();
        Self(members).none_but(known)
    }

    fn none_but(self, known: &[&str]) -> Result<Self, Problem> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(self),
            Some(name) => {
                let remedy = match known {
                    [] => "leave it out".to_owned(),
                    known => format!("it may be {}", known.join(", ")),
                };
                Err(Problem::field(
                    name,
                    None,
                    "there is no such member",
                    remedy,
                ))
            }
        }
    }

    /// A text without the blanks around it; not empty.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => text(name, &value).map(Some),
        }
    }

    pub(super) fn required(&mut self, name: &str) -> Result<String, Problem> {
        self.text(name)?
            .ok_or_else(|| Problem::field(name, None, "is missing", "give it"))
    }

    /// One text or a list of them; not empty.
    pub(super) fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>, Problem> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(values)) if !values.is_empty() && values.len() <= MOST => {
                let texts = values.iter().map(|value| text(name, value));
                texts.collect::<Result<_, _>>().map(Some)
            }
            Some(Value::Array(values)) => {
                let what = format!("holds {} texts", values.len());
                Err(Problem::field(
                    name,
                    None,
                    what,
                    format!("give 1 to {MOST}"),
                ))
            }
            Some(value) => text(name, &value).map(|text| Some(vec![text])),
        }
    }

    /// A number from a query.
    pub(super) fn number(&mut self, name: &str, without: i64, most: i64) -> Result<i64, Problem> {
        let Some(text) = self.text(name)? else {
            return Ok(without);
        };
        match text.parse() {
            Ok(number) if (0..=most).contains(&number) => Ok(number),
            _ => {
                let remedy = format!("give a whole number from 0 to {most}");
                Err(Problem::field(
                    name,
                    Some(&text),
                    "is no such number",
                    remedy,
                ))
            }
        }
    }

    /// Yes or no from a body; no if it is not given.
    pub(super) fn choice(&mut self, name: &str) -> Result<bool, Problem> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(choice)) => Ok(choice),
            Some(other) => Err(Problem::field(
                name,
                Some(&other.to_string()),
                "is neither true nor false",
                "give true or false, without quotes",
            )),
        }
    }

    /// Yes or no from a query.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.text(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Problem::field(
                name,
                Some(other),
                "is neither true nor false",
                "give true or false",
            )),
        }
    }
}

fn text(name: &str, value: &Value) -> Result<String, Problem> {
    let Value::String(text) = value else {
        let shown = value.to_string();
        let remedy = "give it in quotes: numbers lose their leading zeros";
        return Err(Problem::field(name, Some(&shown), "is no text", remedy));
    };
    let text = text.trim();
    if !fits(text) {
        let remedy = format!("give 1 to {LONGEST} characters, none of them a control character");
        return Err(Problem::field(name, Some(text), "cannot be used", remedy));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(body: &str, known: &[&str]) -> Result<Fields, String> {
        Fields::body(Ok(Bytes::copy_from_slice(body.as_bytes())), known)
            .map_err(|problem| serde_json::to_string(&problem).unwrap())
    }

    #[test]
    fn what_is_wrong_with_a_body_is_told_with_its_name() {
        for (body, says) in [
            ("[1]", "no JSON object"),
            ("{\"why\":", "no JSON"),
            ("{\"wy\":\"x\"}", "\"field\":\"wy\""),
        ] {
            let said = told(body, &["why"]).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
        let mut fields = told(
            "{\"imei\": 35, \"why\": \" \", \"by\": null, \"many\": []}",
            &["imei", "why", "by", "many"],
        )
        .unwrap();
        assert!(fields.text("imei").is_err(), "a number is no mark");
        assert!(fields.text("why").is_err());
        assert!(fields.texts("many").is_err());
        assert_eq!(fields.text("by"), Ok(None));
        assert!(fields.required("by").is_err());
        assert!(told(" \n", &[]).is_ok(), "no body is an empty one");
    }

    #[test]
    fn one_text_or_several_are_a_list() {
        let mut fields = told("{\"a\": \"T1\", \"b\": [\"T1\", \" T2 \"]}", &["a", "b"]).unwrap();
        assert_eq!(fields.texts("a"), Ok(Some(vec!["T1".into()])));
        assert_eq!(fields.texts("b"), Ok(Some(vec!["T1".into(), "T2".into()])));
        assert_eq!(fields.texts("c"), Ok(None));
    }
}
