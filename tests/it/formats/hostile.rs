//! A schema registry that is away, wrong or hostile: the partition waits, or the message becomes a letter; never the other way
//! round.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use dig_ingest::config::secret::Secret;
use dig_ingest::formats::{Config, Format, Schemas, View};
use serde_json::{Value, json};

use crate::support::broker::{Broker, block_on};
use crate::support::schemas::{Mock, Reply};
use crate::support::{wait_until, world::World};

/// What a question for schema 7 came to: the rule of its letters, `away`, or `found`.
async fn outcome(schemas: &Arc<Schemas>, view: &Arc<View>) -> (String, String) {
    match schemas.ask(7, view).settled().await {
        Ok(Ok(_)) => ("found".to_owned(), String::new()),
        Ok(Err(fault)) => (fault.rule.to_owned(), fault.value.clone()),
        Err(trouble) => (
            "away".to_owned(),
            format!("{} {}", trouble.cause, trouble.remedy),
        ),
    }
}

fn view(format: Format) -> Arc<View> {
    Arc::new(View {
        number: 0,
        format,
        reader: None,
    })
}

fn config(urls: &[String]) -> Config {
    Config {
        urls: urls.to_vec(),
        request_timeout_s: 1,
        unknown_s: 1,
        max_schema_bytes: 10_000,
        cache_bytes: 20_000,
        ..Config::default()
    }
}

fn said(reply: Reply, format: Format) -> (String, String) {
    let mock = Mock::start(move |_| reply.clone());
    block_on(async {
        let schemas = Schemas::new(&config(&[mock.url()])).expect("settings");
        outcome(&schemas, &view(format)).await
    })
}

const LONG: &str = r#""long""#;

#[test]
fn only_the_registrys_own_word_makes_letters() {
    let avro = |schema: &str| Reply::json(200, &json!({ "schema": schema }));
    let moved = Reply::Said {
        status: 302,
        headers: "Location: http://127.0.0.1:1/login\r\n".to_owned(),
        body: String::new(),
    };
    let huge = avro(&format!("{:?}", "x".repeat(1_000_000)));
    let page = |status| Reply::text(status, "text/html", "<html>Please log in</html>");
    let code =
        |status, code: u32| Reply::json(status, &json!({ "error_code": code, "message": "so" }));
    for (reply, expected, part) in [
        (avro(LONG), "found", ""),
        (Reply::unknown(), "format.unknown", "schema id 7"),
        (
            avro("{\"type\":\"no such\"}"),
            "format.schema",
            "not defined",
        ),
        (
            avro(&format!("{:?}", "x".repeat(20_000))),
            "format.schema",
            "max_schema_bytes",
        ),
        (huge, "format.schema", "max_schema_bytes"),
        (
            Reply::json(
                200,
                &json!({ "schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF" }),
            ),
            "format.schema",
            "type PROTOBUF",
        ),
        (code(401, 401), "away", "schema_registry.username"),
        (code(403, 403), "away", "schema_registry.username"),
        (code(500, 50001), "away", "500"),
        (code(503, 50301), "away", "503"),
        (code(429, 429), "away", "429"),
        (code(404, 404), "away", "/apis/ccompat/v7"),
        (page(404), "away", "/apis/ccompat/v7"),
        (page(200), "away", "is no schema registry"),
        (page(502), "away", "502"),
        (
            Reply::json(200, &json!({})),
            "away",
            "is no schema registry",
        ),
        (
            Reply::json(200, &json!([1])),
            "away",
            "is no schema registry",
        ),
        (
            Reply::text(200, "text/html", &"x".repeat(1_000_000)),
            "away",
            "is no schema registry",
        ),
        (moved, "away", "schema_registry.urls"),
        (Reply::Silence, "away", "no answer in time"),
    ] {
        let (found, why) = said(reply.clone(), Format::Avro);
        assert_eq!(found, expected, "{reply:.200?}: {why}");
        assert!(why.contains(part), "{reply:.200?}: {why}");
    }
    let gone = config(&["http://127.0.0.1:1".to_owned()]);
    let (found, why) = block_on(async {
        let schemas = Schemas::new(&gone).expect("settings");
        outcome(&schemas, &view(Format::Avro)).await
    });
    assert!(found == "away" && why.contains("no connection"), "{why}");
}

