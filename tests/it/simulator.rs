//! The simulator as a client on the wire sees it.

use std::time::Duration;

use dig_ingest::sim::{
    self, Action, BodyKind, Config, CutAt, Delay, Handle, Keep, Loss, Operation, Poison,
    RetryAfter, Rule, Settings, Standing, State,
};
use serde_json::{Value, json};

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

/// A plain client: no retries, no cleverness.
#[derive(Clone)]
pub struct Wire {
    http: reqwest::Client,
    url: String,
    pub bearer: String,
    pub refresh: String,
}

pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Wire {
    pub fn new(url: &str) -> Self {
        // Fails when another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        Self {
            http,
            url: url.to_owned(),
            bearer: String::new(),
            refresh: String::new(),
        }
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Result<Reply> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .bearer_auth(&self.bearer)
            .body(body);
        Self::reply(request).await
    }

    pub async fn reply(request: reqwest::RequestBuilder) -> reqwest::Result<Reply> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Reply {
            status,
            headers,
            body: response.bytes().await?.to_vec(),
        })
    }

    pub async fn call(&self, method: &str, path: &str, body: impl Into<reqwest::Body>) -> Reply {
        self.send(method, path, body).await.expect("an answer")
    }

    pub async fn login(&mut self) {
        let reply = self.authenticate("dig@geo.tab", "secret").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        self.take_tokens(&reply);
    }

    pub fn take_tokens(&mut self, reply: &Reply) {
        let body = reply.json();
        let token = |name: &str| {
            body["Data"][name]["TokenString"]
                .as_str()
                .expect("a token")
                .to_owned()
        };
        (self.bearer, self.refresh) = (token("BearerToken"), token("RefreshToken"));
    }

    pub async fn authenticate(&self, username: &str, password: &str) -> Reply {
        let body = json!({"Username": username, "Password": password}).to_string();
        self.call("POST", "/authentication/authenticate", body)
            .await
    }

    pub async fn tokens(&self, operation: &str) -> Reply {
        let body = json!({"BearerToken": self.bearer, "RefreshToken": self.refresh}).to_string();
        self.call("POST", &format!("/authentication/{operation}"), body)
            .await
    }

    pub async fn post(&self, records: &[Value]) -> Reply {
        self.call(
            "POST",
            "/records",
            Value::from(records.to_vec()).to_string(),
        )
        .await
    }

    pub async fn try_post(&self, records: &[Value]) -> reqwest::Result<Reply> {
        self.send(
            "POST",
            "/records",
            Value::from(records.to_vec()).to_string(),
        )
        .await
    }
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
    assert_eq!(wire.call("GET", "/records", "").await.status, 405);
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

#[tokio::test]
async fn scripted_statuses_come_as_written() {
    let (sim, wire) = open(Settings::default()).await;
    sim.faults().push(
        Rule::status(503)
            .on(Operation::Records)
            .retry_after(RetryAfter::Seconds(2))
            .times(1),
    );
    sim.faults().push(
        Rule::status(429)
            .retry_after(RetryAfter::DateIn(3))
            .times(1),
    );
    sim.faults()
        .push(Rule::status(502).body(BodyKind::Html).times(1));
    sim.faults()
        .push(Rule::status(500).body(BodyKind::Empty).with_serial("CX7"));
    let one = wire.post(&[status("A", 1)]).await;
    assert_eq!(
        (one.status, one.headers["retry-after"].to_str().unwrap()),
        (503, "2")
    );
    let two = wire.post(&[status("A", 1)]).await;
    let date = two.headers["retry-after"].to_str().unwrap();
    assert!(
        two.status == 429 && date.ends_with(" GMT") && date.len() == 29,
        "{date}"
    );
    let three = wire.post(&[status("A", 1)]).await;
    assert_eq!(
        (
            three.status,
            three.headers["content-type"].to_str().unwrap()
        ),
        (502, "text/html")
    );
    assert!(three.headers.get("retry-after").is_none() && three.text().starts_with("<html>"));
    let four = wire.post(&[status("CX7", 1)]).await;
    assert_eq!((four.status, four.body.len()), (500, 0));
    assert_eq!(wire.post(&[status("A", 1)]).await.status, 202);
    assert_eq!(sim.counters().faults_applied, 4);
    assert_eq!(sim.ledger().len(), 1);
    sim.outage(Some(Action::Stall));
    let waiting = tokio::spawn({
        let wire = wire.clone();
        async move {
            wire.try_post(&[status("A", 2)])
                .await
                .map(|reply| reply.status)
        }
    });
    assert!(sim.until(BOUND, |counters| counters.in_flight == 1).await);
    // Whoever waits in a fault is let go when the simulator stops.
    sim.stop().await;
    let end = tokio::time::timeout(BOUND, waiting)
        .await
        .expect("the stop ends it")
        .unwrap();
    assert!(end.is_err() || end.is_ok_and(|status| status == 503));
}

