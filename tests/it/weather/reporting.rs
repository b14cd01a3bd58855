//! What only reports (log, metrics, health, progress) can neither stop, slow nor end the job (N1).

use std::fs::File;
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::broker::Broker;
use crate::support::child::{Launch, LogReader, Running};
use crate::support::root;
use crate::support::world::World;

/// Everything the Kafka client says: megabytes of log in seconds.
const LOUD: [(&str, &str); 3] = [
    ("log.level", "\"debug\""),
    ("log.repeat_s", "0"),
    (
        "kafka.properties",
        "{ debug = \"all\", \"fetch.wait.max.ms\" = \"5\" }",
    ),
];

fn piped(world: &mut World<'_>, own: &[(&str, &str)]) -> (Running, LogReader) {
    let mut reader = None;
    let instance = world.launch(None, own, |name, folder| {
        let (log, stderr) = LogReader::start(name, folder);
        reader = Some(log);
        Launch {
            stderr: Some(stderr),
            ..Launch::default()
        }
    });
    (instance, reader.expect("a reader"))
}

/// `dig-ingest run ... 2>&1 | head -2`: the reader of the log goes after a few lines. Then partitions change hands, and the instance
/// whose log nobody reads leaves in order. Reported as tokio-rs/tracing#3271 (a panic in the writer) and readyset#996 (the process
/// stays and does nothing).
#[test]
fn the_reader_of_the_log_goes_and_the_job_goes_on() {
    let mut world = World::new(Broker::shared(), 4, &[]);
    let (mut instance, log) = piped(&mut world, &LOUD);
    instance.address("operations pages");
    world.instances.push(instance);
    let mut load = world.load(12_000, &["--rate", "3000"]);
    world.accepts(1_000);
    log.go();
    world.until("log lines are lost", |world| {
        world.instances[0].metric("dig_ingest_log_lines_lost_total") > 0.0
    });
    // A rebalance, with the callbacks that log.
    world.join();
    world.accepts(2_000);
    let mut leaving = world.instances.remove(0);
    leaving.signal("TERM");
    leaving.succeeded();
    load.succeeded();
    world.finish(4 * 500_000);
}

/// The disk that holds the log is full (ENOSPC) from the start: `2>/dev/full`.
#[test]
fn a_log_on_a_full_disk_costs_its_lines_and_nothing_else() {
    let mut world = World::new(Broker::shared(), 4, &LOUD);
    let instance = world.launch(None, &[], |_, _| Launch {
        stderr: Some(full()),
        ..Launch::default()
    });
    world.instances.push(instance);
    world.produced(2_000, &[]);
    world.accepts(2_000);
    world.finish(0);
}

fn full() -> Stdio {
    File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full")
        .into()
}

/// The reader of the log stops reading and the pipe becomes full, as a log collector that hangs or a terminal that was stopped with
/// ctrl-S does. Lines are dropped and counted, the job goes on and still ends on SIGTERM; when the reader reads again, the log says
/// how many lines it lacks.
#[test]
fn a_reader_of_the_log_that_stops_reading_freezes_nothing() {
    let mut world = World::new(Broker::shared(), 4, &LOUD);
    let (mut instance, log) = piped(&mut world, &[]);
    instance.address("operations pages");
    world.instances.push(instance);
    let mut load = world.load(30_000, &["--rate", "3000"]);
    world.accepts(1_000);
    log.read(false);
    world.until("log lines are lost", |world| {
        world.instances[0].metric("dig_ingest_log_lines_lost_total") > 0.0
    });
    world.accepts(1_000);
    log.read(true);
    world.instances[0].said("the lost lines are told of", |line| {
        line.split_once("the log could not be written lost=")?
            .1
            .parse::<u64>()
            .ok()
            .filter(|lost| *lost > 0)
    });
    // It ends also while nobody reads.
    log.read(false);
    load.succeeded();
    world.drained();
    let mut leaving = world.instances.remove(0);
    leaving.signal("TERM");
    leaving.succeeded();
    log.read(true);
    world.finish(0);
}

