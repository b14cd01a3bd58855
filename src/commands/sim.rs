//! `dig-ingest sim`: the simulated gateway as a program of its own.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use crate::sim::{Account, Config, Keep, Settings};

/// Arguments of `dig-ingest sim`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  dig-ingest sim --listen 127.0.0.1:8480
      Serve the gateway; its URL is printed on standard error.
  dig-ingest sim --listen 127.0.0.1:0 --ledger none --auth-per-minute 0
      For measuring: any free port, nothing remembered, no limit on logins.
  dig-ingest sim --listen 127.0.0.1:8480 --bearer-seconds 30 --refresh-seconds 60 --report json
      Short-lived tokens; the counters as one line of JSON at the end.
  dig-ingest sim --listen 127.0.0.1:8480 --set max_bytes=1048576 --set throttle=8
      Any setting of `GET /control/settings`.

Script faults and read the ledger while it runs:
  curl -X POST $URL/control/faults -d '{\"operation\":\"records\",\"action\":{\"status\":{\"status\":503}},\"count\":3}'
  curl -X PUT $URL/control/outage -d '{\"status\":{\"status\":503}}';  curl -X DELETE $URL/control/outage
  curl $URL/control/ledger > ledger.ndjson;  curl $URL/control/counters")]
pub struct Args {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8480")]
    listen: SocketAddr,
    /// How much of what was accepted is remembered.
    #[arg(long, value_enum, default_value_t = Keep::Full)]
    ledger: Keep,
    /// Seed of everything random but tokens and tracking ids.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Life of a bearer token, seconds.
    #[arg(long, value_name = "S")]
    bearer_seconds: Option<u64>,
    /// Life of a refresh token, seconds.
    #[arg(long, value_name = "S")]
    refresh_seconds: Option<u64>,
    /// Authentication calls a minute for each endpoint and user; 0 is no limit.
    #[arg(long, value_name = "N")]
    auth_per_minute: Option<u32>,
    /// Only this user may log in, with the password of `--password-file`; otherwise any name and password will do.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// File with the password of `--username`.
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<std::path::PathBuf>,
    /// Any setting, by its name in `GET /control/settings`; repeatable.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Print the counters as one JSON object when it ends.
    #[arg(long, value_enum)]
    report: Option<Report>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Report {
    Json,
}

/// Runs the command until SIGTERM or ctrl-c.
///
/// # Errors
/// A setting that does not exist or fit, or an address that cannot be listened on.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config {
        listen: args.listen,
        keep: args.ledger,
        seed: args.seed,
        account: account(&args)?,
        settings: settings(&args)?,
    };
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("cannot wait for SIGTERM")?;
    let sim = crate::sim::start(config).await?;
    eprintln!(
        "simulated gateway on {} (control under {}/control)",
        sim.url(),
        sim.url()
    );
    tokio::select! {
        _ = terminated.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot wait for ctrl-c")?,
    }
    let counters = sim.stop().await;
    eprintln!(
        "simulated gateway ends: {} records accepted, {} duplicates, {} dropped, {} invalid, {} out of order",
        counters.records_accepted,
        counters.records_duplicate,
        counters.records_dropped,
        counters.records_invalid,
        counters.inversions
    );
    if args.report == Some(Report::Json) {
        println!(
            "{}",
            serde_json::to_string(&counters).context("writing the counters")?
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn account(args: &Args) -> anyhow::Result<Option<Account>> {
    let (Some(username), Some(file)) = (&args.username, &args.password_file) else {
        return Ok(None);
    };
    let password = std::fs::read_to_string(file)
        .with_context(|| format!("--password-file {}", file.display()))?;
    Ok(Some(Account {
        username: username.clone(),
        password: password.trim_end_matches(['\r', '\n']).to_owned(),
    }))
}

fn settings(args: &Args) -> anyhow::Result<Settings> {
    let mut all = serde_json::to_value(Settings::default()).context("the settings")?;
    let given = [
        ("bearer_s", args.bearer_seconds.map(|value| json!(value))),
        ("refresh_s", args.refresh_seconds.map(|value| json!(value))),
        (
            "auth_per_minute",
            args.auth_per_minute.map(|value| json!(value)),
        ),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            all[name] = value;
        }
    }
    for setting in &args.settings {
        let (name, value) = setting
            .split_once('=')
            .with_context(|| format!("--set {setting}: expected NAME=VALUE"))?;
        // What is no JSON is a word, so that texts need no quotes.
        all[name] = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
    }
    serde_json::from_value(all).context("a setting (see `GET /control/settings` for all names)")
}
