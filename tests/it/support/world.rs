//! One end-to-end scenario: a topic, a simulated gateway, instances, loads, and the judgement at the end.
//!
//! Records are produced one per message, so that offsets count records. [`World::finish`] is how every scenario ends:
//! all instances leave in order, then the ledger is judged against the manifests.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use dig_ingest::sim::{self, Handle, Operation};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{
    broker::Broker,
    child::{Launch, Running},
    wait_until,
};

const PASSWORD: &str = "simulated";
/// Warnings one instance may write in a scenario: what repeats is limited.
const NOISE: usize = 150;

/// The judgement, and what the scenario may look at after it.
#[derive(Debug)]
pub struct Ending {
    pub report: Value,
    pub duplicated: u64,
    /// Letters on the dead-letter topic.
    pub letters: usize,
}

pub struct World<'b> {
    pub broker: &'b Broker,
    pub partitions: i32,
    pub topic: String,
    pub dead_topic: String,
    pub group: String,
    pub gateway: Handle,
    /// Settings of the instances as TOML: dotted key, value.
    settings: BTreeMap<String, String>,
    /// How the other commands reach the broker, where not as the harness does.
    access: Vec<String>,
    pub instances: Vec<Running>,
    manifests: Vec<PathBuf>,
    /// Records of all loads.
    promised: u64,
    started: usize,
    /// Records of one request at most (`batch.max_records`).
    pub most_per_request: u64,
    /// Dead letters of records that are sound and cannot be sent all the same.
    pub sound_letters: u64,
    folder: TempDir,
    // Dropped last: the gateway runs on it.
    runtime: Runtime,
}

impl<'b> World<'b> {
    /// A fresh topic and group on the broker, and a gateway of its own.
    pub fn new(broker: &'b Broker, partitions: i32, settings: &[(&str, &str)]) -> Self {
        let mut world = Self::beside(broker, partitions, sim::Config::default());
        for (key, value) in settings {
            world.set(key, value);
        }
        world
    }

