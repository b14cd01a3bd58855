//! `dig-ingest letters`: what could not be sent, counted, listed, shown, exported and dismissed.

pub(super) mod choice;
mod written;

use std::collections::VecDeque;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use super::Report;
use super::console::{self, Stdout, noteln, out, outln};
use crate::config::{ConfigArgs, Settings, printable};
use crate::letters::dismiss;
use crate::letters::entry::Entry;
use crate::letters::filter::Filter;
use crate::letters::group::{By, Groups};
use crate::letters::marks::Mark;
use crate::letters::place::LetterPlace;
use crate::letters::read::Letters;
use crate::topic_partition::TopicPartition;
use choice::{Bar, Choice, needed};

/// Arguments of `dig-ingest letters`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dig-ingest letters group --config job.toml
  dig-ingest letters list --reason 'gps.*' --since 2026-01-31T00:00:00Z --config job.toml
  dig-ingest letters show dig.dead-letter/0/41 --config job.toml
  dig-ingest letters export --rule gps.latitude.range --output letters.ndjson --config job.toml
  dig-ingest letters dismiss --serial CX0000000001 --until 2026-01-31T00:00:00Z --config job.toml

Letters that were replayed or dismissed are left out, unless --marked asks for them. `dig-ingest replay` sends letters again.")]
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
    /// Count letters, and print the first ones.
    #[command(after_help = "Examples:
  dig-ingest letters list --config job.toml
  dig-ingest letters list --device 356938035643809 --newest --limit 5 --config job.toml
  dig-ingest letters list --from held --config job.toml")]
    List {
        #[command(flatten)]
        choice: Choice,
        /// How many are printed.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100_000))]
        limit: u32,
        /// Print the newest instead of the oldest.
        #[arg(long)]
        newest: bool,
        /// Also letters that were replayed or dismissed.
        #[arg(long)]
        marked: bool,
    },
    /// Print one letter: what it says, and its bytes.
    #[command(after_help = "Examples:
  dig-ingest letters show dig.dead-letter/0/41 --config job.toml
  dig-ingest letters show dig.dead-letter/0/41 --raw --config job.toml > message.json")]
    Show {
        /// The letter's place, as the list shows it.
        #[arg(value_name = "TOPIC/PARTITION/OFFSET")]
        place: LetterPlace,
        /// Only the bytes, as they are.
        #[arg(long)]
        raw: bool,
    },
    /// Count letters by reason, stage, serial, source, day or topic.
    #[command(after_help = "Examples:
  dig-ingest letters group --config job.toml
  dig-ingest letters group --by serial --rule gps.latitude.range --config job.toml")]
    Group {
        #[command(flatten)]
        choice: Choice,
        /// What is counted together.
        #[arg(long, value_enum, default_value_t)]
        by: By,
        /// How many groups are printed.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        /// Also letters that were replayed or dismissed.
        #[arg(long)]
        marked: bool,
    },
    /// Write letters as JSON lines, with their bytes.
    #[command(after_help = "Examples:
  dig-ingest letters export --output letters.ndjson --config job.toml
  dig-ingest letters export --from invalid --config job.toml | jq .detail

The bytes are in `value`, or in `value_base64` where they are not UTF-8.")]
    Export {
        #[command(flatten)]
        choice: Choice,
        /// The file; without it standard output.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Also letters that were replayed or dismissed.
        #[arg(long)]
        marked: bool,
    },
    /// Mark letters that are never to be sent: they are hidden, and keep no younger letter of their serial back.
    #[command(after_help = "Examples:
  dig-ingest letters dismiss --reason device.terminated --config job.toml
  dig-ingest letters dismiss --all --config job.toml")]
    Dismiss {
        #[command(flatten)]
        choice: Choice,
        /// Every letter: needed where nothing else chooses.
        #[arg(long)]
        all: bool,
    },
}

