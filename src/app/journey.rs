//! The order journey, put together from the settings: MyAdmin's client, the store, the registry's writer, the figures it shows.
//!
//! It ends when told to, or with the reason why it cannot go on; the store is closed behind everything that uses it. A broker or a
//! database that is away at the start is waited for; one that refuses us is not.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::ops::attempts::Attempts;
use crate::ops::journey::{Figures, JourneyStatus, Lead, Proof, Waiting};
use crate::ops::status_registry::StatusRegistry;
use crate::ops::waits::Kind;
use crate::orders::desk::Outside;
use crate::orders::journey::Serial;
use crate::orders::recall::Witnesses;
use crate::orders::store::standing::Standing;
use crate::orders::store::{self, Store};
use crate::orders::views;
use crate::orders::wait::For;
use crate::orders::{self, Parts, access, outbox, registrar, terminations, wall_clock};
use crate::registry::topic;
use crate::registry::writer::{Message, WriteError, Writer};

/// Between two looks at the figures for the operations pages.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at what units wait for: every order that is not over is read for that.
const WAITS: Duration = Duration::from_secs(30);
/// How long reading the registry to its end may take.
const READ: Duration = Duration::from_secs(60);
/// Pause after a database did not answer.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Runs the journey until `stop`.
///
/// # Errors
/// As [`orders::run`], and what cannot be begun: a store that cannot be opened, a topic that cannot be made.
pub async fn run(
    settings: &Settings,
    board: &Arc<StatusRegistry>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let config = Arc::new(settings.orders.clone());
    let slot = board.open_journey(Instant::now());
    let market = access::client(&settings.myadmin)?;
    let tried = Arc::new(Tried::new(board, &settings.topics.devices));
    let open_registry = opener(settings, &tried)?;
    let begun = async {
        super::create_registry(settings).await?;
        open(&config.store, &slot).await
    };
    let store = tokio::select! {
        store = begun => store?,
        () = stop.cancelled() => return Ok(()),
    };
    let name = name(&settings.kafka.client_id);
    let parts = Parts {
        market: market.clone(),
        store: store.clone(),
        open: open_registry,
        outside: Outside {
            ask: ask(settings)?,
            witnesses: witnesses(settings)?,
        },
        clock: wall_clock(),
        name: name.clone(),
    };
    let journey = Box::pin(orders::run(Arc::clone(&config), parts, stop));
    let beside = async {
        tokio::join!(
            access::report(&market, &config),
            show(&store, &config, &name, (&slot, &tried))
        );
    };
    let result = tokio::select! {
        result = journey => result,
        // Goes on for ever.
        () = Box::pin(beside) => Ok(()),
    };
    store.close().await;
    result
}

/// Opens the store. While its database is away it says so and asks again.
async fn open(config: &store::Config, slot: &JourneyStatus) -> anyhow::Result<Store> {
    loop {
        match Store::open(config).await {
            Ok(store) => return Ok(store),
            Err(error) if error.is_away() => {
                tracing::warn!(%error, "orders.store: the database does not answer; asking again");
                slot.fail(error.to_string(), Instant::now());
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => return Err(error).context("orders.store: cannot be opened"),
        }
    }
}

/// Who holds the lease, for people: this machine and this process.
fn name(client_id: &str) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{client_id}@{}:{}", host.trim(), std::process::id())
}

/// Takes the registry's topic over for a holder of the lease. Before every write the lease is sure for a third of its life; what could
/// not be written within a quarter is given up. A holder that was replaced is fenced by the transactional id all the same.
fn opener(settings: &Settings, tried: &Arc<Tried>) -> anyhow::Result<registrar::Open> {
    let within = Duration::from_secs(settings.orders.lease_s) / 4;
    let (producer, plain) = (
        settings.kafka.producer()?,
        settings.kafka.by_hand("devices")?,
    );
    let (settings, tried) = (Arc::new(settings.clone()), Arc::clone(tried));
    Ok(Arc::new(move || {
        let (producer, plain, settings) = (producer.clone(), plain.clone(), Arc::clone(&settings));
        let tried = Arc::clone(&tried);
        Box::pin(async move {
            let name = settings.topics.devices.clone();
            let opened = async {
                // It may have been deleted: then it is made again before it is written.
                super::create_registry(&settings).await?;
                let writer = Writer::for_orders(&producer, &name, within)?;
                writer.take_over().await?;
                anyhow::Ok(writer)
            };
            let writer = noted(&tried.opening, opened.await)?;
            let reader = Arc::clone(&tried);
            Ok(registrar::Topic {
                publish: publisher(writer, tried),
                read: Box::new(move || {
                    let (client, name) = (plain.clone(), name.clone());
                    let tried = Arc::clone(&reader);
                    Box::pin(async move {
                        let entries = move || topic::entries(&client, &name, READ);
                        let read = tokio::task::spawn_blocking(entries);
                        let read = read.await.context("reading the device registry failed")?;
                        noted(&tried.reading, read)
                    })
                }),
            })
        })
    }))
}

fn message(entry: &outbox::Entry) -> Message<'_> {
    match entry {
        outbox::Entry::Put(device, unit) => Message::Device(device, unit.as_deref()),
        outbox::Entry::Forget(id) => Message::Forget(id),
        outbox::Entry::Mark(mark) => Message::Mark(mark),
    }
}

/// The waits for the device registry, one for each act: that the topic can be read does not say that it can be written (H1).
struct Tried {
    opening: Attempts,
    reading: Attempts,
    writing: Attempts,
}

