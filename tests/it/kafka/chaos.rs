//! SIGKILL at random moments: what a crash may do is send again what it had not committed, and nothing else.
//!
//! `scripts/chaos` runs this for longer, by DIG_CHAOS_KILLS, DIG_CHAOS_SEED and DIG_CHAOS_REPORT.

use std::{env, fs};

use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::support::{
    broker::Broker,
    child::{Launch, LogReader, Running},
    world::World,
};
use crate::weather::failing_device::{QUICK, fail, serials, status};

const PARTITIONS: i32 = 6;
const INSTANCES: usize = 3;
/// Records of each load; the next one begins when this one is confirmed, so that there is always work.
const RECORDS: u64 = 20_000;

/// Instances 1 and 2 are static members: their successor has the partitions at once. Instance 0 is dynamic: its partitions
/// wait for the end of its session. Each instance comes with the reader of its log.
fn start(world: &mut World<'_>, place: usize) -> (Running, LogReader) {
    let name = format!("\"member-{place}\"");
    let own = [("kafka.instance_id", name.as_str())];
    let own = if place == 0 { &[][..] } else { &own[..] };
    let mut log = None;
    let instance = world.launch(None, own, |name, folder| {
        let (reader, stderr) = LogReader::start(name, folder);
        log = Some(reader);
        Launch {
            stderr: Some(stderr),
            ..Launch::default()
        }
    });
    (instance, log.expect("a reader"))
}

/// What happens to the topic's log between two loads (E1), once everything of it has arrived: nothing, or it is deleted and created
/// again, or it loses its tail, because its broker is restored from an older image of its disk, or because the power fails before the
/// end of one partition is on the disk.
struct Logs {
    /// Records that had arrived when the present log began: its offsets count from there.
    before: u64,
    /// Records that may arrive again because of it.
    again: u64,
}

impl Logs {
    fn change(&mut self, world: &mut World<'_>, random: &mut StdRng) {
        let event = random.random_range(0..4);
        if event == 0 {
            return;
        }
        world.drained();
        let broker = world.broker;
        if event == 1 {
            eprintln!("the topic is recreated");
            broker.delete_topic(&world.topic);
            broker.topic(&world.topic, PARTITIONS, &[]);
            self.before = world.accepted();
        } else if event == 2 {
            let partition = random.random_range(0..PARTITIONS);
            eprintln!("the power fails, and the end of partition {partition} is gone");
            let before = ends(world);
            broker.lose_tail(&world.topic, partition);
            self.before += before - ends(world);
            let (group, topic) = (world.group.clone(), world.topic.clone());
            world.until("the offsets are those of the shorter log", |world| {
                let committed = broker.committed(&group, &topic, PARTITIONS);
                committed == world.broker.ends(&topic, PARTITIONS)
            });
        } else {
            eprintln!("the log loses its tail");
            let image = broker.take_image();
            world.produced(2_000, &[]);
            world.drained();
            broker.restore(&image);
            self.before += 2_000;
        }
        // The whole log may be read again, and of a new one what was read in its middle before the change was noticed.
        self.again += world.accepted() + RECORDS;
    }
}

/// Messages that the log has given an offset.
fn ends(world: &World<'_>) -> u64 {
    let ends = world.broker.ends(&world.topic, PARTITIONS);
    ends.iter().map(|end| end.unsigned_abs()).sum()
}

/// Messages that are committed.
fn settled(world: &World<'_>) -> u64 {
    let committed = world
        .broker
        .committed(&world.group, &world.topic, PARTITIONS);
    committed
        .iter()
        .map(|offset| (*offset).max(0).unsigned_abs())
        .sum()
}

/// The broker is away for longer than the session of every member, static ones too.
fn take_broker_away(world: &mut World<'_>) {
    eprintln!("the broker is away for longer than a session");
    let broker = world.broker;
    broker.stop();
    world.until("every instance has lost its session", |world| {
        world.instances.iter_mut().all(|instance| {
            let (_, status) = instance.told("/status");
            // One that was started a moment ago has not joined yet, and has no session to lose.
            status["group"]["steady"] != true
        })
    });
    broker.revive();
}

