//! The gateway misbehaves in every way it knows; what it took is taken once or, when it did not say so, again.

use std::time::Instant;

use dig_ingest::sim::{Action, BodyKind, CutAt, Delay, Loss, Operation, Poison, RetryAfter, Rule};

use crate::support::{broker::Broker, world::World};

/// `load`'s marker of records that the gateway is told to refuse.
const MARKER: &str = "REFUSE00000000000";

fn one_instance(settings: &[(&str, &str)]) -> World<'static> {
    let mut world = World::new(Broker::shared(), 4, settings);
    world.join();
    world
}

/// While nothing works, only probes go out: at most one per interval, and what was on its way when it began.
#[test]
fn an_outage_is_waited_out_and_the_gateway_is_not_hammered() {
    let (interval_ms, longest_ms, cap, to_open) = (100, 400, 8, 5);
    let mut world = one_instance(&[
        ("pacing.probe_interval_ms", "100"),
        ("pacing.probe_interval_max_ms", "400"),
        ("pacing.concurrency_cap", "8"),
        ("pacing.failures_to_open", "5"),
        ("pacing.probes", "1"),
    ]);
    world.produced(10_000, &[]);
    world.accepts(1_000);
    world.gateway.outage(Some(Action::Cut(CutAt::BeforeBody)));
    let (from, before) = (Instant::now(), world.asked(Operation::Records));
    let mut load = world.load(20_000, &["--rate", "10000"]);
    world.until("probes have gone out", |world| {
        world.asked(Operation::Records) >= before + cap + to_open + 10
    });
    load.succeeded();
    let made = world.asked(Operation::Records) - before;
    let waited = u64::try_from(from.elapsed().as_millis()).expect("short");
    let allowed = cap + to_open + waited / interval_ms + 1;
    assert!(
        made <= allowed,
        "{made} requests within {waited} ms of outage, at most {allowed} (probes every {interval_ms} to {longest_ms} ms)"
    );
    world.gateway.outage(None);
    world.finish(0);
}

#[test]
fn expired_and_revoked_tokens_cost_no_record() {
    let mut world = World::new(Broker::shared(), 4, &[]);
    world.gateway.change(|settings| {
        settings.bearer_s = 2;
        settings.refresh_s = 4;
        settings.auth_per_minute = 0;
        settings.revoke_delay_ms = 0;
    });
    world.join();
    let mut load = world.load(20_000, &["--rate", "2500"]);
    world.accepts(1_000);
    world.gateway.revoke_all_tokens();
    world.accepts(1_000);
    world.gateway.expire_all_tokens(true);
    world.until("tokens were renewed several times", |world| {
        world.asked(Operation::RefreshToken) + world.asked(Operation::Authenticate) >= 4
    });
    load.succeeded();
    let ending = world.finish(0);
    assert_eq!(ending.letters, 0, "a rejected token makes no dead letter");
}

/// The one case in which the gateway holds records and we cannot know: exactly those come again.
#[test]
fn a_lost_answer_repeats_its_request_and_nothing_else() {
    let mut world = World::new(Broker::shared(), 4, &[("batch.max_records", "200")]);
    world.gateway.faults().push(
        Rule::lose_answer(Loss::Cut)
            .on(Operation::Records)
            .after(3)
            .times(5),
    );
    world.produced(10_000, &[]);
    world.join();
    world.drained();
    let lost = world.gateway.counters().lost_answers;
    assert_eq!(lost, 5);
    let ending = world.finish(5 * 200);
    assert!(
        ending.duplicated > 0,
        "an accepted request whose answer was lost comes again"
    );
}

/// Refused records are found by halving: the good ones go, the bad ones become letters with the gateway's own words.
fn poisoned(shape: &str) {
    const FULL: u64 = 512;
    const RECORDS: u64 = 20_000;
    // As many records twice: once all good, once with marked ones that the gateway refuses.
    let mut requests = Vec::new();
    let mut poisoned = 0;
    for refuse in [false, true] {
        let mut world = World::new(
            Broker::shared(),
            1,
            &[
                ("batch.max_records", "512"),
                ("batch.linger_ms", "1000"),
                ("pacing.concurrency_start", "1"),
                ("pacing.concurrency_cap", "1"),
            ],
        );
        let registry = world.file("devices", "").display().to_string();
        if shape != "native" {
            world.set("registry.file", &format!("{registry:?}"));
            world.set(
                &format!("input.mappings.{}", world.topic),
                &format!("{shape:?}"),
            );
        }
        if refuse {
            world
                .gateway
                .poison(Poison::member("VehicleIdentificationNumber", MARKER));
        }
        let share = if refuse { "0.0004" } else { "0" };
        let mut flags = vec!["--devices", "2000", "--shape", shape];
        flags.extend(["--poison-share", share, "--registry", &registry]);
        let report = world.loaded(RECORDS, &flags);
        poisoned = report["poison"].as_u64().expect("a count");
        world.join();
        world.drained();
        requests.push(world.asked(Operation::Records));
        for letter in world.letters() {
            let header = |name: &str| letter.headers.iter().find(|(given, _)| given == name);
            let said = header("server-text").map(|(_, text)| text.as_str());
            assert!(said.is_some_and(|text| !text.is_empty()), "{letter:?}");
            assert_eq!(header("http-status").unwrap().1, "400");
        }
        let ending = world.finish(0);
        assert_eq!(ending.letters as u64, if refuse { poisoned } else { 0 });
    }
    assert!(poisoned > 0, "the load has no marked record");
    let rounds = u64::from(FULL.ilog2());
    let most = requests[0] + poisoned * (2 * rounds) + poisoned;
    assert!(
        requests[1] <= most,
        "{} requests for {poisoned} refused records, {} without any, at most {most}",
        requests[1],
        requests[0]
    );
}

