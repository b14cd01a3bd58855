//! The device registry's topic on a real broker: transactions, writers that were replaced, a topic that was lost or written by hand,
//! and a store that was put back from an older copy.

use std::time::Duration;

use dig_ingest::registry::writer::{WriteError, Writer};
use dig_ingest::registry::{Device, State, topic};
use dig_ingest::sim::Operation;
use rdkafka::ClientConfig;
use serde_json::{Value, json};

use super::takeover::{IMEI, led, share, unit};
use crate::support::broker::{Broker, block_on};
use crate::support::child::Running;
use crate::support::proxy::{PRODUCE, Proxy};
use crate::support::trade::{desk, open, ordered};
use crate::support::wait_for;
use crate::support::world::World;

const BOUND: Duration = Duration::from_secs(60);

fn client(broker: &Broker) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", broker.address())
        .set("enable.idempotence", "true")
        .set("acks", "all");
    client
}

fn device(state: State) -> Device {
    Device {
        device_id: "truck".into(),
        serial: Some("CX0000000001".into()),
        state,
        order: None,
        since: None,
    }
}

/// A transaction ends with a control record, and an aborted one leaves its messages: a reader comes to the end behind both.
#[test]
fn a_replaced_writer_is_refused_and_a_reader_ends_behind_control_records() {
    let broker = Broker::shared();
    let name = format!("registry-{}.devices", std::process::id());
    broker.topic(&name, 1, &[("cleanup.policy", "compact")]);
    let client = client(broker);
    let told = || {
        let snapshot = topic::read(&client, &name, BOUND).expect("it ends");
        snapshot.device("truck").map(|known| known.state())
    };
    assert_eq!(told(), None);
    let first = Writer::for_orders(&client, &name, BOUND).expect("a writer");
    block_on(first.write(&[device(State::Active)])).expect("written");
    assert_eq!(told(), Some(State::Active));
    let second = Writer::for_orders(&client, &name, BOUND).expect("a writer");
    block_on(second.write(&[device(State::Terminated)])).expect("written");
    let late = block_on(first.write(&[device(State::Active)])).expect_err("it was replaced");
    assert!(matches!(late, WriteError::Replaced { .. }), "{late}");
    assert!(!late.retryable() && !late.may_have_effects());
    assert_eq!(told(), Some(State::Terminated));
    // A command has an id of its own, and replaces only commands.
    let command = Writer::new(&client, &name).expect("a writer");
    block_on(command.forget(&["truck"])).expect("written");
    assert_eq!(told(), None);
    block_on(second.write(&[device(State::Pending)])).expect("the journey goes on");
    assert_eq!(told(), Some(State::Pending));
}

/// An entry that the topic does not take is refused as too large, whether the broker or the client says so, and the writer goes on.
#[test]
fn an_entry_larger_than_the_registrys_topic_takes_is_told_from_other_refusals() {
    let broker = Broker::shared();
    let name = format!("registry-{}.small", std::process::id());
    let settings = [("cleanup.policy", "compact"), ("max.message.bytes", "2000")];
    broker.topic(&name, 1, &settings);
    let client = client(broker);
    let writer = Writer::for_orders(&client, &name, BOUND).expect("a writer");
    for bytes in [10_000, 2_000_000] {
        let large = Device {
            order: Some("7".repeat(bytes).into()),
            ..device(State::Active)
        };
        let error = block_on(writer.write(&[large])).expect_err("it is too large");
        assert!(error.is_too_large() && !error.retryable(), "{error}");
        assert!(
            error.to_string().contains("raise max.message.bytes"),
            "{error}"
        );
    }
    block_on(writer.write(&[device(State::Active)])).expect("the next one is written");
    let snapshot = topic::read(&client, &name, BOUND).expect("it ends");
    assert!(snapshot.device("truck").is_some());
}

/// What the registry's topic says of a device, if it knows it.
fn shown(world: &mut World<'_>, device: &str) -> Option<Value> {
    let settings = world.settings_file("show", &[]);
    let args = ["devices", "show", device, "--config"].map(str::to_owned);
    let all = [args.as_slice(), &[settings.display().to_string()]].concat();
    let mut command = world.command("show", &all);
    command.ended().success().then(|| command.report().1)
}

/// Waits until the topic says that a device is in a state, and gives its serial.
fn becomes(world: &mut World<'_>, device: &str, state: &str) -> Value {
    wait_for(&format!("the topic calls {device} {state}"), || {
        let shown = shown(world, device)?;
        (shown["state"] == state).then(|| shown["serial"].clone())
    })
}

/// A unit of a fresh order, confirmed by MyAdmin: its serial.
fn confirmed(world: &World<'_>, api: &str) -> (u64, String) {
    let order = ordered(world, "CTD-200", 1);
    let made = unit(api, order, "provisioned");
    let id = made["id"].as_str().expect("an id");
    let marks = json!({ "imei": IMEI, "sim": "8931440400000000008" });
    desk(api, &format!("POST /api/units/{id}/assign"), &marks);
    let parcel = json!({ "carrier": "Post", "tracking": ["T1"] });
    desk(api, &format!("POST /api/orders/{order}/ship"), &parcel);
    unit(api, order, "confirmed");
    (order, made["serial"].as_str().expect("a serial").to_owned())
}

