//! What schemas and messages may say that nobody expects: headers that lie, schemas that change, values beyond their types.

use std::sync::Arc;

use dig_ingest::formats::reader::{Reader, Source};
use dig_ingest::formats::{
    Compiled, Config, Fault, Format, Intake, Limits, Schemas, View, protobuf,
};
use dig_ingest::record::decode::{Decoder, Shape};
use dig_ingest::record::diagnostics::Diagnostics;
use dig_ingest::record::mapping::Mapping;
use dig_ingest::record::origin::Origin;
use dig_ingest::record::validate::{self, Rules};
use dig_ingest::record::{Decoded, Outcome, SerialOf};
use serde_json::{Value, json};

use super::{LIMITS, avro_of, read};
use crate::support::schemas::{Mock, Reply};

/// A topic whose schemas a registry has.
struct Topic {
    /// Connections to the registry live as long as it does.
    runtime: tokio::runtime::Runtime,
    reader: Reader,
}

impl Topic {
    fn new(mock: &Mock, format: Format) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let config = Config {
            urls: vec![mock.url()],
            ..Config::default()
        };
        let view = View {
            number: 0,
            format,
            reader: None,
        };
        let schemas = Schemas::new(&config).expect("settings");
        let reader = Reader::new(Source::Registry(schemas, Arc::new(view)), LIMITS);
        Self { runtime, reader }
    }

    /// Reads a message, and asks for its schema if need be.
    fn read(&mut self, message: &[u8]) -> Result<Value, Fault> {
        let Self { runtime, reader } = self;
        loop {
            let read = reader
                .read(message)
                .map(|json| json.map(|json| serde_json::from_slice(json).expect("JSON")));
            match read {
                Ok(read) => return read,
                Err(missing) => runtime
                    .block_on(reader.fetch(missing))
                    .expect("the registry answers"),
            }
        }
    }

    fn refused(&mut self, message: &[u8]) -> Fault {
        self.read(message).expect_err("it is refused")
    }
}

fn framed(id: u8, rest: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, id], rest].concat()
}

#[test]
fn a_header_that_is_none_is_a_letter_and_asks_nobody() {
    let mock = Mock::start(|_| Reply::unknown());
    for format in [Format::Avro, Format::Protobuf] {
        let mut topic = Topic::new(&mock, format);
        for message in [
            &b""[..],
            b"\0",
            b"\0\0\0\0",
            b"\x01\0\0\0\x01\x02",
            br#"{"device":"a"}"#,
        ] {
            assert_eq!(topic.refused(message).rule, "format.header");
        }
    }
    assert!(mock.asked().is_empty());
}

#[test]
fn a_message_type_that_the_schema_does_not_have_is_a_letter_that_names_those_it_has() {
    let schema = r#"syntax = "proto3"; package p; message A { int32 a = 1; message B { int32 b = 1; } } message C { int32 c = 1; }"#;
    let mock = Mock::start(move |_| {
        Reply::json(200, &json!({ "schema": schema, "schemaType": "PROTOBUF" }))
    });
    let mut topic = Topic::new(&mock, Format::Protobuf);
    let mut found = |index: &[u8]| {
        let message = framed(1, &[index, &[8, 5]].concat());
        topic.read(&message)
    };
    assert_eq!(found(&[0]).unwrap(), json!({ "a": 5 }));
    assert_eq!(found(&[2, 0]).unwrap(), json!({ "a": 5 }));
    assert_eq!(found(&[4, 0, 0]).unwrap(), json!({ "b": 5 }));
    assert_eq!(found(&[2, 2]).unwrap(), json!({ "c": 5 }));
    for (index, part) in [
        (&[2, 8][..], "p.A.B"),
        (&[4, 2, 0], "p.C"),
        (&[4, 0, 0xfe, 0xff, 0xff, 0xff, 0x1f], "p.A"),
        // A count without its indexes, one of bytes without end, and one that is negative.
        (&[40], "as many indexes"),
        (&[0xff; 11], "as many indexes"),
        (&[1], "as many indexes"),
    ] {
        let fault = found(index).expect_err("it is refused");
        assert_eq!(fault.rule, "format.header", "{index:?}: {fault:?}");
        assert!(fault.bound.contains(part), "{index:?}: {fault:?}");
    }
    let fault = topic.refused(&framed(1, &[]));
    assert_eq!(fault.rule, "format.header");
}

