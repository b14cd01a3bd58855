//! The entry of a unit in the device registry (G1).

use jiff::Timestamp;

use super::unit::{Live, Unit};
use super::{Serial, Tags};
use crate::registry::State;

/// The registry's entry for a unit: the store keeps it, the outbox carries it to the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub device_id: Box<str>,
    /// None: the registry is to forget the id, no unit goes by it any more.
    pub serial: Option<Serial>,
    pub state: State,
    /// The order's id.
    pub order: Option<Box<str>>,
    /// Since when it is active or terminated.
    pub since: Option<Timestamp>,
}

/// The id under which the registry keeps a unit: its own id, else the IMEI, else the serial.
#[must_use]
pub fn device_id(serial: &Serial, tags: &Tags) -> Box<str> {
    tags.device_id
        .clone()
        .or_else(|| tags.imei.clone())
        .unwrap_or_else(|| serial.as_str().into())
}

/// The entry; none before there is a serial, because nothing could be sent.
#[must_use]
pub fn registration(unit: &Unit, order: &str) -> Option<Registration> {
    let known = unit.known();
    let serial = known.serial?;
    let (state, since) = match unit {
        Unit::Live(live) => standing(live),
        Unit::Parked(parked) => standing(&parked.before),
        // It will never be active: its records are no longer waited with.
        Unit::Cancelled(cancelled) => (State::Terminated, Some(cancelled.at)),
        Unit::Terminated(terminated) => (State::Terminated, Some(terminated.at)),
    };
    Some(Registration {
        device_id: device_id(&serial, &known.tags),
        serial: Some(serial),
        state,
        order: Some(order.into()),
        since,
    })
}

fn standing(live: &Live) -> (State, Option<Timestamp>) {
    match live {
        Live::Ordered(_)
        | Live::Provisioned(_)
        | Live::Assigned(_)
        | Live::Shipped(_)
        | Live::Reported(_)
        | Live::Confirmed(_)
        | Live::InDatabase(_) => (State::Pending, None),
        Live::Active(active) => (State::Active, Some(active.since())),
    }
}

impl Registration {
    /// The word that no unit goes by an id any more.
    #[must_use]
    pub fn left_behind(device_id: Box<str>, at: Timestamp) -> Self {
        Self {
            device_id,
            serial: None,
            state: State::Terminated,
            order: None,
            since: Some(at),
        }
    }
}
