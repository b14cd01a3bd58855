//! `dig-ingest offsets`: the consumer group's offsets beside the logs, and their change while the job is stopped.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use serde::Serialize;

use super::Report;
use crate::commands::console::{noteln, outln};
use crate::config::{ConfigArgs, Settings};
use crate::pipeline::group::{Group, GroupOffset};
use crate::pipeline::settings::Start;
use crate::topic_partition::TopicPartition;

/// Arguments of `dig-ingest offsets`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dig-ingest offsets show --config job.toml
  dig-ingest offsets set --to 2026-07-01T06:00:00Z --dry-run --config job.toml
  dig-ingest offsets set --to 184467 --topic telemetry --partition 3 --config job.toml

An offset is the number of the message that is read next. What lies between an old and a new offset is sent again (the new one is
lower) or never sent (it is higher). Counts are differences of offsets: compacted topics and transactions have fewer messages.
An offset that was committed for a topic of the same name that is deleted by now counts as none.")]
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
    /// Show the committed offset, the bounds of the log and the lag of each partition.
    #[command(after_help = "Examples:
  dig-ingest offsets show --config job.toml
  dig-ingest offsets show --topic telemetry --report json --config job.toml")]
    Show {
        #[command(flatten)]
        only: Only,
    },
    /// Move the group to other offsets; every instance of the job must be stopped.
    #[command(after_help = "Examples:
  dig-ingest offsets set --to earliest --dry-run --config job.toml
  dig-ingest offsets set --to 2026-07-01T06:00:00Z --config job.toml
  dig-ingest offsets set --to latest --allow-skip --config job.toml")]
    Set {
        /// The new offset: earliest, latest, a time (the first message written then or later), or a number.
        #[arg(long, value_name = "PLACE")]
        to: String,
        /// Say what would be done and do nothing.
        #[arg(long)]
        dry_run: bool,
        /// Agree that messages are skipped, which are then never sent.
        #[arg(long)]
        allow_skip: bool,
        #[command(flatten)]
        only: Only,
    },
}

/// Some of the partitions.
#[derive(Debug, Clone, clap::Args)]
struct Only {
    /// Only this input topic.
    #[arg(long)]
    topic: Option<String>,
    /// Only this partition of --topic.
    #[arg(long, requires = "topic")]
    partition: Option<i32>,
}

impl Only {
    fn is(&self, key: &TopicPartition) -> bool {
        self.topic.as_ref().is_none_or(|only| *only == key.topic)
            && self.partition.is_none_or(|only| only == key.partition)
    }
}

/// A partition in the report of `show`.
#[derive(Debug, Serialize)]
struct Shown {
    topic: String,
    partition: i32,
    first: i64,
    end: i64,
    committed: Option<i64>,
    /// Why the committed offset does not count.
    outdated: Option<&'static str>,
    lag: i64,
}

/// The report of `show`.
#[derive(Debug, Serialize)]
struct Showing {
    group: String,
    members: Vec<String>,
    partitions: Vec<Shown>,
}

/// A partition in the report of `set`.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Move {
    topic: String,
    partition: i32,
    /// Where the group would go on without the change.
    from: i64,
    to: i64,
    repeated: i64,
    skipped: i64,
}

/// The report of `set`.
#[derive(Debug, Serialize)]
struct Moved {
    group: String,
    done: bool,
    repeated: i64,
    skipped: i64,
    members: Vec<String>,
    partitions: Vec<Move>,
}

/// The value of `--to`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum To {
    Start(Start),
    Offset(i64),
}

impl To {
    fn of(text: &str) -> anyhow::Result<Self> {
        if let Ok(offset) = text.parse() {
            return Ok(Self::Offset(offset));
        }
        let start = text.parse().map_err(|_| {
            anyhow::anyhow!("--to {text}: give earliest, latest, a time such as 2026-07-01T00:00:00Z, or an offset")
        })?;
        Ok(Self::Start(start))
    }
}

