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
    /// URL of the JSON-RPC API: a base URL, or the full endpoint URL as documented, whose version is replaced.
    pub url: String,
    /// Base URL of the partner's shipping REST API.
    pub rest_url: String,
    /// MyAdmin user; empty switches off everything that needs MyAdmin.
    pub username: String,
    /// Password of `username`; better given by the environment or by `password_file`.
    pub password: Secret,
    /// File with the password of `username`; read again at every login.
    pub password_file: Option<PathBuf>,
    /// Whether `http://` is permitted to hosts other than this machine; keys and orders then travel unencrypted.
    pub allow_plain_http: bool,
    /// PEM file of certificate authorities trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether only the authorities in `myadmin.ca_file` are trusted.
    pub ca_file_only: bool,
    /// URL of an HTTP proxy; may hold a password.
    pub proxy: Option<Secret>,
    /// `User-Agent` header of every request; the default holds the version of the program.
    pub user_agent: String,
    /// Encoding of JSON-RPC request bodies: `form` (as documented) or `json`.
    pub encoding: rpc::Encoding,
    /// Connect timeout in seconds (1 or more).
    pub connect_timeout_s: u64,
    /// Maximum size of an answer in bytes (65536 or more); the largest answer takes eight times as much memory once parsed.
    pub answer_bytes: usize,
    /// Request timeout in seconds (1 or more), except for provisioning calls.
    pub request_timeout_s: u64,
    /// Request timeout of a provisioning call in seconds (1 or more).
    pub provision_timeout_s: u64,
    /// Idle timeout of a pooled connection in seconds.
    pub pool_idle_s: u64,
    /// Maximum number of idle connections in the pool.
    pub pool_size: usize,
    /// Maximum number of attempts of a call that changes nothing (1 or more). A call that changes something is made once.
    pub read_attempts: u32,
    /// Initial backoff in milliseconds (1 or more) before the second attempt; doubles from attempt to attempt.
    pub backoff_ms: u64,
    /// Maximum backoff in milliseconds between two attempts.
    pub backoff_max_ms: u64,
    /// Maximum time in seconds that a call waits for the limits in `myadmin.limits`, and within which the call is attempted again.
    pub patience_s: u64,
    /// Pause in seconds of all calls to an API surface (v2, v3 or REST) after a 429 without `Retry-After`.
    pub throttle_pause_s: u64,
    /// Maximum pause in seconds of an API surface after a 429, even if its `Retry-After` is longer.
    pub throttle_pause_max_s: u64,
    /// Initial backoff in seconds before the next login after the credentials were refused; doubles from login to login.
    pub denied_wait_s: u64,
    /// Maximum backoff in seconds between two logins after a refusal.
    pub denied_wait_max_s: u64,
    /// Fraction of every limit in `myadmin.limits` that this job may use (`0 < x <= 1`).
    pub limits_share: f64,
    /// Whether a method is tried once under the other version when MyAdmin answers that the called version does not serve it.
    pub version_fallback: bool,
    /// Paging of `GetDeviceContracts`: `offset` (page numbers) or `keyset` (cursor).
    pub contracts_paging: paging::Style,
    /// Maximum number of serials per `GetDeviceDatabaseNamesAsync` call (1 or more).
    pub serials_per_call: usize,
    /// Page size in rows (1 or more) of v3 and REST lists.
    pub page_size: u32,
    /// Paging of REST lists: `offset` (page numbers) or `keyset` (cursor).
    pub rest_paging: paging::Style,
    /// Name of the page size parameter of REST lists: `perPage` or `per_page`.
    pub rest_page_size_name: paging::SizeName,
    /// Whether a single order is requested by its own URL before the list of orders is searched.
    pub rest_single_order: bool,
    /// Number of days (1 or more) back from today in which the list of orders is searched for a single order.
    pub lookup_days: u32,
    /// Rate limits by name.
    pub limits: limits::Table,
    /// API version by method.
    pub versions: methods::Versions,
    /// Call that reports the assignment of a unit.
    pub unit_report: profile::UnitProfile,
    /// Call that reports the shipment of an order.
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
