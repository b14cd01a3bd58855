//! What a person decides about a sheet: shown first, then accepted or refused, with an event each.
//!
//! An accepted sheet ends the devices whose rows are understood, whatever was doubted about it; the other rows are named and end
//! nobody. What of it is to be done later is done by whoever watches for sheets, from what the store keeps: the file may be gone.
//! Every function can be repeated.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::judge::{Known, Plan, asked};
use super::kept::Kept;
use super::later::{self, Newer, VANISHED, kept_of};
use super::sheet::Row;
use super::told::{self, Before};
use super::{Means, apply, carry};
use crate::config::printable;
use crate::orders::journey::{Actor, Serial};
use crate::orders::lines::BadLine;
use crate::orders::store::change::Cause;
use crate::orders::store::judged::{JudgedRow, Standing, VanishedRow};
use crate::orders::store::{Error, Refusal, Store};

/// Characters of a digest that name a sheet at least.
const DIGITS: usize = 4;
/// What is said of a sheet that nobody has.
pub const NONE: &str = "there is none";

/// A device of a sheet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    pub line: u64,
    pub serial: Serial,
    pub since: Option<String>,
    /// The unit it is, or the devices of the registry that have its serial.
    pub is: Vec<String>,
}

/// A device that a row names which is not understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Doubtful {
    /// The row, 0 if an older version did not keep it.
    pub line: u64,
    pub serial: Serial,
}

/// What a sheet would do if it were accepted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    #[serde(flatten)]
    pub sheet: JudgedRow,
    /// How it was read.
    pub form: String,
    pub ends: Vec<Named>,
    pub later: Vec<Named>,
    /// The partner's device list still shows them.
    pub unconfirmed: Vec<Named>,
    /// The device registry could not be asked about them.
    pub unasked: Vec<Named>,
    pub ended_before: usize,
    /// A sheet ended them, and somebody has registered them again.
    pub returned: Vec<Serial>,
    /// No unit and no registered device has them.
    pub unknown: Vec<Serial>,
    pub not_understood: Vec<BadLine>,
    /// Devices that these rows name: they are not ended with it.
    pub doubtful: Vec<Doubtful>,
    /// Devices that it was to end and that a later sheet does not name.
    pub vanished: Vec<Serial>,
    /// Why it cannot be accepted.
    pub cannot: Option<String>,
}

/// Finds a sheet by its name, by what alarms call it, or by the beginning of its digest. One that waits for a decision goes before
/// others.
///
/// # Errors
/// There is none, or several.
pub async fn find(store: &Store, name: &str) -> Result<JudgedRow, Error> {
    let digits = name.len() >= DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut found = store.judged_sheets(false).await?;
    found.retain(|row| {
        is_called(&row.subject, name)
            || is_called(&row.name, name)
            || digits && row.digest.starts_with(name)
    });
    let exact = found.iter().any(|row| is_called(&row.subject, name));
    found.retain(|row| !exact || is_called(&row.subject, name));
    let doubted = found.iter().any(|row| row.state == Standing::Doubted);
    found.retain(|row| !doubted || row.state == Standing::Doubted);
    let Some(row) = found.pop() else {
        let remedy = "`orders sheet list --all` shows the sheets";
        return Err(Refusal::new(format!("sheet {name}"), NONE, remedy).into());
    };
    if doubted && !found.is_empty() {
        let names: Vec<String> = found
            .iter()
            .chain([&row])
            .map(|row| printable::word(&row.subject))
            .collect();
        let remedy = format!("name one of {}", names.join(", "));
        return Err(Refusal::new(format!("sheet {name}"), "there are several", remedy).into());
    }
    let whole = store.judged(&row.place, &row.name, &row.digest).await?;
    Ok(whole.unwrap_or(row))
}

/// Whether a person means a sheet by this name: as it is, or as it is printed.
fn is_called(stored: &str, name: &str) -> bool {
    stored == name || printable::text(stored) == name
}

/// What a decision rests on.
struct Case {
    preview: Preview,
    kept: Option<Kept>,
    known: Known,
    deeds: Plan,
}

