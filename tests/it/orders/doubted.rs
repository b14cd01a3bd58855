//! Tests of doubted sheets of terminations: their alarms, what people decide about them, and devices that vanish from sheets.

use std::path::Path;
use std::sync::{Arc, Mutex};

use dig_ingest::orders::Clock;
use dig_ingest::orders::alarms::AlarmShown;
use dig_ingest::orders::journey::Actor;
use dig_ingest::orders::store::Store;
use dig_ingest::orders::store::judged::Standing;
use dig_ingest::orders::store::rows::EventRow;
use dig_ingest::orders::terminations::{Config, Means, Vanished, decide};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::desk::{self, refused, report};
use super::postgres;
use super::sheets::{
    Devices, alarms, drop_file, provision, registry, scene, sheet, state, watcher, watcher_at,
};

/// The first device is understood, the second one's date is not.
const HALF: &str = "Serial Number,Termination Date\nCX01,2026-01-01\nCX02,soon\n";

fn of(place: &Path) -> Config {
    Config {
        folder: place.to_owned(),
        stale_after_h: 0,
        ..Config::default()
    }
}

/// The one alarm that stands, with its remedy.
async fn only_alarm(store: &Store, kind: &str) -> AlarmShown {
    let mut standing = store.alarms().await.unwrap();
    let alarm = standing
        .pop()
        .unwrap_or_else(|| panic!("no alarm, {kind} is expected"));
    assert!(standing.is_empty(), "{alarm:?} and {standing:?}");
    assert_eq!(alarm.kind, kind);
    AlarmShown::from(alarm)
}

/// The commands that a remedy prints and that contain a word, pasted into a shell as they are, with ann's name.
fn execute(file: &Path, remedy: &str, word: &str) -> String {
    let mut text = String::new();
    let commands = remedy.split('`').skip(1).step_by(2);
    let wanted: Vec<&str> = commands.filter(|command| command.contains(word)).collect();
    assert!(!wanted.is_empty(), "no `{word}` in {remedy}");
    let binary = Path::new(env!("CARGO_BIN_EXE_dig-ingest"));
    for command in wanted {
        assert!(command.starts_with("orders "), "{command}");
        let command = command.replace("--by NAME", "--by ann");
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!("\"$PROGRAM\" {command}"))
            .env("PROGRAM", binary)
            .env("DIG_INGEST__ORDERS__STORE__FILE", file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {said}");
        text.push_str(&String::from_utf8_lossy(&output.stdout));
    }
    text
}

async fn events(store: &Store, act: &str) -> Vec<EventRow> {
    let mut events = store.events_after(0).await.unwrap();
    events.retain(|event| event.act == act);
    events
}

fn store_file(folder: &tempfile::TempDir) -> std::path::PathBuf {
    folder.path().join("orders.db")
}

