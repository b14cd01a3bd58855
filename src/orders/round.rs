//! One round of the reconciler: look at what is due, decide, act, until nothing more is wished.
//!
//! A call that fails only leaves a gap in the view, from which nothing is concluded. Dropped at any await, a round leaves the
//! store as its last committed change did, and the next round goes on from there.

mod contracts;
mod listed;
mod stock;
mod waits;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde_json::json;

use super::Clock;
use super::alarms::Due;
use super::calls::Calls;
use super::executor::{Done, Executor};
use super::inventory::{Inventory, Shelf};
use super::journey::kit::OwnerDatabase;
use super::journey::order::Order;
use super::journey::unit::{Live, Unit};
use super::journey::{Actor, Serial};
use super::market::Market;
use super::reconcile::view::{Listing, View};
use super::reconcile::{self, Action, Held, intake, seconds};
use super::registrar::Registrar;
use super::settings::{Config, Standing};
use super::store::change::Change;
use super::store::identity::Proof;
use super::store::intents::Outcome;
use super::store::lease::Token;
use super::store::listed_devices::DEVICES_FIRST;
use super::store::read::Whole;
use super::store::{Error, Store};
use crate::myadmin;
use crate::myadmin::wire::Window;
use crate::ops::metrics::orders as metrics;

/// Marks in the store: when something was last done in full.
const LISTED: &str = "orders-listed";
const SWEPT: &str = "orders-swept";
pub(super) const DEVICES: &str = "devices-listed";

/// Decisions of one round at most; each begins with what the store then holds.
const PASSES: usize = 64;

/// The reconciler of one lease. Owns what it remembers between rounds, none of which matters after a crash.
pub struct Reconciler<M> {
    /// Carries out acts against MyAdmin and store; it has the clone of the marketplace client that this struct asks with too.
    hand: Executor<M>,
    /// The orders store; clones share the connections with the API, the sheets, the mail and the pages.
    store: Store,
    /// Settings of the journey.
    config: Arc<Config>,
    /// The wall clock; a test hands in its own.
    clock: Clock,
    /// Asked whether the store is proven before anything is provisioned (P3); its own `run` goes on beside the rounds.
    registrar: Arc<Registrar>,
    /// Whether MyAdmin's devices were listed since the lease was taken (P3).
    listed: bool,
    /// When owners' databases were last asked for; `None` after a failure, so that the next round asks again.
    last_databases: Option<Timestamp>,
    /// When orders were last asked for, which bounds how often reported units are read back.
    last_read_back: Option<Timestamp>,
    /// The inventory file as it was read last, with its length and time.
    inventory: Inventory,
    /// Its devices and bad lines, as of the start of this round.
    shelf: Shelf,
    /// Alarms of this round about what is listed and cannot be read.
    odd: Vec<Due>,
    /// Whether this round listed the devices.
    looked_at_devices: bool,
    /// Whether this round read the lines of all orders under way.
    looked_at_lines: bool,
}

/// The counts of a round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Acts that changed something.
    pub acts: usize,
    /// Calls to the marketplace that failed.
    pub failures: usize,
}

