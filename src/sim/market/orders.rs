//! The acts on orders: a customer orders, the Partner decides, the integrator reports, anybody cancels.
//!
//! An order shows on the REST surface from its approval on. Writes: the last one wins (myadmin/API.md U7); a cancelled order
//! takes none.

use super::order::{Cart, Contact, Filter, Order, Shipment, Stage, Unit, UnitReport};
use super::{Market, Product, Refused};

const FIRST_ORDER: u64 = 40_001;
const FIRST_HEADER: u64 = 700_001;
const FIRST_UNIT: u64 = 9_000_001;
/// Units of one order.
const MOST_UNITS: u64 = 10_000;
/// PostOrder limits order comments to so many characters (3.1).
const LONGEST_COMMENT: usize = 300;

/// A unit of a product, without an id and with nothing written to it yet.
fn blank(product: &Product) -> Unit {
    Unit {
        id: 0,
        product_code: product.product_code.clone(),
        requires_serial: product.requires_serial,
        requires_sim: product.requires_sim,
        requires_imei: product.requires_imei,
        serial: None,
        sim: None,
        imei: None,
        attribute: product.attribute.clone(),
    }
}

fn write(to: &mut Option<String>, value: &Option<String>) {
    if let Some(text) = value {
        *to = Some(text.clone()).filter(|text| !text.is_empty());
    }
}

impl Market {
    /// A customer orders. Returns the order's id.
    ///
    /// # Errors
    /// An unknown account or product, nothing ordered, or a comment that is too long.
    pub fn order(&mut self, cart: &Cart, now: i64) -> Result<u64, Refused> {
        let erp_no = if cart.account.is_empty() {
            super::PARTNER
        } else {
            &cart.account
        };
        let account = self
            .account(erp_no)
            .cloned()
            .ok_or_else(|| Refused::missing("account", erp_no))?;
        let total: u64 = cart.lines.iter().map(|line| u64::from(line.quantity)).sum();
        if !(1..=MOST_UNITS).contains(&total) {
            return Err(Refused::Wrong(format!(
                "an order has 1 to {MOST_UNITS} units, not {total}"
            )));
        }
        if cart
            .comment
            .as_ref()
            .is_some_and(|comment| comment.chars().count() > LONGEST_COMMENT)
        {
            return Err(Refused::Wrong(format!(
                "a comment has at most {LONGEST_COMMENT} characters"
            )));
        }
        let mut units = Vec::new();
        for line in &cart.lines {
            let product = self
                .product(&line.product_code)
                .ok_or_else(|| Refused::missing("product", &line.product_code))?;
            units.extend((0..line.quantity).map(|_| blank(product)));
        }
        for unit in &mut units {
            unit.id = FIRST_UNIT + self.last_unit;
            self.last_unit += 1;
        }
        let id = FIRST_ORDER + self.orders.len() as u64;
        let made_up = |given: &Option<String>, prefix: &str| {
            given.clone().unwrap_or_else(|| format!("{prefix}{id}"))
        };
        let order = Order {
            id,
            order_header_id: FIRST_HEADER + self.orders.len() as u64,
            stage: Stage::Requested,
            status: String::new(),
            comment: cart.comment.clone(),
            contact: cart.contact.clone().unwrap_or_else(|| Contact {
                name: "Example Customer".to_owned(),
                email: "fleet@customer.example".to_owned(),
                street1: "1 Example Street".to_owned(),
                city: "Exampleton".to_owned(),
                state: "EX".to_owned(),
                zip_code: "00001".to_owned(),
                telephone1: "+1 555 0100".to_owned(),
                ..Contact::default()
            }),
            reseller_name: account.reseller_name,
            reseller_email: account.reseller_email,
            purchase_order_number: made_up(&cart.purchase_order_number, "PO"),
            shipment_reference: made_up(&cart.shipment_reference, "SH"),
            validated: cart.validated.unwrap_or(true),
            account: account.erp_no,
            account_id: account.id,
            units,
            carrier: None,
            tracking: None,
            ordered_us: now,
            approved_us: None,
            fulfilled_us: None,
            cancelled_us: None,
            returning: false,
            writes: 0,
        };
        self.orders.insert(id, order);
        Ok(id)
    }

    fn order_mut(&mut self, id: u64) -> Result<&mut Order, Refused> {
        self.orders
            .get_mut(&id)
            .ok_or_else(|| Refused::missing("order", id))
    }