#[tokio::test]
async fn a_good_sheet_does_not_hide_what_a_doubted_one_names() {
    let (folder, store, place) = scene().await;
    let file = store_file(&folder);
    let mut watch = watcher(&store, of(&place));
    drop_file(&place, "1.csv", HALF, 1);
    drop_file(&place, "2.csv", sheet(&["CX03"]), 2);
    watch.look().await;
    watch.look().await;
    assert_eq!(state(&store, "7.1").await, "provisioned");
    assert_eq!(state(&store, "8.1").await, "terminated");
    let alarm = only_alarm(&store, "sheet-malformed").await;
    assert!(alarm.row.subject.starts_with("1.csv@"), "{alarm:?}");

    let listed = report(&file, &["sheet", "list"]);
    assert_eq!(listed["sheets"][0]["subject"], alarm.row.subject);
    assert_eq!(listed["sheets"][0]["bad"], 1);
    // What is shown, and what would be accepted, changes nothing.
    for args in [
        &["sheet", "show", "1.csv"][..],
        &["sheet", "accept", "1.csv"],
    ] {
        let told = report(&file, args);
        assert_eq!(told["done"], false);
        assert_eq!(told["sheet"]["ends"][0]["serial"], "CX01", "{told}");
        assert_eq!(told["sheet"]["ends"][0]["is"][0], "unit 7.1");
        assert_eq!(told["sheet"]["not_understood"][0]["line"], 3);
        let text = String::from_utf8(desk::orders(&file, args).stdout).unwrap();
        assert!(
            text.contains("line 2: CX01") && text.contains("line 3"),
            "{text}"
        );
        assert!(text.contains("--yes --by NAME"), "{text}");
        assert!(!text.contains("soon"), "a row is quoted: {text}");
    }
    let spared = desk::orders(&file, &["sheet", "refuse", "1.csv"]).stdout;
    let spared = String::from_utf8(spared).unwrap();
    assert!(
        spared.contains("would be left as they are: 1") && !spared.contains("would end"),
        "{spared}"
    );
    assert_eq!(state(&store, "7.1").await, "provisioned");

    execute(&file, &alarm.remedy, "sheet show");
    let told = execute(&file, &alarm.remedy, "sheet accept");
    assert!(
        told.contains("state       accepted") && told.contains("not applied by itself"),
        "{told}"
    );
    assert_eq!(state(&store, "7.1").await, "terminated");
    assert_eq!(
        state(&store, "7.2").await,
        "provisioned",
        "its row is not understood"
    );
    assert_eq!(alarms(&store).await, []);
    let accepted = events(&store, "accept-sheet").await;
    assert_eq!((accepted.len(), &*accepted[0].actor), (1, "ann"));
    let evidence = accepted[0].evidence.as_ref().unwrap();
    assert_eq!(evidence["not_understood"], json!([3]));
    assert_eq!(evidence["ended"], json!(["CX01"]));
    let said = refused(&file, &["sheet", "accept", "1.csv", "--yes"]);
    assert!(said.contains("it is accepted"), "{said}");
    // It stays decided, for whoever begins anew too.
    let mut other = watcher(&store, of(&place));
    other.look().await;
    other.look().await;
    assert_eq!(alarms(&store).await, []);
    assert_eq!(report(&file, &["sheet", "list"])["sheets"], json!([]));
    store.close().await;
}

#[tokio::test]
async fn a_short_sheet_is_accepted_and_the_next_one_is_compared_with_it() {
    let (folder, store, place) = scene().await;
    let file = store_file(&folder);
    let mut watch = watcher(&store, of(&place));
    drop_file(&place, "1.csv", sheet(&["CX91", "CX92", "CX93", "CX94"]), 1);
    drop_file(&place, "2.csv", sheet(&["CX01", "CX02"]), 2);
    watch.look().await;
    watch.look().await;
    assert_eq!(state(&store, "7.1").await, "provisioned");
    let alarm = only_alarm(&store, "sheet-short").await;
    execute(&file, &alarm.remedy, "sheet accept");
    assert_eq!(state(&store, "7.1").await, "terminated");
    assert_eq!(state(&store, "7.2").await, "terminated");
    drop_file(&place, "3.csv", sheet(&["CX02", "CX03"]), 3);
    watch.look().await;
    watch.look().await;
    assert_eq!(alarms(&store).await, []);
    assert_eq!(
        state(&store, "8.1").await,
        "terminated",
        "two rows are not short of two"
    );
    store.close().await;
}

#[tokio::test]
async fn a_refused_sheet_ends_nobody_and_stays_refused() {
    let (folder, store, place) = scene().await;
    let file = store_file(&folder);
    let mut watch = watcher(&store, of(&place));
    drop_file(&place, "1.csv", HALF, 1);
    watch.look().await;
    watch.look().await;
    let alarm = only_alarm(&store, "sheet-malformed").await;
    execute(&file, &alarm.remedy, "sheet refuse");
    assert_eq!(alarms(&store).await, []);
    let mut other = watcher(&store, of(&place));
    other.look().await;
    other.look().await;
    assert_eq!(alarms(&store).await, []);
    assert_eq!(state(&store, "7.1").await, "provisioned");
    let events_of = events(&store, "refuse-sheet").await;
    assert_eq!((events_of.len(), &*events_of[0].actor), (1, "ann"));
    let said = refused(&file, &["sheet", "refuse", "1.csv", "--yes"]);
    assert!(said.contains("refused and not doubted"), "{said}");
    assert!(refused(&file, &["sheet", "show", "9.csv"]).contains("orders sheet list --all"));

    // Whoever clears the alarm instead decides the same.
    drop_file(&place, "2.csv", HALF.replace("soon", "later"), 2);
    watch.look().await;
    watch.look().await;
    let alarm = only_alarm(&store, "sheet-malformed").await;
    desk::report(&file, &["clear", "sheet-malformed", &alarm.row.subject]);
    assert_eq!(report(&file, &["sheet", "list"])["sheets"], json!([]));
    assert_eq!(events(&store, "refuse-sheet").await.len(), 2);
    // A refused one may still be accepted.
    desk::report(&file, &["sheet", "accept", "2.csv", "--yes"]);
    assert_eq!(state(&store, "7.1").await, "terminated");
    store.close().await;
}

