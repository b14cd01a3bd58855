//! What the table language can say beside plain members: several lists, devices in elements, parts of texts, bits, binaries, pairs of
//! name and value, times in parts, and what Kafka says of a message. One test per idea, each with a shape that a real fleet sends.

use super::*;
use crate::record::origin::Origin;

/// As [`told`], of a message that came from Kafka.
pub(super) fn told_from(mapping: &str, message: &str, origin: &Origin<'_>) -> Vec<String> {
    let mut decoder = Decoder::new(
        Shape::Mapped(Arc::new(compile(mapping))),
        Arc::new(Rules::new(&validate::Config::default())),
    );
    let mut out = Decoded::default();
    decoder.decode_from(Some(message.as_bytes()), origin, &OneDevice, NOW, &mut out);
    super::lines(&out)
}

/// The X of an acceleration record made with this value of this message, or what became of it.
fn x_of(x: &str, members: &str) -> String {
    let told = told(&axis(x), &from_device(members));
    let [line] = &told[..] else {
        panic!("{told:?}")
    };
    let x = line.strip_prefix("Acceleration 5:36.000000Z \"X\":");
    let x = x.and_then(|x| x.strip_suffix(",\"Y\":0,\"Z\":0"));
    x.unwrap_or(line).to_owned()
}

pub(super) fn refused(mapping: &str) -> String {
    let wrong = Mapping::compile("test.toml", mapping, &Diagnostics::shipped().unwrap());
    format!("{:#}", wrong.unwrap_err())
}

#[test]
fn parts_of_texts_are_values() {
    for (x, members, wanted) in [
        (
            "{ path = \"a\", split = \",\", item = 2 }",
            "\"a\":\"52.1,4.3,61\"",
            "61",
        ),
        (
            "{ path = \"a\", split = \";\", item = -1 }",
            "\"a\":\"1;2;3\"",
            "3",
        ),
        (
            "{ path = \"a\", split = \",\", item = 5 }",
            "\"a\":\"1,2\"",
            "map.value.cut a = 1,2",
        ),
        (
            "{ path = \"a\", split = \",\", item = 1, default = 9 }",
            "\"a\":\"1,,2\"",
            "9",
        ),
        ("{ path = \"a\", chars = [1, 2] }", "\"a\":\"0110\"", "11"),
        (
            "{ path = \"a\", match = 'RPM=([0-9]+)' }",
            "\"a\":\"V=12;RPM=900\"",
            "900",
        ),
        (
            "{ path = \"a\", match = '^[0-9]+' }",
            "\"a\":\"n/a\"",
            "map.value.cut a = n/a",
        ),
        (
            "{ path = \"a\", decimal = \",\", as = \"integer\" }",
            "\"a\":\"12,5\"",
            "13",
        ),
        (
            "{ path = \"a\", units = { \"m/s\" = 3.6, \"km/h\" = 1 } }",
            "\"a\":\"10 m/s\"",
            "36",
        ),
        (
            "{ path = \"a\", units = { \"m/s\" = 3.6 } }",
            "\"a\":\"10 kn\"",
            "map.value.cut a = 10 kn",
        ),
        (
            "{ join = [\"a\", \"b\"], separator = \"\" }",
            "\"a\":1,\"b\":\"23\"",
            "123",
        ),
    ] {
        assert_eq!(x_of(x, members), wanted, "{x} of {members}");
    }
}

#[test]
fn bits_and_binaries_are_values() {
    for (x, members, wanted) in [
        ("{ path = \"a\", bits = [4, 7] }", "\"a\":163", "10"),
        (
            "{ path = \"a\", bit = 0, map = { true = 1, false = 2 } }",
            "\"a\":\"0x0E\"",
            "2",
        ),
        (
            "{ path = \"a\", binary = \"base64\", at = 6, read = \"i16_be\" }",
            "\"a\":\"AQIDBAUG//4=\"",
            "-2",
        ),
        (
            "{ path = \"a\", binary = \"hex\", at = 1, read = \"u8\", factor = 2, offset = -1 }",
            "\"a\":\"0a0b\"",
            "21",
        ),
        (
            "{ path = \"a\", binary = \"hex\", at = 2, read = \"u8\" }",
            "\"a\":\"0a0b\"",
            "map.value.cut a = 0a0b",
        ),
        (
            "{ path = \"a\", split = \":\", item = 1, binary = \"hex\", at = 0, read = \"u8\", bits = [0, 3] }",
            "\"a\":\"io:5c\"",
            "12",
        ),
    ] {
        assert_eq!(x_of(x, members), wanted, "{x} of {members}");
    }
    let gps = "device.id = \"id\"\ntime = { path = \"t\", format = \"epoch_s\" }\n[[record]]\ntype = \"GpsRecord\"\n\
        fields = { Latitude = 1, Longitude = 2, IsGpsValid = { path = \"s\", bit = 1 }, IsIgnitionOn = { path = \"s\", bit = 0 } }\n";
    assert_eq!(
        told(gps, &from_device("\"s\":2")),
        [
            "Gps 5:36.000000Z \"Latitude\":1,\"Longitude\":2,\"IsGpsValid\":true,\"IsIgnitionOn\":false"
        ]
    );
}

