//! The simulated MyAdmin as a stranger's client sees it, and the one world it shares with the gateway.

use std::time::Duration;

use dig_ingest::sim::market::{self, Script, Thrown, Turn};
use dig_ingest::sim::{self, Config, Handle, RetryAfter, Settings, Standing};
use serde_json::{Value, json};

use super::{Wire, status};

const INTEGRATOR: &str = "integrator@example.com";

async fn open(settings: market::Settings) -> (Handle, Wire) {
    let config = Config {
        settings: Settings {
            market: true,
            auth_per_minute: 0,
            ..Settings::default()
        },
        market: market::Config {
            settings,
            ..market::Config::default()
        },
        ..Config::default()
    };
    let sim = sim::start(config).await.expect("a free port");
    let mut wire = Wire::new(&sim.url());
    wire.login().await;
    (sim, wire)
}

/// A caller of JSON-RPC with a session of its own.
struct Caller<'w> {
    wire: &'w Wire,
    key: Value,
    session: Value,
}

impl<'w> Caller<'w> {
    async fn login(wire: &'w Wire, name: &str) -> Self {
        let mut caller = Self {
            wire,
            key: Value::Null,
            session: Value::Null,
        };
        let params = json!({ "username": name, "password": market::PASSWORD });
        let user = caller.call("v2", "Authenticate", params).await["result"].clone();
        (caller.key, caller.session) = (user["userId"].clone(), user["sessionId"].clone());
        caller
    }

