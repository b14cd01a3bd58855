//! Tests of the mail's cross-check, on a store in a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dig_ingest::orders::journey::Actor;
use dig_ingest::orders::journey::order::Order;
use dig_ingest::orders::journey::unit::Unit;
use dig_ingest::orders::mail::{self, apart, folder, pdf};
use dig_ingest::orders::store::Store;
use dig_ingest::orders::store::change::Cause;
use dig_ingest::orders::store::rows::{Head, OrderLine};
use dig_ingest::orders::{Clock, wall_clock};
use jiff::Timestamp;

use super::desk::{filled, orders, refused, report};
use super::pdf as made;
use super::sheets::{alarms, state};

fn letter(from: &str, text: &str) -> String {
    format!("From: {from}\r\nSubject: PurchaseOrder\r\nMessage-ID: <{text}>\r\n\r\n{text}\r\n")
}

#[tokio::test]
async fn an_order_that_only_one_side_knows_raises_an_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let (_, store) = filled(folder.path()).await;
    let maildir = folder.path().join("mail");
    for below in ["new", "cur", "tmp"] {
        std::fs::create_dir_all(maildir.join(below)).unwrap();
    }
    let config = mail::Config {
        folder: maildir.clone(),
        ..mail::Config::default()
    };
    let put = |name: &str, text: String| std::fs::write(maildir.join(name), text).unwrap();
    put("new/1.host", letter("ar@geotab.com", "PO Number: PO-7"));
    put("cur/2.host:2,S", letter("ar@geotab.com", "Sales No: SO-99"));
    put("tmp/3.host", letter("ar@geotab.com", "Sales No: SO-98"));
    put("4.eml", letter("someone@example.com", "Sales No: SO-97"));

    let later = Timestamp::now() + jiff::SignedDuration::from_hours(25);
    // The check begins before the orders were taken in.
    let mut change = store.change(Actor::Reconciler, None, later).await.unwrap();
    change
        .mark("mail-begun", Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    change.commit().await.unwrap();
    let mut at_once = folder::Watcher::new(store.clone(), config.clone(), wall_clock()).unwrap();
    at_once.look().await;
    assert_eq!(alarms(&store).await, [], "there is time");
    let clock: Clock = Arc::new(move || later);
    let mut watch = folder::Watcher::new(store.clone(), config, clock).unwrap();
    watch.look().await;
    let mut found = alarms(&store).await;
    found.sort();
    let expected = [
        ("mail-without-order", "Sales No SO-99"),
        ("order-without-mail", "8"),
    ];
    assert_eq!(
        found,
        expected.map(|(kind, subject)| (kind.to_owned(), subject.to_owned()))
    );
    assert_eq!(
        state(&store, "7.1").await,
        "ordered",
        "mail changes nothing"
    );

    put(
        "new/5.host",
        letter("purchasing@geotab.com", "Purchase Order No: po-8"),
    );
    std::fs::remove_file(maildir.join("cur/2.host:2,S")).unwrap();
    watch.look().await;
    assert_eq!(
        alarms(&store).await,
        [],
        "what is cleared up is not told any longer"
    );
    store.close().await;
}

/// A Maildir beside a store with orders 7 and 8, and whoever looks at it.
struct Post {
    store: Store,
    file: PathBuf,
    maildir: PathBuf,
    watch: folder::Watcher,
    _folder: tempfile::TempDir,
}

impl Post {
    async fn new(change: impl FnOnce(&mut mail::Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, store) = filled(folder.path()).await;
        let maildir = folder.path().join("mail");
        std::fs::create_dir_all(maildir.join("new")).unwrap();
        let mut config = mail::Config {
            folder: maildir.clone(),
            ..mail::Config::default()
        };
        change(&mut config);
        config.check().unwrap();
        let program = apart::Program::at(env!("CARGO_BIN_EXE_dig-ingest"));
        let watch = folder::Watcher::new(store.clone(), config, wall_clock())
            .unwrap()
            .with_program(program);
        Self {
            store,
            file,
            maildir,
            watch,
            _folder: folder,
        }
    }

    fn put(&self, name: &str, mail: impl AsRef<[u8]>) {
        std::fs::write(self.maildir.join("new").join(name), mail).unwrap();
    }

