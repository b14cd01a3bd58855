//! Alarms that stand while their cause does, and what a person can do about each kind. Pure.
//!
//! A cause is found out anew by every round. What is due and does not stand is raised, what is not due any more is ended. One that a
//! person cleared stays cleared until its cause changes or returns.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::reconcile::{Held, seconds};
use super::settings::Config;
use super::store::alarms::{AlarmRow, Raised};
use super::wait::{Facts, For, Scene};
use crate::config::printable;

/// An alarm that is due.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    pub kind: &'static str,
    pub subject: String,
    pub said: String,
    pub evidence: Value,
}

/// Kinds that are found out by every round: those that are not due any more end.
const FOUND_OUT: [&str; 12] = [
    "orphan-serial",
    "fleet-not-accepted",
    "terminated-reappears",
    "left-database",
    "order-vanished",
    "cancelled-reappears",
    "line-vanished",
    "lost-answer",
    "order-unreadable",
    "device-unreadable",
    "device-stranded",
    "parcel-unknown",
];

/// Whether a kind's alarms are found out by every round.
#[must_use]
pub fn is_found_out(kind: &str) -> bool {
    FOUND_OUT.contains(&kind) || For::ALL.iter().any(|what| what.alarm() == kind)
}

/// The alarms to be raised, and kind and subject of the alarms to be ended.
#[must_use]
pub fn compare<'a>(
    due: &'a [Due],
    raised: &BTreeMap<(String, String), Raised>,
    unknown: &BTreeSet<&str>,
) -> (Vec<&'a Due>, Vec<(String, String)>) {
    let raise = due.iter().filter(|due| {
        let key = (due.kind.to_owned(), due.subject.clone());
        raised
            .get(&key)
            .is_none_or(|raised| raised.said != due.said)
    });
    let stands = |kind: &str, subject: &str| {
        due.iter()
            .any(|due| due.kind == kind && due.subject == subject)
    };
    let over = raised.keys().filter(|(kind, subject)| {
        is_found_out(kind) && !unknown.contains(kind.as_str()) && !stands(kind, subject)
    });
    (raise.collect(), over.cloned().collect())
}

/// Waits that are longer than their bounds: one alarm per order and what is waited for.
#[must_use]
pub fn overdue(held: &Held, facts: &Facts, config: &Config) -> Vec<Due> {
    let mut due = Vec::new();
    for whole in &held.orders {
        let scene = Scene::new(whole, facts, config);
        let mut waits = scene.units();
        if waits.is_empty() {
            waits.extend(scene.order().map(|wait| (&*whole.row.id, wait)));
        }
        let mut late: BTreeMap<For, Vec<(&str, _)>> = BTreeMap::new();
        for (subject, wait) in waits {
            let over = config.waits.bound_s(wait.what).is_some_and(|bound| {
                let end = wait.since.saturating_add(seconds(bound));
                end.is_ok_and(|end| end <= facts.now)
            });
            if over {
                late.entry(wait.what).or_default().push((subject, wait));
            }
        }
        for (what, mut waits) in late {
            waits.sort_by_key(|(_, wait)| wait.since);
            let Some((subject, first)) = waits.first() else {
                continue;
            };
            let more = match waits.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more of order {}", whole.row.id),
            };
            due.push(Due {
                kind: what.alarm(),
                subject: whole.row.id.clone(),
                said: format!(
                    "{subject}{more}: waits since {} for {}; {}",
                    first.since, first.said, first.remedy
                ),
                evidence: json!({
                    "units": waits.iter().map(|(subject, _)| subject).collect::<Vec<_>>(),
                    "since": first.since.to_string(),
                    "remedy": first.remedy,
                }),
            });
        }
    }
    due
}

/// A standing alarm as people and programs see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlarmShown {
    #[serde(flatten)]
    pub row: AlarmRow,
    /// The remedy.
    pub remedy: String,
}

impl From<AlarmRow> for AlarmShown {
    fn from(row: AlarmRow) -> Self {
        Self {
            remedy: remedy(&row),
            row,
        }
    }
}

