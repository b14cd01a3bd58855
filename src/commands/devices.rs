//! `dig-ingest devices`: the device registry, changed, listed and asked, wherever the settings say it is.

mod fleet;
mod held;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;

use super::Report;
use crate::config::{ConfigArgs, Settings};
use crate::pipeline::asker::Asker;
use crate::pipeline::topics::{Keep, Wanted, create_topics};
use crate::registry::{Device, Snapshot, Source, State, file, topic};

/// How long the brokers may take to say which topics there are.
const ASK: Duration = Duration::from_secs(10);
/// How long the topic may take to be read.
const READ: Duration = Duration::from_secs(120);

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
        file: PathBuf,
        /// Forget every device that the file does not name.
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
    Show { name: String },
}

fn state(text: &str) -> Result<State, String> {
    State::ALL
        .into_iter()
        .find(|state| state.name() == text)
        .ok_or_else(|| "use pending, active or terminated".to_owned())
}

/// Where the registry is.
enum Place {
    File(PathBuf),
    Topic(Box<Settings>),
}

/// What becomes of a registry whose topic does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Create,
    Refuse,
    /// It has no devices.
    Empty,
}

impl Place {
    fn of(settings: Settings) -> anyhow::Result<Self> {
        match settings.registry.place(true) {
            Some(Source::File | Source::Auto) => {
                let path = settings.registry.file;
                anyhow::ensure!(
                    !path.as_os_str().is_empty(),
                    "registry.file is not set: name the registry's file in the settings or with --set registry.file=FILE"
                );
                Ok(Self::File(path))
            }
            Some(Source::Topic) | None => Ok(Self::Topic(Box::new(settings))),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Topic(settings) => format!("topic {}", settings.topics.devices),
        }
    }

    /// All devices; those of the topic by device id, those of a file in its order.
    async fn load(&self, missing: Missing) -> anyhow::Result<Vec<Device>> {
        match self {
            Self::File(path) if path.exists() => file::read(path),
            Self::File(_) => Ok(Vec::new()),
            Self::Topic(settings) => {
                let (kafka, topics) = (&settings.kafka, &settings.topics);
                let there = Self::topics(settings).await?.contains_key(&topics.devices);
                match missing {
                    _ if there => {}
                    Missing::Empty => return Ok(Vec::new()),
                    Missing::Refuse => anyhow::bail!(
                        "topics.devices: the brokers at {} have no topic {}; `dig-ingest devices import` creates it",
                        kafka.brokers,
                        topics.devices
                    ),
                    Missing::Create => {}
                }
                if !there && topics.create {
                    let wanted = [Wanted::new(&topics.devices, 1, Keep::Newest)];
                    create_topics(kafka, topics, &wanted).await?;
                }
                let (client, name) = (kafka.plain()?, topics.devices.clone());
                let read = tokio::task::spawn_blocking(move || topic::read(&client, &name, READ));
                let snapshot = read.await.context("reading the topic failed")??;
                let mut all: Vec<Device> = snapshot.iter().map(|known| known.to_device()).collect();
                all.sort_by(|a, b| a.device_id.cmp(&b.device_id));
                Ok(all)
            }
        }
    }

    /// The topics there are: a broker that is away is told of within seconds, with its address and what to look at.
    async fn topics(settings: &Settings) -> anyhow::Result<BTreeMap<String, usize>> {
        let (client, brokers) = (settings.kafka.plain()?, settings.kafka.brokers.clone());
        let asked = tokio::task::spawn_blocking(move || Asker::open(&client)?.cluster(ASK));
        let cluster = asked
            .await
            .context("asking the brokers failed")?
            .with_context(|| format!("kafka.brokers {brokers}"))?;
        Ok(cluster.topics)
    }

    /// Makes `before` into `after`.
    async fn change(&self, before: &[Device], after: &[Device]) -> anyhow::Result<()> {
        match self {
            Self::File(path) => file::replace(path, after),
            Self::Topic(settings) => {
                let old: HashMap<&str, &Device> = before
                    .iter()
                    .map(|device| (&*device.device_id, device))
                    .collect();
                let new: HashMap<&str, &Device> = after
                    .iter()
                    .map(|device| (&*device.device_id, device))
                    .collect();
                let changed: Vec<Device> = after
                    .iter()
                    .filter(|device| old.get(&*device.device_id) != Some(device))
                    .cloned()
                    .collect();
                let gone: Vec<&str> = before
                    .iter()
                    .map(|device| &*device.device_id)
                    .filter(|id| !new.contains_key(id))
                    .collect();
                let writer =
                    topic::Writer::new(&settings.kafka.producer()?, &settings.topics.devices)?;
                // First those that go: one of them may give up a serial that a new one claims.
                writer.forget(&gone).await?;
                writer.write(&changed).await?;
                Ok(())
            }
        }
    }
}

/// All devices of the registry that the settings name.
pub(super) async fn load(settings: Settings) -> anyhow::Result<Vec<Device>> {
    Place::of(settings)?.load(Missing::Empty).await
}

/// Runs the command.
///
/// # Errors
/// A registry that cannot be read or written, a line that is no device, two devices with one serial.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = args.settings.load()?;
    if let Act::Held { name } = &args.act {
        return held::run(&settings, name.as_deref(), args.report).await;
    }
    let place = Place::of(settings)?;
    let missing = match &args.act {
        Act::List { .. } | Act::Show { .. } => Missing::Refuse,
        Act::Import { .. } | Act::Activate { .. } | Act::Terminate { .. } | Act::Held { .. } => {
            Missing::Create
        }
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
                .iter()
                .filter(|device| state.is_none_or(|state| device.state == state));
            let mut count = 0u64;
            for device in chosen {
                println!("{}", serde_json::to_string(device)?);
                count += 1;
            }
            if args.report == Report::Json {
                println!("{}", serde_json::json!({ "devices": count }));
            }
            Ok(ExitCode::SUCCESS)
        }
        Act::Show { name } => match find(&known, &name) {
            Some(at) => {
                println!("{}", serde_json::to_string(&known[at])?);
                Ok(ExitCode::SUCCESS)
            }
            None => {
                eprintln!("{name} is no device id and no serial of {}", place.name());
                Ok(ExitCode::FAILURE)
            }
        },
    }
}

fn find(known: &[Device], name: &str) -> Option<usize> {
    known
        .iter()
        .position(|device| *device.device_id == *name || device.serial.as_deref() == Some(name))
}

async fn set(
    place: &Place,
    known: Vec<Device>,
    names: &[String],
    state: State,
    report: Report,
) -> anyhow::Result<ExitCode> {
    let mut all = known.clone();
    let mut changed = 0u64;
    for name in names {
        let at = find(&all, name).with_context(|| {
            format!(
                "{name} is no device id and no serial of {}; nothing was changed",
                place.name()
            )
        })?;
        let device = &mut all[at];
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
    place.change(&known, &all).await?;
    match report {
        Report::Json => println!(
            "{}",
            serde_json::json!({ "changed": changed, "state": state.name() })
        ),
        Report::Text => eprintln!(
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
    place: &Place,
    known: Vec<Device>,
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
    let (before, imported) = (known.len(), new.len());
    let mut all = if replace { Vec::new() } else { known.clone() };
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
    place.change(&known, &all).await?;
    let after = all.len();
    match report {
        Report::Json => println!(
            "{}",
            serde_json::json!({ "imported": imported, "before": before, "devices": after })
        ),
        Report::Text => eprintln!(
            "{imported} devices imported into {}: {before} before, {after} now",
            place.name()
        ),
    }
    Ok(ExitCode::SUCCESS)
}
