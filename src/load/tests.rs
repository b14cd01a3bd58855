use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

mod valid;

use super::drive::{Counters, Goal, Pace, Sink, drive};
use super::manifest::{self, Header, Run};
use super::plan::{By, Draw, Flaw, Plan, sample};
use super::*;

fn messages(plan: &Plan, count: u64) -> (Vec<String>, Tally) {
    let mut tally = Tally::default();
    let texts = (0..count)
        .map(|number| {
            let (device, nth) = plan.sender(number);
            let mut out = Vec::new();
            put_message(
                &mut out,
                plan,
                &plan.device(device),
                nth,
                plan.ticks_per_message(),
                &mut tally,
            );
            String::from_utf8(out).unwrap()
        })
        .collect();
    (texts, tally)
}

fn all_types() -> Plan {
    Plan {
        mix: "all=1".parse().unwrap(),
        ..sample()
    }
}

#[test]
fn the_same_plan_gives_the_same_bytes() {
    for shape in [
        Shape::Native,
        Shape::NativeArray,
        Shape::Flespi,
        Shape::Traccar,
        Shape::Generic,
    ] {
        let plan = Plan {
            shape,
            bad_share: 0.1,
            late_share: 0.1,
            ..all_types()
        };
        assert_eq!(messages(&plan, 500), messages(&plan.clone(), 500));
        assert_ne!(
            messages(&plan, 500),
            messages(
                &Plan {
                    seed: 8,
                    ..plan.clone()
                },
                500
            )
        );
    }
}

#[test]
fn every_good_message_is_json_with_unique_members() {
    for shape in [
        Shape::Native,
        Shape::NativeArray,
        Shape::Flespi,
        Shape::Traccar,
        Shape::Generic,
    ] {
        let plan = Plan {
            shape,
            poison_share: 0.05,
            by: By::DeviceId,
            ..all_types()
        };
        for text in messages(&plan, 2_000).0 {
            serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        }
    }
}

#[test]
fn vehicles_move_at_the_speed_they_report() {
    let plan = sample();
    for device in (0..5).map(|index| plan.device(index)) {
        let fixes: Vec<_> = (0..256)
            .map(|tick| native::fix(&plan, &device, tick))
            .collect();
        assert!(
            fixes.iter().any(|fix| !fix.ignition) && fixes.iter().any(|fix| fix.speed_dkmh > 300)
        );
        for pair in fixes.windows(2) {
            let metres = f64::from(pair[0].speed_dkmh) / 36.0;
            let north = (pair[1].latitude - pair[0].latitude) * 111_320.0;
            let east = (pair[1].longitude - pair[0].longitude)
                * 111_320.0
                * pair[0].latitude.to_radians().cos();
            let moved = north.hypot(east);
            assert!(
                (moved - metres).abs() < metres * 0.1 + 0.1,
                "{moved} m at {metres} m/s"
            );
            assert!(pair[0].ignition || pair[0].speed_dkmh == 0);
        }
    }
}

#[test]
fn vehicle_numbers_have_a_correct_check_digit() {
    let plan = sample();
    for index in 0..200 {
        let mut vin = Vec::new();
        native::put_vin(&mut vin, &plan, &plan.device(index), plan::Fate::Accepted);
        let value = |byte: u8| match byte {
            b'0'..=b'9' => u32::from(byte - b'0'),
            b'A'..=b'H' => u32::from(byte - b'A') + 1,
            b'J'..=b'R' => u32::from(byte - b'J') + 1,
            _ => u32::from(byte - b'S') + 2,
        };
        let weights = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
        let rest = vin
            .iter()
            .zip(weights)
            .map(|(byte, weight)| value(*byte) * weight)
            .sum::<u32>()
            % 11;
        let digit = if rest == 10 { b'X' } else { b'0' + rest as u8 };
        assert_eq!(
            (vin.len(), vin[8]),
            (17, digit),
            "{}",
            String::from_utf8_lossy(&vin)
        );
    }
}

#[test]
fn a_refused_record_is_a_vehicle_number_with_the_marker() {
    let plan = Plan {
        poison_share: 1.0,
        ..all_types()
    };
    for text in messages(&plan, 50).0 {
        let record: Value = serde_json::from_str(&text).unwrap();
        let vin = record["VehicleIdentificationNumber"].as_str().unwrap();
        assert_eq!(vin, plan.poison_marker);
    }
}

