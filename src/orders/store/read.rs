//! Queries of the store: orders, units, events.

use std::collections::HashMap;

use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::rows::{EventRow, OrderRow, Reader, UnitRow};
use super::{During as _, Error, Store, micros};
use crate::orders::inventory::Used;

/// Which orders are asked for; all conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// A state's name; `parked` also finds orders with a parked unit.
    pub state: Option<String>,
    /// Account, reference or purchase order number, exactly.
    pub named: Option<String>,
}

/// An order with its units.
#[derive(Debug, Clone, PartialEq)]
pub struct Whole {
    pub row: OrderRow,
    pub units: Vec<UnitRow>,
}

/// A unit `x` whose journey has not ended. One that needs no serial ends confirmed.
pub(super) const ON_ITS_WAY: &str = "NOT (x.state IN ('active', 'cancelled', 'terminated') \
    OR (x.state = 'confirmed' AND x.needs_serial = 0))";

/// Orders with a unit on its way, and those that changed since $1.
fn open_orders() -> String {
    format!(
        "SELECT o.* FROM orders o WHERE o.state <> 'closed' AND (o.updated_at >= $1 OR EXISTS \
         (SELECT 1 FROM units x WHERE x.order_id = o.id AND (x.updated_at >= $1 OR {ON_ITS_WAY})))"
    )
}

impl Store {
    async fn rows(
        &self,
        act: &'static str,
        sql: &str,
        argument: Option<&str>,
    ) -> Result<Vec<AnyRow>, Error> {
        let query = sqlx::query(sql);
        let query = match argument {
            Some(text) => query.bind(text),
            None => query,
        };
        query.fetch_all(&self.pool).await.during(act)
    }

