//! Asks the group's coordinator for the state of the group (DescribeGroups in the Kafka protocol).
//!
//! Owns the unsafe calls for it; only the coordinator is asked, so another broker that is down delays no answer.

use std::ffi::CString;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::bindings as ffi;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;

use super::GroupState;

/// The state of a group; blocks the calling thread.
///
/// # Errors
/// The coordinator gives no answer within `bound`, or does not let the user describe the group.
pub fn state<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    bound: Duration,
) -> anyhow::Result<GroupState> {
    let name = CString::new(group).context("kafka.group holds a zero byte")?;
    let bound_ms = i32::try_from(bound.as_millis()).unwrap_or(i32::MAX);
    let native = client.native_ptr();
    // SAFETY: the client is alive; the name outlives the call; what is made here is destroyed here, and the result belongs to the
    // event, which is destroyed after the last look at it.
    unsafe {
        let queue = ffi::rd_kafka_queue_new(native);
        let options = ffi::rd_kafka_AdminOptions_new(
            native,
            ffi::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
        );
        let mut why = [0; 128];
        ffi::rd_kafka_AdminOptions_set_request_timeout(
            options,
            bound_ms,
            why.as_mut_ptr(),
            why.len(),
        );
        let mut names = [name.as_ptr()];
        ffi::rd_kafka_DescribeConsumerGroups(native, names.as_mut_ptr(), 1, options, queue);
        // The request has a timeout of its own; this bound is only for a client that is stuck.
        let event = ffi::rd_kafka_queue_poll(queue, bound_ms.saturating_add(2_000));
        let state = read(event);
        if !event.is_null() {
            ffi::rd_kafka_event_destroy(event);
        }
        ffi::rd_kafka_AdminOptions_destroy(options);
        ffi::rd_kafka_queue_destroy(queue);
        state
    }
}

/// # Safety
/// `event` is null or a live event of the client.
unsafe fn read(event: *mut ffi::rd_kafka_event_t) -> anyhow::Result<GroupState> {
    use ffi::rd_kafka_consumer_group_state_t as State;
    anyhow::ensure!(
        !event.is_null(),
        "the client gave no answer about the group"
    );
    // SAFETY: as promised by the caller; the results belong to the event.
    unsafe {
        let failed = RDKafkaErrorCode::from(ffi::rd_kafka_event_error(event));
        anyhow::ensure!(
            failed == RDKafkaErrorCode::NoError,
            "cannot ask for the state of the group: {failed}"
        );
        let result = ffi::rd_kafka_event_DescribeConsumerGroups_result(event);
        anyhow::ensure!(!result.is_null(), "the client answered something else");
        let mut count = 0;
        let all = ffi::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        anyhow::ensure!(count == 1, "the client described {count} groups, not one");
        let group = *all;
        let error = ffi::rd_kafka_ConsumerGroupDescription_error(group);
        if !error.is_null() {
            match RDKafkaErrorCode::from(ffi::rd_kafka_error_code(error)) {
                RDKafkaErrorCode::NoError => {}
                RDKafkaErrorCode::GroupIdNotFound => return Ok(GroupState::Settled),
                code => anyhow::bail!("the coordinator does not describe the group: {code}"),
            }
        }
        match ffi::rd_kafka_ConsumerGroupDescription_state(group) {
            State::RD_KAFKA_CONSUMER_GROUP_STATE_STABLE
            | State::RD_KAFKA_CONSUMER_GROUP_STATE_EMPTY
            | State::RD_KAFKA_CONSUMER_GROUP_STATE_DEAD => Ok(GroupState::Settled),
            State::RD_KAFKA_CONSUMER_GROUP_STATE_PREPARING_REBALANCE
            | State::RD_KAFKA_CONSUMER_GROUP_STATE_COMPLETING_REBALANCE => {
                Ok(GroupState::Rebalancing)
            }
            _ => anyhow::bail!("the coordinator does not name the state of the group"),
        }
    }
}
