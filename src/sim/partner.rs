//! The REST face of MyAdmin, `/api/v3/shipping/partner`: orders to fulfil, their units, and what is reported of them.
//!
//! Reads follow myadmin/API.md 2.6; writes are its assumption U1: `PUT {base}/{id}/items/{itemId}` with the item, and
//! `PUT {base}/{id}` with `carrier`, `trackingNumber` and `shipmentStatus`. Errors follow U6.

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::answers::Answer;
use super::instants;
use super::market::{
    Filter, Market, Order, Refused, RestErrors, Settings, Shipment, Unit, UnitReport,
};
use super::myadmin::limits::Asking;
use super::myadmin::{drop_nulls, limited};
use super::operation::{Operation, Surface};
use super::query;
use super::world::World;

const BASE: &str = "/api/v3/shipping/partner";

/// A call as it came.
pub struct Call<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub query: &'a str,
    /// The header `Auth-SessionId`.
    pub session: Option<&'a str>,
    pub body: &'a [u8],
    /// The client's network address.
    pub address: &'a str,
}

/// The segments behind the base; `None` when the path is not below it.
fn segments(path: &str) -> Option<Vec<&str>> {
    let start = path.get(..BASE.len())?;
    let rest = &path[BASE.len()..];
    (start.eq_ignore_ascii_case(BASE) && (rest.is_empty() || rest.starts_with('/')))
        .then(|| rest.split('/').filter(|part| !part.is_empty()).collect())
}

/// What a request to this face asks; `None` when it is not for this face.
#[must_use]
pub fn operation(method: &Method, path: &str) -> Option<Operation> {
    let parts = segments(path)?;
    Some(match (method, parts.as_slice()) {
        (&Method::GET, []) => Operation::PartnerOrders,
        (&Method::GET, [_]) => Operation::PartnerOrder,
        (&Method::PUT, [_]) => Operation::PartnerPutOrder,
        (&Method::GET, [_, "items"]) => Operation::PartnerUnits,
        (&Method::PUT, [_, "items", _]) => Operation::PartnerPutUnit,
        _ => Operation::PartnerOther,
    })
}

/// A refusal: status and text.
type Denied = (u16, String);

fn denied(refused: &Refused) -> Denied {
    let status = match refused {
        Refused::Missing { .. } => 404,
        Refused::Conflict(_) => 409,
        Refused::Wrong(_) => 422,
    };
    (status, refused.to_string())
}

/// Answers a request. Takes effect at once; nothing is awaited.
#[must_use]
pub fn answer(world: &World, operation: Operation, call: &Call<'_>) -> Answer {
    let now = world.clock.now_us();
    let settings = world.market().settings.clone();
    let session = call.session.unwrap_or_default();
    let holder = world.logins().holder(session);
    let asking = Asking {
        endpoint: "partner",
        method: "",
        user: holder.as_deref().unwrap_or(call.address),
        address: call.address,
    };
    if !world.limiter().admit(&asking, &settings.limits, now) {
        return limited(&settings, Surface::Partner, now);
    }
    let done = admit(world, session, &settings, now)
        .and_then(|()| perform(world, operation, call, &settings, now));
    let (answer, status) = match (done, settings.rest_errors) {
        (Ok(answer), _) => return answer,
        (Err((status, text)), RestErrors::Text) => {
            (Answer::new(status, "text/plain", &text), status)
        }
        (Err((status, text)), RestErrors::Message) => (Answer::message(status, &text), status),
    };
    if status == 405 {
        let writable = settings.rest_writes && call.path.contains("/items");
        answer.allowing(if writable { "GET, PUT" } else { "GET" })
    } else {
        answer
    }
}

fn admit(world: &World, session: &str, settings: &Settings, now: i64) -> Result<(), Denied> {
    let gone = || (401, "The session is not valid.".to_owned());
    let user = world
        .logins()
        .rest_user(session, settings, now)
        .ok_or_else(gone)?;
    let market = world.market();
    let user = market.user(&user).ok_or_else(gone)?;
    let role = &settings.partner_role;
    if role.is_empty() || user.roles.contains(role) {
        Ok(())
    } else {
        Err((403, format!("The user has not the role {role}.")))
    }
}

fn number(text: Option<&&str>) -> Result<u64, Denied> {
    let text = text.copied().unwrap_or_default();
    text.parse()
        .map_err(|_| (404, format!("there is no order or item {text}")))
}

