//! A unit as a state machine: on its way (ordered, provisioned, assigned, shipped, reported, confirmed, in a database, active),
//! parked, cancelled or terminated.
//!
//! * P1: a serial is given once; no step replaces it.
//! * P2: [`InDatabase::activate`] is the only way to [`Active`], and what it needs can only be had by its conditions.

use jiff::Timestamp;

use super::kit::{Kit, Known, Lacking, Matches, OwnerDatabase};
use super::order::Clear;
use super::{Needs, Parcel, Reason, Serial, Tags};

/// Where a unit is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unit {
    Live(Live),
    Parked(Parked),
    Cancelled(Cancelled),
    Terminated(Terminated),
}

/// A unit on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Live {
    Ordered(Ordered),
    Provisioned(Provisioned),
    Assigned(Assigned),
    Shipped(Shipped),
    Reported(Reported),
    Confirmed(Confirmed),
    InDatabase(InDatabase),
    Active(Active),
}

/// Taken in; nothing done yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ordered {
    pub tags: Tags,
}

/// Has its serial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    pub serial: Serial,
    pub tags: Tags,
}

/// Has all its line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    kit: Kit,
}

/// Left the warehouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipped {
    kit: Kit,
    parcel: Parcel,
}

/// Reported to MyAdmin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    kit: Kit,
    parcel: Parcel,
}

/// MyAdmin shows the unit as reported. The last state of a unit without a serial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    kit: Kit,
    parcel: Parcel,
}

/// Somebody put it into a MyGeotab database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InDatabase {
    serial: Serial,
    tags: Tags,
    parcel: Parcel,
    database: OwnerDatabase,
}

/// May send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Active {
    serial: Serial,
    tags: Tags,
    parcel: Parcel,
    database: OwnerDatabase,
    since: Timestamp,
}

/// Stopped until a person decides; goes on from where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    pub reason: Reason,
    pub before: Live,
}

/// Cancelled for good. A serial in `known` is left for an operator to terminate.
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

impl Ordered {
    #[must_use]
    pub fn provision(self, serial: Serial) -> Provisioned {
        Provisioned {
            serial,
            tags: self.tags,
        }
    }

    /// For a line that needs no serial.
    ///
    /// # Errors
    /// The identifiers that its line needs and it lacks.
    pub fn assign(self, needs: Needs) -> Result<Assigned, Lacking> {
        Kit::complete(None, self.tags, needs).map(|kit| Assigned { kit })
    }
}

impl Provisioned {
    /// # Errors
    /// The identifiers that its line needs and it lacks.
    pub fn assign(self, needs: Needs) -> Result<Assigned, Lacking> {
        Kit::complete(Some(self.serial), self.tags, needs).map(|kit| Assigned { kit })
    }
}

impl Assigned {
    #[must_use]
    pub fn kit(&self) -> &Kit {
        &self.kit
    }

    #[must_use]
    pub fn ship(self, parcel: Parcel) -> Shipped {
        Shipped {
            kit: self.kit,
            parcel,
        }
    }

    pub(super) fn restored(kit: Kit) -> Self {
        Self { kit }
    }
}

impl Shipped {
    #[must_use]
    pub fn kit(&self) -> &Kit {
        &self.kit
    }

    #[must_use]
    pub fn parcel(&self) -> &Parcel {
        &self.parcel
    }

    #[must_use]
    pub fn report(self) -> Reported {
        Reported {
            kit: self.kit,
            parcel: self.parcel,
        }
    }
}

impl Reported {
    #[must_use]
    pub fn kit(&self) -> &Kit {
        &self.kit
    }

    #[must_use]
    pub fn parcel(&self) -> &Parcel {
        &self.parcel
    }

    #[must_use]
    pub fn confirm(self, _read_back: Matches) -> Confirmed {
        self.confirmed()
    }

    pub(super) fn confirmed(self) -> Confirmed {
        Confirmed {
            kit: self.kit,
            parcel: self.parcel,
        }
    }
}

impl Confirmed {
    #[must_use]
    pub fn kit(&self) -> &Kit {
        &self.kit
    }

    #[must_use]
    pub fn parcel(&self) -> &Parcel {
        &self.parcel
    }

    /// The next state, for a unit that has a serial.
    ///
    /// # Errors
    /// The unit itself, if it has none: its journey is over.
    pub fn enter(self, database: OwnerDatabase) -> Result<InDatabase, Self> {
        match self.kit.serial.clone() {
            Some(serial) => Ok(InDatabase {
                serial,
                tags: self.kit.tags,
                parcel: self.parcel,
                database,
            }),
            None => Err(self),
        }
    }
}

impl InDatabase {
    #[must_use]
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    #[must_use]
    pub fn database(&self) -> &OwnerDatabase {
        &self.database
    }

    /// It was taken out of its database before it became active.
    #[must_use]
    pub fn leave(self) -> Confirmed {
        Confirmed {
            kit: Kit {
                serial: Some(self.serial),
                tags: self.tags,
            },
            parcel: self.parcel,
        }
    }

    /// P2: serial, confirmation and database are in the type; the order's approval is the argument.
    #[must_use]
    pub fn activate(self, _order: &Clear, since: Timestamp) -> Active {
        self.active(since)
    }

    pub(super) fn active(self, since: Timestamp) -> Active {
        Active {
            serial: self.serial,
            tags: self.tags,
            parcel: self.parcel,
            database: self.database,
            since,
        }
    }
}

