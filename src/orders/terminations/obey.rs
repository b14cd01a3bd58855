//! Doing what a sheet asks for, and telling people what it does not do.
//!
//! Each device is terminated by a change of its own; that the sheet was read is written last, with its alarms. Broken off in
//! between, the sheet is read again, which changes nothing twice (T2). Serials that no unit has are looked up in the device registry;
//! if it cannot be asked these wait, and the rest is done.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::judge::{Deeds, Doubt, Known, Registry, judge};
use super::sheet::NoSheet;
use super::{Ask, Config, sheet};
use crate::ops::metrics::orders as metrics;
use crate::orders::journey::{Actor, Serial};
use crate::orders::round;
use crate::orders::store::change::Change;
use crate::orders::store::devices::Ended;
use crate::orders::store::ends::Termination;
use crate::orders::store::sheets::SheetRow;
use crate::orders::store::{Error, Store};
use crate::registry::Device;

/// The alarm's kind for serials that nobody knows.
const UNKNOWN: &str = "sheet-unknown";
/// Unknown serials that get an alarm each; more of them get one together.
const EACH: usize = 50;
/// Before a sheet with unconfirmed devices is looked at again.
const UNCONFIRMED_WAIT: SignedDuration = SignedDuration::from_mins(15);
/// Before a registry that did not answer is asked again.
const UNASKED_WAIT: SignedDuration = SignedDuration::from_mins(1);

/// What a sheet is judged by.
async fn known(
    store: &Store,
    place: &str,
    sheet: Option<&sheet::Sheet>,
    ask: &Ask,
) -> Result<Known, Error> {
    let last_listed = store.seen().await?.into_iter();
    let fates = store.fates().await?;
    let rows = sheet.map(|sheet| &sheet.good[..]).unwrap_or_default();
    let mut others: Vec<Serial> = rows.iter().map(|row| row.serial.clone()).collect();
    others.retain(|serial| !fates.contains_key(serial));
    Ok(Known {
        registry: registry(store, others, ask).await?,
        fates,
        listed_at: store.marks().await?.get(round::DEVICES).copied(),
        last_listed: last_listed
            .map(|(serial, seen)| (serial, seen.last_seen))
            .collect(),
        rows_before: store.rows_before(place).await?,
    })
}

