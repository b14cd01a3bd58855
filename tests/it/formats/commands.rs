//! Formats on the command line: `map`, `validate`, `load`, `check` and `explain`.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::program;
use crate::support::schemas::{Mock, Reply};

fn dig_ingest(args: &[&str]) -> Output {
    Command::new(program())
        .args(args)
        .output()
        .expect("the program starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// One message as `load` writes it, mapped with its schema file; and with a registry, which `check` asks too.
#[test]
fn a_message_is_mapped_with_a_schema_file_or_the_schema_registry() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let mock = Mock::working();
    let urls = format!("schema_registry.urls=[{:?}]", mock.url());
    for (format, ending) in [("avro", "avsc"), ("protobuf", "proto")] {
        let (message, schema) = (at("message.bin"), at(&format!("schema.{ending}")));
        let load = [
            "load",
            "--shape",
            "generic",
            "--records",
            "1",
            "--format",
            format,
            "--output",
            &message,
        ];
        let output = dig_ingest(&[&load[..], &["--schema-output", &schema]].concat());
        assert!(output.status.success(), "{}", said(&output));
        let map = ["map", "--mapping", "generic", "--format", format];
        let output = dig_ingest(&[&map[..], &["--schema", &schema, &message]].concat());
        assert!(output.status.success(), "{}", said(&output));
        let first = String::from_utf8_lossy(&output.stdout).into_owned();
        let record: Value = serde_json::from_str(first.lines().next().expect("a record")).unwrap();
        assert_eq!(record["Type"], "GpsRecord");

        let output = dig_ingest(&[&load[..], &["--topic", format, "--set", &urls]].concat());
        assert!(output.status.success(), "{}", said(&output));
        let output = dig_ingest(&[&map[..], &["--set", &urls, &message]].concat());
        assert!(output.status.success(), "{}", said(&output));
        // The same plan a moment later.
        assert!(String::from_utf8_lossy(&output.stdout).contains("GpsRecord"));
        // Without its header the message is none.
        let output = dig_ingest(&[&map[..], &["--schema", &schema, &message]].concat());
        assert!(
            !output.status.success() && said(&output).contains("format.payload"),
            "{}",
            said(&output)
        );
    }
    let message = at("message.bin");
    for (args, part) in [
        (
            vec!["map", "--mapping", "generic", "--format", "avro", &message],
            "schema_registry.urls",
        ),
        (
            vec!["load", "--dry-run", "--format", "avro"],
            "--shape generic",
        ),
        (
            vec![
                "load",
                "--shape",
                "generic",
                "--records",
                "2",
                "--output",
                "-",
                "--format",
                "avro",
            ],
            "--records 1",
        ),
    ] {
        let output = dig_ingest(&args);
        assert!(
            !output.status.success() && said(&output).contains(part),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn native_records_may_come_in_any_format() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let schema = r#"syntax = "proto3"; message Vin { string Type = 1; string DateTime = 2; string SerialNo = 3; string VehicleIdentificationNumber = 4; }"#;
    std::fs::write(at("vin.proto"), schema).unwrap();
    // Whole seconds: the gateway takes seven digits of a fraction.
    let now = jiff::Timestamp::now().as_second();
    let time = jiff::Timestamp::from_second(now).unwrap().to_string();
    let mut message = Vec::new();
    for (tag, text) in [
        (10, "VinRecord"),
        (18, time.as_str()),
        (26, "CX0B21338D8D"),
        (34, "1M8GDM9AXKP042788"),
    ] {
        message.extend([tag, text.len() as u8]);
        message.extend_from_slice(text.as_bytes());
    }
    std::fs::write(at("message.bin"), &message).unwrap();
    let args = [
        "validate",
        "--format",
        "protobuf",
        "--schema",
        &at("vin.proto"),
        "--report",
        "json",
    ];
    let output = dig_ingest(&[&args[..], &[&at("message.bin")]].concat());
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    assert_eq!(
        (report["accepted"].as_u64(), report["rejected"].as_u64()),
        (Some(1), Some(0)),
        "{report:#}"
    );
    // The same as JSON behind a header.
    let record = format!(
        r#"{{"Type":"VinRecord","DateTime":"{time}","SerialNo":"CX0B21338D8D","VehicleIdentificationNumber":"1M8GDM9AXKP042788"}}"#
    );
    std::fs::write(
        at("message.json"),
        [&[0, 0, 0, 0, 9][..], record.as_bytes()].concat(),
    )
    .unwrap();
    let args = [
        "validate",
        "--format",
        "json_with_header",
        "--report",
        "json",
    ];
    let output = dig_ingest(&[&args[..], &[&at("message.json")]].concat());
    assert!(output.status.success(), "{}", said(&output));
    std::fs::write(at("message.json"), &record).unwrap();
    let output = dig_ingest(&[&args[..], &[&at("message.json")]].concat());
    assert!(said(&output).contains("format.header"), "{}", said(&output));
}

#[test]
fn check_reads_schema_files_and_asks_the_schema_registry() {
    let mock = Mock::working();
    let formats = "input.formats={ one = \"avro\" }";
    let urls = format!("schema_registry.urls=[{:?}]", mock.url());
    let base = [
        "check",
        "--connect",
        "--timeout-s",
        "1",
        "--report",
        "json",
        "--set",
        "input.topics=[\"one\"]",
        "--set",
        "dig.username=u",
        "--set",
        "dig.password=password-of-this-test",
        "--set",
        "dig.url=http://127.0.0.1:1",
        "--set",
        "kafka.brokers=127.0.0.1:1",
    ];
    let check = |more: &[&str]| {
        let output = dig_ingest(&[&base[..], more].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{}", said(&output)))
    };
    let about = |report: &Value, subject: &str| {
        let checks = report["checks"].as_array().expect("checks").clone();
        let found = checks.into_iter().find(|one| {
            one["subject"]
                .as_str()
                .is_some_and(|at| at.starts_with(subject))
        });
        found.unwrap_or_else(|| panic!("{subject}: {report:#}"))
    };
    let report = check(&["--set", formats, "--set", &urls]);
    assert_eq!(about(&report, "schema registry http")["ok"], true);
    assert!(
        about(&report, "schema of one")["found"]
            .as_str()
            .unwrap()
            .contains("no subject one-value")
    );
    mock.answer(|_| Reply::text(502, "text/plain", "bad gateway"));
    let report = check(&["--set", formats, "--set", &urls]);
    let tried = about(&report, "schema registry http");
    assert!(
        tried["ok"] == false && tried["found"].as_str().unwrap().contains("502"),
        "{tried:#}"
    );
    // Without a registry the setting itself is wrong, and a schema file that is none is named.
    let report = check(&["--set", formats]);
    assert!(
        report["problems"]
            .to_string()
            .contains("schema_registry.urls"),
        "{report:#}"
    );
    let report = check(&[
        "--set",
        "input.formats={ one = { format = \"avro\", schema = \"/nowhere.avsc\" } }",
    ]);
    assert!(
        about(&report, "formats")["found"]
            .as_str()
            .unwrap()
            .contains("/nowhere.avsc")
    );
    let output = dig_ingest(&["explain", "format.payload"]);
    assert!(
        output.status.success() && said(&output).contains("decode"),
        "{}",
        said(&output)
    );
}
