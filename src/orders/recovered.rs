//! Units of which a recovered store was told before it knew them: their serial is taken, and no new one is made (P1).

use super::executor::{Done, Executor};
use super::journey::registration::Registration;
use super::market::Market;
use super::store::Error;
use super::store::change::Change;
use super::store::recovery::Left;
use super::store::rows::UnitRow;
use crate::registry::State;

impl<M: Market + Clone + 'static> Executor<M> {
    /// Takes what a recovery left for a unit that is about to be provisioned; none if nothing was left, and it may be provisioned.
    pub(super) async fn recovered(&self, row: &UnitRow) -> Result<Option<Done>, Error> {
        let mut change = self.change().await?;
        while let Some(left) = change.left_for(row).await? {
            let unit = change.unit(&row.id).await?;
            if unit.version != row.version {
                return Ok(Some(Done::Same));
            }
            if settle(&mut change, &unit, &left).await? {
                change.commit().await?;
                return Ok(Some(Done::Changed));
            }
        }
        change.commit().await?;
        Ok(None)
    }
}

/// True if the unit must not be provisioned; false if what was left is of no use any more.
async fn settle(change: &mut Change, unit: &UnitRow, left: &Left) -> Result<bool, Error> {
    let Some(serial) = &left.serial else {
        change.use_left(left).await?;
        let why = "a provisioning call for it was under way when the registry was last published, before this store was recovered";
        change.park_in_doubt(unit, why).await?;
        return Ok(true);
    };
    if change.unit_with(serial.as_str()).await?.is_some() {
        change.use_left(left).await?;
        return Ok(false);
    }
    if left.unit.is_none() {
        let why = format!(
            "the registry shows serial {serial} for this order and not for which unit: `dig-ingest orders assign {} --serial {serial}` \
             if it is this one's, else for the unit that has it",
            unit.id
        );
        change.park_in_doubt(unit, &why).await?;
        return Ok(true);
    }
    let device = Registration {
        device_id: left
            .device_id
            .clone()
            .unwrap_or_else(|| serial.as_str().into()),
        serial: Some(serial.clone()),
        state: if left.terminated {
            State::Terminated
        } else {
            State::Pending
        },
        order: Some(unit.order_id.as_str().into()),
        since: None,
    };
    change.use_left(left).await?;
    let why = "the registry showed that it has this serial when this store was recovered";
    change.give_recovered(unit, &device, why).await?;
    Ok(true)
}
