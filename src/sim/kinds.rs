//! The twelve record types as the gateway sees them: member names, JSON types, bounds.
//!
//! Sources: the OpenAPI v3.4.2 `components/schemas` for names, types and bounds; dig/API.md section 12 for what is required.
//! A set of members is a `u64` mask, so that checking a record is a handful of mask operations.

/// Every member any record type has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Member {
    Type,
    DateTime,
    SerialNo,
    X,
    Y,
    Z,
    Data,
    Address,
    DataType,
    KeyType,
    DriverId,
    Code,
    FaultStateActive,
    Value,
    Latitude,
    Longitude,
    Speed,
    IsGpsValid,
    IsIgnitionOn,
    IsAuxiliary1On,
    IsAuxiliary2On,
    IsAuxiliary3On,
    IsAuxiliary4On,
    IsAuxiliary5On,
    IsAuxiliary6On,
    IsAuxiliary7On,
    IsAuxiliary8On,
    MessageId,
    ParameterId,
    SubsystemId,
    FailureModeIdentifier,
    OccurrenceCount,
    SuspectParameterNumber,
    SourceAddress,
    MalfunctionLamp,
    RedStopLamp,
    AmberWarningLamp,
    ProtectWarningLamp,
    VehicleIdentificationNumber,
}

use Member as M;

/// How many members there are; each has a slot of that index.
pub const MEMBERS: usize = 39;

/// Members by index, with their canonical names.
pub const NAMES: [&str; MEMBERS] = [
    "Type",
    "DateTime",
    "SerialNo",
    "X",
    "Y",
    "Z",
    "Data",
    "Address",
    "DataType",
    "KeyType",
    "DriverId",
    "Code",
    "FaultStateActive",
    "Value",
    "Latitude",
    "Longitude",
    "Speed",
    "IsGpsValid",
    "IsIgnitionOn",
    "IsAuxiliary1On",
    "IsAuxiliary2On",
    "IsAuxiliary3On",
    "IsAuxiliary4On",
    "IsAuxiliary5On",
    "IsAuxiliary6On",
    "IsAuxiliary7On",
    "IsAuxiliary8On",
    "MessageId",
    "ParameterId",
    "SubsystemId",
    "FailureModeIdentifier",
    "OccurrenceCount",
    "SuspectParameterNumber",
    "SourceAddress",
    "MalfunctionLamp",
    "RedStopLamp",
    "AmberWarningLamp",
    "ProtectWarningLamp",
    "VehicleIdentificationNumber",
];

impl Member {
    /// The bit of this member in a mask.
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << self as u8
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

const fn mask(members: &[Member]) -> u64 {
    let mut all = 0;
    let mut at = 0;
    while at < members.len() {
        all |= members[at].bit();
        at += 1;
    }
    all
}

const LONGEST: usize = 27;

/// Candidate slots by length of the name: `(index, last up to eight bytes, lower-case)`.
type Row = ([(u8, u64); 9], usize);

const fn lower(byte: u8) -> u8 {
    if byte.is_ascii_uppercase() {
        byte | 0x20
    } else {
        byte
    }
}

const fn tail(name: &[u8]) -> u64 {
    let mut at = name.len().saturating_sub(8);
    let mut all = 0u64;
    while at < name.len() {
        all = all << 8 | lower(name[at]) as u64;
        at += 1;
    }
    all
}

static BY_LENGTH: [Row; LONGEST + 1] = {
    let mut rows: [Row; LONGEST + 1] = [([(0, 0); 9], 0); LONGEST + 1];
    let mut index = 0;
    while index < MEMBERS {
        let name = NAMES[index].as_bytes();
        let row = &mut rows[name.len()];
        row.0[row.1] = (index as u8, tail(name));
        row.1 += 1;
        index += 1;
    }
    rows
};

/// Finds a member by its name in any case: its index, and whether the case was the canonical one.
#[inline]
#[must_use]
pub fn find(name: &[u8]) -> Option<(u8, bool)> {
    if name.len() > LONGEST {
        return None;
    }
    let (row, filled) = &BY_LENGTH[name.len()];
    let wanted = if let Some((_, last)) = name.split_last_chunk::<8>() {
        // Setting bit 5 folds letters and leaves digits alone; anything else is caught by the comparison below.
        u64::from_be_bytes(*last) | 0x2020_2020_2020_2020
    } else {
        tail(name)
    };
    for &(index, last) in &row[..*filled] {
        if last == wanted {
            let canonical = NAMES[index as usize].as_bytes();
            if canonical == name {
                return Some((index, true));
            }
            if canonical.eq_ignore_ascii_case(name) {
                return Some((index, false));
            }
        }
    }
    None
}

/// A record type.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    pub required: u64,
    pub texts: u64,
    pub integers: u64,
    pub numbers: u64,
    pub flags: u64,
    pub nullable: u64,
    /// Bounds whose breach is a schema error: the ones the OpenAPI names, and 32 bits for status values (dig/API.md U23).
    pub bounds: &'static [(Member, i64, i64)],
}

