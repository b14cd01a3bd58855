//! The devices that are ordered: they know only their IMEI, and talk from the beginning.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::load::binary::Encoding;
use crate::load::drive::{Counters, Goal, Outcome, Pace, Sink, drive};
use crate::load::manifest::run_of;
use crate::load::mix::Mix;
use crate::load::plan::{By, Plan, Shape};
use crate::load::produce::{Outlet, Target};
use crate::verify::judge::Judge;

/// Records per second of each device.
const RATE: f64 = 8.0;
/// The first record is this old, because a device's time goes on by a second with each.
const AGE_US: i64 = 3_600_000_000;

/// The devices and what they have sent.
pub struct Fleet {
    plan: Plan,
    counters: Arc<Counters>,
}

impl Fleet {
    pub fn new(devices: u32, seed: u64) -> Self {
        Self {
            plan: Plan {
                // Others than those of the load.
                seed: !seed,
                devices,
                mix: Mix::default(),
                shape: Shape::Native,
                by: By::DeviceId,
                start_us: jiff::Timestamp::now().as_microsecond() - AGE_US,
                step_us: 1_000_000,
                array: 1,
                backlog: 1,
                bad_share: 0.0,
                poison_share: 0.0,
                late_share: 0.0,
                poison_marker: String::new(),
                encoding: Encoding::Json,
            },
            counters: Arc::default(),
        }
    }

    /// How many there are.
    pub fn devices(&self) -> u32 {
        self.plan.devices
    }

    pub fn imeis(&self) -> impl Iterator<Item = String> {
        (0..self.plan.devices).map(|index| self.plan.device(index).id().to_owned())
    }

    /// Every one of them sent at least so many.
    pub fn each_sent(&self) -> u64 {
        self.counters.records() / u64::from(self.plan.devices)
    }

    /// Switches them on.
    pub fn start(&self, target: &Target) -> anyhow::Result<JoinHandle<anyhow::Result<Outcome>>> {
        let (plan, counters) = (self.plan.clone(), Arc::clone(&self.counters));
        let sink = Sink::Kafka(Box::new(Outlet::open(target, Arc::clone(&counters))?));
        let pace = Pace {
            rate: RATE * f64::from(plan.devices),
            burst: None,
        };
        Ok(tokio::task::spawn_blocking(move || {
            drive(&plan, Goal::default(), pace, sink, &counters)
        }))
    }

    /// Switches them off.
    pub fn stop(&self) {
        self.counters.stop();
    }

    /// Tells the judge what they sent. `serials`: by IMEI.
    pub fn tell(
        &self,
        judge: &mut Judge,
        outcome: &Outcome,
        serials: &HashMap<String, String>,
    ) -> anyhow::Result<()> {
        for device in (0..self.plan.devices).map(|index| self.plan.device(index)) {
            let failed = &outcome.confirmation.failed;
            let Some(mut run) = run_of(&self.plan, &device, &outcome.tally, failed) else {
                continue;
            };
            if let Some(serial) = serials.get(&run.device) {
                run.serial.clone_from(serial);
            }
            judge.add(&run)?;
        }
        Ok(())
    }
}
