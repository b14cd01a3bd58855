//! `dig-ingest validate`: what the job would make of the messages in a file.
//!
//! Reads line by line, one message per line, so that the size of the file does not matter. The device registry is not asked: a record
//! with a DeviceId is checked fully, and counted as resolved with the serial that `--serial` gives.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::Serialize;

use super::console::out;
use super::format::{self, FormatArgs};
use crate::config::ConfigArgs;
use crate::record::decode::{Decoder, Shape};
use crate::record::origin::Origin;
use crate::record::validate::Rules;
use crate::record::{Decoded, Outcome, Reject, SerialOf};

/// Arguments of `dig-ingest validate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dig-ingest validate records.ndjson
  dig-ingest validate --first 100 --set validate.hold_back=reject records.ndjson
  kcat -C -t telemetry -e | dig-ingest validate --report json -
  dig-ingest validate --format protobuf --schema record.proto message.bin

Exit status: 0 when no record was rejected, 1 otherwise.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    format: FormatArgs,
    /// How many rejects are shown.
    #[arg(long, value_name = "N", default_value_t = 10)]
    first: usize,
    /// Serial that every device id is resolved to: the device registry is not asked.
    #[arg(long, value_name = "SERIAL", default_value = "UNREGISTERED")]
    serial: String,
    /// How the result is written to stdout.
    #[arg(long, value_enum, default_value_t = Report::Text)]
    report: Report,
    /// Messages as NDJSON, one per line; one message of another --format; - is stdin.
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Report {
    /// Lines for people.
    Text,
    /// One JSON object as the last line.
    Json,
}

/// Gives every device the same serial.
struct Everyone(String);

impl SerialOf for Everyone {
    fn serial_of(&self, _device_id: &str) -> Option<&str> {
        Some(&self.0)
    }
}

/// A reject and where it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Shown {
    line: u64,
    rule: &'static str,
    field: String,
    value: String,
    bound: String,
    subject: Option<String>,
}

/// What a file came to.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Summary {
    /// Messages; blank lines are not counted.
    messages: u64,
    accepted: u64,
    rejected: u64,
    /// Accepted records by type.
    types: BTreeMap<&'static str, u64>,
    /// Rejected records and messages by rule.
    rejects: BTreeMap<&'static str, u64>,
    /// Warnings and normalisations of accepted records by rule.
    notes: BTreeMap<&'static str, u64>,
    /// The first rejects.
    first: Vec<Shown>,
}

/// Runs the command.
///
/// # Errors
/// The settings or the file cannot be read, or stdout is closed.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = args.config.load()?;
    let rules = crate::app::rules(&settings)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?
        .as_micros() as i64;
    let devices = Everyone(args.serial);
    let input: Box<dyn BufRead> = match open(&args.file)? {
        None => Box::new(io::stdin().lock()),
        Some(file) => Box::new(BufReader::with_capacity(1 << 18, file)),
    };
    let cannot = || match args.file.as_os_str() == "-" {
        true => "cannot read stdin".to_owned(),
        false => format!("{}: cannot read", args.file.display()),
    };
    let summary = if args.format.is_json() {
        check(input, rules, &devices, now, args.first).with_context(cannot)?
    } else {
        let mut message = Vec::new();
        let most = rules.max_message_bytes() as u64 + 1;
        input
            .take(most)
            .read_to_end(&mut message)
            .with_context(cannot)?;
        let rules = Arc::new(rules);
        let decoder = Decoder::new(Shape::Native, Arc::clone(&rules));
        let mut intake = args.format.intake(&settings, &rules, decoder)?;
        let mut decoded = Decoded::default();
        let call = (&Origin::NONE, &devices, now);
        format::decode(&mut intake, &message, call, &mut decoded).await?;
        let mut summary = Summary {
            messages: 1,
            ..Summary::default()
        };
        summary.add(1, &decoded, args.first);
        summary
    };
    let text = match args.report {
        Report::Text => summary.text(),
        Report::Json => serde_json::to_string(&summary)? + "\n",
    };
    out!("{text}");
    Ok(if summary.rejected == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn open(path: &Path) -> anyhow::Result<Option<File>> {
    if path.as_os_str() == "-" {
        return Ok(None);
    }
    File::open(path)
        .map(Some)
        .with_context(|| format!("{}: cannot open", path.display()))
}

fn check(
    mut input: impl BufRead,
    rules: Rules,
    devices: &impl SerialOf,
    now: i64,
    first: usize,
) -> io::Result<Summary> {
    let longest = rules.max_message_bytes();
    let mut decoder = Decoder::new(Shape::Native, Arc::new(rules));
    let mut summary = Summary::default();
    let mut decoded = Decoded::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if !next_line(&mut input, &mut line, longest)? {
            break;
        }
        // Of a line that is too long only the beginning is here.
        if line.len() <= longest && line.trim_ascii().is_empty() {
            continue;
        }
        summary.messages += 1;
        decoded.clear();
        decoder.decode(Some(&line), devices, now, &mut decoded);
        summary.add(number, &decoded, first);
    }
    Ok(summary)
}

/// Reads a line without its end into `line`; of a line longer than `longest` only a little more than that is kept, so that it is
/// refused for its size without being held whole. False at the end of the input.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>, longest: usize) -> io::Result<bool> {
    let mut any = false;
    loop {
        let chunk = input.fill_buf()?;
        if chunk.is_empty() {
            return Ok(any);
        }
        any = true;
        let (part, used, ended) = match chunk.iter().position(|&byte| byte == b'\n') {
            Some(end) => (&chunk[..end], end + 1, true),
            None => (chunk, chunk.len(), false),
        };
        // One more than may be, besides a carriage return.
        let room = (longest + 2).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        input.consume(used);
        if ended {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(true);
        }
    }
}

