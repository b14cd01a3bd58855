#![doc = include_str!("../README.md")]
//!
//! The library behind the `dig-ingest` binary.
//!
//! Four modules are an interface for other programs, and follow semantic versioning: [`config`] (read and check settings), [`sim`] (run the
//! simulator in a test), [`load`] (produce telemetry with a manifest) and [`verify`] (judge what arrived). All others are public for the
//! binary, the benchmarks and the tests of this repository only; they change without notice and are not in the documentation.

pub mod config;
pub mod load;
pub mod sim;
pub mod verify;

#[doc(hidden)]
pub mod access;
#[doc(hidden)]
pub mod app;
#[doc(hidden)]
pub mod commands;
#[doc(hidden)]
pub mod dig;
#[doc(hidden)]
pub mod formats;
#[doc(hidden)]
pub mod headers;
#[doc(hidden)]
pub mod http;
#[doc(hidden)]
pub mod letters;
#[doc(hidden)]
pub mod log_life;
#[doc(hidden)]
pub mod myadmin;
#[doc(hidden)]
pub mod ops;
#[doc(hidden)]
pub mod orders;
#[doc(hidden)]
pub mod page;
#[doc(hidden)]
pub mod pipeline;
#[doc(hidden)]
pub mod poll;
#[doc(hidden)]
pub mod record;
#[doc(hidden)]
pub mod registry;
#[doc(hidden)]
pub mod rights;
#[doc(hidden)]
pub mod topic_partition;

/// The Rust example of `config/README.md` is a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../config/README.md")]
struct SettingsExample;
