//! Orders, units and events as CSV, for a spreadsheet.
//!
//! Pure. A text that a spreadsheet would take for a formula gets an apostrophe before it: customers write comments.

use super::store::rows::EventRow;
use super::views::{UnitShown, WholeShown};

/// A text as a spreadsheet may have it.
#[must_use]
pub fn cell(text: &str) -> String {
    let number = |c: char| c.is_ascii_digit() || matches!(c, ' ' | '-' | '(' | ')' | '.' | '/');
    let telephone = text
        .strip_prefix(['+', '-'])
        .is_some_and(|rest| !rest.is_empty() && rest.chars().all(number));
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) && !telephone {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

/// Rows below a header, as CSV.
#[must_use]
pub fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = header.map(str::to_owned);
    for row in std::iter::once(header).chain(rows) {
        writer
            .write_record(row.iter().map(|text| cell(text)))
            .expect("rows of one width are written to memory");
    }
    let bytes = writer.into_inner().expect("memory takes it all");
    String::from_utf8(bytes).expect("texts stay texts")
}

fn or_empty(text: Option<&String>) -> String {
    text.cloned().unwrap_or_default()
}

/// Orders, one per line.
#[must_use]
pub fn orders(orders: &[WholeShown]) -> String {
    let header = [
        "order",
        "state",
        "reason",
        "status",
        "account",
        "reference",
        "purchase_order",
        "order_date",
        "name",
        "city",
        "carrier",
        "tracking",
        "comment",
        "created_at",
        "updated_at",
        "items",
        "reseller",
        "reseller_email",
        "street1",
        "street2",
        "zip",
        "address_state",
        "telephone",
        "telephone2",
        "email",
        "mail_differs",
    ];
    table(
        header,
        orders.iter().map(|whole| {
            let (order, contact) = (&whole.order, &whole.order.contact);
            [
                order.id.clone(),
                order.state.to_owned(),
                or_empty(order.reason.as_ref()),
                order.status.clone(),
                order.account.clone(),
                order.reference.clone(),
                order.purchase_order.clone(),
                order.order_date.clone(),
                contact.name.clone(),
                contact.city.clone(),
                or_empty(order.carrier.as_ref()),
                or_empty(order.tracking.as_ref()),
                order.comment.clone(),
                order.created_at.clone(),
                order.updated_at.clone(),
                whole.items().join(", "),
                order.reseller.clone(),
                order.reseller_email.clone(),
                contact.street1.clone(),
                contact.street2.clone(),
                contact.zip_code.clone(),
                contact.state.clone(),
                contact.telephone1.clone(),
                contact.telephone2.clone(),
                contact.email.clone(),
                whole.mail_differs.join("; "),
            ]
        }),
    )
}

/// Units, one per line. Its columns are those the import reads, so that a file may be filled in and given back.
#[must_use]
pub fn units(units: &[UnitShown]) -> String {
    let header = [
        "unit",
        "order",
        "product_code",
        "state",
        "lacking",
        "serial",
        "sim",
        "imei",
        "device_id",
        "carrier",
        "tracking",
        "database",
        "active_since",
        "reason",
        "updated_at",
    ];
    table(
        header,
        units.iter().map(|unit| {
            [
                unit.id.clone(),
                unit.order.clone(),
                unit.product_code.clone(),
                unit.state.to_owned(),
                unit.lacking.join(" "),
                or_empty(unit.serial.as_ref()),
                or_empty(unit.sim.as_ref()),
                or_empty(unit.imei.as_ref()),
                or_empty(unit.device_id.as_ref()),
                or_empty(unit.carrier.as_ref()),
                unit.tracking.join(";"),
                or_empty(unit.database.as_ref()),
                or_empty(unit.active_since.as_ref()),
                or_empty(unit.reason.as_ref()),
                unit.updated_at.clone(),
            ]
        }),
    )
}

/// Events, one per line.
#[must_use]
pub fn events(events: &[EventRow]) -> String {
    let header = [
        "seq", "at", "order", "unit", "by", "name", "act", "from", "to", "why", "evidence",
    ];
    table(
        header,
        events.iter().map(|event| {
            [
                event.seq.to_string(),
                event.at.to_string(),
                or_empty(event.order_id.as_ref()),
                or_empty(event.unit_id.as_ref()),
                event.actor_kind.clone(),
                event.actor.clone(),
                event.act.clone(),
                or_empty(event.from_state.as_ref()),
                or_empty(event.to_state.as_ref()),
                event.why.clone(),
                event
                    .evidence
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_becomes_a_text_and_a_telephone_stays() {
        for (text, wanted) in [
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-2+3", "'-2+3"),
            ("+49 (30) 12-34", "+49 (30) 12-34"),
            ("plain", "plain"),
            ("", ""),
        ] {
            assert_eq!(cell(text), wanted);
        }
    }

    #[test]
    fn what_holds_commas_quotes_and_line_ends_is_read_back_whole() {
        let text = "a, \"b\"\nc".to_owned();
        let written = table(["one", "two"], [[text.clone(), "d".to_owned()]]);
        let mut reader = csv::Reader::from_reader(written.as_bytes());
        let row = reader.records().next().expect("one row").expect("readable");
        assert_eq!(row.get(0), Some(text.as_str()));
    }
}
