//! The stages of the journey in figures, and whether they add up.
//!
//! Three who know nothing of each other are asked: the store with its audit trail, the simulated world, and the judge of the ledger
//! and the letters.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::journey::{Part, Role, Told};
use crate::orders::store::Store;
use crate::sim;
use crate::verify::judge::{CameTo, Judge};

/// How many units reached each stage. Units that need no serial end confirmed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub struct Stages {
    /// As the customers ordered.
    pub orders: u64,
    pub units: u64,
    /// Of orders that were taken in after the Partner approved them.
    pub approved: u64,
    pub provisioned: u64,
    /// Provisioned by a call whose answer was lost, and its serial found.
    pub adopted: u64,
    /// Their serial came back from the device registry when the store was lost.
    pub recovered: u64,
    /// They had a serial when the store was lost.
    pub before_loss: u64,
    /// Their device came back broken, and another unit took its place.
    pub replaced: u64,
    /// They need no serial.
    pub without_serial: u64,
    pub assigned: u64,
    pub cancelled: u64,
    pub shipped: u64,
    /// Reported, read back, and shown as reported.
    pub confirmed: u64,
    /// Confirmed, and in no database of its own.
    pub waiting: u64,
    pub in_database: u64,
    pub activated: u64,
    pub terminated: u64,
    /// Active in the end.
    pub active: u64,
    /// In the world: serials made.
    pub made: u64,
    /// In the world: devices that are or were billed.
    pub billed: u64,
    /// In the world: devices that are terminated, or billed again after it.
    pub ended: u64,
    pub billed_again: u64,
    /// In the world: records of devices that may not send.
    pub invalid: u64,
    pub records: Records,
}

/// What became of the devices' records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub struct Records {
    pub sent: u64,
    pub held: u64,
    /// Held, and accepted once their device was active.
    pub released: u64,
    /// Accepted without having been held.
    pub accepted_live: u64,
    /// Dead letters after their device was terminated.
    pub dead_terminated: u64,
    /// Dead letters of devices whose order was cancelled.
    pub dead_cancelled: u64,
    /// Of these, those that were held until then.
    pub dead_held: u64,
    /// Held to the end.
    pub still_held: u64,
    /// Of devices that were active to the end: sent, and neither held to the end nor accepted.
    pub missing: u64,
    /// Accepted of devices that were never active.
    pub too_early: u64,
}

impl Records {
    /// What the judge says of the devices.
    pub fn of(judge: &Judge, roles: &[Role]) -> Self {
        let mut records = Self::default();
        for role in roles {
            records.add(role.part, judge.came_to(&role.serial));
        }
        records
    }

    fn add(&mut self, part: Part, came_to: CameTo) {
        self.sent += came_to.records;
        self.held += came_to.held;
        self.released += came_to.released;
        self.accepted_live += came_to.accepted - came_to.released;
        self.still_held += came_to.waiting;
        match part {
            Part::Active => self.missing += came_to.records - came_to.accepted,
            Part::Terminated | Part::Replaced => self.dead_terminated += came_to.dead_lettered,
            Part::Waiting => self.too_early += came_to.accepted,
            Part::Cancelled => {
                self.dead_cancelled += came_to.dead_lettered;
                self.dead_held += came_to.held - came_to.waiting - came_to.released;
                self.too_early += came_to.accepted;
            }
        }
    }

    pub fn dead_lettered(&self) -> u64 {
        self.dead_terminated + self.dead_cancelled
    }

    fn sums(&self) -> Vec<Sum> {
        vec![
            sum(
                "records sent = released + accepted live + dead letters + still held",
                self.sent,
                self.released + self.accepted_live + self.dead_lettered() + self.still_held,
            ),
            sum(
                "records held = released + dead letters of cancelled orders + still held",
                self.held,
                self.released + self.dead_held + self.still_held,
            ),
            sum("no record of an active device is missing", self.missing, 0),
            sum(
                "no record of a device that never was active was accepted",
                self.too_early,
                0,
            ),
            some("records were released", self.released),
            some("records were accepted live", self.accepted_live),
            some(
                "records became dead letters after the end of their device",
                self.dead_terminated,
            ),
            some(
                "records became dead letters with their order",
                self.dead_cancelled,
            ),
            some("records are still held", self.still_held),
        ]
    }

