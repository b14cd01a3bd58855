//! Tests of the papers: picking list, worksheet and orders to take away, and which orders are listed as open.

use dig_ingest::orders::journey::Actor;
use dig_ingest::orders::settings::Mode;
use dig_ingest::orders::store::Store;
use dig_ingest::orders::store::change::Cause;
use dig_ingest::orders::store::rows::{Contact, Head};
use jiff::Timestamp;

use super::desk::{filled, orders, report};
use super::site::Site;

async fn addressed(store: &Store) {
    let row = store.order("7").await.unwrap().unwrap();
    let head = Head {
        reseller_name: "Acme <Fleet>".into(),
        comment: "ring twice".into(),
        contact: Contact {
            name: "Ann Lee".into(),
            email: "ann@example.com".into(),
            street1: "1 Long Road".into(),
            city: "Oakville".into(),
            state: "ON".into(),
            zip_code: "L6H".into(),
            telephone1: "+1 905 555 0100".into(),
            telephone2: "+1 905 555 0101".into(),
            ..Contact::default()
        },
        ..row.head.clone()
    };
    let mut change = store
        .change(Actor::Reconciler, None, Timestamp::now())
        .await
        .unwrap();
    change
        .put_head(&row, &head, Cause::new("head", "listed"))
        .await
        .unwrap();
    change.commit().await.unwrap();
}

fn exported(file: &std::path::Path, paper: &str) -> String {
    let output = orders(file, &["export", paper]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_picking_list_has_all_that_the_warehouse_needs() {
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = filled(folder.path()).await;
    addressed(&store).await;
    store.close().await;
    let page = exported(&file, "picking-page");
    for wanted in [
        "Order SO-7",
        "Ann Lee<br>1 Long Road<br>L6H Oakville ON",
        "+1 905 555 0100, +1 905 555 0101<br>ann@example.com",
        "Acme &lt;Fleet&gt;",
        "ring twice",
        "<td>CTD-100</td><td>2</td>",
        "2 units to pick",
    ] {
        assert!(page.contains(wanted), "{wanted}: {page}");
    }
    // The other one waits for a person.
    assert!(!page.contains("Order SO-8"), "{page}");
    let csv = exported(&file, "picking");
    let wanted = "7,SO-7,PO-7,PART01,Acme <Fleet>,Ann Lee,1 Long Road,,L6H,Oakville,ON,+1 905 555 0100,+1 905 555 0101,ann@example.com,ring twice,CTD-100,2,7.1 7.2,";
    assert!(csv.contains(wanted), "{csv}");
    let all = exported(&file, "orders");
    assert!(
        all.contains("2 x CTD-100,Acme <Fleet>,,1 Long Road,,L6H,ON,+1 905 555 0100"),
        "{all}"
    );

    // What has left is keyed in: the rest is picked.
    report(&file, &["assign", "7.1", "--imei", "350000000000014"]);
    report(
        &file,
        &["ship", "7", "--carrier", "Post", "--tracking", "T1"],
    );
    let page = exported(&file, "picking-page");
    assert!(
        page.contains("<td>CTD-100</td><td>1</td>") && page.contains("1 unit to pick"),
        "{page}"
    );
    let sheet = exported(&file, "worksheet-page");
    for wanted in [
        "1 of 2 units",
        "<td>Post</td><td class=\"code\">T1</td><td>PendingFulfillment</td>",
    ] {
        assert!(sheet.contains(wanted), "{wanted}: {sheet}");
    }
    let csv = exported(&file, "worksheet");
    assert!(
        csv.contains("Post,T1,1 of 2 units,Post,T1,PendingFulfillment"),
        "{csv}"
    );

    report(&file, &["assign", "7.2", "--imei", "350000000000022"]);
    report(
        &file,
        &[
            "ship",
            "7",
            "--carrier",
            "Courier",
            "--tracking",
            "T2",
            "--unit",
            "7.2",
        ],
    );
    let csv = exported(&file, "worksheet");
    // Each with its own parcel, and the order with both and the status of a whole one.
    for wanted in [
        "Post,T1,2 of 2 units,\"Post, Courier\",\"T1, T2\",Fulfilled",
        "Courier,T2,2 of 2 units,\"Post, Courier\",\"T1, T2\",Fulfilled",
    ] {
        assert!(csv.contains(wanted), "{wanted}: {csv}");
    }
    assert!(exported(&file, "picking-page").contains("Nothing is to be picked."));
}

#[tokio::test]
async fn an_order_that_is_done_leaves_the_open_list() {
    let mut site = Site::new(Mode::Api, |_| {}).await;
    let done = site.shipped(1).await;
    site.all(&done, "confirmed").await;
    site.world.own_all();
    site.all(&done, "active").await;
    let open = site.assigned(1).await;
    let file = site.file();
    site.store.close().await;
    let listed = |args: &[&str]| -> Vec<String> {
        let told = report(&file, args);
        let orders = told["orders"].as_array().unwrap();
        orders
            .iter()
            .map(|order| order["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(listed(&["list"]), [open.as_str()]);
    assert_eq!(listed(&["list", "--state", "open"]), [open.as_str()]);
    assert_eq!(listed(&["list", "--state", "done"]), [done.as_str()]);
    assert_eq!(listed(&["list", "--all"]), [done.as_str(), &open]);
    report(&file, &["show", &done]);
}