#[tokio::test]
async fn what_is_no_sheet_cannot_be_accepted() {
    let (folder, store, place) = scene().await;
    let file = store_file(&folder);
    let mut watch = watcher(&store, of(&place));
    drop_file(&place, "1.csv", "Name,Day\nCX01,2026-01-01\n", 1);
    watch.look().await;
    watch.look().await;
    let alarm = only_alarm(&store, "sheet-malformed").await;
    assert!(
        !alarm.row.said.contains("CX01"),
        "a row is quoted: {alarm:?}"
    );
    assert!(!alarm.remedy.contains("sheet accept"), "{alarm:?}");
    let said = refused(&file, &["sheet", "accept", "1.csv", "--yes"]);
    assert!(said.contains("nothing of it is understood"), "{said}");
    execute(&file, &alarm.remedy, "sheet refuse");
    assert_eq!(alarms(&store).await, []);
    store.close().await;
}

#[tokio::test]
async fn a_corrected_sheet_of_the_same_name_replaces_a_doubted_one() {
    let (_folder, store, place) = scene().await;
    let mut watch = watcher(&store, of(&place));
    let mut put = async |second, content: &str| {
        drop_file(&place, "daily.csv", content, second);
        watch.look().await;
        watch.look().await;
    };
    put(1, HALF).await;
    only_alarm(&store, "sheet-malformed").await;
    // It leaves CX01 out: that device would be forgotten.
    put(2, &sheet(&["CX02", "CX03"])).await;
    only_alarm(&store, "sheet-malformed").await;
    assert_eq!(state(&store, "8.1").await, "terminated");
    // A device of a row that is not understood is one too.
    put(3, HALF).await;
    only_alarm(&store, "sheet-malformed").await;
    put(4, &sheet(&["CX01", "CX03"])).await;
    assert_eq!(alarms(&store).await, [], "CX02 was ended by the second one");
    assert_eq!(state(&store, "7.1").await, "terminated");
    assert_eq!(events(&store, "replace-sheet").await.len(), 1);
    store.close().await;
}

/// A device whose date is not understood, and a row of which nothing is, are not forgotten either.
#[tokio::test]
async fn a_row_that_is_not_understood_is_not_forgotten() {
    let (_folder, store, place) = scene().await;
    let mut watch = watcher(&store, of(&place));
    let mut put = async |second, content: &str| {
        drop_file(&place, "daily.csv", content, second);
        watch.look().await;
        watch.look().await;
    };
    put(1, HALF).await;
    let alarm = only_alarm(&store, "sheet-malformed").await;
    assert!(alarm.row.said.contains("CX02"), "{alarm:?}");
    put(2, &sheet(&["CX01", "CX03"])).await;
    only_alarm(&store, "sheet-malformed").await;
    put(3, &sheet(&["CX01", "CX02"])).await;
    assert_eq!(alarms(&store).await, []);
    // Two devices, of which one is cut off: the other one must be there too.
    put(4, "Serial Number,Termination Date\nCX03,2026-01-01\nCX0").await;
    only_alarm(&store, "sheet-malformed").await;
    put(5, &sheet(&["CX03", "CX01"])).await;
    only_alarm(&store, "sheet-malformed").await;
    put(6, &sheet(&["CX03", "CX04"])).await;
    assert_eq!(alarms(&store).await, []);
    assert_eq!(state(&store, "8.2").await, "terminated");
    store.close().await;
}

