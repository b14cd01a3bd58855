//! The simulator as a client on the wire sees it.

mod faults;
mod market;
mod wire;

use std::time::Duration;

use dig_ingest::sim::{self, Config, Handle, Settings, Standing, State};
use serde_json::{Value, json};

pub use wire::Wire;

/// Bound of every wait: generous, for a loaded machine.
const BOUND: Duration = Duration::from_secs(30);

pub async fn open(settings: Settings) -> (Handle, Wire) {
    let config = Config {
        settings: Settings {
            auth_per_minute: 0,
            ..settings
        },
        ..Config::default()
    };
    let sim = sim::start(config).await.expect("a free port");
    let mut wire = Wire::new(&sim.url());
    wire.login().await;
    (sim, wire)
}

/// A status record of `serial`, `second` seconds into an hour of today.
pub fn status(serial: &str, second: u32) -> Value {
    let day = jiff::Timestamp::now().to_string()[..10].to_owned();
    json!({
        "Type": "StatusRecord",
        "DateTime": format!("{day}T00:{:02}:{:02}.000000Z", second / 60, second % 60),
        "SerialNo": serial,
        "Code": 12,
        "Value": second,
    })
}

#[tokio::test]
async fn accepts_records_and_lists_them_in_arrival_order() {
    let (sim, wire) = open(Settings::default()).await;
    let reply = wire
        .post(&[status("CX1", 1), status("CX2", 1), status("CX1", 2)])
        .await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    assert_eq!(reply.json()["Error"], json!([]));
    assert_eq!(reply.json()["Data"].as_str().map(str::len), Some(36));
    let reply = wire
        .call(
            "POST",
            "/Records",
            Value::from(vec![status("CX1", 2)]).to_string(),
        )
        .await;
    assert_eq!(reply.status, 202);
    let ledger = sim.ledger();
    let serials: Vec<_> = ledger
        .iter()
        .map(|line| line.member("SerialNo").unwrap())
        .collect();
    assert_eq!(serials, ["CX1", "CX2", "CX1", "CX1"]);
    assert_eq!(ledger[3].standing, Standing::Duplicate);
    let text = wire.call("GET", "/control/ledger", "").await.text();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(
        (&lines[0]["Seq"], &lines[0]["Record"]),
        (&json!(1), &status("CX1", 1))
    );
    assert_eq!(lines[3]["Duplicate"], true);
    assert!(lines[3]["Request"].as_u64() > lines[0]["Request"].as_u64());
    assert_eq!(
        wire.call("GET", "/control/ledger?from=3&limit=1", "")
            .await
            .text()
            .lines()
            .count(),
        1
    );
    let counters = sim.counters();
    assert_eq!(
        (
            counters.records_accepted,
            counters.records_new,
            counters.records_duplicate
        ),
        (4, 3, 1)
    );
    assert_eq!(
        (
            counters.serials,
            counters.inversions,
            counters.overlapping_serials
        ),
        (2, 0, 0)
    );
    sim.stop().await;
}

#[tokio::test]
async fn a_token_pair_lives_refreshes_once_and_is_revoked() {
    let (sim, mut wire) = open(Settings {
        bearer_s: 10,
        refresh_s: 20,
        ..Settings::default()
    })
    .await;
    assert_eq!(wire.authenticate("", "x").await.status, 400);
    assert_eq!(
        wire.call(
            "POST",
            "/authentication/authenticate",
            r#"{"Username":"u"}"#
        )
        .await
        .status,
        400
    );
    assert_eq!(
        wire.call("POST", "/authentication/authenticate", "no json")
            .await
            .status,
        400
    );
    let lower = wire
        .call(
            "POST",
            "/authentication/authenticate",
            r#"{"username":"u","PASSWORD":"p"}"#,
        )
        .await;
    assert_eq!(lower.status, 200);
    sim.advance(Duration::from_secs(11));
    assert_eq!(wire.post(&[status("A", 1)]).await.status, 401);
    let before = wire.clone();
    let reply = wire.tokens("refresh-token").await;
    assert_eq!(reply.status, 200);
    wire.take_tokens(&reply);
    assert_eq!(before.tokens("refresh-token").await.status, 403);
    assert_eq!(wire.post(&[status("A", 1)]).await.status, 202);
    assert_eq!(wire.tokens("revoke-token").await.status, 202);
    assert_eq!(
        wire.post(&[status("A", 2)]).await.status,
        202,
        "blocking takes a while"
    );
    sim.advance(Duration::from_secs(4));
    assert_eq!(wire.post(&[status("A", 3)]).await.status, 403);
    assert_eq!(wire.tokens("revoke-token").await.status, 403);
    wire.login().await;
    assert_eq!(sim.expire_all_tokens(true), 1);
    assert_eq!(wire.post(&[status("A", 3)]).await.status, 401);
    assert_eq!(wire.tokens("refresh-token").await.status, 401);
    wire.login().await;
    assert_eq!(sim.revoke_all_tokens(), 1);
    assert_eq!(wire.post(&[status("A", 3)]).await.status, 403);
    sim.stop().await;
}