impl Summary {
    fn add(&mut self, line: u64, decoded: &Decoded, first: usize) {
        for outcome in &decoded.outcomes {
            match outcome {
                Outcome::Valid(record) => {
                    self.accepted += 1;
                    *self.types.entry(record.kind().name()).or_default() += 1;
                }
                Outcome::Reject(reject) => {
                    self.rejected += 1;
                    *self.rejects.entry(reject.rule).or_default() += 1;
                    if self.first.len() < first {
                        self.first.push(Shown::new(line, reject));
                    }
                }
                Outcome::Excess(excess) => {
                    self.rejected += u64::from(excess.records);
                    for &(rule, count) in &excess.rules {
                        *self.rejects.entry(rule).or_default() += u64::from(count);
                    }
                    let missing = first.saturating_sub(self.first.len());
                    let shown = excess.examples.iter().take(missing);
                    self.first
                        .extend(shown.map(|reject| Shown::new(line, reject)));
                }
                // Every device id is resolved here.
                Outcome::Unknown(_) => {}
            }
        }
        for &(rule, count) in &decoded.notes {
            *self.notes.entry(rule).or_default() += count;
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut table = |title: &str, rows: &BTreeMap<&'static str, u64>| {
            if !rows.is_empty() {
                text.push_str(&format!("{title}:\n"));
                for (name, count) in rows {
                    text.push_str(&format!("  {count:>9}  {name}\n"));
                }
            }
        };
        table("accepted by type", &self.types);
        table("warnings and normalisations", &self.notes);
        table("rejected by rule", &self.rejects);
        for shown in &self.first {
            text.push_str(&shown.text());
        }
        let more = self.rejected - self.first.len() as u64;
        if more > 0 {
            text.push_str(&format!(
                "... and {more} more rejects (--first N shows more)\n"
            ));
        }
        let (messages, accepted, rejected) = (self.messages, self.accepted, self.rejected);
        text.push_str(&format!(
            "{messages} messages: {accepted} records accepted, {rejected} rejected\n"
        ));
        text
    }
}

impl Shown {
    fn new(line: u64, reject: &Reject) -> Self {
        Self {
            line,
            rule: reject.rule,
            field: reject.field.clone(),
            value: reject.value.clone(),
            bound: reject.bound.clone(),
            subject: reject.subject.clone(),
        }
    }

    fn text(&self) -> String {
        let field = if self.field.is_empty() {
            "message"
        } else {
            &self.field
        };
        let whose = self
            .subject
            .as_deref()
            .map(|subject| format!(" of {subject:?}"))
            .unwrap_or_default();
        let (line, rule, bound) = (self.line, self.rule, &self.bound);
        // Quoted, so that control characters cannot play with a terminal.
        format!(
            "line {line}: {rule}: {field:?}{whose} is {:?}, expected {bound}\n",
            self.value
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"Type":"VinRecord","DateTime":"2025-11-20T10:00:00Z","SerialNo":"CX0B21338D8D","VehicleIdentificationNumber":"1M8GDM9AXKP042788"}"#;
    const NOW: i64 = 1_763_700_000_000_000;

    fn summary(text: &str, first: usize, rules: Rules) -> Summary {
        // A small buffer, so that lines span several reads.
        let input = BufReader::with_capacity(7, text.as_bytes());
        check(
            input,
            rules,
            &Everyone("CX0B21338D8D".to_owned()),
            NOW,
            first,
        )
        .unwrap()
    }

    #[test]
    fn lines_are_numbered_and_counted() {
        let by_device = GOOD.replace(r#""SerialNo":"CX0B21338D8D""#, r#""DeviceId":"7""#);
        let bad = GOOD.replace("2025-11-20T10:00:00Z", "yesterday");
        let text = format!("{GOOD}\r\n\n[{by_device},{bad}]\nnonsense\n\n{bad}");
        let summary = summary(&text, 2, Rules::default());
        assert_eq!(
            (summary.messages, summary.accepted, summary.rejected),
            (4, 2, 3)
        );
        assert_eq!(summary.types, BTreeMap::from([("VinRecord", 2)]));
        assert_eq!(
            summary.rejects,
            BTreeMap::from([("message.json", 1), ("record.datetime.form", 2)])
        );
        let places: Vec<_> = summary
            .first
            .iter()
            .map(|shown| (shown.line, shown.field.as_str()))
            .collect();
        assert_eq!(places, [(3, "[1].DateTime"), (4, "")]);
        let text = summary.text();
        assert!(
            text.contains("line 3: record.datetime.form: \"[1].DateTime\""),
            "{text}"
        );
        assert!(text.contains("... and 1 more rejects"), "{text}");
        assert!(
            text.ends_with("4 messages: 2 records accepted, 3 rejected\n"),
            "{text}"
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_for_its_size() {
        let config = crate::record::validate::Config {
            max_message_bytes: 200,
            ..Default::default()
        };
        let long = format!("{}{GOOD}", " ".repeat(1000));
        let summary = summary(&format!("{long}\n{GOOD}\n"), 5, Rules::new(&config));
        assert_eq!((summary.accepted, summary.rejected), (1, 1));
        assert_eq!(summary.rejects, BTreeMap::from([("message.size", 1)]));
    }
}
