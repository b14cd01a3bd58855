//! Standing still is never green: whatever waits is published with its cause, since when, and the remedy (H1).
//!
//! What is asked is what an orchestrator and a person ask: `/livez`, `/readyz`, `/status`. Every remedy that is printed is done.

use std::time::Duration;

use dig_ingest::sim::{Action, CutAt};
use serde_json::Value;

use crate::kafka::held::{devices, fleet, gated, held, import};
use crate::support::{
    broker::Broker,
    child::Running,
    proxy::{MEMBERSHIP, Proxy},
    wait_for, wait_until,
    world::World,
};

/// How soon what was added or deleted is noticed in these tests.
const REFRESH: (&str, &str) = ("kafka.metadata_refresh_ms", "1000");

/// The first wait of a kind that an instance lists.
fn listed(instance: &mut Running, kind: &str) -> Option<Value> {
    let (_, status) = instance.told("/status");
    let waits = status["waits"].as_array().expect("a list").clone();
    waits.into_iter().find(|wait| wait["kind"] == kind)
}

/// Waits until an instance is alive, not ready, and says that this kind of thing waits; the wait as it lists it.
pub(super) fn not_ready(instance: &mut Running, kind: &str) -> Value {
    let wait = wait_for(&format!("readyz names {kind}"), || {
        let (status, told) = instance.told("/readyz");
        let waits = told["waits"].as_array().expect("a list").clone();
        let wait = waits.into_iter().find(|wait| wait["kind"] == kind)?;
        (status == 503).then_some(wait)
    });
    assert_eq!(
        instance.told("/livez").0,
        200,
        "a restart would not help: {wait:#}"
    );
    for said in ["subject", "cause", "remedy"] {
        assert!(
            wait[said].as_str().is_some_and(|text| !text.is_empty()),
            "{wait:#}"
        );
    }
    wait
}

pub(super) fn ready(instance: &mut Running) {
    wait_until("it is ready", || instance.told("/readyz").0 == 200);
    assert_eq!(instance.told("/livez").0, 200);
}

pub(super) fn text(wait: &Value, member: &str) -> String {
    wait[member].as_str().expect("a text").to_owned()
}

/// librdkafka#3437, confluent-kafka-go#494, jitsu#1491: static members were fenced after a broker's outage, and lived on without
/// partitions while their health was green.
#[test]
fn static_members_come_back_after_a_broker_was_away_beyond_their_session() {
    let broker = Broker::start(&[]);
    let settings = [
        REFRESH,
        ("memory.window_messages", "3000"),
        ("batch.max_records", "100"),
        ("pacing.concurrency_cap", "2"),
        ("pacing.concurrency_start", "1"),
        ("pacing.records_per_s", "1000.0"),
    ];
    let mut world = World::new(&broker, 6, &settings);
    for name in ["one", "two", "three"] {
        let id = format!("{name:?}");
        let instance = world.start_with(&[("kafka.instance_id", &id)]);
        world.instances.push(instance);
    }
    world.until("each has partitions", |world| {
        let all = world.instances.iter_mut();
        let mut counts = all.map(|instance| instance.metric("dig_ingest_partitions_assigned"));
        counts.all(|count| count == 2.0)
    });
    // A backlog that is worked off slowly: there is work in hand and uncommitted when the broker goes.
    world.produced(20_000, &[]);
    world.accepts(2_000);
    broker.kill();
    for instance in &mut world.instances {
        let wait = not_ready(instance, "broker");
        assert!(text(&wait, "remedy").contains("kafka.brokers"), "{wait:#}");
    }
    // Longer than the session, by the clock of the instances themselves.
    world.until("the session is over", |world| {
        let all = world.instances.iter_mut();
        let mut waits = all.filter_map(|instance| listed(instance, "broker"));
        waits.all(|wait| wait["seconds"].as_u64().is_some_and(|seconds| seconds > 8))
    });
    broker.revive();
    broker.restart();
    world.produced(2_000, &[]);
    world.until(
        "everything is read and the work is divided again",
        |world| {
            let all = world.instances.iter_mut();
            let counts: Vec<f64> = all
                .map(|instance| instance.metric("dig_ingest_partitions_assigned"))
                .collect();
            world.accepted() == 22_000
                && counts.iter().sum::<f64>() == 6.0
                && counts.iter().all(|n| *n > 0.0)
        },
    );
    for instance in &mut world.instances {
        ready(instance);
    }
    // An outage is told of for as long as it lasts, and how long that is depends on the machine.
    world.drained();
    world.leave(2_000);
    let report = world.verified(&[]);
    // What was accepted since the last commit may come again, each time partitions change hands: the outage, its end, the returns.
    let duplicated = report["duplicated"].as_u64().expect("a count");
    assert!(duplicated <= 4 * 6 * 3_000, "{report:#}");
    world.end();
}

