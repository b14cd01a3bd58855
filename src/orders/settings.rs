//! Settings of the order journey (`[orders]` and its tables).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::identifiers::Prefixes;
use super::wait::bounds::Waits;
use super::{import, inventory, mail, store, terminations, web};

/// `[orders]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether `run` processes orders: from an order in MyAdmin to an active device.
    pub enabled: bool,
    /// Poll interval in seconds (1 or more) of the list of recent orders.
    pub orders_every_s: u64,
    /// Poll interval in seconds (1 or more) for the databases of devices, and for reading back what was reported to MyAdmin.
    pub readiness_every_s: u64,
    /// Poll interval in seconds (1 or more) of the list of the partner's devices.
    pub devices_every_s: u64,
    /// Interval in hours (1 or more) between two full sweeps of the orders.
    pub sweep_every_h: u64,
    /// Number of days (1 or more) that a full sweep looks back.
    pub sweep_days: u32,
    /// Overlap in days: a listing begins this long before the last listing or the oldest open order, whichever is earlier.
    pub overlap_days: u32,
    /// Maximum number of serials (1 or more) per call for the databases of devices.
    pub serials_per_call: usize,
    /// Accounts (`erpNo`) for which devices may be provisioned; `*` at the end matches any rest.
    pub accounts: Vec<String>,
    /// Whether a unit is assigned automatically once it has everything that its order line requires.
    pub auto_assign: bool,
    /// Effect of a cancelled status in MyAdmin.
    pub on_cancelled: OnCancelled,
    /// Number of consecutive full sweeps (1 or more) that must miss an open order before `orders.on_vanished` applies.
    pub vanished_after: u32,
    /// Treatment of an open order that full sweeps no longer list.
    pub on_vanished: OnVanished,
    /// Grace period in hours before an alarm: a terminated device is still in a database, or an active one in none (U30).
    pub reappear_after_h: u64,
    /// Initial backoff in seconds (1 or more) before a failed action is retried; doubles from failure to failure.
    pub backoff_s: u64,
    /// Maximum backoff in seconds between two tries of a failed action.
    pub backoff_max_s: u64,
    /// Lease duration in seconds (1 or more): if the instance that holds the lease does not renew it for this long, another instance takes
    /// over.
    pub lease_s: u64,
    /// Shutdown timeout in seconds for a call to MyAdmin that has begun; set it above `myadmin.provision_timeout_s`.
    pub finish_s: u64,
    /// Retention in days of published changes in the outbox, for inspection by people.
    pub outbox_days: u32,
    /// Interval in seconds (1 or more) between two comparisons of the store with the topic of the device registry.
    pub compare_every_s: u64,
    pub status: Status,
    pub products: BTreeMap<String, Product>,
    pub approval: Approval,
    pub provision: Provision,
    pub fulfilment: Fulfilment,
    pub waits: Waits,
    pub import: import::Config,
    pub inventory: inventory::Config,
    pub terminations: terminations::Config,
    pub mail: mail::Config,
    pub web: web::Config,
    pub store: store::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: false,
            orders_every_s: 300,
            readiness_every_s: 30,
            devices_every_s: 300,
            sweep_every_h: 24,
            sweep_days: 90,
            overlap_days: 2,
            serials_per_call: 100,
            accounts: Vec::new(),
            auto_assign: true,
            on_cancelled: OnCancelled::Cancel,
            vanished_after: 2,
            on_vanished: OnVanished::Alarm,
            reappear_after_h: 48,
            backoff_s: 30,
            backoff_max_s: 3600,
            lease_s: 30,
            finish_s: 200,
            outbox_days: 30,
            compare_every_s: 300,
            status: Status::default(),
            products: BTreeMap::new(),
            approval: Approval::default(),
            provision: Provision::default(),
            fulfilment: Fulfilment::default(),
            waits: Waits::default(),
            import: import::Config::default(),
            inventory: inventory::Config::default(),
            terminations: terminations::Config::default(),
            mail: mail::Config::default(),
            web: web::Config::default(),
            store: store::Config::default(),
        }
    }
}

/// What a cancelled status does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnCancelled {
    Cancel,
    Park,
}

/// What happens to an order that is not listed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnVanished {
    Alarm,
    Park,
    Cancel,
}

