//! Holding the lease: one instance acts, the others wait.
//!
//! While held it is renewed three times per life. Acts in the store are fenced by its token; writes to the topic, which cannot be,
//! are begun only while our own clock is sure that nobody can have taken over.

use std::time::Duration;

use tokio::time::Instant;

use super::Clock;
use super::store::lease::Token;
use super::store::{Error, Store};

/// A lease that was taken, and how long it is surely ours.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    token: Token,
    life: Duration,
    sure_until: tokio::sync::watch::Sender<Instant>,
}

impl Lease {
    /// Waits until the lease can be taken.
    ///
    /// # Errors
    /// Never: a store that cannot be asked is asked again.
    pub async fn take(store: &Store, name: &str, life: Duration, clock: &Clock) -> Self {
        let mut told = false;
        loop {
            let asked = Instant::now();
            match store.take_lease(name, life, clock()).await {
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
                    tracing::info!("another orders instance holds the lease; waiting");
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "the lease cannot be asked for; tried again"),
            }
            tokio::time::sleep(life / 3).await;
        }
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
                    tracing::warn!(%error, "the lease could not be renewed; tried again");
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
            tracing::warn!(%error, "the lease could not be given back; it ends by itself");
        }
    }
}
