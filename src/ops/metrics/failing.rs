//! Metrics of devices that the gateway fails on.

use metrics::{counter, gauge};

use crate::pipeline::isolation::Figures;
use crate::topic_partition::TopicPartition;

/// Devices of a partition by what is done about them.
pub fn devices(of: &TopicPartition, figures: &Figures) {
    for (state, devices) in [
        ("suspected", figures.suspected),
        ("isolated", figures.isolated),
        ("quarantined", figures.quarantined),
    ] {
        let labels = [
            ("topic", of.topic.clone()),
            ("partition", of.partition.to_string()),
            ("state", state.to_owned()),
        ];
        gauge!("dig_ingest_failing_devices", &labels).set(devices as f64);
    }
}

/// A device was found to fail alone.
pub fn isolated(topic: &str) {
    counter!("dig_ingest_devices_isolated_total", "topic" => topic.to_owned()).increment(1);
}

/// A device's records go to the held topic because the gateway fails on them.
pub fn quarantined(topic: &str) {
    counter!("dig_ingest_devices_quarantined_total", "topic" => topic.to_owned()).increment(1);
}

/// The gateway takes a device's records again.
pub fn cleared(topic: &str) {
    counter!("dig_ingest_devices_cleared_total", "topic" => topic.to_owned()).increment(1);
}

/// A request of records that failed before was packed.
pub fn retried(topic: &str) {
    counter!("dig_ingest_failing_requests_total", "topic" => topic.to_owned()).increment(1);
}
