//! The client of MyAdmin: both of its surfaces, JSON-RPC and the partner's shipping REST (myadmin/API.md).
//!
//! `wire` holds what MyAdmin tells, `error` what can go wrong; [`Client`] has a method for every call we make. Below it:
//! `exchange` makes single calls behind `limits`, `session` owns the login, `rpc`, `paging` and `profile` are pure.
//! Knows nothing of orders' states: what a failure means for a unit is decided where the call is made.
//!
//! Invariant (P1): a call that provisions leaves this module at most once, whatever becomes of it.

pub mod client;
pub mod error;
mod exchange;
mod fulfilment;
pub mod limits;
mod members;
pub mod methods;
pub mod paging;
pub mod profile;
mod retries;
pub mod roles;
pub mod rpc;
pub mod session;
pub mod wire;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::config::secret::Secret;
use methods::Method;

pub use client::{Client, Permit};
pub use error::{Error, Kind, Refusal, Why};
pub use roles::{Needs, Report};

/// Settings of MyAdmin's client (`[myadmin]`). The credentials are others than the gateway's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of JSON-RPC: a base, or the full address of the endpoint.
    pub url: String,
    /// Base address of the REST surface.
    pub rest_url: String,
    /// MyAdmin user; empty switches everything that needs MyAdmin off.
    pub username: String,
    /// Its password; better given by environment or `password_file`.
    pub password: Secret,
    /// File that holds the password; read again at every login.
    pub password_file: Option<PathBuf>,
    /// Permit `http://` to hosts other than this machine.
    pub allow_plain_http: bool,
    /// PEM file of certificate authorities trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Trust only the authorities in `ca_file`.
    pub ca_file_only: bool,
    /// Address of an HTTP proxy; may hold a password.
    pub proxy: Option<Secret>,
    /// `User-Agent` header.
    pub user_agent: String,
    /// How JSON-RPC calls are put into the body.
    pub encoding: rpc::Encoding,
    /// Seconds to make a connection.
    pub connect_timeout_s: u64,
    /// Bytes of an answer that are read at most: the largest page, parsed, costs eight times as much.
    pub answer_bytes: usize,
    /// Seconds to wait for an answer.
    pub request_timeout_s: u64,
    /// Seconds to wait for the answer of a provisioning call.
    pub provision_timeout_s: u64,
    /// Seconds an idle connection is kept.
    pub pool_idle_s: u64,
    /// Idle connections kept.
    pub pool_size: usize,
    /// How often a call that changes nothing is made before its failure is told.
    pub read_attempts: u32,
    /// Milliseconds before the second attempt; doubles up to `backoff_max_ms`.
    pub backoff_ms: u64,
    /// Milliseconds between attempts at most.
    pub backoff_max_ms: u64,
    /// Seconds a call waits at most, for our limits and between attempts.
    pub patience_s: u64,
    /// Seconds a surface is left alone after a 429 that does not say how long.
    pub throttle_pause_s: u64,
    /// Seconds it is left alone at most, whatever a 429 says.
    pub throttle_pause_max_s: u64,
    /// Seconds before the next login after credentials were refused; doubles up to `denied_wait_max_s`.
    pub denied_wait_s: u64,
    /// Seconds between such logins at most.
    pub denied_wait_max_s: u64,
    /// Part of every limit that we use, above 0 and at most 1.
    pub limits_share: f64,
    /// Try the other version once when MyAdmin says a method is not served under the one called.
    pub version_fallback: bool,
    /// How `GetDeviceContracts` is paged.
    pub contracts_paging: paging::Style,
    /// Serials asked for in one `GetDeviceDatabaseNamesAsync` call.
    pub serials_per_call: usize,
    /// Rows of a page, of v3 and REST.
    pub page_size: u32,
    /// How the REST list is paged.
    pub rest_paging: paging::Style,
    /// How the REST list's page size is spelled.
    pub rest_page_size_name: paging::SizeName,
    /// Ask for a single order by its own address before looking through the list.
    pub rest_single_order: bool,
    /// Days the list of one order is looked through.
    pub lookup_days: u32,
    /// Limits by name.
    pub limits: limits::Table,
    /// Version by method.
    pub versions: methods::Versions,
    /// How assignments are written.
    pub unit_report: profile::UnitProfile,
    /// How shipments are written.
    pub shipment_report: profile::ShipmentProfile,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "https://myadminapi.geotab.com/".to_owned(),
            rest_url: "https://myadmin.geotab.com/api/v3/shipping/partner".to_owned(),
            username: String::new(),
            password: Secret::default(),
            password_file: None,
            allow_plain_http: false,
            ca_file: None,
            ca_file_only: false,
            proxy: None,
            user_agent: concat!("dig-ingest/", env!("CARGO_PKG_VERSION")).to_owned(),
            encoding: rpc::Encoding::Form,
            connect_timeout_s: 10,
            answer_bytes: 32 * 1024 * 1024,
            request_timeout_s: 60,
            provision_timeout_s: 180,
            pool_idle_s: 30,
            pool_size: 8,
            read_attempts: 5,
            backoff_ms: 5_000,
            backoff_max_ms: 60_000,
            patience_s: 180,
            throttle_pause_s: 60,
            throttle_pause_max_s: 900,
            denied_wait_s: 60,
            denied_wait_max_s: 600,
            limits_share: 0.9,
            version_fallback: false,
            contracts_paging: paging::Style::Offset,
            serials_per_call: 100,
            page_size: 100,
            rest_paging: paging::Style::Offset,
            rest_page_size_name: paging::SizeName::Camel,
            rest_single_order: true,
            lookup_days: 90,
            limits: limits::Table::default(),
            versions: methods::Versions::default(),
            unit_report: profile::UnitProfile::default(),
            shipment_report: profile::ShipmentProfile::default(),
        }
    }
}