#[tokio::test]
async fn cuts_take_no_effect_and_a_lost_answer_does() {
    let (sim, wire) = open(Settings::default()).await;
    for at in [CutAt::BeforeBody, CutAt::DuringBody, CutAt::AfterBody] {
        sim.faults()
            .push(Rule::cut(at).on(Operation::Records).times(1));
        assert!(wire.try_post(&[status("A", 1)]).await.is_err(), "{at:?}");
        assert!(sim.ledger().is_empty(), "{at:?}");
    }
    sim.faults().push(Rule::lose_answer(Loss::Cut).times(1));
    assert!(wire.try_post(&[status("A", 1)]).await.is_err());
    assert_eq!(sim.ledger().len(), 1);
    assert_eq!(wire.post(&[status("A", 1)]).await.status, 202);
    let counters = sim.counters();
    assert_eq!(
        (
            counters.cut,
            counters.lost_answers,
            counters.records_duplicate
        ),
        (3, 1, 1)
    );
    assert_eq!(counters.answers[&Operation::Records][&0], 4);
    // Silence lasts until the client gives up, and is then over here too.
    sim.faults().push(Rule::lose_answer(Loss::Silence).times(1));
    let silent = tokio::spawn({
        let wire = wire.clone();
        async move {
            wire.try_post(&[status("A", 2)])
                .await
                .map(|reply| reply.status)
        }
    });
    assert!(
        sim.until(BOUND, |counters| counters.lost_answers == 2)
            .await
    );
    assert_eq!(sim.ledger().len(), 3);
    silent.abort();
    assert!(
        sim.until(BOUND, |counters| counters.abandoned == 1
            && counters.in_flight == 0)
            .await
    );
    sim.stop().await;
}

#[tokio::test]
async fn poison_refuses_its_whole_request() {
    let (sim, wire) = open(Settings::default()).await;
    let bad = status("CX1", 2);
    sim.poison(Poison::record("CX1", bad["DateTime"].as_str().unwrap()));
    assert_eq!(
        wire.post(&[status("CX1", 1), bad.clone()]).await.status,
        400
    );
    assert_eq!(
        wire.post(&[status("CX1", 1), status("CX2", 2)])
            .await
            .status,
        202
    );
    sim.poison(Poison::member("Value", "7"));
    assert_eq!(wire.post(&[status("CX3", 7)]).await.status, 400);
    assert_eq!(sim.counters().poisoned, 2);
    sim.clear_poison();
    assert_eq!(wire.post(&[bad]).await.status, 202);
    sim.stop().await;
}

#[tokio::test]
async fn throttles_above_the_cap_and_sees_serials_in_two_requests() {
    let (sim, wire) = open(Settings {
        throttle: 2,
        throttle_status: 503,
        ..Settings::default()
    })
    .await;
    // Two wait for ever; a third is one too many, and shares a serial with one of them.
    let stall = sim
        .faults()
        .push(Rule::new(Action::Stall).on(Operation::Records).times(2));
    let waiting = |serial: &'static str| {
        let wire = wire.clone();
        tokio::spawn(async move {
            wire.try_post(&[status(serial, 1)])
                .await
                .map(|reply| reply.status)
        })
    };
    let (one, two) = (waiting("A"), waiting("B"));
    assert!(
        sim.until(BOUND, |counters| counters.faults_applied == 2)
            .await
    );
    assert_eq!(sim.counters().overlapping_serials, 0);
    let refused = wire.post(&[status("B", 2), status("C", 2)]).await;
    assert_eq!(
        (
            refused.status,
            refused.headers["retry-after"].to_str().unwrap()
        ),
        (503, "60")
    );
    let counters = sim.counters();
    assert_eq!(
        (counters.overlapping_serials, counters.max_in_flight),
        (1, 3)
    );
    one.abort();
    two.abort();
    assert!(sim.until(BOUND, |counters| counters.in_flight == 0).await);
    assert!(sim.faults().remove(stall));
    assert_eq!(
        wire.post(&[status("A", 3), status("B", 3)]).await.status,
        202
    );
    assert_eq!(
        sim.counters().overlapping_serials,
        1,
        "who has gone does not count"
    );
    sim.stop().await;
}

