//! The office of the journey: it looks in MyAdmin and at the labels of devices, and settles what is parked, in doubt or in the way.

use std::collections::BTreeSet;

use dig_ingest::orders::journey::order::Order;
use dig_ingest::orders::journey::unit::Unit;
use dig_ingest::orders::journey::{Code, Serial, Tags};
use dig_ingest::orders::store::Store;
use dig_ingest::orders::store::intents::Outcome;
use dig_ingest::orders::store::operator_actions::Subject;
use dig_ingest::orders::store::read::Whole;
use dig_ingest::orders::store::rows::UnitRow;
use dig_ingest::sim::market;
use jiff::Timestamp;

use super::people::{Fate, People, ann, devices, number, shows, told};
use crate::support::world::World;

impl People {
    /// The office looks in MyAdmin and at the labels before it lets go on what is parked: with the serial that was made for it, or
    /// without.
    pub async fn clear_up(&self, world: &World<'_>, store: &Store, wholes: &[Whole]) {
        for whole in wholes {
            for row in &whole.units {
                self.clear_up_unit(world, store, wholes, row).await;
            }
            if matches!(whole.row.order, Order::Parked(_)) {
                let subject = Subject::Order(whole.row.id.clone());
                told(store.retry(&subject, &ann(), Timestamp::now()).await);
            }
        }
        self.clear_orphans(store, wholes).await;
    }

    async fn clear_up_unit(
        &self,
        world: &World<'_>,
        store: &Store,
        wholes: &[Whole],
        row: &UnitRow,
    ) {
        let subject = Subject::Unit(row.id.clone());
        let (order, now) = (number(&row.order_id), Timestamp::now());
        let live = matches!(row.unit, Unit::Live(_) | Unit::Parked(_)) && !row.unit.is_active();
        // What is not in MyAdmin any more cannot be reported there.
        if live && self.fates[&order] == Fate::Active && !shows(world, order, row) {
            told(store.cancel_unit(&row.id, "one less", &ann(), now).await);
            return;
        }
        let parked = match &row.unit {
            Unit::Parked(parked) => parked,
            // Of one that has ended, only a call in doubt is left to be settled.
            Unit::Cancelled(_) => {
                told(store.retry_as(&subject, true, &ann(), now).await);
                return;
            }
            Unit::Live(_) | Unit::Terminated(_) => return,
        };
        let serial = match parked.reason.code {
            Code::LostAnswer => self.orphan(world, store, wholes, row).await,
            Code::Elsewhere => self.shown(world, order, row),
            _ => None,
        };
        if let Some(serial) = serial
            && row.unit.serial().is_none()
        {
            let none = Tags::default();
            told(
                store
                    .assign(&row.id, Some(&serial), &none, &ann(), now)
                    .await,
            );
        }
        told(store.retry_as(&subject, true, &ann(), now).await);
    }

    /// The serial that MyAdmin shows on a unit's line, or that the label of its device has.
    fn shown(&self, world: &World<'_>, order: u64, row: &UnitRow) -> Option<Serial> {
        let shown = world.gateway.market(|market, _| {
            let order = market.get(order)?;
            let mut units = order.units.iter();
            let unit = units.find(|unit| unit.id == number(&row.line.id))?;
            unit.serial.clone()
        });
        let paper = self.paper.get(&row.id);
        let serial = shown.or(paper.and_then(|paper| paper.serial.clone()))?;
        Serial::parse(&serial).ok()
    }

    /// A serial that stands in the way of its product is its unit's by its label, or nobody's.
    async fn clear_orphans(&self, store: &Store, wholes: &[Whole]) {
        let doubts = store.intents().await.expect("the store");
        let doubt = |outcome| matches!(outcome, Outcome::Open | Outcome::Unresolved);
        if doubts.iter().any(|intent| doubt(intent.outcome)) {
            return;
        }
        for alarm in store.alarms().await.expect("the store") {
            if alarm.kind != "orphan-serial" {
                continue;
            }
            let now = Timestamp::now();
            let mut papers = self.paper.iter();
            let unit = papers.find(|(_, paper)| paper.serial.as_ref() == Some(&alarm.subject));
            let row = unit.and_then(|(unit, _)| {
                let mut rows = wholes.iter().flat_map(|whole| &whole.units);
                rows.find(|row| row.id == *unit && row.unit.serial().is_none())
            });
            if let (Some(row), Ok(serial)) = (row, Serial::parse(&alarm.subject)) {
                let none = Tags::default();
                told(
                    store
                        .assign(&row.id, Some(&serial), &none, &ann(), now)
                        .await,
                );
            } else {
                told(
                    store
                        .clear_alarm(&alarm.kind, &alarm.subject, &ann(), now)
                        .await,
                );
            }
        }
    }

    /// A serial of the unit's product that is ours and nobody's: by its label, or the first without one.
    async fn orphan(
        &self,
        world: &World<'_>,
        store: &Store,
        wholes: &[Whole],
        row: &UnitRow,
    ) -> Option<Serial> {
        let code = &row.line.product_code;
        let open = store
            .intents()
            .await
            .expect("the store")
            .iter()
            .any(|intent| intent.outcome == Outcome::Open && intent.wish.product_code == *code);
        // One that a call made which is still open is not this unit's.
        if open {
            return None;
        }
        let own = self
            .paper
            .get(&row.id)
            .and_then(|paper| paper.serial.clone());
        if let Some(serial) = own.filter(|serial| !self.has_ended(serial)) {
            return Serial::parse(&serial).ok();
        }
        let mut claimed: BTreeSet<String> = wholes
            .iter()
            .flat_map(|whole| &whole.units)
            .filter_map(|row| row.unit.serial())
            .map(|serial| serial.to_string())
            .collect();
        claimed.extend(self.paper.values().filter_map(|paper| paper.serial.clone()));
        claimed.extend(devices(store).await.into_keys());
        let ours: Vec<String> = world.gateway.market(|market, _| {
            let made = market.devices().iter();
            made.filter(|device| device.maker == market::INTEGRATOR && device.product_code == *code)
                .map(|device| device.serial.clone())
                .collect()
        });
        let orphan = ours.into_iter().find(|serial| !claimed.contains(serial))?;
        Serial::parse(&orphan).ok()
    }
}
