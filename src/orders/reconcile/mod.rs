//! What is to be done: compares the world as it was just seen, the store's rows and the settings, and wishes acts. Pure.
//!
//! Level-triggered: it takes no input but states, so a missed hint, a crash or a round too many changes nothing. The same view and
//! rows wish the same acts, and once they are done, none.
//!
//! * P1: at most one provisioning per product is wished, and none while an earlier one's answer is in doubt.
//! * P2: an activation is wished only for a confirmed unit with an owner database, of an order that is clear; `apply` cannot
//!   build it otherwise.
//!
//! It decides nothing about time but by the `now` it is given, and does no I/O.

pub mod doubt;
pub mod fulfil;
pub mod intake;
mod odds;
pub mod orphans;
pub mod stock;
pub mod view;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::alarms::Due;
use super::inventory::{Spare, Used};
use super::journey::kit::OwnerDatabase;
use super::journey::order::{Open, Order};
use super::journey::unit::{Live, Unit};
use super::journey::{Code, Reason, Serial};
use super::settings::{Config, OnCancelled, OnVanished, Standing};
use super::store::identity::Origin;
use super::store::intents::{IntentRow, Outcome};
use super::store::listed_devices::SeenRow;
use super::store::read::Whole;
use super::store::rows::{Head, LineStanding, OrderLine, OrderRow, Shipment, UnitRow};
use super::store::stranded::Stranded;
use crate::myadmin::wire;
pub use view::View;

/// What the store holds that matters for a decision.
#[derive(Debug, Clone)]
pub struct Held {
    /// Whether the store is proven and MyAdmin's devices were listed under this lease (P3).
    pub may_provision: bool,
    /// Whether the store is proven: one that may be older than what MyAdmin shows reports nothing (P3).
    pub proven: bool,
    pub origin: Origin,
    /// Serials that a person said are no unit's.
    pub accepted: HashSet<Serial>,
    /// Orders that are not closed, with all their units.
    pub orders: Vec<Whole>,
    /// Ids of all orders, closed ones too.
    pub known: BTreeSet<String>,
    /// Provisioning calls of which a serial may have come that nobody told us.
    pub doubts: Vec<IntentRow>,
    /// Listed serials that no unit has.
    pub unclaimed: Vec<SeenRow>,
    /// Terminated units that are still, or again, listed in a database.
    pub reappeared: Vec<(String, SeenRow)>,
    /// Active units that are listed in no database any more.
    pub left: Vec<(String, SeenRow)>,
    /// Active units that are listed in another database than theirs.
    pub moved: Vec<(String, SeenRow)>,
    /// Pending devices that no unit will activate.
    pub stranded: Vec<Stranded>,
    /// Devices on the shelf, and which marks are a unit's.
    pub spares: Arc<[Spare]>,
    pub used: Used,
    /// When the partner's devices were listed first and last.
    pub first_listed: Option<Timestamp>,
    pub last_listed: Option<Timestamp>,
}

