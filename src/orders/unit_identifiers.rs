//! The identifiers that an operator gives a unit: serial, SIM, IMEI and own id, checked, and those that were forced although a check refused them.
//!
//! Commands, imports, the inventory and the API read identifiers here, and each adds the place of a value that is refused. Whoever insists on
//! a value (`--force`, `"force": true`, `yes` in the column `force`) gets it stored as it was given, and [`Given::forced`] becomes an event
//! of the audit trail in the change that stores it. Pure.

use serde::Serialize;

use super::identifiers::{self, Iccid, Imei, Prefixes, Unfit};
use super::journey::{Serial, Tags};

/// The kind of an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    Serial,
    Sim,
    Imei,
    DeviceId,
}

impl Mark {
    /// As members, columns and the store call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Sim => "sim",
            Self::Imei => "imei",
            Self::DeviceId => "device_id",
        }
    }
}

/// A value that was taken although a check refused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Forced {
    pub mark: Mark,
    pub value: Box<str>,
    /// The message of the check.
    pub what: String,
}

/// The identifiers that a unit is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    pub serial: Option<Serial>,
    pub tags: Tags,
    pub forced: Vec<Forced>,
    /// Whether values are taken that a check refuses.
    force: bool,
}

impl Given {
    /// Nothing yet. `force`: what a check refuses is taken all the same, and remembered.
    #[must_use]
    pub fn new(force: bool) -> Self {
        Self {
            force,
            ..Self::default()
        }
    }

    /// Whether there is neither a serial nor another identifier.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.serial.is_none() && self.tags == Tags::default()
    }

    /// Adds an identifier in its normal form, if one is given.
    ///
    /// # Errors
    /// A check refuses it, and nobody insists; or it cannot be stored at all.
    pub fn add(&mut self, mark: Mark, text: Option<&str>) -> Result<(), Unfit> {
        let Some(text) = text.map(str::trim) else {
            return Ok(());
        };
        if mark != Mark::Serial {
            identifiers::storable(text)?;
        }
        let normal = match mark {
            Mark::Serial => {
                let serial = Serial::parse(text).map_err(|error| Unfit {
                    what: format!("is no serial number: {}", error.why),
                    remedy: "copy it from MyAdmin".to_owned(),
                    forcible: false,
                })?;
                self.serial = Some(serial);
                return Ok(());
            }
            Mark::Imei => Imei::parse(text).map(|imei| imei.as_str().into()),
            Mark::Sim => Iccid::parse(text).map(|iccid| iccid.as_str().into()),
            Mark::DeviceId => Ok(text.into()),
        };
        let value = match normal {
            Ok(normal) => normal,
            Err(unfit) => {
                self.insist(mark, text, unfit)?;
                text.into()
            }
        };
        match mark {
            Mark::Sim => self.tags.sim = Some(value),
            Mark::Imei => self.tags.imei = Some(value),
            Mark::Serial | Mark::DeviceId => self.tags.device_id = Some(value),
        }
        Ok(())
    }

    /// Whether the serial, if one is given, can be a unit's of this product. `known`: the serial that the unit has already, which is
    /// never refused.
    ///
    /// # Errors
    /// It is another product's, and nobody insists.
    pub fn fits(
        &mut self,
        known: Option<&Serial>,
        product: &str,
        prefixes: &Prefixes,
    ) -> Result<(), Unfit> {
        let Some(serial) = self.serial.clone() else {
            return Ok(());
        };
        if known == Some(&serial) {
            return Ok(());
        }
        match prefixes.check(product, &serial) {
            Ok(()) => Ok(()),
            Err(unfit) => self.insist(Mark::Serial, serial.as_str(), unfit),
        }
    }

    /// Whether a person insists on what a check refuses.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        self.force
    }

    fn insist(&mut self, mark: Mark, value: &str, unfit: Unfit) -> Result<(), Unfit> {
        if !(self.force && unfit.forcible) {
            return Err(unfit);
        }
        self.forced.push(Forced {
            mark,
            value: value.into(),
            what: unfit.what,
        });
        Ok(())
    }
}

