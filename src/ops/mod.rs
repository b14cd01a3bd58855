//! What operators see: metrics, health, logs.

pub mod attempts;
pub mod enquiry;
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
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::secret::Secret;

/// `[ops]`: the operations pages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Listen address and port of `/metrics`, `/livez`, `/readyz` and `/status`; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Stall threshold in seconds (1 or more): a partition that has unfinished records and makes no progress for this long counts as
    /// stalled, and `/livez` answers 503.
    pub stall_after_s: u64,
    /// Operator page.
    pub page: Page,
}

/// `[ops.page]`: the operator page, served beside the operations pages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// Whether the operator page is served at `/` of `ops.listen`.
    pub enabled: bool,
    /// Bearer token of the operator page, for a person that the audit trail names `api`. A token is required unless `ops.listen` is a
    /// loopback address.
    pub token: Secret,
    /// File of bearer tokens of the operator page by name, one `NAME TOKEN` per line.
    pub token_file: PathBuf,
    /// Host names by which browsers reach the operator page, beside `localhost` and IP addresses: those of a proxy in front, for example.
    pub hosts: Vec<String>,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            enabled: true,
            token: Secret::default(),
            token_file: PathBuf::new(),
            hosts: Vec::new(),
        }
    }
}

impl Page {
    /// What the types cannot say.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn check(&self) -> Result<(), String> {
        if !self.token.is_empty() && !self.token_file.as_os_str().is_empty() {
            return Err("page.token_file: page.token is set too; remove one of the two".into());
        }
        let odd = |host: &&String| {
            host.is_empty()
                || host.contains(['/', ':', '*'])
                || host.chars().any(char::is_whitespace)
        };
        if let Some(host) = self.hosts.iter().find(odd) {
            return Err(format!(
                "page.hosts: {host:?} is no host name; give it without scheme, port and path, such as \"ops.example.com\""
            ));
        }
        Ok(())
    }

    /// Whether a token is set.
    #[must_use]
    pub fn has_token(&self) -> bool {
        !self.token.is_empty() || !self.token_file.as_os_str().is_empty()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
            stall_after_s: 120,
            page: Page::default(),
        }
    }
}
