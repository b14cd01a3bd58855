//! E-mail as a cross-check: orders that are known by mail and not by MyAdmin, and the other way round (myadmin/API.md section 6,
//! U31, U32).
//!
//! A purchase order and a packing slip arrive by mail for every order. [`opened`] takes a mail apart, [`email`] and [`items`] understand
//! it, [`check`] and `differ` compare it with the store: all pure. [`apart`] opens PDF files and forwarded mails in a process of its
//! own; [`files`] lists and reads a Maildir or a folder of `.eml` files, [`folder`] looks at it and raises alarms, [`views`] shows a
//! mail to a person. Mail never makes, changes or provisions anything: anybody can send one.

mod amount;
pub mod apart;
pub mod check;
mod differ;
pub mod email;
pub mod files;
pub mod folder;
mod forwarded;
pub mod items;
pub mod opened;
pub mod papers;
pub mod patterns;
pub mod pdf;
pub mod text;
pub mod views;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use amount::Amount;

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
    /// Regular expression for the senders whose forwarded mails count, in the text or as attachments; empty: those of all senders.
    pub forwarded_from: String,
    /// Regular expressions for the Sales No and the number of the purchase order, with exactly one group.
    pub sales_no: String,
    pub po_number: String,
    /// Regular expression for the reseller that a letter names, with exactly one group; empty: resellers are not compared.
    pub customer: String,
    /// Regular expressions for the titles of the columns of a letter's table: product code, quantity, unit price, line total.
    pub item_title: String,
    pub quantity_title: String,
    pub price_title: String,
    pub total_title: String,
    /// Regular expression for the beginning of the line that ends a table of items.
    pub table_end: String,
    /// Regular expression for a product code in the column of codes.
    pub item_code: String,
    /// Regular expression for codes of a letter that are no items of an order, such as freight.
    pub no_item: String,
    /// Product codes of MyAdmin, by the codes that letters have for them where these differ.
    pub codes: BTreeMap<String, String>,
    /// Agreed unit prices as text (`"89.50"`), by product code: letters with another price raise an alarm.
    pub prices: BTreeMap<String, String>,
    /// Time in hours (1 or more) before an alarm: an order is known by its packing slip and not by MyAdmin, or by MyAdmin and not by mail.
    pub missing_after_h: u64,
    /// Time in hours (1 or more) before an alarm: a purchase order came by mail, without a packing slip and thus not approved yet, and
    /// MyAdmin does not know the order.
    pub unapproved_after_h: u64,
    /// Maximum age in days (1 or more) of mail that is read.
    pub days: u32,
    pub max_bytes: u64,
    /// Maximum memory in MiB (64 or more) of the process that opens PDF attachments and mails within mails.
    pub reader_memory_mb: u64,
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
            forwarded_from: String::new(),
            sales_no: r"\bsales\s*(?:order\s*)?(?:no|number)?\b\.?\s*[:#]?\s*([A-Z0-9][A-Z0-9/-]+)".into(),
            po_number: r"\b(?:P\.?O\.?|purchase\s*order)\s*(?:no|number)?\b\.?\s*[:#]?\s*([A-Z0-9][A-Z0-9/-]+)".into(),
            customer: r"\breseller(?:\s*name)?[ ]*[:\t]\s*([^\t\n]{2,80})".into(),
            item_title: r"^(?:item|sku|product|part|article|artikel|material)\s*(?:code|no|nr|number|num|id|#)?\.?$".into(),
            quantity_title: r"^(?:(?:ordered|shipped|order|ship|to\s*ship)\s*)?(?:qty|quantity|menge|anzahl|units|pcs)\.?(?:\s*(?:ordered|shipped|to\s*ship))?$".into(),
            price_title: r"^(?:unit\s*)?(?:price|cost|rate|einzelpreis|preis)(?:\s*(?:per|/)\s*unit)?(?:\s*\(?(?:[A-Z]{3}|[$€£])\)?)?$".into(),
            total_title: r"^(?:total|amount|gesamt|betrag|(?:line|ext(?:ended|\.)?)\s*(?:total|price|amount|cost))(?:\s*\(?(?:[A-Z]{3}|[$€£])\)?)?$".into(),
            table_end: r"^(?:sub-?\s*total|total|gesamt|summe|zwischensumme)\b".into(),
            item_code: r"^[A-Z0-9]*(?:[A-Z][A-Z0-9._/-]*[0-9]|[0-9][A-Z0-9._/-]*[A-Z])[A-Z0-9._/-]*$".into(),
            no_item: r"^(?:FREIGHT|SHIPPING|SHIP|HANDLING|TAX|VAT|FEE|DISCOUNT)".into(),
            codes: BTreeMap::new(),
            prices: BTreeMap::new(),
            missing_after_h: 24,
            unapproved_after_h: 168,
            days: 90,
            max_bytes: 16 * 1024 * 1024,
            reader_memory_mb: 256,
        }
    }
}

impl Config {
    /// Whether mail is looked for.
    #[must_use]
    pub fn wanted(&self) -> bool {
        !self.folder.as_os_str().is_empty()
    }

    /// Checks of the settings that their types do not make.
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
        if self.reader_memory_mb < 64 {
            return Err("mail.reader_memory_mb: must be at least 64".to_owned());
        }
        for (code, price) in &self.prices {
            if Amount::plain(price).is_none() {
                return Err(format!(
                    "mail.prices.{code}: {price:?} is no price; write it as \"89.50\""
                ));
            }
        }
        patterns::Patterns::new(self).map(drop)
    }

    /// Prices by product codes in upper case.
    fn agreed_prices(&self) -> BTreeMap<String, Amount> {
        let prices = self.prices.iter();
        prices
            .filter_map(|(code, price)| Some((code.to_uppercase(), Amount::plain(price)?)))
            .collect()
    }
}