    fn requested(&mut self, id: u64) -> Result<&mut Order, Refused> {
        let order = self.order_mut(id)?;
        if order.stage == Stage::Requested {
            Ok(order)
        } else {
            Err(Refused::Conflict(format!(
                "order {id} was already decided: {:?}",
                order.stage
            )))
        }
    }

    /// The Partner approves: the order appears on the REST surface.
    ///
    /// # Errors
    /// No such order, or it was decided already.
    pub fn approve(&mut self, id: u64, now: i64) -> Result<(), Refused> {
        let status = self.settings.status_pending.clone();
        let order = self.requested(id)?;
        order.stage = Stage::Approved;
        order.status = status;
        order.approved_us = Some(now);
        Ok(())
    }

    /// The Partner rejects: the order never appears.
    ///
    /// # Errors
    /// No such order, or it was decided already.
    pub fn reject(&mut self, id: u64) -> Result<(), Refused> {
        self.requested(id)?.stage = Stage::Rejected;
        Ok(())
    }

    /// The order is cancelled, at any time; once shipped, a return is asked for (2.5).
    ///
    /// # Errors
    /// No such order, or it is rejected or cancelled already.
    pub fn cancel(&mut self, id: u64, now: i64) -> Result<(), Refused> {
        let status = self.settings.status_cancelled.clone();
        let order = self.order_mut(id)?;
        if matches!(order.stage, Stage::Cancelled | Stage::Rejected) {
            return Err(Refused::Conflict(format!(
                "order {id} is {:?}",
                order.stage
            )));
        }
        order.returning = order.tracking.is_some() || order.stage == Stage::Fulfilled;
        order.stage = Stage::Cancelled;
        order.status = status;
        order.cancelled_us = Some(now);
        Ok(())
    }

    /// The REST surface shows this status from now on, whatever it means (U2). The stage stays.
    ///
    /// # Errors
    /// No such order.
    pub fn set_status(&mut self, id: u64, status: &str) -> Result<(), Refused> {
        self.order_mut(id)?.status = status.to_owned();
        Ok(())
    }

