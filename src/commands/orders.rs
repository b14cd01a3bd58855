//! `dig-ingest orders`: what the warehouse and the office do with orders, on the store the settings name.
//!
//! Every act is one change of the store, as the HTTP API's are; a running job sees it at its next round.

mod files;
mod keep;
mod mail;
mod sheets;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::console::{out, outln};
use super::leave::HangUp;
use super::{Report, leave, run};
use crate::app::Chosen;
use crate::config::{ConfigArgs, Settings, printable};
use crate::ops::{log, panics};
use crate::orders::alarms::AlarmShown;
use crate::orders::desk::Outside;
use crate::orders::identifiers::Unfit;
use crate::orders::journey::{Actor, Parcel};
use crate::orders::store::Store;
use crate::orders::store::operator_actions::Subject;
use crate::orders::store::read::Filter;
use crate::orders::unit_identifiers::{Given, Mark};
use crate::orders::views::{self, UnitShown};
use crate::orders::wait::For;
use crate::orders::{desk, wall_clock};

/// Characters of a refused value that are shown.
const SHOWN: usize = 100;

/// Arguments of `dig-ingest orders`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dig-ingest orders list --state approved --config job.toml
  dig-ingest orders show 1042 --config job.toml
  dig-ingest orders assign 1042.1 --imei 356938035643809 --sim 8931440400000000008 --by ann \\
      --config job.toml
  dig-ingest orders ship 1042 --carrier Post --tracking T123 --by ann --config job.toml
  dig-ingest orders import assignments.csv --config job.toml
  dig-ingest orders sheet list --config job.toml
  dig-ingest orders export worksheet-page --to fulfil.html --config job.toml
  dig-ingest orders backup /backup/orders.db --config job.toml

The store is orders.store.url if one is set, else the file orders.store.file. A unit's id is its order's id, a dot and
its line's id; `orders show ORDER` lists them.")]
pub struct Args {
    #[command(subcommand)]
    act: Act,
    #[command(flatten)]
    settings: ConfigArgs,
    /// Who acts, for the audit trail.
    #[arg(long, global = true, default_value = "cli", value_name = "NAME")]
    by: String,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t, global = true)]
    report: Report,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// List the orders that wait for something, oldest first; or the standing alarms.
    #[command(after_help = "Examples:
  dig-ingest orders list --config job.toml
  dig-ingest orders list --all --config job.toml
  dig-ingest orders list --state done --config job.toml
  dig-ingest orders list --state parked --config job.toml
  dig-ingest orders list --named PO-7781 --report json --config job.toml
  dig-ingest orders list --waits-for marks --config job.toml
  dig-ingest orders list --alarms --config job.toml
  dig-ingest orders list --unclaimed --config job.toml")]
    List {
        /// Only those in this state: received, approved, parked (it or a unit of it), cancelled, closed, open (it waits for something)
        /// or done (it waits for nothing any more).
        #[arg(long, value_parser = ["received", "approved", "parked", "cancelled", "closed", "open", "done"])]
        state: Option<String>,
        /// Those that are done, cancelled or closed, too.
        #[arg(long)]
        all: bool,
        /// Only those with this id, account, reference or purchase order number.
        #[arg(long)]
        named: Option<String>,
        /// The alarms that nobody cleared yet, instead of orders.
        #[arg(long, conflicts_with_all = ["state", "named", "waits_for", "all"])]
        alarms: bool,
        /// Only those that wait for this, such as marks, keying or person.
        #[arg(long, value_name = "WHAT", value_parser = For::ALL.map(For::name))]
        waits_for: Option<String>,
        /// The serials that MyAdmin lists and no unit has, instead of orders.
        #[arg(long, conflicts_with_all = ["state", "named", "waits_for", "all", "alarms"])]
        unclaimed: bool,
    },
    /// Show one order with its units; a unit's id, serial, IMEI, SIM or device id finds its order.
    #[command(after_help = "Examples:
  dig-ingest orders show 1042 --config job.toml
  dig-ingest orders show 356938035643809 --report json --config job.toml")]
    Show {
        /// The id of an order or a unit.
        name: String,
    },
    /// Give a unit its marks; one that has all its line asks for becomes assigned. IMEI, ICCID and the serial's prefix are checked.
    #[command(after_help = "Examples:
  dig-ingest orders assign 1042.1 --imei 356938035643809 --sim 8931440400000000008 \\
      --config job.toml
  dig-ingest orders assign 1042.2 --serial CX0000000001 --config job.toml
  dig-ingest orders assign 1042.3 --imei A10000009296F2 --force --by ann --config job.toml