/// Runs the command.
///
/// # Errors
/// The brokers or the device registry do not answer, there is no such letter, or the output cannot be written.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = super::load(&args.settings)?;
    let report = args.report;
    match args.act {
        Act::List {
            choice,
            limit,
            newest,
            marked,
        } => {
            let reading = Reading::new(&settings, &choice, marked).await?;
            blocking(move || list(reading, limit as usize, newest, report)).await
        }
        Act::Show { place, raw } => blocking(move || show(&settings, &place, raw, report)).await,
        Act::Group {
            choice,
            by,
            limit,
            marked,
        } => {
            let reading = Reading::new(&settings, &choice, marked).await?;
            blocking(move || group(reading, by, limit as usize, report)).await
        }
        Act::Export {
            choice,
            output,
            marked,
        } => {
            let reading = Reading::new(&settings, &choice, marked).await?;
            blocking(move || export(reading, output, report)).await
        }
        Act::Dismiss { choice, all } => {
            anyhow::ensure!(
                all || choice.is_narrow(),
                "nothing chooses letters: name some (see --help), or say --all"
            );
            let filter = choice.filter(&settings).await?;
            blocking(move || {
                let mut bar = Bar::new();
                let mut told = |progress| bar.read(progress);
                let dismissed = dismiss::run(&needed(&settings), &filter, &mut told)?;
                match report {
                    Report::Json => outln!("{}", json!({ "dismissed": dismissed })),
                    Report::Text => noteln!("{dismissed} letters are dismissed"),
                }
                Ok(ExitCode::SUCCESS)
            })
            .await
        }
    }
}

/// The Kafka client blocks, so a thread that may block does it.
pub(super) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(act)
        .await
        .context("reading the letters failed")?
}

/// What one command reads.
struct Reading {
    settings: Settings,
    filter: Filter,
    /// Whether marked letters are taken too.
    marked: bool,
}

/// How many letters there were.
#[derive(Debug, Default, Clone, Copy, serde::Serialize)]
struct Counted {
    /// Those that were chosen.
    letters: u64,
    /// Those that were left out because they are marked.
    marked: u64,
}

impl Reading {
    async fn new(settings: &Settings, choice: &Choice, marked: bool) -> anyhow::Result<Self> {
        Ok(Self {
            settings: settings.clone(),
            filter: choice.filter(settings).await?,
            marked,
        })
    }

