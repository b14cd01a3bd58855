//! `dig-ingest replay`: letters are sent again, through today's mapping, rules and gate.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::columns::aligned;
use super::console::{noteln, out, outln};
use super::letters::blocking;
use super::letters::choice::{Bar, Choice, needed, registry};
use super::{Report, leave};
use crate::config::{ConfigArgs, Settings};
use crate::letters::replay::{self, Options, Told};
use crate::letters::today::Today;
use crate::pipeline::gate::Gate;
use crate::record::mapping::{Mapping, Mappings};
use crate::registry::Snapshot;

/// How long the batch in hand may take when the command is stopped.
const LEAVE: Duration = Duration::from_secs(60);

/// Arguments of `dig-ingest replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dig-ingest replay --dry-run --config job.toml
  dig-ingest replay --rule map.time --since 2026-01-31T00:00:00Z --config job.toml
  dig-ingest replay --reason gateway.refused --patch ./repair.toml --dry-run --config job.toml
  dig-ingest replay --serial CX0000000001 --out-of-order --rate 50 --config job.toml

After a mapping or a rule was corrected, restart the running job or send it SIGHUP first: it judges with what it has loaded.

Each letter is judged by today's mapping, rules, gate and device registry. Those that would pass are written to their input
topic again, in the partition they came from; the job judges them as any other message, whether it runs now or later. What
would become a letter again stays. A letter that was replayed is marked, so the same command goes on where it was stopped.

Letters of one serial go in the order of their sources, and none passes an older one that stays, unless --out-of-order says so.
They come behind what the gateway has accepted of the serial meanwhile.

Exit status: 0 when every chosen letter was replayed (or would be), 1 when some stay.")]
pub struct Args {
    #[command(flatten)]
    choice: Choice,
    /// Only say how many would pass today, how many not, and why.
    #[arg(long)]
    dry_run: bool,
    /// A mapping that is applied to the letters' bytes: a path, or a name as in input.mappings.
    #[arg(long, value_name = "FILE")]
    patch: Option<PathBuf>,
    /// Let a letter pass an older one of its serial that stays.
    #[arg(long)]
    out_of_order: bool,
    /// Also letters of several records of which some would become letters again.
    #[arg(long)]
    in_part: bool,
    /// Take the whole message that a letter came from, if its input topic still has it; needed where a corrected mapping has to
    /// make the record anew.
    #[arg(long)]
    original: bool,
    /// Also letters that were replayed or dismissed before.
    #[arg(long)]
    again: bool,
    /// Write to this input topic instead of the one they came from.
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,
    /// A letter that was replayed so often and came back stays.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    max_replays: u32,
    /// Messages per second; 0 is as fast as it goes.
    #[arg(long, default_value_t = 1_000.0, value_parser = rate)]
    rate: f64,
    #[command(flatten)]
    settings: ConfigArgs,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t)]
    report: Report,
}

fn rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate: &f64| (0.0..=1e6).contains(rate))
        .ok_or_else(|| "use messages per second, 0 to 1000000".to_owned())
}

/// Runs the command.
///
/// # Errors
/// The settings, a mapping or the device registry cannot be read; the brokers do not answer or refuse; another replay began.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = super::load(&args.settings)?;
    let filter = args.choice.filter(&settings).await?;
    let today = today(&settings, args.patch.as_deref()).await?;
    let options = Options {
        dry_run: args.dry_run,
        out_of_order: args.out_of_order,
        in_part: args.in_part,
        again: args.again,
        original: args.original,
        to: args.to,
        max_replays: args.max_replays,
        rate: args.rate,
    };
    let stop = CancellationToken::new();
    leave::watch(stop.clone(), LEAVE, leave::HangUp::Drains)?;
    let report = blocking(move || {
        let mut bar = Bar::new();
        let mut told = |told| match told {
            Told::Judging(progress) => bar.tell(progress.read, progress.total, "letters judged"),
            Told::Replaying(done, total) => bar.tell(done, total, "messages replayed"),
        };
        replay::run(
            &needed(&settings),
            &options,
            &filter,
            today,
            &mut told,
            &stop,
        )
    })
    .await?;
    match args.report {
        Report::Json => outln!("{}", serde_json::to_string(&report)?),
        Report::Text => out!("{}", text(&report)),
    }
    if report.stopped {
        noteln!("stopped before the end; the same command goes on from there");
    }
    Ok(match report.staying() == 0 && !report.stopped {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The judge of today's settings.
async fn today(settings: &Settings, patch: Option<&std::path::Path>) -> anyhow::Result<Today> {
    let patch: Option<Arc<Mapping>> = match patch {
        Some(patch) => {
            let name = patch.to_str().context("--patch: the name is not UTF-8")?;
            let mappings = Mappings::open(&settings.mapping)?;
            Some(mappings.load(name).context("--patch")?)
        }
        None => None,
    };
    let devices = Snapshot::new(&registry(settings).await?)?;
    Ok(Today::new(
        Box::new(crate::app::shapes(settings)?),
        crate::app::formats(settings)?,
        Arc::new(crate::app::rules(settings)?),
        Gate::new(settings.gate.clone()),
        devices,
        patch,
    ))
}

fn text(report: &replay::Report) -> String {
    let replay::Report {
        letters,
        marked,
        pass,
        records_sent,
        records_held,
        to_replay,
        twins,
        replayed,
        ..
    } = report;
    let mut text = format!(
        "{letters} letters chosen, {marked} more were replayed or dismissed before\n\
         {pass} pass today's mapping, rules and gate: {records_sent} records to be sent, {records_held} to be held\n"
    );
    if *twins > 0 {
        text += &format!("{twins} are about the same bytes as another one and go with it\n");
    }
    text += &match report.dry_run {
        true => format!("{to_replay} messages would be replayed\n"),
        false => format!("{replayed} of {to_replay} messages were replayed\n"),
    };
    if !report.stay.is_empty() {
        text += &format!("{} stay:\n", report.staying());
        let rows = report.stay.iter().map(|(code, count)| {
            [
                count.letters.to_string(),
                code.clone(),
                count
                    .example
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), ToString::to_string),
                count.why.clone(),
            ]
        });
        text += &aligned(["LETTERS", "RULE OR REASON", "EXAMPLE", "WHY"], rows);
    }
    text
}
