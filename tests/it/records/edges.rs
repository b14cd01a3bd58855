//! Settings, whole messages, arrays, and what a reject says.

use dig_ingest::record::validate::Config;
use dig_ingest::record::{Outcome, Stage};

use super::decode_with;
use super::rows::{told, with};
use super::samples::RECORDS;

#[test]
fn sizes_of_base64_by_bytes_and_strictly_by_characters() {
    use base64::Engine as _;
    let encode = |bytes: usize| {
        format!(
            "{:?}",
            base64::engine::general_purpose::STANDARD.encode(vec![7u8; bytes])
        )
    };
    let strict = Config {
        strict_base64: true,
        ..Config::default()
    };
    for (kind, member, most, most_strict, rule) in [
        ("BinaryRecord", "Data", 32_745, 24_558, "!binary.data.size"),
        (
            "DriverChangeRecord",
            "DriverId",
            239,
            177,
            "!driver_change.driver_id.size",
        ),
    ] {
        for (config, bytes, expected) in [
            (&Config::default(), most, ""),
            (&Config::default(), most + 1, rule),
            (&strict, most_strict, ""),
            (&strict, most_strict + 1, rule),
        ] {
            let out = decode_with(config, Some(with(kind, member, &encode(bytes)).as_bytes()));
            assert_eq!(told(&out), expected, "{kind} with {bytes} bytes");
        }
    }
}

#[test]
fn rules_over_several_members() {
    let zero = with("GpsRecord", "Latitude", "0.0").replace("-79.6877", "-0");
    assert_eq!(
        told(&decode_with(&Config::default(), Some(zero.as_bytes()))),
        "gps.position.zero"
    );
    let invalid = zero.replace("\"IsGpsValid\":true", "\"IsGpsValid\":false");
    assert_eq!(
        told(&decode_with(&Config::default(), Some(invalid.as_bytes()))),
        ""
    );
}

#[test]
fn settings_change_what_is_assumed() {
    let settings: Config = toml::from_str(
        r#"
        unknown_members = "drop"
        hold_back = "reject"
        normalise_serial = false
        status_code_allow = [293]
        past_days = 30
        future_s = 0
        severity = { "gps.speed.high" = "reject", "vin.alphabet" = "off", "gps.latitude.range" = "warn" }
        bounds = { "gps.speed.high" = [0, 250], "j1939.suspect_parameter_number.range" = [0, 99] }
        "#,
    )
    .expect("settings");
    for (kind, member, value, expected) in [
        ("VinRecord", "Extra", "{\"a\":[1]}", "record.member.dropped"),
        ("VinRecord", "Latitude", "1", "record.member.dropped"),
        ("VinRecord", "SerialNo", "\"cx-1\"", "record.serial.shape"),
        (
            "VinRecord",
            "SerialNo",
            "\" CX0B21338D8D\"",
            "record.serial.normalised",
        ),
        ("StatusRecord", "Code", "293", ""),
        ("StatusRecord", "Code", "294", "!status.code.dropped"),
        (
            "VinRecord",
            "DateTime",
            "\"2025-10-20T00:00:00Z\"",
            "!record.datetime.past",
        ),
        (
            "VinRecord",
            "DateTime",
            "\"2025-11-21T04:40:00.000001Z\"",
            "!record.datetime.future",
        ),
        ("GpsRecord", "Speed", "250.5", "!gps.speed.high"),
        ("GpsRecord", "Latitude", "91", "gps.latitude.range"),
        ("GpsRecord", "Longitude", "181", "!gps.longitude.range"),
        (
            "J1939FaultRecord",
            "SuspectParameterNumber",
            "100",
            "!j1939.suspect_parameter_number.range",
        ),
        (
            "VinRecord",
            "VehicleIdentificationNumber",
            "\"1M8GDM9AXKP04278O\"",
            "",
        ),
    ] {
        let message = with(kind, member, value);
        let out = decode_with(&settings, Some(message.as_bytes()));
        assert_eq!(told(&out), expected, "{message}");
        if expected == "record.member.dropped" {
            let Outcome::Valid(record) = &out.outcomes[0] else {
                panic!("{message}")
            };
            let plain = with(kind, "none", "");
            assert_eq!(String::from_utf8_lossy(record.bytes(&out.bytes)), plain);
        }
    }
}

