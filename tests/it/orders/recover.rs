//! Recovering a store by the HTTP API: what `dig-ingest orders recover` shows and accepts, over HTTP.

use std::sync::{Arc, Mutex};

use dig_ingest::myadmin::wire::PartnerDevice;
use dig_ingest::orders::desk::Outside;
use dig_ingest::orders::journey::Serial;
use dig_ingest::orders::recall::Witnesses;
use dig_ingest::orders::settings::Mode;
use dig_ingest::orders::store::identity::Proof;
use dig_ingest::orders::store::{self, Store};
use dig_ingest::registry::entries::{Entries, Entry};
use dig_ingest::registry::mark::Mark;
use dig_ingest::registry::{Device, State};
use reqwest::Method;
use serde_json::{Value, json};

use super::sheets;
use super::site::{Site, ann};
use super::web::Api;

/// A registry and a MyAdmin that answer from memory; none where they do not answer.
#[derive(Clone, Default)]
pub(crate) struct Said {
    pub entries: Arc<Mutex<Option<Entries>>>,
    pub listed: Arc<Mutex<Option<Vec<PartnerDevice>>>>,
    pub devices: Arc<sheets::Devices>,
}

impl Said {
    /// A registry without devices, and a MyAdmin that lists none.
    pub(crate) fn nothing() -> Self {
        let said = Self::default();
        *said.entries.lock().unwrap() = Some(Entries::default());
        *said.listed.lock().unwrap() = Some(Vec::new());
        *said.devices.lock().unwrap() = Some(Vec::new());
        said
    }

    pub(crate) fn outside(&self) -> Outside {
        let (entries, listed) = (Arc::clone(&self.entries), Arc::clone(&self.listed));
        Outside {
            ask: sheets::registry(&self.devices),
            witnesses: Witnesses {
                registry: Arc::new(move |_| {
                    let said = entries.lock().unwrap().clone();
                    let said =
                        said.ok_or_else(|| anyhow::anyhow!("broker secret.example:9092 is away"));
                    Box::pin(std::future::ready(said))
                }),
                listed: Arc::new(move || {
                    let said = listed.lock().unwrap().clone();
                    let said = said.ok_or_else(|| anyhow::anyhow!("MyAdmin is away"));
                    Box::pin(std::future::ready(said))
                }),
            },
        }
    }
}

/// A site with two provisioned units that the registry has, its store lost, and an empty one in its place.
async fn lost() -> (Site, Store, Said, Vec<String>) {
    let mut site = Site::new(Mode::Api, |_| {}).await;
    let order = site.world.place("CTD-200", 2).to_string();
    site.all(&order, "provisioned").await;
    site.publish().await.unwrap();
    let units = site.units(&order).await;
    let serials = units
        .iter()
        .map(|row| row.unit.serial().unwrap().to_string());
    let serials = serials.collect();
    let said = Said::nothing();
    *said.entries.lock().unwrap() = Some(site.topic.lock().unwrap().entries.clone());
    let listed = site.world.listed().into_iter();
    let listed = listed.map(|(serial, code)| PartnerDevice {
        serial,
        product_code: Some(code),
        database: None,
    });
    *said.listed.lock().unwrap() = Some(listed.collect());
    let place = store::Config {
        file: site.file().with_file_name("another.db"),
        ..store::Config::default()
    };
    let empty = Store::init(&place).await.unwrap();
    (site, empty, said, serials)
}

fn products(site: &Site) -> impl FnOnce(&mut dig_ingest::orders::Config) {
    let products = site.config.products.clone();
    move |config| config.products = products
}

