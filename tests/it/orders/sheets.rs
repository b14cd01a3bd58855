//! Tests of termination sheets, on a store in a file.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use dig_ingest::config::secret::Secret;
use dig_ingest::orders::journey::{Actor, Serial, Tags};
use dig_ingest::orders::outbox::Entry;
use dig_ingest::orders::store::Store;
use dig_ingest::orders::terminations::{Ask, Config, Confirm, Foreign, watch::Watcher};
use dig_ingest::orders::{Clock, wall_clock};
use dig_ingest::registry::{Device, State};
use jiff::Timestamp;
use rust_xlsxwriter::Workbook;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::desk::filled;
use super::registry::{Shared, registrar};

/// Units 7.1, 7.2, 8.1 and 8.2 with serials CX01 to CX04.
pub(crate) async fn provisioned(folder: &Path) -> Store {
    let (_, store) = filled(folder).await;
    provision(&store).await;
    store
}

pub(crate) async fn provision(store: &Store) {
    let by = Actor::Person("ann".into());
    for (unit, serial) in [
        ("7.1", "CX01"),
        ("7.2", "CX02"),
        ("8.1", "CX03"),
        ("8.2", "CX04"),
    ] {
        let serial = Serial::parse(serial).unwrap();
        store
            .assign(unit, Some(&serial), &Tags::default(), &by, Timestamp::now())
            .await
            .unwrap();
    }
}

/// Those units, and an empty place for sheets; all of it goes with the folder.
pub(crate) async fn scene() -> (tempfile::TempDir, Store, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = provisioned(folder.path()).await;
    let place = folder.path().join("sheets");
    std::fs::create_dir(&place).unwrap();
    (folder, store, place)
}

pub(crate) async fn state(store: &Store, unit: &str) -> &'static str {
    store.unit(unit).await.unwrap().unwrap().unit.state()
}

pub(crate) async fn alarms(store: &Store) -> Vec<(String, String)> {
    let alarms = store.alarms().await.unwrap();
    alarms
        .into_iter()
        .map(|alarm| (alarm.kind, alarm.subject))
        .collect()
}

fn told(kind: &str, subject: &str) -> Vec<(String, String)> {
    vec![(kind.to_owned(), subject.to_owned())]
}

pub(crate) fn sheet(rows: &[&str]) -> String {
    let mut text = "Serial Number,Termination Date\n".to_owned();
    for row in rows {
        text.push_str(&format!("{row},2026-01-01\n"));
    }
    text
}

/// A file that is older than the next one.
pub(crate) fn drop_file(folder: &Path, name: &str, content: impl AsRef<[u8]>, second: u64) {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let at = SystemTime::now() - Duration::from_secs(10_000 - second);
    file.set_modified(at).unwrap();
}

/// Devices of a registry, or none when it does not answer.
pub(crate) type Devices = Mutex<Option<Vec<Device>>>;

/// Asks a registry that is here.
pub(crate) fn registry(devices: &Arc<Devices>) -> Ask {
    let devices = Arc::clone(devices);
    Arc::new(move |serials: Vec<Serial>| {
        let found = devices.lock().unwrap().as_ref().map(|devices| {
            let wanted = |device: &&Device| {
                let serial = device.serial.as_deref().map(Serial::parse);
                matches!(serial, Some(Ok(serial)) if serials.contains(&serial))
            };
            devices.iter().filter(wanted).cloned().collect()
        });
        let answer = found.ok_or_else(|| anyhow::anyhow!("the broker is away"));
        Box::pin(std::future::ready(answer))
    })
}

pub(crate) fn watcher_at(store: &Store, config: Config, clock: Clock) -> Watcher {
    let nobody = Arc::new(Mutex::new(Some(Vec::new())));
    Watcher::new(store.clone(), registry(&nobody), config, clock).unwrap()
}

pub(crate) fn watcher(store: &Store, config: Config) -> Watcher {
    watcher_at(store, config, wall_clock())
}

