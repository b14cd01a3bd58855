use super::*;

fn generic(key: Key) -> Diagnostic {
    Diagnostics::shipped()
        .unwrap()
        .find(RecordType::GenericStatus, &key)
        .unwrap()
        .clone()
}

#[test]
fn every_shipped_line_reads() {
    let table = Diagnostics::shipped().unwrap();
    assert_eq!(
        table.entries().len(),
        SHIPPED.lines().filter(|l| !l.starts_with('#')).count()
    );
    for d in table.entries() {
        assert!(d.multiplier.is_finite() && d.multiplier != 0.0, "{d:?}");
        assert_eq!(
            table.find(d.record, &Key::Code(i64::from(d.code))).unwrap(),
            d
        );
    }
}

#[test]
fn a_name_in_any_case_and_a_code_find_the_same() {
    assert_eq!(generic(Key::Name("oDoMeter".into())), generic(Key::Code(5)));
    assert_eq!(generic(Key::Code(5)).multiplier, 100.0);
}

#[test]
fn the_two_status_records_have_tables_of_their_own() {
    let table = Diagnostics::shipped().unwrap();
    assert_eq!(
        table.find(RecordType::Status, &Key::Code(5)).unwrap().name,
        "Battery voltage"
    );
    assert_eq!(
        table
            .find(RecordType::GenericStatus, &Key::Code(5))
            .unwrap()
            .name,
        "Odometer"
    );
}

#[test]
fn raw_inverts_the_published_conversion() {
    // (diagnostic, physical, raw)
    for (key, value, raw) in [
        (Key::Name("Odometer".into()), 123_456_789.0, 1_234_568),
        (Key::Name("Fuel level".into()), 50.0, 128),
        (Key::Name("Engine speed".into()), 850.0, 3_400),
        (
            Key::Name("Remote probe 1 temperature".into()),
            -20.5,
            16_056,
        ),
        (Key::Name("MAC air temperature".into()), -40.0, 0),
        (Key::Code(31001), 3.3, 255),
        (Key::Name("Ignition".into()), 1.0, 1),
    ] {
        assert_eq!(generic(key.clone()).raw(value), Ok(raw), "{key:?}");
    }
}

#[test]
fn a_raw_value_fits_its_length_signed_or_unsigned() {
    let byte = generic(Key::Name("MAC air temperature".into()));
    assert_eq!(byte.bounds(), (-128, 255));
    assert_eq!(byte.raw(215.0), Ok(255));
    assert_eq!(
        byte.raw(216.0),
        Err(OutOfLength {
            raw: 256.0,
            low: -128,
            high: 255
        })
    );
    assert_eq!(byte.raw(-168.0), Ok(-128));
    assert!(byte.raw(-169.0).is_err());
    assert!(byte.raw(f64::NAN).is_err());
    assert!(byte.raw(f64::INFINITY).is_err());
    assert_eq!(
        generic(Key::Name("Odometer".into())).bounds(),
        (i64::from(i32::MIN), i64::from(i32::MAX))
    );
}

#[test]
fn an_unknown_name_lists_the_nearest() {
    let table = Diagnostics::shipped().unwrap();
    let error = table
        .find(RecordType::GenericStatus, &Key::Name("Odometr".into()))
        .unwrap_err();
    assert!(error.contains("\"Odometer\""), "{error}");
    let error = table
        .find(RecordType::GenericStatus, &Key::Code(1234))
        .unwrap_err();
    assert!(error.contains("1234"), "{error}");
    // Nothing is like it.
    let error = table
        .find(RecordType::GenericStatus, &Key::Name("Hopper door".into()))
        .unwrap_err();
    assert!(
        !error.contains("nearest") && error.contains("map --diagnostics"),
        "{error}"
    );
}

#[test]
fn a_name_or_code_of_the_other_record_type_says_which() {
    let table = Diagnostics::shipped().unwrap();
    let status = table.find(RecordType::Status, &Key::Code(5)).unwrap();
    let name = Key::Name(status.name.to_lowercase());
    let error = table.find(RecordType::GenericStatus, &name).unwrap_err();
    assert!(
        error.contains("add type = \"StatusRecord\"") && !error.contains("nearest"),
        "{error}"
    );
    let error = table
        .find(RecordType::Status, &Key::Name("Odometer".into()))
        .unwrap_err();
    assert!(error.contains("type = \"GenericStatusRecord\""), "{error}");
}

#[test]
fn diagnostics_are_listed_by_a_part_of_the_name_or_by_code() {
    let table = Diagnostics::shipped().unwrap();
    let found: Vec<_> = table.matching("BATTERY volt").collect();
    assert!(
        found
            .iter()
            .any(|d| d.record == RecordType::Status && d.code == 5)
    );
    assert!(
        found
            .iter()
            .all(|d| d.name.to_lowercase().contains("battery volt"))
    );
    let codes: Vec<_> = table.matching("5").filter(|d| d.code == 5).collect();
    assert_eq!(codes.len(), 2);
    assert_eq!(table.matching("").count(), table.entries().len());
}

#[test]
fn a_shared_name_lists_the_codes() {
    let table = Diagnostics::shipped().unwrap();
    let error = table
        .find(
            RecordType::GenericStatus,
            &Key::Name("Onboard scale total payload weight".into()),
        )
        .unwrap_err();
    assert!(
        error.contains("32820") && error.contains("32948"),
        "{error}"
    );
}

#[test]
fn a_user_adds_and_replaces() {
    let text = "[[diagnostic]]\ncode = 50000\nname = \"Hopper door\"\n[[diagnostic]]\ncode = 5\nname = \"Odo\"\nmultiplier = 1\n";
    let table = Diagnostics::shipped()
        .unwrap()
        .with_text("mine.toml", text)
        .unwrap();
    assert_eq!(
        table
            .find(RecordType::GenericStatus, &Key::Name("hopper door".into()))
            .unwrap()
            .code,
        50_000
    );
    assert_eq!(
        table
            .find(RecordType::GenericStatus, &Key::Code(5))
            .unwrap()
            .multiplier,
        1.0
    );
    assert!(
        table
            .find(RecordType::GenericStatus, &Key::Name("Odometer".into()))
            .is_err()
    );
}

#[test]
fn a_bad_user_entry_names_file_line_and_field() {
    for (text, wanted) in [
        (
            "\n[[diagnostic]]\ncode = 1\nname = \"x\"\nmultiplier = 0\n",
            ["mine.toml:2", "multiplier"],
        ),
        (
            "[[diagnostic]]\ncode = 1\nname = \"x\"\nbytes = 9\n",
            ["mine.toml:1", "bytes"],
        ),
        (
            "[[diagnostic]]\ncode = 1\nname = \"x\"\nfactor = 9\n",
            ["mine.toml:4", "factor"],
        ),
        (
            "[[diagnostic]]\ncode = 1\nname = \"x\"\ntype = \"GpsRecord\"\n",
            ["mine.toml:1", "type"],
        ),
    ] {
        let error = Diagnostics::shipped()
            .unwrap()
            .with_text("mine.toml", text)
            .unwrap_err()
            .to_string();
        assert!(wanted.iter().all(|w| error.contains(w)), "{error}");
    }
}
