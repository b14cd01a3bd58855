//! The tokens: one task logs in, renews and revokes; everybody else reads what it publishes.
//!
//! Owns the token pair and the authentication calls. Invariants:
//! * T-a: one renewal at a time, and one per generation however many requests report it rejected.
//! * T-b: a refresh token is used once; after any doubt about it the next step is a login.
//! * T-c: no authentication endpoint is called more often than its share of the gateway's limit; refused credentials
//!   are tried again slowly.
//!
//! Publishes on `watch` (only the latest token matters); rejections are a number, the highest rejected generation. No
//! queue. Dropping every [`Session`] ends the task without revoking; [`Session::close`] revokes, with a bound.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::error::CallError;
use super::wire::Pair;
use super::{Client, Config};
use crate::config::secret::Secret;
use crate::http::pacing::rate::Limiter;
use crate::http::retry::Backoff;
use crate::ops::metrics::dig as metrics;

/// A bearer token and the generation that tells it from its successors.
#[derive(Clone)]
pub struct Token {
    generation: u64,
    bearer: Arc<Secret>,
}

impl Token {
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn bearer(&self) -> &Secret {
        &self.bearer
    }
}

#[cfg(test)]
impl Token {
    pub(crate) fn of_generation(generation: u64) -> Self {
        Self {
            generation,
            bearer: Arc::new(Secret::new("test")),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(generation {})", self.generation)
    }
}

/// The session has ended: there will be no token any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session with the gateway is closed")]
pub struct Closed;

/// What operators see of the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// `starting`, `ready`, `renewing`, `refused` (credentials or permission) or `closed`.
    pub state: &'static str,
    /// Generation of the published token; 0 before the first.
    pub generation: u64,
    /// Why, if something is wrong.
    pub detail: String,
}

#[derive(Clone)]
struct Published {
    token: Option<Token>,
    status: Status,
}

struct Shared {
    published: watch::Receiver<Published>,
    rejected: watch::Sender<u64>,
    proven: Arc<AtomicU64>,
    closing: CancellationToken,
    /// Taken once, by `close`.
    task: Mutex<Option<JoinHandle<()>>>,
    _end: DropGuard,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

impl Session {
    /// Starts the task, which logs in at once and keeps trying.
    #[must_use]
    pub fn start(client: Client, config: Config) -> Self {
        let status = Status {
            state: "starting",
            generation: 0,
            detail: String::new(),
        };
        let (publish, published) = watch::channel(Published {
            token: None,
            status,
        });
        let (rejected, rejections) = watch::channel(0);
        let closing = CancellationToken::new();
        let proven = Arc::new(AtomicU64::new(0));
        let calls = config.auth_calls_per_second();
        let keeper = Keeper {
            client,
            publish,
            rejections,
            proven: Arc::clone(&proven),
            closing: closing.clone(),
            login_rate: Limiter::spaced(calls, 1),
            refresh_rate: Limiter::spaced(calls, 1),
            denied: Backoff::new(
                Duration::from_millis(config.denied_probe_ms),
                Duration::from_millis(config.denied_probe_max_ms),
            ),
            generation: 0,
            config,
        };
        let end = CancellationToken::new();
        let task = tokio::spawn(keeper.run(end.clone()));
        let task = Mutex::new(Some(task));
        Self {
            shared: Arc::new(Shared {
                published,
                rejected,
                proven,
                closing,
                task,
                _end: end.drop_guard(),
            }),
        }
    }

    /// The current token, as soon as there is one that was not rejected. Cancelled, it leaves nothing.
    ///
    /// # Errors
    /// The session was closed.
    pub async fn token(&self) -> Result<Token, Closed> {
        let mut published = self.shared.published.clone();
        loop {
            if self.shared.closing.is_cancelled() {
                return Err(Closed);
            }
            if let Some(token) = self.usable(&published.borrow_and_update()) {
                return Ok(token);
            }
            published.changed().await.map_err(|_| Closed)?;
        }
    }

    fn usable(&self, published: &Published) -> Option<Token> {
        published
            .token
            .clone()
            .filter(|token| token.generation > *self.shared.rejected.borrow())
    }

    /// The gateway rejected this token: it is renewed, once, however many say so.
    pub fn rejected(&self, token: &Token) {
        let news = self.shared.rejected.send_if_modified(|highest| {
            let higher = token.generation > *highest;
            *highest = token.generation.max(*highest);
            higher
        });
        if news {
            metrics::count_rejected();
        }
    }

