//! The people's side as one task: the API, the watch for termination sheets and the mail's cross-check, each if it is switched on.
//!
//! It needs no lease: whatever it does is an act of a person, or changes nothing when it is done twice. Cancelled, it ends at once;
//! what is under way in the store is done or not.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::recall::Witnesses;
use super::store::Store;
use super::{Clock, Config, mail, terminations, web};

/// The sources besides the store.
#[derive(Clone)]
pub struct Outside {
    /// Asks the device registry for serials that termination sheets name.
    pub ask: terminations::Ask,
    /// Asks the device registry and MyAdmin what a recovery is planned from.
    pub witnesses: Witnesses,
}

/// Whether the settings ask for any of it.
#[must_use]
pub fn wanted(config: &Config) -> bool {
    config.web.enabled || config.terminations.wanted() || config.mail.wanted()
}

/// Runs what the settings ask for, until `stop`.
///
/// # Errors
/// A failure at the start: no token, an address in use.
pub async fn run(
    config: Arc<Config>,
    store: Store,
    outside: Outside,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let api = if config.web.enabled {
        let api = web::start(
            Arc::clone(&config),
            store.clone(),
            outside.clone(),
            Arc::clone(&clock),
        )
        .await?;
        tracing::info!(address = %api.address(), "orders API");
        Some(api)
    } else {
        None
    };
    let watched = watch(&config, &store, &outside.ask, &clock);
    let result = tokio::select! {
        result = watched => result,
        () = stop.cancelled() => Ok(()),
    };
    if let Some(api) = api {
        api.stop().await;
    }
    result
}

/// Looks for sheets and mail, for ever.
async fn watch(
    config: &Config,
    store: &Store,
    ask: &terminations::Ask,
    clock: &Clock,
) -> anyhow::Result<()> {
    let sheets = async {
        if config.terminations.wanted() {
            let (own, config) = (config.own_prefixes(), config.terminations.clone());
            let mut tick = every(config.every_s);
            let (store, ask, clock) = (store.clone(), Arc::clone(ask), Arc::clone(clock));
            let watcher = terminations::watch::Watcher::new(store, ask, config, clock)?;
            let mut watcher = watcher.with_own(own);
            loop {
                tick.tick().await;
                watcher.look().await;
            }
        }
        std::future::pending().await
    };
    let letters = async {
        if config.mail.wanted() {
            let config = config.mail.clone();
            let mut tick = every(config.every_s);
            let mut watcher = mail::folder::Watcher::new(store.clone(), config, Arc::clone(clock))?;
            loop {
                tick.tick().await;
                watcher.look().await;
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        result = sheets => result,
        result = letters => result,
    }
}

fn every(seconds: u64) -> tokio::time::Interval {
    let mut tick = tokio::time::interval(Duration::from_secs(seconds));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick
}