    /// What stands after a look, with what was said.
    async fn look(&mut self) -> Vec<(String, String, String)> {
        self.watch.look().await;
        let alarms = self.store.alarms().await.unwrap().into_iter();
        let mut alarms: Vec<_> = alarms
            .map(|alarm| (alarm.kind, alarm.subject, alarm.said))
            .collect();
        alarms.sort();
        alarms
    }
}

/// A purchase order with files.
fn with_files(text: &str, files: &[(&str, &[u8])]) -> String {
    let files = files.iter().map(|(name, bytes)| {
        let lines: Vec<String> = STANDARD
            .encode(bytes)
            .as_bytes()
            .chunks(76)
            .map(|line| String::from_utf8(line.to_vec()).unwrap())
            .collect();
        format!(
            "--cut\r\nContent-Type: application/pdf; name=\"{name}\"\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{}\r\n",
            lines.join("\r\n")
        )
    });
    let files: String = files.collect();
    format!(
        "From: purchasing@geotab.com\r\nSubject: GeotabPurchaseOrderConfirmation\r\nMessage-ID: <m7@geotab>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=cut\r\n\r\n--cut\r\nContent-Type: text/plain\r\n\r\n{text}\r\n{files}--cut--\r\n"
    )
}

fn kinds(told: &[(String, String, String)]) -> Vec<(&str, &str)> {
    told.iter()
        .map(|(kind, subject, _)| (kind.as_str(), subject.as_str()))
        .collect()
}

#[tokio::test]
async fn what_a_pdf_says_otherwise_than_myadmin_is_an_alarm_an_event_and_on_every_paper() {
    let mut post = Post::new(|config| {
        config.prices.insert("CTD-100".into(), "79.00".into());
    })
    .await;
    post.put(
        "1",
        with_files(
            "see the attachment",
            &[("PO.pdf", &made::file(&made::ORDER))],
        ),
    );
    let told = post.look().await;
    assert_eq!(kinds(&told), [("mail-differs", "7")], "{told:?}");
    let said = &told[0].2;
    assert!(
        said.contains("the purchase order of mail m7@geotab (attachment \"PO.pdf\", line 4) has 3 x CTD-100, MyAdmin shows 2"),
        "{said}"
    );
    assert!(
        said.contains("has the price 89.50 for CTD-100, orders.mail.prices has 79.00"),
        "{said}"
    );
    assert_eq!(
        state(&post.store, "7.1").await,
        "ordered",
        "mail changes nothing"
    );
    let events = post.store.events("7").await.unwrap();
    assert_eq!(
        events
            .iter()
            .filter(|event| event.act == "mail-differs")
            .count(),
        1
    );

    // Again and again it is the same.
    assert_eq!(post.look().await, told);
    assert_eq!(post.store.events("7").await.unwrap().len(), events.len());

    let shown = report(&post.file, &["show", "7"]);
    assert!(
        shown["mail_differs"][0]
            .as_str()
            .unwrap()
            .contains("has 3 x CTD-100"),
        "{shown}"
    );
    let listed = report(&post.file, &["list", "--alarms"]);
    let remedy = listed["alarms"][0]["remedy"].as_str().unwrap();
    assert!(remedy.contains("orders clear mail-differs 7"), "{remedy}");
    for paper in ["orders", "picking", "picking-page"] {
        let text = orders(&post.file, &["export", paper]);
        let text = String::from_utf8(text.stdout).unwrap();
        assert!(
            text.contains("has 3 x CTD-100, MyAdmin shows 2"),
            "{paper}: {text}"
        );
    }

    // A person knows better: it stays so, until the letter is another one.
    report(&post.file, &["clear", "mail-differs", "7"]);
    assert_eq!(post.look().await, []);
    assert_eq!(
        report(&post.file, &["show", "7"])["mail_differs"],
        serde_json::json!([])
    );
    let later = with_files(
        "see the attachment",
        &[("PO.pdf", &made::file(&made::ORDER))],
    )
    .replace("m7@", "m8@");
    post.put("2", later);
    std::fs::remove_file(post.maildir.join("new/1")).unwrap();
    assert_eq!(kinds(&post.look().await), [("mail-differs", "7")]);
    // The right one ends it.
    let mut right = made::ORDER.to_vec();
    right[11].2 = "2 pcs";
    right[12].2 = "79.00";
    right[13].2 = "158.00";
    std::fs::remove_file(post.maildir.join("new/2")).unwrap();
    post.put(
        "3",
        with_files("see the attachment", &[("PO.pdf", &made::file(&right))]),
    );
    assert_eq!(post.look().await, []);
    post.store.close().await;
}