    /// The gateway took this token: a later rejection is not one of a fresh login.
    pub fn proven(&self, token: &Token) {
        self.shared
            .proven
            .fetch_max(token.generation, Ordering::Relaxed);
    }

    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.published.borrow().status.clone()
    }

    /// Revokes the tokens, within the bound of `revoke_timeout_ms`, and ends the task.
    pub async fn close(&self) {
        self.shared.closing.cancel();
        let task = self
            .shared
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task {
            // A panic of the task is its own report; there is nothing left to close.
            let _ = task.await;
        }
    }
}

/// Where a pair came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Login,
    Refresh,
}

struct Held {
    generation: u64,
    bearer: Arc<Secret>,
    refresh: Secret,
    origin: Origin,
    renew_at: Instant,
}

struct Keeper {
    client: Client,
    config: Config,
    publish: watch::Sender<Published>,
    rejections: watch::Receiver<u64>,
    proven: Arc<AtomicU64>,
    closing: CancellationToken,
    login_rate: Option<Limiter>,
    refresh_rate: Option<Limiter>,
    /// Waits between logins while credentials or permission are refused.
    denied: Backoff,
    generation: u64,
}

impl Keeper {
    async fn run(mut self, end: CancellationToken) {
        let closing = self.closing.clone();
        let mut held = None;
        tokio::select! {
            () = self.keep(&mut held) => {}
            () = closing.cancelled() => {}
            () = end.cancelled() => return,
        }
        self.announce("closed", "");
        if let Some(held) = held {
            self.revoke(&held).await;
        }
    }

    /// Never ends; what it holds is in `held`, so that it can be cancelled anywhere.
    async fn keep(&mut self, held: &mut Option<Held>) {
        let fresh = self.log_in().await;
        *held = Some(self.adopt(fresh, Origin::Login));
        loop {
            let Some(current) = held.as_ref() else { return };
            let generation = current.generation;
            let rejected = tokio::select! {
                () = tokio::time::sleep_until(current.renew_at) => false,
                result = self.rejections.wait_for(|highest| *highest >= generation) => {
                    if result.is_err() {
                        return;
                    }
                    true
                }
            };
            let (pair, origin) = self.renew(current, rejected).await;
            *held = Some(self.adopt(pair, origin));
        }
    }

    /// A new pair in place of `held`. Unless it was rejected, the old token stays published meanwhile.
    async fn renew(&mut self, held: &Held, rejected: bool) -> (Pair, Origin) {
        let proven = self.proven.load(Ordering::Relaxed) >= held.generation;
        if proven {
            self.denied.reset();
        }
        if rejected && !proven && held.origin == Origin::Login {
            // dig/API.md 7.10: the credentials work and the token does not: a permission is missing.
            tracing::error!(
                "the gateway rejects a fresh login: is the DIG-Access role missing? Nothing is lost, records wait"
            );
            self.announce(
                "refused",
                "the gateway rejects the token of a fresh login: check the DIG-Access role",
            );
            metrics::count_denied();
            self.wait_denied().await;
        } else if !rejected || proven {
            if rejected {
                self.announce("renewing", "");
            }
            if let Some(pair) = self.refresh(held).await {
                return (pair, Origin::Refresh);
            }
        }
        (self.log_in().await, Origin::Login)
    }

    /// Tries to refresh until the answer is clear; `None` means log in.
    async fn refresh(&mut self, held: &Held) -> Option<Pair> {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        loop {
            if let Some(rate) = &self.refresh_rate {
                rate.take(1).await;
            }
            let timeout = self.config.request_timeout(0);
            let error = match self
                .client
                .refresh(&held.bearer, &held.refresh, timeout)
                .await
            {
                Ok(pair) => {
                    metrics::count_auth("refresh-token", "ok");
                    return Some(pair);
                }
                Err(error) => error,
            };
            metrics::count_auth("refresh-token", outcome(&error));
            let asked_to_wait = matches!(error.status(), Some(429 | 503));
            if !asked_to_wait && (error.may_have_effects() || error.status().is_some()) {
                // T-b: used, or perhaps used.
                tracing::info!(error = %error, "token refresh failed for good: logging in again");
                return None;
            }
            tracing::warn!(error = %error, "token refresh failed; retrying");
            self.wait(&error, &mut backoff).await;
        }
    }

