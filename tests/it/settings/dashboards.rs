//! The shipped dashboard and alerts ask only for metrics and labels that there are.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{readme::metrics, root};

/// What a Prometheus adds by itself.
const GIVEN: [&str; 3] = ["job", "instance", "le"];

fn read(path: &str) -> String {
    std::fs::read_to_string(root(path)).unwrap()
}

/// Every value of a member of this name, at any depth.
fn members<'a>(value: &'a Value, name: &str, into: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members_of) => {
            for (key, inner) in members_of {
                if key == name {
                    into.push(inner);
                }
                members(inner, name, into);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|one| members(one, name, into)),
        _ => {}
    }
}

fn expressions(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    members(value, "expr", &mut found);
    found
        .into_iter()
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

/// Names of metrics and labels in an expression that nothing here gives; its metrics.
fn unknown(expression: &str) -> (Vec<String>, BTreeSet<String>) {
    let known = metrics();
    let (mut wrong, mut labels) = (Vec::new(), BTreeSet::new());
    let mut named = BTreeSet::new();
    for word in words(expression).filter(|word| word.starts_with("dig_ingest_")) {
        let bare = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|ending| word.strip_suffix(ending))
            .filter(|bare| {
                known
                    .get(*bare)
                    .is_some_and(|metric| metric.kind == "histogram")
            });
        match known.get_key_value(bare.unwrap_or(word)) {
            Some((name, metric)) => {
                labels.extend(metric.labels.iter().cloned());
                named.insert(name.clone());
            }
            None => wrong.push(word.to_owned()),
        }
    }
    for opening in ["by (", "without ("] {
        for rest in expression.split(opening).skip(1) {
            let grouped = words(rest.split(')').next().unwrap());
            wrong.extend(
                grouped
                    .filter(|label| !labels.contains(*label) && !GIVEN.contains(label))
                    .map(str::to_owned),
            );
        }
    }
    for selector in expression.split('{').skip(1) {
        for condition in selector.split('}').next().unwrap().split(',') {
            let label = words(condition).next().unwrap();
            if !labels.contains(label) && !GIVEN.contains(&label) {
                wrong.push(label.to_owned());
            }
        }
    }
    (wrong, named)
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let board: Value = serde_json::from_str(&read("config/grafana/dig-ingest.json")).unwrap();
    assert_eq!(board["uid"], "dig-ingest");
    let mut shown = BTreeSet::new();
    for expression in expressions(&board) {
        let (wrong, named) = unknown(&expression);
        assert_eq!(wrong, Vec::<String>::new(), "{expression}");
        shown.extend(named);
    }
    // Every panel takes its Prometheus from the variable, so that the file can be imported anywhere.
    let mut sources = Vec::new();
    members(&board, "datasource", &mut sources);
    assert!(
        sources
            .iter()
            .all(|source| source["uid"] == "${datasource}")
    );
    for area in [
        "partition_lag",
        "records_total",
        "upload_answers",
        "request_seconds",
        "backpressure",
        "upload_circuit",
        "auth_session",
        "sentinel",
        "letters",
        "invalid_records",
        "resident_bytes",
        "partitions_assigned",
    ] {
        assert!(
            shown.iter().any(|name| name.contains(area)),
            "nothing shows {area}"
        );
    }
    let mut ids = Vec::new();
    members(&board["panels"], "id", &mut ids);
    let distinct: BTreeSet<u64> = ids.iter().map(|id| id.as_u64().unwrap()).collect();
    assert_eq!(distinct.len(), ids.len(), "two panels share an id");
}

#[test]
fn the_alerts_ask_for_what_there_is_and_say_what_to_do() {
    let rules: Value = serde_saphyr::from_str(&read("config/prometheus/alerts.yml")).unwrap();
    let mut alerts = Vec::new();
    members(&rules, "rules", &mut alerts);
    let alerts: Vec<&Value> = alerts
        .iter()
        .flat_map(|rules| rules.as_array().unwrap())
        .collect();
    assert!(alerts.len() >= 8, "{} alerts", alerts.len());
    for alert in alerts {
        let expression = alert["expr"].as_str().unwrap();
        let (wrong, named) = unknown(expression);
        assert_eq!(wrong, Vec::<String>::new(), "{alert:#}");
        assert!(!named.is_empty(), "{alert:#}");
        assert!(["page", "ticket"].contains(&alert["labels"]["severity"].as_str().unwrap()));
        for said in ["summary", "remedy"] {
            let text = alert["annotations"][said].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{alert:#}");
        }
    }
}
