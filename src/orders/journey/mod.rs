//! The journey of an order and of each of its units, as types: an illegal step does not compile.
//!
//! Every state is a struct that carries what is known then; a step consumes one state and returns the next. What leads to
//! `active` can only be built from its conditions (P2): a serial, a [`kit::Matches`] from reading back, a
//! [`kit::OwnerDatabase`], and an [`order::Clear`] from an order that is approved and neither cancelled nor parked.
//! [`stored`] turns states into the flat form of the store and back, exhaustively.
//!
//! Pure: no clock, no I/O. What remote statuses mean is decided in `reconcile`; this says what may follow what.

pub mod kit;
pub mod order;
pub mod registration;
pub mod stored;
pub mod unit;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::record::serial::{NotASerial, Serial};

/// The identifiers that a line needs before it may ship (myadmin/API.md 3.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    pub serial: bool,
    pub sim: bool,
    pub imei: bool,
}

/// The identifiers of one physical unit besides its serial, as far as known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tags {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sim: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imei: Option<Box<str>>,
    /// The integrator's own id; without it the IMEI, without that the serial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<Box<str>>,
}

impl Tags {
    /// Identifiers that are given replace those that were known.
    #[must_use]
    pub fn updated(self, given: Self) -> Self {
        Self {
            sim: given.sim.or(self.sim),
            imei: given.imei.or(self.imei),
            device_id: given.device_id.or(self.device_id),
        }
    }

    /// Which of the needed ones are missing.
    #[must_use]
    pub fn lacking(&self, needs: Needs) -> Vec<&'static str> {
        let mut lacking = Vec::new();
        if needs.sim && self.sim.is_none() {
            lacking.push("SIM");
        }
        if needs.imei && self.imei.is_none() {
            lacking.push("IMEI");
        }
        lacking
    }
}

/// How a unit travels: one carrier, one or more tracking numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    pub carrier: Box<str>,
    /// Never empty.
    tracking: Vec<Box<str>>,
}

impl Parcel {
    /// A parcel with at least one tracking number; empty ones are left out.
    pub fn new<T: Into<Box<str>>>(
        carrier: impl Into<Box<str>>,
        tracking: impl IntoIterator<Item = T>,
    ) -> Option<Self> {
        let tracking: Vec<Box<str>> = tracking
            .into_iter()
            .map(Into::into)
            .filter(|number| !number.trim().is_empty())
            .collect();
        let carrier = carrier.into();
        (!tracking.is_empty() && !carrier.trim().is_empty()).then_some(Self { carrier, tracking })
    }

    #[must_use]
    pub fn tracking(&self) -> &[Box<str>] {
        &self.tracking
    }
}

/// Why something was parked for a person. The code is stable, for filters and metrics; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub code: Code,
    pub text: Box<str>,
}

impl Reason {
    pub fn new(code: Code, text: impl Into<Box<str>>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.text)
    }
}

/// The reason that an operator is asked to look at something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The order's status is none of the configured ones (U2).
    UnknownStatus,
    /// The product code is not in `orders.products` (U11).
    UnknownProduct,
    /// The account may not be provisioned for, or is empty (U12).
    Account,
    /// MyAdmin declined to provision (U13).
    Declined,
    /// The answer of a provisioning call was lost, and what became of it is not clear (U14).
    LostAnswer,
    /// A serial came back that cannot be one, or that another unit holds.
    Serial,
    /// A line of the order changed or vanished after it was taken in.
    LineChanged,
    /// The remote side shows other values than ours, again and again.
    Differs,
    /// MyAdmin refused the report of a unit or a shipment.
    ReportRefused,
    /// Several packages, and the settings refuse to join them (U7).
    Packages,
    /// Somebody else fulfilled the order, or a part of it.
    Elsewhere,
    /// The order is not listed any more (U33).
    Vanished,
    /// A person parked it.
    Person,
}