impl Kind {
    #[must_use]
    pub const fn allowed(&self) -> u64 {
        self.texts | self.integers | self.numbers | self.flags
    }
}

const BASE: u64 = mask(&[M::Type, M::DateTime, M::SerialNo]);
const INT32: (i64, i64) = (i32::MIN as i64, i32::MAX as i64);

const fn kind(name: &'static str) -> Kind {
    Kind {
        name,
        required: BASE,
        texts: BASE,
        integers: 0,
        numbers: 0,
        flags: 0,
        nullable: 0,
        bounds: &[],
    }
}

/// Index into [`KINDS`] where code needs to tell types apart.
pub mod index {
    pub const BINARY: u8 = 1;
    pub const BLUETOOTH: u8 = 2;
    pub const DRIVER_CHANGE: u8 = 3;
    pub const GENERIC_STATUS: u8 = 5;
    pub const GPS: u8 = 6;
    pub const J1708: u8 = 7;
    pub const J1939: u8 = 8;
    pub const OBDII: u8 = 9;
    pub const STATUS: u8 = 10;
    pub const VIN: u8 = 11;
}

const AXES: u64 = mask(&[M::X, M::Y, M::Z]);
const STATUS: u64 = mask(&[M::Code, M::Value]);
const J1708_REQUIRED: u64 = mask(&[M::MessageId, M::FailureModeIdentifier, M::OccurrenceCount]);
const J1708_ONE_OF: u64 = mask(&[M::ParameterId, M::SubsystemId]);
const J1939: u64 = mask(&[
    M::SuspectParameterNumber,
    M::FailureModeIdentifier,
    M::OccurrenceCount,
    M::SourceAddress,
]);
const POSITION: u64 = mask(&[M::Latitude, M::Longitude]);
const GPS_FLAGS: u64 = mask(&[
    M::IsGpsValid,
    M::IsIgnitionOn,
    M::IsAuxiliary1On,
    M::IsAuxiliary2On,
    M::IsAuxiliary3On,
    M::IsAuxiliary4On,
    M::IsAuxiliary5On,
    M::IsAuxiliary6On,
    M::IsAuxiliary7On,
    M::IsAuxiliary8On,
]);
const LAMPS: u64 = mask(&[
    M::MalfunctionLamp,
    M::RedStopLamp,
    M::AmberWarningLamp,
    M::ProtectWarningLamp,
]);
const ACTIVE: u64 = M::FaultStateActive.bit();

