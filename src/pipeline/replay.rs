//! Replayed messages: letters that were written to their input topic again, told by their headers.
//!
//! Owns the header names, their two forms, and the counts of the open replayed messages of a partition ([`Replays`]). A replayed
//! message takes the ordinary path: mapping, rules, gate and queues judge it as any other, so S1 and S2 hold between it and live
//! records.
//!
//! * A letter of a replayed message says how often it was replayed, so that a record that is refused again and again is found.
//! * The headers may be written by any program: a count is bounded, and the shape only chooses the decoder; every rule still applies.
//!
//! Pure. It writes nothing: module `letters` does.

use std::collections::BTreeMap;

/// Header names of a replayed message, stable.
pub mod header {
    use std::ffi::CStr;

    /// How often the letter was replayed, this time included.
    pub const REPLAYS: &str = text(REPLAYS_C);
    /// The letter: `topic/partition/offset`.
    pub const REPLAY_OF: &str = "replay-of";
    /// The shape of the value where it is not that of the topic: [`NATIVE`](super::NATIVE).
    pub const REPLAY_SHAPE: &str = text(REPLAY_SHAPE_C);

    /// As the client library takes the names, without an allocation for each message.
    pub const REPLAYS_C: &CStr = c"replays";
    pub const REPLAY_SHAPE_C: &CStr = c"replay-shape";

    const fn text(name: &CStr) -> &str {
        match name.to_str() {
            Ok(text) => text,
            Err(_) => panic!("names of headers are ASCII"),
        }
    }
}

/// The shape of a record that was mapped before it became a letter, or by a patch.
pub const NATIVE: &str = "native";
/// Most replays that are counted; a forged count is cut to it.
const MOST: u32 = 1_000_000;

/// What the headers of a replayed message say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    pub replays: u32,
    /// Whether the value is in the gateway's shape, whatever the mapping of the topic.
    pub native: bool,
}

impl Replay {
    /// `replays` and `shape`: the values of the headers. `None` without a readable count.
    #[must_use]
    pub fn of(replays: Option<&[u8]>, shape: Option<&[u8]>) -> Option<Self> {
        let replays = std::str::from_utf8(replays?).ok()?.parse::<u32>().ok()?;
        Some(Self {
            replays: replays.clamp(1, MOST),
            native: shape == Some(NATIVE.as_bytes()),
        })
    }
}

/// Replay counts of a partition's open messages, by offset.
#[derive(Debug, Default)]
pub struct Replays {
    /// One entry for each replayed message that is not settled; none for ordinary messages.
    open: BTreeMap<i64, u32>,
}

impl Replays {
    /// Notes a replayed message; forgets those below the watermark.
    pub fn note(&mut self, offset: i64, replays: u32, watermark: Option<i64>) {
        if let Some(watermark) = watermark {
            self.open = self.open.split_off(&watermark);
        }
        self.open.insert(offset, replays);
    }

    /// How often the message at this offset was replayed.
    #[must_use]
    pub fn of(&self, offset: i64) -> u32 {
        self.open.get(&offset).copied().unwrap_or_default()
    }

    /// Forgets everything: the offsets are those of another life of the log (E1).
    pub fn clear(&mut self) {
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_any_program_are_bounded() {
        let of = |count: &[u8], shape: Option<&[u8]>| Replay::of(Some(count), shape);
        assert_eq!(of(b"2", None).map(|replay| replay.replays), Some(2));
        assert_eq!(of(b"2", Some(b"native")).map(|r| r.native), Some(true));
        assert_eq!(of(b"2", Some(b"other")).map(|r| r.native), Some(false));
        for count in [&b"many"[..], b"-1", b"", b"\xff", b"99999999999999"] {
            assert_eq!(of(count, None), None, "{count:?}");
        }
        assert_eq!(of(b"0", None).map(|replay| replay.replays), Some(1));
        assert_eq!(of(b"4000000000", None).map(|r| r.replays), Some(MOST));
        assert_eq!(Replay::of(None, Some(b"native")), None);
    }

    #[test]
    fn counts_are_kept_while_their_messages_are_open() {
        let mut replays = Replays::default();
        replays.note(5, 1, Some(0));
        replays.note(9, 2, Some(6));
        assert_eq!((replays.of(5), replays.of(9), replays.of(7)), (0, 2, 0));
    }
}
