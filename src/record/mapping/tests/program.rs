//! What jq programs of mappings come to: records, drafts, messages for tables, and the outputs that nobody should write.

use super::language::{refused, told_from};
use super::*;
use crate::record::origin::Origin;

/// A mapping whose program makes the records.
fn program(code: &str) -> String {
    format!("jq = '''\n{code}'''\n")
}

/// A program whose every output is given `DeviceId` and `DateTime`.
fn drafts(code: &str) -> String {
    program(&format!(
        "[{code}] | map(. + {{DateTime: \"2024-01-28T17:45:36Z\", DeviceId: \"imei-1\"}}) | .[]"
    ))
}

#[test]
fn outputs_are_records() {
    let code = ".points[] | {Type: \"AccelerationRecord\", DateTime: (.t | todate), SerialNo: \"CX0B21338D8D\", X: .x, Y: 0, Z: 0}";
    let message = "{\"points\":[{\"t\":1706463936,\"x\":1},{\"t\":1706463937,\"x\":\"far\"},{\"t\":1706463938,\"x\":3}]}";
    assert_eq!(
        told(&program(code), message),
        [
            "Acceleration 5:36Z \"X\":1,\"Y\":0,\"Z\":0",
            "record.member.json X = far",
            "Acceleration 5:38Z \"X\":3,\"Y\":0,\"Z\":0"
        ]
    );
    // The records of an array, one of a device that is not known: held in the gateway's shape, with the message as the original.
    let code = "[{Type: \"AccelerationRecord\", DateTime: \"2024-01-28T17:45:36Z\", DeviceId: .ids[], X: 1, Y: 0, Z: 0}]";
    let message = "{\"ids\":[\"imei-1\",\"imei-2\"]}";
    let out = decode(&program(code), message);
    assert_eq!(lines(&out)[1], "unknown imei-2");
    let Outcome::Unknown(unknown) = &out.outcomes[1] else {
        panic!("{:?}", out.outcomes)
    };
    assert_eq!(unknown.original, 0..message.len());
    let held: serde_json::Value =
        serde_json::from_slice(unknown.native(message.as_bytes())).unwrap();
    assert_eq!(held["DeviceId"], "imei-2");
    assert_eq!(held["X"], 1);
}

#[test]
fn drafts_name_diagnostics() {
    for (draft, wanted) in [
        (
            "{Diagnostic: \"Odometer\", Value: 12345600}",
            "GenericStatus 5:36Z \"Code\":5,\"Value\":123456",
        ),
        (
            "{Diagnostic: 5, Value: 12345600}",
            "GenericStatus 5:36Z \"Code\":5,\"Value\":123456",
        ),
        (
            "{Diagnostic: 5, Value: 7, Raw: true}",
            "GenericStatus 5:36Z \"Code\":5,\"Value\":7",
        ),
        (
            "{Type: \"GpsRecord\", Diagnostic: 5, Value: 7}",
            "map.jq Type = \"GpsRecord\"",
        ),
        (
            "{Diagnostic: \"Odometre\", Value: 7}",
            "map.jq Diagnostic = \"Odometre\"",
        ),
        ("{Diagnostic: 5, Value: \"7\"}", "map.jq Value = \"7\""),
        ("{Diagnostic: 5}", "map.jq Value = null"),
        (
            "{Diagnostic: 5, Value: nan}",
            "map.status.length Value = NaN",
        ),
        (
            "{Diagnostic: 5, Value: 1e300}",
            "map.status.length Value = ",
        ),
        ("{Diagnostic: [], Value: 7}", "map.jq Diagnostic = []"),
    ] {
        let told = told(&drafts(draft), "{}");
        let [line] = &told[..] else {
            panic!("{draft}: {told:?}")
        };
        assert!(line.starts_with(wanted), "{draft}: {line}");
    }
    let out = decode(&drafts("{Diagnostic: \"Odometre\", Value: 7}"), "{}");
    let Outcome::Reject(reject) = &out.outcomes[0] else {
        panic!("{:?}", out.outcomes)
    };
    assert!(
        reject.bound.contains("nearest: \"Odometer\""),
        "{}",
        reject.bound
    );
    assert_eq!(reject.stage, Stage::Map);
}

