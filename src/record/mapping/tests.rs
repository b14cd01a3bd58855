//! One table row per feature: mapping, message, what becomes of it.

mod language;
mod program;
mod status;

use std::sync::Arc;

use super::*;
use crate::record::decode::{Decoder, Shape};
use crate::record::validate::{self, Rules};
use crate::record::{Decoded, Outcome, SerialOf, Stage};

const NOW: i64 = 1_706_500_000_000_000;

/// Knows `imei-1` only.
struct OneDevice;

impl SerialOf for OneDevice {
    fn serial_of(&self, device_id: &str) -> Option<&str> {
        (device_id == "imei-1").then_some("CX0B21338D8D")
    }
}

fn compile(text: &str) -> Mapping {
    Mapping::compile("test.toml", text, &Diagnostics::shipped().unwrap())
        .unwrap_or_else(|error| panic!("{error:#}"))
}

fn decode(mapping: &str, message: &str) -> Decoded {
    let mut decoder = Decoder::new(
        Shape::Mapped(Arc::new(compile(mapping))),
        Arc::new(Rules::new(&validate::Config::default())),
    );
    let mut out = Decoded::default();
    decoder.decode(Some(message.as_bytes()), &OneDevice, NOW, &mut out);
    out
}

/// What a message becomes, one line per outcome: a record without its first three members, `unknown ID`, or `rule field = value`.
fn told(mapping: &str, message: &str) -> Vec<String> {
    lines(&decode(mapping, message))
}

fn lines(out: &Decoded) -> Vec<String> {
    out.outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Valid(record) => {
                let text = std::str::from_utf8(record.bytes(&out.bytes)).unwrap();
                let value: serde_json::Value = serde_json::from_str(text).unwrap();
                assert_eq!(value["SerialNo"], "CX0B21338D8D");
                let rest = text.split_once("\"CX0B21338D8D\"").unwrap().1;
                let time = value["DateTime"]
                    .as_str()
                    .unwrap()
                    .strip_prefix("2024-01-28T17:4")
                    .unwrap_or("other");
                let kind = record.kind().name().trim_end_matches("Record");
                format!(
                    "{kind} {time} {}",
                    rest.trim_start_matches(',').trim_end_matches('}')
                )
            }
            Outcome::Unknown(unknown) => format!("unknown {}", unknown.device_id),
            Outcome::Excess(excess) => format!("{} rejects", excess.records),
            Outcome::Reject(reject) => {
                format!("{} {} = {}", reject.rule, reject.field, reject.value)
            }
        })
        .collect()
}

/// A mapping of one acceleration record, `rest` being its X and whatever else.
fn axis(x: &str) -> String {
    format!(
        "device.id = \"id\"\ntime = {{ path = \"t\", format = \"epoch_s\" }}\n[[record]]\ntype = \"AccelerationRecord\"\nfields = {{ X = {x}, Y = 0, Z = 0 }}\n"
    )
}

/// A message of device `imei-1` at 17:45:36.
fn from_device(rest: &str) -> String {
    format!("{{\"id\":\"imei-1\",\"t\":1706463936,{rest}}}")
}

