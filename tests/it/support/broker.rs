//! A real broker for tests, run by `scripts/kafka`, and what tests ask it.
//!
//! One broker is shared by all tests that do not hurt it; a test that does has its own. An instance names this process
//! as its owner, so it goes with this process however that ends.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{
        AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
    message::{BorrowedMessage, Headers, Message, ToBytes},
    mocking::MockCluster,
    producer::{DefaultProducerContext, FutureProducer, FutureRecord, Producer as _},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

use super::{root, wait_for};

pub(super) const ASK: Duration = Duration::from_secs(10);

enum Kind {
    /// By its instance name for `scripts/kafka`.
    Real(String),
    /// In this process, on a thread of its own, as the cluster stays on the thread that made it: what to do with it.
    /// The thread ends when this goes.
    Mock(mpsc::Sender<Act>),
}

type Cluster = MockCluster<'static, DefaultProducerContext>;
type Act = Box<dyn FnOnce(&Cluster) + Send>;

/// A running broker; dropping it ends it, unless it is the shared one.
pub struct Broker {
    kind: Kind,
    address: String,
}

/// What a message on a topic says, for tests that look at dead letters.
#[derive(Debug)]
pub struct Letter {
    pub payload: Vec<u8>,
    pub headers: Vec<(String, String)>,
}

