//! Tests of the layers, over a small settings type of their own.

use super::*;
use crate::config::secret::{Properties, Secret};

#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Top {
    dig: Dig,
    kafka: Kafka,
}

#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Dig {
    url: String,
    password: Secret,
    timeout_s: u16,
    listen: Option<std::net::SocketAddr>,
}

#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Kafka {
    brokers: Vec<String>,
    properties: Properties,
}

fn load(file: &str, variables: &[(&str, &str)], sets: &[&str]) -> Result<Top, String> {
    let schema = super::super::schema::of::<Top>();
    let mut layers = Layers::new(&schema);
    layers.add_file(Path::new("x.toml"), file);
    layers.add_variables(
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    layers.add_flags(&sets.iter().map(|set| (*set).to_owned()).collect::<Vec<_>>());
    layers
        .finish::<Top>()
        .map(|(top, _)| top)
        .map_err(|error| error.to_string())
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let file = "[dig]\nurl = \"file\"\ntimeout_s = 1\npassword = \"p\"\n";
    let variables = [
        ("DIG_INGEST__DIG__TIMEOUT_S", "2"),
        ("DIG_INGEST__DIG__PASSWORD", "12345"),
        ("HOME", "/"),
    ];
    let top = load(
        file,
        &variables,
        &["dig.timeout_s=3", "kafka.brokers=a:1, b:2"],
    )
    .unwrap();
    assert_eq!((top.dig.url.as_str(), top.dig.timeout_s), ("file", 3));
    assert_eq!(top.dig.password.reveal(), "12345");
    assert_eq!(top.kafka.brokers, ["a:1", "b:2"]);
}

#[test]
fn a_table_with_free_names_is_merged_by_name() {
    let file = "[kafka.properties]\n\"a.b\" = 1\n\"c.d\" = \"x\"\n";
    let variables = [(
        "DIG_INGEST__KAFKA__PROPERTIES",
        "{ \"c.d\" = \"y\", \"e\" = true }",
    )];
    let top = load(
        file,
        &variables,
        &["kafka.properties.a.b=2", "kafka.properties.\"q.r\"=3"],
    )
    .unwrap();
    let all: Vec<_> = top.kafka.properties.iter().collect();
    assert_eq!(
        all,
        [("a.b", "2"), ("c.d", "y"), ("e", "true"), ("q.r", "3")]
    );
    let error = load("", &[("DIG_INGEST__KAFKA__PROPERTIES__A_B", "1")], &[]).unwrap_err();
    assert!(
        error.contains("DIG_INGEST__KAFKA__PROPERTIES='{"),
        "{error}"
    );
}

#[test]
fn an_unknown_key_is_refused_in_every_layer_with_the_nearest_known_one() {
    let error = load("\n[dig]\nurll = \"x\"\n", &[], &[]).unwrap_err();
    assert_eq!(
        error,
        "x.toml:3: dig.urll: unknown setting; did you mean dig.url?"
    );
    let error = load("", &[("DIG_INGEST__DIG__TIMEOUTS", "1")], &[]).unwrap_err();
    assert_eq!(
        error,
        "environment variable DIG_INGEST__DIG__TIMEOUTS: dig.timeouts: unknown setting; did you mean dig.timeout_s?"
    );
    let error = load("", &[], &["kafka.timeout_s=1"]).unwrap_err();
    assert_eq!(
        error,
        "flag --set: kafka.timeout_s: unknown setting; did you mean dig.timeout_s?"
    );
    let error = load("[zebra]\nx = 1\n", &[], &[]).unwrap_err();
    assert_eq!(
        error,
        "x.toml:1: zebra: unknown setting; the sections are: dig, kafka"
    );
    let error = load("[dig]\nabracadabra = 1\n", &[], &[]).unwrap_err();
    assert_eq!(
        error,
        "x.toml:2: dig.abracadabra: unknown setting; [dig] has: url, password, timeout_s, listen"
    );
}

#[test]
fn a_wrong_kind_names_its_place_and_what_is_expected() {
    let error = load("[dig]\ntimeout_s = \"soon\"\n", &[], &[]).unwrap_err();
    assert_eq!(
        error,
        "x.toml:2: dig.timeout_s: expected a whole number from 0 to 65535, found \"soon\"; \
         give a whole number from 0 to 65535"
    );
    let error = load("[dig]\ntimeout_s = 70000\n", &[], &[]).unwrap_err();
    assert!(error.contains("found integer 70000"), "{error}");
    let error = load("", &[("DIG_INGEST__DIG__TIMEOUT_S", "soon")], &[]).unwrap_err();
    assert!(
        error.starts_with(
            "environment variable DIG_INGEST__DIG__TIMEOUT_S: dig.timeout_s: expected"
        ),
        "{error}"
    );
    let error = load("dig = 1\n", &[], &["kafka=x"]).unwrap_err();
    assert!(error.contains(
        "x.toml:1: dig: a section cannot be given one value; set what is in it, such as dig."
    ));
    assert!(error.contains("flag --set: kafka: a section"), "{error}");
}

#[test]
fn a_value_its_type_refuses_is_blamed_with_its_place() {
    let error = load("[dig]\nurl = \"x\"\nlisten = \"nowhere\"\n", &[], &[]).unwrap_err();
    assert!(
        error.starts_with("x.toml:3: dig.listen: invalid socket address"),
        "{error}"
    );
    let error = load("[dig]\n", &[], &["kafka.brokers=[1]"]).unwrap_err();
    assert!(
        error.starts_with("flag --set: kafka.brokers: invalid type: integer"),
        "{error}"
    );
}

#[test]
fn no_error_shows_a_secret() {
    let cases = [
        load("[dig]\npassword = 987654\n", &[], &[]),
        load("[dig]\npassword = \"987654\n", &[], &[]),
        load("[dig]\npassword = 987654 987654\n", &[], &[]),
        load("[dig]\npassword = [987654]\n", &[], &[]),
        load(
            "[dig]\npassword = \"987654\"\npassword = \"987654\"\n",
            &[],
            &[],
        ),
        load("[dig]\npasword = \"987654\"\n", &[], &[]),
        load(
            "",
            &[("DIG_INGEST__DIG__PASWORD", "987654")],
            &["dig.passwort=987654", "987654"],
        ),
    ];
    for case in cases {
        let error = case.unwrap_err();
        assert!(!error.contains("987654"), "{error}");
    }
}

#[test]
fn broken_toml_names_its_line() {
    let error = load("[dig]\nurl = \"x\"\nurl 3\n", &[], &[]).unwrap_err();
    assert!(error.starts_with("x.toml:3: not valid TOML: "), "{error}");
}

#[test]
fn every_problem_is_reported_at_once() {
    let error = load("[dig]\nurll = 1\ntimeout_s = -1\n", &[], &["dig.x=1"]).unwrap_err();
    assert!(error.starts_with("3 problems in the settings\n"), "{error}");
    assert_eq!(error.lines().count(), 4);
}