#[test]
fn tables_map_outputs() {
    let mapping = format!(
        "jq = '.units[] | select(.x != null) | {{id: .imei, t: .at, a: .x}}'\n{}",
        axis("\"a\"")
    );
    let message = "{\"units\":[{\"imei\":\"imei-1\",\"at\":1706463936,\"x\":1},{\"imei\":\"imei-9\",\"at\":1706463936,\"x\":2},\
                   {\"imei\":\"imei-1\",\"at\":1706463936},{\"at\":1706463936,\"x\":4},{\"imei\":\"imei-1\",\"at\":1706463937,\"x\":5}]}";
    let out = decode(&mapping, message);
    assert_eq!(
        lines(&out),
        [
            "Acceleration 5:36.000000Z \"X\":1,\"Y\":0,\"Z\":0",
            "unknown imei-9",
            "map.device id = absent",
            "Acceleration 5:37.000000Z \"X\":5,\"Y\":0,\"Z\":0"
        ]
    );
    let Outcome::Reject(reject) = &out.outcomes[2] else {
        panic!("{:?}", out.outcomes)
    };
    assert_eq!(reject.original, 0..message.len());
}

#[test]
fn a_program_reads_what_kafka_says() {
    let headers = vec![("imei".to_owned(), b"imei-1".to_vec())];
    let origin = Origin {
        topic: "fleet",
        partition: 3,
        offset: 41,
        timestamp_ms: Some(1_706_463_936_000),
        key: Some(b"key"),
        headers: &headers,
    };
    let code = "$kafka | {Type: \"AccelerationRecord\", DateTime: (.timestamp_ms / 1000 | todate), DeviceId: .headers.imei, X: .partition, \
                Y: (.key | length), Z: (.offset + (.topic | length))}";
    assert_eq!(
        told_from(&program(code), "{}", &origin),
        ["Acceleration 5:36Z \"X\":3,\"Y\":3,\"Z\":46"]
    );
}

#[test]
fn what_a_message_says_is_read_as_it_is() {
    // Integers of any size, a member that stands twice, half a surrogate pair.
    let code = "{Type: \"AccelerationRecord\", DateTime: \"2024-01-28T17:45:36Z\", DeviceId: \"imei-1\", X: .twice, \
                Y: (.iccid | tostring | length), Z: (.half | length)}";
    let message = "{\"twice\":1,\"twice\":2,\"iccid\":89148000008717534667,\"half\":\"\\ud83d\"}";
    assert_eq!(
        told(&program(code), message),
        ["Acceleration 5:36Z \"X\":2,\"Y\":20,\"Z\":1"]
    );
    assert_eq!(told(&program(code), "{\"a\":"), ["message.json  = {\"a\":"]);
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let told = told(&program("."), &deep);
    assert!(told[0].starts_with("message.depth"), "{told:?}");
}

