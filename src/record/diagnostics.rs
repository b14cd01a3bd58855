//! Diagnostics: what a status record's code means, and how a physical value becomes its raw integer.
//!
//! Owns the table of published diagnostics (`diagnostics.txt`, 698 lines) and the entries a user adds to it. A status record
//! carries `raw = (value - offset) / multiplier`, rounded to the nearest integer (dig/API.md section 8: final = raw x conversion
//! + offset). It does not decide which codes a record type may carry: that is validation's.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};

use super::RecordType;

const SHIPPED: &str = include_str!("diagnostics.txt");

/// What one code of a status record means.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// `GenericStatus`, or `Status` for codes agreed with Geotab beforehand.
    pub record: RecordType,
    pub code: i32,
    pub name: String,
    /// Unit of the physical value; empty when none is stated.
    pub unit: String,
    /// Length of the raw value in bytes, where a source states one.
    pub bytes: Option<u8>,
    pub multiplier: f64,
    pub offset: f64,
}

/// Why a physical value has no raw integer.
#[derive(Debug, Clone, PartialEq)]
pub struct OutOfLength {
    pub raw: f64,
    pub low: i64,
    pub high: i64,
}

impl Diagnostic {
    /// The raw integer of a physical value.
    ///
    /// # Errors
    /// It does not fit the data length. A raw value fits when it fits the length read as signed or as unsigned, because the
    /// sources do not say which: one byte takes -128..=255.
    pub fn raw(&self, value: f64) -> Result<i64, OutOfLength> {
        self.fit(((value - self.offset) / self.multiplier).round())
    }

    /// The raw integer of a value, which is `raw` already or the physical one.
    ///
    /// # Errors
    /// It does not fit the data length: the raw value, and what would have been right.
    pub fn raw_of(&self, value: f64, raw: bool) -> Result<i64, (f64, String)> {
        let made = if raw {
            self.fit(value.round())
        } else {
            self.raw(value)
        };
        made.map_err(|out| {
            let length = self
                .bytes
                .map_or_else(|| "32-bit".to_owned(), |bytes| format!("{bytes}-byte"));
            let bound = format!(
                "{length} raw value {}..{} of {} \"{}\"",
                out.low, out.high, self.code, self.name
            );
            (out.raw, bound)
        })
    }

    /// Checks a raw value that the vendor sends as such.
    ///
    /// # Errors
    /// As [`Self::raw`].
    pub fn fit(&self, raw: f64) -> Result<i64, OutOfLength> {
        let (low, high) = self.bounds();
        // NaN fails both comparisons.
        if raw >= low as f64 && raw <= high as f64 {
            Ok(raw as i64)
        } else {
            Err(OutOfLength { raw, low, high })
        }
    }

    /// Lowest and highest raw value; without a stated length those of the record's 32-bit `Value`.
    #[must_use]
    pub fn bounds(&self) -> (i64, i64) {
        match self.bytes {
            Some(bytes @ 1..=4) => {
                let bits = u32::from(bytes) * 8;
                (-(1 << (bits - 1)), (1 << bits) - 1)
            }
            _ => (i64::from(i32::MIN), i64::from(i32::MAX)),
        }
    }
}

/// The known diagnostics, by record type and code or name.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    all: Vec<Diagnostic>,
    by_code: HashMap<(RecordType, i32), usize>,
    /// Lower-case name to every entry of that name.
    by_name: HashMap<(RecordType, String), Vec<usize>>,
}

/// How a mapping names a diagnostic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    Code(i64),
    Name(String),
}

impl Diagnostics {
    /// The published diagnostics.
    ///
    /// # Errors
    /// None with the table as shipped (a test reads every line).
    pub fn shipped() -> anyhow::Result<Self> {
        let mut table = Self {
            all: Vec::new(),
            by_code: HashMap::new(),
            by_name: HashMap::new(),
        };
        for (n, line) in SHIPPED.lines().enumerate() {
            if !line.starts_with('#') {
                table.add(parse(line).with_context(|| format!("diagnostics.txt:{}", n + 1))?);
            }
        }
        Ok(table)
    }

