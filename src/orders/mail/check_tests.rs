//! Tests of comparing letters with orders.

use proptest::prelude::*;

use super::*;

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(hour * 3600).unwrap()
}

fn letter(kind: Kind, sales_no: Option<&str>, po_number: Option<&str>, hour: i64) -> Email {
    Email {
        kind,
        name: format!("{kind:?} {sales_no:?} {po_number:?}"),
        sent: at(hour),
        sales_no: sales_no.map(Into::into),
        po_number: po_number.map(Into::into),
        also: Vec::new(),
        customer: None,
        items: Vec::new(),
        wrong_sums: Vec::new(),
        forwarded_by: None,
    }
}

fn order(id: &str, reference: &str, purchase_order: &str, hour: i64) -> Order {
    Order {
        id: id.into(),
        names: vec![reference.into()],
        purchase_order: purchase_order.into(),
        header_id: String::new(),
        resellers: Vec::new(),
        items: BTreeMap::new(),
        taken_in: at(hour),
        open: true,
    }
}

fn found(letters: &[Email], orders: &[Order], now: i64) -> Vec<(&'static str, String)> {
    let config = Config {
        missing_after_h: 24,
        unapproved_after_h: 100,
        ..Config::default()
    };
    compare(letters, orders, &config, at(0), at(now))
        .into_iter()
        .map(|finding| (finding.kind, finding.subject))
        .collect()
}

use Kind::{PackingSlip, PurchaseOrder};

#[test]
fn letters_join_by_sales_no_and_weakly_by_po_number_only() {
    let letters = [
        letter(PurchaseOrder, Some("S1"), Some("P1"), 1),
        letter(PackingSlip, Some("S1"), None, 2),
        letter(PackingSlip, None, Some("P1"), 3),
        letter(PurchaseOrder, Some("S2"), Some("P2"), 1),
        letter(PurchaseOrder, Some("S3"), Some("P2"), 1),
        letter(PackingSlip, None, Some("P2"), 2),
        letter(PackingSlip, None, None, 2),
    ];
    let counts: Vec<_> = join(&letters)
        .iter()
        .map(|papers| (papers.name(), papers.letters.len()))
        .collect();
    let expected = [
        ("Sales No S1", 3),
        ("Sales No S2", 1),
        ("Sales No S3", 1),
        ("PO P2", 1),
    ];
    assert_eq!(
        counts,
        expected.map(|(name, count)| (name.to_owned(), count))
    );
}

#[test]
fn an_order_known_by_mail_only_is_told_after_its_time() {
    let slip = [letter(PackingSlip, Some("S1"), Some("P1"), 10)];
    let told = (NO_ORDER, "Sales No S1".to_owned());
    assert_eq!(found(&slip, &[], 33), []);
    assert_eq!(found(&slip, &[], 34), vec![told.clone()]);
    assert_eq!(found(&slip, &[order("7", "x", "p1", 11)], 50), []);
    assert_eq!(found(&slip, &[order("7", "s1", "", 11)], 50), []);
    let other = order("7", "S9", "P9", 49);
    assert_eq!(found(&slip, &[other], 50), vec![told.clone()]);

    let unapproved = [letter(PurchaseOrder, Some("S1"), Some("P1"), 10)];
    assert_eq!(found(&unapproved, &[], 109), [], "no go-ahead yet");
    assert_eq!(found(&unapproved, &[], 110), [told]);
}

#[test]
fn an_order_known_by_myadmin_only_is_told_after_its_time() {
    let told = (NO_MAIL, "7".to_owned());
    let lonely = order("7", "S1", "P1", 10);
    assert_eq!(found(&[], std::slice::from_ref(&lonely), 33), []);
    assert_eq!(
        found(&[], std::slice::from_ref(&lonely), 34),
        vec![told.clone()]
    );
    let nameless = order("7", "", "", 10);
    let letters = [letter(PackingSlip, None, None, 11)];
    let unnumbered = (NO_NUMBER, letters[0].name.clone());
    assert_eq!(found(&letters, &[nameless], 34), [told, unnumbered]);
    let over = Order {
        open: false,
        ..lonely.clone()
    };
    assert_eq!(found(&[], &[over], 99), []);
    let before = Order {
        taken_in: at(-1),
        ..lonely
    };
    assert_eq!(
        found(&[], &[before], 99),
        [],
        "it came before the mail was read"
    );
}

#[test]
fn an_order_that_a_letter_only_mentions_is_known_by_mail_and_is_no_order_of_its_own() {
    let mut letters = [letter(PackingSlip, Some("S1"), Some("P1"), 10)];
    letters[0].also = vec!["P2".into(), "P3".into()];
    let orders = [order("7", "S1", "P1", 10), order("8", "S2", "p2", 10)];
    assert_eq!(found(&letters, &orders, 99), []);
}

#[test]
fn what_differs_is_told_of_open_orders_that_leave_no_choice() {
    let mut letters = [letter(PurchaseOrder, None, Some("P1"), 10)];
    letters[0].items = vec![crate::orders::mail::items::Item {
        code: "CTD-100".into(),
        quantity: 2,
        price: None,
        place: "line 1".into(),
    }];
    let mut orders = vec![order("7", "S1", "P1", 10)];
    orders[0].items.insert("CTD-100".into(), 1);
    assert_eq!(found(&letters, &orders, 11), [(DIFFERS, "7".to_owned())]);
    // Another customer's order may have the same number.
    orders.push(order("8", "S8", "P1", 10));
    assert_eq!(found(&letters, &orders, 11), []);
    orders.pop();
    orders[0].open = false;
    assert_eq!(found(&letters, &orders, 11), [], "it is over");
}

proptest! {
    /// Every letter with a number is in exactly one bundle, whatever the numbers.
    #[test]
    fn joining_loses_and_doubles_nothing(
        numbers in prop::collection::vec((prop::option::of(0_u8..4), prop::option::of(0_u8..4)), 0..12),
    ) {
        let letters: Vec<Email> = numbers
            .iter()
            .map(|(sales, po)| {
                let (sales, po) = (sales.map(|n| format!("S{n}")), po.map(|n| format!("P{n}")));
                letter(PackingSlip, sales.as_deref(), po.as_deref(), 1)
            })
            .collect();
        let numbered = numbers.iter().filter(|(sales, po)| sales.is_some() || po.is_some()).count();
        let joined: usize = join(&letters).iter().map(|papers| papers.letters.len()).sum();
        prop_assert_eq!(joined, numbered);
    }
}
