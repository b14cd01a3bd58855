//! The sheet from a URL. The URL may hold a key: no error shows it, and no other server gets it.

use std::time::Duration;

use crate::http::transport::{self, End, failure, read_within};

use super::Config;

/// The setting that every error names.
pub(super) const SETTING: &str = "orders.terminations.url";
/// A sheet is small; a place that takes longer is not answering.
const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(10);

/// Fetches sheets.
pub(super) struct Fetch {
    /// HTTP client of this address alone.
    http: reqwest::Client,
    /// The address; it may hold a key and is never shown.
    url: reqwest::Url,
    /// Bytes that a sheet may have.
    most: usize,
}

impl Fetch {
    /// # Errors
    /// An address that may not be used, a CA file or proxy that cannot be, or the TLS roots of this machine.
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let url = transport::secret_address(SETTING, config.url.reveal())?;
        let options = transport::Options {
            section: "orders.terminations",
            plain: url.scheme() == "http",
            ca_file: config.ca_file.as_deref(),
            ca_file_only: config.ca_file_only,
            proxy: config.proxy.as_ref(),
            user_agent: concat!("dig-ingest/", env!("CARGO_PKG_VERSION")),
            connect_timeout: CONNECT,
            pool_idle: TIMEOUT,
            pool_size: 1,
        };
        Ok(Self {
            http: transport::following_client(options, &url)?,
            url,
            most: usize::try_from(config.max_bytes).unwrap_or(usize::MAX),
        })
    }

    /// The sheet as it is now.
    ///
    /// # Errors
    /// No answer, another status than 200, more bytes than a sheet may have.
    pub(super) async fn get(&self) -> anyhow::Result<Vec<u8>> {
        let request = self.http.get(self.url.clone()).timeout(TIMEOUT);
        let answer = request
            .send()
            .await
            .map_err(|error| anyhow::anyhow!("{}", failure(error)))?;
        let status = answer.status();
        anyhow::ensure!(status == 200, "the sheet's server answered {status}");
        match read_within(answer, self.most).await {
            (bytes, Ok(())) => Ok(bytes),
            (_, Err(End::TooLarge)) => anyhow::bail!(
                "the sheet has more than orders.terminations.max_bytes = {}",
                self.most
            ),
            (_, Err(End::Cut(why))) => anyhow::bail!("the answer broke off: {why}"),
        }
    }
}
