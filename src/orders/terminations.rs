//! The daily sheet of terminations: read, judged, and only then obeyed (myadmin/API.md section 5, U27).
//!
//! * T1: a sheet that is empty, shortened or malformed terminates nobody; it raises an alarm and waits for a person or a better one.
//! * T2: obeying a sheet twice changes nothing.
//! * T3: nothing on a sheet ever brings a device back.
//! * A device that no unit is, but that the device registry knows (`devices import`), is terminated there, once: what a person
//!   registers again after that stays as the person wants it, with an alarm.
//!
//! [`sheet`] reads bytes and [`judge`] decides, both pure; [`obey`] does what was decided; [`watch`] looks at a folder or a URL.

mod fetch;
pub mod judge;
pub mod obey;
pub mod sheet;
pub mod watch;
mod workbook;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::journey::Serial;
use crate::config::secret::Secret;
use crate::http::transport::secret_address;
use crate::registry::Device;

/// Asks the device registry which devices have one of these serials. Handed in: only the registry knows Kafka.
pub type Ask =
    Arc<dyn Fn(Vec<Serial>) -> BoxFuture<'static, anyhow::Result<Vec<Device>>> + Send + Sync>;

/// Settings (`[orders.terminations]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where sheets are dropped; empty: nowhere.
    pub folder: PathBuf,
    /// Where the sheet is fetched; it may hold a key, so it is never shown. Empty: nowhere.
    pub url: Secret,
    /// PEM file of certificate authorities trusted besides the system's, for the URL.
    pub ca_file: Option<PathBuf>,
    /// Trust only the authorities in `ca_file`.
    pub ca_file_only: bool,
    /// Address of an HTTP proxy for the URL; may hold a password.
    pub proxy: Option<Secret>,
    /// Seconds between two looks.
    pub every_s: u64,
    /// Header of the column with the serial numbers.
    pub serial: String,
    /// Header of the column with the dates; empty: there is none, and all rows count at once.
    pub date: String,
    /// How dates are written, as `strftime` has it; ISO dates are always understood.
    pub date_formats: Vec<String>,
    /// Between columns of a CSV sheet; one character.
    pub delimiter: String,
    /// A sheet that lost this share of the rows of the one before, or more, is taken for shortened.
    pub shrink_percent: u32,
    /// Whether a sheet without rows is right before there was one with rows.
    pub allow_empty: bool,
    /// Devices that one sheet may terminate without a person; 0: any number.
    pub most_at_once: usize,
    /// What must say so before a device is terminated.
    pub confirm: Confirm,
    /// Hours without a new sheet in the folder before an alarm; 0: never.
    pub stale_after_h: u64,
    pub max_bytes: u64,
}

/// What confirms a termination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confirm {
    /// The sheet alone.
    Sheet,
    /// The sheet, and the partner's device list no longer shows the device.
    Contracts,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            folder: PathBuf::new(),
            url: Secret::default(),
            ca_file: None,
            ca_file_only: false,
            proxy: None,
            every_s: 300,
            serial: "Serial Number".into(),
            date: "Termination Date".into(),
            date_formats: vec!["%Y-%m-%d".into()],
            delimiter: ",".into(),
            shrink_percent: 50,
            allow_empty: false,
            most_at_once: 100,
            confirm: Confirm::Sheet,
            stale_after_h: 48,
            max_bytes: 16 * 1024 * 1024,
        }
    }
}

impl Config {
    /// Whether sheets are looked for.
    #[must_use]
    pub fn wanted(&self) -> bool {
        !self.folder.as_os_str().is_empty() || !self.url.is_empty()
    }

    /// What the types cannot say.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn check(&self) -> Result<(), String> {
        if self.every_s == 0 {
            return Err("terminations.every_s: must be at least 1".into());
        }
        if self.serial.trim().is_empty() {
            return Err("terminations.serial: must name a column".into());
        }
        if self.serial.trim().eq_ignore_ascii_case(self.date.trim()) {
            return Err("terminations.date: names the same column as terminations.serial".into());
        }
        if self.delimiter.len() != 1 {
            return Err("terminations.delimiter: must be one ASCII character".into());
        }
        if !(1..=100).contains(&self.shrink_percent) {
            return Err("terminations.shrink_percent: must be 1 to 100".into());
        }
        if self.max_bytes == 0 {
            return Err("terminations.max_bytes: must be at least 1".into());
        }
        if self.ca_file.is_none() && self.ca_file_only {
            return Err("terminations.ca_file_only: needs terminations.ca_file".into());
        }
        let url = self.url.reveal();
        if url.is_empty() {
            return Ok(());
        }
        secret_address("terminations.url", url)
            .map(drop)
            .map_err(|error| error.to_string())
    }
}
