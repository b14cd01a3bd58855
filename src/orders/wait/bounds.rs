//! How long orders and units may wait before it is an alarm (`[orders.waits]`). Pure.

use serde::{Deserialize, Serialize};

use super::For;

/// `[orders.waits]`: hours after which a wait is an alarm; 0 for never.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Waits {
    /// A person's approval.
    pub approval_h: u64,
    /// A person who looks at what is parked.
    pub person_h: u64,
    /// A serial.
    pub provisioning_h: u64,
    /// What came of a provisioning call.
    pub answer_h: u64,
    /// SIM and IMEI.
    pub marks_h: u64,
    /// The warehouse ships it.
    pub shipping_h: u64,
    /// Other units of the order.
    pub other_units_h: u64,
    /// A person keys it into MyAdmin.
    pub keying_h: u64,
    /// MyAdmin shows other values than ours.
    pub difference_h: u64,
    /// A report of ours to MyAdmin.
    pub report_h: u64,
    /// A database that owns the device.
    pub database_h: u64,
    /// MyAdmin lists the order again.
    pub listing_h: u64,
    /// The next round of the reconciler.
    pub job_h: u64,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            approval_h: 24,
            person_h: 24,
            provisioning_h: 4,
            answer_h: 2,
            marks_h: 72,
            shipping_h: 120,
            other_units_h: 240,
            keying_h: 24,
            difference_h: 1,
            report_h: 4,
            database_h: 720,
            listing_h: 48,
            job_h: 1,
        }
    }
}

impl Waits {
    /// Seconds after which a wait is an alarm; none for never.
    #[must_use]
    pub fn bound_s(&self, what: For) -> Option<u64> {
        let hours = match what {
            For::Approval => self.approval_h,
            For::Person => self.person_h,
            For::Provisioning => self.provisioning_h,
            For::Answer => self.answer_h,
            For::Marks => self.marks_h,
            For::Shipping => self.shipping_h,
            For::OtherUnits => self.other_units_h,
            For::Keying => self.keying_h,
            For::Difference => self.difference_h,
            For::Report => self.report_h,
            For::Database => self.database_h,
            For::Listing => self.listing_h,
            For::Job => self.job_h,
        };
        (hours > 0).then(|| hours.saturating_mul(3600))
    }
}
