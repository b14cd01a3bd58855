//! The story of a few orders, told by what people do: customers, the Partner, the warehouse. Each act waits for what it needs to
//! have come about, which is a condition and not a time.
//!
//! Everything between their acts is the product's own: orders taken in, serials made, fulfilment reported and read back, devices
//! activated, their held records released.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;

use super::fleet::Fleet;
use super::keep::Keep;
use super::screen::Screen;
use crate::ops::status_registry::StatusRegistry;
use crate::orders::identifiers::{Unfit, check_digit};
use crate::orders::journey::{Actor, Parcel};
use crate::orders::store::identity::Proof;
use crate::orders::store::intents::Outcome;
use crate::orders::store::rows::UnitRow;
use crate::orders::unit_identifiers::{Given, Mark};
use crate::sim;
use crate::sim::market::{Cart, Script, Turn, sheet};

/// What is ordered; the last one is cancelled.
const ORDERS: [&[(&str, u32)]; 3] = [
    &[("CTD-200", 6)],
    &[("CTD-200", 4), ("CABLE-1", 1)],
    &[("CTD-200", 2)],
];
/// Devices: those that are ordered, and one on the shelf that takes another one's place.
pub const DEVICES: u32 = 13;
/// Units among it.
pub const UNITS: u64 = 13;
/// Records of each device that are held before anything else happens.
const TALK: u64 = 6;
/// Records by which the others are ahead of the terminated device when the story ends.
const AHEAD: u64 = 8;
/// How long any one thing may take to come about.
const PATIENCE: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(50);

/// What becomes of a device in the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Active,
    /// Active, and terminated in the end.
    Terminated,
    /// Active, came back broken, and another one took its place.
    Replaced,
    /// Delivered, and only shared with a database: it must wait.
    Waiting,
    /// Its order was cancelled.
    Cancelled,
}

impl Part {
    /// Whether it ever becomes active.
    fn is_activated(self) -> bool {
        matches!(self, Self::Active | Self::Terminated | Self::Replaced)
    }
}

/// A device of the story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub serial: String,
    pub imei: String,
    pub part: Part,
}

/// What the story came to.
pub struct Told {
    pub roles: Vec<Role>,
    /// Provisioning calls whose answer was lost, and their serial found, in the store that was lost later.
    pub adopted: u64,
    /// Units that had their serial when the store was lost.
    pub provisioned: u64,
    /// Units that the recovered store gave the same serial.
    pub recovered: u64,
}

/// Whom and what the story is about.
pub struct Journey<'a> {
    pub gateway: &'a sim::Handle,
    pub board: &'a StatusRegistry,
    pub fleet: &'a Fleet,
    pub screen: &'a Screen,
    /// The order half, with its store.
    pub keep: &'a Keep,
    /// Where the Partner's sheets of terminations are dropped.
    pub sheets: PathBuf,
}