/// One topic, several schemas: each message is read with its own, in any order, and each is asked for once.
#[test]
fn a_schema_that_changes_is_followed_message_by_message() {
    let mock = Mock::start(|asked| {
        let (kind, schema) = match asked.path.rsplit('/').next() {
            Some("1") => (
                "AVRO",
                r#"{"type":"record","name":"P","fields":[{"name":"a","type":"int"}]}"#,
            ),
            Some("2") => (
                "AVRO",
                r#"{"type":"record","name":"P","fields":[{"name":"b","type":"string"},{"name":"a","type":"int"}]}"#,
            ),
            Some("3") => (
                "PROTOBUF",
                r#"syntax = "proto3"; message P { int32 a = 1; }"#,
            ),
            _ => return Reply::unknown(),
        };
        Reply::json(200, &json!({ "schema": schema, "schemaType": kind }))
    });
    let mut topic = Topic::new(&mock, Format::Avro);
    for _ in 0..3 {
        let found = topic.read(&framed(1, &[2])).unwrap();
        assert_eq!(found, json!({ "a": 1 }));
        let found = topic.read(&framed(2, &[2, b'x', 4])).unwrap();
        assert_eq!(found, json!({ "b": "x", "a": 2 }));
        let fault = topic.refused(&framed(3, &[0, 8, 1]));
        assert!(
            fault.rule == "format.schema" && fault.value.contains("schema id 3"),
            "{fault:?}"
        );
        let fault = topic.refused(&framed(4, &[2]));
        assert!(
            fault.rule == "format.unknown" && fault.value.contains("schema id 4"),
            "{fault:?}"
        );
        // Bytes of one schema that name the other one.
        assert_eq!(
            topic.refused(&framed(1, &[2, b'x', 4])).rule,
            "format.payload"
        );
    }
    assert_eq!(mock.asked().len(), 4);
}

#[test]
fn imports_are_references_and_a_missing_one_is_named() {
    let main =
        r#"syntax = "proto3"; import "common/point.proto"; message P { common.Point at = 1; }"#;
    let point = r#"syntax = "proto3"; package common; message Point { double lat = 1; }"#;
    let references = |there: bool| {
        let mock = Mock::start(move |asked| match asked.path.as_str() {
            "/schemas/ids/1" => {
                let reference =
                    json!({ "name": "common/point.proto", "subject": "point", "version": 1 });
                let references = if there { json!([reference]) } else { json!([]) };
                Reply::json(
                    200,
                    &json!({ "schema": main, "schemaType": "PROTOBUF", "references": references }),
                )
            }
            "/subjects/point/versions/1" => {
                Reply::json(200, &json!({ "schema": point, "schemaType": "PROTOBUF" }))
            }
            _ => Reply::unknown(),
        });
        let message = [&[0, 10, 9, 9][..], &1.5_f64.to_le_bytes()].concat();
        Topic::new(&mock, Format::Protobuf).read(&framed(1, &message))
    };
    assert_eq!(references(true).unwrap(), json!({ "at": { "lat": 1.5 } }));
    let fault = references(false).expect_err("an import is missing");
    assert!(
        fault.rule == "format.schema" && fault.value.contains("common/point.proto"),
        "{fault:?}"
    );
}

/// Groups, required fields, defaults and closed enums of the older syntax.
#[test]
fn messages_of_proto2_are_read() {
    let schema = r#"syntax = "proto2";
        message Old {
            required string id = 1;
            optional group Fix = 2 { optional double lat = 3; repeated int32 sats = 4; }
            repeated group Cell = 5 { required uint32 lac = 6; }
            optional int32 speed = 7 [default = 9];
            enum State { ON = 1; OFF = 2; }
            optional State state = 8;
            extensions 100 to 200;
        }
        extend Old { optional string more = 100; }"#;
    let plan = protobuf::Plan::of_text(schema, Vec::new()).expect("a schema");
    let schema = Arc::new(Compiled::Protobuf(plan));
    let ty = schema.message_type(Some("Old")).expect("the type");
    let lat = 1.5_f64.to_le_bytes();
    let message = [
        &[10, 1, b'a', 0x13, 0x19][..],
        &lat,
        &[0x20, 7, 0x20, 8, 0x14],
        &[0x2b, 0x30, 1, 0x2c, 0x2b, 0x30, 2, 0x2c],
        // The number of no symbol, and an extension.
        &[0x40, 9, 0xa2, 6, 1, b'x'],
    ]
    .concat();
    let found = read(&schema, ty, &message).unwrap();
    let name = |wanted: &str| {
        let names = found.as_object().expect("an object").keys();
        let mut names = names.filter(|name| name.eq_ignore_ascii_case(wanted));
        names.next().expect("a group").clone()
    };
    assert_eq!(found[name("fix")], json!({ "lat": 1.5, "sats": [7, 8] }));
    assert_eq!(found[name("cell")], json!([{ "lac": 1 }, { "lac": 2 }]));
    assert_eq!((&found["id"], &found["state"]), (&json!("a"), &json!(9)));
    // Absent is absent, whatever the schema says: the mapping or the rules miss what they need.
    assert!(found.get("speed").is_none());
    assert_eq!(read(&schema, ty, &[]).unwrap()["id"], Value::Null);
    for broken in [
        // A group that does not end, one that another ends, and one within a text.
        &[0x13, 0x20, 7][..],
        &[0x13, 0x2c],
        &[0x14],
        &[0x13, 0x0a, 5, 0x14],
    ] {
        let fault = read(&schema, ty, broken).expect_err("it is refused");
        assert_eq!(fault.rule, "format.payload", "{broken:?}");
    }
}