#[tokio::test]
async fn the_control_api_does_what_the_handle_does() {
    let config = Config {
        keep: Keep::Digest,
        ..Config::default()
    };
    let sim = sim::start(config).await.unwrap();
    let mut wire = Wire::new(&sim.url());
    wire.login().await;
    let control = async |method: &str, path: &str, body: Value| {
        let reply = wire
            .call(method, &format!("/control/{path}"), body.to_string())
            .await;
        (
            reply.status,
            if reply.body.is_empty() {
                Value::Null
            } else {
                reply.json()
            },
        )
    };
    let (made, ids) = control(
        "POST",
        "faults",
        json!([{"delay": {"fixed_ms": 0}}, {"action": {"status": {"status": 500}}, "count": 1}]),
    )
    .await;
    assert_eq!((made, &ids["ids"]), (201, &json!([1, 2])));
    assert_eq!(wire.post(&[status("A", 1)]).await.status, 500);
    assert_eq!(
        control("GET", "faults", Value::Null).await.1[1]["applied"],
        1
    );
    assert_eq!(control("DELETE", "faults/2", Value::Null).await.0, 204);
    assert_eq!(control("DELETE", "faults/2", Value::Null).await.0, 404);
    assert_eq!(
        control("POST", "faults", json!({"action": "explode"}))
            .await
            .0,
        400
    );
    assert_eq!(control("DELETE", "faults", Value::Null).await.0, 204);
    assert_eq!(
        control(
            "PUT",
            "outage",
            json!({"status": {"status": 503, "retry_after": {"seconds": 1}}})
        )
        .await
        .0,
        204
    );
    assert_eq!(wire.post(&[status("A", 1)]).await.status, 503);
    assert_eq!(control("DELETE", "outage", Value::Null).await.0, 204);
    assert_eq!(
        control("PATCH", "settings", json!({"max_records": 1}))
            .await
            .1["max_records"],
        1
    );
    assert_eq!(
        control("PATCH", "settings", json!({"max_recrods": 1}))
            .await
            .0,
        400
    );
    assert_eq!(
        wire.post(&[status("A", 1), status("A", 2)]).await.status,
        413
    );
    assert_eq!(
        control("POST", "poison", json!({"SerialNo": "P"})).await.0,
        204
    );
    assert_eq!(wire.post(&[status("P", 1)]).await.status, 400);
    assert_eq!(
        control("GET", "poison", Value::Null).await.1,
        json!([{"SerialNo": "P"}])
    );
    assert_eq!(control("DELETE", "poison", Value::Null).await.0, 204);
    assert_eq!(
        control(
            "PUT",
            "serials",
            json!([{"prefix": "P", "state": "unknown"}])
        )
        .await
        .0,
        204
    );
    assert_eq!(
        control("PUT", "serials", json!({"state": "unknown"}))
            .await
            .0,
        400
    );
    assert_eq!(wire.post(&[status("P", 1)]).await.status, 202);
    assert_eq!(wire.post(&[status("A", 1)]).await.status, 202);
    let digest = wire.call("GET", "/control/digest", "").await.text();
    assert_eq!(digest.lines().count(), 2);
    assert_eq!(
        serde_json::from_str::<Value>(digest.lines().next().unwrap()).unwrap()["Count"],
        1
    );
    assert_eq!(wire.call("GET", "/control/ledger", "").await.body.len(), 0);
    assert_eq!(
        control("POST", "clock", json!({"advance_ms": 60000}))
            .await
            .0,
        204
    );
    assert_eq!(
        control("POST", "tokens/block", Value::Null).await.1["bearers"],
        1
    );
    assert_eq!(wire.post(&[status("A", 2)]).await.status, 403);
    let reply = wire.tokens("refresh-token").await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        control("POST", "tokens/expire?refresh=true", Value::Null)
            .await
            .1["bearers"],
        1
    );
    assert_eq!(control("POST", "reset", Value::Null).await.0, 204);
    assert_eq!(control("GET", "nothing", Value::Null).await.0, 404);
    let counters = control("GET", "counters", Value::Null).await.1;
    assert_eq!(counters["answers"]["records"]["202"], 2);
    assert_eq!(counters["records_invalid"], 1);
    sim.stop().await;
}

#[tokio::test]
async fn the_tap_keeps_the_last_exchanges() {
    let (sim, wire) = open(Settings::default()).await;
    sim.tap(2);
    sim.faults().push(Rule::delay(Delay::UniformMs(0, 1)));
    for second in 0..3 {
        wire.post(&[status("A", second)]).await;
    }
    let kept = sim.exchanges();
    assert_eq!(kept.len(), 2);
    assert_eq!(
        (kept[1].operation, kept[1].status, kept[1].bearer),
        (Operation::Records, 202, true)
    );
    assert_eq!(
        serde_json::from_slice::<Value>(&kept[1].request).unwrap(),
        json!([status("A", 2)])
    );
    sim.stop().await;
}
