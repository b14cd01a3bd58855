//! The wait of an order or a unit that does not advance: its cause, its beginning and its remedy. Pure.
//!
//! A function of what is stored: the states, the calls in doubt, and what MyAdmin was last seen to show. It is exhaustive over the
//! states (H1): a unit that is not settled always waits for something, and every wait has a remedy. Commands, the API, metrics and
//! alarms all tell what this tells.
//!
//! It decides nothing: what is done next is decided in `reconcile`. No clock but the `now` it is given.

pub mod bounds;
pub mod call;
mod told;

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use serde::Serialize;

use super::journey::order::{Open, Order};
use super::journey::unit::{Live, Unit};
use super::journey::{Code, Serial};
use super::reconcile::fulfil::{is_untold, wished};
use super::reconcile::orphans::Listed;
use super::settings::Config;
use super::store::identity::Origin;
use super::store::intents::{IntentRow, Outcome};
use super::store::listed_devices::SeenRow;
use super::store::read::Whole;
use super::store::rows::{Shipment, UnitRow};
use super::store::views::LineShown;

/// The cause of a wait: a stable word for filters, metrics and alarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum For {
    /// A person approves the order.
    Approval,
    /// A person looks at what is parked.
    Person,
    /// A serial: a provisioning call that is to be made, or made again.
    Provisioning,
    /// The answer of a provisioning call, or what came of one whose answer was lost.
    Answer,
    /// SIM, IMEI, or the word that it is complete.
    Marks,
    /// The warehouse ships it.
    Shipping,
    /// Other units of the order.
    OtherUnits,
    /// A person keys it into MyAdmin.
    Keying,
    /// MyAdmin shows other values than ours.
    Difference,
    /// A report of ours to MyAdmin.
    Report,
    /// A MyGeotab database that owns the device.
    Database,
    /// The order is not listed any more.
    Listing,
    /// The next round of the reconciler.
    Job,
}

impl For {
    pub const ALL: [Self; 13] = [
        Self::Approval,
        Self::Person,
        Self::Provisioning,
        Self::Answer,
        Self::Marks,
        Self::Shipping,
        Self::OtherUnits,
        Self::Keying,
        Self::Difference,
        Self::Report,
        Self::Database,
        Self::Listing,
        Self::Job,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Person => "person",
            Self::Provisioning => "provisioning",
            Self::Answer => "answer",
            Self::Marks => "marks",
            Self::Shipping => "shipping",
            Self::OtherUnits => "other-units",
            Self::Keying => "keying",
            Self::Difference => "difference",
            Self::Report => "report",
            Self::Database => "database",
            Self::Listing => "listing",
            Self::Job => "job",
        }
    }

    /// The alarm of a wait that is longer than its bound.
    #[must_use]
    pub const fn alarm(self) -> &'static str {
        match self {
            Self::Approval => "waits-approval",
            Self::Person => "waits-person",
            Self::Provisioning => "waits-provisioning",
            Self::Answer => "waits-answer",
            Self::Marks => "waits-marks",
            Self::Shipping => "waits-shipping",
            Self::OtherUnits => "waits-other-units",
            Self::Keying => "waits-keying",
            Self::Difference => "waits-difference",
            Self::Report => "waits-report",
            Self::Database => "waits-database",
            Self::Listing => "waits-listing",
            Self::Job => "waits-job",
        }
    }
}

/// A wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wait {
    #[serde(rename = "for")]
    pub what: For,
    pub said: String,
    #[serde(serialize_with = "super::store::rows::shown")]
    pub since: Timestamp,
    /// The remedy.
    pub remedy: String,
}

/// All that tells, besides an order and its units, what they wait for.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Provisioning calls of which a serial may have come that nobody told us.
    pub doubts: Vec<IntentRow>,
    /// Listed serials that no unit has.
    pub unclaimed: Vec<SeenRow>,
    /// Serials that a person said are no unit's.
    pub accepted: HashSet<Serial>,
    /// When devices were listed first.
    pub first_listed: Option<Timestamp>,
    pub origin: Origin,
    /// Why the store is not proven to know all that was provisioned, and since when; none if it is.
    pub unproven: Option<(String, Timestamp)>,
    /// The units as MyAdmin shows them.
    pub shown: BTreeMap<String, LineShown>,
    /// Since when orders that wait for a person are in their state.
    pub stopped: HashMap<String, Timestamp>,
    pub now: Timestamp,
}

impl Facts {
    fn listed(&self) -> Listed<'_> {
        Listed {
            unclaimed: &self.unclaimed,
            accepted: &self.accepted,
            doubts: &self.doubts,
            first_listed: self.first_listed,
            origin: self.origin,
        }
    }
}

