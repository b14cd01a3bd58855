//! Tests of the orders' HTTP API on a store in a file.

use std::path::Path;
use std::sync::Arc;

use dig_ingest::config::secret::Secret;
use dig_ingest::orders::desk::Outside;
use dig_ingest::orders::journey::Actor;
use dig_ingest::orders::store::Store;
use dig_ingest::orders::{self, wall_clock, web};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::desk::filled;
use super::recover::Said;

pub(super) const TOKEN: &str = "0123456789abcdef-ann";

pub(super) struct Api {
    base: String,
    http: reqwest::Client,
    pub(super) store: Store,
    handle: web::Handle,
}

impl Api {
    async fn start(folder: &Path) -> Self {
        Self::with(folder, |_| {}).await
    }

    pub(super) async fn with(folder: &Path, change: impl FnOnce(&mut orders::Config)) -> Self {
        let (_, store) = filled(folder).await;
        Self::serve(folder, store, Said::nothing().outside(), change).await
    }

    /// Serves a store.
    pub(super) async fn serve(
        folder: &Path,
        store: Store,
        outside: Outside,
        change: impl FnOnce(&mut orders::Config),
    ) -> Self {
        let tokens = folder.join("tokens");
        std::fs::write(&tokens, format!("ann {TOKEN}\nbob 0123456789abcdef-bob\n")).unwrap();
        let mut config = orders::Config::default();
        config.web.listen = "127.0.0.1:0".parse().unwrap();
        config.web.token_file = tokens;
        config.web.max_body_bytes = 4096;
        change(&mut config);
        let handle = web::start(Arc::new(config), store.clone(), outside, wall_clock())
            .await
            .unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            base: format!("http://{}", handle.address()),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            store,
            handle,
        }
    }

    pub(super) async fn send(&self, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
        let answer = self
            .http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(TOKEN)
            .body(body.to_owned())
            .send()
            .await
            .unwrap();
        let status = answer.status();
        (
            status,
            serde_json::from_str(&answer.text().await.unwrap()).unwrap(),
        )
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let (status, value) = self.send(Method::GET, path, "").await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, value) = self.send(Method::POST, path, &body.to_string()).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    pub(super) async fn refused(&self, path: &str, body: &str, status: u16) -> Value {
        let (got, value) = self.send(Method::POST, path, body).await;
        assert_eq!(got, status, "{path} {body}: {value}");
        let error = &value["error"];
        assert!(
            error["remedy"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{value}"
        );
        error.clone()
    }

    pub(super) async fn end(self) {
        self.handle.stop().await;
        self.store.close().await;
    }
}

#[tokio::test]
async fn nothing_is_shown_or_done_without_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::start(folder.path()).await;
    for (path, given) in [
        ("/api/orders", None),
        ("/api/orders/7/approve", Some("0123456789abcdef-ANN")),
        ("/nowhere", Some("")),
    ] {
        for method in [Method::GET, Method::POST] {
            let mut request = api.http.request(method, format!("{}{path}", api.base));
            if let Some(token) = given {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 401, "{path}");
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
            let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            assert_eq!(body["error"]["code"], "token");
        }
    }
    api.end().await;
}

#[tokio::test]
async fn an_alarm_is_listed_and_cleared_by_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::start(folder.path()).await;
    let (by, now) = (Actor::Reconciler, jiff::Timestamp::now());
    let raised = api
        .store
        .note_alarm("orphan-serial", "CX1", "nobody has it", None, &by, now);
    assert!(raised.await.unwrap());
    let alarms = api.get("/api/alarms").await;
    assert_eq!(alarms["alarms"][0]["subject"], "CX1");
    let which = json!({ "kind": "orphan-serial", "subject": "CX1" });
    assert_eq!(
        api.post("/api/alarms/clear", which.clone()).await["cleared"],
        true
    );
    assert_eq!(api.get("/api/alarms").await["alarms"], json!([]));
    api.refused("/api/alarms/clear", &which.to_string(), 404)
        .await;
    api.end().await;
}

