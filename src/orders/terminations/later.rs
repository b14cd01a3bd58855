//! What a later sheet means for the ones before it: doubted ones it replaces (T4), devices that vanished from it (T5).

use std::collections::HashSet;

use serde_json::json;

use super::judge::{Found, Known};
use super::kept::Kept;
use super::told::raise;
use super::{Config, Vanished};
use crate::orders::journey::Serial;
use crate::orders::store::Error;
use crate::orders::store::change::{Cause, Change};
use crate::orders::store::judged::{JudgedRow, Standing, VanishedRow};

/// The alarm's kind for devices that vanished.
pub(super) const VANISHED: &str = "sheet-vanished";

/// What was there before a sheet.
#[derive(Debug, Default)]
pub(super) struct Former {
    /// Sheets of the same name that are doubted.
    pub doubted: Vec<JudgedRow>,
    /// The last sheet of the place that was applied or accepted, unless it is this one.
    pub last: Option<JudgedRow>,
    pub vanished: Vec<VanishedRow>,
}

impl Former {
    /// Serials that must be looked up besides the sheet's own.
    pub(super) fn serials(&self) -> Vec<Serial> {
        let rows = self.doubted.iter().chain(&self.last);
        let kept: Vec<Kept> = rows.filter_map(kept_of).collect();
        let named = kept.iter().flat_map(Kept::serials);
        let vanished = self.vanished.iter().map(|row| &row.serial);
        named.chain(vanished).cloned().collect()
    }
}

pub(super) fn kept_of(row: &JudgedRow) -> Option<Kept> {
    Kept::read(row.content.as_deref()?)
}

/// A sheet as what comes after others.
#[derive(Debug)]
pub(super) struct Newer<'s> {
    pub subject: &'s str,
    pub serials: HashSet<Serial>,
}

/// Whether a later sheet accounts for every device of a doubted one: it names it, or nothing is left to be ended. For each row of
/// which not even the serial was understood it must end one more.
fn accounts_for(newer: &Newer<'_>, older: &JudgedRow, known: &Known) -> bool {
    let Some(content) = &older.content else {
        // It was no sheet at all, and named nobody.
        return true;
    };
    let Some(kept) = Kept::read(content) else {
        return false;
    };
    let over = |serial: &&Serial| {
        newer.serials.contains(*serial)
            || matches!(
                known.find(serial),
                Found::Unknown | Found::Ended | Found::Returned
            )
    };
    let named: HashSet<&Serial> = kept.serials().collect();
    let nameless = kept.nameless();
    let live = |serial: &&Serial| matches!(known.find(serial), Found::Live | Found::Unasked);
    let others = newer
        .serials
        .iter()
        .filter(|serial| !named.contains(serial));
    named.iter().all(over) && others.filter(live).count() as u64 >= nameless
}

/// Replaces the doubted sheets of the same name that this one accounts for. `alarm` is the one that this sheet raises itself.
pub(super) async fn replace(
    change: &mut Change,
    former: &Former,
    newer: &Newer<'_>,
    known: &Known,
    alarm: Option<(&str, &str)>,
) -> Result<(), Error> {
    for older in former
        .doubted
        .iter()
        .filter(|older| accounts_for(newer, older, known))
    {
        change
            .decide_sheet(older, Standing::Replaced, None, None)
            .await?;
        let (kind, subject) = (older.kind.as_deref().unwrap_or_default(), &*older.subject);
        if alarm != Some((kind, subject)) {
            change.end_alarm(kind, subject).await?;
        }
        if older.rows > 0 {
            let why = format!("{} accounts for all devices of {subject}", newer.subject);
            let cause = Cause::new("replace-sheet", why);
            let evidence = json!({ "sheet": subject, "by": newer.subject });
            change.note(None, None, cause.with(evidence)).await?;
        }
    }
    Ok(())
}

/// Notes the devices that the last applied sheet was to end later and that this one does not name; ends what was noted of devices that
/// are named again or ended.
pub(super) async fn compare(
    change: &mut Change,
    former: &Former,
    newer: &Newer<'_>,
    known: &Known,
    config: &Config,
) -> Result<(), Error> {
    for row in &former.vanished {
        if newer.serials.contains(&row.serial) || known.find(&row.serial) == Found::Ended {
            change.remove_vanished(&row.serial).await?;
            change.end_alarm(VANISHED, row.serial.as_str()).await?;
        }
    }
    let Some((last, kept)) = former
        .last
        .as_ref()
        .and_then(|last| Some((last, kept_of(last)?)))
    else {
        return Ok(());
    };
    // Of an applied sheet only what was to be done later is kept.
    for row in kept.sheet().good {
        let serial = &row.serial;
        let is_there = matches!(known.find(serial), Found::Live | Found::Unasked);
        if newer.serials.contains(serial) || !is_there {
            continue;
        }
        let vanished = VanishedRow {
            serial: serial.clone(),
            named_by: last.subject.clone(),
            missing_in: newer.subject.to_owned(),
            since: row.since,
            at: change.now(),
        };
        change.put_vanished(&vanished).await?;
        change
            .end_alarm("sheet-unconfirmed", serial.as_str())
            .await?;
        let said = format!(
            "the sheet {} was to end it and {} does not name it: it is not ended",
            last.subject, newer.subject
        );
        let evidence =
            json!({ "serial": serial, "named_by": last.subject, "missing_in": newer.subject });
        let cause = Cause::new("vanish", &*said).with(evidence.clone());
        change.note(None, None, cause).await?;
        if config.vanished == Vanished::Alarm {
            raise(change, VANISHED, serial.as_str(), &said, &evidence).await?;
        }
    }
    Ok(())
}
