//! Split against a model gateway that refuses what it is told to.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::pipeline::request::Span;

/// A request of batches of these sizes; record i is the number i, padded to `width`.
pub(crate) fn request(batches: &[u32], width: usize) -> Request {
    let (mut body, mut records, mut firsts) = (vec![b'['], Vec::new(), Vec::new());
    for size in batches {
        firsts.push(records.len() as u32);
        for _ in 0..*size {
            if !records.is_empty() {
                body.push(b',');
            }
            let start = body.len() as u32;
            body.extend(format!("{:>width$}", records.len()).bytes());
            records.push(Span {
                start,
                end: body.len() as u32,
            });
        }
    }
    body.push(b']');
    Request {
        body: body.into(),
        records,
        batches: firsts,
    }
}

/// What the gateway saw: each body as numbers, and whether it was accepted.
struct Seen {
    parts: Vec<(Vec<u32>, bool)>,
    verdicts: Verdicts,
}

fn run(request: Request, poison: &BTreeSet<u32>, limit: usize, max_records: u32) -> Seen {
    let mut split = Split::new(request);
    let mut parts = Vec::new();
    while let Some(part) = split.next(max_records, usize::MAX) {
        let body = split.body(&part);
        let numbers: Vec<u32> = serde_json::from_slice(&body).expect("a part is a JSON array");
        assert_eq!(numbers, part.clone().collect::<Vec<_>>());
        assert!(parts.len() < 1_000_000, "no end");
        split.note_sent(&part);
        if body.len() > limit {
            parts.push((numbers, false));
            split.too_large(&part, "too large");
        } else if numbers.iter().any(|n| poison.contains(n)) {
            parts.push((numbers, false));
            split.bad(&part, &format!("bad {}", part.start));
        } else {
            parts.push((numbers, true));
            split.accepted(&part);
        }
    }
    Seen {
        parts,
        verdicts: split.finish(),
    }
}

/// Requests that held a record.
fn carried(seen: &Seen, record: u32) -> u32 {
    let parts = seen.parts.iter();
    parts.filter(|(part, _)| part.contains(&record)).count() as u32
}

fn log2(n: usize) -> usize {
    n.next_power_of_two().trailing_zeros() as usize
}

/// Every record exactly one verdict, accepted ones once and in order, refused ones sent alone.
fn judge(seen: &Seen, count: u32, poison: &BTreeSet<u32>) {
    let accepted: Vec<u32> = seen
        .parts
        .iter()
        .filter(|(_, ok)| *ok)
        .flat_map(|(part, _)| part.clone())
        .collect();
    let expected: Vec<u32> = (0..count).filter(|n| !poison.contains(n)).collect();
    assert_eq!(accepted, expected, "accepted once each, in order");
    let refused: Vec<u32> = seen.verdicts.refused.iter().map(|r| r.record).collect();
    assert_eq!(refused, poison.iter().copied().collect::<Vec<_>>());
    for refused in &seen.verdicts.refused {
        assert!(
            seen.parts
                .iter()
                .any(|(part, ok)| !ok && part == &[refused.record]),
            "alone before refused"
        );
    }
    let firsts: Vec<u32> = seen.parts.iter().map(|(part, _)| part[0]).collect();
    assert!(
        firsts.is_sorted(),
        "S1: no part begins before an earlier one"
    );
}

#[test]
fn a_clean_request_goes_whole_and_uncopied() {
    let request = request(&[3, 2], 4);
    let split = Split::new(request.clone());
    let part = split.next(5_000, usize::MAX).unwrap();
    assert_eq!(split.body(&part).as_ptr(), request.body.as_ptr());
}

#[test]
fn batches_are_parted_before_a_batch_is_cut() {
    let mut split = Split::new(request(&[3, 4, 3], 1));
    let whole = split.next(5_000, usize::MAX).unwrap();
    split.bad(&whole, "");
    assert_eq!(split.next(5_000, usize::MAX), Some(0..7));
    split.bad(&(0..7), "");
    assert_eq!(split.next(5_000, usize::MAX), Some(0..3));
    split.accepted(&(0..3));
    // 3..7 is known to hold one: not sent whole again.
    assert_eq!(split.next(5_000, usize::MAX), Some(3..5));
}

#[test]
fn the_server_text_is_that_of_the_record_itself() {
    let poison = BTreeSet::from([6]);
    let seen = run(request(&[10], 1), &poison, usize::MAX, 5_000);
    assert_eq!(
        seen.verdicts.refused,
        [Refused {
            record: 6,
            status: 400,
            text: "bad 6".into(),
            attempts: carried(&seen, 6),
        }]
    );
}

