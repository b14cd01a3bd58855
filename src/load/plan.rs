//! What will be produced, as pure arithmetic: message number -> device, times, types and fates.
//!
//! Nothing is kept per device or per record, so a plan of any size costs the same memory, and the manifest is written by
//! asking the plan again.
//!
//! * L1: the same plan gives the same messages, byte for byte.
//! * L2: no two records of a serial have the same time and type; without `late` the times of a serial strictly increase.
//! * L3: the lowest three digits of every time (in microseconds) are those of `start_us`, so plans of different runs never
//!   share an identity.

use super::binary::Encoding;
use super::mix::Mix;
use super::text::spread;
use crate::record::RecordType;

/// The form of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// One record in DIG's shape per message.
    Native,
    /// An array of records of one device per message.
    NativeArray,
    /// flespi: flat keys with dots in them, speed in km/h, times as epoch seconds.
    Flespi,
    /// Traccar's forwarded positions: nested objects, speed in knots.
    Traccar,
    /// One flat object with plain names.
    Generic,
}

impl Shape {
    #[must_use]
    pub const fn is_vendor(self) -> bool {
        matches!(self, Self::Flespi | Self::Traccar | Self::Generic)
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::NativeArray => "native-array",
            Self::Flespi => "flespi",
            Self::Traccar => "traccar",
            Self::Generic => "generic",
        }
    }
}

/// What names the device in a record, and is the Kafka key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    Serial,
    DeviceId,
}

/// Ways to spoil a record so that it must never reach the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    NoTime,
    TimeWithoutZone,
    TimeIsText,
    EmptySubject,
    UnknownType,
    NoType,
    TimeTwice,
    WrongValue,
    /// The message ends in the middle; only for messages of one record.
    Truncated,
}

/// The rejected share is spread evenly over these.
const FLAWS: [Flaw; 9] = [
    Flaw::NoTime,
    Flaw::TimeWithoutZone,
    Flaw::TimeIsText,
    Flaw::EmptySubject,
    Flaw::UnknownType,
    Flaw::NoType,
    Flaw::TimeTwice,
    Flaw::WrongValue,
    Flaw::Truncated,
];

/// A vendor message has no `Type`, and its members are only looked up by mapping.
const VENDOR_FLAWS: [Flaw; 4] = [
    Flaw::NoTime,
    Flaw::TimeIsText,
    Flaw::WrongValue,
    Flaw::Truncated,
];

/// What a record is expected to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Accepted,
    /// Validation rejects it.
    Rejected(Flaw),
    /// Valid here, refused by a simulator told to refuse the plan's marker.
    Refused,
}

/// Everything that decides what is produced.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub seed: u64,
    /// At least 1.
    pub devices: u32,
    pub mix: Mix,
    pub shape: Shape,
    pub by: By,
    /// Time of the first record, microseconds since the epoch.
    pub start_us: i64,
    /// Between two records of a device; a multiple of 1000, at least 1000.
    pub step_us: i64,
    /// Records per message of `Shape::NativeArray`, at least 1.
    pub array: u32,
    /// Consecutive messages per device, as a unit sends that was out of coverage; at least 1.
    pub backlog: u32,
    pub bad_share: f64,
    pub poison_share: f64,
    /// Share of pairs of records whose times are swapped.
    pub late_share: f64,
    /// The vehicle identification number of every refused record; at most 17 characters.
    pub poison_marker: String,
    /// Other than JSON only with [`Shape::Generic`].
    pub encoding: Encoding,
}

/// A device of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    pub index: u32,
    /// Random bits of its own.
    pub key: u64,
    pub serial: [u8; 12],
    /// An IMEI: 15 digits with their check digit.
    pub id: [u8; 15],
}

impl Device {
    /// Both are ASCII by construction.
    #[must_use]
    pub fn serial(&self) -> &str {
        std::str::from_utf8(&self.serial).unwrap_or_default()
    }

    #[must_use]
    pub fn id(&self) -> &str {
        std::str::from_utf8(&self.id).unwrap_or_default()
    }
}

/// One record to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// How many records of the device came before; decides its values.
    pub tick: u64,
    pub time_us: i64,
    pub kind: RecordType,
    pub fate: Fate,
    /// Random bits for its values.
    pub bits: u64,
}

impl Plan {
    /// Which device sends message `index`, and how many messages it sent before.
    #[inline]
    #[must_use]
    pub fn sender(&self, index: u64) -> (u32, u64) {
        let (devices, backlog) = (u64::from(self.devices), u64::from(self.backlog));
        let turn = index / backlog;
        (
            (turn % devices) as u32,
            turn / devices * backlog + index % backlog,
        )
    }

