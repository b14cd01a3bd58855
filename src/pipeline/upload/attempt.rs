//! One attempt of an upload: the body that is sent, and the action that follows from its outcome.

use std::future::Future;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{GatewayTransport, Inner};
use crate::dig::Answer;
use crate::http::pacing::blame::{Blame, History, Judged};
use crate::http::pacing::circuit::RequestResult;
use crate::http::retry::{self, Backoff, Disposition, Failure};
use crate::ops::metrics::upload as metrics;
use crate::pipeline::isolation::Past;
use crate::pipeline::request::{Failed, Request};
use crate::pipeline::split::Split;

/// The attempt before, so that a resend is counted.
struct Last {
    part: Range<u32>,
    ambiguous: bool,
}

/// Backoff before the next attempt.
pub(super) struct Wait(Duration);

impl Wait {
    const NONE: Self = Self(Duration::ZERO);

    /// Waits; false when `stop` came first.
    pub async fn elapse(self, stop: &CancellationToken) -> bool {
        self.0.is_zero() || unless(stop, tokio::time::sleep(self.0)).await.is_some()
    }
}

/// The future's output, or `None` if `stop` came first.
async fn unless<T>(stop: &CancellationToken, future: impl Future<Output = T>) -> Option<T> {
    stop.run_until_cancelled(future).await
}

/// A request while it is uploaded.
pub(super) struct Upload<'a, L> {
    /// The uploader's shared state.
    inner: &'a Inner<L>,
    /// Which records have their verdict, and which part goes next.
    pub split: Split,
    /// Whether the records failed before, for the circuit and the question who is to blame.
    history: History,
    /// Backoff of attempts that could not connect.
    backoff: Backoff,
    /// The last part's body: a retry sends the same bytes.
    body: Option<(Range<u32>, Bytes)>,
    /// The attempt before, until its resend is counted.
    last: Option<Last>,
    /// Attempts in a row that timed out.
    silent: u32,
    /// Whether the gateway has, or may have, accepted some of the records.
    pub may_have_effects: bool,
}

impl<'a, L: GatewayTransport> Upload<'a, L> {
    pub fn new(inner: &'a Inner<L>, request: Request, past: Past) -> Self {
        let first = Duration::from_millis(inner.config.backoff_ms);
        let cap = Duration::from_millis(inner.config.backoff_max_ms);
        let last = past.sent.map(|ambiguous| Last {
            part: 0..request.records.len() as u32,
            ambiguous,
        });
        Self {
            inner,
            split: Split::new(request),
            history: past.history,
            backoff: Backoff::new(first, cap),
            body: None,
            last,
            silent: past.silent,
            may_have_effects: false,
        }
    }

    /// Sends one part once. `None` when `stop` came first; an error when the part got no verdict and its records have to be
    /// packed anew.
    pub async fn attempt(
        &mut self,
        mut part: Range<u32>,
        stop: &CancellationToken,
    ) -> Option<Result<Wait, Failed>> {
        let inner = self.inner;
        let mut ticket = unless(stop, inner.pacing.pass(self.history)).await?;
        if let Some(most) = ticket.probe() {
            let small = self.split.next(most, inner.max_bytes())?;
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
            return Some(Ok(Wait::NONE));
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
            Disposition::Accepted => {
                ticket.end(RequestResult::Good);
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
            Disposition::Split => {
                ticket.end(RequestResult::Good);
                inner.line.proven(&token);
                inner.refused(400, records);
                self.split.bad(&part, text);
            }
            Disposition::Halve => {
                ticket.end(RequestResult::Good);
                inner.line.proven(&token);
                inner.refused(413, records);
                if let Some(limit) = self.split.too_large(&part, text) {
                    inner.learn(limit);
                }
            }
            Disposition::Renew => {
                ticket.end(RequestResult::Neutral);
                inner.line.rejected(&token);
                self.last = Some(Last {
                    part,
                    ambiguous: false,
                });
            }
            // Too many requests: 429 concerns all uploads.
            Disposition::Throttled if !matches!(&reply, Ok(answer) if answer.status == 503) => {
                ticket.end(RequestResult::Throttled { retry_after });
                self.last = Some(Last {
                    part,
                    ambiguous: false,
                });
            }
            Disposition::Again { .. } if matches!(reply, Err(Failure::Connect(_))) => {
                ticket.end(RequestResult::Failed {
                    overload: false,
                    retry_after,
                });
                self.last = Some(Last {
                    part,
                    ambiguous: false,
                });
                // While the circuit is open, it is the backoff of all uploads.
                if inner.pacing.is_closed() {
                    return Some(Ok(Wait(self.backoff.next(&mut rand::rng()))));
                }
            }
            Disposition::Throttled | Disposition::Again { .. } | Disposition::Misconfigured => {
                let ambiguous = course == Disposition::Again { ambiguous: true };
                let signal = match course {
                    Disposition::Throttled => RequestResult::Throttled { retry_after },
                    Disposition::Misconfigured => RequestResult::Misconfigured,
                    _ => RequestResult::Failed {
                        overload: !matches!(reply, Err(Failure::Cut(_))),
                        retry_after,
                    },
                };
                let Judged { blame, seen } = ticket.judge(signal, true);
                if ambiguous {
                    inner.tally.ambiguous.fetch_add(1, Ordering::Relaxed);
                    metrics::count_ambiguous(records);
                    self.may_have_effects = true;
                }
                let (status, text) = match &reply {
                    Ok(answer) => (answer.status, answer.text.clone()),
                    Err(failure) => (0, failure.to_string()),
                };
                return Some(Err(Failed {
                    from: part.start,
                    until: part.end,
                    blame,
                    seen,
                    asked_to_wait: course != (Disposition::Again { ambiguous }),
                    retry_after: retry_after
                        .filter(|_| blame == Blame::Records)
                        .map(|wait| wait.min(inner.pacing.retry_after_max())),
                    ambiguous,
                    silent: self.silent,
                    status,
                    text,
                }));
            }
        }
        Some(Ok(Wait::NONE))
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
