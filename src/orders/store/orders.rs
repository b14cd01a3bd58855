//! Writing orders: taken in, their state, what is said and what was told of them.

use jiff::Timestamp;

use super::change::{About, Cause, Change, changed, columns, json};
use super::rows::{Head, OrderRow, Shipment};
use super::{During as _, Error, micros};
use crate::orders::journey::order::Order;
use crate::orders::journey::stored::FlatOrder;

impl Change {
    /// Takes in an order; false if it is there already.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn add_order(
        &mut self,
        id: &str,
        order: &Order,
        head: &Head,
        cause: Cause,
    ) -> Result<bool, Error> {
        let flat = FlatOrder::from(order);
        let (code, text) = columns(flat.reason.as_ref());
        let made = sqlx::query(
            "INSERT INTO orders (id, version, state, parked_from, reason_code, reason_text, asks, approved_by, ended_at, \
             ended_why, head, missing, attempts, created_at, updated_at) \
             VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, 0, $11, $11) ON CONFLICT (id) DO NOTHING",
        )
        .bind(id.to_owned())
        .bind(flat.state)
        .bind(flat.parked_from)
        .bind(code)
        .bind(text)
        .bind(json(&flat.asks))
        .bind(flat.approved_by.map(String::from))
        .bind(flat.ended_at.map(micros))
        .bind(flat.ended_why.map(String::from))
        .bind(json(head))
        .bind(micros(self.now))
        .execute(&mut *self.tx)
        .await
        .during("taking in an order")?
        .rows_affected();
        if made == 1 {
            let about = About {
                order: Some(id),
                to: Some(order.state()),
                ..About::default()
            };
            self.event(about, cause).await?;
        }
        Ok(made == 1)
    }

    /// Writes an order's new state.
    ///
    /// # Errors
    /// [`Error::Changed`] if the row is not as it was read.
    pub async fn put_order(
        &mut self,
        row: &OrderRow,
        order: &Order,
        cause: Cause,
    ) -> Result<(), Error> {
        let flat = FlatOrder::from(order);
        let (code, text) = columns(flat.reason.as_ref());
        let written = sqlx::query(
            "UPDATE orders SET version = version + 1, state = $3, parked_from = $4, reason_code = $5, reason_text = $6, \
             asks = $7, approved_by = $8, ended_at = $9, ended_why = $10, updated_at = $11, attempts = 0, retry_at = NULL \
             WHERE id = $1 AND version = $2",
        )
        .bind(row.id.clone())
        .bind(row.version)
        .bind(flat.state)
        .bind(flat.parked_from)
        .bind(code)
        .bind(text)
        .bind(json(&flat.asks))
        .bind(flat.approved_by.map(String::from))
        .bind(flat.ended_at.map(micros))
        .bind(flat.ended_why.map(String::from))
        .bind(micros(self.now))
        .execute(&mut *self.tx)
        .await
        .during("writing an order")?
        .rows_affected();
        changed(written, || format!("order {}", row.id))?;
        let about = About {
            order: Some(&row.id),
            from: Some(row.order.state()),
            to: Some(order.state()),
            ..About::default()
        };
        self.event(about, cause).await
    }

    /// Writes what the remote side now says of an order.
    ///
    /// # Errors
    /// [`Error::Changed`] if the row is not as it was read.
    pub async fn put_head(
        &mut self,
        row: &OrderRow,
        head: &Head,
        cause: Cause,
    ) -> Result<(), Error> {
        let written = sqlx::query(
            "UPDATE orders SET version = version + 1, head = $3, missing = 0, updated_at = $4 WHERE id = $1 AND version = $2",
        )
        .bind(row.id.clone())
        .bind(row.version)
        .bind(json(head))
        .bind(micros(self.now))
        .execute(&mut *self.tx)
        .await
        .during("writing an order's head")?
        .rows_affected();
        changed(written, || format!("order {}", row.id))?;
        self.note(Some(&row.id), None, cause).await
    }

    /// Counts full sweeps that did not list an order; 0 when it is listed again.
    ///
    /// # Errors
    /// [`Error::Changed`] if the row is not as it was read.
    pub async fn put_missing(
        &mut self,
        row: &OrderRow,
        missing: i64,
        cause: Cause,
    ) -> Result<(), Error> {
        let written = sqlx::query(
            "UPDATE orders SET version = version + 1, missing = $3 WHERE id = $1 AND version = $2",
        )
        .bind(row.id.clone())
        .bind(row.version)
        .bind(missing)
        .execute(&mut *self.tx)
        .await
        .during("counting an order's absence")?
        .rows_affected();
        changed(written, || format!("order {}", row.id))?;
        self.note(Some(&row.id), None, cause).await
    }

    /// Writes what was told of an order's shipment, or that it could not be told until `retry_at`.
    ///
    /// # Errors
    /// [`Error::Changed`] if the row is not as it was read.
    pub async fn put_reported(
        &mut self,
        row: &OrderRow,
        reported: Option<&Shipment>,
        retry: Option<(i64, Timestamp)>,
        cause: Cause,
    ) -> Result<(), Error> {
        let (attempts, retry_at) = retry.map_or((0, None), |(attempts, at)| (attempts, Some(at)));
        let written = sqlx::query(
            "UPDATE orders SET version = version + 1, reported = $3, attempts = $4, retry_at = $5 WHERE id = $1 AND version = $2",
        )
        .bind(row.id.clone())
        .bind(row.version)
        .bind(reported.map(json))
        .bind(attempts)
        .bind(retry_at.map(micros))
        .execute(&mut *self.tx)
        .await
        .during("writing a report")?
        .rows_affected();
        changed(written, || format!("order {}", row.id))?;
        self.note(Some(&row.id), None, cause).await
    }
}