impl Broker {
    /// The broker of every test that leaves it alone.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[]))
    }

    /// A broker with listeners for TLS and SASL beside the plain one, shared as [`Broker::shared`].
    pub fn secured() -> &'static Self {
        static SECURED: OnceLock<Broker> = OnceLock::new();
        SECURED.get_or_init(|| Self::launch(&["--security", "ssl,sasl_plaintext,sasl_ssl"]))
    }

    /// A broker of one's own, with further properties.
    pub fn start(properties: &[&str]) -> Self {
        let flagged = properties
            .iter()
            .flat_map(|property| ["--property", property]);
        Self::launch(&flagged.collect::<Vec<_>>())
    }

    /// A broker of one's own with a secured listener beside the plain one.
    pub fn start_secured(listener: &str) -> Self {
        Self::launch(&["--security", listener])
    }

    /// A broker of one's own with a SASL listener, further properties and options of its Java.
    pub fn trusting(properties: &[String], jvm: &str) -> Self {
        let mut args = vec!["--security", "sasl_plaintext", "--jvm", jvm];
        args.extend(
            properties
                .iter()
                .flat_map(|property| ["--property", property]),
        );
        Self::launch(&args)
    }

    /// Gives a user of SCRAM another password.
    pub fn change_password(&self, user: &str, password: &str) {
        use rdkafka::bindings as ffi;
        let admin = self.admin();
        let user = std::ffi::CString::new(user).expect("a name");
        // SAFETY: the client and the texts outlive the calls; what is made here is destroyed here.
        let code = unsafe {
            let client = admin.inner().native_ptr();
            let mut change = ffi::rd_kafka_UserScramCredentialUpsertion_new(
                user.as_ptr(),
                ffi::rd_kafka_ScramMechanism_t::RD_KAFKA_SCRAM_MECHANISM_SHA_512,
                4096,
                password.as_ptr(),
                password.len(),
                std::ptr::null(),
                0,
            );
            let queue = ffi::rd_kafka_queue_new(client);
            ffi::rd_kafka_AlterUserScramCredentials(
                client,
                &raw mut change,
                1,
                std::ptr::null(),
                queue,
            );
            let event = ffi::rd_kafka_queue_poll(queue, 10_000);
            assert!(!event.is_null(), "the broker does not answer");
            let code = ffi::rd_kafka_event_error(event);
            ffi::rd_kafka_event_destroy(event);
            ffi::rd_kafka_UserScramCredentialAlteration_destroy(change);
            ffi::rd_kafka_queue_destroy(queue);
            code
        };
        assert_eq!(code, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
    }

    pub(super) fn launch(more: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let instance = format!(
            "it-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let owner = std::process::id().to_string();
        let mut args = vec!["--fresh", "--owner", &owner, "--heap", "384m"];
        args.extend(more);
        let line = script("start", &instance, &args);
        let address = line
            .split_whitespace()
            .nth(2)
            .expect("scripts/kafka start prints the address")
            .to_owned();
        Self {
            kind: Kind::Real(instance),
            address,
        }
    }

    /// What a client of one of the listeners needs: settings of `[kafka]` by name, as `scripts/kafka env` gives them.
    pub fn listener(&self, name: &str) -> Vec<(String, String)> {
        let text = script("env", self.instance(), &["--security", name]);
        text.lines()
            .filter_map(|line| line.strip_prefix("export DIG_INGEST__KAFKA__"))
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (format!("kafka.{}", name.to_lowercase()), value.to_owned()))
            .collect()
    }

    /// The client library's own mock, in this process: no fault but quick.
    pub fn mock() -> Self {
        let (acts, wanted) = mpsc::channel::<Act>();
        let (made, address) = mpsc::channel();
        std::thread::spawn(move || {
            let cluster: Cluster = MockCluster::new(1).expect("a mock cluster");
            made.send(cluster.bootstrap_servers())
                .expect("somebody asked");
            for act in wanted {
                act(&cluster);
            }
        });
        Self {
            kind: Kind::Mock(acts),
            address: address.recv().expect("an address"),
        }
    }

    /// Does something with the mock and waits until it is done.
    fn act(&self, act: impl FnOnce(&Cluster) + Send + 'static) {
        let Kind::Mock(acts) = &self.kind else {
            panic!("only the mock can do this")
        };
        let (done, made) = mpsc::channel();
        let act: Act = Box::new(move |cluster| {
            act(cluster);
            let _ = done.send(());
        });
        acts.send(act).expect("the mock runs");
        made.recv().expect("the mock did it");
    }

    /// The mock's next writes fail, as if replicas were missing, until [`Broker::accept_writes`].
    pub fn refuse_writes(&self) {
        // More than any retry gets through before the test has seen what it waits for.
        let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 10_000];
        self.act(move |cluster| cluster.request_errors(RDKafkaApiKey::Produce, &errors));
    }

    /// The mock answers so many of the next writes with this error.
    pub fn answer_writes(&self, error: RDKafkaRespErr, times: usize) {
        self.act(move |cluster| {
            cluster.request_errors(RDKafkaApiKey::Produce, &vec![error; times]);
        });
    }

    /// The mock answers so many of the next fetches with this error.
    pub fn answer_fetches(&self, error: RDKafkaRespErr, times: usize) {
        self.act(move |cluster| {
            cluster.request_errors(RDKafkaApiKey::Fetch, &vec![error; times]);
        });
    }

    pub fn accept_writes(&self) {
        self.act(|cluster| cluster.clear_request_errors(RDKafkaApiKey::Produce));
    }

    pub fn is_mock(&self) -> bool {
        matches!(self.kind, Kind::Mock(_))
    }

    pub(super) fn instance(&self) -> &str {
        match &self.kind {
            Kind::Real(instance) => instance,
            Kind::Mock(_) => panic!("only a real broker can be hurt"),
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn restart(&self) {
        script("restart", self.instance(), &[]);
    }

    pub fn kill(&self) {
        script("kill", self.instance(), &[]);
    }

    /// In order: nothing has to be recovered at the next start.
    pub fn stop(&self) {
        script("stop", self.instance(), &[]);
    }

    /// The file of a partition's first segment.
    pub fn segment(&self, topic: &str, partition: i32) -> std::path::PathBuf {
        root()
            .join("target/kafka/instances")
            .join(self.instance())
            .join(format!("data/{topic}-{partition}/00000000000000000000.log"))
    }

    /// Starts it again on its port and data after [`Broker::kill`].
    pub fn revive(&self) {
        script("start", self.instance(), &[]);
    }

    pub(super) fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .create()
            .expect("an admin client")
    }

    /// Creates a topic with settings of its own and waits until its leaders are known.
    pub fn topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        if self.is_mock() {
            let name = name.to_owned();
            return self
                .act(move |cluster| cluster.create_topic(&name, partitions, 1).expect("a topic"));
        }
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let admin = self.admin();
        let made = block_on(
            admin.create_topics([&topic], &AdminOptions::new().operation_timeout(Some(ASK))),
        )
        .expect("the broker answers");
        made.into_iter().for_each(|each| {
            each.unwrap_or_else(|(name, error)| panic!("topic {name}: {error}"));
        });
        wait_for("the new topic has leaders", || {
            let metadata = admin.inner().fetch_metadata(Some(name), ASK).ok()?;
            let topic = metadata.topics().first()?;
            (topic.partitions().len() == partitions as usize
                && topic.partitions().iter().all(|p| p.leader() >= 0))
            .then_some(())
        });
    }

    /// Deletes a topic and waits until the broker does not know it any more.
    pub fn delete_topic(&self, name: &str) {
        let admin = self.admin();
        let options = AdminOptions::new().operation_timeout(Some(ASK));
        let done = block_on(admin.delete_topics(&[name], &options)).expect("the broker answers");
        done.into_iter().for_each(|each| {
            each.unwrap_or_else(|(name, error)| panic!("topic {name}: {error}"));
        });
        wait_for("the deleted topic is gone", || {
            let metadata = admin.inner().fetch_metadata(None, ASK).ok()?;
            let there = metadata.topics().iter().any(|topic| topic.name() == name);
            (!there).then_some(())
        });
    }

    /// Commits for a group that has no members.
    pub fn commit(&self, group: &str, topic: &str, offsets: &[i64]) {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in (0..).zip(offsets) {
            list.add_partition_offset(topic, partition, Offset::Offset(*offset))
                .expect("an offset");
        }
        self.asker(group)
            .commit(&list, CommitMode::Sync)
            .expect("committed");
    }

    /// What a group has committed for a partition, with everything that was stored beside the offset.
    pub fn committed_with(&self, group: &str, topic: &str, partition: i32) -> TopicPartitionList {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, partition);
        let asker = self.asker(group);
        wait_for("the committed offset", || {
            asker.committed_offsets(asked.clone(), ASK).ok()
        })
    }

    /// Commits what [`Broker::committed_with`] gave, as a cluster does that takes a group's offsets over.
    pub fn commit_with(&self, group: &str, committed: &TopicPartitionList) {
        self.asker(group)
            .commit(committed, CommitMode::Sync)
            .expect("committed");
    }

    /// Writes a transaction of these messages to one partition, and commits or aborts it.
    pub fn transaction(&self, topic: &str, partition: i32, values: &[Vec<u8>], commits: bool) {
        let producer = self.open_transaction(topic, partition, values);
        match commits {
            true => producer.commit_transaction(ASK),
            false => producer.abort_transaction(ASK),
        }
        .expect("ended");
    }

    /// Writes these messages to one partition in a transaction that stays open; its producer ends it.
    pub fn open_transaction(
        &self,
        topic: &str,
        partition: i32,
        values: &[Vec<u8>],
    ) -> FutureProducer {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("transactional.id", format!("{topic}-writer"))
            // The broker ends an older one by itself.
            .set("transaction.timeout.ms", "600000")
            .create()
            .expect("a producer");
        producer.init_transactions(ASK).expect("transactions");
        producer.begin_transaction().expect("begun");
        for value in values {
            let message: FutureRecord<'_, [u8], [u8]> =
                FutureRecord::to(topic).partition(partition).payload(value);
            block_on(producer.send(message, ASK)).expect("the broker has it");
        }
        producer
    }

    /// Stops it in order, keeps an image of its disk as it is, and starts it again.
    pub fn take_image(&self) -> Image {
        script("stop", self.instance(), &[]);
        let image = tempfile::tempdir().expect("a folder");
        copy(&self.data(), &image.path().join("data"));
        self.revive();
        Image(image)
    }

    /// Stops it, puts its disk back as it was, and starts it again.
    pub fn restore(&self, image: &Image) {
        script("stop", self.instance(), &[]);
        std::fs::remove_dir_all(self.data()).expect("the disk is ours");
        copy(&image.0.path().join("data"), &self.data());
        self.revive();
    }

    fn data(&self) -> PathBuf {
        let instances = root().join("target/kafka/instances");
        instances.join(self.instance()).join("data")
    }

    /// Changes one setting of a topic.
    pub fn alter_topic(&self, name: &str, key: &str, value: &str) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(name)).set(key, value);
        let done = block_on(
            self.admin()
                .alter_configs([&change], &AdminOptions::new().operation_timeout(Some(ASK))),
        )
        .expect("the broker answers");
        done.into_iter().for_each(|each| {
            each.unwrap_or_else(|(_, error)| panic!("topic {name}, {key}: {error}"));
        });
    }

    /// Adds partitions to a topic, so that it has as many as said.
    pub fn grow(&self, name: &str, partitions: usize) {
        let options = AdminOptions::new().operation_timeout(Some(ASK));
        let grown = NewPartitions::new(name, partitions);
        let done = block_on(self.admin().create_partitions([&grown], &options));
        for each in done.expect("the broker answers") {
            each.unwrap_or_else(|(name, error)| panic!("topic {name}: {error}"));
        }
    }

    /// Deletes a topic.
    pub fn delete(&self, name: &str) {
        let options = AdminOptions::new().operation_timeout(Some(ASK));
        let done = block_on(self.admin().delete_topics(&[name], &options));
        for each in done.expect("the broker answers") {
            each.unwrap_or_else(|(name, error)| panic!("topic {name}: {error}"));
        }
    }

    /// Writes a tombstone for a key and waits until the broker has it.
    pub fn erase(&self, topic: &str, key: &str) {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .create()
            .expect("a producer");
        let tombstone: FutureRecord<'_, str, [u8]> = FutureRecord::to(topic).key(key);
        block_on(producer.send(tombstone, ASK)).expect("the broker has it");
    }

    /// Deletes the offsets of a group that has no members, as their expiry does.
    pub fn forget_group(&self, group: &str) {
        let options = AdminOptions::new().operation_timeout(Some(ASK));
        let done = block_on(self.admin().delete_groups(&[group], &options));
        for each in done.expect("the broker answers") {
            each.unwrap_or_else(|(name, error)| panic!("group {name}: {error}"));
        }
    }

    /// Deletes every message there is now, as retention does.
    pub fn forget(&self, topic: &str, partitions: i32) {
        let mut before = TopicPartitionList::new();
        for (partition, end) in (0..).zip(self.ends(topic, partitions)) {
            before
                .add_partition_offset(topic, partition, Offset::Offset(end))
                .expect("an offset");
        }
        let options = AdminOptions::new().operation_timeout(Some(ASK));
        let done =
            block_on(self.admin().delete_records(&before, &options)).expect("the broker answers");
        for element in done.elements() {
            element.error().expect("deleted");
        }
    }

    fn asker(&self, group: &str) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer")
    }

    /// Per partition: the first offset that is there, and the one after the last.
    pub fn bounds(&self, topic: &str, partitions: i32) -> Vec<(i64, i64)> {
        let mut asker = self.asker("nobody");
        (0..partitions)
            .map(|partition| {
                wait_for("the end of a partition", || {
                    let asked = asker.fetch_watermarks(topic, partition, ASK);
                    if asked.is_err() {
                        // A client remembers for minutes that there was no such partition.
                        asker = self.asker("nobody");
                    }
                    asked.ok()
                })
            })
            .collect()
    }

    /// Messages per partition: the offset after the last one.
    pub fn ends(&self, topic: &str, partitions: i32) -> Vec<i64> {
        let bounds = self.bounds(topic, partitions);
        bounds.into_iter().map(|(_, end)| end).collect()
    }

    /// Writes one message of this age and waits for the broker's confirmation.
    pub fn write(&self, topic: &str, key: &str, value: &(impl ToBytes + ?Sized), age: Duration) {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .create()
            .expect("a producer");
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            - age;
        let message = FutureRecord::to(topic)
            .key(key)
            .payload(value)
            .timestamp(at.as_millis() as i64);
        block_on(producer.send(message, ASK)).expect("the broker has it");
    }

    /// What a group has committed, per partition; 0 where it has committed nothing.
    pub fn committed(&self, group: &str, topic: &str, partitions: i32) -> Vec<i64> {
        committed(&self.asker(group), topic, partitions)
    }

    /// Watches what a group commits until the watch is ended; every offset that went back is kept.
    pub fn watch_commits(&self, group: &str, topic: &str, partitions: i32) -> Watch {
        let (asker, topic) = (self.asker(group), topic.to_owned());
        let (end, ended) = mpsc::channel::<()>();
        let watching = std::thread::spawn(move || {
            let (mut last, mut back) = (vec![0; partitions as usize], Vec::new());
            // Ends with the sender, whatever became of the test.
            while ended.recv_timeout(Duration::from_millis(40))
                == Err(mpsc::RecvTimeoutError::Timeout)
            {
                let now = committed(&asker, &topic, partitions);
                if last.iter().zip(&now).any(|(last, now)| now < last) {
                    back.push(format!("{last:?} -> {now:?}"));
                }
                last = now;
            }
            back
        });
        Watch { end, watching }
    }

    /// Everything on a topic, partition by partition.
    pub fn read(&self, topic: &str) -> Vec<Letter> {
        let asker = self.asker("reader");
        let partitions = wait_for("the topic's partitions", || {
            let metadata = asker.fetch_metadata(Some(topic), ASK).ok()?;
            i32::try_from(metadata.topics().first()?.partitions().len())
                .ok()
                .filter(|count| *count > 0)
        });
        let ends = self.ends(topic, partitions);
        let mut from = TopicPartitionList::new();
        for partition in 0..partitions {
            from.add_partition_offset(topic, partition, Offset::Beginning)
                .expect("an offset");
        }
        asker.assign(&from).expect("an assignment");
        let expected = ends.iter().sum::<i64>() as usize;
        let mut letters = Vec::new();
        while letters.len() < expected {
            let message = wait_for("a message that is there", || {
                asker.poll(ASK).and_then(Result::ok)
            });
            letters.push(letter(&message));
        }
        letters
    }
}

