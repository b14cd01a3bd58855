//! The methods of MyAdmin the simulator has: which version serves them, and who may call them (myadmin/API.md section 2).

use crate::sim::market::{Thrown, User};
use crate::sim::operation::Operation;

/// Of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V2,
    V3,
}

impl Version {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V3 => "v3",
        }
    }
}

/// A method.
#[derive(Debug)]
pub struct Method {
    pub name: &'static str,
    pub operation: Operation,
    only: Option<Version>,
    /// Empty: any.
    role: &'static str,
}

const fn method(
    name: &'static str,
    operation: Operation,
    only: Option<Version>,
    role: &'static str,
) -> Method {
    Method {
        name,
        operation,
        only,
        role,
    }
}

const V2: Option<Version> = Some(Version::V2);
const V3: Option<Version> = Some(Version::V3);
const INTEGRATOR: &str = "Third-Party-Integrator";
const DEVICES: &str = "Device_Admin";

const METHODS: [Method; 19] = [
    method("Authenticate", Operation::MyAdminAuthenticate, None, ""),
    method("GetUser", Operation::GetUser, None, ""),
    method(
        "ProvisionDevice",
        Operation::ProvisionDevice,
        None,
        INTEGRATOR,
    ),
    method(
        "ProvisionDeviceToAccount",
        Operation::ProvisionDeviceToAccount,
        None,
        INTEGRATOR,
    ),
    method(
        "ProvisionDevicesBulk",
        Operation::ProvisionDevicesBulk,
        None,
        INTEGRATOR,
    ),
    method(
        "GetDeviceDatabaseNamesAsync",
        Operation::GetDeviceDatabaseNames,
        None,
        "",
    ),
    method(
        "GetCurrentDeviceDatabases",
        Operation::GetCurrentDeviceDatabases,
        V2,
        DEVICES,
    ),
    method(
        "GetPartnerDeviceContractsAsync",
        Operation::GetPartnerDeviceContracts,
        None,
        "ThirdPartyPartner-Admin",
    ),
    method(
        "GetDeviceContracts",
        Operation::GetDeviceContracts,
        V3,
        "Billing_Admin",
    ),
    method(
        "GetDeviceContractsByPage",
        Operation::GetDeviceContractsByPage,
        V2,
        "Billing_Admin",
    ),
    method(
        "GetTerminationReasons",
        Operation::GetTerminationReasons,
        None,
        DEVICES,
    ),
    method(
        "TerminateDeviceBilling",
        Operation::TerminateDeviceBilling,
        None,
        DEVICES,
    ),
    method(
        "CancelDeviceTerminationAsync",
        Operation::CancelDeviceTermination,
        None,
        DEVICES,
    ),
    method(
        "GetOnlineOrderStatus",
        Operation::GetOnlineOrderStatus,
        None,
        "Order_Admin",
    ),
    method("LookupDevice", Operation::LookupDevice, None, ""),
    method("GetCountries", Operation::GetCountries, None, ""),
    method("GetDevicePlans", Operation::GetDevicePlans, V2, ""),
    method(
        "GetDeviceJurisdictionAsync",
        Operation::GetDeviceJurisdiction,
        None,
        "",
    ),
    method(
        "GetSharedDatabases",
        Operation::GetSharedDatabases,
        None,
        DEVICES,
    ),
];

/// The method of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

impl Method {
    /// Whether this version serves it.
    ///
    /// # Errors
    /// What the other version says (1.3).
    pub fn serves(&self, version: Version) -> Result<(), Thrown> {
        match (self.only, version) {
            (Some(Version::V3), Version::V2) => Err(Thrown::new(
                "InvalidOperationException",
                "That method is no longer available for that API version",
            )),
            (Some(Version::V2), Version::V3) => Err(Thrown::new(
                "InvalidOperationException",
                "That method is not yet available for that API version",
            )),
            _ => Ok(()),
        }
    }

    /// Whether a user may call it.
    ///
    /// # Errors
    /// `SecurityException` when the role is missing.
    pub fn admits(&self, user: &User) -> Result<(), Thrown> {
        if self.role.is_empty() || user.roles.iter().any(|role| role == self.role) {
            return Ok(());
        }
        Err(Thrown::new(
            "SecurityException",
            format!("The user has not the role {}.", self.role),
        ))
    }
}
