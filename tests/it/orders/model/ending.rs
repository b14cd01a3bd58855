//! The end of a world: no more faults, everybody does all they have to, and nothing is left behind.

use std::collections::BTreeMap;

use dig_ingest::orders::journey::Code;
use dig_ingest::orders::journey::order::Order;
use dig_ingest::orders::journey::unit::Unit;
use dig_ingest::orders::outbox::Entry;
use dig_ingest::orders::store::intents::Outcome;
use dig_ingest::registry::Device;

use super::{CALM, Run, people};

impl Run {
    /// The faults end: so does every journey.
    pub(super) async fn calm_down(&mut self) {
        self.world.calm();
        for n in 0..CALM {
            self.recover().await;
            people::settle(&self.world, &self.store, &self.config, &mut self.dice).await;
            self.round(None).await;
            self.publish(None).await;
            self.world.pass(400);
            if n > 8 && self.is_over().await {
                break;
            }
        }
        self.invariants().await;
        let open = self.left_behind().await;
        assert!(
            open.is_empty(),
            "seed {}: left behind: {open:#?}\n{:?} {:?}\n{}\n{:#?}",
            self.seed,
            self.config.fulfilment.mode,
            self.config.fulfilment.partial,
            self.world.told(),
            self.store.alarms().await.unwrap()
        );
        let stored: BTreeMap<String, Device> = self
            .store
            .devices()
            .await
            .unwrap()
            .iter()
            .map(|device| match Entry::of(device, None) {
                Entry::Put(device, _) => (device.device_id.to_string(), device),
                other => panic!("seed {}: {other:?} is kept", self.seed),
            })
            .collect();
        let told: BTreeMap<String, Device> = {
            let topic = self.topic.lock().unwrap();
            let devices = topic.entries.devices.values();
            devices
                .map(|entry| (entry.device.device_id.to_string(), entry.device.clone()))
                .collect()
        };
        assert_eq!(stored, told, "seed {}: store and topic differ", self.seed);
        assert_eq!(self.store.unpublished_count().await.unwrap(), 0);
    }

    /// An order that was fulfilled in a store that is lost: it is closed, or a person is told that somebody else fulfilled it.
    fn is_done_elsewhere(&self, order: &Order) -> bool {
        let done = match order {
            Order::Closed(_) => true,
            Order::Parked(parked) => parked.reason.code == Code::Elsewhere,
            Order::Open(_) | Order::Cancelled(_) => false,
        };
        done && self.disasters.of_store() > 0
    }

    async fn is_over(&self) -> bool {
        self.left_behind().await.is_empty()
    }

    /// What has not come to the end that the world asks for.
    async fn left_behind(&self) -> Vec<String> {
        let mut left = Vec::new();
        for order in self.world.approved_orders() {
            let Some(row) = self.store.order(&order.id).await.unwrap() else {
                left.push(format!("order {} was never taken in", order.id));
                continue;
            };
            let units = self.store.units(&order.id).await.unwrap();
            if order.cancelled {
                if !row.order.is_over() {
                    left.push(format!("order {} is cancelled: {:?}", order.id, row.order));
                }
            } else if row.order.clear().is_none() && !self.is_done_elsewhere(&row.order) {
                left.push(format!("order {}: {:?}", order.id, row.order));
            }
            for unit in units {
                let elsewhere = matches!(&unit.unit, Unit::Parked(parked) if parked.reason.code == Code::Elsewhere);
                let done = self.is_done_elsewhere(&row.order)
                    || (elsewhere && self.disasters.of_store() > 0);
                if !unit.unit.is_settled() && !done {
                    left.push(format!(
                        "unit {}: {:?}, retry at {:?}",
                        unit.id, unit.unit, unit.retry_at
                    ));
                }
            }
        }
        for intent in self.store.intents().await.unwrap() {
            if matches!(intent.outcome, Outcome::Open | Outcome::Unresolved) {
                left.push(format!("{intent:?}"));
            }
        }
        left
    }
}
