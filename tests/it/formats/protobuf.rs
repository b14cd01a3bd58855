//! Protobuf against `prost-reflect`, which writes what is read here; and messages that nobody should write.

use std::sync::{Arc, LazyLock};

use dig_ingest::formats::{Compiled, Fault, protobuf};
use proptest::prelude::*;
use protox::prost_reflect::prost::Message as _;
use protox::prost_reflect::{DescriptorPool, DynamicMessage, MapKey, Value as Proto};
use serde_json::{Value, json};

use super::{read, text};

const SCHEMA: &str = r#"
syntax = "proto3";
package fleet;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
enum State { STATE_UNKNOWN = 0; MOVING = 1; }
message Point { double lat = 1; double lon = 2; optional float speed_kmh = 3; }
message Everything {
  message Nested { string name = 1; }
  int32 i32 = 1; int64 i64 = 2; uint32 u32 = 3; uint64 u64 = 4; sint32 s32 = 5; sint64 s64 = 6;
  fixed32 f32 = 7; fixed64 f64 = 8; sfixed32 sf32 = 9; sfixed64 sf64 = 10;
  float float = 11; double double = 12; bool flag = 13; string text = 14; bytes raw = 15;
  State state = 16; Point point = 17; repeated Point track = 18; repeated sint32 packed = 19;
  repeated int32 loose = 20 [packed = false]; map<string, uint64> io = 21; map<int32, Point> by_number = 22;
  oneof source { string gps = 23; uint32 cell = 24; }
  google.protobuf.Timestamp at = 25; google.protobuf.Duration took = 26;
  google.protobuf.DoubleValue level = 27; google.protobuf.Struct extra = 28;
  optional string driver = 29; Nested nested = 30; repeated string words = 31; Everything inner = 32;
}
"#;

fn compiled(text: &str) -> Result<Arc<Compiled>, Fault> {
    let plan = protobuf::Plan::of_text(text, Vec::new()).map_err(|fault| *fault)?;
    Ok(Arc::new(Compiled::Protobuf(plan)))
}

fn ty(schema: &Compiled, name: &str) -> usize {
    schema.message_type(Some(name)).expect("a message type")
}

/// The schema as `prost-reflect` has it; messages of two pools do not fit into each other.
fn pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("fleet.proto"), SCHEMA).expect("a schema file");
        let set = protox::compile(["fleet.proto"], [folder.path()]).expect("a schema");
        DescriptorPool::from_file_descriptor_set(set).expect("a schema")
    });
    &POOL
}

fn everything(set: &[(&str, Proto)]) -> Vec<u8> {
    let message = pool()
        .get_message_by_name("fleet.Everything")
        .expect("the type");
    let mut message = DynamicMessage::new(message);
    for (name, value) in set {
        message.set_field_by_name(name, value.clone());
    }
    message.encode_to_vec()
}

fn of(name: &str, fields: &[(&str, Proto)]) -> Proto {
    let message = pool().get_message_by_name(name).expect("the type");
    let mut message = DynamicMessage::new(message);
    for (name, value) in fields {
        message.set_field_by_name(name, value.clone());
    }
    Proto::Message(message)
}

/// What comes of fields that `prost-reflect` wrote.
fn through(set: &[(&str, Proto)]) -> Value {
    let schema = compiled(SCHEMA).expect("a schema");
    let ty = ty(&schema, "fleet.Everything");
    read(&schema, ty, &everything(set)).unwrap_or_else(|fault| panic!("{fault:?}"))
}