    /// Orders by age, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn orders(&self, filter: &Filter) -> Result<Vec<OrderRow>, Error> {
        let rows = match &filter.state {
            Some(state) => {
                // A parked unit needs an operator, whatever the state of its order.
                let sql = "SELECT * FROM orders o WHERE o.state = $1 OR ($1 = 'parked' AND EXISTS \
                           (SELECT 1 FROM units u WHERE u.order_id = o.id AND u.state = 'parked')) ORDER BY o.created_at, o.id";
                self.rows("listing orders", sql, Some(state)).await?
            }
            None => {
                let sql = "SELECT * FROM orders ORDER BY created_at, id";
                self.rows("listing orders", sql, None).await?
            }
        };
        let mut orders = Vec::with_capacity(rows.len());
        for row in &rows {
            let order = OrderRow::read(row)?;
            let named = filter.named.as_deref().is_none_or(|name| {
                [
                    &order.id,
                    &order.head.account,
                    &order.head.reference,
                    &order.head.purchase_order,
                ]
                .into_iter()
                .any(|text| text == name)
            });
            if named {
                orders.push(order);
            }
        }
        Ok(orders)
    }

    /// # Errors
    /// The store cannot be read.
    pub async fn order(&self, id: &str) -> Result<Option<OrderRow>, Error> {
        let sql = "SELECT * FROM orders WHERE id = $1";
        let rows = self.rows("reading an order", sql, Some(id)).await?;
        rows.first().map(OrderRow::read).transpose()
    }

    /// The units of an order.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn units(&self, order: &str) -> Result<Vec<UnitRow>, Error> {
        let sql = "SELECT * FROM units WHERE order_id = $1 ORDER BY id";
        let rows = self.rows("listing units", sql, Some(order)).await?;
        rows.iter().map(UnitRow::read).collect()
    }

    /// All units, by order.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn units_by_order(&self) -> Result<HashMap<String, Vec<UnitRow>>, Error> {
        let sql = "SELECT * FROM units ORDER BY id";
        let mut by_order: HashMap<String, Vec<UnitRow>> = HashMap::new();
        for row in &self.rows("listing units", sql, None).await? {
            let unit = UnitRow::read(row)?;
            by_order
                .entry(unit.order_id.clone())
                .or_default()
                .push(unit);
        }
        Ok(by_order)
    }

    /// All units in a state.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn units_in(&self, state: &str) -> Result<Vec<UnitRow>, Error> {
        let sql = "SELECT * FROM units WHERE state = $1 ORDER BY id";
        let rows = self.rows("listing units", sql, Some(state)).await?;
        rows.iter().map(UnitRow::read).collect()
    }

    /// # Errors
    /// The store cannot be read.
    pub async fn unit(&self, id: &str) -> Result<Option<UnitRow>, Error> {
        let sql = "SELECT * FROM units WHERE id = $1";
        let rows = self.rows("reading a unit", sql, Some(id)).await?;
        rows.first().map(UnitRow::read).transpose()
    }

    /// The unit of each identifier. Identifiers of a unit that was cancelled before it shipped are free again.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn marks_in_use(&self) -> Result<Used, Error> {
        let sql = "SELECT id, imei, sim, device_id FROM units WHERE NOT (state = 'cancelled' AND carrier IS NULL) \
                   AND (imei IS NOT NULL OR sim IS NOT NULL OR device_id IS NOT NULL)";
        let rows = self.rows("listing identifiers", sql, None).await?;
        let mut used = Used::new();
        for row in &rows {
            let reader = Reader::new(row, "a unit");
            let id = reader.text("id")?;
            for kind in ["imei", "sim", "device_id"] {
                if let Some(mark) = reader.maybe_text(kind)? {
                    used.insert((kind, mark.into()), id.clone());
                }
            }
        }
        Ok(used)
    }

    /// Units that go by a serial, an IMEI, a SIM or a device id.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn units_marked(&self, mark: &str) -> Result<Vec<UnitRow>, Error> {
        let sql = "SELECT * FROM units WHERE serial = $1 OR imei = $1 OR sim = $1 OR device_id = $1 \
                   ORDER BY id";
        let rows = self.rows("finding units", sql, Some(mark)).await?;
        rows.iter().map(UnitRow::read).collect()
    }

    /// Everything the reconciler must look at: orders with a unit whose journey has not ended, and all that changed since
    /// `since`, each with all its units. Closed ones are nobody's business.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open_orders(&self, since: Timestamp) -> Result<Vec<Whole>, Error> {
        let open = open_orders();
        let orders = sqlx::query(&open)
            .bind(micros(since))
            .fetch_all(&self.pool)
            .await
            .during("listing open orders")?;
        let sql = format!(
            "SELECT u.* FROM units u JOIN ({open}) w ON w.id = u.order_id ORDER BY u.order_id, u.id"
        );
        let units = sqlx::query(&sql)
            .bind(micros(since))
            .fetch_all(&self.pool)
            .await
            .during("listing units")?;
        let mut by_order: HashMap<String, Vec<UnitRow>> = HashMap::new();
        for row in &units {
            let unit = UnitRow::read(row)?;
            by_order
                .entry(unit.order_id.clone())
                .or_default()
                .push(unit);
        }
        let mut wholes: Vec<Whole> = orders
            .iter()
            .map(|row| {
                let row = OrderRow::read(row)?;
                let units = by_order.remove(&row.id).unwrap_or_default();
                Ok(Whole { row, units })
            })
            .collect::<Result<_, Error>>()?;
        wholes.sort_by(|a, b| (a.row.created_at, &a.row.id).cmp(&(b.row.created_at, &b.row.id)));
        Ok(wholes)
    }

    /// Ids of all orders ever taken in.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn order_ids(&self) -> Result<std::collections::BTreeSet<String>, Error> {
        let rows = self
            .rows("listing orders", "SELECT id FROM orders", None)
            .await?;
        rows.iter()
            .map(|row| Reader::new(row, "an order").text("id"))
            .collect()
    }

    /// The audit trail of an order and its units, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn events(&self, order: &str) -> Result<Vec<EventRow>, Error> {
        let sql = "SELECT * FROM events WHERE order_id = $1 ORDER BY seq";
        let rows = self.rows("reading events", sql, Some(order)).await?;
        rows.iter().map(EventRow::read).collect()
    }

    /// The audit trail of everything after a number, oldest first, 1000 at most.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn events_after(&self, seq: i64) -> Result<Vec<EventRow>, Error> {
        let rows = sqlx::query("SELECT * FROM events WHERE seq > $1 ORDER BY seq LIMIT 1000")
            .bind(seq)
            .fetch_all(&self.pool)
            .await
            .during("reading events")?;
        rows.iter().map(EventRow::read).collect()
    }
}
