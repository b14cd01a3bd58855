//! Identifiers of a device as a person gives them: IMEI, ICCID, and the product that a serial belongs to. One type and one parser each.
//!
//! * An [`Imei`] has 15 digits; the last one is a Luhn check digit over the others (3GPP TS 23.003, section 6.2.1 and annex B).
//! * An [`Iccid`] is the number of a SIM: 19 or 20 digits that begin with 89, the industry of telecommunications; the last one is a Luhn
//!   check digit over the others (ITU-T E.118, which refers to ISO/IEC 7812). A SIM stores 20 half bytes and fills up 19 digits with an
//!   F (ETSI TS 102 221, EF ICCID): that F is taken and left out.
//! * A serial begins with the prefix of its product, as far as `[orders.products]` tells prefixes: [`Prefixes`].
//!
//! The check digit finds every single wrong digit and every swap of two neighbours but 0 and 9. Blanks and hyphens do not matter: the
//! normal form has none. Pure. Values that are in the store already, and what MyAdmin shows, are never refused by this; [`odd`] tells
//! what is wrong with them.

use std::collections::BTreeMap;
use std::fmt;

use super::journey::{Serial, Tags};
use crate::config::printable::is_hidden;

/// Maximum bytes of an identifier.
const LONGEST: usize = 64;
const SPREADSHEET: &str = "format the column as text in the spreadsheet and enter it again";
const FROM_DEVICE: &str = "copy it from the device's label";
const FROM_SIM: &str = "copy it from the SIM card";

/// Why a text is not the identifier it is given as, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    pub what: String,
    pub remedy: String,
    /// Whether a person may insist on it: it can be stored and compared, and only looks wrong.
    pub forcible: bool,
}