/// A file of secrets was put in place of a sheet: nothing of it was to be told, and the second column was quoted with a bad date.
#[tokio::test]
async fn nothing_of_a_row_that_is_not_understood_is_told_but_the_devices_it_names() {
    let (folder, store, place) = scene().await;
    let file = store_file(&folder);
    let mut watch = watcher(&store, of(&place));
    let text = "Serial Number,Termination Date\nhunter2secret,soon\nbob,CX02 9f86d081884c7d65\nCX01,2026-01-01\n";
    drop_file(&place, "1.csv", text, 1);
    watch.look().await;
    watch.look().await;
    let alarm = only_alarm(&store, "sheet-malformed").await;
    let shown = report(&file, &["sheet", "show", "1.csv"]);
    let events = store.events_after(0).await.unwrap();
    let told = format!("{alarm:?} {shown} {events:?}").to_lowercase();
    for secret in ["hunter2", "9f86d0", "bob"] {
        assert!(!told.contains(secret), "{secret}: {told}");
    }
    let bytes = std::fs::read(&file).unwrap();
    let kept = String::from_utf8_lossy(&bytes).to_lowercase();
    assert!(!kept.contains("hunter2") && !kept.contains("9f86d081"));
    assert_eq!(
        shown["sheet"]["doubtful"],
        json!([{ "line": 3, "serial": "CX02" }])
    );
    let text = String::from_utf8(desk::orders(&file, &["sheet", "show", "1.csv"]).stdout).unwrap();
    assert!(text.contains("line 3: CX02"), "{text}");
    // A correction that leaves it out does not make it forgotten.
    drop_file(&place, "1.csv", sheet(&["CX01", "CX03", "CX04"]), 2);
    watch.look().await;
    watch.look().await;
    let standing = only_alarm(&store, "sheet-malformed").await;
    assert!(standing.row.said.contains("CX02"), "{standing:?}");
    store.close().await;
}

/// A name that a shell would take apart, or carry out, is one word of every command that is printed.
#[tokio::test]
async fn remedies_about_a_sheet_with_an_odd_name_can_be_pasted() {
    for name in [
        "März 2026 (final).csv",
        "it's $(touch owned) \"x\"; #.csv",
        "-rf.csv",
        "two\nlines\u{202e}.csv",
    ] {
        let (folder, store, place) = scene().await;
        let file = store_file(&folder);
        let mut watch = watcher(&store, of(&place));
        drop_file(&place, name, HALF, 1);
        watch.look().await;
        watch.look().await;
        let alarm = only_alarm(&store, "sheet-malformed").await;
        execute(&file, &alarm.remedy, "sheet show");
        execute(&file, &alarm.remedy, "sheet accept");
        assert_eq!(state(&store, "7.1").await, "terminated", "{name:?}");
        assert_eq!(alarms(&store).await, []);
        store.close().await;
    }
}

/// The remedy of a date that is not understood is a setting: with it the same file is judged again.
#[tokio::test]
async fn a_doubted_sheet_is_judged_again_with_other_settings() {
    let (_folder, store, place) = scene().await;
    let mut watch = watcher(&store, of(&place));
    let text = "Serial Number;Termination Date\nCX01;01.02.2026\nTotal: 1\n";
    drop_file(&place, "1.csv", text, 1);
    watch.look().await;
    watch.look().await;
    let alarm = only_alarm(&store, "sheet-malformed").await;
    assert!(
        alarm.row.said.contains("orders.terminations.date_formats"),
        "{alarm:?}"
    );
    let config = Config {
        date_formats: vec!["%d.%m.%Y".into()],
        ..of(&place)
    };
    let mut again = watcher(&store, config);
    again.look().await;
    again.look().await;
    assert_eq!(alarms(&store).await, []);
    assert_eq!(state(&store, "7.1").await, "terminated");
    store.close().await;
}

