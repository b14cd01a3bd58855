//! The session: one login for everybody who waits, and a new one only when MyAdmin has rejected the last
//! (myadmin/API.md 1.4: how long a session lives is not to be relied on).
//!
//! Owns the keys and the `Authenticate` calls. Invariants:
//! * L-a: one login at a time, and one per generation however many calls report it rejected.
//! * L-b: without a rejection nobody logs in again.
//! * L-c: refused credentials are tried again slowly: until then every call is told so at once.
//!
//! State is published on `watch`, and changed only in its `send_if_modified`. A login runs in a task of its own, so that a
//! caller who gives up does not take it away from the others. Dropping the session lets a running login end by itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Map;
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::{Error, Kind, Why};
use super::exchange::{Exchange, RpcCall};
use super::methods::Method;
use super::retries::Retries;
use super::rpc::{self, Keys};
use super::wire::User;
use crate::http::retry::Backoff;
use crate::ops::metrics::myadmin as metrics;

/// A session and the generation that tells it from its successors.
pub(super) struct SessionTicket {
    generation: u64,
    pub keys: Keys,
    pub user: User,
}

impl fmt::Debug for SessionTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionTicket(generation {})", self.generation)
    }
}

/// What operators see of the session.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// `none` before the first login and after a rejection, `logging in`, `ready` or `refused`.
    pub state: &'static str,
    /// How many sessions there have been.
    pub generation: u64,
    /// Why, if something is wrong.
    pub detail: String,
}

#[derive(Default)]
struct State {
    /// Sessions so far.
    generation: u64,
    ticket: Option<Arc<SessionTicket>>,
    /// Logins begun so far, and whether the last is still running.
    begun: u64,
    busy: bool,
    /// Why the last login failed.
    failed: Option<Error>,
    /// Before this, refused credentials are not tried again.
    not_before: Option<Instant>,
    /// Refusals in a row.
    refusals: u32,
}

/// See the module.
pub(super) struct Session {
    exchange: Arc<Exchange>,
    state: Arc<watch::Sender<State>>,
}

/// What a caller does next.
enum Step {
    Use(Arc<SessionTicket>),
    Fail(Error),
    Wait,
    Begin,
}

impl Session {
    pub fn new(exchange: Arc<Exchange>) -> Self {
        Self {
            exchange,
            state: Arc::new(watch::Sender::new(State::default())),
        }
    }

    /// The session, logging in if there is none. Cancelled, a login goes on for the others.
    ///
    /// # Errors
    /// Why the login failed, as [`Why::NoSession`] of `method`.
    pub async fn ticket(&self, method: Method) -> Result<Arc<SessionTicket>, Error> {
        let mut seen = self.state.subscribe();
        // The login this call waits for: the first it saw running, or began.
        let mut awaited = None;
        loop {
            let step = step(&seen.borrow_and_update(), &mut awaited);
            match step {
                Step::Use(ticket) => return Ok(ticket),
                Step::Fail(login) => {
                    return Err(Error {
                        act: method.name(),
                        changes: method.changes(),
                        why: Why::NoSession(Box::new(login)),
                    });
                }
                Step::Begin => self.begin(),
                // The sender lives as long as this session.
                Step::Wait => _ = seen.changed().await,
            }
        }
    }

    /// MyAdmin rejected this session. Whoever reports one that is no longer the present one changes nothing (L-a).
    pub fn rejected(&self, ticket: &SessionTicket) {
        let news = self.state.send_if_modified(|state| {
            let present = state
                .ticket
                .as_ref()
                .is_some_and(|present| present.generation == ticket.generation);
            if present {
                state.ticket = None;
            }
            present
        });
        if news {
            tracing::info!(
                generation = ticket.generation,
                "MyAdmin has ended the session"
            );
            metrics::count_session_ended();
        }
    }

    #[must_use]
    pub fn status(&self) -> Status {
        let state = self.state.borrow();
        let name = match state.ticket {
            Some(_) => "ready",
            None if state.busy => "logging in",
            None if state.failed.is_some() => "refused",
            None => "none",
        };
        Status {
            state: name,
            generation: state.generation,
            detail: state
                .failed
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
        }
    }

