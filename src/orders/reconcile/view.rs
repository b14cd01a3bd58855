//! The world as one round saw it. What was not asked, or did not answer, is absent, and nothing is concluded from it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;

use crate::myadmin::wire;
use crate::orders::journey::Serial;
use crate::orders::journey::kit::OwnerDatabase;

/// Orders of some days.
#[derive(Debug, Clone)]
pub struct Listing {
    /// By id.
    pub orders: BTreeMap<String, wire::Order>,
    /// Ids of orders that are listed more than once and not alike: nothing is concluded from any of these entries.
    pub contradicting: BTreeSet<String>,
    pub from: Date,
    /// A full sweep: what it covers and does not list is gone.
    pub full: bool,
}

/// What a round has seen.
#[derive(Debug, Clone, Default)]
pub struct View {
    pub listing: Option<Listing>,
    /// Lines by order id, best in the order of their own ids.
    pub lines: BTreeMap<String, Vec<wire::LineUnit>>,
    /// Serials that were asked for.
    pub asked: BTreeSet<Serial>,
    /// Their owner databases; a shared one does not count.
    pub owners: BTreeMap<Serial, OwnerDatabase>,
    /// By the number of a call in doubt: what the account's contracts show of the serials that may be its own.
    pub contracts: BTreeMap<i64, BTreeSet<Serial>>,
    /// The account may not list contracts: a role is missing.
    pub contracts_denied: bool,
    /// Orders that were written since they were read.
    pub written: BTreeSet<String>,
}

impl Listing {
    #[must_use]
    pub fn new(orders: Vec<wire::Order>, from: Date, full: bool) -> Self {
        let mut by_id: BTreeMap<String, wire::Order> = BTreeMap::new();
        let mut contradicting = BTreeSet::new();
        for order in orders {
            let id = order.id.to_string();
            match by_id.get(&id) {
                Some(known) if *known != order => {
                    contradicting.insert(id);
                }
                Some(_) => {}
                None => {
                    by_id.insert(id, order);
                }
            }
        }
        by_id.retain(|id, _| !contradicting.contains(id));
        Self {
            orders: by_id,
            contradicting,
            from,
            full,
        }
    }

    /// Whether an order of this date had to be listed. A date that cannot be read is never missed.
    #[must_use]
    pub fn covers(&self, order_date: &str) -> bool {
        order_date
            .get(..10)
            .and_then(|day| day.parse::<Date>().ok())
            .is_some_and(|day| day > self.from)
    }
}

impl View {
    #[must_use]
    pub fn database(&self, serial: &Serial) -> Option<OwnerDatabase> {
        self.owners.get(serial).cloned()
    }

    /// Whether the answer counts for this serial.
    #[must_use]
    pub fn asked(&self, serial: &Serial) -> bool {
        self.asked.contains(serial)
    }

    /// A line of an order.
    #[must_use]
    pub fn line(&self, order: &str, line: &str) -> Option<&wire::LineUnit> {
        let (lines, id) = (self.lines.get(order)?, line.parse::<i64>().ok()?);
        // Lines that were read are in the order of their ids; ten thousand of them are looked for one by one.
        match lines.binary_search_by_key(&id, |unit| unit.id) {
            Ok(at) => lines.get(at),
            Err(_) => lines.iter().find(|unit| unit.id == id),
        }
    }

    /// Forgets what was read of an order: it was written since, and must be read again before anything is concluded.
    pub fn wrote(&mut self, order: &str) {
        self.lines.remove(order);
        self.written.insert(order.to_owned());
    }

    /// Whether it was written since it was read.
    #[must_use]
    pub fn was_written(&self, order: &str) -> bool {
        self.written.contains(order)
    }
}
