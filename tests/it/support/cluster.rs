//! Clusters of several brokers, and disks that lose what was on them.

use std::fs;

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};

use super::{
    broker::{ASK, Broker, block_on},
    wait_for,
};

impl Broker {
    /// Starts a further broker of this one's cluster, whose controller this one stays. It begins without partitions.
    pub fn member(&self, node: u32) -> Self {
        let number = node.to_string();
        Self::launch(&[
            "--member-of",
            self.instance(),
            "--node",
            &number,
            "--heap",
            "192m",
        ])
    }

    /// Creates a topic of one partition with replicas on these nodes, the first one leading, and waits until all are in sync.
    pub fn topic_on(&self, name: &str, nodes: &[i32], settings: &[(&str, &str)]) {
        let replicas = [nodes];
        let mut topic = NewTopic::new(name, 1, TopicReplication::Variable(&replicas));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let admin = self.admin();
        let options = AdminOptions::new().operation_timeout(Some(ASK));
        let made = block_on(admin.create_topics([&topic], &options)).expect("the broker answers");
        for each in made {
            each.unwrap_or_else(|(name, error)| panic!("topic {name}: {error}"));
        }
        wait_for("the new topic has a leader and all its replicas", || {
            let metadata = admin.inner().fetch_metadata(Some(name), ASK).ok()?;
            let partition = metadata.topics().first()?.partitions().first()?;
            (partition.leader() == nodes[0] && partition.isr().len() == nodes.len()).then_some(())
        });
    }

    /// The power fails, and the end of a partition's log was not on the disk yet: about a third of it is gone, in the middle of a
    /// batch. Everything else of the broker, the offsets of groups too, is as it was.
    pub fn lose_tail(&self, topic: &str, partition: i32) {
        self.kill();
        let log = self.segment(topic, partition);
        let folder = log.parent().expect("a folder");
        for entry in fs::read_dir(folder).expect("the partition's folder") {
            let path = entry.expect("a file").path();
            // The broker makes these anew from the log.
            let derived = ["index", "timeindex", "snapshot"];
            let ending = path.extension().and_then(|ending| ending.to_str());
            if ending.is_some_and(|ending| derived.contains(&ending)) {
                fs::remove_file(path).expect("the disk is ours");
            }
        }
        let file = fs::OpenOptions::new().write(true).open(&log);
        let file = file.expect("the log");
        let bytes = file.metadata().expect("its size").len();
        file.set_len(bytes * 2 / 3).expect("the disk is ours");
        self.revive();
    }
}