/// What a sheet would do if it were accepted now. Changes nothing.
///
/// # Errors
/// The store cannot be read.
pub async fn preview(means: Means<'_>, row: &JudgedRow, now: Timestamp) -> Result<Preview, Error> {
    Ok(case(means, row, now).await?.preview)
}

async fn case(means: Means<'_>, row: &JudgedRow, now: Timestamp) -> Result<Case, Error> {
    let kept = kept_of(row);
    let vanished: Vec<VanishedRow> = means.store.vanished().await?;
    let vanished = vanished
        .into_iter()
        .filter(|gone| gone.named_by == row.subject);
    let vanished: Vec<Serial> = vanished.map(|gone| gone.serial).collect();
    let former = apply::former(means.store, &row.place, &row.name, &row.digest).await?;
    let mut serials = former.serials();
    serials.extend(kept.iter().flat_map(Kept::serials).cloned());
    let known = apply::known(means, &row.place, serials).await?;
    let sheet = kept.as_ref().map(Kept::sheet).unwrap_or_default();
    let deeds = asked(sheet, &known, means.config, now);
    let named = |rows: &[Row]| rows.iter().map(|row| named(row, &known)).collect();
    let cannot = match row.state {
        Standing::Doubted | Standing::Refused if kept.is_none() => Some(format!(
            "nothing of it is understood ({}): have it corrected and sent again under the same name, or `orders sheet refuse {} --yes --by NAME`",
            row.said,
            row.word()
        )),
        Standing::Doubted | Standing::Refused => None,
        Standing::Obeyed if !vanished.is_empty() => None,
        Standing::Obeyed => Some("it is applied: nothing is left to do".to_owned()),
        Standing::Accepted => Some("it is accepted: nothing is left to do".to_owned()),
        Standing::Replaced => Some(
            "it is replaced by a later sheet of its name: `orders sheet list --all` shows both"
                .to_owned(),
        ),
    };
    let preview = Preview {
        sheet: row.clone(),
        form: kept
            .as_ref()
            .map(|kept| kept.form.clone())
            .unwrap_or_default(),
        ends: named(&deeds.now),
        later: named(&deeds.later),
        unconfirmed: named(&deeds.unconfirmed),
        unasked: named(&deeds.unasked),
        ended_before: deeds.already,
        returned: deeds.returned.clone(),
        unknown: deeds
            .unknown
            .iter()
            .chain(&deeds.foreign)
            .cloned()
            .collect(),
        not_understood: kept
            .as_ref()
            .map(|kept| kept.bad.clone())
            .unwrap_or_default(),
        doubtful: doubtful(kept.as_ref()),
        vanished,
        cannot,
    };
    Ok(Case {
        preview,
        kept,
        known,
        deeds,
    })
}

/// Devices that rows name which are not understood, each once with its first row.
fn doubtful(kept: Option<&Kept>) -> Vec<Doubtful> {
    let named = kept.into_iter().flat_map(|kept| &kept.doubtful);
    let mut named: Vec<Doubtful> = named
        .map(|(line, serial)| Doubtful {
            line: *line,
            serial: serial.clone(),
        })
        .collect();
    named.sort_by(|a, b| (&a.serial, a.line).cmp(&(&b.serial, b.line)));
    named.dedup_by(|a, b| a.serial == b.serial);
    named.sort_by_key(|doubtful| doubtful.line);
    named
}

fn named(row: &Row, known: &Known) -> Named {
    let unit = known
        .fates
        .get(&row.serial)
        .map(|fate| format!("unit {}", fate.unit));
    let devices = known.registered(&row.serial);
    let devices = devices.map(|device| format!("device {}", device.device_id));
    Named {
        line: row.line,
        serial: row.serial.clone(),
        since: row.since.map(|since| since.to_string()),
        is: unit.into_iter().chain(devices).collect(),
    }
}