#[tokio::test]
async fn a_lost_store_is_recovered_by_the_api_as_by_the_command() {
    let (site, store, said, serials) = lost().await;
    let folder = tempfile::tempdir().unwrap();
    let api = Api::serve(folder.path(), store, said.outside(), products(&site)).await;
    let plan = api.get("/api/recover").await;
    assert_eq!(
        (&plan["proven"], &plan["accepted"]),
        (&json!(false), &json!(false)),
        "{plan:#}"
    );
    let adopted: Vec<&Value> = plan["adopt"].as_array().unwrap().iter().collect();
    let mut shown: Vec<&str> = adopted
        .iter()
        .filter_map(|one| one["serial"].as_str())
        .collect();
    shown.sort_unstable();
    let mut expected: Vec<&str> = serials.iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(shown, expected);
    assert!(
        adopted.iter().all(|one| one["to"]["how"] == "later"),
        "{plan:#}"
    );
    // Neither a look nor a body without the word changes anything.
    let looked = api.post("/api/recover", json!({})).await;
    assert_eq!(looked["accepted"], false);
    api.refused("/api/recover", "{\"accept\": \"yes\"}", 400)
        .await;
    api.refused("/api/recover", "{\"acept\": true}", 400).await;
    assert_ne!(api.store.identity().await.unwrap().proof, Proof::Accepted);

    let accepted = api.post("/api/recover", json!({ "accept": true })).await;
    assert_eq!(accepted["accepted"], true);
    assert_eq!(api.store.identity().await.unwrap().proof, Proof::Accepted);
    let events = api.store.events_after(0).await.unwrap();
    let of = events.iter().find(|event| event.act == "recover").unwrap();
    assert_eq!(of.actor, "ann");
    assert_eq!(api.get("/api/recover").await["proven"], true);
    api.end().await;
}

#[tokio::test]
async fn a_recovery_that_cannot_be_planned_says_so_and_names_no_place() {
    let (site, store, said, _) = lost().await;
    let folder = tempfile::tempdir().unwrap();
    let api = Api::serve(folder.path(), store, said.outside(), products(&site)).await;
    for away in [0, 1] {
        let entries = said.entries.lock().unwrap().clone();
        match away {
            0 => *said.entries.lock().unwrap() = None,
            _ => *said.listed.lock().unwrap() = None,
        }
        let error = api.refused("/api/recover", "{\"accept\": true}", 503).await;
        assert_eq!(error["code"], "unanswered");
        assert!(!error.to_string().contains("secret.example"), "{error}");
        *said.entries.lock().unwrap() = entries;
    }
    assert_ne!(api.store.identity().await.unwrap().proof, Proof::Accepted);
    api.end().await;
}

/// Without a name nobody knows who accepted it.
#[tokio::test]
async fn a_token_without_a_name_accepts_no_recovery() {
    let (site, store, said, _) = lost().await;
    let folder = tempfile::tempdir().unwrap();
    let nameless = |config: &mut dig_ingest::orders::Config| {
        products(&site)(config);
        std::fs::write(&config.web.token_file, format!("{}\n", super::web::TOKEN)).unwrap();
    };
    let api = Api::serve(folder.path(), store, said.outside(), nameless).await;
    let error = api.refused("/api/recover", "{\"accept\": true}", 400).await;
    assert_eq!(error["field"], "accept");
    assert!(error["remedy"].as_str().unwrap().contains("token_file"));
    assert_eq!(api.get("/api/recover").await["proven"], false);
    api.end().await;
}

/// The registry of an earlier version does not say which unit a serial is for: a person looks at the box. The command that the
/// question names answers it.
#[tokio::test]
async fn a_question_of_the_plan_is_answered_by_the_command_it_names() {
    let mut site = Site::new(Mode::Api, |config| config.approval.always = true).await;
    let order = site.world.place("CTD-200", 2).to_string();
    site.all(&order, "ordered").await;
    let serial = Serial::parse("C80000000001").unwrap();
    let device = Device {
        device_id: "350000000000014".into(),
        serial: Some(serial.as_str().into()),
        state: State::Pending,
        order: Some(order.as_str().into()),
        since: None,
    };
    let said = Said::nothing();
    let entries = Entries {
        devices: [(device.device_id.clone(), Entry { device, unit: None })].into(),
        mark: Some(Mark {
            store: "another store".into(),
            generation: 9,
            nonce: "another".into(),
            open: Vec::new(),
        }),
    };
    *said.entries.lock().unwrap() = Some(entries);
    let folder = tempfile::tempdir().unwrap();
    let api = Api::serve(
        folder.path(),
        site.store.clone(),
        said.outside(),
        products(&site),
    )
    .await;
    let plan = api.get("/api/recover").await;
    let [question] = plan["decide"].as_array().unwrap().as_slice() else {
        panic!("{plan:#}");
    };
    let error = api.refused("/api/recover", "{\"accept\": true}", 409).await;
    assert_eq!(error["code"], "undecided");
    site.apply(question.as_str().unwrap(), "assign");
    let given = site.units(&order).await.into_iter();
    let given: Vec<Serial> = given.filter_map(|row| row.unit.serial()).collect();
    assert_eq!(given, [serial]);
    let accepted = api.post("/api/recover", json!({ "accept": true })).await;
    assert_eq!(
        (&accepted["accepted"], &accepted["decide"]),
        (&json!(true), &json!([]))
    );
    let of = site.store.events_after(0).await.unwrap();
    assert!(
        of.iter()
            .any(|event| event.act == "recover" && event.actor == ann().name())
    );
    api.end().await;
}