impl Unfit {
    fn doubtful(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
            forcible: true,
        }
    }

    fn unusable(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            forcible: false,
            ..Self::doubtful(what, remedy)
        }
    }

    /// The remedy, where `force` is how the value is taken as it is.
    #[must_use]
    pub fn remedy(&self, force: &str) -> String {
        if self.forcible {
            format!("{}, or {force} to take it as it is", self.remedy)
        } else {
            self.remedy.clone()
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

/// An International Mobile Equipment Identity: 15 digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Imei(Box<str>);

impl Imei {
    const DIGITS: usize = 15;

    /// Reads an IMEI as labels and people write it (`35-693803-564380-9`).
    ///
    /// # Errors
    /// Other characters than digits, another number of digits, a wrong check digit, nothing but zeros.
    pub fn parse(text: &str) -> Result<Self, Unfit> {
        let digits = digits(text, FROM_DEVICE)?;
        match digits.len() {
            Self::DIGITS => {}
            14 => {
                let what = "has 14 digits, an IMEI has 15: its check digit is missing";
                return Err(Unfit::doubtful(what, FROM_DEVICE));
            }
            16 => {
                let what = "has 16 digits, an IMEI has 15: 16 are an IMEISV, which ends with a software version";
                return Err(Unfit::doubtful(what, FROM_DEVICE));
            }
            count => {
                let what = format!("has {}, an IMEI has 15", counted(count));
                return Err(Unfit::doubtful(what, FROM_DEVICE));
            }
        }
        if digits.bytes().all(|digit| digit == b'0') {
            return Err(Unfit::doubtful("is all zeros, no IMEI", FROM_DEVICE));
        }
        checked(&digits, FROM_DEVICE)?;
        Ok(Self(digits.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An Integrated Circuit Card Identifier, the number of a SIM: 19 or 20 digits that begin with 89.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Iccid(Box<str>);

impl Iccid {
    /// Reads an ICCID as cards, modems and people write it (`8944 5001 0219 8304 826F`).
    ///
    /// # Errors
    /// Other characters than digits, another number of digits or beginning, a wrong check digit.
    pub fn parse(text: &str) -> Result<Self, Unfit> {
        let text = text.trim_end();
        let unfilled = text.strip_suffix(['F', 'f']);
        let digits = digits(unfilled.unwrap_or(text), FROM_SIM)?;
        // Only 19 digits are filled up with an F.
        let fits = match unfilled {
            Some(_) => digits.len() == 19,
            None => matches!(digits.len(), 19 | 20),
        };
        if !fits {
            let filled = if unfilled.is_some() {
                " before its F"
            } else {
                ""
            };
            let what = format!(
                "has {}{filled}, an ICCID has 19 or 20, or 19 and an F",
                counted(digits.len())
            );
            return Err(Unfit::doubtful(what, FROM_SIM));
        }
        if !digits.starts_with("89") {
            let what = "does not begin with 89, as every ICCID does";
            return Err(Unfit::doubtful(what, FROM_SIM));
        }
        checked(&digits, FROM_SIM)?;
        Ok(Self(digits.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text without blanks and hyphens, if the rest is digits.
fn digits(text: &str, remedy: &str) -> Result<String, Unfit> {
    let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
    match digits.chars().find(|c| !c.is_ascii_digit()) {
        None => Ok(digits),
        Some(other) => {
            let what = format!("holds {other:?}, which is no digit");
            Err(Unfit::doubtful(what, remedy))
        }
    }
}

fn counted(digits: usize) -> String {
    match digits {
        1 => "1 digit".to_owned(),
        count => format!("{count} digits"),
    }
}

/// The last digit is the check digit of the others.
fn checked(digits: &str, remedy: &str) -> Result<(), Unfit> {
    let (rest, last) = digits.split_at(digits.len().saturating_sub(1));
    if check_digit(rest).is_some_and(|digit| last.chars().eq([digit])) {
        return Ok(());
    }
    let what = "is mistyped: its check digit does not fit the others, so one digit is another or two are swapped";
    Err(Unfit::doubtful(what, remedy))
}

/// The Luhn digit that makes some digits complete; none if something else is among them.
#[must_use]
pub fn check_digit(digits: &str) -> Option<char> {
    let mut sum = 0;
    for (at, digit) in digits.chars().rev().enumerate() {
        let digit = digit.to_digit(10)?;
        // Every other digit counts twice, the last one first.
        let counts = if at % 2 == 0 { 2 * digit } else { digit };
        sum = (sum + counts / 10 + counts % 10) % 10;
    }
    char::from_digit((10 - sum) % 10, 10)
}

/// Whether a text can be an identifier at all. Spreadsheets turn long numbers into `3.5E+14`: the identifier is lost.
///
/// # Errors
/// It is lost, empty, too long, or holds characters that nobody sees.
pub fn storable(text: &str) -> Result<(), Unfit> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if text.parse::<f64>().is_ok() && !digits {
        return Err(Unfit::unusable(
            "is a number in another spelling",
            SPREADSHEET,
        ));
    }
    let what = if text.is_empty() {
        "is empty".to_owned()
    } else if text.len() > LONGEST {
        format!("has {} bytes, more than {LONGEST}", text.len())
    } else if let Some(hidden) = text.chars().find(|c| is_hidden(*c)) {
        format!("holds the invisible character U+{:04X}", u32::from(hidden))
    } else {
        return Ok(());
    };
    let remedy = format!("give 1 to {LONGEST} bytes without invisible characters");
    Err(Unfit::unusable(what, remedy))
}

/// The faults of identifiers that a unit has already, because they are older than the checks or were forced: name, value, reason.
#[must_use]
pub fn odd(tags: &Tags) -> Vec<(&'static str, String, String)> {
    let mut odd = Vec::new();
    if let Some(imei) = tags.imei.as_deref()
        && let Err(unfit) = Imei::parse(imei)
    {
        odd.push(("IMEI", imei.to_owned(), unfit.what));
    }
    if let Some(sim) = tags.sim.as_deref()
        && let Err(unfit) = Iccid::parse(sim)
    {
        odd.push(("SIM", sim.to_owned(), unfit.what));
    }
    odd
}

/// The first characters of serials by product code; a product without a prefix has none here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefixes(BTreeMap<String, String>);

impl<A: Into<String>, B: AsRef<str>> FromIterator<(A, B)> for Prefixes {
    fn from_iter<I: IntoIterator<Item = (A, B)>>(pairs: I) -> Self {
        let told = pairs.into_iter().map(|(product, prefix)| {
            let prefix = prefix.as_ref().trim().to_ascii_uppercase();
            (product.into(), prefix)
        });
        Self(told.filter(|(_, prefix)| !prefix.is_empty()).collect())
    }
}

impl Prefixes {
    /// Whether a serial can be one of a product: it has the product's prefix, or, where nobody told it, no other product's.
    ///
    /// # Errors
    /// It is of another product.
    pub fn check(&self, product: &str, serial: &Serial) -> Result<(), Unfit> {
        let serial = serial.as_str();
        let ours = self.0.get(product);
        if ours.is_some_and(|prefix| serial.starts_with(prefix)) {
            return Ok(());
        }
        let mut others = self.0.iter();
        let other = others.find(|(_, prefix)| serial.starts_with(prefix.as_str()));
        let what = match (ours, other) {
            (None, None) => return Ok(()),
            (Some(ours), None) => {
                format!("does not begin with {ours}, the prefix of product {product:?}")
            }
            (_, Some((other, prefix))) => format!(
                "begins with {prefix}, the prefix of product {other:?}; its unit is a {product:?}"
            ),
        };
        let remedy =
            "copy the unit's own serial from MyAdmin, correct the prefixes of [orders.products]";
        Err(Unfit::doubtful(what, remedy))
    }
}

#[cfg(test)]
#[path = "identifiers_tests.rs"]
mod tests;
