//! Compares a letter's order with the order that MyAdmin shows: items, quantities, prices, and whose order it is.
//!
//! Pure. MyAdmin's order has no prices: these are compared with the settings, and with the letter's own totals. A letter that was sent
//! later replaces an earlier one of its kind; several letters that are right only together are right, too.

use std::collections::BTreeMap;

use super::amount::Amount;
use super::email::Email;
use super::papers::{Order, Papers};
use super::patterns::Kind;

/// Differences that are told of one order.
const TOLD: usize = 20;

/// The differences between letters and the order that MyAdmin shows; none if they agree. `orders` are those that share the letters.
#[must_use]
pub fn differences(
    papers: &Papers,
    orders: &[&Order],
    prices: &BTreeMap<String, Amount>,
) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(said) = foreign(papers, orders) {
        // What is somebody else's is not compared any further.
        return vec![said];
    }
    for kind in [Kind::PurchaseOrder, Kind::PackingSlip] {
        let mut letters: Vec<&Email> = papers
            .letters
            .iter()
            .filter(|letter| letter.kind == kind)
            .collect();
        letters.sort_by_key(|letter| letter.sent);
        let with_items: Vec<&Email> = letters
            .iter()
            .copied()
            .filter(|letter| !letter.items.is_empty())
            .collect();
        if let Some(newest) = with_items.last() {
            let quantities = quantities(newest, &with_items, kind, orders);
            told.extend(quantities);
            told.extend(contradictions(newest, prices));
        }
    }
    told.dedup();
    if told.len() > TOLD {
        let more = told.split_off(TOLD).len();
        told.push(format!("and {more} more differences"));
    }
    told
}

/// A letter that names another reseller than the order.
fn foreign(papers: &Papers, orders: &[&Order]) -> Option<String> {
    let names: Vec<&str> = orders
        .iter()
        .flat_map(|order| &order.resellers)
        .map(String::as_str)
        .collect();
    if !names.iter().any(|name| !plain(name).is_empty()) {
        return None;
    }
    let strange = papers.letters.iter().find(|letter| {
        letter
            .customer
            .as_deref()
            .is_some_and(|customer| !names.iter().any(|name| is_same(name, customer)))
    })?;
    let shown = names.iter().find(|name| !plain(name).is_empty())?;
    Some(format!(
        "{} is for {:?}, MyAdmin shows {shown:?}",
        strange.title(),
        strange.customer.as_deref().unwrap_or_default()
    ))
}

/// Letters and digits of a name.
fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// Whether two names may be of one company: one of them holds the other.
fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (plain(one), plain(other));
    !one.is_empty() && !other.is_empty() && (one.contains(&other) || other.contains(&one))
}

/// How many of each product, by its code in upper case.
type Quantities = BTreeMap<String, u64>;

fn add<'a>(into: &mut Quantities, more: impl Iterator<Item = (&'a str, u64)>) {
    for (code, quantity) in more {
        let sum = into.entry(code.to_uppercase()).or_default();
        *sum = sum.saturating_add(quantity);
    }
}

fn of_letters(letters: &[&Email]) -> Quantities {
    let mut sum = Quantities::new();
    for letter in letters {
        add(
            &mut sum,
            letter
                .items
                .iter()
                .map(|item| (item.code.as_str(), item.quantity)),
        );
    }
    sum
}

fn of_orders(orders: &[&Order]) -> Quantities {
    let mut sum = Quantities::new();
    for order in orders {
        add(
            &mut sum,
            order
                .items
                .iter()
                .map(|(code, quantity)| (code.as_str(), *quantity)),
        );
    }
    sum
}

fn quantities(newest: &Email, all: &[&Email], kind: Kind, orders: &[&Order]) -> Vec<String> {
    let shown = of_orders(orders);
    let named = of_letters(&[newest]);
    let mut distinct: Vec<&Email> = Vec::new();
    for letter in all {
        if !distinct.iter().any(|other| other.items_alike(letter)) {
            distinct.push(letter);
        }
    }
    // A slip may be of one shipment of several, and several of one.
    let one = kind == Kind::PackingSlip && orders.iter().any(|order| of_orders(&[*order]) == named);
    if one || named == shown || of_letters(&distinct) == shown {
        return Vec::new();
    }
    let mut told = Vec::new();
    for (code, quantity) in &named {
        let place = newest
            .items
            .iter()
            .find(|item| item.code.to_uppercase() == *code)
            .map(|item| item.place.as_str());
        let letter = newest.title();
        let place = place.unwrap_or_default();
        match shown.get(code) {
            Some(same) if same == quantity => {}
            Some(other) => told.push(format!(
                "{letter} ({place}) has {quantity} x {code}, MyAdmin shows {other}"
            )),
            None => told.push(format!(
                "{letter} ({place}) has {quantity} x {code}, MyAdmin shows none"
            )),
        }
    }
    for (code, quantity) in shown.iter().filter(|(code, _)| !named.contains_key(*code)) {
        told.push(format!(
            "{} does not have {code}, MyAdmin shows {quantity}",
            newest.title()
        ));
    }
    told
}

fn contradictions(letter: &Email, prices: &BTreeMap<String, Amount>) -> Vec<String> {
    let priced = letter.items.iter().filter_map(|item| {
        let (price, agreed) = (item.price?, prices.get(&item.code.to_uppercase())?);
        let title = letter.title();
        (price != *agreed).then(|| {
            format!(
                "{title} ({}) has the price {price} for {}, orders.mail.prices has {agreed}",
                item.place, item.code
            )
        })
    });
    let sums = letter
        .wrong_sums
        .iter()
        .map(|said| format!("{}, {said}", letter.title()));
    priced.chain(sums).collect()
}

#[cfg(test)]
#[path = "differ_tests.rs"]
mod tests;