#[tokio::test]
async fn an_order_goes_its_way_by_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::start(folder.path()).await;
    let page = api.get("/api/orders?limit=1").await;
    assert_eq!(
        (&page["orders"][0]["id"], &page["next"]),
        (&json!("7"), &json!("7"))
    );
    let page = api.get("/api/orders?limit=1&after=7").await;
    assert_eq!(
        (&page["orders"][0]["id"], &page["next"]),
        (&json!("8"), &Value::Null)
    );
    assert_eq!(
        api.get("/api/orders?state=received").await["orders"][0]["id"],
        "8"
    );

    assert_eq!(
        api.post("/api/orders/8/approve", json!({})).await["state"],
        "approved"
    );
    let imei = json!({ "imei": "350000000000014" });
    let unit = api.post("/api/units/7.1/assign", imei.clone()).await;
    assert_eq!(unit["units"][0]["state"], "assigned");
    for name in ["350000000000014", "7.1"] {
        let found = api.get(&format!("/api/units?named={name}")).await;
        assert_eq!(found["units"][0]["id"], "7.1", "{name}");
    }
    assert_eq!(api.get("/api/units?named=nobody").await["units"], json!([]));
    let parcel = json!({ "carrier": "Post", "tracking": ["T1", "T2"] });
    let shipped = api.post("/api/orders/7/ship", parcel).await;
    assert_eq!(shipped["units"][0]["tracking"], json!(["T1", "T2"]));
    let whole = api.get("/api/orders/350000000000014").await;
    assert_eq!(
        (&whole["id"], &whole["units"][0]["state"]),
        (&json!("7"), &json!("shipped"))
    );
    let other = json!({ "imei": "350000000000022" });
    api.post("/api/units/7.2/assign", other).await;
    for imeis in [
        ["350000000000022", "350000000000014"],
        ["350000000000014", "350000000000022"],
    ] {
        let swapped = api
            .post("/api/units/7.1/swap", json!({ "with": "7.2" }))
            .await;
        assert_eq!(
            [&swapped["units"][0]["imei"], &swapped["units"][1]["imei"]],
            imeis.map(Value::from).each_ref()
        );
    }
    let parked = api
        .post("/api/units/8.1/park", json!({ "why": "look" }))
        .await;
    assert_eq!(parked["units"][0]["state"], "parked");
    api.post("/api/units/8.1/retry", json!({})).await;
    api.post("/api/orders/8/park", json!({ "why": "look" }))
        .await;
    api.post("/api/orders/8/retry", json!({})).await;
    let cancelled = api
        .post("/api/orders/8/cancel", json!({ "why": "called" }))
        .await;
    assert_eq!(cancelled["state"], "cancelled");

    let events = api.get("/api/events?order=7").await;
    let acts: Vec<_> = events["events"].as_array().unwrap().iter().collect();
    assert!(
        acts.iter()
            .any(|event| event["act"] == "ship" && event["actor"] == "ann")
    );
    assert_eq!(api.get("/api/events?after=1").await["events"][0]["seq"], 2);
    assert_eq!(api.get("/api/alarms").await["alarms"], json!([]));

    let sheet = api
        .http
        .get(format!("{}/api/export/worksheet", api.base))
        .bearer_auth(TOKEN)
        .send()
        .await
        .unwrap();
    assert_eq!(sheet.headers()["content-type"], "text/csv; charset=utf-8");
    assert_eq!(sheet.headers()["cache-control"], "no-store");
    assert!(sheet.text().await.unwrap().contains("SO-7,PO-7,PART01,7.1"));
    api.end().await;
}

#[tokio::test]
async fn what_is_wrong_is_told_with_field_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::start(folder.path()).await;
    let assign = "/api/units/7.1/assign";
    for (path, body, status, code, field) in [
        (assign, "{\"imei\": 35}", 400, "bad-field", "imei"),
        (assign, "{\"imei\": \"12x\"}", 400, "bad-field", "imei"),
        (assign, "{\"imei\": \"3.5E+14\"}", 400, "bad-field", "imei"),
        (assign, "{\"imie\": \"35\"}", 400, "bad-field", "imie"),
        (assign, "{\"serial\": \"C/1\"}", 400, "bad-field", "serial"),
        (assign, "{}", 400, "bad-field", "imei"),
        (
            "/api/units/7.9/assign",
            "{\"imei\": \"350000000000014\"}",
            404,
            "not-found",
            "unit",
        ),
        ("/api/orders/9/approve", "", 404, "not-found", "order"),
        ("/api/orders/7/approve", "", 409, "refused", "order 7"),
        ("/api/orders/7/cancel", "{}", 400, "bad-field", "why"),
        (
            "/api/orders/7/ship",
            "{\"carrier\": \"Post\"}",
            400,
            "bad-field",
            "tracking",
        ),
        (
            "/api/orders/7/ship",
            "{\"carrier\": \"Post\", \"tracking\": \"T1\"}",
            409,
            "refused",
            "order 7",
        ),
        (
            "/api/alarms/clear",
            "{\"kind\": \"a\", \"subject\": \"b\"}",
            404,
            "not-found",
            "subject",
        ),
        ("/api/nothing", "", 404, "not-found", "path"),
        ("/api/orders", "", 405, "method", "method"),
    ] {
        let error = api.refused(path, body, status).await;
        assert_eq!(
            (&error["code"], &error["field"]),
            (&json!(code), &json!(field)),
            "{path} {body}"
        );
    }
    assert_eq!(
        api.refused(assign, "{\"imei\"", 400).await["code"],
        "unreadable"
    );
    let long = format!("{{\"imei\": \"{}\"}}", "1".repeat(5000));
    let error = api.refused(assign, &long, 413).await;
    assert!(error["remedy"].as_str().unwrap().contains("max_body_bytes"));
    let (status, _) = api.send(Method::GET, "/api/orders?state=lost", "").await;
    assert_eq!(status, 400);
    let (status, _) = api.send(Method::GET, "/api/orders?limit=-1", "").await;
    assert_eq!(status, 400);
    let (status, _) = api.send(Method::GET, "/api/orders/none", "").await;
    assert_eq!(status, 404);
    let unit = api.store.unit("7.1").await.unwrap().unwrap();
    assert_eq!(unit.unit.state(), "ordered", "nothing was changed");
    api.end().await;
}