/// `[orders.status]`: what the open words of `shipmentStatus` mean (U2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Status {
    /// Status values of an order that is to be fulfilled.
    pub pending: Vec<String>,
    /// Status values of a fulfilled order; the first one is reported to MyAdmin.
    pub done: Vec<String>,
    pub cancelled: Vec<String>,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            pending: vec!["PendingFulfillment".into()],
            done: vec!["Fulfilled".into()],
            cancelled: vec!["Cancelled".into()],
        }
    }
}

/// What a status means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Pending,
    Done,
    Cancelled,
    Unknown,
}

impl Status {
    #[must_use]
    pub fn standing(&self, status: &str) -> Standing {
        let is = |words: &[String]| words.iter().any(|word| word.eq_ignore_ascii_case(status));
        if is(&self.pending) {
            Standing::Pending
        } else if is(&self.done) {
            Standing::Done
        } else if is(&self.cancelled) {
            Standing::Cancelled
        } else {
            Standing::Unknown
        }
    }
}

/// One line of `[orders.products]`: how a product code is provisioned (U11).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    pub product_id: i64,
    /// The first characters of its serials; without it only the product code tells an orphan's product.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promo_code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_plan: Option<String>,
}

/// `[orders.approval]`: which orders wait for a person.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Approval {
    /// Whether every order needs approval.
    pub always: bool,
    /// Whether an order with a comment needs approval.
    pub comments: bool,
    /// Whether an order that MyAdmin does not show as validated needs approval (U9).
    pub unvalidated: bool,
    /// Maximum number of units of an order without approval; 0: no bound.
    pub units_above: u32,
    /// Accounts (`erpNo`) whose orders need approval.
    pub accounts: Vec<String>,
}

/// `[orders.provision]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Provision {
    /// Time in seconds after a provisioning call until the new serial must be in the list of the partner's devices (U15).
    pub visible_after_s: u64,
    /// Whether the account may list the partner's devices. If false, a person must clear up every lost answer.
    pub list_devices: bool,
    /// Whether the serial of a lost answer is adopted only if the contracts of the account for which the call was made show the serial
    /// too, in no database.
    pub check_contracts: CheckContracts,
    /// Error codes of a declined provisioning call that are retried; any other code parks the unit (U13).
    pub retry_codes: Vec<String>,
}

impl Default for Provision {
    fn default() -> Self {
        Self {
            visible_after_s: 900,
            list_devices: true,
            check_contracts: CheckContracts::Auto,
            retry_codes: Vec::new(),
        }
    }
}

/// Whether contracts are asked before a lost answer's serial is adopted. Written as `"auto"`, `true` or `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "Word")]
pub enum CheckContracts {
    /// If the account may list contracts.
    Auto,
    Always,
    Never,
}

/// See [`CheckContracts`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Word {
    Plain(bool),
    Named(String),
}

impl TryFrom<Word> for CheckContracts {
    type Error = String;

    fn try_from(word: Word) -> Result<Self, String> {
        match word {
            Word::Plain(true) => Ok(Self::Always),
            Word::Plain(false) => Ok(Self::Never),
            Word::Named(name) => match name.as_str() {
                "auto" => Ok(Self::Auto),
                // A variable of the environment is a text.
                "true" => Ok(Self::Always),
                "false" => Ok(Self::Never),
                _ => Err(format!("{name:?} is not one of \"auto\", true and false")),
            },
        }
    }
}

impl From<CheckContracts> for Word {
    fn from(check: CheckContracts) -> Self {
        match check {
            CheckContracts::Auto => Self::Named("auto".to_owned()),
            CheckContracts::Always => Self::Plain(true),
            CheckContracts::Never => Self::Plain(false),
        }
    }
}

/// `[orders.fulfilment]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fulfilment {
    /// Who reports units and shipments to MyAdmin (U1).
    pub mode: Mode,
    /// Treatment of several tracking numbers of one order (U7).
    pub packages: Packages,
    /// Separator between joined tracking numbers.
    pub separator: String,
    /// Treatment of an order of which a part has shipped.
    pub partial: Partial,
    /// Whether a fulfilment counts as confirmed only when MyAdmin also shows the reported order status.
    pub confirm_status: bool,
    /// Maximum number of reports (1 or more) that MyAdmin refuses or shows differently before the unit or the order is parked.
    pub tries: u32,
    /// Names of carriers in MyAdmin, by their names in this program (U8).
    pub carriers: BTreeMap<String, String>,
}

impl Default for Fulfilment {
    fn default() -> Self {
        Self {
            mode: Mode::Worksheet,
            packages: Packages::Join,
            separator: ", ".into(),
            partial: Partial::Wait,
            confirm_status: true,
            tries: 5,
            carriers: BTreeMap::new(),
        }
    }
}

