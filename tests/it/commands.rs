//! The commands as their users run them: `load` and `verify`, by exit code and report.

use std::path::Path;
use std::process::{Command, Output};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::support::{program, wait_until};

fn dig_ingest(args: &[&str]) -> Output {
    Command::new(program())
        .args(args)
        .output()
        .expect("the program starts")
}

#[test]
fn orders_that_are_switched_off_cannot_be_run_alone() {
    let output = dig_ingest(&["run", "--only", "orders"]);
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(
        said.contains("--only orders: orders.enabled is false")
            && said.contains("set orders.enabled"),
        "{said}"
    );
}

#[test]
fn settings_are_shown_although_one_is_refused() {
    let refused = ["--set", "dig.username=", "--set", "batch.linger_ms=77"];
    let show = |more: &[&str]| {
        let output = dig_ingest(&[&["check", "--show"], &refused[..], more].concat());
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let text = show(&[]);
    let (settings, problem) = text.split_once("failed  settings").expect("a failure");
    assert!(settings.contains("linger_ms = 77"), "{text}");
    assert!(problem.contains("dig.username"), "{text}");
    let told: Value = serde_json::from_str(&show(&["--report", "json"])).expect("JSON");
    assert_eq!(told["settings"]["batch"]["linger_ms"], 77, "{told}");
    assert!(told["problems"].to_string().contains("dig.username"));
}

#[test]
fn diagnostics_are_listed_as_a_table_and_as_json() {
    let output = dig_ingest(&["map", "--diagnostics", "battery voltage"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        table.starts_with("TYPE") && table.contains("Battery voltage"),
        "{table}"
    );
    let output = dig_ingest(&[
        "map",
        "--diagnostics",
        "battery voltage",
        "--report",
        "json",
    ]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = told["diagnostics"].as_array().expect("rows");
    assert!(
        rows.iter().any(|row| row["type"] == "StatusRecord"
            && row["code"] == 5
            && row["name"] == "Battery voltage"),
        "{told}"
    );
    assert!(dig_ingest(&["map", "--diagnostics"]).status.success());
    let none = dig_ingest(&["map", "--diagnostics", "no such thing"]);
    assert!(!none.status.success() && stderr(&none).contains("no such thing"));
}

/// A registry is only looked at: no topic is created, and a broker that is away is named with what to look at.
#[test]
fn devices_are_listed_without_creating_a_topic_or_waiting_for_a_broker_that_is_away() {
    let away = |act: &[&str]| {
        let mut args = vec!["devices"];
        args.extend(act);
        args.extend(["--set", "kafka.brokers=127.0.0.1:1"]);
        let output = dig_ingest(&args);
        assert!(!output.status.success());
        let said = stderr(&output);
        for part in ["kafka.brokers 127.0.0.1:1", "check kafka.brokers"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    };
    away(&["list"]);
    away(&["show", "imei-1"]);

    let cluster = MockCluster::new(1).expect("a mock cluster");
    let brokers = cluster.bootstrap_servers();
    let output = dig_ingest(&[
        "devices",
        "list",
        "--set",
        &format!("kafka.brokers={brokers}"),
    ]);
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(
        said.contains(&format!(
            "the brokers at {brokers} have no topic dig.devices"
        )) && said.contains("devices import"),
        "{said}"
    );
}

/// The report is the last line of standard output.
fn report(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| {
        panic!(
            "no report ({error}): {text}\n{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A load into a file: its messages, its manifest and its report.
struct Loaded {
    folder: tempfile::TempDir,
    messages: Vec<String>,
    report: Value,
}

impl Loaded {
    fn new(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (output, manifest) = (path(&folder, "messages"), path(&folder, "manifest"));
        let mut args = vec![
            "load",
            "--output",
            &output,
            "--manifest",
            &manifest,
            "--report",
            "json",
        ];
        args.extend(["--start-time", "2026-01-01T00:00:00Z", "--run-id", "7"]);
        args.extend(more);
        let done = dig_ingest(&args);
        assert!(done.status.success(), "{}", stderr(&done));
        let text = std::fs::read_to_string(&output).expect("the messages");
        Self {
            messages: text.lines().map(str::to_owned).collect(),
            report: report(&done),
            folder,
        }
    }

    /// Judges a ledger of these records.
    fn verify(&self, records: &[&str], more: &[&str]) -> (bool, Value) {
        let ledger = path(&self.folder, "ledger");
        let lines: String = records
            .iter()
            .zip(1..)
            .map(|(record, seq)| format!("{{\"Seq\":{seq},\"Request\":1,\"Record\":{record}}}\n"))
            .collect();
        std::fs::write(&ledger, lines).expect("a ledger");
        let manifest = path(&self.folder, "manifest");
        let mut args = vec![
            "verify",
            "--manifest",
            &manifest,
            "--ledger",
            &ledger,
            "--report",
            "json",
        ];
        args.extend(more);
        let done = dig_ingest(&args);
        (done.status.success(), report(&done))
    }
}

fn path(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

fn counts(verdict: &Value) -> [u64; 5] {
    ["lost", "unseen", "duplicated", "reordered", "phantom"]
        .map(|name| verdict[name].as_u64().expect("a count"))
}

#[test]
fn a_load_repeats_itself_byte_for_byte() {
    let args = [
        "--records",
        "500",
        "--devices",
        "7",
        "--mix",
        "all=1",
        "--bad-share",
        "0.1",
    ];
    let (one, two) = (Loaded::new(&args), Loaded::new(&args));
    assert_eq!(one.messages, two.messages);
    let manifest =
        |loaded: &Loaded| std::fs::read(path(&loaded.folder, "manifest")).expect("a manifest");
    assert_eq!(manifest(&one), manifest(&two));
    let mut other = args.to_vec();
    other.extend(["--seed", "2"]);
    assert_ne!(Loaded::new(&other).messages, one.messages);
}

#[test]
fn a_loads_report_adds_up() {
    let loaded = Loaded::new(&[
        "--records",
        "2000",
        "--mix",
        "all=1",
        "--bad-share",
        "0.1",
        "--poison-share",
        "0.02",
    ]);
    let report = &loaded.report;
    assert_eq!(
        (&report["produced"], &report["confirmed"], &report["failed"]),
        (&json!(2000), &json!(2000), &json!(0))
    );
    let by_type = report["by_type"].as_object().expect("types");
    assert_eq!(by_type.len(), 12);
    assert_eq!(
        by_type.values().filter_map(Value::as_u64).sum::<u64>(),
        2000
    );
    let bytes: usize = loaded.messages.iter().map(String::len).sum();
    assert_eq!(report["bytes"], json!(bytes));
    let marker = report["poison_marker"].as_str().expect("a marker");
    let marked = loaded
        .messages
        .iter()
        .filter(|message| message.contains(marker))
        .count();
    assert_eq!(report["poison"], json!(marked));
    assert!(report["bad"].as_u64() > Some(100) && report["rate"].as_f64() > Some(0.0));
}

/// Devices that got their serials after they had sent: the registry says which, and the gateway saw them under these.
#[test]
fn the_registry_says_which_serial_a_device_id_has() {
    let loaded = Loaded::new(&["--records", "20", "--devices", "2", "--by", "device-id"]);
    let of = |message: &str| {
        let (_, rest) = message.split_once("\"DeviceId\":\"").expect("a device id");
        rest.split('"').next().expect("its end").to_owned()
    };
    let ids: std::collections::BTreeSet<String> =
        loaded.messages.iter().map(|message| of(message)).collect();
    let serial = |id: &str| format!("C8{}", &id[5..]);
    let devices: String = ids
        .iter()
        .map(|id| {
            json!({"device_id": id, "serial": serial(id), "state": "active"}).to_string() + "\n"
        })
        .collect();
    let registry = path(&loaded.folder, "devices.ndjson");
    std::fs::write(&registry, devices).expect("a registry");
    let sent: Vec<String> = loaded
        .messages
        .iter()
        .map(|message| {
            let id = of(message);
            let (named, given) = (
                format!("\"DeviceId\":\"{id}\""),
                format!("\"SerialNo\":\"{}\"", serial(&id)),
            );
            message.replace(&named, &given)
        })
        .collect();
    let sent: Vec<&str> = sent.iter().map(String::as_str).collect();
    let set = format!("registry.file={registry}");
    let (sound, verdict) = loaded.verify(&sent, &["--registry", "--set", &set]);
    assert!(sound, "{verdict}");
    assert_eq!(verdict["accepted"], json!(20));
    let (sound, verdict) = loaded.verify(&sent, &[]);
    assert_eq!((sound, &verdict["phantom"]), (false, &json!(20)));
}

#[test]
fn every_finding_is_told_apart_and_decides_the_exit_code() {
    let loaded = Loaded::new(&["--records", "300", "--devices", "3"]);
    let all: Vec<&str> = loaded.messages.iter().map(String::as_str).collect();
    let (sound, verdict) = loaded.verify(&all, &[]);
    assert!(sound, "{verdict}");
    assert_eq!(counts(&verdict), [0; 5]);
    assert_eq!(
        (&verdict["expected"], &verdict["accepted"]),
        (&json!(300), &json!(300))
    );

    let (sound, verdict) = loaded.verify(&all[1..], &[]);
    assert_eq!((sound, counts(&verdict)), (false, [1, 0, 0, 0, 0]));
    let example = &verdict["examples"]["lost"][0];
    assert!(all[0].contains(example["serial"].as_str().expect("a serial")));
    assert!(
        all[0].contains(example["date_time"].as_str().expect("a time")),
        "{example}"
    );

    let mut swapped = all.clone();
    swapped.swap(0, 3);
    let (sound, verdict) = loaded.verify(&swapped, &[]);
    assert_eq!((sound, counts(&verdict)), (false, [0, 0, 0, 1, 0]));
    assert_eq!(verdict["examples"]["reordered"][0]["line"], json!(4));

    let mut repeated = all.clone();
    repeated.push(all[5]);
    let (sound, verdict) = loaded.verify(&repeated, &[]);
    assert_eq!((sound, counts(&verdict)), (true, [0, 0, 1, 0, 0]));
    assert!(!loaded.verify(&repeated, &["--max-duplicates", "0"]).0);

    let mut made_up = all.clone();
    let stranger = all[0].replace("2026-01-01", "2026-01-02");
    made_up.push(&stranger);
    let (sound, verdict) = loaded.verify(&made_up, &[]);
    assert_eq!((sound, counts(&verdict)), (false, [0, 0, 0, 0, 1]));
}

#[test]
fn a_ledger_or_manifest_that_cannot_be_read_is_named_with_its_line() {
    let loaded = Loaded::new(&["--records", "3"]);
    let (ledger, manifest) = (
        path(&loaded.folder, "wrong"),
        path(&loaded.folder, "manifest"),
    );
    std::fs::write(&ledger, "{\"Seq\":1}\n").expect("a ledger");
    let done = dig_ingest(&["verify", "--manifest", &manifest, "--ledger", &ledger]);
    assert!(
        !done.status.success() && stderr(&done).contains("line 1"),
        "{}",
        stderr(&done)
    );
    let done = dig_ingest(&["verify", "--manifest", &ledger, "--ledger", &ledger]);
    assert!(
        !done.status.success() && stderr(&done).contains("manifest version"),
        "{}",
        stderr(&done)
    );
    let done = dig_ingest(&[
        "verify",
        "--manifest",
        &manifest,
        "--manifest",
        &manifest,
        "--ledger",
        &ledger,
    ]);
    assert!(
        !done.status.success() && stderr(&done).contains("--run-id"),
        "{}",
        stderr(&done)
    );
}

#[test]
fn arguments_that_do_not_fit_together_say_so() {
    let wrong: [(&[&str], &str); 4] = [
        (
            &["load", "--output", "-", "--report", "json"],
            "standard output",
        ),
        (
            &["load", "--dry-run", "--shape", "flespi", "--by", "serial"],
            "device id",
        ),
        (&["load", "--dry-run", "--mix", "gpz=1"], "gpz"),
        (&["load"], "--brokers"),
    ];
    for (args, part) in wrong {
        let done = dig_ingest(args);
        assert!(
            !done.status.success() && stderr(&done).contains(part),
            "{args:?}: {}",
            stderr(&done)
        );
    }
}

/// Everything in the topic: partition, key and payload, in the order of each partition.
fn topic(
    brokers: &str,
    name: &str,
    partitions: i32,
    messages: usize,
) -> Vec<(i32, String, String)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(name, partition, Offset::Beginning)
            .expect("a partition");
    }
    consumer.assign(&list).expect("an assignment");
    let mut all = Vec::new();
    wait_until("all messages are read", || {
        while let Some(message) = consumer.poll(std::time::Duration::from_millis(100)) {
            let message = message.expect("a message");
            let text = |bytes: Option<&[u8]>| {
                String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
            };
            all.push((
                message.partition(),
                text(message.key()),
                text(message.payload()),
            ));
        }
        all.len() >= messages
    });
    all
}

#[test]
fn a_broker_gets_every_record_of_a_device_in_one_partition_in_order() {
    let cluster = MockCluster::new(1).expect("a mock broker");
    cluster.create_topic("telemetry", 4, 1).expect("a topic");
    let brokers = cluster.bootstrap_servers();
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = path(&folder, "manifest");
    let done = dig_ingest(&[
        "load",
        "--brokers",
        &brokers,
        "--records",
        "3000",
        "--devices",
        "20",
        "--manifest",
        &manifest,
        "--report",
        "json",
    ]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert_eq!(report(&done)["confirmed"], json!(3000));
    let all = topic(&brokers, "telemetry", 4, 3000);
    let mut homes = std::collections::HashMap::new();
    for (partition, key, payload) in &all {
        assert!(
            payload.contains(&format!("\"SerialNo\":\"{key}\"")),
            "{key}: {payload}"
        );
        assert_eq!(
            *homes.entry(key).or_insert(*partition),
            *partition,
            "{key} is in two partitions"
        );
    }
    assert_eq!(homes.len(), 20);
    // The topic itself, read partition by partition, is a ledger without a fault.
    let ledger = path(&folder, "ledger");
    let lines: String = all
        .iter()
        .map(|(.., payload)| format!("{{\"Record\":{payload}}}\n"))
        .collect();
    std::fs::write(&ledger, lines).expect("a ledger");
    let done = dig_ingest(&[
        "verify",
        "--manifest",
        &manifest,
        "--ledger",
        &ledger,
        "--report",
        "json",
        "--max-duplicates",
        "0",
    ]);
    assert!(done.status.success(), "{}", report(&done));
}

#[test]
fn what_a_broker_does_not_confirm_is_unknown_in_the_manifest() {
    let cluster = MockCluster::new(1).expect("a mock broker");
    cluster.create_topic("telemetry", 1, 1).expect("a topic");
    // Every produce request is refused for good.
    let refusals =
        [rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 50];
    cluster.request_errors(rdkafka::types::RDKafkaApiKey::Produce, &refusals);
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = path(&folder, "manifest");
    let brokers = cluster.bootstrap_servers();
    let done = dig_ingest(&[
        "load",
        "--brokers",
        &brokers,
        "--records",
        "40",
        "--devices",
        "2",
        "--manifest",
        &manifest,
        "--report",
        "json",
        "--timeout-s",
        "5",
    ]);
    assert!(!done.status.success());
    let report = report(&done);
    assert_eq!(
        report["confirmed"].as_u64().unwrap() + report["failed"].as_u64().unwrap(),
        40,
        "{report}"
    );
    assert!(report["failed"].as_u64() > Some(0));
    let text = std::fs::read_to_string(Path::new(&manifest)).expect("a manifest");
    assert!(
        text.lines()
            .skip(1)
            .any(|line| line.contains("\"unknown\":[")),
        "{text}"
    );
}

#[test]
fn the_demonstration_ends_by_itself_with_a_sound_verdict() {
    let done = dig_ingest(&[
        "demo",
        "--records",
        "20000",
        "--seed",
        "3",
        "--report",
        "json",
    ]);
    let report = report(&done);
    assert!(done.status.success(), "{report:#}\n{}", stderr(&done));
    let [lost, unseen, duplicated, reordered, phantom] = counts(&report);
    assert_eq!([lost, unseen, reordered, phantom], [0; 4]);
    // Two answers were lost, each of a request of at most 500 records: none of them if the answer was a refusal.
    assert!(duplicated <= 1000, "{duplicated}");
    let faults = report["faults"].as_array().expect("faults");
    let missed: Vec<_> = faults
        .iter()
        .filter(|fault| fault["times"] == 0 && !fault["what"].as_str().unwrap().contains("refused"))
        .collect();
    assert!(missed.is_empty(), "never struck: {missed:?}");
    assert_eq!(
        report["dead_lettered"],
        json!(report["bad"].as_u64().unwrap() + report["poison"].as_u64().unwrap())
    );
    let journey = &report["journey"];
    for (stage, units) in [
        ("orders", 3),
        ("units", 13),
        ("approved", 13),
        ("provisioned", 13),
        ("adopted", 1),
        ("recovered", 12),
        ("replaced", 1),
        ("made", 13),
        ("assigned", 14),
        ("cancelled", 2),
        ("shipped", 12),
        ("confirmed", 12),
        ("waiting", 1),
        ("in_database", 10),
        ("activated", 10),
        ("terminated", 2),
        ("active", 8),
        ("billed", 10),
        ("billed_again", 0),
        ("invalid", 0),
    ] {
        assert_eq!(journey[stage], units, "{stage} in {journey:#}");
    }
    let records = &journey["records"];
    let count = |name: &str| records[name].as_u64().expect("a count");
    let (dead, still) = (
        count("dead_terminated") + count("dead_cancelled"),
        count("still_held"),
    );
    assert_eq!(
        count("sent"),
        count("released") + count("accepted_live") + dead + still,
        "{records:#}"
    );
    assert_eq!(report["letters"]["held"], still);
    assert!(
        count("released") > 0 && dead > 0 && still > 0,
        "{records:#}"
    );
    assert_eq!(report["wrong"], json!([]));
}
