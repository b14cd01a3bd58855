//! An order and its units, what is put into one, and what is asked and reported of it (myadmin/API.md 3.1, 3.2).

use serde::{Deserialize, Serialize};

use super::Settings;

/// Where an order stands in the world; `status` is only what the REST surface says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The customer has ordered.
    Requested,
    /// The Partner has approved.
    Approved,
    /// Everything was reported.
    Fulfilled,
    /// The Partner has rejected.
    Rejected,
    Cancelled,
}

/// Where a shipment goes. No country: the vendor has none (3.1).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Contact {
    pub name: String,
    pub email: String,
    pub street1: String,
    pub street2: String,
    pub city: String,
    pub state: String,
    pub zip_code: String,
    pub telephone1: String,
    pub telephone2: String,
}

/// So many of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CartLine {
    pub product_code: String,
    pub quantity: u32,
}

/// What a customer orders; what is left out is made up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cart {
    /// ERP number of the Partner; the default Partner when empty.
    pub account: String,
    pub lines: Vec<CartLine>,
    pub purchase_order_number: Option<String>,
    pub shipment_reference: Option<String>,
    pub comment: Option<String>,
    pub contact: Option<Contact>,
    /// True unless said otherwise.
    pub validated: Option<bool>,
}

impl Cart {
    /// So many of one product, for the default Partner.
    #[must_use]
    pub fn of(product_code: &str, quantity: u32) -> Self {
        Self::default().and(product_code, quantity)
    }

    #[must_use]
    pub fn and(mut self, product_code: &str, quantity: u32) -> Self {
        self.lines.push(CartLine {
            product_code: product_code.to_owned(),
            quantity,
        });
        self
    }

    #[must_use]
    pub fn for_account(self, erp_no: &str) -> Self {
        Self {
            account: erp_no.to_owned(),
            ..self
        }
    }
}

/// One physical unit of an order: a row of `GET {base}/{id}/items`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unit {
    pub id: u64,
    pub product_code: String,
    pub requires_serial: bool,
    pub requires_sim: bool,
    pub requires_imei: bool,
    pub serial: Option<String>,
    pub sim: Option<String>,
    pub imei: Option<String>,
    pub attribute: Option<String>,
}

impl Unit {
    /// What is required and not there.
    fn missing(&self) -> Option<&'static str> {
        let needs = |required: bool, given: &Option<String>| required && given.is_none();
        if needs(self.requires_serial, &self.serial) {
            Some("serial number")
        } else if needs(self.requires_sim, &self.sim) {
            Some("SIM number")
        } else if needs(self.requires_imei, &self.imei) {
            Some("IMEI")
        } else {
            None
        }
    }
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Order {
    /// Key of the shipping header, and of every act here.
    pub id: u64,
    pub order_header_id: u64,
    /// ERP number of the Partner.
    pub account: String,
    pub account_id: i64,
    pub stage: Stage,
    /// `shipmentStatus` on the wire.
    pub status: String,
    pub comment: Option<String>,
    pub contact: Contact,
    pub reseller_name: String,
    pub reseller_email: String,
    pub purchase_order_number: String,
    pub shipment_reference: String,
    pub validated: bool,
    pub units: Vec<Unit>,
    pub carrier: Option<String>,
    pub tracking: Option<String>,
    pub ordered_us: i64,
    pub approved_us: Option<i64>,
    /// When it was, or became again, fulfilled.
    pub fulfilled_us: Option<i64>,
    pub cancelled_us: Option<i64>,
    /// Cancelled after it was shipped: a return is asked for.
    pub returning: bool,
    /// Writes taken on the REST surface.
    pub writes: u64,
}

/// Which orders are asked for; texts match exactly.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    pub purchase_order_number: Option<String>,
    pub shipment_reference: Option<String>,
    pub status: Option<String>,
    /// Ordered at or after.
    pub from_us: Option<i64>,
    /// Ordered before.
    pub before_us: Option<i64>,
}

impl Filter {
    pub(super) fn takes(&self, order: &Order) -> bool {
        let same =
            |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|text| text == is);
        same(&self.purchase_order_number, &order.purchase_order_number)
            && same(&self.shipment_reference, &order.shipment_reference)
            && same(&self.status, &order.status)
            && self.from_us.is_none_or(|from| order.ordered_us >= from)
            && self
                .before_us
                .is_none_or(|before| order.ordered_us < before)
    }
}

/// What is written to a unit; absent leaves, an empty text takes away.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UnitReport {
    pub serial: Option<String>,
    pub sim: Option<String>,
    pub imei: Option<String>,
}

impl UnitReport {
    #[must_use]
    pub fn serial(serial: &str) -> Self {
        Self {
            serial: Some(serial.to_owned()),
            ..Self::default()
        }
    }
}

/// What is written to an order; absent leaves, an empty text takes away.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shipment {
    pub carrier: Option<String>,
    pub tracking: Option<String>,
    /// `shipmentStatus`.
    pub status: Option<String>,
}

impl Shipment {
    /// Shipped, and done.
    #[must_use]
    pub fn fulfilled(carrier: &str, tracking: &str, settings: &Settings) -> Self {
        Self {
            carrier: Some(carrier.to_owned()),
            tracking: Some(tracking.to_owned()),
            status: Some(settings.status_fulfilled.clone()),
        }
    }
}

impl Order {
    /// What keeps it from being fulfilled, as the answer says it.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        for unit in &self.units {
            if let Some(missing) = unit.missing() {
                return Some(format!("item {} has no {missing}", unit.id));
            }
        }
        if self.carrier.is_none() {
            return Some("there is no carrier".to_owned());
        }
        if self.tracking.is_none() {
            return Some("there is no tracking number".to_owned());
        }
        None
    }

    /// Fulfilled from now on, if nothing is missing.
    pub(super) fn settle(&mut self, status: String, now: i64) {
        if self.missing().is_none() && self.stage != Stage::Fulfilled {
            self.stage = Stage::Fulfilled;
            self.status = status;
            self.fulfilled_us = Some(now);
        }
    }
}
