//! Tests of judging sheets.

use proptest::prelude::*;

use super::*;
use crate::orders::terminations::sheet;

const NOW: &str = "2026-03-10T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn serial(number: usize) -> Serial {
    Serial::parse(&format!("CX{number:010}")).unwrap()
}

/// Units 0 to 9; 9 is terminated.
fn known(rows_before: Option<u64>) -> Known {
    let fates = (0..10).map(|number| {
        let fate = Fate {
            unit: format!("7.{number}"),
            terminated: number == 9,
        };
        (serial(number), fate)
    });
    Known {
        fates: fates.collect(),
        registry: said([], []),
        rows_before,
        ..Known::default()
    }
}

/// A registry with these devices, some of which a sheet terminated; true: its topic has that.
fn said(
    devices: impl IntoIterator<Item = (usize, State)>,
    ended: impl IntoIterator<Item = (usize, bool)>,
) -> Registry {
    let id = |number: usize| format!("truck-{number}").into_boxed_str();
    let devices = devices.into_iter().map(|(number, state)| {
        let device = Device {
            device_id: id(number),
            serial: Some(serial(number).as_str().into()),
            state,
            order: None,
            since: None,
        };
        (serial(number), vec![device])
    });
    let ended = ended.into_iter().map(|(number, there)| (id(number), there));
    Registry::Said {
        devices: devices.collect(),
        ended: ended.collect(),
    }
}

/// Devices that no unit is: what the registry says of them decides.
#[test]
fn a_device_of_the_registry_is_terminated_once() {
    let numbers = [40, 41, 42, 43, 44];
    let (active, pending, ended) = (State::Active, State::Pending, State::Terminated);
    let registry = said(
        [
            (40, active),
            (41, pending),
            (42, ended),
            (43, active),
            (44, active),
        ],
        [(42, true), (43, true), (44, false)],
    );
    let of = |registry, since: &str| {
        let known = Known {
            registry,
            ..known(None)
        };
        judged(rows(numbers, since), &known, &Config::default()).unwrap()
    };
    let serials =
        |rows: &[Row]| -> Vec<Serial> { rows.iter().map(|row| row.serial.clone()).collect() };
    let deeds = of(registry.clone(), "2026-03-01");
    assert_eq!(serials(&deeds.now), [serial(40), serial(41)]);
    assert_eq!(deeds.already, 2, "the topic has one, the outbox the other");
    assert_eq!(deeds.returned, [serial(43)]);
    let deeds = of(registry, "2026-04-01");
    assert_eq!(serials(&deeds.later), [serial(40), serial(41)]);
    let deeds = of(Registry::Silent, "2026-03-01");
    assert_eq!(serials(&deeds.unasked), numbers.map(serial));
    assert_eq!((deeds.now, deeds.unknown), (vec![], vec![]));
}

fn rows(numbers: impl IntoIterator<Item = usize>, since: &str) -> Result<Sheet, NoSheet> {
    let mut text = String::from("Serial Number,Termination Date\n");
    for number in numbers {
        text.push_str(&format!("{},{since}\n", serial(number)));
    }
    sheet::read(text.as_bytes(), &Config::default())
}

fn judged(
    sheet: Result<Sheet, NoSheet>,
    known: &Known,
    config: &Config,
) -> Result<Plan, Rejection> {
    judge(sheet, known, config, now())
}

#[test]
fn each_device_gets_what_it_is() {
    let text = format!(
        "Serial Number,Termination Date\n{},2026-03-01\n{},2026-03-01\n{},2026-04-01\n{},2026-03-01\n{},2026-03-01\n",
        serial(1),
        serial(9),
        serial(2),
        serial(77),
        serial(1),
    );
    let sheet = sheet::read(text.as_bytes(), &Config::default());
    let deeds = judged(sheet, &known(None), &Config::default()).unwrap();
    assert_eq!(deeds.rows, 5);
    assert_eq!(deeds.now.len(), 1, "named twice, terminated once");
    assert_eq!(deeds.now[0].serial, serial(1));
    assert_eq!(deeds.already, 1);
    assert_eq!(deeds.later[0].serial, serial(2));
    assert_eq!(deeds.next(), Some("2026-04-01T00:00:00Z".parse().unwrap()));
    assert_eq!(deeds.foreign, [serial(77)]);
}

