//! IMEIs, ICCIDs and serials that look wrong are refused wherever a person gives them, with their place and a remedy; whoever insists
//! gets them stored, and the audit trail tells it. What MyAdmin shows, and what a store has already, is never refused.

use std::path::Path;

use dig_ingest::orders::journey::Tags;
use dig_ingest::orders::settings::{Mode, Product};
use dig_ingest::orders::store::Store;
use dig_ingest::sim::market::UnitReport;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::desk::{filled, orders, refused, report};
use super::site::{Site, ann};
use super::web::Api;
use crate::support::marks::{iccid, imei};

/// What looks wrong: as which mark, the value, and what is said of it. The serial comes first: a unit that is
/// assigned gets none.
const EXAMPLES: [(&str, &str, &str); 10] = [
    ("serial", "C80000000001", "prefix of product \"CTD-200\""),
    ("imei", "0", "has 1 digit, an IMEI has 15"),
    ("imei", "3569380356438", "has 13 digits"),
    ("imei", "35693803564380", "check digit is missing"),
    ("imei", "3569380356438099", "IMEISV"),
    ("imei", "356938035643808", "check digit does not fit"),
    ("imei", "A10000009296F2", "no digit"),
    ("sim", "8931", "has 4 digits"),
    ("sim", "8931440400000000001", "check digit does not fit"),
    ("sim", "8831440400000000009", "begin with 89"),
];

const PRODUCTS: &str = "orders.products={ \"CTD-100\" = { product_id = 1, prefix = \"CX\" }, \"CTD-200\" = { product_id = 2, prefix = \"C8\" } }";

fn products(config: &mut dig_ingest::orders::Config) {
    for (code, product_id, prefix) in [("CTD-100", 1, "CX"), ("CTD-200", 2, "C8")] {
        let product = Product {
            product_id,
            prefix: prefix.into(),
            ..Product::default()
        };
        config.products.insert(code.into(), product);
    }
}

/// What the audit trail tells of values that were taken by force: who, and which.
async fn forced(store: &Store, order: &str) -> Vec<(String, String, String)> {
    let events = store.events(order).await.unwrap();
    let forced = events.into_iter().filter(|event| event.act == "force");
    forced
        .map(|event| {
            let evidence = event.evidence.expect("it tells the value");
            let text = |name: &str| evidence[name].as_str().unwrap().to_owned();
            assert!(event.why.contains("by force"), "{}", event.why);
            assert!(event.why.contains(&text("what")), "{}", event.why);
            (event.actor_kind, text("mark"), text("value"))
        })
        .collect()
}

fn all_forced(by: &str) -> Vec<(String, String, String)> {
    let told = EXAMPLES.iter();
    told.map(|(mark, value, _)| (by.into(), (*mark).into(), (*value).into()))
        .collect()
}

async fn untouched(store: &Store) {
    let unit = store.unit("7.1").await.unwrap().unwrap();
    assert_eq!(unit.unit.known().tags, Tags::default());
    assert_eq!((unit.unit.serial(), unit.version), (None, 1));
}