/// Sheets are decided by the API with the preview that the command gives.
#[tokio::test]
async fn a_doubted_sheet_is_shown_accepted_and_refused_by_the_api() {
    let (folder, store, place) = sheets::scene().await;
    let watching = || dig_ingest::orders::terminations::Config {
        folder: place.clone(),
        stale_after_h: 0,
        ..Default::default()
    };
    let half = "Serial Number,Termination Date\nCX01,2026-01-01\nCX02,soon\n";
    let other = "Serial Number,Termination Date\nCX03,2026-01-01\nCX04,soon\n";
    // As a Mac writes it, with what a shell would run.
    let odd = "Ku\u{308}ndigung $(x) 100%.csv";
    sheets::drop_file(&place, "1.csv", half, 1);
    sheets::drop_file(&place, odd, other, 2);
    let mut watch = sheets::watcher(&store, watching());
    watch.look().await;
    watch.look().await;
    let files = tempfile::tempdir().unwrap();
    let said = Said::nothing();
    let api = Api::serve(files.path(), store, said.outside(), |config| {
        config.terminations = watching();
    })
    .await;
    let listed = api.get("/api/sheets").await;
    let subjects: Vec<&str> = listed["sheets"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|sheet| sheet["subject"].as_str())
        .collect();
    assert_eq!(subjects.len(), 2, "{listed:#}");
    let path = |name: &str| -> String { name.bytes().map(|byte| format!("%{byte:02x}")).collect() };

    // The command and the API show the same, and change nothing.
    let preview = api.get("/api/sheets/1.csv").await;
    let command = super::desk::report(
        &folder.path().join("orders.db"),
        &["sheet", "show", "1.csv"],
    );
    assert_eq!(preview["sheet"], command["sheet"]);
    assert_eq!(preview["sheet"]["ends"][0]["serial"], "CX01");
    for act in ["accept", "refuse"] {
        let would = api
            .post(&format!("/api/sheets/1.csv/{act}"), json!({}))
            .await;
        assert_eq!(
            (&would["done"], &would["sheet"]["ends"]),
            (&json!(false), &preview["sheet"]["ends"])
        );
    }
    assert_eq!(sheets::state(&api.store, "7.1").await, "provisioned");
    assert_eq!(sheets::alarms(&api.store).await.len(), 2);

    let done = api
        .post("/api/sheets/1.csv/accept", json!({ "yes": true }))
        .await;
    assert_eq!(done["done"], true);
    assert_eq!(sheets::state(&api.store, "7.1").await, "terminated");
    let again = api
        .refused("/api/sheets/1.csv/accept", "{\"yes\": true}", 409)
        .await;
    assert!(
        again["what"].as_str().unwrap().contains("accepted"),
        "{again}"
    );

    let odd = path(odd);
    let done = api
        .post(&format!("/api/sheets/{odd}/refuse"), json!({ "yes": true }))
        .await;
    assert_eq!(done["done"], true);
    assert_eq!(sheets::state(&api.store, "8.1").await, "provisioned");
    assert_eq!(sheets::alarms(&api.store).await, []);
    assert_eq!(api.get("/api/sheets").await["sheets"], json!([]));
    let all = api.get("/api/sheets?all=true").await;
    assert_eq!(all["sheets"].as_array().map(Vec::len), Some(2));
    let events = api.store.events_after(0).await.unwrap();
    for act in ["accept-sheet", "refuse-sheet"] {
        let event = events.iter().find(|event| event.act == act).unwrap();
        assert_eq!(event.actor, "ann", "{event:?}");
    }
    let (status, error) = api.send(Method::GET, "/api/sheets/nobody.csv", "").await;
    assert_eq!(
        (status.as_u16(), &error["error"]["code"]),
        (404, &json!("not-found"))
    );
    api.refused("/api/sheets/1.csv/accept", "{\"yes\": 1}", 400)
        .await;
    api.end().await;
}
