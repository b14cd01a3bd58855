//! What every HTTP client here shares: what an answer means, when to ask again, how fast to go, and secrets.
//!
//! `retry` and the state machines of `pacing` are pure: the time and the dice are arguments.

pub mod pacing;
pub mod retry;
pub mod secret;

pub use secret::Secret;
