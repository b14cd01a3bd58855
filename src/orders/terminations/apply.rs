//! Reading a sheet, judging it, and applying it or keeping it for a person.
//!
//! Each device is terminated by a change of its own (`carry`); that the sheet was read is written last, with its alarms.
//! Broken off in between, the sheet is read again, which changes nothing twice (T2). Serials that no unit has are looked up in the
//! device registry; if it cannot be asked these wait, and the rest is done.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::cells::NoSheet;
use super::judge::{self, Known, Plan, Registry, Rejection, judge, settled};
use super::kept::{self, Kept};
use super::later::{self, Former, Newer, kept_of};
use super::sheet::Sheet;
use super::told::{self, Before};
use super::{Ask, Config, Means, carry, sheet};
use crate::ops::panics;
use crate::orders::journey::{Actor, Serial};
use crate::orders::round;
use crate::orders::store::change::Change;
use crate::orders::store::judged::{JudgedRow, Standing};
use crate::orders::store::sheets::SheetRow;
use crate::orders::store::{Error, Store};
use crate::registry::Device;

/// How long decided sheets are kept.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 400);
/// Ends what a sheet was judged by if the device registry could not be asked about its rows that are not understood: no settings are
/// written so, and the sheet is judged again.
const UNASKED: &str = " without the device registry";
/// Devices of rows that are not understood which an alarm names.
const EXAMPLES: usize = 3;
/// Rows that are told with an alarm.
const TOLD: usize = 20;

/// What sheets are judged by, of these serials.
pub(super) async fn known(
    means: Means<'_>,
    place: &str,
    mut serials: Vec<Serial>,
) -> Result<Known, Error> {
    let store = means.store;
    let last_listed = store.seen().await?.into_iter();
    let fates = store.fates().await?;
    serials.sort_unstable();
    serials.dedup();
    serials.retain(|serial| !fates.contains_key(serial));
    Ok(Known {
        registry: registry(store, serials, means.ask).await?,
        fates,
        listed_at: store.marks().await?.get(round::DEVICES).copied(),
        last_listed: last_listed
            .map(|(serial, seen)| (serial, seen.last_seen))
            .collect(),
        rows_before: store.rows_before(place).await?,
        own: means.own.to_vec(),
        withdrawn: HashSet::new(),
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
                    "the device registry cannot be read for the serials of a sheet; they wait"
                );
                return Ok(Registry::Silent);
            }
        }
    }
    let ended = store.ended_devices().await?;
    Ok(Registry::Said { devices, ended })
}

/// Reads a sheet on a thread that may block. Whatever reading it does, a panic included, is this sheet's trouble alone.
async fn parsed(bytes: &[u8], config: &Config) -> Result<Sheet, NoSheet> {
    let (bytes, config) = (bytes.to_vec(), config.clone());
    let read = panics::blocking(move || sheet::read(&bytes, &config)).await;
    read.unwrap_or_else(|error| {
        tracing::error!(error, "reading a sheet failed");
        Err(NoSheet::new(
            "reading it broke an invariant",
            "open it in a spreadsheet and save it as CSV",
        ))
    })
}

/// Whether a sheet has to be judged now.
enum Due {
    No(Option<Timestamp>),
    /// `again`: it was applied before, and something of it waited.
    Yes {
        again: bool,
    },
}

/// What was known of a sheet's content before.
struct Past {
    /// The last sheet of this name.
    row: Option<SheetRow>,
    judged: Option<JudgedRow>,
    /// The alarm of a version that had one alarm per place, if it is about this very sheet.
    old_alarm: Option<(String, String)>,
}

impl Past {
    fn due(&self, digest: &str, judged_by: &str, now: Timestamp) -> Due {
        let same = self.row.as_ref().filter(|row| row.digest == digest);
        let later = |again_at: Option<Timestamp>| again_at.is_none_or(|at| at > now);
        match (&self.judged, same) {
            (Some(judged), same) => match judged.state {
                Standing::Refused | Standing::Accepted => Due::No(None),
                Standing::Replaced if same.is_some() => Due::No(None),
                Standing::Doubted if same.is_some() && judged.judged_by == judged_by => {
                    Due::No(None)
                }
                Standing::Obeyed if same.is_some() && later(judged.again_at) => {
                    Due::No(judged.again_at)
                }
                Standing::Obeyed => Due::Yes {
                    again: same.is_some(),
                },
                Standing::Replaced | Standing::Doubted => Due::Yes { again: false },
            },
            // A version that kept no sheets has judged it.
            (None, Some(row)) if self.old_alarm.is_none() => {
                if later(row.again_at) {
                    Due::No(row.again_at)
                } else {
                    Due::Yes { again: true }
                }
            }
            (None, _) => Due::Yes { again: false },
        }
    }
}

