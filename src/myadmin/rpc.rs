//! The JSON-RPC envelope: how a call is written, how an answer is read, what kind of refusal an error is
//! (myadmin/API.md 1.2 and 1.3). Pure.
//!
//! A result may be present, null or absent: the last two are the same. An error envelope counts under any HTTP status.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::error::{Kind, Refusal, without_reference};
use super::members::{Members, whole};
use super::methods::Method;
use crate::config::redact;
use crate::config::secret::Secret;

/// Longest server text kept.
const TEXT_CHARS: usize = 500;

/// How a call is put into the body; MyAdmin takes both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// `JSON-RPC=<url-encoded JSON>`: the documented one.
    #[default]
    Form,
    /// The JSON itself.
    Json,
}

impl Encoding {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Form => "application/x-www-form-urlencoded",
            Self::Json => "application/json",
        }
    }
}

/// What says who calls. Never shown (C1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keys {
    pub api_key: Secret,
    pub session_id: Secret,
}

/// The body of a call. `params` are named; `pagination` stands beside them, v3 only.
pub(super) fn body(
    encoding: Encoding,
    method: Method,
    params: &Map<String, Value>,
    pagination: Option<&Value>,
    keys: Option<&Keys>,
) -> Vec<u8> {
    let mut params = params.clone();
    if let Some(keys) = keys {
        params.insert("apiKey".to_owned(), keys.api_key.reveal().into());
        params.insert("sessionId".to_owned(), keys.session_id.reveal().into());
    }
    let mut call = json!({ "id": -1, "method": method.name(), "params": params });
    if let Some(pagination) = pagination {
        call["pagination"] = pagination.clone();
    }
    let text = call.to_string();
    match encoding {
        Encoding::Json => text.into_bytes(),
        Encoding::Form => format!("JSON-RPC={}", percent(&text)).into_bytes(),
    }
}

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Percent-encodes all but the unreserved characters of RFC 3986.
pub(super) fn percent(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// What a v3 answer says of its page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pagination {
    pub page: Option<i64>,
    pub per_page: Option<i64>,
    pub total: Option<i64>,
    pub next_cursor: Option<String>,
}

/// A success.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Answer {
    /// `None`: null or absent.
    pub result: Option<Value>,
    pub pagination: Option<Pagination>,
}

/// What a body is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Envelope {
    Success(Answer),
    Refused(Refusal),
    /// Not an envelope: why.
    Neither(String),
}

/// Reads a body. A body without an envelope under an error status is no success, however it looks.
pub(super) fn envelope(status: u16, body: &[u8]) -> Envelope {
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(error) => return Envelope::Neither(format!("not JSON: {error}")),
    };
    let Ok(mut members) = Members::of("answer", value) else {
        return Envelope::Neither("not a JSON object".to_owned());
    };
    if let Some(error) = members.take("error") {
        return Envelope::Refused(refusal(status, error));
    }
    if !(200..300).contains(&status) {
        return Envelope::Neither("no `error`".to_owned());
    }
    let pagination = members.object("pagination").map(|mut page| Pagination {
        page: page.whole("page"),
        per_page: page.whole("perPage"),
        total: page.whole("total"),
        next_cursor: page.text("nextCursor"),
    });
    Envelope::Success(Answer {
        result: members.take("result"),
        pagination,
    })
}

fn refusal(status: u16, error: Value) -> Refusal {
    let plain = error.as_str().map(str::to_owned);
    let Ok(mut error) = Members::of("error", error) else {
        let message = short(plain.as_deref().unwrap_or("an error that is no object"));
        return Refusal {
            kind: kind("", std::slice::from_ref(&message)),
            name: String::new(),
            message,
            status,
        };
    };
    let outer = error.text("message");
    let mut name = String::new();
    let mut texts: Vec<String> = Vec::new();
    for (at, cause) in error.array("errors").into_iter().enumerate() {
        if let Ok(mut cause) = Members::of("cause", cause) {
            if at == 0 {
                name = cause.text("name").unwrap_or_default();
            }
            texts.extend(cause.text("message"));
        }
    }
    // The likely root cause first, then what the causes add to it.
    let mut said: Vec<String> = Vec::new();
    for text in outer.into_iter().chain(texts) {
        let bare = without_reference(&text);
        if !said.iter().any(|known| without_reference(known) == bare) {
            said.push(text);
        }
    }
    let message = short(&said.join("; "));
    Refusal {
        kind: kind(&name, &said),
        name: short(&name),
        message,
        status,
    }
}

