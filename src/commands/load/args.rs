//! The arguments of `dig-ingest load`, and the plan they make.

use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::create;
use crate::commands::Report;
use crate::config::ConfigArgs;
use crate::formats::client::{Client, Refusal};
use crate::formats::{Format, wire};
use crate::load::binary::{self, Encoding};
use crate::load::drive::{Burst, Counters, Goal, Sink};
use crate::load::mix::Mix;
use crate::load::plan::{By, Plan, Shape};
use crate::load::produce::{Outlet, Target};
use crate::pipeline::metadata_probe::Asker;

const DAY_US: u64 = 86_400_000_000;
/// The times of a load span at most this, so that validation's age limit does not touch them.
const SPAN_US: u64 = 300 * DAY_US;
/// How long the broker may take to answer at the start.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than any machine here generates in a second; bounds a load of a given duration.
const FASTEST: f64 = 5e6;

/// Arguments of `dig-ingest load`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dig-ingest load --brokers 127.0.0.1:9092 --topic telemetry --create-topic 12 \\
      --records 100000 --manifest load.manifest
  dig-ingest load --brokers 127.0.0.1:9092 --devices 5000 --rate 2000 --duration 5m \\
      --bad-share 0.01 --manifest m
  dig-ingest load --records 20000000 --mix gps=100 --devices 10000 --brokers 127.0.0.1:9092 \\
      --run-id 7
  dig-ingest load --config job.toml --records 1000 --set kafka.security_protocol=ssl \\
      --set kafka.ca_file=ca.pem
  dig-ingest load --output - --records 5 --shape flespi
  dig-ingest load --config job.toml --topic positions --shape generic --format avro --records 1000
  dig-ingest load --brokers 127.0.0.1:9092 --rate 500 --duration 10m --burst 8:5s:60s")]
pub struct Args {
    /// Kafka brokers, HOST:PORT[,HOST:PORT...]; over kafka.brokers of the settings.
    #[arg(long, required_unless_present_any = ["output", "dry_run", "config", "sets"])]
    pub brokers: Option<String>,
    /// The settings' `[kafka]` says how to connect: TLS, SASL.
    #[command(flatten)]
    pub settings: ConfigArgs,
    /// Topic to produce to.
    #[arg(long, default_value = "telemetry")]
    pub topic: String,
    /// Create the topic with this many partitions if it does not exist.
    #[arg(long, value_name = "PARTITIONS", value_parser = clap::value_parser!(i32).range(1..))]
    pub create_topic: Option<i32>,
    /// Compression of the messages.
    #[arg(long, default_value = "none", value_parser = ["none", "lz4", "zstd", "gzip", "snappy"])]
    pub compression: String,
    /// A further property of the Kafka client.
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = property)]
    pub properties: Vec<(String, String)>,
    /// Seconds after which a message that the broker did not confirm is given up (and listed as unknown).
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout_s: u64,
    /// Write the messages to a file (`-`: standard output), one per line, instead of Kafka.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["brokers", "dry_run"])]
    pub output: Option<PathBuf>,
    /// Generate and throw away: measures generation alone.
    #[arg(long, conflicts_with = "brokers")]
    pub dry_run: bool,
    /// Write what was produced and confirmed to this file, for `dig-ingest verify`.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Write the devices, all active, to this file in the form of the registry file.
    #[arg(long, value_name = "FILE")]
    pub registry: Option<PathBuf>,
    /// Number of devices.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub devices: u32,
    /// How many records. Without this and --duration: 10000.
    #[arg(long)]
    pub records: Option<u64>,
    /// How long, e.g. 90s, 5m, 1h.
    #[arg(long, value_parser = span)]
    pub duration: Option<Duration>,
    /// Records per second; 0 is as fast as it goes.
    #[arg(long, default_value_t = 0.0, value_parser = rate)]
    pub rate: f64,
    /// FACTOR:ON:PERIOD: the rate is FACTOR times as high during the first ON of each PERIOD.
    #[arg(long, value_parser = burst, requires = "rate")]
    pub burst: Option<Burst>,
    /// Consecutive messages per device, as a unit sends that was out of coverage.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub backlog: u32,
    /// Weights of the record types: names as in the API without `Record`, `fault` for the four fault types, `all`.
    #[arg(long, default_value_t = Mix::default(), value_name = "TYPE=WEIGHT,...")]
    pub mix: Mix,
    /// Shape of the messages: the gateway's own, or a vendor's.
    #[arg(long, value_enum, default_value = "native")]
    pub shape: Shape,
    /// Format of the messages; avro and protobuf go with the shape generic. With schema_registry.urls in the settings the schema is
    /// registered there and every message names it; without, messages have no header.
    #[arg(long, value_enum, default_value = "json")]
    pub format: Format,
    /// Write the schema of the messages (avro or protobuf) to this file.
    #[arg(long, value_name = "FILE")]
    pub schema_output: Option<PathBuf>,
    /// Records per message of the shape native-array.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub array_len: u32,
    /// What names the device in a record and is the key; vendor shapes always use the device id.
    #[arg(long, value_enum)]
    pub by: Option<By>,
    /// Share of records that validation must reject, of several kinds.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub bad_share: f64,
    /// Share of valid records that carry the marker, for a simulator told to refuse it.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub poison_share: f64,
    /// The vehicle identification number of such a record.
    #[arg(long, default_value = "REFUSE00000000000", value_parser = marker)]
    pub poison_marker: String,
    /// Share of neighbouring records of a device that have each other's time.
    #[arg(long, alias = "out-of-order", default_value_t = 0.0, value_parser = share)]
    pub late_share: f64,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Time of the first record (RFC 3339). Default: such that the last one is a minute old.
    #[arg(long, value_name = "TIME")]
    pub start_time: Option<jiff::Timestamp>,
    /// Keeps loads apart: the last three digits of every time. Default: whatever the clock shows.
    #[arg(long, value_parser = clap::value_parser!(u16).range(0..=999))]
    pub run_id: Option<u16>,
    /// Milliseconds between two records of a device, in their times; lessened for loads of more than 300 days.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub interval_ms: u64,
    /// Form of the report.
    #[arg(long, value_enum, default_value = "text")]
    pub report: Report,
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err("expected 0 to 1".to_owned())
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if rate.is_finite() && rate >= 0.0 {
        Ok(rate)
    } else {
        Err("expected 0 or more records per second".to_owned())
    }
}