#[test]
fn a_failing_program_loses_nothing_and_keeps_what_it_made() {
    let record = "{Type: \"AccelerationRecord\", DateTime: \"2024-01-28T17:45:36Z\", DeviceId: \"imei-1\", X: 1, Y: 0, Z: 0}";
    let made = "Acceleration 5:36Z \"X\":1,\"Y\":0,\"Z\":0";
    let mut wrong = Vec::new();
    for (code, wanted) in [
        (
            format!("{record}, error(\"no fix\")"),
            vec![made, "map.jq  = no fix"],
        ),
        (format!("{record}, (1 | .[0])"), vec![made, "map.jq  = "]),
        (
            "empty".to_owned(),
            vec!["map.unmatched  = the program has no output"],
        ),
        (
            "halt".to_owned(),
            vec!["map.jq  = a mapping's program cannot halt"],
        ),
        (
            "halt_error".to_owned(),
            vec!["map.jq  = a mapping's program cannot halt"],
        ),
        ("null".to_owned(), vec!["message.scalar"]),
        ("1".to_owned(), vec!["message.scalar"]),
        ("nan".to_owned(), vec![""]),
        ("\"text\"".to_owned(), vec!["message.scalar"]),
        ("{(1): 2}".to_owned(), vec![""]),
        ("[1, 2] | implode | tobytes".to_owned(), vec![""]),
        (format!("{record} | debug | stderr"), vec![made]),
        (
            "reduce range(200000) as $i (1; [.])".to_owned(),
            vec!["map.jq  = an output nested too deeply"],
        ),
        (
            "reduce range(200000) as $i (1; {a: .})".to_owned(),
            vec!["map.jq  = an output nested too deeply"],
        ),
        ("repeat({})".to_owned(), vec!["map.size"]),
        (format!("{record} | repeat(.)"), vec!["map.size"]),
        ("range(100) | error".to_owned(), vec!["map.jq  = 0"]),
        (
            "[range(30000000)]".to_owned(),
            vec!["map.jq  = an output of too many values"],
        ),
        (
            "\"0123456789\" * 10000000".to_owned(),
            vec!["map.jq  = an output of too many bytes"],
        ),
    ] {
        let told = told(&program(&code), "{}");
        let as_wanted = told.len() == wanted.len()
            && told
                .iter()
                .zip(&wanted)
                .all(|(line, wanted)| line.starts_with(wanted));
        if !as_wanted {
            wrong.push(format!("{code}: {told:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let skip = format!("unmatched = \"skip\"\n{}", program("empty"));
    let out = decode(&skip, "{}");
    assert!(out.outcomes.is_empty());
    assert_eq!(
        out.notes.iter().map(|(rule, _)| *rule).collect::<Vec<_>>(),
        ["map.unmatched"]
    );
}

#[test]
fn a_wrong_program_is_refused_with_its_line() {
    for (mapping, wanted) in [
        (
            "jq = '''\n.a |\n  nosuch(1)'''\n",
            "test.toml:3: jq: there is no filter nosuch/1 for mappings in `nosuch(1)`",
        ),
        (
            "jq = '.a | $nobody'\n",
            "test.toml:1: jq: there is no variable $nobody",
        ),
        (
            "jq = 'env.HOME'\n",
            "test.toml:1: jq: there is no filter env/0",
        ),
        ("jq = 'now'\n", "test.toml:1: jq: there is no filter now/0"),
        (
            "jq = 'input'\n",
            "test.toml:1: jq: there is no filter input/0",
        ),
        ("jq = '.a | (.b'\n", "test.toml:1: jq: expected"),
        ("jq = '.a |'\n", "test.toml:1: jq: expected"),
        (
            "jq = 'include \"other\"; .a'\n",
            "test.toml:1: jq: module loading not supported",
        ),
        (
            "jq = 'missing.jq'\n",
            "test.toml:1: jq: cannot read the program missing.jq",
        ),
        (
            "jq = '.a'\ntime = { path = \"t\", format = \"epoch_s\" }\n",
            "test.toml:2: time: belongs to [[record]] tables",
        ),
        (
            "jq = '.a'\ndevice.id = \"id\"\n",
            "test.toml:2: device: belongs to [[record]] tables",
        ),
        (
            "unmatched = \"skip\"\n",
            "test.toml:1: device: neither serial nor id",
        ),
    ] {
        let error = refused(mapping);
        assert!(error.starts_with(wanted), "{error}");
    }
}

#[test]
fn a_program_may_be_a_file_beside_the_mapping() {
    let dir = tempfile::tempdir().unwrap();
    let mapping = dir.path().join("mine.toml");
    std::fs::write(&mapping, "jq = \"mine.jq\"\n").unwrap();
    let load = || {
        let mappings = Mappings::open(&Config::default()).unwrap();
        mappings.load(&mapping.display().to_string())
    };
    std::fs::write(
        dir.path().join("mine.jq"),
        "# What my trackers send\n.a |\n.b | nosuch\n",
    )
    .unwrap();
    let error = format!("{:#}", load().unwrap_err());
    assert!(
        error.contains("mine.jq:3: jq: there is no filter nosuch/0"),
        "{error}"
    );
    std::fs::write(dir.path().join("mine.jq"), ".a\n").unwrap();
    load().unwrap();
}