/// Runs the command.
///
/// # Errors
/// The group has members, messages would be skipped without consent, there is no such partition, or the brokers do not answer.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = super::load(&args.settings)?;
    let report = args.report;
    let work = move || match args.act {
        Act::Show { only } => show(&settings, &only, report),
        Act::Set {
            to,
            dry_run,
            allow_skip,
            only,
        } => {
            let to = To::of(&to)?;
            let wanted = Wanted {
                to,
                dry_run,
                allow_skip,
            };
            set(&settings, &only, &wanted, report)
        }
    };
    tokio::task::spawn_blocking(work)
        .await
        .context("asking the brokers failed")??;
    Ok(ExitCode::SUCCESS)
}

/// The chosen partitions of the input topics.
fn places(settings: &Settings, group: &Group, only: &Only) -> anyhow::Result<Vec<GroupOffset>> {
    let mut keys = group.inputs(&settings.input, &settings.topics)?;
    ensure!(
        !keys.is_empty(),
        "the brokers have none of the topics in input.topics ({})",
        settings.input.topics.join(", ")
    );
    keys.retain(|key| only.is(key));
    ensure!(
        !keys.is_empty(),
        "--topic, --partition: no input topic has such a partition; `dig-ingest offsets show` lists them"
    );
    group.places(&keys)
}

fn members(group: &Group) -> anyhow::Result<Vec<String>> {
    let all = group.members()?.into_iter();
    Ok(all
        .map(|member| format!("{} at {}", member.client_id, member.host))
        .collect())
}

fn show(settings: &Settings, only: &Only, report: Report) -> anyhow::Result<()> {
    let group = Group::open(&settings.kafka)?;
    let partitions = places(settings, &group, only)?.into_iter().map(|place| {
        let from = place.goes_on().unwrap_or(place.facts.low);
        Shown {
            first: place.facts.low,
            end: place.facts.end,
            committed: place.committed.as_ref().map(|committed| committed.offset),
            outdated: place.outdated().map(|change| change.name()),
            lag: (place.facts.end - from).max(0),
            topic: place.key.topic,
            partition: place.key.partition,
        }
    });
    let showing = Showing {
        group: settings.kafka.group.clone(),
        partitions: partitions.collect(),
        members: members(&group)?,
    };
    match report {
        Report::Json => outln!("{}", serde_json::to_string(&showing)?),
        Report::Text => {
            let mut rows = vec![
                ["topic", "partition", "first", "end", "committed", "lag", ""].map(str::to_owned),
            ];
            rows.extend(showing.partitions.iter().map(|one| {
                let committed = one.committed.map_or("-".to_owned(), |at| at.to_string());
                let outdated = match one.outdated {
                    Some(change) => format!("the committed offset does not count: {change}"),
                    None => String::new(),
                };
                [
                    one.topic.clone(),
                    one.partition.to_string(),
                    one.first.to_string(),
                    one.end.to_string(),
                    committed,
                    one.lag.to_string(),
                    outdated,
                ]
            }));
            table(&rows);
            match showing.members.as_slice() {
                [] => noteln!("group {}: no members", showing.group),
                all => noteln!("group {}: {}", showing.group, all.join(", ")),
            }
        }
    }
    Ok(())
}

struct Wanted {
    to: To,
    dry_run: bool,
    allow_skip: bool,
}

fn set(settings: &Settings, only: &Only, wanted: &Wanted, report: Report) -> anyhow::Result<()> {
    let group = Group::open(&settings.kafka)?;
    let places = places(settings, &group, only)?;
    let offsets = match &wanted.to {
        To::Start(start) => group.offsets(&places, start)?,
        To::Offset(offset) => {
            ensure!(
                only.partition.is_some(),
                "--to {offset}: an offset belongs to one partition; add --topic and --partition"
            );
            vec![*offset; places.len()]
        }
    };
    let moves: Vec<(&GroupOffset, i64)> = places.iter().zip(offsets).collect();
    let mut partitions = Vec::with_capacity(moves.len());
    for (place, to) in &moves {
        ensure!(
            (place.facts.low..=place.facts.end).contains(to),
            "--to {to}: partition {} of {} has the offsets {} to {}; nothing is changed",
            place.key.partition,
            place.key.topic,
            place.facts.low,
            place.facts.end
        );
        partitions.push(moved(place, *to));
    }
    let mut report_of = Moved {
        group: settings.kafka.group.clone(),
        done: false,
        repeated: partitions.iter().map(|one| one.repeated).sum(),
        skipped: partitions.iter().map(|one| one.skipped).sum(),
        members: members(&group)?,
        partitions,
    };
    if !wanted.dry_run {
        ensure!(
            report_of.skipped == 0 || wanted.allow_skip,
            "{} messages would be skipped and never sent; look at them with --dry-run, and add --allow-skip if that is meant",
            report_of.skipped
        );
        group.commit(&moves).context("nothing is changed")?;
        report_of.done = true;
    }
    match report {
        Report::Json => outln!("{}", serde_json::to_string(&report_of)?),
        Report::Text => tell(&report_of, &settings.input.start),
    }
    Ok(())
}