/// Of the members of a `oneof` the last one counts, though a writer that merges messages may send several.
#[test]
fn the_last_member_of_a_oneof_counts() {
    let schema = r#"syntax = "proto3";
        message M { oneof a { int32 x = 1; string y = 2; } int32 z = 3; oneof b { int32 v = 4; M w = 5; } optional int32 u = 6; }"#;
    let plan = protobuf::Plan::of_text(schema, Vec::new()).expect("a schema");
    let schema = Arc::new(Compiled::Protobuf(plan));
    let found = |bytes: &[u8]| read(&schema, 0, bytes).unwrap();
    assert_eq!(
        found(&[0x12, 1, b't', 0x30, 1, 0x08, 5, 0x20, 7]),
        json!({ "x": 5, "z": 0, "v": 7, "u": 1 })
    );
    assert_eq!(
        found(&[0x08, 5, 0x12, 1, b't', 0x08, 6, 0x12, 1, b's', 0x18, 3]),
        json!({ "y": "s", "z": 3 })
    );
    // Parts of one message are merged.
    let parts = [0x2a, 2, 0x08, 1, 0x2a, 2, 0x18, 2];
    assert_eq!(found(&parts), json!({ "z": 0, "w": { "x": 1, "z": 2 } }));
}

/// A field with a length.
fn field(number: u8, inner: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut left = inner.len();
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
    out.extend_from_slice(inner);
    out
}

/// Messages in several parts are merged, each within the other: the copies would be many times the message.
#[test]
fn merged_messages_stay_within_the_bounds() {
    let schema = r#"syntax = "proto3"; message M { M inner = 1; bytes raw = 2; }"#;
    let plan = protobuf::Plan::of_text(schema, Vec::new()).expect("a schema");
    let schema = Arc::new(Compiled::Protobuf(plan));
    let nested = |levels: usize, bytes: usize| {
        let raw = field(2, &vec![7; bytes]);
        (0..levels).fold(raw, |inner, _| [field(1, &[]), field(1, &inner)].concat())
    };
    let found = read(&schema, 0, &nested(20, 10)).unwrap();
    let raw = (0..20).fold(&found, |at, _| &at["inner"]);
    assert_eq!(raw["raw"], json!("BwcHBwcHBwcHBw=="));
    let fault = read(&schema, 0, &nested(20, 500_000)).expect_err("it is refused");
    assert_eq!(fault.rule, "format.size", "{fault:?}");
    assert!(read(&schema, 0, &nested(1, 500_000)).is_ok());
}

