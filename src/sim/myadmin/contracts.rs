//! The lists of an account's devices, with the three schemes of paging (myadmin/API.md 1.6, 2.4).

use serde_json::{Value, json};

use super::calls::{Caller, Said};
use super::methods::Version;
use super::params::Params;
use crate::sim::instants;
use crate::sim::market::{Device, Thrown};

impl Caller<'_> {
    /// The devices of an account that a call's filters take and lists show.
    fn devices(&self, params: Params<'_>) -> Result<Vec<Device>, Thrown> {
        let account = self.account(params)?;
        let serials = params.texts("serialNos")?;
        let from = params.instant("fromDate")?;
        let to = params.instant("toDate")?;
        let shelf = params.flag("showShelfStockOnly")?;
        let no_database = params.flag("showNoDatabaseOnly")?;
        let po = params
            .text("purchaseOrderFilter")?
            .filter(|po| !po.is_empty());
        let market = self.world.market();
        let takes = |device: &&Device| {
            device.account.eq_ignore_ascii_case(account)
                && device.visible(self.now)
                && serials.as_ref().is_none_or(|serials| {
                    serials
                        .iter()
                        .any(|serial| serial.eq_ignore_ascii_case(&device.serial))
                })
                && from.is_none_or(|from| device.born_us >= from)
                && to.is_none_or(|to| device.born_us <= to)
                && !(shelf && device.billing.started_us.is_some())
                && !(no_database && device.shown_owner(self.now).is_some())
                && po.is_none_or(|po| {
                    let order = market.unit_of(&device.serial).map(|(order, _)| order);
                    order.is_some_and(|order| order.purchase_order_number.contains(po))
                })
        };
        Ok(market.devices().iter().filter(takes).cloned().collect())
    }

    fn contract(&self, device: &Device) -> Value {
        let market = self.world.market();
        let order = market.unit_of(&device.serial).map(|(order, _)| order);
        let terminated = device.terminated(self.now);
        let mut row = json!({
            "id": device.id,
            "account": {"accountId": device.account},
            "device": {"id": device.id, "serialNumber": device.serial},
            "productCode": device.product_code,
            "startDate": instants::millis(device.born_us),
            "assignedPurchaseOrderNo": order.map(|order| order.purchase_order_number.as_str()),
            "isTerminated": terminated,
            "terminatedDate": device
                .termination
                .as_ref()
                .filter(|_| terminated)
                .map(|termination| instants::millis(termination.effective_us)),
            "isUnactivated": device.billing.started_us.is_none(),
            "billingStartDate": device.billing.started_us.map(instants::millis),
            "firstDeviceActivationDate": device.billing.started_us.map(instants::millis),
        });
        // Version 3 leaves these out (2.4).
        if self.version == Version::V2 {
            row["contractStartDate"] = json!(instants::millis(device.born_us));
            row["latestDeviceDatabase"] = json!(
                device
                    .billing
                    .started_us
                    .and(device.owner.as_ref())
                    .map(|stay| json!({"databaseName": stay.database}))
            );
        }
        row
    }

    /// `GetDeviceContracts`: offset or keyset paging.
    pub fn contracts(
        &self,
        params: Params<'_>,
        pagination: Option<&Value>,
    ) -> Result<Said, Thrown> {
        let devices = self.devices(params)?;
        let asked = |name: &str| pagination.and_then(|pagination| pagination.get(name));
        // Checked and then ignored, as the real one was seen to: without `pagination` every call gets the first page.
        params.integer("nextId")?;
        let per_page = asked("perPage")
            .and_then(Value::as_u64)
            .map_or(self.settings.page_default, |asked| asked as usize)
            .clamp(1, self.settings.page_cap.max(1));
        let keyset = asked("type").and_then(Value::as_str) == Some("keyset");
        let (from, shape) = if keyset {
            let cursor = asked("cursor").and_then(Value::as_str).unwrap_or("0");
            let after = cursor.parse::<u64>().map_err(|_| {
                Thrown::new("ArgumentException", "Parameter 'cursor' is none of ours.")
            })?;
            let from = devices.partition_point(|device| device.id <= after);
            let last = devices
                .get(from + per_page - 1)
                .filter(|_| devices.len() > from + per_page);
            let next = last.map(|device| device.id.to_string());
            (from, json!({"perPage": per_page, "nextCursor": next}))
        } else {
            let page = asked("page")
                .and_then(Value::as_u64)
                .map_or(1, |page| page.max(1) as usize);
            let shape = json!({"page": page, "perPage": per_page, "total": devices.len()});
            ((page - 1).saturating_mul(per_page), shape)
        };
        let rows = devices
            .iter()
            .skip(from)
            .take(per_page)
            .map(|device| self.contract(device));
        Ok(Said {
            result: Some(rows.collect()),
            pagination: Some(shape),
            lost: None,
        })
    }

    pub fn contracts_by_page(&self, params: Params<'_>) -> Result<Said, Thrown> {
        let devices = self.devices(params)?;
        self.next_ids(params, &devices, |device| self.contract(device))
    }

    /// `GetCurrentDeviceDatabases`.
    pub fn current_databases(&self, params: Params<'_>) -> Result<Said, Thrown> {
        let mut devices = self.devices(params)?;
        devices.retain(|device| device.shown_owner(self.now).is_some());
        self.next_ids(params, &devices, |device| {
            let stay = device.owner.as_ref();
            let since = stay.map(|stay| instants::millis(stay.since_us));
            json!({
                "id": device.id,
                "deviceId": device.id,
                "databaseName": stay.map(|stay| stay.database.as_str()),
                "statusDate": since,
                "createdDate": since,
                "serialNumber": device.serial,
            })
        })
    }

    /// A page behind `nextId`; a page that is not full is the last.
    fn next_ids(
        &self,
        params: Params<'_>,
        devices: &[Device],
        row: impl Fn(&Device) -> Value,
    ) -> Result<Said, Thrown> {
        let after = params.integer("nextId")?.unwrap_or(0).max(0) as u64;
        let from = devices.partition_point(|device| device.id <= after);
        let page = devices.iter().skip(from).take(self.settings.next_id_page);
        Ok(Said::value(page.map(row).collect()))
    }
}