/// What it means that a partition is read from `to` on.
fn moved(place: &GroupOffset, to: i64) -> Move {
    // Without an offset that counts everything is still to be read.
    let from = place.goes_on().unwrap_or(place.facts.low);
    Move {
        topic: place.key.topic.clone(),
        partition: place.key.partition,
        from,
        to,
        repeated: (from - to).max(0),
        skipped: (to - from).max(0),
    }
}

fn tell(moved: &Moved, start: &str) {
    let mut rows =
        vec![["topic", "partition", "from", "to", "repeated", "skipped"].map(str::to_owned)];
    rows.extend(moved.partitions.iter().map(|one| {
        [
            one.topic.clone(),
            one.partition.to_string(),
            one.from.to_string(),
            one.to.to_string(),
            one.repeated.to_string(),
            one.skipped.to_string(),
        ]
    }));
    table(&rows);
    let done = if moved.done {
        "is moved"
    } else {
        "would be moved"
    };
    noteln!(
        "group {} {done}: {} messages are sent again, {} are skipped",
        moved.group,
        moved.repeated,
        moved.skipped
    );
    if !moved.done && !moved.members.is_empty() {
        noteln!(
            "the group has members, so this is refused until they are stopped: {}",
            moved.members.join(", ")
        );
    }
    if moved.done && start != "earliest" {
        noteln!("input.start = \"{start}\" does not count for this group any more: it has offsets");
    }
}

/// Prints columns, numbers as they come; the first row is the heading.
fn table<const N: usize>(rows: &[[String; N]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        outln!("{}", line.join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_life::broker::Committed;
    use crate::log_life::{Facts, TopicId};

    fn place(committed: Option<(i64, &str)>) -> GroupOffset {
        GroupOffset {
            key: TopicPartition::new("telemetry", 3),
            facts: Facts {
                topic_id: TopicId::new("now"),
                low: 100,
                end: 1_000,
            },
            committed: committed.map(|(offset, id)| Committed {
                offset,
                epoch: -1,
                topic_id: TopicId::new(id),
            }),
        }
    }

    #[test]
    fn a_move_says_how_much_is_repeated_and_skipped() {
        let counts = |place: &GroupOffset, to| {
            let moved = moved(place, to);
            (moved.from, moved.repeated, moved.skipped)
        };
        let known = place(Some((400, "now")));
        assert_eq!(counts(&known, 100), (400, 300, 0));
        assert_eq!(counts(&known, 400), (400, 0, 0));
        assert_eq!(counts(&known, 1_000), (400, 0, 600));
        // What was committed in another life would be read from the first message.
        assert_eq!(counts(&place(Some((400, "then"))), 400), (100, 0, 300));
        assert_eq!(counts(&place(None), 100), (100, 0, 0));
    }

    #[test]
    fn the_new_place_is_a_word_a_time_or_an_offset() {
        assert_eq!(To::of("17").unwrap(), To::Offset(17));
        assert_eq!(To::of("latest").unwrap(), To::Start(Start::Latest));
        let time = "2026-07-01T00:00:00Z";
        assert_eq!(
            To::of(time).unwrap(),
            To::Start(Start::At(time.parse().unwrap()))
        );
        let error = To::of("noon").unwrap_err().to_string();
        assert!(error.starts_with("--to noon: give earliest"), "{error}");
    }
}
