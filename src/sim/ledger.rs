//! What the world accepted, in arrival order: what loss, order and repetition are judged by.
//!
//! Owns the identities seen (serial, type, instant as given: first write wins), a digest per serial, and with
//! [`Keep::Full`] every record's bytes. Pure: the time is an argument.
//!
//! A record that was silently dropped or turned out invalid is listed too, and marked: it did reach the gateway.

use std::collections::{HashMap, HashSet};

use super::instants;
use super::kinds::{self, KINDS};
use super::scan::{self, Fate, Scanned};
use super::settings::Keep;

type Hasher = foldhash::fast::FixedState;

/// What became of an accepted record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    New,
    Duplicate,
    Dropped,
    Invalid(&'static str),
}

/// One accepted record, as tests read it.
#[derive(Debug, Clone)]
pub struct LedgerLine {
    /// From 1, without gaps, in arrival order.
    pub seq: u64,
    /// The request it came in, numbered by arrival.
    pub request: u64,
    /// Microseconds since the epoch.
    pub at_us: i64,
    pub standing: Standing,
    /// It started the billing of its device; of a terminated device, it resumed it.
    pub bills: bool,
    /// The record's JSON, member names in their own case.
    pub record: String,
}

impl LedgerLine {
    /// A member's text; of a number or flag, its JSON.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<String> {
        let value: serde_json::Value = serde_json::from_str(&self.record).ok()?;
        value.get(name).map(|value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        })
    }

    /// The line of `GET /control/ledger`.
    #[must_use]
    pub fn json(&self) -> String {
        let mut out = Vec::new();
        let mark = self.standing;
        write_line(
            &mut out,
            self.seq,
            self.request,
            self.at_us,
            (mark, self.bills),
            self.record.as_bytes(),
        );
        String::from_utf8(out).unwrap_or_default()
    }
}

/// What the ledger knows of one serial. Counts and chain are of first arrivals only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    pub serial: String,
    pub count: u64,
    pub duplicates: u64,
    /// First arrivals that were older than one before them.
    pub inversions: u64,
    /// FNV-1a, 64 bits, over `Type NUL DateTime LF` of every first arrival in order.
    pub chain: u64,
    /// Instant of the first first-arrival, ticks of 100 ns since the epoch.
    pub first: i64,
    /// The latest instant.
    pub last: i64,
}

impl Digest {
    /// The line of `GET /control/digest`.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::json!({
            "SerialNo": self.serial,
            "Count": self.count,
            "Duplicates": self.duplicates,
            "Inversions": self.inversions,
            "Chain": format!("{:016x}", self.chain),
            "First": instants::text(self.first / 10),
            "Last": instants::text(self.last / 10),
        })
        .to_string()
    }
}

/// What one request added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub new: u64,
    pub duplicates: u64,
    pub dropped: u64,
    pub invalid: u64,
    pub inversions: u64,
    pub serials: u64,
}

struct Entry {
    request: u64,
    at_us: i64,
    segment: u32,
    start: u32,
    len: u32,
    standing: Standing,
    bills: bool,
}

pub const CHAIN_START: u64 = 0xcbf2_9ce4_8422_2325;

