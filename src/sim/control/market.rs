//! The market's part of the control API, under `/control/market`: what customers, the Partner and other people do.
//!
//! JSON in and out; unknown members are refused. Errors are `{"error": "..."}` with 400, 404 or 409. Times are RFC 3339 in UTC.
//!
//! | call | what |
//! |---|---|
//! | `GET /control/market` | totals ([`Counts`](crate::sim::market::Counts)) |
//! | `POST .../orders` | a customer orders: `{"lines":[{"product_code":"CTD-100","quantity":2}]}`, and if wanted `account`, `purchase_order_number`, `shipment_reference`, `comment`, `contact`, `validated` ([`Cart`]); answers with the order |
//! | `GET .../orders` | every order, shown by MyAdmin or not, with its units; `?stage=requested` (`approved`, `fulfilled`, `rejected`, `cancelled`) filters |
//! | `GET .../orders/ID` | one. `ID` is the order's `id`, as on the shipping surface |
//! | `POST .../orders/ID/approve`, `/reject` | the Partner decides; an approved order appears as `PendingFulfillment` |
//! | `POST .../orders/ID/cancel` | it is cancelled, before or after shipping |
//! | `POST .../orders/ID/status` | `{"status":"Odd"}`: MyAdmin shows this status, whatever it means |
//! | `POST .../orders/ID/ship` | a person keys into the Partner Fulfillment page: `{"carrier":"Post","tracking":"T1","status":"Fulfilled"}`, all optional ([`Shipment`]) |
//! | `POST .../orders/ID/units/UNIT` | the same for a unit: `{"serial":"CX..","sim":"..","imei":".."}`, all optional ([`UnitReport`]) |
//! | `GET .../devices` | every device: owner, databases, termination, billing, its order and unit. `?serial=CX..` for one |
//! | `POST .../devices` | somebody else makes devices: `{"product_id":10032,"account":"PART01","count":1,"maker":"INTG01"}`; answers with their serials |
//! | `POST .../devices/SERIAL/assign`, `/share` | `{"database":"name"}`: a customer adds it to a database, or shares it only |
//! | `POST .../devices/SERIAL/unassign` | it leaves its owner database |
//! | `POST .../devices/SERIAL/terminate` | the Partner asks for its termination, `{"reason_id":1,"comments":".."}` or no body; effective after `termination_delay_s` |
//! | `POST .../devices/SERIAL/cancel-termination`, `/reactivate` | takes back a pending one; takes a terminated device into use again |
//! | `GET .../terminations.csv` | the sheet that is out now |
//! | `GET`, `POST`, `DELETE .../scripts` | scripted turns of provisioning calls: lists; appends one or an array ([`Script`]), e.g. `{"turn":{"lose_answer":"cut"},"skip":1,"count":2}`; forgets all |
//! | `GET`, `PATCH .../settings` | the market's settings ([`Settings`](crate::sim::market::Settings)) |
//! | `GET`, `POST .../users`, `.../accounts`, `.../products` | lists; adds or replaces one or an array, e.g. `{"name":"a@example.com","password":"..","roles":["Device_Admin"],"accounts":["PART01"]}` |
//! | `POST .../sessions/expire` | ends every session of MyAdmin; answers with how many |
//!
//! Turns: `"make"`, `{"lose_answer":"cut"}` (the serial is made, the answer lost), `{"lose_answer":"silence"}`,
//! `{"make_then_throw":{"name":"GenericRequestError","text":".."}}`, `{"lose":"cut"}` (nothing made, no answer),
//! `{"decline":"text"}`, `"nothing"` (a null result), `{"throw":{"name":"..","text":".."}}`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Shared, Wrong, done, patch, read, several};
use crate::sim::instants;
use crate::sim::market::{
    Account, Cart, Device, INTEGRATOR, Market, Order, PARTNER, Product, Refused, Script, Shipment,
    Stage, Termination, UnitReport, User, sheet,
};
use crate::sim::request_pipeline::Face;

impl From<Refused> for Wrong {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::Missing { .. } => StatusCode::NOT_FOUND,
            Refused::Conflict(_) => StatusCode::CONFLICT,
            Refused::Wrong(_) => StatusCode::BAD_REQUEST,
        };
        Self(status, refused.to_string())
    }
}

/// The routes, below `/control/market`.
pub fn routes() -> Router<Arc<Face>> {
    Router::new()
        .route("/", get(counts))
        .route("/orders", get(orders).post(place))
        .route("/orders/{id}", get(order))
        .route("/orders/{id}/{act}", post(act_on_order))
        .route("/orders/{id}/units/{unit}", post(report_unit))
        .route("/devices", get(devices).post(make))
        .route("/devices/{serial}/{act}", post(act_on_device))
        .route("/terminations.csv", get(terminations))
        .route(
            "/scripts",
            get(scripts).post(add_scripts).delete(clear_scripts),
        )
        .route("/settings", get(settings).patch(change_settings))
        .route("/users", get(users).post(put_users))
        .route("/accounts", get(accounts).post(put_accounts))
        .route("/products", get(products).post(put_products))
        .route("/sessions/expire", post(expire))
}

