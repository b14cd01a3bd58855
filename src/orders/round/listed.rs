//! That MyAdmin does not list its devices, as people are told.

use super::Reconciler;
use crate::myadmin;
use crate::orders::market::Market;
use crate::orders::store::Error;

pub(super) const KIND: &str = "devices-not-listed";
pub(super) const SUBJECT: &str = "myadmin";

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