    async fn call(&self, version: &str, method: &str, mut params: Value) -> Value {
        params["apiKey"] = self.key.clone();
        params["sessionId"] = self.session.clone();
        let body = json!({ "id": -1, "method": method, "params": params }).to_string();
        let path = format!("/{version}/MyAdminApi.ashx");
        let reply = self.wire.call("POST", &path, body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    async fn provision(&self, method: &str, quantity: u32) -> Value {
        let params = json!({ "productId": 10032, "erpNo": market::PARTNER, "quantity": quantity });
        self.call("v2", method, params).await
    }
}

fn script(sim: &Handle, script: Script) {
    sim.market(|market, _| market.script(script)).unwrap();
}

#[tokio::test]
async fn provisioning_fails_in_every_documented_shape() {
    let (sim, wire) = open(market::Settings::prompt()).await;
    let caller = Caller::login(&wire, INTEGRATOR).await;
    let one = "ProvisionDeviceToAccount";
    let made = caller.provision(one, 1).await["result"].clone();
    assert_eq!(made["isSuccess"], true);
    assert_eq!(made["serialNo"].as_str().map(str::len), Some(12));
    script(&sim, Script::once(Turn::Decline("NoStock".to_owned())));
    let declined = caller.provision(one, 1).await["result"].clone();
    assert_eq!(
        declined,
        json!({ "isSuccess": false, "error": "NoStock" }),
        "no serial"
    );
    script(&sim, Script::once(Turn::Nothing));
    assert_eq!(caller.provision(one, 1).await, json!({}), "a null result");
    script(
        &sim,
        Script::once(Turn::Throw(Thrown::new("GenericRequestError", "away"))),
    );
    let error = caller.provision(one, 1).await["error"].clone();
    assert_eq!(error["name"], "JSONRPCError");
    assert_eq!(error["errors"][0]["name"], "GenericRequestError");
    assert!(error["message"].as_str().unwrap().contains("(Ref ID: "));

    // In bulk each element turns out for itself, and one may be missing.
    let before = sim.market(|market, _| market.devices().len());
    script(
        &sim,
        Script::once(Turn::Decline("NoStock".to_owned())).times(1, 1),
    );
    script(&sim, Script::once(Turn::Nothing).times(2, 1));
    let bulk = caller.provision("ProvisionDevicesBulk", 5).await["result"].clone();
    let elements = bulk.as_array().expect("an array");
    let successes = elements.iter().filter(|made| made["isSuccess"] == true);
    let successes = successes.count();
    let there = sim.market(|market, _| market.devices().len()) - before;
    assert_eq!((elements.len(), successes, there), (4, 3, 3), "{bulk}");
    sim.market(|market, _| market.settings.sandbox = true);
    let thrown = caller.provision("ProvisionDevicesBulk", 1).await["error"].clone();
    assert_eq!(thrown["errors"][0]["name"], "InvalidOperationException");
    sim.stop().await;
}

#[tokio::test]
async fn versions_and_limits_are_kept_as_they_are_published() {
    let mut settings = market::Settings::prompt();
    settings.limits = vec![market::Limit {
        endpoint: Some("v2".to_owned()),
        method: None,
        per: market::Per::User,
        most: 3,
        seconds: 60,
        rows: false,
    }];
    let (sim, wire) = open(settings).await;
    let caller = Caller::login(&wire, "partner@example.com").await;
    let account = json!({ "forAccount": market::PARTNER });
    let contracts = "GetDeviceContracts";
    let error = caller.call("v2", contracts, account.clone()).await["error"].clone();
    assert!(error["message"].as_str().unwrap().contains("API version"));
    let answer = caller.call("v3", contracts, account).await;
    assert_eq!(answer["result"], json!([]), "{answer}");
    caller
        .call("v2", "LookupDevice", json!({ "serialNo": "CX1" }))
        .await;
    for (hint, header) in [
        (RetryAfter::None, None),
        (RetryAfter::Seconds(7), Some("7")),
    ] {
        sim.market(|market, _| market.settings.limit_retry_after = hint);
        let reply = wire
            .call(
                "POST",
                "/v2/MyAdminApi.ashx",
                r#"{"method":"LookupDevice","params":{}}"#,
            )
            .await;
        // Nobody is named: it counts for its address, which has asked nothing yet.
        assert_eq!(reply.status, 200);
        let named = json!({
            "method": "LookupDevice",
            "params": { "sessionId": caller.session, "apiKey": caller.key },
        });
        let reply = wire
            .call("POST", "/v2/MyAdminApi.ashx", named.to_string())
            .await;
        assert_eq!(reply.status, 429);
        let said = reply.headers.get("retry-after");
        assert_eq!(said.map(|text| text.to_str().unwrap()), header);
    }
    sim.advance(Duration::from_secs(61));
    caller
        .call("v2", "LookupDevice", json!({ "serialNo": "CX1" }))
        .await;
    sim.stop().await;
}

/// What the gateway says of a device is what the market knows of it; the ledger tells when its billing started.
#[tokio::test]
async fn the_gateway_and_the_market_are_one_world() {
    let (sim, wire) = open(market::Settings::prompt()).await;
    let serials = sim.market(|market, now| {
        let mut make = || {
            let made = market.make(10032, market::PARTNER, market::INTEGRATOR, now);
            made.unwrap()
        };
        let all = [make(), make(), make(), make()];
        market.share(&all[1], "shared_db", now).unwrap();
        market.assign(&all[2], "own_db", now).unwrap();
        market.assign(&all[3], "own_db", now).unwrap();
        market
            .terminate(&all[3], 1, "", "the Partner", now)
            .unwrap();
        all
    });
    let [nowhere, shared, owned, ended] = &serials;
    let never = "CX0000000000".to_owned();
    let records: Vec<Value> = [&never, nowhere, shared, owned, owned, ended]
        .into_iter()
        .zip(1..)
        .map(|(serial, second)| status(serial, second))
        .collect();
    assert_eq!(wire.post(&records).await.status, 202);
    let ledger = sim.ledger();
    let good = ledger.iter().map(|line| line.standing == Standing::New);
    let good: Vec<bool> = good.collect();
    assert_eq!(good, [false, false, false, true, true, false]);
    let billed: Vec<_> = ledger.iter().filter(|line| line.bills).collect();
    assert_eq!(billed[0].member("SerialNo").as_ref(), Some(owned));
    let device = sim.market(|market, _| market.device(owned).unwrap().clone());
    assert_eq!(device.billing.started_us, Some(billed[0].at_us));
    let text = wire.call("GET", "/control/ledger", "").await.text();
    let started = text
        .lines()
        .filter(|line| line.contains(r#""Billing":"started""#));
    let started: Vec<Value> = started
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(started.len(), 1, "{text}");
    assert!(
        started[0]["At"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .is_ok()
    );
    // A terminated device that goes on sending is billed again, and the ledger says so.
    assert_eq!(text.matches(r#""Billing":"resumed""#).count(), 1, "{text}");
    assert_eq!(sim.counters().records_invalid, 4);
    sim.stop().await;
}

/// Calls that clients probe an account with; and `nextId`, which v3 was seen to ignore.
#[tokio::test]
async fn clients_may_probe_and_next_id_of_v3_is_ignored() {
    let (sim, wire) = open(market::Settings::prompt()).await;
    let serials = sim.market(|market, now| {
        let mut make = || {
            let made = market.make(10032, market::PARTNER, market::INTEGRATOR, now);
            made.unwrap()
        };
        let all = [make(), make()];
        market.assign(&all[0], "own_db", now).unwrap();
        market.share(&all[0], "shared_db", now).unwrap();
        all
    });
    let caller = Caller::login(&wire, "partner@example.com").await;
    for (version, method, params) in [
        ("v2", "GetCountries", json!({})),
        ("v3", "GetCountries", json!({})),
        ("v2", "GetDevicePlans", json!({})),
    ] {
        let answer = caller.call(version, method, params).await;
        assert!(
            answer["result"]
                .as_array()
                .is_some_and(|rows| !rows.is_empty()),
            "{method}: {answer}"
        );
    }
    let answer = caller.call("v3", "GetDevicePlans", json!({})).await;
    assert!(answer["error"].is_object(), "{answer}");
    let asked = json!({ "serialNumbers": [serials[0], "CX9999999999"] });
    let answer = caller.call("v2", "GetDeviceJurisdictionAsync", asked).await;
    assert_eq!(
        answer["result"].as_array().map(Vec::len),
        Some(1),
        "{answer}"
    );
    assert_eq!(answer["result"][0]["serialNo"], serials[0].as_str());
    let asked = json!({ "serialNo": serials[0] });
    let answer = caller.call("v2", "GetSharedDatabases", asked).await;
    let names = |answer: &Value| -> Vec<String> {
        let rows = answer["result"].as_array().into_iter().flatten();
        rows.map(|row| format!("{} {}", row["name"], row["vehicleClientType"]).replace('"', ""))
            .collect()
    };
    assert_eq!(
        names(&answer),
        ["own_db owner", "shared_db shared"],
        "{answer}"
    );
    let page = |next: u64| json!({ "forAccount": market::PARTNER, "nextId": next });
    let [first, again] = [
        caller.call("v3", "GetDeviceContracts", page(0)).await,
        caller
            .call("v3", "GetDeviceContracts", page(u64::from(u32::MAX)))
            .await,
    ];
    assert_eq!(first["result"].as_array().map(Vec::len), Some(2), "{first}");
    assert_eq!(first["result"], again["result"]);
    sim.stop().await;
}
