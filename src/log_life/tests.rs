//! Every kind of change, and that nothing is called the same life against the evidence.

use proptest::prelude::*;

use super::*;

fn id(text: &str) -> TopicId {
    TopicId::new(text).expect("an id")
}

fn facts(topic: Option<&str>, low: i64, end: i64) -> Facts {
    Facts {
        topic_id: topic.map(id),
        low,
        end,
    }
}

fn point(offset: i64, epoch: i32, value: &str) -> Point {
    Point::new(offset, epoch, Some(1), None, Some(value.as_bytes()))
}

fn points(offsets: impl IntoIterator<Item = i64>) -> Points {
    let mut points = Points::default();
    offsets
        .into_iter()
        .for_each(|offset| points.note(point(offset, 0, "a")));
    points
}

fn new(from: i64, change: Change) -> Verdict {
    Verdict::New { from, change }
}

#[test]
fn a_committed_offset_counts_only_in_the_life_it_was_committed_in() {
    let (a, b) = (id("a"), id("b"));
    for (offset, known, now, expected) in [
        (10, None, facts(None, 0, 10), Verdict::Same),
        (10, Some(&a), facts(Some("a"), 0, 20), Verdict::Same),
        // Committed by an older version, and by a broker without ids: nothing contradicts.
        (10, None, facts(Some("a"), 0, 20), Verdict::Same),
        (10, Some(&a), facts(None, 0, 20), Verdict::Same),
        // Retention has deleted what was not read: that is another alarm.
        (10, Some(&a), facts(Some("a"), 15, 20), Verdict::Same),
        (11, None, facts(None, 3, 10), new(3, Change::CommitAboveEnd)),
        (
            11,
            Some(&a),
            facts(Some("a"), 0, 10),
            new(0, Change::CommitAboveEnd),
        ),
        // Below the end of the new log: only the id can tell.
        (
            10,
            Some(&b),
            facts(Some("a"), 0, 20),
            new(0, Change::Recreated),
        ),
        (
            30,
            Some(&b),
            facts(Some("a"), 2, 20),
            new(2, Change::Recreated),
        ),
    ] {
        assert_eq!(
            judge_commit(offset, known, &now, None),
            expected,
            "{offset} {known:?} {now:?}"
        );
    }
}

#[test]
fn a_committed_offset_behind_a_lost_tail_is_no_offset_of_the_log() {
    let (a, b) = (id("a"), id("b"));
    let now = facts(Some("a"), 5, 20);
    for (known, offset, differs, expected) in [
        (&a, 10, None, Verdict::Same),
        (&a, 10, Some(7), new(7, Change::TailLost)),
        // Retention went on meanwhile.
        (&a, 10, Some(3), new(5, Change::TailLost)),
        (&b, 10, Some(7), new(5, Change::Recreated)),
        (&a, 21, None, new(5, Change::CommitAboveEnd)),
    ] {
        let verdict = judge_commit(offset, Some(known), &now, differs);
        assert_eq!(verdict, expected, "{known} {offset} {differs:?}");
    }
}

#[test]
fn a_reading_goes_on_only_where_the_log_is_shown_to_be_the_same() {
    let (a, b) = (id("a"), id("b"));
    let read = points([4, 7, 9]);
    let found = |offset| Some(point(offset, 0, "a"));
    for (known, now, found, expected) in [
        (Some(&a), facts(Some("a"), 0, 10), found(9), Verdict::Same),
        // A broker that came back has not confirmed its last messages yet, and shows the newest all the same.
        (Some(&a), facts(Some("a"), 0, 99), found(9), Verdict::Same),
        // A longer new log under the same offsets.
        (
            Some(&b),
            facts(Some("a"), 0, 99),
            None,
            new(0, Change::Recreated),
        ),
        (None, facts(None, 0, 99), None, new(0, Change::TailLost)),
        // The tail is gone, or others were written in its place.
        (
            Some(&a),
            facts(Some("a"), 0, 8),
            found(7),
            new(8, Change::TailLost),
        ),
        (None, facts(None, 0, 99), found(4), new(5, Change::TailLost)),
        (
            Some(&a),
            facts(Some("a"), 0, 2),
            None,
            new(0, Change::TailLost),
        ),
        // What could show it has expired.
        (Some(&a), facts(Some("a"), 10, 10), None, Verdict::Same),
        (None, facts(None, 20, 30), None, Verdict::Same),
        (None, facts(None, 9, 30), None, new(9, Change::TailLost)),
    ] {
        let reading = Reading {
            topic_id: known,
            read_to: Some(10),
            points: &read,
        };
        assert_eq!(
            judge_reading(&reading, &now, found.as_ref()),
            expected,
            "{known:?} {now:?} {found:?}"
        );
    }
    let nothing = Reading {
        topic_id: Some(&a),
        read_to: None,
        points: &Points::default(),
    };
    assert_eq!(
        judge_reading(&nothing, &facts(Some("a"), 0, 0), None),
        Verdict::Same
    );
}

