//! Entries of the device registry's topic, made from the outbox; [`super::registrar`] writes them.
//!
//! Pure: of several changes of one device only the last one counts.

use std::collections::HashSet;

use super::journey::registration::Registration;
use super::store::outbox::OutboxMessage;
use crate::registry::Device;
use crate::registry::mark::Mark;

/// The topic takes no transaction of that size; nothing of it was written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct TooLarge(pub String);

/// One message for the device registry's topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A device, with the unit it is.
    Put(Device, Option<Box<str>>),
    /// No unit goes by this id any more: a tombstone.
    Forget(Box<str>),
    /// How far the store is.
    Mark(Mark),
}

impl Entry {
    /// The device that it is about; `None` for the mark.
    #[must_use]
    pub fn device_id(&self) -> Option<&str> {
        match self {
            Self::Put(device, _) => Some(&device.device_id),
            Self::Forget(device_id) => Some(device_id),
            Self::Mark(_) => None,
        }
    }

    /// The registry entry of a device.
    #[must_use]
    pub fn of(registration: &Registration, unit: Option<Box<str>>) -> Self {
        match &registration.serial {
            None => Self::Forget(registration.device_id.clone()),
            Some(serial) => Self::Put(
                Device {
                    device_id: registration.device_id.clone(),
                    serial: Some(serial.as_str().into()),
                    state: registration.state,
                    order: registration.order.clone(),
                    since: registration.since,
                },
                unit,
            ),
        }
    }
}

/// Of each device its last change only, in the order of these. What was written before may be written again behind a part of it that
/// was written already: with the last changes alone no device can then be called active after it was called terminated.
#[must_use]
pub fn newest(letters: &[OutboxMessage]) -> Vec<Entry> {
    let mut seen = HashSet::new();
    let mut entries: Vec<Entry> = letters
        .iter()
        .rev()
        .filter(|letter| seen.insert(&*letter.device.device_id))
        .map(|letter| Entry::of(&letter.device, letter.unit.clone()))
        .collect();
    entries.reverse();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::journey::Serial;
    use crate::registry::State;

    fn letter(seq: i64, device_id: &str, serial: Option<&str>, state: State) -> OutboxMessage {
        let serial = serial.map(|text| Serial::parse(text).unwrap());
        let device = Registration {
            device_id: device_id.into(),
            serial,
            state,
            order: None,
            since: None,
        };
        OutboxMessage {
            seq,
            device,
            unit: None,
        }
    }

    #[test]
    fn of_each_device_only_the_last_change_is_written_in_its_place() {
        let serial = Some("CXBBE850E8BE");
        let letters = [
            letter(1, "a", serial, State::Pending),
            letter(2, "b", Some("CX0000000002"), State::Active),
            letter(3, "a", serial, State::Active),
            letter(4, "c", None, State::Terminated),
            letter(5, "b", Some("CX0000000002"), State::Terminated),
        ];
        let written: Vec<_> = newest(&letters)
            .into_iter()
            .map(|entry| match entry {
                Entry::Put(device, _) => (device.device_id.to_string(), Some(device.state)),
                Entry::Forget(id) => (id.to_string(), None),
                Entry::Mark(mark) => panic!("{mark:?} was not asked for"),
            })
            .collect();
        let expected = [
            ("a", Some(State::Active)),
            ("c", None),
            ("b", Some(State::Terminated)),
        ];
        assert_eq!(written, expected.map(|(id, state)| (id.to_owned(), state)));
        assert_eq!(newest(&[]), []);
    }
}