/// What the leader's kernel still sends after the leader was killed reaches the broker when its successor has written: the topic says
/// what the successor said.
#[test]
fn late_bytes_of_a_killed_leader_never_count() {
    let proxy = Proxy::open();
    let named = format!(
        "advertised.listeners=PLAINTEXT://127.0.0.1:{}",
        proxy.port()
    );
    let broker = Broker::start(&[&named]);
    proxy.lead_to(broker.address());
    let mut world = open(&broker, 1);
    let mut first = world.start_only(Some("orders"), &[("kafka.client_id", "\"leader-a\"")]);
    led(&mut first, "ours");
    let api = first.address("orders API");
    let (order, serial) = confirmed(&world, &api);
    becomes(&mut world, IMEI, "pending");
    proxy.hold("leader-a", PRODUCE);
    share(&world, &serial);
    unit(&api, order, "active");
    wait_for("the activation is under way", || {
        (proxy.held() > 0).then_some(())
    });
    first.kill();

    let mut second = world.start_only(Some("orders"), &[("kafka.client_id", "\"leader-b\"")]);
    led(&mut second, "ours");
    let ended = world.gateway.market(|market, now| {
        market.terminate(&serial, 1, "", dig_ingest::sim::market::PARTNER, now)
    });
    ended.expect("it is there");
    becomes(&mut world, IMEI, "terminated");
    proxy.release();
    let after = shown(&mut world, IMEI).expect("it is known");
    assert_eq!(
        (&after["state"], &after["serial"]),
        (&json!("terminated"), &json!(serial))
    );
    second.signal("TERM");
    second.succeeded();
    world.end();
}

fn orders(world: &mut World<'_>, args: &[&str]) -> Running {
    let settings = world.settings_file("orders", &[]);
    let mut all = vec!["orders".to_owned()];
    all.extend(args.iter().map(|arg| (*arg).to_owned()));
    all.extend(["--config".to_owned(), settings.display().to_string()]);
    all.extend(["--report".to_owned(), "json".to_owned()]);
    world.command("orders", &all)
}

fn said(world: &mut World<'_>, args: &[&str]) -> Value {
    let (status, value) = orders(world, args).report();
    assert!(status.success(), "{args:?}: {value:#}");
    value
}

fn kinds(world: &mut World<'_>) -> Vec<String> {
    let alarms = said(world, &["list", "--alarms"]);
    let alarms = alarms["alarms"].as_array().expect("a list");
    let kinds = alarms.iter().filter_map(|alarm| alarm["kind"].as_str());
    kinds.map(str::to_owned).collect()
}

/// Deleted, and written by hand: both are seen, mended, counted and alarmed. A command does not activate a device of an order, and
/// terminates one in the store.
#[test]
fn a_registry_that_is_deleted_or_written_by_hand_is_mended() {
    let mut world = open(Broker::shared(), 1);
    world.set("orders.compare_every_s", "1");
    let mut instance = world.start_only(Some("orders"), &[]);
    led(&mut instance, "ours");
    let api = instance.address("orders API");
    let (order, serial) = confirmed(&world, &api);
    let name = format!("{}.devices", world.topic);
    becomes(&mut world, IMEI, "pending");
    let differences = "dig_ingest_orders_registry_differences_total";
    assert_eq!(instance.metric("dig_ingest_orders_store_proven"), 1.0);

    let by_hand =
        format!("{{\"device_id\":\"{IMEI}\",\"serial\":\"{serial}\",\"state\":\"active\"}}");
    world.broker.write(&name, IMEI, &by_hand, Duration::ZERO);
    wait_for("the difference is counted", || {
        (instance.metric(differences) >= 1.0).then_some(())
    });
    becomes(&mut world, IMEI, "pending");
    assert!(kinds(&mut world).contains(&"registry-differs".to_owned()));
    said(&mut world, &["clear", "registry-differs", "registry"]);

    let before = instance.metric(differences);
    world.broker.delete(&name);
    wait_for("the loss is counted", || {
        (instance.metric(differences) > before).then_some(())
    });
    becomes(&mut world, IMEI, "pending");
    assert!(kinds(&mut world).contains(&"registry-differs".to_owned()));

    let settings = world.settings_file("refused", &[]);
    let settings = settings.display().to_string();
    let mut refused = world.command(
        "refused",
        &["devices", "activate", IMEI, "--config", &settings].map(str::to_owned),
    );
    assert!(!refused.ended().success());
    let why = refused.log();
    assert!(why.contains(&format!("belongs to order {order}")), "{why}");
    becomes(&mut world, IMEI, "pending");
    let mut ended = world.command(
        "ended",
        &["devices", "terminate", IMEI, "--config", &settings].map(str::to_owned),
    );
    ended.succeeded();
    unit(&api, order, "terminated");
    becomes(&mut world, IMEI, "terminated");
    instance.signal("TERM");
    instance.succeeded();
    world.end();
}

