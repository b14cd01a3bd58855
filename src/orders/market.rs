//! The marketplace as the journey sees it: the one seam between the reconciler and the world.
//!
//! A trait because two stand behind it that share no code: MyAdmin by HTTP, and the plain world of the model test, which must
//! fail at every call without a socket in between.

use std::future::Future;

use crate::myadmin::wire::{
    ContractFilter, DeviceContract, DeviceDatabase, LineUnit, Order, OrderFilter, PartnerDevice,
    ProvisionCall, Provisioning, ShipmentReport, UnitReport, Window,
};
use crate::myadmin::{Client, Error, Permit};

/// What the journey asks of the marketplace. Errors say whether a call may be repeated and whether it may have had effects.
pub trait Market: Send + Sync {
    /// The right to make one provisioning call at once.
    type Permit: Send + Sync;

    /// Orders of these days, headers only.
    fn orders(&self, window: Window) -> impl Future<Output = Result<Vec<Order>, Error>> + Send;

    /// The lines of an order, each one physical unit.
    fn order_units(&self, order: i64) -> impl Future<Output = Result<Vec<LineUnit>, Error>> + Send;

    /// Waits until a provisioning call may leave: session, rate limits, pauses. Nothing is sent but a login, and no error of it may
    /// have had effects.
    fn permit(&self) -> impl Future<Output = Result<Self::Permit, Error>> + Send;

    /// Makes one device, at once. Never repeated blindly (P1).
    fn provision(
        &self,
        call: &ProvisionCall,
        permit: Self::Permit,
    ) -> impl Future<Output = Result<Provisioning, Error>> + Send;

    /// All devices we produced that are active.
    fn partner_devices(&self) -> impl Future<Output = Result<Vec<PartnerDevice>, Error>> + Send;

    /// Contracts of an account, as far as the account may see them.
    fn contracts(
        &self,
        filter: &ContractFilter,
    ) -> impl Future<Output = Result<Vec<DeviceContract>, Error>> + Send;

    /// Which database each serial is assigned to; unknown serials may be left out.
    fn databases(
        &self,
        serials: &[String],
    ) -> impl Future<Output = Result<Vec<DeviceDatabase>, Error>> + Send;

    /// Writes which device a unit is. `unit` is what was read last.
    fn report_unit(
        &self,
        order: i64,
        unit: &LineUnit,
        report: &UnitReport,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Writes an order's shipment. `order` is what was read last.
    fn report_shipment(
        &self,
        order: &Order,
        report: &ShipmentReport,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Each call is the client's own method of the same name, or one of the two halves of provisioning.
impl Market for Client {
    type Permit = Permit;

    async fn orders(&self, window: Window) -> Result<Vec<Order>, Error> {
        Client::orders(self, window, &OrderFilter::default()).await
    }

    async fn order_units(&self, order: i64) -> Result<Vec<LineUnit>, Error> {
        Client::order_units(self, order).await
    }

    async fn permit(&self) -> Result<Permit, Error> {
        Client::provision_permit(self).await
    }

    async fn provision(&self, call: &ProvisionCall, permit: Permit) -> Result<Provisioning, Error> {
        Client::provision_permitted(self, call, permit).await
    }

    async fn partner_devices(&self) -> Result<Vec<PartnerDevice>, Error> {
        Client::partner_devices(self).await
    }

    async fn contracts(&self, filter: &ContractFilter) -> Result<Vec<DeviceContract>, Error> {
        Client::device_contracts(self, filter).await
    }

    async fn databases(&self, serials: &[String]) -> Result<Vec<DeviceDatabase>, Error> {
        Client::databases(self, serials).await
    }

    async fn report_unit(
        &self,
        order: i64,
        unit: &LineUnit,
        report: &UnitReport,
    ) -> Result<(), Error> {
        Client::report_unit(self, order, unit, report).await
    }

    async fn report_shipment(&self, order: &Order, report: &ShipmentReport) -> Result<(), Error> {
        Client::report_shipment(self, order, report).await
    }
}
