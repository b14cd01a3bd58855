//! What MyAdmin tells us, as plain structs (myadmin/API.md section 3), read leniently. Pure.
//!
//! Members are found in any case, numbers may be text, absent and null are the same, an empty text is none. Only ids
//! and serials are required. What a struct has no field for is kept in `other`. Written as JSON, a struct has the
//! published camelCase names.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::members::Members;

/// Members without a field here.
pub type Other = Map<String, Value>;

/// A serial as we compare and store it: without white space and hyphens, in capitals (2.2).
#[must_use]
pub fn canonical_serial(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .flat_map(char::to_uppercase)
        .collect()
}

/// Days, both inclusive, in UTC (U5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: Date,
    pub to: Date,
}

impl Window {
    /// The last `days` days up to the day of `now`, and one day more: an order may be dated in a zone ahead of UTC.
    #[must_use]
    pub fn last(days: u32, now: jiff::Timestamp) -> Self {
        let today = jiff::tz::TimeZone::UTC.to_datetime(now).date();
        let span = jiff::Span::new().days(i64::from(days.min(36_500)));
        Self {
            from: today.saturating_sub(span),
            to: today.tomorrow().unwrap_or(Date::MAX),
        }
    }

    /// From the day of `since` on, `overlap_days` earlier, up to the day after that of `now`.
    #[must_use]
    pub fn since(since: jiff::Timestamp, overlap_days: u32, now: jiff::Timestamp) -> Self {
        Self {
            from: Self::last(overlap_days, since.min(now)).from,
            to: Self::last(0, now).to,
        }
    }
}

/// What narrows a list of orders beyond its window; empty narrows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderFilter {
    pub purchase_order_number: Option<String>,
    pub shipment_reference: Option<String>,
    pub status: Option<String>,
}

/// An order to fulfil (3.1): headers only, its units come by themselves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Order {
    /// Key of the shipping header: what every other call names the order by.
    pub id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_header_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// As given: a date or a date and time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_date: Option<String>,
    /// An open set of words; empty when absent.
    pub shipment_status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipping_contact: Option<Contact>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reseller_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reseller_email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purchase_order_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipment_reference: Option<String>,
    /// Meaning not documented (U9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validated: Option<bool>,
    #[serde(flatten)]
    pub other: Other,
}

impl Order {
    /// What provisioning calls `erpNo` (U12); empty when the order does not say.
    #[must_use]
    pub fn erp_no(&self) -> &str {
        self.account
            .as_ref()
            .map_or("", |account| &account.account_id)
    }

    /// A text that a write may have added, such as `trackingNumber`; any case.
    #[must_use]
    pub fn other_text(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .other
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        value.as_str().filter(|text| !text.is_empty())
    }
}

/// The Partner's account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Account {
    pub account_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
}

/// Where an order goes. There is no country (U10).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
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

/// One line item: one physical device (3.2).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LineUnit {
    pub id: i64,
    /// The order's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipping_header_partner_id: Option<i64>,
    /// Not the `productId` of provisioning (U11); empty when absent.
    pub product_code: String,
    /// `None`: the answer does not say, which is not the same as no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires_serial_number: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires_sim_number: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires_imei: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sim_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imei: Option<String>,
    /// Meaning not documented (U9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    #[serde(flatten)]
    pub other: Other,
}

/// What a unit is reported with; `None` is left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitReport {
    pub serial: Option<String>,
    pub sim: Option<String>,
    pub imei: Option<String>,
}

/// What an order's shipment is reported with; `None` is left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShipmentReport {
    pub carrier: Option<String>,
    pub tracking: Option<String>,
    pub status: Option<String>,
}

/// One device to be provisioned: one call (2.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProvisionCall {
    pub product_id: i64,
    /// Account number that receives the device; refused when empty, for it would land on our own account (U12).
    pub erp_no: String,
    pub hardware_id: Option<i64>,
    pub promo_code: Option<String>,
    pub sub_plan: Option<String>,
}

/// What a provisioning call came to, when an answer came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provisioning {
    /// The device exists: its serial, canonical.
    Provisioned { serial: String },
    /// `isSuccess` is false: the code, opaque (U13); empty when none was given.
    Declined { error: String },
    /// No result at all, which the documents give as "not provisioned".
    Nothing,
}

