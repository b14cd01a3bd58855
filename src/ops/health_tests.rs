use super::super::journey::Journey;
use super::super::status::{Membership, Position, Totals, Waiting as Held};
use super::super::waits::Published;
use super::*;

const LIMIT: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(61);

/// A partition that is all read, settled and committed.
fn quiet(start: Instant) -> Partition {
    Partition {
        topic: "telemetry".to_owned(),
        partition: 3,
        totals: Totals {
            read: 6,
            accepted: 4,
            dead_lettered: 1,
            held: 1,
            discarded: 0,
        },
        waiting: Held::default(),
        watermark: Some(41),
        position: Position {
            next: Some(41),
            end: Some(41),
            stable: Some(41),
            committed: Some(41),
        },
        pause: Pause::None,
        paused: start,
        progress: start,
        read: start,
        confirmed: start,
        released: start,
    }
}

/// The same with four records in hand.
fn busy(start: Instant) -> Partition {
    let mut partition = quiet(start);
    partition.totals.read += 4;
    partition
}

fn unread(start: Instant) -> Partition {
    let mut partition = quiet(start);
    (partition.position.end, partition.position.stable) = (Some(50), Some(50));
    partition
}

fn uncommitted(start: Instant) -> Partition {
    let mut partition = quiet(start);
    partition.position.committed = Some(7);
    partition
}

fn releasing(start: Instant) -> Partition {
    let mut partition = quiet(start);
    partition.waiting.releasing = 2;
    partition
}

fn paused(start: Instant, pause: Pause) -> Partition {
    Partition {
        pause,
        ..busy(start)
    }
}

fn snapshot(start: Instant, partitions: Vec<Partition>) -> Snapshot {
    Snapshot {
        log_changes: Vec::new(),
        started: start,
        streams: true,
        journey: None,
        inputs: true,
        assigned: true,
        assigned_since: start,
        membership: Some(Membership {
            steady: true,
            states: "coordinator up, join steady".to_owned(),
            since: start,
        }),
        logged_in: true,
        registry_read: true,
        polled: None,
        memory_full: false,
        partitions,
        waits: Vec::new(),
    }
}

fn published(kind: Kind, subject: &str, since: Instant) -> Published {
    Published {
        kind,
        subject: subject.to_owned(),
        since,
        cause: "cause".to_owned(),
        remedy: "remedy".to_owned(),
    }
}