    /// The number of the `nth` message of a device: the inverse of [`Plan::sender`].
    #[must_use]
    pub fn index_of(&self, device: u32, nth: u64) -> u64 {
        let backlog = u64::from(self.backlog);
        (nth / backlog * u64::from(self.devices) + u64::from(device)) * backlog + nth % backlog
    }

    /// Records in a full message, counted in ticks; a vendor message is one tick.
    #[must_use]
    pub fn ticks_per_message(&self) -> u64 {
        if self.shape == Shape::NativeArray {
            u64::from(self.array)
        } else {
            1
        }
    }

    #[inline]
    #[must_use]
    pub fn device(&self, index: u32) -> Device {
        let own = spread(self.seed ^ 0x6465_7669_6365);
        // One to one on 40 bits: distinct devices get distinct serials.
        let mask = (1_u64 << 40) - 1;
        let mut bits = (u64::from(index)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(own))
            & mask;
        bits ^= bits >> 20;
        bits = bits.wrapping_mul(0xbf58_476d_1ce4_e5b9) & mask;
        bits ^= bits >> 20;
        let mut serial = *b"CX0000000000";
        for (at, digit) in serial[2..].iter_mut().rev().enumerate() {
            *digit = b"0123456789ABCDEF"[(bits >> (4 * at) & 15) as usize];
        }
        // One to one on twelve digits, as the factor has no divisor in common with ten.
        let mut body =
            (u64::from(index) * 611_953_127 + own % 1_000_000_000_000) % 1_000_000_000_000;
        let mut id = *b"860000000000000";
        for digit in id[2..14].iter_mut().rev() {
            *digit = b'0' + (body % 10) as u8;
            body /= 10;
        }
        id[14] = check_digit(&id[..14]);
        Device {
            index,
            key: spread(own ^ u64::from(index) << 20),
            serial,
            id,
        }
    }

    /// The record of a tick; for a vendor shape, what the message is about.
    #[inline]
    #[must_use]
    pub fn draw(&self, device: &Device, tick: u64) -> Draw {
        let bits = spread(
            device
                .key
                .wrapping_add(tick.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        );
        let mut kind = self.mix.draw(bits as u32);
        let chance = (bits >> 32) as u32;
        let fate = if self.bad_share == 0.0 && self.poison_share == 0.0 {
            Fate::Accepted
        } else {
            self.fate(chance, bits)
        };
        if fate == Fate::Refused {
            kind = RecordType::Vin;
        }
        let swapped = self.late_share > 0.0 && self.is_swapped(device, tick / 2);
        let time_tick = if swapped { tick ^ 1 } else { tick };
        Draw {
            tick,
            time_us: self.time_of(device, time_tick),
            kind,
            fate,
            bits: spread(bits),
        }
    }

    /// Time of the `tick`th record of a device when nothing is late.
    #[must_use]
    pub fn time_of(&self, device: &Device, tick: u64) -> i64 {
        self.first_time(device) + tick as i64 * self.step_us
    }

    /// Devices do not report in the same instant: each is shifted by whole milliseconds within one step.
    #[must_use]
    pub fn first_time(&self, device: &Device) -> i64 {
        self.start_us + (spread(device.key) % (self.step_us as u64 / 1000)) as i64 * 1000
    }

    /// Whether records `2 * pair` and `2 * pair + 1` of a device have each other's time.
    #[must_use]
    pub fn is_swapped(&self, device: &Device, pair: u64) -> bool {
        let bits = spread(device.key ^ 0x6c61_7465 ^ pair.wrapping_mul(0xd6e8_feb8_6659_fd93));
        ((bits >> 32) as f64) < self.late_share * 4_294_967_296.0
    }

    /// Types of the records a message of this draw becomes, in the order they are in.
    #[must_use]
    pub fn kinds(&self, draw: &Draw) -> &'static [RecordType] {
        if self.shape.is_vendor() {
            super::vendor::kinds(self.shape, draw)
        } else {
            const EACH: [[RecordType; 1]; 12] = {
                let mut each = [[RecordType::Gps]; 12];
                let mut at = 0;
                while at < 12 {
                    each[at] = [RecordType::ALL[at]];
                    at += 1;
                }
                each
            };
            &EACH[draw.kind as usize]
        }
    }

    /// What the record of a type in a message of this draw is expected to come to.
    #[must_use]
    pub fn fate_of(&self, draw: &Draw, kind: RecordType) -> Fate {
        if draw.fate == Fate::Refused && kind != RecordType::Vin {
            return Fate::Accepted;
        }
        draw.fate
    }