#[tokio::test]
async fn a_command_refuses_what_looks_wrong_unless_a_person_insists() {
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = filled(folder.path()).await;
    for (mark, value, what) in EXAMPLES {
        let flag = format!("--{mark}");
        let said = refused(&file, &["assign", "7.1", &flag, value, "--set", PRODUCTS]);
        assert!(said.contains(&format!("{flag} {value:?}")), "{said}");
        assert!(
            said.contains(what) && said.contains("give --force"),
            "{said}"
        );
    }
    untouched(&store).await;
    for lost in ["3.5E+14", "12\u{7}3"] {
        let said = refused(&file, &["assign", "7.1", "--imei", lost, "--force"]);
        assert!(
            said.contains("--imei") && !said.contains("give --force"),
            "{said}"
        );
    }
    untouched(&store).await;

    for (mark, value, _) in EXAMPLES {
        let flag = format!("--{mark}");
        let args = ["assign", "7.1", &flag, value, "--force", "--set", PRODUCTS];
        let unit = &report(&file, &args)["units"][0];
        assert_eq!(unit[mark], value, "{unit}");
    }
    assert_eq!(forced(&store, "7").await, all_forced("person"));

    // It is shown, and a value that is right is taken in its normal form and without an event.
    let whole = report(&file, &["show", "7"]);
    let odd = whole["units"][0]["odd"].as_array().unwrap();
    assert_eq!(odd.len(), 2, "{whole}");
    let shown = orders(&file, &["show", "7"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("7.1: IMEI \"A10000009296F2\" holds 'A'"),
        "{shown}"
    );
    let hyphens = ["assign", "7.1", "--imei", "35-693803-564380-9", "--force"];
    let sim = format!("{}F", iccid(1));
    let args = [&hyphens[..], &["--sim", &sim]].concat();
    let unit = &report(&file, &args)["units"][0];
    assert_eq!(unit["imei"], "356938035643809");
    assert_eq!((&unit["sim"], &unit["odd"]), (&json!(iccid(1)), &json!([])));
    assert_eq!(forced(&store, "7").await.len(), EXAMPLES.len());
    store.close().await;
}

/// A file with a line for each example.
fn lines(folder: &Path, force: &str) -> String {
    let mut text = "unit,imei,sim,serial,force\n".to_owned();
    for (mark, value, _) in EXAMPLES {
        let fields = ["imei", "sim", "serial"].map(|name| if name == mark { value } else { "" });
        text.push_str(&format!("7.1,{},{force}\n", fields.join(",")));
    }
    let path = folder.join("marks.csv");
    std::fs::write(&path, &text).unwrap();
    path.display().to_string()
}

fn all_bad(outcome: &Value) {
    let bad = outcome["bad"].as_array().unwrap();
    assert_eq!(bad.len(), EXAMPLES.len(), "{outcome}");
    for (line, (bad, (mark, value, what))) in (2..).zip(bad.iter().zip(EXAMPLES)) {
        assert_eq!(bad["line"], line, "{bad}");
        assert_eq!(
            (&bad["field"], &bad["value"]),
            (&json!(mark), &json!(value))
        );
        assert!(bad["what"].as_str().unwrap().contains(what), "{bad}");
        let remedy = bad["remedy"].as_str().unwrap();
        assert!(remedy.contains("yes in the column \"force\""), "{bad}");
    }
}

#[tokio::test]
async fn an_import_refuses_what_looks_wrong_unless_the_line_insists() {
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = filled(folder.path()).await;
    let path = lines(folder.path(), "");
    for partial in [&[][..], &["--partial"]] {
        let args = [&["import", &path, "--set", PRODUCTS][..], partial].concat();
        all_bad(&report(&file, &args));
    }
    let said = refused(&file, &["import", &path, "--set", PRODUCTS]);
    assert!(
        said.contains("marks.csv: line 3, imei \"0\": has 1 digit"),
        "{said}"
    );
    untouched(&store).await;

    // One file would give one unit several values.
    let path = lines(folder.path(), "yes");
    let text = std::fs::read_to_string(&path).unwrap();
    let (header, lines) = text.split_once('\n').unwrap();
    for line in lines.lines() {
        std::fs::write(&path, format!("{header}\n{line}\n")).unwrap();
        let outcome = report(&file, &["import", &path, "--set", PRODUCTS]);
        assert_eq!(outcome["done"], 1, "{outcome}");
    }
    assert_eq!(forced(&store, "7").await, all_forced("import"));
    store.close().await;
}

#[tokio::test]
async fn the_api_refuses_what_looks_wrong_unless_a_person_insists() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::with(folder.path(), products).await;
    let assign = "/api/units/7.1/assign";
    for (mark, value, what) in EXAMPLES {
        let error = api
            .refused(assign, &json!({ mark: value }).to_string(), 400)
            .await;
        assert_eq!(error["code"], "bad-field", "{error}");
        assert_eq!(
            (&error["field"], &error["value"]),
            (&json!(mark), &json!(value))
        );
        assert!(error["what"].as_str().unwrap().contains(what), "{error}");
        let remedy = error["remedy"].as_str().unwrap();
        assert!(remedy.contains("give \"force\": true"), "{error}");
    }
    let wordy = json!({ "imei": "0", "force": "yes" }).to_string();
    assert_eq!(api.refused(assign, &wordy, 400).await["field"], "force");
    let csv = std::fs::read_to_string(lines(folder.path(), "no")).unwrap();
    let (status, outcome) = api.send(Method::POST, "/api/import", &csv).await;
    assert_eq!(status, 422, "{outcome}");
    all_bad(&outcome);
    untouched(&api.store).await;

    for (mark, value, _) in EXAMPLES {
        let body = json!({ mark: value, "force": true });
        let unit = &api.post(assign, body).await["units"][0];
        assert_eq!(unit[mark], value, "{unit}");
    }
    assert_eq!(forced(&api.store, "7").await, all_forced("person"));
    let csv = "unit,imei,force\n7.2,00,yes\n";
    let (status, outcome) = api.send(Method::POST, "/api/import", csv).await;
    assert_eq!(status, 200, "{outcome}");
    let events = api.get("/api/events?order=7").await;
    let events = events["events"].as_array().unwrap();
    let by = events.iter().filter(|event| event["act"] == "force");
    assert_eq!(by.count(), EXAMPLES.len() + 1);
    api.end().await;
}

