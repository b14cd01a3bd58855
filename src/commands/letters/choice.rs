//! The flags that choose letters, and what the letters' commands need of the settings.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;

use crate::config::Settings;
use crate::letters::entry::Kind;
use crate::letters::filter::{Filter, Reasons};
use crate::letters::place::Part;
use crate::letters::read::Progress;
use crate::letters::replay;
use crate::ops::log;
use crate::pipeline::gate::Mode;
use crate::record::mapping;
use crate::record::rules::{self, NoSuchRule, RULES};
use crate::record::serial::Serial;
use crate::registry::Device;

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(2);
/// Characters of the bar.
const BAR: usize = 24;

/// Which letters; without any flag all of them.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Choice of letters")]
pub(in crate::commands) struct Choice {
    /// Topics: dead-letter, held, invalid; may be repeated. Default: dead-letter.
    #[arg(long, value_enum, value_name = "KIND", value_delimiter = ',')]
    pub from: Vec<Kind>,
    /// A reason code, or the beginning of some with * at its end (`gps.*`); may be repeated.
    #[arg(long, value_name = "CODE")]
    reason: Vec<String>,
    /// A rule that `dig-ingest explain` knows; may be repeated.
    #[arg(long, value_parser = rule)]
    rule: Vec<String>,
    /// Where the record left the path: consume, decode, map, validate, gate, upload; may be repeated.
    #[arg(long, value_parser = ["consume", "decode", "map", "validate", "gate", "upload", "feedback"])]
    stage: Vec<String>,
    /// A serial; may be repeated.
    #[arg(long)]
    serial: Vec<String>,
    /// A device id, also where only its serial is named and the device registry knows it; may be repeated.
    #[arg(long, value_name = "ID")]
    device: Vec<String>,
    /// Letters written at this time or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Letters written before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// The message they came from: TOPIC[/PARTITION[/OFFSET]], or FROM..TO for the offset; may be repeated.
    #[arg(long, value_name = "PLACE")]
    source: Vec<Part>,
    /// The letters' own places, in the same form; may be repeated.
    #[arg(long, value_name = "PLACE")]
    at: Vec<Part>,
}

fn rule(text: &str) -> Result<String, NoSuchRule> {
    let known = || {
        let mapped = mapping::RULES.iter().map(|(id, _)| *id);
        RULES.iter().map(|rule| rule.id).chain(mapped)
    };
    match known().any(|id| id == text) {
        true => Ok(text.to_owned()),
        false => Err(NoSuchRule {
            id: text.chars().take(120).collect(),
            alike: rules::alike(text, known()),
        }),
    }
}

impl Choice {
    /// The topics that are read.
    pub fn kinds(&self) -> Vec<Kind> {
        match self.from.is_empty() {
            true => vec![Kind::DeadLetter],
            false => self.from.clone(),
        }
    }

    /// Whether any flag but --from is given.
    pub fn is_narrow(&self) -> bool {
        let Self {
            from: _,
            reason,
            rule,
            stage,
            serial,
            device,
            since,
            until,
            source,
            at,
        } = self;
        let lists = [reason, rule, stage, serial, device];
        lists.iter().any(|list| !list.is_empty())
            || since.is_some()
            || until.is_some()
            || !source.is_empty()
            || !at.is_empty()
    }

    /// The filter; asks the device registry for the other names of devices that are named.
    ///
    /// # Errors
    /// The registry cannot be read.
    pub async fn filter(&self, settings: &Settings) -> anyhow::Result<Filter> {
        let named = !self.serial.is_empty() || !self.device.is_empty();
        let names = match named {
            true => Some(self.names(&registry(settings).await?)),
            false => None,
        };
        let ms = |time: Option<Timestamp>| time.map(Timestamp::as_millisecond);
        Ok(Filter {
            kinds: self.kinds(),
            reasons: self
                .reason
                .iter()
                .chain(&self.rule)
                .map(|text| Reasons::new(text))
                .collect(),
            stages: self.stage.clone(),
            names,
            since_ms: ms(self.since),
            until_ms: ms(self.until),
            sources: self.source.clone(),
            places: self.at.clone(),
        })
    }

