//! What goes from the store into files and from files into the store.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;

use super::{What, say};
use crate::commands::Report;
use crate::commands::console::{self, noteln, outln};
use crate::config::{Settings, private};
use crate::orders::exports::Paper;
use crate::orders::journey::Actor;
use crate::orders::store::Store;
use crate::orders::store::rows::EventRow;
use crate::orders::{export, import, inventory, watched};

pub(super) async fn all_events(store: &Store, after: i64) -> anyhow::Result<Vec<EventRow>> {
    let (mut all, mut after) = (Vec::new(), after);
    loop {
        let page = store.events_after(after).await?;
        let Some(last) = page.last() else {
            return Ok(all);
        };
        after = last.seq;
        all.extend(page);
    }
}

pub(super) async fn written(
    store: &Store,
    settings: &Settings,
    what: What,
    now: Timestamp,
) -> anyhow::Result<String> {
    let paper = match what {
        What::Events => return Ok(export::events(&all_events(store, 0).await?)),
        What::Orders => Paper::Orders,
        What::Units => Paper::Units,
        What::Picking => Paper::Picking,
        What::PickingPage => Paper::PickingPage,
        What::Worksheet => Paper::Worksheet,
        What::WorksheetPage => Paper::WorksheetPage,
    };
    Ok(paper.written(store, &settings.orders, now).await?)
}

pub(super) fn put(text: &str, to: Option<&Path>, report: Report) -> anyhow::Result<()> {
    let bytes = text.len();
    match to {
        Some(path) => {
            private::write(path, text.as_bytes())
                .with_context(|| format!("--to {}: cannot be written", path.display()))?;
            let place = path.display().to_string();
            match report {
                Report::Json => outln!("{}", json!({ "file": place, "bytes": bytes })),
                Report::Text => noteln!("{bytes} bytes written to {place}"),
            }
        }
        None => {
            anyhow::ensure!(
                report == Report::Text,
                "--report json and what is exported would share standard output: give --to FILE"
            );
            console::raw(text);
        }
    }
    Ok(())
}

pub(super) async fn imported(
    store: &Store,
    settings: &Settings,
    file: &Path,
    partial: bool,
    now: Timestamp,
    report: Report,
) -> anyhow::Result<ExitCode> {
    let name = file.display();
    let bytes = watched::read_named(file, import::LARGEST, "import it in parts")
        .with_context(|| format!("{name}: cannot be read"))?;
    let wishes = import::read(&bytes, &settings.orders.import);
    let by = Actor::Import(name.to_string().into());
    let way = import::Way {
        partial,
        columns: &settings.orders.import,
        prefixes: &settings.orders.prefixes(),
    };
    let outcome = import::perform(store, wishes, way, &by, now).await?;
    for bad in &outcome.bad {
        noteln!("{name}: {bad}");
    }
    let (done, bad) = (outcome.done, outcome.bad.len());
    say(
        report,
        || {
            let nothing = if bad > 0 && !partial {
                "; nothing was changed: mend them, or give --partial"
            } else {
                ""
            };
            format!(
                "{done} lines done, {} of them unchanged, {bad} bad{nothing}\n",
                outcome.unchanged
            )
        },
        || json!(outcome),
    );
    Ok(if bad == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(super) async fn shelf(
    store: &Store,
    settings: &Settings,
    report: Report,
) -> anyhow::Result<ExitCode> {
    let config = &settings.orders.inventory;
    let name = config.file.display();
    anyhow::ensure!(
        !config.file.as_os_str().is_empty(),
        "orders.inventory.file is not set: name the file in the settings or with --set orders.inventory.file=FILE"
    );
    let remedy = "remove lines of devices that were used";
    let bytes = watched::read_named(&config.file, import::LARGEST, remedy)
        .with_context(|| format!("orders.inventory.file: {name} cannot be read"))?;
    let shelf = inventory::read(&bytes, config);
    let free = inventory::free(&shelf, &store.marks_in_use().await?);
    for bad in &shelf.bad {
        noteln!("{name}: {bad}");
    }
    let devices = shelf.spares.len();
    say(
        report,
        || {
            let free: String = free
                .iter()
                .map(|(product, count)| match product.as_str() {
                    "" => format!("{count} free for any product\n"),
                    product => format!("{count} free for {product}\n"),
                })
                .collect();
            format!(
                "{devices} devices, {} lines that cannot be used\n{free}",
                shelf.bad.len()
            )
        },
        || json!({ "devices": devices, "free": free, "bad": shelf.bad }),
    );
    Ok(if shelf.bad.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
