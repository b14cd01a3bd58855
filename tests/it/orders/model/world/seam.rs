//! The world as the journey asks it.

use dig_ingest::myadmin::Error;
use dig_ingest::myadmin::error::{Kind, Refusal, Why};
use dig_ingest::myadmin::wire::{
    Account, ContractFilter, DeviceContract, DeviceDatabase, LineUnit, Order, PartnerDevice,
    ProvisionCall, Provisioning, ShipmentReport, UnitReport, Window,
};
use dig_ingest::orders::market::Market as Seam;
use dig_ingest::sim::market::{self, Filter, INTEGRATOR, Outcome};
use serde_json::json;

use super::super::at;
use super::{Fault, Place, World};

fn order(order: &market::Order) -> Order {
    let day = at(order.ordered_us).to_string();
    let mut wire = Order {
        id: order.id as i64,
        order_header_id: Some(order.order_header_id as i64),
        account: Some(Account {
            account_id: order.account.clone(),
            id: Some(order.account_id),
        }),
        order_date: Some(day),
        shipment_status: order.status.clone(),
        comment: order.comment.clone(),
        purchase_order_number: Some(order.purchase_order_number.clone()),
        shipment_reference: Some(order.shipment_reference.clone()),
        validated: Some(order.validated),
        ..Order::default()
    };
    if let (Some(carrier), Some(tracking)) = (&order.carrier, &order.tracking) {
        wire.other.insert("carrier".into(), json!(carrier));
        wire.other.insert("trackingNumber".into(), json!(tracking));
    }
    wire
}

fn line(order: u64, unit: &market::Unit) -> LineUnit {
    LineUnit {
        id: unit.id as i64,
        shipping_header_partner_id: Some(order as i64),
        product_code: unit.product_code.clone(),
        requires_serial_number: Some(unit.requires_serial),
        requires_sim_number: Some(unit.requires_sim),
        requires_imei: Some(unit.requires_imei),
        serial_number: unit.serial.clone(),
        sim_number: unit.sim.clone(),
        imei: unit.imei.clone(),
        attribute: unit.attribute.clone(),
        ..LineUnit::default()
    }
}

impl Seam for World {
    type Permit = ();

    async fn orders(&self, window: Window) -> Result<Vec<Order>, Error> {
        self.call("orders", false, |inner| {
            let filter = Filter::default();
            let shown = inner.market.orders(&filter, inner.now_us);
            let inside = |order: &&&market::Order| {
                let zone = jiff::tz::TimeZone::UTC;
                let day = zone.to_datetime(at(order.ordered_us)).date();
                window.from <= day && day <= window.to
            };
            Ok(shown.iter().filter(inside).map(|one| order(one)).collect())
        })
        .await
    }

    async fn order_units(&self, id: i64) -> Result<Vec<LineUnit>, Error> {
        self.call("order units", false, |inner| {
            let order = inner.market.shown(id as u64, inner.now_us)?;
            if inner.odd {
                return Ok(Vec::new());
            }
            Ok(order
                .units
                .iter()
                .map(|unit| line(order.id, unit))
                .collect())
        })
        .await
    }

    async fn permit(&self) -> Result<(), Error> {
        self.pass_by(Place::Permit).await;
        self.call("permit", false, |_| Ok(())).await
    }

    async fn provision(&self, call: &ProvisionCall, (): ()) -> Result<Provisioning, Error> {
        let error = |why| Error {
            act: "provision",
            changes: true,
            why,
        };
        let fault = self.fault(true).await;
        match fault {
            Some(Fault::Before(why)) => return Err(error(why)),
            Some(Fault::Declined) => {
                return Ok(Provisioning::Declined {
                    error: "SomeCode".into(),
                });
            }
            Some(Fault::Nothing) => return Ok(Provisioning::Nothing),
            Some(Fault::After(_)) | None => {}
        }
        let outcome = {
            let mut inner = self.inner();
            let now = inner.now_us;
            let product = call.product_id;
            inner
                .market
                .provision(product, Some(&call.erp_no), INTEGRATOR, now)
        };
        tokio::task::yield_now().await;
        self.pass_by(Place::Provision).await;
        if let Some(Fault::After(why)) = fault {
            return Err(error(why));
        }
        match outcome {
            Outcome::Made(serial) => Ok(Provisioning::Provisioned { serial }),
            other => panic!("nothing is scripted: {other:?}"),
        }
    }

    async fn partner_devices(&self) -> Result<Vec<PartnerDevice>, Error> {
        self.call("partner devices", false, |inner| {
            let listed = inner.market.partner_devices(inner.now_us);
            let odd = inner.odd.then(|| PartnerDevice {
                serial: "G9-??".into(),
                product_code: Some("ELSE-1".into()),
                database: None,
            });
            Ok(listed
                .into_iter()
                .map(|device| PartnerDevice {
                    serial: device.serial,
                    product_code: Some(device.product_code),
                    database: device.database,
                })
                .chain(odd)
                .collect())
        })
        .await
    }

    async fn contracts(&self, filter: &ContractFilter) -> Result<Vec<DeviceContract>, Error> {
        if self.inner().no_contracts {
            return Err(Error {
                act: "contracts",
                changes: false,
                why: Why::Refused(Refusal {
                    kind: Kind::Security,
                    name: "SecurityException".into(),
                    message: "simulated".into(),
                    status: 200,
                }),
            });
        }
        self.call("contracts", false, |inner| {
            let (now, devices) = (inner.now_us, inner.market.devices());
            let shown = devices.iter().filter(|device| {
                device.visible(now)
                    && device.account == filter.for_account
                    && filter.serials.contains(&device.serial)
                    && !(filter.no_database_only && device.shown_owner(now).is_some())
            });
            let contract = |device: &market::Device| DeviceContract {
                serial: Some(device.serial.clone()),
                ..DeviceContract::default()
            };
            Ok(shown.map(contract).collect())
        })
        .await
    }

    async fn databases(&self, serials: &[String]) -> Result<Vec<DeviceDatabase>, Error> {
        self.call("databases", false, |inner| {
            let rows = inner.market.databases(serials, inner.now_us);
            Ok(rows
                .into_iter()
                .map(|device| DeviceDatabase {
                    serial: device.serial,
                    owner: device.owner,
                    shared: device.shared,
                })
                .collect())
        })
        .await
    }

    async fn report_unit(
        &self,
        order: i64,
        unit: &LineUnit,
        report: &UnitReport,
    ) -> Result<(), Error> {
        self.refused(0)?;
        let told = self.call("report unit", true, |inner| {
            let given = market::UnitReport {
                serial: report.serial.clone(),
                sim: report.sim.clone(),
                imei: report.imei.clone(),
            };
            inner
                .market
                .report_unit(order as u64, unit.id as u64, &given, inner.now_us)?;
            inner.reported.extend(report.serial.clone());
            Ok(())
        });
        let told = told.await;
        self.pass_by(Place::Report).await;
        told
    }

    async fn report_shipment(&self, order: &Order, report: &ShipmentReport) -> Result<(), Error> {
        self.refused(1)?;
        self.call("report shipment", true, |inner| {
            let shipment = market::Shipment {
                carrier: report.carrier.clone(),
                tracking: report.tracking.clone(),
                status: report.status.clone(),
            };
            inner
                .market
                .report_shipment(order.id as u64, &shipment, inner.now_us)
        })
        .await
    }
}
