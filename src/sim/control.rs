//! The control API, under `/control` on the gateway's own port: scripts the world and reads it back.
//!
//! JSON in and out; unknown members are refused. Errors are `{"error": "..."}` with 400, 404 or 405.
//!
//! | call | what |
//! |---|---|
//! | `GET /control/counters` | the counters ([`super::counters::Snapshot`]) |
//! | `GET /control/ledger?from=N&limit=N` | NDJSON, streamed: `{"Seq":1,"Request":7,"At":"...Z","Record":{...}}`, with `"Duplicate":true`, `"Dropped":true` or `"Invalid":"cause"` before `Record` where it applies. `from` is a `Seq`. Empty unless the ledger is full |
//! | `GET /control/digest` | NDJSON, a line per serial: `SerialNo`, `Count`, `Duplicates`, `Inversions`, `Chain`, `First`, `Last`. Empty with `--ledger none` |
//! | `GET /control/settings` | the settings ([`super::Settings`]) |
//! | `PATCH /control/settings` | changes the given ones, e.g. `{"max_bytes":4096,"throttle":8}`; answers with all |
//! | `GET /control/faults` | the rules with how often each was applied |
//! | `POST /control/faults` | appends a [`Rule`] or an array of them; answers `{"ids":[1]}` |
//! | `DELETE /control/faults`, `DELETE /control/faults/ID` | removes all rules, or one |
//! | `PUT /control/outage` | an action for every request, e.g. `{"status":{"status":503}}`, `{"cut":"before_body"}` or `"stall"` |
//! | `DELETE /control/outage` | ends it |
//! | `POST /control/tokens/revoke` | every bearer is blocked and every refresh token spent, at once |
//! | `POST /control/tokens/block` | every bearer is blocked; refresh tokens still work |
//! | `POST /control/tokens/expire` | every bearer expires; with `?refresh=true` the refresh tokens too |
//! | `GET`, `POST`, `DELETE /control/poison` | lists; appends `{"SerialNo":"..","DateTime":".."}` (any members, all must match) or an array of such; forgets all |
//! | `GET`, `PUT`, `DELETE /control/serials` | lists; adds marks `[{"serial":"..","state":"terminated"},{"prefix":"..","state":"unknown"}]`; forgets all. States: `known`, `unknown`, `foreign`, `unassigned`, `terminated` |
//! | `POST /control/clock` | `{"advance_ms":N}`: the world's time jumps ahead |
//! | `POST /control/reset` | forgets ledger, invalid records, faults, outage, poison, serials, orders and devices; tokens, settings and counters stay |
//! | `/control/market/...` | orders, devices, databases, terminations: see [`market`] |
//!
//! A rule, all members optional but `action` or `delay`:
//! ```json
//! {"operation":"records", "serial":"CX0000000001", "skip":2, "count":3, "rate":0.1, "seed":7, "seconds":30,
//!  "delay":{"exponential_ms":20.0},
//!  "action":{"status":{"status":503,"body":"html","text":"gone","retry_after":{"date_in":2}}}}
//! ```
//! `operation`: `authenticate`, `refresh_token`, `revoke_token`, `records`, `invalid_records`, `other`; with the market a MyAdmin
//! method as in [`super::operation::Operation`] (`provision_device_to_account`, `get_device_database_names`, ...), a call of the
//! shipping surface (`partner_orders`, `partner_order`, `partner_units`, `partner_put_unit`, `partner_put_order`), or a group
//! of them: `myadmin`, `provision`, `partner`.
//! `delay`: `{"fixed_ms":5}`, `{"uniform_ms":[5,9]}`, `{"exponential_ms":20.0}`.
//! `action`: `"pass"`, `{"status":{..}}` (`body`: `json`, `html`, `empty`; `retry_after`: `"none"`, `{"seconds":2}`, `{"date_in":2}`),
//! `{"cut":"before_body"}`, `{"cut":"during_body"}`, `{"cut":"after_body"}`, `{"lose_answer":"cut"}`, `{"lose_answer":"silence"}`, `"stall"`,
//! `{"throw":{"name":"GenericRequestError","text":"..."}}` (an exception of MyAdmin).

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::faults::{Action, Rule};
use super::poison::{Poison, Poisons};
use super::request_pipeline::Face;
use super::serials::{Mark, Serials};

