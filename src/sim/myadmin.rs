//! The JSON-RPC face of MyAdmin: `/v2/MyAdminApi.ashx` and `/v3/MyAdminApi.ashx` over the market. Decides nothing about devices itself.
//!
//! A call goes through the same doors in this order: the rate limits (429), the method and its version, the session, the
//! role, and then what it asks. Whatever throws is answered with 200 and the error envelope (myadmin/API.md 1.3).

use super::answers::Answer;
use super::faults::{BodyKind, RetryAfter};
use super::instants;
use super::market::{Settings, Thrown};
use super::operation::{Operation, Surface};
use super::request_pipeline::Done;
use super::world::World;

mod calls;
mod contracts;
mod envelope;
pub mod limits;
mod methods;
mod params;
mod probes;
pub mod sessions;

pub use envelope::{Request, drop_nulls, failure};
pub use methods::Version;

use calls::{Caller, Said};
use limits::Asking;

/// The version a path names; `None` when it is no path of this face.
#[must_use]
pub fn version(path: &str) -> Option<Version> {
    match path.to_ascii_lowercase().as_str() {
        "/v2/myadminapi.ashx" => Some(Version::V2),
        "/v3/myadminapi.ashx" => Some(Version::V3),
        _ => None,
    }
}

/// The answer to whoever asks too much (1.5, U20).
#[must_use]
pub fn limited(settings: &Settings, surface: Surface, now: i64) -> Answer {
    let text = "Too many requests.";
    let mut answer = match settings.limit_body {
        BodyKind::Empty => Answer::new(429, "", ""),
        BodyKind::Html => Answer::page(429, text),
        BodyKind::Json if surface == Surface::MyAdmin => Answer {
            status: 429,
            ..failure(&Thrown::new("OverLimitException", text), settings.ref_ids)
        },
        BodyKind::Json => Answer::message(429, text),
    };
    answer.retry_after = match settings.limit_retry_after {
        RetryAfter::None => None,
        RetryAfter::Seconds(seconds) => Some(seconds.to_string()),
        RetryAfter::DateIn(seconds) => {
            Some(instants::http_date(now + i64::from(seconds) * 1_000_000))
        }
    };
    answer
}

/// Answers a POST. Takes effect at once; nothing is awaited.
#[must_use]
pub fn answer(world: &World, version: Version, request: &Request, address: &str) -> Done {
    let now = world.clock.now_us();
    let settings = world.market().settings.clone();
    let session = request.text("sessionId").unwrap_or_default();
    let user = if request.method == "Authenticate" {
        request.text("username").map(str::to_owned)
    } else {
        world.logins().holder(session)
    };
    let asking = Asking {
        endpoint: version.name(),
        method: &request.method,
        user: user.as_deref().unwrap_or(address),
        address,
    };
    if !world.limiter().admit(&asking, &settings.limits, now) {
        return Done::Answer(limited(&settings, Surface::MyAdmin, now));
    }
    match perform(world, version, request, &settings, now) {
        Ok(Said {
            lost: Some(how), ..
        }) => Done::Lost(how),
        Ok(said) => {
            world
                .limiter()
                .count_rows(&asking, &settings.limits, said.rows(), now);
            Done::Answer(said.into_answer(&settings))
        }
        Err(thrown) => Done::Answer(failure(&thrown, settings.ref_ids)),
    }
}

fn perform(
    world: &World,
    version: Version,
    request: &Request,
    settings: &Settings,
    now: i64,
) -> Result<Said, Thrown> {
    let method = methods::find(&request.method)
        .ok_or_else(|| Thrown::new("MissingMethodException", "An error has occurred"))?;
    method.serves(version)?;
    if method.operation == Operation::MyAdminAuthenticate {
        return calls::authenticate(world, &request.params(), now);
    }
    let user = world.logins().user_of(
        request.text("sessionId").unwrap_or_default(),
        request.text("apiKey").unwrap_or_default(),
        settings,
        now,
    )?;
    let user = world
        .market()
        .user(&user)
        .cloned()
        .ok_or_else(sessions::expired)?;
    method.admits(&user)?;
    if settings.sandbox && method.operation.is_provisioning() {
        return Err(Thrown::new(
            "InvalidOperationException",
            "Provisioning is not available in this environment.",
        ));
    }
    let caller = Caller {
        world,
        user: &user,
        version,
        settings,
        now,
    };
    caller.call(method.operation, request)
}
