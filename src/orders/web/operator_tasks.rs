//! The handlers of the API's paths: each reads the members, changes the store once, and answers with the new state.

use axum::body::Bytes;
use axum::extract::{Extension, FromRequest, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, RequestExt as _};
use serde_json::json;

use super::ApiState;
use super::fields::{Asked, Body, Fields, Named, bytes};
use super::problem::Problem;
use crate::orders::alarms::AlarmShown;
use crate::orders::exports::Paper;
use crate::orders::identifiers::Unfit;
use crate::orders::import as imports;
use crate::orders::journey::{Actor, Parcel, Serial};
use crate::orders::page;
use crate::orders::store::operator_actions::Subject;
use crate::orders::store::read::Filter;
use crate::orders::store::rows::OrderRow;
use crate::orders::unit_identifiers::{Given, Mark};
use crate::orders::views::{self, UnitShown};
use crate::orders::wait::For;

/// Orders of one answer, unless asked otherwise, and at most.
const PAGE: i64 = 100;
const LARGEST_PAGE: i64 = 1000;

pub(super) type Answer = Result<Response, Problem>;
pub(super) type Who = Extension<Actor>;

/// A request to do something with an order or a unit that the path names.
pub(super) struct Task {
    desk: ApiState,
    /// Who asks, for the audit trail.
    by: Actor,
    /// The order or unit of the path.
    id: String,
    /// The members of the body, not yet read.
    body: Body,
}

impl FromRequest<ApiState> for Task {
    type Rejection = Response;

    async fn from_request(mut request: Request, desk: &ApiState) -> Result<Self, Response> {
        let Extension(by) = request
            .extract_parts::<Who>()
            .await
            .map_err(|error| error.into_response())?;
        let Named(id) = request
            .extract_parts::<Named>()
            .await
            .map_err(|error| error.into_response())?;
        Ok(Self {
            desk: desk.clone(),
            by,
            id,
            body: Bytes::from_request(request, desk).await,
        })
    }
}

const STATES: [&str; 7] = [
    "received",
    "approved",
    "parked",
    "cancelled",
    "closed",
    "open",
    "done",
];