impl Config {
    /// Whether there is a user to log in with.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.username.is_empty()
    }

    /// # Errors
    /// The first setting that cannot be used, with the remedy.
    pub fn check(&self) -> anyhow::Result<()> {
        exchange::rpc_url(self, methods::Version::V2)?;
        let base = exchange::rest_url(self)?;
        anyhow::ensure!(
            self.password.is_empty() || self.password_file.is_none(),
            "[myadmin] password and password_file are both set: keep one"
        );
        if self.is_on() {
            anyhow::ensure!(
                !self.password.is_empty() || self.password_file.is_some(),
                "[myadmin] neither password nor password_file is set"
            );
            self.current_password()?;
        }
        for (key, value) in [
            ("connect_timeout_s", self.connect_timeout_s),
            ("request_timeout_s", self.request_timeout_s),
            ("provision_timeout_s", self.provision_timeout_s),
            ("read_attempts", self.read_attempts.into()),
            ("backoff_ms", self.backoff_ms),
            ("serials_per_call", self.serials_per_call as u64),
            ("page_size", self.page_size.into()),
            ("lookup_days", self.lookup_days.into()),
        ] {
            anyhow::ensure!(value >= 1, "[myadmin] {key} = 0: use 1 or more");
        }
        anyhow::ensure!(
            self.limits_share > 0.0 && self.limits_share <= 1.0,
            "[myadmin] limits_share = {}: use a number above 0 and up to 1",
            self.limits_share
        );
        anyhow::ensure!(
            self.answer_bytes >= 64 * 1024,
            "[myadmin] answer_bytes = {}: use 65536 or more",
            self.answer_bytes
        );
        anyhow::ensure!(
            self.ca_file.is_some() || !self.ca_file_only,
            "[myadmin] ca_file_only needs ca_file"
        );
        self.unit_report
            .check(&base)
            .map_err(|error| anyhow::anyhow!("[myadmin] unit_report: {error:#}"))?;
        self.shipment_report
            .check(&base)
            .map_err(|error| anyhow::anyhow!("[myadmin] shipment_report: {error:#}"))
    }

    /// The password as it is now: from the file if there is one, without the line end.
    ///
    /// # Errors
    /// The file cannot be read or is empty.
    pub fn current_password(&self) -> anyhow::Result<Secret> {
        let Some(path) = &self.password_file else {
            return Ok(self.password.clone());
        };
        Secret::from_file(path)
            .with_context(|| format!("[myadmin] password_file: cannot use {}", path.display()))
    }

    /// How long a surface is left alone after a 429 that asks for `asked`.
    fn pause(&self, asked: Option<Duration>) -> Duration {
        asked
            .unwrap_or(Duration::from_secs(self.throttle_pause_s))
            .min(Duration::from_secs(self.throttle_pause_max_s))
    }

    fn timeout(&self, method: Method) -> Duration {
        Duration::from_secs(match method {
            Method::Provision => self.provision_timeout_s,
            _ => self.request_timeout_s,
        })
    }
}
