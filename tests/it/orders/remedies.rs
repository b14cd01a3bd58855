//! Every remedy works: the commands that alarms and refusals print are taken from their texts and given to the program.
//!
//! That each of them is one of the program's commands is checked over the whole source in `commands/remedies_tests.rs`; here they are
//! executed. Those of waits, doubted sheets, lost answers and recoveries are executed where their causes are told of (`waits`,
//! `doubted`, `calls`, `recover`, and `kafka::registry` on a real broker).

use std::collections::BTreeSet;
use std::path::Path;

use dig_ingest::orders::alarms::{self, AlarmShown};
use dig_ingest::orders::journey::{Serial, Tags};
use dig_ingest::orders::settings::{Mode, Partial};
use dig_ingest::orders::store::alarms::AlarmRow;
use dig_ingest::orders::store::operator_actions::Subject;
use dig_ingest::orders::store::{Error, Refusal};
use serde_json::{Value, json};

use super::site::{Site, ann, marks, serial};

/// Kinds whose remedy ends them without a person's word that it is done.
const NOT_CLEARED: [&str; 2] = ["store-not-proven", "fleet-not-accepted"];
/// Kinds of sheets: refused, where their content is known.
const OF_SHEETS: [&str; 4] = [
    "sheet-empty",
    "sheet-malformed",
    "sheet-short",
    "sheet-many",
];

/// The kinds that the source has a remedy for.
fn kinds() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/orders/alarms.rs");
    let text = std::fs::read_to_string(path).unwrap();
    let begin = text.find("pub fn remedy(").unwrap();
    let end = text[begin..].find("#[cfg(test)]").unwrap();
    let arms = text[begin..begin + end].lines().filter(|line| {
        line.starts_with("        \"") && (line.contains("=>") || line.trim_end().ends_with('"'))
    });
    arms.flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(|word| {
            word.contains('-')
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        })
        .map(str::to_owned)
        .collect()
}

/// Raises an alarm as its cause would.
async fn raised(site: &Site, kind: &str, subject: &str, evidence: Option<&Value>) -> AlarmShown {
    let now = site.world.now();
    let store = &site.store;
    let by = ann();
    let raised = store.note_alarm(kind, subject, "raised by a test", evidence, &by, now);
    assert!(raised.await.unwrap(), "{kind} {subject}");
    let alarms = site.alarms().await.into_iter();
    let mut of = alarms.filter(|alarm| alarm.row.kind == kind && alarm.row.subject == subject);
    of.next().expect("it stands")
}

async fn stands(site: &Site, kind: &str, subject: &str) -> bool {
    let standing = site.standing().await;
    standing.contains(&(kind.to_owned(), subject.to_owned()))
}

/// Whatever the subject is: files have names that a shell would take for something else.
#[tokio::test]
async fn every_alarm_is_cleared_by_the_command_that_its_remedy_prints() {
    let site = Site::new(Mode::Api, |_| {}).await;
    let kinds = kinds();
    assert!(kinds.len() > 30, "{kinds:?}");
    for known in [
        "orphan-serial",
        "replaced-serial",
        "sheet-vanished",
        "mail-unreadable",
    ] {
        assert!(kinds.contains(known), "{known}: {kinds:?}");
    }
    let subject = "it's $(exit 1) `7`.csv";
    for kind in &kinds {
        let alarm = raised(&site, kind, subject, None).await;
        if NOT_CLEARED.contains(&kind.as_str()) {
            assert!(alarm.remedy.contains("`orders recover`"), "{alarm:?}");
            continue;
        }
        site.apply(&alarm.remedy, "clear");
        assert!(!stands(&site, kind, subject).await, "{kind}");
    }
    // One that no version here knows has a remedy too.
    let alarm = raised(&site, "of-another-version", "7", None).await;
    site.apply(&alarm.remedy, "clear");
    // What ends a doubted sheet's alarm is a decision about the sheet: the texts name it in a form that a shell takes.
    for kind in OF_SHEETS {
        let row = AlarmRow {
            kind: kind.into(),
            subject: subject.into(),
            said: String::new(),
            evidence: Some(json!({ "digest": "4f1c", "understood": "what is understood" })),
            first_at: site.world.now(),
            last_at: site.world.now(),
            times: 1,
        };
        let remedy = alarms::remedy(&row);
        for act in ["show", "accept", "refuse"] {
            let start = format!("orders sheet {act} ");
            let mut commands = remedy.split("`orders ").skip(1);
            let command = commands
                .find(|text| format!("orders {text}").starts_with(&start))
                .unwrap_or_else(|| panic!("no {act} in {remedy:?}"));
            assert!(command.contains(r"'it'\''s $(exit 1)"), "{command}");
        }
    }
    site.store.close().await;
}