/// One thing to do. Rows carry the version the decision rests on: if it changed since, the act is dropped.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    TakeIn {
        id: String,
        order: Order,
        head: Box<Head>,
        lines: Vec<(OrderLine, Option<Reason>)>,
        why: String,
    },
    Head {
        row: Box<OrderRow>,
        head: Box<Head>,
        why: &'static str,
    },
    Missing {
        row: Box<OrderRow>,
        missing: i64,
    },
    ParkOrder {
        row: Box<OrderRow>,
        reason: Reason,
        evidence: Value,
    },
    CancelOrder {
        row: Box<OrderRow>,
        why: String,
        evidence: Value,
    },
    ParkUnit {
        row: Box<UnitRow>,
        reason: Reason,
        evidence: Value,
    },
    Assign {
        row: Box<UnitRow>,
    },
    /// It gets a device from the shelf.
    Stock {
        row: Box<UnitRow>,
        spare: Box<Spare>,
    },
    Provision {
        row: Box<UnitRow>,
        account: String,
    },
    /// The lost answer's serial is clear.
    Adopt {
        intent: Box<IntentRow>,
        serial: Serial,
        evidence: Value,
    },
    /// It is not: a person decides.
    Doubt {
        intent: Box<IntentRow>,
        evidence: Value,
    },
    ReportUnit {
        row: Box<UnitRow>,
        line: Box<wire::LineUnit>,
    },
    ReportShipment {
        row: Box<OrderRow>,
        order: Box<wire::Order>,
        shipment: Shipment,
    },
    /// MyAdmin shows the unit as we have it.
    Told {
        row: Box<UnitRow>,
    },
    Confirm {
        row: Box<UnitRow>,
        line: Box<wire::LineUnit>,
    },
    /// It is not shown as reported; tried again later, or parked.
    Differs {
        row: Box<UnitRow>,
        differences: Vec<String>,
    },
    Activate {
        row: Box<UnitRow>,
        database: OwnerDatabase,
    },
    Leave {
        row: Box<UnitRow>,
    },
    /// MyAdmin added a line to an order.
    AddUnit {
        row: Box<OrderRow>,
        line: Box<OrderLine>,
        reason: Option<Reason>,
    },
    /// MyAdmin took the line of a unit away for which nothing was done yet.
    LineGone {
        row: Box<UnitRow>,
    },
    /// MyAdmin shows the line of such a unit again.
    LineBack {
        row: Box<UnitRow>,
    },
    /// Another database owns an active device now.
    Move {
        unit: String,
        database: OwnerDatabase,
    },
    /// Stands while its cause does.
    Alarm(Due),
}

impl Action {
    /// The order that it parks or cancels.
    fn stops(&self) -> Option<String> {
        match self {
            Self::ParkOrder { row, .. } | Self::CancelOrder { row, .. } => Some(row.id.clone()),
            _ => None,
        }
    }

    /// Whether it writes to an order in MyAdmin.
    fn reports(&self) -> bool {
        matches!(self, Self::ReportUnit { .. } | Self::ReportShipment { .. })
    }

    /// Label of metrics and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::TakeIn { .. } => "take-in",
            Self::Head { .. } => "head",
            Self::Missing { .. } => "missing",
            Self::ParkOrder { .. } => "park-order",
            Self::CancelOrder { .. } => "cancel-order",
            Self::ParkUnit { .. } => "park-unit",
            Self::Assign { .. } => "assign",
            Self::Stock { .. } => "stock",
            Self::Provision { .. } => "provision",
            Self::Adopt { .. } => "adopt",
            Self::Doubt { .. } => "doubt",
            Self::ReportUnit { .. } => "report-unit",
            Self::ReportShipment { .. } => "report-shipment",
            Self::Told { .. } => "told",
            Self::Confirm { .. } => "confirm",
            Self::Differs { .. } => "differs",
            Self::Activate { .. } => "activate",
            Self::Leave { .. } => "leave",
            Self::AddUnit { .. } => "add-unit",
            Self::LineGone { .. } => "line-gone",
            Self::LineBack { .. } => "line-back",
            Self::Move { .. } => "move",
            Self::Alarm(_) => "alarm",
        }
    }
}

