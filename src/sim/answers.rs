//! Answers: the envelope, and what authentication and `GET /invalidrecords` say. Wire types of the simulator's own.

use bytes::Bytes;
use serde_json::json;

use super::faults::{BodyKind, Operation, RetryAfter};
use super::instants;
use super::market::Thrown;
use super::myadmin::failure;
use super::operation::Surface;
use super::sessions::{Denied, Pair};
use super::settings::{EmptyForm, Settings};
use super::world::World;

/// A status, its headers and its body.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Empty: no such header.
    pub content_type: &'static str,
    pub retry_after: Option<String>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

const JSON: &str = "application/json; charset=utf-8";

impl Answer {
    /// A text of a type; no type is no such header.
    #[must_use]
    pub fn new(status: u16, content_type: &'static str, body: &str) -> Self {
        Self {
            status,
            content_type,
            retry_after: None,
            headers: Vec::new(),
            body: body.to_owned().into(),
        }
    }

    fn json(status: u16, body: String) -> Self {
        Self {
            body: body.into(),
            ..Self::new(status, JSON, "")
        }
    }

    #[must_use]
    pub fn json_of(status: u16, value: &serde_json::Value) -> Self {
        Self::json(status, value.to_string())
    }

    /// An error of the shipping surface.
    #[must_use]
    pub fn message(status: u16, text: &str) -> Self {
        Self::json_of(status, &json!({"message": text}))
    }

    /// A proxy's error page.
    #[must_use]
    pub fn page(status: u16, text: &str) -> Self {
        let body = format!(
            "<html><head><title>{status}</title></head><body><h1>{text}</h1></body></html>\n"
        );
        Self::new(status, "text/html", &body)
    }

    /// With the methods that the resource has, as a 405 names them (RFC 9110 15.5.6).
    #[must_use]
    pub fn allowing(mut self, methods: &str) -> Self {
        self.headers.push(("allow", methods.to_owned()));
        self
    }

    fn success(status: u16, content: &serde_json::Value) -> Self {
        Self::json(status, json!({"Error": [], "Data": content}).to_string())
    }

    /// The error envelope (dig/API.md 2.1, 2.2).
    #[must_use]
    pub fn error(status: u16, text: &str, settings: &Settings) -> Self {
        let body = match settings.empty_form {
            EmptyForm::Text => json!({"Error": [text], "Data": ""}),
            EmptyForm::Object => json!({"Error": [text], "Data": {}}),
            EmptyForm::Null => json!({"Error": [text], "Data": null}),
            EmptyForm::Absent => json!({"Error": [text]}),
        };
        let mut answer = Self::json(status, body.to_string());
        if matches!(status, 429 | 503) {
            answer.retry_after = settings.retry_after_s.map(|seconds| seconds.to_string());
        }
        answer
    }

    #[must_use]
    pub fn throttled(settings: &Settings) -> Self {
        let text = if settings.throttle_status == 429 {
            "Too many requests."
        } else {
            "Service is unavailable"
        };
        Self::error(settings.throttle_status, text, settings)
    }

