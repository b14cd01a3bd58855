//! Metric names and how they are counted: only the files of this folder know the `metrics` crate.
//!
//! One file per area, each a set of functions whose names are verbs; nothing else names a metric.

pub mod dig;
mod exposition;
pub mod failing;
pub mod feedback;
pub mod formats;
pub mod health;
pub mod held;
mod help;
pub mod log;
pub mod log_life;
pub mod myadmin;
pub mod orders;
pub mod pipeline;
pub mod process;
pub mod registry;
pub mod server;
pub mod upload;

pub use exposition::{Exposition, install};
