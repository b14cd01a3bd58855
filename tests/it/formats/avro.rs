//! Avro against `apache-avro`, which writes what is read here; and messages that nobody should write.

use std::sync::Arc;

use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use dig_ingest::formats::Compiled;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{avro_of, read, text};

/// A long in Avro's form.
fn long(value: i64) -> Vec<u8> {
    let mut left = (value << 1 ^ value >> 63) as u64;
    let mut out = Vec::new();
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
    out
}

/// The value as `apache-avro` writes it.
fn written(schema: &str, value: Avro) -> Vec<u8> {
    let schema = apache_avro::Schema::parse_str(schema).expect("a schema");
    let writer = GenericDatumWriter::builder(&schema)
        .build()
        .expect("a writer");
    writer
        .write_value_to_vec(value)
        .expect("a value of the schema")
}

/// What comes of a value that `apache-avro` wrote with a schema.
fn through(schema: &str, value: Avro) -> Value {
    let bytes = written(schema, value);
    let compiled = avro_of(schema, None).expect("a schema");
    read(&compiled, 0, &bytes).unwrap_or_else(|fault| panic!("{schema}: {fault:?}"))
}

/// One value of a type, as the member `v` of a record.
fn one(ty: &str, value: Avro) -> Value {
    let schema = format!(r#"{{"type":"record","name":"R","fields":[{{"name":"v","type":{ty}}}]}}"#);
    through(&schema, Avro::Record(vec![("v".to_owned(), value)]))["v"].take()
}

#[test]
fn every_type_becomes_the_json_that_is_documented() {
    let logical = |ty: &str, name: &str| format!(r#"{{"type":"{ty}","logicalType":"{name}"}}"#);
    let cases: Vec<(String, Avro, Value)> = vec![
        (r#""null""#.into(), Avro::Null, Value::Null),
        (r#""boolean""#.into(), Avro::Boolean(true), json!(true)),
        (r#""int""#.into(), Avro::Int(i32::MIN), json!(i32::MIN)),
        (r#""long""#.into(), Avro::Long(i64::MIN), json!(i64::MIN)),
        (r#""long""#.into(), Avro::Long(i64::MAX), json!(i64::MAX)),
        (r#""float""#.into(), Avro::Float(12.1), json!(12.1)),
        (r#""double""#.into(), Avro::Double(-47.376_888), json!(-47.376_888)),
        (r#""double""#.into(), Avro::Double(f64::NAN), Value::Null),
        (r#""double""#.into(), Avro::Double(f64::INFINITY), json!("Infinity")),
        (r#""bytes""#.into(), Avro::Bytes(vec![255, 0]), json!("/wA=")),
        (
            r#""string""#.into(),
            Avro::String("Zürich \"\\\n\u{1}".into()),
            json!("Zürich \"\\\n\u{1}"),
        ),
        (
            r#"{"type":"fixed","name":"F","size":3}"#.into(),
            Avro::Fixed(3, vec![1, 2, 3]),
            json!("AQID"),
        ),
        (
            r#"{"type":"enum","name":"E","symbols":["ON","OFF"]}"#.into(),
            Avro::Enum(1, "OFF".into()),
            json!("OFF"),
        ),
        (
            r#"{"type":"array","items":"int"}"#.into(),
            Avro::Array(vec![Avro::Int(1), Avro::Int(2)]),
            json!([1, 2]),
        ),
        (
            r#"{"type":"map","values":"double"}"#.into(),
            Avro::Map([("io.1".to_owned(), Avro::Double(2.5))].into()),
            json!({ "io.1": 2.5 }),
        ),
        (
            r#"["null","string"]"#.into(),
            Avro::Union(1, Box::new(Avro::String("x".into()))),
            json!("x"),
        ),
        (
            r#"["null","string"]"#.into(),
            Avro::Union(0, Box::new(Avro::Null)),
            Value::Null,
        ),
        (logical("int", "date"), Avro::Date(19_750), json!("2024-01-28")),
        (
            logical("int", "time-millis"),
            Avro::TimeMillis(63_936_500),
            json!("17:45:36.500"),
        ),
        (
            logical("long", "time-micros"),
            Avro::TimeMicros(63_936_000_007),
            json!("17:45:36.000007"),
        ),
        (
            logical("long", "timestamp-millis"),
            Avro::TimestampMillis(1_706_463_936_500),
            json!("2024-01-28T17:45:36.5Z"),
        ),
        (
            logical("long", "timestamp-micros"),
            Avro::TimestampMicros(1_706_463_936_000_001),
            json!("2024-01-28T17:45:36.000001Z"),
        ),
        (
            logical("long", "timestamp-nanos"),
            Avro::TimestampNanos(1_706_463_936_000_000_001),
            json!("2024-01-28T17:45:36.000000001Z"),
        ),
        (
            logical("long", "local-timestamp-millis"),
            Avro::LocalTimestampMillis(1_706_463_936_500),
            json!("2024-01-28T17:45:36.5"),
        ),
        (
            r#"{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}"#.into(),
            Avro::Decimal(vec![0xfb, 0x1e].into()),
            json!(-12.50),
        ),
        (
            r#"{"type":"fixed","name":"D","size":16,"logicalType":"decimal","precision":38,"scale":3}"#.into(),
            Avro::Decimal(vec![1; 16].into()),
            json!("1334440654591915542993625911497130.241"),
        ),
        (
            r#"{"type":"fixed","name":"U","size":12,"logicalType":"duration"}"#.into(),
            Avro::Duration([1, 0, 0, 0, 2, 0, 0, 0, 0xbc, 0x0b, 0, 0].into()),
            json!("P1M2DT3.004S"),
        ),
    ];
    for (ty, value, expected) in cases {
        assert_eq!(one(&ty, value), expected, "{ty}");
    }
    let uuid = "0f2b8a9e-5c2e-4b36-9d5e-0d9d3f0c1a2b";
    let id = apache_avro::Uuid::parse_str(uuid).unwrap();
    let ty = r#"{"type":"fixed","name":"I","size":16,"logicalType":"uuid"}"#;
    assert_eq!(one(ty, Avro::Uuid(id)), json!(uuid));
}

/// What cannot be shown in its form is shown as it lies in the message: only a record that reads it is refused.
#[test]
fn a_time_beyond_the_calendar_is_its_number() {
    let ty = r#"{"type":"long","logicalType":"timestamp-millis"}"#;
    assert_eq!(one(ty, Avro::TimestampMillis(i64::MAX)), json!(i64::MAX));
    assert_eq!(
        one(
            r#"{"type":"int","logicalType":"date"}"#,
            Avro::Date(i32::MIN)
        ),
        json!(i32::MIN)
    );
}

const TREE: &str = r#"{"type":"record","name":"Tree","namespace":"a.b","fields":[
 {"name":"long","type":"long"},{"name":"double","type":"double"},{"name":"text","type":"string"},
 {"name":"maybe","type":["null","int","string"]},
 {"name":"map","type":{"type":"map","values":"long"}},
 {"name":"children","type":{"type":"array","items":"Tree"}}]}"#;

/// A value of [`TREE`] and its JSON.
fn trees() -> impl Strategy<Value = (Avro, Value)> {
    let maybe = prop_oneof![
        Just((Avro::Union(0, Box::new(Avro::Null)), Value::Null)),
        any::<i32>().prop_map(|n| (Avro::Union(1, Box::new(Avro::Int(n))), json!(n))),
        ".*".prop_map(|s| (Avro::Union(2, Box::new(Avro::String(s.clone()))), json!(s))),
    ];
    let leaf = (
        any::<i64>(),
        prop::num::f64::NORMAL | prop::num::f64::ZERO,
        ".*",
        maybe,
        prop::collection::btree_map(".{0,4}", any::<i64>(), 0..3),
    );
    let tree = move |children: Vec<(Avro, Value)>| {
        let children = Just(children);
        (leaf.clone(), children).prop_map(|((long, double, text, maybe, map), children)| {
            let (inner, json): (Vec<Avro>, Vec<Value>) = children.into_iter().unzip();
            let avro = Avro::Record(vec![
                ("long".into(), Avro::Long(long)),
                ("double".into(), Avro::Double(double)),
                ("text".into(), Avro::String(text.clone())),
                ("maybe".into(), maybe.0),
                (
                    "map".into(),
                    Avro::Map(map.iter().map(|(k, v)| (k.clone(), Avro::Long(*v))).collect()),
                ),
                ("children".into(), Avro::Array(inner)),
            ]);
            let value = json!({
                "long": long, "double": double, "text": text, "maybe": maybe.1, "map": map, "children": json
            });
            (avro, value)
        })
    };
    tree(Vec::new()).prop_recursive(4, 24, 4, move |inner| {
        prop::collection::vec(inner, 0..4).prop_flat_map(tree.clone())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_apache_avro_writes_is_read((value, expected) in trees()) {
        let bytes = written(TREE, value);
        let compiled = avro_of(TREE, None).unwrap();
        prop_assert_eq!(read(&compiled, 0, &bytes).unwrap(), expected);
    }

    /// Cut or changed anywhere, a message is read or refused, within the bounds.
    #[test]
    fn broken_messages_are_refused_and_nothing_else((value, _) in trees(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let bytes = written(TREE, value);
        let compiled = avro_of(TREE, None).unwrap();
        let at = at.index(bytes.len());
        prop_assert!(read(&compiled, 0, &bytes[..at]).is_err(), "a part of a message is none");
        let mut changed = bytes.clone();
        changed[at] = byte;
        if let Ok(text) = text(&compiled, 0, &changed) {
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok());
        }
    }
}

fn rule(compiled: &Arc<Compiled>, message: &[u8]) -> &'static str {
    read(compiled, 0, message).expect_err("it is refused").rule
}

/// CVE-2024-47561 and its kin are about schemas; these are messages of a few bytes that stand for a flood.
#[test]
fn a_small_message_never_becomes_a_large_one() {
    let many = long(1 << 40);
    for items in [
        r#""null""#,
        r#"{"type":"record","name":"Empty","fields":[]}"#,
        r#"{"type":"fixed","name":"Nothing","size":0}"#,
    ] {
        let schema = format!(r#"{{"type":"array","items":{items}}}"#);
        let compiled = avro_of(&schema, None).unwrap();
        let message = [&many[..], &[0]].concat();
        assert_eq!(rule(&compiled, &message), "format.size", "{items}");
        // Skipped because nobody reads it, it costs time all the same.
        let writer = format!(
            r#"{{"type":"record","name":"R","fields":[{{"name":"flood","type":{schema}}},{{"name":"a","type":"int"}}]}}"#
        );
        let reader = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
        let compiled = avro_of(&writer, Some(reader)).unwrap();
        let message = [&many[..], &[0], &long(1)].concat();
        assert_eq!(rule(&compiled, &message), "format.size", "{items} skipped");
    }
    let compiled = avro_of(r#"{"type":"array","items":"long"}"#, None).unwrap();
    for count in [1 << 40, i64::MAX, i64::MIN] {
        assert_eq!(rule(&compiled, &long(count)), "format.payload", "{count}");
    }
    let compiled = avro_of(r#""bytes""#, None).unwrap();
    for length in [1 << 40, -1, i64::MIN] {
        assert_eq!(rule(&compiled, &long(length)), "format.payload", "{length}");
    }
}

#[test]
fn nesting_is_bounded() {
    let endless = r#"{"type":"record","name":"R","fields":[{"name":"r","type":"R"}]}"#;
    assert_eq!(rule(&avro_of(endless, None).unwrap(), &[]), "format.depth");
    let list = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
    let list = avro_of(list, None).unwrap();
    let of = |depth: usize| [vec![2; depth - 1], vec![0]].concat();
    assert!(read(&list, 0, &of(32)).is_ok());
    assert_eq!(rule(&list, &of(33)), "format.depth");
    assert_eq!(rule(&list, &of(100_000)), "format.depth");
    // A reader that does not want it has to pass it.
    let writer = r#"{"type":"record","name":"T","fields":[{"name":"l","type":{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}}]}"#;
    let reader = r#"{"type":"record","name":"T","fields":[]}"#;
    let passing = avro_of(writer, Some(reader)).unwrap();
    assert_eq!(rule(&passing, &of(100_000)), "format.depth");
}

/// The place and the value are named, as in a message that came as JSON.
#[test]
fn a_fault_names_its_place() {
    let schema = r#"{"type":"record","name":"R","fields":[{"name":"positions","type":{"type":"array","items":
        {"type":"record","name":"P","fields":[{"name":"on","type":"boolean"}]}}}]}"#;
    let compiled = avro_of(schema, None).unwrap();
    let message = [&long(2)[..], &[1, 7, 0]].concat();
    let fault = read(&compiled, 0, &message).unwrap_err();
    assert_eq!(
        (fault.rule, fault.field.as_str()),
        ("format.payload", "positions[1].on")
    );
    let fault = read(&compiled, 0, &[0, 1, 2]).unwrap_err();
    assert!(fault.value.contains("2 bytes follow"), "{fault:?}");
    let text = avro_of(r#""string""#, None).unwrap();
    assert!(
        read(&text, 0, &[4, 0xff, 0xfe])
            .unwrap_err()
            .bound
            .contains("UTF-8")
    );
}

#[test]
fn a_reader_schema_reads_older_and_newer_messages() {
    let reader = r#"{"type":"record","name":"Position","namespace":"new","aliases":["old.Fix"],"fields":[
        {"name":"speed","type":"double","aliases":["velocity"]},
        {"name":"state","type":{"type":"enum","name":"State","symbols":["ON","UNKNOWN"],"default":"UNKNOWN"}},
        {"name":"source","type":"string","default":"unknown"},
        {"name":"at","type":["null",{"type":"long","logicalType":"timestamp-millis"}],"default":null},
        {"name":"tags","type":{"type":"array","items":"string"},"default":["a"]},
        {"name":"raw","type":"bytes","default":"\u00ff"}]}"#;
    let writer = r#"{"type":"record","name":"Fix","namespace":"old","fields":[
        {"name":"removed","type":{"type":"map","values":{"type":"array","items":"string"}}},
        {"name":"velocity","type":"int"},
        {"name":"state","type":{"type":"enum","name":"State","symbols":["ON","SLEEPING"]}},
        {"name":"at","type":"long"}]}"#;
    let value = Avro::Record(vec![
        (
            "removed".into(),
            Avro::Map([("k".to_owned(), Avro::Array(vec![Avro::String("v".into())]))].into()),
        ),
        ("velocity".into(), Avro::Int(61)),
        ("state".into(), Avro::Enum(1, "SLEEPING".into())),
        ("at".into(), Avro::Long(0)),
    ]);
    let compiled = avro_of(writer, Some(reader)).unwrap();
    assert_eq!(
        read(&compiled, 0, &written(writer, value)).unwrap(),
        json!({
            "speed": 61, "state": "UNKNOWN", "source": "unknown", "at": "1970-01-01T00:00:00Z", "tags": ["a"], "raw": "/w=="
        })
    );
    let other = r#"{"type":"record","name":"Fix","namespace":"old","fields":[{"name":"velocity","type":"string"}]}"#;
    let simple = r#"{"type":"record","name":"Fix","fields":[{"name":"velocity","type":"double"}]}"#;
    // A field of another type: its messages are refused one by one, as only this field cannot be read.
    let compiled = avro_of(other, Some(simple)).unwrap();
    assert_eq!(rule(&compiled, &[2, b'x']), "format.payload");
    for (writer, why) in [
        (
            r#"{"type":"record","name":"Fix","fields":[]}"#,
            "no default",
        ),
        (r#""string""#, "cannot be read as Fix"),
        (
            r#"{"type":"record","name":"Else","fields":[]}"#,
            "cannot be read as Fix",
        ),
    ] {
        let fault = avro_of(writer, Some(simple)).unwrap_err();
        assert_eq!(fault.rule, "format.schema");
        assert!(fault.value.contains(why), "{writer}: {fault:?}");
    }
}

#[test]
fn schemas_that_are_none_are_refused_with_the_reason() {
    let deep = format!("{}{}", r#"{"type":"array","items":"#.repeat(1000), "1");
    let chain: String = (1..3_000).fold(
        r#"[{"type":"record","name":"R0","fields":[]}"#.to_owned(),
        |text, n| {
            let inner = n - 1;
            text + &format!(
                r#",{{"type":"record","name":"R{n}","fields":[{{"name":"f","type":"R{inner}"}}]}}"#
            )
        },
    ) + r#",{"type":"array","items":"R2999"}]"#;
    for (schema, why) in [
        ("", "no JSON"),
        ("{}", "without \"type\""),
        (r#""unheard""#, "not defined"),
        (r#"{"type":"record","name":"R"}"#, "without \"fields\""),
        (r#"{"type":"array"}"#, "without \"items\""),
        (r#"[["null"]]"#, "a union directly in a union"),
        (
            r#"{"type":"fixed","name":"F","size":-1}"#,
            "without \"size\"",
        ),
        (
            r#"[{"type":"fixed","name":"F","size":1},{"type":"fixed","name":"F","size":1}]"#,
            "twice",
        ),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}"#,
            "two fields",
        ),
        (&deep, "no JSON"),
        (&chain, ""),
    ] {
        match avro_of(schema, None) {
            Err(fault) => assert!(
                fault.rule == "format.schema" && fault.value.contains(why),
                "{fault:?}"
            ),
            // The chain is found by its members in order, so that it is not deep after all.
            Ok(_) => assert!(why.is_empty(), "{schema} is taken"),
        }
    }
}
