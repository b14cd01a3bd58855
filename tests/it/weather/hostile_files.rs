//! Files of others are bounded, parsed off the main task, and fail alone.

use std::io::{Cursor, Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use dig_ingest::config::secret::Secret;
use dig_ingest::orders::mail::{self, folder};
use dig_ingest::orders::store::Store;
use dig_ingest::orders::terminations::{Config, sheet, watch::Watcher};
use dig_ingest::orders::wall_clock;
use rust_xlsxwriter::Workbook;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::allocations::most_bytes;
use crate::orders::desk::filled;
use crate::orders::sheets::{provisioned, registry};

const MIB: i64 = 1024 * 1024;
const SHEET: &str = "xl/worksheets/sheet1.xml";
const STRINGS: &str = "xl/sharedStrings.xml";

fn book() -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    sheet.write(0, 0, "Serial Number").expect("a cell");
    sheet.write(0, 1, "Termination Date").expect("a cell");
    sheet.write(1, 0, "CX01").expect("a cell");
    sheet.write(1, 1, "2026-01-01").expect("a cell");
    book.save_to_buffer().expect("a workbook")
}

/// The workbook with one of its files written anew.
fn rewritten(name: &str, content: impl Fn(String, &mut dyn std::io::Write)) -> Vec<u8> {
    let book = book();
    let mut from = zip::ZipArchive::new(Cursor::new(&book)).expect("an archive");
    let mut to = ZipWriter::new(Cursor::new(Vec::new()));
    for at in 0..from.len() {
        let mut file = from.by_index(at).expect("a file");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("XML");
        let file = file.name().expect("a name").into_owned();
        to.start_file(&*file, SimpleFileOptions::default())
            .expect("a file");
        if file == name {
            content(text, &mut to);
        } else {
            to.write_all(text.as_bytes()).expect("written");
        }
    }
    to.finish().expect("an archive").into_inner()
}

fn with_cell(place: &str) -> Vec<u8> {
    rewritten(SHEET, |text, out| {
        let text = text.replace("r=\"B2\"", &format!("r=\"{place}\""));
        out.write_all(text.as_bytes()).expect("written");
    })
}

/// A workbook of 1.5 KB with one cell at XFD1048576 made the reader allocate half a terabyte, which ends a process
/// (tafia/calamine: ranges are dense).
#[test]
fn a_cell_at_the_end_of_a_sheet_costs_no_more_than_one_at_its_beginning() {
    let file = with_cell("XFD1048576");
    let (read, most) = most_bytes(|| sheet::read(&file, &Config::default()));
    assert!(most < 8 * MIB, "{most} bytes");
    let read = read.expect("a sheet");
    // The cell is passed over, and the row that lost its date is told.
    assert_eq!(
        (read.rows, read.good.len(), read.bad.len()),
        (1, 0, 1),
        "{read:?}"
    );
}

/// Archives that unpack to a thousand times their size, and files that announce what would be allocated at once.
#[test]
fn a_workbook_that_unpacks_to_gigabytes_is_refused_for_its_bytes() {
    let zeros = |out: &mut dyn std::io::Write| {
        let part = vec![b' '; 1 << 20];
        for _ in 0..100 {
            out.write_all(&part).expect("written");
        }
    };
    let bombs = [
        rewritten(SHEET, |text, out| {
            let (head, tail) = text.split_once("<sheetData>").expect("a sheet");
            out.write_all(head.as_bytes()).expect("written");
            zeros(out);
            out.write_all(b"<sheetData>").expect("written");
            out.write_all(tail.as_bytes()).expect("written");
        }),
        rewritten(STRINGS, |_, out| {
            out.write_all(b"<sst>").expect("written");
            for _ in 0..2_000 {
                out.write_all("<si><t/></si>".repeat(1_000).as_bytes())
                    .expect("written");
            }
            out.write_all(b"</sst>").expect("written");
        }),
        rewritten(STRINGS, |text, out| {
            let text = text.replace("uniqueCount=\"", "uniqueCount=\"99999999999");
            out.write_all(text.as_bytes()).expect("written");
        }),
        rewritten(STRINGS, |text, out| {
            let spaced = format!(
                "uniqueCount {} =\"9999999999999\" x=\"",
                " ".repeat(100_000)
            );
            out.write_all(text.replace("uniqueCount=\"", &spaced).as_bytes())
                .expect("written");
        }),
    ];
    for file in bombs {
        assert!(file.len() < MIB as usize, "{} bytes", file.len());
        let (read, most) = most_bytes(|| sheet::read(&file, &Config::default()));
        assert!(most < 8 * MIB, "{most} bytes");
        let refused = read.expect_err("refused").to_string();
        assert!(refused.contains("the workbook"), "{refused}");
    }
}