pub(super) async fn list(State(desk): State<ApiState>, asked: Asked) -> Answer {
    let mut fields = Fields::query(asked, &["state", "named", "waits_for", "after", "limit"])?;
    let state = fields.text("state")?;
    if let Some(other) = state.as_deref().filter(|state| !STATES.contains(state)) {
        let remedy = format!("give one of {}", STATES.join(", "));
        return Err(Problem::field("state", Some(other), "is no state", remedy));
    }
    let named = fields.text("named")?;
    let waits_for = fields.text("waits_for")?;
    let known = |what: &str| For::ALL.iter().any(|known| known.name() == what);
    if let Some(other) = waits_for.as_deref().filter(|what| !known(what)) {
        let remedy = format!("give one of {}", For::ALL.map(For::name).join(", "));
        let what = "is nothing that is waited for";
        return Err(Problem::field("waits_for", Some(other), what, remedy));
    }
    let after = fields.text("after")?;
    let limit = fields.number("limit", PAGE, LARGEST_PAGE)?;
    let rows = desk.store.orders(&Filter { state: None, named }).await?;
    let now = (desk.clock)();
    let mut rows = views::listed(&desk.store, &desk.config, &rows, now).await?;
    if let Some(state) = &state {
        rows.retain(|row| row.is(state));
    }
    if let Some(what) = waits_for {
        rows.retain(|row| {
            row.wait
                .as_ref()
                .is_some_and(|wait| wait.what.name() == what)
        });
    }
    let from = match &after {
        None => 0,
        Some(id) => {
            let place = rows.iter().position(|row| row.id == *id);
            place.map(|place| place + 1).ok_or_else(|| {
                let remedy = "give `next` of the page before, or leave it out";
                Problem::field("after", Some(id), "is no order of this list", remedy)
            })?
        }
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = &rows[from..rows.len().min(from + limit)];
    let more = from + page.len() < rows.len();
    let next = page.last().filter(|_| more).map(|row| &row.id);
    Ok(Json(json!({ "orders": page, "next": next })).into_response())
}

pub(super) async fn show(State(desk): State<ApiState>, Named(name): Named) -> Answer {
    let order = views::find(&desk.store, &name).await;
    let order = order.map_err(|error| Problem::from(error).or_missing())?;
    whole(&desk, &order).await
}

/// Units that go by an id, a serial, an IMEI, a SIM or a device id; none is an answer too.
pub(super) async fn units(State(desk): State<ApiState>, asked: Asked) -> Answer {
    let named = Fields::query(asked, &["named"])?.required("named")?;
    let mut rows = desk.store.units_marked(&named).await?;
    if rows.is_empty()
        && let Ok(serial) = Serial::parse(&named)
    {
        rows = desk.store.units_marked(serial.as_str()).await?;
    }
    rows.extend(desk.store.unit(&named).await?);
    let units: Vec<UnitShown> = rows.iter().map(UnitShown::from).collect();
    Ok(Json(json!({ "units": units })).into_response())
}

async fn whole(desk: &ApiState, order: &OrderRow) -> Answer {
    let now = (desk.clock)();
    let whole = views::explained(&desk.store, &desk.config, order, now).await?;
    Ok(Json(whole).into_response())
}

/// The order, or that there is none.
async fn order(desk: &ApiState, id: &str) -> Result<OrderRow, Problem> {
    let remedy = "GET /api/orders lists all";
    let found = desk.store.order(id).await?;
    found.ok_or_else(|| Problem::missing("order", id, remedy))
}

/// The order of a unit, or that there is no such unit.
async fn order_of(desk: &ApiState, unit: &str) -> Result<String, Problem> {
    let remedy = "GET /api/orders/{id} lists an order's units";
    let found = desk.store.unit(unit).await?;
    found
        .map(|unit| unit.order_id)
        .ok_or_else(|| Problem::missing("unit", unit, remedy))
}

/// The state of an order after an operator's action.
async fn after(desk: &ApiState, id: &str) -> Answer {
    whole(desk, &order(desk, id).await?).await
}

pub(super) async fn approve(task: Task) -> Answer {
    let Task { desk, by, id, body } = task;
    Fields::body(body, &[])?;
    order(&desk, &id).await?;
    desk.store.approve(&id, &by, (desk.clock)()).await?;
    after(&desk, &id).await
}

/// An act for which a person gives the reason.
#[derive(Debug, Clone, Copy)]
pub(super) enum Explained {
    Cancel,
    Park,
    Replace,
    Resume,
}

/// Does an act with its reason, and answers what has become of the order. `subject` says what the path names.
pub(super) async fn explained(
    task: Task,
    subject: fn(String) -> Subject,
    act: Explained,
) -> Answer {
    let Task { desk, by, id, body } = task;
    let why = Fields::body(body, &["why"])?.required("why")?;
    let subject = subject(id.clone());
    let of = match &subject {
        Subject::Order(id) => order(&desk, id).await?.id,
        Subject::Unit(id) => order_of(&desk, id).await?,
    };
    let (store, now) = (&desk.store, (desk.clock)());
    match act {
        Explained::Cancel => store.cancel_any(&subject, &why, &by, now).await?,
        Explained::Park => store.park(&subject, &why, &by, now).await?,
        Explained::Resume => {
            let status = &desk.config.status;
            store.resume(&subject, &why, status, &by, now).await?;
        }
        Explained::Replace => {
            store.replace(&id, &why, &by, now).await?;
        }
    }
    after(&desk, &of).await
}

pub(super) async fn retry_order(task: Task) -> Answer {
    let Task { desk, by, id, body } = task;
    Fields::body(body, &[])?;
    order(&desk, &id).await?;
    let subject = Subject::Order(id.clone());
    desk.store.retry(&subject, &by, (desk.clock)()).await?;
    after(&desk, &id).await
}

pub(super) async fn retry_unit(task: Task) -> Answer {
    let Task { desk, by, id, body } = task;
    let anew = Fields::body(body, &["anew"])?.choice("anew")?;
    let of = order_of(&desk, &id).await?;
    let subject = Subject::Unit(id);
    let now = (desk.clock)();
    desk.store.retry_as(&subject, anew, &by, now).await?;
    after(&desk, &of).await
}

pub(super) async fn assign(task: Task) -> Answer {
    let Task { desk, by, id, body } = task;
    let known = ["serial", "sim", "imei", "device_id", "force"];
    let mut fields = Fields::body(body, &known)?;
    let mut given = Given::new(fields.choice("force")?);
    for mark in [Mark::Serial, Mark::Sim, Mark::Imei, Mark::DeviceId] {
        let text = fields.text(mark.name())?;
        given
            .add(mark, text.as_deref())
            .map_err(|why| unfit(mark, text.as_deref(), &why))?;
    }
    order_of(&desk, &id).await?;
    let row = desk.store.unit(&id).await?;
    let complete = row.as_ref().is_some_and(|row| {
        let lacking = row.unit.known().tags.lacking(row.line.needs);
        lacking.is_empty() && (row.unit.serial().is_some() || !row.line.needs.serial)
    });
    if given.is_empty() && !complete {
        let remedy = "give serial, sim, imei or device_id";
        return Err(Problem::field("imei", None, "nothing is assigned", remedy));
    }
    if let Some(row) = row {
        let fits = given.fits(
            row.unit.serial().as_ref(),
            &row.line.product_code,
            &desk.config.prefixes(),
        );
        fits.map_err(|why| {
            let serial = given.serial.as_ref().map(ToString::to_string);
            unfit(Mark::Serial, serial.as_deref(), &why)
        })?;
    }
    let now = (desk.clock)();
    let row = desk.store.give(&id, &given, &by, now).await?;
    Ok(Json(json!({ "units": [UnitShown::from(&row)] })).into_response())
}

pub(super) async fn swap(task: Task) -> Answer {
    let Task { desk, by, id, body } = task;
    let mut fields = Fields::body(body, &["with"])?;
    let with = fields.required("with")?;
    order_of(&desk, &id).await?;
    order_of(&desk, &with).await?;
    let now = (desk.clock)();
    let rows = desk.store.swap(&id, &with, &by, now).await?;
    Ok(Json(json!({ "units": rows.each_ref().map(UnitShown::from) })).into_response())
}

/// A value that a check refuses.
fn unfit(mark: Mark, text: Option<&str>, why: &Unfit) -> Problem {
    let remedy = why.remedy("give \"force\": true");
    Problem::field(mark.name(), text, &*why.what, remedy)
}

pub(super) async fn ship(task: Task) -> Answer {
    let Task { desk, by, id, body } = task;
    let mut fields = Fields::body(body, &["carrier", "tracking", "units"])?;
    let carrier = fields.required("carrier")?;
    let missing = || Problem::field("tracking", None, "is missing", "give one number or a list");
    let tracking = fields.texts("tracking")?.ok_or_else(missing)?;
    let units = fields.texts("units")?;
    let parcel = Parcel::new(carrier, tracking).ok_or_else(missing)?;
    order(&desk, &id).await?;
    let now = (desk.clock)();
    let rows = desk
        .store
        .ship(&id, units.as_deref(), &parcel, &by, now)
        .await?;
    let units: Vec<UnitShown> = rows.iter().map(UnitShown::from).collect();
    Ok(Json(json!({ "units": units })).into_response())
}

pub(super) async fn alarms(State(desk): State<ApiState>) -> Answer {
    let alarms = desk.store.alarms().await?;
    let alarms: Vec<AlarmShown> = alarms.into_iter().map(AlarmShown::from).collect();
    Ok(Json(json!({ "alarms": alarms })).into_response())
}

/// Serials that MyAdmin lists and no unit has.
pub(super) async fn unclaimed(State(desk): State<ApiState>) -> Answer {
    let serials = desk.store.unclaimed().await?;
    Ok(Json(json!({ "serials": serials })).into_response())
}

pub(super) async fn clear(State(desk): State<ApiState>, Extension(by): Who, body: Body) -> Answer {
    let mut fields = Fields::body(body, &["kind", "subject"])?;
    let (kind, subject) = (fields.required("kind")?, fields.required("subject")?);
    let now = (desk.clock)();
    if !desk.store.clear_alarm(&kind, &subject, &by, now).await? {
        let remedy = "GET /api/alarms lists those that stand";
        return Err(Problem::missing("subject", &subject, remedy));
    }
    Ok(Json(json!({ "cleared": true })).into_response())
}

pub(super) async fn events(State(desk): State<ApiState>, asked: Asked) -> Answer {
    let mut fields = Fields::query(asked, &["order", "after"])?;
    let after = fields.number("after", 0, i64::MAX)?;
    let events = match fields.text("order")? {
        Some(id) => {
            order(&desk, &id).await?;
            let mut events = desk.store.events(&id).await?;
            events.retain(|event| event.seq > after);
            events
        }
        None => desk.store.events_after(after).await?,
    };
    let next = events.last().map_or(after, |event| event.seq);
    Ok(Json(json!({ "events": events, "next": next })).into_response())
}

/// A CSV file as the body. 422 tells that nothing was done for what is wrong with it.
pub(super) async fn import(
    State(desk): State<ApiState>,
    Extension(by): Who,
    asked: Asked,
    body: Body,
) -> Answer {
    let partial = Fields::query(asked, &["partial"])?.flag("partial")?;
    let wishes = imports::read(&bytes(body)?, &desk.config.import);
    let by = Actor::Import(format!("of {}", by.name()).into());
    let now = (desk.clock)();
    let way = imports::Way {
        partial,
        columns: &desk.config.import,
        prefixes: &desk.config.prefixes(),
    };
    let outcome = imports::perform(&desk.store, wishes, way, &by, now).await?;
    let status = if outcome.bad.is_empty() || partial {
        StatusCode::OK
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    };
    Ok((status, Json(outcome)).into_response())
}

pub(super) async fn export(State(desk): State<ApiState>, Named(name): Named) -> Answer {
    let Some(paper) = Paper::parse(&name) else {
        let all = Paper::ALL.map(|(name, _)| name).join(", ");
        return Err(Problem::missing(
            "paper",
            &name,
            &format!("it may be {all}"),
        ));
    };
    let text = paper
        .written(&desk.store, &desk.config, (desk.clock)())
        .await?;
    let mut answer = ([(header::CONTENT_TYPE, paper.content_type())], text).into_response();
    if paper.content_type().starts_with("text/html")
        && let Ok(policy) = HeaderValue::from_str(&page::policy())
    {
        let name = header::CONTENT_SECURITY_POLICY;
        answer.headers_mut().insert(name, policy);
    }
    Ok(answer)
}

pub(super) async fn nowhere(uri: Uri) -> Problem {
    Problem::nowhere(uri.path())
}

pub(super) async fn not_so(method: Method) -> Problem {
    Problem::not_so(method.as_str())
}
