//! The member names of the twelve record types, and how a name becomes a number.
//!
//! Owns the fixed order of members in a rendered record. Pure; knows nothing of rules.

use super::RecordType;

/// A member of a record. The numeric order is the order of a rendered record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Member {
    Type,
    DateTime,
    SerialNo,
    /// Not the gateway's: the integrator's own id, resolved to `SerialNo` and never sent.
    DeviceId,
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
    X,
    Y,
    Z,
    Code,
    Value,
    MessageId,
    ParameterId,
    SubsystemId,
    SuspectParameterNumber,
    FailureModeIdentifier,
    OccurrenceCount,
    SourceAddress,
    MalfunctionLamp,
    RedStopLamp,
    AmberWarningLamp,
    ProtectWarningLamp,
    FaultStateActive,
    KeyType,
    DriverId,
    Address,
    Data,
    DataType,
    VehicleIdentificationNumber,
}

use Member as M;

/// How many members there are.
pub const COUNT: usize = 40;

macro_rules! names {
    ($($member:ident)*) => {
        /// Every member with its exact name, and the name as it stands before a value; in [`Member`] order.
        const NAMES: [(Member, &str, &str); COUNT] =
            [$((M::$member, stringify!($member), concat!("\"", stringify!($member), "\":"))),*];
    };
}

names! {
    Type
    DateTime
    SerialNo
    DeviceId
    Latitude
    Longitude
    Speed
    IsGpsValid
    IsIgnitionOn
    IsAuxiliary1On
    IsAuxiliary2On
    IsAuxiliary3On
    IsAuxiliary4On
    IsAuxiliary5On
    IsAuxiliary6On
    IsAuxiliary7On
    IsAuxiliary8On
    X
    Y
    Z
    Code
    Value
    MessageId
    ParameterId
    SubsystemId
    SuspectParameterNumber
    FailureModeIdentifier
    OccurrenceCount
    SourceAddress
    MalfunctionLamp
    RedStopLamp
    AmberWarningLamp
    ProtectWarningLamp
    FaultStateActive
    KeyType
    DriverId
    Address
    Data
    DataType
    VehicleIdentificationNumber
}

/// The first bytes of each member's key as one number, and which of them count.
const WORDS: [(u128, u128); COUNT] = {
    let mut words = [(0, 0); COUNT];
    let mut at = 0;
    while at < COUNT {
        let key = NAMES[at].2.as_bytes();
        let mut byte = 0;
        while byte < key.len() && byte < KEY_WIDTH {
            words[at].0 |= (key[byte] as u128) << (8 * byte);
            words[at].1 |= 0xff << (8 * byte);
            byte += 1;
        }
        at += 1;
    }
    words
};

/// How many bytes of a key are compared at once; few are longer.
const KEY_WIDTH: usize = 16;

impl Member {
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|&(member, ..)| member)
    }

    /// The exact name, PascalCase.
    #[must_use]
    pub const fn name(self) -> &'static str {
        NAMES[self as usize].1
    }

    /// The name as it stands before a value: quoted, with a colon.
    pub(super) const fn key(self) -> &'static str {
        NAMES[self as usize].2
    }

    /// The length of the member's key if the text begins with it.
    #[inline]
    pub(super) fn begins(self, text: &[u8]) -> Option<usize> {
        let key = self.key();
        let found = match text.first_chunk::<KEY_WIDTH>() {
            Some(head) if key.len() <= KEY_WIDTH => {
                let (word, mask) = WORDS[self as usize];
                u128::from_le_bytes(*head) & mask == word
            }
            _ => text.starts_with(key.as_bytes()),
        };
        found.then_some(key.len())
    }

    /// The member as a bit of a set.
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << self as u8
    }

    /// The member with this number, if there is one.
    #[must_use]
    pub fn from_number(number: usize) -> Option<Self> {
        NAMES.get(number).map(|&(member, ..)| member)
    }

    /// Finds a member by its name, any ASCII case; for settings and mapping files.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        exact(name.as_bytes()).or_else(|| any_case(name.as_bytes()))
    }
}

