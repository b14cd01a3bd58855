//! The daily sheet of terminations: read, judged, and only then applied (myadmin/API.md section 5, U27).
//!
//! * T1: a sheet that is empty, shortened or not understood terminates nobody; it raises an alarm of its own and waits for a person or
//!   for a corrected one.
//! * T2: applying a sheet twice changes nothing.
//! * T3: nothing on a sheet ever brings a device back.
//! * T4: a device that a doubted sheet names is never forgotten: the sheet's alarm stands until a person accepts or refuses the sheet,
//!   or a later sheet of the same name accounts for every one of its devices.
//! * T5: a device that an applied sheet was to end later, and that the next one does not name any more, is shown and never ended by
//!   itself.
//! * A device that no unit is, but that the device registry knows (`devices import`), is terminated there, once: what a person
//!   registers again after that stays as the person wants it, with an alarm.
//!
//! [`sheet`] reads bytes and [`judge`] decides, both pure; [`apply`] does what was decided; [`decide`] is what a person decides;
//! [`watch`] looks at a folder or a URL.

pub mod apply;
mod carry;
mod cells;
mod dates;
pub mod decide;
mod fetch;
mod footer;
pub mod judge;
mod kept;
mod later;
pub mod sheet;
mod text;
mod told;
pub mod watch;
mod workbook;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::journey::Serial;
use super::store::Store;
use crate::config::secret::Secret;
use crate::http::transport::secret_address;
use crate::registry::Device;

/// Asks the device registry which devices have one of these serials. Handed in: only the registry knows Kafka.
pub type Ask =
    Arc<dyn Fn(Vec<Serial>) -> BoxFuture<'static, anyhow::Result<Vec<Device>>> + Send + Sync>;

/// The delimiter that is found out.
const AUTO: &str = "auto";
/// Words that begin a row below the devices, unless the settings say otherwise.
const FOOTER: [&str; 14] = [
    "Total",
    "Totals",
    "Grand total",
    "Sum",
    "Count",
    "Number of",
    "Note",
    "Notes",
    "Generated",
    "Created",
    "Printed",
    "Page",
    "End",
    "Source",
];

/// Settings and clients with which sheets are judged and applied.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    pub store: &'a Store,
    pub ask: &'a Ask,
    pub config: &'a Config,
    /// Prefixes of the serials of own products.
    pub own: &'a [String],
}

/// Settings (`[orders.terminations]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Directory where sheets are dropped; empty for none.
    pub folder: PathBuf,
    /// URL of the newest sheet; never shown, as it may hold a key. Empty for none.
    pub url: Secret,
    /// PEM file of certificate authorities trusted in addition to the system's, for `orders.terminations.url`.
    pub ca_file: Option<PathBuf>,
    /// Whether only the authorities in `orders.terminations.ca_file` are trusted.
    pub ca_file_only: bool,
    /// URL of an HTTP proxy for `url`; may hold a password.
    pub proxy: Option<Secret>,
    /// Poll interval in seconds (1 or more) of the folder and the URL.
    pub every_s: u64,
    /// Header of the column with the serial numbers.
    pub serial: String,
    /// Header of the column with the termination dates. Empty: there is no such column, and all rows take effect at once.
    pub date: String,
    /// Date formats in `strftime` notation. ISO dates and day numbers of spreadsheets are always understood. A day begins at midnight UTC.
    pub date_formats: Vec<String>,
    /// Delimiter between columns of a text sheet: one ASCII character, or `auto` for the comma, semicolon or tab that shows the headers.
    pub delimiter: String,
    /// First words of a row below the devices that is no device, such as a total.
    pub footer: Vec<String>,
    /// Threshold in percent (1 to 100) for a shortened sheet: the sheet lost this share or more of the rows of the sheet before.
    pub shrink_percent: u32,
    /// Whether a sheet without rows is accepted if no sheet came before it from the same place, or the last one had no rows either.
    pub allow_empty: bool,
    /// Maximum number of devices that one sheet may terminate without an operator's consent; 0: any number.
    pub most_at_once: usize,
    /// Evidence needed for a termination.
    pub confirm: Confirm,
    /// Treatment of serials that no unit and no registered device has.
    pub foreign_serials: Foreign,
    /// Treatment of a device that a sheet was to terminate later and that the next sheet does not name.
    pub vanished: Vanished,
    /// Time in hours without a new sheet in the folder before an alarm; 0: never.
    pub stale_after_h: u64,
    pub max_bytes: u64,
}

/// The source that confirms a termination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confirm {
    /// The sheet alone.
    Sheet,
    /// The sheet, and the partner's device list no longer shows the device.
    Contracts,
}

/// Serials that no unit and no registered device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Foreign {
    /// Those that begin as own products do, or that MyAdmin has listed, are alarms; the others are other integrators'.
    Own,
    /// Every one is an alarm.
    Alarm,
    /// None is.
    Ignore,
}

/// A device that a sheet was to end and that the next one does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vanished {
    Alarm,
    /// It is in `orders sheet list` and in the audit trail.
    Note,
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
            delimiter: "auto".into(),
            footer: FOOTER.map(str::to_owned).into(),
            shrink_percent: 50,
            allow_empty: false,
            most_at_once: 100,
            confirm: Confirm::Sheet,
            foreign_serials: Foreign::Own,
            vanished: Vanished::Alarm,
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

    /// The separator between columns; without one it is detected.
    fn delimiter(&self) -> Option<u8> {
        let fixed = self.delimiter.bytes().next();
        fixed.filter(|_| self.delimiter != AUTO)
    }

    /// Checks of the settings that their types do not make.
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
        if self.delimiter != AUTO && self.delimiter.len() != 1 {
            return Err("terminations.delimiter: must be one ASCII character, or \"auto\"".into());
        }
        if self.footer.iter().any(|word| word.trim().is_empty()) {
            return Err("terminations.footer: a word must not be empty".into());
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