#[tokio::test]
async fn the_inventory_gives_out_nothing_that_looks_wrong_unless_the_line_insists() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = folder.path().join("shelf.csv");
    let write = |force: &str| {
        let marks = EXAMPLES.iter().filter(|(mark, ..)| *mark != "serial");
        let lines = marks.map(|(mark, value, _)| match *mark {
            "imei" => format!("{value},{},{force}\n", iccid(7)),
            _ => format!("{},{value},{force}\n", imei(7)),
        });
        let text = format!("imei,sim,force\n{}", lines.collect::<String>());
        std::fs::write(&shelf, text).unwrap();
    };
    write("");
    let mut site = Site::new(Mode::Worksheet, |config| {
        config.inventory.auto = true;
        config.inventory.file.clone_from(&shelf);
    })
    .await;
    let order = site.world.place("CTD-200", 1).to_string();
    site.all(&order, "provisioned").await;
    site.round(130).await;
    assert_eq!(site.units(&order).await[0].unit.state(), "provisioned");
    let kinds: Vec<String> = site
        .standing()
        .await
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert!(kinds.contains(&"inventory-file".to_owned()), "{kinds:?}");
    assert!(kinds.contains(&"inventory-short".to_owned()), "{kinds:?}");

    let place = format!("orders.inventory.file={}", shelf.display());
    let told = report(&site.file(), &["inventory", "--set", &place]);
    let bad = told["bad"].as_array().unwrap();
    assert_eq!((bad.len(), &told["devices"]), (9, &json!(0)), "{told}");
    assert_eq!(bad[0]["field"], "imei");
    let remedy = bad[0]["remedy"].as_str().unwrap();
    assert!(remedy.contains("yes in the column \"force\""), "{told}");

    // The first one fits. Others of the lines have its SIM, and stay bad.
    write("yes");
    site.all(&order, "assigned").await;
    let row = site.units(&order).await.remove(0);
    assert_eq!(row.unit.known().tags.imei.as_deref(), Some("0"));
    let one = ("reconciler".to_owned(), "imei".to_owned(), "0".to_owned());
    assert_eq!(forced(&site.store, &order).await, [one]);
    site.store.close().await;
}