/// The member of exactly this name: by length first, then a comparison or two.
#[inline]
pub(super) fn exact(name: &[u8]) -> Option<Member> {
    macro_rules! among {
        ($($member:ident)*) => {{
            $(if name == stringify!($member).as_bytes() {
                return Some(M::$member);
            })*
            None
        }};
    }
    match name.len() {
        1 => among!(X Y Z),
        4 => among!(Type Code Data),
        5 => among!(Speed Value),
        7 => among!(KeyType Address),
        8 => among!(DateTime SerialNo Latitude DeviceId DriverId DataType),
        9 => among!(Longitude MessageId),
        10 => among!(IsGpsValid),
        11 => among!(ParameterId SubsystemId RedStopLamp),
        12 => among!(IsIgnitionOn),
        13 => among!(SourceAddress),
        14 => {
            among!(IsAuxiliary1On IsAuxiliary2On IsAuxiliary3On IsAuxiliary4On IsAuxiliary5On IsAuxiliary6On IsAuxiliary7On IsAuxiliary8On)
        }
        15 => among!(OccurrenceCount MalfunctionLamp),
        16 => among!(FaultStateActive AmberWarningLamp),
        18 => among!(ProtectWarningLamp),
        21 => among!(FailureModeIdentifier),
        22 => among!(SuspectParameterNumber),
        27 => among!(VehicleIdentificationNumber),
        _ => None,
    }
}

/// The member of this name in any ASCII case.
#[cold]
pub(super) fn any_case(name: &[u8]) -> Option<Member> {
    NAMES
        .iter()
        .find(|(_, known, _)| known.as_bytes().eq_ignore_ascii_case(name))
        .map(|&(member, ..)| member)
}

/// The record type of exactly this name.
#[inline]
pub(super) fn exact_type(name: &[u8]) -> Option<RecordType> {
    macro_rules! among {
        ($($kind:ident)*) => {{
            $(if name == RecordType::$kind.name().as_bytes() {
                return Some(RecordType::$kind);
            })*
            None
        }};
    }
    match name.len() {
        9 => among!(Gps Vin),
        12 => among!(Status Binary),
        15 => among!(Bluetooth),
        16 => among!(J1939Fault J1708Fault ObdiiFault),
        18 => among!(Acceleration DriverChange GenericFault),
        19 => among!(GenericStatus),
        _ => None,
    }
}

/// The record type of this name in any ASCII case.
#[cold]
pub(super) fn any_case_type(name: &[u8]) -> Option<RecordType> {
    RecordType::ALL
        .into_iter()
        .find(|kind| kind.name().as_bytes().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_member() {
        for (number, member) in Member::all().enumerate() {
            assert_eq!(member as usize, number);
            let name = member.name();
            assert_eq!(exact(name.as_bytes()), Some(member), "{name}");
            let lower = name.to_ascii_lowercase();
            assert_eq!(exact(lower.as_bytes()), None, "{lower}");
            assert_eq!(any_case(lower.as_bytes()), Some(member), "{lower}");
        }
        for member in Member::all() {
            for other in Member::all() {
                for rest in ["", "1", "true,\"Longitude\":1.5}"] {
                    let text = format!("{}{rest}", other.key());
                    let found = (member == other).then_some(member.key().len());
                    assert_eq!(member.begins(text.as_bytes()), found, "{text}");
                    assert_eq!(member.begins(&text.as_bytes()[1..]), None, "{text}");
                    let short = &other.key().as_bytes()[..other.key().len() - 1];
                    assert_eq!(member.begins(short), None, "{text}");
                }
            }
            for at in 0..member.key().len() {
                let mut text = format!("{}true,\"Longitude\":1.5}}", member.key()).into_bytes();
                text[at] ^= 1;
                assert_eq!(member.begins(&text), None, "{}", text.escape_ascii());
            }
        }
        assert_eq!(exact(b""), None);
        assert_eq!(exact(b"Longitudf"), None);
    }

    #[test]
    fn every_type_is_found() {
        for kind in RecordType::ALL {
            assert_eq!(exact_type(kind.name().as_bytes()), Some(kind));
            let upper = kind.name().to_ascii_uppercase();
            assert_eq!(exact_type(upper.as_bytes()), None);
            assert_eq!(any_case_type(upper.as_bytes()), Some(kind));
        }
    }
}