/// A clock of the test's own, that goes on by hours.
fn clock() -> (Clock, impl Fn(i64) -> Timestamp) {
    let now = Arc::new(Mutex::new(Timestamp::now()));
    let shared = Arc::clone(&now);
    let clock: Clock = Arc::new(move || *shared.lock().unwrap());
    let later = move |hours: i64| {
        let mut now = now.lock().unwrap();
        *now += SignedDuration::from_hours(hours);
        *now
    };
    (clock, later)
}

#[tokio::test]
async fn a_device_that_vanished_from_the_sheets_is_shown_and_never_ended_by_itself() {
    for vanished in [Vanished::Alarm, Vanished::Note] {
        let (folder, store, place) = scene().await;
        let file = store_file(&folder);
        let (clock, later) = clock();
        let config = Config {
            vanished,
            ..of(&place)
        };
        let mut watch = watcher_at(&store, config, clock);
        let soon = later(0) + SignedDuration::from_hours(24);
        let first = format!("{}CX01,{soon}\n", sheet(&["CX02"]));
        drop_file(&place, "1.csv", &first, 1);
        watch.look().await;
        watch.look().await;
        assert_eq!(state(&store, "7.2").await, "terminated");
        drop_file(&place, "2.csv", sheet(&["CX02", "CX03"]), 2);
        watch.look().await;
        watch.look().await;
        later(48);
        watch.look().await;
        assert_eq!(
            state(&store, "7.1").await,
            "provisioned",
            "it is not ended by itself"
        );
        let listed = report(&file, &["sheet", "list"]);
        assert_eq!(listed["vanished"][0]["serial"], "CX01", "{listed}");
        assert_eq!(events(&store, "vanish").await.len(), 1);
        if vanished == Vanished::Note {
            assert_eq!(alarms(&store).await, []);
            // It is named again: it ends, and nothing is noted any more.
            drop_file(&place, "3.csv", sheet(&["CX01", "CX02", "CX03"]), 3);
            watch.look().await;
            watch.look().await;
        } else {
            let alarm = only_alarm(&store, "sheet-vanished").await;
            assert_eq!(alarm.row.subject, "CX01");
            // The command's clock is before the day: what is accepted is done when it comes.
            execute(&file, &alarm.remedy, "sheet accept");
            watch.look().await;
        }
        assert_eq!(alarms(&store).await, []);
        assert_eq!(state(&store, "7.1").await, "terminated");
        assert_eq!(report(&file, &["sheet", "list"])["vanished"], json!([]));
        store.close().await;
    }
}

/// What is to be done later of an accepted sheet is done without its file.
#[tokio::test]
async fn an_accepted_sheet_is_carried_out_after_its_file_is_gone() {
    let (folder, store, place) = scene().await;
    let file = store_file(&folder);
    let (clock, later) = clock();
    let mut watch = watcher_at(&store, of(&place), clock);
    let soon = later(0) + SignedDuration::from_hours(24);
    drop_file(&place, "1.csv", format!("{HALF}CX04,{soon}\n"), 1);
    watch.look().await;
    watch.look().await;
    let alarm = only_alarm(&store, "sheet-malformed").await;
    std::fs::remove_file(place.join("1.csv")).unwrap();
    watch.look().await;
    only_alarm(&store, "sheet-malformed").await;
    execute(&file, &alarm.remedy, "sheet accept");
    assert_eq!(state(&store, "7.1").await, "terminated");
    watch.look().await;
    assert_eq!(
        state(&store, "8.2").await,
        "provisioned",
        "its day has not come"
    );
    later(25);
    watch.look().await;
    assert_eq!(state(&store, "8.2").await, "terminated");
    store.close().await;
}

