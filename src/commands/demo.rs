//! `dig-ingest demo`: both halves of the product in one process, with faults, judged at the end.
//!
//! Owns an in-process mock broker, a simulated world with a script of faults, a load, the streaming job, the order journey beside it
//! on a store of its own (`keep`), a story that people play in it, and the judge. Nothing outside this process is needed or touched but a temporary
//! directory. The broker trims a partition beyond about 5 MB, so the amount is bounded and spread over partitions.

mod fleet;
mod journey;
mod keep;
mod report;
mod screen;
mod script;
mod shown;
mod stages;
mod watch;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio_util::sync::CancellationToken;

use self::fleet::Fleet;
use self::journey::Journey;
use self::keep::Keep;
use self::report::Report;
use self::screen::Screen;
use self::script::Script;
use self::stages::{Records, Stages};
use self::watch::{Watcher, totals};
use crate::config::Settings;
use crate::load::binary::Encoding;
use crate::load::drive::{Counters, Goal, Outcome, Pace, Sink, drive};
use crate::load::manifest::run_of;
use crate::load::mix::Mix;
use crate::load::plan::{By, Plan, Shape};
use crate::load::produce::{Outlet, Target};
use crate::ops::status_registry::StatusRegistry;
use crate::page::Mounts;
use crate::registry::{self, Device, State};
use crate::sim::market;
use crate::verify::judge::Judge;
use crate::verify::ledger::{self, Source};
use crate::{app, sim};

const TOPIC: &str = "telemetry";
const MARKER: &str = "REFUSE00000000000";
/// What a partition of the mock broker may hold, with room for devices that are unevenly spread over partitions.
const PARTITION_BYTES: u64 = 1_500_000;
const RECORD_BYTES: u64 = 190;
/// A device in the registry's topic.
const DEVICE_BYTES: u64 = 160;
/// The load lasts about this long, so that the faults meet traffic.
const LOAD: Duration = Duration::from_secs(8);
/// How long the job may take to finish after load and story.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
/// From the Partner's wish to a termination's effect: after the end of the story.
const TERMINATION_DELAY: Duration = Duration::from_secs(3600);

/// Arguments of `dig-ingest demo`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Tells a story of three orders, from the customer's click to active devices, while a load of other devices flows. Meanwhile
the orders store is lost and recovered, and a device comes back broken and is replaced.
Ends with 0 only if nothing is lost, reordered or phantom, and every figure of the story adds up.

Examples:
  dig-ingest demo
  dig-ingest demo --stay --listen 127.0.0.1:9464
  dig-ingest demo --records 200000 --devices 2000 --seed 42 --report json"
)]
pub struct Args {
    /// Number of records.
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1_000..=400_000))]
    records: u64,
    /// Number of devices.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    devices: u32,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Listen address of the operator page; port 0 takes any free port.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Keep the job and its operator page after the story, until interrupted; the report comes then, and counts what was changed there.
    #[arg(long)]
    stay: bool,
    /// Form of the report.
    #[arg(long, value_enum, default_value = "text")]
    report: super::Report,
}

impl Args {
    fn plan(&self) -> Plan {
        let per_device = self.records / u64::from(self.devices) + 2;
        let age_us = per_device as i64 * 1_000_000 + 60_000_000;
        Plan {
            seed: self.seed,
            devices: self.devices,
            mix: Mix::default(),
            shape: Shape::Native,
            by: By::Serial,
            start_us: jiff::Timestamp::now().as_microsecond() - age_us,
            step_us: 1_000_000,
            array: 1,
            backlog: 1,
            bad_share: 0.002,
            // A handful, whatever the amount: each costs a search by halves.
            poison_share: (6.0 / self.records as f64).min(0.001),
            late_share: 0.01,
            poison_marker: MARKER.to_owned(),
            encoding: Encoding::Json,
        }
    }

    fn partitions(&self) -> i32 {
        (self.records * RECORD_BYTES / PARTITION_BYTES).clamp(4, 64) as i32
    }

    /// Of the registry's topic.
    fn registry_partitions(&self) -> i32 {
        (u64::from(self.devices) * DEVICE_BYTES / PARTITION_BYTES + 1) as i32
    }
}

