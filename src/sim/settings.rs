//! Settings of the simulated gateway; every one an assumption of dig/API.md section 14 where the sources are silent.
//!
//! All may be changed while it runs (`PATCH /control/settings`, [`super::Handle::change`]).

use serde::{Deserialize, Serialize};

/// How the world behaves. Durations carry their unit in the name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Life of a bearer token, seconds (dig/API.md 3.3).
    pub bearer_s: u64,
    /// Life of a refresh token, seconds (3.4).
    pub refresh_s: u64,
    /// Delay until a revoked bearer is blocked, milliseconds (3.11, U14).
    pub revoke_delay_ms: u64,
    /// Authentication calls a minute, per endpoint and user; 0 is no limit (4.1, U13).
    pub auth_per_minute: u32,
    /// Status for a bearer that was revoked; an unknown or expired one gets 401 (U15).
    pub revoked_status: u16,
    /// Status for a refresh token that expired, on refresh and revoke; 401 or 403 (U15).
    pub expired_refresh_status: u16,
    /// Token times are written without a zone, as in the OpenAPI's example (3.6).
    pub zoneless_token_times: bool,
    /// Largest body in bytes; more is 413 (U1).
    pub max_bytes: usize,
    /// Most records in a request; more is 413 (5.1).
    pub max_records: usize,
    /// Status for a request with `Content-Encoding`; 415 or 400 (U2).
    pub encoding_status: u16,
    /// `Retry-After` on 429 and 503 of the world's own making, seconds; none to leave it out (U12).
    pub retry_after_s: Option<u32>,
    /// Requests to `/records` at once; more get `throttle_status`; 0 is no limit (U10).
    pub throttle: u32,
    /// 429 or 503.
    pub throttle_status: u16,
    /// Records older are invalid, days (U7).
    pub max_age_days: u32,
    /// Records further in the future are invalid, seconds (U7).
    pub max_ahead_s: u32,
    /// Date-times without a zone are read as UTC instead of refused (6.3).
    pub zoneless_is_utc: bool,
    /// Unknown members are a schema error (5.10); otherwise ignored.
    pub refuse_extra_members: bool,
    /// Base64 limits count characters instead of decoded bytes (section 13).
    pub strict_base64: bool,
    /// Shortest delay until an invalid record shows, milliseconds (U17).
    pub invalid_delay_min_ms: u64,
    /// Longest delay until an invalid record shows, milliseconds (U17).
    pub invalid_delay_max_ms: u64,
    /// Days an invalid record is kept (U17).
    pub invalid_keep_days: u32,
    /// Records of unknown, foreign, unassigned or terminated serials vanish instead of becoming invalid records (U5).
    pub silent_serials: bool,
    /// What `Data` is in an error's body, where it is empty (2.2).
    pub empty_form: EmptyForm,
    /// Error texts of `/records` say which record and member was wrong. The real service does not.
    pub explain: bool,
    /// Count serials held by two requests at once (invariant S2). On by default with the full ledger.
    pub watch_overlap: bool,
    /// MyAdmin is served too, and the market knows which serials may send; otherwise all may that are not marked.
    pub market: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bearer_s: 72 * 3600,
            refresh_s: 84 * 3600,
            revoke_delay_ms: 3000,
            auth_per_minute: 5,
            revoked_status: 403,
            expired_refresh_status: 401,
            zoneless_token_times: false,
            max_bytes: 10 * 1024 * 1024,
            max_records: 5000,
            encoding_status: 415,
            retry_after_s: Some(60),
            throttle: 0,
            throttle_status: 429,
            max_age_days: 365,
            max_ahead_s: 300,
            zoneless_is_utc: false,
            refuse_extra_members: true,
            strict_base64: false,
            invalid_delay_min_ms: 0,
            invalid_delay_max_ms: 5000,
            invalid_keep_days: 30,
            silent_serials: false,
            empty_form: EmptyForm::Text,
            explain: false,
            watch_overlap: false,
            market: false,
        }
    }
}

/// The shapes of "empty `Data`" that published texts show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyForm {
    /// `""`, as the schema says.
    Text,
    /// `{}`, as the example shows.
    Object,
    Null,
    Absent,
}

/// How much of what was accepted is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Nothing: no duplicates are seen, every record counts as new.
    None,
    /// Per serial: count, hash chain, first and last instant; about 20 bytes per record for its identity.
    Digest,
    /// Every record.
    #[default]
    Full,
}

/// How the simulator starts.
#[derive(Clone)]
pub struct Config {
    /// Where to listen; port 0 lets the system choose.
    pub listen: std::net::SocketAddr,
    pub keep: Keep,
    /// Seed of everything random but tokens and tracking ids.
    pub seed: u64,
    /// The one account; `None` lets any non-empty pair in.
    pub account: Option<Account>,
    pub settings: Settings,
    /// What the market starts with; it is served with `settings.market`.
    pub market: super::market::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 0).into(),
            keep: Keep::Full,
            seed: 1,
            account: None,
            settings: Settings::default(),
            market: super::market::Config::default(),
        }
    }
}

/// User name and password.
#[derive(Clone)]
pub struct Account {
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}
