//! `dig-ingest status`: an overview of a running job in a terminal, from its operations pages.
//!
//! It only reads. Every answer is bounded in time and bytes; what the job says is shown without control characters.

mod overview;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use super::Report;
use crate::commands::console::{self, out, outln};
use crate::config::secret::Secret;
use crate::config::{ConfigArgs, Settings};
use crate::http::tokens::Tokens;
use crate::http::transport;
use crate::ops::metrics::samples::Samples;
use overview::{Answers, Overview};

/// How long one answer may take.
const WITHIN: Duration = Duration::from_secs(10);
/// Bytes of one answer at most.
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// Partitions that are printed at most.
const MOST_PARTITIONS: usize = 30;
/// Clears the screen and goes to its corner.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Arguments of `dig-ingest status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dig-ingest status --config job.toml
  dig-ingest status --watch --url http://127.0.0.1:9464
  dig-ingest status --report json --url http://127.0.0.1:9464

Rates are measured between two readings, --every-s apart.")]
pub struct Args {
    /// Address of the job's operations server; without it ops.listen of the settings on this machine.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Go on until interrupted; with --report json one object per reading.
    #[arg(long)]
    watch: bool,
    /// Seconds between two readings.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every_s: u64,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t)]
    report: Report,
    #[command(flatten)]
    settings: ConfigArgs,
}

/// Runs the command.
///
/// # Errors
/// Nothing answers at the address, or what answers is no operations server of this program.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = super::load(&args.settings)?;
    let job = Job::new(args.url.as_deref(), &settings)?;
    let every = Duration::from_secs(args.every_s);
    let (mut before, mut at) = (job.ask().await?, Instant::now());
    loop {
        tokio::time::sleep(every).await;
        let (answers, now) = (job.ask().await?, Instant::now());
        let overview = Overview::of(&job.url, &answers, Some((&before, now - at)));
        match args.report {
            Report::Json => outln!("{}", serde_json::to_string(&overview)?),
            Report::Text => {
                if args.watch {
                    console::raw(CLEAR);
                }
                out!("{}", overview.text(MOST_PARTITIONS));
            }
        }
        if !args.watch || console::reader_gone() {
            return Ok(ExitCode::SUCCESS);
        }
        console::flush();
        (before, at) = (answers, now);
    }
}

/// The job that is asked.
struct Job {
    /// Without the slash at its end.
    url: String,
    client: transport::Client,
    /// For the page's own paths, where the settings have one.
    token: Option<Secret>,
}

impl Job {
    fn new(url: Option<&str>, settings: &Settings) -> anyhow::Result<Self> {
        let url = match url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let mut listen = settings.ops.listen;
                anyhow::ensure!(
                    listen.port() != 0,
                    "ops.listen: port 0 takes any free port, so the settings do not say which; give --url with the port that the job's log names"
                );
                if listen.ip().is_unspecified() {
                    listen.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
                }
                format!("http://{listen}")
            }
        };
        anyhow::ensure!(
            url.starts_with("http://") || url.starts_with("https://"),
            "--url {url}: must begin with http:// or https://, such as http://127.0.0.1:9464"
        );
        let page = &settings.ops.page;
        let token = match page.has_token() {
            true => Tokens::load("ops.page", &page.token, &page.token_file)?
                .first()
                .cloned(),
            false => None,
        };
        let options = transport::Options {
            section: "status",
            plain: url.starts_with("http://"),
            ca_file: None,
            ca_file_only: false,
            proxy: None,
            user_agent: concat!("dig-ingest/", env!("CARGO_PKG_VERSION")),
            connect_timeout: WITHIN,
            pool_idle: WITHIN * 2,
            pool_size: 1,
        };
        Ok(Self {
            client: transport::client(options, Default::default())?,
            url,
            token,
        })
    }

    async fn ask(&self) -> anyhow::Result<Answers> {
        let (_, status) = self.get("/status").await?;
        let status: Value = serde_json::from_slice(&status)
            .ok()
            .filter(|status: &Value| status["version"].is_string())
            .with_context(|| {
                format!(
                    "{}: answers, but not as the operations server of dig-ingest; check --url, or ops.listen of the settings",
                    self.url
                )
            })?;
        let (_, metrics) = self.get("/metrics").await?;
        // Only where the orders part runs and this caller may ask it.
        let alarms = match self.get("/api/alarms").await? {
            (200, body) => serde_json::from_slice::<Value>(&body)
                .ok()
                .and_then(|body| body["alarms"].as_array().cloned()),
            _ => None,
        };
        Ok(Answers {
            status,
            samples: Samples::read(&String::from_utf8_lossy(&metrics)),
            alarms,
        })
    }

    async fn get(&self, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        let mut request = self
            .client
            .get(format!("{}{path}", self.url))
            .timeout(WITHIN);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        let answer = request.send().await.map_err(|error| {
            anyhow::anyhow!(
                "{}: no answer ({}); is the job running, and is this its ops.listen? Give --url if it is elsewhere",
                self.url,
                transport::failure(error)
            )
        })?;
        let status = answer.status().as_u16();
        let (body, end) = transport::read_within(answer, MOST_BYTES).await;
        match end {
            Ok(()) => Ok((status, body)),
            Err(transport::End::TooLarge) => {
                anyhow::bail!(
                    "{}{path}: answers with more than {MOST_BYTES} bytes; check --url",
                    self.url
                )
            }
            Err(transport::End::Cut(why)) => {
                anyhow::bail!(
                    "{}{path}: the answer broke off ({why}); try again",
                    self.url
                )
            }
        }
    }
}
