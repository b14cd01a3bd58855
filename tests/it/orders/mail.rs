//! Tests of the mail's cross-check, on a store in a file.

use std::sync::Arc;

use dig_ingest::orders::journey::Actor;
use dig_ingest::orders::mail::{self, folder};
use dig_ingest::orders::{Clock, wall_clock};
use jiff::Timestamp;

use super::desk::filled;
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
