//! The shipped mappings against their samples, wrong mapping files against their errors, and `dig-ingest map` from outside.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, LazyLock};

use dig_ingest::record::decode::{Decoder, Shape};
use dig_ingest::record::diagnostics::Diagnostics;
use dig_ingest::record::mapping::{self, Mapping, Mappings, SHIPPED};
use dig_ingest::record::origin::Origin;
use dig_ingest::record::validate::{self, Rules};
use dig_ingest::record::{Decoded, Outcome, SerialOf};
use proptest::prelude::*;

/// 2024-01-29T03:46:40Z, hours after the samples.
const NOW: i64 = 1_706_500_000_000_000;
const SERIAL: &str = "CX0B21338D8D";

/// Knows the devices of the samples, under one serial.
struct OneDevice;

impl SerialOf for OneDevice {
    fn serial_of(&self, device_id: &str) -> Option<&str> {
        ["356307042441013", "154924973293665", "281474991840886"]
            .contains(&device_id)
            .then_some(SERIAL)
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/mappings")
        .join(name)
}

fn shipped(name: &str) -> Arc<Mapping> {
    Mappings::open(&mapping::Config::default())
        .unwrap()
        .load(name)
        .unwrap_or_else(|error| panic!("{error:#}"))
}

fn decode(mapping: Arc<Mapping>, payload: &[u8]) -> Decoded {
    let mut decoder = Decoder::new(
        Shape::Mapped(mapping),
        Arc::new(Rules::new(&validate::Config::default())),
    );
    let mut out = Decoded::default();
    // Some vendors leave the device to the message's key.
    let origin = Origin {
        key: Some(b"356307042441013"),
        ..Origin::NONE
    };
    decoder.decode_from(Some(payload), &origin, &OneDevice, NOW, &mut out);
    out
}

fn lines(out: &Decoded) -> String {
    let mut lines = String::new();
    for outcome in &out.outcomes {
        match outcome {
            Outcome::Valid(record) => {
                lines.push_str(std::str::from_utf8(record.bytes(&out.bytes)).unwrap())
            }
            other => lines.push_str(&format!("{other:?}")),
        }
        lines.push('\n');
    }
    lines
}

#[test]
fn every_shipped_mapping_makes_the_expected_records_of_its_sample() {
    for (name, _) in SHIPPED {
        let sample = std::fs::read(fixture(&format!("{name}.json"))).unwrap();
        let expected =
            std::fs::read_to_string(fixture(&format!("{name}.expected.ndjson"))).unwrap();
        assert_eq!(lines(&decode(shipped(name), &sample)), expected, "{name}");
    }
}

/// The program of the fixtures is what the benches compare with the tables.
#[test]
fn a_program_makes_what_the_tables_make() {
    let sample = std::fs::read(fixture("owntracks.json")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("program.toml");
    let program = fixture("owntracks.jq");
    std::fs::write(&file, format!("jq = '{}'\n", program.display())).unwrap();
    let mapping = Mappings::open(&mapping::Config::default())
        .unwrap()
        .load(&file.display().to_string())
        .unwrap_or_else(|error| panic!("{error:#}"));
    let records = |mapping: Arc<Mapping>| -> Vec<serde_json::Value> {
        let lines = lines(&decode(mapping, &sample)).replace(".000000Z", "Z");
        let records = lines.lines().map(serde_json::from_str);
        records.collect::<Result<_, _>>().unwrap()
    };
    let made = records(mapping);
    assert_eq!(made, records(shipped("owntracks")));
    assert_eq!(made.len(), 1);
}

/// The two JSON blocks of the README: a message, and the body that carries the record made of it.
#[test]
fn the_readmes_record_goes_out_as_it_says() {
    let readme = include_str!("../../README.md");
    let blocks: Vec<&str> = readme
        .split("```json\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    let [message, body] = blocks[..] else {
        panic!("{} JSON blocks", blocks.len())
    };
    let records = lines(&decode(shipped("generic"), message.as_bytes()));
    assert_eq!(format!("[{}]\n", records.trim()), body);
}

/// Traccar repeats the last position while there is no fix, with its old time, and 1970 where there never was one: the states are new, the
/// position is not.
#[test]
fn states_without_a_fix_are_of_the_devices_time() {
    let sample = std::fs::read_to_string(fixture("traccar.json")).unwrap();
    for fix in [
        "2024-01-27T09:00:00.000+0000",
        "1970-01-01T00:00:00.000+0000",
    ] {
        let outdated = sample
            .replace("\"outdated\": false", "\"outdated\": true")
            .replace(
                "\"fixTime\": \"2024-01-28T17:45:36.000+0000\"",
                &format!("\"fixTime\": \"{fix}\""),
            )
            .replace("\"ignition\": true", "\"ignition\": false");
        assert!(outdated.contains(fix) && outdated.contains("\"outdated\": true"));
        let records = lines(&decode(shipped("traccar"), outdated.as_bytes()));
        assert!(!records.contains("GpsRecord"), "{records}");
        let ignition = records.lines().find(|line| line.contains("\"Code\":10000"));
        assert_eq!(
            ignition,
            Some(
                r#"{"Type":"GenericStatusRecord","DateTime":"2024-01-28T17:45:36.000000Z","SerialNo":"CX0B21338D8D","Code":10000,"Value":0}"#
            )
        );
        assert!(
            records
                .lines()
                .all(|line| line.contains("2024-01-28T17:45:36")),
            "{records}"
        );
    }
    // With a fix the position is of the fix and the states of the device, seconds later.
    let late = sample.replace(
        "\"deviceTime\": \"2024-01-28T17:45:36",
        "\"deviceTime\": \"2024-01-28T17:45:39",
    );
    let records = lines(&decode(shipped("traccar"), late.as_bytes()));
    for line in records.lines() {
        let second = if line.contains("GpsRecord") {
            "36"
        } else {
            "39"
        };
        assert!(line.contains(&format!("17:45:{second}.")), "{line}");
    }
}

#[test]
fn a_shipped_mapping_says_what_it_is_for() {
    for (name, _) in SHIPPED {
        assert!(!shipped(name).description().is_empty(), "{name}");
    }
}

/// The TOML examples of `config/mappings/README.md`: whole mappings, a diagnostics file, and parts of mappings, which get a device, a time
/// and a record where they have none.
#[test]
fn the_readmes_examples_compile() {
    let readme = include_str!("../../config/mappings/README.md");
    let examples: Vec<&str> = readme
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(examples.len() >= 6, "{} examples", examples.len());
    let diagnostics = Diagnostics::shipped().unwrap();
    for example in examples {
        if example.contains("[[diagnostic]]") {
            diagnostics.clone().with_text("README.md", example).unwrap();
            continue;
        }
        let head = if example.contains("[device]") || example.contains("\njq = ") {
            ""
        } else {
            "device.id = \"id\"\ntime = \"t\"\n"
        };
        Mapping::compile("README.md", &format!("{head}{example}"), &diagnostics)
            .unwrap_or_else(|error| panic!("{error:#}\n{example}"));
    }
}

/// The README's first message and its first mapping make the records it promises.
#[test]
fn the_readmes_mapping_makes_three_records_of_its_message() {
    let readme = include_str!("../../config/mappings/README.md");
    let block = |kind: &str| {
        let rest = readme.split_once(&format!("```{kind}\n")).unwrap().1;
        rest.split_once("```").unwrap().0
    };
    let mapping = Mapping::compile("README.md", block("toml"), &Diagnostics::shipped().unwrap());
    let records = lines(&decode(
        Arc::new(mapping.unwrap()),
        block("json").as_bytes(),
    ));
    let expected = [
        r#"{"Type":"GpsRecord","DateTime":"2024-01-28T17:45:36.000000Z","SerialNo":"CX0B21338D8D","Latitude":52.1,"Longitude":4.3,"Speed":61.4864,"IsGpsValid":true,"IsIgnitionOn":true}"#,
        r#"{"Type":"GenericStatusRecord","DateTime":"2024-01-28T17:45:36.000000Z","SerialNo":"CX0B21338D8D","Code":10000,"Value":1}"#,
        r#"{"Type":"GenericStatusRecord","DateTime":"2024-01-28T17:45:36.000000Z","SerialNo":"CX0B21338D8D","Code":5,"Value":123456}"#,
    ];
    assert_eq!(records.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_wrong_mapping_file_is_refused_with_file_line_field_and_remedy() {
    let head = "device.id = \"id\"\ntime = \"t\"\n"; // two lines
    let gps =
        "[[record]]\ntype = \"GpsRecord\"\nfields = { Latitude = \"a\", Longitude = \"b\" }\n";
    let status = "[[record]]\ndiagnostic = \"Odometer\"\nvalue = \"km\"\n";
    for (text, wanted) in [
        (
            format!("{head}colour = 1\n{gps}"),
            vec![":3:", "unknown field `colour`", "description"],
        ),
        (
            format!("[device]\nid = \"id\"\n[time]\npath = \"t\"\nswitch = \"kind\"\n{gps}"),
            vec![
                ":5:",
                "unknown field `switch`",
                "at the top, before the first [table]",
            ],
        ),
        (
            format!(
                "{head}{}",
                gps.replace("\"a\"", "{ path = \"a\", facter = 2 }")
            ),
            vec![":5:", "unknown field `facter`", "factor"],
        ),
        (
            format!(
                "{head}{}",
                gps.replace("\"a\"", "{ path = \"a\", factor = \"2\" }")
            ),
            vec![":5:", "factor = \"2\"", "expected f64"],
        ),
        (
            format!("{head}{}", gps.replace("Longitude", "Longtitude")),
            vec![
                ":5:",
                "record[1].fields.Longtitude",
                "nearest: \"Longitude\"",
            ],
        ),
        (
            format!("{head}{}", gps.replace(", Longitude = \"b\"", "")),
            vec![":3:", "record[1].fields.Longitude", "missing"],
        ),
        (
            format!("{head}{gps}{}", gps.replace("GpsRecord", "GpsRecrod")),
            vec![":7:", "record[2].type", "\"GpsRecord\""],
        ),
        (
            format!("{head}{}", gps.replace("Latitude", "SerialNo")),
            vec![":5:", "[device]"],
        ),
        (
            format!("{head}{}", gps.replace("Latitude", "DateTime")),
            vec![":5:", "`time`"],
        ),
        (
            format!("{head}{}", gps.replace("\"a\"", "\"a..b\"")),
            vec![
                ":5:",
                "record[1].fields.Latitude",
                "a key is empty",
                "a[0].b",
            ],
        ),
        (
            format!("{head}{}", gps.replace("\"a\"", "{ factor = 2 }")),
            vec![":5:", "give a path or a const"],
        ),
        (
            format!(
                "{head}{}",
                gps.replace("\"a\"", "{ path = \"a\", const = 2 }")
            ),
            vec![":5:", "keep one"],
        ),
        (
            format!(
                "{head}{}",
                gps.replace("\"a\"", "{ path = \"a\", factor = 0 }")
            ),
            vec![":5:", "not 0"],
        ),
        (
            format!(
                "{head}{}",
                gps.replace("\"a\"", "{ path = \"a\", map = { x = 1 }, factor = 2 }")
            ),
            vec![":5:", "map with factor"],
        ),
        (
            format!(
                "{head}{}",
                gps.replace("\"a\"", "{ path = \"a\", as = \"float\" }")
            ),
            vec![":5:", "unknown variant `float`", "hex_base64"],
        ),
        (
            format!("{head}{}", status.replace("Odometer", "Odometr")),
            vec![":4:", "record[1].diagnostic", "nearest: \"Odometer\""],
        ),
        (
            format!("{head}{}", status.replace("\"Odometer\"", "4711")),
            vec![":4:", "code 4711", "[mapping] diagnostics"],
        ),
        (
            format!(
                "{head}{}",
                status.replace("Odometer", "Onboard scale total payload weight")
            ),
            vec![":4:", "32820", "32948"],
        ),
        (
            format!("{head}{}", status.replace("value = \"km\"\n", "")),
            vec![":4:", "record[1].value", "missing"],
        ),
        (
            format!("{head}{status}type = \"GpsRecord\"\n"),
            vec![":4:", "carries no diagnostic", "GenericStatusRecord"],
        ),
        (
            format!("{head}{status}fields = {{ Code = 1 }}\n"),
            vec![":6:", "leave this out"],
        ),
        (
            format!("{head}{status}case = \"x\"\n"),
            vec![":3:", "record[1].case", "switch"],
        ),
        (
            format!("{head}{status}once = true\n"),
            vec![":3:", "record[1].once", "each"],
        ),
        (
            format!("{head}{status}when = {{ equals = {{ a.b = 1 }} }}\n"),
            vec![":6:", "needs quotes"],
        ),
        (
            format!("device.id = \"id\"\ntime = {{ path = \"t\", format = \"iso\" }}\n{status}"),
            vec![":2:", "time.format", "epoch_ms"],
        ),
        (
            format!(
                "device.id = \"id\"\ntime = {{ path = \"t\", format = \"%d/%m/%Y %H:%M\" }}\n{status}"
            ),
            vec![":2:", "time.zone", "UTC"],
        ),
        (
            format!("device.id = \"id\"\n{status}"),
            vec![":2:", "record[1].time", "missing"],
        ),
        (
            format!("device = {{}}\ntime = \"t\"\n{status}"),
            vec![":1:", "device", "neither serial nor id"],
        ),
        (head.to_owned(), vec![":3:", "at least one [[record]]"]),
        ("device.id = \"id\n".to_owned(), vec![":1:", "string"]),
    ] {
        let error =
            Mapping::compile("bad.toml", &text, &Diagnostics::shipped().unwrap()).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.starts_with("bad.toml:"), "{error}");
        for part in wanted {
            assert!(error.contains(part), "{part:?} is not in: {error}\n{text}");
        }
    }
}

#[test]
fn a_mapping_is_found_by_path_then_directory_then_among_the_shipped() {
    let dir = tempfile::tempdir().unwrap();
    let own = "description = \"mine\"\ndevice.id = \"id\"\ntime = \"t\"\n[[record]]\ndiagnostic = \"Hopper door\"\nvalue = \"d\"\n";
    std::fs::write(dir.path().join("flespi.toml"), own).unwrap();
    let diagnostics = dir.path().join("diagnostics.toml");
    std::fs::write(
        &diagnostics,
        "[[diagnostic]]\ncode = 50000\nname = \"Hopper door\"\n",
    )
    .unwrap();

    let config = mapping::Config {
        dir: Some(dir.path().to_owned()),
        diagnostics: Some(diagnostics),
    };
    let mappings = Mappings::open(&config).unwrap();
    assert_eq!(mappings.load("flespi").unwrap().description(), "mine");
    assert_eq!(
        mappings
            .load(dir.path().join("flespi.toml").to_str().unwrap())
            .unwrap()
            .description(),
        "mine"
    );
    assert_ne!(mappings.load("traccar").unwrap().description(), "mine");
    let error = format!("{:#}", mappings.load("flepsi").unwrap_err());
    assert!(
        error.contains("\"flespi\"") && error.contains("flepsi.toml"),
        "{error}"
    );

    let without = Mappings::open(&mapping::Config {
        dir: config.dir,
        diagnostics: None,
    })
    .unwrap();
    let error = format!("{:#}", without.load("flespi").unwrap_err());
    assert!(
        error.contains("flespi.toml:5:") && error.contains("Hopper door"),
        "{error}"
    );
}

fn map(arguments: &[&str], files: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dig-ingest"));
    command
        .arg("map")
        .args(arguments)
        .args(files)
        .output()
        .unwrap()
}

#[test]
fn map_prints_what_messages_become_and_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("messages.ndjson");
    let good = "{\"device\":\"1\",\"time\":\"2024-01-28T17:45:36Z\",\"vin\":\"1M8GDM9AXKP042788\"}";
    std::fs::write(
        &file,
        format!(
            "{good}\n{{\"device\":\"1\",\"time\":\"today\",\"rpm\":1}}\n\n{{\"device\":\"1\"}}\n"
        ),
    )
    .unwrap();

    let output = map(&["--mapping", "generic", "--report", "json"], &[&file]);
    let (stdout, stderr) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    let [record, report] = lines[..] else {
        panic!("{stdout}")
    };
    assert_eq!(
        record,
        "{\"Type\":\"VinRecord\",\"DateTime\":\"2024-01-28T17:45:36.000000Z\",\"SerialNo\":\"UNREGISTERED\",\"VehicleIdentificationNumber\":\"1M8GDM9AXKP042788\"}"
    );
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    assert_eq!(
        (&report["messages"], &report["records"], &report["rejected"]),
        (&3.into(), &1.into(), &2.into())
    );
    assert_eq!(
        report["rejects"],
        serde_json::json!({"map.time": 1, "map.unmatched": 1})
    );
    assert!(
        stderr.contains("line 2: ")
            && stderr.contains("map.time: time = today (expected RFC 3339 with an offset)"),
        "{stderr}"
    );
    assert!(
        stderr.contains("line 4: ") && stderr.contains("map.unmatched"),
        "{stderr}"
    );
}

#[test]
fn map_reads_one_document_over_many_lines() {
    let output = map(
        &["--mapping", "flespi", "--serial", SERIAL],
        &[&fixture("flespi.json")],
    );
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let expected = std::fs::read_to_string(fixture("flespi.expected.ndjson")).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn map_guesses_explains_and_takes_what_kafka_says() {
    let dir = tempfile::tempdir().unwrap();
    let [message, mapping] = ["message.json", "mine.toml"].map(|name| dir.path().join(name));
    std::fs::write(
        &message,
        "{\"at\":1706463936,\"lat\":52.1,\"lon\":4.3,\"speedMph\":10}",
    )
    .unwrap();
    let guessed = map(&["--guess"], &[&message]);
    assert_eq!(
        guessed.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&guessed.stderr)
    );
    std::fs::write(&mapping, &guessed.stdout).unwrap();
    let name = mapping.to_str().unwrap();
    let output = map(
        &[
            "--explain",
            "--mapping",
            name,
            "--serial",
            SERIAL,
            "--key",
            "imei-1",
        ],
        &[&message],
    );
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "{\"Type\":\"GpsRecord\",\"DateTime\":\"2024-01-28T17:45:36.000000Z\",\"SerialNo\":\"CX0B21338D8D\",\"Latitude\":52.1,\"Longitude\":4.3,\"Speed\":16.09344,\"IsGpsValid\":true}\n",
        "{stderr}"
    );
    assert!(
        stderr.contains("record[1] GpsRecord: made") && stderr.contains("from lat = 52.1"),
        "{stderr}"
    );
    let without = map(&["--mapping", name], &[&message]);
    let stderr = String::from_utf8(without.stderr).unwrap();
    assert!(
        stderr.contains("map.device: @kafka.key = absent"),
        "{stderr}"
    );
}

/// `map` and `validate` know the diagnostics that the settings name, as the job does.
#[test]
fn map_and_validate_know_the_users_diagnostics() {
    let dir = tempfile::tempdir().unwrap();
    let [own, records] = ["diagnostics.toml", "records.ndjson"].map(|name| dir.path().join(name));
    std::fs::write(
        &own,
        "[[diagnostic]]\ncode = 50000\nname = \"Hopper door\"\nbytes = 1\n",
    )
    .unwrap();
    std::fs::write(
        &records,
        "{\"Type\":\"GenericStatusRecord\",\"DateTime\":\"2024-01-28T17:45:36Z\",\"SerialNo\":\"CX0B21338D8D\",\"Code\":50000,\"Value\":300}\n",
    )
    .unwrap();
    let validate = |set: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dig-ingest"));
        let output = command
            .arg("validate")
            .args(set)
            .arg(&records)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(validate(&[]).contains("generic_status.code.unknown"));
    let known = validate(&["--set", &format!("mapping.diagnostics={}", own.display())]);
    assert!(
        known.contains("generic_status.value.length") && !known.contains("code.unknown"),
        "{known}"
    );
}

/// Any JSON, made of the names the mappings read so that it gets far.
fn json() -> impl Strategy<Value = serde_json::Value> {
    const KEYS: [&str; 24] = [
        "id",
        "t",
        "ident",
        "timestamp",
        "position",
        "position.latitude",
        "position.longitude",
        "position.speed",
        "latitude",
        "longitude",
        "speed",
        "attributes",
        "odometer",
        "ignition",
        "fixTime",
        "device",
        "uniqueId",
        "time",
        "lat",
        "lon",
        "vin",
        "vehicle.mileage",
        "serial",
        "ps",
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        (-200.0f64..200.0).prop_map(Into::into),
        Just("356307042441013".into()),
        Just("2024-01-28T17:45:36.000+0000".into()),
        Just(1_706_463_936.into()),
        ".{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 64, 10, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((prop::sample::select(&KEYS[..]), inner), 0..10).prop_map(
                |members| serde_json::Value::Object(
                    members
                        .into_iter()
                        .map(|(k, v)| (k.to_owned(), v))
                        .collect()
                )
            ),
        ]
    })
}