    /// An order, whether it shows or not.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Order> {
        self.orders.get(&id)
    }

    /// Every order, shown or not, by id.
    pub fn all_orders(&self) -> impl Iterator<Item = &Order> {
        self.orders.values()
    }

    fn shows(&self, order: &Order, now: i64) -> bool {
        let lag = self.settings.order_lag_ms as i64 * 1000;
        order.approved_us.is_some_and(|at| at + lag <= now)
            && !(order.stage == Stage::Cancelled && self.settings.cancelled_vanish)
    }

    /// The orders the REST surface lists, by id.
    #[must_use]
    pub fn orders(&self, filter: &Filter, now: i64) -> Vec<&Order> {
        let shown = |order: &&Order| self.shows(order, now) && filter.takes(order);
        self.orders.values().filter(shown).collect()
    }

    /// One order of the REST surface, with its units.
    ///
    /// # Errors
    /// It is not there, or does not show.
    pub fn shown(&self, id: u64, now: i64) -> Result<&Order, Refused> {
        self.orders
            .get(&id)
            .filter(|order| self.shows(order, now))
            .ok_or_else(|| Refused::missing("order", id))
    }

    fn writable(&self, id: u64, now: i64) -> Result<&Order, Refused> {
        let order = self.shown(id, now)?;
        if order.stage == Stage::Cancelled {
            return Err(Refused::Conflict(format!("order {id} is cancelled")));
        }
        Ok(order)
    }

    /// Adds a unit to an order that was placed; gives its id.
    ///
    /// # Errors
    /// No such order or product, an order that is cancelled or fulfilled.
    pub fn add_unit(&mut self, id: u64, product_code: &str, now: i64) -> Result<u64, Refused> {
        if self.writable(id, now)?.status == self.settings.status_fulfilled {
            return Err(Refused::Conflict(format!("order {id} is fulfilled")));
        }
        let product = self
            .product(product_code)
            .ok_or_else(|| Refused::missing("product", product_code))?;
        let unit = Unit {
            id: FIRST_UNIT + self.last_unit,
            ..blank(product)
        };
        let unit_id = unit.id;
        self.last_unit += 1;
        self.order_mut(id)?.units.push(unit);
        Ok(unit_id)
    }

    /// Takes a unit out of an order that was placed.
    ///
    /// # Errors
    /// No such order or unit, the last unit of an order, a cancelled order.
    pub fn drop_unit(&mut self, id: u64, unit: u64, now: i64) -> Result<Unit, Refused> {
        let order = self.writable(id, now)?;
        let at = order.units.iter().position(|known| known.id == unit);
        let at = at.ok_or_else(|| Refused::missing("item", unit))?;
        if order.units.len() == 1 {
            return Err(Refused::Conflict(format!(
                "item {unit} is the last of order {id}"
            )));
        }
        Ok(self.order_mut(id)?.units.remove(at))
    }

    /// Puts a unit back that was taken out of an order.
    ///
    /// # Errors
    /// No such order, a cancelled order.
    pub fn restore_unit(&mut self, id: u64, unit: Unit, now: i64) -> Result<(), Refused> {
        self.writable(id, now)?;
        self.order_mut(id)?.units.push(unit);
        Ok(())
    }

    /// Writes a unit's serial, SIM or IMEI; the last write wins.
    ///
    /// # Errors
    /// No such order or unit, a cancelled order, or with `check_units` a serial that cannot be this unit's.
    pub fn report_unit(
        &mut self,
        id: u64,
        unit: u64,
        report: &UnitReport,
        now: i64,
    ) -> Result<(), Refused> {
        let order = self.writable(id, now)?;
        let at = order
            .units
            .iter()
            .position(|known| known.id == unit)
            .ok_or_else(|| Refused::missing("item", unit))?;
        if self.settings.check_units
            && let Some(serial) = report.serial.as_ref().filter(|serial| !serial.is_empty())
        {
            self.check_serial(order, &order.units[at], serial)?;
        }
        let complete = self.settings.fulfil_when_complete;
        let status = self.settings.status_fulfilled.clone();
        let order = self.order_mut(id)?;
        let unit = &mut order.units[at];
        write(&mut unit.serial, &report.serial);
        write(&mut unit.sim, &report.sim);
        write(&mut unit.imei, &report.imei);
        order.writes += 1;
        if complete {
            order.settle(status, now);
        }
        Ok(())
    }

    fn check_serial(&self, order: &Order, unit: &Unit, serial: &str) -> Result<(), Refused> {
        let device = self.device(serial).ok_or_else(|| {
            Refused::Wrong(format!("serial number {serial} was never provisioned"))
        })?;
        if !device.account.eq_ignore_ascii_case(&order.account) {
            return Err(Refused::Wrong(format!(
                "serial number {serial} is not of account {}",
                order.account
            )));
        }
        if device.product_code != unit.product_code {
            return Err(Refused::Wrong(format!(
                "serial number {serial} is a {}, not a {}",
                device.product_code, unit.product_code
            )));
        }
        match self.unit_of(serial) {
            Some((_, other)) if other.id != unit.id => Err(Refused::Conflict(format!(
                "serial number {serial} is on item {}",
                other.id
            ))),
            _ => Ok(()),
        }
    }

    /// Writes carrier, tracking number and status; the last write wins.
    ///
    /// # Errors
    /// No such order, a cancelled one, a status that cannot be written, or "fulfilled" while something is missing.
    pub fn report_shipment(
        &mut self,
        id: u64,
        shipment: &Shipment,
        now: i64,
    ) -> Result<(), Refused> {
        let mut order = self.writable(id, now)?.clone();
        write(&mut order.carrier, &shipment.carrier);
        write(&mut order.tracking, &shipment.tracking);
        let done = self.settings.status_fulfilled.clone();
        match shipment.status.as_ref() {
            Some(status) if *status == done => {
                if let Some(missing) = order.missing() {
                    return Err(Refused::Wrong(missing));
                }
                order.settle(done, now);
            }
            Some(status) if *status == self.settings.status_pending => {
                order.stage = Stage::Approved;
                order.status.clone_from(status);
            }
            Some(status) => {
                return Err(Refused::Wrong(format!(
                    "shipmentStatus {status:?} cannot be set"
                )));
            }
            None if self.settings.fulfil_when_complete => order.settle(done, now),
            None => {}
        }
        order.writes += 1;
        self.orders.insert(id, order);
        Ok(())
    }

    /// The unit a serial is written to; of cancelled orders only when there is no other.
    #[must_use]
    pub fn unit_of(&self, serial: &str) -> Option<(&Order, &Unit)> {
        let on = |unit: &&Unit| {
            unit.serial
                .as_ref()
                .is_some_and(|known| known.eq_ignore_ascii_case(serial))
        };
        let mut found = self
            .orders
            .values()
            .filter_map(|order| Some((order, order.units.iter().find(on)?)))
            .collect::<Vec<_>>();
        found.sort_by_key(|(order, _)| order.stage == Stage::Cancelled);
        found.into_iter().next()
    }
}
