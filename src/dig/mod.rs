//! The client of the Data Intake Gateway (dig/API.md sections 1-5 and 10).
//!
//! `wire` reads its JSON, `client` makes single calls, `session` owns the tokens. Retrying and pacing of records is not
//! done here but in `pipeline::upload`.

pub mod client;
pub mod error;
pub mod page;
pub mod session;
pub mod wire;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::config::secret::Secret;

pub use client::{Answer, Client};
pub use session::{Closed, Session, Token};

/// Settings of the gateway's client (`[dig]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Base URL of the gateway.
    pub url: String,
    /// MyAdmin user with the `DIG-Access` role.
    pub username: String,
    /// Password of `username`; better given by the environment or by `password_file`.
    pub password: Secret,
    /// File with the password of `username`; read again at every login, so that the password can change while the job runs.
    pub password_file: Option<PathBuf>,
    /// Whether `http://` is permitted to hosts other than this machine; tokens and records then travel unencrypted.
    pub allow_plain_http: bool,
    /// PEM file of certificate authorities trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether only the authorities in `dig.ca_file` are trusted.
    pub ca_file_only: bool,
    /// URL of an HTTP proxy; may hold a password.
    pub proxy: Option<Secret>,
    /// `User-Agent` header of every request; the default holds the version of the program.
    pub user_agent: String,
    /// Connect timeout in seconds (1 or more).
    pub connect_timeout_s: u64,
    /// Request timeouts in seconds (each 1 or more), by consecutive attempts without an answer: the n-th attempt uses the n-th value,
    /// later attempts the last value.
    pub request_timeout_s: Vec<u64>,
    /// Idle timeout of a pooled connection in seconds.
    pub pool_idle_s: u64,
    /// Maximum number of idle connections in the pool.
    pub pool_size: usize,
    /// Maximum age of connections in seconds; new connections resolve the host name again. 0: unlimited.
    pub connection_max_age_s: u64,
    /// Rate limit of the gateway in calls per minute (above 0) on each authentication endpoint (dig/API.md 4.1).
    pub auth_calls_per_minute: f64,
    /// Fraction of `auth_calls_per_minute` this job may use (`0 < x <= 1`).
    pub auth_share: f64,
    /// Number of instances (1 or more) that share the account; each uses an equal part of the permitted authentication calls.
    pub instances: u32,
    /// Time in minutes before the expiry of a token at which the token is renewed; at most half of its lifetime.
    pub refresh_before_min: u64,
    /// Token lifetime in minutes that is assumed if the answer does not state one.
    pub assumed_life_min: u64,
    /// Initial backoff in milliseconds before the next login after the credentials or a fresh token were refused; doubles from login to
    /// login.
    pub denied_probe_ms: u64,
    /// Maximum backoff in milliseconds between two logins after a refusal.
    pub denied_probe_max_ms: u64,
    /// Timeout in milliseconds for revoking the tokens at shutdown.
    pub revoke_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "https://dig.geotab.com:443/".to_owned(),
            username: String::new(),
            password: Secret::default(),
            password_file: None,
            allow_plain_http: false,
            ca_file: None,
            ca_file_only: false,
            proxy: None,
            user_agent: concat!("dig-ingest/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout_s: 10,
            request_timeout_s: vec![30, 30, 30, 60, 120, 300],
            pool_idle_s: 30,
            pool_size: 64,
            connection_max_age_s: 300,
            auth_calls_per_minute: 5.0,
            auth_share: 0.8,
            instances: 1,
            refresh_before_min: 60,
            assumed_life_min: 60,
            denied_probe_ms: 60_000,
            denied_probe_max_ms: 600_000,
            revoke_timeout_ms: 5_000,
        }
    }
}

impl Config {
    /// # Errors
    /// The first setting that cannot be used, with the remedy.
    pub fn check(&self) -> anyhow::Result<()> {
        client::base(self)?;
        anyhow::ensure!(
            !self.username.is_empty(),
            "[dig] username is empty: set it to a MyAdmin user with the DIG-Access role"
        );
        anyhow::ensure!(
            self.password.is_empty() || self.password_file.is_none(),
            "[dig] password and password_file are both set: keep one"
        );
        anyhow::ensure!(
            !self.password.is_empty() || self.password_file.is_some(),
            "[dig] neither password nor password_file is set"
        );
        if self.password_file.is_some() {
            self.current_password()?;
        }
        anyhow::ensure!(
            !self.request_timeout_s.is_empty() && !self.request_timeout_s.contains(&0),
            "[dig] request_timeout_s: give at least one number, each 1 or more"
        );
        anyhow::ensure!(
            self.connect_timeout_s >= 1,
            "[dig] connect_timeout_s = 0: use 1 or more"
        );
        anyhow::ensure!(
            self.auth_calls_per_minute.is_finite() && self.auth_calls_per_minute > 0.0,
            "[dig] auth_calls_per_minute = {}: use a positive number",
            self.auth_calls_per_minute
        );
        anyhow::ensure!(
            self.auth_share > 0.0 && self.auth_share <= 1.0,
            "[dig] auth_share = {}: use a number above 0 and up to 1",
            self.auth_share
        );
        anyhow::ensure!(self.instances >= 1, "[dig] instances = 0: use 1 or more");
        anyhow::ensure!(
            self.ca_file.is_some() || !self.ca_file_only,
            "[dig] ca_file_only needs ca_file"
        );
        Ok(())
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
            .with_context(|| format!("[dig] password_file: cannot use {}", path.display()))
    }

    /// How long the n-th attempt in a row that got no answer may take, n from 0.
    #[must_use]
    pub fn request_timeout(&self, attempt: u32) -> Duration {
        let ladder = &self.request_timeout_s;
        let step = (attempt as usize).min(ladder.len().saturating_sub(1));
        Duration::from_secs(ladder.get(step).copied().unwrap_or(30))
    }

    /// Calls per second this instance makes to each authentication endpoint at most.
    pub(crate) fn auth_calls_per_second(&self) -> f64 {
        self.auth_calls_per_minute * self.auth_share / f64::from(self.instances.max(1)) / 60.0
    }
}
