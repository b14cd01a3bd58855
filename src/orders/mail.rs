//! E-mail as a cross-check: orders that are known by mail and not by MyAdmin, and the other way round (myadmin/API.md section 6,
//! U31, U32).
//!
//! A purchase order and a packing slip arrive by mail for every order. [`letter`] reads them, [`check`] compares them with the
//! store, both pure; [`folder`] looks at a Maildir or a folder of `.eml` files and raises alarms. Mail never makes, changes or
//! provisions anything: anybody can send one.

pub mod check;
pub mod folder;
pub mod letter;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Settings (`[orders.mail]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Maildir, or directory of `.eml` files; empty: no mail is read.
    pub folder: PathBuf,
    /// Poll interval in seconds (1 or more) of the folder.
    pub every_s: u64,
    /// Regular expressions for the sender of purchase orders, and for the subject or the name of an attachment.
    pub purchase_order_from: String,
    pub purchase_order_named: String,
    /// Regular expressions for the sender of packing slips, and for the subject or the name of an attachment.
    pub packing_slip_from: String,
    pub packing_slip_named: String,
    /// Regular expressions for the Sales No and the number of the purchase order, with exactly one group.
    pub sales_no: String,
    pub po_number: String,
    /// Time in hours (1 or more) before an alarm: an order is known by its packing slip and not by MyAdmin, or by MyAdmin and not by mail.
    pub missing_after_h: u64,
    /// Time in hours (1 or more) before an alarm: a purchase order came by mail, without a packing slip and thus not approved yet, and
    /// MyAdmin does not know the order.
    pub unapproved_after_h: u64,
    /// Maximum age in days (1 or more) of mail that is read.
    pub days: u32,
    pub max_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            folder: PathBuf::new(),
            every_s: 300,
            purchase_order_from: r"^purchasing@geotab\.com$".into(),
            purchase_order_named: "PurchaseOrder".into(),
            packing_slip_from: r"^ar@geotab\.com$".into(),
            packing_slip_named: String::new(),
            sales_no: r"\bsales\s*(?:order\s*)?(?:no|number)?\b\.?\s*[:#]?\s*([A-Z0-9][A-Z0-9/-]+)".into(),
            po_number: r"\b(?:P\.?O\.?|purchase\s*order)\s*(?:no|number)?\b\.?\s*[:#]?\s*([A-Z0-9][A-Z0-9/-]+)".into(),
            missing_after_h: 24,
            unapproved_after_h: 168,
            days: 90,
            max_bytes: 16 * 1024 * 1024,
        }
    }
}

impl Config {
    /// Whether mail is looked for.
    #[must_use]
    pub fn wanted(&self) -> bool {
        !self.folder.as_os_str().is_empty()
    }

    /// What the types cannot say.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn check(&self) -> Result<(), String> {
        for (name, value) in [
            ("every_s", self.every_s),
            ("missing_after_h", self.missing_after_h),
            ("unapproved_after_h", self.unapproved_after_h),
            ("days", self.days.into()),
            ("max_bytes", self.max_bytes),
        ] {
            if value == 0 {
                return Err(format!("mail.{name}: must be at least 1"));
            }
        }
        letter::Patterns::new(self).map(drop)
    }
}