    /// Hands over the chosen letters with their marks, until the reader of standard output is gone.
    fn each(
        &self,
        act: &mut dyn FnMut(Entry, Option<Mark>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Counted> {
        let Settings {
            kafka,
            topics,
            input,
            ..
        } = &self.settings;
        let letters = Letters::open(kafka, topics, input, &self.filter.kinds)?;
        let marks = letters.marks(kafka, &topics.state)?;
        let mut counted = Counted::default();
        let mut bar = Bar::new();
        letters.read(&letters.bounds()?, &mut |entry, progress| {
            bar.read(progress);
            if !self.filter.takes(&entry) {
                return Ok(ControlFlow::Continue(()));
            }
            let mark = marks.of(&entry.place);
            if mark.is_some() && !self.marked {
                counted.marked += 1;
            } else {
                counted.letters += 1;
                act(entry, mark)?;
            }
            Ok(match console::reader_gone() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })?;
        Ok(counted)
    }
}

fn list(reading: Reading, limit: usize, newest: bool, report: Report) -> anyhow::Result<ExitCode> {
    let mut shown: VecDeque<(Entry, Option<Mark>)> = VecDeque::new();
    let counted = reading.each(&mut |mut entry, mark| {
        // Only what is printed is kept.
        (entry.value, entry.key) = (Vec::new(), None);
        if shown.len() == limit && newest {
            shown.pop_front();
        }
        if shown.len() < limit {
            shown.push_back((entry, mark));
        }
        Ok(())
    })?;
    match report {
        Report::Json => {
            let shown: Vec<_> = shown
                .iter()
                .map(|(entry, mark)| written::entry(entry, *mark))
                .collect();
            outln!(
                "{}",
                json!({ "letters": counted.letters, "marked": counted.marked, "shown": shown })
            );
        }
        Report::Text => {
            let (letters, marked) = (counted.letters, counted.marked);
            outln!("{letters} letters, {marked} more were replayed or dismissed");
            if !shown.is_empty() {
                out!("{}", written::table(&shown));
            }
            if letters > shown.len() as u64 {
                noteln!(
                    "{} of them are shown; --limit shows more, `dig-ingest letters group` counts them",
                    shown.len()
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(
    settings: &Settings,
    place: &LetterPlace,
    raw: bool,
    report: Report,
) -> anyhow::Result<ExitCode> {
    let Settings {
        kafka,
        topics,
        input,
        ..
    } = settings;
    let all = [
        crate::letters::entry::Kind::DeadLetter,
        crate::letters::entry::Kind::Held,
        crate::letters::entry::Kind::Invalid,
    ];
    let letters = Letters::open(kafka, topics, input, &all)?;
    let marks = letters.marks(kafka, &topics.state)?;
    let key = TopicPartition::new(&place.topic, place.partition);
    let bounds = letters.bounds()?.remove(&key).with_context(|| {
        format!("{place}: the settings name no such topic of letters, or it has no such partition")
    })?;
    let (low, end) = bounds;
    anyhow::ensure!(
        (low..end).contains(&place.offset),
        "{place}: the partition has the offsets {low} to {}",
        end - 1
    );
    let mut found = None;
    let one = std::iter::once((key, (place.offset, place.offset + 1))).collect();
    letters.read(&one, &mut |entry, _| {
        found = Some(entry);
        Ok(ControlFlow::Break(()))
    })?;
    let entry = found.with_context(|| format!("{place}: there is no letter at this offset"))?;
    if raw {
        Stdout.write_all(&entry.value)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mark = marks.of(&entry.place);
    match report {
        Report::Json => outln!("{}", written::whole(&entry, mark)),
        Report::Text => out!("{}", written::sheet(&entry, mark)),
    }
    Ok(ExitCode::SUCCESS)
}

fn group(reading: Reading, by: By, limit: usize, report: Report) -> anyhow::Result<ExitCode> {
    let mut groups = Groups::new(by);
    let counted = reading.each(&mut |entry, _| {
        groups.add(&entry);
        Ok(())
    })?;
    let groups = groups.finish();
    let printed = &groups[..groups.len().min(limit)];
    match report {
        Report::Json => outln!(
            "{}",
            json!({
                "letters": counted.letters, "marked": counted.marked, "by": by, "groups": groups.len(), "shown": printed,
            })
        ),
        Report::Text => {
            let (letters, marked) = (counted.letters, counted.marked);
            outln!(
                "{letters} letters in {} groups, {marked} more were replayed or dismissed",
                groups.len()
            );
            if !printed.is_empty() {
                out!("{}", written::groups(by, printed));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn export(reading: Reading, output: Option<PathBuf>, report: Report) -> anyhow::Result<ExitCode> {
    let mut to: Box<dyn Write> = match &output {
        Some(path) => {
            let file = std::fs::File::create(path)
                .with_context(|| format!("{}: cannot create", path.display()))?;
            Box::new(std::io::BufWriter::new(file))
        }
        None => Box::new(std::io::BufWriter::new(Stdout)),
    };
    let counted = reading.each(&mut |entry, mark| {
        let line = written::whole(&entry, mark).to_string();
        writeln!(to, "{}", printable::json(&line)).context("cannot write the letters")
    })?;
    to.flush().context("cannot write the letters")?;
    match report {
        Report::Json => outln!(
            "{}",
            json!({ "exported": counted.letters, "marked": counted.marked })
        ),
        Report::Text => noteln!("{} letters are exported", counted.letters),
    }
    Ok(ExitCode::SUCCESS)
}
