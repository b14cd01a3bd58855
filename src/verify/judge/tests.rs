use proptest::prelude::*;

use super::*;
use crate::load::manifest::run_of;
use crate::load::plan::{Plan, sample};
use crate::load::{Tally, put_message};

type Arrival = (String, RecordType, i64);

/// The records of a plan that must be accepted, per serial, in order.
fn acceptable(plan: &Plan, messages: u64) -> (Vec<Run>, Vec<Vec<Arrival>>) {
    let mut tally = Tally::default();
    for number in 0..messages {
        let (device, nth) = plan.sender(number);
        put_message(
            &mut Vec::new(),
            plan,
            &plan.device(device),
            nth,
            plan.ticks_per_message(),
            &mut tally,
        );
    }
    let runs: Vec<Run> = (0..plan.devices)
        .filter_map(|device| {
            run_of(
                plan,
                &plan.device(device),
                &tally,
                &std::collections::HashSet::new(),
            )
        })
        .collect();
    let arrivals = runs
        .iter()
        .map(|run| {
            let mut track = Track::default();
            track.add(run).unwrap();
            (0..track.records.len() as u32)
                .filter(|place| track.records[*place as usize] & FATE == 0)
                .map(|place| {
                    let kind = RecordType::ALL[(track.records[place as usize] & KIND) as usize];
                    (
                        run.serial.clone(),
                        kind,
                        track.segment_of(place).time_of(place),
                    )
                })
                .collect()
        })
        .collect();
    (runs, arrivals)
}

fn judge_of(runs: &[Run]) -> Judge {
    let mut judge = Judge::new();
    for run in runs {
        judge.add(run).unwrap();
    }
    judge
}

fn arrive(judge: &mut Judge, arrivals: &[Arrival]) {
    for (serial, kind, time) in arrivals {
        judge.arrive(serial, Some(*kind), *time);
    }
}

/// Interleaves the serials as `picks` say, keeping each one's order.
fn interleave(per_serial: &[Vec<Arrival>], picks: &[usize]) -> Vec<Arrival> {
    let mut queues: Vec<_> = per_serial.iter().map(|of| of.iter()).collect();
    let mut all = Vec::new();
    for pick in picks {
        let at = pick % queues.len();
        all.extend(queues[at].next().cloned());
    }
    all.extend(queues.into_iter().flatten().cloned());
    all
}

fn plans() -> impl Strategy<Value = Plan> {
    (any::<u64>(), 1_u32..6, 0..3_u8, 1_u32..4).prop_map(|(seed, devices, spoiled, backlog)| {
        let share = f64::from(spoiled) / 10.0;
        Plan {
            seed,
            devices,
            backlog,
            bad_share: share,
            poison_share: share / 2.0,
            late_share: share,
            ..sample()
        }
    })
}

