//! One attempt of an upload: what is sent, and what its outcome means for the rest. The outcome table's actions.

use std::future::Future;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Inner, Line};
use crate::dig::Answer;
use crate::http::pacing::circuit::Signal;
use crate::http::retry::{self, Backoff, Course, Failure};
use crate::ops::metrics::upload as metrics;
use crate::pipeline::request::Request;
use crate::pipeline::split::Split;

/// What became of one attempt, for the next one.
struct Last {
    part: Range<u32>,
    ambiguous: bool,
}

/// How long to wait before the next attempt.
pub(super) struct Wait(Duration);

impl Wait {
    const NONE: Self = Self(Duration::ZERO);

    /// False when `stop` came first.
    pub async fn elapse(self, stop: &CancellationToken) -> bool {
        self.0.is_zero() || unless(stop, tokio::time::sleep(self.0)).await.is_some()
    }
}

/// The future's output, or `None` if `stop` came first.
async fn unless<T>(stop: &CancellationToken, future: impl Future<Output = T>) -> Option<T> {
    stop.run_until_cancelled(future).await
}

/// One request on its way.
pub(super) struct Upload<'a, L> {
    inner: &'a Inner<L>,
    pub split: Split,
    backoff: Backoff,
    /// The last part's body: a retry sends the same bytes.
    body: Option<(Range<u32>, Bytes)>,
    last: Option<Last>,
    /// Attempts in a row that got no answer in time.
    silent: u32,
    pub may_have_effects: bool,
}

impl<'a, L: Line> Upload<'a, L> {
    pub fn new(inner: &'a Inner<L>, request: Request) -> Self {
        let first = Duration::from_millis(inner.config.backoff_ms);
        let cap = Duration::from_millis(inner.config.backoff_max_ms);
        Self {
            inner,
            split: Split::new(request),
            backoff: Backoff::new(first, cap),
            body: None,
            last: None,
            silent: 0,
            may_have_effects: false,
        }
    }

    /// Sends one part once. `None` when `stop` came before it was sent.
    pub async fn attempt(
        &mut self,
        mut part: Range<u32>,
        stop: &CancellationToken,
    ) -> Option<Wait> {
        let inner = self.inner;
        let mut ticket = unless(stop, inner.pacing.pass()).await?;
        if ticket.is_probe() {
            let small = self
                .split
                .next(inner.pacing.config().probe_records, inner.max_bytes())?;
            if small != part {
                metrics::count_split("probe");
                part = small;
            }
        }
        let body = self.body(&part);
        let records = part.end - part.start;
        unless(stop, inner.pacing.take(records, body.len())).await?;
        let token = unless(stop, inner.line.token()).await?.ok()?;
        if stop.is_cancelled() {
            return None;
        }
        if !ticket.start() {
            return Some(Wait::NONE);
        }
        if let Some(last) = self.last.take() {
            metrics::count_resend(last.part.end.min(part.end) - part.start, last.ambiguous);
        }
        metrics::count_sent(records, body.len());
        self.split.note_sent(&part);
        let began = Instant::now();
        let timeout = inner.timeouts.request_timeout(self.silent);
        let reply = inner.line.post(body, &token, timeout).await;
        let course = retry::course(reply.as_ref().map(|answer| answer.status));
        self.silent = if matches!(reply, Err(Failure::Timeout(_))) {
            self.silent + 1
        } else {
            0
        };
        inner.note(&reply, began.elapsed());

        let text = reply.as_ref().map_or("", |answer| &answer.text);
        let retry_after = reply.as_ref().ok().and_then(|answer| answer.retry_after);
        match course {
            Course::Accepted => {
                ticket.end(Signal::Good);
                inner.line.proven(&token);
                inner.accepted(records);
                if let Ok(Answer {
                    tracking_id: Some(id),
                    ..
                }) = &reply
                {
                    tracing::debug!(tracking_id = id, records, "accepted");
                }
                self.may_have_effects = true;
                self.backoff.reset();
                self.split.accepted(&part);
            }
            Course::Split => {
                ticket.end(Signal::Good);
                inner.line.proven(&token);
                inner.refused(400, records);
                self.split.bad(&part, text);
            }
            Course::Halve => {
                ticket.end(Signal::Good);
                inner.line.proven(&token);
                inner.refused(413, records);
                if let Some(limit) = self.split.too_large(&part, text) {
                    inner.learn(limit);
                }
            }
            Course::Renew => {
                ticket.end(Signal::Neutral);
                inner.line.rejected(&token);
                self.last = Some(Last {
                    part,
                    ambiguous: false,
                });
            }
            Course::Throttled => {
                ticket.end(Signal::Throttled { retry_after });
                self.last = Some(Last {
                    part,
                    ambiguous: false,
                });
            }
            Course::Again { ambiguous } => {
                let overload = !matches!(reply, Err(Failure::Connect(_) | Failure::Cut(_)));
                ticket.end(Signal::Failed {
                    overload,
                    retry_after,
                });
                if ambiguous {
                    inner.tally.ambiguous.fetch_add(1, Ordering::Relaxed);
                    metrics::count_ambiguous(records);
                    self.may_have_effects = true;
                }
                self.last = Some(Last { part, ambiguous });
                // An open circuit does the waiting for everybody.
                if inner.pacing.is_closed() {
                    return Some(Wait(self.backoff.next(&mut rand::rng())));
                }
            }
            Course::Misconfigured => {
                ticket.end(Signal::Misconfigured);
                self.last = Some(Last {
                    part,
                    ambiguous: false,
                });
            }
        }
        Some(Wait::NONE)
    }

    fn body(&mut self, part: &Range<u32>) -> Bytes {
        match &self.body {
            Some((of, body)) if of == part => body.clone(),
            _ => {
                let body = self.split.body(part);
                self.body = Some((part.clone(), body.clone()));
                body
            }
        }
    }
}