impl<M: Market + Clone + 'static> Reconciler<M> {
    pub fn new(
        market: M,
        store: Store,
        config: Arc<Config>,
        clock: Clock,
        token: Token,
        calls: Calls,
        registrar: Arc<Registrar>,
    ) -> Self {
        Self {
            hand: Executor::new(
                market,
                store.clone(),
                Arc::clone(&config),
                Arc::clone(&clock),
                token,
                Arc::clone(&registrar),
                calls,
            ),
            store,
            config,
            clock,
            registrar,
            listed: false,
            last_databases: None,
            last_read_back: None,
            inventory: Inventory::default(),
            shelf: Shelf::default(),
            odd: Vec::new(),
            looked_at_devices: false,
            looked_at_lines: false,
        }
    }

    /// Looks, decides and acts.
    ///
    /// # Errors
    /// The store failed, or the lease is lost; what was committed until then stays.
    pub async fn round(&mut self) -> Result<Report, Error> {
        let mut report = Report::default();
        let longest = seconds(self.config.backoff_max_s);
        let now = (self.clock)();
        self.store.straighten(self.hand.token, longest, now).await?;
        self.odd.clear();
        self.looked_at_devices = false;
        self.looked_at_lines = false;
        self.look_at_shelf().await;
        let mut held = self.held().await?;
        let mut view = self.look(&held, &mut report).await?;
        // The listing of devices is in the store now.
        held = self.held().await?;
        self.ask_contracts(&mut view, &held, &mut report).await;
        self.note_shown(&view, &held).await?;
        let mut due = Vec::new();
        for _ in 0..PASSES {
            let now = (self.clock)();
            let acts = reconcile::decide(&view, &held, &self.config, now);
            due.clear();
            let mut changed = 0;
            for act in acts {
                // Found out anew by every pass; what the last one says counts.
                if let Action::Alarm(alarm) = act {
                    due.push(alarm);
                    continue;
                }
                changed += usize::from(self.hand.act(act, &mut view).await? == Done::Changed);
            }
            report.acts += changed;
            if changed == 0 {
                break;
            }
            held = self.held().await?;
            // Absence is counted once per sweep, not once per pass.
            if let Some(listing) = &mut view.listing {
                listing.full = false;
            }
        }
        self.tell_shelf(&held).await?;
        due.append(&mut self.odd);
        let unknown = self.unknown(&view);
        self.tell_alarms(due, &held, &unknown).await?;
        self.show(&held);
        Ok(report)
    }

    /// Kinds of alarms that nothing can be said of after this round: what they are about was not looked at.
    fn unknown(&self, view: &View) -> BTreeSet<&'static str> {
        let mut unknown = BTreeSet::new();
        if view.listing.is_none() {
            unknown.insert("order-unreadable");
        }
        if !self.looked_at_devices {
            unknown.insert("device-unreadable");
        }
        if !self.looked_at_lines {
            unknown.insert("line-vanished");
        }
        unknown
    }

    async fn held(&self) -> Result<Held, Error> {
        let marks = self.store.marks().await?;
        let days = seconds(u64::from(self.config.sweep_days) * 86_400);
        let since = (self.clock)()
            .saturating_sub(days)
            .unwrap_or(Timestamp::MIN);
        let reappear = seconds(self.config.reappear_after_h.saturating_mul(3600));
        let listed = self.listed || !self.config.provision.list_devices;
        let proven = self.registrar.standing() == Proof::Proven;
        let mut held = Held {
            may_provision: listed && proven,
            proven,
            origin: self.store.identity().await?.origin,
            accepted: self.store.accepted_serials().await?,
            orders: self.store.open_orders(since).await?,
            known: self.store.order_ids().await?,
            doubts: self.store.intents_in_doubt().await?,
            unclaimed: self.store.unclaimed().await?,
            reappeared: self.store.reappeared(reappear).await?,
            left: self.store.left(reappear).await?,
            moved: self.store.moved(seconds(0)).await?,
            stranded: self.store.stranded().await?,
            first_listed: marks.get(DEVICES_FIRST).copied(),
            last_listed: marks.get(DEVICES).copied(),
            ..Held::default()
        };
        self.shelf(&mut held).await?;
        Ok(held)
    }

    async fn look(&mut self, held: &Held, report: &mut Report) -> Result<View, Error> {
        let now = (self.clock)();
        let marks = self.store.marks().await?;
        let mut view = View::default();
        self.list_orders(&mut view, held, &marks, now, report)
            .await?;
        self.list_devices(held, &marks, now, report).await?;
        self.ask_databases(&mut view, held, now, report).await;
        Ok(view)
    }

    async fn list_orders(
        &mut self,
        view: &mut View,
        held: &Held,
        marks: &HashMap<String, Timestamp>,
        now: Timestamp,
        report: &mut Report,
    ) -> Result<(), Error> {
        let config = &self.config;
        let passed = |mark: &str, wait: u64| due(marks.get(mark).copied(), wait, now);
        let full = passed(SWEPT, config.sweep_every_h.saturating_mul(3600));
        let reading_back = held.orders.iter().any(awaits_read_back)
            && due(self.last_read_back, config.readiness_every_s, now);
        if !full && !passed(LISTED, config.orders_every_s) && !reading_back {
            return Ok(());
        }
        self.last_read_back = Some(now);
        let from = if full {
            days_before(today(now), config.sweep_days)
        } else {
            let listed = marks.get(LISTED).copied().unwrap_or(now);
            let oldest = held
                .orders
                .iter()
                .filter(|whole| is_under_way(whole))
                .filter_map(|whole| whole.row.head.order_date.get(..10)?.parse::<Date>().ok())
                .min()
                .unwrap_or_else(|| today(now));
            days_before(oldest.min(today(listed)), config.overlap_days)
        };
        let window = Window {
            from,
            to: today(now).tomorrow().unwrap_or(Date::MAX),
        };
        let orders = match self.hand.market.orders(window).await {
            Ok(orders) => orders,
            Err(error) => {
                failed("orders", &error, report);
                return Ok(());
            }
        };
        let listing = Listing::new(orders, from, full);
        let twice = listing
            .contradicting
            .iter()
            .map(|id| listed::contradicting(id));
        self.odd.extend(twice);
        let mut complete = true;
        self.looked_at_lines = listing.full;
        for id in self.lines_wanted(&listing, held) {
            let Ok(number) = id.parse::<i64>() else {
                continue;
            };
            match self.hand.market.order_units(number).await {
                Ok(mut lines) => {
                    lines.sort_by_key(|line| line.id);
                    if lines.is_empty() && !held.known.contains(&id) {
                        self.odd.push(unreadable_order(&id, "it has no lines"));
                    }
                    view.lines.insert(id, lines);
                }
                Err(error) => {
                    if !held.known.contains(&id) {
                        complete = false;
                        let said = format!("its lines cannot be read: {error}");
                        self.odd.push(unreadable_order(&id, &said));
                    }
                    self.looked_at_lines = false;
                    failed("order-units", &error, report);
                }
            }
        }
        view.listing = Some(listing);
        // Not marked as listed while a new order could not be read: it is looked for again at once.
        if complete {
            let mut change = self.hand.change().await?;
            change.mark(LISTED, now).await?;
            if full {
                change.mark(SWEPT, now).await?;
            }
            change.commit().await?;
        }
        Ok(())
    }

    /// Orders whose lines must be read: new ones, those to be read back, and on a full sweep all that are under way. Those whose units
    /// are all settled too, while MyAdmin does not show them as done: a line may have been added.
    fn lines_wanted(&self, listing: &Listing, held: &Held) -> BTreeSet<String> {
        let fresh = listing
            .orders
            .iter()
            .filter(|(id, order)| {
                let standing = self.config.status.standing(&order.shipment_status);
                !held.known.contains(*id)
                    && matches!(standing, Standing::Pending | Standing::Unknown)
            })
            .map(|(id, _)| id.clone());
        let known = held.orders.iter().filter(|whole| {
            let shown = listing.orders.get(&whole.row.id);
            let differs = shown.is_some_and(|order| intake::head(order) != whole.row.head);
            let pending = shown.is_some_and(|order| {
                self.config.status.standing(&order.shipment_status) == Standing::Pending
            });
            let swept = listing.full && (is_under_way(whole) || pending);
            let open = matches!(whole.row.order, Order::Open(_) | Order::Parked(_));
            // One that was closed, and that a person takes up again, has no units yet.
            awaits_read_back(whole) || (open && (swept || differs || whole.units.is_empty()))
        });
        fresh
            .chain(known.map(|whole| whole.row.id.clone()))
            .collect()
    }

    async fn list_devices(
        &mut self,
        held: &Held,
        marks: &HashMap<String, Timestamp>,
        now: Timestamp,
        report: &mut Report,
    ) -> Result<(), Error> {
        let config = &self.config;
        if !config.provision.list_devices {
            return Ok(());
        }
        let last = marks.get(DEVICES).copied();
        let lag = seconds(config.provision.visible_after_s);
        // A doubt waits for a listing made after its new serial must show.
        let doubt = held.doubts.iter().any(|intent| {
            let clear = intent
                .begun_at
                .saturating_add(lag)
                .unwrap_or(Timestamp::MAX);
            intent.outcome == Outcome::Open && now >= clear && last.is_none_or(|at| at < clear)
        });
        if self.listed && !doubt && !due(last, config.devices_every_s, now) {
            return Ok(());
        }
        let devices = match self.hand.market.partner_devices().await {
            Ok(devices) => devices,
            Err(error) => {
                failed("partner-devices", &error, report);
                return self.tell_unlisted(&error).await;
            }
        };
        self.looked_at_devices = true;
        let mut change = self.hand.change().await?;
        change.clear_alarm(listed::KIND, listed::SUBJECT).await?;
        for device in &devices {
            let Ok(serial) = Serial::parse(&device.serial) else {
                self.odd.push(Due {
                    kind: "device-unreadable",
                    subject: device.serial.chars().take(64).collect(),
                    said: "MyAdmin lists a device whose serial cannot be one".to_owned(),
                    evidence: json!({ "product_code": device.product_code, "database": device.database }),
                });
                continue;
            };
            let code = device.product_code.as_deref().unwrap_or_default();
            let database = device.database.as_deref().unwrap_or_default();
            change.see_serial(&serial, code, database, now).await?;
        }
        mark_devices(&mut change, marks, now).await?;
        change.commit().await?;
        self.listed = true;
        Ok(())
    }

    async fn ask_databases(
        &mut self,
        view: &mut View,
        held: &Held,
        now: Timestamp,
        report: &mut Report,
    ) {
        if !due(self.last_databases, self.config.readiness_every_s, now) {
            return;
        }
        let serials: Vec<Serial> = held
            .orders
            .iter()
            .filter(|whole| whole.row.order.clear().is_some())
            .flat_map(|whole| &whole.units)
            .filter_map(|row| match &row.unit {
                Unit::Live(Live::Confirmed(unit)) => unit.kit().serial().cloned(),
                Unit::Live(Live::InDatabase(unit)) => Some(unit.serial().clone()),
                _ => None,
            })
            .collect();
        self.last_databases = Some(now);
        for chunk in serials.chunks(self.config.serials_per_call.max(1)) {
            let texts: Vec<String> = chunk.iter().map(ToString::to_string).collect();
            match self.hand.market.databases(&texts).await {
                Ok(found) => {
                    view.asked.extend(chunk.iter().cloned());
                    for device in found {
                        let owner = device.owner.as_deref().and_then(OwnerDatabase::new);
                        if let (Ok(serial), Some(owner)) = (Serial::parse(&device.serial), owner) {
                            view.owners.insert(serial, owner);
                        }
                    }
                }
                Err(error) => {
                    // What could not be asked is asked again in the next round.
                    self.last_databases = None;
                    failed("databases", &error, report);
                }
            }
        }
    }

    fn show(&self, held: &Held) {
        let now = (self.clock)();
        let mut states: HashMap<&'static str, usize> = STATES.iter().map(|s| (*s, 0)).collect();
        let mut oldest = now;
        for whole in &held.orders {
            for row in &whole.units {
                *states.entry(row.unit.state()).or_default() += 1;
            }
            if is_under_way(whole) {
                oldest = oldest.min(whole.row.created_at);
            }
        }
        for (state, units) in states {
            metrics::set_units(state, units);
        }
        metrics::set_oldest_open(now.duration_since(oldest).as_secs_f64());
    }
}

