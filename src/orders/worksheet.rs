//! The worksheet: what a person keys into MyAdmin's Partner Fulfillment screen, as CSV and as a page to print.
//!
//! On it are units that left the warehouse and that MyAdmin does not show yet; reading back confirms what was keyed in. Pure: rows
//! in, text out. The page loads nothing from elsewhere, and every text on it is escaped.

use std::fmt::Write as _;

use super::export;
use super::shown::{UnitShown, WholeShown};

const PAGE: &str = include_str!("worksheet.html");

/// Whether a unit is to be keyed in.
#[must_use]
pub fn due(unit: &UnitShown) -> bool {
    matches!(unit.state, "shipped" | "reported")
}

/// Orders that have something to key in, each with those units only.
#[must_use]
pub fn open(orders: Vec<WholeShown>) -> Vec<WholeShown> {
    orders
        .into_iter()
        .filter_map(|mut whole| {
            whole.units.retain(due);
            let going = matches!(whole.order.state, "approved");
            (going && !whole.units.is_empty()).then_some(whole)
        })
        .collect()
}

/// One line per unit.
#[must_use]
pub fn csv(orders: &[WholeShown]) -> String {
    let header = [
        "order",
        "reference",
        "purchase_order",
        "account",
        "unit",
        "product_code",
        "serial",
        "sim",
        "imei",
        "carrier",
        "tracking",
    ];
    let rows = orders.iter().flat_map(|whole| {
        whole.units.iter().map(|unit| {
            [
                whole.order.id.clone(),
                whole.order.reference.clone(),
                whole.order.purchase_order.clone(),
                whole.order.account.clone(),
                unit.id.clone(),
                unit.product_code.clone(),
                unit.serial.clone().unwrap_or_default(),
                unit.sim.clone().unwrap_or_default(),
                unit.imei.clone().unwrap_or_default(),
                unit.carrier.clone().unwrap_or_default(),
                unit.tracking.join("; "),
            ]
        })
    });
    export::table(header, rows)
}

/// A page with one sheet per order; `made` is shown on each.
#[must_use]
pub fn page(orders: &[WholeShown], made: &str) -> String {
    let mut sheets = String::new();
    for whole in orders {
        sheet(&mut sheets, whole, made);
    }
    if orders.is_empty() {
        sheets.push_str("<section><p>Nothing is to be keyed in.</p></section>\n");
    }
    PAGE.replace("<!-- sheets -->", &sheets)
}

fn sheet(out: &mut String, whole: &WholeShown, made: &str) {
    let order = &whole.order;
    let contact = &order.contact;
    let place = [&contact.zip_code, &contact.city, &contact.state]
        .into_iter()
        .filter(|text| !text.is_empty())
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ");
    let ship_to = [
        &contact.name,
        &contact.street1,
        &contact.street2,
        &place,
        &contact.telephone1,
        &contact.email,
    ]
    .into_iter()
    .filter(|text| !text.trim().is_empty())
    .map(|text| escaped(text))
    .collect::<Vec<_>>()
    .join("<br>");
    let name = if order.reference.is_empty() {
        &order.id
    } else {
        &order.reference
    };
    let _ = write!(
        out,
        "<section>\n<h1>Order {}</h1>\n<dl>\n<div><dt>Purchase order</dt><dd>{}</dd></div>\n\
         <div><dt>Account</dt><dd>{}</dd></div>\n<div><dt>Order id</dt><dd>{}</dd></div>\n\
         <div><dt>Status in MyAdmin</dt><dd>{}</dd></div>\n<div><dt>Ship to</dt><dd>{ship_to}</dd></div>\n",
        escaped(name),
        escaped(&order.purchase_order),
        escaped(&order.account),
        escaped(&order.id),
        escaped(&order.status),
    );
    if !order.comment.trim().is_empty() {
        let _ = writeln!(
            out,
            "<div class=\"wide\"><dt>Comment</dt><dd>{}</dd></div>",
            escaped(&order.comment)
        );
    }
    out.push_str("</dl>\n");
    let mut parcels: Vec<(String, String)> = whole
        .units
        .iter()
        .map(|unit| {
            (
                unit.carrier.clone().unwrap_or_default(),
                unit.tracking.join(", "),
            )
        })
        .collect();
    parcels.sort();
    parcels.dedup();
    out.push_str("<h2>Shipment</h2>\n<table><thead><tr><th>Carrier</th><th>Tracking number</th><th class=\"tick\">Done</th></tr></thead><tbody>\n");
    for (carrier, tracking) in parcels {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"code\">{}</td><td></td></tr>",
            escaped(&carrier),
            escaped(&tracking)
        );
    }
    out.push_str("</tbody></table>\n<h2>Units</h2>\n<table><thead><tr><th>Line</th><th>Product</th><th>Serial</th><th>SIM</th><th>IMEI</th><th class=\"tick\">Done</th></tr></thead><tbody>\n");
    for unit in &whole.units {
        let line = unit
            .id
            .strip_prefix(&format!("{}.", order.id))
            .unwrap_or(&unit.id);
        let mark = |text: &Option<String>| escaped(text.as_deref().unwrap_or_default());
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"code\">{}</td><td class=\"code\">{}</td><td class=\"code\">{}</td><td></td></tr>",
            escaped(line),
            escaped(&unit.product_code),
            mark(&unit.serial),
            mark(&unit.sim),
            mark(&unit.imei),
        );
    }
    out.push_str("</tbody></table>\n");
    for unit in whole.units.iter().filter(|unit| !unit.odd.is_empty()) {
        let _ = writeln!(
            out,
            "<p class=\"wide\">Unit {}: compare with the device. {}</p>",
            escaped(&unit.id),
            escaped(&unit.odd.join("; ")),
        );
    }
    let count = whole.units.len();
    let _ = writeln!(
        out,
        "<footer>{count} {} · {}</footer>\n</section>",
        if count == 1 { "unit" } else { "units" },
        escaped(made)
    );
}