#[test]
fn references_are_followed_and_circles_end() {
    let names = r#"{"type":"record","name":"A","fields":[{"name":"b","type":"B"}]}"#;
    let reference =
        |name: &str| json!([{ "name": name, "subject": format!("of {name}/x"), "version": 3 }]);
    let with = |b: Value| {
        let mock = Mock::start(move |asked| match asked.path.as_str() {
            "/schemas/ids/7" => Reply::json(
                200,
                &json!({ "schema": names, "references": reference("B") }),
            ),
            "/subjects/of%20B%2Fx/versions/3" => Reply::json(200, &b),
            path => panic!("asked for {path}"),
        });
        let found = block_on(async {
            let schemas = Schemas::new(&config(&[mock.url()])).expect("settings");
            outcome(&schemas, &view(Format::Avro)).await
        });
        (found.0, found.1, mock.asked().len())
    };
    let b = r#"{"type":"record","name":"B","fields":[]}"#;
    assert_eq!(with(json!({ "schema": b })).0, "found");
    // It refers to itself: asked for once.
    let (found, _, asked) = with(json!({ "schema": b, "references": reference("B") }));
    assert_eq!((found.as_str(), asked), ("found", 2));
    let (found, why, _) = with(json!({ "error_code": 40402 }));
    assert_eq!(found, "away", "an answer without a schema: {why}");
    let mock = Mock::start(move |asked| match asked.path.as_str() {
        "/schemas/ids/7" => Reply::json(
            200,
            &json!({ "schema": names, "references": reference("B") }),
        ),
        _ => Reply::json(
            404,
            &json!({ "error_code": 40402, "message": "no version" }),
        ),
    });
    let (found, why) = block_on(async {
        let schemas = Schemas::new(&config(&[mock.url()])).expect("settings");
        outcome(&schemas, &view(Format::Avro)).await
    });
    assert!(
        found == "format.schema" && why.contains("reference B"),
        "{why}"
    );
    // Each refers to another one, without end.
    let mut next = 0;
    let mock = Mock::start(move |_| {
        next += 1;
        let references = json!([{ "name": "x", "subject": format!("s{next}"), "version": 1 }]);
        Reply::json(200, &json!({ "schema": LONG, "references": references }))
    });
    let (found, why) = block_on(async {
        let schemas = Schemas::new(&config(&[mock.url()])).expect("settings");
        outcome(&schemas, &view(Format::Avro)).await
    });
    assert!(
        found == "format.schema" && why.contains("references"),
        "{why}"
    );
}

#[test]
fn an_id_that_appears_later_is_found_and_a_known_one_is_asked_for_once() {
    let mock = Mock::start(|_| Reply::unknown());
    block_on(async {
        let schemas = Schemas::new(&config(&[mock.url()])).expect("settings");
        let view = view(Format::Avro);
        assert_eq!(outcome(&schemas, &view).await.0, "format.unknown");
        assert!(
            schemas
                .known(7, &view)
                .is_some_and(|answer| answer.is_err())
        );
        mock.answer(|_| Reply::json(200, &json!({ "schema": LONG })));
        // The failure is forgotten after `unknown_s`.
        wait_until("the failure is forgotten", || {
            schemas.known(7, &view).is_none()
        });
        let before = mock.asked().len();
        let mut all: Vec<_> = (0..5).map(|_| schemas.ask(7, &view)).collect();
        for coming in &mut all {
            assert!(coming.settled().await.expect("an answer").is_ok());
        }
        assert!(schemas.known(7, &view).is_some_and(|answer| answer.is_ok()));
        assert_eq!(mock.asked().len(), before + 1, "all wait for one answer");
        // More schemas than may be kept: the oldest is asked for again.
        mock.answer(|_| {
            Reply::json(
                200,
                &json!({ "schema": format!("{LONG}{}", " ".repeat(9_000)) }),
            )
        });
        for id in 8..11 {
            assert!(
                schemas
                    .ask(id, &view)
                    .settled()
                    .await
                    .expect("an answer")
                    .is_ok()
            );
        }
        assert!(schemas.known(7, &view).is_none() && schemas.known(8, &view).is_none());
        assert!(schemas.known(10, &view).is_some());
    });
}

