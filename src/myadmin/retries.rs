//! How often and how long a call that changes nothing is asked again. Owns one call's attempts and its patience.

use std::time::Duration;

use tokio::time::Instant;

use super::Config;
use super::error::{Error, Why};
use crate::http::retry::Backoff;

pub(super) struct Retries {
    left: u32,
    until: Instant,
    backoff: Backoff,
}

impl Retries {
    pub fn new(config: &Config) -> Self {
        Self {
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
        let wait = match &failed.why {
            Why::Full { .. } => return Err(failed),
            Why::Throttled { .. } => Duration::ZERO,
            _ => {
                let own = self.backoff.next(&mut rand::rng());
                failed.wait().map_or(own, |asked| asked.max(own))
            }
        };
        if self.left == 0 || Instant::now() + wait > self.until {
            return Err(failed);
        }
        self.left -= 1;
        tracing::debug!(error = %failed, wait_ms = wait.as_millis(), "asking MyAdmin again");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}