#[test]
fn every_type_becomes_the_json_that_is_documented() {
    let point = |lat: f64| of("fleet.Point", &[("lat", Proto::F64(lat))]);
    let timestamp = of(
        "google.protobuf.Timestamp",
        &[
            ("seconds", Proto::I64(1_706_463_936)),
            ("nanos", Proto::I32(500_000_000)),
        ],
    );
    let list = of(
        "google.protobuf.Value",
        &[("string_value", Proto::String("x".into()))],
    );
    let cases: Vec<(&str, Proto, Value)> = vec![
        ("i32", Proto::I32(-1), json!(-1)),
        ("i64", Proto::I64(i64::MIN), json!(i64::MIN)),
        ("u32", Proto::U32(u32::MAX), json!(u32::MAX)),
        ("u64", Proto::U64(u64::MAX), json!(u64::MAX)),
        ("s32", Proto::I32(i32::MIN), json!(i32::MIN)),
        ("s64", Proto::I64(i64::MIN), json!(i64::MIN)),
        ("f32", Proto::U32(u32::MAX), json!(u32::MAX)),
        ("f64", Proto::U64(u64::MAX), json!(u64::MAX)),
        ("sf32", Proto::I32(-7), json!(-7)),
        ("sf64", Proto::I64(-8), json!(-8)),
        ("float", Proto::F32(12.1), json!(12.1)),
        ("float", Proto::F32(f32::NAN), Value::Null),
        ("double", Proto::F64(-47.376_888), json!(-47.376_888)),
        ("flag", Proto::Bool(true), json!(true)),
        (
            "text",
            Proto::String("Zürich \"\\\n".into()),
            json!("Zürich \"\\\n"),
        ),
        ("raw", Proto::Bytes(vec![255, 0].into()), json!("/wA=")),
        ("state", Proto::EnumNumber(1), json!("MOVING")),
        ("state", Proto::EnumNumber(7), json!(7)),
        ("point", point(1.5), json!({ "lat": 1.5, "lon": 0.0 })),
        (
            "track",
            Proto::List(vec![point(1.0), point(2.0)]),
            json!([{ "lat": 1.0, "lon": 0.0 }, { "lat": 2.0, "lon": 0.0 }]),
        ),
        (
            "packed",
            Proto::List(vec![Proto::I32(-1), Proto::I32(300)]),
            json!([-1, 300]),
        ),
        (
            "loose",
            Proto::List(vec![Proto::I32(-1), Proto::I32(300)]),
            json!([-1, 300]),
        ),
        (
            "io",
            Proto::Map([(MapKey::String("239".into()), Proto::U64(u64::MAX))].into()),
            json!({ "239": u64::MAX }),
        ),
        (
            "by_number",
            Proto::Map([(MapKey::I32(-3), point(2.0))].into()),
            json!({ "-3": { "lat": 2.0, "lon": 0.0 } }),
        ),
        ("cell", Proto::U32(0), json!(0)),
        ("at", timestamp, json!("2024-01-28T17:45:36.5Z")),
        (
            "took",
            of("google.protobuf.Duration", &[("seconds", Proto::I64(90))]),
            json!(90),
        ),
        (
            "level",
            of("google.protobuf.DoubleValue", &[("value", Proto::F64(0.0))]),
            json!(0.0),
        ),
        (
            "extra",
            of(
                "google.protobuf.Struct",
                &[(
                    "fields",
                    Proto::Map([(MapKey::String("a".into()), list)].into()),
                )],
            ),
            json!({ "a": "x" }),
        ),
        ("driver", Proto::String(String::new()), json!("")),
        (
            "words",
            Proto::List(vec![
                Proto::String("a".into()),
                Proto::String(String::new()),
            ]),
            json!(["a", ""]),
        ),
    ];
    for (name, value, expected) in cases {
        assert_eq!(through(&[(name, value)])[name], expected, "{name}");
    }
}

