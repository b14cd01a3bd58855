//! Devices of orders: written by the order journey, so a command changes them there or not at all.

use std::collections::HashMap;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;

use super::place::{Loaded, RegistryLocation};
use crate::orders::journey::{Actor, Serial};
use crate::orders::store::Store;
use crate::orders::store::cancel_terminate::Termination;
use crate::registry::Device;

/// What the store writes to the audit trail.
const WHY: &str = "asked for with dig-ingest devices terminate";

/// Terminates devices of orders in the orders store.
///
/// # Errors
/// The store is not there: the journey would call the devices active again.
pub(super) async fn terminate(place: &RegistryLocation, devices: &[Device]) -> anyhow::Result<()> {
    let (Some(settings), [first, ..]) = (place.settings(), devices) else {
        return Ok(());
    };
    let order = first.order.as_deref().unwrap_or_default();
    anyhow::ensure!(
        settings.orders.enabled,
        "{} belongs to order {order}, and orders.enabled is false here: terminate it where the order journey runs, with its settings; \
         nothing was changed",
        first.device_id
    );
    let store = Store::open(&settings.orders.store).await.with_context(|| {
        format!(
            "{} belongs to order {order}, and the orders store must know that it ends; nothing was changed",
            first.device_id
        )
    })?;
    let done = in_store(&store, devices).await;
    store.close().await;
    done
}

async fn in_store(store: &Store, devices: &[Device]) -> anyhow::Result<()> {
    let (by, now) = (Actor::Person("cli".into()), Timestamp::now());
    for device in devices {
        let Some(serial) = device.serial.as_deref() else {
            continue;
        };
        let serial =
            Serial::parse(serial).context("the registry shows a serial that cannot be one")?;
        let evidence = json!({ "device_id": device.device_id });
        if store.terminate(&serial, WHY, &evidence, &by, now).await? == Termination::Unknown {
            store
                .terminate_device((device, &serial), WHY, &evidence, &by, now)
                .await?;
        }
    }
    Ok(())
}

/// Refuses lines that would change a device of an order, or make one.
///
/// # Errors
/// The first such line.
pub(super) fn refuse(known: &Loaded, new: &[Device]) -> anyhow::Result<()> {
    let by_id: HashMap<&str, &Device> = known
        .devices
        .iter()
        .map(|device| (&*device.device_id, device))
        .collect();
    for device in new {
        let there = by_id.get(&*device.device_id).copied();
        let order = there
            .and_then(|there| known.order_of(there))
            .or_else(|| known.order_of(device));
        if let Some(order) = order
            && there != Some(device)
        {
            anyhow::bail!(
                "device {} belongs to order {order}, and only the order journey writes it: leave its line out",
                device.device_id
            );
        }
    }
    Ok(())
}
