use super::*;

fn limits() -> Limits {
    Limits {
        max_records: 5000,
        oldest: i64::MIN,
        newest: i64::MAX,
        now: i64::MAX,
        zoneless_is_utc: false,
        refuse_extra_members: true,
        strict_base64: false,
    }
}

fn one(record: &str) -> Result<Scanned, Refusal> {
    let mut body = format!("[{record}]").into_bytes();
    let mut out = Vec::new();
    scan(&mut body, &limits(), &mut out).map(|()| out[0])
}

fn with(kind: &str, rest: &str) -> String {
    format!(
        r#"{{"Type":"{kind}","DateTime":"2026-02-10T01:00:00Z","SerialNo":"CX0000000001"{rest}}}"#
    )
}

fn fits(kind: &str, rest: &str) -> Fate {
    one(&with(kind, rest))
        .unwrap_or_else(|refusal| panic!("{kind}{rest}: {refusal}"))
        .fate
}

fn refused(kind: &str, rest: &str) -> (&'static str, &'static str) {
    match one(&with(kind, rest)) {
        Err(Refusal::Record {
            member,
            reason,
            record: 0,
        }) => (member, reason),
        other => panic!("{kind}{rest}: {other:?}"),
    }
}

#[test]
fn every_type_has_an_accepted_form_and_needs_its_required_members() {
    let full = [
        ("AccelerationRecord", r#","X":-32768,"Y":0,"Z":32767"#),
        ("BinaryRecord", r#","Data":"AQIDBA==""#),
        (
            "BluetoothRecord",
            r#","Address":"FF:FF:FF:00:AA:9B","Data":21.5,"DataType":7"#,
        ),
        ("DriverChangeRecord", r#","KeyType":84,"DriverId":"AQID""#),
        ("GenericFaultRecord", r#","Code":128"#),
        ("GenericStatusRecord", r#","Code":2000,"Value":-5"#),
        ("GpsRecord", r#","Latitude":43.45,"Longitude":-79"#),
        (
            "J1708FaultRecord",
            r#","MessageId":1,"ParameterId":2,"FailureModeIdentifier":3,"OccurrenceCount":4,"FaultStateActive":true"#,
        ),
        (
            "J1939FaultRecord",
            r#","SuspectParameterNumber":1,"FailureModeIdentifier":2,"OccurrenceCount":3,"SourceAddress":4,"FaultStateActive":true"#,
        ),
        (
            "ObdiiFaultRecord",
            r#","Code":"P0301","FaultStateActive":true"#,
        ),
        ("StatusRecord", r#","Code":12,"Value":5"#),
        (
            "VinRecord",
            r#","VehicleIdentificationNumber":"1NZI3SA5WPAJE2YR3""#,
        ),
    ];
    for (kind, rest) in full {
        assert_eq!(fits(kind, rest), Fate::Valid, "{kind}");
        let value: serde_json::Value = serde_json::from_str(&with(kind, rest)).unwrap();
        for name in value.as_object().unwrap().keys() {
            let mut less = value.clone();
            less.as_object_mut().unwrap().remove(name);
            let result = one(&less.to_string());
            if kind == "J1708FaultRecord" && name == "ParameterId" {
                assert!(matches!(result.unwrap().fate, Fate::Invalid(_)));
            } else {
                assert!(result.is_err(), "{kind} without {name}");
            }
            // A value of another type is never accepted.
            let mut wrong = value.clone();
            wrong[name] = serde_json::json!([1]);
            assert!(one(&wrong.to_string()).is_err());
            wrong[name] = serde_json::Value::Null;
            assert!(
                one(&wrong.to_string()).is_err() || name == "ParameterId",
                "{kind} null {name}"
            );
        }
    }
}

#[test]
fn bounds_the_specification_names_are_schema_errors() {
    assert_eq!(
        refused("AccelerationRecord", r#","X":32768,"Y":0,"Z":0"#).0,
        "X"
    );
    assert_eq!(
        refused("AccelerationRecord", r#","X":1.0,"Y":0,"Z":0"#).0,
        "X"
    );
    assert_eq!(
        refused("GenericFaultRecord", r#","Code":127"#),
        ("Code", "out of range")
    );
    assert_eq!(
        refused("GenericFaultRecord", r#","Code":2000"#),
        ("Code", "out of range")
    );
    assert_eq!(
        refused("StatusRecord", r#","Code":1,"Value":2147483648"#).0,
        "Value"
    );
    assert_eq!(
        refused(
            "StatusRecord",
            r#","Code":1,"Value":99999999999999999999999"#
        )
        .0,
        "Value"
    );
    assert_eq!(
        refused(
            "BluetoothRecord",
            r#","Address":"FF:FF:FF:00:AA:9B","Data":1e39,"DataType":7"#
        )
        .0,
        "Data"
    );
    assert_eq!(
        refused(
            "BluetoothRecord",
            r#","Address":"FF-FF-FF-00-AA-9B","Data":1,"DataType":7"#
        )
        .0,
        "Address"
    );
    assert_eq!(refused("BinaryRecord", r#","Data":"AQIDBA=""#).0, "Data");
    assert_eq!(
        refused(
            "BinaryRecord",
            &format!(r#","Data":"{}""#, "AAAA".repeat(10_916))
        )
        .1,
        "too long"
    );
    assert_eq!(
        fits(
            "BinaryRecord",
            &format!(r#","Data":"{}""#, "AAAA".repeat(10_915))
        ),
        Fate::Valid
    );
    assert_eq!(
        refused("VinRecord", r#","VehicleIdentificationNumber":"""#).0,
        "VehicleIdentificationNumber"
    );
    assert_eq!(
        refused("ObdiiFaultRecord", r#","Code":12,"FaultStateActive":true"#).0,
        "Code"
    );
    assert_eq!(
        refused("GpsRecord", r#","Latitude":1,"Longitude":1,"Speeed":1"#).1,
        "not a member of this record type"
    );
    assert_eq!(
        refused("GpsRecord", r#","Latitude":1,"Longitude":1,"Code":1"#),
        ("Code", "not a member of this record type")
    );
    assert_eq!(
        refused("GpsRecord", r#","Latitude":1,"Longitude":1,"latitude":1"#),
        ("Latitude", "given twice")
    );
}

#[test]
fn nonsense_that_fits_is_dropped_or_invalid() {
    for code in ["128", "1999"] {
        assert_eq!(
            fits("StatusRecord", &format!(r#","Code":{code},"Value":1"#)),
            Fate::Dropped
        );
        assert_eq!(
            fits(
                "GenericStatusRecord",
                &format!(r#","Code":{code},"Value":1"#)
            ),
            Fate::Dropped
        );
    }
    for code in ["127", "2000", "-1"] {
        assert_eq!(
            fits("StatusRecord", &format!(r#","Code":{code},"Value":1"#)),
            Fate::Valid
        );
    }
    for rest in [
        r#","Latitude":90.1,"Longitude":0"#,
        r#","Latitude":0,"Longitude":-180.5"#,
        r#","Latitude":0,"Longitude":0,"Speed":-1"#,
    ] {
        assert!(
            matches!(fits("GpsRecord", rest), Fate::Invalid(_)),
            "{rest}"
        );
    }
    let both = r#","MessageId":1,"ParameterId":2,"SubsystemId":null,"FailureModeIdentifier":3,"OccurrenceCount":4,"FaultStateActive":true"#;
    assert_eq!(fits("J1708FaultRecord", both), Fate::Valid);
    assert!(matches!(
        fits("J1708FaultRecord", &both.replace("null", "7")),
        Fate::Invalid(_)
    ));
}

#[test]
fn the_window_of_instants_makes_invalid_records() {
    let mut body = format!("[{}]", with("StatusRecord", r#","Code":1,"Value":1"#)).into_bytes();
    let ticks = instants::parse(b"2026-02-10T01:00:00Z", false).unwrap();
    let mut out = Vec::new();
    for (oldest, newest, fate) in [
        (ticks, ticks, Fate::Valid),
        (
            ticks + 1,
            ticks + 2,
            Fate::Invalid("sim: DateTime is too old"),
        ),
        (
            ticks - 2,
            ticks - 1,
            Fate::Invalid("sim: DateTime is in the future"),
        ),
    ] {
        scan(
            &mut body,
            &Limits {
                oldest,
                newest,
                ..limits()
            },
            &mut out,
        )
        .unwrap();
        assert_eq!(out[0].fate, fate);
    }
}

#[test]
fn whole_bodies() {
    let record = with("StatusRecord", r#","Code":1,"Value":1"#);
    let mut out = Vec::new();
    let mut run = |body: &str, max_records: usize| {
        scan(
            &mut body.as_bytes().to_vec(),
            &Limits {
                max_records,
                ..limits()
            },
            &mut out,
        )
        .map(|()| out.len())
    };
    assert_eq!(run(&format!(" [ {record} , {record} ] \n"), 2), Ok(2));
    assert_eq!(
        run(&format!("[{record},{record},{record}]"), 2),
        Err(Refusal::TooMany(2))
    );
    assert_eq!(run("[]", 2), Err(Refusal::Empty));
    assert_eq!(run(" [ ] ", 2), Err(Refusal::Empty));
    assert_eq!(run(&record, 2), Err(Refusal::NotArray));
    assert_eq!(run("null", 2), Err(Refusal::NotArray));
    assert!(matches!(
        run("[[]]", 2),
        Err(Refusal::Record { record: 0, .. })
    ));
    assert!(matches!(
        run(&format!("[{record},3]"), 2),
        Err(Refusal::Record { record: 1, .. })
    ));
    for broken in [
        "",
        "[",
        "[{",
        "[{}",
        "[,]",
        "]",
        "<html>",
        "[{\"Type\":}]",
        "[{\"Type\" \"x\"}]",
        "[{\"Type",
    ] {
        assert!(run(broken, 2).is_err(), "{broken}");
    }
    for broken in [
        format!("[{record},]"),
        format!("[{record}"),
        format!("[{record}] x"),
        format!("[{record}{record}]"),
    ] {
        assert!(
            matches!(
                run(&broken, 9),
                Err(Refusal::Malformed { .. } | Refusal::Record { .. })
            ),
            "{broken}"
        );
    }
    assert!(matches!(
        scan(&mut b"[\"\xff\"]".to_vec(), &limits(), &mut Vec::new()),
        Err(Refusal::Malformed { .. })
    ));
}

#[test]
fn names_in_any_case_and_spread_out_are_found_and_marked() {
    let plain = one(&with("GpsRecord", r#","Latitude":1,"Longitude":2"#)).unwrap();
    assert!(plain.canonical);
    let spread = r#"{ "type" : "GpsRecord",
        "dateTime":"2026-02-10T01:00:00Z","SERIALNO":"CX1", "latitude":1,"Longitude":2}"#;
    let scanned = one(spread).unwrap();
    assert!(!scanned.canonical);
    let mut seen = Vec::new();
    members(spread.as_bytes(), |name, value| {
        seen.push((String::from_utf8_lossy(name), value.to_vec()))
    });
    assert_eq!(seen.len(), 5);
    assert_eq!(
        (seen[3].0.as_ref(), seen[3].1.as_slice()),
        ("latitude", &b"1"[..])
    );
}

/// What the scan accepts is JSON to everyone else, and a body mutated anywhere never makes it panic.
#[test]
fn agrees_with_serde_json_on_mutated_bodies() {
    use rand::{Rng, SeedableRng};
    let seed = 0x51;
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let base = format!(
        "[{},{}]",
        with(
            "GpsRecord",
            r#","Latitude":-1.5e1,"Longitude":2.25,"Speed":0,"IsGpsValid":true"#
        ),
        with("BinaryRecord", r#","Data":"AQIDBA==""#)
    );
    let alphabet = b"{}[]\",:0123456789eE+-.\\ntruefalsu \x01\xc3";
    let (mut accepted, mut out) = (0, Vec::new());
    for round in 0..20_000 {
        let mut body = base.clone().into_bytes();
        for _ in 0..rng.random_range(1..3) {
            let at = rng.random_range(0..body.len());
            match rng.random_range(0..3) {
                0 => body[at] = alphabet[rng.random_range(0..alphabet.len())],
                1 => drop(body.remove(at)),
                _ => body.insert(at, alphabet[rng.random_range(0..alphabet.len())]),
            }
        }
        let sent = body.clone();
        if scan(&mut body, &limits(), &mut out).is_ok() {
            accepted += 1;
            let value = serde_json::from_slice::<serde_json::Value>(&sent);
            assert!(
                value.is_ok(),
                "seed {seed} round {round}: {}",
                String::from_utf8_lossy(&sent)
            );
        }
    }
    assert!(
        accepted > 1000,
        "the mutations left too little standing: {accepted}"
    );
}

#[test]
fn needless_escapes_are_taken_out_first() {
    let mut body = br#"[{"Type":"StatusRecord","DateTime":"2026-02-10T01:00:00Z","SerialN\u006f":"C\u0058\/1","Code":1,"Value":1}]"#.to_vec();
    let mut out = Vec::new();
    scan(&mut body, &limits(), &mut out).unwrap();
    assert_eq!(out[0].serial.of(&body), b"CX/1");
    assert!(scan(&mut br#"[{"Type":"\u00"}]"#.to_vec(), &limits(), &mut out).is_err());
}

/// Numbers as the validator has them: what a 32-bit float holds, once rounded, is legal in every member that is one.
#[test]
fn numbers_are_32_bit_floats() {
    let bluetooth =
        |data: &str| format!(r#","Address":"FF:FF:FF:00:AA:9B","Data":{data},"DataType":7"#);
    let gps = |member: &str, value: &str| {
        let rest = match member {
            "Latitude" => r#""Longitude":1"#,
            "Longitude" => r#""Latitude":1"#,
            _ => r#""Latitude":1,"Longitude":1"#,
        };
        format!(r#",{rest},"{member}":{value}"#)
    };
    for data in [
        "3.4028235e38",
        "-3.4028235e38",
        "3.4028235677973362e38",
        "18446744073709551615",
        "-0.0",
    ] {
        assert_eq!(
            fits("BluetoothRecord", &bluetooth(data)),
            Fate::Valid,
            "{data}"
        );
    }
    for huge in [
        "3.4028236e38",
        "1e39",
        "-1e39",
        "1e400",
        "18446744073709551616",
        "-9223372036854775809",
    ] {
        assert_eq!(
            refused("BluetoothRecord", &bluetooth(huge)),
            ("Data", "not a 32-bit float"),
            "{huge}"
        );
        for member in ["Latitude", "Longitude", "Speed"] {
            assert_eq!(
                refused("GpsRecord", &gps(member, huge)),
                (member, "not a 32-bit float"),
                "{huge}"
            );
        }
    }
    assert_eq!(
        refused("StatusRecord", r#","Code":1,"Value":18446744073709551616"#),
        ("Value", "out of range")
    );
}

/// Lengths count characters, an escape being one, as the validator counts them.
#[test]
fn lengths_are_those_of_characters() {
    let vin = |text: &str| format!(r#","VehicleIdentificationNumber":"{text}""#);
    assert_eq!(fits("VinRecord", &vin(&"é".repeat(17))), Fate::Valid);
    assert_eq!(fits("VinRecord", &vin(&r#"\""#.repeat(17))), Fate::Valid);
    assert_eq!(
        refused("VinRecord", &vin(&"é".repeat(18))).1,
        "not 1 to 17 characters"
    );
    let code = |text: &str| format!(r#","Code":"{text}","FaultStateActive":true"#);
    assert_eq!(
        fits("ObdiiFaultRecord", &code(&"€".repeat(10))),
        Fate::Valid
    );
    assert_ne!(
        fits("ObdiiFaultRecord", &code(&"€".repeat(11))),
        Fate::Valid
    );
    let serial = |text: &str| {
        let record = with("VinRecord", &vin("1M8GDM9AXKP042788")).replace("CX0000000001", text);
        one(&record).map(|scanned| scanned.fate)
    };
    assert!(serial(&"ß".repeat(50)).is_ok());
    assert!(serial(&"ß".repeat(51)).is_err() && serial("").is_err());
}