/// What an alarm prints besides, on orders and units as they are.
#[tokio::test]
async fn the_other_commands_of_alarms_do_what_they_say() {
    let mut site = Site::new(Mode::Api, |_| {}).await;
    let order = site.assigned(3).await;
    let units = site.units(&order).await;
    let unit = &units[0].id;
    let gone = raised(
        &site,
        "line-vanished",
        unit,
        Some(&json!({ "active": false })),
    )
    .await;
    site.apply(&gone.remedy, "cancel");
    assert_eq!(site.unit(unit).await.unit.state(), "cancelled");
    for kind in ["terminated-reappears", "left-database"] {
        let alarm = raised(&site, kind, unit, None).await;
        let output = site.apply(&alarm.remedy, "show");
        assert!(String::from_utf8(output.stdout).unwrap().contains(&order));
    }
    let short = raised(&site, "inventory-short", "CTD-200", None).await;
    site.apply(&short.remedy, "list");
    let shelf = site.file().with_file_name("shelf.csv");
    std::fs::write(&shelf, "imei,sim\n3.5E+14,1\n").unwrap();
    let alarm = raised(&site, "inventory-file", &shelf.display().to_string(), None).await;
    let set = format!("orders.inventory.file={}", shelf.display());
    let output = site.run(&alarm.remedy, "inventory", &["--set", &set]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("3.5E+14"),
        "every line that cannot be used is named: {said}"
    );
    let vanished = raised(&site, "order-vanished", &order, None).await;
    site.apply(&vanished.remedy, "cancel");
    assert_eq!(
        site.store
            .order(&order)
            .await
            .unwrap()
            .unwrap()
            .order
            .state(),
        "cancelled"
    );
    let back = raised(&site, "cancelled-reappears", &order, None).await;
    site.apply(&back.remedy, "resume");
    assert_eq!(
        site.store
            .order(&order)
            .await
            .unwrap()
            .unwrap()
            .order
            .state(),
        "approved"
    );
    site.store.close().await;
}

/// An orphan is given to the unit that waits for it, and its product goes on.
#[tokio::test]
async fn an_orphan_is_given_to_a_unit_by_the_command_of_its_alarm() {
    let mut site = Site::new(Mode::Api, |_| {}).await;
    site.round(0).await;
    site.world.pass(2000);
    let orphan = site.world.make(10032);
    site.world.pass(700);
    site.round(400).await;
    let order = site.world.place("CTD-100", 1).to_string();
    site.until("the order is taken in", async |store| {
        !store.units(&order).await.unwrap().is_empty()
    })
    .await;
    let unit = site.units(&order).await.remove(0).id;
    let alarms = site.alarms().await;
    let alarm = alarms
        .iter()
        .find(|alarm| alarm.row.kind == "orphan-serial")
        .unwrap_or_else(|| panic!("{alarms:?}"));
    let remedy = alarm.remedy.replace("UNIT", &unit);
    site.apply(&remedy, "assign");
    assert_eq!(serial(&site.unit(&unit).await).as_str(), orphan);
    site.round(400).await;
    let standing = site.standing().await;
    let ended = standing.iter().all(|(kind, _)| kind != "orphan-serial");
    assert!(ended, "{standing:?}");
    site.store.close().await;
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("it is refused: {other:?}"),
    }
}