#[test]
fn edges_of_a_message() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let good = RECORDS[0];
    let big = format!("{}{good}", " ".repeat(1024 * 1024 - good.len()));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"[]".to_vec(), ""),
        (b" [ ] ".to_vec(), ""),
        (b"".to_vec(), "!message.empty"),
        (b" \r\n\t ".to_vec(), "!message.empty"),
        (b"\"\xff\"".to_vec(), "!message.utf8"),
        (
            good.replace("CX0B", "\u{feff}").into_bytes()[1..].to_vec(),
            "!message.json",
        ),
        (b"NaN".to_vec(), "!message.json"),
        (good.replace("43.4516", "NaN").into_bytes(), "!message.json"),
        (
            good.replace("43.4516", "1e400").into_bytes(),
            "!record.member.float32",
        ),
        (
            good.replace("43.4516", "18446744073709551616").into_bytes(),
            "!record.member.float32",
        ),
        (b"5".to_vec(), "!message.scalar"),
        (b"null".to_vec(), "!message.scalar"),
        (b"\"text\"".to_vec(), "!message.scalar"),
        (deep(32).into_bytes(), "!record.object"),
        (deep(33).into_bytes(), "!message.depth"),
        (deep(100_000).into_bytes(), "!message.depth"),
        ("[".repeat(100_000).into_bytes(), "!message.depth"),
        (big.clone().into_bytes(), ""),
        (format!(" {big}").into_bytes(), "!message.size"),
        (format!("[{good},7,{good}").into_bytes(), "!message.json"),
        (format!("[{good},7,{good}]").into_bytes(), "!record.object"),
        (format!("[null,{good}]").into_bytes(), "!record.object"),
        (good.replace("Latitude", "\\u004catitude").into_bytes(), ""),
        (
            good.replace("CX0B21338D8D", "\\ud800").into_bytes(),
            "!message.json",
        ),
        (
            good.replace("\"Speed\"", "\"Latitude\"").into_bytes(),
            "!record.member.duplicate",
        ),
    ];
    for (message, expected) in cases {
        let out = decode_with(&Config::default(), Some(&message));
        let text = String::from_utf8_lossy(&message[..message.len().min(200)]).into_owned();
        assert_eq!(told(&out), expected, "{text}");
        for outcome in &out.outcomes {
            if let Outcome::Reject(reject) = outcome
                && reject.rule.starts_with("message.")
            {
                assert_eq!(
                    (reject.stage, reject.original.clone()),
                    (Stage::Decode, 0..message.len()),
                    "{text}"
                );
            }
        }
    }
    let tombstone = decode_with(&Config::default(), None);
    assert!(tombstone.outcomes.is_empty() && tombstone.bytes.is_empty());
}

#[test]
fn elements_are_judged_one_by_one() {
    let unknown =
        with("VinRecord", "SerialNo", "").replace("\"Type\"", "\"DeviceId\":\" nobody \",\"Type\"");
    let bad_unknown = unknown.replace("2025-11-20", "2025-13-20");
    let known = unknown.replace(" nobody ", "352093081452251");
    let message = format!(
        "[ {known} ,\n{unknown}, {bad_unknown},true ,{}]",
        RECORDS[1]
    );
    let out = decode_with(&Config::default(), Some(message.as_bytes()));
    let [
        Outcome::Valid(first),
        Outcome::Unknown(second),
        Outcome::Reject(third),
        Outcome::Reject(fourth),
        Outcome::Valid(fifth),
    ] = &out.outcomes[..]
    else {
        panic!("{:?}", out.outcomes)
    };
    assert_eq!(
        std::str::from_utf8(first.bytes(&out.bytes)).unwrap(),
        RECORDS[11],
        "the serial takes the place of the device id"
    );
    assert_eq!(first.serial(&out.bytes), b"CX0B21338D8D");
    assert_eq!(
        (second.device_id.as_str(), &message[second.original.clone()]),
        ("nobody", unknown.as_str())
    );
    assert_eq!(
        (third.rule, third.field.as_str()),
        ("record.datetime.form", "[2].DateTime")
    );
    assert_eq!(
        (third.subject.as_deref(), &message[third.original.clone()]),
        (Some("nobody"), bad_unknown.as_str())
    );
    assert_eq!(
        (fourth.rule, fourth.field.as_str(), fourth.value.as_str()),
        ("record.object", "[3]", "true")
    );
    assert_eq!(&message[fourth.original.clone()], "true");
    assert_eq!(fifth.bytes(&out.bytes), RECORDS[1].as_bytes());
}

