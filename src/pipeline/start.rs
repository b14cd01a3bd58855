//! Where a group without offsets begins (`input.start`).
//!
//! Owns one decision per group, made before the first instance joins it: unless the setting is `earliest`, the offsets of all
//! partitions that exist are committed, so that a crash before the first record does not move the beginning. The decision is
//! remembered in the state topic.
//!
//! * Only a group that never had offsets begins elsewhere than at the first message. If its offsets expired, or a partition or
//!   topic was added later, it reads from the first message: nothing is skipped twice.
//! * Instances that start together decide together: the broker takes the commit of one as long as none has joined; the others
//!   find its offsets.
//!
//! Cancelled, it leaves the offsets of the group as they are, or committed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::group::{Group, HasMembers};
use super::producer::Producer;
use super::settings::Start;
use super::{Config, state};
use crate::ops::status_registry::StatusRegistry;
use crate::ops::waits::{Kind, Wait};

/// Pause before a broker that did not answer is asked again.
const AGAIN: Duration = Duration::from_secs(2);

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// The group has offsets, or members that have decided already.
    Known,
    /// The group began before and lost its offsets.
    Forgotten,
    /// The group begins at these offsets, which are committed.
    Begun { partitions: usize, messages: i64 },
}

/// Decides where the group begins; waits until the brokers answer, or for `stop`.
///
/// # Errors
/// A setting that cannot be used.
pub async fn decide(
    config: &Config,
    producer: &Producer,
    board: &Arc<StatusRegistry>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let start = config.input.start().map_err(anyhow::Error::msg)?;
    if start == Start::Earliest {
        return Ok(());
    }
    let mut wait = None;
    loop {
        let (asked, start) = (config.clone(), start.clone());
        let work = tokio::task::spawn_blocking(move || once(&asked, &start));
        let decided = tokio::select! {
            decided = work => decided.context("asking for the group's offsets failed")?,
            () = stop.cancelled() => return Ok(()),
        };
        let decided = match decided {
            Ok((decided, remembered)) => remember(config, producer, remembered)
                .await
                .map(|()| decided),
            Err(error) => Err(error),
        };
        let error = match decided {
            Ok(decided) => {
                tell(&decided, config);
                return Ok(());
            }
            Err(error) => format!("{error:#}"),
        };
        tracing::warn!(
            error,
            "the start offsets of the group are not known yet; retrying"
        );
        match &wait {
            Some(wait) => Wait::update(wait, error),
            None => {
                let remedy = "check the brokers, and that this user may read and commit the offsets of kafka.group, and read and write \
                              topics.state; it is tried again by itself";
                wait = Some(board.wait(Kind::Group, "input.start", error, remedy));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

fn tell(decided: &Decided, config: &Config) {
    let (group, start) = (&config.kafka.group, &config.input.start);
    match decided {
        Decided::Known => {}
        Decided::Forgotten => tracing::warn!(
            group,
            "the group has lost its offsets (offsets.retention.minutes): it reads from the first message, whatever input.start says, and \
             records are sent again; `dig-ingest offsets set` moves a stopped group"
        ),
        Decided::Begun {
            partitions,
            messages,
        } => tracing::warn!(
            group,
            start,
            partitions,
            messages,
            "the group has no offsets and begins where input.start says; the messages before that are not read"
        ),
    }
}

/// The key of the state topic under which it is remembered that a group has begun.
fn key(group: &str) -> String {
    format!("start:{group}")
}

/// Whether a group's beginning is remembered, and if not, the value to remember.
type Remembered = Option<String>;

/// Decides once. Blocks the calling thread.
fn once(config: &Config, start: &Start) -> anyhow::Result<(Decided, Remembered)> {
    let group = Group::open(&config.kafka)?;
    let keys = group.inputs(&config.input, &config.topics)?;
    let places = group.places(&keys)?;
    let name = key(&config.kafka.group);
    let begun = state::load(&config.kafka, &config.topics.state, &name)?.is_some();
    let value = serde_json::json!({
        "start": config.input.start, "at": Timestamp::now().to_string(), "partitions": places.len(),
    });
    let remembered = (!begun).then(|| value.to_string());
    if places.iter().any(|place| place.committed.is_some()) {
        return Ok((Decided::Known, remembered));
    }
    if begun {
        return Ok((Decided::Forgotten, None));
    }
    // A topic that appears later is read from its first message.
    let offsets = group.offsets(&places, start)?;
    let moves: Vec<_> = places.iter().zip(offsets).collect();
    if moves.is_empty() {
        return Ok((Decided::Known, remembered));
    }
    match group.commit(&moves) {
        Ok(()) => {}
        Err(error) if error.is::<HasMembers>() => return Ok((Decided::Known, None)),
        Err(error) => return Err(error),
    }
    let before = moves.iter().map(|(place, offset)| offset - place.facts.low);
    let decided = Decided::Begun {
        partitions: places.len(),
        messages: before.sum(),
    };
    Ok((decided, remembered))
}

async fn remember(
    config: &Config,
    producer: &Producer,
    remembered: Remembered,
) -> anyhow::Result<()> {
    let Some(value) = remembered else {
        return Ok(());
    };
    let name = key(&config.kafka.group);
    state::store(producer, &config.topics.state, &name, value.as_bytes()).await
}
