//! Clusters of several brokers.

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
}
