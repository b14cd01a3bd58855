//! The uploader: sends a request to the gateway until every record has its verdict.
//!
//! Owns the actions of the outcome table: 400 and 413 split; a rejected token is renewed; a 429 or a connection that could not
//! be made is retried with the same bytes, without end. After any other failure the rest of the request is given back, with
//! what is to blame: its records are packed anew ([`super::isolation`]); a wrong address pauses all uploads. Invariants:
//! * S1: parts of a request are sent one after the other, left first ([`super::split::Split`]).
//! * U-a: only 2xx is acceptance; only 400 and 413 of a single record are refusal.
//! * U-b: every attempt, retries included, passes circuit, rates and concurrency.
//!
//! No queue: the caller holds a [`RequestSlot`] before it packs, and keeps it through the retries. After `stop` no new attempt starts;
//! the one in flight is awaited. Dropping the future leaves that attempt's outcome unknown: its records may have been accepted.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::attempt::Upload;
use super::isolation::{Past, Pauses};
use super::request::{Request, Verdicts};
use super::split::MAX_RECORDS;
use crate::dig::{self, Answer, Client, Closed, Session, Token};
use crate::http::pacing::{self, Pacing};
use crate::http::retry::Failure;
use crate::ops::metrics::upload as metrics;
use crate::ops::status::Pause;

pub use crate::http::pacing::RequestSlot;

mod attempt;

/// A 413 never teaches a limit below this; a request still smaller is cut for itself.
const LEAST_BYTES: usize = 4 * 1024;

/// Settings of the upload (`[upload]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Initial backoff in milliseconds before a failed request is retried while the gateway works; doubles from retry to retry.
    pub backoff_ms: u64,
    /// Maximum backoff in milliseconds between two retries of a request while the gateway works.
    pub backoff_max_ms: u64,
    /// Retention in seconds of a request size limit that was learnt from a 413.
    pub byte_limit_memory_s: u64,
    /// Time in seconds before quarantine: the records of a device fail while the gateway takes others. In quarantine they go to the held
    /// topic.
    pub quarantine_after_s: u64,
    /// Initial backoff in seconds before a device in quarantine is probed; doubles from probe to probe.
    pub quarantine_probe_s: u64,
    /// Maximum backoff in seconds between two probes of a device in quarantine.
    pub quarantine_probe_max_s: u64,
}

impl Config {
    /// How long records that failed wait.
    #[must_use]
    pub fn pauses(&self) -> Pauses {
        Pauses {
            retry: Duration::from_millis(self.backoff_ms),
            retry_max: Duration::from_millis(self.backoff_max_ms),
            quarantine_after: Duration::from_secs(self.quarantine_after_s),
            probe: Duration::from_secs(self.quarantine_probe_s),
            probe_max: Duration::from_secs(self.quarantine_probe_max_s),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backoff_ms: 250,
            backoff_max_ms: 30_000,
            byte_limit_memory_s: 600,
            quarantine_after_s: 60,
            quarantine_probe_s: 5,
            quarantine_probe_max_s: 60,
        }
    }
}

/// The upload ended before every record had its verdict; none of the request's records may be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the upload was stopped")]
pub struct Abandoned {
    /// Whether the gateway has, or may have, accepted some of the records: sending them again may repeat them.
    pub may_have_effects: bool,
}

/// State of the uploads for the operations pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    pub pacing: pacing::Status,
    pub session: dig::session::Status,
    /// Bytes a body may have now.
    pub max_bytes: usize,
    /// Records accepted and refused since the start.
    pub accepted: u64,
    pub refused: u64,
    /// 400 answers in a row of all workers, without an acceptance between them.
    pub refused_in_a_row: u64,
    /// Attempts whose records may or may not have been taken.
    pub ambiguous: u64,
    /// The last answer that was no success: status (0 for none at all) and text.
    pub last_trouble: Option<(u16, String)>,
}

/// The connection to the gateway. A trait so that tests run the loop with a paused clock and without sockets.
pub trait GatewayTransport: Send + Sync {
    fn token(&self) -> impl Future<Output = Result<Token, Closed>> + Send;
    fn post(
        &self,
        body: Bytes,
        token: &Token,
        timeout: Duration,
    ) -> impl Future<Output = Result<Answer, Failure>> + Send;
    fn rejected(&self, token: &Token);
    fn proven(&self, token: &Token);
    fn status(&self) -> dig::session::Status;
}

/// The real gateway. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    /// HTTP client of the gateway's records endpoint; clones share its connections.
    pub client: Client,
    /// The session whose task logs in and renews the token; the feedback poller has a clone. When the last clone is dropped
    /// that task ends without revoking its tokens.
    pub session: Session,
}