fn wait(
    what: For,
    since: Timestamp,
    said: impl Into<String>,
    remedy: impl Into<String>,
) -> Option<Wait> {
    Some(Wait {
        what,
        said: said.into(),
        since,
        remedy: remedy.into(),
    })
}

/// An order with all that its units' waits need, found out once.
#[derive(Debug)]
pub struct Scene<'a> {
    whole: &'a Whole,
    facts: &'a Facts,
    config: &'a Config,
    /// The order's own wait.
    own: Option<Wait>,
    /// The shipment as it should be shown; none before anything has shipped.
    wished: Option<Shipment>,
    /// Units that are to ship before anything is told.
    unshipped: Vec<&'a str>,
    /// Units that MyAdmin does not show yet.
    untold: Vec<&'a str>,
}

impl<'a> Scene<'a> {
    #[must_use]
    pub fn new(whole: &'a Whole, facts: &'a Facts, config: &'a Config) -> Self {
        let ids = |which: &dyn Fn(&UnitRow) -> bool| -> Vec<&'a str> {
            let rows = whole.units.iter().filter(|row| which(row));
            rows.map(|row| row.id.as_str()).collect()
        };
        let unshipped = ids(&|row| match &row.unit {
            Unit::Live(live) => !live.is_beyond_shipping(),
            Unit::Parked(parked) => !parked.before.is_beyond_shipping(),
            Unit::Cancelled(_) | Unit::Terminated(_) => false,
        });
        Self {
            whole,
            facts,
            config,
            own: own(whole, facts),
            wished: wished(whole, config),
            unshipped,
            untold: ids(&is_untold),
        }
    }

    /// Waits of its units, by unit.
    #[must_use]
    pub fn units(&self) -> Vec<(&'a str, Wait)> {
        let rows = self.whole.units.iter();
        rows.filter_map(|row| Some((row.id.as_str(), self.unit(row)?)))
            .collect()
    }

    /// The wait of the order as a whole: its own, or that of the unit that needs an operator most.
    #[must_use]
    pub fn order(&self) -> Option<Wait> {
        if self.own.is_some() {
            return self.own.clone();
        }
        let waits = self.units();
        if waits.is_empty() {
            return self.corrected();
        }
        let (id, first) = waits
            .iter()
            .min_by_key(|(_, wait)| (rank(wait.what), wait.since))?;
        let alike = waits.iter().filter(|(_, wait)| wait.what == first.what);
        let about = match alike.count() {
            0 | 1 => format!("unit {id}: "),
            alike => format!("unit {id} and {} more: ", alike - 1),
        };
        Some(Wait {
            said: about + &first.said,
            ..first.clone()
        })
    }

    /// The wait of one of its units; none if the unit is settled, or the order is over.
    #[must_use]
    pub fn unit(&self, row: &UnitRow) -> Option<Wait> {
        if let Some(wait) = call::wait_for(row, self.facts, self.config) {
            return Some(wait);
        }
        match &row.unit {
            Unit::Parked(parked) => wait(
                For::Person,
                row.updated_at,
                parked.reason.to_string(),
                parked.reason.code.remedy(&row.id),
            ),
            Unit::Cancelled(_) | Unit::Terminated(_) => None,
            Unit::Live(_) if row.unit.is_settled() || self.whole.row.order.is_over() => None,
            Unit::Live(live) => match &self.own {
                // Nothing of the order goes on before that.
                Some(own) if own.what != For::Listing => Some(own.clone()),
                _ => self.under_way(live, row),
            },
        }
    }

    fn under_way(&self, live: &Live, row: &UnitRow) -> Option<Wait> {
        match live {
            Live::Ordered(_) if row.line.needs.serial => self.serial(row),
            Live::Ordered(_) | Live::Provisioned(_) => self.marks(row),
            Live::Assigned(_) => wait(
                For::Shipping,
                row.updated_at,
                "the warehouse to ship it",
                format!(
                    "`orders ship {} --unit {} --carrier CARRIER --tracking NUMBER`",
                    row.order_id, row.id
                ),
            ),
            Live::Shipped(unit) => self.shipped(row, Some(unit.kit())),
            Live::Reported(_) => self.shipped(row, None),
            Live::Confirmed(_) => wait(
                For::Database,
                row.updated_at,
                "its device to be put into a MyGeotab database",
                "have the customer or the reseller add the serial to their database; it becomes active by itself then",
            ),
            Live::InDatabase(_) => job(row.updated_at, "its activation"),
            Live::Active(_) => None,
        }
    }

    fn serial(&self, row: &UnitRow) -> Option<Wait> {
        let product = &row.line.product_code;
        if !self.config.allows(&self.whole.row.head.account)
            || !self.config.products.contains_key(product)
        {
            return job(
                row.updated_at,
                "its parking for an account or a product that the settings lack",
            );
        }
        if let Some((why, since)) = &self.facts.unproven {
            return wait(
                For::Provisioning,
                row.updated_at.max(*since),
                format!("its serial: nothing is provisioned, as {why}"),
                "`orders recover` shows what is known; with --accept --by NAME it goes on",
            );
        }
        let open =
            |call: &&IntentRow| call.outcome == Outcome::Open && call.wish.product_code == *product;
        if let Some(other) = self.facts.doubts.iter().find(open) {
            return wait(
                For::Provisioning,
                row.updated_at.max(other.begun_at),
                format!(
                    "its serial: the call for unit {} of the same product is settled first",
                    other.wish.unit_id
                ),
                format!(
                    "`orders show {}` tells what that call waits for",
                    other.wish.unit_id
                ),
            );
        }
        if let Some(seen) = self.facts.listed().blocks(product, self.config) {
            let serial = seen.serial.as_str();
            return wait(
                For::Provisioning,
                row.updated_at.max(seen.first_seen),
                format!(
                    "its serial: MyAdmin lists serial {serial} of the product, and no unit has it; nothing of the product is provisioned meanwhile"
                ),
                format!(
                    "look in MyAdmin whose it is: `orders assign {} --serial {serial}` gives it to this unit; `orders recover` shows it, and with --accept --by NAME says that it is no unit's",
                    row.id
                ),
            );
        }
        match row.retry_at {
            Some(at) if at > self.facts.now => wait(
                For::Provisioning,
                row.updated_at,
                format!(
                    "its serial: {} calls failed, the next one is made at {at}",
                    row.attempts
                ),
                format!(
                    "`orders events {}` tells why; `orders retry {}` calls at once",
                    row.order_id, row.id
                ),
            ),
            _ => job(row.updated_at, "its serial"),
        }
    }

    fn marks(&self, row: &UnitRow) -> Option<Wait> {
        let lacking = row.unit.known().tags.lacking(row.line.needs);
        if lacking.is_empty() {
            if self.config.auto_assign {
                return job(row.updated_at, "its assignment");
            }
            return wait(
                For::Marks,
                row.updated_at,
                "the word that it is complete (orders.auto_assign is off)",
                format!("`orders assign {}`", row.id),
            );
        }
        let flags: Vec<&str> = lacking
            .iter()
            .map(|mark| match *mark {
                "SIM" => "--sim SIM",
                _ => "--imei IMEI",
            })
            .collect();
        wait(
            For::Marks,
            row.updated_at,
            lacking.join(" and "),
            format!("`orders assign {} {}`", row.id, flags.join(" ")),
        )
    }
}