    /// Whether everything has come to its end.
    pub fn add_up(&self) -> bool {
        wrong(self.sums()).is_empty()
    }
}

/// A sum: what it says, and its two sides.
type Sum = (&'static str, u64, u64);

fn sum(what: &'static str, left: u64, right: u64) -> Sum {
    (what, left, right)
}

/// At least one.
fn some(what: &'static str, count: u64) -> Sum {
    (what, count.min(1), 1)
}

fn wrong(sums: Vec<Sum>) -> Vec<String> {
    sums.into_iter()
        .filter(|(_, left, right)| left != right)
        .map(|(what, left, right)| format!("{what}: {left} is not {right}"))
        .collect()
}

impl Stages {
    /// Asks all three.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn of(
        store: &Store,
        gateway: &sim::Handle,
        told: &Told,
        records: Records,
    ) -> anyhow::Result<Self> {
        let trail = trail(store).await?;
        let reached = |state: &str| trail.get(state).map_or(0, BTreeSet::len) as u64;
        let (mut units, mut taken_in) = (Vec::new(), 0);
        for order in store.order_ids().await? {
            taken_in += 1;
            units.extend(store.units(&order).await?);
        }
        let replacements = units.iter().filter(|row| row.replaces.is_some());
        let replaced = replacements.count() as u64;
        let now_in = |state: &str| {
            let there = units.iter().filter(|row| row.unit.state() == state);
            there.count() as u64
        };
        let bare = units.iter().filter(|row| !row.line.needs.serial);
        let without_serial = bare.count() as u64;
        let counters = gateway.counters();
        let mut stages = Self {
            approved: units.len() as u64 - replaced,
            provisioned: reached("provisioned"),
            adopted: told.adopted,
            recovered: told.recovered,
            before_loss: told.provisioned,
            replaced,
            without_serial,
            assigned: reached("assigned"),
            cancelled: reached("cancelled"),
            shipped: reached("shipped"),
            confirmed: reached("confirmed"),
            waiting: now_in("confirmed") - without_serial.min(now_in("confirmed")),
            in_database: reached("in-database"),
            activated: reached("active"),
            terminated: reached("terminated"),
            active: now_in("active"),
            invalid: counters.records_invalid,
            records,
            ..Self::default()
        };
        gateway.market(|market, now| {
            for order in market.all_orders() {
                stages.orders += 1;
                stages.units += order.units.len() as u64;
            }
            let ours = market
                .devices()
                .iter()
                .filter(|device| device.maker == sim::market::INTEGRATOR);
            for device in ours {
                stages.made += 1;
                stages.billed += u64::from(device.billing.started_us.is_some());
                stages.billed_again += u64::from(device.billing.resumed_us.is_some());
                stages.ended += u64::from(device.terminated(now));
            }
        });
        anyhow::ensure!(
            taken_in == stages.orders && told.roles.len() as u64 == stages.made,
            "{taken_in} of {} orders were taken in, and {} of {} devices have their part",
            stages.orders,
            told.roles.len(),
            stages.made
        );
        Ok(stages)
    }

    /// What does not add up, for people; nothing when all is well.
    pub fn wrong(&self) -> Vec<String> {
        let mut sums = vec![
            sum("approved = ordered", self.approved, self.units),
            sum(
                "provisioned + without serial = approved + replaced",
                self.provisioned + self.without_serial,
                self.approved + self.replaced,
            ),
            sum("serials made = provisioned", self.made, self.provisioned),
            some("an answer was lost and its serial found", self.adopted),
            sum("one device is replaced", self.replaced, 1),
            sum(
                "recovered = had a serial when the store was lost",
                self.recovered,
                self.before_loss,
            ),
            sum(
                "had a serial when the store was lost + replaced = provisioned",
                self.before_loss + self.replaced,
                self.provisioned,
            ),
            sum(
                "assigned = approved + replaced",
                self.assigned,
                self.approved + self.replaced,
            ),
            sum(
                "shipped + cancelled = assigned",
                self.shipped + self.cancelled,
                self.assigned,
            ),
            some("units were cancelled", self.cancelled),
            sum("confirmed = shipped", self.confirmed, self.shipped),
            sum(
                "in a database + waiting + without serial = confirmed",
                self.in_database + self.waiting + self.without_serial,
                self.confirmed,
            ),
            some("a device waits for its database", self.waiting),
            sum(
                "activated = in a database",
                self.activated,
                self.in_database,
            ),
            sum(
                "active + terminated = activated",
                self.active + self.terminated,
                self.activated,
            ),
            sum(
                "terminated = one by its Partner + replaced",
                self.terminated,
                1 + self.replaced,
            ),
            sum(
                "devices ended in the world = terminated",
                self.ended,
                self.terminated,
            ),
            sum("devices billed = activated", self.billed, self.activated),
            sum(
                "no device is billed again after its end",
                self.billed_again,
                0,
            ),
            sum(
                "no record came from a device that may not send",
                self.invalid,
                0,
            ),
        ];
        sums.extend(self.records.sums());
        wrong(sums)
    }

    /// The stages for people.
    pub fn text(&self) -> String {
        let records = &self.records;
        let rows = [
            ("ordered", self.units, format!("in {} orders", self.orders)),
            (
                "approved",
                self.approved,
                "by the Partner, and taken in".to_owned(),
            ),
            (
                "provisioned",
                self.provisioned,
                format!(
                    "one serial each; {} by a call whose answer was lost; needed by all but {}",
                    self.adopted, self.without_serial
                ),
            ),
            (
                "recovered",
                self.recovered,
                format!(
                    "of {} serials, when the store was lost: each went back to its unit",
                    self.before_loss
                ),
            ),
            ("assigned", self.assigned, "by the warehouse".to_owned()),
            ("cancelled", self.cancelled, "with their order".to_owned()),
            ("shipped", self.shipped, "by the warehouse".to_owned()),
            (
                "confirmed",
                self.confirmed,
                "fulfilment reported, and read back from MyAdmin".to_owned(),
            ),
            (
                "in a database",
                self.in_database,
                format!("of its customer; {} is only shared with one", self.waiting),
            ),
            (
                "active",
                self.activated,
                format!("may send; {} are billed", self.billed),
            ),
            (
                "replaced",
                self.replaced,
                "came back broken; another device of the line went the whole way".to_owned(),
            ),
            (
                "terminated",
                self.terminated,
                format!(
                    "one by its Partner, {} with its replacement; {} still active, {} billed again",
                    self.replaced, self.active, self.billed_again
                ),
            ),
        ];
        let mut text = "the journey, in units:\n".to_owned();
        for (name, count, said) in rows {
            text.push_str(line(name, count, &said).trim_end());
            text.push('\n');
        }
        let rows = [
            ("sent", records.sent, ""),
            ("held", records.held, "too early, or behind such"),
            (
                "released",
                records.released,
                "held, and accepted in order once active",
            ),
            (
                "accepted live",
                records.accepted_live,
                "after their release",
            ),
            (
                "dead-lettered",
                records.dead_terminated,
                "after the end of their device",
            ),
            (
                "dead-lettered",
                records.dead_cancelled,
                "of devices whose order was cancelled",
            ),
            ("still held", records.still_held, "of the device that waits"),
            (
                "invalid",
                self.invalid,
                "came to the gateway and should not have",
            ),
        ];
        text.push_str("\ntheir records:\n");
        for (name, count, said) in rows {
            text.push_str(line(name, count, said).trim_end());
            text.push('\n');
        }
        let wrong = self.wrong();
        if wrong.is_empty() {
            text.push_str("all of it adds up\n");
        }
        for wrong in wrong {
            text.push_str(&format!("DOES NOT ADD UP: {wrong}\n"));
        }
        text
    }
}

fn line(name: &str, count: u64, said: &str) -> String {
    format!("  {name:<14} {count:>6}  {said}")
}

/// Units that ever came into a state, by its name, from the audit trail.
async fn trail(store: &Store) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let mut trail: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut seq = 0;
    loop {
        let events = store.events_after(seq).await?;
        let Some(last) = events.last() else {
            return Ok(trail);
        };
        seq = last.seq;
        for event in events {
            if let (Some(unit), Some(state)) = (event.unit_id, event.to_state) {
                trail.entry(state).or_default().insert(unit);
            }
        }
    }
}

#[cfg(test)]
#[path = "stages_tests.rs"]
mod tests;