fn letter(message: &BorrowedMessage<'_>) -> Letter {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        let each = headers.iter();
        each.map(|header| {
            (
                header.key.to_owned(),
                header.value.map(text).unwrap_or_default(),
            )
        })
        .collect()
    });
    Letter {
        payload: message.payload().unwrap_or_default().to_vec(),
        headers,
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Nothing of it is needed any more: no orderly stop.
        if let Kind::Real(instance) = &self.kind {
            script("kill", instance, &["--delete"]);
        }
    }
}

/// What a broker's disk held once.
pub struct Image(tempfile::TempDir);

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status()
        .expect("cp runs");
    assert!(done.success(), "cp {} {}", from.display(), to.display());
}

/// A running watch of commits.
pub struct Watch {
    end: mpsc::Sender<()>,
    watching: std::thread::JoinHandle<Vec<String>>,
}

impl Watch {
    /// Ends it; the commits that went back.
    pub fn end(self) -> Vec<String> {
        drop(self.end);
        self.watching.join().expect("the watch ran")
    }
}

fn committed(asker: &BaseConsumer, topic: &str, partitions: i32) -> Vec<i64> {
    let mut asked = TopicPartitionList::new();
    for partition in 0..partitions {
        asked.add_partition(topic, partition);
    }
    let answer = wait_for("the committed offsets", || {
        asker.committed_offsets(asked.clone(), ASK).ok()
    });
    let offset = |partition| match answer
        .find_partition(topic, partition)
        .map(|found| found.offset())
    {
        Some(Offset::Offset(offset)) => offset,
        _ => 0,
    };
    (0..partitions).map(offset).collect()
}

fn script(command: &str, instance: &str, args: &[&str]) -> String {
    let output = Command::new(root().join("scripts/kafka"))
        .args([command, "--instance", instance])
        .args(args)
        .output()
        .expect("scripts/kafka runs");
    assert!(
        output.status.success(),
        "scripts/kafka {command} {instance}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}