impl GatewayTransport for Gateway {
    async fn token(&self) -> Result<Token, Closed> {
        self.session.token().await
    }

    async fn post(&self, body: Bytes, token: &Token, timeout: Duration) -> Result<Answer, Failure> {
        self.client.post_records(body, token, timeout).await
    }

    fn rejected(&self, token: &Token) {
        self.session.rejected(token);
    }

    fn proven(&self, token: &Token) {
        self.session.proven(token);
    }

    fn status(&self) -> dig::session::Status {
        self.session.status()
    }
}

/// Counters since the start.
#[derive(Default)]
struct Tally {
    /// Records accepted since the start.
    accepted: AtomicU64,
    /// Records refused alone since the start.
    refused: AtomicU64,
    /// 400 answers since the last acceptance, of all workers.
    refused_in_a_row: AtomicU64,
    /// Attempts whose records may or may not have been accepted.
    ambiguous: AtomicU64,
}

/// State shared by all clones of the uploader.
struct Inner<L> {
    /// The connection to the gateway: the real one, or the double of a test.
    line: L,
    /// Circuit, rates and concurrency; every upload slot keeps it alive.
    pacing: Arc<Pacing>,
    /// Settings of retries and quarantine.
    config: Config,
    /// Settings of the gateway's client, for the request timeout that grows with unanswered attempts.
    timeouts: dig::Config,
    /// Body limit by the settings.
    max_bytes: usize,
    /// A smaller body limit learnt from a 413, and until when it holds. Locked for an assignment: every worker may learn one.
    learnt: Mutex<Option<(usize, Instant)>>,
    /// Status and text of the last answer that was no success. Locked for an assignment, only after trouble.
    trouble: Mutex<Option<(u16, String)>>,
    /// Counters for the status page.
    tally: Tally,
}

/// See the module's documentation. Cheap to clone; all clones share one pacing.
pub struct Uploader<L = Gateway> {
    /// Shared by all clones: the workers', `Owner`'s, and that of the composition root, which closes the session at the end.
    inner: Arc<Inner<L>>,
}

impl<L> Clone for Uploader<L> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl Uploader<Gateway> {
    /// Starts the login in the background, on the current runtime, and is ready to upload. `max_bytes` is the body limit of the
    /// settings.
    ///
    /// # Errors
    /// Settings that cannot be used.
    pub fn connect(
        dig: dig::Config,
        pacing: pacing::Config,
        config: Config,
        max_bytes: usize,
    ) -> anyhow::Result<Self> {
        dig.check()?;
        pacing.check()?;
        let client = Client::new(&dig)?;
        let session = Session::start(client.clone(), dig.clone());
        Ok(Self::new(
            Gateway { client, session },
            dig,
            pacing,
            config,
            max_bytes,
        ))
    }

    /// The gateway, for the feedback poller.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.inner.line
    }

    /// Revokes the tokens; no upload can succeed afterwards.
    pub async fn close(&self) {
        self.inner.line.session.close().await;
    }
}