/// An act at the world's time; whoever waits for a change is told.
fn act<R>(
    face: &Face,
    act: impl FnOnce(&mut Market, i64) -> Result<R, Refused>,
) -> Result<R, Wrong> {
    let now = face.world.clock.now_us();
    let result = act(&mut face.world.market_mut(), now)?;
    face.world.touch();
    Ok(result)
}

async fn counts(State(face): Shared) -> Answer {
    let now = face.world.clock.now_us();
    Ok(Json(face.world.market().counts(now)).into_response())
}

/// Replaces times in microseconds by texts: `born_us` becomes `born`.
fn with_times(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, mut value) in std::mem::take(members) {
                with_times(&mut value);
                match (name.strip_suffix("_us"), value.as_i64()) {
                    (Some(name), Some(us)) => {
                        members.insert(name.to_owned(), json!(instants::text(us)));
                    }
                    (Some(name), None) => {
                        members.insert(name.to_owned(), value);
                    }
                    (None, _) => {
                        members.insert(name, value);
                    }
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(with_times),
        _ => {}
    }
}

fn order_shape(order: &Order) -> Value {
    let mut shape = json!(order);
    with_times(&mut shape);
    shape
}

fn device_shape(market: &Market, device: &Device, now: i64) -> Value {
    let mut shape = json!(device);
    let pending = |termination: &Termination| termination.effective_us > now;
    shape["state"] = json!(match &device.termination {
        Some(termination) if pending(termination) => "termination_pending",
        Some(_) => "terminated",
        None if device.owner.is_some() => "in_a_database",
        None => "unassigned",
    });
    shape["billed"] = json!(device.billed(now));
    shape["shown"] = json!(device.visible(now));
    if let Some((order, unit)) = market.unit_of(&device.serial) {
        shape["order"] = json!(order.id);
        shape["unit"] = json!(unit.id);
    }
    with_times(&mut shape);
    shape
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByStage {
    stage: Option<Stage>,
}

async fn orders(State(face): Shared, Query(by): Query<ByStage>) -> Answer {
    let market = face.world.market();
    let wanted = |order: &&Order| by.stage.is_none_or(|stage| order.stage == stage);
    let rows: Vec<_> = market
        .all_orders()
        .filter(wanted)
        .map(order_shape)
        .collect();
    Ok(Json(rows).into_response())
}

fn one_order(market: &Market, id: u64) -> Result<Value, Wrong> {
    let missing = || Wrong(StatusCode::NOT_FOUND, format!("there is no order {id}"));
    market.get(id).map(order_shape).ok_or_else(missing)
}

async fn order(State(face): Shared, Path(id): Path<u64>) -> Answer {
    Ok(Json(one_order(&face.world.market(), id)?).into_response())
}

async fn place(State(face): Shared, body: Bytes) -> Answer {
    let cart: Cart = read(&body)?;
    let id = act(&face, |market, now| market.order(&cart, now))?;
    let shape = one_order(&face.world.market(), id)?;
    Ok((StatusCode::CREATED, Json(shape)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Status {
    status: String,
}

fn no_act(name: &str) -> Wrong {
    Wrong(StatusCode::NOT_FOUND, format!("there is no act {name}"))
}

async fn act_on_order(
    State(face): Shared,
    Path((id, name)): Path<(u64, String)>,
    body: Bytes,
) -> Answer {
    match name.as_str() {
        "approve" => act(&face, |market, now| market.approve(id, now))?,
        "reject" => act(&face, |market, _| market.reject(id))?,
        "cancel" => act(&face, |market, now| market.cancel(id, now))?,
        "status" => {
            let Status { status } = read(&body)?;
            act(&face, |market, _| market.set_status(id, &status))?;
        }
        "ship" => {
            let shipment: Shipment = read(&body)?;
            act(&face, |market, now| {
                market.report_shipment(id, &shipment, now)
            })?;
        }
        _ => return Err(no_act(&name)),
    }
    Ok(Json(one_order(&face.world.market(), id)?).into_response())
}

async fn report_unit(
    State(face): Shared,
    Path((id, unit)): Path<(u64, u64)>,
    body: Bytes,
) -> Answer {
    let report: UnitReport = read(&body)?;
    act(&face, |market, now| {
        market.report_unit(id, unit, &report, now)
    })?;
    Ok(Json(one_order(&face.world.market(), id)?).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BySerial {
    serial: Option<String>,
}

async fn devices(State(face): Shared, Query(by): Query<BySerial>) -> Answer {
    let now = face.world.clock.now_us();
    let market = face.world.market();
    let shape = |device: &Device| device_shape(&market, device, now);
    let rows: Vec<_> = match &by.serial {
        Some(serial) => market.device(serial).map(shape).into_iter().collect(),
        None => market.devices().iter().map(shape).collect(),
    };
    Ok(Json(rows).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Making {
    product_id: i64,
    account: String,
    maker: String,
    count: u32,
}

impl Default for Making {
    fn default() -> Self {
        Self {
            product_id: 0,
            account: PARTNER.to_owned(),
            maker: INTEGRATOR.to_owned(),
            count: 1,
        }
    }
}

async fn make(State(face): Shared, body: Bytes) -> Answer {
    let making: Making = read(&body)?;
    let serials = act(&face, |market, now| {
        let one = |_| market.make(making.product_id, &making.account, &making.maker, now);
        (0..making.count).map(one).collect::<Result<Vec<_>, _>>()
    })?;
    Ok((StatusCode::CREATED, Json(json!({"serials": serials}))).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Database {
    database: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Terminating {
    reason_id: i64,
    comments: String,
    by: String,
}

impl Default for Terminating {
    fn default() -> Self {
        Self {
            reason_id: sheet::REASONS[0].0,
            comments: String::new(),
            by: "the Partner".to_owned(),
        }
    }
}

async fn act_on_device(
    State(face): Shared,
    Path((serial, name)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let serial = serial.as_str();
    match name.as_str() {
        "assign" => {
            let Database { database } = read(&body)?;
            act(&face, |market, now| market.assign(serial, &database, now))?;
        }
        "share" => {
            let Database { database } = read(&body)?;
            act(&face, |market, now| market.share(serial, &database, now))?;
        }
        "unassign" => act(&face, |market, _| market.unassign(serial))?,
        "terminate" => {
            let asked: Terminating = if body.is_empty() {
                Terminating::default()
            } else {
                read(&body)?
            };
            act(&face, |market, now| {
                market.terminate(serial, asked.reason_id, &asked.comments, &asked.by, now)
            })?;
        }
        "cancel-termination" => act(&face, |market, now| market.cancel_termination(serial, now))?,
        "reactivate" => act(&face, |market, now| market.reactivate(serial, now))?,
        _ => return Err(no_act(&name)),
    }
    let now = face.world.clock.now_us();
    let market = face.world.market();
    let device = market
        .device(serial)
        .map(|device| device_shape(&market, device, now));
    Ok(Json(device).into_response())
}

async fn terminations(State(face): Shared) -> Answer {
    let now = face.world.clock.now_us();
    let sheet = face.world.market().sheet(now);
    let media = if sheet.starts_with("<!DOCTYPE") {
        "text/html"
    } else {
        "text/csv; charset=utf-8"
    };
    Ok(([(header::CONTENT_TYPE, media)], sheet).into_response())
}

async fn scripts(State(face): Shared) -> Answer {
    let market = face.world.market();
    let rows: Vec<_> = market
        .scripts()
        .into_iter()
        .map(|(script, applied)| json!({"script": script, "applied": applied}))
        .collect();
    Ok(Json(rows).into_response())
}

async fn add_scripts(State(face): Shared, body: Bytes) -> Answer {
    let scripts: Vec<Script> = several(&body)?;
    act(&face, |market, _| {
        scripts
            .into_iter()
            .try_for_each(|script| market.script(script))
    })?;
    done()
}

async fn clear_scripts(State(face): Shared) -> Answer {
    face.world.market_mut().clear_scripts();
    done()
}

async fn settings(State(face): Shared) -> Answer {
    Ok(Json(&face.world.market().settings).into_response())
}

async fn change_settings(State(face): Shared, body: Bytes) -> Answer {
    let changes: Value = read(&body)?;
    let mut market = face.world.market_mut();
    patch(&mut market.settings, &changes).map_err(|error| Wrong(StatusCode::BAD_REQUEST, error))?;
    Ok(Json(&market.settings).into_response())
}

async fn users(State(face): Shared) -> Answer {
    Ok(Json(face.world.market().users()).into_response())
}

async fn put_users(State(face): Shared, body: Bytes) -> Answer {
    let users: Vec<User> = several(&body)?;
    let mut market = face.world.market_mut();
    users.into_iter().for_each(|user| market.put_user(user));
    done()
}

async fn accounts(State(face): Shared) -> Answer {
    Ok(Json(face.world.market().accounts()).into_response())
}

async fn put_accounts(State(face): Shared, body: Bytes) -> Answer {
    let accounts: Vec<Account> = several(&body)?;
    let mut market = face.world.market_mut();
    accounts
        .into_iter()
        .for_each(|account| market.put_account(account));
    done()
}

async fn products(State(face): Shared) -> Answer {
    Ok(Json(face.world.market().products()).into_response())
}

async fn put_products(State(face): Shared, body: Bytes) -> Answer {
    let products: Vec<Product> = several(&body)?;
    act(&face, |market, _| {
        products
            .into_iter()
            .try_for_each(|product| market.put_product(product))
    })?;
    done()
}

async fn expire(State(face): Shared) -> Answer {
    let sessions = face.world.logins().expire_all();
    Ok(Json(json!({"sessions": sessions})).into_response())
}