#[tokio::test]
async fn a_broken_or_hostile_file_is_its_mails_alarm_and_nothing_elses() {
    let mut post = Post::new(|config| config.reader_memory_mb = 128).await;
    let differs = with_files("Sales No: SO-7\r\nCTD-100  3 pcs", &[]);
    let names = [
        "a.locked",
        "b.scan",
        "c.bomb",
        "d.broken",
        "e.nested",
        "f.swelling",
        "g.pages",
    ];
    let broken = made::file(&made::ORDER)[..400].to_vec();
    // Seventy thousand mails, one within the other.
    let nested = format!(
        "From: purchasing@geotab.com\r\nSubject: PurchaseOrder\r\nContent-Type: message/rfc822\r\n\r\n{}",
        "Content-Type: message/rfc822\r\n\r\n".repeat(300_000)
    );
    let swelling = made::swelling(40_000, 50_000);
    let files: [(&str, Vec<u8>); 5] = [
        ("a.locked", made::locked()),
        ("b.scan", made::scan()),
        ("c.bomb", made::bomb(200 * 1024 * 1024)),
        ("d.broken", broken),
        ("f.swelling", swelling),
    ];
    for (name, bytes) in &files {
        post.put(name, with_files("PO Number: PO-8", &[("PO.pdf", bytes)]));
    }
    post.put("e.nested", nested);
    post.put(
        "g.pages",
        with_files("PO Number: PO-8", &[("PO.pdf", &made::pages(3_000))]),
    );
    post.put("z.good", differs);
    let told = post.look().await;
    assert!(
        kinds(&told).contains(&("mail-differs", "7")),
        "the good one is read: {told:?}"
    );
    let unreadable: Vec<(&str, &str)> = told
        .iter()
        .filter(|(kind, ..)| kind == "mail-unreadable")
        .map(|(_, subject, said)| (subject.as_str(), said.as_str()))
        .collect();
    let listed: Vec<&str> = unreadable.iter().map(|(subject, _)| *subject).collect();
    for name in ["a.locked", "b.scan", "c.bomb", "d.broken", "g.pages"] {
        assert!(listed.contains(&name), "{name}: {unreadable:?}");
    }
    assert!(
        listed.iter().all(|name| names.contains(name)),
        "{unreadable:?}"
    );
    let of = |name: &str| {
        unreadable
            .iter()
            .find(|(subject, _)| *subject == name)
            .map_or("", |(_, said)| *said)
    };
    for (name, wanted) in [
        (
            "a.locked",
            "attachment \"PO.pdf\": it is encrypted; have it sent without a password",
        ),
        ("b.scan", "it holds no text: a scan"),
        ("c.bomb", "it unpacks to more than"),
        ("d.broken", "it is no PDF file that can be read"),
        ("g.pages", "it has 3000 pages"),
    ] {
        assert!(of(name).contains(wanted), "{name}: {unreadable:?}");
    }
    // Each is told once, and its order is known by mail all the same.
    assert_eq!(post.look().await, told);
    for name in names {
        std::fs::remove_file(post.maildir.join("new").join(name)).unwrap();
    }
    assert_eq!(kinds(&post.look().await), [("mail-differs", "7")]);
    post.store.close().await;
}

#[tokio::test]
async fn a_reader_that_cannot_be_started_is_each_mails_alarm() {
    let mut post = Post::new(|_| {}).await;
    post.watch = folder::Watcher::new(
        post.store.clone(),
        mail::Config {
            folder: post.maildir.clone(),
            ..mail::Config::default()
        },
        wall_clock(),
    )
    .unwrap()
    .with_program(apart::Program::at(Path::new("/nowhere/dig-ingest")));
    post.put(
        "1",
        with_files("Sales No: SO-7", &[("PO.pdf", &made::file(&made::ORDER))]),
    );
    post.put("2", with_files("Sales No: SO-7\r\nCTD-100  2 pcs", &[]));
    let told = post.look().await;
    assert_eq!(kinds(&told), [("mail-unreadable", "1")], "{told:?}");
    assert!(told[0].2.contains("cannot be used"), "{told:?}");
    post.store.close().await;
}

