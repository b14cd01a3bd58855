//! The inputs of a recovery plan: store, device registry and MyAdmin's list of devices, read at one time.
//!
//! The command and the HTTP API read them here, so that both show and accept the same plan ([`recovery`]). Reading the registry takes
//! its size in memory once more while the plan is made. Nothing is changed but by an acceptance, which is one transaction of the
//! store; cancelled before that, nothing is left behind.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::journey::{Actor, Serial};
use super::proof::Own;
use super::recovery::{self, Known, Plan};
use super::settings::Config;
use super::store::Store;
use super::store::identity::Origin;
use super::store::listed_devices::{DEVICES_FIRST, SeenRow};
use super::store::read::Whole;
use super::{reconcile, registrar};
use crate::myadmin::wire::PartnerDevice;
use crate::registry::entries::Entries;

/// Reads the device registry to its end, within a time. Handed in: only the registry knows Kafka.
pub type ReadRegistry =
    Arc<dyn Fn(Duration) -> BoxFuture<'static, anyhow::Result<Entries>> + Send + Sync>;
/// Lists the devices that MyAdmin shows. Handed in with the client's settings.
pub type ListDevices =
    Arc<dyn Fn() -> BoxFuture<'static, anyhow::Result<Vec<PartnerDevice>>> + Send + Sync>;

/// The sources besides the store; clones share only the settings.
#[derive(Clone)]
pub struct Witnesses {
    pub registry: ReadRegistry,
    pub listed: ListDevices,
}

/// A plan, and whether it was accepted.
#[derive(Debug)]
pub struct Recovery {
    pub plan: Plan,
    pub accepted: bool,
}

/// Makes the plan, and with an operator's name writes it. A plan with nothing to decide is not written.
///
/// # Errors
/// The registry or MyAdmin cannot be asked; an acceptance while a question is open ([`StillOpen`]).
pub async fn recover(
    store: &Store,
    witnesses: &Witnesses,
    config: &Config,
    accept: Option<&Actor>,
    within: Duration,
) -> anyhow::Result<Recovery> {
    let known = known(store, witnesses, config, within).await?;
    let plan = recovery::plan(&known, config);
    let accepted = match accept {
        Some(by) if !plan.is_empty() => {
            if !plan.open.is_empty() {
                return Err(StillOpen(plan.open).into());
            }
            store.recover(&plan, by, Timestamp::now()).await?;
            true
        }
        _ => false,
    };
    Ok(Recovery { plan, accepted })
}

/// Questions that a person must settle before a plan can be accepted; nothing was written.
#[derive(Debug, thiserror::Error)]
#[error("nothing was accepted, because it is not clear:\n{}", .0.join("\n"))]
pub struct StillOpen(pub Vec<String>);

/// Everything the three sides say.
async fn known(
    store: &Store,
    witnesses: &Witnesses,
    config: &Config,
    within: Duration,
) -> anyhow::Result<Known> {
    let entries = (witnesses.registry)(within)
        .await
        .context("topics.devices: the device registry cannot be read")?;
    let mut units = store.units_by_order().await?;
    let rows = store.orders(&Default::default()).await?;
    let wholes = rows.into_iter().map(|row| Whole {
        units: units.remove(&row.id).unwrap_or_default(),
        row,
    });
    let wholes = wholes.collect();
    let own = registrar::own(store).await?;
    let unclaimed = unclaimed(store, witnesses, config, &own).await?;
    Ok(Known {
        entries,
        wholes,
        unclaimed,
        accepted: store.accepted_serials().await?,
        intents: store.intents_in_doubt().await?,
        own,
    })
}

/// The devices that MyAdmin lists now and no unit has; none without the right to list.
async fn unclaimed(
    store: &Store,
    witnesses: &Witnesses,
    config: &Config,
    own: &Own,
) -> anyhow::Result<Vec<SeenRow>> {
    if !config.provision.list_devices {
        return Ok(Vec::new());
    }
    let listed = (witnesses.listed)()
        .await
        .context("MyAdmin does not list its devices, and without that list nobody knows which serials were made")?;
    let mut seen = store.seen().await?;
    let first = store.marks().await?.get(DEVICES_FIRST).copied();
    let lag = reconcile::seconds(config.provision.visible_after_s);
    let now = Timestamp::now();
    let mut unclaimed = Vec::new();
    for device in listed {
        let Ok(serial) = Serial::parse(&device.serial) else {
            continue;
        };
        if own.serials.contains(&serial) {
            continue;
        }
        let before = seen.remove(&serial);
        // The fleet of before the first listing of a store that is older than identities needs no explanation.
        let of_fleet = own.identity.origin == Origin::CarriedOver
            && before.as_ref().zip(first).is_some_and(|(seen, first)| {
                seen.first_seen <= first.saturating_add(lag).unwrap_or(Timestamp::MAX)
            });
        if of_fleet {
            continue;
        }
        unclaimed.push(SeenRow {
            product_code: device.product_code.unwrap_or_default(),
            owner_database: device.database.unwrap_or_default(),
            first_seen: before.map_or(now, |seen| seen.first_seen),
            last_seen: now,
            serial,
        });
    }
    Ok(unclaimed)
}

impl Recovery {
    /// The report for programs.
    #[must_use]
    pub fn report(&self) -> Value {
        let plan = &self.plan;
        let adopt: Vec<_> = plan
            .adopt
            .iter()
            .map(|adoption| {
                json!({
                    "serial": adoption.device.serial.as_ref().map(ToString::to_string),
                    "device_id": adoption.device.device_id,
                    "state": adoption.device.state.name(),
                    "order": adoption.device.order,
                    "to": adoption.target,
                })
            })
            .collect();
        json!({
            "proven": plan.doubt.is_none(),
            "why": plan.doubt,
            "published": plan.published,
            "adopt": adopt,
            "park": plan.in_doubt,
            "accept": plan.accept,
            "decide": plan.open,
            "to_provision": plan.to_provision,
            "accepted": self.accepted,
        })
    }
}