    /// Begins a login unless one runs or has succeeded meanwhile.
    fn begin(&self) {
        let mine = self.state.send_if_modified(|state| {
            let free = state.ticket.is_none() && !state.busy;
            if free {
                state.busy = true;
                state.begun += 1;
            }
            free
        });
        if mine {
            let (exchange, end) = (Arc::clone(&self.exchange), End(Arc::clone(&self.state)));
            tokio::spawn(async move {
                let result = log_in(&exchange).await;
                end.publish(result, &exchange);
            });
        }
    }
}

fn step(state: &State, awaited: &mut Option<u64>) -> Step {
    if let Some(ticket) = &state.ticket {
        return Step::Use(Arc::clone(ticket));
    }
    if state.busy {
        awaited.get_or_insert(state.begun);
        return Step::Wait;
    }
    let failed = state.failed.as_ref();
    let waiting = state.not_before.is_some_and(|until| Instant::now() < until);
    match failed {
        Some(failed) if waiting || awaited.is_some_and(|login| state.begun >= login) => {
            Step::Fail(failed.clone())
        }
        _ => {
            awaited.get_or_insert(state.begun + 1);
            Step::Begin
        }
    }
}

/// The end of a login: whatever becomes of its task, those who wait are told.
struct End(Arc<watch::Sender<State>>);

impl End {
    fn publish(self, result: Result<(Keys, User), Error>, exchange: &Exchange) {
        self.0.send_modify(|state| match result {
            Ok((keys, user)) => {
                state.generation += 1;
                tracing::info!(
                    generation = state.generation,
                    user = user.name,
                    "logged in at MyAdmin"
                );
                state.ticket = Some(Arc::new(SessionTicket {
                    generation: state.generation,
                    keys,
                    user,
                }));
                state.failed = None;
                state.not_before = None;
                state.refusals = 0;
            }
            Err(error) => {
                tracing::warn!(error = %error, "cannot log in at MyAdmin");
                if refused(&error) {
                    // The dice only spread logins of several instances.
                    let mut waits = Backoff::new(
                        Duration::from_secs(exchange.config.denied_wait_s),
                        Duration::from_secs(exchange.config.denied_wait_max_s),
                    );
                    let mut wait = waits.next(&mut rand::rng());
                    for _ in 0..state.refusals.min(16) {
                        wait = waits.next(&mut rand::rng());
                    }
                    state.refusals += 1;
                    state.not_before = Some(Instant::now() + wait);
                    metrics::count_denied();
                }
                state.failed = Some(error);
            }
        });
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.send_modify(|state| {
            state.busy = false;
            // A login that ended without a word: its task was taken away.
            if state.ticket.is_none() && state.failed.is_none() {
                state.failed = Some(error(Why::Unusable("the login was broken off".to_owned())));
            }
        });
    }
}

/// Whether a person must act before another login can succeed.
fn refused(error: &Error) -> bool {
    match &error.why {
        Why::Refused(refusal) => refusal.kind != Kind::Transient,
        Why::Status { .. } => !error.retryable() || error.status() == Some(401),
        Why::Unusable(_) | Why::Unreadable { .. } => true,
        Why::NoSession(_) | Why::Full { .. } | Why::Throttled { .. } | Why::Failed(_) => false,
    }
}

fn error(why: Why) -> Error {
    Error {
        act: Method::Authenticate.name(),
        changes: Method::Authenticate.changes(),
        why,
    }
}

/// One login, asked again while the trouble may pass.
async fn log_in(exchange: &Exchange) -> Result<(Keys, User), Error> {
    let config = &exchange.config;
    let password = config
        .current_password()
        .map_err(|cause| error(Why::Unusable(format!("{cause:#}"))))?;
    let mut params = Map::new();
    params.insert("username".to_owned(), config.username.as_str().into());
    params.insert("password".to_owned(), password.reveal().into());
    let call = RpcCall {
        method: Method::Authenticate,
        version: config.versions.of(Method::Authenticate),
        params,
        pagination: None,
    };
    let mut retries = Retries::new(config);
    loop {
        let answered = exchange.rpc(&call, None).await.and_then(|answer| {
            rpc::login(answer.result).map_err(|why| error(Why::Unreadable { status: 200, why }))
        });
        metrics::count_call(
            call.method.name(),
            answered.as_ref().err().map_or("ok", Error::outcome),
        );
        match answered {
            Ok(both) => return Ok(both),
            Err(failed) if refused(&failed) || !failed.retryable() => return Err(failed),
            Err(failed) => retries.wait(failed).await?,
        }
    }
}