impl<L: GatewayTransport> Uploader<L> {
    /// `timeouts` gives the timeout ladder.
    #[must_use]
    pub fn new(
        line: L,
        timeouts: dig::Config,
        pacing: pacing::Config,
        config: Config,
        max_bytes: usize,
    ) -> Self {
        metrics::set_byte_limit(max_bytes);
        let inner = Inner {
            line,
            pacing: Pacing::new(pacing),
            config,
            timeouts,
            max_bytes,
            learnt: Mutex::new(None),
            trouble: Mutex::new(None),
            tally: Tally::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Waits for an upload slot: the right to pack and upload one request. Slots are granted in the order of the calls;
    /// dropping a slot returns it.
    pub async fn slot(&self) -> RequestSlot {
        self.inner.pacing.slot().await
    }

    /// As [`slot`](Self::slot), for records that failed before.
    pub async fn retry_slot(&self) -> RequestSlot {
        self.inner.pacing.retry_slot().await
    }

    /// How long records that failed wait.
    #[must_use]
    pub fn pauses(&self) -> Pauses {
        self.inner.config.pauses()
    }

    /// Takes over other settings of pacing, except the concurrency limits.
    pub fn set_pacing(&self, config: pacing::Config) {
        self.inner.pacing.set_config(config);
    }

    /// Records of a probe while the circuit is not closed.
    #[must_use]
    pub fn probe_records(&self) -> usize {
        self.inner.pacing.config().probe_records as usize
    }

    /// Bytes that a body may have now: the setting, or less for a while after a 413 or by the rates.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.inner.max_bytes().min(self.inner.pacing.one_second().1)
    }

    /// Records that a request may have now: the gateway's limit, or one second's worth of the rates if that is less.
    #[must_use]
    pub fn max_records(&self) -> u32 {
        self.inner.pacing.one_second().0.min(MAX_RECORDS)
    }

    /// Whether uploads flow: the circuit is closed and no alarm pauses them.
    #[must_use]
    pub fn flowing(&self) -> bool {
        self.inner.pacing.is_closed()
    }

    /// Sets the rates to the share of `assigned` among `total` partitions.
    pub fn set_share(&self, assigned: u32, total: u32) {
        self.inner.pacing.set_share(assigned, total);
    }

    /// Why no upload flows, for the operations page.
    #[must_use]
    pub fn pause(&self) -> Pause {
        let pacing = self.inner.pacing.status();
        if pacing.misconfigured || self.inner.line.status().state == "refused" {
            Pause::Alarm
        } else if pacing.circuit != "closed" || pacing.paused_ms > 0 {
            Pause::Gateway
        } else {
            Pause::None
        }
    }

    #[must_use]
    pub fn status(&self) -> Status {
        let inner = &self.inner;
        Status {
            pacing: inner.pacing.status(),
            session: inner.line.status(),
            max_bytes: inner.max_bytes(),
            accepted: inner.tally.accepted.load(Ordering::Relaxed),
            refused: inner.tally.refused.load(Ordering::Relaxed),
            refused_in_a_row: inner.tally.refused_in_a_row.load(Ordering::Relaxed),
            ambiguous: inner.tally.ambiguous.load(Ordering::Relaxed),
            last_trouble: inner
                .trouble
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    /// Uploads a request until every record has its verdict, a part fails, or `stop`. `past`: earlier attempts of its records.
    ///
    /// # Errors
    /// `stop` fired, or the session was closed, before that.
    pub async fn upload(
        &self,
        slot: RequestSlot,
        request: Request,
        past: Past,
        stop: &CancellationToken,
    ) -> Result<Verdicts, Abandoned> {
        let _slot = slot;
        let inner = &*self.inner;
        let mut upload = Upload::new(inner, request, past);
        while let Some(part) = upload.split.next(self.max_records(), self.max_bytes()) {
            let attempt = upload.attempt(part, stop).await;
            let goes_on = match attempt {
                Some(Ok(wait)) => wait.elapse(stop).await,
                Some(Err(failed)) => return Ok(upload.split.give_back(failed)),
                None => false,
            };
            if !goes_on {
                return Err(Abandoned {
                    may_have_effects: upload.may_have_effects,
                });
            }
        }
        Ok(upload.split.finish())
    }
}

impl<L> Inner<L> {
    fn max_bytes(&self) -> usize {
        let mut learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        match *learnt {
            Some((limit, until)) if Instant::now() < until => limit.min(self.max_bytes),
            Some(_) => {
                *learnt = None;
                metrics::set_byte_limit(self.max_bytes);
                self.max_bytes
            }
            None => self.max_bytes,
        }
    }

    fn learn(&self, limit: usize) {
        let limit = limit.max(LEAST_BYTES);
        let until = Instant::now() + Duration::from_secs(self.config.byte_limit_memory_s);
        let mut learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = learnt.map_or(limit, |(known, _)| known.min(limit));
        *learnt = Some((limit, until));
        metrics::set_byte_limit(limit.min(self.max_bytes));
    }

    fn accepted(&self, records: u32) {
        metrics::count_accepted(records);
        self.tally
            .accepted
            .fetch_add(u64::from(records), Ordering::Relaxed);
        if self.tally.refused_in_a_row.swap(0, Ordering::Relaxed) > 0 {
            metrics::set_refused_in_a_row(0);
        }
    }

    fn refused(&self, status: u16, records: u32) {
        if status == 400 {
            metrics::set_refused_in_a_row(
                self.tally.refused_in_a_row.fetch_add(1, Ordering::Relaxed) + 1,
            );
        }
        if records == 1 {
            metrics::count_refused(status);
            self.tally.refused.fetch_add(1, Ordering::Relaxed);
        } else {
            metrics::count_split(if status == 400 { "bad" } else { "large" });
        }
    }

    fn note(&self, reply: &Result<Answer, Failure>, took: Duration) {
        let trouble = match reply {
            Ok(answer) => {
                metrics::count_answer(answer.status, took);
                (!(200..300).contains(&answer.status)).then(|| (answer.status, answer.text.clone()))
            }
            Err(failure) => {
                metrics::count_failure(failure.name());
                Some((0, failure.to_string()))
            }
        };
        if let Some((status, text)) = trouble {
            tracing::debug!(status, text, "the gateway did not accept a request");
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some((status, text));
        }
    }
}

#[cfg(test)]
mod tests;
