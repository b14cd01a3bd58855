//! `dig-ingest devices`: the device registry, changed, listed and asked, wherever the settings say it is.

mod fleet;
mod held;
mod ordered;
mod place;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use jiff::Timestamp;

use super::Report;
use crate::commands::console::{self, noteln, outln};
use crate::config::{ConfigArgs, Settings};
use crate::record::serial::Serial;
use crate::registry::{Device, Snapshot, State, file};
use place::{Loaded, Missing, RegistryLocation};

/// Arguments of `dig-ingest devices`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dig-ingest devices import fleet.csv --set registry.file=devices.ndjson
  dig-ingest devices activate 356938035643809 --config job.toml
  dig-ingest devices list --state pending --config job.toml
  dig-ingest devices show 356938035643809 --config job.toml
  dig-ingest devices held --config job.toml

The registry is the file registry.file if one is set, else the topic topics.devices (registry.source says it outright).
A CSV file has the header device_id,serial,state (any order; serial may be empty); any other file holds one JSON object
per line with the same members. state is pending, active or terminated.")]
pub struct Args {
    #[command(subcommand)]
    act: Act,
    #[command(flatten)]
    settings: ConfigArgs,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t, global = true)]
    report: Report,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Add the file's devices to the registry; a device id that is known already is replaced.
    #[command(after_help = "Examples:
  dig-ingest devices import fleet.csv --set registry.file=devices.ndjson
  dig-ingest devices import fleet.ndjson --replace --config job.toml")]
    Import {
        /// A CSV file, or one JSON object per line.
        file: PathBuf,
        /// Forget every device that the file does not name; those of orders stay.
        #[arg(long)]
        replace: bool,
    },
    /// Let devices send: what is held for them is released, in order.
    #[command(after_help = "Examples:
  dig-ingest devices activate 356938035643809 CX0000000002 --config job.toml")]
    Activate {
        /// Device ids or serials.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Let devices send no more.
    #[command(after_help = "Examples:
  dig-ingest devices terminate 356938035643809 --config job.toml")]
    Terminate {
        /// Device ids or serials.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Print the devices, one JSON object per line.
    #[command(after_help = "Examples:
  dig-ingest devices list --config job.toml
  dig-ingest devices list --state terminated --config job.toml")]
    List {
        /// Only those in this state.
        #[arg(long, value_parser = state)]
        state: Option<State>,
    },
    /// Print what is held for devices that may not send yet: how much, since when, why. Reads the held topics.
    #[command(after_help = "Examples:
  dig-ingest devices held --config job.toml
  dig-ingest devices held 356938035643809 --config job.toml --report json")]
    Held {
        /// Only this device id (or serial, while nobody knows whose that is).
        name: Option<String>,
    },
    /// Print one device, by device id or serial; exit 1 if it is not known.
    #[command(after_help = "Examples:
  dig-ingest devices show 356938035643809 --config job.toml")]
    Show {
        /// A device id or a serial.
        name: String,
    },
}

fn state(text: &str) -> Result<State, String> {
    State::ALL
        .into_iter()
        .find(|state| state.name() == text)
        .ok_or_else(|| "use pending, active or terminated".to_owned())
}

/// All devices of the registry that the settings name.
pub(super) async fn load(settings: Settings) -> anyhow::Result<Vec<Device>> {
    Ok(RegistryLocation::of(settings)?
        .load(Missing::Empty)
        .await?
        .devices)
}

/// Runs the command.
///
/// # Errors
/// A registry that cannot be read or written, a line that is no device, two devices with one serial.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = super::load(&args.settings)?;
    if let Act::Held { name } = &args.act {
        return held::run(&settings, name.as_deref(), args.report).await;
    }
    let place = RegistryLocation::of(settings)?;
    let missing = match &args.act {
        Act::List { .. } | Act::Show { .. } => Missing::Refuse,
        Act::Import { .. } | Act::Activate { .. } | Act::Terminate { .. } | Act::Held { .. } => {
            Missing::Create
        }
    };
    let place = if missing == Missing::Create {
        place.take_over().await?
    } else {
        place
    };
    let known = place.load(missing).await?;
    match args.act {
        Act::Import { file, replace } => import(&place, known, &file, replace, args.report).await,
        Act::Activate { names } => set(&place, known, &names, State::Active, args.report).await,
        Act::Terminate { names } => {
            set(&place, known, &names, State::Terminated, args.report).await
        }
        Act::Held { .. } => Ok(ExitCode::SUCCESS),
        Act::List { state } => {
            let chosen = known
                .devices
                .iter()
                .filter(|device| state.is_none_or(|state| device.state == state));
            let mut count = 0u64;
            for device in chosen {
                outln!("{}", serde_json::to_string(device)?);
                count += 1;
                if console::reader_gone() {
                    break;
                }
            }
            if args.report == Report::Json {
                outln!("{}", serde_json::json!({ "devices": count }));
            }
            Ok(ExitCode::SUCCESS)
        }
        Act::Show { name } => match find(&known.devices, &name) {
            Some(at) => {
                outln!("{}", serde_json::to_string(&known.devices[at])?);
                Ok(ExitCode::SUCCESS)
            }
            None => {
                noteln!("{name} is no device id and no serial of {}", place.name());
                Ok(ExitCode::FAILURE)
            }
        },
    }
}

