//! The request of many batches that the worker gives to the uploader, and the verdicts that come back.

use std::time::Duration;

use bytes::Bytes;

use crate::http::pacing::blame::Blame;

/// One POST's worth of records. The body is the JSON array exactly as sent: `[r0,r1,...]`.
///
/// Records of one serial are adjacent (a batch) and in the order of their partition.
#[derive(Debug, Clone)]
pub struct Request {
    pub body: Bytes,
    /// Start and end of each record within `body`, ascending.
    pub records: Vec<Span>,
    /// Index of each batch's first record within `records`, ascending; the first is 0.
    pub batches: Vec<u32>,
}

/// A record's place in a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

/// The gateway's verdicts on a request: every record not listed as refused was accepted, up to the part that failed, if one
/// did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdicts {
    pub refused: Vec<Refused>,
    pub failed: Option<Failed>,
}

/// A part of a request that got no verdict. No record of the request from that part on is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// First record of the part: all records before it have their verdict.
    pub from: u32,
    /// End of the part: later records were not sent with it.
    pub until: u32,
    pub blame: Blame,
    /// The gateway's successes up to then.
    pub seen: u64,
    /// Whether the gateway asked to wait (503).
    pub asked_to_wait: bool,
    /// Its `Retry-After`, if it concerns these records.
    pub retry_after: Option<Duration>,
    /// Whether the records may have been accepted all the same.
    pub ambiguous: bool,
    /// Attempts in a row that timed out.
    pub silent: u32,
    /// 0 for no answer.
    pub status: u16,
    /// The server's text, shortened, or why there was no answer.
    pub text: String,
}

/// A record that the gateway refused, isolated by splitting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Index into [`Request::records`].
    pub record: u32,
    /// 400 or 413.
    pub status: u16,
    /// The server's text, shortened.
    pub text: String,
    /// Requests that carried the record, repeated ones included.
    pub attempts: u32,
}