/// What was refused is possible once the command was executed that the refusal prints.
// Two threads: a refused change is rolled back while a command waits for the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_refusals_lead_on() {
    let mut site = Site::new(Mode::Api, |config| {
        config.fulfilment.partial = Partial::Report;
    })
    .await;
    let order = site.shipped(2).await;
    site.all(&order, "confirmed").await;
    site.world.own_all();
    site.all(&order, "active").await;
    let units = site.units(&order).await;
    let (first, second) = (&units[0].id, &units[1].id);
    let now = site.world.now();

    // An active unit is not cancelled; its device is replaced.
    let refused = refusal(site.store.cancel_unit(first, "no", &ann(), now).await);
    site.apply(&refused.remedy, "replace");
    let fresh = format!("{first}r1");
    assert_eq!(site.unit(&fresh).await.replaces.as_ref(), Some(first));
    // A second time names the one that took its place: it can be replaced once it has a serial.
    let refused = refusal(site.store.replace(first, "again", &ann(), now).await);
    let early = refusal(site.store.replace(&fresh, "again", &ann(), now).await);
    site.apply(
        &early
            .remedy
            .replace("IMEI", &marks(&units[0]).imei.unwrap()),
        "assign",
    );
    site.until("it has its serial", async |store| {
        let row = store.unit(&fresh).await.unwrap().unwrap();
        row.unit.serial().is_some()
    })
    .await;
    site.apply(&refused.remedy, "replace");
    assert_eq!(site.unit(&fresh).await.unit.state(), "terminated");

    // Another serial is another device.
    let other = Serial::parse("C8FFFFFFFFF1").unwrap();
    let swapped = site
        .store
        .assign(second, Some(&other), &Tags::default(), &ann(), now)
        .await;
    let refused = refusal(swapped);
    site.apply(&refused.remedy, "replace");
    assert_eq!(site.unit(second).await.unit.state(), "terminated");

    // Nothing is replaced or resumed within a cancelled order, until the order is taken up again.
    let order = site.assigned(2).await;
    let units = site.units(&order).await;
    let (first, second) = (&units[0].id, &units[1].id);
    site.world.cancel(&order);
    let now = site.world.now();
    for twice in [false, true] {
        site.store
            .cancel(&order, "by telephone", &ann(), now)
            .await
            .unwrap();
        let refused = if twice {
            refusal(
                site.store
                    .resume(
                        &Subject::Unit(first.clone()),
                        "no",
                        &site.config.status,
                        &ann(),
                        now,
                    )
                    .await,
            )
        } else {
            refusal(site.store.replace(first, "RMA", &ann(), now).await)
        };
        site.apply(&refused.remedy, "resume");
        assert_eq!(site.unit(second).await.unit.state(), "assigned");
    }

    // What is not possible says where to look, and that works.
    let parcel = site.ship(&order, Some(&["9.9".to_owned()]), "T1").await;
    site.apply(&refusal(parcel).remedy, "show");
    site.ship(&order, None, "T1").await.unwrap();
    let resumed = site
        .store
        .resume(
            &Subject::Unit(first.clone()),
            "no",
            &site.config.status,
            &ann(),
            now,
        )
        .await;
    let refused = refusal(resumed);
    site.apply(&refused.remedy, "show");
    site.apply(&refused.remedy, "replace");
    let missing = refusal(site.store.approve("9", &ann(), now).await);
    site.apply(&missing.remedy, "list");
    site.store.close().await;
}

/// A call in doubt of a unit that was cancelled: what the alarm prints is refused while a serial stands that it may have made, and
/// what the refusal prints settles it.
#[tokio::test]
async fn a_lost_answer_of_a_cancelled_unit_is_settled_by_what_is_printed() {
    let (mut site, order) = super::calls::lost(|_| {}).await;
    let unit = site.units(&order).await.remove(0).id;
    let ours = site.world.made_for_us().remove(0);
    assert!(site.world.terminate(&ours));
    site.world.pass(1_000);
    site.world.make(10032);
    site.all(&order, "parked").await;
    let now = site.world.now();
    site.store
        .cancel(&order, "by telephone", &ann(), now)
        .await
        .unwrap();
    site.world.cancel(&order);
    site.round(400).await;
    let alarms = site.alarms().await;
    let alarm = alarms
        .iter()
        .find(|alarm| alarm.row.kind == "lost-answer")
        .unwrap_or_else(|| panic!("{alarms:?}"));
    assert_eq!(alarm.row.subject, unit);
    let tried = site.try_run(&alarm.remedy, "retry", &[]);
    assert!(!tried.status.success());
    let said = String::from_utf8(tried.stderr).unwrap();
    site.apply(&said, "retry");
    site.round(400).await;
    assert!(!stands(&site, "lost-answer", &unit).await);
    site.store.close().await;
}
