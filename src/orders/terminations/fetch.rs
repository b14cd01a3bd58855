//! The sheet from a URL. The only file of the orders that knows `reqwest`. The URL may hold a key: no error shows it.

use std::time::Duration;

use anyhow::Context as _;

use crate::config::secret::Secret;

/// A sheet is small; a place that takes longer is not answering.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Shared sheets are handed on once or twice.
const REDIRECTS: usize = 5;

/// Fetches sheets.
pub(super) struct Fetch {
    http: reqwest::Client,
    url: Secret,
    most: usize,
}

impl Fetch {
    /// # Errors
    /// The TLS roots of this machine cannot be used.
    pub(super) fn new(url: &Secret, most: u64) -> anyhow::Result<Self> {
        // Already there if another part of the job was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
            .build()
            .context("orders.terminations.url: no HTTP client")?;
        Ok(Self {
            http,
            url: url.clone(),
            most: usize::try_from(most).unwrap_or(usize::MAX),
        })
    }

    /// The sheet as it is now.
    ///
    /// # Errors
    /// No answer, another status than 200, more bytes than a sheet may have.
    pub(super) async fn get(&self) -> anyhow::Result<Vec<u8>> {
        let sent = self.http.get(self.url.reveal()).send().await;
        let mut answer = sent.map_err(reqwest::Error::without_url)?;
        let status = answer.status();
        anyhow::ensure!(status == 200, "the sheet's place answered {status}");
        let mut bytes = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            anyhow::ensure!(
                bytes.len() + part.len() <= self.most,
                "the sheet has more than orders.terminations.max_bytes = {}",
                self.most
            );
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }
}