pub mod market;

type Shared = State<Arc<Face>>;
type Answer = Result<Response, Wrong>;

/// A call that cannot be done, and why.
struct Wrong(StatusCode, String);

impl axum::response::IntoResponse for Wrong {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

/// The routes.
pub fn routes() -> Router<Arc<Face>> {
    let control = Router::new()
        .route("/counters", get(counters))
        .route("/ledger", get(ledger))
        .route("/digest", get(digest))
        .route("/settings", get(settings).patch(change_settings))
        .route(
            "/faults",
            get(faults).post(push_faults).delete(clear_faults),
        )
        .route("/faults/{id}", delete(remove_fault))
        .route("/outage", put(start_outage).delete(end_outage))
        .route("/tokens/{act}", post(tokens))
        .route("/poison", get(poison).post(add_poison).delete(clear_poison))
        .route(
            "/serials",
            get(serials).put(mark_serials).delete(clear_serials),
        )
        .route("/clock", post(clock))
        .route("/reset", post(reset))
        .nest("/market", market::routes())
        .fallback(|| async { Wrong(StatusCode::NOT_FOUND, "no such control call".to_owned()) });
    Router::new().nest("/control", control)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Wrong> {
    serde_json::from_slice(body).map_err(|error| Wrong(StatusCode::BAD_REQUEST, error.to_string()))
}

/// One value or an array of them.
fn several<T: DeserializeOwned>(body: &[u8]) -> Result<Vec<T>, Wrong> {
    let value: Value = read(body)?;
    let values = if let Value::Array(values) = value {
        values
    } else {
        vec![value]
    };
    let one = |value| {
        serde_json::from_value(value)
            .map_err(|error| Wrong(StatusCode::BAD_REQUEST, error.to_string()))
    };
    values.into_iter().map(one).collect()
}

fn done() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn ndjson(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

async fn counters(State(face): Shared) -> Answer {
    Ok(Json(face.world.snapshot()).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    from: Option<usize>,
    limit: Option<usize>,
}

/// Ledger lines written under one hold of its lock.
const LINES_PER_CHUNK: usize = 2000;

async fn ledger(State(face): Shared, Query(range): Query<Range>) -> Answer {
    let from = range.from.unwrap_or(1).max(1) - 1;
    // What arrives while this is read is not part of it.
    let end = face
        .world
        .ledger()
        .len()
        .min(from.saturating_add(range.limit.unwrap_or(usize::MAX)));
    let world = face.world.clone();
    let chunks = futures_util::stream::unfold(from, move |at| {
        let world = world.clone();
        async move {
            let most = LINES_PER_CHUNK.min(end.checked_sub(at).filter(|left| *left > 0)?);
            let mut lines = Vec::with_capacity(most * 256);
            world.ledger().write(at, most, &mut lines);
            Some((
                Ok::<_, std::convert::Infallible>(Bytes::from(lines)),
                at + most,
            ))
        }
    });
    Ok(ndjson(Body::from_stream(chunks)))
}

async fn digest(State(face): Shared) -> Answer {
    let digests = face.world.ledger().digests();
    let lines: String = digests.iter().map(|digest| digest.json() + "\n").collect();
    Ok(ndjson(Body::from(lines)))
}

async fn settings(State(face): Shared) -> Answer {
    Ok(Json(&*face.world.settings.get()).into_response())
}

/// Changes the members named in a JSON object and leaves the rest.
///
/// # Errors
/// An unknown member or a value that does not fit.
pub fn patch<T: Serialize + DeserializeOwned>(
    settings: &mut T,
    changes: &Value,
) -> Result<(), String> {
    let mut all = serde_json::to_value(&*settings).map_err(|error| error.to_string())?;
    let (Some(members), Some(changes)) = (all.as_object_mut(), changes.as_object()) else {
        return Err("expected an object of settings".to_owned());
    };
    members.extend(changes.clone());
    *settings = serde_json::from_value(all).map_err(|error| error.to_string())?;
    Ok(())
}

async fn change_settings(State(face): Shared, body: Bytes) -> Answer {
    let changes: Value = read(&body)?;
    let world = &face.world;
    world
        .settings
        .change(|settings| patch(settings, &changes))
        .map_err(|error| Wrong(StatusCode::BAD_REQUEST, error))?;
    Ok(Json(&*world.settings.get()).into_response())
}

async fn faults(State(face): Shared) -> Answer {
    Ok(Json(face.world.faults().rules()).into_response())
}

async fn push_faults(State(face): Shared, body: Bytes) -> Answer {
    let rules: Vec<Rule> = several(&body)?;
    let now = face.world.clock.now_us();
    let mut faults = face.world.faults();
    let ids: Result<Vec<_>, _> = rules
        .into_iter()
        .map(|rule| faults.push(rule, now))
        .collect();
    let ids = ids.map_err(|error| Wrong(StatusCode::BAD_REQUEST, error.to_owned()))?;
    Ok((StatusCode::CREATED, Json(json!({"ids": ids}))).into_response())
}

async fn clear_faults(State(face): Shared) -> Answer {
    face.world.faults().clear();
    done()
}

async fn remove_fault(State(face): Shared, Path(id): Path<u64>) -> Answer {
    if face.world.faults().remove(id) {
        done()
    } else {
        Err(Wrong(StatusCode::NOT_FOUND, format!("no rule {id}")))
    }
}

async fn start_outage(State(face): Shared, body: Bytes) -> Answer {
    let action: Action = read(&body)?;
    face.world.faults().outage(Some(action));
    done()
}

async fn end_outage(State(face): Shared) -> Answer {
    face.world.faults().outage(None);
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expire {
    #[serde(default)]
    refresh: bool,
}

async fn tokens(
    State(face): Shared,
    Path(act): Path<String>,
    Query(expire): Query<Expire>,
) -> Answer {
    let now = face.world.clock.now_us();
    let mut sessions = face.world.sessions();
    let bearers = match act.as_str() {
        "revoke" => sessions.revoke_all(now),
        "block" => sessions.block_bearers(now),
        "expire" => sessions.expire_all(now, expire.refresh),
        _ => {
            return Err(Wrong(
                StatusCode::NOT_FOUND,
                "tokens can be revoked, blocked or expired".to_owned(),
            ));
        }
    };
    Ok(Json(json!({"bearers": bearers})).into_response())
}

async fn poison(State(face): Shared) -> Answer {
    Ok(Json(face.world.poisons.get().all()).into_response())
}

async fn add_poison(State(face): Shared, body: Bytes) -> Answer {
    let poisons: Vec<Poison> = several(&body)?;
    face.world
        .poisons
        .change(|all| poisons.into_iter().for_each(|poison| all.add(poison)));
    done()
}

async fn clear_poison(State(face): Shared) -> Answer {
    face.world.poisons.change(Poisons::clear);
    done()
}

async fn serials(State(face): Shared) -> Answer {
    Ok(Json(face.world.serials.get().marks()).into_response())
}

async fn mark_serials(State(face): Shared, body: Bytes) -> Answer {
    let marks: Vec<Mark> = several(&body)?;
    if marks
        .iter()
        .any(|mark| mark.serial.is_some() == mark.prefix.is_some())
    {
        return Err(Wrong(
            StatusCode::BAD_REQUEST,
            "a mark needs either `serial` or `prefix`".to_owned(),
        ));
    }
    face.world
        .serials
        .change(|all| marks.iter().for_each(|mark| all.mark(mark)));
    done()
}

async fn clear_serials(State(face): Shared) -> Answer {
    face.world.serials.change(Serials::clear);
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: u64,
}

async fn clock(State(face): Shared, body: Bytes) -> Answer {
    let advance: Advance = read(&body)?;
    face.world
        .clock
        .advance(Duration::from_millis(advance.advance_ms));
    done()
}

async fn reset(State(face): Shared) -> Answer {
    face.world.reset();
    done()
}