    /// Logs in, for ever.
    async fn log_in(&mut self) -> Pair {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        loop {
            if let Some(rate) = &self.login_rate {
                rate.take(1).await;
            }
            let password = match self.config.current_password() {
                Ok(password) => password,
                Err(error) => {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "login is impossible: no password is set"
                    );
                    self.announce("refused", &format!("{error:#}"));
                    self.wait_denied().await;
                    continue;
                }
            };
            let timeout = self.config.request_timeout(0);
            let error = match self
                .client
                .authenticate(&self.config.username, &password, timeout)
                .await
            {
                Ok(pair) => {
                    metrics::count_auth("authenticate", "ok");
                    return pair;
                }
                Err(error) => error,
            };
            metrics::count_auth("authenticate", outcome(&error));
            let refused = match &error {
                CallError::Status { status, .. } => !matches!(status, 408 | 429 | 500..=599),
                CallError::Unreadable { .. } | CallError::TooLarge { .. } => true,
                CallError::Failed { .. } => false,
            };
            if refused {
                tracing::error!(error = %error, "the gateway rejected the login: check [dig] url, username and password");
                self.announce("refused", &error.to_string());
                metrics::count_denied();
                self.wait_denied().await;
            } else {
                tracing::warn!(error = %error, "login failed; retrying");
                self.announce_trouble(&error);
                self.wait(&error, &mut backoff).await;
            }
        }
    }

    async fn wait_denied(&mut self) {
        let wait = self.denied.next(&mut rand::rng());
        tokio::time::sleep(wait).await;
    }

    async fn wait(&self, error: &CallError, backoff: &mut Backoff) {
        let own = backoff.next(&mut rand::rng());
        // Never longer than a slow probe, whatever the gateway asks for.
        let most = Duration::from_millis(self.config.denied_probe_max_ms);
        let asked = error
            .retry_after()
            .map_or(own, |asked| asked.min(most).max(own));
        tokio::time::sleep(asked).await;
    }

    fn adopt(&mut self, pair: Pair, origin: Origin) -> Held {
        self.generation += 1;
        if pair.disagrees {
            tracing::warn!(
                "the token's `Expires` and its own `exp` disagree; the earlier one counts"
            );
        }
        let life = pair
            .life
            .unwrap_or(Duration::from_secs(60 * self.config.assumed_life_min));
        let early = Duration::from_secs(60 * self.config.refresh_before_min).min(life / 2);
        metrics::set_token(self.generation, life);
        let bearer = Arc::new(pair.bearer);
        let token = Token {
            generation: self.generation,
            bearer: Arc::clone(&bearer),
        };
        let status = Status {
            state: "ready",
            generation: self.generation,
            detail: String::new(),
        };
        tracing::info!(
            generation = self.generation,
            ?origin,
            life_s = life.as_secs(),
            "the session has a token"
        );
        self.publish.send_replace(Published {
            token: Some(token),
            status,
        });
        metrics::set_state("ready");
        Held {
            generation: self.generation,
            bearer,
            refresh: pair.refresh,
            origin,
            renew_at: Instant::now() + life - early,
        }
    }

    fn announce(&self, state: &'static str, detail: &str) {
        metrics::set_state(state);
        self.publish.send_modify(|published| {
            published.status.state = state;
            published.status.detail = detail.to_owned();
        });
    }

    fn announce_trouble(&self, error: &CallError) {
        self.publish
            .send_modify(|published| published.status.detail = error.to_string());
    }

    async fn revoke(&self, held: &Held) {
        let bound = Duration::from_millis(self.config.revoke_timeout_ms);
        match self.client.revoke(&held.bearer, &held.refresh, bound).await {
            Ok(()) => metrics::count_auth("revoke-token", "ok"),
            Err(error) => {
                metrics::count_auth("revoke-token", outcome(&error));
                tracing::info!(error = %error, "token revocation failed; the tokens expire by themselves");
            }
        }
    }
}

fn outcome(error: &CallError) -> &'static str {
    match error {
        CallError::Failed { source, .. } => source.name(),
        CallError::Unreadable { .. } | CallError::TooLarge { .. } => "unreadable",
        CallError::Status { status, .. } => match status {
            400 => "400",
            401 => "401",
            403 => "403",
            429 => "429",
            503 => "503",
            500..=599 => "5xx",
            _ => "other",
        },
    }
}