/// What is found after just not too long, and after too long: live, ready, and the kind of the gravest wait.
type Row = (&'static str, Snapshot, Answer, Answer);
type Answer = (bool, bool, Option<Kind>);

const GREEN: Answer = (true, true, None);

fn listed(kind: Kind) -> Answer {
    (true, true, Some(kind))
}

fn not_ready(kind: Kind) -> Answer {
    (true, false, Some(kind))
}

fn not_live(kind: Kind) -> Answer {
    (false, false, Some(kind))
}

fn rows(start: Instant) -> Vec<Row> {
    let with = |partition: Partition| snapshot(start, vec![partition]);
    let change = |act: &dyn Fn(&mut Snapshot)| {
        let mut changed = snapshot(start, vec![quiet(start)]);
        act(&mut changed);
        changed
    };
    let beside = |mut snapshot: Snapshot, kind: Kind, subject: &str| {
        snapshot.waits.push(published(kind, subject, start));
        snapshot
    };
    let membership = |steady| {
        Some(Membership {
            steady,
            states: "up, wait-join".to_owned(),
            since: start,
        })
    };
    vec![
        ("an idle topic", with(quiet(start)), GREEN, GREEN),
        (
            "no partitions for this instance",
            snapshot(start, Vec::new()),
            GREEN,
            GREEN,
        ),
        (
            "records in hand, none settled",
            with(busy(start)),
            GREEN,
            not_live(Kind::Settling),
        ),
        (
            "messages there, none read",
            with(unread(start)),
            GREEN,
            not_live(Kind::Reading),
        ),
        (
            "messages there, hidden by an open transaction",
            {
                let mut partition = unread(start);
                partition.position.stable = Some(41);
                with(partition)
            },
            GREEN,
            not_ready(Kind::Reading),
        ),
        (
            "messages there, none read, as others have all memory",
            Snapshot {
                memory_full: true,
                ..with(unread(start))
            },
            GREEN,
            not_ready(Kind::Reading),
        ),
        (
            "messages there, none read, as the batch is corrupt",
            beside(with(unread(start)), Kind::Batch, "telemetry/3"),
            not_ready(Kind::Batch),
            not_ready(Kind::Batch),
        ),
        (
            "messages there, none read, as no broker answers",
            beside(with(unread(start)), Kind::Broker, "broker"),
            not_ready(Kind::Broker),
            not_ready(Kind::Broker),
        ),
        (
            "messages there, none read, while another partition waits",
            beside(with(unread(start)), Kind::Batch, "telemetry/4"),
            not_ready(Kind::Batch),
            not_live(Kind::Reading),
        ),
        (
            "one device in quarantine explains nothing",
            beside(with(busy(start)), Kind::Quarantine, "telemetry/3"),
            listed(Kind::Quarantine),
            not_live(Kind::Settling),
        ),
        (
            "messages there, none read, as the window is full of what is not committed",
            {
                let mut partition = uncommitted(start);
                partition.position.end = Some(50);
                with(partition)
            },
            GREEN,
            not_ready(Kind::Commit),
        ),
        (
            "messages there, none read, and no statistics to tell control records by",
            Snapshot {
                membership: None,
                ..with(unread(start))
            },
            GREEN,
            not_ready(Kind::Reading),
        ),
        (
            "settled, not committed",
            with(uncommitted(start)),
            GREEN,
            not_ready(Kind::Commit),
        ),
        (
            "a release that stands still",
            with(releasing(start)),
            GREEN,
            not_ready(Kind::HeldTopic),
        ),
        (
            "the gateway is away and records wait",
            with(paused(start, Pause::Gateway)),
            listed(Kind::Gateway),
            not_ready(Kind::Gateway),
        ),
        (
            "the gateway is away and nothing waits",
            beside(with(quiet(start)), Kind::Gateway, "gateway"),
            listed(Kind::Gateway),
            listed(Kind::Gateway),
        ),
        (
            "the gateway is away, published, and records wait",
            beside(
                with(paused(start, Pause::Gateway)),
                Kind::Gateway,
                "gateway",
            ),
            listed(Kind::Gateway),
            not_ready(Kind::Gateway),
        ),
        (
            "the gateway refuses us",
            with(paused(start, Pause::Alarm)),
            not_ready(Kind::GatewayRefuses),
            not_ready(Kind::GatewayRefuses),
        ),
        (
            "letters cannot be written",
            with(paused(start, Pause::DeadLetter)),
            not_ready(Kind::Letter),
            not_ready(Kind::Letter),
        ),
        (
            "the held topic is being read",
            with(paused(start, Pause::Held)),
            listed(Kind::HeldTopic),
            not_ready(Kind::HeldTopic),
        ),
        (
            "a partition is given back",
            with(paused(start, Pause::Draining)),
            listed(Kind::Draining),
            listed(Kind::Draining),
        ),
        (
            "no partitions assigned yet",
            change(&|s| s.assigned = false),
            not_ready(Kind::Group),
            not_ready(Kind::Group),
        ),
        (
            "no topic to read, so no group to join",
            change(&|s| (s.assigned, s.inputs) = (false, false)),
            GREEN,
            GREEN,
        ),
        (
            "a rebalance that does not end",
            change(&|s| s.membership = membership(false)),
            GREEN,
            not_ready(Kind::Group),
        ),
        (
            "a member of the group",
            change(&|s| s.membership = membership(true)),
            GREEN,
            GREEN,
        ),
        (
            "no login yet",
            change(&|s| s.logged_in = false),
            not_ready(Kind::Gateway),
            not_ready(Kind::Gateway),
        ),
        (
            "records in hand, none settled, as no login has succeeded",
            Snapshot {
                logged_in: false,
                ..with(busy(start))
            },
            not_ready(Kind::Gateway),
            not_ready(Kind::Gateway),
        ),
        (
            "messages there, none read, as no login has succeeded",
            Snapshot {
                logged_in: false,
                ..with(unread(start))
            },
            not_ready(Kind::Gateway),
            not_ready(Kind::Gateway),
        ),
        (
            "the registry is not read yet",
            change(&|s| s.registry_read = false),
            not_ready(Kind::Registry),
            not_ready(Kind::Registry),
        ),
        (
            "orders only",
            change(&|s| {
                s.streams = false;
                s.assigned = false;
                s.logged_in = false;
                s.partitions.clear();
            }),
            GREEN,
            GREEN,
        ),
        (
            "the consumer thread does not poll",
            change(&|s| s.polled = Some(start)),
            GREEN,
            not_live(Kind::ConsumerThread),
        ),
        (
            "the orders store has not answered",
            change(&|s| s.journey = Some(journey(start, None))),
            not_ready(Kind::Store),
            not_live(Kind::StoreSilent),
        ),
        (
            "the orders store refuses",
            change(&|s| s.journey = Some(journey(start + LONG, Some("disk full")))),
            not_ready(Kind::Store),
            not_ready(Kind::Store),
        ),
    ]
}

fn journey(answered: Instant, trouble: Option<&str>) -> Journey {
    Journey {
        figures: None,
        trouble: trouble.map(str::to_owned),
        answered,
        worked: answered,
    }
}

#[test]
fn every_row_of_the_table_is_judged_as_it_says() {
    let start = Instant::now();
    for (what, snapshot, soon, late) in rows(start) {
        for (now, expected) in [(start + LIMIT, soon), (start + LONG, late)] {
            let health = judge(&snapshot, now, LIMIT);
            let gravest = health.waits.first().map(|wait| wait.kind);
            assert_eq!(
                (health.live, health.ready, gravest),
                expected,
                "{what}: {health:?}"
            );
        }
    }
}

#[test]
fn every_kind_that_is_published_has_its_own_effect() {
    let start = Instant::now();
    for kind in Kind::ALL {
        let mut one = snapshot(start, Vec::new());
        one.waits.push(published(kind, "subject", start));
        let health = judge(&one, start + LONG, LIMIT);
        let effect = match kind {
            // Nothing waits for it here.
            Kind::Gateway => Effect::Reported,
            kind => kind.effect(),
        };
        assert_eq!(health.waits[0].effect, effect, "{kind:?}");
        assert_eq!(health.live, effect < Effect::NotLive, "{kind:?}");
        assert_eq!(health.ready, effect < Effect::NotReady, "{kind:?}");
        assert_eq!(health.waits[0].seconds, LONG.as_secs());
    }
}

#[test]
fn a_broker_that_is_away_comes_before_what_waits_for_it() {
    let start = Instant::now();
    let mut one = snapshot(start, Vec::new());
    one.waits
        .push(published(Kind::Registry, "dig.devices", start));
    let later = start + Duration::from_secs(1);
    one.waits.push(published(Kind::Broker, "brokers", later));
    one.waits
        .push(published(Kind::Settling, "telemetry/0", later));
    let health = judge(&one, start + LONG, LIMIT);
    let kinds: Vec<_> = health.waits.iter().map(|wait| wait.kind).collect();
    assert_eq!(kinds[..3], [Kind::Settling, Kind::Broker, Kind::Registry]);
}

#[test]
fn every_wait_names_a_cause_and_a_remedy() {
    let start = Instant::now();
    for (what, snapshot, ..) in rows(start) {
        for wait in judge(&snapshot, start + LONG, LIMIT).waits {
            assert!(!wait.cause.is_empty() && !wait.remedy.is_empty(), "{what}");
            assert!(!wait.subject.is_empty(), "{what}");
        }
    }
}

#[test]
fn the_gravest_comes_first_and_every_partition_that_waits_is_listed() {
    let start = Instant::now();
    let mut other = paused(start, Pause::DeadLetter);
    other.partition = 4;
    let all = snapshot(start, vec![other, busy(start)]);
    let health = judge(&all, start + LONG, LIMIT);
    let found: Vec<_> = health
        .waits
        .iter()
        .map(|wait| (wait.kind, wait.subject.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (Kind::Settling, "telemetry/3"),
            (Kind::Letter, "telemetry/4")
        ]
    );
}

#[test]
fn what_a_part_has_published_is_not_said_a_second_time() {
    let start = Instant::now();
    let mut one = snapshot(start, vec![paused(start, Pause::DeadLetter)]);
    one.waits
        .push(published(Kind::Letter, "telemetry/3", start));
    let health = judge(&one, start + LONG, LIMIT);
    assert_eq!(health.waits.len(), 1);
    assert_eq!(health.waits[0].cause, "cause");
}
