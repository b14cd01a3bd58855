//! `dig-ingest verify`.

mod replayed;

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::commands::console::{noteln, out, outln};
use crate::config::{ConfigArgs, Settings};
use crate::load::manifest;
use crate::verify::judge::{Example, Judge, Verdict};
use crate::verify::ledger::{self, Source};
use crate::verify::letters::Letters;
use replayed::Replays;

/// How often a ledger that is not complete yet is asked again.
const POLL: Duration = Duration::from_millis(250);

/// Arguments of `dig-ingest verify`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Ends with 0 only if nothing is lost, reordered or phantom, and duplicates are within --max-duplicates.
Lost: a record that the broker confirmed is in no line of the ledger. Unseen: the same of a record that the broker did not
confirm, which is allowed. Phantom: a line of the ledger whose record is in no manifest, or had to be rejected.
With --dead-letters a record is lost only if it is in no letter either, and one that must be rejected is lost without a letter.
A record whose letter `dig-ingest replay` sent again may come behind later records of its serial; give the job's settings for that.

Examples:
  dig-ingest verify --manifest load.manifest --sim http://127.0.0.1:8080 --wait-s 60
  dig-ingest verify --manifest first.manifest --manifest second.manifest \\
      --ledger ledger.ndjson --report json
  dig-ingest verify --manifest load.manifest --ledger ledger.ndjson --max-duplicates 0
  dig-ingest verify --manifest load.manifest --sim http://127.0.0.1:8080 --dead-letters \\
      --config job.toml
  dig-ingest verify --manifest by-device-id.manifest --sim http://127.0.0.1:8080 --registry \\
      --config job.toml"
)]
pub struct Args {
    /// A manifest that `dig-ingest load` wrote; may be given several times.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub manifest: Vec<PathBuf>,
    /// The ledger as a file of JSON lines.
    #[arg(long, value_name = "FILE", required_unless_present = "sim")]
    pub ledger: Option<PathBuf>,
    /// The simulator whose ledger is to be judged.
    #[arg(long, value_name = "URL", conflicts_with = "ledger")]
    pub sim: Option<String>,
    /// Ask again until nothing is lost, for at most this many seconds.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub wait_s: u64,
    /// More ledger lines beyond the first of a record than this are a failure.
    #[arg(long, value_name = "N")]
    pub max_duplicates: Option<u64>,
    /// Account for every record by the letters too: reads topics.dead_letter and the held topics of the settings.
    #[arg(long)]
    pub dead_letters: bool,
    /// Kafka brokers for --dead-letters and --registry; over kafka.brokers of the settings.
    #[arg(long, value_name = "HOST:PORT,...")]
    pub brokers: Option<String>,
    /// The device registry of the settings says which serial a device id has, not the manifest: for devices that got theirs
    /// after they had begun to send.
    #[arg(long)]
    pub registry: bool,
    #[command(flatten)]
    pub settings: ConfigArgs,
    /// Form of the report.
    #[arg(long, value_enum, default_value = "text")]
    pub report: super::Report,
}

impl Args {
    /// The readers of letters and of replays, if they are to be judged.
    fn letters(&self) -> anyhow::Result<Option<(Letters, Replays)>> {
        if !self.dead_letters {
            return Ok(None);
        }
        let mut settings = super::load(&self.settings)?;
        if let Some(brokers) = &self.brokers {
            settings.kafka.brokers.clone_from(brokers);
        }
        Ok(Some((letters_of(&settings)?, Replays::new(settings)?)))
    }

    /// Serial by device id, if the registry is to be asked.
    async fn serials(&self) -> anyhow::Result<HashMap<Box<str>, Box<str>>> {
        if !self.registry {
            return Ok(HashMap::new());
        }
        let mut settings = super::load(&self.settings)?;
        if let Some(brokers) = &self.brokers {
            settings.kafka.brokers.clone_from(brokers);
        }
        let devices = super::devices::load(settings).await?;
        Ok(devices
            .into_iter()
            .filter_map(|device| Some((device.device_id, device.serial?)))
            .collect())
    }
}

/// A reader of the letters that a job with these settings writes.
pub(super) fn letters_of(settings: &Settings) -> anyhow::Result<Letters> {
    let (topics, inputs) = (settings.topics.clone(), settings.input.topics.clone());
    let is_input = move |name: &str| {
        inputs.iter().any(|input| {
            input == name
                || input.starts_with('^')
                    && regex::Regex::new(input).is_ok_and(|pattern| pattern.is_match(name))
        })
    };
    Letters::open(
        &settings.kafka.plain()?,
        &settings.topics.dead_letter,
        move |name| topics.input_of(name).is_some_and(&is_input),
    )
}

/// Hands the letters that are there to the judge. The client blocks, so a thread that may block does it.
pub(super) async fn follow_letters(
    mut letters: Letters,
    mut judge: Judge,
) -> anyhow::Result<(Letters, Judge)> {
    tokio::task::spawn_blocking(move || {
        letters.follow(&mut judge)?;
        Ok((letters, judge))
    })
    .await?
}