/// Whether a line of a file insists on its values, by the text in its column `force`.
///
/// # Errors
/// It says neither yes nor no.
pub fn insists(text: Option<&str>) -> Result<bool, Unfit> {
    let is = |words: &[&str], text: &str| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    match text {
        None => Ok(false),
        Some(text) if is(&["no", "false", "0"], text) => Ok(false),
        Some(text) if is(&["yes", "true", "1"], text) => Ok(true),
        Some(_) => Err(Unfit {
            what: "is neither yes nor no".to_owned(),
            remedy: "write yes to take the line's values as they are, else nothing".to_owned(),
            forcible: false,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_good_is_taken_in_its_normal_form_and_nothing_is_forced() {
        for force in [false, true] {
            let mut given = Given::new(force);
            for (mark, text) in [
                (Mark::Serial, "cx00-0000-0001"),
                (Mark::Imei, " 35-693803-564380-9 "),
                (Mark::Sim, "8944500102198304826F"),
                (Mark::DeviceId, "truck-7"),
            ] {
                assert_eq!(given.add(mark, Some(text)), Ok(()), "{text}");
                assert_eq!(given.add(mark, None), Ok(()));
            }
            let serial = given.serial.as_ref().map(Serial::as_str);
            assert_eq!(serial, Some("CX0000000001"));
            assert_eq!(given.tags.imei.as_deref(), Some("356938035643809"));
            assert_eq!(given.tags.sim.as_deref(), Some("8944500102198304826"));
            assert_eq!(given.tags.device_id.as_deref(), Some("truck-7"));
            assert_eq!(given.forced, []);
        }
    }

    #[test]
    fn what_a_check_refuses_is_taken_by_force_and_remembered() {
        let prefixes: Prefixes = [("CTD-100", "CX")].into_iter().collect();
        let mut plain = Given::new(false);
        assert!(plain.add(Mark::Imei, Some("0")).is_err());
        assert!(plain.is_empty(), "{plain:?}");
        plain
            .add(Mark::Serial, Some("C80000000001"))
            .expect("a serial");
        assert!(plain.fits(None, "CTD-100", &prefixes).is_err());
        let known = plain.serial.clone();
        let has_it = plain.fits(known.as_ref(), "CTD-100", &prefixes);
        assert_eq!(has_it, Ok(()), "a unit keeps its serial");

        let mut forced = Given::new(true);
        for (mark, text) in [
            (Mark::Imei, "0"),
            (Mark::Sim, "+49 170"),
            (Mark::Serial, "C80000000001"),
        ] {
            assert_eq!(forced.add(mark, Some(text)), Ok(()), "{text}");
        }
        assert_eq!(forced.fits(None, "CTD-100", &prefixes), Ok(()));
        assert_eq!(forced.tags.imei.as_deref(), Some("0"));
        let told: Vec<(&str, &str)> = forced
            .forced
            .iter()
            .map(|forced| (forced.mark.name(), &*forced.value))
            .collect();
        assert_eq!(
            told,
            [
                ("imei", "0"),
                ("sim", "+49 170"),
                ("serial", "C80000000001")
            ]
        );
        for lost in ["3.5E+14", "", "12\u{0}3"] {
            assert!(forced.add(Mark::Imei, Some(lost)).is_err(), "{lost:?}");
        }
        assert!(forced.add(Mark::Serial, Some("C/1")).is_err());
    }

    #[test]
    fn a_line_insists_with_yes() {
        for (text, insisted) in [
            (None, Ok(false)),
            (Some("no"), Ok(false)),
            (Some("FALSE"), Ok(false)),
            (Some("Yes"), Ok(true)),
            (Some("TRUE"), Ok(true)),
        ] {
            assert_eq!(insists(text), insisted, "{text:?}");
        }
        assert!(insists(Some("maybe")).is_err());
    }
}
