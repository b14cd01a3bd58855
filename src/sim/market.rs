//! The marketplace behind MyAdmin: users, accounts, products, orders, devices, databases, terminations, billing.
//!
//! Plain truth and pure rules: no HTTP, no clock, no randomness but from its seed; times are microseconds since the epoch and
//! arguments. Two markets of one seed that are told the same acts are equal. Sources: myadmin/API.md; what they leave open is
//! a setting ([`Settings`]) with the assumption of its section 7.
//!
//! One key per order: the `id` of the shipping header, which the REST surface shows too. `orderHeaderId` is another number.
//!
//! It decides; it tells nobody. Who may ask what (sessions, roles, limits) is the faces' part.
//!
//! ```
//! use dig_ingest::sim::market::{Cart, Config, Market, Outcome, Shipment, UnitReport};
//!
//! let mut market = Market::new(&Config::default(), 1);
//! let now = 1_700_000_000_000_000;
//! let order = market.order(&Cart::of("CTD-100", 1), now)?;
//! market.approve(order, now)?;
//! let Outcome::Made(serial) = market.provision(10032, Some("PART01"), "INTG01", now) else { panic!("no script") };
//! let unit = market.get(order).unwrap().units[0].id;
//! market.report_unit(order, unit, &UnitReport::serial(&serial), now)?;
//! market.report_shipment(order, &Shipment::fulfilled("Post", "T1", &market.settings), now)?;
//! market.assign(&serial, "customer_db", now)?;
//! assert_eq!(market.databases(&[&serial], now + 10_000_000)[0].owner.as_deref(), Some("customer_db"));
//! # Ok::<(), dig_ingest::sim::market::Refused>(())
//! ```

use std::collections::{BTreeMap, HashMap};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub mod devices;
pub mod order;
mod orders;
pub mod provision;
pub mod settings;
pub mod sheet;

pub use devices::{Billing, Device, DeviceDatabase, PartnerDevice, Stay, Termination};
pub use order::{Cart, CartLine, Contact, Filter, Order, Shipment, Stage, Unit, UnitReport};
pub use provision::{Outcome, Script, Thrown, Turn};
pub use settings::{AbsentRows, Column, Limit, Per, RestErrors, Settings, SheetField, Spoiled};

/// ERP number of the default integrator: who makes the devices.
pub const INTEGRATOR: &str = "INTG01";
/// ERP number of the default Partner: whose customers order, and who owns the devices.
pub const PARTNER: &str = "PART01";
/// Password of the default users.
pub const PASSWORD: &str = "simulated";

/// Why an act is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is no {what} {name}")]
    Missing { what: &'static str, name: String },
    /// The act does not fit the state of what it is done to.
    #[error("{0}")]
    Conflict(String),
    /// A value that cannot be right.
    #[error("{0}")]
    Wrong(String),
}

impl Refused {
    fn missing(what: &'static str, name: impl ToString) -> Self {
        Self::Missing {
            what,
            name: name.to_string(),
        }
    }
}

/// What can be ordered. `productId` is for provisioning, `productCode` is what orders say (myadmin/API.md 3.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    pub product_code: String,
    /// None: it is never provisioned.
    #[serde(default)]
    pub product_id: Option<i64>,
    /// The first two characters of its serials.
    #[serde(default)]
    pub prefix: String,
    #[serde(default)]
    pub requires_serial: bool,
    #[serde(default)]
    pub requires_sim: bool,
    #[serde(default)]
    pub requires_imei: bool,
    /// Carried through untouched (U9).
    #[serde(default)]
    pub attribute: Option<String>,
}

/// An ERP account: `accountId` on the wire, `erpNo` when provisioning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    pub erp_no: String,
    /// The other number of it, `account.id`.
    pub id: i64,
    #[serde(default)]
    pub reseller_name: String,
    #[serde(default)]
    pub reseller_email: String,
}

