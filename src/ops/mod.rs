//! What operators see: metrics, health, logs.

pub mod attempts;
pub mod health;
pub mod journey;
pub mod log;
#[expect(clippy::disallowed_macros, reason = "the one place that names metrics")]
pub mod metrics;
pub mod notify;
pub mod panics;
pub mod status;
pub mod status_registry;
pub mod waits;
pub mod web;

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// `[ops]`: the operations pages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Listen address and port of `/metrics`, `/livez`, `/readyz` and `/status`; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Stall threshold in seconds (1 or more): a partition that has unfinished records and makes no progress for this long counts as
    /// stalled, and `/livez` answers 503.
    pub stall_after_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
            stall_after_s: 120,
        }
    }
}
