//! Metrics of the pipeline: the account of records (O2), letters, requests, and the sentinels.

use metrics::{counter, gauge, histogram};

use crate::pipeline::letter::{Destination, Reason};
use crate::pipeline::partition::Account;
use crate::pipeline::queues::Watch;
use crate::topic_partition::TopicPartition;

/// Adds what changed in a partition's account.
///
/// * `dig_ingest_records_read_total`: Records read from the input; equals the records of all outcomes and those in hand.
/// * `dig_ingest_records_total`: Records that ended, by outcome: `accepted`, `dead_lettered`, `held` or `discarded`.
/// * `dig_ingest_messages_total`: Messages read from the input.
/// * `dig_ingest_messages_empty_total`: Messages read from the input that hold no record.
pub fn account(topic: &str, before: &Account, after: &Account) {
    let add = |outcome: &'static str, from: u64, to: u64| {
        if to > from {
            counter!("dig_ingest_records_total", "topic" => topic.to_owned(), "outcome" => outcome)
                .increment(to - from);
        }
    };
    if after.read > before.read {
        counter!("dig_ingest_records_read_total", "topic" => topic.to_owned())
            .increment(after.read - before.read);
    }
    add("accepted", before.accepted, after.accepted);
    add("dead_lettered", before.dead_lettered, after.dead_lettered);
    add("held", before.held, after.held);
    add("discarded", before.discarded, after.discarded);
    if after.messages > before.messages {
        counter!("dig_ingest_messages_total", "topic" => topic.to_owned())
            .increment(after.messages - before.messages);
    }
    if after.empty > before.empty {
        counter!("dig_ingest_messages_empty_total", "topic" => topic.to_owned())
            .increment(after.empty - before.empty);
    }
}

/// A letter was queued; the reason codes are rule ids, so the label is bounded.
pub fn letter(destination: Destination, reason: &Reason) {
    let destination = match destination {
        Destination::DeadLetter => "dead_letter",
        Destination::Held => "held",
    };
    counter!("dig_ingest_letters_total", "destination" => destination, "reason" => reason.code.clone()).increment(1);
}

/// The broker refused a letter.
pub fn letter_refused() {
    counter!("dig_ingest_letters_refused_total").increment(1);
}

/// A letter was larger than its topic takes and is written shortened.
pub fn letter_shortened() {
    counter!("dig_ingest_letters_shortened_total").increment(1);
}

/// Letters have waited longer than the alarm time.
pub fn letters_stuck(topic: &str) {
    counter!("dig_ingest_letters_stuck_total", "topic" => topic.to_owned()).increment(1);
}

/// A validation rule warned about or normalised records.
pub fn noted(rule: &'static str, count: u64) {
    counter!("dig_ingest_validation_notes_total", "rule" => rule).increment(count);
}

/// The client gave an error in a message's place.
pub fn message_error(topic: &str) {
    counter!("dig_ingest_message_errors_total", "topic" => topic.to_owned()).increment(1);
}

/// Whether the next batch of a partition cannot be read.
pub fn unreadable(of: &TopicPartition, stands: bool) {
    let labels = [
        ("topic", of.topic.clone()),
        ("partition", of.partition.to_string()),
    ];
    gauge!("dig_ingest_partition_unreadable", &labels).set(if stands { 1.0 } else { 0.0 });
}

/// A batch that cannot be read was skipped at a person's request.
pub fn skipped(topic: &str) {
    counter!("dig_ingest_batches_skipped_total", "topic" => topic.to_owned()).increment(1);
}

/// Messages the client gave again within an assignment: what was read is looked for in the log, and reading goes on behind it.
pub fn repeated(topic: &str, messages: u64) {
    counter!("dig_ingest_messages_repeated_total", "topic" => topic.to_owned()).increment(messages);
}

/// A request was packed.
///
/// * `dig_ingest_request_records`: Records of a request.
/// * `dig_ingest_request_batches`: Batches of a request, each of one serial.
/// * `dig_ingest_request_bytes`: Bytes of the body of a request.
pub fn packed(records: usize, batches: usize, bytes: usize) {
    histogram!("dig_ingest_request_records").record(records as f64);
    histogram!("dig_ingest_request_batches").record(batches as f64);
    histogram!("dig_ingest_request_bytes").record(bytes as f64);
}

