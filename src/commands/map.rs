//! `dig-ingest map`: what vendor messages become, or why not.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};

use super::columns::aligned;
use crate::commands::console::{Stdout, noteln, out, outln};
use crate::commands::format::{self, FormatArgs};
use crate::config::ConfigArgs;
use crate::record::decode::{Decoder, Shape};
use crate::record::diagnostics::Diagnostic;
use crate::record::mapping::{Mappings, guess};
use crate::record::origin::Origin;
use crate::record::{Decoded, Outcome, SerialOf};

/// Arguments of `dig-ingest map`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dig-ingest map --mapping flespi messages.ndjson
  dig-ingest map --mapping ./mine.toml --set mapping.diagnostics=./diagnostics.toml message.json
  kcat -C -t vendor -c 10 | dig-ingest map --mapping traccar -
  dig-ingest map --guess message.json > mine.toml
  dig-ingest map --diagnostics 'battery voltage'
  dig-ingest map --explain --mapping ./mine.toml --key 356307042441013 \\
      --header site=north message.json
  dig-ingest map --mapping ./mine.toml --format avro --schema position.avsc message.bin

Exit status: 0 when every message became records or was skipped on purpose, 1 when anything was rejected
or no diagnostic matches.")]
pub struct Args {
    /// A mapping: the name of a shipped one, of a file in mapping.dir, or a path.
    #[arg(long, value_name = "NAME|PATH", required_unless_present_any = ["guess", "diagnostics"])]
    mapping: Option<String>,
    /// Propose a mapping for the first message of the file, as a commented file on stdout.
    #[arg(long, conflicts_with = "mapping")]
    guess: bool,
    /// List the diagnostics whose name holds this text or whose code it is, those of mapping.diagnostics too; without a text all.
    #[arg(
        long,
        value_name = "TEXT",
        num_args = 0..=1,
        default_missing_value = "",
        conflicts_with_all = ["mapping", "guess", "file"]
    )]
    diagnostics: Option<String>,
    #[command(flatten)]
    settings: ConfigArgs,
    #[command(flatten)]
    format: FormatArgs,
    /// Serial shown for messages that carry a device id: the device registry is not asked.
    #[arg(long, value_name = "SERIAL", default_value = "UNREGISTERED")]
    serial: String,
    /// Say on stderr, for each record of the mapping, which input made it, or why it was not made.
    #[arg(long)]
    explain: bool,
    /// Topic that `@kafka.topic` gives.
    #[arg(long, value_name = "NAME", default_value = "")]
    topic: String,
    /// Message key that `@kafka.key` gives.
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
    /// Message timestamp that `@kafka.timestamp` gives, in milliseconds since 1970.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    timestamp: Option<i64>,
    /// Message header that `@kafka.headers.NAME` gives; may be repeated.
    #[arg(long, value_name = "NAME=TEXT", value_parser = header)]
    header: Vec<(String, String)>,
    /// Print a report as the last line of stdout.
    #[arg(long, value_name = "FORM", value_parser = ["json"])]
    report: Option<String>,
    /// Messages: NDJSON, or one JSON document; one message of another --format; - is stdin.
    #[arg(value_name = "FILE|-", required_unless_present = "diagnostics")]
    file: Option<PathBuf>,
}

/// A header as it is typed.
fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=text")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Args {
    fn headers(&self) -> Vec<(String, Vec<u8>)> {
        let headers = self.header.iter();
        headers
            .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
            .collect()
    }
}

/// Gives every device the same serial.
struct Everyone(String);

impl SerialOf for Everyone {
    fn serial_of(&self, _device_id: &str) -> Option<&str> {
        Some(&self.0)
    }
}

#[derive(Debug, Default, serde::Serialize)]
struct Report {
    messages: u64,
    records: u64,
    rejected: u64,
    /// Messages that made no record and no reject.
    skipped: u64,
    notes: BTreeMap<&'static str, u64>,
    rejects: BTreeMap<&'static str, u64>,
}