/// What is to be done now, in the order it is to be done.
#[must_use]
pub fn decide(view: &View, held: &Held, config: &Config, now: Timestamp) -> Vec<Action> {
    let mut acts = Vec::new();
    // What is in doubt first: its answer may be what others wait for.
    doubt::decide(view, held, config, now, &mut acts);
    intake::decide(view, held, config, &mut acts);
    // A unit whose line went or changed is worked on no more in this pass.
    let aside: BTreeSet<String> = acts
        .iter()
        .filter_map(|act| match act {
            Action::ParkUnit { row, .. } | Action::LineGone { row } => Some(row.id.clone()),
            _ => None,
        })
        .collect();
    let mut provisioning: BTreeSet<String> = held
        .doubts
        .iter()
        .filter(|intent| intent.outcome == Outcome::Open)
        .map(|intent| intent.wish.product_code.clone())
        .chain(orphans::blocked(held, config))
        .collect();
    let mut stopped: BTreeSet<String> = acts.iter().filter_map(Action::stops).collect();
    for whole in &held.orders {
        // MyAdmin shows the order twice and not alike: which of them is true cannot be known, so nothing is done for it.
        let listing = view.listing.as_ref();
        if listing.is_some_and(|listing| listing.contradicting.contains(&whole.row.id)) {
            continue;
        }
        let before = acts.len();
        order(view, whole, config, &mut acts);
        stopped.extend(acts[before..].iter().filter_map(Action::stops));
        // An order that this pass stops is worked on no more in it.
        if stopped.contains(&whole.row.id) || whole.row.order.clear().is_none() {
            continue;
        }
        for row in &whole.units {
            let Unit::Live(live) = &row.unit else {
                continue;
            };
            if aside.contains(&row.id) {
                continue;
            }
            match live {
                Live::Ordered(_) => {
                    ordered(whole, row, config, now, &mut provisioning, &mut acts);
                }
                Live::Provisioned(unit) => {
                    if config.auto_assign && unit.tags.lacking(row.line.needs).is_empty() {
                        acts.push(Action::Assign {
                            row: Box::new(row.clone()),
                        });
                    }
                }
                Live::Confirmed(unit) => {
                    if let Some(serial) = unit.kit().serial()
                        && let Some(database) = view.database(serial)
                    {
                        acts.push(Action::Activate {
                            row: Box::new(row.clone()),
                            database,
                        });
                    }
                }
                Live::InDatabase(unit) => match view.database(unit.serial()) {
                    Some(database) => acts.push(Action::Activate {
                        row: Box::new(row.clone()),
                        database,
                    }),
                    None if view.asked(unit.serial()) => {
                        acts.push(Action::Leave {
                            row: Box::new(row.clone()),
                        });
                    }
                    None => {}
                },
                Live::Assigned(_) | Live::Shipped(_) | Live::Reported(_) | Live::Active(_) => {}
            }
        }
        fulfil::decide(view, whole, config, now, &mut acts);
    }
    stock::decide(held, config, &mut acts);
    acts.extend(held.moved.iter().filter_map(|(unit, seen)| {
        let database = OwnerDatabase::new(&seen.owner_database)?;
        let unit = unit.clone();
        Some(Action::Move { unit, database })
    }));
    odds::decide(held, config, &mut acts);
    if !held.proven {
        acts.retain(|act| !act.reports());
    }
    acts
}

/// A unit that has nothing yet.
fn ordered(
    whole: &Whole,
    row: &UnitRow,
    config: &Config,
    now: Timestamp,
    provisioning: &mut BTreeSet<String>,
    acts: &mut Vec<Action>,
) {
    let known = row.unit.known();
    if !row.line.needs.serial {
        if config.auto_assign && known.tags.lacking(row.line.needs).is_empty() {
            acts.push(Action::Assign {
                row: Box::new(row.clone()),
            });
        }
        return;
    }
    let account = &whole.row.head.account;
    if !config.allows(account) {
        let reason = Reason::new(
            Code::Account,
            format!(
                "account {account:?} is not in orders.accounts: its device would land with the wrong owner"
            ),
        );
        acts.push(Action::ParkUnit {
            row: Box::new(row.clone()),
            reason,
            evidence: json!({ "account": account }),
        });
        return;
    }
    let product = &row.line.product_code;
    if !config.products.contains_key(product) {
        let reason = Reason::new(
            Code::UnknownProduct,
            format!("product code {product:?} is not in [orders.products]"),
        );
        acts.push(Action::ParkUnit {
            row: Box::new(row.clone()),
            reason,
            evidence: json!({ "product_code": product }),
        });
        return;
    }
    let due = row.retry_at.is_none_or(|at| at <= now);
    // One at a time per product, so that an orphan can be told whose it is.
    if due && provisioning.insert(product.clone()) {
        acts.push(Action::Provision {
            row: Box::new(row.clone()),
            account: account.clone(),
        });
    }
}

