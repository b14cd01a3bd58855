//! The inventory: devices on the shelf, from a CSV file, and which of them a unit gets by itself.
//!
//! A line is one physical device: an IMEI, a SIM or both, with your own id and the product code it serves if they are given. A
//! device is used while a unit has one of its identifiers; one that was cancelled before it shipped gives them back. The file is only
//! read. One that is being written does not count, and of one that cannot be read nothing is given out.
//!
//! Reading and picking are pure; [`Inventory`] keeps what was read until the file changes.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::identifiers::Unfit;
use super::import;
use super::journey::{Needs, Tags};
use super::lines::{self, BadLine, bad, unfit};
use super::unit_identifiers::{Given, Mark, insists};
use super::watched::{self, Unread};
use crate::ops::panics;

/// A file that changed less long ago may still be being written.
const SETTLED: SignedDuration = SignedDuration::from_secs(5);

/// Settings (`[orders.inventory]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Path of the CSV file; empty for none.
    pub file: PathBuf,
    /// Whether a unit that has its serial automatically gets the IMEI and the SIM number that its order line requires from the file.
    pub auto: bool,
    /// Header names of the columns.
    pub imei: String,
    pub sim: String,
    pub device_id: String,
    pub product: String,
    pub force: String,
    /// Delimiter between columns: one ASCII character.
    pub delimiter: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: PathBuf::new(),
            auto: false,
            imei: "imei".into(),
            sim: "sim".into(),
            device_id: "device_id".into(),
            product: "product".into(),
            force: "force".into(),
            delimiter: ",".into(),
        }
    }
}

impl Config {
    fn columns(&self) -> [(&'static str, &str); 5] {
        [
            ("imei", &self.imei),
            ("sim", &self.sim),
            ("device_id", &self.device_id),
            ("product", &self.product),
            ("force", &self.force),
        ]
    }

    /// Checks of the settings that their types do not make.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn check(&self) -> Result<(), String> {
        if self.auto && self.file.as_os_str().is_empty() {
            return Err("inventory.auto: there is no inventory.file to assign from".into());
        }
        lines::check("inventory", &self.delimiter, &self.columns())
    }
}

/// A device on the shelf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spare {
    /// Its line in the file; the header is line 1.
    pub line: u64,
    /// The product code it serves; none: any.
    pub product: Option<Box<str>>,
    /// Its identifiers, and which of them the file forces.
    pub given: Given,
}

impl Spare {
    fn tags(&self) -> &Tags {
        &self.given.tags
    }
}

/// A file as read: its devices, and the lines that are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shelf {
    /// Devices that may be given out.
    pub spares: Arc<[Spare]>,
    /// Lines that are no device, and why.
    pub bad: Vec<BadLine>,
}