#[test]
fn every_way_to_be_bad_shows_in_the_bytes() {
    let plan = all_types();
    let device = plan.device(0);
    let flaws = [
        (Flaw::NoTime, r#""DateTime""#, false),
        (Flaw::TimeIsText, r#""yesterday""#, true),
        (Flaw::EmptySubject, r#""SerialNo":"""#, true),
        (Flaw::NoType, r#""Type""#, false),
        (Flaw::UnknownType, r#"Records""#, true),
    ];
    for (flaw, part, there) in flaws {
        let draw = Draw {
            fate: plan::Fate::Rejected(flaw),
            ..plan.draw(&device, 3)
        };
        let mut out = Vec::new();
        native::put_record(&mut out, &plan, &device, &draw);
        assert_eq!(
            String::from_utf8(out).unwrap().contains(part),
            there,
            "{flaw:?}"
        );
    }
}

/// What the messages themselves say, per serial: type and time of each record, in order.
fn identities(texts: &[String]) -> BTreeMap<String, Vec<(String, String)>> {
    let mut all: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for text in texts {
        let value: Value = serde_json::from_str(text).unwrap();
        let records = value.as_array().cloned().unwrap_or_else(|| vec![value]);
        for record in records {
            let text = |name: &str| record[name].as_str().unwrap().to_owned();
            all.entry(text("SerialNo"))
                .or_default()
                .push((text("Type"), text("DateTime")));
        }
    }
    all
}

/// What a manifest says, by its documented form and nothing else.
fn spelled_out(run: &Run) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut slot = -1_i64;
    manifest::each_kind(&run.kinds, |kind, joined| {
        slot += i64::from(!joined);
        all.push((kind.name().to_owned(), slot));
    })
    .unwrap();
    let time_of = |slot: i64| {
        let listed = |slot: i64| u32::try_from(slot).is_ok_and(|slot| run.swapped.contains(&slot));
        let slot = if listed(slot) {
            slot + 1
        } else if listed(slot - 1) {
            slot - 1
        } else {
            slot
        };
        let time = jiff::Timestamp::from_microsecond(run.start + slot * run.step).unwrap();
        format!("{time:.6}")
    };
    all.into_iter()
        .map(|(kind, slot)| (kind, time_of(slot)))
        .collect()
}

fn written(plan: &Plan, tally: &Tally, failed: &HashSet<u64>) -> (Header, Vec<Run>) {
    let mut file = Vec::new();
    let header = Header::of(plan, "telemetry", tally, tally.records);
    manifest::write(&mut file, &header, plan, tally, failed).unwrap();
    let mut runs = Vec::new();
    let read = manifest::read(&file[..], |run| {
        runs.push(run);
        Ok(())
    });
    assert_eq!(read.unwrap(), header);
    (header, runs)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_manifest_names_exactly_what_was_produced(
        seed: u64, devices in 1_u32..8, backlog in 1_u32..4, array in 1_u32..6, arrays: bool, late in 0.0..0.5_f64,
        count in 0_u64..120,
    ) {
        let shape = if arrays { Shape::NativeArray } else { Shape::Native };
        let plan = Plan { seed, devices, backlog, array, shape, late_share: late, ..all_types() };
        let (texts, tally) = messages(&plan, count);
        let (_, runs) = written(&plan, &tally, &HashSet::new());
        let found = identities(&texts);
        prop_assert_eq!(runs.len(), found.len());
        for run in runs {
            prop_assert_eq!(&spelled_out(&run), &found[&run.serial]);
        }
    }
}

#[test]
fn failed_messages_are_listed_as_unknown() {
    let plan = Plan {
        devices: 2,
        shape: Shape::NativeArray,
        array: 3,
        ..sample()
    };
    let (_, tally) = messages(&plan, 4);
    let (_, runs) = written(&plan, &tally, &HashSet::from([0, 3]));
    assert_eq!(
        (&runs[0].unknown[..], &runs[1].unknown[..]),
        (&[0, 1, 2][..], &[3, 4, 5][..])
    );
    assert_eq!(records_in(&plan, &tally, 3), 3);
}

#[test]
fn bad_and_refused_records_are_listed() {
    let plan = Plan {
        bad_share: 0.2,
        poison_share: 0.1,
        ..all_types()
    };
    let (_, tally) = messages(&plan, 1_000);
    let (header, runs) = written(&plan, &tally, &HashSet::new());
    assert_eq!(
        runs.iter().map(|run| run.bad.len() as u64).sum::<u64>(),
        tally.bad
    );
    assert_eq!(
        runs.iter().map(|run| run.poison.len() as u64).sum::<u64>(),
        tally.poison
    );
    assert!(tally.bad > 100 && tally.poison > 50);
    assert_eq!((header.bad, header.poison), (tally.bad, tally.poison));
}

#[test]
fn what_is_wrong_with_a_manifest_is_said_with_its_line() {
    let read = |text: &str| {
        format!(
            "{:#}",
            manifest::read(text.as_bytes(), |_| Ok(())).unwrap_err()
        )
    };
    assert!(read("").contains("empty"));
    assert!(read("{\"manifest\":99}\n").contains("version 99"));
    assert!(read("{\"manifest\":1}\n{\"serial\":1}\n").contains("line 2"));
}

#[test]
fn a_load_ends_at_its_goal_with_the_last_array_cut() {
    let plan = Plan {
        shape: Shape::NativeArray,
        array: 4,
        ..sample()
    };
    let counters = Arc::new(Counters::default());
    let goal = Goal {
        records: Some(10),
        duration: None,
    };
    let outcome = drive(&plan, goal, Pace::default(), Sink::Nothing, &counters).unwrap();
    assert_eq!(
        (
            outcome.tally.records,
            outcome.tally.messages,
            outcome.tally.last_ticks
        ),
        (10, 3, 2)
    );
    assert_eq!(counters.records(), 10);
    counters.stop();
    let stopped = drive(
        &plan,
        Goal::default(),
        Pace::default(),
        Sink::Nothing,
        &counters,
    )
    .unwrap();
    assert_eq!(stopped.tally.records, 0);
}