/// Records that wait in the held topic, or were there.
fn held(world: &World<'_>) -> u64 {
    let topic = format!("{}.held", world.topic);
    let ends = world.broker.ends(&topic, PARTITIONS);
    ends.iter().map(|end| end.unsigned_abs()).sum()
}

/// The gateway takes the failing device again, and everything arrives.
fn recover(world: &mut World<'_>) {
    world.gateway.faults().clear();
    world.accepts(u64::from(u32::MAX));
}

/// What the environment says, or else what every day's run has.
pub(super) fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}"))
    })
}

#[test]
fn killed_instances_lose_and_reorder_nothing() {
    let kills = number("DIG_CHAOS_KILLS", 20);
    let seed = number("DIG_CHAOS_SEED", 1);
    eprintln!("kills {kills}, seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    // One of its own: its disk is put back.
    let broker = Broker::start(&[]);
    let mut logs = Logs {
        before: 0,
        again: 0,
    };
    let mut world = World::new(
        &broker,
        PARTITIONS,
        &[
            ("memory.window_messages", "3000"),
            ("batch.max_records", "500"),
        ],
    );
    for (key, value) in QUICK {
        world.set(key, value);
    }
    let mut readers = Vec::new();
    for place in 0..INSTANCES {
        let (instance, reader) = start(&mut world, place);
        world.instances.push(instance);
        readers.push(reader);
    }
    let mut load = world.load(RECORDS, &["--rate", "4000"]);
    let mut bound = 0;
    for kill in 0..kills {
        if !load.alive() {
            load.succeeded();
            // What is held would be gone from a disk that is put back.
            recover(&mut world);
            logs.change(&mut world, &mut random);
            load = world.load(RECORDS, &["--rate", "4000"]);
        }
        // A quarter of the kills hit an instance that has just started.
        if random.random_bool(0.75) {
            let goal = world.accepted() + random.random_range(1..3_000);
            world.until(
                &format!("kill {kill}: the gateway has accepted {goal} records"),
                |world| {
                    if !load.alive() {
                        load.succeeded();
                        load = world.load(RECORDS, &["--rate", "4000"]);
                    }
                    world.accepted() >= goal
                },
            );
        }
        let place = random.random_range(0..INSTANCES);
        let committed = settled(&world);
        world.instances[place].kill();
        // What had arrived and was not committed may arrive again; so may what was on its way.
        bound += world.arrived().saturating_sub(logs.before + committed);
        (world.instances[place], readers[place]) = start(&mut world, place);
        // Now and then the reader of a log goes, or stops reading.
        match random.random_range(0..16) {
            0 => readers[random.random_range(0..INSTANCES)].go(),
            1 => readers[random.random_range(0..INSTANCES)].read(false),
            2 => {
                // A load tells its devices some time after they have begun to send.
                world.until("a load has told its devices", |world| {
                    !serials(world).is_empty()
                });
                let serials = serials(&world);
                let failing = &serials[random.random_range(0..serials.len())];
                eprintln!("the gateway fails on device {failing}");
                fail(&world, std::slice::from_ref(failing), &status(500));
            }
            3 => {
                let committed = settled(&world);
                take_broker_away(&mut world);
                bound += world.arrived().saturating_sub(logs.before + committed);
            }
            _ => {}
        }
    }
    load.succeeded();
    recover(&mut world);
    // What a killed owner had held and not committed is held twice.
    bound += logs.again + held(&world);
    let ending = world.finish(bound);
    eprintln!(
        "{kills} kills: {} duplicates, at most {bound} allowed",
        ending.duplicated
    );
    if let Ok(path) = env::var("DIG_CHAOS_REPORT") {
        let mut report =
            serde_json::json!({ "kills": kills, "seed": seed, "duplicates_allowed": bound });
        for name in [
            "lost",
            "unseen",
            "duplicated",
            "reordered",
            "phantom",
            "accepted",
        ] {
            report[name] = ending.report[name].clone();
        }
        fs::write(path, format!("{report}\n")).expect("the report is written");
    }
}