/// Reads a sheet and applies it, or says why not; gives when it is to be judged again though it is the same. One that was read before,
/// and has nothing that waits, is left alone; so is one that a person decided about.
///
/// # Errors
/// The store failed; what was done stays, and the rest is done by doing it again.
pub async fn apply(
    means: Means<'_>,
    place: &str,
    name: &str,
    bytes: &[u8],
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let (store, config) = (means.store, means.config);
    let (digest, mut judged_by) = (kept::digest(bytes), kept::judged_by(config));
    let before = Before {
        raised: store.raised().await?,
        standing: store.alarms().await?,
    };
    let row = store.sheet(place, name).await?;
    let same = row.as_ref().filter(|row| row.digest == digest);
    let past = Past {
        old_alarm: same.and_then(|_| old_alarm(&before, place, name)),
        row,
        judged: store.judged(place, name, &digest).await?,
    };
    let again = match past.due(&digest, &judged_by, now) {
        Due::No(again_at) => return Ok(again_at),
        Due::Yes { again } => again,
    };
    let sheet = parsed(bytes, config).await.map(|sheet| settled(sheet, now));
    let former = former(store, place, name, &digest).await?;
    let mut serials = former.serials();
    let mut doubted = false;
    if let Ok(sheet) = &sheet {
        doubted = !sheet.spoiled.is_empty();
        serials.extend(sheet.good.iter().map(|row| row.serial.clone()));
        serials.extend(sheet.spoiled.iter().map(|(_, serial)| serial.clone()));
    }
    let mut known = known(means, place, serials).await?;
    let kept = sheet
        .as_ref()
        .ok()
        .map(|sheet| Kept::of(sheet, |serial| known.is_device(serial)));
    if doubted && matches!(known.registry, Registry::Silent) {
        // Which devices its rows name is found out once the registry can be asked.
        judged_by.push_str(UNASKED);
    }
    if again {
        // It was not shortened since, and a later sheet may have taken devices back.
        known.rows_before = None;
        known.withdrawn = former
            .vanished
            .iter()
            .map(|row| row.serial.clone())
            .collect();
    }
    let names_a_row = kept
        .as_ref()
        .is_some_and(|kept| kept.rows + kept.bad_count > 0);
    let subject = kept::subject(name, &digest, names_a_row);
    let newer = Newer {
        subject: &subject,
        serials: kept.iter().flat_map(Kept::serials).cloned().collect(),
    };
    let by = Actor::Sheet(name.into());
    let mut row = SheetRow {
        place: place.to_owned(),
        name: name.to_owned(),
        digest: digest.clone(),
        read_at: now,
        again_at: None,
        obeyed_rows: past.row.as_ref().and_then(|row| row.obeyed_rows),
        obeyed_at: past.row.as_ref().and_then(|row| row.obeyed_at),
    };
    let mut judged = JudgedRow {
        place: place.to_owned(),
        name: name.to_owned(),
        digest,
        subject: subject.clone(),
        state: Standing::Doubted,
        kind: None,
        said: String::new(),
        rows: kept.as_ref().map_or(0, |kept| number(kept.rows)),
        bad: kept.as_ref().map_or(0, |kept| number(kept.bad_count)),
        judged_by,
        judged_at: now,
        again_at: None,
        decided_by: None,
        decided_at: None,
        content: kept.as_ref().map(Kept::written),
    };
    match judge(sheet, &known, config, now) {
        Err(doubt) => {
            judged.said = format!("the sheet {name} was not applied by itself: {doubt}");
            if let Some(named) = kept.as_ref().and_then(named) {
                judged.said.push_str(&named);
            }
            judged.kind = Some(doubt.kind().to_owned());
            let mut change = store.change(by, None, now).await?;
            change.put_sheet(&row).await?;
            change.put_judged(&judged).await?;
            let alarm = (doubt.kind(), &*subject);
            end_former(&mut change, &past, Some(alarm)).await?;
            later::replace(&mut change, &former, &newer, &known, Some(alarm)).await?;
            let evidence = json!({
                "sheet": name,
                "digest": judged.digest,
                // What can be accepted.
                "understood": judged.content.as_ref().map(|_| "what is understood"),
                "bad": bad(&doubt),
            });
            told::raise(&mut change, doubt.kind(), &subject, &judged.said, &evidence).await?;
            change.commit().await?;
            Ok(None)
        }
        Ok(deeds) => {
            let done = carry::carry_out(store, name, (&deeds, &known), &by, now).await?;
            let again_at = carry::again_at(&deeds, now);
            row.again_at = again_at;
            row.obeyed_rows = Some(judged.rows);
            let first = past.judged.as_ref().and_then(|judged| judged.decided_at);
            let obeyed_at = first.or(row.obeyed_at).filter(|_| again).unwrap_or(now);
            row.obeyed_at = Some(obeyed_at);
            judged.state = Standing::Obeyed;
            judged.said = said(&deeds, done.ended.len());
            judged.again_at = again_at;
            judged.decided_at = Some(obeyed_at);
            judged.content = kept.map(|kept| kept.with(deeds.waiting()).written());
            let mut change = store.change(by, None, now).await?;
            change.put_sheet(&row).await?;
            change.put_judged(&judged).await?;
            end_former(&mut change, &past, None).await?;
            later::replace(&mut change, &former, &newer, &known, None).await?;
            if !again {
                later::compare(&mut change, &former, &newer, &known, config).await?;
            }
            told::tell(&mut change, (place, name), (&deeds, &done), &before).await?;
            change
                .forget_sheets(now.saturating_sub(KEPT).unwrap_or(Timestamp::MIN))
                .await?;
            change.commit().await?;
            Ok(again_at)
        }
    }
}