/// Runs the command.
///
/// # Errors
/// Whatever keeps the demonstration from being carried out; a bad result is an exit code.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let place = tempfile::tempdir().context("cannot make a temporary directory")?;
    let cluster = broker(&args)?;
    let plan = args.plan();
    let gateway = world(&args, &plan).await?;
    let settings = settings(
        &cluster.bootstrap_servers(),
        &gateway.url(),
        args.partitions(),
        place.path(),
    )?;
    register(&settings, &plan).await?;
    let client = settings.kafka.plain()?;
    let mut letters = super::verify::letters_of(&settings)?;
    let mounts = Mounts::default();
    let keep = Keep::start(settings.clone(), mounts.clone(), place.path()).await?;
    let script = Script::play(&gateway);
    let (board, stop) = (
        StatusRegistry::new(Instant::now()),
        CancellationToken::new(),
    );
    let screen = Screen::new(begun, args.records);
    let pages = shown::start(args.listen, &settings, &board, &mounts, &screen).await?;
    // The order half runs beside it: the story stops and starts that one alone.
    let alone = app::Chosen::of(&settings, Some(app::Part::Pipeline))?;
    let mut job = tokio::spawn(app::run(
        settings,
        alone,
        None,
        Arc::clone(&board),
        mounts,
        stop.clone(),
    ));

    let counters = Arc::new(Counters::default());
    let target = Target {
        client,
        topic: TOPIC.to_owned(),
        compression: "none".to_owned(),
        timeout: Duration::from_secs(30),
        properties: Vec::new(),
    };
    let fleet = Fleet::new(journey::DEVICES, args.seed);
    let talking = fleet.start(&target)?;
    let sink = Sink::Kafka(Box::new(Outlet::open(&target, Arc::clone(&counters))?));
    let load = tokio::task::spawn_blocking({
        let (plan, counters) = (plan.clone(), Arc::clone(&counters));
        let goal = Goal {
            records: Some(args.records),
            duration: None,
        };
        let pace = Pace {
            rate: args.records as f64 / LOAD.as_secs_f64(),
            burst: None,
        };
        move || drive(&plan, goal, pace, sink, &counters)
    });
    let journey = Journey {
        gateway: &gateway,
        board: &board,
        fleet: &fleet,
        screen: &screen,
        keep: &keep,
        sheets: place.path().to_owned(),
    };
    let watcher = Watcher {
        gateway: &gateway,
        board: &board,
        counters: &counters,
        script: &script,
        screen: &screen,
        records: args.records,
    };
    let told = watcher
        .until_told(load, Box::pin(journey.tell()), &mut job)
        .await;
    // Also when the story broke off: the devices' thread must not outlive it.
    fleet.stop();
    let (loaded, told) = told?;
    let roles = &told.roles;
    let talked = talking.await.context("the devices' thread panicked")??;

    let mut judge = Judge::new();
    tell(&mut judge, &plan, &loaded)?;
    judge.next_manifest();
    fleet.tell(&mut judge, &talked, &journey::serials(roles))?;
    let confirmed = loaded.confirmation.confirmed + talked.confirmation.confirmed;
    let until = Instant::now() + PATIENCE;
    let (settled, records) = loop {
        ledger::follow(&Source::Sim(gateway.url()), &mut judge).await?;
        (letters, judge) = super::verify::follow_letters(letters, judge).await?;
        let records = Records::of(&judge, roles);
        let settled =
            totals(&board).settled() >= confirmed && judge.is_complete() && records.add_up();
        if settled || Instant::now() >= until {
            break (settled, records);
        }
        tokio::time::sleep(LOOK).await;
    };
    screen.finish();
    if args.stay {
        shown::until_interrupted(&pages, &screen).await?;
    }
    stop.cancel();
    job.await
        .context("the job panicked")?
        .context("the job failed")?;
    keep.stop().await?;
    gateway.advance(TERMINATION_DELAY);
    let store = keep.store();
    let journey = Stages::of(&store, &gateway, &told, records).await?;
    store.close().await;
    let verdict = judge.verdict();
    let dead_lettered = verdict
        .letters
        .as_ref()
        .map_or(0, |letters| letters.dead_lettered);
    let report = Report {
        verdict,
        produced: loaded.tally.records,
        bad: loaded.tally.bad,
        poison: loaded.tally.poison,
        dead_lettered: dead_lettered.saturating_sub(records.dead_lettered()),
        requests: gateway
            .counters()
            .requests
            .get(&sim::Operation::Records)
            .copied()
            .unwrap_or_default(),
        faults: script.applied(&gateway),
        settled,
        wrong: journey.wrong(),
        journey,
        seconds: begun.elapsed().as_secs_f64(),
        devices: args.devices,
        partitions: args.partitions(),
        seed: args.seed,
    };
    gateway.stop().await;
    pages.stop().await;
    report.print(args.report)?;
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A broker with its topics.
fn broker(args: &Args) -> anyhow::Result<MockCluster<'static, DefaultProducerContext>> {
    let cluster = MockCluster::new(1).context("cannot start the mock broker")?;
    for (name, partitions) in [
        (TOPIC, args.partitions()),
        ("telemetry.held", args.partitions()),
        ("dig.devices", args.registry_partitions()),
        ("dig.dead-letter", 1),
        ("dig.invalid", 1),
        ("dig.state", 1),
    ] {
        let created = cluster.create_topic(name, partitions, 1);
        created.with_context(|| format!("cannot create topic `{name}` on the mock broker"))?;
    }
    Ok(cluster)
}

