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
    /// Base address of the gateway.
    pub url: String,
    /// MyAdmin user with the `DIG-Access` role.
    pub username: String,
    /// Its password; better given by environment or `password_file`.
    pub password: Secret,
    /// File that holds the password; read again at every login, so that it can change while the job runs.
    pub password_file: Option<PathBuf>,
    /// Permit `http://` to hosts other than this machine: tokens and records travel in the clear.
    pub allow_plain_http: bool,
    /// PEM file of certificate authorities trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Trust only the authorities in `ca_file`.
    pub ca_file_only: bool,
    /// Address of an HTTP proxy; may hold a password.
    pub proxy: Option<Secret>,
    /// `User-Agent` header.
    pub user_agent: String,
    /// Seconds to make a connection.
    pub connect_timeout_s: u64,
    /// Seconds to wait for an answer: the n-th attempt in a row that gets none waits for the n-th value, later ones for the last.
    pub request_timeout_s: Vec<u64>,
    /// Seconds an idle connection is kept.
    pub pool_idle_s: u64,
    /// Idle connections kept.
    pub pool_size: usize,
    /// Seconds connections are used before new ones are made, which resolve the address again; 0 for ever.
    pub connection_max_age_s: u64,
    /// Calls per minute the gateway allows on each authentication endpoint (dig/API.md 4.1).
    pub auth_calls_per_minute: f64,
    /// Part of those we use, 0 to 1.
    pub auth_share: f64,
    /// Instances that share the account: each uses an equal part.
    pub instances: u32,
    /// Minutes before expiry at which the token is renewed, or half its life if that is less.
    pub refresh_before_min: u64,
    /// Minutes a token is taken to live when the answer does not say.
    pub assumed_life_min: u64,
    /// Milliseconds before the next login after the credentials or a fresh token were refused; doubles up to
    /// `denied_probe_max_ms`.
    pub denied_probe_ms: u64,
    /// Milliseconds between such logins at most.
    pub denied_probe_max_ms: u64,
    /// Milliseconds the revoking of tokens may take at the end.
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
