//! The contract: every answer of the simulator, and every request of a client, against the gateway's published OpenAPI.
//!
//! The published file stays out of the repository: `DIG_OPENAPI` names it. Without it our own JSON Schema of the same facts
//! (`tests/fixtures/openapi/dig.json`) judges alone, and says so; with it the two must agree.
//! A test of the client opens the simulator's tap, works, and hands what was kept to [`assert_fit`].

mod published;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dig_ingest::sim::{
    Action, BodyKind, Exchange, Handle, Operation, RetryAfter, Rule, Settings, State,
};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::simulator::{Wire, open, status};

const OURS: &str = include_str!("../fixtures/openapi/dig.json");

/// The text of the published file, when there is one.
fn published_file() -> Option<String> {
    let path = std::env::var_os("DIG_OPENAPI");
    let text = path
        .as_ref()
        .map(|path| (path, std::fs::read_to_string(path)));
    match text {
        Some((_, Ok(text))) => Some(text),
        Some((path, Err(error))) => panic!("DIG_OPENAPI names {}: {error}", path.display()),
        None => {
            eprintln!("DIG_OPENAPI names no published file: our own schema judges alone");
            None
        }
    }
}

fn ours() -> Value {
    let mut ours: Value = serde_json::from_str(OURS).expect("our schema is JSON");
    ours.as_object_mut().expect("an object").remove("about");
    ours
}

/// Judges exchanges; built from our schema or from the published one.
pub struct Contract {
    operations: BTreeMap<String, Value>,
    requests: BTreeMap<String, Validator>,
    answers: BTreeMap<String, Validator>,
}

fn validator(schema: &Value, defs: &Value) -> Validator {
    let mut whole = schema.clone();
    whole["$defs"] = defs.clone();
    jsonschema::options()
        .should_validate_formats(true)
        .build(&whole)
        .expect("a schema")
}

fn errors(validator: &Validator, instance: &Value) -> Vec<String> {
    validator
        .iter_errors(instance)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect()
}

fn name_of(exchange: &Exchange) -> String {
    let path = exchange.target.split('?').next().unwrap_or_default();
    format!("{} {}", exchange.method, path.to_ascii_lowercase())
}

impl Contract {
    fn new(normal: &Value) -> Self {
        let defs = &normal["$defs"];
        let operations: BTreeMap<String, Value> =
            serde_json::from_value(normal["operations"].clone()).expect("operations");
        let requests = operations
            .iter()
            .filter(|(_, operation)| operation["request"].is_object())
            .map(|(name, operation)| (name.clone(), validator(&operation["request"], defs)))
            .collect();
        let names = defs.as_object().expect("definitions").keys();
        let answers = names
            .map(|name| {
                (
                    name.clone(),
                    validator(&json!({"$ref": format!("#/$defs/{name}")}), defs),
                )
            })
            .collect();
        Self {
            operations,
            requests,
            answers,
        }
    }

    /// Every contract there is: ours, and the published one when it is at hand.
    fn all() -> Vec<Self> {
        let mut all = vec![Self::new(&ours())];
        all.extend(published_file().map(|text| Self::new(&published::normal_form(&text))));
        all
    }

    /// What is wrong with an answer. An undocumented status must at least carry the error envelope.
    fn answer(&self, exchange: &Exchange) -> Vec<String> {
        if !exchange.answer_type.starts_with("application/json") {
            return vec![format!(
                "{} {}: not JSON",
                name_of(exchange),
                exchange.status
            )];
        }
        let documented = self.operations.get(&name_of(exchange));
        let documented = documented
            .and_then(|operation| operation["answers"][exchange.status.to_string()].as_str());
        if documented.is_none() && exchange.status < 400 {
            return vec![format!(
                "{} {}: an undocumented success",
                name_of(exchange),
                exchange.status
            )];
        }
        let body: Value = match serde_json::from_slice(&exchange.answer) {
            Ok(body) => body,
            Err(error) => {
                return vec![format!(
                    "{} {}: {error}",
                    name_of(exchange),
                    exchange.status
                )];
            }
        };
        let mut wrong = errors(&self.answers[documented.unwrap_or("ErrorResponse")], &body);
        // Success and failure exclude each other (src/dig/API.md 2.1), which no schema says.
        let failed = body["Error"]
            .as_array()
            .is_none_or(|texts| !texts.is_empty());
        if failed != (exchange.status >= 400) {
            wrong.push(format!("Error is {}", body["Error"]));
        }
        wrong
            .iter()
            .map(|wrong| format!("{} {}: {wrong}", name_of(exchange), exchange.status))
            .collect()
    }

