//! `dig-ingest demo`: the whole path in one process, with faults, judged at the end.
//!
//! Owns an in-process mock broker, a simulated gateway with a script of faults, a load, the streaming job and the judge.
//! Nothing outside this process is needed or touched. The broker trims a partition beyond about 5 MB, so the amount is
//! bounded and spread over partitions.

mod script;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use rdkafka::mocking::MockCluster;
use tokio_util::sync::CancellationToken;

use self::script::Script;
use crate::config::Settings;
use crate::load::drive::{Counters, Goal, Outcome, Pace, Sink, drive};
use crate::load::manifest::run_of;
use crate::load::mix::Mix;
use crate::load::plan::{By, Plan, Shape};
use crate::load::produce::{Outlet, Target};
use crate::ops::board::Board;
use crate::ops::status::Totals;
use crate::verify::judge::{Judge, Verdict};
use crate::verify::ledger::{self, Source};
use crate::{app, sim};

const TOPIC: &str = "telemetry";
const MARKER: &str = "REFUSE00000000000";
/// What a partition of the mock broker may hold, with room for devices that are unevenly spread over partitions.
const PARTITION_BYTES: u64 = 1_500_000;
const RECORD_BYTES: u64 = 190;
/// The load lasts about this long, so that the faults meet traffic.
const LOAD: Duration = Duration::from_secs(8);
/// How long the job may take to finish after the load.
const PATIENCE: Duration = Duration::from_secs(60);

/// Arguments of `dig-ingest demo`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Ends with 0 only if nothing is lost, reordered or phantom.

Examples:
  dig-ingest demo
  dig-ingest demo --records 200000 --devices 2000 --seed 42 --report json"
)]
pub struct Args {
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1_000..=400_000))]
    records: u64,
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    devices: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
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
        }
    }

    fn partitions(&self) -> i32 {
        (self.records * RECORD_BYTES / PARTITION_BYTES).clamp(4, 64) as i32
    }
}

/// Runs the command.
///
/// # Errors
/// Whatever keeps the demonstration from being carried out; a bad result is an exit code.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let cluster = MockCluster::new(1).context("cannot start the mock broker")?;
    for (name, partitions) in [
        (TOPIC, args.partitions()),
        ("telemetry.held", args.partitions()),
        ("dig.dead-letter", 1),
        ("dig.invalid", 1),
        ("dig.state", 1),
    ] {
        let created = cluster.create_topic(name, partitions, 1);
        created.with_context(|| format!("cannot create topic `{name}` on the mock broker"))?;
    }
    let gateway = sim::start(sim::Config {
        seed: args.seed,
        ..sim::Config::default()
    })
    .await?;
    gateway.poison(sim::Poison::member("VehicleIdentificationNumber", MARKER));
    let script = Script::play(&gateway);
    let settings = settings(
        &cluster.bootstrap_servers(),
        &gateway.url(),
        args.partitions(),
    )?;
    let client = settings.kafka.plain()?;
    let letters = super::verify::letters_of(&settings)?;
    let (board, stop) = (Board::new(Instant::now()), CancellationToken::new());
    let mut job = tokio::spawn(app::stream(settings, Arc::clone(&board), stop.clone()));

    let plan = args.plan();
    let counters = Arc::new(Counters::default());
    let target = Target {
        client,
        topic: TOPIC.to_owned(),
        compression: "none".to_owned(),
        timeout: Duration::from_secs(30),
        properties: Vec::new(),
    };
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

    let watcher = Watcher::new(&gateway, &board, &counters, args.records);
    let watched = watcher.until_settled(load, &mut job, &script).await?;
    let totals = totals(&board);
    stop.cancel();
    job.await
        .context("the job panicked")?
        .context("the job failed")?;
    let mut judge = Judge::new();
    for device in (0..plan.devices).map(|index| plan.device(index)) {
        let failed = &watched.load.confirmation.failed;
        if let Some(run) = run_of(&plan, &device, &watched.load.tally, failed) {
            judge.add(&run)?;
        }
    }
    ledger::follow(&Source::Sim(gateway.url()), &mut judge).await?;
    let (_, judge) = super::verify::follow_letters(letters, judge).await?;
    let report = Report {
        verdict: judge.verdict(),
        produced: watched.load.tally.records,
        bad: watched.load.tally.bad,
        poison: watched.load.tally.poison,
        dead_lettered: totals.dead_lettered,
        requests: gateway
            .counters()
            .requests
            .get(&sim::Operation::Records)
            .copied()
            .unwrap_or_default(),
        faults: script.applied(&gateway),
        settled: watched.settled,
        seconds: begun.elapsed().as_secs_f64(),
        devices: args.devices,
        partitions: args.partitions(),
        seed: args.seed,
    };
    gateway.stop().await;
    report.print(args.report)?;
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The job's settings: defaults, but for where things are and requests small enough that there are many.
fn settings(brokers: &str, gateway: &str, partitions: i32) -> anyhow::Result<Settings> {
    let sets = [
        format!("kafka.brokers={brokers}"),
        "kafka.group=demo".to_owned(),
        format!("input.topics=[\"{TOPIC}\"]"),
        "topics.create=false".to_owned(),
        format!("memory.partitions={partitions}"),
        "gate.mode=off".to_owned(),
        "batch.max_records=500".to_owned(),
        "batch.linger_ms=50".to_owned(),
        format!("dig.url={gateway}"),
        "dig.username=demo".to_owned(),
        "dig.password=demo".to_owned(),
        // An open circuit is shown, not waited for.
        "pacing.probe_interval_ms=250".to_owned(),
        "pacing.throttle_pause_ms=250".to_owned(),
    ];
    Ok(Settings::load_from(None, [], &sets)?)
}

