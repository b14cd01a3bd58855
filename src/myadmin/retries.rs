//! How often and how long a call that changes nothing is asked again. Owns one call's attempts and its patience.

use std::time::Duration;

use tokio::time::Instant;

use super::Config;
use super::error::{Error, Why};
use crate::http::retry::Backoff;

pub(super) struct Retries<'a> {
    config: &'a Config,
    left: u32,
    until: Instant,
    backoff: Backoff,
}

impl<'a> Retries<'a> {
    pub fn new(config: &'a Config) -> Self {
        Self {
            config,
            left: config.read_attempts.saturating_sub(1),
            until: Instant::now() + Duration::from_secs(config.patience_s),
            backoff: Backoff::new(
                Duration::from_millis(config.backoff_ms),
                Duration::from_millis(config.backoff_max_ms),
            ),
        }
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The failure itself, when attempts or patience are used up.
    pub async fn wait(&mut self, failed: Error) -> Result<(), Error> {
        // The limits have waited as long as they may, and a 429 has paused them: neither is waited for twice.
        let (wait, held) = match &failed.why {
            Why::Full { .. } => return Err(failed),
            Why::Throttled { retry_after } => (Duration::ZERO, self.config.pause(*retry_after)),
            _ => {
                let own = self.backoff.next(&mut rand::rng());
                let wait = failed.wait().map_or(own, |asked| asked.max(own));
                (wait, wait)
            }
        };
        if self.left == 0 || Instant::now() + held > self.until {
            return Err(failed);
        }
        self.left -= 1;
        tracing::debug!(error = %failed, wait_ms = wait.as_millis(), "asking MyAdmin again");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}
