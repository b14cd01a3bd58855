//! What the simulated world can be asked, over every face: what fault rules and counters name.

use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Authenticate,
    RefreshToken,
    RevokeToken,
    Records,
    InvalidRecords,
    /// A group: every MyAdmin call. Of a request, one whose method is not known yet.
    #[serde(rename = "myadmin")]
    MyAdmin,
    /// A group: the three provisioning calls.
    Provision,
    /// MyAdmin's `Authenticate`.
    #[serde(rename = "myadmin_authenticate")]
    MyAdminAuthenticate,
    GetUser,
    ProvisionDevice,
    ProvisionDeviceToAccount,
    ProvisionDevicesBulk,
    GetDeviceDatabaseNames,
    GetCurrentDeviceDatabases,
    GetPartnerDeviceContracts,
    GetDeviceContracts,
    GetDeviceContractsByPage,
    GetTerminationReasons,
    TerminateDeviceBilling,
    CancelDeviceTermination,
    GetOnlineOrderStatus,
    LookupDevice,
    GetCountries,
    GetDevicePlans,
    GetDeviceJurisdiction,
    GetSharedDatabases,
    /// A MyAdmin method the simulator does not have, or no method.
    #[serde(rename = "myadmin_other")]
    MyAdminOther,
    /// A group: every call of the shipping surface.
    Partner,
    PartnerOrders,
    PartnerOrder,
    PartnerUnits,
    PartnerPutUnit,
    PartnerPutOrder,
    /// Anything else below the shipping surface's path.
    PartnerOther,
    /// Anything else: an unknown path or a wrong method.
    Other,
}

/// Which face answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    Dig,
    MyAdmin,
    Partner,
}

impl Operation {
    #[must_use]
    pub const fn surface(self) -> Surface {
        match self {
            Self::Authenticate
            | Self::RefreshToken
            | Self::RevokeToken
            | Self::Records
            | Self::InvalidRecords
            | Self::Other => Surface::Dig,
            Self::Partner
            | Self::PartnerOrders
            | Self::PartnerOrder
            | Self::PartnerUnits
            | Self::PartnerPutUnit
            | Self::PartnerPutOrder
            | Self::PartnerOther => Surface::Partner,
            _ => Surface::MyAdmin,
        }
    }

    /// Whether only the body tells that a request is this: a MyAdmin method.
    #[must_use]
    pub fn is_told_by_body(self) -> bool {
        self.surface() == Surface::MyAdmin && self != Self::MyAdmin
    }

    #[must_use]
    pub const fn is_provisioning(self) -> bool {
        matches!(
            self,
            Self::Provision
                | Self::ProvisionDevice
                | Self::ProvisionDeviceToAccount
                | Self::ProvisionDevicesBulk
        )
    }

    /// Whether a rule for this is also one for `other`.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        match self {
            Self::MyAdmin => other.surface() == Surface::MyAdmin,
            Self::Partner => other.surface() == Surface::Partner,
            Self::Provision => other.is_provisioning(),
            _ => self == other,
        }
    }
}
