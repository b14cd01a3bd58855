//! The order journey: from an approved order to an active device, exactly once.

pub mod journey;
pub mod store;