#[test]
fn a_reject_names_rule_field_value_and_bound() {
    for (kind, member, value, shown) in [
        (
            "StatusRecord",
            "Code",
            "128",
            "status.code.dropped: Code = 128 (expected 0..127 or 2000 and more, or a code in status_code_allow)",
        ),
        (
            "GpsRecord",
            "Latitude",
            "\"x\"",
            "record.member.json: Latitude = x (expected a number)",
        ),
        (
            "J1708FaultRecord",
            "MessageId",
            "25.6e1",
            "record.member.json: MessageId = 25.6e1 (expected an integer without fraction or exponent)",
        ),
        (
            "VinRecord",
            "DateTime",
            "\"\"",
            "record.datetime.form: DateTime =  (expected RFC 3339, years 0001-9999, 0-7 fraction digits, Z or an offset)",
        ),
        (
            "VinRecord",
            "Zzz",
            "{\"a\" : [1]}",
            "record.member.unknown: Zzz = {\"a\" : [1]} (expected only members of the record's type)",
        ),
    ] {
        let out = decode_with(
            &Config::default(),
            Some(with(kind, member, value).as_bytes()),
        );
        let [Outcome::Reject(reject)] = &out.outcomes[..] else {
            panic!("{:?}", out.outcomes)
        };
        assert_eq!(reject.to_string(), shown);
        assert_eq!(reject.subject.as_deref(), Some("CX0B21338D8D"));
    }
    let long = with(
        "VinRecord",
        "VehicleIdentificationNumber",
        &format!("{:?}", "é".repeat(500)),
    );
    let out = decode_with(&Config::default(), Some(long.as_bytes()));
    let [Outcome::Reject(reject)] = &out.outcomes[..] else {
        panic!("{:?}", out.outcomes)
    };
    assert_eq!(reject.value, "é".repeat(120));
}

#[test]
fn device_ids() {
    for (id, expected) in [
        ("\"352093081452251\"", ""),
        ("\"untidy\"", "record.serial.normalised record.serial.shape"),
        ("\"nobody\"", "unknown"),
        ("\"\"", "!record.device_id.form"),
        ("352093081452251", "!record.device_id.form"),
        ("\"a\\u0000b\"", "!record.device_id.form"),
        ("null", "!record.member.missing"),
    ] {
        let message = with("VinRecord", "SerialNo", "")
            .replace("\"Type\"", &format!("\"DeviceId\":{id},\"Type\""));
        let out = decode_with(&Config::default(), Some(message.as_bytes()));
        assert_eq!(told(&out), expected, "{message}");
    }
}

/// A number that no type holds concerns the member it is in, and only that.
#[test]
fn numbers_of_any_size_are_no_reason_for_a_message() {
    let [gps, status] = [
        RECORDS[0],
        &with("StatusRecord", "Value", "123456789012345678901234567890"),
    ];
    for huge in [
        "1e400",
        "-1e400",
        "123456789012345678901234567890",
        "-9223372036854775809",
        "18446744073709551616",
    ] {
        let bad = gps.replace("43.4516", huge);
        let message = format!("[{gps},{bad},{status}]");
        let out = decode_with(&Config::default(), Some(message.as_bytes()));
        let [
            Outcome::Valid(first),
            Outcome::Reject(second),
            Outcome::Reject(third),
        ] = &out.outcomes[..]
        else {
            panic!("{:?}", out.outcomes)
        };
        assert_eq!(first.bytes(&out.bytes), gps.as_bytes());
        assert_eq!(
            (second.rule, second.field.as_str(), second.value.as_str()),
            ("record.member.float32", "[1].Latitude", huge)
        );
        assert_eq!(
            (third.rule, third.value.as_str()),
            ("record.member.json", "123456789012345678901234567890")
        );
        assert_eq!(&message[second.original.clone()], bad);
        // In members that are dropped unread, however deep, it is nobody's business.
        let config: Config = toml::from_str("unknown_members = \"drop\"").expect("settings");
        let odd = gps.replace(
            '{',
            &format!("{{\"iccid\":{huge},\"raw\":{{\"a\":[{huge},{{\"b\":{huge}}}]}},"),
        );
        let out = decode_with(&config, Some(format!("[{odd},{gps}]").as_bytes()));
        assert_eq!(out.outcomes.len(), 2);
        for outcome in &out.outcomes {
            let Outcome::Valid(record) = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(String::from_utf8_lossy(record.bytes(&out.bytes)), gps);
        }
    }
}

