//! Making, copying and recovering the store.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;

use super::super::Report;
use super::say;
use crate::config::Settings;
use crate::orders::access;
use crate::orders::journey::{Actor, Serial};
use crate::orders::proof::Own;
use crate::orders::recovery::{self, Known, Plan, Target};
use crate::orders::registrar;
use crate::orders::store::Store;
use crate::orders::store::identity::Origin;
use crate::orders::store::read::Whole;
use crate::orders::store::seen::SeenRow;
use crate::registry::topic;

/// How long reading the registry to its end may take.
const READ: Duration = Duration::from_secs(120);

/// Makes the store.
///
/// # Errors
/// It cannot be made or opened.
pub(super) async fn init(settings: &Settings, report: Report) -> anyhow::Result<ExitCode> {
    let store = Store::init(&settings.orders.store).await?;
    let identity = store.identity().await?;
    let fresh = identity.generation == 0 && identity.origin == Origin::Made;
    store.close().await;
    say(
        report,
        || {
            let what = if fresh {
                "is empty and ready"
            } else {
                "was there already"
            };
            format!("store {} {what}\n", identity.id)
        },
        || json!({ "store": identity.id, "generation": identity.generation, "empty": fresh }),
    );
    Ok(ExitCode::SUCCESS)
}

/// Copies the store.
///
/// # Errors
/// PostgreSQL, with the command to use instead; a file that cannot be written.
pub(super) async fn backup(
    store: &Store,
    settings: &Settings,
    file: &Path,
    report: Report,
) -> anyhow::Result<()> {
    let copy = store.backup(&settings.orders.store, file).await?;
    let (id, generation) = (copy.identity.id, copy.identity.generation);
    say(
        report,
        || {
            format!(
                "{}: {} bytes, store {id}, generation {generation}\n",
                copy.file.display(),
                copy.bytes
            )
        },
        || json!({ "file": copy.file, "bytes": copy.bytes, "store": id, "generation": generation }),
    );
    Ok(())
}

/// Shows what a store that is not proven can learn, and with a person's name writes it.
///
/// # Errors
/// The registry or MyAdmin cannot be asked; an acceptance while a question is open.
pub(super) async fn recover(
    store: &Store,
    settings: &Settings,
    accept: Option<&Actor>,
    report: Report,
) -> anyhow::Result<ExitCode> {
    if let Some(by) = accept {
        anyhow::ensure!(
            by.name() != "cli",
            "--accept: say who accepts it, for the audit trail: --by NAME"
        );
    }
    let known = known(store, settings).await?;
    let plan = recovery::plan(&known, &settings.orders);
    let accepted = match accept {
        Some(by) if !plan.is_empty() => {
            anyhow::ensure!(
                plan.open.is_empty(),
                "nothing was accepted, because it is not clear:\n{}",
                plan.open.join("\n")
            );
            store.recover(&plan, by, Timestamp::now()).await?;
            true
        }
        _ => false,
    };
    say(report, || text(&plan, accepted), || value(&plan, accepted));
    Ok(ExitCode::SUCCESS)
}

/// Everything the three sides say.
async fn known(store: &Store, settings: &Settings) -> anyhow::Result<Known> {
    let (client, name) = (
        settings.kafka.by_hand("devices")?,
        settings.topics.devices.clone(),
    );
    let read = tokio::task::spawn_blocking(move || topic::entries(&client, &name, READ));
    let entries = read
        .await
        .context("reading the device registry failed")?
        .context("topics.devices: the device registry cannot be read")?;
    let mut wholes = Vec::new();
    for row in store.orders(&Default::default()).await? {
        let units = store.units(&row.id).await?;
        wholes.push(Whole { row, units });
    }
    let own = registrar::own(store).await?;
    let unclaimed = unclaimed(store, settings, &own).await?;
    Ok(Known {
        entries,
        wholes,
        unclaimed,
        accepted: store.accepted_serials().await?,
        intents: store.intents_in_doubt().await?,
        own,
    })
}

/// What MyAdmin lists now and no unit has; without the right to list, nothing.
async fn unclaimed(store: &Store, settings: &Settings, own: &Own) -> anyhow::Result<Vec<SeenRow>> {
    if !settings.orders.provision.list_devices {
        return Ok(Vec::new());
    }
    let market = access::client(&settings.myadmin)?;
    let listed = market
        .partner_devices()
        .await
        .context("MyAdmin does not list its devices, and without that list nobody knows which serials were made")?;
    let mut seen = store.seen().await?;
    let first = store.marks().await?.get("devices-first-listed").copied();
    let lag = jiff::SignedDuration::from_secs(
        i64::try_from(settings.orders.provision.visible_after_s).unwrap_or(i64::MAX / 4),
    );
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

fn text(plan: &Plan, accepted: bool) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    if plan.is_empty() {
        return "the store is proven, and every listed serial of an own product is explained: nothing to recover\n".to_owned();
    }
    if let Some(doubt) = &plan.doubt {
        let _ = writeln!(text, "not proven: {doubt}");
    }
    if let Some(mark) = &plan.published {
        let _ = writeln!(
            text,
            "published: store {}, generation {}",
            mark.store, mark.generation
        );
    }
    for adoption in &plan.adopt {
        let device = &adoption.device;
        let serial = device
            .serial
            .as_ref()
            .map(Serial::as_str)
            .unwrap_or_default();
        let order = device.order.as_deref().unwrap_or_default();
        let to = match &adoption.target {
            Target::Unit { unit } => format!("unit {unit}, which has none"),
            Target::CatchUp { unit } => format!("unit {unit}, of which the registry says more"),
            Target::Later { unit } => format!("unit {unit}, once its order is taken in"),
            Target::Order { .. } => {
                format!("a unit of order {order}, once it is taken in and a person says which")
            }
            Target::Device => format!("no unit (order {order})"),
        };
        let _ = writeln!(text, "adopt    {serial} ({}): {to}", device.state.name());
    }
    for unit in &plan.in_doubt {
        let _ = writeln!(
            text,
            "park     unit {unit}: a call for it was under way, and its answer is not known"
        );
    }
    for serial in &plan.accept {
        let _ = writeln!(
            text,
            "accept   {} (product {:?}, database {:?}): MyAdmin lists it, and no unit has it",
            serial.serial, serial.product_code, serial.database
        );
    }
    for question in &plan.open {
        let _ = writeln!(text, "decide   {question}");
    }
    for unit in &plan.to_provision {
        let _ = writeln!(text, "then     unit {unit} gets a new serial");
    }
    text.push_str(if accepted {
        "accepted; the running instance goes on by itself\n"
    } else if plan.open.is_empty() {
        "nothing was changed; if it is right, repeat it with --accept --by NAME\n"
    } else {
        "nothing was changed; settle what is to be decided, then repeat it\n"
    });
    text
}

fn value(plan: &Plan, accepted: bool) -> serde_json::Value {
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
        "accepted": accepted,
    })
}