/// A member of a type, as it lies in the message.
fn member(ty: &str, bytes: &[u8]) -> Result<Value, Fault> {
    let schema = format!(r#"{{"type":"record","name":"R","fields":[{{"name":"v","type":{ty}}}]}}"#);
    let compiled = avro_of(&schema, None).expect("a schema");
    read(&compiled, 0, bytes).map(|mut found| found["v"].take())
}

#[test]
fn decimals_of_any_length_and_times_of_any_unit_are_shown_or_kept_as_they_lie() {
    let decimal = |precision: u32, scale: u32| {
        format!(
            r#"{{"type":"bytes","logicalType":"decimal","precision":{precision},"scale":{scale}}}"#
        )
    };
    let counted = |bytes: &[u8]| [&[bytes.len() as u8 * 2], bytes].concat();
    // 2^127, in 17 bytes with its sign: beyond what 128 bits hold.
    let beyond = counted(&[&[0, 0x80][..], &[0; 15]].concat());
    assert_eq!(
        member(&decimal(38, 2), &beyond).unwrap(),
        json!("AIAAAAAAAAAAAAAAAAAAAAA=")
    );
    let longest = counted(&[&[0x7f][..], &[0xff; 15]].concat());
    assert_eq!(
        member(&decimal(38, 0), &longest).unwrap(),
        json!(i128::MAX.to_string())
    );
    let least = counted(&[&[0x80][..], &[0; 15]].concat());
    assert_eq!(
        member(&decimal(38, 0), &least).unwrap(),
        json!(i128::MIN.to_string())
    );
    // Signs that only fill up are no digits.
    let filled = counted(&[&[0xff; 30][..], &[0xfb, 0x1e]].concat());
    assert_eq!(member(&decimal(10, 2), &filled).unwrap(), json!(-12.50));
    assert_eq!(member(&decimal(10, 2), &[0]).unwrap(), json!(""));
    // Decimals that the specification forbids are the bytes that they are.
    for wrong in [decimal(0, 0), decimal(2, 3), decimal(76, 0)] {
        assert_eq!(member(&wrong, &[2, 5]).unwrap(), json!("BQ=="), "{wrong}");
    }
    let time = |name: &str| format!(r#"{{"type":"long","logicalType":"{name}"}}"#);
    for (name, expected) in [
        ("timestamp-micros", json!("1969-12-31T23:59:59.999999Z")),
        (
            "local-timestamp-micros",
            json!("1969-12-31T23:59:59.999999"),
        ),
        (
            "local-timestamp-nanos",
            json!("1969-12-31T23:59:59.999999999"),
        ),
        ("time-micros", json!(-1)),
        ("of-another-vendor", json!(-1)),
    ] {
        assert_eq!(member(&time(name), &[1]).unwrap(), expected, "{name}");
    }
}

#[test]
fn unions_enums_and_maps_that_lie_are_refused() {
    let union = r#"["null","int",{"type":"map","values":"int"}]"#;
    for (bytes, rule) in [
        (&[6, 0][..], "format.payload"),
        (&[1], "format.payload"),
        (&[], "format.payload"),
        // A map's block of more bytes than there are, of fewer entries than it says, and with a key of no text.
        (&[4, 1, 0x7e, 2], "format.payload"),
        (&[4, 4, 2, b'a', 2], "format.payload"),
        (&[4, 2, 2, 0xff, 2, 0], "format.payload"),
        // A number of more than 32 bits, and one of eleven bytes.
        (&[2, 0xff, 0xff, 0xff, 0xff, 0x7f], "format.payload"),
        (
            &[2, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
            "format.payload",
        ),
    ] {
        let fault = member(union, bytes).expect_err("it is refused");
        assert_eq!(fault.rule, rule, "{bytes:?}: {fault:?}");
    }
    // A block that names its length, as some writers do.
    assert_eq!(
        member(union, &[4, 1, 6, 2, b'a', 8, 0]).unwrap(),
        json!({ "a": 4 })
    );
    let symbols = |default: &str, symbols: &str| {
        format!(
            r#"{{"type":"record","name":"R","fields":[{{"name":"v","type":{{"type":"enum","name":"E","symbols":{symbols}{default}}}}}]}}"#
        )
    };
    let writer = symbols("", r#"["A","B"]"#);
    let with = avro_of(&writer, Some(&symbols(r#","default":"Z""#, r#"["Z","A"]"#))).unwrap();
    let without = avro_of(&writer, Some(&symbols("", r#"["Z","A"]"#))).unwrap();
    assert_eq!(read(&with, 0, &[0]).unwrap(), json!({ "v": "A" }));
    assert_eq!(read(&with, 0, &[2]).unwrap(), json!({ "v": "Z" }));
    for (schema, number) in [(&without, 2), (&with, 4), (&without, 4), (&with, 1)] {
        let fault = read(schema, 0, &[number]).expect_err("it is refused");
        assert_eq!((fault.rule, &*fault.field), ("format.payload", "v"));
    }
}

/// An alias of one field is the name of another one: the name counts.
#[test]
fn a_fields_name_counts_more_than_anothers_alias() {
    let writer = r#"{"type":"record","name":"R","fields":[{"name":"speed","type":"int"},{"name":"old","type":"int"}]}"#;
    let reader = r#"{"type":"record","name":"R","fields":[{"name":"speed","type":"int"},{"name":"other","type":"int","aliases":["speed","old"]}]}"#;
    let compiled = avro_of(writer, Some(reader)).unwrap();
    assert_eq!(
        read(&compiled, 0, &[2, 4]).unwrap(),
        json!({ "speed": 1, "other": 2 })
    );
}

struct OneDevice;

impl SerialOf for OneDevice {
    fn serial_of(&self, _device_id: &str) -> Option<&str> {
        Some("CXBBE850E8BE")
    }
}

const MAPPING: &str = r#"
[device]
serial = "id"

[time]
path = "at"
format = "rfc3339"

[[record]]
type = "GpsRecord"
[record.fields]
Latitude = "lat"
Longitude = "lon"
Speed = { path = "speed", default = 0 }
IsGpsValid = { path = "valid", default = true }
IsIgnitionOn = { path = "ignition", default = true }
"#;

/// Numbers that no record can have are a reason only where a record reads them.
#[test]
fn a_value_is_a_reason_only_for_the_record_that_reads_it() {
    let schema = r#"syntax = "proto3";
        import "google/protobuf/timestamp.proto"; import "confluent/type/decimal.proto";
        message P { string id = 1; google.protobuf.Timestamp at = 2; double lat = 3; double lon = 4; fixed64 iccid = 5;
                    confluent.type.Decimal odometer = 6; optional double speed = 7; }"#;
    let plan = protobuf::Plan::of_text(schema, Vec::new()).expect("a schema");
    let schema = Arc::new(Compiled::Protobuf(plan));
    let diagnostics = Diagnostics::shipped().expect("shipped");
    let mapping = Arc::new(Mapping::compile("test", MAPPING, &diagnostics).expect("compiles"));
    let rules = Arc::new(Rules::new(&validate::Config::default()));
    let limits = Limits::of(&rules);
    let decoder = Decoder::new(Shape::Mapped(mapping), rules);
    let ty = schema.message_type(Some("P")).expect("the type");
    let reader = Reader::new(Source::Fixed(schema, ty), limits);
    let mut intake = Intake::new(Some(reader), decoder);
    let seconds = jiff::Timestamp::now().as_second() - 60;
    let now = jiff::Timestamp::now().as_microsecond();
    let mut made = |latitude: f64, speed: Option<f64>| {
        let mut time = vec![8];
        let mut left = seconds as u64;
        while left >= 0x80 {
            time.push(left as u8 | 0x80);
            left >>= 7;
        }
        time.push(left as u8);
        let mut message = [field(1, b"CXBBE850E8BE"), field(2, &time)].concat();
        for (tag, value) in [(0x19, latitude), (0x21, 4.3)] {
            message.push(tag);
            message.extend_from_slice(&value.to_le_bytes());
        }
        // A number beyond 63 bits and a decimal beyond 128, which nobody reads.
        message.push(0x29);
        message.extend_from_slice(&u64::MAX.to_le_bytes());
        message.extend(field(6, &field(1, &[0x11; 40])));
        if let Some(speed) = speed {
            message.push(0x39);
            message.extend_from_slice(&speed.to_le_bytes());
        }
        let mut out = Decoded::default();
        let call = (&Origin::NONE, &OneDevice, now);
        let read = intake.decode(Some(&message), call, &mut out);
        read.expect("its schema is here");
        let length = message.len();
        match &out.outcomes[..] {
            [Outcome::Valid(record)] => {
                let record = record.bytes(&out.bytes);
                Ok(serde_json::from_slice::<Value>(record).expect("JSON"))
            }
            [Outcome::Reject(reject)] => {
                assert_eq!(
                    reject.original,
                    0..length,
                    "the letter has the whole message"
                );
                Err(reject.to_string())
            }
            other => panic!("{other:?}"),
        }
    };
    let record = made(52.1, Some(7.5)).expect("a record");
    assert_eq!(
        (&record["Latitude"], &record["Speed"]),
        (&json!(52.1), &json!(7.5))
    );
    // No value at all is the mapping's default, where it has one.
    let record = made(52.1, Some(f64::NAN)).expect("a record");
    assert_eq!(record["Speed"].as_f64(), Some(0.0));
    assert!(made(f64::NAN, None).is_err());
    let why = made(f64::INFINITY, None).expect_err("no latitude");
    assert!(why.contains("Latitude") || why.contains("lat"), "{why}");
    // A tombstone makes nothing.
    let mut out = Decoded::default();
    let call = (&Origin::NONE, &OneDevice, now);
    intake
        .decode(None, call, &mut out)
        .expect("no schema is needed");
    assert!(out.outcomes.is_empty());
}