#[test]
fn values() {
    for (x, member, wanted) in [
        ("\"a\"", "\"a\":7", "\"X\":7"),
        ("\"a\"", "\"a\":7.0", "\"X\":7"),
        ("7", "\"b\":1", "\"X\":7"),
        ("{ const = 7 }", "\"b\":1", "\"X\":7"),
        (
            "\"a.b[1].c\"",
            "\"a\":{\"b\":[{\"c\":1},{\"c\":2}]}",
            "\"X\":2",
        ),
        (
            "'a.\"b.c\"'",
            "\"a\":{\"b.c\":3,\"b\":{\"c\":4}}",
            "\"X\":3",
        ),
        ("'\"a.b\"'", "\"a\":{\"b\":3},\"a.b\":4", "\"X\":4"),
        ("[\"none\"]", "\"a\":1", "record.member.missing X = "),
        ("{ path = [\"a\", \"b\"] }", "\"a\":null,\"b\":5", "\"X\":5"),
        ("{ path = [\"a\", \"b\"] }", "\"a\":4,\"b\":5", "\"X\":4"),
        ("{ path = \"a\", default = 9 }", "\"a\":null", "\"X\":9"),
        (
            "{ path = \"a\", factor = 0.1, offset = 2 }",
            "\"a\":26",
            "\"X\":5",
        ),
        (
            "{ path = \"a\", as = \"integer\" }",
            "\"a\":\"12.6\"",
            "\"X\":13",
        ),
        (
            "{ path = \"a\", map = { on = 1, off = 0 } }",
            "\"a\":\"on\"",
            "\"X\":1",
        ),
        (
            "{ path = \"a\", map = { on = 1, off = 0 } }",
            "\"a\":\"idle\"",
            "map.value.enum a = idle",
        ),
        (
            "{ path = \"a\", map = { on = 1 }, otherwise = 0 }",
            "\"a\":\"idle\"",
            "\"X\":0",
        ),
        ("\"a\"", "\"a\":{}", "map.value.kind a = an object"),
        (
            "{ path = \"a.b\", factor = 2 }",
            "\"a\":{\"b\":\"x\"}",
            "map.value.kind a.b = x",
        ),
        ("\"a\"", "\"a\":7.5", "record.member.json X = 7.5"),
        ("\"a\"", "\"a\":40000", "acceleration.axis.range X = 40000"),
        ("\"a\"", "\"a\":1,\"a\":2", "map.duplicate a = twice"),
        ("\"a\"", "\"\\u0061\":7", "\"X\":7"),
        ("\"a\"", "\"a\":\" 7 \"", "\"X\":7"),
        ("\"a\"", "\"a\":\"7.0\"", "\"X\":7"),
        ("\"a\"", "\"a\":-0.0", "\"X\":0"),
        ("\"a\"", "\"a\":\"0x7\"", "record.member.json X = 0x7"),
        (
            "\"a\"",
            "\"a\":7,\"b\":1e400,\"c\":{\"d\":[123456789012345678901234567890,NaN,\"\\ud800\"]}",
            "\"X\":7",
        ),
        ("\"a\"", "\"a\":1e400", "record.member.json X = 1e400"),
        (
            "{ path = \"a\", factor = 1 }",
            "\"a\":NaN",
            "map.value.kind a = NaN",
        ),
        (
            "{ path = \"a\", map = { \"123456789012345678901\" = 7 } }",
            "\"a\":123456789012345678901",
            "\"X\":7",
        ),
        (
            "{ path = \"a\", map = { x = 7 }, otherwise = 1 }",
            "\"a\":\"\\udc00\"",
            "map.value.kind a = \u{fdd0}",
        ),
    ] {
        // A single path may stand in a list only inside a table.
        let x = if x == "[\"none\"]" {
            "{ path = [\"none\"] }"
        } else {
            x
        };
        let told = told(&axis(x), &from_device(member));
        let wanted = if wanted.starts_with('"') {
            format!("Acceleration 5:36.000000Z {wanted},\"Y\":0,\"Z\":0")
        } else {
            wanted.to_owned()
        };
        assert_eq!(told, [wanted], "{x} of {member}");
    }
}

#[test]
fn flat_paths_keep_their_dots() {
    let mapping = format!("paths = \"flat\"\n{}", axis("\"a.b\""));
    assert_eq!(
        told(&mapping, &from_device("\"a.b\":7,\"a\":{\"b\":8}")),
        ["Acceleration 5:36.000000Z \"X\":7,\"Y\":0,\"Z\":0"]
    );
    let mapping = format!("paths = \"flat\"\n{}", axis("'a.\"b\"'"));
    assert_eq!(
        told(&mapping, &from_device("\"a.b\":7,\"a\":{\"b\":8}")),
        ["Acceleration 5:36.000000Z \"X\":8,\"Y\":0,\"Z\":0"]
    );
}

