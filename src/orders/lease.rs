//! Holding the lease: one instance acts, the others wait.
//!
//! While held it is renewed three times per life. Acts in the store are fenced by its token, writes to the registry's topic by a
//! transactional id that the next holder takes over; they are begun only while our own clock is sure that nobody can have done so.
//!
//! Who waits takes the lease when its time is over, or when nobody has renewed it for a whole life by the waiter's own monotonic
//! clock: a holder whose wall clock was ahead, and who died, must not keep it until then.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Clock;
use super::registrar::Permitted;
use super::store::lease::{Holder, Token};
use super::store::{Error, Store};

/// A lease that was taken, and how long it is surely ours.
#[derive(Debug)]
pub struct Lease {
    /// The orders store, whose row is the lease.
    store: Store,
    /// Number of this holding, a fence for every change.
    token: Token,
    /// How long a renewal lasts.
    life: Duration,
    /// Until when no other instance can have taken the lease, by the monotonic clock; the registrar has a receiver through
    /// `sure`. Dropped without `leave`, the lease ends when its time is over.
    sure_until: tokio::sync::watch::Sender<Instant>,
}

impl Lease {
    /// Waits until the lease can be taken.
    ///
    /// # Errors
    /// Never: a store that cannot be asked is asked again.
    pub async fn take(store: &Store, name: &str, life: Duration, clock: &Clock) -> Self {
        let mut told = false;
        let mut seen: Option<(Holder, Instant)> = None;
        loop {
            let asked = Instant::now();
            let silent = seen
                .as_ref()
                .filter(|(_, since)| since.elapsed() > life)
                .map(|(holder, _)| holder);
            match store.take_lease_from(name, life, clock(), silent).await {
                Ok(Some(token)) => {
                    return Self {
                        store: store.clone(),
                        token,
                        life,
                        sure_until: tokio::sync::watch::Sender::new(asked + life),
                    };
                }
                Ok(None) if !told => {
                    told = true;
                    tracing::info!("another orders instance holds the lease; this one stands by");
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "the lease cannot be asked for; tried again"),
            }
            match store.lease_holder().await {
                Ok(holder) if seen.as_ref().is_some_and(|(known, _)| *known == holder) => {}
                Ok(holder) => seen = Some((holder, Instant::now())),
                Err(error) => tracing::debug!(%error, "the holder of the lease is unknown"),
            }
            tokio::time::sleep(life / 3).await;
        }
    }

    /// As [`Lease::is_sure`], to be handed on.
    #[must_use]
    pub fn sure(&self) -> Permitted {
        let (until, life) = (self.sure_until.subscribe(), self.life);
        Arc::new(move || Instant::now() + life / 3 < *until.borrow())
    }

    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }

    /// Whether nobody can have taken over for another third of its life.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        Instant::now() + self.life / 3 < *self.sure_until.borrow()
    }

    /// Renews it until it is lost.
    ///
    /// # Errors
    /// [`Error::LeaseLost`], always: that is how it ends.
    pub async fn keep(&self, clock: &Clock) -> Error {
        loop {
            tokio::time::sleep(self.life / 3).await;
            let asked = Instant::now();
            match self.store.keep_lease(self.token, self.life, clock()).await {
                Ok(true) => {
                    self.sure_until.send_replace(asked + self.life);
                }
                Ok(false) => return Error::LeaseLost,
                Err(error) => {
                    tracing::warn!(%error, "lease renewal failed; retrying");
                    if Instant::now() >= *self.sure_until.borrow() {
                        return Error::LeaseLost;
                    }
                }
            }
        }
    }

    /// Gives it back.
    pub async fn leave(self) {
        if let Err(error) = self.store.leave_lease(self.token).await {
            tracing::warn!(%error, "lease release failed; the lease expires by itself");
        }
    }
}
