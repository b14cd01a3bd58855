//! Devices that a recovered registry shows as pending, and that no unit will ever activate: their order was fulfilled before this
//! store knew it, so it was closed without units.

use super::rows::Reader;
use super::{During as _, Error, Store};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranded {
    pub device_id: String,
    pub serial: String,
    pub order: String,
}

/// Devices that are told of at most.
const MOST: i64 = 100;

impl Store {
    /// The first of them, by device id.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn stranded(&self) -> Result<Vec<Stranded>, Error> {
        let rows = sqlx::query(
            "SELECT d.device_id, d.serial, d.order_id FROM devices d JOIN orders o ON o.id = d.order_id \
             WHERE d.unit_id IS NULL AND d.state = 'pending' AND d.serial IS NOT NULL AND o.state = 'closed' \
             ORDER BY d.device_id LIMIT $1",
        )
        .bind(MOST)
        .fetch_all(&self.pool)
        .await
        .during("looking for devices without a unit")?;
        rows.iter()
            .map(|row| {
                let reader = Reader::new(row, "a device");
                Ok(Stranded {
                    device_id: reader.text("device_id")?,
                    serial: reader.text("serial")?,
                    order: reader.text("order_id")?,
                })
            })
            .collect()
    }
}
