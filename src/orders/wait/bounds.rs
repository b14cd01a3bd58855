//! How long orders and units may wait before it is an alarm (`[orders.waits]`). Pure.

use serde::{Deserialize, Serialize};

use super::For;

/// `[orders.waits]`: hours after which a wait is an alarm; 0 for never.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Waits {
    /// Maximum wait in hours for an operator's approval.
    pub approval_h: u64,
    /// Maximum wait in hours for a person to look at a parked order or unit.
    pub person_h: u64,
    /// Maximum wait in hours for a serial, while provisioning calls fail or another call for the product is open.
    pub provisioning_h: u64,
    /// Maximum wait in hours for the result of a provisioning call.
    pub answer_h: u64,
    /// Maximum wait in hours for the SIM number and the IMEI from the warehouse.
    pub marks_h: u64,
    /// Maximum wait in hours for the warehouse to ship the unit.
    pub shipping_h: u64,
    /// Maximum wait in hours for other units of the order.
    pub other_units_h: u64,
    /// Maximum wait in hours for a person to key the unit or its shipment into MyAdmin (worksheet mode).
    pub keying_h: u64,
    /// Maximum wait in hours while MyAdmin shows other values than the store.
    pub difference_h: u64,
    /// Maximum wait in hours for a report to MyAdmin that cannot be made or is not shown yet.
    pub report_h: u64,
    /// Maximum wait in hours for the customer to put the device into a database.
    pub database_h: u64,
    /// Maximum wait in hours for MyAdmin to list the order again.
    pub listing_h: u64,
    /// Maximum wait in hours for the next round of the job.
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