/// Who may log in to MyAdmin.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// An e-mail address.
    pub name: String,
    /// Read, never shown.
    #[serde(skip_serializing)]
    pub password: String,
    #[serde(default)]
    pub roles: Vec<String>,
    /// ERP numbers; the first is where devices go when no account is named.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// The `apiKey`; given by the market.
    #[serde(skip)]
    pub id: Uuid,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("roles", &self.roles)
            .field("accounts", &self.accounts)
            .finish_non_exhaustive()
    }
}

/// What a market starts with.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub settings: Settings,
    pub users: Vec<User>,
    pub accounts: Vec<Account>,
    pub products: Vec<Product>,
}

impl Default for Config {
    /// The integrator and the Partner, each with a user; a plain device, one with SIM and IMEI, and a cable.
    fn default() -> Self {
        let user = |name: &str, account: &str, roles: &[&str]| User {
            name: name.to_owned(),
            password: PASSWORD.to_owned(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            accounts: vec![account.to_owned()],
            id: Uuid::nil(),
        };
        let account = |erp_no: &str, id, name: &str, email: &str| Account {
            erp_no: erp_no.to_owned(),
            id,
            reseller_name: name.to_owned(),
            reseller_email: email.to_owned(),
        };
        let product = |code: &str, id: Option<i64>, prefix: &str, both: bool| Product {
            product_code: code.to_owned(),
            product_id: id,
            prefix: prefix.to_owned(),
            requires_serial: id.is_some(),
            requires_sim: both,
            requires_imei: both,
            attribute: None,
        };
        Self {
            settings: Settings::default(),
            users: vec![
                user(
                    "integrator@example.com",
                    INTEGRATOR,
                    &[
                        "Third-Party-Integrator",
                        "ThirdPartyPartner-Admin",
                        "Device_Admin",
                    ],
                ),
                user(
                    "partner@example.com",
                    PARTNER,
                    &["Device_Admin", "Billing_Admin", "Order_Admin"],
                ),
            ],
            accounts: vec![
                account(INTEGRATOR, 301, "Example Devices", "orders@devices.example"),
                account(
                    PARTNER,
                    302,
                    "Example Fleet Partner",
                    "sales@partner.example",
                ),
            ],
            products: vec![
                product("CTD-100", Some(10032), "CX", false),
                product("CTD-200", Some(10184), "C8", true),
                product("CABLE-1", None, "", false),
            ],
        }
    }
}

/// The market.
#[derive(Debug, Clone)]
pub struct Market {
    pub settings: Settings,
    users: Vec<User>,
    accounts: Vec<Account>,
    products: Vec<Product>,
    orders: BTreeMap<u64, Order>,
    /// In the order of their birth: a device's id is its place, from 1.
    devices: Vec<Device>,
    /// Upper-case serial to place.
    by_serial: HashMap<String, usize, foldhash::fast::FixedState>,
    scripts: Vec<provision::Armed>,
    last_unit: u64,
    seed: u64,
    /// Makes serials and lags.
    makes: StdRng,
    /// Draws scripts that come at a rate, so that scripts do not change which serials are made.
    draws: StdRng,
}

/// Totals of a market at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    pub orders: u64,
    pub requested: u64,
    pub pending: u64,
    pub fulfilled: u64,
    pub rejected: u64,
    pub cancelled: u64,
    pub units: u64,
    pub devices: u64,
    /// Devices with an owner database.
    pub in_a_database: u64,
    pub terminated: u64,
    /// Devices whose billing has ever started.
    pub billing_started: u64,
    /// Devices that sent again after their termination.
    pub billing_resumed: u64,
}

