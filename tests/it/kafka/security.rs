//! TLS and SASL against a real broker: the whole job by every way in, and what is said when the door stays shut.

use std::fs;

use serde_json::Value;

use crate::support::{broker::Broker, world::World};

const LISTENERS: [(&str, Option<&str>); 4] = [
    ("ssl", None),
    ("sasl_plaintext", Some("SCRAM-SHA-256")),
    ("sasl_ssl", Some("SCRAM-SHA-512")),
    ("sasl_ssl", Some("PLAIN")),
];

fn value<'a>(settings: &'a [(String, String)], key: &str) -> Option<&'a str> {
    settings
        .iter()
        .find(|(name, _)| name == key)
        .map(|(_, value)| value.as_str())
}

/// Replaces or adds one setting.
fn with(settings: &[(String, String)], key: &str, new: &str) -> Vec<(String, String)> {
    let mut settings = settings.to_vec();
    settings.retain(|(name, _)| name != key);
    settings.push((key.to_owned(), new.to_owned()));
    settings
}

/// Load, job and judgement by TLS and by every mechanism; the password shows nowhere, however much is logged (C1).
#[test]
fn the_whole_job_by_every_way_in() {
    let broker = Broker::secured();
    for (listener, mechanism) in LISTENERS {
        let mut settings = broker.listener(listener);
        if let Some(mechanism) = mechanism {
            settings = with(&settings, "kafka.sasl_mechanism", mechanism);
        }
        let mut world = World::new(broker, 2, &[("log.level", "\"debug\"")]);
        world.by_way_of(&settings);
        let bad = world.loaded(2_000, &["--bad-share", "0.01"])["bad"]
            .as_u64()
            .expect("a count");
        world.join();
        world.drained();
        let log = world.instances[0].log();
        if let Some(file) = value(&settings, "kafka.sasl_password_file") {
            let password = fs::read_to_string(file).expect("the password");
            assert!(
                !log.contains(password.trim()),
                "{listener}: the password is in the log"
            );
        }
        let ending = world.finish(0);
        assert!(bad > 0, "the load has no bad record");
        assert_eq!(ending.letters as u64, bad, "{listener} {mechanism:?}");
    }
}

/// `check --connect` names the setting, and `run` says the same, stays, and gets in once the door is open.
#[test]
fn what_keeps_us_out_is_named_and_ends_nothing() {
    let broker = Broker::secured();
    let scram = broker.listener("sasl_ssl");
    let tls = broker.listener("ssl");
    let plain = |address: &[(String, String)]| {
        let mut settings = with(address, "kafka.security_protocol", "plaintext");
        settings.retain(|(key, _)| key == "kafka.brokers" || key == "kafka.security_protocol");
        settings
    };
    let mut world = World::new(broker, 1, &[]);
    let wrong = world.file("wrong-password", "not-the-password");
    let wrong = wrong.display().to_string();
    let stranger = world.file("stranger.pem", STRANGER).display().to_string();
    let cases = [
        (
            with(&scram, "kafka.sasl_password_file", &wrong),
            "kafka.sasl_password_file",
        ),
        (
            with(&scram, "kafka.sasl_username", "nobody"),
            "kafka.sasl_username",
        ),
        (with(&tls, "kafka.ca_file", &stranger), "kafka.ca_file"),
        (
            with(&tls, "kafka.ca_file", "/nowhere/ca.pem"),
            "kafka.ca_file",
        ),
        (plain(&tls), "kafka.security_protocol"),
    ];
    for (number, (settings, named)) in cases.iter().enumerate() {
        world.by_way_of(settings);
        let path = world.settings_file(&format!("shut-{number}"), &[]);
        let args = ["check", "--connect", "--timeout-s", "5", "--report", "json"];
        let mut args: Vec<String> = args.map(str::to_owned).into();
        args.extend(["--config".to_owned(), path.display().to_string()]);
        let (status, report) = world.command(&format!("check-{number}"), &args).report();
        assert!(!status.success(), "{report:#}");
        let checks = report["checks"].as_array().expect("checks");
        let failed: Vec<&Value> = checks.iter().filter(|one| one["ok"] == false).collect();
        assert_eq!(failed.len(), 1, "{report:#}");
        let remedy = failed[0]["remedy"].as_str().expect("a remedy");
        assert!(remedy.contains(named), "{named}: {report:#}");
        assert!(!report.to_string().contains("not-the-password"));
        world.forget_ways();
    }

    // Now somebody starts the job with the wrong password, and corrects the file.
    world.by_way_of(&cases[0].0);
    world.join();
    world.instances[0].said("why it cannot get in", |line| {
        (line.contains("no broker answers") && line.contains("kafka.sasl_password_file"))
            .then_some(())
    });
    let log = world.instances[0].log();
    assert!(!log.contains("not-the-password"), "the password is shown");
    let mut shut_out = world.instances.remove(0);
    shut_out.signal("TERM");
    shut_out.succeeded();
    world.forget_ways();
    world.by_way_of(&scram);
    world.produced(500, &[]);
    world.join();
    world.finish(0);
}

