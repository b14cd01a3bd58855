//! The memory formula against the resident memory of a job that has all its memory lent out.

use dig_ingest::config::memory::ITSELF;
use serde_json::Value;

use super::held::{fleet, gated, held, import};
use crate::support::{broker::Broker, child::Running, world::World};

const PARTITIONS: i32 = 8;
const MIB: u64 = 1024 * 1024;

/// What `check` says for the settings of an instance: the sum, and the term of an idle program.
fn formula(world: &mut World<'_>) -> (u64, u64) {
    let path = world.settings_file("formula", &[]);
    let mut args = ["check", "--report", "json", "--config"]
        .map(str::to_owned)
        .to_vec();
    args.extend([
        path.display().to_string(),
        "--partitions".to_owned(),
        PARTITIONS.to_string(),
    ]);
    let (_, report): (_, Value) = world.command("formula", &args).report();
    let total = report["memory"]["total_bytes"].as_u64();
    let terms = report["memory"]["terms"].as_array().expect("terms");
    let bytes = |term: &Value| term["bytes"].as_u64().expect("bytes");
    let sum: u64 = terms.iter().map(bytes).sum();
    assert_eq!(total, Some(sum), "{report:#}");
    let idle = terms.iter().find(|term| term["name"] == ITSELF);
    (sum, bytes(idle.expect("the program itself")))
}

fn tight(world: &mut World<'_>) {
    for (key, value) in [
        ("memory.total_bytes", 24 * MIB),
        ("memory.partition_bytes", 4 * MIB),
        ("batch.max_bytes", MIB),
        ("kafka.prefetch_kib_per_partition", 512),
        ("pacing.concurrency_cap", 4),
    ] {
        world.set(key, &value.to_string());
    }
}

fn peak(instance: &mut Running, what: &str) -> u64 {
    let peak = instance.peak_resident_bytes();
    eprintln!("resident at most {} MiB {what}", peak / MIB);
    peak
}

/// Idle, then full because the gateway is away, then at work: the peak stays under what the settings allow (M1).
#[test]
fn resident_memory_stays_under_the_formula() {
    let mut world = World::new(Broker::shared(), PARTITIONS, &[]);
    tight(&mut world);
    let (most, itself) = formula(&mut world);
    world.join();
    world.instances[0].said("it runs", |line| line.contains("assigned").then_some(()));
    let mut idle = peak(&mut world.instances[0], "idle");
    if cfg!(debug_assertions) {
        // Without optimisation the program's file is several times as large; of an optimised one its pages count too.
        let file = world.instances[0].file_bytes();
        eprintln!("of these {} MiB are pages of the program", file / MIB);
        idle -= file;
    }
    world.gateway.outage(Some(dig_ingest::sim::Action::Cut(
        dig_ingest::sim::CutAt::BeforeBody,
    )));
    // Twice what permits and prefetch can hold, so that both are full.
    world.produced(400_000, &["--devices", "2000", "--bad-share", "0.01"]);
    world.until("all its memory is lent out", |world| {
        world.instances[0].metric("dig_ingest_backpressure_total") > 0.0
    });
    peak(&mut world.instances[0], "with the gateway away");
    world.gateway.outage(None);
    world.drained();
    let busy = peak(&mut world.instances[0], "after everything was sent");
    eprintln!("the formula says {} MiB", most / MIB);
    assert!(
        idle < itself,
        "{idle} bytes resident in an idle job, the formula says {itself}"
    );
    assert!(
        busy < most,
        "{busy} bytes resident, the formula says {most}"
    );
    world.finish(0);
}

/// The same while it releases what was held: its readers, their batches and the released records count too.
#[test]
fn resident_memory_stays_under_the_formula_while_records_are_released() {
    let mut world = gated(Broker::shared(), &[]);
    tight(&mut world);
    let (most, _) = formula(&mut world);
    let fleet = fleet(&world);
    world.join();
    let path = fleet.display().to_string();
    world.produced(150_000, &["--devices", "2000", "--registry", &path]);
    world.until("all is held", |world| held(world) == 150_000);
    peak(&mut world.instances[0], "after everything was held");
    import(&mut world, &fleet, |_| Some("active"));
    world.accepts(150_000);
    let busy = peak(&mut world.instances[0], "after everything was released");
    eprintln!("the formula says {} MiB", most / MIB);
    assert!(
        busy < most,
        "{busy} bytes resident, the formula says {most}"
    );
    world.finish(0);
}

/// A job that is given less than its formula does not start, and says by how much.
#[test]
fn a_job_that_would_not_fit_does_not_start() {
    let mut world = World::new(Broker::shared(), 1, &[]);
    // Sizes that were set are not lowered to fit.
    tight(&mut world);
    for (key, value) in [
        ("memory.window_messages", "100001"),
        ("feedback.sources", "100001"),
        ("feedback.remembered", "10001"),
        ("feedback.page_bytes", "1000001"),
    ] {
        world.set(key, value);
    }
    let (most, _) = formula(&mut world);
    world.set("memory.partitions", &PARTITIONS.to_string());
    world.set("memory.limit_bytes", &(most - 1).to_string());
    let mut instance = world.start();
    assert!(!instance.ended().success());
    let log = instance.log();
    assert!(
        log.contains("memory.limit_bytes") && log.contains(&most.to_string()),
        "{log}"
    );
}