/// Accepts a sheet: ends whom it names, as far as it is understood. What was done is what the preview says it ends; its state is the
/// new one.
///
/// # Errors
/// It is decided already, or nothing of it is understood; the store failed.
pub async fn accept(
    means: Means<'_>,
    row: &JudgedRow,
    by: &Actor,
    now: Timestamp,
) -> Result<Preview, Error> {
    let Case {
        mut preview,
        kept,
        known,
        deeds,
    } = case(means, row, now).await?;
    let subject = &row.subject;
    let (None, Some(kept)) = (&preview.cannot, kept) else {
        let what = preview.cannot.unwrap_or_default();
        let remedy = format!(
            "`orders sheet show {}` tells what is known of it",
            row.word()
        );
        return Err(Refusal::new(format!("sheet {subject}"), what, remedy).into());
    };
    let store = means.store;
    let former = apply::former(store, &row.place, &row.name, &row.digest).await?;
    let before = Before {
        raised: store.raised().await?,
        standing: store.alarms().await?,
    };
    let done = carry::carry_out(store, &row.name, (&deeds, &known), by, now).await?;
    let newer = Newer {
        subject,
        serials: kept.serials().cloned().collect(),
    };
    let content = kept.with(deeds.waiting()).written();
    let again_at = carry::again_at(&deeds, now);
    let mut change = store.change(by.clone(), None, now).await?;
    change
        .decide_sheet(row, Standing::Accepted, Some(&content), again_at)
        .await?;
    change.put_obeyed_rows(row).await?;
    if let Some(kind) = &row.kind {
        change.end_alarm(kind, subject).await?;
    }
    for serial in &preview.vanished {
        change.remove_vanished(serial).await?;
        change.end_alarm(VANISHED, serial.as_str()).await?;
    }
    if row.state != Standing::Obeyed {
        later::replace(&mut change, &former, &newer, &known, None).await?;
        later::compare(&mut change, &former, &newer, &known, means.config).await?;
        told::tell(
            &mut change,
            (&row.place, &row.name),
            (&deeds, &done),
            &before,
        )
        .await?;
    }
    let lines: Vec<u64> = kept.bad.iter().map(|bad| bad.line).collect();
    let evidence = json!({
        "sheet": subject,
        "digest": row.digest,
        "rows": row.rows,
        "ended": done.ended,
        "not_understood": lines,
    });
    let why = format!(
        "accepted the sheet {subject}: {}",
        apply::said(&deeds, done.ended.len())
    );
    let cause = Cause::new("accept-sheet", why).with(evidence);
    change.note(None, None, cause).await?;
    change.commit().await?;
    preview.sheet.state = Standing::Accepted;
    Ok(preview)
}

/// Refuses a sheet: it ends nobody, and its alarm is over.
///
/// # Errors
/// It is not doubted; the store failed.
pub async fn refuse(
    means: Means<'_>,
    row: &JudgedRow,
    by: &Actor,
    now: Timestamp,
) -> Result<Preview, Error> {
    let subject = &row.subject;
    if row.state != Standing::Doubted {
        let what = format!("it is {} and not doubted", row.state.name());
        let remedy = "`orders sheet list` shows those that wait for a decision";
        return Err(Refusal::new(format!("sheet {subject}"), what, remedy).into());
    }
    let mut preview = preview(means, row, now).await?;
    let mut change = means.store.change(by.clone(), None, now).await?;
    change
        .decide_sheet(row, Standing::Refused, row.content.as_deref(), None)
        .await?;
    if let Some(kind) = &row.kind {
        change.end_alarm(kind, subject).await?;
    }
    let spared: Vec<&Serial> = preview.ends.iter().map(|named| &named.serial).collect();
    let why = format!(
        "refused the sheet {subject}: {} devices it names stay as they are",
        spared.len()
    );
    let evidence =
        json!({ "sheet": subject, "digest": row.digest, "rows": row.rows, "named": spared });
    let cause = Cause::new("refuse-sheet", why).with(evidence);
    change.note(None, None, cause).await?;
    change.commit().await?;
    preview.sheet.state = Standing::Refused;
    Ok(preview)
}
