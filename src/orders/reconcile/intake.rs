//! Taking in orders: which wait for a person, which are not ours to do, and lines that change later.

use serde_json::json;

use super::{Act, Held, View};
use crate::myadmin::wire;
use crate::orders::journey::order::{Closed, Order};
use crate::orders::journey::unit::Unit;
use crate::orders::journey::{Code, Needs, Reason};
use crate::orders::settings::{Config, Standing};
use crate::orders::store::read::Whole;
use crate::orders::store::rows::{Contact, Head, Line};

/// Names under which an order may show its shipment once it was written (U1).
const CARRIER: &str = "carrier";
const TRACKING: &str = "trackingNumber";

/// What an order says of itself, as stored.
#[must_use]
pub fn head(order: &wire::Order) -> Head {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Head {
        status: order.shipment_status.clone(),
        account: order.erp_no().to_owned(),
        header_id: order
            .order_header_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        reference: text(&order.shipment_reference),
        purchase_order: text(&order.purchase_order_number),
        order_date: text(&order.order_date),
        comment: text(&order.comment),
        reseller_name: text(&order.reseller_name),
        reseller_email: text(&order.reseller_email),
        validated: order.validated,
        contact: order
            .shipping_contact
            .as_ref()
            .map(|contact| Contact {
                name: contact.name.clone(),
                email: contact.email.clone(),
                street1: contact.street1.clone(),
                street2: contact.street2.clone(),
                city: contact.city.clone(),
                state: contact.state.clone(),
                zip_code: contact.zip_code.clone(),
                telephone1: contact.telephone1.clone(),
                telephone2: contact.telephone2.clone(),
            })
            .unwrap_or_default(),
        carrier: order.other_text(CARRIER).map(str::to_owned),
        tracking: order.other_text(TRACKING).map(str::to_owned),
    }
}

/// New orders of the listing, and lines of known ones that are not as they were taken in.
pub fn decide(view: &View, held: &Held, config: &Config, acts: &mut Vec<Act>) {
    if let Some(listing) = &view.listing {
        for (id, order) in &listing.orders {
            if !held.known.contains(id) {
                acts.extend(take_in(id, order, view, config));
            }
        }
    }
    for whole in &held.orders {
        lines(view, whole, acts);
    }
}

fn take_in(id: &str, seen: &wire::Order, view: &View, config: &Config) -> Option<Act> {
    let head = Box::new(head(seen));
    let status = &head.status;
    let standing = config.status.standing(status);
    let (order, why) = match standing {
        Standing::Done | Standing::Cancelled => {
            let why = format!("it was {status} before we knew it");
            return Some(Act::TakeIn {
                id: id.to_owned(),
                order: Order::Closed(Closed {
                    why: why.clone().into(),
                }),
                head,
                lines: Vec::new(),
                why,
            });
        }
        Standing::Pending => (None, format!("it is {status}")),
        Standing::Unknown => {
            let text = format!("its status {status:?} is in none of the lists of [orders.status]");
            (Some(Reason::new(Code::UnknownStatus, text.clone())), text)
        }
    };
    // Without its lines there is nothing to take in; the next round reads them.
    let units = view.lines.get(id)?;
    if units.is_empty() {
        return None;
    }
    let received = Order::receive(asks(&head, units.len(), config));
    let order = match (order, received) {
        (Some(reason), Order::Open(open)) => Order::Parked(open.park(reason)),
        (_, received) => received,
    };
    Some(Act::TakeIn {
        id: id.to_owned(),
        order,
        head,
        lines: units.iter().map(|unit| line(unit, config)).collect(),
        why,
    })
}

/// Which rules ask for a person.
fn asks(head: &Head, units: usize, config: &Config) -> Vec<Box<str>> {
    let rules = &config.approval;
    let mut asks: Vec<Box<str>> = Vec::new();
    if rules.always {
        asks.push("every order is approved by a person".into());
    }
    if rules.comments && !head.comment.trim().is_empty() {
        asks.push("it has a comment that must be read".into());
    }
    if rules.unvalidated && head.validated != Some(true) {
        asks.push("it is not validated".into());
    }
    if rules.units_above > 0 && units > rules.units_above as usize {
        asks.push(format!("it has {units} units, more than {}", rules.units_above).into());
    }
    if rules.accounts.contains(&head.account) {
        asks.push(format!("account {} asks for it", head.account).into());
    }
    asks
}

/// A line as taken in, parked if it cannot be worked on as it is.
fn line(unit: &wire::LineUnit, config: &Config) -> (Line, Option<Reason>) {
    let known = config.products.contains_key(&unit.product_code);
    // What the line does not say about a serial is not a no: the product table decides, else a person.
    let serial = unit.requires_serial_number.unwrap_or(known);
    let line = Line {
        id: unit.id.to_string(),
        product_code: unit.product_code.clone(),
        needs: Needs {
            serial,
            sim: unit.requires_sim_number.unwrap_or(false),
            imei: unit.requires_imei.unwrap_or(false),
        },
        attribute: unit.attribute.clone(),
    };
    let reason = match (&unit.serial_number, unit.requires_serial_number) {
        (Some(serial), _) if !serial.trim().is_empty() => Some(Reason::new(
            Code::Elsewhere,
            format!("its line has serial {serial} already"),
        )),
        (_, None) if !known => Some(Reason::new(
            Code::UnknownProduct,
            "its line does not say whether it needs a serial, and its product code is not known",
        )),
        _ => None,
    };
    (line, reason)
}

/// Lines that came, went or changed after the order was taken in.
fn lines(view: &View, whole: &Whole, acts: &mut Vec<Act>) {
    if whole.row.order.clear().is_none() {
        return;
    }
    let Some(seen) = view
        .lines
        .get(&whole.row.id)
        .filter(|seen| !seen.is_empty())
    else {
        return;
    };
    let park = |text: String, evidence| Act::ParkOrder {
        row: Box::new(whole.row.clone()),
        reason: Reason::new(Code::LineChanged, text),
        evidence,
    };
    for unit in seen {
        let id = unit.id.to_string();
        let ours = whole.units.iter().find(|row| row.line.id == id);
        let act = match ours {
            None => park(
                format!(
                    "line {id} (product {:?}) came after it was taken in",
                    unit.product_code
                ),
                json!({ "line": unit }),
            ),
            Some(row) if row.line.product_code != unit.product_code => park(
                format!(
                    "line {id} was product {:?} and is {:?} now",
                    row.line.product_code, unit.product_code
                ),
                json!({ "line": unit }),
            ),
            Some(_) => continue,
        };
        acts.push(act);
        return;
    }
    let gone = whole.units.iter().find(|row| {
        let ended = matches!(row.unit, Unit::Cancelled(_) | Unit::Terminated(_));
        !ended && !seen.iter().any(|unit| unit.id.to_string() == row.line.id)
    });
    if let Some(row) = gone {
        acts.push(park(
            format!("line {} is not shown any more", row.line.id),
            json!({ "lines": seen.len() }),
        ));
    }
}