/// Continues a chain by one record.
#[must_use]
pub fn chain(so_far: u64, kind: &str, date_time: &[u8]) -> u64 {
    let bytes = kind
        .as_bytes()
        .iter()
        .chain(b"\0")
        .chain(date_time)
        .chain(b"\n");
    bytes.fold(so_far, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn hash(parts: [&[u8]; 2], salt: u8) -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let mut hasher = Hasher::with_seed(0x1ed6e7).build_hasher();
    hasher.write_u8(salt);
    for part in parts {
        hasher.write(part);
    }
    hasher.finish()
}

/// The key serials are told apart by within this process.
#[must_use]
pub fn serial_key(serial: &[u8]) -> u64 {
    hash([serial, b""], 255)
}

/// Bytes of records are kept in pieces of this size, so that growing never copies them.
const SEGMENT: usize = 1 << 20;

/// The accepted records.
pub struct Ledger {
    keep: Keep,
    entries: Vec<Entry>,
    segments: Vec<Vec<u8>>,
    seen: HashSet<u64, Hasher>,
    serials: HashMap<u64, Digest, Hasher>,
}

impl Ledger {
    #[must_use]
    pub fn new(keep: Keep) -> Self {
        Self {
            keep,
            entries: Vec::new(),
            segments: Vec::new(),
            seen: HashSet::default(),
            serials: HashMap::default(),
        }
    }

    pub fn clear(&mut self) {
        *self = Self::new(self.keep);
    }

    /// Adds one request's records; `reject` is called for each first arrival that is invalid, with its canonical bytes.
    pub fn add(
        &mut self,
        request: u64,
        at_us: i64,
        body: &[u8],
        records: &[Scanned],
        mut reject: impl FnMut(&'static str, Vec<u8>),
    ) -> Tally {
        let mut tally = Tally::default();
        for record in records {
            let repeated = self.keep != Keep::None && self.note(body, record, &mut tally);
            let standing = match record.fate {
                _ if repeated => Standing::Duplicate,
                Fate::Valid => Standing::New,
                Fate::Dropped => Standing::Dropped,
                Fate::Invalid(cause) => Standing::Invalid(cause),
            };
            match standing {
                Standing::New => tally.new += 1,
                Standing::Duplicate => tally.duplicates += 1,
                Standing::Dropped => tally.dropped += 1,
                Standing::Invalid(cause) => {
                    tally.invalid += 1;
                    let mut bytes = Vec::new();
                    canonical(body, record, &mut bytes);
                    reject(cause, bytes);
                }
            }
            if self.keep == Keep::Full {
                self.store(request, at_us, body, record, standing);
            }
        }
        tally
    }

    /// Notes an arrival in the digest; true when its identity was there already.
    fn note(&mut self, body: &[u8], record: &Scanned, tally: &mut Tally) -> bool {
        let (serial, date_time) = (record.serial.of(body), record.date_time.of(body));
        let fresh = self.seen.insert(hash([serial, date_time], record.kind));
        let digest = self.serials.entry(serial_key(serial)).or_insert_with(|| {
            tally.serials += 1;
            Digest {
                serial: String::from_utf8_lossy(serial).into_owned(),
                count: 0,
                duplicates: 0,
                inversions: 0,
                chain: CHAIN_START,
                first: record.ticks,
                last: record.ticks,
            }
        });
        if !fresh {
            digest.duplicates += 1;
            return true;
        }
        digest.count += 1;
        digest.chain = chain(digest.chain, KINDS[record.kind as usize].name, date_time);
        if record.ticks < digest.last {
            digest.inversions += 1;
            tally.inversions += 1;
        }
        digest.last = digest.last.max(record.ticks);
        false
    }

    fn store(
        &mut self,
        request: u64,
        at_us: i64,
        body: &[u8],
        record: &Scanned,
        standing: Standing,
    ) {
        let room = record.whole.of(body).len() + 8;
        if self
            .segments
            .last()
            .is_none_or(|segment| segment.len() + room > segment.capacity())
        {
            self.segments.push(Vec::with_capacity(SEGMENT.max(room)));
        }
        let Some(segment) = self.segments.last_mut() else {
            return;
        };
        let start = segment.len();
        canonical(body, record, segment);
        let (start, len) = (start as u32, (segment.len() - start) as u32);
        self.entries.push(Entry {
            request,
            at_us,
            segment: self.segments.len() as u32 - 1,
            start,
            len,
            standing,
            bills: record.bills,
        });
    }

    /// How many records are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn record(&self, entry: &Entry) -> &[u8] {
        &self.segments[entry.segment as usize]
            [entry.start as usize..(entry.start + entry.len) as usize]
    }

    /// Lines from index `from`, at most `most`, as NDJSON.
    pub fn write(&self, from: usize, most: usize, out: &mut Vec<u8>) {
        for (at, entry) in self.entries.iter().enumerate().skip(from).take(most) {
            write_line(
                out,
                at as u64 + 1,
                entry.request,
                entry.at_us,
                (entry.standing, entry.bills),
                self.record(entry),
            );
            out.push(b'\n');
        }
    }

    #[must_use]
    pub fn lines(&self) -> Vec<LedgerLine> {
        let line = |(at, entry): (usize, &Entry)| LedgerLine {
            seq: at as u64 + 1,
            request: entry.request,
            at_us: entry.at_us,
            standing: entry.standing,
            bills: entry.bills,
            record: String::from_utf8_lossy(self.record(entry)).into_owned(),
        };
        self.entries.iter().enumerate().map(line).collect()
    }

    /// What is known of one serial, as it was sent.
    #[must_use]
    pub fn digest(&self, serial: &str) -> Option<&Digest> {
        self.serials.get(&serial_key(serial.as_bytes()))
    }

    /// The digests, ordered by serial.
    #[must_use]
    pub fn digests(&self) -> Vec<Digest> {
        let mut all: Vec<_> = self.serials.values().cloned().collect();
        all.sort_by(|a, b| a.serial.cmp(&b.serial));
        all
    }
}

fn write_line(
    out: &mut Vec<u8>,
    seq: u64,
    request: u64,
    at_us: i64,
    (standing, bills): (Standing, bool),
    record: &[u8],
) {
    let at = instants::text(at_us);
    let mut mark = match standing {
        Standing::New => String::new(),
        Standing::Duplicate => r#""Duplicate":true,"#.to_owned(),
        Standing::Dropped => r#""Dropped":true,"#.to_owned(),
        Standing::Invalid(cause) => format!(r#""Invalid":"{cause}","#),
    };
    if bills {
        // A terminated device's record is never a good one.
        let good = matches!(standing, Standing::New | Standing::Duplicate);
        mark.push_str(if good {
            r#""Billing":"started","#
        } else {
            r#""Billing":"resumed","#
        });
    }
    out.extend(
        format!(r#"{{"Seq":{seq},"Request":{request},"At":"{at}",{mark}"Record":"#).as_bytes(),
    );
    out.extend_from_slice(record);
    out.push(b'}');
}

/// A record as received, member names in their own case, on one line.
pub fn canonical(body: &[u8], record: &Scanned, out: &mut Vec<u8>) {
    let bytes = record.whole.of(body);
    if record.canonical {
        out.extend_from_slice(bytes);
        return;
    }
    out.push(b'{');
    let mut first = true;
    scan::members(bytes, |name, value| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        let name = kinds::find(name).map_or(name, |(at, _)| kinds::NAMES[at as usize].as_bytes());
        out.push(b'"');
        out.extend_from_slice(name);
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value);
    });
    out.push(b'}');
}

#[cfg(test)]
mod tests;
