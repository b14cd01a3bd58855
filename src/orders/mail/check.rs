//! Letters compared with orders: what is known by one side only, for too long, and what both know otherwise (`differ`).
//!
//! Pure. [`papers`](super::papers) says which letters belong together, and to which order.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::Config;
use super::differ;
use super::email::Email;
use super::papers::{Order, Papers, join};
use super::patterns::Kind;

/// Kinds of alarms that are found out anew by every look.
pub const FOUND_OUT: [&str; 4] = [NO_ORDER, NO_MAIL, NO_NUMBER, DIFFERS];

/// A finding for operators.
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

/// The orders and letters that are missing on either side. Orders taken in before `from` came before the mail was read.
#[must_use]
pub fn compare(
    letters: &[Email],
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
    let unnumbered = |letter: &&Email| letter.sales_no.is_none() && letter.po_number.is_none();
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