/// The remedy of an alarm.
#[must_use]
pub fn remedy(alarm: &AlarmRow) -> String {
    let subject = &alarm.subject;
    let given = |name: &str| {
        let evidence = alarm.evidence.as_ref()?;
        evidence[name].as_str().map(str::to_owned)
    };
    // In commands; a name that begins with a hyphen comes after `--`, so options stand before it.
    let word = printable::word(subject);
    let clear = format!("`orders clear {} {word}`", alarm.kind);
    let (first, then) = match alarm.kind.as_str() {
        kind if For::ALL.iter().any(|what| what.alarm() == kind) => {
            return given("remedy").unwrap_or_else(|| format!("`orders show {word}`"));
        }
        "orphan-serial" => (
            format!(
                "look in MyAdmin whose it is: `orders assign {} --serial {subject}` gives it to a unit, which ends the alarm",
                given("unit").unwrap_or_else(|| "UNIT".to_owned())
            ),
            format!("{clear} accepts that it is no unit's, so that its product is provisioned again"),
        ),
        "store-not-proven" | "fleet-not-accepted" => {
            return "`orders recover` shows what is known; with --accept --by NAME it goes on, which ends the alarm".to_owned();
        }
        "registry-too-large" => (
            "raise max.message.bytes of the topic of the registry (topics.devices): the change is written then by itself, which ends the alarm"
                .to_owned(),
            clear,
        ),
        "registry-differs" => ("find out who else writes the topic of the registry, or deleted it".to_owned(), clear),
        "devices-not-listed" => (
            "have MyAdmin list the devices to this account, or set orders.provision.list_devices = false; it ends with the next list".to_owned(),
            clear,
        ),
        "lost-answer" => (
            format!("look in MyAdmin whether a serial was made and have it terminated; `orders retry {word}` says that nothing came of the call, which ends the alarm"),
            clear,
        ),
        "cancelled-serial" | "replaced-serial" => (
            "have the serial terminated in MyAdmin: a sheet of terminations that names it ends the alarm".to_owned(),
            format!("{clear} when MyAdmin shows it as terminated"),
        ),
        "wrong-serial" => (
            "look in MyAdmin which serial is the device's, and have the other one terminated".to_owned(),
            clear,
        ),
        "serial-prefix" => (
            "correct the prefix of its product in [orders.products] if the serial is right, else ask Geotab which product it is"
                .to_owned(),
            clear,
        ),
        "told-late" => ("correct in MyAdmin what was told".to_owned(), clear),
        "order-vanished" => (
            format!("ask whether it was cancelled: if so `orders cancel --why WHY {word}`"),
            format!("{clear} if it is to be waited for"),
        ),
        "cancelled-reappears" => (
            format!("`orders resume --why WHY {word}` takes it up again, or have it cancelled in MyAdmin: both end the alarm"),
            clear,
        ),
        "line-vanished" => {
            let active = alarm.evidence.as_ref().is_some_and(|evidence| evidence["active"] == true);
            let end = if active {
                "have the Partner terminate the device: the sheet ends it here".to_owned()
            } else {
                format!("`orders cancel --why WHY {word}`")
            };
            (
                format!("ask whether the unit was taken out of the order: if so {end}"),
                format!("{clear} if it is to go on"),
            )
        }
        "terminated-reappears" | "left-database" => (
            format!("`orders show {word}` and compare with MyAdmin; it ends when MyAdmin shows it otherwise"),
            clear,
        ),
        "order-unreadable" => (
            "look at the order in MyAdmin: it is taken in as soon as its lines can be read, which ends the alarm".to_owned(),
            format!("{clear} if it is to stay out"),
        ),
        "parcel-unknown" => (
            format!(
                "compare the order with MyAdmin; `orders ship {word} --unit UNIT --carrier CARRIER --tracking NUMBER` for the unit that \
                 travels under a number, or correct the numbers in MyAdmin: both end the alarm"
            ),
            clear,
        ),
        "device-stranded" => {
            let [order, serial] = ["order", "serial"]
                .map(|name| given(name).unwrap_or_else(|| name.to_ascii_uppercase()));
            (
                format!(
                    "`orders resume {order} --why WHY` takes the order in with its lines as units; then `orders assign UNIT --serial {serial}` \
                     for the unit that has it, with its IMEI and SIM, and `orders ship {order} --unit UNIT --carrier CARRIER --tracking NUMBER`"
                ),
                format!("{clear} if it is never to send"),
            )
        }
        "device-unreadable" => ("tell Geotab that MyAdmin lists this serial".to_owned(), clear),
        "cancelled-active" => (
            "have its Partner terminate the device: the sheet ends it here".to_owned(),
            clear,
        ),
        // Without a digest: of a version that had one alarm for all sheets of a place. What they named is not known any more.
        "sheet-empty" | "sheet-malformed" | "sheet-short" | "sheet-many"
            if given("digest").is_none() =>
        {
            (
                "have the sheet sent again whole, under another name".to_owned(),
                clear,
            )
        }
        "sheet-empty" | "sheet-malformed" | "sheet-short" | "sheet-many" => {
            let then = format!(
                "`orders sheet refuse --yes --by NAME {word}` leaves its devices as they are; a corrected sheet of the same name \
                 that accounts for all its devices replaces it by itself"
            );
            let Some(understood) = given("understood") else {
                return then;
            };
            return format!(
                "`orders sheet show {word}` shows whom it would end and which rows are not understood; \
                 `orders sheet accept --yes --by NAME {word}` applies {understood}, {then}"
            );
        }
        "sheet-unreadable" => (
            "see to what it says; the file is read by itself then, which ends the alarm".to_owned(),
            clear,
        ),
        "sheet-stale" => (
            "have a new sheet put into orders.terminations.folder, which ends the alarm".to_owned(),
            clear,
        ),
        "sheet-unconfirmed" => (
            "ask the Partner; it is ended as soon as the partner's device list does not show it any more".to_owned(),
            format!("{clear} if the sheet is wrong"),
        ),
        "sheet-vanished" => {
            let sheet = given("named_by").unwrap_or_else(|| "SHEET".to_owned());
            let sheet = printable::word(&sheet);
            (
                format!("ask the Partner: if it is to be ended all the same, `orders sheet accept --yes --by NAME {sheet}` ends it"),
                format!("{clear} if it goes on"),
            )
        }
        "sheet-unknown" | "sheet-claimed" | "sheet-returned" => (
            format!(
                "compare the sheet's serial with MyAdmin; `devices terminate {}` ends a device that no unit is",
                if given("place").as_deref() == Some(subject.as_str()) { "SERIAL" } else { word.as_str() }
            ),
            clear,
        ),
        "mail-without-order" | "order-without-mail" | "mail-without-number" | "mail-unreadable" => (
            "compare the mail (`orders mail list` shows what was understood) with MyAdmin by hand".to_owned(),
            clear,
        ),
        "mail-differs" => (
            format!(
                "compare the letter item by item with `orders mail show {subject}` and ask Geotab which of them is right: the alarm ends \
                 when a corrected letter or MyAdmin agrees"
            ),
            format!("{clear} if MyAdmin is right"),
        ),
        "inventory-file" => (
            "`orders inventory` names every line that cannot be used; correct the file, which ends the alarm".to_owned(),
            clear,
        ),
        "inventory-short" => (
            "add devices to the file of orders.inventory, or assign devices by hand (`orders list --waits-for marks` shows the units); \
             that ends the alarm"
                .to_owned(),
            clear,
        ),
        _ => ("see to what it says".to_owned(), format!("{clear} when it is done")),
    };
    format!("{first}; {then}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(subject: &str, said: &str) -> Due {
        Due {
            kind: "orphan-serial",
            subject: subject.into(),
            said: said.into(),
            evidence: Value::Null,
        }
    }

    #[test]
    fn an_alarm_stands_while_its_cause_does() {
        let raised = |said: &str| Raised {
            said: said.into(),
            cleared: true,
        };
        let key = |kind: &str, subject: &str| (kind.to_owned(), subject.to_owned());
        let raised = BTreeMap::from([
            (key("orphan-serial", "A"), raised("x")),
            (key("orphan-serial", "B"), raised("x")),
            (key("waits-marks", "7"), raised("x")),
            (key("sheet-short", "C"), raised("x")),
        ]);
        let due = [due("A", "x"), due("B", "y"), due("D", "x")];
        let (raise, over) = compare(&due, &raised, &BTreeSet::new());
        let subjects: Vec<&str> = raise.iter().map(|due| &*due.subject).collect();
        // A is as a person cleared it; B's cause is another one.
        assert_eq!(subjects, ["B", "D"]);
        assert_eq!(over, [key("waits-marks", "7")]);
        let (_, over) = compare(
            &[],
            &raised,
            &BTreeSet::from(["orphan-serial", "waits-marks"]),
        );
        assert!(over.is_empty(), "{over:?}");
    }

    #[test]
    fn every_kind_that_is_found_out_has_a_remedy_of_its_own() {
        let other = |kind: &str| AlarmRow {
            kind: kind.into(),
            subject: "7".into(),
            said: String::new(),
            evidence: None,
            first_at: jiff::Timestamp::UNIX_EPOCH,
            last_at: jiff::Timestamp::UNIX_EPOCH,
            times: 1,
        };
        for kind in FOUND_OUT {
            assert!(
                !remedy(&other(kind)).contains("see to what it says"),
                "{kind}"
            );
        }
    }
}