#[tokio::test]
async fn a_sheet_in_the_folder_terminates_its_devices_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = provisioned(folder.path()).await;
    let place = folder.path().join("sheets");
    let config = Config {
        folder: place.clone(),
        foreign_serials: Foreign::Alarm,
        ..Config::default()
    };
    let mut watch = watcher(&store, config.clone());
    watch.look().await;
    assert_eq!(
        alarms(&store).await,
        told("sheet-unreadable", "folder"),
        "no such folder"
    );
    std::fs::create_dir(&place).unwrap();
    watch.look().await;
    assert_eq!(alarms(&store).await, []);

    drop_file(&place, "1.csv", sheet(&["cx-01", "CX99"]), 1);
    drop_file(&place, ".2.csv", sheet(&["CX04"]), 2);
    drop_file(&place, "2.csv.part", sheet(&["CX04"]), 2);
    watch.look().await;
    assert_eq!(
        state(&store, "7.1").await,
        "provisioned",
        "it may still be written"
    );
    watch.look().await;
    assert_eq!(state(&store, "7.1").await, "terminated");
    assert_eq!(alarms(&store).await, told("sheet-unknown", "CX99"));
    let by = Actor::Person("ann".into());
    let now = Timestamp::now();
    assert!(
        store
            .clear_alarm("sheet-unknown", "CX99", &by, now)
            .await
            .unwrap()
    );

    // A workbook that holds the old ones and a new one; read by another instance, which begins anew.
    let mut book = Workbook::new();
    let page = book.add_worksheet();
    let rows = [
        ["Serial Number", "Termination Date"],
        ["CX01", "2026-01-01"],
        ["CX02", "2026-01-01"],
        ["CX99", "2026-01-01"],
    ];
    for (at, [serial, date]) in (0..).zip(rows) {
        page.write(at, 0, serial).unwrap();
        page.write(at, 1, date).unwrap();
    }
    drop_file(&place, "2.xlsx", book.save_to_buffer().unwrap(), 3);
    let before = store.events("7").await.unwrap().len();
    let mut other = watcher(&store, config);
    for _ in 0..3 {
        other.look().await;
        watch.look().await;
    }
    assert_eq!(state(&store, "7.2").await, "terminated");
    assert_eq!(state(&store, "8.2").await, "provisioned");
    assert_eq!(
        alarms(&store).await,
        [],
        "what a person has seen is not told again"
    );
    let events = store.events("7").await.unwrap();
    assert_eq!(events.len(), before + 1, "one device, terminated once");
    let last = events.last().unwrap();
    assert_eq!(
        (last.actor_kind.as_str(), last.actor.as_str()),
        ("sheet", "2.xlsx")
    );
    store.close().await;
}

/// A serial is mistyped in one sheet, and the next sheet has other devices: the device of the first one is still to be found.
#[tokio::test]
async fn the_next_sheet_clears_no_unknown_serial_of_the_one_before() {
    let (_folder, store, place) = scene().await;
    let config = Config {
        folder: place.clone(),
        foreign_serials: Foreign::Alarm,
        ..Config::default()
    };
    let mut watch = watcher(&store, config);
    std::fs::create_dir_all(&place).unwrap();
    drop_file(&place, "1.csv", sheet(&["CX03", "CX98"]), 1);
    for _ in 0..3 {
        watch.look().await;
    }
    assert_eq!(state(&store, "8.1").await, "terminated");
    let unknown = [("sheet-unknown".to_owned(), "CX98".to_owned())];
    assert_eq!(alarms(&store).await, unknown);
    drop_file(&place, "2.csv", sheet(&["CX01"]), 2);
    for _ in 0..3 {
        watch.look().await;
    }
    assert_eq!(state(&store, "7.1").await, "terminated");
    assert_eq!(alarms(&store).await, unknown);
    // The first sheet is corrected.
    drop_file(&place, "1.csv", sheet(&["CX03", "CX02"]), 3);
    for _ in 0..3 {
        watch.look().await;
    }
    assert_eq!(alarms(&store).await, []);
    store.close().await;
}