/// Whatever stands in a path, the answer is JSON with field and remedy.
#[tokio::test]
async fn a_path_that_names_nothing_is_refused_as_everything_else() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::start(folder.path()).await;
    let long = "7".repeat(501);
    let bad = ["%ff%fe", "%00", "7%0a8", "%c3%28", &*long];
    for (method, at) in [
        (Method::GET, "/api/orders/{}"),
        (Method::POST, "/api/orders/{}/approve"),
        (Method::POST, "/api/units/{}/assign"),
        (Method::POST, "/api/units/{}/replace"),
        (Method::GET, "/api/sheets/{}"),
        (Method::POST, "/api/sheets/{}/accept"),
        (Method::GET, "/api/export/{}"),
    ] {
        for name in bad {
            let path = at.replace("{}", name);
            let (status, answer) = api.send(method.clone(), &path, "{}").await;
            let error = &answer["error"];
            assert_eq!(
                (status.as_u16(), &error["field"]),
                (400, &json!("path")),
                "{path}: {answer}"
            );
            assert!(
                error["remedy"]
                    .as_str()
                    .is_some_and(|text| text.contains("percent-encoded"))
            );
        }
    }
    for (method, path, status) in [
        (Method::GET, "/api/orders/", 404),
        (Method::GET, "/api/orders/7%2f8", 404),
        (Method::GET, "/%ff", 404),
        (Method::GET, "/api/orders?state=%ff", 400),
        (Method::GET, "/api/orders?named=%00", 400),
        (Method::DELETE, "/api/orders/%ff%fe", 405),
        (Method::PUT, "/api/recover", 405),
    ] {
        let (got, answer) = api.send(method, path, "").await;
        assert_eq!(got.as_u16(), status, "{path}: {answer}");
        assert!(answer["error"]["remedy"].is_string(), "{path}: {answer}");
    }
    api.end().await;
}

#[tokio::test]
async fn an_import_by_the_api_is_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::start(folder.path()).await;
    let csv = "unit,imei\n7.1,350000000000014\n7.9,350000000000097\n";
    let (status, outcome) = api.send(Method::POST, "/api/import", csv).await;
    assert_eq!(status, 422, "{outcome}");
    assert_eq!(
        (&outcome["done"], &outcome["bad"][0]["line"]),
        (&json!(0), &json!(3))
    );
    let (status, outcome) = api
        .send(Method::POST, "/api/import?partial=true", csv)
        .await;
    assert_eq!((status.as_u16(), &outcome["done"]), (200, &json!(1)));
    let unit = api.store.unit("7.1").await.unwrap().unwrap();
    assert_eq!(unit.unit.state(), "assigned");
    api.end().await;
}

#[tokio::test]
async fn an_api_without_a_good_token_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let (_, store) = filled(folder.path()).await;
    let mut config = orders::Config::default();
    config.web.enabled = true;
    assert!(config.check().unwrap_err().contains("web.token_file"));
    config.web.token = Secret::new("short");
    config.web.listen = "127.0.0.1:0".parse().unwrap();
    let outside = Said::nothing().outside();
    let error = web::start(Arc::new(config), store.clone(), outside, wall_clock())
        .await
        .unwrap_err();
    let said = format!("{error:#}");
    assert!(
        said.contains("at least 16") && !said.contains("short"),
        "{said}"
    );
    store.close().await;
}
