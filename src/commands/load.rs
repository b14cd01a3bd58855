//! `dig-ingest load`.

mod args;

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};

pub use self::args::Args;
use crate::commands::console::{note, out, outln};
use crate::config::secret::Properties;
use crate::load::drive::{Counters, Goal, Outcome, Pace, drive};
use crate::load::manifest::{self, Header};
use crate::load::plan::Plan;
use crate::load::records_in;
use crate::ops::log;
use crate::record::RecordType;
use crate::registry::{Device, State};

fn create(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(BufWriter::with_capacity(1 << 20, file))
}

/// Warnings, and with `--property debug=...` everything the Kafka client says.
fn start_log(args: &Args) -> anyhow::Result<()> {
    let debug = args.properties.iter().any(|(name, _)| name == "debug");
    // Known from here on, so that the client's words do not show them.
    drop(args.properties.iter().cloned().collect::<Properties>());
    log::start(&log::Config {
        level: if debug { "debug" } else { "warn" }.to_owned(),
        repeat_s: if debug { 0 } else { 10 },
        ..log::Config::default()
    })
}

/// Runs the command.
///
/// # Errors
/// Whatever keeps the command from doing its work, with its chain.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let to_stdout = args
        .output
        .as_ref()
        .is_some_and(|path| path.as_os_str() == "-");
    ensure!(
        !(to_stdout && args.report == super::Report::Json),
        "--output - and --report json would mix on standard output; write the records to a file"
    );
    start_log(&args)?;
    let mut plan = args.plan()?;
    plan.encoding = args.encoding().await?;
    let counters = Arc::new(Counters::default());
    // Opened before the load, so that a wrong path is an error before anything is produced.
    let manifest = args.manifest.as_deref().map(create).transpose()?;
    if let Some(path) = &args.registry {
        write_devices(path, &plan)?;
    }
    let sink = args.sink(&counters).await?;
    let (goal, pace) = (
        args.goal(),
        Pace {
            rate: args.rate,
            burst: args.burst,
        },
    );
    let worker = tokio::task::spawn_blocking({
        let (plan, counters) = (plan.clone(), Arc::clone(&counters));
        move || drive(&plan, goal, pace, sink, &counters)
    });
    let outcome = watch(worker, goal, &counters).await?;
    let summary = Summary::of(&plan, &outcome, &args);
    if let Some(mut out) = manifest {
        let path = args.manifest.as_deref().unwrap_or(Path::new("manifest"));
        let topic = if args.output.is_none() && !args.dry_run {
            args.topic.as_str()
        } else {
            ""
        };
        let header = Header::of(&plan, topic, &outcome.tally, summary.confirmed);
        manifest::write(
            &mut out,
            &header,
            &plan,
            &outcome.tally,
            &outcome.confirmation.failed,
        )
        .with_context(|| format!("cannot write {}", path.display()))?;
    }
    summary.print(args.report, to_stdout)?;
    if let Some(broken) = &outcome.broken {
        bail!("the load ended early: {broken}");
    }
    if summary.failed > 0 {
        let reason = outcome
            .confirmation
            .reason
            .as_deref()
            .unwrap_or("no reason given");
        bail!(
            "the broker did not confirm {} records; the first because: {reason}",
            summary.failed
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows progress until the load is done; a signal ends the load early but in order.
async fn watch(
    mut worker: tokio::task::JoinHandle<anyhow::Result<Outcome>>,
    goal: Goal,
    counters: &Counters,
) -> anyhow::Result<Outcome> {
    let bar = std::io::stderr().is_terminal().then(|| match goal.records {
        Some(records) => ProgressBar::new(records).with_style(
            ProgressStyle::with_template(
                "{bar:40} {human_pos}/{human_len} records  {per_sec}  {eta}",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
        ),
        None => ProgressBar::new_spinner(),
    });
    let mut signals = super::leave::Signals::listen()?;
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut shown = 0_u32;
    loop {
        tokio::select! {
            done = &mut worker => {
                if let Some(bar) = bar {
                    bar.finish_and_clear();
                }
                return done.context("the load's thread panicked")?;
            }
            _ = signals.next() => counters.stop(),
            _ = ticks.tick() => {
                shown += 1;
                match &bar {
                    Some(bar) => bar.set_position(counters.records()),
                    None if shown.is_multiple_of(25) => log::progress(&format!(
                        "{} records, {} messages confirmed, {} given up",
                        counters.records(), counters.confirmed_messages(), counters.failed_messages()
                    )),
                    None => {}
                }
            }
        }
    }
}

/// All devices of the plan, active, as the registry file has them.
fn write_devices(path: &Path, plan: &Plan) -> anyhow::Result<()> {
    let mut out = create(path)?;
    let named = || format!("cannot write {}", path.display());
    for device in (0..plan.devices).map(|index| plan.device(index)) {
        let device = Device {
            device_id: device.id().into(),
            serial: Some(device.serial().into()),
            state: State::Active,
            order: None,
            since: None,
        };
        serde_json::to_writer(&mut out, &device).with_context(named)?;
        out.write_all(b"\n").with_context(named)?;
    }
    out.flush().with_context(named)
}

/// What `--report json` prints.
#[derive(Debug, Clone, serde::Serialize)]
struct Summary {
    /// Records.
    produced: u64,
    confirmed: u64,
    failed: u64,
    messages: u64,
    /// Of the payloads.
    bytes: u64,
    seconds: f64,
    /// Records per second.
    rate: f64,
    by_type: serde_json::Map<String, serde_json::Value>,
    bad: u64,
    poison: u64,
    devices: u32,
    seed: u64,
    /// The vehicle identification number of every `poison` record.
    poison_marker: Option<String>,
    manifest: Option<PathBuf>,
}

impl Summary {
    fn of(plan: &Plan, outcome: &Outcome, args: &Args) -> Self {
        let tally = &outcome.tally;
        let failed = outcome
            .confirmation
            .failed
            .iter()
            .map(|number| records_in(plan, tally, *number))
            .sum();
        let seconds = outcome.elapsed.as_secs_f64();
        Self {
            produced: tally.records,
            confirmed: tally.records - failed,
            failed,
            messages: tally.messages,
            bytes: tally.bytes,
            seconds,
            rate: tally.records as f64 / seconds.max(1e-9),
            by_type: RecordType::ALL
                .into_iter()
                .map(|kind| (kind.name().to_owned(), tally.by_kind[kind as usize].into()))
                .filter(|(_, count): &(_, serde_json::Value)| count != 0)
                .collect(),
            bad: tally.bad,
            poison: tally.poison,
            devices: plan.devices,
            seed: plan.seed,
            poison_marker: (plan.poison_share > 0.0).then(|| plan.poison_marker.clone()),
            manifest: args.manifest.clone(),
        }
    }

    fn print(&self, report: super::Report, to_stderr: bool) -> anyhow::Result<()> {
        if report == super::Report::Json {
            outln!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        let mut text = format!(
            "produced {} records in {} messages, {} bytes, in {:.1} s ({:.0} records/s)\nconfirmed {}, failed {}, bad {}, poison {}\n",
            self.produced,
            self.messages,
            self.bytes,
            self.seconds,
            self.rate,
            self.confirmed,
            self.failed,
            self.bad,
            self.poison
        );
        for (kind, count) in &self.by_type {
            text.push_str(&format!("  {kind:<20} {count}\n"));
        }
        if to_stderr {
            note!("{text}")
        } else {
            out!("{text}")
        }
        Ok(())
    }
}
