//! Devices: who owns them, in which database they are, whether they are terminated and billed.
//!
//! Serials compare without regard to case, and dashes in them mean nothing (myadmin/API.md 2.2).

use std::borrow::Cow;

use serde::Serialize;

use super::{Market, PARTNER, Refused};
use crate::sim::serials::State;

/// A stay in a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stay {
    pub database: String,
    pub since_us: i64,
    /// When lists begin to tell.
    pub shows_us: i64,
}

/// A termination: a request that takes effect later (2.7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Termination {
    pub requested_us: i64,
    pub effective_us: i64,
    pub reason_id: i64,
    pub comments: String,
    /// Who asked for it.
    pub by: String,
    /// The owner database then.
    pub database: String,
}

/// When a device began to cost, and whether it does again after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Billing {
    /// Arrival of the first valid record.
    pub started_us: Option<i64>,
    /// Arrival of the first record after its latest termination.
    pub resumed_us: Option<i64>,
    /// How many terminations it has outlived so.
    pub resumptions: u64,
}

/// A provisioned device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// From 1, in the order of birth.
    pub id: u64,
    pub serial: String,
    pub product_id: i64,
    pub product_code: String,
    /// ERP number of the account that owns it.
    pub account: String,
    /// ERP number of the account that made it.
    pub maker: String,
    pub born_us: i64,
    /// When lists begin to show it.
    pub shows_us: i64,
    pub owner: Option<Stay>,
    pub shared: Vec<Stay>,
    pub termination: Option<Termination>,
    /// Terminations that were in effect and are no more.
    pub past: Vec<Termination>,
    pub billing: Billing,
}

impl Device {
    /// Whether its termination has taken effect.
    #[must_use]
    pub fn terminated(&self, now: i64) -> bool {
        self.termination
            .as_ref()
            .is_some_and(|termination| termination.effective_us <= now)
    }

    /// Whether lists show it.
    #[must_use]
    pub const fn visible(&self, now: i64) -> bool {
        self.shows_us <= now
    }

    /// The owner database as lists show it.
    #[must_use]
    pub fn shown_owner(&self, now: i64) -> Option<&str> {
        let owner = self.owner.as_ref().filter(|stay| stay.shows_us <= now);
        owner.map(|stay| stay.database.as_str())
    }

    /// Whether it is billed.
    #[must_use]
    pub fn billed(&self, now: i64) -> bool {
        if self.terminated(now) {
            self.billing.resumed_us.is_some()
        } else {
            self.billing.started_us.is_some()
        }
    }
}

/// A row of `GetPartnerDeviceContractsAsync`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartnerDevice {
    pub serial: String,
    pub product_code: String,
    pub database: Option<String>,
}

/// A row of `GetDeviceDatabaseNamesAsync`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceDatabase {
    pub serial: String,
    pub owner: Option<String>,
    pub shared: Vec<String>,
}

/// What the gateway thinks of a record's serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    pub state: State,
    /// The device to [`Market::bill`] if the record is valid.
    pub bills: Option<usize>,
}

/// The form serials are told apart by.
fn key(serial: &str) -> Cow<'_, str> {
    if serial
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
    {
        Cow::Borrowed(serial)
    } else {
        let kept = serial.chars().filter(|c| *c != '-');
        Cow::Owned(kept.collect::<String>().to_ascii_uppercase())
    }
}

impl Market {
    fn place(&self, serial: &str) -> Option<usize> {
        self.by_serial.get(&*key(serial)).copied()
    }

    /// A device, whether lists show it or not.
    #[must_use]
    pub fn device(&self, serial: &str) -> Option<&Device> {
        self.place(serial).map(|at| &self.devices[at])
    }

