//! The data of a unit: its identifiers, their state in MyAdmin, the database that owns it.

use jiff::Timestamp;

use super::{Needs, Parcel, Serial, Tags};

/// Everything that may be known of a unit; what is known for sure is told by its state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    pub serial: Option<Serial>,
    pub tags: Tags,
    pub parcel: Option<Parcel>,
    pub database: Option<Box<str>>,
    pub active_since: Option<Timestamp>,
}

/// A unit's identifiers, complete by its line's needs: only assignment makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kit {
    pub(super) serial: Option<Serial>,
    pub(super) tags: Tags,
}

/// The name of a database that owns a device: never empty (sharing alone is not enough, myadmin/API.md 2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerDatabase(pub(super) Box<str>);

/// Proof that MyAdmin shows the values we reported (a condition of P2). Only [`ReadBack::compare`] makes one.
#[derive(Debug, Clone, Copy)]
pub struct Matches(());

/// A unit as MyAdmin shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadBack<'a> {
    pub serial: Option<&'a str>,
    pub sim: Option<&'a str>,
    pub imei: Option<&'a str>,
}

/// The identifiers that a step lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the line asks for {}", .0.join(" and "))]
pub struct Lacking(pub Vec<&'static str>);

impl OwnerDatabase {
    /// None for an empty name.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let name = name.trim();
        (!name.is_empty()).then(|| Self(name.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ReadBack<'_> {
    /// Compares with what we told; every value the kit has must be shown as it is.
    ///
    /// # Errors
    /// The differences, for a person.
    pub fn compare(&self, kit: &Kit) -> Result<Matches, Vec<String>> {
        let mut differences = Vec::new();
        let shown_serial = self.serial.and_then(|text| Serial::parse(text).ok());
        if shown_serial != kit.serial {
            differences.push(differs(
                "serial",
                self.serial,
                kit.serial.as_ref().map(Serial::as_str),
            ));
        }
        for (what, shown, ours) in [
            ("SIM", self.sim, kit.tags.sim.as_deref()),
            ("IMEI", self.imei, kit.tags.imei.as_deref()),
        ] {
            if ours.is_some() && digest(shown) != digest(ours) {
                differences.push(differs(what, shown, ours));
            }
        }
        if differences.is_empty() {
            Ok(Matches(()))
        } else {
            Err(differences)
        }
    }

    /// Whether nothing is filled in yet.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        [self.serial, self.sim, self.imei]
            .iter()
            .all(|value| value.is_none_or(|text| text.trim().is_empty()))
    }
}

/// A value as it is compared: without spaces and case.
fn digest(text: Option<&str>) -> String {
    text.unwrap_or_default()
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

fn differs(what: &str, shown: Option<&str>, ours: Option<&str>) -> String {
    format!(
        "{what} is shown as {:?}, ours is {:?}",
        shown.unwrap_or_default(),
        ours.unwrap_or_default()
    )
}

impl Kit {
    #[must_use]
    pub fn serial(&self) -> Option<&Serial> {
        self.serial.as_ref()
    }

    #[must_use]
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    pub(super) fn complete(
        serial: Option<Serial>,
        tags: Tags,
        needs: Needs,
    ) -> Result<Self, Lacking> {
        let mut lacking = tags.lacking(needs);
        if needs.serial && serial.is_none() {
            lacking.insert(0, "serial");
        }
        if lacking.is_empty() {
            Ok(Self { serial, tags })
        } else {
            Err(Lacking(lacking))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Needs = Needs {
        serial: true,
        sim: true,
        imei: true,
    };

    fn kit() -> Kit {
        let tags = Tags {
            sim: Some("8931 0001".into()),
            imei: Some("350000000000014".into()),
            device_id: None,
        };
        Kit::complete(Serial::parse("CX0000000001").ok(), tags, ALL).expect("complete")
    }

    #[test]
    fn a_kit_is_complete_or_says_what_is_missing() {
        let lacking = Kit::complete(None, Tags::default(), ALL).expect_err("nothing is there");
        assert_eq!(
            lacking.to_string(),
            "the line asks for serial and SIM and IMEI"
        );
        assert!(Kit::complete(None, Tags::default(), Needs::default()).is_ok());
    }

    #[test]
    fn what_is_shown_is_compared_by_meaning() {
        let same = ReadBack {
            serial: Some("cx00-0000-0001"),
            sim: Some("89310001"),
            imei: Some("350000000000014 "),
        };
        assert!(same.compare(&kit()).is_ok());
        let other = ReadBack {
            imei: Some("350000000000022"),
            sim: None,
            ..same
        };
        let differences = other.compare(&kit()).expect_err("two values differ");
        assert_eq!(differences.len(), 2, "{differences:?}");
        let nothing = ReadBack::default();
        assert!(nothing.is_blank());
        assert_eq!(nothing.compare(&kit()).map_err(|d| d.len()).err(), Some(3));
    }

    #[test]
    fn a_serial_nobody_told_is_a_difference() {
        let bare = Kit::complete(None, Tags::default(), Needs::default()).expect("needs nothing");
        let shown = ReadBack {
            serial: Some("CX0000000009"),
            ..ReadBack::default()
        };
        assert!(shown.compare(&bare).is_err());
    }

    #[test]
    fn a_database_has_a_name() {
        assert_eq!(OwnerDatabase::new("  "), None);
        assert_eq!(
            OwnerDatabase::new(" acme ").map(|d| d.as_str().to_owned()),
            Some("acme".into())
        );
    }
}