    /// What is wrong with a request.
    fn request(&self, exchange: &Exchange) -> Vec<String> {
        let name = name_of(exchange);
        let Some(operation) = self.operations.get(&name) else {
            return vec![format!("{name}: no such operation")];
        };
        let mut wrong = Vec::new();
        // Known clients refresh and revoke with the tokens in the body alone (src/dig/API.md 3.8).
        let needs_bearer = operation["bearer"] == true && !name.contains("-token");
        if needs_bearer && !exchange.bearer {
            wrong.push("no bearer".to_owned());
        }
        match self.requests.get(&name) {
            Some(validator) => {
                if exchange
                    .content_type
                    .as_deref()
                    .is_none_or(|media| !media.starts_with("application/json"))
                {
                    wrong.push(format!("Content-Type is {:?}", exchange.content_type));
                }
                match serde_json::from_slice(&exchange.request) {
                    Ok(body) => wrong.extend(errors(validator, &body)),
                    Err(error) => wrong.push(format!("the body: {error}")),
                }
            }
            None if !exchange.request.is_empty() => {
                wrong.push("a body where none belongs".to_owned())
            }
            None => {}
        }
        let query = exchange
            .target
            .split_once('?')
            .map_or("", |(_, query)| query);
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let schema = &operation["query"][key];
            let number: Option<i64> = value.parse().ok();
            let fits = schema.is_object()
                && number.is_some_and(|number| {
                    number >= schema["minimum"].as_i64().unwrap_or(i64::MIN)
                        && number <= schema["maximum"].as_i64().unwrap_or(i64::MAX)
                });
            if !fits {
                wrong.push(format!("{key}={value}"));
            }
        }
        wrong
            .iter()
            .map(|wrong| format!("{name}: {wrong}"))
            .collect()
    }
}

fn assert_none(wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} breaches of the contract:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Every answer must fit, but for scripted ones that are no JSON on purpose and for cut connections.
pub fn assert_answers_fit(exchanges: &[Exchange]) {
    let spoken = |exchange: &&Exchange| {
        exchange.status != 0 && (!exchange.scripted || exchange.answer_type.contains("json"))
    };
    for contract in Contract::all() {
        let wrong: Vec<_> = exchanges
            .iter()
            .filter(spoken)
            .flat_map(|exchange| contract.answer(exchange))
            .collect();
        assert_none(&wrong);
    }
}

/// Every request must fit: for the exchanges of our own client, which never sends anything else.
pub fn assert_requests_fit(exchanges: &[Exchange]) {
    assert!(
        !exchanges.is_empty(),
        "nothing was kept: open the tap first"
    );
    for contract in Contract::all() {
        let wrong: Vec<_> = exchanges
            .iter()
            .flat_map(|exchange| contract.request(exchange))
            .collect();
        assert_none(&wrong);
    }
}

/// Requests and answers both.
pub fn assert_fit(exchanges: &[Exchange]) {
    assert_requests_fit(exchanges);
    assert_answers_fit(exchanges);
}

#[test]
fn our_schema_agrees_with_the_published_one() {
    let Some(text) = published_file() else { return };
    let (ours, theirs) = (ours(), published::normal_form(&text));
    for part in ["operations", "$defs"] {
        let (ours, theirs) = (
            ours[part].as_object().expect(part),
            theirs[part].as_object().expect(part),
        );
        let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
        for name in names {
            assert_eq!(
                ours.get(name),
                theirs.get(name),
                "{part} {name}: ours (left), published (right)"
            );
        }
    }
}

