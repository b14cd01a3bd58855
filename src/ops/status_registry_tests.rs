use super::super::health::{Health, judge};
use super::*;

const LIMIT: Duration = Duration::from_secs(60);

/// A board of an instance that has begun its work.
fn begun(start: Instant) -> Arc<StatusRegistry> {
    let board = StatusRegistry::new(start);
    board.set_assigned(true);
    board.set_logged_in(true);
    board.set_registry_read(true);
    board.set_membership(true, "up, steady".to_owned(), start);
    board
}

fn at(board: &StatusRegistry, now: Instant) -> Health {
    judge(&board.snapshot(), now, LIMIT)
}

#[test]
fn an_idle_partition_gets_the_whole_time_from_its_first_record() {
    let start = Instant::now();
    let board = begun(start);
    let slot = board.open(&TopicPartition::new("telemetry", 0), start);
    let first = start + LIMIT * 10;
    slot.post(
        Totals {
            read: 5,
            ..Totals::default()
        },
        None,
        first,
    );
    assert!(at(&board, first + LIMIT).live);
    // More records without a settled one are no progress.
    slot.post(
        Totals {
            read: 9,
            ..Totals::default()
        },
        None,
        first + LIMIT,
    );
    assert!(!at(&board, first + LIMIT * 2).live);
    slot.post(
        Totals {
            read: 9,
            accepted: 1,
            ..Totals::default()
        },
        Some(1),
        first + LIMIT * 2,
    );
    assert!(at(&board, first + LIMIT * 2).live);
    assert_eq!(board.snapshot().partitions[0].watermark, Some(1));
}

#[test]
fn the_end_of_a_pause_starts_the_time_anew() {
    let start = Instant::now();
    let board = begun(start);
    let slot = board.open(&TopicPartition::new("telemetry", 0), start);
    slot.post(
        Totals {
            read: 5,
            ..Totals::default()
        },
        None,
        start,
    );
    slot.pause(Pause::Gateway, start);
    assert!(at(&board, start + LIMIT * 5).live);
    slot.pause(Pause::None, start + LIMIT * 5);
    assert!(at(&board, start + LIMIT * 6).live);
    assert!(!at(&board, start + LIMIT * 7).live);
}

#[test]
fn a_dropped_slot_leaves_the_board() {
    let now = Instant::now();
    let board = StatusRegistry::new(now);
    let (one, two) = (
        board.open(&TopicPartition::new("b", 1), now),
        board.open(&TopicPartition::new("a", 2), now),
    );
    assert_eq!(board.snapshot().partitions.len(), 2);
    assert_eq!(board.snapshot().partitions[0].topic, "a");
    drop(one);
    assert_eq!(board.snapshot().partitions[0].partition, 2);
    drop(two);
    assert!(board.snapshot().partitions.is_empty());
}

#[test]
fn readiness_follows_the_parts_that_run() {
    let now = Instant::now();
    let board = StatusRegistry::new(now);
    board.set_streams(false);
    assert!(at(&board, now).ready);
    let slot = board.open_journey(now);
    assert!(!at(&board, now).ready);
    let figures = journey::Figures {
        lead: journey::Lead::Waiting {
            holder: "another".to_owned(),
        },
        store: journey::Proof {
            store: "a".to_owned(),
            generation: 1,
            proof: "proven",
            why: String::new(),
            since: String::new(),
        },
        orders: [].into(),
        units: [].into(),
        parked: 0,
        alarms: 0,
        outbox_waiting: 0,
        oldest_open_s: None,
        waits: std::collections::BTreeMap::new(),
    };
    slot.post(figures, now);
    assert!(
        at(&board, now).ready,
        "who waits for the lease is ready (J1)"
    );
    slot.fail("locked".to_owned(), now + LIMIT);
    let health = at(&board, now + LIMIT * 2);
    assert_eq!(
        (health.waits[0].kind, health.waits[0].seconds),
        (Kind::Store, 120)
    );
    assert_eq!(
        (health.live, health.ready),
        (true, false),
        "a restart does not help a store that refuses (J2)"
    );
    let health = at(&board, now + LIMIT * 3);
    assert_eq!(
        (health.live, health.waits[0].kind),
        (false, Kind::StoreSilent)
    );
}

#[test]
fn what_comes_after_everything_was_read_or_committed_gets_the_whole_time() {
    let start = Instant::now();
    let board = begun(start);
    let slot = board.open(&TopicPartition::new("telemetry", 0), start);
    let feed = slot.feed();
    let position = |next, end, committed| Position {
        next: Some(next),
        end: Some(end),
        stable: Some(end),
        committed: Some(committed),
    };
    feed.post(position(5, 5, 5), start);
    let later = start + LIMIT * 10;
    feed.post(position(5, 9, 5), later);
    assert!(at(&board, later + LIMIT).live);
    // Asked again, nothing has moved.
    feed.post(position(5, 9, 5), later + LIMIT);
    let health = at(&board, later + LIMIT * 2);
    assert_eq!((health.live, health.waits[0].kind), (false, Kind::Reading));
    feed.post(position(9, 9, 5), later + LIMIT * 2);
    assert!(at(&board, later + LIMIT * 2).live);

    slot.post(Totals::default(), Some(9), later + LIMIT * 2);
    feed.post(position(9, 9, 5), later + LIMIT * 3);
    let health = at(&board, later + LIMIT * 4);
    assert_eq!(
        (health.ready, health.waits[0].kind),
        (false, Kind::Commit),
        "{health:?}"
    );
    feed.post(position(9, 9, 9), later + LIMIT * 4);
    assert!(at(&board, later + LIMIT * 100).ready);
}

#[test]
fn a_published_wait_is_judged_until_it_is_dropped() {
    let now = Instant::now();
    let board = begun(now);
    let wait = board.wait(Kind::Batch, "telemetry/0", "it is corrupt", "step over it");
    let health = at(&board, Instant::now());
    assert_eq!((health.live, health.ready), (true, false));
    assert_eq!(health.waits[0].remedy, "step over it");
    drop(wait);
    assert!(at(&board, now).ready);
}

#[test]
fn a_question_is_answered_once_by_every_partition() {
    let now = Instant::now();
    let board = StatusRegistry::new(now);
    let (first, second) = (
        board.open(&TopicPartition::new("telemetry", 0), now),
        board.open(&TopicPartition::new("telemetry", 1), now),
    );
    let held = |records| HeldOf {
        records,
        bytes: 10 * records,
        since_ms: Some(1),
        reason: "device.pending".into(),
    };
    // Before a question nothing is looked up.
    first.answer(|_| panic!("nobody asked"));
    let question = board.ask_held(vec!["truck".into(), "CX1".into()]);
    assert_eq!(board.held_of(question), None);
    first.answer(|name| (name == "CX1").then(|| held(3)));
    first.answer(|_| panic!("it was answered"));
    assert_eq!(board.held_of(question), None);
    second.answer(|_| None);
    let answer = vec![(TopicPartition::new("telemetry", 0), held(3))];
    assert_eq!(board.held_of(question), Some(answer));
    let younger = board.ask_held(vec!["van".into()]);
    assert_eq!(board.held_of(younger), None);
    drop(first);
    second.answer(|_| Some(held(1)));
    assert_eq!(board.held_of(younger).map(|held| held.len()), Some(1));
}
