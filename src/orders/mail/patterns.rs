//! The settings' patterns: what tells a letter, its numbers, and the columns of its table.
//!
//! Pure.

use regex::{Regex, RegexBuilder};

use super::opened::Opened;
use super::{Config, forwarded};

/// The kind of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Items and prices; not yet a go-ahead.
    PurchaseOrder,
    /// The order is approved.
    PackingSlip,
}

impl Kind {
    /// Its name for operators.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PurchaseOrder => "purchase order",
            Self::PackingSlip => "packing slip",
        }
    }
}

/// The settings' patterns, ready to be used. None looks at upper or lower case.
#[derive(Debug)]
pub struct Patterns {
    purchase_order: (Regex, Regex),
    packing_slip: (Regex, Regex),
    pub(super) forwarded_from: Regex,
    pub(super) sales_no: Regex,
    pub(super) po_number: Regex,
    customer: Option<Regex>,
    pub(super) item_title: Regex,
    pub(super) quantity_title: Regex,
    pub(super) price_title: Regex,
    pub(super) total_title: Regex,
    pub(super) table_end: Regex,
    pub(super) item_code: Regex,
    pub(super) no_item: Regex,
}

impl Patterns {
    /// # Errors
    /// The first pattern that is none, or has no group where one is needed.
    pub fn new(config: &Config) -> Result<Self, String> {
        let pattern = |name: &str, text: &str| {
            RegexBuilder::new(text)
                .case_insensitive(true)
                .size_limit(1 << 20)
                .build()
                .map_err(|error| format!("mail.{name}: {error}"))
        };
        let grouped = |name: &str, text: &str, what: &str| {
            let pattern = pattern(name, text)?;
            if pattern.captures_len() == 2 {
                Ok(pattern)
            } else {
                Err(format!(
                    "mail.{name}: needs exactly one group in parentheses, around the {what}"
                ))
            }
        };
        let customer = match config.customer.as_str() {
            "" => None,
            text => Some(grouped("customer", text, "name")?),
        };
        Ok(Self {
            purchase_order: (
                pattern("purchase_order_from", &config.purchase_order_from)?,
                pattern("purchase_order_named", &config.purchase_order_named)?,
            ),
            packing_slip: (
                pattern("packing_slip_from", &config.packing_slip_from)?,
                pattern("packing_slip_named", &config.packing_slip_named)?,
            ),
            forwarded_from: pattern("forwarded_from", &config.forwarded_from)?,
            sales_no: grouped("sales_no", &config.sales_no, "number")?,
            po_number: grouped("po_number", &config.po_number, "number")?,
            customer,
            item_title: pattern("item_title", &config.item_title)?,
            quantity_title: pattern("quantity_title", &config.quantity_title)?,
            price_title: pattern("price_title", &config.price_title)?,
            total_title: pattern("total_title", &config.total_title)?,
            table_end: pattern("table_end", &config.table_end)?,
            item_code: pattern("item_code", &config.item_code)?,
            no_item: pattern("no_item", &config.no_item)?,
        })
    }

    /// The kind of a mail by its sender, its subject and the names of its attachments.
    #[must_use]
    pub fn kind(&self, opened: &Opened) -> Option<Kind> {
        let names = || {
            let attached = opened
                .attached
                .iter()
                .map(|attached| attached.name.as_str());
            attached.chain([opened.subject.as_str()])
        };
        let is = |(from, named): &(Regex, Regex)| {
            from.is_match(&opened.sender) && names().any(|name| named.is_match(name))
        };
        if is(&self.packing_slip) {
            Some(Kind::PackingSlip)
        } else if is(&self.purchase_order) {
            Some(Kind::PurchaseOrder)
        } else {
            None
        }
    }

    /// Whether a mail is a letter, or somebody forwards one in its text.
    #[must_use]
    pub fn concern(&self, opened: &Opened) -> bool {
        let forwards = || {
            let inner = forwarded::within(opened);
            self.forwarded_from.is_match(&opened.sender)
                && inner.iter().any(|inner| self.kind(inner).is_some())
        };
        self.kind(opened).is_some() || forwards()
    }

    pub(super) fn numbers(&self, text: &str) -> Numbers {
        Numbers {
            sales_no: all(&self.sales_no, text).next().map(|(_, number)| number),
            po_number: all(&self.po_number, text).next().map(|(_, number)| number),
        }
    }

    pub(super) fn customer(&self, text: &str) -> Option<String> {
        let found = self.customer.as_ref()?.captures(text)?;
        let name: String = found.get(1)?.as_str().trim().chars().take(100).collect();
        (!name.is_empty()).then_some(name)
    }
}

/// Numbers that a text names first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) sales_no: Option<String>,
    pub(super) po_number: Option<String>,
}

impl Numbers {
    pub(super) fn is_empty(&self) -> bool {
        self.sales_no.is_none() && self.po_number.is_none()
    }

    /// Whether two texts may be of one order: a number of theirs is the same, and none differs.
    pub(super) fn agree(&self, other: &Self) -> bool {
        let pairs = [
            (&self.sales_no, &other.sales_no),
            (&self.po_number, &other.po_number),
        ];
        let differ = pairs
            .iter()
            .any(|(one, two)| one.is_some() && two.is_some() && one != two);
        let same = pairs.iter().any(|(one, two)| one.is_some() && one == two);
        same && !differ
    }

    pub(super) fn fill(&mut self, other: &Self) {
        self.sales_no = self.sales_no.take().or_else(|| other.sales_no.clone());
        self.po_number = self.po_number.take().or_else(|| other.po_number.clone());
    }
}

/// The matches that hold a digit, with where they begin: words such as a post office's box are none. What follows a word may be the next
/// match's label, so the search goes on within it.
pub(super) fn all<'t>(
    pattern: &'t Regex,
    text: &'t str,
) -> impl Iterator<Item = (usize, String)> + 't {
    let mut from = 0;
    std::iter::from_fn(move || {
        while from <= text.len() {
            let found = pattern.captures_at(text, from)?;
            let (whole, number) = (found.get(0)?, found.get(1)?);
            if number.as_str().bytes().any(|byte| byte.is_ascii_digit()) {
                from = whole.end().max(whole.start() + 1);
                while !text.is_char_boundary(from) && from < text.len() {
                    from += 1;
                }
                return Some((whole.start(), normal(number.as_str())));
            }
            let first = whole.as_str().chars().next().map_or(1, char::len_utf8);
            from = whole.start() + first;
        }
        None
    })
}

/// A number in one spelling.
#[must_use]
pub fn normal(number: &str) -> String {
    number.trim().to_ascii_uppercase()
}