/// Partitions assigned to this instance.
pub fn assigned(partitions: usize) {
    gauge!("dig_ingest_partitions_assigned").set(partitions as f64);
}

/// The group moved partitions.
pub fn rebalanced(kind: &'static str) {
    counter!("dig_ingest_rebalances_total", "kind" => kind).increment(1);
}

/// Bytes lent out by the memory permits, and their limit.
///
/// * `dig_ingest_memory_permits_used_bytes`: Bytes of records in hand, as the memory permits count them.
/// * `dig_ingest_memory_permits_total_bytes`: The limit of the bytes in hand (memory.total_bytes).
pub fn memory(used: u64, total: u64) {
    gauge!("dig_ingest_memory_permits_used_bytes").set(used as f64);
    gauge!("dig_ingest_memory_permits_total_bytes").set(total as f64);
}

/// Messages between a partition's watermark and the newest one taken in.
pub fn window(of: &TopicPartition, messages: u64) {
    let labels = [
        ("topic", of.topic.clone()),
        ("partition", of.partition.to_string()),
    ];
    gauge!("dig_ingest_partition_window_messages", &labels).set(messages as f64);
}

/// Messages between the committed offset and the end of the partition, as the client reports it.
pub fn lag(of: &TopicPartition, messages: i64) {
    let labels = [
        ("topic", of.topic.clone()),
        ("partition", of.partition.to_string()),
    ];
    gauge!("dig_ingest_partition_lag_messages", &labels).set(messages as f64);
}

/// A read was refused; `reason` is `memory`, `window` (unsettled messages) or `commit` (settled ones, not confirmed).
pub fn backpressure(reason: &'static str) {
    counter!("dig_ingest_backpressure_total", "reason" => reason).increment(1);
}

/// Sentinel: one commit was confirmed; `regressed` must never be true (O1).
///
/// * `dig_ingest_sentinel_commits_total`: Commits of partitions that the broker confirmed.
/// * `dig_ingest_sentinel_commit_regress_total`: Sentinel (O1): confirmed commits below an earlier one of the same assignment; must stay 0.
pub fn committed(regressed: bool) {
    counter!("dig_ingest_sentinel_commits_total").increment(1);
    counter!("dig_ingest_sentinel_commit_regress_total").increment(u64::from(regressed));
}

/// Sentinels of the order of a serial (S1) and of sending what was settled, with the batches they were looked for in.
///
/// * `dig_ingest_sentinel_batches_total`: Batches that the sentinels looked at.
/// * `dig_ingest_sentinel_out_of_order_total`: Sentinel (S1): records packed behind a later one of their serial; must stay 0.
/// * `dig_ingest_sentinel_resend_after_accept_total`: Sentinel: records sent again although the gateway had accepted them; must stay 0.
pub fn watched(before: &(Watch, u64), after: &(Watch, u64)) {
    if after.0.batches == before.0.batches {
        return;
    }
    counter!("dig_ingest_sentinel_batches_total").increment(after.0.batches - before.0.batches);
    counter!("dig_ingest_sentinel_out_of_order_total")
        .increment(after.0.out_of_order - before.0.out_of_order);
    counter!("dig_ingest_sentinel_resend_after_accept_total").increment(after.1 - before.1);
}

/// Sentinel: messages between the watermark and what the broker says is committed.
///
/// * `dig_ingest_sentinel_commit_gap_checks_total`: Comparisons of the watermark with the committed offset.
pub fn commit_gap(of: &TopicPartition, messages: i64) {
    let labels = [
        ("topic", of.topic.clone()),
        ("partition", of.partition.to_string()),
    ];
    gauge!("dig_ingest_sentinel_commit_gap_messages", &labels).set(messages as f64);
    counter!("dig_ingest_sentinel_commit_gap_checks_total").increment(1);
}

/// A commit failed; during a rebalance that is normal.
pub fn commit_failed() {
    counter!("dig_ingest_commits_failed_total").increment(1);
}

/// The client moved to another offset by its reset rule: records may have been lost before they were read.
pub fn offset_reset() {
    counter!("dig_ingest_offset_resets_total").increment(1);
}

/// A consumer was closed to be re-created; `reason` is `fenced`, `stale` (it cannot read a new log) or `out_of_group` (its group settled without it).
pub fn client_replaced(reason: &'static str) {
    counter!("dig_ingest_clients_replaced_total", "reason" => reason).increment(1);
}