/// A version before had one alarm for all sheets of a folder, and kept no sheets.
#[tokio::test]
async fn alarms_and_sheets_of_an_older_store_carry_over() {
    let (folder, store, place) = scene().await;
    let mut watch = watcher(&store, of(&place));
    drop_file(&place, "1.csv", sheet(&["CX03", "CX91", "CX92", "CX93"]), 1);
    drop_file(&place, "2.csv", HALF, 2);
    watch.look().await;
    watch.look().await;
    let by = Actor::Sheet("2.csv".into());
    let alarm = only_alarm(&store, "sheet-malformed").await;
    store
        .clear_alarm("sheet-malformed", &alarm.row.subject, &by, Timestamp::now())
        .await
        .unwrap();
    let evidence = json!({ "sheet": "2.csv", "bad": [] });
    let raised = store.note_alarm(
        "sheet-malformed",
        "folder",
        "old",
        Some(&evidence),
        &by,
        Timestamp::now(),
    );
    assert!(raised.await.unwrap());
    let url = format!("sqlite://{}", store_file(&folder).display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    for sql in [
        "DELETE FROM judged_sheets",
        "DELETE FROM alarms WHERE subject <> 'folder'",
    ] {
        sqlx::query(sql).execute(&pool).await.unwrap();
    }
    pool.close().await;
    let old = only_alarm(&store, "sheet-malformed").await;
    assert!(
        old.remedy.contains("`orders clear sheet-malformed folder`"),
        "{old:?}"
    );

    let mut again = watcher(&store, of(&place));
    again.look().await;
    again.look().await;
    // The one that was applied is left alone, the doubted one has an alarm of its own.
    let alarm = only_alarm(&store, "sheet-malformed").await;
    assert!(alarm.row.subject.starts_with("2.csv@"), "{alarm:?}");
    execute(&store_file(&folder), &alarm.remedy, "sheet accept");
    assert_eq!(state(&store, "7.1").await, "terminated");
    store.close().await;
}

/// The same on PostgreSQL: doubted, accepted in part, carried out later, vanished, forgotten.
#[tokio::test]
async fn sheets_are_decided_on_postgresql_too() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_owned();
    let store = Store::init(&postgres::fresh()).await.unwrap();
    desk::fill(&store).await;
    provision(&store).await;
    let (clock, later) = clock();
    let mut watch = watcher_at(&store, of(&place), clock);
    let soon = later(0) + SignedDuration::from_hours(24);
    drop_file(&place, "1.csv", format!("{HALF}CX04,{soon}\n"), 1);
    drop_file(&place, "2.csv", HALF.replace("CX01", "CX03"), 2);
    watch.look().await;
    watch.look().await;
    assert_eq!(store.judged_sheets(true).await.unwrap().len(), 2);
    let devices: Arc<Devices> = Arc::default();
    let (ask, config) = (registry(&devices), of(&place));
    let means = Means {
        store: &store,
        ask: &ask,
        config: &config,
        own: &[],
    };
    let by = Actor::Person("ann".into());
    let row = decide::find(&store, "1.csv").await.unwrap();
    let told = decide::accept(means, &row, &by, later(0)).await.unwrap();
    assert_eq!((told.ends.len(), told.later.len()), (1, 1));
    let changed = decide::accept(means, &row, &by, later(0)).await;
    assert!(changed.is_err(), "somebody else decided first");
    let row = decide::find(&store, "2.csv").await.unwrap();
    decide::refuse(means, &row, &by, later(0)).await.unwrap();
    assert_eq!(alarms(&store).await, []);
    drop_file(&place, "3.csv", sheet(&["CX01", "CX02"]), 3);
    watch.look().await;
    watch.look().await;
    assert_eq!(
        store.vanished().await.unwrap().len(),
        1,
        "CX04 is not named any more"
    );
    only_alarm(&store, "sheet-vanished").await;
    later(25);
    watch.look().await;
    assert_eq!(state(&store, "8.2").await, "provisioned");
    drop_file(&place, "4.csv", sheet(&["CX04", "CX02"]), 4);
    watch.look().await;
    watch.look().await;
    assert_eq!(state(&store, "8.2").await, "terminated");
    assert_eq!(store.vanished().await.unwrap(), []);
    assert_eq!(alarms(&store).await, []);
    let states = store.judged_sheets(false).await.unwrap();
    let states: Vec<Standing> = states.iter().map(|row| row.state).collect();
    let (applied, accepted, refused) = (Standing::Obeyed, Standing::Accepted, Standing::Refused);
    assert_eq!(states, [accepted, refused, applied, applied]);
    store.close().await;
}