/// Bytes of a record that needs no repair are sent as they came, escapes included.
#[test]
fn a_record_with_escapes_is_sent_as_it_came() {
    let order = |serial: &str, code: &str| {
        format!(
            r#"{{"SerialNo":"{serial}", "FaultStateActive":true,"Code":"{code}","Type":"ObdiiFault\u0052ecord","DateTime":"2025-11-20T10:00:00Z"}}"#
        )
    };
    let escaped = order("CX0B21338D8D", r"P\u0030301");
    let plain = order("CX0B21338D8D", "P0302");
    for message in [
        escaped.clone(),
        format!("[{escaped},{plain}]"),
        format!(" {escaped}\n"),
    ] {
        let out = decode_with(&Config::default(), Some(message.as_bytes()));
        let Some(Outcome::Valid(record)) = out.outcomes.first() else {
            panic!("{:?}", out.outcomes)
        };
        assert_eq!(String::from_utf8_lossy(record.bytes(&out.bytes)), escaped);
        assert_eq!(record.serial(&out.bytes), b"CX0B21338D8D");
    }
    // A serial written with an escape has to be found in the record: such a record is written anew.
    let out = decode_with(
        &Config::default(),
        Some(order(r"CX\u0030B21338D8D", "P0301").as_bytes()),
    );
    let Some(Outcome::Valid(record)) = out.outcomes.first() else {
        panic!("{:?}", out.outcomes)
    };
    assert_eq!(record.serial(&out.bytes), b"CX0B21338D8D");
    assert!(
        record
            .bytes(&out.bytes)
            .starts_with(b"{\"Type\":\"ObdiiFaultRecord\",")
    );
}

/// .NET writes seven digits and an offset ("round-trip"); two instants stay two.
#[test]
fn the_seventh_digit_survives_the_way_to_utc() {
    for (given, written) in [
        (
            "2025-11-20T12:00:00.1234567+02:00",
            "2025-11-20T10:00:00.1234567Z",
        ),
        (
            "2025-11-20T12:00:00.1234568+02:00",
            "2025-11-20T10:00:00.1234568Z",
        ),
        (
            "2025-11-20T12:00:00.1234560+02:00",
            "2025-11-20T10:00:00.123456Z",
        ),
        (
            "2025-11-20t10:00:00.0000009z",
            "2025-11-20T10:00:00.0000009Z",
        ),
    ] {
        let message = with("VinRecord", "DateTime", &format!("{given:?}"));
        let out = decode_with(&Config::default(), Some(message.as_bytes()));
        let Some(Outcome::Valid(record)) = out.outcomes.first() else {
            panic!("{:?}", out.outcomes)
        };
        let text = String::from_utf8_lossy(record.bytes(&out.bytes));
        assert!(
            text.contains(&format!("\"DateTime\":\"{written}\"")),
            "{text}"
        );
    }
}

/// The gateway keeps one of them, so the others are counted; repeats and other codes are not.
#[test]
fn records_of_one_instant_with_different_content_are_counted() {
    let gps = RECORDS[0];
    let other = gps.replace("43.4516", "43.4517");
    let status = |code: u32, value: u32| {
        with("GenericStatusRecord", "Value", &value.to_string()).replace(
            &serde_json::from_str::<serde_json::Value>(&with("GenericStatusRecord", "none", ""))
                .map(|record| format!("\"Code\":{}", record["Code"]))
                .expect("JSON"),
            &format!("\"Code\":{code}"),
        )
    };
    let vin = with("VinRecord", "none", "");
    for (records, twins) in [
        (vec![gps.to_owned(), gps.to_owned()], 0),
        (vec![gps.to_owned(), other.clone()], 1),
        (
            vec![
                gps.to_owned(),
                vin,
                other.clone(),
                gps.to_owned(),
                gps.replace("43.4516", "1"),
            ],
            2,
        ),
        (vec![status(10_000, 1), status(10_001, 2)], 0),
        (vec![status(10_000, 1), status(10_000, 2)], 1),
    ] {
        let message = format!("[{}]", records.join(","));
        let out = decode_with(&Config::default(), Some(message.as_bytes()));
        assert!(
            out.outcomes
                .iter()
                .all(|outcome| matches!(outcome, Outcome::Valid(_))),
            "{message}"
        );
        let counted = out.notes.iter().find(|(rule, _)| *rule == "record.twin");
        assert_eq!(counted.map_or(0, |(_, count)| *count), twins, "{message}");
    }
    let alone = decode_with(&Config::default(), Some(other.as_bytes()));
    assert!(!alone.notes.iter().any(|(rule, _)| *rule == "record.twin"));
}