fn find(known: &[Device], name: &str) -> Option<usize> {
    let serial = Serial::normal(name).ok();
    known.iter().position(|device| {
        *device.device_id == *name
            || serial.is_some() && device.serial.as_deref() == serial.as_deref()
    })
}

async fn set(
    place: &RegistryLocation,
    known: Loaded,
    names: &[String],
    state: State,
    report: Report,
) -> anyhow::Result<ExitCode> {
    let mut all = known.devices.clone();
    let mut changed = 0u64;
    let mut ordered = Vec::new();
    for name in names {
        let at = find(&all, name).with_context(|| {
            format!(
                "{name} is no device id and no serial of {}; nothing was changed",
                place.name()
            )
        })?;
        let device = &mut all[at];
        if let Some(order) = known.order_of(device) {
            anyhow::ensure!(
                state == State::Terminated,
                "{name} belongs to order {order}: only the order journey lets it send, when its fulfilment is confirmed, it is in a \
                 database, and the order is not cancelled; `dig-ingest orders show {order}` says what it waits for; nothing was changed"
            );
            ordered.push(device.clone());
        }
        anyhow::ensure!(
            state != State::Active || device.serial.is_some(),
            "{name} has no serial yet: import it with one before it is activated; nothing was changed"
        );
        if device.state != state {
            device.state = state;
            device.since = Some(Timestamp::now());
            changed += 1;
        }
    }
    refuse_disputes(&all).context("nothing was changed")?;
    // The store first: what it does not know it would write over.
    ordered::terminate(place, &ordered).await?;
    place.change(&known.devices, &all).await?;
    match report {
        Report::Json => outln!(
            "{}",
            serde_json::json!({ "changed": changed, "state": state.name() })
        ),
        Report::Text => noteln!(
            "{changed} of {} devices are {} now",
            names.len(),
            state.name()
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// Two devices with one serial: neither would be let through.
fn refuse_disputes(devices: &[Device]) -> anyhow::Result<()> {
    match Snapshot::new(devices)?.dispute_example() {
        Some((serial, ids)) => {
            anyhow::bail!(
                "serial {serial} is claimed by devices {}",
                ids.join(" and ")
            )
        }
        None => Ok(()),
    }
}

async fn import(
    place: &RegistryLocation,
    known: Loaded,
    from: &Path,
    replace: bool,
    report: Report,
) -> anyhow::Result<ExitCode> {
    let is_csv = from
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    let new = if is_csv {
        fleet::read(from)?
    } else {
        file::read(from)?
    };
    ordered::refuse(&known, &new)
        .with_context(|| format!("{}: nothing was imported", from.display()))?;
    let (before, imported) = (known.devices.len(), new.len());
    let mut all = known.devices.clone();
    if replace {
        // Those of orders are written by the journey, which would write them again.
        all.retain(|device| known.order_of(device).is_some());
    }
    let mut places: HashMap<Box<str>, usize> = all
        .iter()
        .enumerate()
        .map(|(at, device)| (device.device_id.clone(), at))
        .collect();
    for device in new {
        match places.get(&device.device_id) {
            Some(&at) => all[at] = device,
            None => {
                places.insert(device.device_id.clone(), all.len());
                all.push(device);
            }
        }
    }
    refuse_disputes(&all).with_context(|| format!("{}: nothing was imported", from.display()))?;
    place.change(&known.devices, &all).await?;
    let after = all.len();
    match report {
        Report::Json => outln!(
            "{}",
            serde_json::json!({ "imported": imported, "before": before, "devices": after })
        ),
        Report::Text => noteln!(
            "{imported} devices imported into {}: {before} before, {after} now",
            place.name()
        ),
    }
    Ok(ExitCode::SUCCESS)
}
