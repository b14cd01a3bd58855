//! Metrics of the order journey.

use metrics::{counter, gauge};

/// An act of the reconciler changed something.
pub fn count_act(act: &'static str) {
    counter!("dig_ingest_orders_acts_total", "act" => act).increment(1);
}

/// An order or a unit was parked for a person.
pub fn count_parked(reason: &'static str) {
    counter!("dig_ingest_orders_parked_total", "reason" => reason).increment(1);
}

/// A provisioning call ended, or a lost answer was cleared up (`adopted`).
pub fn count_provision(outcome: &'static str) {
    counter!("dig_ingest_orders_provision_calls_total", "outcome" => outcome).increment(1);
}

/// An alarm was raised for a person.
pub fn count_alarm(kind: &'static str) {
    counter!("dig_ingest_orders_alarms_total", "kind" => kind).increment(1);
}

/// A call to the marketplace failed; `call` is what was asked.
pub fn count_failure(call: &'static str) {
    counter!("dig_ingest_orders_call_failures_total", "call" => call).increment(1);
}

/// A round ended; `outcome` is `done` or `failed`.
pub fn count_round(outcome: &'static str) {
    counter!("dig_ingest_orders_rounds_total", "outcome" => outcome).increment(1);
}

/// Units now in a state.
pub fn set_units(state: &'static str, units: usize) {
    gauge!("dig_ingest_orders_units", "state" => state).set(units as f64);
}

/// Age of the oldest order with a unit whose journey has not ended; 0 when there is none.
pub fn set_oldest_open(age_s: f64) {
    gauge!("dig_ingest_orders_oldest_open_seconds").set(age_s);
}

/// Changes of the device registry that the topic has not confirmed.
pub fn set_outbox(waiting: i64) {
    gauge!("dig_ingest_orders_outbox_waiting").set(waiting as f64);
}

/// Changes of the device registry that the topic confirmed.
pub fn count_published(devices: usize) {
    counter!("dig_ingest_orders_published_total").increment(devices as u64);
}

/// 1 while this instance holds the lease and its store is proven: only then anything is provisioned.
pub fn set_proven(proven: bool) {
    gauge!("dig_ingest_orders_store_proven").set(if proven { 1.0 } else { 0.0 });
}

/// Devices of the registry that were not as the store has them, and were written again.
pub fn count_differences(devices: usize) {
    counter!("dig_ingest_orders_registry_differences_total").increment(devices as u64);
}

/// 1 while this instance holds the lease.
pub fn set_leading(leading: bool) {
    gauge!("dig_ingest_orders_lease_held").set(if leading { 1.0 } else { 0.0 });
}

/// Units that wait, by what they wait for, and the age of the oldest such wait.
pub fn set_waits(what: &'static str, units: usize, oldest_s: f64) {
    gauge!("dig_ingest_orders_waiting_units", "for" => what).set(units as f64);
    gauge!("dig_ingest_orders_waiting_oldest_seconds", "for" => what).set(oldest_s);
}

/// Alarms of orders that stand: nobody has seen to them yet.
pub fn set_alarms(standing: usize) {
    gauge!("dig_ingest_orders_alarms_standing").set(standing as f64);
}
