//! A topic in Avro through the life of a job: a dry run, a reload, a new schema, and the repair of its letters.

use std::path::Path;

use serde_json::Value;

use super::hostile::formatted;
use crate::support::broker::Broker;
use crate::support::schemas::{Mock, Reply};
use crate::support::world::World;

/// The shipped mapping of a flat message.
const SOUND: &str = include_str!("../../../config/mappings/generic.toml");

/// Runs a command with a settings file to its end: whether it succeeded, and its report.
fn ran(world: &World<'_>, config: &Path, args: &[&str]) -> (bool, Value) {
    let config = config.display().to_string();
    let line: Vec<String> = args
        .iter()
        .chain(&["--config", &config, "--report", "json"])
        .map(|arg| (*arg).to_owned())
        .collect();
    let (status, report) = world.command(args[0], &line).report();
    (status.success(), report)
}

/// The mapping has a mistake: all messages become letters. It is corrected by SIGHUP, which keeps the format and its schemas and names
/// what needs a restart; the letters, which are Avro, are judged and replayed as they came.
#[test]
fn a_mapping_is_corrected_under_a_format_and_its_letters_are_replayed() {
    let mock = Mock::working();
    let mut world = World::new(Broker::shared(), 2, &[("guard.share", "1.0")]);
    let topic = world.topic.clone();
    let load = formatted(&mut world, "avro", &mock.url());
    let load: Vec<&str> = load.iter().map(String::as_str).collect();
    let broken = SOUND.replace("path = \"time\"", "path = \"tiem\"");
    let mapping = world.file("vendor.toml", &broken);
    let mappings = format!("{{ {topic:?} = {:?} }}", mapping.display().to_string());
    world.set("input.mappings", &mappings);
    world.produced(200, &load);

    // Before anything runs: what would become of it.
    let config = world.settings_file("repair", &[]);
    let (told, dry) = ran(&world, &config, &["run", "--dry-run"]);
    assert!(told && dry["sent"] == 0, "{dry:#}");
    let letters = dry["dead_lettered"]["map.time"].as_u64();
    let letters = letters.unwrap_or_else(|| panic!("{dry:#}"));

    world.join();
    world.drained();
    let found = world.letters();
    assert_eq!((found.len() as u64, world.accepted()), (letters, 0));
    assert!(found.iter().all(|letter| letter.payload[0] == 0));
    let (passes, judged) = ran(&world, &config, &["replay", "--dry-run"]);
    assert!(!passes && judged["pass"] == 0, "{judged:#}");
    assert_eq!(judged["stay"]["map.time"]["letters"], letters, "{judged:#}");

    // What the new settings say of formats counts after a restart: the job goes on reading Avro.
    std::fs::write(&mapping, SOUND).expect("a mapping");
    world.set("input.formats", &format!("{{ {topic:?} = \"protobuf\" }}"));
    world.settings_file("instance-0", &[]);
    world.instances[0].signal("HUP");
    world.instances[0].said("what needs a restart", |line| {
        (line.contains("count after a restart") && line.contains("input.formats")).then_some(())
    });
    world.set("input.formats", &format!("{{ {topic:?} = \"avro\" }}"));
    // The load registers its schema anew: another id in the same topic.
    world.produced(200, &load);
    world.until("the corrected mapping counts", |world| {
        world.accepted() == 200
    });
    assert_eq!(world.letters().len() as u64, letters, "no further letter");

    // Nobody is judged while the registry is away, and nothing is written.
    let config = world.settings_file("repair", &[]);
    let working = mock.swap(Box::new(|_| Reply::text(503, "text/plain", "restarting")));
    let ends = world.broker.ends(&topic, 2);
    let line = ["replay", "--config", &config.display().to_string()].map(str::to_owned);
    let mut away = world.command("replay-away", &line);
    assert!(!away.ended().success());
    let said = away.log();
    assert!(
        said.contains("cannot be asked for") && said.contains("503"),
        "{said}"
    );
    assert_eq!(world.broker.ends(&topic, 2), ends);
    drop(mock.swap(working));

    let (whole, report) = ran(&world, &config, &["replay", "--rate", "0"]);
    assert!(whole && report["replayed"] == letters, "{report:#}");
    world.accepts(200);
    world.drained();
    let report = world.verified(&["--config", &config.display().to_string()]);
    assert_eq!(report["letters"]["replayed"], 200, "{report:#}");
    world.leave(50);
    world.instances.clear();
    world.end();
}