impl Code {
    pub const ALL: [Self; 13] = [
        Self::UnknownStatus,
        Self::UnknownProduct,
        Self::Account,
        Self::Declined,
        Self::LostAnswer,
        Self::Serial,
        Self::LineChanged,
        Self::Differs,
        Self::ReportRefused,
        Self::Packages,
        Self::Elsewhere,
        Self::Vanished,
        Self::Person,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownStatus => "unknown-status",
            Self::UnknownProduct => "unknown-product",
            Self::Account => "account",
            Self::Declined => "declined",
            Self::LostAnswer => "lost-answer",
            Self::Serial => "serial",
            Self::LineChanged => "line-changed",
            Self::Differs => "differs",
            Self::ReportRefused => "report-refused",
            Self::Packages => "packages",
            Self::Elsewhere => "elsewhere",
            Self::Vanished => "vanished",
            Self::Person => "person",
        }
    }

    /// The remedy for the order or the unit of this id.
    #[must_use]
    pub fn remedy(self, id: &str) -> String {
        let retry = format!("`orders retry {id}`");
        match self {
            Self::UnknownStatus => {
                format!("add the status to orders.status if it is a usual one, then {retry}")
            }
            Self::UnknownProduct => {
                format!("add the product code to [orders.products], then {retry}")
            }
            Self::Account => {
                format!("add the account to orders.accounts if it is right, then {retry}")
            }
            Self::Declined | Self::ReportRefused => {
                format!("clear the cause with MyAdmin, then {retry}")
            }
            Self::LostAnswer => format!(
                "look in MyAdmin whether a serial was made: if so `orders assign {id} --serial SERIAL`, if not {retry}"
            ),
            Self::Serial => format!(
                "look in MyAdmin which serial is right, then `orders assign {id} --serial SERIAL`"
            ),
            Self::LineChanged => format!(
                "compare the order in MyAdmin with `orders show {id}`; {retry} lets it go on as it is, `orders cancel {id} --why WHY` \
                 ends it"
            ),
            Self::Differs => {
                format!(
                    "correct the values in MyAdmin, or assign and ship it with the right ones, then {retry}"
                )
            }
            Self::Packages => format!(
                "set orders.fulfilment.packages = \"join\", or ship with one number, then {retry}"
            ),
            Self::Elsewhere => format!(
                "compare the order in MyAdmin with `orders show {id}`; then {retry} or `orders cancel {id} --why WHY`"
            ),
            Self::Vanished => format!(
                "ask whether the order was cancelled: if so `orders cancel {id} --why WHY`, if not {retry}"
            ),
            Self::Person => format!("{retry} when it may go on"),
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }
}

/// Who did something, for the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "lowercase")]
pub enum Actor {
    Reconciler,
    /// A person, by the name the command or the token gave.
    Person(Box<str>),
    /// A termination sheet, by its name.
    Sheet(Box<str>),
    /// An imported file, by its name.
    Import(Box<str>),
}

impl Actor {
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Reconciler => "reconciler",
            Self::Person(_) => "person",
            Self::Sheet(_) => "sheet",
            Self::Import(_) => "import",
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Reconciler => "",
            Self::Person(name) | Self::Sheet(name) | Self::Import(name) => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_has_one_spelling() {
        assert_eq!(
            Serial::parse(" c1-800-000-0001 ").map(|s| s.to_string()),
            Ok("C18000000001".to_owned())
        );
        for wrong in ["", " - ", "CX/000", "ÄX0000000001", &"A".repeat(51)] {
            assert!(Serial::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_parcel_has_a_carrier_and_a_number() {
        assert!(Parcel::new("", ["T1"]).is_none());
        assert!(Parcel::new("Post", [""]).is_none());
        let parcel = Parcel::new("Post", ["T1", " ", "T2"]).expect("two numbers");
        assert_eq!(parcel.tracking().len(), 2);
    }

    #[test]
    fn codes_are_told_by_their_names() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.name()), Some(code));
            assert!(code.remedy("7.1").contains("7.1`") || code == Code::Serial);
        }
        assert_eq!(Code::parse("nonsense"), None);
    }

    #[test]
    fn tags_are_replaced_by_what_is_given() {
        let known = Tags {
            sim: Some("1".into()),
            ..Tags::default()
        };
        let needs = Needs {
            serial: true,
            sim: true,
            imei: true,
        };
        assert_eq!(known.lacking(needs), ["IMEI"]);
        let given = Tags {
            imei: Some("2".into()),
            ..Tags::default()
        };
        let both = known.updated(given);
        assert_eq!(both.sim.as_deref(), Some("1"));
        assert!(both.lacking(needs).is_empty());
    }
}