An IMEI has 15 digits, an ICCID 19 or 20 that begin with 89 (an F that fills it up is left out); both end with a check
digit. A serial begins with the prefix of its unit's product in [orders.products], if it has one.")]
    Assign {
        /// The unit's id.
        unit: String,
        /// A serial that was made by other means, or is the answer to a call in doubt.
        #[arg(long)]
        serial: Option<String>,
        /// The SIM's number (ICCID).
        #[arg(long)]
        sim: Option<String>,
        /// The IMEI of the device.
        #[arg(long)]
        imei: Option<String>,
        /// Your own id of the device; without it the IMEI, without that the serial.
        #[arg(long)]
        device_id: Option<String>,
        /// Take an IMEI, an ICCID or a serial that a check refuses as it is; the audit trail tells it.
        #[arg(long)]
        force: bool,
    },
    /// Exchange SIM, IMEI and own device id of two units whose devices were mixed up. Each unit keeps its serial.
    #[command(after_help = "Examples:
  dig-ingest orders swap 1042.1 1042.2 --by ann --config job.toml

An active unit keeps its marks: replace it if its device is another one.")]
    Swap {
        /// The unit's id.
        unit: String,
        /// The id of the unit that has its device.
        other: String,
    },
    /// Ship all units of an order that are ready, or those named; a named one that was shipped before is corrected.
    #[command(after_help = "Examples:
  dig-ingest orders ship 1042 --carrier Post --tracking T123 --config job.toml
  dig-ingest orders ship 1042 --carrier Post --tracking T124 --tracking T125 --unit 1042.2 \\
      --config job.toml")]
    Ship {
        /// The order's id.
        order: String,
        /// Name of the carrier.
        #[arg(long)]
        carrier: String,
        /// May be repeated: several packages.
        #[arg(long, required = true)]
        tracking: Vec<String>,
        /// Only this unit; may be repeated.
        #[arg(long)]
        unit: Vec<String>,
    },
    /// Approve an order that waits for a person.
    #[command(after_help = "Examples:
  dig-ingest orders approve 1042 --by ann --config job.toml")]
    Approve {
        /// The order's id.
        order: String,
    },
    /// Stop an order or a unit until a person lets it go on.
    #[command(after_help = "Examples:
  dig-ingest orders park 1042 --why 'the address is wrong' --config job.toml")]
    Park {
        /// An order's or a unit's id.
        id: String,
        /// The reason, for the audit trail.
        #[arg(long)]
        why: String,
    },
    /// Let a parked order or unit go on, and try at once what waits for a later try.
    #[command(after_help = "Examples:
  dig-ingest orders retry 1042.1 --config job.toml
  dig-ingest orders retry 1042.1 --anew --config job.toml")]
    Retry {
        /// An order's or a unit's id.
        id: String,
        /// No listed serial is what a call in doubt made: provision another one.
        #[arg(long)]
        anew: bool,
    },
    /// Cancel an order with all its units, or one unit; nothing of it is activated afterwards.
    #[command(after_help = "Examples:
  dig-ingest orders cancel 1042 --why 'cancelled by telephone' --config job.toml
  dig-ingest orders cancel 1042.2 --why 'one less is wanted' --config job.toml")]
    Cancel {
        /// An order's or a unit's id.
        id: String,
        /// The reason, for the audit trail.
        #[arg(long)]
        why: String,
    },
    /// Take up again what was cancelled (an order with the units that were cancelled with it, or one unit), or an order that was
    /// fulfilled before this store knew it.
    #[command(after_help = "Examples:
  dig-ingest orders resume 1042 --why 'ordered after all' --by ann --config job.toml