/// librdkafka#3082, #3396, and seen here after a broker was fenced: the consumer gets no answer about its membership any more and
/// never joins again, although the coordinator answers everybody else.
#[test]
fn a_consumer_whose_group_has_settled_without_it_is_created_again() {
    let proxy = Proxy::open();
    let named = format!(
        "advertised.listeners=PLAINTEXT://127.0.0.1:{}",
        proxy.port()
    );
    let broker = Broker::start(&[&named]);
    proxy.lead_to(broker.address());
    let mut world = World::new(
        &broker,
        2,
        &[
            ("kafka.client_id", "\"silenced\""),
            ("kafka.statistics_interval_ms", "500"),
        ],
    );
    world.join();
    world.produced(500, &[]);
    world.drained();
    proxy.silence("silenced", &MEMBERSHIP);
    let replaced = "dig_ingest_clients_replaced_total{reason=\"out_of_group\"}";
    world.until("the consumer is re-created", |world| {
        world.instances[0].page("/metrics").contains(replaced)
    });
    proxy.end_silence();
    world.produced(500, &[]);
    world.drained();
    assert_eq!(world.accepted(), 1_000);
    ready(&mut world.instances[0]);
    world.finish(0);
}

/// The instance that was fenced first joins again when nobody holds its name any more.
#[test]
fn a_fenced_instance_comes_back_when_its_name_is_free() {
    let mut world = World::new(Broker::shared(), 2, &[]);
    world.set("kafka.instance_id", "\"one\"");
    world.produced(500, &[]);
    let mut first = world.start();
    world.accepts(500);
    let mut second = world.start();
    let wait = not_ready(&mut first, "client");
    second.kill();
    assert!(
        text(&wait, "cause").contains("kafka.instance_id"),
        "{wait:#}"
    );
    world.produced(500, &[]);
    ready(&mut first);
    assert_eq!(first.metric("dig_ingest_clients_replaced_total"), 1.0);
    world.instances.push(first);
    world.accepts(500);
    world.finish(1_000);
}

/// Kafka lets the newest member of a name in and fences the older one; both of one name would fence each other without end.
#[test]
fn of_two_processes_with_one_instance_id_one_ends_with_an_error() {
    let mut world = World::new(Broker::shared(), 2, &[]);
    world.set("kafka.instance_id", "\"one\"");
    world.produced(500, &[]);
    let mut first = world.start();
    world.accepts(500);
    world.join();
    let status = first.ended();
    let log = first.log();
    assert!(!status.success(), "{log}");
    let last = log.lines().last().unwrap_or_default();
    for part in [
        "kafka.instance_id: another process holds \"one\"",
        "give every instance a name of its own",
    ] {
        assert!(last.contains(part), "{log}");
    }
    world.produced(500, &[]);
    world.accepts(500);
    ready(&mut world.instances[0]);
    world.finish(500);
}

/// A gated job over a pattern; the topic of the load is made after its start.
fn before_its_topic<'b>(more: &[(&str, &str)]) -> World<'b> {
    let mut world = gated(Broker::shared(), &[REFRESH]);
    for (key, value) in more {
        world.set(key, value);
    }
    let late = format!("{}-late", world.topic);
    if !more.is_empty() {
        // Somebody else makes the topics, all but the held one.
        for name in ["dead", "invalid", "state", "devices"] {
            world
                .broker
                .topic(&format!("{}.{name}", world.topic), 1, &[]);
        }
    }
    world.set("input.topics", &format!("[\"^{late}$\"]"));
    world.join();
    ready(&mut world.instances[0]);
    world.topic = late;
    world.broker.topic(&world.topic, world.partitions, &[]);
    world
}

