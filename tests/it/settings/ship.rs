//! What the program is shipped with says the same as the program: names of settings, ports, version, time limits.

use std::{collections::BTreeMap, path::Path, time::Duration};

use dig_ingest::config::Settings;
use serde_json::Value;

use super::root;

fn read(path: &str) -> String {
    std::fs::read_to_string(root(path)).unwrap()
}

/// The documents of a YAML file.
fn documents(path: &str) -> Vec<Value> {
    let text = read(path);
    text.split("\n---\n")
        .map(|text| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{path}: {error}")))
        .collect()
}

fn kind<'a>(all: &'a [Value], kind: &str) -> &'a Value {
    all.iter()
        .find(|one| one["kind"] == kind)
        .unwrap_or_else(|| panic!("no {kind}"))
}

/// Settings of a file's text, which must be no other than known ones.
fn settings(text: &str, variables: BTreeMap<String, String>) -> Settings {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Settings::load_from(Some(file.path()), variables, &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// How long leaving may take at the longest, without the manager's margin.
fn leaving(settings: &Settings) -> Duration {
    Duration::from_millis(settings.input.shutdown_ms + settings.dig.revoke_timeout_ms)
        + Duration::from_secs(15)
}

fn port(settings: &Settings) -> u64 {
    let listen = settings.ops.listen.to_string();
    listen.rsplit(':').next().unwrap().parse().unwrap()
}

#[test]
fn the_manifests_fit_the_program() {
    let all = documents("config/ship/kubernetes/dig-ingest.yaml");
    let set = kind(&all, "StatefulSet");
    let pod = &set["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let mut variables = BTreeMap::new();
    for variable in container["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap().to_owned();
        let value = variable["value"].as_str().unwrap_or("dig-ingest-0");
        variables.insert(name, value.to_owned());
    }
    assert_eq!(
        variables["DIG_INGEST_CONFIG"],
        "/etc/dig-ingest/dig-ingest.toml"
    );
    let text = kind(&all, "ConfigMap")["data"]["dig-ingest.toml"]
        .as_str()
        .unwrap();
    let settings = settings(text, variables);
    assert_eq!(settings.kafka.instance_id, "dig-ingest-0");
    assert_eq!(container["ports"][0]["containerPort"], port(&settings));
    assert_eq!(
        kind(&all, "Service")["spec"]["ports"][0]["port"],
        port(&settings)
    );
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(Duration::from_secs(grace) > leaving(&settings));
    let image = container["image"].as_str().unwrap();
    assert_eq!(image, concat!("dig-ingest:", env!("CARGO_PKG_VERSION")));
    for (probe, page) in [
        ("livenessProbe", "/livez"),
        ("startupProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ] {
        assert_eq!(container[probe]["httpGet"]["path"], page);
    }
    // Secrets are named where they are mounted.
    let mounted = container["volumeMounts"].as_array().unwrap();
    let secrets = mounted
        .iter()
        .find(|one| one["name"] == "secrets")
        .and_then(|one| one["mountPath"].as_str())
        .unwrap();
    for file in [
        Path::new(&settings.kafka.sasl_password_file),
        settings.dig.password_file.as_deref().unwrap(),
    ] {
        assert!(file.starts_with(secrets), "{}", file.display());
    }
    // As many pods as partitions, and each could own all of them.
    let scaled = documents("config/ship/kubernetes/dig-ingest-keda.yaml");
    let scaled = &kind(&scaled, "ScaledObject")["spec"];
    assert_eq!(scaled["maxReplicaCount"], settings.memory.partitions);
    assert_eq!(scaled["maxReplicaCount"], u64::from(settings.dig.instances));
    let metadata = &scaled["triggers"][0]["metadata"];
    assert_eq!(metadata["consumerGroup"], settings.kafka.group);
    assert_eq!(metadata["topic"], settings.input.topics[0]);
    assert_eq!(metadata["bootstrapServers"], settings.kafka.brokers);
    assert_eq!(scaled["scaleTargetRef"]["name"], set["metadata"]["name"]);
    // What the pod is limited to suffices by the formula.
    let limit = container["resources"]["limits"]["memory"].as_str().unwrap();
    let bytes = limit.strip_suffix("Mi").unwrap().parse::<u64>().unwrap() << 20;
    let mut fitted = settings.clone();
    fitted.memory.limit_bytes = bytes;
    fitted.fit(fitted.memory.partitions);
    fitted
        .memory_formula(fitted.memory.partitions)
        .check()
        .unwrap();
}

#[test]
fn the_compose_file_fits_the_program() {
    let all = documents("config/ship/compose/compose.yaml");
    let job = &all[0]["services"]["job"];
    let variables = job["environment"].as_object().unwrap();
    let variables = variables
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect();
    let text = all[0]["configs"]["job"]["content"].as_str().unwrap();
    let settings = settings(text, variables);
    let published = job["ports"][0].as_str().unwrap();
    assert!(
        published.ends_with(&format!(":{}", port(&settings))),
        "{published}"
    );
    let grace = job["stop_grace_period"].as_str().unwrap();
    let grace: u64 = grace.strip_suffix('s').unwrap().parse().unwrap();
    assert!(Duration::from_secs(grace) > leaving(&settings));
    let scraped = documents("config/ship/compose/prometheus.yml");
    let target = &scraped[0]["scrape_configs"][0]["static_configs"][0]["targets"][0];
    assert_eq!(*target, format!("job:{}", port(&settings)));
}

#[test]
fn the_unit_fits_the_program() {
    let unit = read("config/ship/dig-ingest.service");
    let value = |name: &str| {
        let line = unit
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {name}")).to_owned()
    };
    assert_eq!(value("Type"), "notify");
    assert_eq!(value("ExecReload"), "/bin/kill -HUP $MAINPID");
    assert_eq!(
        value("Environment"),
        "DIG_INGEST_CONFIG=/etc/dig-ingest/dig-ingest.toml"
    );
    let stop: u64 = value("TimeoutStopSec").parse().unwrap();
    assert!(Duration::from_secs(stop) > leaving(&Settings::default()));
    // Each file of the package is there, or made by the script that builds it.
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    for asset in deb["assets"].as_array().unwrap() {
        let source = asset[0].as_str().unwrap();
        let fixed = source.split('*').next().unwrap();
        assert!(
            source.starts_with("target/") || root(fixed).exists(),
            "{source}"
        );
    }
    assert!(unit.contains("User=dig-ingest"));
    assert!(read("config/ship/debian/dig-ingest.sysusers").contains("u dig-ingest"));
    let image = read("config/ship/Dockerfile");
    let wanted = manifest["package"]["rust-version"].as_str().unwrap();
    assert!(
        image.contains(&format!("FROM rust:{wanted}-")),
        "the compiler of the image"
    );
}