/// States of units, for the gauge: all of them are shown, also those without a unit.
const STATES: [&str; 11] = [
    "ordered",
    "provisioned",
    "assigned",
    "shipped",
    "reported",
    "confirmed",
    "in-database",
    "active",
    "parked",
    "cancelled",
    "terminated",
];

/// The first listing of all is remembered: what it shows was made before our time.
async fn mark_devices(
    change: &mut Change,
    marks: &HashMap<String, Timestamp>,
    now: Timestamp,
) -> Result<(), Error> {
    debug_assert_eq!(*change.by(), Actor::Reconciler);
    change.mark(DEVICES, now).await?;
    if !marks.contains_key(DEVICES_FIRST) {
        change.mark(DEVICES_FIRST, now).await?;
    }
    Ok(())
}

fn awaits_read_back(whole: &Whole) -> bool {
    whole.row.order.clear().is_some()
        && whole
            .units
            .iter()
            .any(|row| matches!(row.unit, Unit::Live(Live::Shipped(_) | Live::Reported(_))))
}

/// An order that is not over and has a unit whose journey has not ended.
fn is_under_way(whole: &Whole) -> bool {
    matches!(whole.row.order, Order::Open(_) | Order::Parked(_))
        && whole.units.iter().any(|row| !row.unit.is_settled())
}

fn failed(call: &'static str, error: &myadmin::Error, report: &mut Report) {
    report.failures += 1;
    metrics::count_failure(call);
    tracing::warn!(call, %error, "orders could not be listed; retrying later");
}

/// An order that is listed and cannot be taken in.
fn unreadable_order(id: &str, why: &str) -> Due {
    Due {
        kind: "order-unreadable",
        subject: id.to_owned(),
        said: format!("MyAdmin lists it, and {why}: it is not taken in"),
        evidence: serde_json::Value::Null,
    }
}

fn due(last: Option<Timestamp>, wait_s: u64, now: Timestamp) -> bool {
    // A time that is still to come was stored by a clock that was ahead: it says nothing.
    last.is_none_or(|last| {
        last > now
            || last
                .saturating_add(seconds(wait_s))
                .is_ok_and(|next| next <= now)
    })
}

fn today(now: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(now).date()
}

fn days_before(day: Date, days: u32) -> Date {
    day.saturating_sub(Span::new().days(i64::from(days.min(36_500))))
}
