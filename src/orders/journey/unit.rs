//! A unit: on its way, parked, cancelled or terminated.

use jiff::Timestamp;

use super::kit::Known;
use super::way::{Live, Ordered, Provisioned};
use super::{Needs, Reason, Serial};

/// Stopped until a person decides; goes on from where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    pub reason: Reason,
    pub before: Live,
}

/// Cancelled for good. A serial in `known` is a person's to terminate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled {
    pub known: Known,
    pub at: Timestamp,
}

/// Ended; a record would resume its billing (myadmin/API.md 2.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminated {
    serial: Serial,
    known: Known,
    pub at: Timestamp,
}

/// Where a unit is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unit {
    Live(Live),
    Parked(Parked),
    Cancelled(Cancelled),
    Terminated(Terminated),
}

impl Parked {
    /// Back to where it was.
    #[must_use]
    pub fn unpark(self) -> Live {
        self.before
    }
}

impl Cancelled {
    /// Back on its way, as far as what is known of it reaches: one that was shipped is reported anew.
    #[must_use]
    pub fn resume(self, needs: Needs) -> Live {
        let Known {
            serial,
            tags,
            parcel,
            ..
        } = self.known;
        let assigned = match serial {
            None => {
                let ordered = Ordered { tags };
                if needs.serial || parcel.is_none() {
                    return Live::Ordered(ordered);
                }
                match ordered.clone().assign(needs) {
                    Ok(assigned) => assigned,
                    Err(_) => return Live::Ordered(ordered),
                }
            }
            Some(serial) => {
                let provisioned = Provisioned { serial, tags };
                match provisioned.clone().assign(needs) {
                    Ok(assigned) => assigned,
                    Err(_) => return Live::Provisioned(provisioned),
                }
            }
        };
        match parcel {
            Some(parcel) => Live::Shipped(assigned.ship(parcel)),
            None => Live::Assigned(assigned),
        }
    }
}

impl Terminated {
    #[must_use]
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    #[must_use]
    pub fn known(&self) -> &Known {
        &self.known
    }
}

impl Unit {
    /// How a unit begins.
    #[must_use]
    pub fn ordered() -> Self {
        Self::Live(Live::Ordered(Ordered::default()))
    }

    /// Cancels it from anywhere but its end; none if it has ended.
    #[must_use]
    pub fn cancel(self, at: Timestamp) -> Option<Cancelled> {
        match self {
            Self::Live(_) | Self::Parked(_) => Some(Cancelled {
                known: self.known(),
                at,
            }),
            Self::Cancelled(_) | Self::Terminated(_) => None,
        }
    }

    /// Terminates it from anywhere; none if it has no serial or is terminated already.
    #[must_use]
    pub fn terminate(self, at: Timestamp) -> Option<Terminated> {
        match self {
            Self::Live(_) | Self::Parked(_) | Self::Cancelled(_) => {
                let known = self.known();
                let serial = known.serial.clone()?;
                Some(Terminated { serial, known, at })
            }
            Self::Terminated(_) => None,
        }
    }

    #[must_use]
    pub fn known(&self) -> Known {
        match self {
            Self::Live(live) => live.known(),
            Self::Parked(parked) => parked.before.known(),
            Self::Cancelled(cancelled) => cancelled.known.clone(),
            Self::Terminated(terminated) => terminated.known.clone(),
        }
    }

    /// Its serial, in whatever state.
    #[must_use]
    pub fn serial(&self) -> Option<Serial> {
        self.known().serial
    }

    /// Whether it may send: active, also while a person looks at it.
    #[must_use]
    pub fn is_active(&self) -> bool {
        match self {
            Self::Live(live) | Self::Parked(Parked { before: live, .. }) => {
                matches!(live, Live::Active(_))
            }
            Self::Cancelled(_) | Self::Terminated(_) => false,
        }
    }

    /// Whether its journey has reached an end: active, confirmed without a serial, cancelled or terminated.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Live(Live::Active(_)) | Self::Cancelled(_) | Self::Terminated(_) => true,
            Self::Live(Live::Confirmed(unit)) => unit.kit().serial().is_none(),
            Self::Live(
                Live::Ordered(_)
                | Live::Provisioned(_)
                | Live::Assigned(_)
                | Live::Shipped(_)
                | Live::Reported(_)
                | Live::InDatabase(_),
            )
            | Self::Parked(_) => false,
        }
    }

    /// The state's name, as the store and the audit trail have it.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self {
            Self::Live(live) => live.state(),
            Self::Parked(_) => "parked",
            Self::Cancelled(_) => "cancelled",
            Self::Terminated(_) => "terminated",
        }
    }

    pub(super) fn terminated(serial: Serial, known: Known, at: Timestamp) -> Self {
        Self::Terminated(Terminated { serial, known, at })
    }
}