proptest! {
    #[test]
    fn a_faithful_ledger_is_sound(plan in plans(), picks in prop::collection::vec(0..100_usize, 0..200)) {
        let (runs, per_serial) = acceptable(&plan, 200);
        let mut judge = judge_of(&runs);
        let all = interleave(&per_serial, &picks);
        arrive(&mut judge, &all);
        let verdict = judge.verdict();
        prop_assert!(verdict.is_sound());
        prop_assert_eq!((verdict.duplicated, verdict.unseen, judge.missing()), (0, 0, 0));
        prop_assert_eq!((verdict.expected, verdict.accepted, verdict.ledger), (all.len() as u64, all.len() as u64, all.len() as u64));
        prop_assert_eq!(verdict.expected + verdict.expected_rejected + verdict.expected_refused, 200);
    }

    /// Removed, repeated, overtaken and made-up records are each counted exactly.
    #[test]
    fn injected_faults_are_counted_exactly(
        plan in plans(),
        picks in prop::collection::vec(0..100_usize, 0..200),
        faults in prop::collection::vec((0..4_u8, any::<prop::sample::Index>()), 0..40),
    ) {
        let (runs, mut per_serial) = acceptable(&plan, 200);
        let expected: u64 = per_serial.iter().map(|of| of.len() as u64).sum();
        let (mut lost, mut reordered) = (0, 0);
        // Within a serial: losses and exchanged neighbours, each pair at most once so that the count is known.
        for of in &mut per_serial {
            let mut touched = vec![false; of.len() + 1];
            let mut gone = vec![false; of.len()];
            for (fault, at) in &faults {
                if of.len() < 2 { continue; }
                let at = at.index(of.len() - 1);
                if touched[at] || touched[at + 1] { continue; }
                match fault {
                    0 => { gone[at] = true; touched[at] = true; lost += 1; }
                    1 => { of.swap(at, at + 1); touched[at] = true; touched[at + 1] = true; reordered += 1; }
                    _ => {}
                }
            }
            let mut keep = gone.iter().map(|gone| !gone);
            of.retain(|_| keep.next().unwrap());
        }
        let mut all = interleave(&per_serial, &picks);
        let (mut duplicated, mut phantom) = (0, 0);
        for (fault, at) in &faults {
            if all.is_empty() { continue; }
            let at = at.index(all.len());
            match fault {
                // A repeat somewhere behind it; behind is anywhere up to the end.
                2 => { let again = all[at].clone(); all.push(again); duplicated += 1; }
                3 => { all.insert(at, ("CX0000000000".to_owned(), RecordType::Gps, 1)); phantom += 1; }
                _ => {}
            }
        }
        // Repeats of made-up records are made up as well.
        let made_up = all.iter().filter(|(serial, ..)| serial == "CX0000000000").count() as u64;
        duplicated -= made_up - phantom;
        phantom = made_up;
        let mut judge = judge_of(&runs);
        arrive(&mut judge, &all);
        let verdict = judge.verdict();
        prop_assert_eq!(
            (verdict.lost, verdict.reordered, verdict.duplicated, verdict.phantom),
            (lost, reordered, duplicated, phantom)
        );
        prop_assert_eq!(verdict.expected, expected);
        prop_assert_eq!(verdict.ledger, verdict.accepted + verdict.duplicated + verdict.phantom);
        prop_assert_eq!(verdict.expected, verdict.accepted - verdict.accepted_unconfirmed + verdict.lost);
        prop_assert_eq!(judge.missing(), lost);
    }

    /// Against a plain model: any ledger made of the plan's records, in any order and number.
    #[test]
    fn any_ledger_agrees_with_a_plain_model(
        plan in plans(),
        chosen in prop::collection::vec(any::<prop::sample::Index>(), 0..300),
    ) {
        let (runs, per_serial) = acceptable(&plan, 100);
        let flat: Vec<(usize, usize)> =
            per_serial.iter().enumerate().flat_map(|(s, of)| (0..of.len()).map(move |p| (s, p))).collect();
        prop_assume!(!flat.is_empty());
        let ledger: Vec<(usize, usize)> = chosen.iter().map(|at| flat[at.index(flat.len())]).collect();
        let mut judge = judge_of(&runs);
        for (serial, place) in &ledger {
            arrive(&mut judge, std::slice::from_ref(&per_serial[*serial][*place]));
        }
        let mut firsts: Vec<(usize, usize)> = Vec::new();
        for entry in &ledger {
            if !firsts.contains(entry) { firsts.push(*entry); }
        }
        let reordered = firsts.iter().enumerate()
            .filter(|(at, (serial, place))| firsts[..*at].iter().any(|(s, p)| s == serial && p > place))
            .count() as u64;
        let verdict = judge.verdict();
        prop_assert_eq!(verdict.accepted, firsts.len() as u64);
        prop_assert_eq!(verdict.duplicated, (ledger.len() - firsts.len()) as u64);
        prop_assert_eq!(verdict.lost, (flat.len() - firsts.len()) as u64);
        prop_assert_eq!(verdict.reordered, reordered);
        prop_assert_eq!(verdict.phantom, 0);
    }
}

fn run(kinds: &str) -> Run {
    Run {
        serial: "CX1".to_owned(),
        start: 1_000_000,
        step: 1_000,
        kinds: kinds.to_owned(),
        ..Run::default()
    }
}

#[test]
fn rejected_and_refused_records_in_the_ledger_are_phantoms() {
    let mut judge = judge_of(&[Run {
        bad: vec![0],
        poison: vec![1],
        ..run("G3")
    }]);
    for place in 0..3 {
        judge.arrive("CX1", Some(RecordType::Gps), 1_000_000 + place * 1_000);
    }
    let verdict = judge.verdict();
    assert_eq!((verdict.phantom, verdict.accepted, verdict.lost), (2, 1, 0));
    assert!(
        verdict.examples.phantom[0].why.contains("reject")
            && verdict.examples.phantom[1].why.contains("refuse")
    );
    assert_eq!(verdict.examples.phantom[0].place, Some(0));
}