A serial that was terminated in MyAdmin meanwhile is of no use any more: replace its unit then.")]
    Resume {
        /// An order's or a unit's id.
        id: String,
        /// The reason, for the audit trail.
        #[arg(long)]
        why: String,
    },
    /// Replace the device of a unit (RMA): its serial is terminated, and a new unit of the same line begins.
    #[command(after_help = "Examples:
  dig-ingest orders replace 1042.2 --why 'came back broken, RMA 17' --by ann --config job.toml")]
    Replace {
        /// The unit's id.
        unit: String,
        /// The reason, for the audit trail.
        #[arg(long)]
        why: String,
    },
    /// Clear an alarm that was seen to. The alarm of a doubted sheet: the sheet is refused.
    #[command(after_help = "Examples:
  dig-ingest orders clear orphan-serial CX0000000001 --by ann --config job.toml
  dig-ingest orders clear sheet-vanished CX0000000002 --by ann --config job.toml")]
    Clear {
        /// Its kind, as `orders list --alarms` shows it.
        kind: String,
        /// What it is about, as `orders list --alarms` shows it.
        subject: String,
    },
    /// List, show, accept or refuse sheets of terminations that wait for a person.
    #[command(after_help = "Examples:
  dig-ingest orders sheet list --config job.toml
  dig-ingest orders sheet show 2026-03-01.csv --config job.toml
  dig-ingest orders sheet accept 2026-03-01.csv --yes --by ann --config job.toml
  dig-ingest orders sheet refuse 2026-03-01.csv --yes --by ann --config job.toml

A sheet that is empty, shortened, not understood or too large for orders.terminations.most_at_once ends nobody until a person
accepts it, or until a corrected sheet of the same name accounts for all its devices. Rows that are not understood end nobody.")]
    Sheet {
        #[command(subcommand)]
        act: sheets::Act,
    },
    /// List the purchase orders and packing slips of the mail, or show one item by item beside what MyAdmin shows.
    #[command(after_help = "Examples:
  dig-ingest orders mail list --config job.toml
  dig-ingest orders mail show 1042 --config job.toml
  dig-ingest orders mail show PO-7781 --report json --config job.toml