/// A text of the server on one line, shortened, without secrets and control characters.
pub(super) fn short(text: &str) -> String {
    redact::foreign(text, TEXT_CHARS)
}

/// The kind of a refusal: by the exception's name, after the few texts that say more than the name.
fn kind(name: &str, texts: &[String]) -> Kind {
    let any = |part: &str| {
        texts
            .iter()
            .any(|text| text.to_ascii_lowercase().contains(part))
    };
    if any("not yet available for that api version") || any("no longer available") {
        return Kind::Version;
    }
    if any("service temporarily unavailable") {
        return Kind::Transient;
    }
    // The name may come with its namespace.
    match name.rsplit('.').next().unwrap_or(name) {
        "SessionExpiredException" => Kind::Session,
        "SecurityException" | "UnauthorizedAccessException" => Kind::Security,
        "UserAuthenticationException" => Kind::Credentials,
        "WebServerInvokerJSONException" if any("unknownuser") => Kind::Credentials,
        "ArgumentException" | "ArgumentNullException" | "ArgumentOutOfRangeException" => {
            Kind::Argument
        }
        "DuplicateException" => Kind::Duplicate,
        "InvalidDataException" => Kind::Data,
        "MyAdminException" if any("duplicate_entity_error") => Kind::Duplicate,
        "MyAdminException" => Kind::Business,
        "MissingMethodException" => Kind::Version,
        "GenericRequestError" => Kind::Transient,
        "NullReferenceException" | "InvalidOperationException" => Kind::Fault,
        _ => Kind::Unknown,
    }
}

/// The words of an error body of the REST surface, of any kind (U6).
pub(super) fn rest_text(body: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|value| {
            let mut members = Members::of("answer", value).ok()?;
            if let Some(mut error) = members.object("error") {
                return error.text("message");
            }
            ["message", "error", "detail", "title"]
                .into_iter()
                .find_map(|name| members.text(name))
        });
    match said {
        Some(said) => short(&said),
        None => short(&String::from_utf8_lossy(body)),
    }
}

/// The rows of a REST answer: a bare array, or one wrapped in an object; no body is none.
///
/// # Errors
/// Why the body is neither.
pub(super) fn rest_rows(body: &[u8]) -> Result<Vec<Value>, String> {
    match rest_value(body)? {
        None => Ok(Vec::new()),
        Some(Value::Array(rows)) => Ok(rows),
        Some(value) => {
            let mut members = Members::of("answer", value)?;
            for name in ["data", "items", "results", "result"] {
                if let Some(Value::Array(rows)) = members.take(name) {
                    return Ok(rows);
                }
            }
            Err("neither an array nor an object with one".to_owned())
        }
    }
}

/// The JSON of a REST answer; no body and null are none.
///
/// # Errors
/// It is not JSON.
pub(super) fn rest_value(body: &[u8]) -> Result<Option<Value>, String> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let value: Value =
        serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
    Ok((!value.is_null()).then_some(value))
}

/// The keys and the account of a login's result.
///
/// # Errors
/// What it lacks; never its content (C1).
pub(super) fn login(result: Option<Value>) -> Result<(Keys, super::wire::User), String> {
    let value = result.ok_or("no result")?;
    let user = super::wire::user(value.clone())?;
    let mut members = Members::of("user", value)?;
    let mut key = |name: &str| {
        members
            .text(name)
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
            .map(Secret::token)
            .ok_or_else(|| format!("no usable `{name}`"))
    };
    let keys = Keys {
        api_key: key("userId")?,
        session_id: key("sessionId")?,
    };
    Ok((keys, user))
}

/// The whole number of a header.
pub(super) fn number(text: &str) -> Option<i64> {
    whole(&Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests;
