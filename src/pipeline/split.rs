//! Splitting a request: which part is sent next, until every record has its verdict. Pure.
//!
//! Owns one [`Request`] and a position in it: every record before the position is settled, none from it on is. Parts always
//! begin at the position, so records are sent from left to right and no part overtakes another (S1).
//!
//! * 400: the shortest part known to be refused is halved, along batch boundaries while it spans several batches, until
//!   the first refused record is alone; only then is it refused, with the server's own text for it. The rest goes
//!   as one part again. k refused records among n cost at most about k (log2 n + 3) requests more than none.
//! * Refused records that lie close together are taken for a bad stretch: parts stay short until one is accepted.
//! * 413: at most half as many bytes from now on, cut along batch boundaries where that is possible; a record that is
//!   too large alone is refused.
//!
//! Does not send, wait or know any status but these.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::request::{Failed, Refused, Request, Verdicts};

/// The gateway's hard limit of records in one request (OpenAPI, `POST /records`, `maxItems`).
pub const MAX_RECORDS: u32 = 5_000;
/// Longest server text kept with a refused record.
const TEXT_CHARS: usize = 500;
/// Distances between the last refused records that count as close.
const NEAR: u32 = 16;

/// See the module's documentation.
#[derive(Debug)]
pub struct Split {
    /// The request.
    request: Request,
    /// First record without a verdict.
    at: u32,
    /// End of the shortest stretch from `at` known to hold a refused record.
    suspect: Option<u32>,
    /// Most bytes of a body, learnt from a 413.
    max_bytes: usize,
    /// Distances of the last refused records from their predecessors.
    gaps: [u32; 4],
    /// End of the last refused record.
    last_refused: u32,
    /// Records refused so far, ascending.
    refused: Vec<Refused>,
    /// Parts that were sent and reach beyond the position, with how often.
    sent: Vec<(Range<u32>, u32)>,
}

