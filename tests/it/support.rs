//! The harness of the end-to-end tests: real brokers, child processes, conditions with a bound, the judgement.
//!
//! Tests are plain functions: what waits here waits for a condition and gives up after [`PATIENCE`], which is a bound
//! on a hang and never a measure. Everything a test starts ends with the value that stands for it.

mod acl;
pub mod broker;
pub mod child;
mod cluster;
pub mod front;
pub mod marks;
pub mod proxy;
pub mod schemas;
pub mod trade;
pub mod world;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long any single condition may take before the test is given up, on a machine busy with everything else.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until `condition` holds; panics with `what` after [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until `probe` yields something, and returns it.
#[track_caller]
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let from = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(
            from.elapsed() < PATIENCE,
            "given up after {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_dig-ingest"))
}