const EACH: &str = "each = \"ps\"\nswitch = { path = \"speed\", otherwise = \"skip\" }\ndevice = { serial = \"serial\", id = [\"id\", \"device\"] }\n\
    time = { path = [\"t\", \"$.time\"], format = \"epoch_ms\" }\n[[record]]\ntype = \"GpsRecord\"\n\
    fields = { Latitude = \"ps[0].lat\", Longitude = \"$.ps[1]\", Speed = \"@\", IsGpsValid = { path = \"id\", map = { \"1\" = true }, otherwise = false } }\n";

static EVERY: LazyLock<Vec<Arc<Mapping>>> = LazyLock::new(|| {
    let own = Mapping::compile("each.toml", EACH, &Diagnostics::shipped().unwrap()).unwrap();
    SHIPPED
        .iter()
        .map(|(name, _)| shipped(name))
        .chain([Arc::new(own)])
        .collect()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// V1 as far as any input can show it: no panic, every original inside the payload, every valid record JSON with its serial.
    #[test]
    fn any_json_ends_in_outcomes_within_the_payload(value in json(), pretty in any::<bool>()) {
        let payload = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        for mapping in EVERY.iter() {
            let out = decode(mapping.clone(), &payload);
            for outcome in &out.outcomes {
                match outcome {
                    Outcome::Valid(record) => {
                        let sent: serde_json::Value = serde_json::from_slice(record.bytes(&out.bytes)).unwrap();
                        prop_assert_eq!(sent["SerialNo"].as_str().unwrap().as_bytes(), record.serial(&out.bytes));
                    }
                    Outcome::Unknown(unknown) => prop_assert!(payload.get(unknown.original.clone()).is_some_and(|original| original.first() == Some(&b'\x7b'))),
                    Outcome::Reject(reject) => prop_assert!(payload.get(reject.original.clone()).is_some()),
                    Outcome::Excess(excess) => prop_assert!(excess.records > 0 && !excess.examples.is_empty()),
                }
            }
            let nothing_wanted = value.as_array().is_some_and(Vec::is_empty);
            prop_assert!(!out.outcomes.is_empty() || !out.notes.is_empty() || nothing_wanted);
        }
    }

    #[test]
    fn any_bytes_end_in_one_outcome(payload in prop::collection::vec(any::<u8>(), 0..48)) {
        prop_assume!(serde_json::from_slice::<serde::de::IgnoredAny>(&payload).is_err());
        prop_assert_eq!(decode(EVERY[0].clone(), &payload).outcomes.len(), 1);
    }
}