async fn alarms(store: &Store) -> Vec<(String, String, String)> {
    let alarms = store.alarms().await.expect("the store answers");
    let mut alarms: Vec<_> = alarms
        .into_iter()
        .map(|alarm| (alarm.kind, alarm.subject, alarm.said))
        .collect();
    alarms.sort();
    alarms
}

fn good_sheet() -> &'static str {
    "Serial Number,Termination Date\nCX01,2026-01-01\n"
}

fn put(folder: &Path, name: &str, content: impl AsRef<[u8]>, second: u64) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("written");
    let file = std::fs::File::options()
        .write(true)
        .open(&path)
        .expect("opened");
    let at = SystemTime::now() - Duration::from_secs(10_000 - second);
    file.set_modified(at).expect("dated");
    path
}

/// Every kind of entry a folder can hold beside a good sheet: each is its own alarm, and the good one is applied.
#[tokio::test]
async fn one_bad_file_never_hides_the_others_and_links_lead_nowhere() {
    let base = tempfile::tempdir().expect("a folder");
    let store = provisioned(base.path()).await;
    let secret = put(base.path(), "secret.csv", "root:hunter2\nline:hunter3\n", 0);
    let place = base.path().join("sheets");
    std::fs::create_dir(&place).expect("a folder");
    symlink(&secret, place.join("1-link.csv")).expect("a link");
    symlink("/dev/zero", place.join("2-device.csv")).expect("a link");
    let _socket = UnixListener::bind(place.join("3-socket.csv")).expect("a socket");
    let fifo = std::process::Command::new("mkfifo")
        .arg(place.join("4-fifo.csv"))
        .status();
    assert!(fifo.expect("mkfifo").success());
    put(&place, "5-large.csv", vec![b'x'; 20_000], 1);
    put(&place, "6-panics.xlsx", with_cell("ZZZZZZZ1"), 2);
    put(&place, "7-far.xlsx", with_cell("XFD1048576"), 3);
    put(
        &place,
        "8-secret.csv",
        "Serial Number,Termination Date\nhunter4!,2026-01-01\n",
        4,
    );
    let locked = put(&place, "9-locked.csv", good_sheet(), 5);
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).expect("locked");
    let is_root = std::fs::read(&locked).is_ok();
    put(&place, "good.csv", good_sheet(), 6);
    let config = Config {
        folder: place.clone(),
        max_bytes: 10_000,
        ..Config::default()
    };
    let nobody = Arc::new(Mutex::new(Some(Vec::new())));
    let watcher = || {
        Watcher::new(
            store.clone(),
            registry(&nobody),
            config.clone(),
            wall_clock(),
        )
    };
    let mut watch = watcher().expect("a watcher");
    watch.look().await;
    watch.look().await;
    let unit = store
        .unit("7.1")
        .await
        .expect("the store answers")
        .expect("a unit");
    assert_eq!(unit.unit.state(), "terminated", "the good sheet is applied");
    let told = alarms(&store).await;
    let mut unreadable: Vec<&str> = told
        .iter()
        .filter(|(kind, ..)| kind == "sheet-unreadable")
        .map(|(_, subject, _)| subject.as_str())
        .collect();
    unreadable.retain(|name| !(is_root && *name == "9-locked.csv"));
    let mut expected = vec![
        "1-link.csv",
        "2-device.csv",
        "3-socket.csv",
        "4-fifo.csv",
        "5-large.csv",
    ];
    if !is_root {
        expected.push("9-locked.csv");
    }
    assert_eq!(unreadable, expected, "{told:?}");
    let everything = format!(
        "{told:?} {:?}",
        store.events_after(0).await.expect("events")
    );
    assert!(!everything.contains("hunter"), "{everything}");

    // What is corrected or removed is no alarm any more, also after a restart.
    let mut watch = watcher().expect("a watcher");
    for name in [
        "1-link.csv",
        "2-device.csv",
        "3-socket.csv",
        "4-fifo.csv",
        "5-large.csv",
    ] {
        std::fs::remove_file(place.join(name)).expect("removed");
    }
    std::fs::remove_file(&locked).expect("removed");
    watch.look().await;
    let told = alarms(&store).await;
    assert!(
        told.iter().all(|(kind, ..)| kind != "sheet-unreadable"),
        "{told:?}"
    );
    store.close().await;
}

