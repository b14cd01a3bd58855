//! Letters for the operator page: `GET /api/letters?from=dead-letter&by=reason&reason=gps.*&named=TEXT`.
//!
//! Answers groups, and the newest letters as examples with what they hold and what their rule asks for. One reading at a time, on a
//! thread that may block, of the newest `MOST` letters for at most `WITHIN`: what was left out is said. A reading whose client went
//! away ends by these bounds.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use clap::ValueEnum as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::guard::refused;
use crate::config::Settings;
use crate::letters::entry::{Entry, Kind};
use crate::letters::filter::{Filter, Reasons};
use crate::letters::group::{By, Groups};
use crate::letters::read::{Bounds, Letters};
use crate::pipeline::kafka;
use crate::pipeline::settings::{Input, Topics};
use crate::record::mapping;
use crate::record::rules::RuleNo;

/// Letters of one reading at most.
const MOST: i64 = 200_000;
/// How long a reading may take, beyond the calls that begin it.
const WITHIN: Duration = Duration::from_secs(20);
/// Groups of one answer at most.
const GROUPS: usize = 100;
/// Letters of one answer at most.
const EXAMPLES: usize = 20;
/// Bytes of a letter's value that are shown.
const SHOWN: usize = 2048;

/// What the letters are read by.
#[derive(Debug, Clone)]
pub struct Reader {
    pub kafka: kafka::Config,
    pub topics: Topics,
    pub input: Input,
}

impl Reader {
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self {
            kafka: settings.kafka.clone(),
            topics: settings.topics.clone(),
            input: settings.input.clone(),
        }
    }
}

#[derive(Clone)]
struct Desk {
    reader: Arc<Reader>,
    /// One reading at a time.
    seat: Arc<Semaphore>,
}

/// The route.
pub fn router(reader: Reader) -> Router {
    let desk = Desk {
        reader: Arc::new(reader),
        seat: Arc::new(Semaphore::new(1)),
    };
    Router::new()
        .route("/api/letters", get(groups))
        .with_state(desk)
}

async fn groups(
    State(desk): State<Desk>,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    let (filter, by) = match wanted(&asked) {
        Ok(wanted) => wanted,
        Err(Wrong { what, remedy }) => {
            return refused(StatusCode::BAD_REQUEST, "bad-field", &what, &remedy);
        }
    };
    let seat = tokio::time::timeout(WITHIN, Arc::clone(&desk.seat).acquire_owned()).await;
    let Ok(Ok(seat)) = seat else {
        return refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "letters are being read for somebody else",
            "try again in a moment",
        );
    };
    let read = tokio::task::spawn_blocking(move || {
        let _seat = seat;
        read(&desk.reader, &filter, by)
    });
    match read.await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(error)) => refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "unanswered",
            &format!("{error:#}"),
            "check the broker, and that this user may read the topics of letters; then try again",
        ),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What of a query cannot be used.
#[derive(Debug)]
struct Wrong {
    what: String,
    remedy: String,
}

fn wanted(asked: &HashMap<String, String>) -> Result<(Filter, By), Wrong> {
    let text = |key: &str| {
        asked
            .get(key)
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
    };
    let known = ["from", "by", "reason", "named"];
    if let Some(other) = asked.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(Wrong {
            what: format!("{other:?}: is no field of the query"),
            remedy: format!("give any of {}", known.join(", ")),
        });
    }
    let kind = text("from").map_or(Ok(Kind::DeadLetter), |name| {
        Kind::from_str(name, false).map_err(|_| Wrong {
            what: format!("from: {name:?} is no kind of letters"),
            remedy: "give dead-letter, held or invalid".to_owned(),
        })
    })?;
    let by = text("by").map_or(Ok(By::default()), |name| {
        By::from_str(name, false).map_err(|_| Wrong {
            what: format!("by: {name:?} is nothing that letters are counted by"),
            remedy: "give reason, stage, serial, source, day or kind".to_owned(),
        })
    })?;
    // A device id as it is, and a serial in its normal form.
    let names = text("named").map(|name| HashSet::from([name.to_owned(), name.to_uppercase()]));
    let filter = Filter {
        kinds: vec![kind],
        reasons: text("reason").map(Reasons::new).into_iter().collect(),
        names,
        ..Filter::default()
    };
    Ok((filter, by))
}