    fn fate(&self, chance: u32, bits: u64) -> Fate {
        let place = f64::from(chance) / 4_294_967_296.0;
        if place < self.bad_share {
            let flaws: &[Flaw] = match self.shape {
                // A message that ends early would spoil its good records too.
                Shape::NativeArray => &FLAWS[..FLAWS.len() - 1],
                Shape::Native => &FLAWS,
                _ => &VENDOR_FLAWS,
            };
            Fate::Rejected(flaws[(spread(bits ^ 0xbad) % flaws.len() as u64) as usize])
        } else if place < self.bad_share + self.poison_share {
            Fate::Refused
        } else {
            Fate::Accepted
        }
    }
}

/// The Luhn digit of an IMEI's first fourteen.
fn check_digit(digits: &[u8]) -> u8 {
    let sum: u32 = digits
        .iter()
        .enumerate()
        .map(|(at, digit)| {
            let value = u32::from(digit - b'0') << (at % 2);
            value / 10 + value % 10
        })
        .sum();
    b'0' + ((10 - sum % 10) % 10) as u8
}

#[cfg(test)]
pub(crate) fn sample() -> Plan {
    Plan {
        seed: 7,
        devices: 5,
        mix: Mix::default(),
        shape: Shape::Native,
        by: By::Serial,
        start_us: 1_763_899_200_000_123,
        step_us: 1_000_000,
        array: 4,
        backlog: 1,
        bad_share: 0.0,
        poison_share: 0.0,
        late_share: 0.0,
        poison_marker: "REFUSE00000000000".to_owned(),
        encoding: Encoding::Json,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn serials_and_device_ids_are_distinct_and_well_formed() {
        let plan = sample();
        let devices: Vec<Device> = (0..200_000).map(|index| plan.device(index)).collect();
        let serials: HashSet<&str> = devices.iter().map(Device::serial).collect();
        let ids: HashSet<&str> = devices.iter().map(Device::id).collect();
        assert_eq!((serials.len(), ids.len()), (devices.len(), devices.len()));
        assert!(
            serials
                .iter()
                .all(|serial| serial.len() == 12 && serial.starts_with("CX"))
        );
        let other = Plan {
            seed: 8,
            ..sample()
        }
        .device(0);
        assert_ne!(other.serial, devices[0].serial);
    }

    #[test]
    fn the_check_digit_is_that_of_a_known_imei() {
        assert_eq!(check_digit(b"49015420323751"), b'8');
    }

    proptest! {
        #[test]
        fn sender_and_index_are_inverse(devices in 1_u32..50, backlog in 1_u32..20, index in 0_u64..100_000) {
            let plan = Plan { devices, backlog, ..sample() };
            let (device, nth) = plan.sender(index);
            prop_assert!(device < devices);
            prop_assert_eq!(plan.index_of(device, nth), index);
        }

        #[test]
        fn times_of_a_device_are_unique_and_keep_their_low_digits(late in 0.0..1.0_f64, seed: u64) {
            let plan = Plan { late_share: late, seed, ..sample() };
            let device = plan.device(3);
            let times: Vec<i64> = (0..200).map(|tick| plan.draw(&device, tick).time_us).collect();
            let distinct: HashSet<i64> = times.iter().copied().collect();
            prop_assert_eq!(distinct.len(), times.len());
            prop_assert!(times.iter().all(|time| time % 1000 == 123));
        }
    }

    #[test]
    fn without_late_records_times_increase_and_with_them_some_do_not() {
        let device = sample().device(1);
        let times = |plan: &Plan| {
            (0..1000)
                .map(|tick| plan.draw(&device, tick).time_us)
                .collect::<Vec<_>>()
        };
        assert!(times(&sample()).is_sorted());
        assert!(
            !times(&Plan {
                late_share: 0.1,
                ..sample()
            })
            .is_sorted()
        );
    }

    #[test]
    fn shares_of_bad_and_refused_records_are_kept() {
        let plan = Plan {
            bad_share: 0.1,
            poison_share: 0.05,
            ..sample()
        };
        let device = plan.device(0);
        let draws: Vec<Draw> = (0..20_000).map(|tick| plan.draw(&device, tick)).collect();
        let bad = draws
            .iter()
            .filter(|draw| matches!(draw.fate, Fate::Rejected(_)))
            .count();
        let refused = draws
            .iter()
            .filter(|draw| draw.fate == Fate::Refused)
            .count();
        assert!(
            bad.abs_diff(2_000) < 200 && refused.abs_diff(1_000) < 150,
            "{bad} bad, {refused} refused"
        );
        for flaw in FLAWS {
            assert!(
                draws.iter().any(|draw| draw.fate == Fate::Rejected(flaw)),
                "no {flaw:?}"
            );
        }
    }
}