    /// Every device ever made, in the order of birth.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn device_mut(&mut self, serial: &str) -> Result<&mut Device, Refused> {
        let at = self
            .place(serial)
            .ok_or_else(|| Refused::missing("device", serial))?;
        Ok(&mut self.devices[at])
    }

    /// Adds a device of this serial; false when there is one already.
    pub(super) fn bear(&mut self, device: Device) -> bool {
        let key = key(&device.serial).into_owned();
        if self.by_serial.contains_key(&key) {
            return false;
        }
        self.by_serial.insert(key, self.devices.len());
        self.devices.push(Device {
            id: self.devices.len() as u64 + 1,
            ..device
        });
        true
    }

    /// A device of before our time, made by somebody else for the default Partner: it has a serial already and is in a database.
    ///
    /// # Errors
    /// No such product, one that is never provisioned, a serial that is taken, or a database without a name.
    pub fn admit(
        &mut self,
        serial: &str,
        product_code: &str,
        database: &str,
        now: i64,
    ) -> Result<(), Refused> {
        let product_id = self
            .product(product_code)
            .and_then(|product| product.product_id)
            .ok_or_else(|| Refused::missing("product with serials", product_code))?;
        let stay = self.stay(database, now)?;
        let device = Device {
            id: 0,
            serial: serial.to_owned(),
            product_id,
            product_code: product_code.to_owned(),
            account: PARTNER.to_owned(),
            maker: String::new(),
            born_us: now,
            shows_us: now,
            owner: Some(stay),
            shared: Vec::new(),
            termination: None,
            past: Vec::new(),
            billing: Billing::default(),
        };
        if self.bear(device) {
            Ok(())
        } else {
            Err(Refused::Conflict(format!("{serial} is there already")))
        }
    }

    /// A customer or the Partner adds a device to a database: its owner from now on.
    ///
    /// # Errors
    /// No such device, or a database without a name.
    pub fn assign(&mut self, serial: &str, database: &str, now: i64) -> Result<(), Refused> {
        let stay = self.stay(database, now)?;
        self.device_mut(serial)?.owner = Some(stay);
        Ok(())
    }

    /// The device leaves its owner database.
    ///
    /// # Errors
    /// No such device, or it is in none.
    pub fn unassign(&mut self, serial: &str) -> Result<(), Refused> {
        match self.device_mut(serial)?.owner.take() {
            Some(_) => Ok(()),
            None => Err(Refused::Conflict(format!("{serial} is in no database"))),
        }
    }

    /// The device is shared with a database; that alone makes no owner.
    ///
    /// # Errors
    /// No such device, or a database without a name.
    pub fn share(&mut self, serial: &str, database: &str, now: i64) -> Result<(), Refused> {
        let stay = self.stay(database, now)?;
        let device = self.device_mut(serial)?;
        device.shared.retain(|known| known.database != database);
        device.shared.push(stay);
        Ok(())
    }

    fn stay(&self, database: &str, now: i64) -> Result<Stay, Refused> {
        if database.is_empty() {
            return Err(Refused::Wrong("a database has a name".to_owned()));
        }
        Ok(Stay {
            database: database.to_owned(),
            since_us: now,
            shows_us: now + self.settings.database_lag_ms as i64 * 1000,
        })
    }

    /// The Partner asks for a device's termination; it takes effect after `termination_delay_s`.
    ///
    /// # Errors
    /// No such device, or one whose termination was asked for already.
    pub fn terminate(
        &mut self,
        serial: &str,
        reason_id: i64,
        comments: &str,
        by: &str,
        now: i64,
    ) -> Result<(), Refused> {
        let delay = self.settings.termination_delay_s as i64 * 1_000_000;
        let device = self.device_mut(serial)?;
        if device.termination.is_some() {
            return Err(Refused::Conflict(format!(
                "the termination of {serial} was asked for already"
            )));
        }
        let owner = device.owner.as_ref();
        device.termination = Some(Termination {
            requested_us: now,
            effective_us: now + delay,
            reason_id,
            comments: comments.to_owned(),
            by: by.to_owned(),
            database: owner.map(|stay| stay.database.clone()).unwrap_or_default(),
        });
        device.billing.resumed_us = None;
        Ok(())
    }

    /// Takes back a termination that has not taken effect.
    ///
    /// # Errors
    /// No such device, or no pending termination.
    pub fn cancel_termination(&mut self, serial: &str, now: i64) -> Result<(), Refused> {
        let device = self.device_mut(serial)?;
        if device.termination.is_none() || device.terminated(now) {
            return Err(Refused::Conflict(format!(
                "{serial} has no pending termination"
            )));
        }
        device.termination = None;
        Ok(())
    }

    /// The Partner takes a terminated device into use again.
    ///
    /// # Errors
    /// No such device, or one that is not terminated.
    pub fn reactivate(&mut self, serial: &str, now: i64) -> Result<(), Refused> {
        let device = self.device_mut(serial)?;
        if !device.terminated(now) {
            return Err(Refused::Conflict(format!("{serial} is not terminated")));
        }
        device.past.extend(device.termination.take());
        Ok(())
    }

    /// Who owns and shares these serials, as `GetDeviceDatabaseNamesAsync` tells (2.3): administrative, and only for
    /// serials that show by now.
    #[must_use]
    pub fn databases(&self, serials: &[impl AsRef<str>], now: i64) -> Vec<DeviceDatabase> {
        let row = |serial: &str| {
            let device = self.device(serial).filter(|device| device.visible(now));
            match device {
                Some(device) => Some(DeviceDatabase {
                    serial: device.serial.clone(),
                    owner: device.shown_owner(now).map(str::to_owned),
                    shared: device
                        .shared
                        .iter()
                        .filter(|stay| stay.shows_us <= now)
                        .map(|stay| stay.database.clone())
                        .collect(),
                }),
                None if self.settings.absent_rows == super::AbsentRows::Omit => None,
                None => Some(DeviceDatabase {
                    serial: serial.to_owned(),
                    owner: None,
                    shared: Vec::new(),
                }),
            }
        };
        serials
            .iter()
            .filter_map(|serial| row(serial.as_ref()))
            .collect()
    }

    /// The devices `GetPartnerDeviceContractsAsync` lists (2.4), whoever made them.
    #[must_use]
    pub fn partner_devices(&self, now: i64) -> Vec<PartnerDevice> {
        self.partner_devices_of(None, now)
    }

    /// The devices `GetPartnerDeviceContractsAsync` lists for their maker.
    #[must_use]
    pub fn partner_devices_of(&self, maker: Option<&str>, now: i64) -> Vec<PartnerDevice> {
        let settings = &self.settings;
        let listed = |device: &&Device| {
            maker.is_none_or(|maker| device.maker.eq_ignore_ascii_case(maker))
                && device.visible(now)
                && (settings.partner_shows_terminated || !device.terminated(now))
                && (settings.partner_shows_silent || device.billing.started_us.is_some())
        };
        self.devices
            .iter()
            .filter(listed)
            .map(|device| PartnerDevice {
                serial: device.serial.clone(),
                product_code: device.product_code.clone(),
                database: device.shown_owner(now).map(str::to_owned),
            })
            .collect()
    }

    /// What the gateway thinks of a record of this serial. The truth, without the lags of lists.
    #[must_use]
    pub fn judge(&self, serial: &[u8], now: i64) -> Judgement {
        let place = std::str::from_utf8(serial)
            .ok()
            .and_then(|serial| self.place(serial));
        let Some(at) = place else {
            return Judgement {
                state: State::Unknown,
                bills: None,
            };
        };
        let device = &self.devices[at];
        let (state, billed) = if device.terminated(now) {
            let settled = !self.settings.resume_billing || device.billing.resumed_us.is_some();
            (State::Terminated, settled)
        } else if device.owner.is_none() {
            (State::Unassigned, true)
        } else {
            (State::Known, device.billing.started_us.is_some())
        };
        Judgement {
            state,
            bills: (!billed).then_some(at),
        }
    }

    /// A record of this device arrived that starts its billing, or resumes it after its termination. True if it did so.
    pub fn bill(&mut self, place: usize, now: i64) -> bool {
        let Some(device) = self.devices.get_mut(place) else {
            return false;
        };
        let terminated = device.terminated(now);
        let billing = &mut device.billing;
        let since = if terminated {
            &mut billing.resumed_us
        } else {
            &mut billing.started_us
        };
        if since.is_some() {
            return false;
        }
        *since = Some(now);
        billing.resumptions += u64::from(terminated);
        true
    }
}