impl Tried {
    fn new(board: &Arc<StatusRegistry>, topic: &str) -> Self {
        let attempts = || {
            Attempts::new(
                board,
                Kind::Registry,
                topic,
                "check the broker, and that this user may read and write the topic; changes of devices wait in the orders store and are \
                 written by themselves",
            )
        };
        Self {
            opening: attempts(),
            reading: attempts(),
            writing: attempts(),
        }
    }

    /// Without the lease nothing is tried.
    fn end(&self) {
        for attempts in [&self.opening, &self.reading, &self.writing] {
            attempts.note(None);
        }
    }
}

/// Publishes a failure; a writer that was replaced has none, its successor writes.
fn noted<T>(attempts: &Attempts, result: anyhow::Result<T>) -> anyhow::Result<T> {
    let failure = result.as_ref().err().filter(|error| {
        let error = error.downcast_ref::<WriteError>();
        !matches!(error, Some(WriteError::Replaced { .. }))
    });
    attempts.note(failure.map(|error| {
        format!("the orders part cannot read or write the device registry: {error:#}")
    }));
    result
}

fn publisher(writer: Writer, tried: Arc<Tried>) -> registrar::Publish {
    Box::new(move |entries| {
        let (writer, tried) = (writer.clone(), Arc::clone(&tried));
        Box::pin(async move {
            let messages: Vec<Message<'_>> = entries.iter().map(message).collect();
            match writer.change(messages).await {
                // Less at once may be taken, and what is not has an alarm.
                Err(error) if error.is_too_large() => {
                    Err(outbox::TooLarge(error.to_string()).into())
                }
                written => noted(&tried.writing, written.map_err(Into::into)),
            }
        })
    })
}

/// Asks the registry's topic, read to its end each time: termination sheets come once a day, and few of their serials are no unit's.
/// While it is asked the registry is in memory once more.
///
/// # Errors
/// Settings that the client refuses.
pub fn ask(settings: &Settings) -> anyhow::Result<terminations::Ask> {
    let client = settings.kafka.by_hand("devices")?;
    let name = settings.topics.devices.clone();
    Ok(Arc::new(move |serials: Vec<Serial>| {
        let (client, name) = (client.clone(), name.clone());
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || topic::read(&client, &name, READ));
            let snapshot = read.await.context("reading the device registry failed")??;
            let serials: HashSet<Serial> = serials.into_iter().collect();
            let wanted = |text: &str| Serial::parse(text).is_ok_and(|s| serials.contains(&s));
            let found = snapshot
                .iter()
                .filter(|known| known.serial().is_some_and(wanted));
            Ok(found.map(|known| known.to_device()).collect())
        })
    }))
}

/// Asks the registry's topic and MyAdmin what a recovery is planned from.
///
/// # Errors
/// Settings that the Kafka client refuses.
pub fn witnesses(settings: &Settings) -> anyhow::Result<Witnesses> {
    let (client, name) = (
        settings.kafka.by_hand("devices")?,
        settings.topics.devices.clone(),
    );
    let myadmin = settings.myadmin.clone();
    Ok(Witnesses {
        registry: Arc::new(move |within| {
            let (client, name) = (client.clone(), name.clone());
            Box::pin(async move {
                let entries = move || topic::entries(&client, &name, within);
                let read = tokio::task::spawn_blocking(entries);
                read.await.context("reading the device registry failed")?
            })
        }),
        listed: Arc::new(move || {
            let myadmin = myadmin.clone();
            Box::pin(async move { Ok(access::client(&myadmin)?.partner_devices().await?) })
        }),
    })
}

/// Posts the journey's figures, for ever.
async fn show(
    store: &Store,
    config: &orders::Config,
    name: &str,
    (slot, tried): (&JourneyStatus, &Tried),
) {
    let mut waits = BTreeMap::new();
    let mut looked: Option<Instant> = None;
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = jiff::Timestamp::now();
        if looked.is_none_or(|at| at.elapsed() >= WAITS) {
            // What fails is told by the figures below.
            if let Ok(found) = views::waits(store, config, now).await {
                waits = found.into_iter().map(waiting).collect();
                looked = Some(Instant::now());
            }
        }
        match store.standing(now).await {
            Ok(standing) => {
                let figures = figures(standing, name, &waits);
                if !matches!(figures.lead, Lead::Ours) {
                    tried.end();
                }
                slot.post(figures, Instant::now());
            }
            Err(error) => slot.fail(error.to_string(), Instant::now()),
        }
    }
}

fn waiting((what, waits): (For, views::Waits)) -> (String, Waiting) {
    let waiting = Waiting {
        units: waits.units,
        oldest: waits.oldest,
        since: waits.wait.since.to_string(),
        said: waits.wait.said,
        remedy: waits.wait.remedy,
    };
    (what.name().to_owned(), waiting)
}

fn figures(standing: Standing, name: &str, waits: &BTreeMap<String, Waiting>) -> Figures {
    let Standing {
        lease,
        identity,
        orders,
        units,
        alarms,
        outbox,
        oldest_open,
        at,
    } = standing;
    let lead = if lease.until <= at {
        Lead::Nobody
    } else if lease.name == name {
        Lead::Ours
    } else {
        Lead::Waiting {
            holder: lease.name.clone(),
        }
    };
    let parked = |counts: &std::collections::BTreeMap<String, u64>| {
        counts.get("parked").copied().unwrap_or_default()
    };
    Figures {
        lead,
        store: Proof {
            store: identity.id,
            generation: identity.generation,
            proof: identity.proof.name(),
            why: identity.why,
            since: identity.proof_at.to_string(),
        },
        parked: parked(&orders) + parked(&units),
        orders,
        units,
        alarms,
        outbox_waiting: outbox,
        waits: waits.clone(),
        oldest_open_s: oldest_open
            .map(|since| u64::try_from(at.duration_since(since).as_secs()).unwrap_or_default()),
    }
}