#[tokio::test]
async fn a_reader_that_needs_too_much_ends_alone() {
    let program = apart::Program::at(env!("CARGO_BIN_EXE_dig-ingest"));
    let swelling = with_files(
        "PO Number: PO-8",
        &[("PO.pdf", &made::swelling(40_000, 50_000))],
    );
    // Whatever the parser makes of it, it stays within its bounds: an answer, or its end.
    match apart::open(&program, swelling.as_bytes(), 64).await {
        Ok(opened) => assert!(opened.is_some_and(|opened| opened.attached.len() == 1)),
        Err(said) => assert!(said.contains("needs more than 64 MiB"), "{said}"),
    }
    let text = "x ".repeat(900 * 1024);
    let large = with_files(&text, &[("PO.pdf", &made::bomb(pdf::UNPACKED - 1))]);
    let opened = apart::open(&program, large.as_bytes(), 64).await;
    assert!(opened.is_ok() || opened.is_err_and(|said| said.contains("64 MiB")));
}

#[tokio::test]
async fn a_forwarded_mail_is_compared_and_its_order_is_known() {
    let mut post = Post::new(|_| {}).await;
    let letter = with_files(
        "see the attachment",
        &[("PO.pdf", &made::file(&made::ORDER))],
    );
    let forward = |inner: &str, boundary: &str| {
        format!(
            "From: ann@example.com\r\nSubject: WG: Bestellung\r\nContent-Type: multipart/mixed; boundary={boundary}\r\n\r\n--{boundary}\r\n\r\n\
             bitte\r\n--{boundary}\r\nContent-Type: message/rfc822\r\n\r\n{inner}\r\n--{boundary}--\r\n"
        )
    };
    post.put("1", forward(&forward(&letter, "one"), "two"));
    let told = post.look().await;
    assert_eq!(kinds(&told), [("mail-differs", "7")], "{told:?}");
    assert!(
        told[0]
            .2
            .contains("m7@geotab, forwarded by ann@example.com"),
        "{told:?}"
    );

    // In the text of a mail, with the file at that mail.
    std::fs::remove_file(post.maildir.join("new/1")).unwrap();
    let text = "please enter\r\n\r\n-----Original Message-----\r\nFrom: Geotab [mailto:purchasing@geotab.com]\r\nSent: Monday\r\n\
                Subject: GeotabPurchaseOrderConfirmation\r\n\r\nsee the attachment";
    let inline = with_files(text, &[("PO.pdf", &made::file(&made::ORDER))]).replacen(
        "purchasing@geotab.com",
        "bob@example.com",
        1,
    );
    post.put("2", inline);
    let told = post.look().await;
    assert_eq!(kinds(&told), [("mail-differs", "7")], "{told:?}");
    assert!(
        told[0].2.contains("forwarded by bob@example.com"),
        "{told:?}"
    );
    post.store.close().await;
}

/// An order that MyAdmin lists later than its mail comes, of another reseller than the letter says.
#[tokio::test]
async fn an_order_that_comes_after_its_letter_is_compared_when_it_comes() {
    let mut post = Post::new(|_| {}).await;
    let text = "Sales No: SO-9\r\nReseller: Beta Ltd\r\nItem  Qty\r\nCTD-900  1\r\n";
    post.put("1", with_files(text, &[]));
    assert_eq!(post.look().await, [], "there is time");
    let now = Timestamp::now();
    let mut change = post
        .store
        .change(Actor::Reconciler, None, now)
        .await
        .unwrap();
    let head = Head {
        account: "PART01".into(),
        reference: "SO-9".into(),
        reseller_name: "Acme Fleet".into(),
        ..Head::default()
    };
    let cause = || Cause::new("intake", "listed");
    change
        .add_order("9", &Order::receive(vec![]), &head, cause())
        .await
        .unwrap();
    let line = OrderLine {
        id: "1".into(),
        product_code: "CTD-900".into(),
        ..OrderLine::default()
    };
    change
        .add_unit("9", &line, &Unit::ordered(), cause())
        .await
        .unwrap();
    change.commit().await.unwrap();
    let told = post.look().await;
    assert_eq!(kinds(&told), [("mail-differs", "9")], "{told:?}");
    assert!(
        told[0]
            .2
            .ends_with("is for \"Beta Ltd\", MyAdmin shows \"Acme Fleet\""),
        "{told:?}"
    );
    post.put(
        "2",
        with_files(&text.replace("Beta Ltd", "ACME Fleet GmbH"), &[]),
    );
    std::fs::remove_file(post.maildir.join("new/1")).unwrap();
    assert_eq!(post.look().await, []);
    post.store.close().await;
}