/// Loads while nothing is active, then activates everything, and ends the scenario.
fn held_and_released(mut world: World<'_>, records: u64) {
    let fleet = fleet(&world);
    let path = fleet.display().to_string();
    world.produced(records, &["--devices", "10", "--registry", &path]);
    world.until("they are held", |world| held(world) == records as i64);
    import(&mut world, &fleet, |_| Some("active"));
    world.accepts(records);
    let listed = devices(&mut world, &["held"]);
    assert_eq!(listed["records"], 0, "{listed:#}");
    world.finish(0);
}

/// Held topics were made once, at the start: a topic that came later was never read, and health was green.
#[test]
fn an_input_topic_that_appears_after_the_start_is_read_behind_the_gate() {
    held_and_released(before_its_topic(&[]), 1_000);
}

#[test]
fn a_held_topic_that_may_not_be_made_is_named_and_waited_for() {
    let mut world = before_its_topic(&[("topics.create", "false")]);
    let wait = not_ready(&mut world.instances[0], "held_topic");
    let topic = format!("{}.held", world.topic);
    let remedy = text(&wait, "remedy");
    assert!(
        remedy.contains(&format!(
            "create {topic} with {} partitions",
            world.partitions
        )),
        "{wait:#}"
    );
    assert!(text(&wait, "subject").starts_with(&world.topic), "{wait:#}");
    world
        .broker
        .topic(&topic, world.partitions, &[("retention.ms", "-1")]);
    ready(&mut world.instances[0]);
    held_and_released(world, 500);
}

/// New partitions were noticed after 5 minutes, and their held partitions never made.
#[test]
fn partitions_that_are_added_are_read_behind_the_gate() {
    let mut world = gated(Broker::shared(), &[REFRESH, ("memory.partitions", "5")]);
    world.join();
    ready(&mut world.instances[0]);
    world.partitions = 8;
    world.broker.grow(&world.topic, 8);
    world.until("all are assigned", |world| {
        world.instances[0].metric("dig_ingest_partitions_assigned") == 8.0
    });
    let wait = wait_for("the number of partitions is listed", || {
        listed(&mut world.instances[0], "partitions")
    });
    assert!(
        text(&wait, "cause").contains("owns 8 partitions"),
        "{wait:#}"
    );
    assert!(
        text(&wait, "remedy").contains("memory.partitions = 8"),
        "{wait:#}"
    );
    ready(&mut world.instances[0]);
    held_and_released(world, 2_000);
}

/// More partitions than the formula counted break it, and then the instance is not ready.
#[test]
fn more_partitions_than_the_memory_limit_allows_are_named() {
    let mut world = World::new(Broker::shared(), 6, &[]);
    let limit = {
        let settings = dig_ingest::config::Settings::default();
        let needs = |partitions| settings.memory_formula(partitions).total_bytes;
        assert!(needs(6) > needs(2));
        needs(2)
    };
    world.set("memory.partitions", "2");
    world.set("memory.limit_bytes", &limit.to_string());
    world.join();
    let wait = not_ready(&mut world.instances[0], "memory");
    assert!(
        text(&wait, "cause").contains("memory.limit_bytes"),
        "{wait:#}"
    );
    // The remedy: more instances.
    world.join();
    world.join();
    for number in 0..3 {
        ready(&mut world.instances[number]);
    }
    world.leave(150);
    world.end();
}

/// One topic of two was deleted: the group went on with the other one, and nothing told of it.
#[test]
fn a_deleted_input_topic_beside_a_living_one_is_named() {
    let mut world = World::new(Broker::shared(), 2, &[REFRESH]);
    let other = format!("{}-other", world.topic);
    world.broker.topic(&other, 2, &[]);
    world.set("input.topics", &format!("[{:?}, {other:?}]", world.topic));
    world.join();
    ready(&mut world.instances[0]);
    world.broker.delete(&other);
    let wait = not_ready(&mut world.instances[0], "input_topic");
    assert_eq!(wait["subject"], other, "{wait:#}");
    world.produced(1_000, &[]);
    world.accepts(1_000);
    // The remedy that needs no topic: it is not named any more.
    world.leave(150);
    world.instances.clear();
    world.set("input.topics", &format!("[{:?}]", world.topic));
    world.join();
    ready(&mut world.instances[0]);
    world.finish(0);
}