    /// As [`World::new`], with a gateway that is told how to be.
    pub fn beside(broker: &'b Broker, partitions: i32, gateway: sim::Config) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let topic = format!("telemetry-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime for the gateway");
        let config = sim::Config {
            account: Some(sim::Account {
                username: "carrier".to_owned(),
                password: PASSWORD.to_owned(),
            }),
            ..gateway
        };
        let gateway = runtime
            .block_on(sim::start(config))
            .expect("the gateway starts");
        let dead_topic = format!("{topic}.dead");
        broker.topic(&topic, partitions, &[]);
        let quoted = |text: &str| format!("{text:?}");
        let folder = tempfile::tempdir().expect("a folder");
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).expect("a password file");
        let mut world = Self {
            group: format!("group-{topic}"),
            settings: BTreeMap::new(),
            access: Vec::new(),
            instances: Vec::new(),
            manifests: Vec::new(),
            promised: 0,
            started: 0,
            most_per_request: 5_000,
            sound_letters: 0,
            broker,
            partitions,
            gateway,
            folder,
            runtime,
            topic,
            dead_topic,
        };
        for (key, value) in [
            ("kafka.brokers", quoted(broker.address())),
            ("kafka.group", quoted(&world.group)),
            ("kafka.session_timeout_ms", "6000".to_owned()),
            ("kafka.commit_interval_ms", "500".to_owned()),
            ("input.drain_ms", "3000".to_owned()),
            ("input.topics", format!("[{:?}]", world.topic)),
            ("topics.dead_letter", quoted(&world.dead_topic)),
            ("batch.linger_ms", "20".to_owned()),
            ("dig.url", quoted(&world.gateway.url())),
            ("dig.username", quoted("carrier")),
            ("dig.password_file", quoted(&password.to_string_lossy())),
            ("ops.listen", quoted("127.0.0.1:0")),
        ] {
            world.set(key, &value);
        }
        for (key, name) in [("topics.invalid", "invalid"), ("topics.state", "state")] {
            world.set(key, &quoted(&format!("{}.{name}", world.topic)));
        }
        if broker.is_mock() {
            // The mock knows no admin requests.
            world.set("topics.create", "false");
            let topics = [
                ("dead", 1),
                ("invalid", 1),
                ("state", 1),
                ("held", partitions),
            ];
            for (name, partitions) in topics {
                broker.topic(&format!("{}.{name}", world.topic), partitions, &[]);
            }
        }
        world
    }

    /// A setting of the instances started from now on.
    pub fn set(&mut self, key: &str, value: &str) {
        if key == "batch.max_records" {
            self.most_per_request = value.parse().expect("a number");
        }
        self.settings.insert(key.to_owned(), value.to_owned());
    }

    /// Everything but the harness itself reaches the broker by these settings of `[kafka]`.
    pub fn by_way_of(&mut self, settings: &[(String, String)]) {
        for (key, value) in settings {
            self.set(key, &format!("{value:?}"));
            self.access
                .extend(["--set".to_owned(), format!("{key}={value}")]);
        }
    }

    /// Back to how the harness itself reaches the broker.
    pub fn forget_ways(&mut self) {
        for flag in self.access.split_off(0) {
            if let Some((key, _)) = flag.split_once('=') {
                self.settings.remove(key);
            }
        }
        self.set("kafka.brokers", &format!("{:?}", self.broker.address()));
    }

    /// The flags by which other commands get what [`World::by_way_of`] was told.
    pub fn access(&self) -> Vec<String> {
        if self.access.is_empty() {
            return vec!["--brokers".to_owned(), self.broker.address().to_owned()];
        }
        self.access.clone()
    }

    /// The settings file of the instances started from now on.
    pub fn settings_file(&mut self, name: &str, own: &[(&str, &str)]) -> PathBuf {
        let mut settings = self.settings.clone();
        settings.extend(
            own.iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        let text: String = settings
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        let path = self.folder.path().join(format!("{name}.toml"));
        fs::write(&path, text).expect("a settings file");
        path
    }

    /// Runs another command of the program to its end.
    pub fn command(&self, name: &str, args: &[String]) -> Running {
        Running::start(name, self.folder.path(), args)
    }

    /// A place in the scenario's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file in the scenario's folder.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file");
        path
    }

    /// Starts an instance.
    pub fn start(&mut self) -> Running {
        self.start_with(&[])
    }

    /// Starts an instance with settings of its own.
    pub fn start_with(&mut self, own: &[(&str, &str)]) -> Running {
        self.start_only(None, own)
    }

    /// Starts an instance that does only a part of the job.
    pub fn start_only(&mut self, part: Option<&str>, own: &[(&str, &str)]) -> Running {
        self.launch(part, own, |_, _| Launch::default())
    }

    /// Starts an instance in a special way, told by its name and the scenario's folder.
    pub fn launch(
        &mut self,
        part: Option<&str>,
        own: &[(&str, &str)],
        how: impl FnOnce(&str, &Path) -> Launch,
    ) -> Running {
        let name = format!("instance-{}", self.started);
        self.started += 1;
        let path = self.settings_file(&name, own);
        let mut args = vec!["run".to_owned(), "--config".to_owned()];
        args.push(path.display().to_string());
        args.extend(
            part.iter()
                .flat_map(|part| ["--only", part])
                .map(str::to_owned),
        );
        let how = how(&name, self.folder.path());
        Running::launch(&name, self.folder.path(), &args, how)
    }

    /// Adds an instance to those that end with the scenario.
    pub fn join(&mut self) {
        let instance = self.start();
        self.instances.push(instance);
    }

    /// Starts producing; the result is to be waited for.
    pub fn load(&mut self, records: u64, more: &[&str]) -> Running {
        let number = self.manifests.len();
        let manifest = self.folder.path().join(format!("manifest-{number}.ndjson"));
        let mut args: Vec<String> = [
            "load",
            "--topic",
            &self.topic,
            "--records",
            &records.to_string(),
            "--run-id",
            &number.to_string(),
            "--manifest",
            &manifest.display().to_string(),
            "--report",
            "json",
        ]
        .map(str::to_owned)
        .into();
        // Each load has devices of its own, unless it is to be those of another.
        if !more.contains(&"--seed") {
            args.extend(["--seed".to_owned(), (number + 1).to_string()]);
        }
        args.extend(self.access());
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        self.manifests.push(manifest);
        self.promised += records;
        Running::start(&format!("load-{number}"), self.folder.path(), &args)
    }

    /// Produces and waits for the broker's confirmation of all.
    pub fn produced(&mut self, records: u64, more: &[&str]) {
        self.load(records, more).succeeded();
    }

    /// As [`World::produced`], with the load's report.
    pub fn loaded(&mut self, records: u64, more: &[&str]) -> Value {
        let mut load = self.load(records, more);
        let (status, report) = load.report();
        assert!(status.success(), "load: {status}, {report:#}");
        report
    }

    /// Requests of one kind the gateway has seen.
    pub fn asked(&self, operation: Operation) -> u64 {
        self.gateway
            .counters()
            .requests
            .get(&operation)
            .copied()
            .unwrap_or_default()
    }

    /// Distinct records the gateway has accepted.
    pub fn accepted(&self) -> u64 {
        self.gateway.counters().records_new
    }

    /// An upper bound of the records that have reached the gateway: accepted, or in a request it is still at.
    pub fn arrived(&self) -> u64 {
        let counters = self.gateway.counters();
        counters.records_new + counters.in_flight * self.most_per_request
    }

    /// Waits until a condition holds; fails as soon as an instance ends on its own.
    pub fn until(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        wait_until(what, || {
            let ended = self.instances.iter_mut().any(|instance| !instance.alive());
            assert!(!ended, "an instance ended on its own before: {what}");
            condition(self)
        });
    }

    /// Waits as [`World::until`] does, while small loads go on being produced one after another; gives what they produced.
    pub fn until_amid_traffic(
        &mut self,
        what: &str,
        load: &[&str],
        mut condition: impl FnMut(&mut Self) -> bool,
    ) -> u64 {
        const PART: u64 = 80;
        let mut produced = 0;
        self.until(what, |world| {
            if condition(world) {
                return true;
            }
            world.produced(PART, load);
            produced += PART;
            false
        });
        produced
    }

    /// Waits until the gateway has accepted so many more records than now, or all there will be (good loads only).
    pub fn accepts(&mut self, more: u64) {
        let goal = (self.accepted() + more).min(self.promised);
        self.until(
            &format!("the gateway has accepted {goal} records"),
            |world| world.accepted() >= goal,
        );
    }

    /// Messages whose offsets are not committed yet.
    pub fn lag(&self) -> i64 {
        let ends = self.broker.ends(&self.topic, self.partitions);
        let committed = self
            .broker
            .committed(&self.group, &self.topic, self.partitions);
        ends.iter()
            .zip(&committed)
            .map(|(end, committed)| end - committed)
            .sum()
    }

    /// Waits until everything produced is settled and committed.
    pub fn drained(&mut self) {
        self.until("every offset is committed", |world| world.lag() == 0);
    }

    /// Letters on the dead-letter topic.
    pub fn letters(&self) -> Vec<super::broker::Letter> {
        self.broker.read(&self.dead_topic)
    }

    /// Drains, lets every instance leave in order, and judges: nothing lost, reordered or made up, and duplicates within
    /// the bound.
    pub fn finish(mut self, duplicates: u64) -> Ending {
        self.drained();
        self.leave(NOISE);
        let report = self.verified(&[]);
        // Every record of every manifest is somewhere, and nothing is in a letter that need not be.
        let about = &report["letters"];
        let count = |name: &str| about[name].as_u64().expect("a count");
        let rejected = ["expected_rejected", "expected_refused"]
            .map(|name| report[name].as_u64().expect("a count"));
        let sound = self.sound_letters;
        assert_eq!(
            count("dead_lettered"),
            rejected.iter().sum::<u64>() + sound,
            "{report:#}"
        );
        for (finding, expected) in [
            ("dead_lettered_sound", sound),
            ("dead_lettered_accepted", 0),
            ("strange", 0),
        ] {
            assert_eq!(count(finding), expected, "{finding}: {report:#}");
        }
        let duplicated = report["duplicated"]
            .as_u64()
            .expect("a count of duplicates");
        assert!(
            duplicated <= duplicates,
            "{duplicated} duplicates, at most {duplicates} allowed: {report:#}"
        );
        let letters = self.letters().len();
        self.end();
        Ending {
            report,
            duplicated,
            letters,
        }
    }

    /// Every instance leaves in order, and none made more noise than this.
    pub fn leave(&mut self, most: usize) {
        for instance in &mut self.instances {
            instance.signal("TERM");
        }
        for instance in &mut self.instances {
            instance.succeeded();
            let log = instance.log();
            assert!(!log.contains("panicked at"), "an instance panicked:\n{log}");
            let loud = |line: &&str| line.contains(" WARN ") || line.contains("ERROR ");
            let noise = log.lines().filter(loud).count();
            assert!(noise <= most, "{noise} warnings of one instance:\n{log}");
        }
    }

    /// The gateway goes.
    pub fn end(self) {
        self.runtime.block_on(self.gateway.stop());
    }

    /// The judgement of the ledger against the manifests: nothing lost, reordered or made up.
    pub fn verified(&self, more: &[&str]) -> Value {
        let url = self.gateway.url();
        let mut args: Vec<String> = ["verify", "--sim", &url, "--report", "json"]
            .map(str::to_owned)
            .into();
        args.push("--dead-letters".to_owned());
        args.extend(self.access());
        for (key, value) in [
            ("input.topics", &self.topic),
            ("topics.dead_letter", &self.dead_topic),
            ("topics.devices", &format!("{}.devices", self.topic)),
        ] {
            args.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        for manifest in &self.manifests {
            args.extend(["--manifest".to_owned(), manifest.display().to_string()]);
        }
        let (status, report) = Running::start("verify", self.folder.path(), &args).report();
        for finding in ["lost", "unseen", "reordered", "phantom"] {
            assert_eq!(report[finding], 0, "{finding}: {report:#}");
        }
        assert!(status.success(), "verify: {status}, {report:#}");
        report
    }

    /// The manifests of all loads.
    pub fn manifests(&self) -> &[PathBuf] {
        &self.manifests
    }
}