    fn names(&self, devices: &[Device]) -> HashSet<String> {
        let mut names: HashSet<String> = self.device.iter().chain(&self.serial).cloned().collect();
        let normal = self
            .serial
            .iter()
            .filter_map(|text| Serial::normal(text).ok());
        names.extend(normal.map(|serial| String::from(&*serial)));
        for device in devices {
            let serial = device.serial.as_deref();
            if names.contains(&*device.device_id) {
                names.extend(serial.map(str::to_owned));
            } else if serial.is_some_and(|serial| names.contains(serial)) {
                names.insert(device.device_id.to_string());
            }
        }
        names
    }
}

/// The devices of the registry; none if the settings have no registry.
pub(in crate::commands) async fn registry(settings: &Settings) -> anyhow::Result<Vec<Device>> {
    let gated = settings.gate.mode == Mode::Registry;
    match settings.registry.place(gated) {
        Some(_) => crate::commands::devices::load(settings.clone())
            .await
            .context("the device registry cannot be read"),
        None => Ok(Vec::new()),
    }
}

/// What the letters' module needs of the settings.
pub(in crate::commands) fn needed(settings: &Settings) -> replay::Settings {
    replay::Settings {
        kafka: settings.kafka.clone(),
        topics: settings.topics.clone(),
        input: settings.input.clone(),
        gated: settings.gate.mode == Mode::Registry,
    }
}

/// Lines of progress on standard error, with a bar; none for what is done at once.
pub(in crate::commands) struct Bar {
    /// When the last line was written, or the bar was made.
    last: Instant,
}

impl Bar {
    pub fn new() -> Self {
        Self {
            last: Instant::now(),
        }
    }

    pub fn tell(&mut self, done: u64, total: u64, what: &str) {
        if self.last.elapsed() >= PROGRESS {
            self.last = Instant::now();
            log::progress(&line(done, total, what));
        }
    }

    pub fn read(&mut self, progress: Progress) {
        self.tell(progress.read, progress.total, "letters read");
    }
}

fn line(done: u64, total: u64, what: &str) -> String {
    let share = done.min(total) as f64 / total.max(1) as f64;
    let full = (share * BAR as f64) as usize;
    format!(
        "[{}{}] {:3.0} %  {done} of {total} {what}",
        "#".repeat(full),
        ".".repeat(BAR - full),
        share * 100.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::State;

    #[test]
    fn the_bar_is_as_long_as_it_says() {
        assert_eq!(
            line(5, 10, "letters read"),
            "[############............]  50 %  5 of 10 letters read"
        );
        assert_eq!(
            line(0, 0, "x"),
            "[........................]   0 %  0 of 0 x"
        );
        assert!(line(20, 10, "x").starts_with("[########################] 100 %"));
    }

    #[test]
    fn a_device_is_known_by_its_serial_and_the_other_way_round() {
        let device = Device {
            device_id: "imei-1".into(),
            serial: Some("CX0000000001".into()),
            state: State::Active,
            order: None,
            since: None,
        };
        for (serial, id) in [("cx0000000001", ""), ("", "imei-1")] {
            let choice = Choice {
                serial: vec![serial.to_owned()],
                device: vec![id.to_owned()],
                ..Choice::default()
            };
            let names = choice.names(std::slice::from_ref(&device));
            assert!(
                names.contains("imei-1") && names.contains("CX0000000001"),
                "{names:?}"
            );
        }
        assert!(rule("gps.latitude.range").is_ok() && rule("map.time").is_ok());
        assert!(
            rule("gps.latitude")
                .expect_err("none")
                .alike
                .contains(&"gps.latitude.range")
        );
    }
}
