//! Orders, units, events and alarms as tables for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::commands::columns::aligned;
pub(super) use crate::commands::columns::plain;
use crate::orders::alarms::AlarmShown;
use crate::orders::store::judged::{JudgedRow, VanishedRow};
use crate::orders::store::listed_devices::SeenRow;
use crate::orders::store::rows::EventRow;
use crate::orders::views::{Explained, OrderShown, UnitShown};
use crate::orders::wait::Wait;

pub(super) fn or_dash(text: Option<&str>) -> String {
    match text {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => "-".to_owned(),
    }
}

pub(super) fn orders(orders: &[OrderShown]) -> String {
    if orders.is_empty() {
        return "no such orders; --all lists all of them\n".to_owned();
    }
    let header = [
        "ORDER",
        "STATE",
        "UNITS",
        "STATUS",
        "ACCOUNT",
        "REFERENCE",
        "PO",
        "TAKEN IN",
        "WAITS FOR",
    ];
    aligned(
        header,
        orders.iter().map(|order| {
            [
                order.id.clone(),
                order.state.to_owned(),
                or_dash(Some(&states(order))),
                or_dash(Some(&order.status)),
                or_dash(Some(&order.account)),
                or_dash(Some(&order.reference)),
                or_dash(Some(&order.purchase_order)),
                order.created_at.clone(),
                match &order.wait {
                    Some(wait) => waits(wait),
                    None => order.reason.clone().unwrap_or_default(),
                },
            ]
        }),
    )
}

/// Units by state, such as `4 active, 2 parked`.
fn states(order: &OrderShown) -> String {
    let states = order.unit_states.iter();
    let texts: Vec<String> = states
        .map(|(state, units)| format!("{units} {state}"))
        .collect();
    texts.join(", ")
}

fn waits(wait: &Wait) -> String {
    format!("{} (since {})", wait.said, wait.since)
}

pub(super) fn units(units: &[UnitShown]) -> String {
    let header = [
        "UNIT",
        "PRODUCT",
        "STATE",
        "SERIAL",
        "SIM",
        "IMEI",
        "CARRIER",
        "TRACKING",
        "DATABASE",
        "WAITS FOR",
    ];
    aligned(
        header,
        units.iter().map(|unit| {
            let waits = match (&unit.wait, &unit.reason) {
                (Some(wait), _) => waits(wait),
                (None, Some(reason)) => reason.clone(),
                (None, None) => unit.lacking.join(", "),
            };
            [
                unit.id.clone(),
                unit.product_code.clone(),
                unit.state.to_owned(),
                or_dash(unit.serial.as_deref()),
                or_dash(unit.sim.as_deref()),
                or_dash(unit.imei.as_deref()),
                or_dash(unit.carrier.as_deref()),
                or_dash(Some(&unit.tracking.join(", "))),
                or_dash(unit.database.as_deref()),
                waits,
            ]
        }),
    )
}

pub(super) fn whole(explained: &Explained) -> String {
    let whole = &explained.whole;
    let order = &whole.order;
    let waits = order.wait.as_ref().map(waits).unwrap_or_default();
    let next = order.wait.as_ref().map(|wait| wait.remedy.as_str());
    let contact = &order.contact;
    let place = format!("{} {}", contact.zip_code, contact.city);
    let telephones = format!("{} {}", contact.telephone1, contact.telephone2);
    let ship_to = [&contact.name, &contact.street1, &contact.street2, &place]
        .into_iter()
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(", ");
    let mut out = String::new();
    for (name, value) in [
        ("order", order.id.as_str()),
        ("state", order.state),
        ("reason", order.reason.as_deref().unwrap_or_default()),
        ("waits for", &waits),
        (
            "remedy",
            next.or(order.remedy.as_deref()).unwrap_or_default(),
        ),
        ("status in MyAdmin", &order.status),
        ("account", &order.account),
        ("reference", &order.reference),
        ("purchase order", &order.purchase_order),
        ("ordered", &order.order_date),
        ("reseller", &order.reseller),
        ("items", &whole.items().join(", ")),
        ("ship to", &ship_to),
        ("telephone", telephones.trim()),
        ("comment", &order.comment),
        ("mail differs", &whole.mail_differs.join("; ")),
    ] {
        if !value.is_empty() {
            let _ = writeln!(out, "{name:<18} {}", plain(value));
        }
    }
    out.push('\n');
    out.push_str(&units(&whole.units));
    for unit in whole.units.iter().filter(|unit| !unit.odd.is_empty()) {
        let _ = writeln!(out, "{}: {}", unit.id, plain(&unit.odd.join("; ")));
    }
    // One of each kind: five hundred units that wait for their IMEI need one line.
    let mut told = BTreeMap::new();
    for unit in &whole.units {
        let waits = unit.wait.as_ref();
        if let Some(remedy) = waits.map(|wait| &wait.remedy).or(unit.remedy.as_ref()) {
            let kind = waits.map(|wait| (wait.what, wait.said.clone()));
            let (_, _, more) = told.entry(kind).or_insert((&unit.id, remedy, -1));
            *more += 1;
        }
    }
    for (id, remedy, more) in told.into_values() {
        let alike = match more {
            0 => String::new(),
            more => format!(" (and {more} more alike)"),
        };
        let _ = writeln!(out, "{id}{alike}: {}", plain(remedy));
    }
    for doubt in &explained.doubts {
        let _ = writeln!(
            out,
            "in doubt since {}: unit {}, product {}, account {}, serials that fit: {}\n  {}\n  next: {}",
            doubt.since,
            doubt.unit,
            plain(&doubt.product_code),
            plain(&doubt.account),
            or_dash(Some(&doubt.fitting.join(", "))),
            plain(&doubt.said),
            doubt.remedy,
        );
    }
    out
}

