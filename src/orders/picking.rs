//! The picking list: what the warehouse takes from the shelf and ships, as CSV and as a page to print.
//!
//! On it are the units of approved orders that have not left yet, with where they go and whom to call. Pure: rows in, text out.

use std::collections::BTreeMap;

use super::views::{UnitShown, WholeShown};
use super::{export, page};

/// Whether a unit is to be picked.
#[must_use]
pub fn due(unit: &UnitShown) -> bool {
    matches!(unit.state, "ordered" | "provisioned" | "assigned")
}

/// Orders that have something to pick, each with those units only.
#[must_use]
pub fn open(orders: Vec<WholeShown>) -> Vec<WholeShown> {
    let picked = orders.into_iter().filter_map(|mut whole| {
        whole.units.retain(due);
        (whole.order.state == "approved" && !whole.units.is_empty()).then_some(whole)
    });
    picked.collect()
}

/// How many of each product.
fn quantities(units: &[UnitShown]) -> BTreeMap<&str, usize> {
    let mut quantities = BTreeMap::new();
    for unit in units {
        *quantities.entry(unit.product_code.as_str()).or_default() += 1;
    }
    quantities
}

/// One line per order and product.
#[must_use]
pub fn csv(orders: &[WholeShown]) -> String {
    let header = [
        "order",
        "reference",
        "purchase_order",
        "account",
        "reseller",
        "name",
        "street1",
        "street2",
        "zip",
        "city",
        "address_state",
        "telephone",
        "telephone2",
        "email",
        "comment",
        "product_code",
        "quantity",
        "units",
        "mail_differs",
    ];
    let rows = orders.iter().flat_map(|whole| {
        let (order, contact) = (&whole.order, &whole.order.contact);
        quantities(&whole.units)
            .into_iter()
            .map(move |(product, quantity)| {
                let ids: Vec<&str> = whole
                    .units
                    .iter()
                    .filter(|unit| unit.product_code == product)
                    .map(|unit| unit.id.as_str())
                    .collect();
                [
                    order.id.clone(),
                    order.reference.clone(),
                    order.purchase_order.clone(),
                    order.account.clone(),
                    order.reseller.clone(),
                    contact.name.clone(),
                    contact.street1.clone(),
                    contact.street2.clone(),
                    contact.zip_code.clone(),
                    contact.city.clone(),
                    contact.state.clone(),
                    contact.telephone1.clone(),
                    contact.telephone2.clone(),
                    contact.email.clone(),
                    order.comment.clone(),
                    product.to_owned(),
                    quantity.to_string(),
                    ids.join(" "),
                    whole.mail_differs.join("; "),
                ]
            })
    });
    export::table(header, rows)
}

/// A page with one section per order; `made` is shown on each.
#[must_use]
pub fn printed(orders: &[WholeShown], made: &str) -> String {
    let mut sections = String::new();
    for whole in orders {
        page::begin(&mut sections, whole);
        let items = quantities(&whole.units).into_iter();
        let items = items.map(|(product, quantity)| {
            vec![product.to_owned(), quantity.to_string(), String::new()]
        });
        page::table(
            &mut sections,
            "Items",
            &[("Product", ""), ("Quantity", ""), ("Picked", "tick")],
            items,
        );
        let units = whole.units.iter().map(|unit| {
            // What is needed and not known is written in by hand.
            let mark = |known: &Option<String>, needed: bool| match known {
                Some(known) => known.clone(),
                None if needed => String::new(),
                None => "not needed".to_owned(),
            };
            vec![
                unit.line().to_owned(),
                unit.product_code.clone(),
                mark(&unit.serial, unit.needs.serial),
                mark(&unit.sim, unit.needs.sim),
                mark(&unit.imei, unit.needs.imei),
                String::new(),
            ]
        });
        let columns = [
            ("Line", ""),
            ("Product", ""),
            ("Serial", "code"),
            ("SIM", "code"),
            ("IMEI", "code"),
            ("Packed", "tick"),
        ];
        page::table(&mut sections, "Units", &columns, units);
        let count = whole.units.len();
        let units = if count == 1 { "unit" } else { "units" };
        page::end(
            &mut sections,
            whole,
            &format!("{count} {units} to pick \u{b7} {made}"),
        );
    }
    page::whole("Picking list", &sections, "Nothing is to be picked.")
}
