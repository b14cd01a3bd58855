//! `dig-ingest orders sheet`: what a person does about sheets of terminations.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::json;

use super::super::Report;
use super::{say, table};
use crate::config::Settings;
use crate::orders::journey::{Actor, Serial};
use crate::orders::store::Store;
use crate::orders::store::judged::Standing;
use crate::orders::terminations::Means;
use crate::orders::terminations::decide::{self, Named, Preview};

/// Devices and rows of each kind that a report for people names.
const NAMED: usize = 200;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Act {
    /// List the sheets that wait for a decision, and the devices that vanished from the sheets.
    #[command(after_help = "Examples:
  dig-ingest orders sheet list --config job.toml
  dig-ingest orders sheet list --all --report json --config job.toml")]
    List {
        /// Those that were applied or decided too.
        #[arg(long)]
        all: bool,
    },
    /// Show whom a sheet would end, and which of its rows are not understood and why. Changes nothing.
    #[command(after_help = "Examples:
  dig-ingest orders sheet show 2026-03-01.csv --config job.toml
  dig-ingest orders sheet show 2026-03-01.csv@4f1c09ab --report json --config job.toml")]
    Show {
        /// Its file's name, or what `orders sheet list` calls it.
        sheet: String,
    },
    /// Obey a sheet as far as it is understood. Without --yes it only shows what it would do.
    #[command(after_help = "Examples:
  dig-ingest orders sheet accept 2026-03-01.csv --config job.toml
  dig-ingest orders sheet accept 2026-03-01.csv --yes --by ann --config job.toml")]
    Accept {
        /// Its file's name, or what `orders sheet list` calls it.
        sheet: String,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
    /// Leave the devices of a sheet as they are; its alarm ends. Without --yes it only shows which they are.
    #[command(after_help = "Examples:
  dig-ingest orders sheet refuse 2026-03-01.csv --config job.toml
  dig-ingest orders sheet refuse 2026-03-01.csv --yes --by ann --config job.toml")]
    Refuse {
        /// Its file's name, or what `orders sheet list` calls it.
        sheet: String,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs one of them.
///
/// # Errors
/// No such sheet, a decision that the store refuses.
pub(super) async fn run(
    store: &Store,
    settings: &Settings,
    act: Act,
    (by, now, report): (&Actor, Timestamp, Report),
) -> anyhow::Result<()> {
    let ask = crate::app::ask(settings)?;
    let own = settings.orders.own_prefixes();
    let means = Means {
        store,
        ask: &ask,
        config: &settings.orders.terminations,
        own: &own,
    };
    match act {
        Act::List { all } => {
            let sheets = store.judged_sheets(!all).await?;
            let vanished = store.vanished().await?;
            say(
                report,
                || table::sheets(&sheets, &vanished, all),
                || json!({ "sheets": sheets, "vanished": vanished }),
            );
        }
        Act::Show { sheet } => {
            let row = decide::find(store, &sheet).await?;
            let preview = decide::preview(means, &row, now).await?;
            shown(report, &preview, Said::Preview);
        }
        Act::Accept { sheet, yes } => {
            let row = decide::find(store, &sheet).await?;
            if yes {
                let preview = decide::accept(means, &row, by, now).await?;
                shown(report, &preview, Said::Accepted);
            } else {
                let preview = decide::preview(means, &row, now).await?;
                shown(report, &preview, Said::WouldAccept);
            }
        }
        Act::Refuse { sheet, yes } => {
            let row = decide::find(store, &sheet).await?;
            if yes {
                let preview = decide::refuse(means, &row, by, now).await?;
                shown(report, &preview, Said::Refused);
            } else {
                let preview = decide::preview(means, &row, now).await?;
                shown(report, &preview, Said::WouldRefuse);
            }
        }
    }
    Ok(())
}

/// What a preview was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Preview,
    WouldAccept,
    Accepted,
    WouldRefuse,
    Refused,
}

fn shown(report: Report, preview: &Preview, said: Said) {
    let done = matches!(said, Said::Accepted | Said::Refused);
    say(
        report,
        || text(preview, said),
        || json!({ "sheet": preview, "done": done }),
    );
}

fn text(preview: &Preview, said: Said) -> String {
    let sheet = &preview.sheet;
    let subject = &sheet.subject;
    let mut out = String::new();
    let rows = format!("{}, of which {} are not understood", sheet.rows, sheet.bad);
    for (name, value) in [
        ("sheet", subject.as_str()),
        ("state", sheet.state.name()),
        ("read at", &sheet.judged_at.to_string()),
        ("read as", &preview.form),
        ("rows", &rows),
        ("said", &sheet.said),
        (
            "decided by",
            sheet.decided_by.as_deref().unwrap_or_default(),
        ),
    ] {
        if !value.is_empty() {
            let _ = writeln!(out, "{name:<11} {}", table::plain(value));
        }
    }
    let (ends, later) = match said {
        Said::Accepted => ("ended", "ends later"),
        Said::Preview | Said::WouldAccept => ("would end", "would end later"),
        Said::WouldRefuse => (
            "would be left as they are",
            "would be left as they are at a later date too",
        ),
        Said::Refused => ("left as they are", "left as they are at a later date too"),
    };
    devices(&mut out, ends, &preview.ends);
    devices(&mut out, later, &preview.later);
    devices(
        &mut out,
        "waits for the partner's device list",
        &preview.unconfirmed,
    );
    devices(&mut out, "waits for the device registry", &preview.unasked);
    serials(&mut out, "vanished from a later sheet", &preview.vanished);
    serials(&mut out, "registered again, left alone", &preview.returned);
    serials(
        &mut out,
        "no unit's and no registered device's",
        &preview.unknown,
    );
    if preview.ended_before > 0 {
        let _ = writeln!(out, "\nended before: {}", preview.ended_before);
    }
    if !preview.not_understood.is_empty() {
        let _ = writeln!(out, "\nnot understood: {}", sheet.bad);
        for bad in preview.not_understood.iter().take(NAMED) {
            let _ = writeln!(out, "  {}", table::plain(&bad.to_string()));
        }
        more(&mut out, sheet.bad.try_into().unwrap_or(usize::MAX));
    }
    if !preview.doubtful.is_empty() {
        let count = preview.doubtful.len();
        let _ = writeln!(
            out,
            "\nnamed in rows that are not understood, not ended: {count}"
        );
        for doubtful in preview.doubtful.iter().take(NAMED) {
            let _ = writeln!(out, "  line {}: {}", doubtful.line, doubtful.serial);
        }
        more(&mut out, count);
    }
    let word = sheet.word();
    let next = match (said, &preview.cannot) {
        (Said::Accepted, _) => "accepted".to_owned(),
        (Said::Refused, _) => "refused: it ends no device".to_owned(),
        (Said::WouldRefuse, _) if sheet.state == Standing::Doubted => format!(
            "nothing was changed; to leave these devices as they are: dig-ingest orders sheet refuse --yes --by NAME {word}"
        ),
        (_, Some(cannot)) => format!("it cannot be accepted: {cannot}"),
        (Said::WouldAccept, None) => format!(
            "nothing was changed; to end these devices: dig-ingest orders sheet accept --yes --by NAME {word}"
        ),
        (_, None) => format!(
            "nothing was changed; `orders sheet accept --yes --by NAME {word}` does it, `orders sheet refuse --yes --by NAME {word}` leaves it"
        ),
    };
    let _ = writeln!(out, "\n{next}");
    out
}

fn devices(out: &mut String, what: &str, devices: &[Named]) {
    if devices.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{what}: {}", devices.len());
    for device in devices.iter().take(NAMED) {
        let since = device
            .since
            .as_deref()
            .map(|since| format!(", from {since}"));
        let is = device.is.join(", ");
        let _ = writeln!(
            out,
            "  line {}: {}{}  {}",
            device.line,
            device.serial,
            since.unwrap_or_default(),
            table::plain(&is)
        );
    }
    more(out, devices.len());
}

fn serials(out: &mut String, what: &str, serials: &[Serial]) {
    if serials.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{what}: {}", serials.len());
    for serial in serials.iter().take(NAMED) {
        let _ = writeln!(out, "  {serial}");
    }
    more(out, serials.len());
}

fn more(out: &mut String, all: usize) {
    if all > NAMED {
        let _ = writeln!(out, "  and {} more; --report json names them", all - NAMED);
    }
}