pub(super) fn unclaimed(serials: &[SeenRow]) -> String {
    if serials.is_empty() {
        return "every listed serial is a unit's\n".to_owned();
    }
    let header = ["SERIAL", "PRODUCT", "DATABASE", "FIRST SEEN", "LAST SEEN"];
    aligned(
        header,
        serials.iter().map(|seen| {
            [
                seen.serial.to_string(),
                or_dash(Some(&seen.product_code)),
                or_dash(Some(&seen.owner_database)),
                seen.first_seen.to_string(),
                seen.last_seen.to_string(),
            ]
        }),
    )
}

pub(super) fn sheets(sheets: &[JudgedRow], vanished: &[VanishedRow], all: bool) -> String {
    let mut out = String::new();
    if sheets.is_empty() {
        out.push_str(if all {
            "no sheet was read\n"
        } else {
            "no sheet waits for a decision\n"
        });
    } else {
        let header = [
            "SHEET",
            "STATE",
            "READ AT",
            "ROWS",
            "NOT UNDERSTOOD",
            "DECIDED BY",
            "SAID",
        ];
        out = aligned(
            header,
            sheets.iter().map(|sheet| {
                [
                    sheet.subject.clone(),
                    sheet.state.name().to_owned(),
                    sheet.judged_at.to_string(),
                    sheet.rows.to_string(),
                    sheet.bad.to_string(),
                    or_dash(sheet.decided_by.as_deref()),
                    sheet.said.clone(),
                ]
            }),
        );
    }
    if !vanished.is_empty() {
        out.push('\n');
        let header = ["VANISHED DEVICE", "NAMED BY", "MISSING IN", "AT"];
        out += &aligned(
            header,
            vanished.iter().map(|row| {
                [
                    row.serial.to_string(),
                    row.named_by.clone(),
                    row.missing_in.clone(),
                    row.at.to_string(),
                ]
            }),
        );
    }
    out
}

pub(super) fn events(events: &[EventRow]) -> String {
    if events.is_empty() {
        return "no events\n".to_owned();
    }
    let header = ["SEQ", "AT", "ABOUT", "BY", "ACT", "FROM", "TO", "WHY"];
    aligned(
        header,
        events.iter().map(|event| {
            let about = event.unit_id.as_deref().or(event.order_id.as_deref());
            let by = match event.actor.as_str() {
                "" => event.actor_kind.clone(),
                name => format!("{} {name}", event.actor_kind),
            };
            [
                event.seq.to_string(),
                event.at.to_string(),
                or_dash(about),
                by,
                event.act.clone(),
                or_dash(event.from_state.as_deref()),
                or_dash(event.to_state.as_deref()),
                event.why.clone(),
            ]
        }),
    )
}

pub(super) fn alarms(alarms: &[AlarmShown]) -> String {
    if alarms.is_empty() {
        return "no alarm is standing\n".to_owned();
    }
    let header = [
        "KIND", "SUBJECT", "SINCE", "LAST", "TIMES", "SAID", "REMEDY",
    ];
    aligned(
        header,
        alarms.iter().map(|shown| {
            let alarm = &shown.row;
            [
                alarm.kind.clone(),
                alarm.subject.clone(),
                alarm.first_at.to_string(),
                alarm.last_at.to_string(),
                alarm.times.to_string(),
                alarm.said.clone(),
                shown.remedy.clone(),
            ]
        }),
    )
}