#[tokio::test]
async fn authentication_is_limited_per_endpoint() {
    let sim = sim::start(Config::default()).await.unwrap();
    let wire = Wire::new(&sim.url());
    for _ in 0..5 {
        assert_eq!(wire.authenticate("u", "p").await.status, 200);
    }
    let limited = wire.authenticate("u", "p").await;
    assert_eq!(
        (
            limited.status,
            limited.headers["retry-after"].to_str().unwrap()
        ),
        (429, "60")
    );
    assert_eq!(
        wire.tokens("refresh-token").await.status,
        400,
        "no tokens, and another endpoint"
    );
    sim.advance(Duration::from_secs(61));
    assert_eq!(wire.authenticate("u", "p").await.status, 200);
    sim.stop().await;
}

#[tokio::test]
async fn refuses_what_does_not_fit_all_or_nothing() {
    let (sim, wire) = open(Settings {
        max_bytes: 4000,
        max_records: 3,
        ..Settings::default()
    })
    .await;
    let mut wrong = status("A", 2);
    wrong["Value"] = json!("five");
    let body = Value::from(vec![status("A", 1), wrong, status("A", 3)]).to_string();
    let reply = wire.call("POST", "/records", body).await;
    assert_eq!(reply.status, 400);
    assert_eq!(
        (
            reply.json()["Error"].as_array().map(Vec::len),
            &reply.json()["Data"]
        ),
        (Some(1), &json!(""))
    );
    assert_eq!(wire.call("POST", "/records", "[]").await.status, 400);
    assert_eq!(wire.call("POST", "/records", "{").await.status, 400);
    let many: Vec<_> = (0..4).map(|second| status("A", second)).collect();
    assert_eq!(wire.post(&many).await.status, 413);
    assert_eq!(
        wire.call("POST", "/records", " ".repeat(4001)).await.status,
        413
    );
    sim.change(|settings| settings.max_records = 4);
    assert!(sim.ledger().is_empty());
    assert_eq!(wire.post(&many).await.status, 202);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = || {
        http.post(format!("{}/records", sim.url()))
            .bearer_auth(&wire.bearer)
            .body("[]")
    };
    let zipped = post()
        .header("content-type", "application/json")
        .header("content-encoding", "gzip");
    assert_eq!(Wire::reply(zipped).await.unwrap().status, 415);
    assert_eq!(
        Wire::reply(post()).await.unwrap().status,
        415,
        "no content type"
    );
    for (method, path, allowed) in [
        ("GET", "/records", "POST"),
        ("POST", "/invalidrecords", "GET"),
        ("PUT", "/authentication/authenticate", "POST"),
    ] {
        let reply = wire.call(method, path, "").await;
        assert_eq!(reply.status, 405, "{path}");
        assert_eq!(
            reply.headers.get("allow").map(|methods| methods.as_bytes()),
            Some(allowed.as_bytes())
        );
    }
    assert_eq!(wire.call("GET", "/nowhere", "").await.status, 404);
    let mut stranger = wire.clone();
    stranger.bearer = "x.y.z".to_owned();
    assert_eq!(stranger.post(&many).await.status, 401);
    assert_eq!(
        sim.counters().refusals["Value: a value of the wrong type"],
        1
    );
    sim.stop().await;
}

#[tokio::test]
async fn invalid_records_show_later_and_page_by_key() {
    let settings = Settings {
        invalid_delay_min_ms: 1000,
        invalid_delay_max_ms: 1000,
        ..Settings::default()
    };
    let (sim, wire) = open(settings).await;
    sim.mark_serial("CX1", State::Terminated);
    sim.mark_prefix("GO", State::Foreign);
    let mut dropped = status("CX2", 9);
    dropped["Code"] = json!(500);
    let records = [
        status("CX1", 1),
        status("GO1", 1),
        status("GO2", 1),
        status("CX2", 1),
        dropped,
    ];
    assert_eq!(wire.post(&records).await.status, 202);
    let counters = sim.counters();
    assert_eq!(
        (
            counters.records_invalid,
            counters.records_dropped,
            counters.records_new
        ),
        (3, 1, 1)
    );
    let page = async |query: &str| {
        wire.call("GET", &format!("/invalidrecords{query}"), "")
            .await
    };
    assert_eq!(page("").await.json()["Data"]["InvalidRecords"], json!([]));
    sim.advance(Duration::from_secs(1));
    let first = page("?NumberOfResults=2").await.json()["Data"].clone();
    assert_eq!(first["CurrentNumberOfInvalidRecords"], 2);
    assert_eq!(first["TotalNumberOfInvalidRecords"], 3);
    assert_eq!(first["InvalidRecords"][0]["BaseRecord"], status("CX1", 1));
    assert_eq!(
        first["InvalidRecords"][0]["Cause"],
        "sim: the device is terminated"
    );
    assert_eq!(first["InvalidRecords"][1]["UserId"], "dig@geo.tab");
    let next = &first["NextResultKey"];
    let second = page(&format!("?nextResultKey={next}")).await.json()["Data"].clone();
    assert_eq!(second["CurrentNumberOfInvalidRecords"], 1);
    let end = page(&format!("?nextResultKey={}", second["NextResultKey"]))
        .await
        .json()["Data"]
        .clone();
    assert_eq!(
        (&end["InvalidRecords"], &end["NextResultKey"]),
        (&json!([]), &second["NextResultKey"])
    );
    for wrong in [
        "?nextResultKey=-1",
        "?nextResultKey=x",
        "?numberOfResults=0",
        "?numberOfResults=50001",
    ] {
        assert_eq!(page(wrong).await.status, 400, "{wrong}");
    }
    sim.stop().await;
}