    /// 202 with a fresh tracking id.
    #[must_use]
    pub fn tracking() -> Self {
        Self::json(
            202,
            format!(r#"{{"Error":[],"Data":"{}"}}"#, uuid::Uuid::new_v4()),
        )
    }
}

/// The answer of a fault rule, as the face it comes from writes errors.
#[must_use]
pub fn scripted(
    surface: Surface,
    status: u16,
    body: BodyKind,
    text: Option<&str>,
    retry_after: RetryAfter,
    now: i64,
    settings: &Settings,
) -> Answer {
    let text = text.unwrap_or(if status == 503 {
        "Service is unavailable"
    } else {
        "A scripted fault."
    });
    let mut answer = match (body, surface) {
        // A scripted success must not look like a failure.
        (BodyKind::Json, Surface::Dig) if status < 300 => Answer {
            status,
            ..Answer::tracking()
        },
        (BodyKind::Json, _) if status < 300 => Answer::json_of(status, &json!({})),
        (BodyKind::Json, Surface::Dig) => Answer::error(status, text, settings),
        (BodyKind::Json, Surface::Partner) => Answer::message(status, text),
        (BodyKind::Json, Surface::MyAdmin) => Answer {
            status,
            ..failure(&Thrown::new("GenericRequestError", text), true)
        },
        (BodyKind::Html, _) => Answer::page(status, text),
        (BodyKind::Empty, _) => Answer::new(status, "", ""),
    };
    answer.retry_after = match retry_after {
        RetryAfter::None => None,
        RetryAfter::Seconds(seconds) => Some(seconds.to_string()),
        RetryAfter::DateIn(seconds) => {
            Some(instants::http_date(now + i64::from(seconds) * 1_000_000))
        }
    };
    answer
}

fn denied((status, text): Denied, settings: &Settings) -> Answer {
    Answer::error(status, text, settings)
}

/// The user of a bearer.
///
/// # Errors
/// The answer to give instead.
pub fn user(world: &World, bearer: Option<&str>, settings: &Settings) -> Result<String, Answer> {
    let sessions = world.sessions();
    let user = sessions.user_of(bearer, world.clock.now_us(), settings);
    user.map(str::to_owned)
        .map_err(|reason| denied(reason, settings))
}

/// The three authentication operations.
#[must_use]
pub fn authentication(
    world: &World,
    operation: Operation,
    body: &[u8],
    settings: &Settings,
) -> Answer {
    let names = match operation {
        Operation::Authenticate => ["username", "password"],
        _ => ["bearertoken", "refreshtoken"],
    };
    let members = World::texts(body)
        .filter(|members| members.keys().all(|name| names.contains(&name.as_str())));
    let given = |name: &str| members.as_ref()?.get(name).filter(|text| !text.is_empty());
    let [Some(first), Some(second)] = names.map(given) else {
        return Answer::error(
            400,
            "The request is missing parameters or has wrong ones.",
            settings,
        );
    };
    let now = world.clock.now_us();
    let mut sessions = world.sessions();
    let pair = match operation {
        Operation::Authenticate => sessions.authenticate(first, second, now, settings),
        Operation::RefreshToken => sessions.refresh(first, second, now, settings),
        _ => {
            return match sessions.revoke(first, second, now, settings) {
                Ok(()) => Answer::success(
                    202,
                    &json!("The refresh token is revoked; the bearer token will be blocked."),
                ),
                Err(reason) => denied(reason, settings),
            };
        }
    };
    pair.map_or_else(
        |reason| denied(reason, settings),
        |pair| granted(&pair, settings),
    )
}

fn granted(pair: &Pair, settings: &Settings) -> Answer {
    let time = |us| {
        let text = instants::text(us);
        if settings.zoneless_token_times {
            text[..19].to_owned()
        } else {
            text
        }
    };
    let token = |text: &str, expires| json!({"TokenString": text, "Created": time(pair.created), "Expires": time(expires)});
    Answer::success(
        200,
        &json!({
            "Authenticated": true,
            "UserId": pair.user,
            "BearerToken": token(&pair.bearer, pair.bearer_expires),
            "RefreshToken": token(&pair.refresh, pair.refresh_expires),
        }),
    )
}

const MOST_RESULTS: usize = 50_000;
const DEFAULT_RESULTS: usize = 1000;

/// `GET /invalidrecords` (dig/API.md section 10); query names in any case.
#[must_use]
pub fn invalid_records(
    world: &World,
    bearer: Option<&str>,
    query: &str,
    settings: &Settings,
) -> Answer {
    let user = match user(world, bearer, settings) {
        Ok(user) => user,
        Err(answer) => return answer,
    };
    let (mut key, mut most) = (None, DEFAULT_RESULTS);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let fits = match name.to_ascii_lowercase().as_str() {
            "nextresultkey" => {
                key = value.parse::<i64>().ok().filter(|key| *key >= 0);
                key.is_some()
            }
            "numberofresults" => {
                most = value.parse().unwrap_or(0);
                (1..=MOST_RESULTS).contains(&most)
            }
            _ => true,
        };
        if !fits {
            return Answer::error(
                400,
                "The request is missing parameters or has wrong ones.",
                settings,
            );
        }
    }
    let page = world
        .invalid()
        .page(&user, key, most, world.clock.now_us(), settings);
    let mut body = format!(
        r#"{{"Error":[],"Data":{{"NextResultKey":{},"CurrentResultKey":{},"TotalNumberOfInvalidRecords":{},"CurrentNumberOfInvalidRecords":{},"InvalidRecords":["#,
        page.next,
        page.current,
        page.total,
        page.records.len()
    );
    for (at, record) in page.records.iter().enumerate() {
        if at > 0 {
            body.push(',');
        }
        let rest = json!({"Cause": record.cause, "TimeStamp": instants::text(record.at_us), "UserId": record.user});
        body.push_str(r#"{"BaseRecord":"#);
        body.push_str(&record.record);
        body.push(',');
        body.push_str(&rest.to_string()[1..]);
    }
    body.push_str("]}}");
    Answer::json(200, body)
}