fn marker(text: &str) -> Result<String, String> {
    let fits = (1..=17).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if fits {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 17 capital letters or digits".to_owned())
    }
}

fn span(text: &str) -> Result<Duration, String> {
    let digits = text.len()
        - text
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
            .len();
    let (number, unit) = text.split_at(digits);
    let number: f64 = number
        .parse()
        .map_err(|_| "expected a number and a unit, e.g. 90s".to_owned())?;
    let factor = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit `{unit}`; use ms, s, m or h")),
    };
    Duration::try_from_secs_f64(number * factor).map_err(|_| "out of range".to_owned())
}

fn burst(text: &str) -> Result<Burst, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let [factor, on, period] = parts[..] else {
        return Err("expected FACTOR:ON:PERIOD, e.g. 8:5s:60s".to_owned());
    };
    let factor: f64 = factor
        .parse()
        .map_err(|_| format!("FACTOR `{factor}` is not a number"))?;
    let burst = Burst {
        factor,
        on: span(on)?,
        period: span(period)?,
    };
    if !(burst.factor.is_finite() && burst.factor >= 1.0) {
        return Err("FACTOR must be at least 1".to_owned());
    }
    if burst.period.is_zero() || burst.on > burst.period {
        return Err("PERIOD must be above zero and no shorter than ON".to_owned());
    }
    Ok(burst)
}

impl Args {
    pub(super) fn goal(&self) -> Goal {
        let records = if self.duration.is_none() {
            Some(self.records.unwrap_or(10_000))
        } else {
            self.records
        };
        Goal {
            records,
            duration: self.duration,
        }
    }

    /// The most records this load can come to.
    fn bound(&self) -> u64 {
        let goal = self.goal();
        let by_time = goal.duration.map(|duration| {
            let burst = self.burst.map_or(1.0, |burst| burst.factor);
            let rate = if self.rate > 0.0 {
                self.rate * burst
            } else {
                FASTEST
            };
            (rate * duration.as_secs_f64()).ceil() as u64 + 1
        });
        goal.records
            .unwrap_or(u64::MAX)
            .min(by_time.unwrap_or(u64::MAX))
    }

    pub(super) fn plan(&self) -> anyhow::Result<Plan> {
        ensure!(
            self.bad_share + self.poison_share <= 1.0,
            "--bad-share and --poison-share are together more than 1"
        );
        let by = match (self.shape.is_vendor(), self.by) {
            (true, Some(By::Serial)) => {
                bail!("--by serial: messages of a vendor's shape name the device id; leave it out")
            }
            (true, _) => By::DeviceId,
            (false, by) => by.unwrap_or(By::Serial),
        };
        let ticks = self.bound() / u64::from(self.devices)
            + u64::from(self.backlog) * u64::from(self.array_len)
            + 1;
        let step_us = (SPAN_US / ticks).min(self.interval_ms * 1000) / 1000 * 1000;
        let step_us = step_us.max(1000) as i64;
        let mut start_us = match self.start_time {
            Some(time) => time.as_microsecond(),
            None => {
                jiff::Timestamp::now().as_microsecond()
                    - (ticks as i64 + 1).saturating_mul(step_us)
                    - 60_000_000
            }
        };
        if let Some(run) = self.run_id {
            start_us = start_us.div_euclid(1000) * 1000 + i64::from(run);
        }
        Ok(Plan {
            seed: self.seed,
            devices: self.devices,
            mix: self.mix.clone(),
            shape: self.shape,
            by,
            start_us,
            step_us,
            array: self.array_len,
            backlog: self.backlog,
            bad_share: self.bad_share,
            poison_share: self.poison_share,
            late_share: self.late_share,
            poison_marker: self.poison_marker.clone(),
            encoding: Encoding::Json,
        })
    }

