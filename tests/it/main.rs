//! The one integration binary: a module per subject.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking; the harness polls with a bound, and what runs longer is told by the environment"
)]

mod allocations;
mod commands;
mod contract;
mod dig_client;
mod formats;
mod holding;
mod kafka;
mod letters;
mod mappings;
mod mock;
mod myadmin_client;
mod orders;
mod records;
mod settings;
mod simulation;
mod simulator;
mod support;
mod tree;
mod weather;

/// Counts allocations per thread, for `allocations`.
#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;