#[test]
fn whose() {
    let mapping = axis("1").replace(
        "device.id = \"id\"",
        "device = { serial = \"sn\", id = [\"id\", \"imei\"] }",
    );
    let record = "Acceleration 5:36.000000Z \"X\":1,\"Y\":0,\"Z\":0";
    for (members, wanted) in [
        ("\"id\":\"imei-1\"", record),
        ("\"imei\":\" imei-1 \"", record),
        ("\"sn\":\"cx0b21338d8d\",\"id\":\"imei-2\"", record),
        ("\"sn\":\"\",\"id\":\"imei-1\"", record),
        ("\"id\":\"imei-2\"", "unknown imei-2"),
        ("\"id\":356307042441013", "unknown 356307042441013"),
        ("\"x\":1", "map.device sn or id or imei = absent"),
        ("\"id\":\" \"", "map.device sn or id or imei = absent"),
        ("\"id\":[]", "map.value.kind id = an array"),
    ] {
        assert_eq!(
            told(&mapping, &format!("{{\"t\":1706463936,{members}}}")),
            [wanted],
            "{members}"
        );
    }
}

#[test]
fn conditions() {
    let record = "Acceleration 5:36.000000Z \"X\":1,\"Y\":0,\"Z\":0";
    let unmatched = "map.unmatched  = no record applies";
    for (when, member, wanted) in [
        ("present = \"a\"", "\"a\":false", record),
        ("present = \"a\"", "\"a\":null", unmatched),
        ("present = [\"a\", \"b\"]", "\"a\":1", unmatched),
        ("absent = \"a\"", "\"b\":1", record),
        ("absent = [\"a\", \"b\"]", "\"b\":1", unmatched),
        ("equals = { a = 1 }", "\"a\":1.0", record),
        ("equals = { a = 1 }", "\"a\":\"1\"", record),
        ("equals = { a = \"1\" }", "\"a\":1", record),
        ("equals = { a = 1 }", "\"a\":\"one\"", unmatched),
        ("equals = { a = true }", "\"a\":\"true\"", record),
        ("equals = { a = true }", "\"a\":1", unmatched),
        ("differs = { a = [1, 2] }", "\"a\":\"2\"", unmatched),
        ("differs = { a = [1, 2] }", "\"b\":2", record),
        ("contains = { a = \"x\" }", "\"a\":[\"w\",\"x\"]", record),
        (
            "contains = { a = [\"x\", 7] }",
            "\"a\":[{\"b\":\"x\"},\"7\"]",
            record,
        ),
        ("contains = { a = \"x\" }", "\"a\":\"x\"", unmatched),
        ("contains = { a = \"x\" }", "\"a\":[]", unmatched),
        ("equals = { a = [\"x\", true] }", "\"a\":true", record),
        (
            "equals = { \"a.b\" = \"x\" }",
            "\"a\":{\"b\":\"x\"}",
            record,
        ),
        (
            "equals = { a = \"x\" }, absent = \"b\"",
            "\"a\":\"x\",\"b\":1",
            unmatched,
        ),
    ] {
        let mapping = axis("1").replace("type =", &format!("when = {{ {when} }}\ntype ="));
        assert_eq!(
            told(&mapping, &from_device(member)),
            [wanted],
            "{when} of {member}"
        );
    }
}

#[test]
fn a_switch_on_the_message_type() {
    let mapping = |otherwise: &str| {
        format!(
            "switch = {{ path = \"type\", ignore = [\"ping\"], otherwise = \"{otherwise}\" }}\n{}",
            axis("1").replace("type =", "case = [\"position\", 7]\ntype =")
        )
    };
    let record = "Acceleration 5:36.000000Z \"X\":1,\"Y\":0,\"Z\":0".to_owned();
    for (member, wanted) in [
        ("\"type\":\"position\"", vec![record.clone()]),
        ("\"type\":7", vec![record]),
        ("\"type\":\"ping\"", vec![]),
        (
            "\"type\":\"other\"",
            vec!["map.switch type = other".to_owned()],
        ),
        ("\"x\":1", vec!["map.switch type = absent".to_owned()]),
    ] {
        assert_eq!(
            told(&mapping("reject"), &from_device(member)),
            wanted,
            "{member}"
        );
    }
    assert_eq!(
        decode(&mapping("skip"), &from_device("\"type\":\"other\"")).notes,
        [("map.switch", 1)]
    );
    assert_eq!(
        decode(&mapping("reject"), &from_device("\"type\":\"ping\"")).notes,
        [("map.ignored", 1)]
    );
}

