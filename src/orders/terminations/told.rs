//! Telling people what a sheet does not do: alarms, one per cause, which end with their cause.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Value, json};

use super::carry::Done;
use super::judge::Plan;
use crate::ops::metrics::orders as metrics;
use crate::orders::journey::Serial;
use crate::orders::store::Error;
use crate::orders::store::alarms::AlarmRow;
use crate::orders::store::change::Change;

/// The alarm's kind for serials that nobody knows.
pub(super) const UNKNOWN: &str = "sheet-unknown";
const UNCONFIRMED: &str = "sheet-unconfirmed";
/// Kinds of alarms that ask to have a unit's serial terminated in MyAdmin.
const TO_TERMINATE: [&str; 2] = ["cancelled-serial", "replaced-serial"];
/// Unknown serials that get an alarm each; more of them get one together.
const EACH: usize = 50;

/// The alarms before a change.
pub(super) struct Before {
    /// Kind and subject of every one that was ever raised and whose cause is not known to be gone.
    pub raised: BTreeSet<(String, String)>,
    /// Those that stand.
    pub standing: Vec<AlarmRow>,
}

impl Before {
    fn is_new(&self, kind: &str, subject: &str) -> bool {
        !self.raised.contains(&(kind.to_owned(), subject.to_owned()))
    }
}

/// Raises what a sheet's devices give reason for, and ends what they do not any more.
pub(super) async fn tell(
    change: &mut Change,
    (place, name): (&str, &str),
    (deeds, done): (&Plan, &Done),
    before: &Before,
) -> Result<(), Error> {
    unknown(change, (place, name), &deeds.unknown, before).await?;
    for row in &deeds.now {
        for kind in [UNCONFIRMED, UNKNOWN] {
            change.clear_alarm(kind, row.serial.as_str()).await?;
        }
    }
    // What a person was to have terminated in MyAdmin is on the sheet: nothing is left to do.
    for unit in &deeds.named {
        for kind in TO_TERMINATE {
            if !before.is_new(kind, unit) {
                change.end_alarm(kind, unit).await?;
            }
        }
    }
    let returned = deeds.returned.iter().map(|serial| {
        let said = "a sheet terminated it, and the registry has it as not terminated again: nothing was done";
        ("sheet-returned", serial, said)
    });
    let claimed = done.claimed.iter().map(|serial| {
        let said =
            "the registry has it under the id of a unit with another serial: terminate it by hand";
        ("sheet-claimed", serial, said)
    });
    for (kind, serial, said) in returned.chain(claimed) {
        let serial = serial.as_str();
        if before.is_new(kind, serial) {
            raise(change, kind, serial, said, &json!({ "sheet": name })).await?;
        }
    }
    for row in &deeds.unconfirmed {
        let serial = row.serial.as_str();
        if before.is_new(UNCONFIRMED, serial) {
            let said = format!(
                "the sheet {name} terminates it and the partner's device list still shows it: nothing was done"
            );
            let evidence = json!({ "sheet": name, "line": row.line });
            raise(change, UNCONFIRMED, serial, &said, &evidence).await?;
        }
    }
    Ok(())
}

/// Serials that nobody has: told once each, or together when there are many; what the sheet of this name does not name any more ends.
async fn unknown(
    change: &mut Change,
    (place, name): (&str, &str),
    serials: &[Serial],
    before: &Before,
) -> Result<(), Error> {
    let together = serials.len() > EACH;
    let named: HashSet<&str> = serials.iter().map(Serial::as_str).collect();
    let over = before.standing.iter().filter(|alarm| {
        let subject = alarm.subject.as_str();
        let sheet = alarm.evidence.as_ref().map(|evidence| &evidence["sheet"]);
        // The next file of a folder is another sheet: what the one before it names is not settled by it.
        let here = sheet.and_then(Value::as_str).is_none_or(|of| of == name);
        let stands = together && subject == place || named.contains(subject);
        alarm.kind == UNKNOWN && here && !stands
    });
    for alarm in over {
        change.end_alarm(UNKNOWN, &alarm.subject).await?;
    }
    if together {
        let said = format!(
            "the sheet {name} names {} serials that no unit and no registered device has",
            serials.len()
        );
        let first: Vec<&str> = serials.iter().take(EACH).map(Serial::as_str).collect();
        let evidence = json!({ "sheet": name, "place": place, "first": first });
        return raise(change, UNKNOWN, place, &said, &evidence).await;
    }
    for serial in serials.iter().map(Serial::as_str) {
        if before.is_new(UNKNOWN, serial) {
            let said = format!(
                "the sheet {name} terminates it, and no unit and no registered device has it"
            );
            let evidence = json!({ "sheet": name, "place": place });
            raise(change, UNKNOWN, serial, &said, &evidence).await?;
        }
    }
    Ok(())
}

pub(super) async fn raise(
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
