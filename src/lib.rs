#![doc = include_str!("../README.md")]
//!
//! The library behind the `dig-ingest` binary.

pub mod app;
pub mod commands;
pub mod config;
pub mod dig;
pub mod formats;
pub mod http;
pub mod load;
pub mod log_life;
pub mod myadmin;
pub mod ops;
pub mod orders;
pub mod pipeline;
pub mod poll;
pub mod record;
pub mod registry;
pub mod sim;
pub mod verify;

/// The Rust example of `config/README.md` is a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../config/README.md")]
struct SettingsExample;