#[tokio::test]
async fn what_myadmin_shows_is_taken_in_and_told_and_never_refused() {
    let mut site = Site::new(Mode::Worksheet, |_| {}).await;
    let order = site.world.place("CTD-200", 1);
    // Somebody filled in the line before we saw it.
    let odd = UnitReport {
        imei: Some("0".into()),
        ..UnitReport::default()
    };
    site.world.key_in(order, 9_000_001, &odd);
    let order = order.to_string();
    site.all(&order, "provisioned").await;
    let row = site.units(&order).await.remove(0);
    assert_eq!(
        (row.line.id.as_str(), row.unit.known().tags),
        ("9000001", Tags::default())
    );
    assert_eq!(site.standing().await, []);

    let tags = super::site::marks(&row);
    let now = site.world.now();
    let assigned = site.store.assign(&row.id, None, &tags, &ann(), now).await;
    assigned.unwrap();
    site.ship(&order, None, "T1").await.unwrap();
    site.round(130).await;
    let wait = site.wait(&row.id).await;
    assert_eq!(wait.what.name(), "difference", "{wait:?}");
    assert!(wait.remedy.contains("IMEI \"0\" has 1 digit"), "{wait:?}");
    // If MyAdmin is right after all, the remedy works as it is told.
    site.apply(&wait.remedy, "assign");
    let row = site.unit(&row.id).await;
    assert_eq!(row.unit.known().tags.imei.as_deref(), Some("0"));
    let one = ("person".to_owned(), "imei".to_owned(), "0".to_owned());
    assert_eq!(forced(&site.store, &order).await, [one]);
    site.key_in(&row, |_| {});
    site.key_in_shipment(&order, "T1", "Fulfilled");
    site.world.own_all();
    site.all(&order, "active").await;
    site.store.close().await;
}

#[tokio::test]
async fn a_serial_that_myadmin_makes_is_taken_whatever_its_prefix_and_told() {
    let mut site = Site::new(Mode::Worksheet, |config| {
        let product = config.products.get_mut("CTD-200").unwrap();
        product.prefix = "ZZ".into();
    })
    .await;
    let order = site.world.place("CTD-200", 1).to_string();
    site.all(&order, "provisioned").await;
    let row = site.units(&order).await.remove(0);
    let serial = row.unit.serial().unwrap().to_string();
    assert!(serial.starts_with("C8"), "{serial}");
    let alarms = site.alarms().await;
    let told = alarms
        .iter()
        .find(|alarm| alarm.row.kind == "serial-prefix");
    let told = told.unwrap_or_else(|| panic!("{alarms:?}"));
    assert_eq!(told.row.subject, row.id);
    assert!(
        told.row.said.contains(&serial) && told.row.said.contains("ZZ"),
        "{told:?}"
    );
    assert!(told.remedy.contains("[orders.products]"), "{told:?}");
    site.store.close().await;
}

#[tokio::test]
async fn what_a_store_has_already_stays_and_goes_its_way() {
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = filled(folder.path()).await;
    let old = Tags {
        imei: Some("0".into()),
        sim: Some("8944500000000000001".into()),
        device_id: None,
    };
    let now = Timestamp::now();
    store.assign("7.1", None, &old, &ann(), now).await.unwrap();
    let whole = report(&file, &["show", "0"]);
    assert_eq!(whole["units"][0]["odd"].as_array().map(Vec::len), Some(2));
    let sent = ["ship", "7", "--carrier", "Post", "--tracking", "T1"];
    assert_eq!(report(&file, &sent)["units"][0]["state"], "shipped");
    let sheet = orders(&file, &["export", "worksheet-page"]);
    let sheet = String::from_utf8(sheet.stdout).unwrap();
    assert!(
        sheet.contains("Unit 7.1: compare with the device. IMEI"),
        "{sheet}"
    );
    // What it has already needs no force to be given again.
    let again = report(&file, &["assign", "7.1", "--imei", "0", "--force"]);
    assert_eq!(again["units"][0]["imei"], "0");
    assert_eq!(forced(&store, "7").await, []);
    store.close().await;
}