#[test]
fn a_device_with_two_dates_is_nobodys_to_guess() {
    let text = format!(
        "Serial Number,Termination Date\n{},2026-03-01\n{},2026-02-01\n{},2026-04-01\n",
        serial(1),
        serial(2),
        serial(1),
    );
    let config = Config::default();
    let sheet = sheet::read(text.as_bytes(), &config);
    let doubt = judged(sheet.clone(), &known(None), &config).unwrap_err();
    let Rejection::Malformed { bad, .. } = &doubt else {
        panic!("{doubt:?}");
    };
    let lines: Vec<u64> = bad.iter().map(|bad| bad.line).collect();
    assert_eq!(lines, [2, 4]);
    let settled = settled(sheet.unwrap(), now());
    assert_eq!(settled.good.len(), 1, "the other device is as it was");
    let spoiled: Vec<&Serial> = settled.spoiled.iter().map(|(_, serial)| serial).collect();
    assert_eq!(spoiled, [&serial(1), &serial(1)]);
}

#[test]
fn an_empty_a_shortened_and_a_malformed_sheet_terminate_nobody() {
    let config = Config::default();
    let blank = || sheet::read(b"", &config);
    assert_eq!(
        judged(blank(), &known(None), &config),
        Err(Rejection::Empty)
    );
    let none = || rows([], "");
    assert_eq!(judged(none(), &known(None), &config), Err(Rejection::Empty));
    let lenient = Config {
        allow_empty: true,
        ..Config::default()
    };
    assert!(judged(none(), &known(None), &lenient).is_ok());
    assert_eq!(
        judged(none(), &known(Some(1)), &lenient),
        Err(Rejection::Empty)
    );

    let half = judged(rows(0..5, "2026-03-01"), &known(Some(10)), &config);
    let (rows_now, before) = (5, 10);
    assert_eq!(
        half,
        Err(Rejection::Short {
            rows: rows_now,
            before
        })
    );
    assert!(judged(rows(0..6, "2026-03-01"), &known(Some(10)), &config).is_ok());
    assert!(judged(rows(0..6, "2026-03-01"), &known(None), &config).is_ok());

    let bad = judged(rows([1], "soon"), &known(None), &config);
    assert!(
        matches!(&bad, Err(Rejection::Malformed { bad, .. }) if bad[0].line == 2),
        "{bad:?}"
    );
    let page = judged(sheet::read(b"<html>", &config), &known(None), &config);
    assert_eq!(page.unwrap_err().kind(), "sheet-malformed");
}

#[test]
fn a_sheet_that_ends_too_many_waits_for_a_person() {
    let config = Config {
        most_at_once: 3,
        ..Config::default()
    };
    let sheet = || rows(0..5, "2026-03-01");
    let (devices, most) = (5, 3);
    assert_eq!(
        judged(sheet(), &known(None), &config),
        Err(Rejection::Many { devices, most })
    );
    let unbounded = Config {
        most_at_once: 0,
        ..Config::default()
    };
    assert!(judged(sheet(), &known(None), &unbounded).is_ok());
}

#[test]
fn the_partners_list_confirms_if_the_settings_ask_it() {
    let config = Config {
        confirm: Confirm::Contracts,
        ..Config::default()
    };
    let at = |text: &str| -> Timestamp { text.parse().unwrap() };
    let listed = |listed_at: Option<&str>, shown: Option<&str>| Known {
        listed_at: listed_at.map(at),
        last_listed: shown
            .map(|text| (serial(1), at(text)))
            .into_iter()
            .collect(),
        ..known(None)
    };
    let (before, after, later) = (
        "2026-02-01T00:00:00Z",
        "2026-03-02T00:00:00Z",
        "2026-03-03T00:00:00Z",
    );
    for (listed_at, shown, done) in [
        (None, None, false),
        (Some(before), None, false),
        (Some(after), None, true),
        (Some(after), Some(after), false),
        (Some(later), Some(after), true),
    ] {
        let known = listed(listed_at, shown);
        let deeds = judged(rows([1], "2026-03-01"), &known, &config).unwrap();
        assert_eq!(
            deeds.now.len(),
            usize::from(done),
            "{listed_at:?} {shown:?}"
        );
        assert_eq!(deeds.unconfirmed.len(), usize::from(!done));
    }
}

