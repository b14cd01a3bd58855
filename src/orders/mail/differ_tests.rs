//! Tests of comparing letters with what MyAdmin shows.

use jiff::Timestamp;

use super::*;
use crate::orders::mail::items::Item;

fn letter(kind: Kind, sent: i64, items: &[(&str, u64)]) -> Email {
    let items = items.iter().map(|(code, quantity)| Item {
        code: (*code).to_owned(),
        quantity: *quantity,
        price: Amount::plain("89.50"),
        place: "the mail's text, line 3".to_owned(),
    });
    Email {
        kind,
        name: format!("m{sent}"),
        sent: Timestamp::from_second(sent).unwrap(),
        sales_no: Some("SO-7".into()),
        po_number: None,
        also: Vec::new(),
        customer: None,
        items: items.collect(),
        wrong_sums: Vec::new(),
        forwarded_by: None,
    }
}

fn order(id: &str, items: &[(&str, u64)]) -> Order {
    Order {
        id: id.into(),
        names: vec!["SO-7".into()],
        purchase_order: String::new(),
        header_id: "H".into(),
        resellers: vec!["Acme Fleet GmbH".into(), String::new()],
        items: items
            .iter()
            .map(|(code, quantity)| ((*code).to_owned(), *quantity))
            .collect(),
        taken_in: Timestamp::UNIX_EPOCH,
        open: true,
    }
}

fn told(letters: Vec<Email>, orders: &[Order]) -> Vec<String> {
    let papers = Papers {
        sales_no: Some("SO-7".into()),
        po_numbers: Vec::new(),
        letters,
    };
    let prices = [("CTD-100".to_owned(), Amount::plain("79.00").unwrap())].into();
    differences(&papers, &orders.iter().collect::<Vec<_>>(), &prices)
}

use Kind::{PackingSlip, PurchaseOrder};

#[test]
fn every_difference_of_items_is_told_with_its_place() {
    let both = [("CTD-200", 3), ("HRN-1", 1)];
    let said = told(
        vec![letter(PurchaseOrder, 1, &both)],
        &[order("7", &[("CTD-200", 2), ("CTD-300", 4)])],
    );
    assert_eq!(
        said,
        [
            "the purchase order of mail m1 (the mail's text, line 3) has 3 x CTD-200, MyAdmin shows 2",
            "the purchase order of mail m1 (the mail's text, line 3) has 1 x HRN-1, MyAdmin shows none",
            "the purchase order of mail m1 does not have CTD-300, MyAdmin shows 4",
        ]
    );
    assert_eq!(
        told(
            vec![letter(PurchaseOrder, 1, &both)],
            &[order("7", &[("ctd-200", 3), ("HRN-1", 1)])]
        ),
        [""; 0]
    );
    assert_eq!(
        told(
            vec![letter(PurchaseOrder, 1, &[])],
            &[order("7", &[("CTD-200", 3)])]
        ),
        [""; 0],
        "it has no items"
    );
}

#[test]
fn a_later_letter_replaces_an_earlier_one_of_its_kind() {
    let wrong = letter(PurchaseOrder, 1, &[("CTD-200", 3)]);
    let right = letter(PurchaseOrder, 2, &[("CTD-200", 2)]);
    let orders = [order("7", &[("CTD-200", 2)])];
    assert_eq!(told(vec![right.clone(), wrong.clone()], &orders), [""; 0]);
    let later = Email {
        sent: Timestamp::from_second(3).unwrap(),
        ..wrong
    };
    assert_eq!(told(vec![right, later], &orders).len(), 1);
}

#[test]
fn shipments_of_one_order_are_compared_together_and_one_by_one() {
    let orders = [order("7", &[("CTD-200", 2)]), order("8", &[("CTD-200", 1)])];
    for letters in [
        vec![letter(PurchaseOrder, 1, &[("CTD-200", 3)])],
        vec![letter(PackingSlip, 1, &[("CTD-200", 1)])],
        vec![
            letter(PackingSlip, 1, &[("CTD-200", 2)]),
            letter(PackingSlip, 2, &[("CTD-200", 1)]),
        ],
    ] {
        assert_eq!(told(letters.clone(), &orders), [""; 0], "{letters:?}");
    }
    assert_eq!(
        told(vec![letter(PurchaseOrder, 1, &[("CTD-200", 2)])], &orders).len(),
        1
    );
}

#[test]
fn prices_are_compared_with_those_that_were_agreed() {
    let said = told(
        vec![letter(PurchaseOrder, 1, &[("CTD-100", 1)])],
        &[order("7", &[("CTD-100", 1)])],
    );
    assert_eq!(
        said,
        [
            "the purchase order of mail m1 (the mail's text, line 3) has the price 89.50 for CTD-100, orders.mail.prices has 79.00"
        ]
    );
}

#[test]
fn a_letter_of_another_reseller_is_told_and_not_compared_further() {
    let mut letter = letter(PurchaseOrder, 1, &[("CTD-100", 9)]);
    let orders = [order("7", &[("CTD-100", 1)])];
    letter.customer = Some("Beta Ltd".into());
    let said = told(vec![letter.clone()], &orders);
    assert_eq!(
        said,
        ["the purchase order of mail m1 is for \"Beta Ltd\", MyAdmin shows \"Acme Fleet GmbH\""]
    );
    letter.customer = Some("ACME Fleet".into());
    assert!(told(vec![letter], &orders)[0].contains("has 9 x CTD-100"));
}