/// The rank of a wait: one that needs an operator comes first.
fn rank(what: For) -> u8 {
    match what {
        For::Person | For::Approval => 0,
        For::Difference | For::Listing => 1,
        For::Answer => 2,
        For::Report | For::Provisioning => 3,
        For::Marks | For::Keying => 4,
        For::Shipping => 5,
        For::Job => 6,
        For::Database => 7,
        For::OtherUnits => 8,
    }
}

/// The order's own wait.
fn own(whole: &Whole, facts: &Facts) -> Option<Wait> {
    let row = &whole.row;
    let id = &row.id;
    let since = facts.stopped.get(id).copied().unwrap_or(row.updated_at);
    match &row.order {
        Order::Open(Open::Received(received)) => wait(
            For::Approval,
            since,
            format!("a person's approval: {}", received.asks.join("; ")),
            format!("`orders approve {id}` when it may go on, else `orders cancel {id} --why WHY`"),
        ),
        Order::Parked(parked) => wait(
            For::Person,
            since,
            parked.reason.to_string(),
            parked.reason.code.remedy(id),
        ),
        Order::Open(Open::Approved(_)) if row.missing > 0 && unsettled(whole) => wait(
            For::Listing,
            row.updated_at,
            format!(
                "MyAdmin to list it again: {} full sweeps did not",
                row.missing
            ),
            format!("ask whether it was cancelled; if so `orders cancel {id} --why WHY`"),
        ),
        Order::Open(Open::Approved(_)) | Order::Cancelled(_) | Order::Closed(_) => None,
    }
}

fn unsettled(whole: &Whole) -> bool {
    whole.units.iter().any(|row| !row.unit.is_settled())
}

/// The action of the next round.
fn job(since: Timestamp, what: &str) -> Option<Wait> {
    wait(
        For::Job,
        since,
        format!("{what} by the next round"),
        "nothing to do if this began just now: the next round does it; if it lasts, look at the log of `run`: it names what keeps a \
         round from its end; `dig-ingest check --connect` tries MyAdmin",
    )
}

/// Whether a unit is parked for a lost answer.
#[must_use]
pub fn is_lost_answer(unit: &Unit) -> bool {
    matches!(unit, Unit::Parked(parked) if parked.reason.code == Code::LostAnswer)
}

#[cfg(test)]
mod tests;
