//! What travels from dispatch to upload and back: a request of many batches, and one verdict per refused record.

use bytes::Bytes;

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

/// The gateway's word on a whole request: every record not listed as refused was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdicts {
    pub refused: Vec<Refused>,
}

/// One record the gateway refused, isolated by splitting.
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