#[test]
fn the_contract_sees_what_is_wrong() {
    let exchange = |request: &str, status: u16, answer: &str| Exchange {
        operation: Operation::Records,
        method: "POST".to_owned(),
        target: "/records".to_owned(),
        content_type: Some("application/json".to_owned()),
        bearer: true,
        request: request.to_owned().into(),
        status,
        answer_type: "application/json".to_owned(),
        answer: answer.to_owned().into(),
        scripted: false,
    };
    let fits = r#"[{"Type":"StatusRecord","DateTime":"2026-01-01T00:00:00Z","SerialNo":"A","Code":1,"Value":2}]"#;
    let taken = r#"{"Error":[],"Data":"feeac962-4496-4458-a489-e2d9b4ea12ec"}"#;
    for contract in Contract::all() {
        assert_none(&contract.request(&exchange(fits, 202, taken)));
        assert_none(&contract.answer(&exchange(fits, 202, taken)));
        for (from, to) in [
            (r#""Value":2"#, r#""Value":2.5"#),
            (r#""Value":2"#, r#""Value":2,"Extra":1"#),
            (r#""Value":2"#, r#""Value":null"#),
            (r#""SerialNo":"A","#, ""),
            ("2026-01-01T00:00:00Z", "2026-01-01 00:00"),
            ("StatusRecord", "VinRecord"),
        ] {
            assert!(
                !contract
                    .request(&exchange(&fits.replace(from, to), 202, taken))
                    .is_empty(),
                "{to}"
            );
        }
        assert!(
            !contract
                .request(&Exchange {
                    bearer: false,
                    ..exchange(fits, 202, taken)
                })
                .is_empty()
        );
        for (status, answer) in [
            (202, r#"{"Error":[],"Data":"7"}"#),
            (200, taken),
            (400, taken),
            (400, r#"{"Error":"text","Data":""}"#),
            (202, "<html>"),
        ] {
            assert!(
                !contract.answer(&exchange(fits, status, answer)).is_empty(),
                "{status} {answer}"
            );
        }
    }
}

/// One record of every type.
fn every_type() -> Vec<Value> {
    let rest = [
        ("AccelerationRecord", json!({"X": 1, "Y": -2, "Z": 1000})),
        ("BinaryRecord", json!({"Data": "AQID"})),
        (
            "BluetoothRecord",
            json!({"Address": "FF:FF:FF:00:AA:9B", "Data": 21.5, "DataType": 7}),
        ),
        (
            "DriverChangeRecord",
            json!({"KeyType": 84, "DriverId": "AQID"}),
        ),
        (
            "GenericFaultRecord",
            json!({"Code": 130, "FaultStateActive": true}),
        ),
        ("GenericStatusRecord", json!({"Code": 107, "Value": 4000})),
        (
            "GpsRecord",
            json!({"Latitude": 43.4516, "Longitude": -79.7, "Speed": 50.5, "IsGpsValid": true, "IsIgnitionOn": true, "IsAuxiliary8On": false}),
        ),
        (
            "J1708FaultRecord",
            json!({"MessageId": 128, "ParameterId": 100, "SubsystemId": null, "FailureModeIdentifier": 3, "OccurrenceCount": 1, "FaultStateActive": true}),
        ),
        (
            "J1939FaultRecord",
            json!({"SuspectParameterNumber": 100, "FailureModeIdentifier": 3, "OccurrenceCount": 1, "SourceAddress": 0, "RedStopLamp": true, "FaultStateActive": true}),
        ),
        (
            "ObdiiFaultRecord",
            json!({"Code": "P0301", "FaultStateActive": true}),
        ),
        ("StatusRecord", json!({"Code": 12, "Value": 5})),
        (
            "VinRecord",
            json!({"VehicleIdentificationNumber": "1M8GDM9AXKP042788"}),
        ),
    ];
    let serials = (1..).map(|number| status(&format!("CX{number}"), number));
    rest.into_iter()
        .zip(serials)
        .map(|((kind, members), mut record)| {
            let record_members = record.as_object_mut().expect("an object");
            record_members.retain(|name, _| name != "Code" && name != "Value");
            record_members.extend(members.as_object().expect("an object").clone());
            record["Type"] = json!(kind);
            record
        })
        .collect()
}

/// Brings every operation to every status it documents, and a few more.
async fn provoke(sim: &Handle, wire: &mut Wire) {
    wire.login().await;
    assert_eq!(wire.post(&every_type()).await.status, 202);
    sim.mark_prefix("CX", State::Terminated);
    assert_eq!(wire.post(&every_type()).await.status, 202);
    sim.advance(Duration::from_secs(60));
    for query in [
        "",
        "?nextResultKey=0&numberOfResults=3",
        "?numberOfResults=50000",
    ] {
        assert_eq!(
            wire.call("GET", &format!("/invalidrecords{query}"), "")
                .await
                .status,
            200
        );
    }
    assert_eq!(
        wire.call("GET", "/invalidrecords?numberOfResults=x", "")
            .await
            .status,
        400
    );
    assert_eq!(wire.call("POST", "/records", "[]").await.status, 400);
    let many: Vec<_> = (0..3).map(|second| status("B", second)).collect();
    sim.change(|settings| settings.max_records = 2);
    assert_eq!(wire.post(&many).await.status, 413);
    let mut stranger = wire.clone();
    stranger.bearer.push('x');
    assert_eq!(stranger.post(&many).await.status, 401);
    assert_eq!(
        stranger.call("GET", "/invalidrecords", "").await.status,
        401
    );
    for operation in ["refresh-token", "revoke-token"] {
        assert_eq!(
            wire.call("POST", &format!("/authentication/{operation}"), "{}")
                .await
                .status,
            400
        );
        assert_eq!(stranger.tokens(operation).await.status, 401);
    }
    assert_eq!(wire.authenticate("u", "").await.status, 400);
    assert_eq!(wire.authenticate("u", "wrong").await.status, 401);
    let old = wire.clone();
    let fresh = wire.tokens("refresh-token").await;
    assert_eq!(fresh.status, 200);
    wire.take_tokens(&fresh);
    assert_eq!(old.tokens("refresh-token").await.status, 403);
    assert_eq!(wire.tokens("revoke-token").await.status, 202);
    assert_eq!(wire.tokens("revoke-token").await.status, 403);
    sim.change(|settings| settings.auth_per_minute = 1);
    for operation in ["refresh-token", "revoke-token"] {
        wire.tokens(operation).await;
        assert_eq!(wire.tokens(operation).await.status, 429);
    }
    wire.authenticate("u", "wrong").await;
    assert_eq!(wire.authenticate("u", "wrong").await.status, 429);
    sim.faults()
        .push(Rule::status(503).retry_after(RetryAfter::Seconds(1)));
    for operation in ["refresh-token", "revoke-token"] {
        assert_eq!(wire.tokens(operation).await.status, 503);
    }
    assert_eq!(wire.authenticate("u", "p").await.status, 503);
    assert_eq!(wire.post(&many).await.status, 503);
    assert_eq!(wire.call("GET", "/invalidrecords", "").await.status, 503);
    sim.faults().clear();
    sim.faults().push(
        Rule::new(Action::Status {
            status: 502,
            body: BodyKind::Html,
            text: None,
            retry_after: RetryAfter::None,
        })
        .times(1),
    );
    assert_eq!(wire.post(&many).await.status, 502);
    assert_eq!(wire.call("GET", "/records", "").await.status, 405);
    assert_eq!(wire.call("GET", "/nowhere", "").await.status, 404);
}

#[tokio::test]
async fn every_documented_answer_of_the_simulator_fits() {
    let account = dig_ingest::sim::Account {
        username: "dig@geo.tab".to_owned(),
        password: "secret".to_owned(),
    };
    let settings = Settings {
        auth_per_minute: 0,
        ..Settings::default()
    };
    let config = dig_ingest::sim::Config {
        account: Some(account),
        settings,
        ..Default::default()
    };
    let sim = dig_ingest::sim::start(config).await.expect("a free port");
    sim.tap(1000);
    provoke(&sim, &mut Wire::new(&sim.url())).await;
    let exchanges = sim.exchanges();
    assert_answers_fit(&exchanges);
    let given: BTreeSet<_> = exchanges
        .iter()
        .map(|exchange| (name_of(exchange), exchange.status.to_string()))
        .collect();
    for contract in Contract::all() {
        for (name, operation) in &contract.operations {
            for status in operation["answers"].as_object().expect("answers").keys() {
                assert!(
                    given.contains(&(name.clone(), status.clone())),
                    "{name} was never answered {status}"
                );
            }
        }
    }
    let accepted: Vec<_> = exchanges
        .into_iter()
        .filter(|exchange| exchange.status < 300)
        .collect();
    assert_fit(&accepted);
    sim.stop().await;
}

#[tokio::test]
async fn the_plain_client_of_our_tests_keeps_the_contract() {
    let (sim, wire) = open(Settings::default()).await;
    sim.tap(10);
    wire.post(&every_type()).await;
    wire.call("GET", "/invalidrecords?nextResultKey=5", "")
        .await;
    assert_fit(&sim.exchanges());
    sim.stop().await;
}