/// Who tells MyAdmin of units and shipments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Api,
    Worksheet,
}

/// Several tracking numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packages {
    Join,
    Refuse,
}

/// A part of an order has shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Partial {
    Wait,
    Report,
}

impl Config {
    /// Whether an account may be provisioned for. Never an empty one: its devices would land on the default account (U12).
    #[must_use]
    pub fn allows(&self, account: &str) -> bool {
        !account.trim().is_empty()
            && self.accounts.iter().any(|allowed| {
                allowed
                    .strip_suffix('*')
                    .map_or(allowed == account, |start| account.starts_with(start))
            })
    }

    /// The prefixes of serials, by product.
    #[must_use]
    pub fn prefixes(&self) -> Prefixes {
        let told = self.products.iter();
        told.map(|(code, product)| (code.as_str(), product.prefix.as_str()))
            .collect()
    }

    /// What the serials of own products begin with.
    #[must_use]
    pub fn own_prefixes(&self) -> Vec<String> {
        let prefixes = self.products.values().map(|product| product.prefix.trim());
        let prefixes = prefixes.filter(|prefix| !prefix.is_empty());
        prefixes.map(str::to_ascii_uppercase).collect()
    }

    /// What the types cannot say.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn check(&self) -> Result<(), String> {
        let nonzero = [
            ("orders_every_s", self.orders_every_s),
            ("readiness_every_s", self.readiness_every_s),
            ("devices_every_s", self.devices_every_s),
            ("sweep_every_h", self.sweep_every_h),
            ("backoff_s", self.backoff_s),
            ("lease_s", self.lease_s),
            ("compare_every_s", self.compare_every_s),
            ("serials_per_call", self.serials_per_call as u64),
            ("sweep_days", self.sweep_days.into()),
            ("vanished_after", self.vanished_after.into()),
            ("store.connections", self.store.connections.into()),
        ];
        if let Some((name, _)) = nonzero.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{name}: must be at least 1"));
        }
        if let Some(text) = self.accounts.iter().find(|text| text.trim() == "*") {
            return Err(format!(
                "accounts: {text:?} would allow every account; name them"
            ));
        }
        let Status {
            pending,
            done,
            cancelled,
        } = &self.status;
        if pending.is_empty() || done.is_empty() {
            return Err("status.pending: there must be a pending and a done status".into());
        }
        let mut words: Vec<String> = pending
            .iter()
            .chain(done)
            .chain(cancelled)
            .map(|word| word.to_ascii_lowercase())
            .collect();
        words.sort_unstable();
        if let Some(pair) = words.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("status.done: {:?} is listed twice", pair[0]));
        }
        if let Some((code, product)) = self
            .products
            .iter()
            .find(|(_, product)| product.product_id <= 0)
        {
            return Err(format!(
                "products: {code:?} has the product_id {}, which none has",
                product.product_id
            ));
        }
        if self.provision.check_contracts == CheckContracts::Always && !self.provision.list_devices
        {
            return Err("provision.check_contracts: needs provision.list_devices, which finds what is checked".into());
        }
        if self.fulfilment.tries == 0 {
            return Err("fulfilment.tries: must be at least 1".into());
        }
        self.import.check()?;
        self.inventory.check()?;
        self.terminations.check()?;
        self.mail.check()?;
        self.web.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_allowed_by_name_or_pattern_and_never_when_empty() {
        let config = Config {
            accounts: vec!["PART01".into(), "EU*".into(), "*".into()],
            ..Config::default()
        };
        for (account, allowed) in [("PART01", true), ("EU77", true), ("", false), (" ", false)] {
            assert_eq!(config.allows(account), allowed, "{account}");
        }
        assert!(!Config::default().allows("PART01"));
        assert!(config.check().is_err());
    }

    #[test]
    fn a_status_means_what_the_settings_say() {
        let status = Status::default();
        assert_eq!(status.standing("pendingfulfillment"), Standing::Pending);
        assert_eq!(status.standing("Fulfilled"), Standing::Done);
        assert_eq!(status.standing("Cancelled"), Standing::Cancelled);
        assert_eq!(status.standing(""), Standing::Unknown);
        let twice = Config {
            status: Status {
                done: vec!["PendingFulfillment".into()],
                ..Status::default()
            },
            ..Config::default()
        };
        assert!(twice.check().is_err());
        assert_eq!(Config::default().check(), Ok(()));
    }
}
