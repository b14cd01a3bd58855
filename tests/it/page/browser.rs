//! The operator page in a real Chromium: numbers, buttons, hostile texts, and pictures for a person to look at (`target/page`).

use std::path::PathBuf;

use serde_json::{Value, json};

use super::driver::Browser;
use super::site::{HOSTILE, Site};
use crate::support::child::{Running, ask, told};
use crate::support::{root, wait_for, wait_until};

/// A narrow window and a wide one.
const WIDTHS: [u32; 2] = [390, 1360];

fn pictures(browser: &Browser, name: &str) {
    for width in WIDTHS {
        for theme in ["light", "dark"] {
            browser.look(width, theme);
            // Drawn for the new width before it is taken.
            browser.run("return document.body.offsetHeight", &[]);
            let file: PathBuf = root().join(format!("target/page/{name}-{width}-{theme}.png"));
            let needed = browser.picture(&file, width);
            assert!(
                needed <= u64::from(width),
                "{name} needs {needed} of {width}"
            );
        }
    }
}

/// The units of order 7, as the API has them.
fn unit(site: &Site, id: &str) -> Value {
    let answer = ask(
        &site.address.to_string(),
        &format!("GET /api/units?named={id}"),
        "none",
        "",
    );
    told(&answer).1["units"][0].clone()
}

fn order(site: &Site, id: &str) -> Value {
    let answer = ask(
        &site.address.to_string(),
        &format!("GET /api/orders/{id}"),
        "none",
        "",
    );
    told(&answer).1
}

/// A reason is given in a dialog.
fn explain(browser: &Browser, near: &str, act: &str, why: &str) {
    browser.click(near, act);
    browser.fill("why", why);
    browser.click("", act);
    browser.dialog_is_closed();
}

#[test]
fn a_day_of_the_warehouse_is_done_by_the_buttons() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let site = runtime.block_on(Site::start(folder.path()));
    let browser = Browser::start();
    browser.look(1360, "light");
    let origin = site.origin();

    let by = dig_ingest::orders::journey::Actor::Reconciler;
    let now = jiff::Timestamp::now();
    let alarm = ("orphan-serial", "CX0000000009");
    let raised = site
        .store
        .note_alarm(alarm.0, alarm.1, "nobody has it", None, &by, now);
    runtime.block_on(raised).unwrap();
    browser.open(&format!("{origin}/#orders"));
    browser.shows("PO-7");
    browser.click("", "Set name");
    browser.fill("name", "Ann");
    browser.click("", "Save");
    browser.dialog_is_closed();
    browser.open(&format!("{origin}/#now"));
    browser.click(alarm.1, "Clear");
    browser.click("", "Clear");
    browser.shows("Nothing waits, and no alarm stands");
    browser.open(&format!("{origin}/#orders/8"));
    browser.click("", "Approve");
    wait_until("the order is approved", || {
        order(&site, "8")["state"] == "approved"
    });
    browser.shows("Ann");

    browser.open(&format!("{origin}/#orders/7"));
    browser.click("Unit 7.1", "Assign");
    browser.fill("imei", "356938035643800");
    browser.click("", "Assign");
    // What the check refuses is said in the dialog, with what can be done.
    browser.shows("tick \"Take what a check refuses\"");
    browser.fill("imei", "356938035643809");
    browser.click("", "Assign");
    browser.dialog_is_closed();
    wait_until("the unit is assigned", || {
        unit(&site, "7.1")["imei"] == "356938035643809"
    });
    explain(&browser, "Unit 7.2", "Park", "its box is wet");
    wait_until("the unit is parked", || {
        unit(&site, "7.2")["state"] == "parked"
    });
    pictures(&browser, "order");
    browser.look(1360, "light");
    browser.click("Unit 7.2", "Retry");
    wait_until("the unit goes on", || {
        unit(&site, "7.2")["state"] == "ordered"
    });
    explain(&browser, "Unit 7.2", "Cancel", "not needed");
    wait_until("the unit is cancelled", || {
        unit(&site, "7.2")["state"] == "cancelled"
    });
    browser.click("", "Ship 1 unit");
    browser.fill("carrier", "Post");
    browser.fill("tracking", "T1\nT2");
    browser.click("", "Ship");
    browser.dialog_is_closed();
    wait_until("the unit is shipped", || {
        unit(&site, "7.1")["tracking"] == json!(["T1", "T2"])
    });
    explain(
        &browser,
        "PendingFulfillment",
        "Park",
        "the address is wrong",
    );
    wait_until("the order is parked", || {
        order(&site, "7")["state"] == "parked"
    });

    browser.open(&format!("{origin}/#orders"));
    browser.click("", "Import a CSV file");
    let script = "
        const file = new File([arguments[0]], 'day.csv', { type: 'text/csv' });
        const files = new DataTransfer();
        files.items.add(file);
        const field = document.getElementById('csv');
        if (!field) return false;
        field.files = files.files;
        return true;";
    let lines = "unit,imei\n8.1,351234567890124\n8.9,351234567890124\n";
    browser.until("a file is chosen", script, &[json!(lines)]);
    browser.click("", "Import");
    browser.shows("8.9");
    browser.shows("Nothing of the file was taken");
    pictures(&browser, "orders");
    browser.look(1360, "light");

    // A device id of somebody who wants the page to run it.
    let query = "#devices?named=%3Cimg";
    browser.open(&format!("{origin}/{query}"));
    browser.shows(HOSTILE);
    let images = browser.run("return document.querySelectorAll('main img').length", &[]);
    assert_eq!(images, 0);
    assert_ne!(browser.run("return document.title", &[]), "owned");
    let complaints = browser.complaints();
    let refused = |line: &&String| !line.contains("422") && !line.contains("400");
    let complaints: Vec<_> = complaints.iter().filter(refused).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    drop(browser);
    runtime.block_on(site.end());
}

