//! The table of calls we make: name, whether it changes anything, which role it needs, under which version it is served.
//! Pure.
//!
//! Versions are the documents' of today (myadmin/API.md 1.1); `[myadmin.versions]` overrides them, for MyAdmin moves methods
//! from one path to the other (U34).

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

/// One kind of call, of either surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    Authenticate,
    Provision,
    DeviceDatabases,
    PartnerDevices,
    Contracts,
    ContractsByPage,
    LookupDevice,
    Orders,
    Order,
    OrderUnits,
    ReportUnit,
    ReportShipment,
}

/// Which path of the JSON-RPC surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    V2,
    V3,
}

impl Version {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V3 => "v3",
        }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::V2 => Self::V3,
            Self::V3 => Self::V2,
        }
    }
}

impl Method {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 12] = [
        Self::Authenticate,
        Self::Provision,
        Self::DeviceDatabases,
        Self::PartnerDevices,
        Self::Contracts,
        Self::ContractsByPage,
        Self::LookupDevice,
        Self::Orders,
        Self::Order,
        Self::OrderUnits,
        Self::ReportUnit,
        Self::ReportShipment,
    ];

    /// Name on the wire for JSON-RPC, a word of ours for REST. Also the label of metrics and the key of limits.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Authenticate => "Authenticate",
            Self::Provision => "ProvisionDeviceToAccount",
            Self::DeviceDatabases => "GetDeviceDatabaseNamesAsync",
            Self::PartnerDevices => "GetPartnerDeviceContractsAsync",
            Self::Contracts => "GetDeviceContracts",
            Self::ContractsByPage => "GetDeviceContractsByPage",
            Self::LookupDevice => "LookupDevice",
            Self::Orders => "orders",
            Self::Order => "order",
            Self::OrderUnits => "order-units",
            Self::ReportUnit => "report-unit",
            Self::ReportShipment => "report-shipment",
        }
    }

    /// The version that serves it today; `None` for REST.
    #[must_use]
    pub fn version(self) -> Option<Version> {
        match self {
            Self::Authenticate
            | Self::Provision
            | Self::DeviceDatabases
            | Self::PartnerDevices
            | Self::ContractsByPage
            | Self::LookupDevice => Some(Version::V2),
            Self::Contracts => Some(Version::V3),
            Self::Orders
            | Self::Order
            | Self::OrderUnits
            | Self::ReportUnit
            | Self::ReportShipment => None,
        }
    }

    /// Whether it changes anything when it succeeds. What changes something is never asked again by itself.
    #[must_use]
    pub fn changes(self) -> bool {
        match self {
            Self::Provision | Self::ReportUnit | Self::ReportShipment => true,
            Self::Authenticate
            | Self::DeviceDatabases
            | Self::PartnerDevices
            | Self::Contracts
            | Self::ContractsByPage
            | Self::LookupDevice
            | Self::Orders
            | Self::Order
            | Self::OrderUnits => false,
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|method| method.name().eq_ignore_ascii_case(name))
    }

    /// Its place in [`Method::ALL`].
    pub(super) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The version of every JSON-RPC method: the defaults, overridden by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Versions(BTreeMap<Method, Version>);

impl Default for Versions {
    fn default() -> Self {
        let served = |method: Method| Some((method, method.version()?));
        Self(Method::ALL.into_iter().filter_map(served).collect())
    }
}

impl Versions {
    /// The version `method` is called under.
    #[must_use]
    pub fn of(&self, method: Method) -> Version {
        self.0.get(&method).copied().unwrap_or(Version::V2)
    }
}

impl Serialize for Versions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.0
                .iter()
                .map(|(method, version)| (method.name(), version)),
        )
    }
}

impl<'de> Deserialize<'de> for Versions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut versions = Self::default();
        for (name, version) in BTreeMap::<String, Version>::deserialize(deserializer)? {
            let known = Method::named(&name).filter(|method| versions.0.contains_key(method));
            let method = known.ok_or_else(|| {
                let names: Vec<_> = versions.0.keys().map(|method| method.name()).collect();
                D::Error::custom(format!(
                    "there is no method {name}; the methods are {}",
                    names.join(", ")
                ))
            })?;
            versions.0.insert(method, version);
        }
        Ok(versions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_method_once_and_in_order() {
        for (index, method) in Method::ALL.into_iter().enumerate() {
            assert_eq!(method.index(), index);
            assert_eq!(Method::named(&method.name().to_uppercase()), Some(method));
        }
    }

    #[test]
    fn versions_are_defaults_with_overrides() {
        let read = |text: &str| serde_json::from_str::<Versions>(text);
        let given = read(r#"{"getdevicecontracts": "v2"}"#).unwrap();
        assert_eq!(given.of(Method::Contracts), Version::V2);
        assert_eq!(given.of(Method::Provision), Version::V2);
        assert_eq!(Versions::default().of(Method::Contracts), Version::V3);
        let error = read(r#"{"GetDevices": "v2"}"#).unwrap_err().to_string();
        assert!(
            error.contains("no method GetDevices") && error.contains("LookupDevice"),
            "{error}"
        );
        assert!(read(r#"{"orders": "v3"}"#).is_err(), "REST has no version");
        assert!(read(r#"{"Authenticate": "v4"}"#).is_err());
    }
}
