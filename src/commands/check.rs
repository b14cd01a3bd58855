//! `dig-ingest check`: are the settings right, does the job fit into its memory, and with `--connect`: does what the
//! settings name answer.
//!
//! Changes nothing anywhere, and reads no telemetry.

mod broker;
mod gateway;
mod myadmin;
mod schemas;
mod store;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::console::{out, outln};
use crate::config::fit::Fit;
use crate::config::memory::Formula;
use crate::config::{ConfigArgs, Settings};
use crate::record::mapping::Mappings;

/// Arguments of `dig-ingest check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  export DIG_INGEST__DIG__USERNAME=integrator@example.com
  export DIG_INGEST__DIG__PASSWORD_FILE=/run/secrets/dig-password
  dig-ingest check --config config/dig-ingest.toml
  dig-ingest check --config config/dig-ingest.toml --show
  dig-ingest check --config config/dig-ingest.toml --connect
  dig-ingest check --config job.toml --set kafka.brokers=broker-1:9092 --connect --report json
  dig-ingest check --config job.toml --partitions 64 --set memory.limit_bytes=1073741824")]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Ask the broker for the topics, log in at the gateway, and at MyAdmin if a user is set for it; ask the schema registry if a topic
    /// needs it.
    #[arg(long)]
    connect: bool,
    /// Seconds that each of these may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout_s: u64,
    /// Partitions one instance may own, for the memory formula; `--connect` counts them itself.
    #[arg(long, value_name = "N")]
    partitions: Option<u64>,
    /// Print all settings as they hold, secrets hidden; also if a value is refused.
    #[arg(long)]
    show: bool,
    /// How the result is written to stdout.
    #[arg(long, value_enum, default_value_t = Report::Text)]
    report: Report,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Report {
    /// Lines for people.
    Text,
    /// One JSON object.
    Json,
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Tried {
    ok: bool,
    /// What was tried: `broker`, `topic telemetry`.
    subject: String,
    /// What was found.
    found: String,
    /// What to do about it; empty when all is well.
    remedy: String,
}

impl Tried {
    fn good(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            ok: true,
            subject: subject.into(),
            found: found.into(),
            remedy: String::new(),
        }
    }

    fn bad(
        subject: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            ok: false,
            subject: subject.into(),
            found: found.into(),
            remedy: remedy.into(),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A task of a check panicked. What is wrong with the job is no error but the result, and the exit code says it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut settings = match args.config.load_doubtful() {
        Ok((settings, None)) => settings,
        Ok((settings, Some(error))) => {
            refused(&args, &error, Some(&settings));
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => {
            refused(&args, &error, None);
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut tried = vec![Tried::good(
        "settings",
        "every key is known and every value in its bounds",
    )];
    tried.extend(mappings(&settings));
    let asking = Duration::from_secs(args.timeout_s.max(1));
    tried.extend(schemas::ask(&settings, args.connect.then_some(asking)).await);
    let mut partitions = args.partitions;
    let reading = Duration::from_secs(args.timeout_s.max(1));
    tried.extend(store::ask(&settings, args.connect.then_some(reading)).await);
    if args.connect {
        let timeout = Duration::from_secs(args.timeout_s.max(1));
        let asked = settings.clone();
        let (lines, counted) =
            tokio::task::spawn_blocking(move || broker::ask(&asked, timeout)).await?;
        tried.extend(lines);
        tried.push(gateway::log_in(&settings.dig, timeout).await);
        let now = jiff::Timestamp::now();
        tried.extend(myadmin::ask(&settings.myadmin, &settings.orders, now, timeout).await);
        partitions = partitions.or(counted);
    }
    let counted = partitions.is_some();
    let partitions = partitions.unwrap_or(settings.memory.partitions);
    let fit = settings.fit(partitions);
    let formula = settings.memory_formula(partitions);
    tried.push(fits(&formula, &fit, counted));
    let ok = tried.iter().all(|one| one.ok);
    let cautions = args.config.cautions(&settings);
    match args.report {
        Report::Json => {
            let settings = shown(&settings, args.show);
            outln!(
                "{}",
                json!({ "ok": ok, "checks": tried, "cautions": cautions, "memory": formula, "fit": fit, "settings": settings })
            );
        }
        Report::Text => {
            let cautions: String = cautions
                .iter()
                .map(|told| format!("caution {told}\n"))
                .collect();
            out!("{}{cautions}", text(&settings, &tried, &formula, args.show));
        }
    }
    Ok(if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Says what is wrong with the settings, after the settings themselves if they are to be shown.
fn refused(args: &Args, error: &crate::config::Error, settings: Option<&Settings>) {
    if args.report == Report::Json {
        let problems: Vec<_> = error.0.iter().map(ToString::to_string).collect();
        let settings = settings.and_then(|settings| shown(settings, args.show));
        outln!(
            "{}",
            json!({ "ok": false, "problems": problems, "settings": settings })
        );
        return;
    }
    if let Some(settings) = settings.filter(|_| args.show) {
        outln!("{}", settings.redacted());
    }
    outln!("failed  settings\n{error}");
}

/// Whether the mappings can be read, those of the input's topics first.
fn mappings(settings: &Settings) -> Vec<Tried> {
    let opened = match Mappings::open(&settings.mapping) {
        Ok(opened) => opened,
        Err(error) => {
            let remedy = "correct the files named in [mapping]";
            return vec![Tried::bad("mappings", format!("{error:#}"), remedy)];
        }
    };
    let load = |(topic, name): (&String, &String)| {
        let subject = format!("mapping of {topic}");
        match opened.load(name) {
            Ok(mapping) => Tried::good(subject, format!("{name}: {}", mapping.description())),
            Err(error) => Tried::bad(
                subject,
                format!("{error:#}"),
                "correct input.mappings or the mapping's file",
            ),
        }
    };
    settings.input.mappings.iter().map(load).collect()
}

fn shown(settings: &Settings, show: bool) -> Option<toml::Table> {
    show.then(|| settings.redacted().parse().ok()).flatten()
}

fn fits(formula: &Formula, fit: &Fit, counted: bool) -> Tried {
    let assumed = if counted {
        ""
    } else {
        " (memory.partitions); --connect counts those that exist"
    };
    let bound = match formula.limit_bytes {
        0 => "no limit is set (memory.limit_bytes), and the control group has none".to_owned(),
        limit => match &fit.limit_file {
            Some(file) => format!("limit {limit} bytes ({})", file.display()),
            None => format!("limit {limit} bytes (memory.limit_bytes)"),
        },
    };
    let lowered = if fit.lowered.is_empty() {
        String::new()
    } else {
        format!("; lowered to fit: {fit}")
    };
    let found = format!(
        "at most {} bytes for {} partitions, {bound}{assumed}{lowered}",
        formula.total_bytes, formula.partitions
    );
    match formula.check() {
        Ok(()) => Tried::good("memory", found),
        Err(error) => {
            let remedy = error
                .0
                .first()
                .map_or_else(String::new, |problem| problem.remedy.clone());
            Tried::bad("memory", found, remedy)
        }
    }
}

fn text(settings: &Settings, tried: &[Tried], formula: &Formula, show: bool) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    if show {
        let _ = writeln!(out, "{}", settings.redacted());
    }
    let width = tried.iter().map(|one| one.subject.len()).max().unwrap_or(0);
    for one in tried {
        let word = if one.ok { "ok" } else { "failed" };
        let _ = write!(out, "{word:<7} {:<width$}  {}", one.subject, one.found);
        let _ = if one.remedy.is_empty() {
            writeln!(out)
        } else {
            writeln!(out, "; {}", one.remedy)
        };
    }
    let _ = writeln!(out, "\nmemory formula");
    for term in &formula.terms {
        let _ = writeln!(out, "  {:<24} {:>16}  {}", term.name, term.bytes, term.how);
    }
    let _ = writeln!(out, "  {:<24} {:>16}", "total", formula.total_bytes);
    out
}