/// Runs the command.
///
/// # Errors
/// Whatever keeps the command from doing its work, with its chain.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let source = match (&args.ledger, &args.sim) {
        (Some(path), _) => Source::File(path.clone()),
        (None, Some(url)) => Source::Sim(url.clone()),
        (None, None) => anyhow::bail!("name the ledger: --ledger FILE or --sim URL"),
    };
    let mut judge = read_manifests(&args.manifest, &args.serials().await?)?;
    let mut letters = args.letters()?;
    let until = Instant::now() + Duration::from_secs(args.wait_s);
    loop {
        ledger::follow(&source, &mut judge).await?;
        if let Some((reader, replays)) = letters.take() {
            let (reader, told) = follow_letters(reader, judge).await?;
            let (replays, told) = replays.follow(told).await?;
            (letters, judge) = (Some((reader, replays)), told);
        }
        if judge.is_complete() || Instant::now() >= until {
            break;
        }
        let verdict = judge.verdict();
        crate::ops::log::progress(&format!(
            "{} of {} records are still missing",
            verdict.lost, verdict.expected
        ));
        tokio::time::sleep(POLL).await;
    }
    let verdict = judge.verdict();
    let within = args
        .max_duplicates
        .is_none_or(|most| verdict.duplicated <= most);
    if args.report == super::Report::Json {
        outln!("{}", serde_json::to_string(&verdict)?);
    } else {
        out!("{}", text(&verdict));
    }
    if verdict.ledger == 0 && verdict.expected > 0 {
        noteln!("the ledger is empty; a simulator keeps one only with --ledger full");
    }
    if !within {
        noteln!(
            "more duplicates than allowed: {} > {}",
            verdict.duplicated,
            args.max_duplicates.unwrap_or(0)
        );
    }
    Ok(if verdict.is_sound() && within {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A judge that knows these manifests. `serials`: by device id, over the manifests'.
///
/// # Errors
/// When one cannot be read, or two share a record.
fn read_manifests(
    paths: &[PathBuf],
    serials: &HashMap<Box<str>, Box<str>>,
) -> anyhow::Result<Judge> {
    let mut judge = Judge::new();
    for path in paths {
        let named = || format!("manifest {}", path.display());
        let file = File::open(path).with_context(named)?;
        judge.next_manifest();
        manifest::read(BufReader::with_capacity(1 << 20, file), |mut run| {
            if let Some(serial) = serials.get(run.device.as_str()) {
                run.serial = serial.to_string();
            }
            judge.add(&run)
        })
        .with_context(named)?;
    }
    Ok(judge)
}

/// The verdict for people.
pub(super) fn text(verdict: &Verdict) -> String {
    let mut text = String::new();
    let findings = [
        ("lost", verdict.lost, &verdict.examples.lost),
        ("unseen", verdict.unseen, &verdict.examples.unseen),
        (
            "duplicated",
            verdict.duplicated,
            &verdict.examples.duplicated,
        ),
        ("reordered", verdict.reordered, &verdict.examples.reordered),
        ("phantom", verdict.phantom, &verdict.examples.phantom),
    ];
    for (name, count, examples) in findings {
        text.push_str(&format!("{name:<11}{count}\n"));
        for example in examples {
            text.push_str(&format!("  {}\n", line(example)));
        }
        if count > examples.len() as u64 && !examples.is_empty() {
            text.push_str("  ...\n");
        }
    }
    if let Some(letters) = &verdict.letters {
        text.push_str(&format!(
            "dead-lettered {} (of them {} the gateway should have got), held {}; letters {}, repeated {}, of no manifest {}, \
             of accepted records {}\n",
            letters.dead_lettered,
            letters.dead_lettered_sound,
            letters.held,
            letters.read,
            letters.repeated,
            letters.strange,
            letters.dead_lettered_accepted
        ));
        if letters.replayed > 0 {
            text.push_str(&format!(
                "replayed {}: {} of them accepted behind later records of their serial, {} that had to be rejected before\n",
                letters.replayed, letters.replayed_late, letters.repaired
            ));
        }
        for (reason, count) in &letters.reasons {
            text.push_str(&format!("  {reason:<32} {count}\n"));
        }
    }
    text.push_str(&format!(
        "expected {}, accepted {} ({} of them unconfirmed), to be rejected {}, to be refused {}, ledger lines {}\n",
        verdict.expected,
        verdict.accepted,
        verdict.accepted_unconfirmed,
        verdict.expected_rejected,
        verdict.expected_refused,
        verdict.ledger
    ));
    text
}

fn line(example: &Example) -> String {
    let place = example
        .place
        .map(|place| format!(", record {place} of the serial"))
        .unwrap_or_default();
    let line = example
        .line
        .map(|line| format!(", ledger line {line}"))
        .unwrap_or_default();
    format!(
        "{} {} {}{place}{line}: {}",
        example.serial, example.kind, example.date_time, example.why
    )
}