impl Market {
    #[must_use]
    pub fn new(config: &Config, seed: u64) -> Self {
        let mut market = Self {
            settings: config.settings.clone(),
            users: Vec::new(),
            accounts: config.accounts.clone(),
            products: config.products.clone(),
            orders: BTreeMap::new(),
            devices: Vec::new(),
            by_serial: HashMap::default(),
            scripts: Vec::new(),
            last_unit: 0,
            seed,
            makes: StdRng::seed_from_u64(seed),
            draws: StdRng::seed_from_u64(!seed),
        };
        for user in &config.users {
            market.put_user(user.clone());
        }
        market
    }

    /// Forgets orders, devices and scripts; users, accounts, products and settings stay.
    pub fn reset(&mut self) {
        self.orders.clear();
        self.devices.clear();
        self.by_serial.clear();
        self.scripts.clear();
        self.last_unit = 0;
        self.makes = StdRng::seed_from_u64(self.seed);
        self.draws = StdRng::seed_from_u64(!self.seed);
    }

    #[must_use]
    pub fn users(&self) -> &[User] {
        &self.users
    }

    #[must_use]
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users
            .iter()
            .find(|user| user.name.eq_ignore_ascii_case(name))
    }

    /// Adds a user or replaces the one of that name, who keeps the `apiKey`.
    pub fn put_user(&mut self, mut user: User) {
        // Of its own seed: users come and go without changing which serials are made.
        let salt = user.name.bytes().fold(self.seed, |sum, byte| {
            sum.wrapping_mul(31) ^ u64::from(byte)
        });
        let bytes = StdRng::seed_from_u64(salt).random();
        user.id = uuid::Builder::from_random_bytes(bytes).into_uuid();
        self.users
            .retain(|known| !known.name.eq_ignore_ascii_case(&user.name));
        self.users.push(user);
    }

    #[must_use]
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    #[must_use]
    pub fn account(&self, erp_no: &str) -> Option<&Account> {
        self.accounts
            .iter()
            .find(|account| account.erp_no.eq_ignore_ascii_case(erp_no))
    }

    /// Adds an account or replaces the one of that number.
    pub fn put_account(&mut self, account: Account) {
        self.accounts
            .retain(|known| !known.erp_no.eq_ignore_ascii_case(&account.erp_no));
        self.accounts.push(account);
    }

    #[must_use]
    pub fn products(&self) -> &[Product] {
        &self.products
    }

    #[must_use]
    pub fn product(&self, code: &str) -> Option<&Product> {
        self.products
            .iter()
            .find(|product| product.product_code == code)
    }

    /// Adds a product or replaces the one of that code.
    ///
    /// # Errors
    /// A product that is provisioned and has no prefix of two letters or digits.
    pub fn put_product(&mut self, product: Product) -> Result<(), Refused> {
        let fits = product.prefix.len() == 2
            && product
                .prefix
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric());
        if product.product_id.is_some() && !fits {
            return Err(Refused::Wrong(format!(
                "product {}: `prefix` {:?} is not two letters or digits",
                product.product_code, product.prefix
            )));
        }
        self.products
            .retain(|known| known.product_code != product.product_code);
        self.products.push(product);
        Ok(())
    }

    /// Totals at `now`.
    #[must_use]
    pub fn counts(&self, now: i64) -> Counts {
        let mut counts = Counts {
            orders: self.orders.len() as u64,
            devices: self.devices.len() as u64,
            ..Counts::default()
        };
        for order in self.orders.values() {
            counts.units += order.units.len() as u64;
            *match order.stage {
                Stage::Requested => &mut counts.requested,
                Stage::Approved => &mut counts.pending,
                Stage::Fulfilled => &mut counts.fulfilled,
                Stage::Rejected => &mut counts.rejected,
                Stage::Cancelled => &mut counts.cancelled,
            } += 1;
        }
        for device in &self.devices {
            counts.in_a_database += u64::from(device.owner.is_some());
            counts.terminated += u64::from(device.terminated(now));
            counts.billing_started += u64::from(device.billing.started_us.is_some());
            counts.billing_resumed += u64::from(device.billing.resumptions > 0);
        }
        counts
    }
}

#[cfg(test)]
mod tests;
