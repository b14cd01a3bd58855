//! What every HTTP client here shares: making one, what an answer means, when to ask again, and how fast to go; and the one server.
//!
//! `retry` and the state machines of `pacing` are pure: the time and the dice are arguments.

pub mod client_credentials;
pub mod descriptors;
pub mod mount;
pub mod pacing;
pub mod retry;
pub mod server;
pub mod tokens;
pub mod transport;
