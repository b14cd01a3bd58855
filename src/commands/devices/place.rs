//! Where the registry is, and how commands read and change it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use crate::config::Settings;
use crate::pipeline::metadata_probe::Asker;
use crate::pipeline::topics::{Keep, Wanted, create_topics};
use crate::registry::writer::Writer;
use crate::registry::{Device, Source, file, topic};

/// How long the brokers may take to say which topics there are.
const ASK: Duration = Duration::from_secs(10);
/// How long the topic may take to be read.
const READ: Duration = Duration::from_secs(120);

/// See the module's documentation.
pub(super) enum RegistryLocation {
    File(PathBuf),
    Topic(Box<Settings>, Option<Writer>),
}

/// What becomes of a registry whose topic does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Create,
    Refuse,
    /// It has no devices.
    Empty,
}

/// All devices; those of the topic by device id, those of a file in its order.
pub(super) struct Loaded {
    pub devices: Vec<Device>,
    /// Whether an order journey writes this registry: devices with an order are then its own.
    pub journey: bool,
}

impl Loaded {
    /// The order a device belongs to, if a journey writes it.
    pub fn order_of<'a>(&self, device: &'a Device) -> Option<&'a str> {
        device.order.as_deref().filter(|_| self.journey)
    }
}

impl RegistryLocation {
    pub fn of(settings: Settings) -> anyhow::Result<Self> {
        match settings.registry.place(true) {
            Some(Source::File | Source::Auto) => {
                let path = settings.registry.file;
                anyhow::ensure!(
                    !path.as_os_str().is_empty(),
                    "registry.file is not set: name the registry's file in the settings or with --set registry.file=FILE"
                );
                Ok(Self::File(path))
            }
            Some(Source::Topic) | None => Ok(Self::Topic(Box::new(settings), None)),
        }
    }

    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Topic(settings, _) => format!("topic {}", settings.topics.devices),
        }
    }

    /// The settings that name a topic; none for a file.
    pub fn settings(&self) -> Option<&Settings> {
        match self {
            Self::File(_) => None,
            Self::Topic(settings, _) => Some(settings),
        }
    }

    /// Before what is read is changed: a command that began earlier writes nothing any more, so that nothing of it comes between.
    ///
    /// # Errors
    /// No broker answers, or it does not permit the transactional id.
    pub async fn take_over(self) -> anyhow::Result<Self> {
        match self {
            Self::File(path) => Ok(Self::File(path)),
            Self::Topic(settings, _) => {
                create(&settings, Missing::Create).await?;
                let writer = Writer::new(&settings.kafka.producer()?, &settings.topics.devices)?;
                writer.take_over().await?;
                Ok(Self::Topic(settings, Some(writer)))
            }
        }
    }

    /// # Errors
    /// The registry cannot be read, or its topic does not exist and `missing` says that it must.
    pub async fn load(&self, missing: Missing) -> anyhow::Result<Loaded> {
        match self {
            Self::File(path) => Ok(Loaded {
                devices: if path.exists() {
                    file::read(path)?
                } else {
                    Vec::new()
                },
                journey: false,
            }),
            Self::Topic(settings, _) => {
                if !create(settings, missing).await? {
                    return Ok(Loaded {
                        devices: Vec::new(),
                        journey: settings.orders.enabled,
                    });
                }
                let (client, name) = (
                    settings.kafka.by_hand("devices")?,
                    settings.topics.devices.clone(),
                );
                let read =
                    tokio::task::spawn_blocking(move || topic::entries(&client, &name, READ));
                let entries = read.await.context("reading the topic failed")??;
                Ok(Loaded {
                    journey: settings.orders.enabled || entries.mark.is_some(),
                    devices: entries
                        .devices
                        .into_values()
                        .map(|entry| entry.device)
                        .collect(),
                })
            }
        }
    }

    /// Makes `before` into `after`.
    ///
    /// # Errors
    /// The registry cannot be written, or another command took over meanwhile.
    pub async fn change(&self, before: &[Device], after: &[Device]) -> anyhow::Result<()> {
        match self {
            Self::File(path) => file::replace(path, after),
            Self::Topic(settings, writer) => {
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
                let writer = match writer {
                    Some(writer) => writer.clone(),
                    None => Writer::new(&settings.kafka.producer()?, &settings.topics.devices)?,
                };
                // First those that go: one of them may give up a serial that a new one claims.
                writer.forget(&gone).await?;
                writer.write(&changed).await?;
                Ok(())
            }
        }
    }
}

/// Whether the registry's topic is there, after it was created if that is wanted; a missing one that must be there is an error.
async fn create(settings: &Settings, missing: Missing) -> anyhow::Result<bool> {
    let (kafka, topics) = (&settings.kafka, &settings.topics);
    if existing(settings).await?.contains_key(&topics.devices) {
        return Ok(true);
    }
    match missing {
        Missing::Empty => return Ok(false),
        Missing::Refuse => anyhow::bail!(
            "topics.devices: the brokers at {} have no topic {}; `dig-ingest devices import FILE` creates it",
            kafka.brokers,
            topics.devices
        ),
        Missing::Create if topics.create => {
            let wanted = [Wanted::new(&topics.devices, 1, Keep::Newest)];
            create_topics(kafka, topics, &wanted).await?;
        }
        Missing::Create => {}
    }
    Ok(true)
}

/// The topics there are: a broker that is away is told of within seconds, with its address and what to look at.
async fn existing(settings: &Settings) -> anyhow::Result<BTreeMap<String, usize>> {
    let (client, brokers) = (settings.kafka.plain()?, settings.kafka.brokers.clone());
    let asked = tokio::task::spawn_blocking(move || Asker::open(&client)?.cluster(ASK));
    let cluster = asked
        .await
        .context("asking the brokers failed")?
        .with_context(|| format!("kafka.brokers {brokers}"))?;
    Ok(cluster.topics)
}
