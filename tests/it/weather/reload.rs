//! SIGHUP: corrected settings count without a restart, and wrong ones change nothing.

use crate::support::{broker::Broker, world::World};

/// A file of the instance's settings, written anew with these.
fn change(world: &mut World<'_>, settings: &[(&str, &str)]) {
    for (key, value) in settings {
        world.set(key, value);
    }
    world.settings_file("instance-0", &[]);
    world.instances[0].signal("HUP");
}

/// How many reloads have ended so.
fn reloads(world: &mut World<'_>, outcome: &str, many: usize) {
    let wanted = format!("{{outcome=\"{outcome}\"}} {many}");
    world.until("the reload has ended", |world| {
        let page = world.instances[0].page("/metrics");
        page.lines()
            .any(|line| line.starts_with("dig_ingest_reloads_total") && line.ends_with(&wanted))
    });
}

/// A topic's mapping was forgotten: its messages become letters. The mapping is added while the job runs, and from then on they are
/// records. Known of peers: Benthos and Vector reload on SIGHUP or on a changed file; Logstash drops what is in its queues.
#[test]
fn a_corrected_mapping_counts_without_a_restart() {
    let mut world = World::new(Broker::shared(), 2, &[("guard.share", "1.0")]);
    world.join();
    world.broker.write(
        &world.topic,
        "a",
        r#"{"serial":"GT8010000001","time":"2026-01-28T17:45:36Z","lat":52.1,"lon":4.3}"#,
        std::time::Duration::ZERO,
    );
    world.until("it is a letter", |world| world.letters().len() == 1);
    assert_eq!(world.accepted(), 0);

    let mapping = r#"
unmatched = "reject"
[device]
serial = "serial"
[time]
path = "time"
format = "rfc3339"
[[record]]
type = "GpsRecord"
[record.fields]
Latitude = "lat"
Longitude = "lon"
Speed = "speed"
IsGpsValid = true
"#;
    let file = world.file("mine.toml", mapping);
    let folder = file.parent().expect("a folder").display().to_string();
    let mappings = format!("{{ {:?} = \"mine\" }}", world.topic);
    change(
        &mut world,
        &[
            ("mapping.dir", &format!("{folder:?}")),
            ("input.mappings", &mappings),
        ],
    );
    reloads(&mut world, "applied", 1);
    let message = |speed: u32| {
        // Two records of one device and one time would be one.
        let now = jiff::Timestamp::now();
        format!(
            r#"{{"serial":"GT8010000001","time":"{now}","lat":52.1,"lon":4.3,"speed":{speed}}}"#
        )
    };
    let write = |world: &World<'_>, text: &str| {
        let age = std::time::Duration::ZERO;
        world.broker.write(&world.topic, "a", text, age);
    };
    write(&world, &message(7));
    world.until("it is a record", |world| world.accepted() == 1);

    // A mapping that cannot be read: the old one stays, and so does everything else that the file changes.
    world.file("mine.toml", "this is no mapping");
    change(&mut world, &[("log.level", "\"debug\"")]);
    reloads(&mut world, "refused", 1);
    assert_eq!(world.instances[0].metric("dig_ingest_reload_refused"), 1.0);
    let log = world.instances[0].log();
    assert!(
        log.contains("were not reloaded") && log.contains("mine.toml"),
        "{log}"
    );
    assert!(
        !log.contains("DEBUG"),
        "the level was taken over by a refused reload"
    );
    write(&world, &message(8));
    world.until("the old mapping counts", |world| world.accepted() == 2);

    // Corrected; what needs a restart is named and does not count.
    world.file("mine.toml", mapping);
    change(&mut world, &[("batch.max_records", "7")]);
    reloads(&mut world, "applied", 2);
    assert_eq!(world.instances[0].metric("dig_ingest_reload_refused"), 0.0);
    world.instances[0].said("what needs a restart", |line| {
        (line.contains("count after a restart") && line.contains("batch.max_records")).then_some(())
    });
    write(&world, &message(9));
    world.until("the level counts", |world| {
        world.accepted() == 3 && world.instances[0].log().contains("DEBUG")
    });
    assert_eq!(world.letters().len(), 1);
    world.leave(20);
    world.end();
}

/// Settings that are no settings: refused with their place, and the job goes on.
#[test]
fn settings_that_are_wrong_are_refused_as_a_whole() {
    let mut world = World::new(Broker::shared(), 2, &[]);
    world.join();
    world.produced(500, &[]);
    change(
        &mut world,
        &[("guard.share", "7.0"), ("log.level", "\"debug\"")],
    );
    reloads(&mut world, "refused", 1);
    let log = world.instances[0].log();
    assert!(
        log.contains("guard.share") && log.contains("instance-0.toml"),
        "{log}"
    );
    world.set("guard.share", "0.5");
    world.produced(500, &[]);
    world.finish(0);
}
