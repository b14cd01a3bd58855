//! Devices for the operator page: `GET /api/devices?named=TEXT` searches the registry, and `GET /api/devices/held?named=ID&named=SERIAL` asks
//! the workers what they hold of one device.
//!
//! A device id or serial that is exactly the text comes first; else those that hold it, at most `MOST`. The registry is a snapshot, so
//! a search stops nobody; it runs on a thread that may block, one at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::guard::refused;
use crate::ops::status_registry::StatusRegistry;
use crate::pipeline::gate::{Config as Gate, Mode, TerminatedPolicy};
use crate::registry::{self, Known, Snapshot, State as DeviceState};
use crate::topic_partition::TopicPartition;

/// Devices of one answer at most.
const MOST: usize = 50;
/// Between two looks at the workers' answers.
const LOOK: Duration = Duration::from_millis(50);
/// How long the workers may take to answer.
const WITHIN: Duration = Duration::from_secs(12);
/// Longest text that is looked for, in bytes.
const LONGEST: usize = registry::LONGEST;

#[derive(Clone)]
struct Finder {
    /// Follows the registry; the pipeline has another receiver.
    registry: registry::RegistryWatch,
    /// What the gate does.
    gate: Gate,
    /// Where the workers are asked; shared with them.
    board: Arc<StatusRegistry>,
    /// One search at a time.
    seat: Arc<Semaphore>,
    /// One question at a time: a younger one takes the place of an older one.
    asking: Arc<Semaphore>,
}

/// The route, answered from a registry that is followed.
pub fn router(registry: registry::RegistryWatch, gate: Gate, board: Arc<StatusRegistry>) -> Router {
    let finder = Finder {
        registry,
        gate,
        board,
        seat: Arc::new(Semaphore::new(1)),
        asking: Arc::new(Semaphore::new(1)),
    };
    Router::new()
        .route("/api/devices", get(find))
        .route("/api/devices/held", get(held))
        .with_state(finder)
}

async fn find(
    State(finder): State<Finder>,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    let named = asked.get("named").map(|text| text.trim().to_owned());
    let named = named.unwrap_or_default();
    if named.len() > LONGEST {
        return refused(
            StatusCode::BAD_REQUEST,
            "bad-field",
            "named: is longer than any device id",
            "give a device id, a serial, or a part of one",
        );
    }
    let Ok(seat) = Arc::clone(&finder.seat).acquire_owned().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let snapshot = Arc::clone(&finder.registry.borrow());
    let gate = finder.gate.clone();
    let found = tokio::task::spawn_blocking(move || {
        let _seat = seat;
        let (devices, more) = search(&snapshot, &named, &gate);
        json!({
            "devices": devices,
            "more": more,
            "known": snapshot.len(),
            "counts": snapshot.counts(),
            "gate": gate.mode,
        })
    });
    match found.await {
        Ok(found) => Json(found).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What is held of one device. Workers answer when they next post, which an idle one does every few seconds.
async fn held(
    State(finder): State<Finder>,
    Query(asked): Query<Vec<(String, String)>>,
) -> Response {
    let names: Vec<Box<str>> = asked
        .into_iter()
        .filter(|(key, name)| key == "named" && !name.is_empty() && name.len() <= LONGEST)
        .take(2)
        .map(|(_, name)| name.into())
        .collect();
    if names.is_empty() {
        return refused(
            StatusCode::BAD_REQUEST,
            "bad-field",
            "named: is missing",
            "give the device id, and its serial if it has one",
        );
    }
    let Ok(_seat) = finder.asking.acquire().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let question = finder.board.ask_held(names);
    let mut look = tokio::time::interval(LOOK);
    let answered = tokio::time::timeout(WITHIN, async {
        loop {
            look.tick().await;
            if let Some(held) = finder.board.held_of(question) {
                return held;
            }
        }
    });
    let Ok(held) = answered.await else {
        return refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "unanswered",
            "a partition did not answer in time",
            "look at what waits, and try again; `dig-ingest devices held ID` reads the held topics instead",
        );
    };
    let held: Vec<Value> = held
        .into_iter()
        .map(|(TopicPartition { topic, partition }, held)| {
            let mut value = json!(held);
            (value["topic"], value["partition"]) = (json!(topic), json!(partition));
            value
        })
        .collect();
    Json(json!({ "held": held })).into_response()
}

/// The devices, and whether there are more of them.
fn search(snapshot: &Snapshot, named: &str, gate: &Gate) -> (Vec<Value>, bool) {
    if named.is_empty() {
        return (Vec::new(), false);
    }
    let serial = named.to_uppercase();
    let exact: Vec<Known<'_>> = match snapshot.device(named) {
        Some(known) => vec![known],
        None => snapshot
            .iter()
            .filter(|known| known.serial() == Some(&*serial))
            .take(MOST)
            .collect(),
    };
    let (found, more) = if exact.is_empty() {
        let holds = |text: &str| text.contains(named) || text.contains(&*serial);
        let mut found: Vec<Known<'_>> = snapshot
            .iter()
            .filter(|known| holds(known.device_id()) || known.serial().is_some_and(holds))
            .take(MOST + 1)
            .collect();
        let more = found.len() > MOST;
        found.truncate(MOST);
        (found, more)
    } else {
        (exact, false)
    };
    let shown = found.into_iter().map(|known| {
        let mut value = json!(known.to_device());
        value["disputed"] = json!(known.disputed());
        let (what, remedy) = meaning(&known, gate);
        (value["why"], value["remedy"]) = (json!(what), json!(remedy));
        value
    });
    (shown.collect(), more)
}