Mail is read by [orders.mail] and changes no order. The alarm mail-differs ends with a corrected letter, or by `orders clear mail-differs ORDER`.")]
    Mail {
        #[command(subcommand)]
        act: mail::Act,
    },
    /// Write orders, units, events, the picking list or the worksheet, for a spreadsheet or the printer.
    #[command(after_help = "Examples:
  dig-ingest orders export units --to units.csv --config job.toml
  dig-ingest orders export picking-page --to pick.html --config job.toml
  dig-ingest orders export worksheet --config job.toml
  dig-ingest orders export worksheet-page --to fulfil.html --config job.toml")]
    Export {
        /// What to write.
        what: What,
        /// The file; without it standard output.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Assign and ship what a CSV file says: all of it, or nothing if one line is bad.
    #[command(after_help = "Examples:
  dig-ingest orders import assignments.csv --config job.toml
  dig-ingest orders import shipments.csv --partial --report json --config job.toml

The header names the columns, in any order: unit (or order, to ship all of it), serial, sim, imei, device_id, carrier,
tracking, force. [orders.import] gives them other names. The same file may be imported again: it changes nothing then.
yes in the column force takes an IMEI, an ICCID or a serial that a check refuses as it is; the audit trail tells it. A cell
that is empty changes nothing:

  unit,order,serial,sim,imei,device_id,carrier,tracking,force
  1042.1,,,8931440400000000008,356938035643809,truck-7,,,
  1042.2,,CX0000000001,,356938035643817,,Post,T124;T125,
  1042.3,,,,A10000009296F2,,,,yes
  ,1042,,,,,Post,T123,")]
    Import {
        /// The CSV file.
        file: PathBuf,
        /// Do the good lines even if others are bad.
        #[arg(long)]
        partial: bool,
    },
    /// Show what is on the shelf by orders.inventory.file, and every line of it that cannot be used.
    #[command(after_help = "Examples:
  dig-ingest orders inventory --config job.toml
  dig-ingest orders inventory --set orders.inventory.file=shelf.csv --report json \\
      --config job.toml")]
    Inventory,
    /// Make an empty store where the settings say. Only for the first start: a store that was lost is restored from a copy.
    #[command(after_help = "Examples:
  dig-ingest orders init --config job.toml")]
    Init,
    /// Copy the store into a file while it is in use.
    #[command(after_help = "Examples:
  dig-ingest orders backup /backup/orders-2026-11-30.db --config job.toml

To restore: stop every orders instance; move the store's file and its -journal, -wal and -shm away if they are there; put the
copy in its place; start an instance; `dig-ingest orders recover`. Nothing is provisioned until what happened since the copy is accepted.")]
    Backup {
        /// A file that is not there yet.
        file: PathBuf,
    },
    /// Compare the store with the device registry and with MyAdmin: why nothing is provisioned, what can be adopted, what a person
    /// must accept. Changes nothing without --accept.
    #[command(after_help = "Examples:
  dig-ingest orders recover --config job.toml
  dig-ingest orders recover --accept --by ann --config job.toml")]
    Recover {
        /// Adopt and accept what is shown.
        #[arg(long)]
        accept: bool,
    },
    /// Serve the HTTP API, watch for termination sheets and compare the mail, as the settings say, until a signal ends it.
    #[command(after_help = "Examples:
  dig-ingest orders serve --set orders.web.enabled=true --set orders.web.token_file=tokens \\
      --config job.toml
  curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:9465/api/orders?state=parked")]
    Serve,
    /// Show the audit trail: of an order, or of everything after a number.
    #[command(after_help = "Examples:
  dig-ingest orders events 1042 --config job.toml
  dig-ingest orders events --after 500 --report json --config job.toml")]
    Events {
        /// Only those of this order.
        order: Option<String>,
        /// Only those with a greater number.
        #[arg(long, default_value_t = 0)]
        after: i64,
    },
}

/// What `export` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Orders,
    Units,
    Events,
    /// What is to be picked and shipped, with address, telephone and reseller, as CSV.
    Picking,
    /// The same as a page to print, one section per order.
    PickingPage,
    /// What is to be keyed into the Partner Fulfillment screen, as CSV.
    Worksheet,
    /// The same as a page to print, one sheet per order.
    WorksheetPage,
}

/// Runs the command.
///
/// # Errors
/// No store, an act that the store refuses, a file that cannot be read or written.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = super::load(&args.settings)?;
    let serve = matches!(args.act, Act::Serve);
    anyhow::ensure!(
        !serve || desk::wanted(&settings.orders),
        "nothing is switched on: set orders.web.enabled = true, orders.terminations.folder or url, or orders.mail.folder"
    );
    if matches!(args.act, Act::Init) {
        return keep::init(&settings, args.report).await;
    }
    let store = Store::open(&settings.orders.store).await?;
    let result = if serve {
        serving(&store, settings).await
    } else {
        act(&store, &settings, args).await
    };
    store.close().await;
    result
}

async fn serving(store: &Store, settings: Settings) -> anyhow::Result<ExitCode> {
    log::start(&settings.log)?;
    let stop = CancellationToken::new();
    let mut panics = panics::watch();
    let chosen = Chosen {
        pipeline: false,
        orders: true,
    };
    leave::watch(
        stop.clone(),
        leave::bound(&settings, chosen),
        HangUp::Drains,
    )?;
    let outside = Outside {
        ask: crate::app::ask(&settings)?,
        witnesses: crate::app::witnesses(&settings)?,
    };
    let config = Arc::new(settings.orders);
    let desk = desk::run(config, store.clone(), outside, wall_clock(), stop.clone());
    run::until_panic(Box::pin(desk), &mut panics, &stop)
        .await
        .map(|()| ExitCode::SUCCESS)
}