/// A mail of millions of parts or addresses, and a link out of the folder, beside a mail that counts.
#[tokio::test]
async fn a_hostile_mail_is_its_own_alarm_and_the_others_are_read() {
    let base = tempfile::tempdir().expect("a folder");
    let (_, store) = filled(base.path()).await;
    let place = base.path().join("mail");
    std::fs::create_dir_all(place.join("new")).expect("a folder");
    let head = "From: ar@geotab.com\r\nSubject: PurchaseOrder\r\n";
    let parts = format!(
        "{head}Content-Type: multipart/mixed; boundary=x\r\n\r\n{}",
        "--x\r\n\r\n".repeat(1 << 20)
    );
    let addresses = format!("{head}To: {}\r\n\r\n", "a,".repeat(4 << 20));
    std::fs::write(place.join("new/1.parts"), parts).expect("written");
    std::fs::write(place.join("new/2.addresses"), addresses).expect("written");
    let outside = base.path().join("outside");
    std::fs::write(&outside, format!("{head}\r\nSales No: SO-98\r\n")).expect("written");
    symlink(&outside, place.join("new/3.link")).expect("a link");
    std::fs::write(
        place.join("new/4.good"),
        format!("{head}\r\nSales No: SO-99\r\n"),
    )
    .expect("written");
    let config = mail::Config {
        folder: place,
        missing_after_h: 1,
        ..mail::Config::default()
    };
    let now = jiff::Timestamp::now();
    let mut change = store
        .change(dig_ingest::orders::journey::Actor::Reconciler, None, now)
        .await
        .expect("a change");
    change
        .mark("mail-begun", jiff::Timestamp::UNIX_EPOCH)
        .await
        .expect("a mark");
    change.commit().await.expect("written");
    let later = now + jiff::SignedDuration::from_hours(2);
    let clock: dig_ingest::orders::Clock = Arc::new(move || later);
    let mut watch = folder::Watcher::new(store.clone(), config, clock).expect("a watcher");
    watch.look().await;
    let told = alarms(&store).await;
    let of = |kind: &str| -> Vec<String> {
        let those = told.iter().filter(|(other, ..)| other == kind);
        those.map(|(_, subject, _)| subject.clone()).collect()
    };
    assert_eq!(
        of("mail-unreadable"),
        ["1.parts", "2.addresses", "3.link"],
        "{told:?}"
    );
    assert_eq!(of("mail-without-order"), ["Sales No SO-99"], "{told:?}");
    store.close().await;
}

/// A server for sheets that answers each request with the next answer and keeps what it was asked.
async fn server(answers: Vec<String>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&asked);
    tokio::spawn(async move {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            kept.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push(text);
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (format!("http://{address}"), asked)
}

fn redirect(to: &str) -> String {
    format!(
        "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}

/// A server of shared sheets that sends its client elsewhere: the key goes nowhere, and no `Referer` tells it.
#[tokio::test]
async fn a_redirect_of_the_sheet_takes_its_key_nowhere() {
    let base = tempfile::tempdir().expect("a folder");
    let store = provisioned(base.path()).await;
    let (other, asked_other) = server(vec![redirect("/never")]).await;
    let sheet = good_sheet();
    let found = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{sheet}",
        sheet.len()
    );
    let elsewhere = redirect(&format!("{other}/sheet?key=hunter2"));
    let (url, asked) = server(vec![elsewhere, redirect("/again?key=hunter2"), found]).await;
    let config = Config {
        url: Secret::new(format!("{url}/sheet?key=hunter2")),
        ..Config::default()
    };
    let nobody = Arc::new(Mutex::new(Some(Vec::new())));
    let mut watch =
        Watcher::new(store.clone(), registry(&nobody), config, wall_clock()).expect("a watcher");
    watch.look().await;
    let told = alarms(&store).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].2.contains("redirect") && !told[0].2.contains("hunter2"),
        "{told:?}"
    );
    watch.look().await;
    assert_eq!(alarms(&store).await, []);
    let unit = store
        .unit("7.1")
        .await
        .expect("the store answers")
        .expect("a unit");
    assert_eq!(
        unit.unit.state(),
        "terminated",
        "a redirect to the same server is followed"
    );
    assert_eq!(asked_other.lock().expect("asked").len(), 0);
    for request in asked.lock().expect("asked").iter() {
        assert!(!request.to_lowercase().contains("referer"), "{request}");
    }
    // Plain http beyond this machine would show the key to everybody on the way.
    let plain = Config {
        url: Secret::new("http://sheets.example/?key=hunter2"),
        ..Config::default()
    };
    let refused = plain.check().expect_err("refused");
    assert!(
        refused.contains("terminations.url") && !refused.contains("hunter2"),
        "{refused}"
    );
    store.close().await;
}
