//! End to end on real brokers: what may go wrong goes wrong, and nothing is lost, reordered or made up.

mod brokers;
mod chaos;
mod gateway;
mod groups;
pub mod held;
mod journey;
mod letters;
mod memory;
mod positions;
mod registry;
mod security;
pub mod takeover;
mod tokens;