/// A device we produced and the database it is connected to (`GetPartnerDeviceContractsAsync`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PartnerDevice {
    /// Canonical.
    pub serial: String,
    pub product_code: Option<String>,
    pub database: Option<String>,
}

/// Which MyGeotab database a device is assigned to (`GetDeviceDatabaseNamesAsync`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceDatabase {
    /// Canonical.
    pub serial: String,
    /// A device with an owner is ready; sharing alone does not make it so.
    pub owner: Option<String>,
    pub shared: Vec<String>,
}

/// What narrows a list of contracts (2.4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContractFilter {
    /// Required by MyAdmin.
    pub for_account: String,
    /// Required by v3; at most 60 days.
    pub window: Option<Window>,
    pub serials: Vec<String>,
    pub purchase_order: Option<String>,
    /// Only devices never activated.
    pub shelf_stock_only: bool,
    /// Only devices in no MyGeotab database.
    pub no_database_only: bool,
}

/// A device contract (3.3).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceContract {
    pub id: i64,
    /// Canonical; `None` when the contract names no device.
    pub serial: Option<String>,
    pub imei: Option<String>,
    pub product_code: Option<String>,
    pub is_terminated: Option<bool>,
    /// As given.
    pub terminated_date: Option<String>,
    pub is_unactivated: Option<bool>,
    /// Where it last communicated, which may be stale: not its assignment.
    pub latest_database: Option<String>,
    pub comments: Option<String>,
    pub purchase_order: Option<String>,
    pub other: Other,
}

/// The account we are logged in with. Its key and session are not in here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// The e-mail address.
    pub name: String,
    pub accounts: Vec<String>,
    pub roles: Vec<String>,
}

/// What is known of a serial (`LookupDevice`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceLookup {
    /// Canonical; `None` when the answer does not repeat it.
    pub serial: Option<String>,
    pub other: Other,
}

/// # Errors
/// No object, or no `id`.
pub fn order(value: Value) -> Result<Order, String> {
    let mut members = Members::of("order", value)?;
    let id = members.whole("id").ok_or("an order without `id`")?;
    let account = members.object("account").map(|mut account| Account {
        account_id: account.text("accountId").unwrap_or_default(),
        id: account.whole("id"),
    });
    let contact = members.object("shippingContact").map(|mut contact| {
        let mut text = |name| contact.text(name).unwrap_or_default();
        Contact {
            name: text("name"),
            email: text("email"),
            street1: text("street1"),
            street2: text("street2"),
            city: text("city"),
            state: text("state"),
            zip_code: text("zipCode"),
            telephone1: text("telephone1"),
            telephone2: text("telephone2"),
        }
    });
    Ok(Order {
        id,
        order_header_id: members.whole("orderHeaderId"),
        account,
        order_date: members.text("orderDate"),
        shipment_status: members.text("shipmentStatus").unwrap_or_default(),
        comment: members.text("comment"),
        shipping_contact: contact,
        reseller_name: members.text("resellerName"),
        reseller_email: members.text("resellerEmail"),
        purchase_order_number: members.text("purchaseOrderNumber"),
        shipment_reference: members.text("shipmentReference"),
        validated: members.flag("validated"),
        other: members.rest(),
    })
}

/// # Errors
/// No object, or no `id`.
pub fn line_unit(value: Value) -> Result<LineUnit, String> {
    let mut members = Members::of("line item", value)?;
    Ok(LineUnit {
        id: members.whole("id").ok_or("a line item without `id`")?,
        shipping_header_partner_id: members.whole("shippingHeaderPartnerId"),
        product_code: members.text("productCode").unwrap_or_default(),
        requires_serial_number: members.flag("requiresSerialNumber"),
        requires_sim_number: members.flag("requiresSimNumber"),
        requires_imei: members.flag("requiresImei"),
        serial_number: members.text("serialNumber"),
        sim_number: members.text("simNumber"),
        imei: members.text("imei"),
        attribute: members.text("attribute"),
        other: members.rest(),
    })
}