impl Journey<'_> {
    /// Tells the story to its end, and switches the devices off.
    pub async fn tell(&self) -> anyhow::Result<Told> {
        let orders = self.order()?;
        let floor = u64::from(self.fleet.devices()) * TALK;
        self.until("records are held", async || {
            Ok((self.held() >= floor).then_some(()))
        })
        .await?;
        let talking = format!(
            "{} devices that nobody approved send: {} records held, none sent",
            self.fleet.devices(),
            self.held()
        );
        self.screen.stage("too early", &talking);
        self.copy().await?;
        self.approve(&orders).await?;
        let intents = self.keep.store().intents().await?;
        let adopted = intents.iter().filter(|row| row.outcome == Outcome::Adopted);
        let adopted = adopted.count() as u64;
        let (provisioned, recovered) = self.lose_store(&orders).await?;
        let units = self.assign(&orders).await?;
        let [shipped @ .., cancelled] = &orders[..] else {
            anyhow::bail!("there are no orders");
        };
        self.cancel(*cancelled).await?;
        self.ship(shipped).await?;
        let mut roles = self.cast(&units, *cancelled);
        self.activate(shipped, &roles).await?;
        self.release(&roles).await?;
        roles.push(self.replace(&roles).await?);
        self.terminate(&roles).await?;
        self.fleet.stop();
        Ok(Told {
            roles,
            adopted,
            provisioned,
            recovered,
        })
    }

    /// A copy of the store, as a timer makes it, before anything was provisioned.
    async fn copy(&self) -> anyhow::Result<()> {
        self.until("the store is proven", async || {
            let identity = self.keep.store().identity().await?;
            Ok((identity.proof == Proof::Proven).then_some(()))
        })
        .await?;
        self.keep.back_up().await
    }

    /// The disk fails. The copy is put back, and provisions nothing before a person has seen what the registry and MyAdmin show.
    async fn lose_store(&self, orders: &[u64]) -> anyhow::Result<(u64, u64)> {
        let serials = |units: &[UnitRow]| -> BTreeMap<String, String> {
            let with = units.iter();
            with.filter_map(|row| Some((row.id.clone(), row.unit.serial()?.to_string())))
                .collect()
        };
        self.until("the registry has every serial", async || {
            let waiting = self.keep.store().unpublished_count().await?;
            Ok((waiting == 0).then_some(()))
        })
        .await?;
        let before = serials(&self.units(orders).await?);
        self.keep.restore().await?;
        self.units_that("the orders are taken in again", orders, |_| true)
            .await?;
        self.until("the older copy is found out", async || {
            let identity = self.keep.store().identity().await?;
            Ok((identity.proof == Proof::Unproven).then_some(()))
        })
        .await?;
        let seen = self.keep.recover(None).await?;
        let text = format!(
            "the store is lost, and a copy without {} serials put back: nothing is provisioned; the registry shows {} of them",
            before.len(),
            seen.plan.adopt.len()
        );
        self.screen.stage("store lost", &text);
        let office = Actor::Person("office".into());
        anyhow::ensure!(
            self.keep.recover(Some(&office)).await?.accepted,
            "the recovery was not accepted"
        );
        let units = self
            .units_that("every device has its serial again", orders, |units| {
                units
                    .iter()
                    .all(|row| row.unit.serial().is_some() || !row.line.needs.serial)
            })
            .await?;
        let after = serials(&units);
        let same = before
            .iter()
            .filter(|(unit, serial)| after.get(*unit) == Some(serial));
        let same = same.count();
        let text = format!(
            "a person accepts: {same} units have the serial they had, and none was made again"
        );
        self.screen.stage("recovered", &text);
        Ok((before.len() as u64, same as u64))
    }

    /// Customers order; one answer about a serial will be lost on its way.
    fn order(&self) -> anyhow::Result<Vec<u64>> {
        let lost = Script {
            skip: 2,
            ..Script::once(Turn::LoseAnswer(sim::Loss::Cut))
        };
        let orders = self.gateway.market(|market, now| {
            market.script(lost)?;
            let carts = ORDERS.iter().map(|lines| {
                lines
                    .iter()
                    .fold(Cart::default(), |cart, (code, many)| cart.and(code, *many))
            });
            carts.map(|cart| market.order(&cart, now)).collect()
        });
        let orders: Result<Vec<u64>, sim::market::Refused> = orders;
        let text = format!("customers order {UNITS} units in {} orders", ORDERS.len());
        self.screen.stage("ordered", &text);
        Ok(orders?)
    }

    /// The Partner approves; all devices get their serials.
    async fn approve(&self, orders: &[u64]) -> anyhow::Result<()> {
        for order in orders {
            self.gateway
                .market(|market, now| market.approve(*order, now))?;
        }
        let text = format!("the Partner approves {} orders", orders.len());
        self.screen.stage("approved", &text);
        let given = self
            .units_that("every device has its serial", orders, |units| {
                units
                    .iter()
                    .all(|row| row.unit.serial().is_some() || !row.line.needs.serial)
            })
            .await?
            .iter()
            .filter(|row| row.unit.serial().is_some())
            .count();
        let text = format!(
            "{given} serials were made, one each; of one the answer was lost, and the serial found"
        );
        self.screen.stage("provisioned", &text);
        Ok(())
    }

    /// The warehouse takes devices from the shelf.
    async fn assign(&self, orders: &[u64]) -> anyhow::Result<Vec<UnitRow>> {
        let mut imeis = self.fleet.imeis();
        for row in self.units(orders).await? {
            if !row.line.needs.imei {
                continue;
            }
            let imei = imeis.next().context("more units than devices")?;
            self.mark(&row.id, &imei).await?;
        }
        let units = self
            .units_that("every unit is assigned", orders, |units| {
                units.iter().all(|row| row.unit.state() == "assigned")
            })
            .await?;
        let text = format!("{} units have their IMEI and SIM", units.len());
        self.screen.stage("assigned", &text);
        Ok(units)
    }

    async fn cancel(&self, order: u64) -> anyhow::Result<()> {
        self.gateway
            .market(|market, now| market.cancel(order, now))?;
        let units = self
            .units_that("the cancelled order is over", &[order], |units| {
                units.iter().all(|row| row.unit.state() == "cancelled")
            })
            .await?;
        let text = format!(
            "a customer cancels: {} devices will never send",
            units.len()
        );
        self.screen.stage("cancelled", &text);
        Ok(())
    }

    /// Boxes leave; MyAdmin is told, and asked whether it knows.
    async fn ship(&self, orders: &[u64]) -> anyhow::Result<()> {
        let mut boxes = 0;
        for (at, order) in orders.iter().enumerate() {
            // The second order goes in two.
            let numbers = (0..=at).map(|part| format!("T{order}-{}", part + 1));
            let parcel = Parcel::new("Post", numbers).context("a parcel has a number")?;
            boxes += parcel.tracking().len();
            self.keep
                .store()
                .ship(
                    &order.to_string(),
                    None,
                    &parcel,
                    &warehouse(),
                    Timestamp::now(),
                )
                .await?;
        }
        let text = format!("{boxes} boxes leave the warehouse");
        self.screen.stage("shipped", &text);
        let units = self
            .units_that("MyAdmin shows what was reported", orders, |units| {
                units.iter().all(|row| row.unit.state() == "confirmed")
            })
            .await?;
        let text = format!(
            "MyAdmin was told of {} units and shows them so; {} records held by now",
            units.len(),
            self.held()
        );
        self.screen.stage("fulfilled", &text);
        Ok(())
    }

    /// Who plays which part: of the devices delivered, the first is terminated later, the second one comes
    /// back broken, and the last one has to wait.
    fn cast(&self, units: &[UnitRow], cancelled: u64) -> Vec<Role> {
        let cancelled = cancelled.to_string();
        let mut roles: Vec<Role> = units
            .iter()
            .filter_map(|row| {
                let known = row.unit.known();
                Some(Role {
                    serial: known.serial?.to_string(),
                    imei: known.tags.imei?.into(),
                    part: match row.order_id == cancelled {
                        true => Part::Cancelled,
                        false => Part::Active,
                    },
                })
            })
            .collect();
        let mut delivered = roles.iter_mut().filter(|role| role.part == Part::Active);
        if let (Some(first), Some(second), Some(last)) =
            (delivered.next(), delivered.next(), delivered.next_back())
        {
            (first.part, second.part, last.part) =
                (Part::Terminated, Part::Replaced, Part::Waiting);
        }
        roles
    }

    /// Customers add their devices to databases; one is only shared, which is not enough.
    async fn activate(&self, orders: &[u64], roles: &[Role]) -> anyhow::Result<()> {
        self.gateway.market(|market, now| {
            roles.iter().try_for_each(|role| match role.part {
                Part::Active | Part::Terminated | Part::Replaced => {
                    market.assign(&role.serial, "fleet_north", now)
                }
                Part::Waiting => market.share(&role.serial, "partner", now),
                Part::Cancelled => Ok(()),
            })
        })?;
        let wished = activated(roles).count();
        self.screen.stage(
            "in database",
            &format!("customers add {wished} devices to their databases; one is only shared with its Partner's"),
        );
        self.units_that("the devices are active", orders, |units| {
            units.iter().filter(|row| row.unit.is_active()).count() == wished
        })
        .await?;
        let text = format!(
            "{wished} devices may send; {} records were held",
            self.held()
        );
        self.screen.stage("active", &text);
        Ok(())
    }

    /// What was held arrives, in order, and live records behind it.
    async fn release(&self, roles: &[Role]) -> anyhow::Result<()> {
        let sent = self.fleet.each_sent();
        self.until("held records arrive", async || {
            let there = activated(roles).all(|role| self.accepted(&role.serial) >= sent);
            Ok(there.then_some(()))
        })
        .await?;
        let arrived: u64 = activated(roles)
            .map(|role| self.accepted(&role.serial))
            .sum();
        let text = format!(
            "the gateway has {arrived} records of {} devices, from their first one on",
            activated(roles).count()
        );
        self.screen.stage("released", &text);
        Ok(())
    }

    /// A device comes back broken: its serial ends, and another device of the same line goes the whole journey.
    async fn replace(&self, roles: &[Role]) -> anyhow::Result<Role> {
        let broken = roles.iter().find(|role| role.part == Part::Replaced);
        let broken = broken.context("no device is to be replaced")?;
        let store = self.keep.store();
        let rows = store.units_marked(&broken.serial).await?;
        let row = rows.first().context("the broken device is no unit's")?;
        let why = "came back broken, RMA 17";
        let unit = store
            .replace(&row.id, why, &warehouse(), Timestamp::now())
            .await?;
        // As the alarm asks for: in MyAdmin it ends as well.
        self.gateway.market(|market, now| {
            let (reason, said) = sheet::REASONS[1];
            market.terminate(&broken.serial, reason, said, "partner@example.com", now)
        })?;
        let text = format!(
            "a device comes back broken: serial {} ends, unit {unit} takes its place",
            broken.serial
        );
        self.screen.stage("replaced", &text);
        let serial = self
            .until("the replacement has its serial", async || {
                let row = self.keep.store().unit(&unit).await?;
                Ok(row.and_then(|row| row.unit.serial()))
            })
            .await?;
        let imei = self.fleet.imeis().last().context("the shelf is empty")?;
        self.mark(&unit, &imei).await?;
        let parcel =
            Parcel::new("Post", [format!("RMA-{unit}")]).context("a parcel has a number")?;
        let named = [unit.clone()];
        store
            .ship(
                &row.order_id,
                Some(&named),
                &parcel,
                &warehouse(),
                Timestamp::now(),
            )
            .await?;
        self.in_state(&unit, "confirmed").await?;
        self.gateway
            .market(|market, now| market.assign(serial.as_str(), "fleet_north", now))?;
        self.in_state(&unit, "active").await?;
        let sent = self.fleet.each_sent();
        self.until("what the replacement sent too early arrives", async || {
            Ok((self.accepted(serial.as_str()) >= sent).then_some(()))
        })
        .await?;
        let text = format!("serial {serial} may send; what its device sent too early has arrived");
        self.screen.stage("replacement", &text);
        Ok(Role {
            serial: serial.to_string(),
            imei,
            part: Part::Active,
        })
    }

    async fn in_state(&self, unit: &str, state: &str) -> anyhow::Result<()> {
        self.until(&format!("unit {unit} is {state}"), async || {
            let row = self.keep.store().unit(unit).await?;
            Ok(row.filter(|row| row.unit.state() == state).map(drop))
        })
        .await
    }

    /// The warehouse takes a device from the shelf for a unit.
    async fn mark(&self, unit: &str, imei: &str) -> anyhow::Result<()> {
        let sim = iccid(imei).context("an IMEI is digits")?;
        let mut given = Given::new(false);
        for (mark, text) in [(Mark::Sim, &*sim), (Mark::Imei, imei)] {
            given
                .add(mark, Some(text))
                .map_err(|why: Unfit| anyhow::anyhow!("{text}: {why}"))?;
        }
        self.keep
            .store()
            .give(unit, &given, &warehouse(), Timestamp::now())
            .await?;
        Ok(())
    }

    /// The Partner terminates a device; its sheet is out before that takes effect, so no record comes too late.
    async fn terminate(&self, roles: &[Role]) -> anyhow::Result<()> {
        let of = |part| roles.iter().filter(move |role| role.part == part);
        let terminated = of(Part::Terminated).next();
        let serial = &terminated.context("no device is to be terminated")?.serial;
        let text = self.gateway.market(|market, now| {
            let (reason, said) = sheet::REASONS[1];
            market.terminate(serial, reason, said, "partner@example.com", now)?;
            // The one that will be published next.
            Ok::<_, sim::market::Refused>(market.sheet(now + 2 * DAY_US))
        })?;
        tokio::fs::write(self.sheets.join("terminations.csv"), text)
            .await
            .context("dropping the sheet of terminations")?;
        self.until("the device is terminated", async || {
            let units = self.keep.store().units_marked(serial).await?;
            let over = units.iter().all(|row| row.unit.state() == "terminated");
            // The sheet names the broken one too: nobody has to see to its serial any more.
            let alarms = self.keep.store().alarms().await?;
            let over = over && alarms.iter().all(|alarm| alarm.kind != "replaced-serial");
            Ok((over && self.keep.store().unpublished_count().await? == 0).then_some(()))
        })
        .await?;
        let text = format!("the Partner's sheet names {serial}; it goes on talking");
        self.screen.stage("terminated", &text);
        self.until("the terminated device is stopped", async || {
            let its = self.accepted(serial);
            let ahead = of(Part::Active).all(|role| self.accepted(&role.serial) >= its + AHEAD);
            Ok(ahead.then_some(()))
        })
        .await?;
        let text = "its records are dead letters now; the others go on sending";
        self.screen.stage("stopped", text);
        Ok(())
    }

    /// Records settled by being held.
    fn held(&self) -> u64 {
        let partitions = self.board.snapshot().partitions;
        partitions
            .iter()
            .map(|partition| partition.totals.held)
            .sum()
    }

    /// Records of a serial that the gateway has, repeated ones counted once.
    fn accepted(&self, serial: &str) -> u64 {
        self.gateway.digest(serial).map_or(0, |digest| digest.count)
    }

    async fn units(&self, orders: &[u64]) -> anyhow::Result<Vec<UnitRow>> {
        let mut units = Vec::new();
        for order in orders {
            units.extend(self.keep.store().units(&order.to_string()).await?);
        }
        Ok(units)
    }

    /// The units of these orders, once all were taken in and meet a condition.
    async fn units_that(
        &self,
        what: &str,
        orders: &[u64],
        met: impl Fn(&[UnitRow]) -> bool,
    ) -> anyhow::Result<Vec<UnitRow>> {
        self.until(what, async || {
            for order in orders {
                if self
                    .keep
                    .store()
                    .units(&order.to_string())
                    .await?
                    .is_empty()
                {
                    return Ok(None);
                }
            }
            let units = self.units(orders).await?;
            Ok(met(&units).then_some(units))
        })
        .await
    }

    /// Looks until there is something.
    async fn until<T>(
        &self,
        what: &str,
        look: impl AsyncFn() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let until = Instant::now() + PATIENCE;
        let mut tick = tokio::time::interval(LOOK);
        loop {
            tick.tick().await;
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if Instant::now() >= until {
                anyhow::bail!("the story stands still: waited in vain until {what}");
            }
        }
    }
}

const DAY_US: i64 = 86_400_000_000;

fn activated(roles: &[Role]) -> impl Iterator<Item = &Role> {
    roles.iter().filter(|role| role.part.is_activated())
}

fn warehouse() -> Actor {
    Actor::Person("warehouse".into())
}

/// The SIM that lies in the same box as a device: an IMEI without its check digit and an ICCID's own.
fn iccid(imei: &str) -> Option<String> {
    let digits = format!("8944{}", imei.get(..14)?);
    let check = check_digit(&digits)?;
    Some(format!("{digits}{check}"))
}

/// Serial by IMEI.
pub fn serials(roles: &[Role]) -> HashMap<String, String> {
    roles
        .iter()
        .map(|role| (role.imei.clone(), role.serial.clone()))
        .collect()
}