/// The log file reached the limit of the process (`ulimit -f`): the kernel sends SIGXFSZ, which ends a program that does not take it.
#[test]
fn a_log_file_that_reached_its_limit_ends_nothing() {
    let mut world = World::new(Broker::shared(), 4, &LOUD);
    let through = ["prlimit", "--fsize=65536", "--"];
    let instance = world.launch(None, &[], |_, _| Launch::through(&through));
    world.instances.push(instance);
    world.produced(2_000, &[]);
    world.until("the log is full", |world| {
        world.instances[0].log().len() >= 65_000
            && world.instances[0].metric("dig_ingest_log_lines_lost_total") > 0.0
    });
    world.produced(2_000, &[]);
    world.accepts(2_000);
    world.drained();
    let mut leaving = world.instances.remove(0);
    leaving.signal("TERM");
    leaving.succeeded();
    world.finish(0);
}

/// A tool that rotates logs sends SIGHUP during a drain, as shells and systemd send one beside another signal: it reloads nothing, and
/// does not cut the drain short.
#[test]
fn a_hang_up_does_not_cut_a_drain_short() {
    let mut world = World::new(Broker::shared(), 4, &[]);
    world.join();
    let mut load = world.load(6_000, &["--rate", "3000"]);
    world.accepts(1_000);
    let mut leaving = world.instances.remove(0);
    leaving.signal("TERM");
    leaving.said("the drain", |line| {
        line.contains("draining signal=\"SIGTERM").then_some(())
    });
    if leaving.alive() {
        leaving.signal("HUP");
    }
    leaving.succeeded();
    assert!(
        leaving.log().contains("shutdown completed"),
        "{}",
        leaving.log()
    );
    world.join();
    load.succeeded();
    // What was in hand when the drain ended was in hand, and no more.
    world.finish(6_000);
}

/// Started by `nohup`, whose point it is that SIGHUP is ignored.
#[test]
fn a_hang_up_is_ignored_where_it_was_ignored_at_the_start() {
    let mut world = World::new(Broker::shared(), 4, &[]);
    let instance = world.launch(None, &[], |_, _| Launch::through(&["nohup"]));
    world.instances.push(instance);
    world.produced(1_000, &[]);
    world.accepts(1_000);
    world.instances[0].signal("HUP");
    world.produced(1_000, &[]);
    world.accepts(1_000);
    let log = world.instances[0].log();
    assert!(!log.contains("draining"), "{log}");
    world.finish(0);
}

/// 1000 connections to the operations pages that send half a request or nothing, while the process may have 1024 descriptors: the
/// pages answer and uploads go on. Known as Slowloris (CVE-2007-6750); hyper#1628 asks for the time limit that servers lack.
#[test]
fn half_open_connections_take_nothing_from_the_work() {
    dig_ingest::http::descriptors::raise();
    let mut world = World::new(Broker::shared(), 4, &[]);
    let through = ["prlimit", "--nofile=1024:1024", "--"];
    let mut instance = world.launch(None, &[], |_, _| Launch::through(&through));
    let address = instance.address("operations pages");
    world.instances.push(instance);
    world.produced(1_000, &[]);
    world.accepts(1_000);
    let open: Vec<TcpStream> = (0..1_000)
        .map(|number| {
            use std::io::Write as _;
            let mut stream = TcpStream::connect(&address).expect("a connection");
            if number % 2 == 0 {
                stream
                    .write_all(b"GET /livez HTTP/1.1\r\nHo")
                    .expect("half a request");
            }
            stream
        })
        .collect();
    assert_eq!(world.instances[0].told("/livez").0, 200);
    // New connections for new partitions, brokers and the gateway are still to be had.
    world.gateway.revoke_all_tokens();
    world.produced(4_000, &[]);
    world.accepts(4_000);
    assert_eq!(world.instances[0].told("/livez").0, 200);
    drop(open);
    world.finish(5_000);
}

fn run(name: &str, folder: &Path, args: &[&str], stdout: Stdio) -> Running {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let how = Launch {
        stdout: Some(stdout),
        ..Launch::default()
    };
    Running::launch(name, folder, &args, how)
}

