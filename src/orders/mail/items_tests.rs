//! Tests of finding items.

use super::*;
use crate::orders::mail::Config;

fn found(lines: &str) -> Found {
    let products: Products = ["CTD-100", "CTD-200"]
        .map(|code| (code.to_owned(), code.to_owned()))
        .into();
    let patterns = Patterns::new(&Config::default()).unwrap();
    read(
        &Text::plain("t", lines),
        Kind::PurchaseOrder,
        &patterns,
        &products,
    )
}

fn said(lines: &str) -> Vec<String> {
    let items = found(lines).items.into_iter();
    let price = |price: Option<Amount>| price.map_or(String::new(), |price| format!(" at {price}"));
    items
        .map(|item| format!("{} x {}{}", item.quantity, item.code, price(item.price)))
        .collect()
}

#[test]
fn quantities_are_found_however_they_are_written() {
    for (lines, wanted) in [
        ("CTD-200\t2 pcs", "2 x CTD-200"),
        ("2 x CTD-200", "2 x CTD-200"),
        ("2x ctd-200", "2 x CTD-200"),
        ("CTD-200: 2", "2 x CTD-200"),
        ("CTD-200  Qty: 2", "2 x CTD-200"),
        (
            "CTD-200 LTE Cat 1 tracker 2 89.50 179.00",
            "2 x CTD-200 at 89.50",
        ),
        (
            "1  CTD-200  LTE tracker  2  89,50 \u{20ac}  179,00 \u{20ac}",
            "2 x CTD-200 at 89.50",
        ),
        (
            "Item\tDescription\tQty\tUnit Price\tAmount\nCTD-200\tLTE Cat 1\t2\t1.089,50\t2.179,00",
            "2 x CTD-200 at 1089.50",
        ),
        (
            "| SKU | Quantity | Price |\n|---|---|---|\n| CTD-200 | 2.00 | 89.50 |",
            "2 x CTD-200 at 89.50",
        ),
        (
            "Art. Nr\nArtikel\tMenge\tEinzelpreis\nCTD-200\t2 Stk.\t89,50",
            "2 x CTD-200 at 89.50",
        ),
        // A thousand of them, as prices show.
        (
            "Item\tQty\tPrice\tTotal\nCTD-200\t1,000\t1.50\t1,500.00",
            "1000 x CTD-200 at 1.50",
        ),
        (
            "Item\tQty\tPrice\tTotal\nCTD-200\t2,000\t89,50\t179,00",
            "2 x CTD-200 at 89.50",
        ),
        // A product that nobody knows, in a table.
        ("Item\tQty\nHRN-9\t3", "3 x HRN-9"),
    ] {
        assert_eq!(said(lines), [wanted], "{lines}");
    }
}

#[test]
fn what_is_no_item_is_none() {
    for lines in [
        "The CTD-200 was announced in 2026 and has 4 antennas",
        "Item\tQty\nFREIGHT-1\t1\nTotal\t3",
        "Item\tQty\nTotal\t1\nISO9001 certified since 2015",
        "Version 12\t2026-03-01",
        "CTD-200 needs a SIM",
    ] {
        assert_eq!(found(lines), Found::default(), "{lines}");
    }
}

#[test]
fn what_contradicts_itself_is_told() {
    let found = found("Item\tQty\tPrice\tTotal\nCTD-200\t2\t89.50\t180.00");
    assert_eq!(
        found.wrong_sums,
        ["t, line 2: 2 x 89.50 of CTD-200 is not 180.00"]
    );
    assert_eq!(found.items.len(), 1);
}

#[test]
fn a_slip_counts_what_ships_and_an_order_what_was_ordered() {
    let products: Products = [("CTD-200".to_owned(), "CTD-200".to_owned())].into();
    let patterns = Patterns::new(&Config::default()).unwrap();
    let text = Text::plain("t", "Item\tQty Ordered\tQty Shipped\nCTD-200\t3\t2");
    for (kind, wanted) in [(Kind::PurchaseOrder, 3), (Kind::PackingSlip, 2)] {
        assert_eq!(
            read(&text, kind, &patterns, &products).items[0].quantity,
            wanted
        );
    }
}

#[test]
fn a_list_without_end_is_bounded() {
    let lines = format!("Item\tQty\n{}", "CTD-200\t1\n".repeat(100_000));
    let found = found(&lines);
    assert_eq!(found.items.len(), ITEMS);
    assert_eq!(found.odd.len(), 1);
}
