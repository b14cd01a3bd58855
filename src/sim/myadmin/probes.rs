//! Reading calls that clients probe an account with: countries, plans, jurisdictions, shared databases (myadmin/API.md 2.2, 2.4).

use serde_json::{Value, json};

use super::calls::{Caller, Said};
use super::params::Params;
use crate::sim::market::Thrown;

/// A few countries, in the shape that lists of names have.
pub fn countries() -> Value {
    json!([
        {"id": 1, "code": "CA", "name": "Canada"},
        {"id": 2, "code": "US", "name": "United States"},
        {"id": 3, "code": "GB", "name": "United Kingdom"},
        {"id": 4, "code": "DE", "name": "Germany"},
    ])
}

/// The one plan of third-party devices.
pub fn plans() -> Value {
    json!([{"id": 5, "name": "ProPlus", "level": 5}])
}

impl Caller<'_> {
    /// Which gateway serves each device.
    pub fn jurisdictions(&self, params: Params<'_>) -> Result<Said, Thrown> {
        let serials = self.serials(params, "serialNumbers")?;
        let market = self.world.market();
        let known = serials
            .into_iter()
            .filter_map(|serial| market.device(serial));
        let rows = known
            .filter(|device| device.visible(self.now))
            .map(|device| {
                json!({
                    "serialNo": device.serial,
                    "jurisdiction": "Default",
                    "digUrl": "https://dig.geotab.com:443",
                })
            });
        Ok(Said::value(rows.collect()))
    }

    /// The databases that a device is in, its owner's first.
    pub fn shared_databases(&self, params: Params<'_>) -> Result<Said, Thrown> {
        let serial = params.needed_text("serialNo")?;
        let market = self.world.market();
        let found = market.databases(&[serial], self.now);
        let hardware = market.device(serial).map(|device| device.id);
        let rows = found.into_iter().flat_map(|row| {
            let owner = row.owner.into_iter().map(|name| (name, "owner"));
            owner.chain(row.shared.into_iter().map(|name| (name, "shared")))
        });
        let rows = rows.map(|(name, role)| {
            json!({
                "guid": null,
                "name": name,
                "hardwareId": hardware,
                "serialNumber": serial,
                "vehicleClientType": role,
            })
        });
        Ok(Said::value(rows.collect()))
    }
}