/// `dig-ingest COMMAND | head -1`: the output ends quietly, the exit code is the command's own (rust-lang/rust#46016).
#[test]
fn a_reader_of_standard_output_that_goes_ends_the_output_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("records.json");
    std::fs::write(&records, "{\"Type\":\"GpsRecord\"}\n".repeat(1_000)).unwrap();
    let records = records.to_string_lossy().into_owned();
    let commands: [(&[&str], bool); 6] = [
        (&["--help"], true),
        (&["run", "--help"], true),
        (&["explain"], true),
        (&["load", "--output", "-", "--records", "200000"], true),
        // What was found stays the result although nobody reads it.
        (&["validate", &records], false),
        (
            &[
                "check",
                "--set",
                "dig.username=a",
                "--set",
                "dig.password=bcde",
            ],
            true,
        ),
    ];
    for (number, (args, success)) in commands.into_iter().enumerate() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = run(
            &format!("command-{number}"),
            folder.path(),
            args,
            writer.into(),
        );
        let status = command.ended();
        let log = command.log();
        assert_eq!(status.success(), success, "{args:?}: {status}\n{log}");
        assert!(
            !log.contains("panicked") && !log.contains("Broken pipe"),
            "{args:?}: {log}"
        );
    }
}

/// A report that could not be written is no success: the disk is full.
#[test]
fn a_report_on_a_full_disk_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    for (number, args) in [&["explain"][..], &["load", "--dry-run", "--records", "10"]]
        .into_iter()
        .enumerate()
    {
        let mut command = run(&format!("command-{number}"), folder.path(), args, full());
        assert_eq!(command.ended().code(), Some(1), "{args:?}");
        let log = command.log();
        assert!(
            log.contains("error: standard output cannot be written: No space"),
            "{args:?}: {log}"
        );
    }
}

/// Progress and errors of a command on a standard error that nobody reads, or that is full.
#[test]
fn progress_that_cannot_be_written_ends_no_command() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    for (number, stderr) in [full(), writer.into()].into_iter().enumerate() {
        let output = folder.path().join(format!("records-{number}"));
        let args = [
            "load",
            "--output",
            &output.to_string_lossy(),
            "--records",
            "60000",
            "--rate",
            "10000",
        ]
        .map(str::to_owned);
        let how = Launch {
            stderr: Some(stderr),
            ..Launch::default()
        };
        Running::launch(&format!("load-{number}"), folder.path(), &args, how).succeeded();
        let text = std::fs::read_to_string(&output).unwrap();
        assert_eq!(text.lines().count(), 60_000);
    }
}

/// The clock is set back by two hours while the job runs (a virtual machine resumed, a time server that was wrong): records are
/// sent, offsets are committed, and the job leaves. The Kafka client waits until a time of day: librdkafka#2145.
#[test]
fn a_clock_that_is_set_back_stops_neither_commits_nor_the_end() {
    let mut world = World::new(Broker::shared(), 4, &[("validate.future_s", "864000")]);
    let (clock, library) = (world.path("clock"), fake_clock(&world));
    set_clock(&clock, 0);
    let instance = world.launch(None, &[], |_, _| Launch {
        variables: [
            ("LD_PRELOAD", library.to_string_lossy()),
            ("DIG_TEST_CLOCK", clock.to_string_lossy()),
        ]
        .map(|(name, value)| (name.to_owned(), value.into_owned()))
        .into(),
        ..Launch::default()
    });
    world.instances.push(instance);
    world.produced(2_000, &[]);
    world.accepts(2_000);
    set_clock(&clock, -7_200);
    world.produced(2_000, &[]);
    world.accepts(2_000);
    world.drained();
    let mut leaving = world.instances.remove(0);
    leaving.signal("TERM");
    leaving.succeeded();
    world.finish(0);
}

/// Moves the clock of the programs that follow the file, by seconds.
fn set_clock(file: &Path, by: i64) {
    let mut options = File::options();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .open(file)
        .expect("a clock");
    file.write_at(&by.to_ne_bytes(), 0)
        .expect("the clock is set");
}

/// Compiles the clock that is preloaded; the build needs a C compiler anyway.
fn fake_clock(world: &World<'_>) -> PathBuf {
    let library = world.path("clock.so");
    let source = root().join("tests/fixtures/clock/clock.c");
    let compiled = Command::new("gcc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .args([&library, &source])
        .status()
        .expect("gcc runs");
    assert!(compiled.success(), "{}: {compiled}", source.display());
    library
}