fn perform(
    world: &World,
    operation: Operation,
    call: &Call<'_>,
    settings: &Settings,
    now: i64,
) -> Result<Answer, Denied> {
    let parts = segments(call.path).unwrap_or_default();
    let writes = matches!(
        operation,
        Operation::PartnerPutOrder | Operation::PartnerPutUnit
    );
    let absent = operation == Operation::PartnerOther
        || (writes && !settings.rest_writes)
        || (operation == Operation::PartnerOrder && !settings.single_order);
    if absent {
        let text = format!("{} is not allowed here.", call.method);
        return Err((if parts.len() > 3 { 404 } else { 405 }, text));
    }
    if operation == Operation::PartnerOrders {
        return list(&world.market(), call, settings, now);
    }
    let id = number(parts.first())?;
    match operation {
        Operation::PartnerPutUnit => {
            let unit = number(parts.get(2))?;
            let body = body(call.body)?;
            let report = UnitReport {
                serial: text(&body, "serialNumber")?,
                sim: text(&body, "simNumber")?,
                imei: text(&body, "imei")?,
            };
            let mut market = world.market_mut();
            market
                .report_unit(id, unit, &report, now)
                .map_err(|refused| denied(&refused))?;
            let order = market.shown(id, now).map_err(|refused| denied(&refused))?;
            let row = order.units.iter().find(|known| known.id == unit);
            Ok(json_answer(
                row.map(|row| unit_shape(order, row, settings))
                    .unwrap_or_default(),
                settings,
            ))
        }
        Operation::PartnerPutOrder => {
            let body = body(call.body)?;
            let shipment = Shipment {
                carrier: text(&body, "carrier")?,
                tracking: text(&body, "trackingNumber")?,
                status: text(&body, "shipmentStatus")?,
            };
            let mut market = world.market_mut();
            market
                .report_shipment(id, &shipment, now)
                .map_err(|refused| denied(&refused))?;
            let order = market.shown(id, now).map_err(|refused| denied(&refused))?;
            Ok(json_answer(order_shape(order, settings), settings))
        }
        _ => {
            let market = world.market();
            let order = market.shown(id, now).map_err(|refused| denied(&refused))?;
            let shape = if operation == Operation::PartnerOrder {
                order_shape(order, settings)
            } else {
                let rows = order.units.iter();
                rows.map(|unit| unit_shape(order, unit, settings)).collect()
            };
            Ok(json_answer(shape, settings))
        }
    }
}

fn body(bytes: &[u8]) -> Result<Map<String, Value>, Denied> {
    serde_json::from_slice(bytes).map_err(|error| (400, format!("the body is no object: {error}")))
}

/// A member's text; null is as good as absent.
fn text(body: &Map<String, Value>, name: &str) -> Result<Option<String>, Denied> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err((400, format!("{name} is no text"))),
    }
}

fn json_answer(mut shape: Value, settings: &Settings) -> Answer {
    if !settings.null_members {
        drop_nulls(&mut shape);
    }
    Answer::json_of(200, &shape)
}

fn id_shape(id: u64, settings: &Settings) -> Value {
    if settings.ids_as_text {
        json!(id.to_string())
    } else {
        json!(id)
    }
}

fn order_shape(order: &Order, settings: &Settings) -> Value {
    let contact = &order.contact;
    let shipment = |text: &Option<String>| text.clone().filter(|_| settings.echo_shipment);
    json!({
        "orderHeaderId": id_shape(order.order_header_id, settings),
        "account": {
            "accountId": order.account,
            "id": id_shape(order.account_id.unsigned_abs(), settings),
        },
        "orderDate": instants::millis(order.ordered_us),
        "shipmentStatus": order.status,
        "comment": order.comment,
        "shippingContact": {
            "name": contact.name,
            "email": contact.email,
            "street1": contact.street1,
            "street2": contact.street2,
            "city": contact.city,
            "state": contact.state,
            "zipCode": contact.zip_code,
            "telephone1": contact.telephone1,
            "telephone2": contact.telephone2,
        },
        "resellerName": order.reseller_name,
        "resellerEmail": order.reseller_email,
        "purchaseOrderNumber": order.purchase_order_number,
        "shipmentReference": order.shipment_reference,
        "validated": order.validated,
        "id": id_shape(order.id, settings),
        "carrier": shipment(&order.carrier),
        "trackingNumber": shipment(&order.tracking),
    })
}