async fn act(store: &Store, settings: &Settings, args: Args) -> anyhow::Result<ExitCode> {
    let (now, report) = (Timestamp::now(), args.report);
    let by = Actor::Person(args.by.as_str().into());
    match args.act {
        Act::List { alarms: true, .. } => {
            let alarms = store.alarms().await?;
            let alarms: Vec<AlarmShown> = alarms.into_iter().map(AlarmShown::from).collect();
            say(
                report,
                || table::alarms(&alarms),
                || json!({ "alarms": alarms }),
            );
        }
        Act::List {
            unclaimed: true, ..
        } => {
            let serials = store.unclaimed().await?;
            say(
                report,
                || table::unclaimed(&serials),
                || json!({ "serials": serials }),
            );
        }
        Act::List {
            state,
            named,
            waits_for,
            all,
            ..
        } => {
            // One that is asked for by its name is shown whatever became of it.
            let only_open = state.is_none() && named.is_none() && !all;
            let state = state.or_else(|| only_open.then(|| "open".to_owned()));
            let rows = store.orders(&Filter { state: None, named }).await?;
            let mut orders = views::listed(store, &settings.orders, &rows, now).await?;
            if let Some(state) = &state {
                orders.retain(|order| order.is(state));
            }
            if let Some(what) = waits_for {
                orders.retain(|order| order.wait.as_ref().is_some_and(|w| w.what.name() == what));
            }
            say(
                report,
                || table::orders(&orders),
                || json!({ "orders": orders }),
            );
        }
        Act::Show { name } => {
            let order = views::find(store, &name).await?;
            let whole = views::explained(store, &settings.orders, &order, now).await?;
            say(report, || table::whole(&whole), || json!(whole));
        }
        Act::Assign {
            unit,
            serial,
            sim,
            imei,
            device_id,
            force,
        } => {
            let mut given = Given::new(force);
            for (mark, flag, text) in [
                (Mark::Serial, "--serial", &serial),
                (Mark::Sim, "--sim", &sim),
                (Mark::Imei, "--imei", &imei),
                (Mark::DeviceId, "--device-id", &device_id),
            ] {
                let text = text.as_deref();
                given
                    .add(mark, text)
                    .map_err(|why| unfit(flag, text, &why))?;
            }
            if let (Some(text), Some(row)) = (&serial, store.unit(&unit).await?) {
                given
                    .fits(
                        row.unit.serial().as_ref(),
                        &row.line.product_code,
                        &settings.orders.prefixes(),
                    )
                    .map_err(|why| unfit("--serial", Some(text), &why))?;
            }
            let row = store.give(&unit, &given, &by, now).await?;
            units(report, &[UnitShown::from(&row)]);
        }
        Act::Swap { unit, other } => {
            let rows = store.swap(&unit, &other, &by, now).await?;
            units(report, &rows.each_ref().map(UnitShown::from));
        }
        Act::Ship {
            order,
            carrier,
            tracking,
            unit,
        } => {
            let parcel = Parcel::new(carrier, tracking)
                .context("--carrier and --tracking must not be empty: give both")?;
            let named = (!unit.is_empty()).then_some(unit.as_slice());
            let rows = store.ship(&order, named, &parcel, &by, now).await?;
            let shipped: Vec<UnitShown> = rows.iter().map(UnitShown::from).collect();
            units(report, &shipped);
        }
        Act::Approve { order } => {
            store.approve(&order, &by, now).await?;
            after(store, settings, report, &order).await?;
        }
        Act::Park { id, why } => {
            let subject = Subject::parse(&id);
            store.park(&subject, &why, &by, now).await?;
            after(store, settings, report, order_of(&subject)).await?;
        }
        Act::Retry { id, anew } => {
            let subject = Subject::parse(&id);
            store.retry_as(&subject, anew, &by, now).await?;
            after(store, settings, report, order_of(&subject)).await?;
        }
        Act::Cancel { id, why } => {
            let subject = Subject::parse(&id);
            store.cancel_any(&subject, &why, &by, now).await?;
            after(store, settings, report, order_of(&subject)).await?;
        }
        Act::Resume { id, why } => {
            let subject = Subject::parse(&id);
            let status = &settings.orders.status;
            store.resume(&subject, &why, status, &by, now).await?;
            after(store, settings, report, order_of(&subject)).await?;
        }
        Act::Replace { unit, why } => {
            store.replace(&unit, &why, &by, now).await?;
            after(store, settings, report, order_of(&Subject::parse(&unit))).await?;
        }
        Act::Clear { kind, subject } => {
            // As it is, or as it is printed.
            let standing = store.alarms().await?.into_iter().find(|alarm| {
                alarm.kind == kind
                    && (alarm.subject == subject || printable::text(&alarm.subject) == subject)
            });
            let subject = standing.map_or(subject, |alarm| alarm.subject);
            let cleared = store.clear_alarm(&kind, &subject, &by, now).await?;
            anyhow::ensure!(
                cleared,
                "no alarm {kind} of {subject} is standing; `orders list --alarms` shows those that are"
            );
            say(
                report,
                || "cleared\n".to_owned(),
                || json!({ "cleared": true }),
            );
        }
        Act::Mail { act } => mail::run(store, settings, act, (now, report)).await?,
        Act::Sheet { act } => sheets::run(store, settings, act, (&by, now, report)).await?,
        Act::Export { what, to } => {
            let text = files::written(store, settings, what, now).await?;
            files::put(&text, to.as_deref(), report)?;
        }
        Act::Import { file, partial } => {
            return files::imported(store, settings, &file, partial, now, report).await;
        }
        Act::Backup { file } => keep::backup(store, settings, &file, report).await?,
        Act::Recover { accept } => {
            return keep::recover(store, settings, accept.then_some(&by), report).await;
        }
        Act::Inventory => return files::shelf(store, settings, report).await,
        // Told apart before: it has the process for itself.
        Act::Serve | Act::Init => {}
        Act::Events { order, after } => {
            let events = match order {
                Some(name) => {
                    let order = views::find(store, &name).await?;
                    let mut events = store.events(&order.id).await?;
                    events.retain(|event| event.seq > after);
                    events
                }
                None => files::all_events(store, after).await?,
            };
            say(
                report,
                || table::events(&events),
                || json!({ "events": events }),
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn say(report: Report, text: impl FnOnce() -> String, value: impl FnOnce() -> Value) {
    match report {
        Report::Text => out!("{}", text()),
        Report::Json => outln!("{}", value()),
    }
}

fn units(report: Report, units: &[UnitShown]) {
    say(report, || table::units(units), || json!({ "units": units }));
}

/// An order after an act on it.
async fn after(
    store: &Store,
    settings: &Settings,
    report: Report,
    order: &str,
) -> anyhow::Result<()> {
    let order = views::find(store, order).await?;
    let whole = views::explained(store, &settings.orders, &order, Timestamp::now()).await?;
    say(report, || table::whole(&whole), || json!(whole));
    Ok(())
}

fn order_of(subject: &Subject) -> &str {
    match subject {
        Subject::Order(id) => id,
        Subject::Unit(id) => id.split('.').next().unwrap_or(id),
    }
}

/// A value that a check refuses, with its place.
fn unfit(flag: &str, text: Option<&str>, why: &Unfit) -> anyhow::Error {
    let text: String = text.unwrap_or_default().chars().take(SHOWN).collect();
    let remedy = why.remedy("give --force");
    anyhow::anyhow!("{flag} {text:?}: {}; {remedy}", why.what)
}