/// An authority that has signed nothing.
const STRANGER: &str = "\
-----BEGIN CERTIFICATE-----
MIIDDTCCAfWgAwIBAgIUfbKXB2htHF5aTkPYHAFop4fZuS4wDQYJKoZIhvcNAQEL
BQAwFTETMBEGA1UEAwwKYSBzdHJhbmdlcjAgFw0yNjExMjUxODU1NDVaGA8yMTI2
MTEwMTE4NTU0NVowFTETMBEGA1UEAwwKYSBzdHJhbmdlcjCCASIwDQYJKoZIhvcN
AQEBBQADggEPADCCAQoCggEBAJQfDW8yzV/LX7gxdHR7XhMBiy8na6D3e7DifbGJ
JS3SrIVL1k/Foeqo66cQ85TXci3xlw+1YI4LAuu67YRg80IEyZ1mFTglgHlV4U3v
UNi3HaNsuwSYyc1vyRyUCGlVz0K9ggveXWGnSPrNTQlSqY+l7ztANmCmx0nT8G50
E4Uxo/i+VyEdsxmB0PXo2k0pdI1d6DhvDZ0kLGZJfY2Y2ag8XvE4LplgpdTy7eol
UPSmxpVWzGoNS8fDFoZZEy6cAbKlKW3zVrVPiyUVsR+xjFLPmBYksyU6ks5SzvHH
oSews1zT4JRhKb/zNpOYuzVsubIH/OwtUOWgTmEqrIVtNh8CAwEAAaNTMFEwHQYD
VR0OBBYEFOkGfKyg/d2k9LvjWTcKYP60VRHqMB8GA1UdIwQYMBaAFOkGfKyg/d2k
9LvjWTcKYP60VRHqMA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcNAQELBQADggEB
AFjoZ+kylre2Ix4wwfC7ENdsXMIT9VGB7hVQ5gjX5zGtBh8zOxeBzXI1Wp8/tUVC
bTqGO6qdwSKXxXV4qm8uSCm5cxTWnVXohuqRthB6CFstzRGcOOUU/RsR5KoZmb7L
AC4LAbpBKya0mcjbedLhCfpwinxjD/BFKgiVI7zBoMI4bQCPiaG/PNgKtGmMl8Nn
TGNJc8SAFsJIxGklk7dIpaRyN+Yk/UsXDVbED9t/nbZTUUz1IIeo+y7KZmGKUacI
uhxbFtY8eAuaoZ3V7Osyht4b8/ts7BUc2RSiEFmS5jQjHF6Q523gXPIX+9SjN80N
wWmpJCLmsrvCfHE7HoMxqlc=
-----END CERTIFICATE-----
";
