//! The shipped mappings against their samples, wrong mapping files against their errors, and `dig-ingest map` from outside.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, LazyLock};

use dig_ingest::record::decode::{Decoder, Shape};
use dig_ingest::record::diagnostics::Diagnostics;
use dig_ingest::record::mapping::{self, Mapping, Mappings, SHIPPED};
use dig_ingest::record::validate::{self, Rules};
use dig_ingest::record::{Decoded, Outcome, SerialOf};
use proptest::prelude::*;

/// 2024-01-29T03:46:40Z, hours after the samples.
const NOW: i64 = 1_706_500_000_000_000;
const SERIAL: &str = "CX0B21338D8D";

/// Knows the device of the samples.
struct OneDevice;

impl SerialOf for OneDevice {
    fn serial_of(&self, device_id: &str) -> Option<&str> {
        (device_id == "356307042441013").then_some(SERIAL)
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
    decoder.decode(Some(payload), &OneDevice, NOW, &mut out);
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

#[test]
fn a_shipped_mapping_says_what_it_is_for() {
    for (name, _) in SHIPPED {
        assert!(!shipped(name).description().is_empty(), "{name}");
    }
}

/// The TOML examples of `config/mappings/README.md`: the first is a mapping, the second a diagnostics file, the others are beginnings
/// of mappings.
#[test]
fn the_readmes_examples_compile() {
    let readme = include_str!("../../config/mappings/README.md");
    let examples: Vec<&str> = readme
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    let diagnostics = Diagnostics::shipped().unwrap();
    Mapping::compile("README.md", examples[0], &diagnostics).unwrap();
    let [_, own, switch, each] = examples[..] else {
        panic!("{} examples", examples.len())
    };
    diagnostics.clone().with_text("README.md", own).unwrap();
    let device = "device.id = \"id\"\ntime = \"t\"\n";
    let record = "type = \"VinRecord\"\nfields = { VehicleIdentificationNumber = \"vin\" }\n";
    for example in [switch, each] {
        Mapping::compile(
            "README.md",
            &format!("{device}{example}{record}"),
            &diagnostics,
        )
        .unwrap();
    }
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