fn totals(board: &Board) -> Totals {
    let mut sum = Totals::default();
    for partition in board.snapshot().partitions {
        sum.read += partition.totals.read;
        sum.accepted += partition.totals.accepted;
        sum.dead_lettered += partition.totals.dead_lettered;
        sum.held += partition.totals.held;
    }
    sum
}

/// What the watching came to.
struct Watched {
    load: Outcome,
    /// Everything the broker confirmed was settled by the job in time.
    settled: bool,
}

/// Follows load, job and gateway, and shows them.
struct Watcher<'a> {
    gateway: &'a sim::Handle,
    board: &'a Board,
    counters: &'a Counters,
    records: u64,
    bar: Option<ProgressBar>,
}

impl<'a> Watcher<'a> {
    fn new(
        gateway: &'a sim::Handle,
        board: &'a Board,
        counters: &'a Counters,
        records: u64,
    ) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {percent}%  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(records).with_style(style)
        });
        Self {
            gateway,
            board,
            counters,
            records,
            bar,
        }
    }

    /// Until all that was produced is settled by the job, which is a condition and not a time.
    async fn until_settled(
        &self,
        mut load: tokio::task::JoinHandle<anyhow::Result<Outcome>>,
        job: &mut tokio::task::JoinHandle<anyhow::Result<()>>,
        script: &Script,
    ) -> anyhow::Result<Watched> {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let (mut done, mut until, mut shown) = (None::<Outcome>, None, 0_u32);
        loop {
            tokio::select! {
                outcome = &mut load, if done.is_none() => {
                    done = Some(outcome.context("the load's thread panicked")??);
                    until = Some(Instant::now() + PATIENCE);
                }
                ended = &mut *job => {
                    ended.context("the job panicked")?.context("the job failed")?;
                    anyhow::bail!("the job ended before it was told to");
                }
                _ = tick.tick() => {}
            }
            let totals = totals(self.board);
            let settled = totals.accepted + totals.dead_lettered + totals.held;
            script.half_way(self.gateway, settled * 2 >= self.goal(done.as_ref()));
            shown += 1;
            self.show(totals, shown.is_multiple_of(10));
            if let Some(load) = &done {
                let is_settled = settled >= self.goal(Some(load));
                if is_settled || until.is_some_and(|until| Instant::now() >= until) {
                    if let Some(bar) = &self.bar {
                        bar.finish_and_clear();
                    }
                    let load = load.clone();
                    return Ok(Watched {
                        load,
                        settled: is_settled,
                    });
                }
            }
        }
    }

    /// Records that must be settled: all that were confirmed, one to a message.
    fn goal(&self, load: Option<&Outcome>) -> u64 {
        match load {
            Some(load) => load.confirmation.confirmed,
            None => self.records,
        }
    }

    fn show(&self, totals: Totals, is_due: bool) {
        let counters = self.gateway.counters();
        let text = format!(
            "produced {}  accepted {}  dead letters {}  requests {}  faults {}",
            self.counters.records(),
            totals.accepted,
            totals.dead_lettered,
            counters
                .requests
                .get(&sim::Operation::Records)
                .unwrap_or(&0),
            counters.faults_applied,
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position(totals.accepted + totals.dead_lettered + totals.held);
                bar.set_message(text);
            }
            None if is_due => eprintln!("{text}"),
            None => {}
        }
    }
}

/// What `--report json` prints, with the members of `verify`'s.
#[derive(Debug, serde::Serialize)]
struct Report {
    #[serde(flatten)]
    verdict: Verdict,
    produced: u64,
    bad: u64,
    poison: u64,
    dead_lettered: u64,
    /// To `/records`.
    requests: u64,
    faults: Vec<script::Applied>,
    settled: bool,
    seconds: f64,
    devices: u32,
    partitions: i32,
    seed: u64,
}

impl Report {
    fn is_good(&self) -> bool {
        // Bad and refused records must be somewhere: in the letters, each once, as nothing was restarted.
        let letters = self.verdict.letters.as_ref();
        let in_letters = letters.is_some_and(|letters| {
            (letters.dead_lettered, letters.repeated, letters.strange)
                == (self.bad + self.poison, 0, 0)
        });
        self.verdict.is_sound() && self.settled && in_letters
    }

    fn print(&self, form: super::Report) -> anyhow::Result<()> {
        if form == super::Report::Json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        println!(
            "{} records of {} devices over {} partitions, in {:.1} s and {} requests; {} bad, {} to be refused\n",
            self.produced,
            self.devices,
            self.partitions,
            self.seconds,
            self.requests,
            self.bad,
            self.poison
        );
        println!("what went wrong on purpose:");
        for fault in &self.faults {
            println!("  {:>3} x  {}", fault.times, fault.what);
        }
        println!("\nwhat came of it:");
        print!("{}", super::verify::text(&self.verdict));
        if self.verdict.duplicated > 0 {
            println!(
                "(duplicates are the requests whose answer was lost: sent again, as nobody could know they had arrived)"
            );
        }
        println!(
            "dead letters {} (bad {} + refused {})",
            self.dead_lettered, self.bad, self.poison
        );
        let end = match (self.is_good(), self.settled) {
            (true, _) => "nothing lost, nothing reordered, nothing made up",
            (false, false) => "NOT GOOD: the job did not finish in time",
            (false, true) => "NOT GOOD",
        };
        println!("\n{end}");
        Ok(())
    }
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
                report: super::super::Report::Text,
            };
            let each = records * RECORD_BYTES / args.partitions() as u64;
            assert!(each <= PARTITION_BYTES * 2, "{each} bytes in a partition");
            assert!(args.plan().poison_share > 0.0);
        }
    }
}
