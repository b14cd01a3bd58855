//! The order journey: from an approved order to an active device, exactly once.
//!
//! Owns the store, and with it what every order and unit has come to. A reconciler compares what the marketplace shows with what
//! the store holds and does what is missing; people, imports and sheets act on the same store; the outbox carries what follows for
//! the device registry to its topic, where the gate reads it.
//!
//! * P1: a unit never gets two serials: `provision`.
//! * P2: a device becomes active only when all its conditions hold: [`journey`].
//! * One instance acts, by a lease in the store; every change it writes is fenced by the lease's token: [`lease`], [`store`].
//!
//! It knows neither Kafka nor the pipeline: they meet in `registry`. Its only queue is the outbox, a table without bound in the
//! store. Cancelled, it ends before its next act; what it had begun is healed by the next start.

pub mod access;
pub mod journey;
pub mod lease;
pub mod outbox;
pub mod settings;
pub mod store;

use std::sync::Arc;

pub use settings::Config;

/// The wall clock, handed in.
pub type Clock = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// The wall clock of this machine.
#[must_use]
pub fn wall_clock() -> Clock {
    Arc::new(jiff::Timestamp::now)
}