/// Does what is due of sheets that a person accepted: their files may be gone.
///
/// # Errors
/// The store failed; the rest is done by doing it again.
pub async fn resume(means: Means<'_>, now: Timestamp) -> Result<(), Error> {
    for mut row in means.store.accepted_due(now).await? {
        let Some(kept) = kept_of(&row) else { continue };
        let mut known = known(means, &row.place, kept.serials().cloned().collect()).await?;
        let vanished = means.store.vanished().await?;
        known.withdrawn = vanished.into_iter().map(|row| row.serial).collect();
        let deeds = judge::asked(kept.sheet(), &known, means.config, now);
        let by = Actor::Sheet(row.name.as_str().into());
        let done = carry::carry_out(means.store, &row.name, (&deeds, &known), &by, now).await?;
        let before = Before {
            raised: means.store.raised().await?,
            standing: Vec::new(),
        };
        row.again_at = carry::again_at(&deeds, now);
        row.content = Some(kept.with(deeds.waiting()).written());
        let mut change = means.store.change(by, None, now).await?;
        change.put_judged(&row).await?;
        told::tell(
            &mut change,
            (&row.place, &row.name),
            (&deeds, &done),
            &before,
        )
        .await?;
        change.commit().await?;
    }
    Ok(())
}

/// What was there before a sheet.
pub(super) async fn former(
    store: &Store,
    place: &str,
    name: &str,
    digest: &str,
) -> Result<Former, Error> {
    let mut doubted = store.doubted(place, name).await?;
    doubted.retain(|row| row.digest != digest);
    let last = store.last_obeyed(place).await?;
    Ok(Former {
        doubted,
        last: last.filter(|row| row.name != name || row.digest != digest),
        vanished: store.vanished().await?,
    })
}

/// The alarm of the version that had one alarm per place and kind, whatever the sheet.
fn old_alarm(before: &Before, place: &str, name: &str) -> Option<(String, String)> {
    let found = before.standing.iter().find(|alarm| {
        let sheet = alarm.evidence.as_ref().map(|evidence| &evidence["sheet"]);
        Rejection::KINDS.contains(&&*alarm.kind)
            && alarm.subject == place
            && sheet.is_some_and(|sheet| sheet == name)
    });
    found.map(|alarm| (alarm.kind.clone(), alarm.subject.clone()))
}

/// Ends the alarms that were about the same content, or about the place of a sheet, but for the one that is raised now.
async fn end_former(
    change: &mut Change,
    past: &Past,
    alarm: Option<(&str, &str)>,
) -> Result<(), Error> {
    let judged = past
        .judged
        .as_ref()
        .filter(|row| row.state == Standing::Doubted);
    let judged = judged.and_then(|row| Some((row.kind.clone()?, row.subject.clone())));
    for (kind, subject) in judged.into_iter().chain(past.old_alarm.clone()) {
        if alarm != Some((&*kind, &*subject)) {
            change.end_alarm(&kind, &subject).await?;
        }
    }
    Ok(())
}

/// The first devices that rows name which are not understood.
fn named(kept: &Kept) -> Option<String> {
    let mut named: Vec<&Serial> = kept.doubted_serials().collect();
    named.sort_unstable();
    named.dedup();
    let first: Vec<&str> = named
        .iter()
        .take(EXAMPLES)
        .map(|serial| serial.as_str())
        .collect();
    let more = named.len() - first.len();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    (!first.is_empty()).then(|| format!("; these rows name {}{more}", first.join(", ")))
}

/// What was done, in one line.
pub(super) fn said(deeds: &Plan, ended: usize) -> String {
    let mut said = format!("{ended} ended, {} ended before", deeds.already);
    for (count, what) in [
        (deeds.later.len(), "later"),
        (deeds.unconfirmed.len(), "not confirmed"),
        (deeds.unasked.len(), "wait for the device registry"),
        (deeds.withdrawn.len(), "not named any more"),
        (deeds.returned.len(), "registered again"),
        (deeds.unknown.len(), "unknown"),
        (deeds.foreign.len(), "of others"),
    ] {
        if count > 0 {
            said.push_str(&format!(", {count} {what}"));
        }
    }
    said
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The first rows that are not understood.
fn bad(doubt: &Rejection) -> Vec<String> {
    match doubt {
        Rejection::Malformed { bad, .. } => {
            bad.iter().take(TOLD).map(ToString::to_string).collect()
        }
        Rejection::Empty | Rejection::Short { .. } | Rejection::Many { .. } => Vec::new(),
    }
}
