use super::*;

fn error(sets: &[&str]) -> String {
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    match Settings::load_from(None, [], &sets) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_rule_can_be_broken_and_names_its_key() {
    let cases: &[(&[&str], &str)] = &[
        (&["kafka.brokers="], "kafka.brokers: is empty"),
        (
            &["orders.enabled=true", "registry.file=devices.ndjson"],
            "registry.file: orders write the device registry's topic",
        ),
        (
            &["kafka.properties.acks=1"],
            "kafka.properties: \"acks\" may not be set",
        ),
        (
            &["kafka.security_protocol=sasl_ssl", "kafka.sasl_password=x"],
            "kafka.sasl_username: SASL needs a user",
        ),
        (
            &["kafka.security_protocol=sasl_ssl", "kafka.sasl_username=x"],
            "kafka.sasl_password_file: SASL needs a pass",
        ),
        (
            &[
                "kafka.security_protocol=sasl_ssl",
                "kafka.sasl_mechanism=GSSAPI",
            ],
            "kafka.sasl_mechanism: is not one of PLAIN",
        ),
        (
            &[
                "kafka.security_protocol=sasl_ssl",
                "kafka.sasl_mechanism=OAUTHBEARER",
                "kafka.oauth.client_id=job",
                "kafka.oauth.client_secret=hunter22",
                "kafka.oauth.token_url=http://idp.example/token",
            ],
            "kafka.oauth.token_url: [kafka] oauth.token_url",
        ),
        (
            &[
                "kafka.security_protocol=sasl_ssl",
                "kafka.sasl_mechanism=AWS_MSK_IAM",
            ],
            "kafka.aws.region: name the cluster's region",
        ),
        (
            &["kafka.sasl_password=x", "kafka.sasl_password_file=x"],
            "kafka.sasl_password_file: kafka.sasl_password is set",
        ),
        (
            &["kafka.session_timeout_ms=6000"],
            "input.drain_ms: a drain would outlast",
        ),
        (
            &["input.start=yesterday"],
            "input.start: \"yesterday\" is neither earliest nor latest",
        ),
        (&["input.topics="], "input.topics: there is nothing to read"),
        (
            &["input.topics=^tele(metry"],
            "input.topics: the pattern ^tele(metry cannot be read",
        ),
        (
            &["input.topics=^dig"],
            "topics.state: dig.state is written by this job and read as input",
        ),
        (
            &["input.topics=a,a.held"],
            "input.topics: a.held is where held records of a go",
        ),
        (
            &["input.mappings.b=flespi"],
            "input.mappings: there is a mapping for b, which is not read",
        ),
        (
            &["topics.held_suffix="],
            "topics.held_suffix: held records would go",
        ),
        (
            &["topics.invalid="],
            "topics.invalid: a topic's name is empty",
        ),
        (
            &["batch.max_records=5001"],
            "flag --set: batch.max_records: a request holds at least 1 record",
        ),
        (&["batch.max_bytes=10"], "batch.max_bytes: not even"),
        (
            &["memory.partition_bytes=1000000"],
            "batch.max_bytes: a full request does not fit",
        ),
        (
            &["memory.total_bytes=5000000"],
            "memory.partition_bytes: one partition may hold more",
        ),
        (
            &["memory.chunk_messages=0"],
            "memory.chunk_messages: nothing would be read",
        ),
        (
            &["memory.window_messages=10"],
            "memory.window_messages: less than one read",
        ),
        (
            &["pacing.concurrency_cap=0"],
            "flag --set: pacing.concurrency_cap: floor 1 <= start 2",
        ),
        (
            &["pacing.probes=0"],
            "flag --set: pacing.probes: probes = 0: use 1 or more",
        ),
        (
            &["validate.severity.record.nonsense=warn"],
            "flag --set: validate.severity: ",
        ),
        (&["feedback.page=0"], "feedback.page: page = 0: use 1 to"),
        (&["guard.share=1.5"], "guard.share: a share lies above 0"),
        (
            &["guard.window_s=0"],
            "guard.window_s: nothing can be measured",
        ),
        (
            &["ops.stall_after_s=0"],
            "ops.stall_after_s: a worker cannot",
        ),
        (&["log.level=dig_ingest=loud"], "log.level: "),
        (
            &["myadmin.url=http://myadmin.example/"],
            "flag --set: myadmin.url: url = ",
        ),
        (
            &["myadmin.rest_url=nonsense"],
            "flag --set: myadmin.rest_url: rest_url is no address",
        ),
        (
            &["myadmin.username=u"],
            "myadmin.password: neither password nor password_file",
        ),
        (
            &["myadmin.password=p", "myadmin.password_file=p"],
            "myadmin.password: password and password_file are both set",
        ),
        (
            &["myadmin.limits_share=0"],
            "flag --set: myadmin.limits_share: limits_share = 0",
        ),
        (&["myadmin.limits.v2=many"], "flag --set: myadmin.limits: "),
        (
            &["myadmin.versions.Nothing=v2"],
            "flag --set: myadmin.versions: ",
        ),
        (
            &["myadmin.unit_report.path=/{order}"],
            "myadmin.unit_report: unit_report: path = ",
        ),
        (
            &["myadmin.shipment_report.verb=GET"],
            "myadmin.shipment_report: shipment_report: verb = ",
        ),
        (
            &["myadmin.page_size=0"],
            "flag --set: myadmin.page_size: page_size = 0",
        ),
    ];
    for (sets, expected) in cases {
        let error = error(sets);
        assert!(
            error.contains(expected),
            "{sets:?}: expected {expected:?}, got {error:?}"
        );
    }
}

#[test]
fn credentials_are_asked_for_only_by_what_needs_them() {
    let load = |sets: &[&str]| {
        let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
        Settings::layered(None, [], &sets, true).map_err(|error| error.to_string())
    };
    let error = load(&[]).unwrap_err();
    assert!(
        error.starts_with("settings: dig.username: username is empty: set it to"),
        "{error}"
    );
    let error = load(&["dig.url=http://example.com/", "dig.username=u"]).unwrap_err();
    assert!(error.starts_with("flag --set: dig.url: "), "{error}");
    assert!(load(&["dig.username=u", "dig.password=p"]).is_ok());
}

#[test]
fn what_is_allowed_is_not_refused() {
    for sets in [
        &["guard.share=1"][..],
        &["input.topics=^tele.*", "input.mappings.telemetry=flespi"],
        &[
            "kafka.security_protocol=sasl_ssl",
            "kafka.sasl_username=u",
            "kafka.sasl_password=p",
        ],
        &["kafka.properties.fetch.min.bytes=1"],
    ] {
        assert_eq!(error(sets), "");
    }
}