    /// The published diagnostics and those of a user's file; an entry there replaces a published one of the same record and code.
    ///
    /// # Errors
    /// The file cannot be read, or an entry is wrong: file, line, field, remedy.
    pub fn with_file(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("{}: cannot read the diagnostics file", file.display()))?;
        Self::shipped()?.with_text(&file.display().to_string(), &text)
    }

    /// As [`Self::with_file`], from text; `file` is used in errors.
    ///
    /// # Errors
    /// As [`Self::with_file`].
    pub fn with_text(mut self, file: &str, text: &str) -> anyhow::Result<Self> {
        let parsed: UserFile =
            toml::from_str(text).map_err(|error| super::mapping::toml_error(file, text, &error))?;
        for entry in parsed.diagnostic {
            let line = super::mapping::line_of(text, entry.span().start);
            let entry = entry
                .into_inner()
                .into_diagnostic()
                .map_err(|problem| anyhow!("{file}:{line}: {problem}"))?;
            self.add(entry);
        }
        Ok(self)
    }

    fn add(&mut self, diagnostic: Diagnostic) {
        let key = (diagnostic.record, diagnostic.code);
        let name = |d: &Diagnostic| (d.record, d.name.to_lowercase());
        if let Some(&at) = self.by_code.get(&key) {
            if let Some(same) = self.by_name.get_mut(&name(&self.all[at])) {
                same.retain(|other| *other != at);
            }
            self.by_name.entry(name(&diagnostic)).or_default().push(at);
            self.all[at] = diagnostic;
            return;
        }
        let at = self.all.len();
        self.by_code.insert(key, at);
        self.by_name.entry(name(&diagnostic)).or_default().push(at);
        self.all.push(diagnostic);
    }

    /// Finds a diagnostic by code, or by name in any case.
    ///
    /// # Errors
    /// In words: nothing of that code or name (with the nearest names), or several of that name (with their codes).
    pub fn find(&self, record: RecordType, key: &Key) -> Result<&Diagnostic, String> {
        match key {
            Key::Code(code) => i32::try_from(*code)
                .ok()
                .and_then(|code| self.by_code.get(&(record, code)))
                .map(|at| &self.all[*at])
                .ok_or_else(|| {
                    let elsewhere = i32::try_from(*code)
                        .ok()
                        .and_then(|code| self.by_code.get(&(other(record), code)));
                    match elsewhere {
                        Some(at) => format!(
                            "no {} diagnostic has code {code}; {}",
                            record.name(),
                            self.elsewhere(*at)
                        ),
                        None => {
                            format!("no {} diagnostic has code {code}; {ADD}", record.name())
                        }
                    }
                }),
            Key::Name(name) => {
                let lower = name.to_lowercase();
                match self
                    .by_name
                    .get(&(record, lower.clone()))
                    .map(Vec::as_slice)
                {
                    Some([at]) => Ok(&self.all[*at]),
                    Some([_, _, ..]) => {
                        let same = &self.by_name[&(record, lower)];
                        let mut text = format!(
                            "several diagnostics are named \"{name}\"; name one by its code:"
                        );
                        for at in same {
                            let d = &self.all[*at];
                            let _ = write!(text, " {} (x{} {})", d.code, d.multiplier, d.unit);
                        }
                        Err(text)
                    }
                    _ => {
                        let no = format!("no {} diagnostic is named \"{name}\"", record.name());
                        let elsewhere = self.by_name.get(&(other(record), lower));
                        if let Some(at) = elsewhere.and_then(|same| same.first()) {
                            return Err(format!("{no}; {}", self.elsewhere(*at)));
                        }
                        let names = self
                            .all
                            .iter()
                            .filter(|d| d.record == record)
                            .map(|d| d.name.as_str());
                        let alike = alike(name, names, 3);
                        let nearest = match alike.is_empty() {
                            true => String::new(),
                            false => format!("nearest: {alike}; "),
                        };
                        Err(format!(
                            "{no}; {nearest}`dig-ingest map --diagnostics TEXT` lists those whose name holds a text; {ADD}"
                        ))
                    }
                }
            }
        }
    }

    /// What to do about a diagnostic that is of the other type of record.
    fn elsewhere(&self, at: usize) -> String {
        let d = &self.all[at];
        let kind = d.record.name();
        format!(
            "{kind} has one: {} \"{}\"; add type = \"{kind}\" to the record",
            d.code, d.name
        )
    }

    /// The entries whose name holds a text, in any case, or whose code it is; all of them for the empty text.
    pub fn matching<'d>(&'d self, text: &str) -> impl Iterator<Item = &'d Diagnostic> + use<'d> {
        let (lower, code) = (text.to_lowercase(), text.parse::<i32>().ok());
        let holds =
            move |d: &&Diagnostic| d.name.to_lowercase().contains(&lower) || Some(d.code) == code;
        self.all.iter().filter(holds)
    }

    /// All entries, the shipped ones first.
    #[must_use]
    pub fn entries(&self) -> &[Diagnostic] {
        &self.all
    }
}