/// What becomes of a device's records, and what a person can do about it.
fn meaning(known: &Known<'_>, gate: &Gate) -> (&'static str, &'static str) {
    if known.disputed() {
        return (
            "another device claims the same serial: records of this serial are held",
            "correct the registry: `dig-ingest devices show SERIAL` names both devices, `devices terminate ID` ends the wrong one",
        );
    }
    match (gate.mode, known.state()) {
        (Mode::Off, _) => (
            "the gate is off: records are sent whatever the state is",
            "set gate.mode = \"registry\" to hold records of devices that are not active",
        ),
        (Mode::Registry, DeviceState::Active) => ("records are sent", ""),
        (Mode::Registry, DeviceState::Pending) => (
            "records are held until the device is active",
            "nothing, while its order goes on; a device without an order: `dig-ingest devices activate ID`",
        ),
        (Mode::Registry, DeviceState::Terminated) => (
            match gate.terminated {
                TerminatedPolicy::DeadLetter => {
                    "the device is terminated: its records become dead letters, because one that is sent would resume billing"
                }
                TerminatedPolicy::Discard => {
                    "the device is terminated: its records are discarded, because one that is sent would resume billing"
                }
            },
            "`dig-ingest devices import FILE` registers it anew, if it is to send again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Device;

    fn device(id: &str, serial: Option<&str>, state: DeviceState) -> Device {
        Device {
            device_id: id.into(),
            serial: serial.map(Into::into),
            state,
            order: None,
            since: None,
        }
    }

    #[test]
    fn devices_are_found_by_id_by_serial_and_by_a_part_of_either() {
        let gate = Gate {
            mode: Mode::Registry,
            ..Gate::default()
        };
        let devices = [
            device("truck-1", Some("CX0000000001"), DeviceState::Active),
            device("truck-12", Some("CX0000000002"), DeviceState::Pending),
            device("van", None, DeviceState::Terminated),
        ];
        let snapshot = Snapshot::new(&devices).unwrap();
        let ids = |named: &str| {
            let (found, more) = search(&snapshot, named, &gate);
            assert!(!more);
            let mut ids: Vec<String> = found
                .iter()
                .map(|device| device["device_id"].as_str().unwrap().to_owned())
                .collect();
            ids.sort();
            ids
        };
        assert_eq!(ids("truck-1"), ["truck-1"]);
        assert_eq!(ids("cx0000000002"), ["truck-12"]);
        assert_eq!(ids("truck"), ["truck-1", "truck-12"]);
        assert!(ids("").is_empty() && ids("nothing").is_empty());
        let (found, _) = search(&snapshot, "truck-12", &gate);
        assert_eq!(
            found[0]["why"],
            "records are held until the device is active"
        );
        let (found, _) = search(&snapshot, "van", &Gate::default());
        assert!(
            found[0]["why"]
                .as_str()
                .unwrap()
                .starts_with("the gate is off")
        );
    }

    #[test]
    fn an_answer_is_bounded() {
        let devices: Vec<Device> = (0..MOST + 5)
            .map(|number| device(&format!("truck-{number}"), None, DeviceState::Active))
            .collect();
        let snapshot = Snapshot::new(&devices).unwrap();
        let (found, more) = search(&snapshot, "truck-", &Gate::default());
        assert_eq!((found.len(), more), (MOST, true));
    }
}