#[test]
fn the_second_server_answers_for_the_first_and_credentials_are_sent_and_never_shown() {
    let away = Mock::start(|asked| {
        let echo = asked.authorization.clone().unwrap_or_default();
        Reply::text(500, "text/plain", &format!("you sent {echo}"))
    });
    let there = Mock::start(|_| Reply::json(200, &json!({ "schema": LONG })));
    let token = "a-secret-token-of-this-test";
    let mut with = config(&[away.url(), there.url()]);
    with.token = Secret::new(token);
    block_on(async {
        let schemas = Schemas::new(&with).expect("settings");
        assert_eq!(outcome(&schemas, &view(Format::Avro)).await.0, "found");
    });
    let bearer = Some(format!("Bearer {token}"));
    assert_eq!(there.asked()[0].authorization, bearer);
    with.urls.truncate(1);
    let (found, why) = block_on(async {
        let schemas = Schemas::new(&with).expect("settings");
        outcome(&schemas, &view(Format::Avro)).await
    });
    assert!(
        found == "away" && why.contains("you sent") && !why.contains(token),
        "{why}"
    );
    let mut with = config(&[there.url()]);
    with.username = "reader".to_owned();
    with.password = Secret::new("a-secret-password-of-this-test");
    block_on(async {
        let schemas = Schemas::new(&with).expect("settings");
        assert_eq!(outcome(&schemas, &view(Format::Avro)).await.0, "found");
    });
    let last = there.asked().pop().and_then(|asked| asked.authorization);
    assert!(last.is_some_and(|value| value.starts_with("Basic ")));
}

/// A topic in a format, and what its load needs.
pub fn formatted(world: &mut World<'_>, format: &str, url: &str) -> Vec<String> {
    let topic = world.topic.clone();
    let urls = format!("[{url:?}]");
    let fleet = world.path("devices.ndjson").display().to_string();
    world.set("schema_registry.urls", &urls);
    world.set("schema_registry.retry_ms", "200");
    world.set("schema_registry.retry_max_ms", "500");
    world.set("schema_registry.request_timeout_s", "5");
    world.set("input.formats", &format!("{{ {topic:?} = {format:?} }}"));
    world.set("input.mappings", &format!("{{ {topic:?} = \"generic\" }}"));
    world.set("registry.file", &format!("{fleet:?}"));
    [
        "--shape",
        "generic",
        "--format",
        format,
        "--devices",
        "10",
        // The same devices in every load: the file names those of one.
        "--seed",
        "5",
        "--registry",
        &fleet,
        "--set",
        &format!("schema_registry.urls={urls}"),
    ]
    .map(str::to_owned)
    .into()
}

/// The wait that an instance lists for a schema, once it says that it is not ready.
pub fn waits_for_a_schema(world: &mut World<'_>, instance: usize) -> Value {
    let mut found = Value::Null;
    world.until("readyz names the schema", |world| {
        let (status, told) = world.instances[instance].told("/readyz");
        let waits = told["waits"].as_array().expect("a list");
        found = match waits.iter().find(|wait| wait["kind"] == "schema") {
            Some(wait) => wait.clone(),
            None => return false,
        };
        status == 503
    });
    assert_eq!(world.instances[instance].told("/livez").0, 200, "{found:#}");
    found
}