impl Active {
    #[must_use]
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.since
    }

    #[must_use]
    pub fn database(&self) -> &OwnerDatabase {
        &self.database
    }

    /// Another database owns it now; it goes on sending.
    #[must_use]
    pub fn moved(self, database: OwnerDatabase) -> Self {
        Self { database, ..self }
    }
}

/// The reason that a correction is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    #[error("it is not assigned yet")]
    NotAssigned,
    #[error("it is active: its identifiers are in use")]
    Active,
}

impl Live {
    /// Whether a unit in this state has left the warehouse.
    #[must_use]
    pub fn is_beyond_shipping(&self) -> bool {
        match self {
            Self::Ordered(_) | Self::Provisioned(_) | Self::Assigned(_) => false,
            Self::Shipped(_)
            | Self::Reported(_)
            | Self::Confirmed(_)
            | Self::InDatabase(_)
            | Self::Active(_) => true,
        }
    }

    /// Sets new or corrected identifiers. A unit that was shipped already must be reported and confirmed again.
    ///
    /// # Errors
    /// An active unit keeps its identifiers.
    pub fn tag(self, tags: Tags) -> Result<Self, NotNow> {
        let retagged = |kit: Kit| Kit {
            serial: kit.serial,
            tags: kit.tags.updated(tags.clone()),
        };
        Ok(match self {
            Self::Ordered(unit) => Self::Ordered(Ordered {
                tags: unit.tags.updated(tags),
            }),
            Self::Provisioned(unit) => Self::Provisioned(Provisioned {
                serial: unit.serial,
                tags: unit.tags.updated(tags),
            }),
            Self::Assigned(unit) => Self::Assigned(Assigned {
                kit: retagged(unit.kit),
            }),
            Self::Shipped(Shipped { kit, parcel })
            | Self::Reported(Reported { kit, parcel })
            | Self::Confirmed(Confirmed { kit, parcel }) => Self::Shipped(Shipped {
                kit: retagged(kit),
                parcel,
            }),
            Self::InDatabase(unit) => {
                let Confirmed { kit, parcel } = unit.leave();
                Self::Shipped(Shipped {
                    kit: retagged(kit),
                    parcel,
                })
            }
            Self::Active(_) => return Err(NotNow::Active),
        })
    }

    /// Shipping, or a corrected carrier or tracking number. Except for an active unit, a correction must be reported and
    /// confirmed again; an active one stays active, and the order's shipment is reported again.
    ///
    /// # Errors
    /// A unit that is not assigned cannot ship.
    pub fn ship(self, parcel: Parcel) -> Result<Self, NotNow> {
        Ok(match self {
            Self::Ordered(_) | Self::Provisioned(_) => return Err(NotNow::NotAssigned),
            Self::Assigned(unit) => Self::Shipped(unit.ship(parcel)),
            Self::Shipped(Shipped { kit, .. })
            | Self::Reported(Reported { kit, .. })
            | Self::Confirmed(Confirmed { kit, .. }) => Self::Shipped(Shipped { kit, parcel }),
            Self::InDatabase(unit) => Self::Shipped(Shipped {
                kit: unit.leave().kit,
                parcel,
            }),
            Self::Active(unit) => Self::Active(Active { parcel, ..unit }),
        })
    }

    #[must_use]
    pub fn park(self, reason: Reason) -> Parked {
        Parked {
            reason,
            before: self,
        }
    }

    /// Everything known of it.
    #[must_use]
    pub fn known(&self) -> Known {
        let of_kit = |kit: &Kit, parcel: Option<&Parcel>| Known {
            serial: kit.serial.clone(),
            tags: kit.tags.clone(),
            parcel: parcel.cloned(),
            ..Known::default()
        };
        match self {
            Self::Ordered(unit) => Known {
                tags: unit.tags.clone(),
                ..Known::default()
            },
            Self::Provisioned(unit) => Known {
                serial: Some(unit.serial.clone()),
                tags: unit.tags.clone(),
                ..Known::default()
            },
            Self::Assigned(unit) => of_kit(&unit.kit, None),
            Self::Shipped(unit) => of_kit(&unit.kit, Some(&unit.parcel)),
            Self::Reported(unit) => of_kit(&unit.kit, Some(&unit.parcel)),
            Self::Confirmed(unit) => of_kit(&unit.kit, Some(&unit.parcel)),
            Self::InDatabase(unit) => Known {
                serial: Some(unit.serial.clone()),
                tags: unit.tags.clone(),
                parcel: Some(unit.parcel.clone()),
                database: Some(unit.database.0.clone()),
                active_since: None,
            },
            Self::Active(unit) => Known {
                serial: Some(unit.serial.clone()),
                tags: unit.tags.clone(),
                parcel: Some(unit.parcel.clone()),
                database: Some(unit.database.0.clone()),
                active_since: Some(unit.since),
            },
        }
    }

    #[must_use]
    pub fn state(&self) -> &'static str {
        match self {
            Self::Ordered(_) => "ordered",
            Self::Provisioned(_) => "provisioned",
            Self::Assigned(_) => "assigned",
            Self::Shipped(_) => "shipped",
            Self::Reported(_) => "reported",
            Self::Confirmed(_) => "confirmed",
            Self::InDatabase(_) => "in-database",
            Self::Active(_) => "active",
        }
    }
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
