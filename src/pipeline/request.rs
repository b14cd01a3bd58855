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

impl Verdicts {
    /// Indices of the accepted ones among the request's `records`, ascending.
    pub fn accepted(&self, records: usize) -> impl Iterator<Item = usize> {
        let judged = self
            .failed
            .as_ref()
            .map_or(records, |failed| records.min(failed.from as usize));
        let mut refused = self.refused.iter().peekable();
        (0..judged).filter(move |index| {
            refused
                .next_if(|refusal| refusal.record as usize == *index)
                .is_none()
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(record: u32) -> Refused {
        Refused {
            record,
            status: 400,
            text: String::new(),
            attempts: 1,
        }
    }

    #[test]
    fn what_was_refused_or_got_no_verdict_is_not_accepted() {
        let mut verdicts = Verdicts::default();
        let accepted = |verdicts: &Verdicts| verdicts.accepted(6).collect::<Vec<_>>();
        assert_eq!(accepted(&verdicts), [0, 1, 2, 3, 4, 5]);
        verdicts.refused = vec![refused(0), refused(3)];
        assert_eq!(accepted(&verdicts), [1, 2, 4, 5]);
        verdicts.failed = Some(Failed {
            from: 4,
            until: 5,
            blame: Blame::Gateway,
            seen: 0,
            asked_to_wait: false,
            retry_after: None,
            ambiguous: false,
            silent: 0,
            status: 500,
            text: String::new(),
        });
        assert_eq!(accepted(&verdicts), [1, 2]);
    }
}