#[test]
fn pairs_of_name_and_value_are_joined_into_one_record() {
    let x = "\"data[name=ax].value\"";
    for (members, wanted) in [
        (
            "\"data\":[{\"name\":\"ay\",\"value\":1},{\"name\":\"ax\",\"value\":7}]",
            "7",
        ),
        (
            "\"data\":[{\"name\":\"ax\",\"value\":7},{\"name\":\"ax\",\"value\":8}]",
            "map.duplicate [name=ax] = twice",
        ),
        ("\"data\":[7,null,[]]", "record.member.missing X = "),
    ] {
        assert_eq!(x_of(x, members), wanted, "{members}");
    }
    assert_eq!(x_of("\"data[0=66][1]\"", "\"data\":[[67,1],[66,7]]"), "7");
    assert_eq!(
        x_of("\"data[-1].v\"", "\"data\":[{\"v\":1},{\"v\":7}]"),
        "7"
    );
}

#[test]
fn what_kafka_says_is_a_value() {
    let mapping = "device.id = \"@kafka.key\"\ntime = { path = \"@kafka.timestamp\", format = \"epoch_ms\" }\n[[record]]\n\
        type = \"AccelerationRecord\"\nwhen = { equals = { \"@kafka.topic\" = \"vendor\" } }\n\
        fields = { X = \"@kafka.headers.dev-x\", Y = \"@kafka.partition\", Z = \"@kafka.offset\" }\n";
    let headers = vec![
        ("dev-x".to_owned(), b"5".to_vec()),
        ("dev-x".to_owned(), b"7".to_vec()),
    ];
    let origin = Origin {
        topic: "vendor",
        partition: 3,
        offset: 99,
        timestamp_ms: Some(1_706_463_936_250),
        key: Some(b"imei-1"),
        headers: &headers,
    };
    assert_eq!(
        told_from(mapping, "{}", &origin),
        ["Acceleration 5:36.250000Z \"X\":7,\"Y\":3,\"Z\":99"]
    );
    let bytes = Origin {
        key: Some(b"\xff"),
        ..origin
    };
    assert_eq!(
        told_from(mapping, "{}", &bytes),
        ["map.value.kind @kafka.key = bytes"]
    );
    let nobody = Origin {
        key: None,
        ..origin
    };
    assert_eq!(
        told_from(mapping, "{}", &nobody),
        ["map.device @kafka.key = absent"]
    );
    let timeless = Origin {
        timestamp_ms: None,
        ..origin
    };
    assert_eq!(
        told_from(mapping, "{}", &timeless),
        ["map.time @kafka.timestamp = absent"]
    );
    assert_eq!(told(mapping, "{}"), ["map.unmatched  = no record applies"]);
}

#[test]
fn an_element_names_its_own_device() {
    let mapping = "each = \"features\"\ntime = { path = \"t\", format = \"epoch_s\" }\n[device]\nfrom = \"element\"\nid = \"properties.imei\"\n\
        [[record]]\ntype = \"GpsRecord\"\nfields = { Latitude = \"geometry.coordinates[1]\", Longitude = \"geometry.coordinates[0]\" }\n";
    let feature = |imei: &str| {
        format!(
            "{{\"t\":1706463936,\"geometry\":{{\"coordinates\":[4.3,52.1]}},\"properties\":{{{imei}}}}}"
        )
    };
    let message = format!(
        "{{\"features\":[{},{},{},{}]}}",
        feature("\"imei\":\"imei-1\""),
        feature("\"imei\":\"imei-2\""),
        feature(""),
        feature("\"imei\":\"imei-1\"")
    );
    let record = "Gps 5:36.000000Z \"Latitude\":52.1,\"Longitude\":4.3";
    assert_eq!(
        told(mapping, &message),
        [
            record,
            "unknown imei-2",
            "map.device features[2].properties.imei = absent",
            record
        ]
    );
}