    /// How messages are written: registers the schema if the settings name a schema registry, and writes it if a file is named.
    pub(super) async fn encoding(&self) -> anyhow::Result<Encoding> {
        let (kind, schema) = match self.format {
            Format::Json => {
                ensure!(
                    self.schema_output.is_none(),
                    "--schema-output: JSON has no schema; add --format avro or protobuf"
                );
                return Ok(Encoding::Json);
            }
            Format::JsonWithHeader => {
                bail!("--format json_with_header is not written; use json, avro or protobuf")
            }
            Format::Avro => ("AVRO", binary::AVRO),
            Format::Protobuf => ("PROTOBUF", binary::PROTOBUF),
        };
        ensure!(
            self.shape == Shape::Generic,
            "--format {} goes with --shape generic",
            self.format.name()
        );
        ensure!(
            self.output.is_none() || self.records == Some(1),
            "--output with --format {}: a file holds one message; add --records 1",
            self.format.name()
        );
        if let Some(path) = &self.schema_output {
            std::fs::write(path, schema)
                .with_context(|| format!("{}: cannot write the schema", path.display()))?;
        }
        let registry = crate::commands::load(&self.settings)?.schema_registry;
        let mut header = Vec::new();
        if !registry.urls.is_empty() {
            let subject = format!("{}-value", self.topic);
            let client = Client::new(&registry)?;
            let registered = client.register(&subject, kind, schema).await;
            let id = registered.map_err(|refusal| match refusal {
                Refusal::Unknown(why) | Refusal::Unfit(why) => {
                    anyhow::anyhow!("the schema registry refuses the schema of {subject}: {why}")
                }
                Refusal::Away(trouble) => anyhow::anyhow!(
                    "the schema of {subject} cannot be registered: {}; {}",
                    trouble.cause,
                    trouble.remedy
                ),
            })?;
            header.extend_from_slice(&wire::header(id));
            if self.format == Format::Protobuf {
                // The first message type of the schema.
                header.push(0);
            }
        }
        Ok(match self.format {
            Format::Protobuf => Encoding::Protobuf(header),
            _ => Encoding::Avro(header),
        })
    }

    pub(super) async fn sink(&self, counters: &Arc<Counters>) -> anyhow::Result<Sink> {
        if let Some(path) = &self.output {
            if path.as_os_str() == "-" {
                return Ok(Sink::Lines(Box::new(BufWriter::with_capacity(
                    1 << 16,
                    crate::commands::console::Stdout,
                ))));
            }
            return Ok(Sink::Lines(Box::new(create(path)?)));
        }
        if self.dry_run {
            return Ok(Sink::Nothing);
        }
        let mut kafka = crate::commands::load(&self.settings)?.kafka;
        if let Some(brokers) = &self.brokers {
            kafka.brokers.clone_from(brokers);
        }
        // A wrong address, password or authority is an error before anything is produced.
        let client = kafka.plain()?;
        let (asked, patience) = (client.clone(), PATIENCE);
        tokio::task::spawn_blocking(move || Asker::open(&asked)?.cluster(patience))
            .await?
            .with_context(|| format!("the Kafka broker at {} does not answer", kafka.brokers))?;
        let target = Target {
            client,
            topic: self.topic.clone(),
            compression: self.compression.clone(),
            timeout: Duration::from_secs(self.timeout_s),
            properties: self.properties.clone(),
        };
        if let Some(partitions) = self.create_topic {
            target.create_topic(partitions).await?;
        }
        let outlet = Outlet::open(&target, Arc::clone(counters))?;
        let outlet =
            tokio::task::spawn_blocking(move || outlet.require_topic().map(|()| outlet)).await??;
        Ok(Sink::Kafka(Box::new(outlet)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_bursts_are_read() {
        assert_eq!(span("1.5m").unwrap(), Duration::from_secs(90));
        assert_eq!(span("250ms").unwrap(), Duration::from_millis(250));
        assert!(span("5x").is_err() && span("s").is_err());
        let found = burst("8:5s:1m").unwrap();
        assert_eq!(
            (found.factor, found.on.as_secs(), found.period.as_secs()),
            (8.0, 5, 60)
        );
        assert!(
            burst("8:5s").is_err() && burst("8:61s:1m").is_err() && burst("0.5:1s:2s").is_err()
        );
        assert!(share("1.1").is_err() && rate("-1").is_err() && marker("small").is_err());
    }
}