const EACH: &str = "
each = \"ps\"
device.id = \"id\"
time = { path = \"t\", format = \"epoch_s\" }
[[record]]
type = \"GpsRecord\"
fields = { Latitude = \"lat\", Longitude = \"pos[1]\", IsGpsValid = true, IsIgnitionOn = \"$.on\" }
[[record]]
type = \"VinRecord\"
once = true
when = { present = \"vin\" }
time = { path = \"sent\", format = \"epoch_ms\" }
fields = { VehicleIdentificationNumber = \"vin\" }
";

#[test]
fn an_array_of_positions_sees_the_outer_message() {
    let element = |t: u32, lat: &str| format!("{{\"t\":{t},\"lat\":{lat},\"pos\":[0,4.5]}}");
    let message = format!(
        "{{\"id\":\"imei-1\",\"on\":true,\"sent\":1706463939500,\"vin\":\"1M8GDM9AXKP042788\",\"ps\":[{},{},{}]}}",
        element(1_706_463_936, "52.5"),
        element(1_706_463_937, "\"x\""),
        element(1_706_463_938, "-1")
    );
    let rest = "\"Longitude\":4.5,\"IsGpsValid\":true,\"IsIgnitionOn\":true";
    assert_eq!(
        told(EACH, &message),
        [
            format!("Gps 5:36.000000Z \"Latitude\":52.5,{rest}"),
            "record.member.json [1].Latitude = x".to_owned(),
            format!("Gps 5:38.000000Z \"Latitude\":-1,{rest}"),
            "Vin 5:39.500000Z \"VehicleIdentificationNumber\":\"1M8GDM9AXKP042788\"".to_owned(),
        ]
    );
    assert_eq!(
        told(EACH, "{\"id\":\"imei-1\",\"ps\":[{\"lat\":1,\"pos\":[]}]}"),
        ["map.time ps[0].t = absent"]
    );
    assert_eq!(
        told(EACH, "{\"id\":\"imei-1\",\"ps\":{}}"),
        ["map.each ps = an object"]
    );
    assert_eq!(
        told(EACH, "{\"id\":\"imei-1\"}"),
        ["map.unmatched  = no record applies"]
    );
    let empty = decode(EACH, "{\"id\":\"imei-1\",\"ps\":[]}");
    assert_eq!(
        (empty.outcomes.len(), &empty.notes[..]),
        (0, &[("map.empty", 1)][..])
    );
}

#[test]
fn an_element_that_makes_nothing_is_told_and_the_others_go_on() {
    let mapping = |unmatched: &str| {
        format!("unmatched = \"{unmatched}\"\n{EACH}").replace(
            "type = \"GpsRecord\"",
            "type = \"GpsRecord\"\nwhen = { present = \"lat\" }",
        )
    };
    let good = "{\"t\":1706463936,\"lat\":1,\"pos\":[0,4.5]}";
    let message = |id: &str| {
        format!("{{\"id\":\"{id}\",\"ps\":[{{\"pos\":[]}},{{\"lat\":1,\"lat\":2}},{good}]}}")
    };
    let record = "Gps 5:36.000000Z \"Latitude\":1,\"Longitude\":4.5,\"IsGpsValid\":true";
    assert_eq!(
        told(&mapping("reject"), &message("imei-1")),
        [
            "map.unmatched ps[0] = no record applies",
            "map.duplicate ps[1].lat = twice",
            record
        ]
    );
    let skipped = decode(&mapping("skip"), &message("imei-1"));
    assert_eq!(skipped.outcomes.len(), 2);
    assert!(
        skipped.notes.contains(&("map.unmatched", 1)),
        "{:?}",
        skipped.notes
    );
    assert_eq!(
        told(&mapping("reject"), &message("imei-2")),
        [
            "map.unmatched ps[0] = no record applies",
            "map.duplicate ps[1].lat = twice",
            "unknown imei-2"
        ]
    );
}

#[test]
fn records_of_an_unknown_device_come_in_the_gateways_shape_with_its_id() {
    let good = "{\"t\":1706463936,\"lat\":1,\"pos\":[0,4.5]}";
    let message = &format!("{{\"id\":\"imei-2\",\"on\":true,\"ps\":[{good},{good}]}}");
    let out = decode(EACH, message);
    assert_eq!(out.outcomes.len(), 2);
    for outcome in &out.outcomes {
        let Outcome::Unknown(unknown) = outcome else {
            panic!("{:?}", out.outcomes)
        };
        assert_eq!(
            (
                unknown.device_id.as_str(),
                &message[unknown.original.clone()]
            ),
            ("imei-2", message.as_str())
        );
        let record: serde_json::Value =
            serde_json::from_slice(unknown.native(message.as_bytes())).unwrap();
        assert_eq!(record["DeviceId"], "imei-2");
        assert_eq!(record.get("SerialNo"), None);
    }
}

#[test]
fn of_an_array_each_element_stands_for_itself() {
    let element = |id: &str, a: &str| format!("{{\"id\":\"{id}\",\"t\":1706463936,\"a\":{a}}}");
    let elements = [
        element("imei-1", "1"),
        element("imei-2", "2"),
        element("imei-1", "{}"),
        "7".to_owned(),
    ];
    let message = format!(" [{}]", elements.join(" , "));
    let out = decode(&axis("\"a\""), &message);
    let [
        Outcome::Valid(_),
        Outcome::Unknown(unknown),
        Outcome::Reject(kind),
        Outcome::Reject(shape),
    ] = &out.outcomes[..]
    else {
        panic!("{:?}", out.outcomes)
    };
    assert_eq!(&message[unknown.original.clone()], elements[1]);
    assert_eq!(
        (
            &message[kind.original.clone()],
            kind.stage,
            kind.subject.as_deref()
        ),
        (&elements[2][..], Stage::Map, Some("CX0B21338D8D"))
    );
    assert_eq!(
        (shape.rule, &message[shape.original.clone()]),
        ("map.shape", "7")
    );
    assert_eq!(decode(&axis("1"), "[]").outcomes, []);
}

#[test]
fn a_message_that_is_no_vendor_message() {
    for (message, rule) in [
        ("", "message.empty"),
        ("{", "message.json"),
        ("nope", "message.json"),
        ("7", "map.shape"),
        ("null", "map.shape"),
    ] {
        let out = decode(&axis("1"), message);
        let [Outcome::Reject(reject)] = &out.outcomes[..] else {
            panic!("{message}: {:?}", out.outcomes)
        };
        assert_eq!(
            (reject.rule, &message[reject.original.clone()]),
            (rule, message)
        );
    }
}

#[test]
fn a_wrong_time_is_one_reject_for_all_records_that_share_it() {
    let mapping = "device.serial = \"sn\"\ntime = \"t\"\n[[record]]\ndiagnostic = 5\nvalue = \"a\"\n\
        [[record]]\ndiagnostic = 107\nvalue = \"b\"\n[[record]]\ndiagnostic = 98\nvalue = \"c\"\ntime = { path = \"u\", format = \"epoch_s\" }\n";
    let message =
        "{\"sn\":\"CX0B21338D8D\",\"t\":\"today\",\"u\":1706463936,\"a\":100,\"b\":1,\"c\":0}";
    assert_eq!(
        told(mapping, message),
        [
            "map.time t = today",
            "GenericStatus 5:36.000000Z \"Code\":98,\"Value\":0"
        ]
    );
}

#[test]
fn every_record_goes_through_validation() {
    let mapping = "device.serial = \"sn\"\ntime = \"t\"\n[[record]]\ntype = \"GpsRecord\"\nfields = { Latitude = \"lat\", Longitude = 4 }\n";
    let out = decode(
        mapping,
        "{\"sn\":\" cx0b-21338d8d\",\"t\":\"2024-01-28T17:45:36Z\",\"lat\":1}",
    );
    assert!(
        matches!(out.outcomes[..], [Outcome::Valid(_)]),
        "{:?}",
        out.outcomes
    );
    let noted: Vec<&str> = out.notes.iter().map(|(rule, _)| *rule).collect();
    assert!(
        noted.contains(&"record.serial.normalised") && noted.contains(&"gps.is_gps_valid.absent"),
        "{noted:?}"
    );
    let out = decode(
        mapping,
        "{\"sn\":\"x\\u0001\",\"t\":\"2024-01-28T17:45:36Z\",\"lat\":1}",
    );
    let Outcome::Reject(reject) = &out.outcomes[0] else {
        panic!("{:?}", out.outcomes)
    };
    assert_eq!(
        (reject.rule, reject.stage),
        ("record.serial.text", Stage::Validate)
    );
}
