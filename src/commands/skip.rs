//! `dig-ingest skip`: lets a partition go on behind a batch that cannot be read.

use std::process::ExitCode;

use anyhow::Context as _;
use jiff::Timestamp;

use super::Report;
use crate::commands::console::{noteln, outln};
use crate::config::{ConfigArgs, Settings};
use crate::pipeline::metadata_probe::Asker;
use crate::pipeline::skip;
use crate::pipeline::unreadable::Skip;
use crate::topic_partition::TopicPartition;

/// How long the brokers may take to say which topics there are.
const ASK: std::time::Duration = std::time::Duration::from_secs(20);

/// Arguments of `dig-ingest skip`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dig-ingest skip --topic telemetry --partition 3 --offset 184467 --by ann --config job.toml
  dig-ingest skip --topic telemetry --partition 3 --offset 184467 --to 184500 --by ann \\
      --config job.toml

A batch whose checksum is wrong or that cannot be unpacked stops its partition; the log, /status and the metric
dig_ingest_partition_unreadable name it. This command reads the partition from --offset on, finds the next offset that can be
read, writes a letter with what is known to topics.dead_letter and then a request to topics.state. The instance that owns the
partition acts on the request within seconds, or after its start if the job is stopped; it moves its group by itself. Restore the
log from a replica or a backup instead wherever you can: what is skipped is not sent.")]
pub struct Args {
    /// An input topic, or the held topic of one.
    #[arg(long)]
    topic: String,
    /// Number of the partition.
    #[arg(long)]
    partition: i32,
    /// The offset that cannot be read, as it is named in the log and on /status.
    #[arg(long)]
    offset: i64,
    /// The next offset to be read; found out if it is not given.
    #[arg(long)]
    to: Option<i64>,
    /// Who decides this; goes into the letter.
    #[arg(long)]
    by: String,
    #[command(flatten)]
    settings: ConfigArgs,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t)]
    report: Report,
}

/// Runs the command.
///
/// # Errors
/// The offset can be read, there is no such partition, or the brokers do not answer or refuse.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = args.settings.load()?;
    anyhow::ensure!(
        !args.by.trim().is_empty(),
        "--by is empty: name who decides to skip"
    );
    let key = TopicPartition::new(&args.topic, args.partition);
    let (unreadable, to) = {
        let (settings, key) = (settings.clone(), key.clone());
        let (offset, to) = (args.offset, args.to);
        let examined = tokio::task::spawn_blocking(move || {
            there(&settings, &key)?;
            skip::examine(&settings.kafka, &key, offset, to)
        });
        examined.await.context("reading the partition failed")??
    };
    let request = Skip {
        from: args.offset,
        to,
        by: args.by.clone(),
        at: Timestamp::now().to_string(),
    };
    skip::request(
        &settings.kafka,
        &settings.topics,
        &key,
        &request,
        &unreadable,
    )
    .await?;
    match args.report {
        Report::Json => outln!(
            "{}",
            serde_json::json!({
                "topic": args.topic, "partition": args.partition, "from": request.from, "to": request.to,
                "error": unreadable.to_string(), "by": request.by,
            })
        ),
        Report::Text => noteln!(
            "offsets {} to {} of partition {} of {} cannot be read ({unreadable}); a letter is in {}; the instance that owns the \
             partition goes on at {}",
            request.from,
            request.to - 1,
            args.partition,
            args.topic,
            settings.topics.dead_letter,
            request.to
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// Asking for the end of a partition that does not exist would only time out.
fn there(settings: &Settings, key: &TopicPartition) -> anyhow::Result<()> {
    let TopicPartition { topic, partition } = key;
    let topics = Asker::open(&settings.kafka.plain()?)?.cluster(ASK)?.topics;
    let count = topics.get(topic).with_context(|| {
        format!("--topic {topic}: the brokers have no such topic; nothing is skipped")
    })?;
    anyhow::ensure!(
        usize::try_from(*partition).is_ok_and(|partition| partition < *count),
        "--partition {partition}: {topic} has the partitions 0 to {}; nothing is skipped",
        count.saturating_sub(1)
    );
    Ok(())
}