/// The registry is away from the start: records wait in Kafka, the job says so, and nothing becomes a letter by it. Messages that
/// nobody can read become letters all the same, once the registry is there, with the bytes they came with.
#[test]
fn a_schema_registry_that_is_away_stops_its_partitions_and_makes_no_letter() {
    let (broker, mock) = (Broker::mock(), Mock::working());
    for format in ["avro", "protobuf"] {
        let mut world = World::new(&broker, 2, &[]);
        let load = formatted(&mut world, format, &mock.url());
        let mut load: Vec<&str> = load.iter().map(String::as_str).collect();
        load.extend(["--bad-share", "0.05"]);
        let bad = world.loaded(2_000, &load)["bad"].as_u64().expect("a count");
        let working = mock.swap(Box::new(|_| Reply::text(503, "text/plain", "restarting")));
        world.join();
        let wait = waits_for_a_schema(&mut world, 0);
        let said = |name: &str| wait[name].as_str().expect("a text").to_owned();
        assert!(said("subject").starts_with(&world.topic), "{wait:#}");
        assert!(said("cause").contains("503: restarting"), "{wait:#}");
        assert!(said("remedy").contains("schema_registry.urls"), "{wait:#}");
        let waiting = world.instances[0].metric("dig_ingest_waits{kind=\"schema\"}");
        assert!(waiting >= 1.0, "the alert has something to see");
        assert_eq!((world.accepted(), world.letters().len()), (0, 0));
        drop(mock.swap(working));
        world.drained();
        let letters = world.letters();
        assert!(
            bad > 0 && letters.len() as u64 == bad,
            "{bad} bad, {} letters",
            letters.len()
        );
        for letter in &letters {
            assert_eq!(letter.payload[0], 0, "the original bytes, header included");
        }
        let reasons: HashSet<&str> = letters
            .iter()
            .flat_map(|letter| &letter.headers)
            .filter(|(name, _)| name == "reason")
            .map(|(_, value)| value.as_str())
            .collect();
        for reason in ["format.payload", "map.time"] {
            assert!(reasons.contains(reason), "{reasons:?}");
        }
        let ready = world.instances[0].told("/readyz");
        assert_eq!(ready.0, 200, "{:#}", ready.1);
        world.finish(0);
    }
}

/// Only the partition whose next message needs the schema waits; a message whose id nobody knows is a letter with id and reason.
#[test]
fn a_schema_that_does_not_come_stops_one_partition_and_an_unknown_id_none() {
    let (broker, mock) = (Broker::mock(), Mock::working());
    let mut world = World::new(&broker, 4, &[]);
    let load = formatted(&mut world, "avro", &mock.url());
    let load: Vec<&str> = load.iter().map(String::as_str).collect();
    world.produced(200, &load);
    world.join();
    world.accepts(200);
    let mut working = mock.swap(Box::new(|_| Reply::Silence));
    mock.answer(move |asked| match asked.path.as_str() {
        "/schemas/ids/77" => Reply::Silence,
        "/schemas/ids/78" => Reply::unknown(),
        _ => working(asked),
    });
    let topic = world.topic.clone();
    broker.write(&topic, "stuck", &[0, 0, 0, 0, 77, 1], Duration::ZERO);
    let wait = waits_for_a_schema(&mut world, 0);
    assert!(
        wait["cause"].as_str().expect("a text").contains("id 77"),
        "{wait:#}"
    );
    // Other partitions go on, and other loads of theirs.
    let before = world.accepted();
    world.load(400, &load).succeeded();
    world.accepts(100);
    assert!(world.accepted() > before);
    for key in ["one", "two", "three", "four", "five"] {
        broker.write(&topic, key, &[0, 0, 0, 0, 78, 1], Duration::ZERO);
    }
    world.until("an unknown id is a letter", |world| {
        !world.letters().is_empty()
    });
    let letter = world.letters().remove(0);
    let header = |name: &str| {
        let found = letter.headers.iter().find(|(header, _)| header == name);
        found.map_or_else(String::new, |(_, value)| value.clone())
    };
    assert_eq!(
        (header("reason").as_str(), header("stage").as_str()),
        ("format.unknown", "decode")
    );
    assert!(header("detail").contains("schema id 78"), "{letter:?}");
    assert_eq!(letter.payload, [0, 0, 0, 0, 78, 1]);
    // The registry says that it does not know 77 either.
    mock.answer(|_| Reply::unknown());
    world.until("nothing waits", |world| world.lag() == 0);
    assert_eq!(world.letters().len(), 6);
    world.leave(150);
    world.end();
}