/// The unit that has an identifier, by the identifier's kind and text.
pub type Used = HashMap<(&'static str, Box<str>), String>;

/// Reads a file. Empty lines are skipped; columns that nobody asked for are too.
#[must_use]
pub fn read(bytes: &[u8], config: &Config) -> Shelf {
    let names = config.columns().map(|(_, name)| name);
    let mut spares = Vec::new();
    let mut first_lines: HashMap<(&'static str, Box<str>), u64> = HashMap::new();
    let bad = lines::read(
        bytes,
        "inventory",
        &config.delimiter,
        names,
        |line, fields| {
            let spare = spare(line, fields, config)?;
            once(&spare, &mut first_lines, config)?;
            spares.push(spare);
            Ok(())
        },
    );
    Shelf {
        spares: spares.into(),
        bad,
    }
}

fn spare(line: u64, fields: [Option<&str>; 5], config: &Config) -> Result<Spare, BadLine> {
    let [imei, sim, device_id, product, force] = fields;
    let refuse = |name: &str, text: Option<&str>, why: Unfit| {
        unfit(line, name, text.unwrap_or_default(), &why, &config.force)
    };
    let insists = insists(force).map_err(|why| refuse(&config.force, force, why))?;
    let mut given = Given::new(insists);
    for (mark, name, text) in [
        (Mark::Imei, &config.imei, imei),
        (Mark::Sim, &config.sim, sim),
        (Mark::DeviceId, &config.device_id, device_id),
    ] {
        given
            .add(mark, text)
            .map_err(|why| refuse(name, text, why))?;
    }
    if imei.is_none() && sim.is_none() {
        let remedy = "give its IMEI or its SIM, or leave the line out";
        return Err(bad(
            line,
            &config.imei,
            "",
            "is empty, and so is the SIM",
            remedy,
        ));
    }
    Ok(Spare {
        line,
        product: product.map(Into::into),
        given,
    })
}

/// Whether no other line has one of its identifiers.
fn once(
    spare: &Spare,
    first_lines: &mut HashMap<(&'static str, Box<str>), u64>,
    config: &Config,
) -> Result<(), BadLine> {
    for mark in marks(spare.tags()) {
        if let Some(first) = first_lines.get(&mark) {
            let [imei, sim, device_id, ..] = config.columns();
            let name = match mark.0 {
                "imei" => imei.1,
                "sim" => sim.1,
                _ => device_id.1,
            };
            let what = format!("is on line {first} already");
            return Err(bad(
                spare.line,
                name,
                &mark.1,
                &what,
                "leave one of them out",
            ));
        }
    }
    first_lines.extend(marks(spare.tags()).map(|mark| (mark, spare.line)));
    Ok(())
}

/// The identifiers of a device, by kind.
fn marks(tags: &Tags) -> impl Iterator<Item = (&'static str, Box<str>)> {
    let all = [
        ("imei", &tags.imei),
        ("sim", &tags.sim),
        ("device_id", &tags.device_id),
    ];
    let given = all.map(|(kind, mark)| mark.clone().map(|mark| (kind, mark)));
    given.into_iter().flatten()
}

/// Whether no unit but `unit` has one of its identifiers.
#[must_use]
pub fn is_free(spare: &Spare, used: &Used, unit: &str) -> bool {
    marks(spare.tags()).all(|mark| used.get(&mark).is_none_or(|by| by == unit))
}

/// The device a unit gets: it has all that is lacking, contradicts nothing the unit has, and serves its product; rather one for
/// that product alone and with nothing to spare, else the first of the file.
#[must_use]
pub fn pick<'s>(
    spares: &'s [Spare],
    used: &Used,
    unit: &str,
    product: &str,
    (tags, needs): (&Tags, Needs),
) -> Option<&'s Spare> {
    let agrees = |given: &Option<Box<str>>, known: &Option<Box<str>>| {
        given.is_none() || known.is_none() || given == known
    };
    let serves = |spare: &&Spare| {
        spare
            .product
            .as_ref()
            .is_none_or(|serves| serves.eq_ignore_ascii_case(product))
            && agrees(&spare.tags().imei, &tags.imei)
            && agrees(&spare.tags().sim, &tags.sim)
            && agrees(&spare.tags().device_id, &tags.device_id)
            && tags
                .clone()
                .updated(spare.tags().clone())
                .lacking(needs)
                .is_empty()
            && is_free(spare, used, unit)
    };
    let more = |spare: &Spare| {
        usize::from(!needs.imei && spare.tags().imei.is_some())
            + usize::from(!needs.sim && spare.tags().sim.is_some())
    };
    spares
        .iter()
        .filter(serves)
        .min_by_key(|spare| (spare.product.is_none(), more(spare), spare.line))
}

/// Marks of a picked device count as the unit's at once.
pub fn take(used: &mut Used, spare: &Spare, unit: &str) {
    used.extend(marks(spare.tags()).map(|mark| (mark, unit.to_owned())));
}

/// How many free devices there are by product code; those for any under the empty one.
#[must_use]
pub fn free(shelf: &Shelf, used: &Used) -> BTreeMap<String, usize> {
    let mut free = BTreeMap::new();
    for spare in shelf.spares.iter().filter(|spare| is_free(spare, used, "")) {
        let product = spare.product.as_deref().unwrap_or_default();
        *free.entry(product.to_owned()).or_default() += 1;
    }
    free
}

/// The file as it was read last.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Length and time of the file when it was read; `None` before and after a failure.
    look: Option<(u64, SystemTime)>,
    /// The result of the last reading, or the failure as its bad line.
    shelf: Shelf,
}

impl Inventory {
    /// The shelf as the file has it now. A file that cannot be read gives one bad line with the reason.
    pub async fn look(&mut self, config: &Config, now: Timestamp) -> &Shelf {
        if let Err(error) = self.follow(config, now).await {
            self.look = None;
            let name = config.file.display().to_string();
            let remedy = "put it there, or correct orders.inventory.file";
            self.shelf = Shelf {
                bad: vec![bad(
                    0,
                    "file",
                    &name,
                    &format!("cannot be read: {error}"),
                    remedy,
                )],
                ..Shelf::default()
            };
        }
        &self.shelf
    }

    async fn follow(&mut self, config: &Config, now: Timestamp) -> std::io::Result<()> {
        let about = tokio::fs::metadata(&config.file).await?;
        let look = (about.len(), about.modified()?);
        if self.look == Some(look) {
            return Ok(());
        }
        let modified = Timestamp::try_from(look.1).unwrap_or(Timestamp::MIN);
        if now.duration_since(modified).abs() < SETTLED {
            return Ok(());
        }
        let config = config.clone();
        let read = panics::blocking(move || {
            let bytes = watched::read_named(
                &config.file,
                import::LARGEST,
                "remove lines of devices that were used",
            )?;
            // Else it is being written.
            Ok((bytes.len() as u64 == look.0).then(|| read(&bytes, &config)))
        });
        let read: Result<_, Unread> = read.await.map_err(std::io::Error::other)?;
        if let Some(shelf) = read.map_err(std::io::Error::other)? {
            self.shelf = shelf;
            self.look = Some(look);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "inventory_tests.rs"]
mod tests;
