//! That MyAdmin does not list its devices, or lists an order twice and differently, as people are told.

use serde_json::Value;

use super::Reconciler;
use crate::myadmin;
use crate::orders::alarms::Due;
use crate::orders::market::Market;
use crate::orders::store::Error;

pub(super) const KIND: &str = "devices-not-listed";
pub(super) const SUBJECT: &str = "myadmin";

/// An order of which nothing is concluded while the listing contradicts itself.
pub(super) fn contradicting(id: &str) -> Due {
    Due {
        kind: "order-unreadable",
        subject: id.to_owned(),
        said: "MyAdmin lists it more than once, and not alike: nothing is concluded from the listing until it lists it once; ask Geotab"
            .to_owned(),
        evidence: Value::Null,
    }
}

impl<M: Market + Clone + 'static> Reconciler<M> {
    /// Before the first listing under this lease nothing is provisioned (P3).
    pub(super) async fn tell_unlisted(&self, error: &myadmin::Error) -> Result<(), Error> {
        if self.listed {
            return Ok(());
        }
        let said = format!(
            "nothing is provisioned before MyAdmin lists its devices: {error}; if the account may never list them, set \
             orders.provision.list_devices = false"
        );
        let mut change = self.hand.change().await?;
        change.alarm(KIND, SUBJECT, &said, None).await?;
        change.commit().await
    }
}