#[test]
fn serials_of_others_are_told_as_the_settings_say() {
    let seen = (serial(78), now());
    let of = |foreign_serials, own: &[&str]| {
        let known = Known {
            own: own.iter().map(|prefix| (*prefix).to_owned()).collect(),
            last_listed: [seen.clone()].into(),
            ..known(None)
        };
        let config = Config {
            foreign_serials,
            ..Config::default()
        };
        let deeds = judged(rows([77, 78], "2026-03-01"), &known, &config).unwrap();
        assert_eq!(deeds.unknown.len() + deeds.foreign.len(), 2);
        deeds.unknown
    };
    assert_eq!(
        of(Foreign::Own, &["G9"]),
        [serial(78)],
        "MyAdmin has listed it"
    );
    assert_eq!(of(Foreign::Own, &["G9", "CX"]), [serial(77), serial(78)]);
    assert_eq!(of(Foreign::Alarm, &[]), [serial(77), serial(78)]);
    assert_eq!(of(Foreign::Ignore, &["CX"]), []);
}

/// A text does not say whether its days count from 1904 on: a sheet of them would be read four years too early.
#[test]
fn day_numbers_that_may_count_from_1904_on_end_nobody() {
    let config = Config::default();
    let of = |day: u32| rows([1], &day.to_string());
    // 2026-03-01, in both systems.
    let deeds = judged(of(46_082), &known(None), &config).unwrap();
    assert_eq!(deeds.now.len(), 1);
    let doubt = judged(of(46_082 - 1_462), &known(None), &config).unwrap_err();
    assert_eq!(doubt.kind(), "sheet-malformed");
    assert!(doubt.to_string().contains("1904"), "{doubt}");
    // Nor does a person's word end it: it is not understood.
    let sheet = settled(of(46_082 - 1_462).unwrap(), now());
    assert_eq!((sheet.bad_count, sheet.bad[0].line), (1, 2));
    let deeds = asked(sheet, &known(None), &config, now());
    assert_eq!(deeds.now, []);
    // The remedy: the same day as a date.
    let dated = judged(rows([1], "2026-03-01"), &known(None), &config);
    assert_eq!(dated.unwrap().now.len(), 1);
    // Old ones beside a new one are as old as they seem.
    let mixed = format!(
        "Serial Number,Termination Date\n{},43831\n{},46082\n",
        serial(1),
        serial(2)
    );
    let sheet = sheet::read(mixed.as_bytes(), &config);
    assert_eq!(judged(sheet, &known(None), &config).unwrap().now.len(), 2);
}

#[test]
fn a_device_that_a_later_sheet_does_not_name_is_not_ended_by_the_earlier_one() {
    let known = Known {
        withdrawn: [serial(1)].into(),
        ..known(None)
    };
    let deeds = judged(rows([1, 2], "2026-03-01"), &known, &Config::default()).unwrap();
    assert_eq!(deeds.withdrawn[0].serial, serial(1));
    assert_eq!(deeds.now[0].serial, serial(2));
}

#[test]
fn a_person_s_word_counts_whatever_is_doubted() {
    let config = Config {
        most_at_once: 1,
        ..Config::default()
    };
    let sheet = rows(0..3, "2026-03-01").unwrap();
    assert!(judged(Ok(sheet.clone()), &known(Some(100)), &config).is_err());
    assert_eq!(asked(sheet, &known(Some(100)), &config, now()).now.len(), 3);
}

proptest! {
    /// T1, and that every row is accounted for.
    #[test]
    fn whatever_a_sheet_says_only_its_own_devices_are_terminated(
        numbers in prop::collection::vec(0_usize..20, 0..30),
        before in prop::option::of(0_u64..40),
        future in any::<bool>(),
    ) {
        let since = if future { "2026-03-11" } else { "2026-03-10" };
        let known = known(before);
        match judged(rows(numbers.clone(), since), &known, &Config::default()) {
            Ok(deeds) => {
                let mut named = numbers.clone();
                named.sort_unstable();
                named.dedup();
                let told = deeds.now.len() + deeds.already + deeds.later.len() + deeds.foreign.len();
                prop_assert_eq!(told, named.len());
                prop_assert!(deeds.now.iter().all(|row| known.fates.contains_key(&row.serial)));
                prop_assert!(!future || deeds.now.is_empty());
            }
            Err(doubt) => {
                let short = matches!(doubt, Rejection::Short { before, rows } if rows * 2 <= before);
                prop_assert!(numbers.is_empty() || short);
            }
        }
    }
}
