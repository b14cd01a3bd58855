//! Orders, units, events and alarms as tables for people.

use std::fmt::Write as _;

use crate::orders::shown::{OrderShown, UnitShown, WholeShown};
use crate::orders::store::alarms::AlarmRow;
use crate::orders::store::rows::EventRow;

/// Columns of equal width, two spaces apart; what would break the lines is taken out.
fn aligned<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let header = header.map(str::to_owned);
    let rows: Vec<[String; N]> = std::iter::once(header)
        .chain(rows)
        .map(|row| row.map(|text| plain(&text)))
        .collect();
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max();
        longest.unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (text, width) in row.iter().zip(widths) {
            let _ = write!(line, "{text:<width$}  ");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// A remote text may hold control characters: a terminal would obey them.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn or_dash(text: Option<&str>) -> String {
    match text {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => "-".to_owned(),
    }
}

pub(super) fn orders(orders: &[OrderShown]) -> String {
    if orders.is_empty() {
        return "no such orders\n".to_owned();
    }
    let header = [
        "ORDER",
        "STATE",
        "STATUS",
        "ACCOUNT",
        "REFERENCE",
        "PO",
        "SINCE",
        "REASON",
    ];
    aligned(
        header,
        orders.iter().map(|order| {
            [
                order.id.clone(),
                order.state.to_owned(),
                or_dash(Some(&order.status)),
                or_dash(Some(&order.account)),
                or_dash(Some(&order.reference)),
                or_dash(Some(&order.purchase_order)),
                order.created_at.clone(),
                order.reason.clone().unwrap_or_default(),
            ]
        }),
    )
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
            let waits = match (&unit.reason, unit.lacking.is_empty()) {
                (Some(reason), _) => reason.clone(),
                (None, false) => unit.lacking.join(", "),
                (None, true) => String::new(),
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

pub(super) fn whole(whole: &WholeShown) -> String {
    let order = &whole.order;
    let contact = &order.contact;
    let place = format!("{} {}", contact.zip_code, contact.city);
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
        ("remedy", order.remedy.as_deref().unwrap_or_default()),
        ("status in MyAdmin", &order.status),
        ("account", &order.account),
        ("reference", &order.reference),
        ("purchase order", &order.purchase_order),
        ("ordered", &order.order_date),
        ("ship to", &ship_to),
        ("comment", &order.comment),
    ] {
        if !value.is_empty() {
            let _ = writeln!(out, "{name:<18} {}", plain(value));
        }
    }
    out.push('\n');
    out.push_str(&units(&whole.units));
    for unit in &whole.units {
        if let Some(remedy) = &unit.remedy {
            let _ = writeln!(out, "{}: {remedy}", unit.id);
        }
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

pub(super) fn alarms(alarms: &[AlarmRow]) -> String {
    if alarms.is_empty() {
        return "no alarm is standing\n".to_owned();
    }
    let header = ["KIND", "SUBJECT", "SINCE", "LAST", "TIMES", "SAID"];
    aligned(
        header,
        alarms.iter().map(|alarm| {
            [
                alarm.kind.clone(),
                alarm.subject.clone(),
                alarm.first_at.to_string(),
                alarm.last_at.to_string(),
                alarm.times.to_string(),
                alarm.said.clone(),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_hold_no_control_character() {
        let text = aligned(
            ["A", "B"],
            [["long one".to_owned(), "x\u{1b}[2J\ny".to_owned()]],
        );
        assert_eq!(text, "A         B\nlong one  x [2J y\n");
    }
}