/// The record types, ordered by name.
pub static KINDS: [Kind; 12] = [
    Kind {
        required: BASE | AXES,
        integers: AXES,
        bounds: &[
            (M::X, -32768, 32767),
            (M::Y, -32768, 32767),
            (M::Z, -32768, 32767),
        ],
        ..kind("AccelerationRecord")
    },
    Kind {
        required: BASE | M::Data.bit(),
        texts: BASE | M::Data.bit(),
        ..kind("BinaryRecord")
    },
    Kind {
        required: BASE | mask(&[M::Address, M::Data, M::DataType]),
        texts: BASE | M::Address.bit(),
        numbers: M::Data.bit(),
        integers: M::DataType.bit(),
        bounds: &[(M::DataType, 0, 255)],
        ..kind("BluetoothRecord")
    },
    Kind {
        required: BASE | mask(&[M::KeyType, M::DriverId]),
        texts: BASE | M::DriverId.bit(),
        integers: M::KeyType.bit(),
        bounds: &[(M::KeyType, 0, 255)],
        ..kind("DriverChangeRecord")
    },
    // An absent FaultStateActive reads as false here (dig/API.md section 12).
    Kind {
        required: BASE | M::Code.bit(),
        integers: M::Code.bit(),
        flags: ACTIVE,
        bounds: &[(M::Code, 128, 1999)],
        ..kind("GenericFaultRecord")
    },
    Kind {
        required: BASE | STATUS,
        integers: STATUS,
        bounds: &[(M::Code, INT32.0, INT32.1), (M::Value, INT32.0, INT32.1)],
        ..kind("GenericStatusRecord")
    },
    Kind {
        required: BASE | POSITION,
        numbers: POSITION | M::Speed.bit(),
        flags: GPS_FLAGS,
        ..kind("GpsRecord")
    },
    Kind {
        required: BASE | J1708_REQUIRED | ACTIVE,
        integers: J1708_REQUIRED | J1708_ONE_OF,
        nullable: J1708_ONE_OF,
        flags: ACTIVE,
        bounds: &[
            (M::MessageId, 0, 255),
            (M::ParameterId, 0, 511),
            (M::SubsystemId, 0, 511),
            (M::FailureModeIdentifier, 0, 15),
            (M::OccurrenceCount, 0, 255),
        ],
        ..kind("J1708FaultRecord")
    },
    Kind {
        required: BASE | J1939 | ACTIVE,
        integers: J1939,
        flags: LAMPS | ACTIVE,
        bounds: &[
            (M::FailureModeIdentifier, 0, 255),
            (M::OccurrenceCount, 0, 255),
            (M::SourceAddress, 0, 255),
        ],
        ..kind("J1939FaultRecord")
    },
    Kind {
        required: BASE | M::Code.bit() | ACTIVE,
        texts: BASE | M::Code.bit(),
        flags: ACTIVE,
        ..kind("ObdiiFaultRecord")
    },
    Kind {
        required: BASE | STATUS,
        integers: STATUS,
        bounds: &[(M::Code, INT32.0, INT32.1), (M::Value, INT32.0, INT32.1)],
        ..kind("StatusRecord")
    },
    Kind {
        required: BASE | M::VehicleIdentificationNumber.bit(),
        texts: BASE | M::VehicleIdentificationNumber.bit(),
        ..kind("VinRecord")
    },
];

/// Finds a record type by its exact name.
#[inline]
#[must_use]
pub fn kind_of(name: &[u8]) -> Option<u8> {
    // The first letters tell all but a few apart; the list is short enough to walk.
    KINDS
        .iter()
        .position(|kind| kind.name.as_bytes() == name)
        .map(|index| index as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_member_in_any_case() {
        for (index, name) in NAMES.iter().enumerate() {
            assert_eq!(find(name.as_bytes()), Some((index as u8, true)), "{name}");
            let lower = name.to_ascii_lowercase();
            assert_eq!(
                find(lower.as_bytes()),
                Some((index as u8, false)),
                "{lower}"
            );
            let upper = name.to_ascii_uppercase();
            assert_eq!(
                find(upper.as_bytes()).map(|(at, _)| at),
                Some(index as u8),
                "{upper}"
            );
        }
        assert_eq!(
            NAMES[MEMBERS - 1],
            Member::VehicleIdentificationNumber.name()
        );
        for wrong in [
            "",
            "T",
            "Typ",
            "Types",
            "DATETIME ",
            "IsAuxiliary9On",
            "IsAuxiliary\u{11}On",
        ] {
            assert_eq!(find(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn the_named_indices_are_the_kinds_they_say() {
        let named = [
            (index::BINARY, "BinaryRecord"),
            (index::BLUETOOTH, "BluetoothRecord"),
            (index::DRIVER_CHANGE, "DriverChangeRecord"),
            (index::GENERIC_STATUS, "GenericStatusRecord"),
            (index::GPS, "GpsRecord"),
            (index::J1708, "J1708FaultRecord"),
            (index::J1939, "J1939FaultRecord"),
            (index::OBDII, "ObdiiFaultRecord"),
            (index::STATUS, "StatusRecord"),
            (index::VIN, "VinRecord"),
        ];
        for (at, name) in named {
            assert_eq!(KINDS[at as usize].name, name);
            assert_eq!(kind_of(name.as_bytes()), Some(at));
        }
    }
}