impl Split {
    /// A request with no records is settled at once.
    #[must_use]
    pub fn new(request: Request) -> Self {
        debug_assert!(request.records.is_empty() || request.batches.first() == Some(&0));
        Self {
            request,
            at: 0,
            suspect: None,
            max_bytes: usize::MAX,
            gaps: [u32::MAX; 4],
            last_refused: 0,
            refused: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Notes that a part is about to be sent, for the first time or again.
    pub fn note_sent(&mut self, part: &Range<u32>) {
        match self.sent.last_mut() {
            Some((last, times)) if last == part => *times = times.saturating_add(1),
            _ => self.sent.push((part.clone(), 1)),
        }
    }

    fn attempts(&self, record: u32) -> u32 {
        let carried = self.sent.iter().filter(|(part, _)| part.contains(&record));
        carried.fold(0, |all, (_, times)| all.saturating_add(*times))
    }

    /// The next part: at most `max_records` records and, unless it is one record, at most `max_bytes` of body.
    /// `None` when every record has its verdict.
    #[must_use]
    pub fn next(&self, max_records: u32, max_bytes: usize) -> Option<Range<u32>> {
        let count = self.count();
        if self.at >= count {
            return None;
        }
        let mut end = match self.suspect {
            // The refused record is known: it is sent alone to get the server's text for it.
            Some(suspect) if suspect - self.at > 1 => self.middle(self.at..suspect),
            Some(suspect) => suspect,
            None => {
                let near = self.gaps.iter().copied().max().unwrap_or(u32::MAX);
                if near <= NEAR {
                    count.min(self.at.saturating_add(near.max(1)))
                } else {
                    count
                }
            }
        };
        end = end.min(self.at.saturating_add(max_records.clamp(1, MAX_RECORDS)));
        let max_bytes = self.max_bytes.min(max_bytes);
        if self.bytes(&(self.at..end)) > max_bytes {
            end = self.fitting(end, max_bytes);
        }
        Some(self.at..end)
    }

    /// The body of a part: the request's own bytes when it is whole, else a copy.
    #[must_use]
    pub fn body(&self, part: &Range<u32>) -> Bytes {
        if part.start == 0 && part.end == self.count() {
            return self.request.body.clone();
        }
        let mut body = BytesMut::with_capacity(self.bytes(part));
        body.put_u8(b'[');
        // The commas between the records lie in the slice.
        body.put_slice(&self.request.body[self.start(part.start)..self.end(part.end - 1)]);
        body.put_u8(b']');
        body.freeze()
    }

    /// Notes that a part was accepted.
    pub fn accepted(&mut self, part: &Range<u32>) {
        debug_assert_eq!(part.start, self.at);
        self.at = part.end;
        self.sent.retain(|(sent, _)| sent.end > part.end);
        self.suspect = self.suspect.filter(|suspect| *suspect > part.end);
        if part.end - self.last_refused > NEAR || self.suspect.is_none() {
            self.gaps = [u32::MAX; 4];
        }
    }

    /// Notes that a part was refused with 400.
    pub fn bad(&mut self, part: &Range<u32>, text: &str) {
        debug_assert_eq!(part.start, self.at);
        if part.len() > 1 {
            self.suspect = Some(part.end);
            return;
        }
        self.gaps.rotate_left(1);
        self.gaps[3] = part.end - self.last_refused;
        self.last_refused = part.end;
        self.refuse(part, 400, text);
    }

    /// Notes that a part was refused with 413. Gives the largest body to try from now on, unless the part was one record.
    pub fn too_large(&mut self, part: &Range<u32>, text: &str) -> Option<usize> {
        debug_assert_eq!(part.start, self.at);
        if part.len() == 1 {
            self.refuse(part, 413, text);
            return None;
        }
        self.max_bytes = self.max_bytes.min(self.bytes(part) / 2).max(1);
        Some(self.max_bytes)
    }

    fn refuse(&mut self, part: &Range<u32>, status: u16, text: &str) {
        let text = text.chars().take(TEXT_CHARS).collect();
        self.refused.push(Refused {
            record: part.start,
            status,
            text,
            attempts: self.attempts(part.start),
        });
        self.at = part.end;
        let at = self.at;
        self.sent.retain(|(sent, _)| sent.end > at);
        // Whether the rest of the stretch holds another is not known.
        self.suspect = None;
    }

    /// The verdicts, once [`Split::next`] gives `None`.
    #[must_use]
    pub fn finish(self) -> Verdicts {
        debug_assert_eq!(self.at, self.count());
        Verdicts {
            refused: self.refused,
            failed: None,
        }
    }

    /// The verdicts so far, and the part from `failed.from` on that got none.
    #[must_use]
    pub fn give_back(self, failed: Failed) -> Verdicts {
        debug_assert_eq!(self.at, failed.from);
        Verdicts {
            refused: self.refused,
            failed: Some(failed),
        }
    }

    #[must_use]
    pub fn count(&self) -> u32 {
        self.request.records.len() as u32
    }

    fn start(&self, record: u32) -> usize {
        self.request.records[record as usize].start as usize
    }

    fn end(&self, record: u32) -> usize {
        self.request.records[record as usize].end as usize
    }

    /// Bytes of a part's body.
    fn bytes(&self, part: &Range<u32>) -> usize {
        self.end(part.end - 1) - self.start(part.start) + 2
    }

    /// Where to halve: the batch boundary nearest to the middle, or the middle when there is none inside.
    fn middle(&self, part: Range<u32>) -> u32 {
        let middle = part.start + part.len() as u32 / 2;
        let batches = &self.request.batches;
        let next = batches.partition_point(|first| *first < middle);
        let after = batches.get(next).copied().filter(|first| *first < part.end);
        let before = next
            .checked_sub(1)
            .map(|i| batches[i])
            .filter(|first| *first > part.start);
        match (before, after) {
            (Some(before), Some(after)) if middle - before < after - middle => before,
            (_, Some(after)) => after,
            (Some(before), None) => before,
            (None, None) => middle,
        }
    }

    /// The longest part from the position, before `end`, whose body fits: along a batch boundary if one fits.
    fn fitting(&self, end: u32, max_bytes: usize) -> u32 {
        let from = self.start(self.at);
        let records = &self.request.records[self.at as usize..end as usize];
        let fits = records.partition_point(|span| span.end as usize - from + 2 <= max_bytes) as u32;
        let limit = self.at + fits.max(1);
        let batches = &self.request.batches;
        let boundary = batches
            .partition_point(|first| *first <= limit)
            .checked_sub(1)
            .map(|i| batches[i]);
        boundary.filter(|first| *first > self.at).unwrap_or(limit)
    }
}

#[cfg(test)]
pub(crate) mod tests;
