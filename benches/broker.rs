//! What the pipeline costs beside a bare drain of the same topic, on a real broker. Driven by `scripts/bench`.
//!
//! `drain`: reads N messages with `BaseConsumer::poll` and throws them away. `run`: the whole pipeline into a gateway that is
//! given, until N records are accepted. Both print one JSON object: seconds, CPU seconds of this process (all threads) and peak
//! resident memory. The steady state is measured: the meter starts when one record in eight is through, so that neither joining
//! the group nor the first touch of fresh memory counts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

// The allocator of the real binary, for both modes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    mode: Option<Mode>,
    /// What `cargo bench` passes to every bench.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(clap::Subcommand)]
enum Mode {
    /// Read and throw away.
    Drain(Source),
    /// Read, validate, batch, upload.
    Run {
        #[command(flatten)]
        source: Source,
        #[command(flatten)]
        settings: dig_ingest::config::ConfigArgs,
    },
}

#[derive(clap::Args)]
struct Source {
    #[arg(long)]
    brokers: String,
    #[arg(long)]
    topic: String,
    #[arg(long)]
    records: u64,
    /// Consumer group; must be new, so that reading starts at the beginning.
    #[arg(long)]
    group: String,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().mode {
        None => {
            eprintln!("nothing to do: scripts/bench drives this bench against a real broker");
            Ok(())
        }
        Some(Mode::Drain(source)) => drain(&source),
        Some(Mode::Run { source, settings }) => run(&source, &settings),
    }
}

fn drain(source: &Source) -> anyhow::Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &source.brokers)
        .set("group.id", &source.group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("queued.min.messages", "1000000")
        .create()?;
    consumer.subscribe(&[&source.topic])?;
    let mut read = 0;
    let mut began = None;
    let mut newest = Instant::now();
    while read < source.records {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(_)) => {
                read += 1;
                if read >= source.records / 8 {
                    began.get_or_insert_with(|| Meter::start(read));
                }
                if read % 10_000 == 0 {
                    newest = Instant::now();
                }
            }
            Some(Err(error)) => return Err(error.into()),
            // Also how poll says that it served a rebalance.
            None => anyhow::ensure!(
                newest.elapsed() < Duration::from_secs(60),
                "the topic ended after {read} messages"
            ),
        }
    }
    let meter = began.ok_or_else(|| anyhow::anyhow!("no message"))?;
    meter.report(read, None);
    Ok(())
}

fn run(source: &Source, settings: &dig_ingest::config::ConfigArgs) -> anyhow::Result<()> {
    let mut settings = settings
        .load()
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    settings.kafka.brokers.clone_from(&source.brokers);
    settings.kafka.group.clone_from(&source.group);
    settings.input.topics = vec![source.topic.clone()];
    let by_partitions = settings.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stop = tokio_util::sync::CancellationToken::new();
        let board = dig_ingest::ops::status_registry::StatusRegistry::new(Instant::now());
        let job = tokio::spawn(dig_ingest::app::stream(
            settings,
            Arc::clone(&board),
            stop.clone(),
        ));
        let mut began = None;
        let accepted = loop {
            let partitions = board.snapshot().partitions;
            let accepted = partitions.iter().map(|p| p.totals.accepted).sum::<u64>();
            if accepted >= source.records / 8 {
                began.get_or_insert_with(|| Meter::start(accepted));
            }
            if accepted >= source.records || job.is_finished() {
                break accepted;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        if let Some(meter) = began {
            // By the formula of the partitions there are, as `check --connect` counts them.
            let partitions = board.snapshot().partitions.len() as u64;
            let formula = by_partitions.memory_formula(partitions).total_bytes;
            meter.report(accepted, Some(formula));
        }
        stop.cancel();
        job.await??;
        anyhow::ensure!(
            accepted >= source.records,
            "the job ended after {accepted} records"
        );
        Ok(())
    })
}

/// Wall clock, CPU time and memory of this process since a moment.
struct Meter {
    began: Instant,
    cpu: f64,
    /// Records that were through by then.
    before: u64,
}

impl Meter {
    fn start(before: u64) -> Self {
        Self {
            began: Instant::now(),
            cpu: cpu_seconds(),
            before,
        }
    }

    fn report(&self, records: u64, formula: Option<u64>) {
        let seconds = self.began.elapsed().as_secs_f64();
        let cpu = cpu_seconds() - self.cpu;
        let records = records - self.before;
        println!(
            "{}",
            serde_json::json!({
                "records": records,
                "seconds": seconds,
                "records_per_s": records as f64 / seconds,
                "cpu_s": cpu,
                "cpu_s_per_million": cpu / records as f64 * 1e6,
                "peak_rss_bytes": peak_rss(),
                "formula_bytes": formula,
            })
        );
    }
}

/// User and system time of all threads, from `/proc/self/stat` (fields 14 and 15, in ticks of 10 ms).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> = after
        .split_whitespace()
        .map(|f| f.parse().unwrap_or(0.0))
        .collect();
    fields
        .get(11)
        .zip(fields.get(12))
        .map_or(0.0, |(user, system)| (user + system) / 100.0)
}

fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}