/// Absent means zero where the schema knows no presence, and nothing where it does.
#[test]
fn absent_fields_are_what_the_schema_says() {
    let empty = through(&[]);
    for (name, expected) in [
        ("i32", json!(0)),
        ("u64", json!(0)),
        ("double", json!(0.0)),
        ("flag", json!(false)),
        ("text", json!("")),
        ("state", json!("STATE_UNKNOWN")),
        ("track", json!([])),
        ("io", json!({})),
    ] {
        assert_eq!(empty[name], expected, "{name}");
    }
    for name in [
        "point", "gps", "cell", "at", "took", "level", "driver", "nested", "inner",
    ] {
        assert!(empty.get(name).is_none(), "{name} is there");
    }
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field with a length.
fn field(number: u32, inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(u64::from(number << 3 | 2), &mut out);
    varint(inner.len() as u64, &mut out);
    out.extend_from_slice(inner);
    out
}

/// Whatever a writer may do by the rules of the format.
#[test]
fn messages_are_read_however_they_are_laid_out() {
    let schema = compiled(SCHEMA).unwrap();
    let ty = ty(&schema, "fleet.Everything");
    let read = |bytes: &[u8]| read(&schema, ty, bytes).unwrap_or_else(|fault| panic!("{fault:?}"));
    // The last of several values counts, messages are merged, and the order does not matter.
    let lat = [&[9][..], &1.5_f64.to_le_bytes()].concat();
    let lon = [&[17][..], &2.5_f64.to_le_bytes()].concat();
    let message = [&field(17, &lat)[..], &[8, 1], &field(17, &lon), &[8, 5]].concat();
    let found = read(&message);
    assert_eq!(
        (&found["i32"], &found["point"]),
        (&json!(5), &json!({ "lat": 1.5, "lon": 2.5 }))
    );
    // Packed and unpacked numbers, whatever the schema prefers; mixed with other fields.
    let loose = [
        &[0xa0, 1, 7][..],
        &field(20, &[8, 9]),
        &[8, 1],
        &[0xa0, 1, 10],
    ]
    .concat();
    assert_eq!(read(&loose)["loose"], json!([7, 8, 9, 10]));
    let packed = [&[0x98, 1, 1][..], &field(19, &[])].concat();
    assert_eq!(read(&packed)["packed"], json!([-1]));
    // Fields of a newer schema, groups among them.
    let newer = [
        &[8, 3][..],
        &field(99, b"anything"),
        &[0xc3, 6, 8, 1, 0xc4, 6],
        &[0xc5, 6, 1, 2, 3, 4],
    ]
    .concat();
    assert_eq!(read(&newer)["i32"], json!(3));
    // A map's entry without key or value.
    assert_eq!(read(&field(21, &[]))["io"], json!({ "": 0 }));
}

fn rule(schema: &Arc<Compiled>, name: &str, message: &[u8]) -> Fault {
    read(schema, ty(schema, name), message).expect_err("it is refused")
}

#[test]
fn messages_of_another_schema_are_refused_with_their_place() {
    let schema = compiled(SCHEMA).unwrap();
    let inner = field(17, &[8, 1]);
    let fault = rule(&schema, "fleet.Everything", &inner);
    assert_eq!(
        (fault.rule, fault.field.as_str()),
        ("format.payload", "point.lat")
    );
    for broken in [
        &[8][..],
        &[9, 1, 2],
        &[0xff; 12],
        &[0],
        &[114, 200, 1],
        &[114, 1, 0xff],
        &[0xc3, 6, 8, 1],
        &[0xc3, 6, 8, 1, 0xcc, 6],
        &[14],
    ] {
        assert_eq!(
            rule(&schema, "fleet.Everything", broken).rule,
            "format.payload",
            "{broken:?}"
        );
    }
}

/// Empty messages whose absent fields are written, and fields that are overwritten again and again.
#[test]
fn a_small_message_never_becomes_a_large_one() {
    let fields: String = (1..1_000)
        .map(|n| format!("int32 a_long_name_{n} = {n};"))
        .collect();
    let schema = format!(
        "syntax = \"proto3\"; message Wide {{ {fields} }} message Many {{ repeated Wide wide = 1; int32 one = 2; }}"
    );
    let schema = compiled(&schema).unwrap();
    let wide: Vec<u8> = [10, 0].repeat(10_000);
    assert_eq!(rule(&schema, "Many", &wide).rule, "format.size");
    let again: Vec<u8> = [16, 1].repeat(400_000);
    assert_eq!(rule(&schema, "Many", &again).rule, "format.size");
    let large = vec![0; 1024 * 1024 + 1];
    assert_eq!(rule(&schema, "Many", &large).rule, "format.size");
}

#[test]
fn nesting_is_bounded() {
    let schema = compiled(SCHEMA).unwrap();
    let nested = |depth: usize| (0..depth).fold(Vec::new(), |inner, _| field(32, &inner));
    let ty = ty(&schema, "fleet.Everything");
    // One level is that of the empty arrays.
    assert!(read(&schema, ty, &nested(30)).is_ok());
    assert_eq!(
        rule(&schema, "fleet.Everything", &nested(200)).rule,
        "format.depth"
    );
    let groups = [0xc3, 6].repeat(100_000);
    assert_eq!(
        rule(&schema, "fleet.Everything", &groups).rule,
        "format.depth"
    );
    let value = "syntax = \"proto3\"; import \"google/protobuf/struct.proto\"; message V { google.protobuf.Value v = 1; }";
    let schema = compiled(value).unwrap();
    let lists = (0..500).fold(Vec::new(), |inner, _| field(6, &field(1, &inner)));
    assert_eq!(rule(&schema, "V", &field(1, &lists)).rule, "format.depth");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the bytes are, they are read or refused, within the bounds.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let schema = compiled(SCHEMA).unwrap();
        if let Ok(text) = text(&schema, ty(&schema, "fleet.Everything"), &bytes) {
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok());
        }
    }

    #[test]
    fn what_prost_writes_is_read(i64 in any::<i64>(), u64 in any::<u64>(), s32 in any::<i32>(), double in prop::num::f64::NORMAL, text in ".*", packed in prop::collection::vec(any::<i32>(), 0..20), words in prop::collection::vec(".*", 0..5)) {
        let found = through(&[
            ("i64", Proto::I64(i64)),
            ("u64", Proto::U64(u64)),
            ("s32", Proto::I32(s32)),
            ("double", Proto::F64(double)),
            ("text", Proto::String(text.clone())),
            ("packed", Proto::List(packed.iter().map(|n| Proto::I32(*n)).collect())),
            ("words", Proto::List(words.iter().map(|word| Proto::String(word.clone())).collect())),
        ]);
        prop_assert_eq!(&found["i64"], &json!(i64));
        prop_assert_eq!(&found["u64"], &json!(u64));
        prop_assert_eq!(&found["s32"], &json!(s32));
        prop_assert_eq!(&found["double"], &json!(double));
        prop_assert_eq!(&found["text"], &json!(text));
        prop_assert_eq!(&found["packed"], &json!(packed));
        prop_assert_eq!(&found["words"], &json!(words));
    }
}