/// A copy, more provisioning, the copy put back: nothing is provisioned until a person has accepted what registry and MyAdmin show; no
/// unit gets two serials.
#[test]
fn a_restored_store_goes_on_only_when_it_is_recovered() {
    let mut world = open(Broker::shared(), 1);
    world.set("orders.compare_every_s", "1");
    let store = world.path("orders.db");
    let copy = world.path("copy.db");
    let mut instance = world.start_only(Some("orders"), &[]);
    led(&mut instance, "ours");
    let api = instance.address("orders API");
    let first = ordered(&world, "CTD-200", 1);
    unit(&api, first, "provisioned");
    let copied = said(&mut world, &["backup", &copy.display().to_string()]);
    assert!(copied["generation"].as_i64() > Some(0), "{copied:#}");
    let second = ordered(&world, "CTD-200", 1);
    let made = unit(&api, second, "provisioned");
    let serial = made["serial"].as_str().expect("a serial").to_owned();
    assert_eq!(becomes(&mut world, &serial, "pending"), serial.as_str());
    instance.kill();

    for ending in ["", "-wal", "-shm", "-journal"] {
        let file = format!("{}{ending}", store.display());
        if std::path::Path::new(&file).exists() {
            std::fs::remove_file(file).expect("it is ours");
        }
    }
    // Without a store nothing starts, and it says what to do.
    let mut refused = world.start_only(Some("orders"), &[]);
    assert!(!refused.ended().success());
    let why = refused.log();
    for remedy in ["orders init", "orders backup", "orders recover"] {
        assert!(why.contains(remedy), "{why}");
    }
    std::fs::copy(&copy, &store).expect("the copy is put back");
    let mut instance = world.start_only(Some("orders"), &[]);
    led(&mut instance, "ours");
    let api = instance.address("orders API");
    let proof = wait_for("it is found out", || {
        let figures = led(&mut instance, "ours");
        (figures["store"]["proof"] == "unproven").then(|| figures["store"].clone())
    });
    assert!(
        proof["why"]
            .as_str()
            .is_some_and(|why| why.contains("older copy")),
        "{proof:#}"
    );
    assert_eq!(instance.metric("dig_ingest_orders_store_proven"), 0.0);
    unit(&api, second, "ordered");
    assert!(kinds(&mut world).contains(&"store-not-proven".to_owned()));
    let shown = said(&mut world, &["recover"]);
    assert_eq!(
        (&shown["proven"], &shown["accepted"]),
        (&json!(false), &json!(false)),
        "{shown:#}"
    );
    assert_eq!(shown["adopt"][0]["serial"], serial.as_str(), "{shown:#}");
    assert_eq!(world.asked(Operation::ProvisionDeviceToAccount), 2);
    let mut nameless = orders(&mut world, &["recover", "--accept"]);
    assert!(!nameless.ended().success(), "a person must be named");
    let done = said(&mut world, &["recover", "--accept", "--by", "ann"]);
    assert_eq!(done["accepted"], true, "{done:#}");
    assert_eq!(unit(&api, second, "provisioned")["serial"], serial.as_str());
    let third = ordered(&world, "CTD-200", 1);
    unit(&api, third, "provisioned");
    assert_eq!(world.asked(Operation::ProvisionDeviceToAccount), 3);
    let devices = world.gateway.market(|market, _| market.devices().len());
    assert_eq!(devices, 3, "a unit got two serials (P1)");
    instance.signal("TERM");
    instance.succeeded();
    world.end();
}

/// What a newcomer does first: make the store, check everything, then run.
#[test]
fn before_the_first_start_nothing_is_wrong_with_a_registry_that_run_will_make() {
    let mut world = open(Broker::shared(), 1);
    let settings = world.settings_file("check", &[]).display().to_string();
    let args = [
        "check",
        "--connect",
        "--report",
        "json",
        "--config",
        &settings,
    ];
    let registry = |world: &World<'_>, args: &[&str]| {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let (_, report) = world.command("check", &args).report();
        let subject = format!("registry {}.devices", world.topic);
        let checks = report["checks"].as_array().expect("checks").clone();
        let found = checks.into_iter().find(|check| check["subject"] == subject);
        found.unwrap_or_else(|| panic!("{report:#}"))
    };
    let fresh = registry(&world, &args);
    assert_eq!(fresh["ok"], true, "{fresh}");
    assert!(
        fresh["found"]
            .as_str()
            .unwrap()
            .contains("`run` creates it"),
        "{fresh}"
    );
    let by_hand = registry(
        &world,
        &[&args[..], &["--set", "topics.create=false"]].concat(),
    );
    assert_eq!(by_hand["ok"], false, "{by_hand}");
}
