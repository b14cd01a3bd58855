//! What every HTTP client here shares: making one, what an answer means, when to ask again, and how fast to go.
//!
//! `retry` and the state machines of `pacing` are pure: the time and the dice are arguments.

pub mod pacing;
pub mod retry;
pub mod transport;