/// What a person is sent to by the alarm: item by item, by whatever name the person has in hand.
#[tokio::test]
async fn a_mail_is_shown_item_by_item_beside_what_myadmin_shows() {
    let mut post = Post::new(|config| {
        config.prices.insert("CTD-100".into(), "79.00".into());
    })
    .await;
    let letter = with_files(
        "see the attachment",
        &[("PO.pdf", &made::file(&made::ORDER))],
    );
    post.put("1.host", &letter);
    post.put(
        "2.host",
        "From: ann@example.com\r\nSubject: lunch\r\n\r\nat one?\r\n",
    );
    let broken = made::file(&made::ORDER)[..400].to_vec();
    post.put(
        "3.host",
        with_files("PO Number: PO-8", &[("PO.pdf", &broken)]).replace("m7@", "m8@"),
    );
    let told = post.look().await;
    let folder = format!("orders.mail.folder={}", post.maildir.display());
    let mail = |args: &[&str]| {
        let more = [
            "--set",
            &folder,
            "--set",
            "orders.mail.prices.CTD-100=\"79.00\"",
        ];
        [&["mail"], args, &more]
            .concat()
            .iter()
            .map(|arg| (*arg).to_owned())
            .collect::<Vec<_>>()
    };
    let json = |args: &[&str]| {
        let args = mail(args);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        report(&post.file, &args)["mails"].clone()
    };
    let shown = json(&["show", "7"]);
    for name in ["1.host", "m7@geotab", "<m7@geotab>", "so-7", "PO-7"] {
        assert_eq!(json(&["show", name]), shown, "{name}");
    }
    let letter = &shown[0]["letters"][0];
    assert_eq!(letter["orders"], serde_json::json!(["7"]));
    assert_eq!(
        letter["items"],
        serde_json::json!([{
            "code": "CTD-100", "letter": 3, "myadmin": 2, "price": "89.50", "agreed": "79.00",
            "place": "attachment \"PO.pdf\", line 4", "differs": true,
        }])
    );
    // What is shown is what the alarm says.
    let differs: Vec<&str> = letter["differs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|said| said.as_str().unwrap())
        .collect();
    let alarm = told
        .iter()
        .find(|(kind, ..)| kind == "mail-differs")
        .unwrap();
    assert_eq!(alarm.2, differs.join("; "));

    let text = |args: &[&str]| {
        let args = mail(args);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        String::from_utf8(orders(&post.file, &args).stdout).unwrap()
    };
    let page = text(&["show", "7"]);
    for wanted in [
        "purchase order",
        "CTD-100  3       2        89.50  79.00   yes",
        "dig-ingest orders clear mail-differs 7",
    ] {
        assert!(page.contains(wanted), "{wanted}: {page}");
    }
    // Mail that is nobody's business is not listed; what cannot be read is, with its reason.
    let list = text(&["list"]);
    assert!(!list.contains("2.host"), "{list}");
    assert!(list.contains("differs: "), "{list}");
    assert!(text(&["show", "3.host"]).contains("it is no PDF file that can be read"));
    assert!(text(&["show", "2.host"]).contains("purchase_order_from"));
    let args = mail(&["show", "SO-99"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let said = refused(&post.file, &args);
    assert!(said.contains("orders mail list"), "{said}");
    let said = refused(&post.file, &["mail", "list"]);
    assert!(said.contains("orders.mail.folder"), "{said}");
    post.store.close().await;
}

/// The same purchase order twice: forwarded by two people, and sent again.
#[tokio::test]
async fn a_letter_that_comes_several_times_counts_once() {
    let mut post = Post::new(|_| {}).await;
    let mut right = made::ORDER.to_vec();
    right[11].2 = "2 pcs";
    right[13].2 = "179.00";
    let letter = with_files("see the attachment", &[("PO.pdf", &made::file(&right))]);
    let forward = |by: &str| {
        format!(
            "From: {by}\r\nSubject: Fwd\r\nContent-Type: multipart/mixed; boundary=out\r\n\r\n--out\r\n\r\n\
             bitte\r\n--out\r\nContent-Type: message/rfc822\r\n\r\n{letter}\r\n--out--\r\n"
        )
    };
    post.put("1", &letter);
    post.put("2", forward("ann@example.com"));
    post.put("3", forward("bob@example.com"));
    post.put("4", letter.replace("m7@", "m8@"));
    assert_eq!(post.look().await, []);
    post.store.close().await;
}