#[test]
fn two_arrays_of_one_message_and_arrays_in_arrays() {
    let mapping = "device.id = \"id\"\ntime = { path = \"t\", format = \"epoch_s\" }\n\
        [[record]]\neach = \"trips[].points\"\ntype = \"AccelerationRecord\"\nfields = { X = \"[1]\", Y = \"^.no\", Z = \"$.z\" }\n\
        time = { path = \"[0]\", format = \"epoch_s\" }\n\
        [[record]]\neach = \"faults\"\ntype = \"ObdiiFaultRecord\"\nfields = { Code = \"@\", FaultStateActive = true }\n\
        time = { path = \"$.t\", format = \"epoch_s\" }\n";
    let message = from_device(
        "\"z\":3,\"trips\":[{\"no\":1,\"points\":[[1706463937,10],[1706463938,11]]},{\"no\":2,\"points\":[]},\
         {\"no\":3,\"points\":[[1706463939,\"a\"]]}],\"faults\":[\"P0301\",\"P0302\"]",
    );
    assert_eq!(
        told(mapping, &message),
        [
            "Acceleration 5:37.000000Z \"X\":10,\"Y\":1,\"Z\":3",
            "Acceleration 5:38.000000Z \"X\":11,\"Y\":1,\"Z\":3",
            "record.member.json [0].X = a",
            "ObdiiFault 5:36.000000Z \"Code\":\"P0301\",\"FaultStateActive\":true",
            "ObdiiFault 5:36.000000Z \"Code\":\"P0302\",\"FaultStateActive\":true",
        ]
    );
    assert_eq!(
        told(mapping, &from_device("\"trips\":[{\"points\":[[]]}]")),
        ["map.time trips[0].points[0][0] = absent"]
    );
    assert_eq!(
        told(
            mapping,
            &from_device("\"trips\":[{\"points\":7}],\"faults\":[\"P0301\"]")
        ),
        [
            "map.each trips[0].points = a number",
            "ObdiiFault 5:36.000000Z \"Code\":\"P0301\",\"FaultStateActive\":true",
        ]
    );
}

#[test]
fn members_of_an_object_are_elements() {
    let mapping = "each = \"units{}\"\ntime = { path = \"t\", format = \"epoch_s\" }\n[device]\nfrom = \"element\"\nid = \"@name\"\n\
        [[record]]\ntype = \"AccelerationRecord\"\nfields = { X = \"x\", Y = \"@index\", Z = 0 }\n";
    let unit = |x: u32| format!("{{\"t\":1706463936,\"x\":{x}}}");
    let message = format!(
        "{{\"units\":{{\"imei-2\":{},\"imei-1\":{}}}}}",
        unit(1),
        unit(2)
    );
    assert_eq!(
        told(mapping, &message),
        [
            "unknown imei-2",
            "Acceleration 5:36.000000Z \"X\":2,\"Y\":1,\"Z\":0"
        ]
    );
}

#[test]
fn a_text_of_many_samples_is_a_list() {
    let mapping = "device.id = \"id\"\neach = { path = \"track\", split = \";\" }\n\
        time = { path = \"@\", split = \",\", item = 0, format = \"epoch_s\" }\n[[record]]\ntype = \"GpsRecord\"\n\
        fields = { Latitude = { path = \"@\", split = \",\", item = 1 }, Longitude = { path = \"@\", split = \",\", item = 2 } }\n";
    assert_eq!(
        told(
            mapping,
            &from_device("\"track\":\"1706463936,52.1,4.3; 1706463937,52.2,4.4;\"")
        ),
        [
            "Gps 5:36.000000Z \"Latitude\":52.1,\"Longitude\":4.3",
            "Gps 5:37.000000Z \"Latitude\":52.2,\"Longitude\":4.4",
        ]
    );
    assert_eq!(
        told(mapping, &from_device("\"track\":[]")),
        ["map.each track = an array"]
    );
}