/// Whatever comes after a doubted sheet: its alarm stands until a sheet of its name accounts for all its devices.
#[tokio::test]
async fn a_spoiled_sheet_terminates_nobody_and_stands_until_its_devices_are_accounted_for() {
    let (_folder, store, place) = scene().await;
    let config = Config {
        folder: place.clone(),
        most_at_once: 2,
        ..Config::default()
    };
    let mut watch = watcher(&store, config);
    let four = sheet(&["CX91", "CX92", "CX93", "CX94"]);
    let (empty, malformed) = ("sheet-empty", "sheet-malformed");
    let (many, short) = ("sheet-many", "sheet-short");
    for (second, content, kinds) in [
        (1, String::new(), &[empty][..]),
        (2, sheet(&[]), &[empty]),
        (3, format!("{}CX02", sheet(&["CX01"])), &[malformed]),
        // It names nobody, so it replaces nothing.
        (
            4,
            "<html>Sign in</html>".to_owned(),
            &[malformed, malformed],
        ),
        (5, sheet(&["CX01", "CX02", "CX03"]), &[many]),
        (6, four, &[many]),
        (7, sheet(&["CX01", "CX02"]), &[many, short]),
        (8, sheet(&["CX91", "CX92", "CX93", "CX01"]), &[many, short]),
        (9, sheet(&["CX01", "CX02", "CX03"]), &[]),
    ] {
        drop_file(&place, "daily.csv", content, second);
        watch.look().await;
        watch.look().await;
        let mut standing: Vec<String> = alarms(&store)
            .await
            .into_iter()
            .map(|(kind, subject)| {
                assert!(subject.starts_with("daily.csv"), "{subject}");
                kind
            })
            .collect();
        standing.sort();
        assert_eq!(standing, kinds, "{second}");
        let ended = |from| {
            if second < from {
                "provisioned"
            } else {
                "terminated"
            }
        };
        assert_eq!(state(&store, "7.1").await, ended(8), "{second}");
        assert_eq!(state(&store, "7.2").await, ended(9), "{second}");
    }
    store.close().await;
}

#[tokio::test]
async fn what_waits_for_its_date_or_its_confirmation_is_done_later() {
    let (_folder, store, place) = scene().await;
    let config = Config {
        folder: place.clone(),
        confirm: Confirm::Contracts,
        stale_after_h: 0,
        ..Config::default()
    };
    let now = Arc::new(std::sync::Mutex::new(Timestamp::now()));
    let shared = Arc::clone(&now);
    let clock: Clock = Arc::new(move || *shared.lock().unwrap());
    let later = |hours: i64| {
        let mut now = now.lock().unwrap();
        *now += jiff::SignedDuration::from_hours(hours);
        *now
    };
    let soon = later(0) + jiff::SignedDuration::from_hours(24);
    let text = format!("Serial Number,Termination Date\nCX01,2026-01-01\nCX02,{soon}\n");
    drop_file(&place, "1.csv", text, 1);
    let mut watch = watcher_at(&store, config, clock);
    watch.look().await;
    watch.look().await;
    assert_eq!(state(&store, "7.1").await, "provisioned");
    assert_eq!(alarms(&store).await, told("sheet-unconfirmed", "CX01"));

    let listed = async |at: Timestamp| {
        let mut change = store.change(Actor::Reconciler, None, at).await.unwrap();
        change.mark("devices-listed", at).await.unwrap();
        change.commit().await.unwrap();
    };
    listed(later(1)).await;
    watch.look().await;
    assert_eq!(state(&store, "7.1").await, "terminated");
    assert_eq!(
        state(&store, "7.2").await,
        "provisioned",
        "its date has not come"
    );
    assert_eq!(alarms(&store).await, []);
    listed(later(24)).await;
    watch.look().await;
    assert_eq!(state(&store, "7.2").await, "terminated");
    store.close().await;
}

/// Its remedy is a new sheet.
#[tokio::test]
async fn a_folder_without_a_new_sheet_is_told_until_there_is_one() {
    let (_folder, store, place) = scene().await;
    let config = Config {
        folder: place.clone(),
        stale_after_h: 2,
        ..Config::default()
    };
    let mut watch = watcher(&store, config);
    drop_file(&place, "1.csv", sheet(&["CX01"]), 0);
    watch.look().await;
    assert_eq!(alarms(&store).await, told("sheet-stale", "folder"));
    std::fs::write(place.join("2.csv"), sheet(&["CX01"])).unwrap();
    watch.look().await;
    assert_eq!(alarms(&store).await, []);
    store.close().await;
}

