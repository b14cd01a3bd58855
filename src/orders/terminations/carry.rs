//! Doing what a sheet asks for, device by device.
//!
//! Each device is terminated by a change of its own; doing it again changes nothing (T2). Broken off, the rest is done by whoever does
//! it again.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::judge::{Known, Plan};
use super::sheet::Row;
use crate::orders::journey::{Actor, Serial};
use crate::orders::store::cancel_terminate::Termination;
use crate::orders::store::devices::Ended;
use crate::orders::store::{Error, Store};

/// Before a sheet with unconfirmed devices is looked at again.
const UNCONFIRMED_WAIT: SignedDuration = SignedDuration::from_mins(15);
/// Before a registry that did not answer is asked again.
const UNASKED_WAIT: SignedDuration = SignedDuration::from_mins(1);

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub ended: Vec<Serial>,
    /// The registry has these under the id of a unit with another serial.
    pub claimed: Vec<Serial>,
}

/// Terminates the devices whose time has come.
pub(super) async fn carry_out(
    store: &Store,
    name: &str,
    (deeds, known): (&Plan, &Known),
    by: &Actor,
    now: Timestamp,
) -> Result<Done, Error> {
    let mut done = Done::default();
    for row in &deeds.now {
        if one(store, name, (row, known), by, now, &mut done).await? {
            done.ended.push(row.serial.clone());
        }
    }
    Ok(done)
}

async fn one(
    store: &Store,
    name: &str,
    (row, known): (&Row, &Known),
    by: &Actor,
    now: Timestamp,
    done: &mut Done,
) -> Result<bool, Error> {
    let serial = &row.serial;
    let since = row.since.map(|since| since.to_string());
    let why = match &since {
        Some(since) => format!("the sheet of terminations names it since {since}"),
        None => "the sheet of terminations names it".to_owned(),
    };
    let evidence = json!({ "sheet": name, "line": row.line, "since": since });
    let unit = store.terminate(serial, &why, &evidence, by, now).await?;
    let mut ended = matches!(unit, Termination::Done { .. });
    if ended {
        tracing::info!(%serial, sheet = name, "terminated");
    }
    for registered in known.registered(serial) {
        let id = &*registered.device_id;
        let mut evidence = evidence.clone();
        evidence["device_id"] = id.into();
        evidence["serial"] = serial.as_str().into();
        let device = (registered, serial);
        match store
            .terminate_device(device, &why, &evidence, by, now)
            .await?
        {
            Ended::Now => {
                tracing::info!(%serial, device_id = id, sheet = name, "terminated");
                ended = true;
            }
            Ended::Before => {}
            Ended::OfUnit => done.claimed.push(serial.clone()),
        }
    }
    Ok(ended)
}

/// When a sheet is to be looked at again though it is the same; none: nothing of it waits.
pub(super) fn again_at(deeds: &Plan, now: Timestamp) -> Option<Timestamp> {
    let wait = |some: bool, wait| some.then(|| now.saturating_add(wait).unwrap_or(Timestamp::MAX));
    let waits = [
        deeds.next(),
        wait(!deeds.unconfirmed.is_empty(), UNCONFIRMED_WAIT),
        wait(!deeds.unasked.is_empty(), UNASKED_WAIT),
    ];
    waits.into_iter().flatten().min()
}
