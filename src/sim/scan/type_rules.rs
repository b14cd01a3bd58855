//! The rules that only one record type has.

use super::{Fate, Limits, Slots, Wrong, characters};
use crate::sim::kinds::{KINDS, Kind, Member, index};

/// What becomes of a record that fits its type; a schema error otherwise.
#[inline]
pub(super) fn judge(
    body: &[u8],
    limits: &Limits,
    slots: &Slots,
    at: u8,
    kind: &Kind,
    ticks: i64,
) -> Result<Fate, Wrong> {
    debug_assert_eq!(KINDS[at as usize].name, kind.name);
    match at {
        index::GPS => {
            let (latitude, longitude) = (
                slots.number(Member::Latitude),
                slots.number(Member::Longitude),
            );
            let speed = if slots.seen & Member::Speed.bit() == 0 {
                0.0
            } else {
                slots.number(Member::Speed)
            };
            if !(-90.0..=90.0).contains(&latitude) {
                return Ok(Fate::Invalid("sim: Latitude is outside -90..90"));
            }
            if !(-180.0..=180.0).contains(&longitude) {
                return Ok(Fate::Invalid("sim: Longitude is outside -180..180"));
            }
            if !(0.0..=1000.0).contains(&speed) {
                return Ok(Fate::Invalid("sim: Speed is outside 0..1000"));
            }
        }
        index::STATUS | index::GENERIC_STATUS
            if (128..=1999).contains(&slots.integer(Member::Code)) =>
        {
            return Ok(Fate::Dropped);
        }
        index::J1708 => {
            let given = |member: Member| u8::from(slots.integers & member.bit() != 0);
            if given(Member::ParameterId) + given(Member::SubsystemId) != 1 {
                return Ok(Fate::Invalid(
                    "sim: exactly one of ParameterId and SubsystemId belongs here",
                ));
            }
        }
        index::J1939 if !(0..=524_287).contains(&slots.integer(Member::SuspectParameterNumber)) => {
            return Ok(Fate::Invalid(
                "sim: SuspectParameterNumber is outside 0..524287",
            ));
        }
        index::DRIVER_CHANGE => {
            base64(
                slots.text(Member::DriverId, body),
                239,
                limits.strict_base64,
                "DriverId",
            )?;
            if ticks > limits.now {
                return Ok(Fate::Invalid("sim: a driver change is in the future"));
            }
        }
        index::BINARY => base64(
            slots.text(Member::Data, body),
            32_745,
            limits.strict_base64,
            "Data",
        )?,
        index::BLUETOOTH => {
            let address = slots.text(Member::Address, body);
            let fits = address.len() == 17
                && address.iter().enumerate().all(|(at, byte)| {
                    if at % 3 == 2 {
                        *byte == b':'
                    } else {
                        byte.is_ascii_hexdigit()
                    }
                });
            if !fits {
                return Err(("Address", "not six hexadecimal pairs with colons"));
            }
        }
        index::OBDII => match characters(slots.text(Member::Code, body)) {
            0 => return Err(("Code", "empty")),
            1..=10 => {}
            _ => return Ok(Fate::Invalid("sim: Code is longer than 10 characters")),
        },
        index::VIN
            if !(1..=17).contains(&characters(
                slots.text(Member::VehicleIdentificationNumber, body),
            )) =>
        {
            return Err(("VehicleIdentificationNumber", "not 1 to 17 characters"));
        }
        _ => {}
    }
    Ok(Fate::Valid)
}

/// Standard padded Base64 of 1 to `most` bytes (or, when strict, of at most `most` characters).
fn base64(text: &[u8], most: usize, strict: bool, member: &'static str) -> Result<(), Wrong> {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let fits = !text.is_empty()
        && text.len().is_multiple_of(4)
        && padding <= 2
        && text[..text.len() - padding]
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    if !fits {
        return Err((member, "not padded standard Base64"));
    }
    let size = if strict {
        text.len()
    } else {
        text.len() / 4 * 3 - padding
    };
    if size > most {
        Err((member, "too long"))
    } else {
        Ok(())
    }
}
