//! Letters compared with orders: what is known by one side only, for too long, and what both know otherwise ([`differ`]).
//!
//! Pure. Letters belong together by their Sales No; one without it by the purchase order's number, if that leaves no choice. An
//! order is found by its purchase order's number first, then by the Sales No; a customer's number alone may be another customer's
//! too, so several orders with one number count as found, and nothing is ever joined to them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::Config;
use super::differ;
use super::letter::{Kind, Letter, normal};

/// What is known of an order besides mail.
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
    pub letters: Vec<Letter>,
}

/// Kinds of alarms that are found out anew by every look.
pub const FOUND_OUT: [&str; 4] = [NO_ORDER, NO_MAIL, NO_NUMBER, DIFFERS];

/// What a person should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Its alarm's kind.
    pub kind: &'static str,
    pub subject: String,
    pub said: String,
    /// Differences one by one, where that is what it is about.
    pub differences: Vec<String>,
}

/// Letters came, and MyAdmin shows no such order.
pub const NO_ORDER: &str = "mail-without-order";
/// MyAdmin shows an order, and no letter came.
pub const NO_MAIL: &str = "order-without-mail";
/// Letters say otherwise than MyAdmin what is in an order, or whose it is.
pub const DIFFERS: &str = "mail-differs";
/// A letter names no number.
pub const NO_NUMBER: &str = "mail-without-number";

/// Puts letters of one order together.
#[must_use]
pub fn join(letters: &[Letter]) -> Vec<Papers> {
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
    fn add(&mut self, letter: &Letter) {
        if let Some(number) = &letter.po_number
            && !self.po_numbers.contains(number)
        {
            self.po_numbers.push(number.clone());
        }
        self.letters.push(letter.clone());
    }

    fn name(&self) -> String {
        match (&self.sales_no, self.po_numbers.first()) {
            (Some(number), _) => format!("Sales No {number}"),
            (None, Some(number)) => format!("PO {number}"),
            (None, None) => "no number".to_owned(),
        }
    }

    fn first(&self, kind: Kind) -> Option<Timestamp> {
        let of_kind = self.letters.iter().filter(|letter| letter.kind == kind);
        of_kind.map(|letter| letter.sent).min()
    }

    /// Whether they are of an order.
    fn fit(&self, order: &Order) -> bool {
        let purchase_order = normal(&order.purchase_order);
        let by_number = !purchase_order.is_empty() && self.po_numbers.contains(&purchase_order);
        by_number || self.fit_by_sales(order)
    }

    fn fit_by_sales(&self, order: &Order) -> bool {
        let sales_no = self.sales_no.as_ref();
        sales_no.is_some_and(|sales_no| order.names.iter().any(|name| normal(name) == *sales_no))
    }

    /// Whether a letter mentions an order.
    fn mention(&self, order: &Order) -> bool {
        let mut also = self.letters.iter().flat_map(|letter| &letter.also);
        let purchase_order = normal(&order.purchase_order);
        also.any(|number| {
            *number == purchase_order || order.names.iter().any(|name| normal(name) == *number)
        })
    }

    /// The shipments of one order that they are of; nothing if that leaves a choice.
    fn shipments<'o>(&self, orders: &'o [Order]) -> Vec<&'o Order> {
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

/// What is missing on either side. Orders taken in before `from` came before the mail was read.
#[must_use]
pub fn compare(
    letters: &[Letter],
    orders: &[Order],
    config: &Config,
    from: Timestamp,
    now: Timestamp,
) -> Vec<Finding> {
    let hours =
        |hours: u64| SignedDuration::from_hours(i64::try_from(hours).unwrap_or(i64::MAX / 3600));
    let older = |at: Timestamp, wait: u64| now.duration_since(at) >= hours(wait);
    let papers = join(letters);
    let mut findings = Vec::new();
    for papers in &papers {
        if orders.iter().any(|order| papers.fit(order)) {
            continue;
        }
        let approved = papers.first(Kind::PackingSlip);
        let ordered = papers.first(Kind::PurchaseOrder);
        let late = approved.is_some_and(|at| older(at, config.missing_after_h))
            || ordered.is_some_and(|at| older(at, config.unapproved_after_h));
        if late {
            let what = match (ordered, approved) {
                (Some(at), None) => format!("a purchase order of {at} came by mail"),
                (_, Some(at)) => format!("a packing slip of {at} came by mail"),
                (None, None) => "letters came by mail".to_owned(),
            };
            let said = format!("{what}, and MyAdmin shows no such order: ask Geotab");
            findings.push(Finding {
                kind: NO_ORDER,
                subject: papers.name(),
                said,
                differences: Vec::new(),
            });
        }
    }
    for order in orders {
        let known = papers
            .iter()
            .any(|papers| papers.fit(order) || papers.mention(order));
        let watched = order.open && order.taken_in >= from;
        if watched && !known && older(order.taken_in, config.missing_after_h) {
            let said = format!(
                "MyAdmin shows the order since {}, and no letter with its numbers came by mail: look whether the mail is read",
                order.taken_in
            );
            findings.push(Finding {
                kind: NO_MAIL,
                subject: order.id.clone(),
                said,
                differences: Vec::new(),
            });
        }
    }
    let unnumbered = |letter: &&Letter| letter.sales_no.is_none() && letter.po_number.is_none();
    for letter in letters.iter().filter(unnumbered) {
        findings.push(Finding {
            kind: NO_NUMBER,
            subject: letter.name.clone(),
            said: "neither a Sales No nor a PO number was found in this mail: compare orders.mail.sales_no and po_number with it"
                .to_owned(),
            differences: Vec::new(),
        });
    }
    findings.extend(differing(&papers, orders, config));
    findings
}

/// Open orders that letters say something else of: one finding for each.
fn differing(papers: &[Papers], orders: &[Order], config: &Config) -> Vec<Finding> {
    let prices = config.agreed_prices();
    let mut by_order: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for papers in papers {
        let shipments = papers.shipments(orders);
        let Some(first) = shipments.iter().find(|order| order.open) else {
            continue;
        };
        let told = differ::differences(papers, &shipments, &prices);
        if !told.is_empty() {
            by_order.entry(&first.id).or_default().extend(told);
        }
    }
    let findings = by_order.into_iter().map(|(order, mut differences)| {
        differences.dedup();
        Finding {
            kind: DIFFERS,
            subject: order.to_owned(),
            said: differences.join("; "),
            differences,
        }
    });
    findings.collect()
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