#[test]
fn attempts_count_every_request_that_carried_the_record() {
    let mut split = Split::new(request(&[4], 1));
    // Two attempts without an answer, one refusal, then the halves.
    for part in [0..4, 0..4, 0..4] {
        split.note_sent(&part);
    }
    split.bad(&(0..4), "");
    for (part, good) in [(0..2, true), (2..3, true), (3..4, false)] {
        split.note_sent(&part);
        match good {
            true => split.accepted(&part),
            false => split.bad(&part, "no"),
        }
    }
    let refused = split.finish().refused;
    assert_eq!((refused[0].record, refused[0].attempts), (3, 4));
}

#[test]
fn one_poisoned_record_of_5000_costs_about_log2() {
    for at in 0..5_000 {
        let seen = run(
            request(&[50; 100], 1),
            &BTreeSet::from([at]),
            usize::MAX,
            5_000,
        );
        assert!(
            seen.parts.len() <= 1 + log2(5_000) + 3,
            "{} requests for a bad record at {at}",
            seen.parts.len()
        );
    }
}

#[test]
fn a_gateway_that_refuses_everything_costs_about_one_request_per_record() {
    let all: BTreeSet<u32> = (0..5_000).collect();
    let seen = run(request(&[5; 1_000], 1), &all, usize::MAX, 5_000);
    judge(&seen, 5_000, &all);
    assert!(seen.parts.len() <= 5_000 + 4 * 16, "{}", seen.parts.len());
}

#[test]
fn a_record_too_large_alone_is_refused_with_413() {
    let mut body = request(&[2, 2], 10);
    // The third record grows beyond the limit.
    let mut bytes = body.body.to_vec();
    let end = body.records[2].end as usize;
    bytes.splice(end..end, [b' '; 100]);
    body.body = bytes.into();
    body.records[2].end += 100;
    body.records[3].start += 100;
    body.records[3].end += 100;
    let seen = run(body, &BTreeSet::new(), 60, 5_000);
    assert_eq!(
        seen.verdicts.refused,
        [Refused {
            record: 2,
            status: 413,
            text: "too large".into(),
            attempts: carried(&seen, 2),
        }]
    );
}

#[test]
fn a_413_halves_along_batch_boundaries() {
    let mut split = Split::new(request(&[4, 4, 4, 4], 4));
    let whole = split.next(5_000, usize::MAX).unwrap();
    let limit = split.too_large(&whole, "").unwrap();
    assert_eq!(limit, split.body(&whole).len() / 2);
    assert_eq!(
        split.next(5_000, usize::MAX),
        Some(0..4),
        "three batches would be too many bytes, so would two"
    );
    assert_eq!(
        split.next(3, usize::MAX),
        Some(0..3),
        "a probe is smaller still"
    );
}

fn batches() -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![
        proptest::collection::vec(1u32..10, 1..60),
        proptest::collection::vec(prop_oneof![Just(1u32), Just(2), 1u32..400], 1..12),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn s1_every_record_gets_one_verdict_and_none_overtakes(
        batches in batches(), seed in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
        limit in prop_oneof![Just(usize::MAX), 40usize..2_000], max_records in prop_oneof![Just(5_000u32), 1u32..50],
    ) {
        let count: u32 = batches.iter().sum();
        let poison: BTreeSet<u32> = seed.iter().map(|i| i.index(count as usize) as u32).collect();
        let seen = run(request(&batches, 6), &poison, limit, max_records);
        judge(&seen, count, &poison);
    }

    #[test]
    fn k_poisoned_records_cost_at_most_about_k_log_n(
        batches in batches(), seed in proptest::collection::vec(any::<prop::sample::Index>(), 0..30), run_of in 1u32..6,
    ) {
        let count: u32 = batches.iter().sum();
        let poison: BTreeSet<u32> = seed.iter()
            .flat_map(|i| { let at = i.index(count as usize) as u32; at..(at + run_of).min(count) }).collect();
        let seen = run(request(&batches, 6), &poison, usize::MAX, 5_000);
        let k = poison.len();
        // A cut at a serial's boundary may be far from the middle: twice at most around each serial that holds a refused record.
        let most = 1 + k * (log2(count as usize) + 3 + 2);
        prop_assert!(seen.parts.len() <= most, "{} requests, k = {k}, n = {count}, at most {most}", seen.parts.len());
    }

    #[test]
    fn bodies_stay_below_the_learnt_limit(batches in batches(), limit in 40usize..3_000) {
        let seen = run(request(&batches, 8), &BTreeSet::new(), limit, 5_000);
        judge(&seen, batches.iter().sum(), &BTreeSet::new());
        let refused = seen.parts.iter().filter(|(_, ok)| !ok).count();
        prop_assert!(refused <= 12, "{refused} refusals to learn one limit");
    }
}