#[test]
fn poisoned_records_are_isolated_with_few_requests() {
    poisoned("native");
}

/// One record of a message is refused, and the others of the same message are accepted.
#[test]
fn poisoned_records_of_a_vendor_message_are_isolated_too() {
    poisoned("flespi");
}

/// Records that no request can carry become letters with the gateway's own words, those around them go in order, and
/// what was learnt of the gateway's limit is forgotten in time.
#[test]
fn a_single_record_above_the_byte_limit_becomes_a_letter() {
    /// Between a position (at most 190 bytes) and a fault of a heavy vehicle (at least 250).
    const LIMIT: usize = 220;
    let mut world = World::new(
        Broker::shared(),
        2,
        &[
            ("upload.byte_limit_memory_s", "1"),
            ("batch.max_records", "100"),
        ],
    );
    world.gateway.change(|settings| settings.max_bytes = LIMIT);
    let report = world.loaded(600, &["--mix", "gps=20,j1939-fault=1", "--devices", "20"]);
    let large = report["by_type"]["J1939FaultRecord"]
        .as_u64()
        .expect("a count");
    assert!(large > 0, "no record is too large");
    world.sound_letters = large;
    world.join();
    world.instances[0].said("it runs", |line| line.contains("assigned").then_some(()));
    let setting = 4_194_304.0;
    world.until("a smaller limit is learnt", |world| {
        world.instances[0].metric("dig_ingest_upload_byte_limit") < setting
    });
    world.drained();
    for letter in world.letters() {
        let header = |name: &str| letter.headers.iter().find(|(given, _)| given == name);
        assert_eq!(header("http-status").unwrap().1, "413", "{letter:?}");
        assert!(!header("server-text").unwrap().1.is_empty(), "{letter:?}");
        assert!(letter.payload.len() > LIMIT, "{letter:?}");
    }

    // The gateway takes more again: so do we, once the memory of its limit has faded.
    world
        .gateway
        .change(|settings| settings.max_bytes = 4 << 20);
    world.until("the limit is forgotten", |world| {
        world.produced(10, &["--mix", "gps=1"]);
        world.drained();
        world.instances[0].metric("dig_ingest_upload_byte_limit") == setting
    });
    let ending = world.finish(0);
    assert_eq!(ending.letters as u64, large);
}

#[test]
fn requests_that_are_too_large_shrink() {
    let mut world = World::new(Broker::shared(), 4, &[]);
    world.gateway.change(|settings| {
        settings.max_bytes = 40_000;
        settings.max_records = 100;
    });
    world.produced(10_000, &[]);
    world.join();
    let ending = world.finish(0);
    assert_eq!(ending.letters, 0);
}

#[test]
fn a_slow_and_overloaded_gateway_gets_everything_once() {
    let mut world = World::new(Broker::shared(), 4, &[("pacing.throttle_pause_ms", "50")]);
    world
        .gateway
        .faults()
        .push(Rule::delay(Delay::UniformMs(50, 400)).on(Operation::Records));
    world.gateway.faults().push(
        Rule::status(503)
            .retry_after(RetryAfter::Seconds(1))
            .on(Operation::Records)
            .after(2)
            .times(1),
    );
    world
        .gateway
        .faults()
        .push(Rule::status(429).on(Operation::Records).after(4).times(3));
    world.gateway.faults().push(
        Rule::status(503)
            .retry_after(RetryAfter::DateIn(1))
            .on(Operation::Records)
            .after(8)
            .times(1),
    );
    world.gateway.faults().push(
        Rule::status(502)
            .body(BodyKind::Html)
            .on(Operation::Records)
            .after(10)
            .times(2),
    );
    world.join();
    let mut load = world.load(15_000, &["--rate", "5000"]);
    load.succeeded();
    world.finish(0);
}