#[test]
fn schemas_that_are_none_are_refused_with_the_reason() {
    let deep = format!("syntax = \"proto3\"; {}", "message A {".repeat(100_000));
    for (schema, why) in [
        ("message {", ""),
        (
            "syntax = \"proto3\"; message A { Missing b = 1; }",
            "Missing",
        ),
        (
            "syntax = \"proto3\"; import \"elsewhere.proto\"; message A {}",
            "elsewhere.proto",
        ),
        (
            "syntax = \"proto3\"; import \"message.proto\"; message A {}",
            "",
        ),
        (deep.as_str(), "braces"),
    ] {
        let fault = compiled(schema).expect_err("it is refused");
        assert!(
            fault.rule == "format.schema" && fault.value.contains(why),
            "{fault:?}"
        );
    }
    let imports = |a: &str, b: &str| {
        let texts = [("a.proto", a), ("b.proto", b)];
        let texts =
            texts.map(|(name, text)| (name.to_owned(), format!("syntax = \"proto3\"; {text}")));
        protobuf::Plan::of_text(
            "syntax = \"proto3\"; import \"a.proto\"; message M { A a = 1; }",
            texts.into(),
        )
    };
    assert!(imports("message A { string s = 1; }", "").is_ok());
    assert!(imports("import \"b.proto\"; message A { B b = 1; }", "message B {}").is_ok());
    let circle = imports("import \"b.proto\"; message A {}", "import \"a.proto\";");
    assert_eq!(circle.expect_err("a circle").rule, "format.schema");
}

/// What a schema registry knows without a reference; a decimal keeps all its digits.
#[test]
fn files_that_registries_know_are_built_in() {
    let schema = r#"syntax = "proto3";
        import "confluent/meta.proto"; import "confluent/type/decimal.proto"; import "google/type/latlng.proto";
        message M {
          confluent.type.Decimal price = 1 [(confluent.field_meta).params = { key: "precision", value: "9" }];
          google.type.LatLng at = 2;
        }"#;
    let schema = compiled(schema).unwrap();
    let decimal = [&field(1, &[0xfb, 0x1e])[..], &[24, 2]].concat();
    let message = [field(1, &decimal), field(2, &[])].concat();
    assert_eq!(
        read(&schema, ty(&schema, "M"), &message).unwrap(),
        json!({ "price": -12.50, "at": { "latitude": 0.0, "longitude": 0.0 } })
    );
}

#[test]
fn a_schema_file_names_its_message_types() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.proto");
    std::fs::write(&path, SCHEMA).unwrap();
    let plan = protobuf::Plan::of_file(&path, SCHEMA.as_bytes()).unwrap();
    let schema = Arc::new(Compiled::Protobuf(plan));
    assert!(schema.message_type(None).is_err(), "there are several");
    assert!(
        schema
            .message_type(Some("fleet.Nothing"))
            .unwrap_err()
            .bound
            .contains("fleet.Point")
    );
    let ty = ty(&schema, "fleet.Point");
    assert_eq!(
        read(&schema, ty, &[]).unwrap(),
        json!({ "lat": 0.0, "lon": 0.0 })
    );
    // The same as a set of descriptors.
    let set = pool().encode_to_vec();
    let plan = protobuf::Plan::of_file(&folder.path().join("fleet.pb"), &set).unwrap();
    let schema = Arc::new(Compiled::Protobuf(plan));
    assert!(schema.message_type(Some("fleet.Point")).is_ok());
}