#[test]
fn the_metadata_of_others_is_no_topic_id() {
    let mine = id("AbC-_123");
    assert_eq!(TopicId::of_metadata(mine.metadata().as_bytes()), Some(mine));
    for other in [
        &b""[..],
        b"topic-id:",
        b"topic-id:a b",
        b"\xff\xfe",
        b"somebody's note",
    ] {
        assert_eq!(TopicId::of_metadata(other), None);
    }
}

#[test]
fn epochs_are_those_of_the_message_before_the_committed_offset() {
    let mut epochs = Epochs::default();
    assert_eq!((epochs.newest(), epochs.commit_at(3)), (-1, -1));
    for (offset, epoch) in [(0, 1), (5, 1), (10, 4), (20, -1), (30, 6)] {
        epochs.note(offset, epoch);
    }
    assert_eq!(epochs.newest(), 6);
    assert_eq!(epochs.commit_at(10), 1);
    assert_eq!(epochs.commit_at(11), 4);
    assert_eq!(epochs.commit_at(30), 4);
    assert_eq!(epochs.commit_at(31), 6);
}

proptest! {
    /// However many are noted, few are kept: the newest always, the oldest too, in order.
    #[test]
    fn points_stay_few_and_reach_far_back(steps in prop::collection::vec(1i64..1000, 1..400)) {
        let mut offset = 0;
        let offsets: Vec<i64> = steps.iter().map(|step| { offset += step; offset }).collect();
        let points = points(offsets.iter().copied());
        let kept: Vec<i64> = points.newest_first().map(|point| point.offset).collect();
        prop_assert!(kept.len() <= KEPT);
        prop_assert!(kept.is_sorted_by(|a, b| a > b));
        prop_assert_eq!(kept.first(), offsets.last());
        prop_assert_eq!(kept.last(), offsets.first());
    }

    /// E1: two histories with a common beginning. Whatever was read of the first and found in the second, reading goes on at or
    /// before the first message that differs; nothing of the second is skipped that was not read in the first.
    #[test]
    fn e1_nothing_of_another_history_is_skipped(
        common in 0usize..30,
        old in 0usize..30,
        tail in 0usize..60,
        every in 1usize..7,
        ids in prop::option::of(any::<bool>()),
        low in 0usize..40,
    ) {
        let history = |name: &str, own: usize| -> Vec<Point> {
            (0..common + own).map(|at| {
                let text = if at < common { format!("c{at}") } else { format!("{name}{at}") };
                point(at as i64, 3, &text)
            }).collect()
        };
        let (first, second) = (history("old", old), history("new", tail));
        let mut points = Points::default();
        first.iter().enumerate()
            .filter(|(at, _)| at % every == 0 || at + 1 == first.len())
            .for_each(|(_, point)| points.note(*point));
        let low = low.min(second.len()) as i64;
        let end = second.len() as i64;
        let found = points.newest_first()
            .find(|p| p.offset >= low && second.get(p.offset as usize).is_some_and(|there| p.same_message(there)));
        let (known, now) = match ids {
            None => (None, None),
            Some(same) => (Some(id("a")), Some(if same { "a" } else { "b" })),
        };
        let reading = Reading { topic_id: known.as_ref(), read_to: (!first.is_empty()).then_some(first.len() as i64), points: &points };
        let verdict = judge_reading(&reading, &facts(now, low, end), found);
        // The first offset of the second history that was not read as the same message.
        let differs = second.iter().position(|there| first.get(there.offset as usize).is_none_or(|read| !read.same_message(there)));
        let differs = differs.map_or(end, |at| at as i64).max(low);
        let goes_on = match verdict {
            Verdict::Same => first.len() as i64,
            Verdict::New { from, .. } => from,
        };
        // Where retention has deleted every point, nothing is left that could be skipped unseen but what lies between.
        let blind = found.is_none() && points.newest().is_none_or(|p| p.offset < low) && ids != Some(false);
        prop_assert!(goes_on <= differs || (blind && goes_on <= end), "{verdict:?}, differs at {differs}");
        if let Verdict::New { from, .. } = verdict {
            prop_assert!(from >= low);
        }
    }
}