/// What the device registry says of these serials.
async fn registry(store: &Store, serials: Vec<Serial>, ask: &Ask) -> Result<Registry, Error> {
    let mut devices: HashMap<Serial, Vec<Device>> = HashMap::new();
    if !serials.is_empty() {
        match ask(serials).await {
            Ok(found) => {
                for device in found {
                    let serial = device.serial.as_deref().map(Serial::parse);
                    if let Some(Ok(serial)) = serial {
                        devices.entry(serial).or_default().push(device);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the device registry cannot be asked about a sheet's serials; they wait"
                );
                return Ok(Registry::Silent);
            }
        }
    }
    let ended = store.ended_devices().await?;
    Ok(Registry::Said { devices, ended })
}

/// Reads a sheet on a thread that may block. Whatever reading it does, a panic included, is this sheet's trouble alone.
async fn parsed(bytes: &[u8], config: &Config) -> Result<sheet::Sheet, NoSheet> {
    let (bytes, config) = (bytes.to_vec(), config.clone());
    let read = tokio::task::spawn_blocking(move || sheet::read(&bytes, &config));
    read.await.unwrap_or_else(|error| {
        tracing::error!(%error, "reading a sheet failed");
        Err(NoSheet::new(
            "reading it broke an invariant",
            "open it in a spreadsheet and save it as CSV",
        ))
    })
}

/// Reads a sheet and obeys it, or says why not; gives when it is to be judged again though it is the same. One that was read before,
/// and has nothing that waits, is left alone.
///
/// # Errors
/// The store failed; what was done stays, and the rest is done by doing it again.
pub async fn obey(
    (store, ask): (&Store, &Ask),
    place: &str,
    name: &str,
    bytes: &[u8],
    config: &Config,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let digest = digest(bytes);
    let before = store.sheet(place, name).await?;
    let same = before.as_ref().is_some_and(|row| row.digest == digest);
    if let Some(row) = before.as_ref().filter(|_| same)
        && row.again_at.is_none_or(|at| at > now)
    {
        return Ok(row.again_at);
    }
    let sheet = parsed(bytes, config).await;
    let mut known = known(store, place, sheet.as_ref().ok(), ask).await?;
    if same {
        // It was not shortened since.
        known.rows_before = None;
    }
    let by = Actor::Sheet(name.into());
    let verdict = judge(sheet, &known, config, now);
    let mut row = SheetRow {
        place: place.to_owned(),
        name: name.to_owned(),
        digest,
        read_at: now,
        again_at: None,
        obeyed_rows: before.as_ref().and_then(|row| row.obeyed_rows),
        obeyed_at: before.as_ref().and_then(|row| row.obeyed_at),
    };
    match verdict {
        Err(doubt) => {
            let mut change = store.change(by, None, now).await?;
            change.put_sheet(&row).await?;
            let said = format!("the sheet {name} was not obeyed: {doubt}");
            let evidence = json!({ "sheet": name, "bad": bad(&doubt) });
            raise(&mut change, doubt.kind(), place, &said, &evidence).await?;
            change.commit().await?;
            Ok(None)
        }
        Ok(deeds) => {
            let mut claimed = Vec::new();
            for device in &deeds.now {
                let since = device.since.map(|since| since.to_string());
                let why = match &since {
                    Some(since) => format!("the sheet of terminations names it since {since}"),
                    None => "the sheet of terminations names it".to_owned(),
                };
                let evidence = json!({ "sheet": name, "line": device.line, "since": since });
                let done = store
                    .terminate(&device.serial, &why, &evidence, &by, now)
                    .await?;
                if matches!(done, Termination::Done { .. }) {
                    tracing::info!(serial = %device.serial, sheet = name, "terminated");
                }
                for registered in known.registered(&device.serial) {
                    let (id, serial) = (&*registered.device_id, &device.serial);
                    let mut evidence = evidence.clone();
                    evidence["device_id"] = id.into();
                    evidence["serial"] = serial.as_str().into();
                    let done = store
                        .terminate_device((registered, serial), &why, &evidence, &by, now)
                        .await?;
                    match done {
                        Ended::Now => {
                            tracing::info!(%serial, device_id = id, sheet = name, "terminated");
                        }
                        Ended::Before => {}
                        Ended::OfUnit => claimed.push(device),
                    }
                }
            }
            let wait =
                |some: bool, wait| some.then(|| now.saturating_add(wait).unwrap_or(Timestamp::MAX));
            let waits = [
                deeds.next(),
                wait(!deeds.unconfirmed.is_empty(), UNCONFIRMED_WAIT),
                wait(!deeds.unasked.is_empty(), UNASKED_WAIT),
            ];
            row.again_at = waits.into_iter().flatten().min();
            row.obeyed_rows = Some(i64::try_from(deeds.rows).unwrap_or(i64::MAX));
            if !same || row.obeyed_at.is_none() {
                row.obeyed_at = Some(now);
            }
            let raised = store.raised().await?;
            let is_new = |kind: &str, subject: &str| {
                !raised.contains(&(kind.to_owned(), subject.to_owned()))
            };
            let mut change = store.change(by, None, now).await?;
            change.put_sheet(&row).await?;
            for kind in Doubt::KINDS {
                change.clear_alarm(kind, place).await?;
            }
            unknown(&mut change, place, name, &deeds, is_new).await?;
            for device in &deeds.now {
                let serial = device.serial.as_str();
                for kind in ["sheet-unconfirmed", UNKNOWN] {
                    change.clear_alarm(kind, serial).await?;
                }
            }
            let returned = deeds.returned.iter().map(|serial| {
                let said = "a sheet terminated it, and the registry has it as not terminated again: nothing was done";
                ("sheet-returned", serial, said)
            });
            let claimed = claimed.iter().map(|device| {
                let said = "the registry has it under the id of a unit with another serial: terminate it by hand";
                ("sheet-claimed", &device.serial, said)
            });
            for (kind, serial, said) in returned.chain(claimed) {
                let serial = serial.as_str();
                if is_new(kind, serial) {
                    raise(&mut change, kind, serial, said, &json!({ "sheet": name })).await?;
                }
            }
            for device in &deeds.unconfirmed {
                let serial = device.serial.as_str();
                if is_new("sheet-unconfirmed", serial) {
                    let said = format!(
                        "the sheet {name} terminates it and the partner's device list still shows it: nothing was done"
                    );
                    let evidence = json!({ "sheet": name, "line": device.line });
                    raise(&mut change, "sheet-unconfirmed", serial, &said, &evidence).await?;
                }
            }
            change.commit().await?;
            Ok(row.again_at)
        }
    }
}

/// Serials that no unit has: told once each, or together when there are many.
async fn unknown(
    change: &mut Change,
    place: &str,
    name: &str,
    deeds: &Deeds,
    is_new: impl Fn(&str, &str) -> bool,
) -> Result<(), Error> {
    let serials = &deeds.unknown;
    if serials.len() > EACH {
        let said = format!(
            "the sheet {name} names {} serials that no unit and no registered device has",
            serials.len()
        );
        let first: Vec<&str> = serials.iter().take(EACH).map(|s| s.as_str()).collect();
        let evidence = json!({ "sheet": name, "first": first });
        return raise(change, UNKNOWN, place, &said, &evidence).await;
    }
    for serial in serials
        .iter()
        .filter(|serial| is_new(UNKNOWN, serial.as_str()))
    {
        let said =
            format!("the sheet {name} terminates it, and no unit and no registered device has it");
        raise(
            change,
            UNKNOWN,
            serial.as_str(),
            &said,
            &json!({ "sheet": name }),
        )
        .await?;
    }
    Ok(())
}

async fn raise(
    change: &mut Change,
    kind: &'static str,
    subject: &str,
    said: &str,
    evidence: &Value,
) -> Result<(), Error> {
    if change.alarm(kind, subject, said, Some(evidence)).await? {
        metrics::count_alarm(kind);
        tracing::warn!(kind, subject, said, "alarm");
    }
    Ok(())
}

/// The rows that cannot be read.
fn bad(doubt: &Doubt) -> Vec<String> {
    match doubt {
        Doubt::Malformed { bad, .. } => bad.iter().map(ToString::to_string).collect(),
        Doubt::Empty | Doubt::Short { .. } | Doubt::Many { .. } => Vec::new(),
    }
}

/// Tells one content from another; not a defence against forgery. FNV-1a, with the length.
fn digest(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}-{}", bytes.len())
}