#[test]
fn the_numbers_of_the_page_are_those_of_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["demo", "--stay", "--records", "6000", "--devices", "120"];
    let mut demo = Running::start("demo", folder.path(), &args.map(str::to_owned));
    let address = demo.said("the address of the page", |line| {
        let (_, rest) = line.split_once("operator page at http://")?;
        Some(rest.trim().trim_end_matches('/').to_owned())
    });
    demo.said("the end of the story", |line| {
        line.contains("the story is told").then_some(())
    });
    let browser = Browser::start();
    browser.look(1360, "light");
    browser.open(&format!("http://{address}/#now"));
    let total = |outcome: &str| {
        let page = ask(&address, "GET /metrics", "none", "");
        let label = format!("outcome=\"{outcome}\"");
        let lines = page
            .lines()
            .filter(|line| line.starts_with("dig_ingest_records_total{") && line.contains(&label));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum::<f64>()
    };
    for outcome in ["accepted", "dead_lettered", "held"] {
        let script = "
            const value = document.querySelector(`[data-metric='${arguments[0]}']`);
            return value?.parentElement.dataset.total ?? null;";
        wait_for(&format!("{outcome} is as in /metrics"), || {
            let shown = browser.run(script, &[json!(outcome)]);
            let shown: f64 = shown.as_str()?.parse().ok()?;
            (shown > 0.0 && shown == total(outcome)).then_some(())
        });
    }
    pictures(&browser, "now");
    browser.look(1360, "light");
    browser.open(&format!("http://{address}/#letters"));
    browser.click("", "Read");
    browser.shows("The newest");
    pictures(&browser, "letters");
    browser.look(1360, "light");
    browser.open(&format!("http://{address}/#devices"));
    browser.shows("terminated");
    pictures(&browser, "devices");
    browser.open(&format!("http://{address}/#orders"));
    browser.shows("Done");
    pictures(&browser, "board");
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
    drop(browser);
    demo.signal("INT");
    demo.succeeded();
}
