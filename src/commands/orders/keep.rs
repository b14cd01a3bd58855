//! Making, copying and recovering the store.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::super::Report;
use super::say;
use crate::config::Settings;
use crate::orders::journey::{Actor, Serial};
use crate::orders::recall;
use crate::orders::recovery::{Plan, Target};
use crate::orders::store::Store;
use crate::orders::store::identity::Origin;

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
    let witnesses = crate::app::witnesses(settings)?;
    let done = recall::recover(store, &witnesses, &settings.orders, accept, READ).await?;
    say(report, || text(&done.plan, done.accepted), || done.report());
    Ok(ExitCode::SUCCESS)
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
            Target::Replacement { unit, replaces } => {
                format!("unit {unit}, which replaces {replaces} and is made anew")
            }
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