/// The newest offsets of each partition, [`MOST`] of all; and how many are left out.
fn newest(mut bounds: Bounds) -> (Bounds, i64) {
    let open = bounds.values().filter(|(low, end)| low < end).count();
    let each = MOST / i64::try_from(open.max(1)).unwrap_or(i64::MAX);
    let mut left = 0;
    for (low, end) in bounds.values_mut() {
        let from = (*end - each).max(*low);
        left += from - *low;
        *low = from;
    }
    (bounds, left)
}

fn read(reader: &Reader, filter: &Filter, by: By) -> anyhow::Result<Value> {
    let Reader {
        kafka,
        topics,
        input,
    } = reader;
    let letters = Letters::open(kafka, topics, input, &filter.kinds)?;
    let marks = letters.marks(kafka, &topics.state)?;
    let (bounds, left) = newest(letters.bounds()?);
    let (mut groups, until) = (Groups::new(by), Instant::now() + WITHIN);
    let mut examples: VecDeque<Entry> = VecDeque::new();
    let (mut counted, mut marked, mut cut) = (0_u64, 0_u64, false);
    letters.read(&bounds, &mut |mut entry, _| {
        if Instant::now() >= until {
            cut = true;
            return Ok(ControlFlow::Break(()));
        }
        if !filter.takes(&entry) {
            return Ok(ControlFlow::Continue(()));
        }
        if marks.of(&entry.place).is_some() {
            marked += 1;
            return Ok(ControlFlow::Continue(()));
        }
        counted += 1;
        groups.add(&entry);
        if examples.len() == EXAMPLES {
            examples.pop_front();
        }
        // Only what is shown is kept.
        entry.value.truncate(SHOWN);
        examples.push_back(entry);
        Ok(ControlFlow::Continue(()))
    })?;
    let groups = groups.finish();
    let shown: Vec<Value> = groups
        .iter()
        .take(GROUPS)
        .map(|group| {
            let mut value = json!(group);
            if by == By::Reason {
                value["rule"] = json!(explained(&group.group));
            }
            value
        })
        .collect();
    let examples: Vec<Value> = examples.iter().rev().map(example).collect();
    Ok(json!({
        "letters": counted,
        "marked": marked,
        "left_out": left,
        "cut_short": cut,
        "by": by,
        "groups": groups.len(),
        "shown": shown,
        "examples": examples,
    }))
}

fn example(entry: &Entry) -> Value {
    let mut value = json!(entry);
    value["place"] = json!(entry.place.to_string());
    value["source"] = json!(entry.source.as_ref().map(ToString::to_string));
    value["value"] = json!(String::from_utf8_lossy(&entry.value));
    value["rule"] = json!(explained(&entry.reason));
    value
}

/// What a rule asks for, if the reason is one.
fn explained(reason: &str) -> Option<&'static str> {
    let mapped = mapping::RULES.iter().find(|(id, _)| *id == reason);
    match mapped {
        Some((_, what)) => Some(what),
        None => RuleNo::find(reason).ok().map(|no| no.rule().what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic_partition::TopicPartition;

    fn asked(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_query_chooses_letters_or_names_what_is_wrong() {
        let (filter, by) = wanted(&asked(&[])).unwrap();
        assert_eq!((filter.kinds, by), (vec![Kind::DeadLetter], By::Reason));
        let (filter, by) = wanted(&asked(&[
            ("from", "held"),
            ("by", "serial"),
            ("named", " cx1 "),
        ]))
        .unwrap();
        assert_eq!((filter.kinds, by), (vec![Kind::Held], By::Serial));
        assert!(filter.names.unwrap().contains("CX1"));
        for (key, value) in [("from", "mail"), ("by", "colour"), ("topic", "x")] {
            let wrong = wanted(&asked(&[(key, value)])).unwrap_err();
            assert!(
                wrong.what.contains(key) && wrong.remedy.starts_with("give"),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn the_newest_letters_are_read_and_the_rest_is_counted() {
        let bounds = |pairs: &[(i64, i64)]| -> Bounds {
            (0..)
                .zip(pairs)
                .map(|(number, bounds)| (TopicPartition::new("dead", number), *bounds))
                .collect()
        };
        let (read, left) = newest(bounds(&[(5, 10), (0, MOST), (7, 7)]));
        assert_eq!(left, MOST / 2);
        assert_eq!(read, bounds(&[(5, 10), (MOST / 2, MOST), (7, 7)]));
    }

    #[test]
    fn a_reason_that_is_a_rule_is_explained() {
        assert!(explained("gps.latitude.range").is_some());
        assert!(explained("map.time").is_some());
        assert_eq!(explained("gateway.refused"), None);
    }
}