#[test]
fn times_in_parts() {
    let mapping = |time: &str| axis("1").replace("{ path = \"t\", format = \"epoch_s\" }", time);
    for (time, members, wanted) in [
        (
            "{ join = [\"d\", \"h\"], format = \"%d%m%y %H%M%S\", zone = \"UTC\" }",
            "\"d\":\"280124\",\"h\":\"174536\"",
            "5:36.000000Z",
        ),
        (
            "{ path = \"t\", format = \"epoch_s\", add = { path = \"ms\", unit = \"ms\" } }",
            "\"ms\":\"250\"",
            "5:36.250000Z",
        ),
        (
            "{ path = \"ts\", format = \"epoch_ms\" }",
            "\"ts\":\"1706463936125\"",
            "5:36.125000Z",
        ),
        (
            "\"iso\"",
            "\"iso\":\"2024-01-28T19:45:36.1234567+02:00\"",
            "5:36.1234567Z",
        ),
        (
            "\"iso\"",
            "\"iso\":\"2024-01-28T17:44:60Z\"",
            "5:00.000000Z",
        ),
    ] {
        let told = told(&mapping(time), &from_device(members));
        assert_eq!(
            told,
            [format!("Acceleration {wanted} \"X\":1,\"Y\":0,\"Z\":0")],
            "{time}"
        );
    }
    let half = told(
        &mapping("{ join = [\"d\", \"h\"], format = \"%d%m%y %H%M%S\", zone = \"UTC\" }"),
        &from_device("\"d\":\"280124\""),
    );
    assert_eq!(half, ["map.time d or h = absent"]);
}

#[test]
fn a_time_per_sample() {
    let mapping = |time: &str| {
        format!(
            "device.id = \"id\"\neach = \"x\"\ntime = {time}\n[[record]]\ntype = \"AccelerationRecord\"\n\
             fields = {{ X = \"@\", Y = \"$.y[@]\", Z = \"$.z[@].v\" }}\n"
        )
    };
    let message = from_device(
        "\"dt\":100,\"ts\":[1706463936000,1706463936500],\"x\":[1,2],\"y\":[3,4,5],\"z\":[{\"v\":6},{\"v\":7}]",
    );
    for (time, second) in [
        (
            "{ path = \"$.t\", format = \"epoch_s\", step = { path = \"$.dt\", unit = \"ms\" } }",
            "100",
        ),
        (
            "{ path = \"$.t\", format = \"epoch_s\", step = { const = 0.25, unit = \"s\" } }",
            "250",
        ),
        ("{ path = \"$.ts[@]\", format = \"epoch_ms\" }", "500"),
    ] {
        assert_eq!(
            told(&mapping(time), &message),
            [
                "Acceleration 5:36.000000Z \"X\":1,\"Y\":3,\"Z\":6".to_owned(),
                format!("Acceleration 5:36.{second}000Z \"X\":2,\"Y\":4,\"Z\":7"),
            ],
            "{time}"
        );
    }
    let short = from_device("\"ts\":[1706463936000],\"x\":[1,2],\"y\":[3,4],\"z\":[{\"v\":6}]");
    assert_eq!(
        told(
            &mapping("{ path = \"$.ts[@]\", format = \"epoch_ms\" }"),
            &short
        )[1],
        "map.time ts[1] = absent"
    );
}

#[test]
fn device_ids_are_cut_and_whole() {
    let mapping = |id: &str| axis("1").replace("\"id\"", id);
    let record = "Acceleration 5:36.000000Z \"X\":1,\"Y\":0,\"Z\":0";
    for (id, members, wanted) in [
        (
            "{ path = \"topic\", split = \"/\", item = 2 }",
            "\"topic\":\"owntracks/me/imei-1\"",
            record,
        ),
        (
            "{ join = [\"a\", \"b\"], separator = \"-\" }",
            "\"a\":\"imei\",\"b\":1",
            record,
        ),
        (
            "[{ path = \"topic\", match = \"imei-[0-9]\" }, \"id\"]",
            "\"topic\":\"x/imei-1/y\"",
            record,
        ),
        // Twenty digits are an id, not a number that is nearly it.
        (
            "\"n\"",
            "\"n\":18446744073709551615",
            "unknown 18446744073709551615",
        ),
        (
            "\"n\"",
            "\"n\":89148000008717534667",
            "unknown 89148000008717534667",
        ),
        (
            "\"n\"",
            "\"n\":123456789012345678901234567890",
            "unknown 123456789012345678901234567890",
        ),
    ] {
        let message = format!("{{\"t\":1706463936,{members}}}");
        assert_eq!(told(&mapping(id), &message), [wanted], "{id}");
    }
}