/// Runs the command.
///
/// # Errors
/// The mapping or the file cannot be read, or stdout is closed.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = super::load(&args.settings)?;
    let mappings = Mappings::open(&settings.mapping)?;
    if let Some(text) = &args.diagnostics {
        let found: Vec<_> = mappings.diagnostics().matching(text).collect();
        return Ok(listed(text, &found, args.report.is_some()));
    }
    let file = args.file.clone().unwrap_or_default();
    let mapping = match &args.mapping {
        Some(name) => Some(mappings.load(name)?),
        None => None,
    };
    let text = if file.as_os_str() == "-" {
        let mut text = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut text)
            .context("cannot read stdin")?;
        text
    } else {
        std::fs::read(&file)
            .with_context(|| format!("{}: cannot read the messages", file.display()))?
    };
    let Some(mapping) = mapping else {
        anyhow::ensure!(
            args.format.is_json(),
            "--guess reads JSON: leave --format out"
        );
        let first = messages(&text)
            .first()
            .map_or(&b""[..], |(_, first)| *first);
        let proposal = guess(first).map_err(|problem| anyhow!("{}: {problem}", file.display()))?;
        let mut out = Stdout;
        out.write_all(proposal.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    };
    let rules = Arc::new(crate::app::rules(&settings)?);
    let mut decoder = Decoder::new(Shape::Mapped(mapping), Arc::clone(&rules));
    if args.explain {
        decoder.explain();
    }
    let mut intake = args.format.intake(&settings, &rules, decoder)?;
    let origin = Origin {
        topic: &args.topic,
        timestamp_ms: args.timestamp,
        key: args.key.as_ref().map(String::as_bytes),
        headers: &args.headers(),
        ..Origin::NONE
    };
    let devices = Everyone(args.serial);
    let now = jiff::Timestamp::now().as_microsecond();
    let mut out = std::io::BufWriter::new(Stdout);
    let mut report = Report::default();
    let mut decoded = Decoded::default();
    let messages = match args.format.is_json() {
        true => messages(&text),
        false => vec![(1, &text[..])],
    };
    for (number, message) in messages {
        decoded.clear();
        let call = (&origin, &devices, now);
        format::decode(&mut intake, message, call, &mut decoded).await?;
        report.messages += 1;
        for told in intake.decoder().explained() {
            noteln!("line {number}: {told}");
        }
        report.skipped += u64::from(decoded.outcomes.is_empty());
        for outcome in &decoded.outcomes {
            match outcome {
                Outcome::Valid(record) => {
                    report.records += 1;
                    out.write_all(record.bytes(&decoded.bytes))?;
                    out.write_all(b"\n")?;
                }
                Outcome::Reject(reject) => {
                    report.rejected += 1;
                    *report.rejects.entry(reject.rule).or_default() += 1;
                    noteln!("line {number}: {} stage: {reject}", reject.stage.name());
                }
                Outcome::Excess(excess) => {
                    report.rejected += u64::from(excess.records);
                    for &(rule, count) in &excess.rules {
                        *report.rejects.entry(rule).or_default() += u64::from(count);
                    }
                    noteln!("line {number}: {}", excess.detail());
                }
                Outcome::Unknown(unknown) => {
                    noteln!("line {number}: no serial for device {}", unknown.device_id)
                }
            }
        }
        if decoded.outcomes.is_empty() {
            let why: Vec<&str> = decoded.notes.iter().map(|(rule, _)| *rule).collect();
            noteln!("line {number}: no record ({})", why.join(", "));
        }
        for (rule, count) in &decoded.notes {
            *report.notes.entry(*rule).or_default() += count;
        }
    }
    noteln!(
        "{} messages: {} records, {} rejected, {} messages without record",
        report.messages,
        report.records,
        report.rejected,
        report.skipped
    );
    for (rule, count) in &report.notes {
        noteln!("  {rule}: {count}");
    }
    if args.report.is_some() {
        serde_json::to_writer(&mut out, &report)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(if report.rejected == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Lists diagnostics, for people or as one JSON object.
fn listed(text: &str, found: &[&Diagnostic], json: bool) -> ExitCode {
    if json {
        let rows = found.iter().map(|d| {
            serde_json::json!({ "type": d.record.name(), "code": d.code, "name": d.name, "unit": d.unit })
        });
        let rows: Vec<_> = rows.collect();
        outln!("{}", serde_json::json!({ "diagnostics": rows }));
    } else if !found.is_empty() {
        let row = |d: &&Diagnostic| {
            let unit = if d.unit.is_empty() { "-" } else { &d.unit };
            [
                d.record.name().to_owned(),
                d.code.to_string(),
                d.name.clone(),
                unit.to_owned(),
            ]
        };
        let header = ["TYPE", "CODE", "NAME", "UNIT"];
        out!("{}", aligned(header, found.iter().map(row)));
    }
    if found.is_empty() {
        noteln!("no diagnostic has \"{text}\" in its name, or as its code");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The messages of a file with the line each begins in: its lines when the first that is not blank is JSON by itself, else the whole.
fn messages(text: &[u8]) -> Vec<(usize, &[u8])> {
    let lines = || {
        text.split(|&b| b == b'\n')
            .enumerate()
            .filter(|(_, line)| !line.trim_ascii().is_empty())
    };
    let by_line = lines()
        .next()
        .is_none_or(|(_, first)| serde_json::from_slice::<serde::de::IgnoredAny>(first).is_ok());
    if by_line {
        lines()
            .map(|(n, line)| (n + 1, line.trim_ascii()))
            .collect()
    } else {
        vec![(1, text)]
    }
}

#[cfg(test)]
mod tests {
    use super::messages;

    #[test]
    fn lines_or_one_document() {
        let found = |text: &'static str| -> Vec<(usize, &str)> {
            messages(text.as_bytes())
                .into_iter()
                .map(|(n, m)| (n, std::str::from_utf8(m).unwrap()))
                .collect()
        };
        assert_eq!(found(""), []);
        assert_eq!(
            found("{\"a\":1}\n\n[2]\r\n"),
            [(1, "{\"a\":1}"), (3, "[2]")]
        );
        assert_eq!(found("{\n \"a\": 1\n}\n"), [(1, "{\n \"a\": 1\n}\n")]);
        assert_eq!(
            found("{\"a\":1}\n{broken\n"),
            [(1, "{\"a\":1}"), (2, "{broken")]
        );
    }
}