/// The result of a provisioning call; `None` when there was none.
///
/// # Errors
/// It says neither yes nor no, or both: a serial without success, a success without a serial.
pub fn provisioning(result: Option<Value>) -> Result<Provisioning, String> {
    let Some(value) = result else {
        return Ok(Provisioning::Nothing);
    };
    let mut members = Members::of("ProvisionResult", value)?;
    let success = members.flag("isSuccess");
    let serial = members.text("serialNo").map(|text| canonical_serial(&text));
    let error = members.text("error");
    match (success, serial, error) {
        (Some(true) | None, Some(serial), None) => Ok(Provisioning::Provisioned { serial }),
        // A success is a success, whatever is remarked beside it.
        (Some(true), Some(serial), Some(_)) => Ok(Provisioning::Provisioned { serial }),
        (Some(false), None, error) => Ok(Provisioning::Declined {
            error: error.unwrap_or_default(),
        }),
        (None, None, Some(error)) => Ok(Provisioning::Declined { error }),
        (Some(false), Some(serial), _) => Err(format!(
            "`isSuccess` is false, and yet there is the serial {serial}"
        )),
        (None, Some(serial), Some(error)) => {
            Err(format!("both an error ({error}) and the serial {serial}"))
        }
        (Some(true), None, _) => Err("`isSuccess` is true without a serial".to_owned()),
        (None, None, None) => Err("neither `isSuccess` nor a serial nor an error".to_owned()),
    }
}

/// # Errors
/// No object, or no serial.
pub fn partner_device(value: Value) -> Result<PartnerDevice, String> {
    let mut members = Members::of("device", value)?;
    let serial = members
        .text("serialNumber")
        .or_else(|| members.text("serialNo"))
        .ok_or("a device without `serialNumber`")?;
    Ok(PartnerDevice {
        serial: canonical_serial(&serial),
        product_code: members.text("productCode"),
        database: members.text("database"),
    })
}

/// # Errors
/// No object, or no serial.
pub fn device_database(value: Value) -> Result<DeviceDatabase, String> {
    let mut members = Members::of("device", value)?;
    let serial = members
        .text("serialNo")
        .or_else(|| members.text("serialNumber"))
        .ok_or("a device without `serialNo`")?;
    Ok(DeviceDatabase {
        serial: canonical_serial(&serial),
        owner: members.text("ownerDatabaseName"),
        shared: members.texts("sharedDatabaseName"),
    })
}

/// # Errors
/// No object, or no `id`.
pub fn device_contract(value: Value) -> Result<DeviceContract, String> {
    let mut members = Members::of("contract", value)?;
    let id = members.whole("id").ok_or("a contract without `id`")?;
    let (mut serial, mut imei) = (None, None);
    if let Some(mut device) = members.object("device") {
        serial = device
            .text("serialNumber")
            .map(|text| canonical_serial(&text));
        imei = device.text("modemSerialNo");
    }
    let latest_database = members
        .object("latestDeviceDatabase")
        .and_then(|mut database| database.text("databaseName"));
    Ok(DeviceContract {
        id,
        serial,
        imei,
        product_code: members.text("productCode"),
        is_terminated: members.flag("isTerminated"),
        terminated_date: members.text("terminatedDate"),
        is_unactivated: members.flag("isUnactivated"),
        latest_database,
        comments: members.text("comments"),
        purchase_order: members.text("assignedPurchaseOrderNo"),
        other: members.rest(),
    })
}

/// # Errors
/// No object.
pub fn device_lookup(value: Value) -> Result<DeviceLookup, String> {
    let mut members = Members::of("device", value)?;
    let serial = members
        .text("serialNo")
        .or_else(|| members.text("serialNumber"));
    Ok(DeviceLookup {
        serial: serial.map(|text| canonical_serial(&text)),
        other: members.rest(),
    })
}

/// # Errors
/// No object. Its secrets are not looked at.
pub fn user(value: Value) -> Result<User, String> {
    let mut members = Members::of("user", value)?;
    let mut names = |array: &str, name: &str| -> Vec<String> {
        let named = |value: Value| match value {
            Value::String(text) => Some(text),
            value => Members::of(array, value).ok()?.text(name),
        };
        members.array(array).into_iter().filter_map(named).collect()
    };
    let (accounts, roles) = (names("accounts", "accountId"), names("roles", "name"));
    Ok(User {
        name: members.text("name").unwrap_or_default(),
        accounts,
        roles,
    })
}

#[cfg(test)]
mod tests;