#[test]
fn paths_that_never_match_and_keys_that_do_not_go_together_are_refused_at_load() {
    let head = "device.id = \"id\"\ntime = { path = \"t\", format = \"epoch_s\" }\n";
    let record = "[[record]]\ntype = \"AccelerationRecord\"\n";
    let with = |x: &str| format!("{head}{record}fields = {{ X = {x}, Y = 0, Z = 0 }}\n");
    let each = |x: &str| format!("each = \"ps\"\n{}", with(x));
    for (mapping, wanted) in [
        (with("\"@\""), "whole message"),
        (with("\"[0]\""), "never match"),
        (with("\"$[0].a\""), "never match"),
        (with("\"a[@]\""), "not within each"),
        (with("\"@index\""), "not within each"),
        (with("\"^.a\""), "leads out of the message"),
        (each("\"@[0]\""), "write `[0]`"),
        (each("\"@.v\""), "write `v`"),
        (each("\"@kafka.time\""), "@kafka.timestamp"),
        (each("\"@name\""), "ends with {}"),
        (each("\"^^.a\""), "leads out of the message"),
        (with("{ path = \"a\", split = \",\" }"), "go together"),
        (
            with("{ path = \"a\", match = \"(\" }"),
            "no regular expression",
        ),
        (with("{ path = \"a\", bit = 64 }"), "0 (the lowest) to 63"),
        (with("{ path = \"a\", bits = [7, 4] }"), "[lowest, highest]"),
        (with("{ path = \"a\", binary = \"hex\" }"), "go together"),
        (
            with("{ path = \"a\", format = \"epoch_s\" }"),
            "belong to a `time`",
        ),
        (
            with("{ path = \"a\", units = { V = 0 } }"),
            "finite and not 0",
        ),
        (
            with("{ path = \"a\", join = [\"b\"] }"),
            "both path and join",
        ),
        (with("{ const = 1, bit = 0 }"), "taken as it is"),
        (
            with("1").replace(
                "device.id = \"id\"",
                "device = { id = \"id\", from = \"element\" }",
            ),
            "give it an each",
        ),
        (
            with("1").replace(
                "format = \"epoch_s\"",
                "format = \"epoch_s\", step = { const = 1, unit = \"s\" }",
            ),
            "between an element",
        ),
        (
            with("1").replace(
                "format = \"epoch_s\"",
                "format = \"epoch_s\", add = { const = 1 }",
            ),
            "give unit",
        ),
        (
            format!("each = {{ path = \"a\", split = \"\" }}\n{}", with("1")),
            "split is empty",
        ),
    ] {
        let error = refused(&mapping);
        assert!(error.starts_with("test.toml:"), "{error}");
        assert!(
            error.contains(wanted),
            "{wanted} is not in {error}\n{mapping}"
        );
    }
}

#[test]
fn it_says_what_made_a_record_and_why_another_was_not_made() {
    let mapping = "device.id = \"id\"\ntime = { path = \"t\", format = \"epoch_s\" }\neach = \"ps\"\nunmatched = \"skip\"\n\
        [[record]]\ndiagnostic = \"Odometer\"\nvalue = { path = \"km\", factor = 1000 }\ntime = { path = \"$.t\", format = \"epoch_s\" }\n\
        [[record]]\ntype = \"VinRecord\"\nonce = true\nwhen = { equals = { kind = \"full\" } }\nfields = { VehicleIdentificationNumber = \"vin\" }\n";
    let mut decoder = Decoder::new(
        Shape::Mapped(Arc::new(compile(mapping))),
        Arc::new(Rules::new(&validate::Config::default())),
    );
    decoder.explain();
    let mut out = Decoded::default();
    let message = from_device("\"kind\":\"short\",\"ps\":[{\"km\":12.5},{\"v\":1}]");
    decoder.decode(Some(message.as_bytes()), &OneDevice, NOW, &mut out);
    let told = decoder.explained();
    for (line, parts) in [
        (
            0,
            &[
                "record[1] GenericStatusRecord Odometer of ps[0]: made",
                "2024-01-28T17:45:36.000000Z from t = 1706463936",
                "value 12500",
                "from ps[0].km = 12.5",
            ][..],
        ),
        (1, &["record[1]", "of ps[1]: not made: ps[1].km is absent"]),
        (2, &["nothing is made: no record applies (map.unmatched)"]),
        (
            3,
            &["record[2] VinRecord: not made: kind is short, not full"],
        ),
    ] {
        for part in parts {
            assert!(told[line].contains(part), "{part} is not in {told:#?}");
        }
    }
    assert_eq!(told.len(), 4, "{told:#?}");
    decoder.decode(
        Some(b"{\"t\":1,\"ps\":[{\"km\":1}]}"),
        &OneDevice,
        NOW,
        &mut out,
    );
    assert!(
        decoder.explained()[0].contains("the message is rejected: map.device: id = absent"),
        "{:#?}",
        decoder.explained()
    );
}
