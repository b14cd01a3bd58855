//! Taking in orders: which wait for a person, which are not ours to do, and lines that change later.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::{Action, Held, View};
use crate::myadmin::wire;
use crate::orders::alarms::Due;
use crate::orders::journey::order::{Closed, Order};
use crate::orders::journey::unit::{Live, Unit};
use crate::orders::journey::{Code, Needs, Reason};
use crate::orders::settings::{Config, Standing};
use crate::orders::store::intents::Outcome;
use crate::orders::store::read::Whole;
use crate::orders::store::rows::{Contact, Head, LineStanding, OrderLine, UnitRow};

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
pub fn decide(view: &View, held: &Held, config: &Config, acts: &mut Vec<Action>) {
    if let Some(listing) = &view.listing {
        for (id, order) in &listing.orders {
            if !held.known.contains(id) {
                acts.extend(take_in(id, order, view, config));
            }
        }
    }
    for whole in &held.orders {
        lines(view, held, whole, config, acts);
    }
}

fn take_in(id: &str, seen: &wire::Order, view: &View, config: &Config) -> Option<Action> {
    let head = Box::new(head(seen));
    let status = &head.status;
    let standing = config.status.standing(status);
    let (order, why) = match standing {
        Standing::Done | Standing::Cancelled => {
            let why = format!("it was {status} before we knew it");
            return Some(Action::TakeIn {
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
    Some(Action::TakeIn {
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
fn line(unit: &wire::LineUnit, config: &Config) -> (OrderLine, Option<Reason>) {
    let known = config.products.contains_key(&unit.product_code);
    // What the line does not say about a serial is not a no: the product table decides, else a person.
    let serial = unit.requires_serial_number.unwrap_or(known);
    let line = OrderLine {
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

/// Lines that came, went or changed after the order was taken in. The other units of the order go on.
fn lines(view: &View, held: &Held, whole: &Whole, config: &Config, acts: &mut Vec<Action>) {
    if !matches!(whole.row.order, Order::Open(_)) {
        return;
    }
    let Some(seen) = view
        .lines
        .get(&whole.row.id)
        .filter(|seen| !seen.is_empty())
    else {
        return;
    };
    let mut ours: HashMap<&str, Vec<&UnitRow>> = HashMap::new();
    for row in &whole.units {
        ours.entry(&row.line.id).or_default().push(row);
    }
    let mut shown: HashSet<String> = HashSet::new();
    for unit in seen {
        let id = unit.id.to_string();
        let rows = ours.get(&*id).map(Vec::as_slice).unwrap_or_default();
        // A line that is listed twice is one line.
        if !shown.insert(id) {
            continue;
        }
        let current = rows
            .iter()
            .find(|row| !matches!(row.unit, Unit::Cancelled(_) | Unit::Terminated(_)));
        match current {
            Some(row) => acts.extend(changed(row, unit)),
            None => match rows.last() {
                None => acts.push(added(whole, unit, config)),
                Some(row)
                    if row.standing == LineStanding::Gone
                        && matches!(row.unit, Unit::Cancelled(_)) =>
                {
                    acts.push(Action::LineBack {
                        row: Box::new((*row).clone()),
                    });
                }
                // It was cancelled or terminated for another reason: that it is still shown changes nothing.
                Some(_) => {}
            },
        }
    }
    let gone =
        |row: &&UnitRow| row.standing != LineStanding::Kept && !shown.contains(&*row.line.id);
    for row in whole.units.iter().filter(gone) {
        let Unit::Live(live) = &row.unit else {
            continue;
        };
        let text = format!("MyAdmin does not show its line {} any more", row.line.id);
        let active = matches!(live, Live::Active(_));
        let evidence = json!({ "lines": seen.len(), "active": active });
        let row = Box::new(row.clone());
        acts.push(match live {
            Live::Ordered(_) if !in_doubt(held, &row.id) => Action::LineGone { row },
            Live::Ordered(_) | Live::Provisioned(_) | Live::Assigned(_) => Action::ParkUnit {
                row,
                reason: Reason::new(Code::LineChanged, text),
                evidence,
            },
            // It has left the warehouse: it goes on, and a person is told.
            Live::Shipped(_)
            | Live::Reported(_)
            | Live::Confirmed(_)
            | Live::InDatabase(_)
            | Live::Active(_) => Action::Alarm(Due {
                kind: "line-vanished",
                subject: row.id.clone(),
                said: format!("{text}, and it has left the warehouse: it goes on"),
                evidence,
            }),
        });
    }
}

/// A line that came after its order was taken in. It waits for a person where the whole order would.
fn added(whole: &Whole, unit: &wire::LineUnit, config: &Config) -> Action {
    let (line, reason) = line(unit, config);
    let asks = asks(&whole.row.head, whole.units.len() + 1, config);
    let late = || {
        let why = asks.join("; ");
        let text = format!("MyAdmin added its line after the order was taken in, and {why}");
        Reason::new(Code::LineChanged, text)
    };
    // An order that waits for approval is approved with all its units.
    let waits = whole.row.order.clear().is_none() || asks.is_empty();
    Action::AddUnit {
        row: Box::new(whole.row.clone()),
        line: Box::new(line),
        reason: reason.or_else(|| (!waits).then(late)),
    }
}

/// A line whose product is another one now: what was made for the old one does not fit. Or somebody else gave it a serial before us.
fn changed(row: &UnitRow, unit: &wire::LineUnit) -> Option<Action> {
    let shown = unit.serial_number.as_deref().map(str::trim);
    if matches!(row.unit, Unit::Live(Live::Ordered(_)))
        && row.line.needs.serial
        && row.replaces.is_none()
        && row.standing != LineStanding::Kept
        && let Some(serial) = shown.filter(|serial| !serial.is_empty())
    {
        return Some(Action::ParkUnit {
            row: Box::new(row.clone()),
            reason: Reason::new(
                Code::Elsewhere,
                format!("its line has serial {serial} already"),
            ),
            evidence: json!({ "line": unit }),
        });
    }
    let under_way = matches!(&row.unit, Unit::Live(live) if !live.is_beyond_shipping());
    let other = row.line.product_code != unit.product_code;
    (under_way && other && row.standing != LineStanding::Kept).then(|| Action::ParkUnit {
        row: Box::new(row.clone()),
        reason: Reason::new(
            Code::LineChanged,
            format!(
                "its line {} was product {:?} and is {:?} now",
                row.line.id, row.line.product_code, unit.product_code
            ),
        ),
        evidence: json!({ "line": unit }),
    })
}

/// Whether a provisioning call for a unit may have made a serial that nobody knows.
fn in_doubt(held: &Held, unit: &str) -> bool {
    let unknown = |outcome| matches!(outcome, Outcome::Open | Outcome::Unresolved);
    held.doubts
        .iter()
        .any(|call| call.wish.unit_id == unit && unknown(call.outcome))
}
