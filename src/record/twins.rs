//! Records of one message that the gateway cannot tell apart: same serial, type, instant and sub-key, other content.
//!
//! The gateway keeps one of them (dig/API.md U8), so the others are counted as [`RuleNo::RecordTwin`]. Records of one message only, of
//! all its elements: across messages nothing is remembered. Owns the keys of the message in hand; allocates only to grow.

use simd_json::Node;

use super::members::Member;
use super::rules::RuleNo;
use super::view::View;
use super::{Decoded, Outcome, RecordType, serial_hash};

/// Entries whose buffers are kept for the next message.
const KEPT: usize = 16 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Twins {
    /// Key of each record that was accepted, and its place among the outcomes.
    entries: Vec<(u64, u32)>,
    /// Places in `entries`, plus one, by key; as many as a power of two.
    table: Vec<u32>,
}

impl Twins {
    #[inline]
    pub fn begin(&mut self) {
        self.entries.clear();
    }

    /// Adds an accepted record.
    #[inline]
    pub fn add(
        &mut self,
        (serial, kind): (u64, RecordType),
        ticks: i64,
        view: View<'_, '_>,
        outcome: usize,
    ) {
        let key = mix(serial ^ mix(ticks as u64) ^ (kind as u64) << 56);
        self.entries
            .push((mix(key ^ sub_key(kind, view)), outcome as u32));
    }

    /// Counts the records that have a twin before them.
    #[inline]
    pub fn end(&mut self, out: &mut Decoded) {
        if self.entries.len() > 1 {
            self.compare(out);
        }
    }

    fn compare(&mut self, out: &mut Decoded) {
        let size = (self.entries.len() * 2).next_power_of_two();
        self.table.clear();
        self.table.resize(size, 0);
        for (number, &(key, outcome)) in self.entries.iter().enumerate() {
            let mut at = key as usize & (size - 1);
            loop {
                match self.table[at] {
                    0 => {
                        self.table[at] = number as u32 + 1;
                        break;
                    }
                    known if self.entries[known as usize - 1].0 == key => {
                        let first = self.entries[known as usize - 1].1;
                        if bytes(out, first) != bytes(out, outcome) {
                            out.note(RuleNo::RecordTwin.id());
                        }
                        break;
                    }
                    _ => at = (at + 1) & (size - 1),
                }
            }
        }
        if self.entries.capacity() > KEPT {
            *self = Self::default();
        }
    }
}

fn bytes(out: &Decoded, outcome: u32) -> &[u8] {
    match out.outcomes.get(outcome as usize) {
        Some(Outcome::Valid(record)) => record.bytes(&out.bytes),
        _ => b"",
    }
}

/// What tells records of one type and instant apart.
#[inline]
fn sub_key(kind: RecordType, view: View<'_, '_>) -> u64 {
    use Member::{
        Address, Code, DataType, FailureModeIdentifier, MessageId, ParameterId, SourceAddress,
        SubsystemId, SuspectParameterNumber,
    };
    let members: &[Member] = match kind {
        RecordType::Status
        | RecordType::GenericStatus
        | RecordType::GenericFault
        | RecordType::ObdiiFault => &[Code],
        RecordType::J1708Fault => &[MessageId, ParameterId, SubsystemId, FailureModeIdentifier],
        RecordType::J1939Fault => &[SuspectParameterNumber, FailureModeIdentifier, SourceAddress],
        RecordType::Bluetooth => &[Address, DataType],
        RecordType::Acceleration
        | RecordType::Binary
        | RecordType::DriverChange
        | RecordType::Gps
        | RecordType::Vin => return 0,
    };
    members.iter().fold(0, |key, &member| {
        let value = match view.node(member) {
            Some(Node::String(text)) => serial_hash(text.as_bytes()),
            Some(_) => view.number(member).map_or(1, f64::to_bits),
            None => 0,
        };
        mix(key ^ value).wrapping_add(1)
    })
}

#[inline]
fn mix(value: u64) -> u64 {
    let mixed = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ mixed >> 32
}
