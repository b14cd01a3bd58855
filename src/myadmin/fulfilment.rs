//! The partner's shipping REST surface (myadmin/API.md 2.6): orders to fulfil, their units, and what is reported of them.
//!
//! Lists are always read whole within an explicit window; their order is not to be relied on (U4, U5). Reports are
//! written once and never taken for done here: whoever writes reads back (U7).

use std::sync::atomic::Ordering;

use reqwest::Url;
use serde_json::Value;

use super::client::{Client, failed, read_all, unreadable};
use super::error::{Error, Why};
use super::exchange::RestCall;
use super::methods::Method;
use super::paging::Turn;
use super::profile::Verb;
use super::rpc;
use super::wire::{self, LineUnit, Order, OrderFilter, ShipmentReport, UnitReport, Window};

impl Client {
    /// Orders of these days.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn orders(&self, window: Window, filter: &OrderFilter) -> Result<Vec<Order>, Error> {
        const METHOD: Method = Method::Orders;
        let mut query = vec![
            ("fromDate", window.from.to_string()),
            ("toDate", window.to.to_string()),
        ];
        for (name, value) in [
            ("purchaseOrderNumber", &filter.purchase_order_number),
            ("shipmentReference", &filter.shipment_reference),
            ("status", &filter.status),
        ] {
            if let Some(value) = value {
                query.push((name, value.clone()));
            }
        }
        let rows = self.list(METHOD, &[], &query).await?;
        Ok(read_all(METHOD, rows, wire::order))
    }

    /// The units of an order, each one physical device.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn order_units(&self, order: i64) -> Result<Vec<LineUnit>, Error> {
        const METHOD: Method = Method::OrderUnits;
        let rows = self
            .list(METHOD, &[order.to_string(), "items".to_owned()], &[])
            .await?;
        Ok(read_all(METHOD, rows, wire::line_unit))
    }

    /// One order as it is now: by its own address, or from the list narrowed by its reference or purchase order (U3).
    /// `None`: MyAdmin does not show it any more.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn order(&self, known: &Order, now: jiff::Timestamp) -> Result<Option<Order>, Error> {
        let flag = &self.inner.no_single_order;
        if self.config().rest_single_order && !flag.load(Ordering::Relaxed) {
            match self.single(known.id).await {
                Ok(Some(order)) => return Ok(Some(order)),
                // Unknown order, or no such address: the list tells which.
                Ok(None) => {}
                Err(error) if matches!(error.status(), Some(400 | 404 | 405 | 501)) => {}
                Err(error) => return Err(error),
            }
        }
        let filter = OrderFilter {
            shipment_reference: known.shipment_reference.clone(),
            purchase_order_number: match known.shipment_reference {
                Some(_) => None,
                None => known.purchase_order_number.clone(),
            },
            status: None,
        };
        let window = Window::last(self.config().lookup_days, now);
        let found = self.orders(window, &filter).await?;
        let found = found.into_iter().find(|order| order.id == known.id);
        if found.is_some() && self.config().rest_single_order && !flag.swap(true, Ordering::Relaxed)
        {
            tracing::info!(
                "MyAdmin does not give single orders by their address: they are looked up in the list"
            );
        }
        Ok(found)
    }

    async fn single(&self, id: i64) -> Result<Option<Order>, Error> {
        const METHOD: Method = Method::Order;
        let call = RestCall {
            method: METHOD,
            verb: Verb::Get,
            url: self.address(&[id.to_string()], &[]),
            body: None,
        };
        let answer = self.rest(&call).await?;
        let value = rpc::rest_value(&answer.body).map_err(|why| unreadable(METHOD, why))?;
        let value = match value {
            Some(Value::Array(rows)) => rows.into_iter().next(),
            value => value,
        };
        let Some(value) = value else {
            return Ok(None);
        };
        let order = wire::order(value).map_err(|why| unreadable(METHOD, why))?;
        if order.id != id {
            let why = format!("asked for order {id}, got {}", order.id);
            return Err(unreadable(METHOD, why));
        }
        Ok(Some(order))
    }

    /// Writes which device a unit is, as `[myadmin.unit_report]` says. `unit` is what was read last.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn report_unit(
        &self,
        order: i64,
        unit: &LineUnit,
        report: &UnitReport,
    ) -> Result<(), Error> {
        let base = self.inner.exchange.rest_base();
        let rendered = self.config().unit_report.render(base, order, unit, report);
        self.write(Method::ReportUnit, rendered).await
    }

    /// Writes an order's shipment, as `[myadmin.shipment_report]` says. `order` is what was read last.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn report_shipment(
        &self,
        order: &Order,
        report: &ShipmentReport,
    ) -> Result<(), Error> {
        let base = self.inner.exchange.rest_base();
        let rendered = self.config().shipment_report.render(base, order, report);
        self.write(Method::ReportShipment, rendered).await
    }

    async fn write(
        &self,
        method: Method,
        rendered: anyhow::Result<(Verb, Url, Value)>,
    ) -> Result<(), Error> {
        let (verb, url, body) =
            rendered.map_err(|cause| failed(method, Why::Unusable(format!("{cause:#}"))))?;
        let call = RestCall {
            method,
            verb,
            url,
            body: Some(body.to_string().into()),
        };
        self.rest(&call).await.map(|_| ())
    }

    /// All rows of a list, page by page.
    async fn list(
        &self,
        method: Method,
        path: &[String],
        query: &[(&'static str, String)],
    ) -> Result<Vec<Value>, Error> {
        let config = self.config();
        let mut pager = self.rest_pager(config.rest_paging);
        loop {
            let mut query = query.to_vec();
            query.extend(pager.query(config.rest_page_size_name));
            let call = RestCall {
                method,
                verb: Verb::Get,
                url: self.address(path, &query),
                body: None,
            };
            let answer = self.rest(&call).await?;
            let rows = rpc::rest_rows(&answer.body).map_err(|why| unreadable(method, why))?;
            if pager.turn_rest(rows, &answer.page) == Turn::Last {
                tracing::debug!(method = %method, rows = pager.len(), "read a list of MyAdmin");
                return Ok(pager.rows());
            }
        }
    }

    fn address(&self, path: &[String], query: &[(&'static str, String)]) -> Url {
        let mut url = self.inner.exchange.rest_base().clone();
        for part in path {
            let path = format!(
                "{}/{}",
                url.path().trim_end_matches('/'),
                rpc::percent(part)
            );
            url.set_path(&path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
}