/// What the listing says of an order we know.
fn order(view: &View, whole: &Whole, config: &Config, acts: &mut Vec<Action>) {
    let row = &whole.row;
    let Some(listing) = &view.listing else { return };
    let Some(seen) = listing.orders.get(&row.id) else {
        if listing.full && listing.covers(&row.head.order_date) {
            missing(whole, config, acts);
        }
        return;
    };
    let head = intake::head(seen);
    if head != row.head || row.missing > 0 {
        acts.push(Action::Head {
            row: Box::new(row.clone()),
            head: Box::new(head.clone()),
            why: fulfil::differs(row, &head),
        });
    }
    let evidence = || json!({ "status": head.status });
    let park = |code: Code, text: String| Action::ParkOrder {
        row: Box::new(row.clone()),
        reason: Reason::new(code, text),
        evidence: evidence(),
    };
    let is_open = matches!(row.order, Order::Open(_));
    match config.status.standing(&head.status) {
        Standing::Cancelled => match (&row.order, config.on_cancelled) {
            (Order::Open(_) | Order::Parked(_), OnCancelled::Cancel) => {
                acts.push(Action::CancelOrder {
                    row: Box::new(row.clone()),
                    why: format!("MyAdmin shows it as {}", head.status),
                    evidence: evidence(),
                })
            }
            (Order::Open(_), OnCancelled::Park) => {
                acts.push(park(
                    Code::Vanished,
                    format!("MyAdmin shows it as {}", head.status),
                ));
            }
            (Order::Parked(_) | Order::Cancelled(_) | Order::Closed(_), _) => {}
        },
        Standing::Unknown if is_open => acts.push(park(
            Code::UnknownStatus,
            format!(
                "its status {:?} is in none of the lists of [orders.status]",
                head.status
            ),
        )),
        Standing::Done if is_open => {
            let unshipped = whole.units.iter().any(|unit| {
                unit.replaces.is_none()
                    // A person has compared it with MyAdmin, and let it go on.
                    && unit.standing != LineStanding::Kept
                    && matches!(
                        unit.unit,
                        Unit::Live(Live::Ordered(_) | Live::Provisioned(_) | Live::Assigned(_))
                    )
            });
            // Where some have shipped, the status was told too early: the others go on, and it is told again.
            let begun = whole.units.iter().any(|unit| match &unit.unit {
                Unit::Live(live) => live.is_beyond_shipping(),
                Unit::Parked(parked) => parked.before.is_beyond_shipping(),
                Unit::Cancelled(_) | Unit::Terminated(_) => false,
            });
            if unshipped && !begun {
                acts.push(park(
                    Code::Elsewhere,
                    format!(
                        "MyAdmin shows it as {} while units of it have not shipped",
                        head.status
                    ),
                ));
            }
        }
        Standing::Pending | Standing::Done | Standing::Unknown => {}
    }
}

/// An order the full sweep does not list.
fn missing(whole: &Whole, config: &Config, acts: &mut Vec<Action>) {
    let row = &whole.row;
    let unsettled = whole.units.iter().any(|unit| !unit.unit.is_settled());
    if row.order.is_over() || !unsettled {
        return;
    }
    let missing = row.missing + 1;
    if missing < i64::from(config.vanished_after) {
        acts.push(Action::Missing {
            row: Box::new(row.clone()),
            missing,
        });
        return;
    }
    let said = format!("{missing} full sweeps in a row do not list it");
    let evidence = json!({ "sweeps": missing });
    let is_open = matches!(
        row.order,
        Order::Open(Open::Approved(_) | Open::Received(_))
    );
    match config.on_vanished {
        OnVanished::Alarm => {
            acts.push(Action::Missing {
                row: Box::new(row.clone()),
                missing,
            });
        }
        OnVanished::Park if is_open => acts.push(Action::ParkOrder {
            row: Box::new(row.clone()),
            reason: Reason::new(Code::Vanished, said),
            evidence,
        }),
        OnVanished::Park => {}
        OnVanished::Cancel => acts.push(Action::CancelOrder {
            row: Box::new(row.clone()),
            why: said,
            evidence,
        }),
    }
}

impl Default for Held {
    /// Nothing, of a store that may provision.
    fn default() -> Self {
        Self {
            may_provision: true,
            proven: true,
            origin: Origin::Made,
            accepted: HashSet::new(),
            orders: Vec::new(),
            known: BTreeSet::new(),
            doubts: Vec::new(),
            unclaimed: Vec::new(),
            reappeared: Vec::new(),
            left: Vec::new(),
            moved: Vec::new(),
            stranded: Vec::new(),
            spares: Arc::default(),
            used: Used::new(),
            first_listed: None,
            last_listed: None,
        }
    }
}

pub(super) fn seconds(seconds: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX / 4))
}

#[cfg(test)]
mod tests;