#[tokio::test]
async fn a_device_registered_by_hand_is_terminated_once_and_stays_as_a_person_wants_it() {
    let (_folder, store, place) = scene().await;
    let config = Config {
        folder: place.clone(),
        stale_after_h: 0,
        ..Config::default()
    };
    let now = Arc::new(Mutex::new(Timestamp::now()));
    let shared = Arc::clone(&now);
    let clock: Clock = Arc::new(move || *shared.lock().unwrap());
    let devices: Arc<Devices> = Arc::default();
    let mut watch = Watcher::new(store.clone(), registry(&devices), config, clock).unwrap();
    let topic = Shared::default();
    let life = Duration::from_secs(3600);
    let token = store.take_lease("here", life, Timestamp::now()).await;
    let token = token.unwrap().expect("nobody has it");
    let registrar = registrar(&store, &topic, wall_clock(), token);
    let publish = async || {
        super::registry::publish(&registrar).await.unwrap();
        topic.lock().unwrap().taken()
    };
    publish().await;

    // The registry does not answer: what can be done is done, the rest waits and nobody is alarmed.
    drop_file(&place, "1.csv", sheet(&["CX01", "CX09"]), 1);
    watch.look().await;
    watch.look().await;
    assert_eq!(state(&store, "7.1").await, "terminated");
    assert_eq!(alarms(&store).await, []);
    publish().await;

    let truck = Device {
        device_id: "truck-9".into(),
        serial: Some("CX09".into()),
        state: State::Active,
        order: None,
        since: None,
    };
    *devices.lock().unwrap() = Some(vec![truck.clone()]);
    *now.lock().unwrap() += jiff::SignedDuration::from_mins(2);
    let ended = *now.lock().unwrap();
    watch.look().await;
    let terminated = Entry::Put(
        Device {
            state: State::Terminated,
            since: Some(Timestamp::from_microsecond(ended.as_microsecond()).unwrap()),
            ..truck.clone()
        },
        None,
    );
    // Before the topic has it the registry still calls it active: a second sheet changes nothing.
    drop_file(&place, "2.csv", sheet(&["CX01", "CX09", "CX02"]), 2);
    watch.look().await;
    watch.look().await;
    let written = publish().await;
    assert_eq!(
        written.iter().filter(|entry| **entry == terminated).count(),
        1,
        "{written:?}"
    );
    assert_eq!(alarms(&store).await, []);
    let events = store.events_after(0).await.unwrap();
    let of_truck: Vec<_> = events
        .iter()
        .filter(|event| {
            event
                .evidence
                .as_ref()
                .is_some_and(|evidence| evidence["device_id"] == "truck-9")
        })
        .map(|event| {
            (
                event.actor.as_str(),
                event.act.as_str(),
                event.to_state.as_deref(),
            )
        })
        .collect();
    assert_eq!(of_truck, [("1.csv", "terminate", Some("terminated"))]);

    // A person registers it again; the next sheets still name it.
    drop_file(&place, "3.csv", sheet(&["CX01", "CX09", "CX02", "CX03"]), 3);
    watch.look().await;
    watch.look().await;
    assert_eq!(alarms(&store).await, told("sheet-returned", "CX09"));
    let written = publish().await;
    let names_truck = |entry: &Entry| matches!(entry, Entry::Put(device, _) if *device.device_id == *truck.device_id);
    assert!(!written.iter().any(names_truck), "{written:?}");
    store.close().await;
}

/// Answers every request with the next answer, the last one for ever.
async fn place(answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut at = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answers[at].as_bytes()).await;
            at = (at + 1).min(answers.len() - 1);
        }
    });
    format!("http://{address}/sheet?key=hunter2")
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

#[tokio::test]
async fn a_sheet_at_a_url_is_obeyed_and_its_key_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let store = provisioned(folder.path()).await;
    let url = place(vec![
        answer("403 Forbidden", "no"),
        answer("200 OK", &sheet(&["CX01"])),
        answer("200 OK", &sheet(&["CX01"])),
        answer("200 OK", &sheet(&[&"X".repeat(20_000)])),
        answer("200 OK", &sheet(&["CX01", "CX02"])),
    ])
    .await;
    let config = Config {
        url: Secret::new(url),
        max_bytes: 10_000,
        ..Config::default()
    };
    let mut watch = watcher(&store, config);
    watch.look().await;
    let standing = store.alarms().await.unwrap();
    assert_eq!(standing[0].kind, "sheet-unreadable");
    assert!(
        standing[0].said.contains("403") && !standing[0].said.contains("hunter2"),
        "{standing:?}"
    );
    watch.look().await;
    assert_eq!(alarms(&store).await, []);
    assert_eq!(state(&store, "7.1").await, "terminated");
    watch.look().await;
    watch.look().await;
    assert_eq!(alarms(&store).await, [], "one look in vain is no alarm");
    watch.look().await;
    assert_eq!(state(&store, "7.2").await, "terminated");
    store.close().await;
}