fn unit_shape(order: &Order, unit: &Unit, settings: &Settings) -> Value {
    json!({
        "shippingHeaderPartnerId": id_shape(order.id, settings),
        "productCode": unit.product_code,
        "requiresSerialNumber": unit.requires_serial,
        "requiresSimNumber": unit.requires_sim,
        "requiresImei": unit.requires_imei,
        // The one member that is always there (3.2).
        "serialNumber": unit.serial.as_deref().unwrap_or(""),
        "simNumber": unit.sim,
        "imei": unit.imei,
        "attribute": unit.attribute,
        "id": id_shape(unit.id, settings),
    })
}

const DAY_US: i64 = 86_400_000_000;

/// Midnight UTC of a day written as `YYYY-MM-DD`.
fn day(name: &str, text: &str) -> Result<i64, Denied> {
    let full = format!("{text}T00:00:00Z");
    (text.len() == 10)
        .then(|| instants::parse(full.as_bytes(), false))
        .flatten()
        .map(|ticks| ticks / 10)
        .ok_or_else(|| (400, format!("{name} is no day: {text}")))
}

fn list(market: &Market, call: &Call<'_>, settings: &Settings, now: i64) -> Result<Answer, Denied> {
    let mut filter = Filter::default();
    let (mut page, mut per_page) = (1, settings.page_default);
    let (mut keyset, mut after) = (false, 0);
    for (name, value) in query::pairs(call.query) {
        if value.is_empty() {
            continue;
        }
        let whole = || {
            let number = value.parse::<usize>().ok().filter(|number| *number > 0);
            number.ok_or_else(|| (400, format!("{name} is no number: {value}")))
        };
        match name.to_ascii_lowercase().as_str() {
            "purchaseordernumber" => filter.purchase_order_number = Some(value),
            "shipmentreference" => filter.shipment_reference = Some(value),
            "status" => filter.status = Some(value),
            "fromdate" => filter.from_us = Some(day(&name, &value)?),
            // Both days count (U5).
            "todate" => filter.before_us = Some(day(&name, &value)? + DAY_US),
            "page" => page = whole()?,
            "perpage" | "per_page" => per_page = whole()?,
            "pagination" => keyset = value == "keyset",
            "cursor" => after = whole()? as u64,
            _ => {}
        }
    }
    let per_page = per_page.clamp(1, settings.page_cap.max(1));
    let mut orders = market.orders(&filter, now);
    let total = orders.len();
    let mut headers = vec![("PerPage", per_page.to_string())];
    let from = if keyset {
        let from = orders.partition_point(|order| order.id <= after);
        if total > from + per_page {
            headers.push(("NextCursor", orders[from + per_page - 1].id.to_string()));
        }
        from
    } else {
        if settings.unstable_order && total > 0 {
            orders.rotate_left((now / 1000).unsigned_abs() as usize % total);
        }
        headers.push(("Page", page.to_string()));
        headers.push(("Total", total.to_string()));
        let pages = total.div_ceil(per_page).max(1);
        headers.push(("Link", links(call.query, page, per_page, pages)));
        (page - 1).saturating_mul(per_page)
    };
    let rows = orders
        .into_iter()
        .skip(from)
        .take(per_page)
        .map(|order| order_shape(order, settings));
    let mut answer = json_answer(rows.collect(), settings);
    if settings.paging_headers {
        answer.headers = headers;
    }
    Ok(answer)
}

/// The `Link` header: first, previous, next and last page.
fn links(asked: &str, page: usize, per_page: usize, pages: usize) -> String {
    let kept: String = query::pairs(asked)
        .into_iter()
        .filter(|(name, _)| {
            !["page", "perpage", "per_page"].contains(&name.to_ascii_lowercase().as_str())
        })
        .map(|(name, value)| format!("&{}={}", query::encode(&name), query::encode(&value)))
        .collect();
    let link = |to: usize, name: &str| {
        format!("<{BASE}?page={to}&per_page={per_page}{kept}>; rel=\"{name}\"")
    };
    let mut all = vec![link(1, "first"), link(pages, "last")];
    if page > 1 {
        all.push(link(page - 1, "prev"));
    }
    if page < pages {
        all.push(link(page + 1, "next"));
    }
    all.join(", ")
}