/// Gateway and MyAdmin as one world, in which the devices of the load are known already.
async fn world(args: &Args, plan: &Plan) -> anyhow::Result<sim::Handle> {
    let market = market::Config {
        settings: market::Settings {
            visible_max_ms: 300,
            termination_delay_s: TERMINATION_DELAY.as_secs(),
            // The day of the story in place of the day of the effect, which is tomorrow's in the last hour before midnight: a sheet is
            // obeyed on its day.
            sheet_date_format: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            ..market::Settings::prompt()
        },
        ..market::Config::default()
    };
    let gateway = sim::start(sim::Config {
        seed: args.seed,
        settings: sim::Settings {
            market: true,
            ..sim::Settings::default()
        },
        market,
        ..sim::Config::default()
    })
    .await?;
    gateway.poison(sim::Poison::member("VehicleIdentificationNumber", MARKER));
    gateway.market(|market, now| {
        (0..plan.devices)
            .map(|index| plan.device(index))
            .try_for_each(|device| market.admit(device.serial(), "CTD-100", "fleet_south", now))
    })?;
    Ok(gateway)
}

/// The devices of the load have long been active.
async fn register(settings: &Settings, plan: &Plan) -> anyhow::Result<()> {
    let writer =
        registry::writer::Writer::new(&settings.kafka.producer()?, &settings.topics.devices)?;
    let devices: Vec<Device> = (0..plan.devices)
        .map(|index| plan.device(index))
        .map(|device| Device {
            device_id: device.id().into(),
            serial: Some(device.serial().into()),
            state: State::Active,
            order: None,
            since: None,
        })
        .collect();
    Ok(writer.write(&devices).await?)
}

/// Tells the judge what the load produced.
fn tell(judge: &mut Judge, plan: &Plan, loaded: &Outcome) -> anyhow::Result<()> {
    for device in (0..plan.devices).map(|index| plan.device(index)) {
        let failed = &loaded.confirmation.failed;
        if let Some(run) = run_of(plan, &device, &loaded.tally, failed) {
            judge.add(&run)?;
        }
    }
    Ok(())
}

/// Both halves' settings: defaults, but for where things are, requests small enough that there are many, and looks at MyAdmin often
/// enough that nobody waits.
fn settings(brokers: &str, world: &str, partitions: i32, place: &Path) -> anyhow::Result<Settings> {
    let sets = [
        format!("kafka.brokers={brokers}"),
        "kafka.group=demo".to_owned(),
        format!("input.topics=[\"{TOPIC}\"]"),
        "topics.create=false".to_owned(),
        // The judge counts what was held.
        "topics.trim_held=false".to_owned(),
        format!("memory.partitions={partitions}"),
        "gate.mode=registry".to_owned(),
        "batch.max_records=500".to_owned(),
        "batch.linger_ms=50".to_owned(),
        format!("dig.url={world}"),
        "dig.username=demo".to_owned(),
        "dig.password=demo".to_owned(),
        // An open circuit is shown, not waited for.
        "pacing.probe_interval_ms=250".to_owned(),
        "pacing.throttle_pause_ms=250".to_owned(),
        format!("myadmin.url={world}"),
        format!("myadmin.rest_url={world}/api/v3/shipping/partner"),
        "myadmin.username=integrator@example.com".to_owned(),
        format!("myadmin.password={}", market::PASSWORD),
        "myadmin.backoff_ms=250".to_owned(),
        "orders.enabled=true".to_owned(),
        format!("orders.store.file={}", place.join("orders.db").display()),
        format!("orders.accounts=[\"{}\"]", market::PARTNER),
        "orders.products={ \"CTD-200\" = { product_id = 10184, prefix = \"C8\" } }".to_owned(),
        "orders.orders_every_s=1".to_owned(),
        "orders.readiness_every_s=1".to_owned(),
        "orders.devices_every_s=1".to_owned(),
        // A copy of the store shows who had the lease when it was made.
        "orders.lease_s=3".to_owned(),
        "orders.provision.visible_after_s=1".to_owned(),
        "orders.fulfilment.mode=api".to_owned(),
        format!("orders.terminations.folder={}", place.display()),
        "orders.terminations.every_s=1".to_owned(),
    ];
    Ok(Settings::load_from(None, [], &sets)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permitted_amount_fits_the_mock_broker() {
        for records in [1_000, 60_000, 400_000] {
            let args = Args {
                records,
                devices: 500,
                seed: 1,
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                stay: false,
                report: super::super::Report::Text,
            };
            let each = records * RECORD_BYTES / args.partitions() as u64;
            assert!(each <= PARTITION_BYTES * 2, "{each} bytes in a partition");
            assert!(args.plan().poison_share > 0.0);
        }
    }
}