#[test]
fn an_unconfirmed_record_may_arrive_or_not() {
    let mut judge = judge_of(&[Run {
        unknown: vec![0, 1],
        ..run("G3")
    }]);
    judge.arrive("CX1", Some(RecordType::Gps), 1_001_000);
    judge.arrive("CX1", Some(RecordType::Gps), 1_002_000);
    let verdict = judge.verdict();
    assert!(verdict.is_sound());
    assert_eq!(
        (
            verdict.expected,
            verdict.accepted,
            verdict.accepted_unconfirmed,
            verdict.unseen
        ),
        (1, 2, 1, 1)
    );
}

#[test]
fn records_of_one_message_share_a_time_and_have_an_order() {
    let mut judge = judge_of(&[run("G+SG+S")]);
    let arrivals = [
        (RecordType::Status, 0),
        (RecordType::GenericStatus, 0),
        (RecordType::Gps, 0),
        (RecordType::Gps, 1),
    ];
    for (kind, tick) in arrivals {
        judge.arrive("CX1", Some(kind), 1_000_000 + tick * 1_000);
    }
    let verdict = judge.verdict();
    assert_eq!(
        (
            verdict.phantom,
            verdict.reordered,
            verdict.lost,
            verdict.accepted
        ),
        (1, 1, 1, 3)
    );
    assert_eq!(
        verdict.examples.lost[0].date_time,
        "1970-01-01T00:00:01.001000Z"
    );
}

#[test]
fn runs_of_a_serial_follow_each_other_and_manifests_do_not() {
    let later = Run {
        start: 2_000_000,
        ..run("G2")
    };
    let arrivals = [2_000_000, 1_000_000];
    let mut one = judge_of(&[run("G"), later.clone()]);
    let mut two = judge_of(&[run("G")]);
    two.next_manifest();
    two.add(&later).unwrap();
    for judge in [&mut one, &mut two] {
        for time in arrivals {
            judge.arrive("CX1", Some(RecordType::Gps), time);
        }
    }
    assert_eq!((one.verdict().reordered, two.verdict().reordered), (1, 0));
    assert_eq!((one.verdict().lost, two.verdict().lost), (1, 1));
}

#[test]
fn a_record_in_two_manifests_is_an_error_that_says_what_to_do() {
    let mut judge = judge_of(&[run("G4")]);
    judge.next_manifest();
    assert!(
        judge
            .add(&Run {
                start: 1_000_500,
                ..run("G4")
            })
            .is_ok()
    );
    assert!(
        judge
            .add(&Run {
                start: 1_002_000,
                ..run("S4")
            })
            .is_ok()
    );
    let error = judge
        .add(&Run {
            start: 1_002_000,
            ..run("G4")
        })
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("--run-id") && error.contains("CX1"),
        "{error}"
    );
}

#[test]
fn a_run_that_contradicts_itself_is_an_error() {
    let mut judge = Judge::new();
    let wrong = [
        run(""),
        run("X"),
        run("+G"),
        Run {
            step: 0,
            ..run("G")
        },
        Run {
            bad: vec![2],
            ..run("G2")
        },
        Run {
            swapped: vec![0, 1],
            ..run("G4")
        },
    ];
    for run in wrong {
        assert!(judge.add(&run).is_err(), "{run:?}");
    }
}

fn letter<'a>(
    subject: &'a str,
    identity: Option<(RecordType, i64)>,
    source: u64,
) -> DeadLetter<'a> {
    DeadLetter {
        subject,
        identity,
        source,
        reason: "some.rule",
        held: false,
    }
}