/// A mark that is no number stopped its partition without a word.
#[test]
fn a_mark_that_cannot_be_read_is_named_and_its_remedy_works() {
    let mut world = gated(Broker::shared(), &[]);
    let fleet = fleet(&world);
    let path = fleet.display().to_string();
    world.join();
    world.produced(400, &["--devices", "4", "--registry", &path]);
    world.until("they are held", |world| held(world) == 400);
    world.drained();
    world.leave(150);
    world.instances.clear();
    let (state, held_topic) = (
        format!("{}.state", world.topic),
        format!("{}.held", world.topic),
    );
    let ends = world.broker.ends(&held_topic, world.partitions);
    let partition = ends
        .iter()
        .position(|end| *end > 0)
        .expect("one holds records");
    let key = format!("held-low/{held_topic}/{partition}/");
    world
        .broker
        .write(&state, &key, "a hundred", Duration::ZERO);

    world.join();
    let wait = not_ready(&mut world.instances[0], "state");
    assert_eq!(
        wait["subject"],
        format!("{}/{partition}", world.topic),
        "{wait:#}"
    );
    assert!(text(&wait, "cause").contains("a hundred"), "{wait:#}");
    assert!(text(&wait, "remedy").contains(&key), "{wait:#}");
    world.broker.erase(&state, &key);
    ready(&mut world.instances[0]);
    import(&mut world, &fleet, |_| Some("active"));
    world.accepts(400);
    world.finish(0);
}

/// Partitions find out two at a time what they hold: those that cannot be read keep nobody's turn.
#[test]
fn partitions_whose_marks_cannot_be_read_hold_up_no_other() {
    let mut world = gated(Broker::shared(), &[]);
    let fleet = fleet(&world);
    let path = fleet.display().to_string();
    world.join();
    world.produced(800, &["--devices", "40", "--registry", &path]);
    world.until("they are held", |world| held(world) == 800);
    world.drained();
    world.leave(150);
    world.instances.clear();
    let (state, held_topic) = (
        format!("{}.state", world.topic),
        format!("{}.held", world.topic),
    );
    let ends = world.broker.ends(&held_topic, world.partitions);
    let holding: Vec<usize> = (0..ends.len()).filter(|at| ends[*at] > 0).collect();
    let (sound, broken) = holding.split_last().expect("some hold records");
    assert!(broken.len() > 2, "{ends:?}");
    let keys = broken
        .iter()
        .map(|at| format!("held-low/{held_topic}/{at}/"));
    let keys: Vec<String> = keys.collect();
    for key in &keys {
        world.broker.write(&state, key, "a hundred", Duration::ZERO);
    }

    world.join();
    not_ready(&mut world.instances[0], "state");
    import(&mut world, &fleet, |_| Some("active"));
    let released = u64::try_from(ends[*sound]).expect("a count");
    world.until("the sound one is released", |world| {
        world.accepted() >= released
    });
    for key in &keys {
        world.broker.erase(&state, key);
    }
    ready(&mut world.instances[0]);
    world.accepts(800);
    world.finish(0);
}

/// The registry's topic was deleted under a running job, which went on with what it knew and said nothing.
#[test]
fn a_registry_that_cannot_be_read_any_more_is_named() {
    let mut world = gated(Broker::shared(), &[REFRESH]);
    world.join();
    ready(&mut world.instances[0]);
    let registry = format!("{}.devices", world.topic);
    world.broker.delete(&registry);
    let wait = not_ready(&mut world.instances[0], "registry");
    assert_eq!(wait["subject"], registry, "{wait:#}");
    world.leave(150);
    world.end();
}

/// A gateway that is away for all is no reason to restart anything, and none to call it ready while records wait.
#[test]
fn an_outage_of_the_gateway_is_live_and_not_ready_while_records_wait() {
    let mut world = World::new(Broker::shared(), 2, &[("ops.stall_after_s", "2")]);
    world.join();
    ready(&mut world.instances[0]);
    world.gateway.outage(Some(Action::Cut(CutAt::BeforeBody)));
    world.produced(1_000, &[]);
    let wait = not_ready(&mut world.instances[0], "gateway");
    assert!(text(&wait, "cause").contains("gateway"), "{wait:#}");
    world.gateway.outage(None);
    world.accepts(1_000);
    ready(&mut world.instances[0]);
    world.finish(0);
}