const ADD: &str = "add your own in the file that [mapping] diagnostics names";

/// The other type of record that has diagnostics.
fn other(record: RecordType) -> RecordType {
    match record {
        RecordType::Status => RecordType::GenericStatus,
        _ => RecordType::Status,
    }
}

/// One line of `diagnostics.txt`.
fn parse(line: &str) -> anyhow::Result<Diagnostic> {
    let fields: Vec<&str> = line.splitn(6, '|').collect();
    let [head, bytes, multiplier, offset, unit, name] = fields[..] else {
        bail!("six fields expected: {line}")
    };
    let (record, code) = head.split_once(' ').context("no record letter")?;
    Ok(Diagnostic {
        record: match record {
            "g" => RecordType::GenericStatus,
            "s" => RecordType::Status,
            _ => bail!("record letter {record}"),
        },
        code: code.parse()?,
        name: name.to_owned(),
        unit: if unit == "-" {
            String::new()
        } else {
            unit.to_owned()
        },
        bytes: if bytes == "-" {
            None
        } else {
            Some(bytes.parse()?)
        },
        multiplier: multiplier.parse()?,
        offset: offset.parse()?,
    })
}

/// A user's diagnostics file: `[[diagnostic]]` tables.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct UserFile {
    #[serde(default)]
    diagnostic: Vec<toml::Spanned<UserDiagnostic>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct UserDiagnostic {
    #[serde(rename = "type", default)]
    record: Option<String>,
    code: i32,
    name: String,
    #[serde(default)]
    unit: String,
    bytes: Option<u8>,
    #[serde(default = "one")]
    multiplier: f64,
    #[serde(default)]
    offset: f64,
}

fn one() -> f64 {
    1.0
}

impl UserDiagnostic {
    fn into_diagnostic(self) -> Result<Diagnostic, String> {
        let record = match self.record.as_deref() {
            None | Some("GenericStatusRecord") => RecordType::GenericStatus,
            Some("StatusRecord") => RecordType::Status,
            Some(other) => {
                return Err(format!(
                    "type: \"{other}\" has no diagnostics; use GenericStatusRecord or StatusRecord"
                ));
            }
        };
        if !self.multiplier.is_finite() || self.multiplier == 0.0 {
            return Err(format!(
                "multiplier: {} cannot be divided by; use a number other than 0",
                self.multiplier
            ));
        }
        if !self.offset.is_finite() {
            return Err("offset: not a finite number".to_owned());
        }
        if self.name.trim().is_empty() {
            return Err("name: empty; give the diagnostic a name to use in mappings".to_owned());
        }
        if !matches!(self.bytes, None | Some(1..=4)) {
            return Err(
                "bytes: a status value has 1 to 4 bytes; leave it out when unknown".to_owned(),
            );
        }
        Ok(Diagnostic {
            record,
            code: self.code,
            name: self.name,
            unit: self.unit,
            bytes: self.bytes,
            multiplier: self.multiplier,
            offset: self.offset,
        })
    }
}

/// The `count` candidates nearest to `wanted`, for "did you mean".
pub fn nearest<'a>(
    wanted: &str,
    candidates: impl Iterator<Item = &'a str>,
    count: usize,
) -> String {
    quoted(scored(wanted, candidates).into_iter().take(count))
}

/// As [`nearest`], but of those only that are like `wanted`: they hold it, or a third of its letters differ at most.
fn alike<'a>(wanted: &str, candidates: impl Iterator<Item = &'a str>, count: usize) -> String {
    let most = wanted.chars().count() / 3;
    let like = scored(wanted, candidates).into_iter().take(count);
    quoted(like.filter(|(score, _)| *score <= most))
}

/// Candidates by how far they are from `wanted`, the nearest first.
fn scored<'a>(wanted: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<(usize, &'a str)> {
    let wanted = wanted.to_lowercase();
    let mut scored: Vec<(usize, &str)> = candidates
        .map(|name| {
            let lower = name.to_lowercase();
            // A name that holds what was typed is nearer than any misspelling.
            let score = if lower.contains(&wanted) {
                0
            } else {
                strsim::levenshtein(&wanted, &lower)
            };
            (score, name)
        })
        .collect();
    scored.sort_by_key(|(score, name)| (*score, name.len()));
    scored.dedup_by_key(|(_, name)| *name);
    scored
}

fn quoted<'a>(names: impl Iterator<Item = (usize, &'a str)>) -> String {
    let names: Vec<String> = names.map(|(_, name)| format!("\"{name}\"")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests;