/// A text as HTML shows it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push_str("<br>"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::journey::order::Order;
    use crate::orders::journey::unit::Unit;
    use crate::orders::journey::way::{Assigned, Live, Ordered};
    use crate::orders::journey::{Needs, Parcel, Serial, Tags};
    use crate::orders::shown::OrderShown;
    use crate::orders::store::rows::{Head, Line, OrderRow, UnitRow};
    use jiff::Timestamp;

    fn unit(line: &str, shipped: bool) -> UnitShown {
        let needs = Needs {
            serial: true,
            ..Needs::default()
        };
        let ordered = Ordered {
            tags: Tags {
                imei: Some("350000000000014".into()),
                ..Tags::default()
            },
        };
        let assigned: Assigned = ordered
            .provision(Serial::parse("CX0000000001").expect("a serial"))
            .assign(needs)
            .expect("complete");
        let live = if shipped {
            let parcel = Parcel::new("Post", ["T1", "T2"]).expect("a parcel");
            Live::Shipped(assigned.ship(parcel))
        } else {
            Live::Assigned(assigned)
        };
        UnitShown::from(&UnitRow {
            id: format!("7.{line}"),
            order_id: "7".into(),
            version: 1,
            line: Line {
                id: line.into(),
                product_code: "CTD-100".into(),
                needs,
                attribute: None,
            },
            unit: Unit::Live(live),
            standing: Default::default(),
            replaces: None,
            attempts: 0,
            retry_at: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        })
    }

    fn whole(units: Vec<UnitShown>) -> WholeShown {
        let order = OrderShown::from(&OrderRow {
            id: "7".into(),
            version: 1,
            order: Order::receive(Vec::new()),
            head: Head {
                reference: "SO-7".into(),
                comment: "<script>alert('x')</script> & \"more\"".into(),
                ..Head::default()
            },
            missing: 0,
            reported: None,
            attempts: 0,
            retry_at: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        });
        WholeShown { order, units }
    }

    #[test]
    fn only_what_left_the_warehouse_is_on_the_sheet() {
        let orders = open(vec![
            whole(vec![unit("1", true), unit("2", false)]),
            whole(vec![unit("3", false)]),
        ]);
        assert_eq!(orders.len(), 1);
        assert_eq!(orders[0].units.len(), 1);
        let text = csv(&orders);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("7,SO-7,,,7.1,CTD-100,CX0000000001,,350000000000014,Post,T1; T2"));
    }

    #[test]
    fn the_page_is_escaped_and_loads_nothing() {
        let text = page(&open(vec![whole(vec![unit("1", true)])]), "2026-01-02");
        assert!(!text.contains("<script"), "{text}");
        assert!(
            text.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;more&quot;")
        );
        for outside in ["http:", "https:", "src=", "url(", "@import", "<link"] {
            assert!(!text.contains(outside), "{outside}");
        }
        assert_eq!(text.matches("<section>").count(), 1);
        assert!(page(&[], "now").contains("Nothing is to be keyed in"));
    }
}