/// V3: with letters every record is somewhere, and a letter stands for one record once.
#[test]
fn with_letters_every_record_is_accounted_for() {
    let mut judge = Judge::new();
    judge
        .add(&Run {
            device: "imei".to_owned(),
            bad: vec![1, 3],
            poison: vec![4],
            ..run("G6")
        })
        .unwrap();
    let time = |place: i64| run("G6").start + place * run("G6").step;
    let serial = run("G6").serial;
    for place in [0, 2] {
        judge.arrive(&serial, Some(RecordType::Gps), time(place));
    }
    assert_eq!((judge.verdict().lost, judge.is_complete()), (1, false));
    judge.expect_letters();
    assert_eq!(
        judge.verdict().lost,
        4,
        "the rejected ones must be somewhere too"
    );

    // One that says what it is, twice; one that only its device id names; one of a stranger.
    judge.letter(&letter(&serial, Some((RecordType::Gps, time(1))), 1));
    judge.letter(&letter(&serial, Some((RecordType::Gps, time(1))), 1));
    judge.letter(&letter("imei", None, 2));
    judge.letter(&letter("nobody", None, 3));
    let verdict = judge.verdict();
    let letters = verdict.letters.unwrap();
    assert_eq!((letters.read, letters.repeated, letters.strange), (4, 1, 1));
    assert_eq!((letters.dead_lettered, verdict.lost), (2, 2));
    assert_eq!(letters.reasons["some.rule"], 2);

    // A sound record in a letter is not lost, but said; a held one that was accepted is just accepted.
    judge.letter(&letter(&serial, Some((RecordType::Gps, time(5))), 4));
    judge.letter(&letter(&serial, Some((RecordType::Gps, time(4))), 5));
    judge.letter(&DeadLetter {
        held: true,
        ..letter(&serial, Some((RecordType::Gps, time(0))), 6)
    });
    let verdict = judge.verdict();
    let letters = verdict.letters.unwrap();
    assert_eq!(
        (
            letters.dead_lettered,
            letters.dead_lettered_sound,
            letters.held
        ),
        (4, 1, 0)
    );
    assert_eq!((verdict.lost, judge.is_complete()), (0, true));
    let came_to = judge.came_to(&serial);
    assert_eq!(
        (came_to.records, came_to.accepted, came_to.dead_lettered),
        (6, 2, 3),
        "the one that only its device id names cannot be told"
    );
    assert_eq!((came_to.held, came_to.released, came_to.waiting), (1, 1, 0));

    // A letter of an accepted record.
    judge.letter(&letter(&serial, Some((RecordType::Gps, time(2))), 7));
    let letters = judge.verdict().letters.unwrap();
    assert_eq!(letters.dead_lettered_accepted, 1);
}

#[test]
fn a_nameless_letter_stands_for_one_rejected_record() {
    let mut judge = Judge::new();
    judge
        .add(&Run {
            bad: vec![0, 1],
            ..run("G3")
        })
        .unwrap();
    let serial = run("G3").serial;
    judge.letter(&letter(&serial, None, 1));
    let verdict = judge.verdict();
    assert_eq!(
        (verdict.lost, verdict.letters.unwrap().dead_lettered),
        (2, 1),
        "one rejected and the sound one are missing"
    );
}

fn one_device() -> (Vec<Run>, Vec<Arrival>) {
    let plan = Plan {
        devices: 1,
        ..sample()
    };
    let (runs, mut arrivals) = acceptable(&plan, 6);
    (runs, arrivals.remove(0))
}

#[test]
fn replayed_records_may_come_late_but_in_order() {
    let (runs, arrivals) = one_device();
    assert!(arrivals.len() >= 6, "{} records", arrivals.len());
    let judged = |order: &[usize], replayed: &[usize], in_order: bool| {
        let mut judge = judge_of(&runs);
        judge.expect_letters();
        for at in order {
            arrive(&mut judge, std::slice::from_ref(&arrivals[*at]));
        }
        for at in replayed {
            let (serial, kind, time) = &arrivals[*at];
            judge.replayed(serial, *kind, *time, in_order);
        }
        let verdict = judge.verdict();
        let late = verdict.letters.as_ref().expect("letters").replayed_late;
        (verdict.reordered, late)
    };
    assert_eq!(judged(&[2, 3, 0, 1], &[], true), (2, 0));
    assert_eq!(judged(&[2, 3, 0, 1], &[0, 1], true), (0, 2));
    assert_eq!(judged(&[2, 3, 0, 1], &[0], true), (1, 1));
    assert_eq!(judged(&[2, 3, 1, 0], &[0, 1], true), (1, 2));
    assert_eq!(judged(&[2, 3, 1, 0], &[0, 1], false), (0, 2));
    assert_eq!(judged(&[0, 1, 2, 3], &[0, 1], true), (0, 0));
}
