//! Letters of one order, and the orders they may be of.
//!
//! Pure. Letters belong together by their Sales No; one without it by the purchase order's number, if that leaves no choice. An
//! order is found by its purchase order's number first, then by the Sales No; a customer's number alone may be another customer's
//! too, so several orders with one number count as found, and nothing is ever joined to them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::email::Email;
use super::patterns::{Kind, normal};

/// The data of an order from sources other than mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub id: String,
    /// Numbers and references it goes by, other than the purchase order's.
    pub names: Vec<String>,
    pub purchase_order: String,
    /// The order that it is a shipment of; one order may have several.
    pub header_id: String,
    /// The account, and what its reseller is called.
    pub resellers: Vec<String>,
    /// How many of each product MyAdmin lists.
    pub items: BTreeMap<String, u64>,
    pub taken_in: Timestamp,
    /// Whether its journey goes on: what is over needs no mail any more.
    pub open: bool,
}

/// Letters of one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Papers {
    pub sales_no: Option<String>,
    /// Different letters may give different ones.
    pub po_numbers: Vec<String>,
    pub letters: Vec<Email>,
}

/// Puts letters of one order together.
#[must_use]
pub fn join(letters: &[Email]) -> Vec<Papers> {
    let mut by_sales: BTreeMap<&str, Papers> = BTreeMap::new();
    for letter in letters {
        let Some(sales_no) = &letter.sales_no else {
            continue;
        };
        let papers = by_sales.entry(sales_no).or_insert_with(|| Papers {
            sales_no: Some(sales_no.clone()),
            po_numbers: Vec::new(),
            letters: Vec::new(),
        });
        papers.add(letter);
    }
    let mut all: Vec<Papers> = by_sales.into_values().collect();
    let mut alone: BTreeMap<&str, Papers> = BTreeMap::new();
    for letter in letters.iter().filter(|letter| letter.sales_no.is_none()) {
        let Some(number) = &letter.po_number else {
            continue;
        };
        let mut fitting = all
            .iter_mut()
            .filter(|papers| papers.po_numbers.contains(number));
        if let (Some(papers), None) = (fitting.next(), fitting.next()) {
            papers.add(letter);
            continue;
        }
        let papers = alone.entry(number).or_insert_with(|| Papers {
            sales_no: None,
            po_numbers: Vec::new(),
            letters: Vec::new(),
        });
        papers.add(letter);
    }
    all.extend(alone.into_values());
    all
}

impl Papers {
    fn add(&mut self, letter: &Email) {
        if let Some(number) = &letter.po_number
            && !self.po_numbers.contains(number)
        {
            self.po_numbers.push(number.clone());
        }
        self.letters.push(letter.clone());
    }

    pub(super) fn name(&self) -> String {
        match (&self.sales_no, self.po_numbers.first()) {
            (Some(number), _) => format!("Sales No {number}"),
            (None, Some(number)) => format!("PO {number}"),
            (None, None) => "no number".to_owned(),
        }
    }

    pub(super) fn first(&self, kind: Kind) -> Option<Timestamp> {
        let of_kind = self.letters.iter().filter(|letter| letter.kind == kind);
        of_kind.map(|letter| letter.sent).min()
    }

    /// Whether they are of an order.
    pub(super) fn fit(&self, order: &Order) -> bool {
        let purchase_order = normal(&order.purchase_order);
        let by_number = !purchase_order.is_empty() && self.po_numbers.contains(&purchase_order);
        by_number || self.fit_by_sales(order)
    }

    fn fit_by_sales(&self, order: &Order) -> bool {
        let sales_no = self.sales_no.as_ref();
        sales_no.is_some_and(|sales_no| order.names.iter().any(|name| normal(name) == *sales_no))
    }

    /// Whether a letter mentions an order.
    pub(super) fn mention(&self, order: &Order) -> bool {
        let mut also = self.letters.iter().flat_map(|letter| &letter.also);
        let purchase_order = normal(&order.purchase_order);
        also.any(|number| {
            *number == purchase_order || order.names.iter().any(|name| normal(name) == *number)
        })
    }

    /// The shipments of one order that they are of; nothing if that leaves a choice.
    pub(super) fn shipments<'o>(&self, orders: &'o [Order]) -> Vec<&'o Order> {
        let fitting = |fit: &dyn Fn(&Order) -> bool| {
            orders.iter().filter(|order| fit(order)).collect::<Vec<_>>()
        };
        let mut found = fitting(&|order| self.fit_by_sales(order));
        if found.is_empty() {
            found = fitting(&|order| self.fit(order));
        }
        let one = found
            .windows(2)
            .all(|pair| !pair[0].header_id.is_empty() && pair[0].header_id == pair[1].header_id);
        if one { found } else { Vec::new() }
    }
}
