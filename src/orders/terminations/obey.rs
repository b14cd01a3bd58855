//! Doing what a sheet asks for, and telling people what it does not do.
//!
//! Each device is terminated by a change of its own; that the sheet was read is written last, with its alarms. Broken off in
//! between, the sheet is read again, which changes nothing twice (T2).

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use super::judge::{Deeds, Doubt, Known, judge};
use super::{Config, sheet};
use crate::ops::metrics::orders as metrics;
use crate::orders::journey::Actor;
use crate::orders::round;
use crate::orders::store::change::Change;
use crate::orders::store::ends::Termination;
use crate::orders::store::sheets::SheetRow;
use crate::orders::store::{Error, Store};

/// Unknown serials that get an alarm each; more of them get one together.
const EACH: usize = 50;
/// Before a sheet with unconfirmed devices is looked at again.
const UNCONFIRMED_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// What became of a sheet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub sheet: String,
    /// Whether anything was done, or only looked at.
    pub applied: bool,
    pub rows: u64,
    /// Serials terminated by this sheet, or that would be.
    pub terminated: Vec<String>,
    pub already: usize,
    /// Their date has not come.
    pub later: Vec<String>,
    /// The partner's device list still shows them.
    pub unconfirmed: Vec<String>,
    /// No unit has them.
    pub unknown: Vec<String>,
    /// Why nothing was done.
    pub refused: Option<String>,
    /// Rows that cannot be read.
    pub bad: Vec<String>,
    /// Whether there was anything new to look at.
    #[serde(skip)]
    pub again_at: Option<Timestamp>,
}

/// What a sheet is judged by.
async fn known(store: &Store, place: Option<&str>) -> Result<Known, Error> {
    let last_listed = store.seen().await?.into_iter();
    Ok(Known {
        fates: store.fates().await?,
        listed_at: store.marks().await?.get(round::DEVICES).copied(),
        last_listed: last_listed
            .map(|(serial, seen)| (serial, seen.last_seen))
            .collect(),
        rows_before: store.rows_before(place).await?,
    })
}

/// Only looks: what a sheet would do.
///
/// # Errors
/// The store cannot be read.
pub async fn look(
    store: &Store,
    name: &str,
    bytes: &[u8],
    config: &Config,
    trusted: bool,
    now: Timestamp,
) -> Result<Report, Error> {
    let known = known(store, None).await?;
    let verdict = judge(sheet::read(bytes, config), &known, config, trusted, now);
    Ok(match &verdict {
        Ok(deeds) => told(name, deeds),
        Err(doubt) => refused(name, doubt),
    })
}

/// Reads a sheet and obeys it, or says why not. One that was read before, and has nothing that waits, is left alone.
///
/// # Errors
/// The store failed; what was done stays, and the rest is done by doing it again.
pub async fn obey(
    store: &Store,
    place: &str,
    name: &str,
    bytes: &[u8],
    config: &Config,
    trusted: bool,
    now: Timestamp,
) -> Result<Report, Error> {
    let digest = digest(bytes);
    let before = store.sheet(place, name).await?;
    let same = before.as_ref().is_some_and(|row| row.digest == digest);
    if let Some(row) = before.as_ref().filter(|_| same && !trusted)
        && row.again_at.is_none_or(|at| at > now)
    {
        return Ok(Report {
            sheet: name.to_owned(),
            again_at: row.again_at,
            ..Report::default()
        });
    }
    let mut known = known(store, Some(place)).await?;
    if same {
        // It was not shortened since.
        known.rows_before = None;
    }
    let by = Actor::Sheet(name.into());
    let verdict = judge(sheet::read(bytes, config), &known, config, trusted, now);
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
            let report = refused(name, &doubt);
            let said = format!("the sheet {name} was not obeyed: {doubt}");
            let evidence = json!({ "sheet": name, "bad": report.bad });
            raise(&mut change, doubt.kind(), place, &said, &evidence).await?;
            change.commit().await?;
            Ok(report)
        }
        Ok(deeds) => {
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
            }
            let waits = (!deeds.unconfirmed.is_empty()).then(|| {
                now.saturating_add(UNCONFIRMED_WAIT)
                    .unwrap_or(Timestamp::MAX)
            });
            row.again_at = deeds.next().into_iter().chain(waits).min();
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
                change.clear_alarm("sheet-unconfirmed", serial).await?;
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
            Ok(Report {
                applied: true,
                again_at: row.again_at,
                ..told(name, &deeds)
            })
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
    const KIND: &str = "sheet-unknown";
    let serials = &deeds.unknown;
    if serials.len() > EACH {
        let said = format!(
            "the sheet {name} names {} serials that no unit has",
            serials.len()
        );
        let first: Vec<&str> = serials.iter().take(EACH).map(|s| s.as_str()).collect();
        let evidence = json!({ "sheet": name, "first": first });
        return raise(change, KIND, place, &said, &evidence).await;
    }
    for serial in serials
        .iter()
        .filter(|serial| is_new(KIND, serial.as_str()))
    {
        let said = format!("the sheet {name} terminates it and no unit has it");
        raise(
            change,
            KIND,
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

fn told(name: &str, deeds: &Deeds) -> Report {
    let serials = |rows: &[sheet::Row]| rows.iter().map(|row| row.serial.to_string()).collect();
    Report {
        sheet: name.to_owned(),
        rows: deeds.rows,
        terminated: serials(&deeds.now),
        already: deeds.already,
        later: serials(&deeds.later),
        unconfirmed: serials(&deeds.unconfirmed),
        unknown: deeds.unknown.iter().map(ToString::to_string).collect(),
        ..Report::default()
    }
}

fn refused(name: &str, doubt: &Doubt) -> Report {
    let bad = match doubt {
        Doubt::Malformed { bad, .. } => bad.iter().map(ToString::to_string).collect(),
        Doubt::Empty | Doubt::Short { .. } | Doubt::Many { .. } => Vec::new(),
    };
    Report {
        sheet: name.to_owned(),
        refused: Some(doubt.to_string()),
        bad,
        ..Report::default()
    }
}

/// Tells one content from another; not a defence against forgery. FNV-1a, with the length.
fn digest(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}-{}", bytes.len())
}
