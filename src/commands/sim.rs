//! `dig-ingest sim`: the simulated gateway as a program of its own.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::commands::console::outln;
use crate::ops::log;
use crate::sim::{Account, Config, Keep, Settings, market};

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
  dig-ingest sim --listen 127.0.0.1:8480 --market
      MyAdmin and its marketplace too: only devices that were ordered, provisioned and put into a
      database may send. Users integrator@example.com and partner@example.com, password
      \"simulated\"; products CTD-100 (10032, CX), CTD-200 (10184, C8, needs SIM and IMEI) and
      CABLE-1 (never provisioned).
  dig-ingest sim --market --product BOX-7:10500:B7:sim --market-set visible_max_ms=900000 \\
      --market-set termination_delay_s=60
      A product of your own, new serials that take up to 15 minutes to show, terminations that
      take a minute.

Script faults and read the ledger while it runs:
  URL=http://127.0.0.1:8480
  curl -X POST $URL/control/faults \\
      -d '{\"operation\":\"records\",\"action\":{\"status\":{\"status\":503}},\"count\":3}'
  curl -X POST $URL/control/faults \\
      -d '{\"operation\":\"records\",\"serial\":\"CX0000000001\",\"action\":{\"status\":{\"status\":500}}}'
      # Fails on every request that holds this device; also \"stall\", {\"cut\":\"after_body\"};
      # one rule for each device.
  curl -X PUT $URL/control/outage -d '{\"status\":{\"status\":503}}'
  curl -X DELETE $URL/control/outage
  curl $URL/control/ledger > ledger.ndjson
  curl $URL/control/counters

With --market, be the customer and the Partner:
  curl $URL/control/market/orders -d '{\"lines\":[{\"product_code\":\"CTD-100\",\"quantity\":2}]}'
  curl -X POST $URL/control/market/orders/40001/approve
  curl $URL/control/market/devices
  curl $URL/control/market/devices/SERIAL/assign -d '{\"database\":\"customer\"}'
  curl -X POST $URL/control/market/devices/SERIAL/terminate
  curl $URL/control/market/terminations.csv
  curl $URL/control/clock -d '{\"advance_ms\":86400000}'
  curl $URL/control/market/scripts -d '{\"turn\":{\"lose_answer\":\"cut\"}}'")]
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
    /// Serve MyAdmin and its marketplace too.
    #[arg(long)]
    market: bool,
    /// A product of the marketplace, `CODE:PRODUCT_ID:PREFIX`, and what else its units require: `:sim`, `:imei`; repeatable.
    /// One that is never provisioned is `CODE` alone.
    #[arg(long = "product", value_name = "PRODUCT", requires = "market")]
    products: Vec<String>,
    /// The password of all users of MyAdmin, from this file; "simulated" without.
    #[arg(long, value_name = "FILE", requires = "market")]
    market_password_file: Option<std::path::PathBuf>,
    /// Any setting of the marketplace, by its name in `GET /control/market/settings`; repeatable.
    #[arg(long = "market-set", value_name = "NAME=VALUE", requires = "market")]
    market_settings: Vec<String>,
    /// Print the counters as one JSON object when it ends.
    #[arg(long, value_enum)]
    report: Option<Report>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Report {
    Json,
}

/// Runs the command until SIGTERM, SIGINT (ctrl-c) or SIGHUP.
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
        market: market(&args)?,
    };
    let mut signals = super::leave::Signals::listen()?;
    let market = config.settings.market;
    let sim = crate::sim::start(config).await?;
    log::progress(&format!(
        "simulated gateway on {} (control under {}/control{})",
        sim.url(),
        sim.url(),
        if market {
            ", MyAdmin under /v2, /v3 and /api"
        } else {
            ""
        }
    ));
    signals.next().await;
    let counters = sim.stop().await;
    log::progress(&format!(
        "simulated gateway ends: {} records accepted, {} duplicates, {} dropped, {} invalid, {} out of order",
        counters.records_accepted,
        counters.records_duplicate,
        counters.records_dropped,
        counters.records_invalid,
        counters.inversions
    ));
    if args.report == Some(Report::Json) {
        outln!(
            "{}",
            serde_json::to_string(&counters).context("writing the counters")?
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn password(flag: &str, file: &std::path::Path) -> anyhow::Result<String> {
    let password =
        std::fs::read_to_string(file).with_context(|| format!("{flag} {}", file.display()))?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}

fn account(args: &Args) -> anyhow::Result<Option<Account>> {
    let (Some(username), Some(file)) = (&args.username, &args.password_file) else {
        return Ok(None);
    };
    Ok(Some(Account {
        username: username.clone(),
        password: password("--password-file", file)?,
    }))
}

fn market(args: &Args) -> anyhow::Result<market::Config> {
    let mut config = market::Config::default();
    config.settings = changed(&config.settings, "--market-set", &args.market_settings, &[])
        .context("a setting of the market (see `GET /control/market/settings` for all names)")?;
    if let Some(file) = &args.market_password_file {
        let password = password("--market-password-file", file)?;
        for user in &mut config.users {
            user.password.clone_from(&password);
        }
    }
    for text in &args.products {
        let product =
            product(text).with_context(|| format!("--product {text}: expected CODE or CODE:PRODUCT_ID:PREFIX[:sim][:imei], e.g. BOX-7:10500:B7:imei"))?;
        config
            .products
            .retain(|known| known.product_code != product.product_code);
        config.products.push(product);
    }
    Ok(config)
}

/// `None` when the text is no product.
fn product(text: &str) -> Option<market::Product> {
    let mut parts = text.split(':');
    let product_code = parts.next().filter(|code| !code.is_empty())?.to_owned();
    let mut product = market::Product {
        product_code,
        product_id: None,
        prefix: String::new(),
        requires_serial: false,
        requires_sim: false,
        requires_imei: false,
        attribute: None,
    };
    if let Some(number) = parts.next() {
        product.product_id = Some(number.parse().ok()?);
        let prefix = parts.next()?;
        let fits = prefix.len() == 2 && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric());
        product.prefix = fits.then(|| prefix.to_ascii_uppercase())?;
        product.requires_serial = true;
    }
    for part in parts {
        match part {
            "sim" => product.requires_sim = true,
            "imei" => product.requires_imei = true,
            _ => return None,
        }
    }
    Some(product)
}

fn settings(args: &Args) -> anyhow::Result<Settings> {
    let given = [
        ("market", args.market.then_some(json!(true))),
        ("bearer_s", args.bearer_seconds.map(|value| json!(value))),
        ("refresh_s", args.refresh_seconds.map(|value| json!(value))),
        (
            "auth_per_minute",
            args.auth_per_minute.map(|value| json!(value)),
        ),
    ];
    changed(&Settings::default(), "--set", &args.settings, &given)
        .context("a setting (see `GET /control/settings` for all names)")
}

/// Settings with some changed: those that have a flag of their own, then `NAME=VALUE` texts.
fn changed<T: Serialize + DeserializeOwned>(
    settings: &T,
    flag: &str,
    texts: &[String],
    given: &[(&str, Option<Value>)],
) -> anyhow::Result<T> {
    let mut all = serde_json::to_value(settings).context("the settings")?;
    for (name, value) in given {
        if let Some(value) = value {
            all[*name] = value.clone();
        }
    }
    for text in texts {
        let (name, value) = text
            .split_once('=')
            .with_context(|| format!("{flag} {text}: expected NAME=VALUE"))?;
        // What is no JSON is a word, so that texts need no quotes.
        all[name] = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
    }
    Ok(serde_json::from_value(all)?)
}
