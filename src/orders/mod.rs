//! The order journey: from an approved order to an active device, exactly once.
//!
//! Owns the store, and with it what every order and unit has come to. A reconciler compares what the marketplace shows with what
//! the store holds and does what is missing; people, imports and sheets act on the same store; the outbox carries what follows for
//! the device registry to its topic, where the gate reads it.
//!
//! * P1: a unit never gets two serials: [`provision`].
//! * P2: a device becomes active only when all its conditions hold: [`journey`].
//! * P3: nothing is provisioned before store, registry and MyAdmin were compared: [`proof`], [`registrar`].
//! * One instance acts, by a lease in the store; every change it writes is fenced by the lease's token: [`lease`], [`store`].
//!
//! It knows neither Kafka nor the pipeline: they meet in `registry`. Its only queue is the outbox, a table without bound in the
//! store. Cancelled, it ends before its next act, and finishes the call it had begun: [`calls`].

pub mod access;
pub mod alarms;
mod answer;
pub mod calls;
pub mod desk;
pub mod executor;
pub mod export;
pub mod exports;
pub mod identifiers;
pub mod import;
pub mod inventory;
pub mod journey;
pub mod lease;
pub mod lines;
pub mod mail;
pub mod market;
pub mod outbox;
pub mod page;
pub mod picking;
pub mod proof;
pub mod provision;
pub mod recall;
pub mod reconcile;
mod recovered;
pub mod recovery;
pub mod refused;
pub mod registrar;
mod report;
pub mod round;
pub mod rows;
pub mod settings;
pub mod store;
pub mod terminations;
pub mod unit_identifiers;
pub mod views;
pub mod wait;
pub mod watched;
pub mod web;
pub mod worksheet;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::ops::metrics::orders as metrics;
use calls::Calls;
use lease::Lease;
use market::Market;
use registrar::{Pace, Registrar};
use round::Reconciler;
pub use settings::Config;
use store::{Error, Store};

/// Least time between two rounds, whatever hints come.
const PAUSE: Duration = Duration::from_millis(50);
/// After a round that the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// The parts that the journey is started with.
pub struct Parts<M> {
    /// Client of MyAdmin; every reconciler gets a clone.
    pub market: M,
    /// The orders store; the caller closes it after `run` has ended.
    pub store: Store,
    /// Takes the device registry's topic over for the holder of the lease.
    pub open: registrar::Open,
    /// The sources that the API and the commands ask besides the store.
    pub outside: desk::Outside,
    /// The wall clock.
    pub clock: Clock,
    /// Name of this instance, shown to operators of the instances that wait for the lease.
    pub name: String,
}

/// The wall clock, handed in.
pub type Clock = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// The wall clock of this machine.
#[must_use]
pub fn wall_clock() -> Clock {
    Arc::new(jiff::Timestamp::now)
}

/// Does the journey until `stop`, and the people's side of it beside. With the lease at another instance the journey waits; people
/// are served all the same.
///
/// # Errors
/// A failure that only an operator can mend: a store with impossible contents, an API that cannot listen.
pub async fn run<M: Market + Clone + 'static>(
    config: Arc<Config>,
    parts: Parts<M>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    // Whichever cannot go on ends the other one in order.
    let ended = stop.child_token();
    let desk = async {
        let (store, clock) = (parts.store.clone(), Arc::clone(&parts.clock));
        let outside = parts.outside.clone();
        let result = desk::run(Arc::clone(&config), store, outside, clock, ended.clone()).await;
        ended.cancel();
        result
    };
    let journey = async {
        let calls = Calls::default();
        let result = lead(Arc::clone(&config), &parts, ended.clone(), &calls).await;
        ended.cancel();
        finish(&calls, config.finish_s).await;
        result
    };
    let (desk, journey) = tokio::join!(Box::pin(desk), journey);
    journey.and(desk)
}

async fn lead<M: Market + Clone + 'static>(
    config: Arc<Config>,
    parts: &Parts<M>,
    stop: CancellationToken,
    calls: &Calls,
) -> anyhow::Result<()> {
    let life = Duration::from_secs(config.lease_s);
    loop {
        let lease = tokio::select! {
            lease = Lease::take(&parts.store, &parts.name, life, &parts.clock) => lease,
            () = stop.cancelled() => return Ok(()),
        };
        tracing::info!(token = lease.token().0, "this instance acquired the lease");
        metrics::set_leading(true);
        let ended = tokio::select! {
            ended = hold(&config, parts, &lease, calls) => Some(ended),
            () = stop.cancelled() => None,
        };
        metrics::set_leading(false);
        match ended {
            None => {
                lease.leave().await;
                return Ok(());
            }
            Some(Error::LeaseLost) => {
                tracing::warn!("this instance lost the lease and stands by");
            }
            Some(error) => {
                lease.leave().await;
                return Err(error.into());
            }
        }
    }
}

/// Waits for the answer of a call that was begun; the answer is written even if the lease was lost meanwhile.
async fn finish(calls: &Calls, within_s: u64) {
    if calls.ended(Duration::ZERO).await > 0 {
        tracing::info!(
            within_s,
            "waiting for the answer of a call to MyAdmin before leaving"
        );
    }
    if calls.ended(Duration::from_secs(within_s)).await > 0 {
        tracing::warn!(
            "a call to MyAdmin was not answered within orders.finish_s: what came of it is in doubt, and is cleared up by what is listed"
        );
    }
}

/// Everything that is done while the lease is held; ends with why it cannot go on.
async fn hold<M: Market + Clone + 'static>(
    config: &Arc<Config>,
    parts: &Parts<M>,
    lease: &Lease,
    calls: &Calls,
) -> Error {
    let pace = Pace {
        keep: Duration::from_secs(u64::from(config.outbox_days) * 86_400),
        compare_every: Duration::from_secs(config.compare_every_s),
    };
    let clock = &parts.clock;
    let registrar = Arc::new(Registrar::new(
        parts.store.clone(),
        Arc::clone(&parts.open),
        lease.sure(),
        pace,
        Arc::clone(clock),
        lease.token(),
    ));
    tokio::select! {
        error = lease.keep(clock) => error,
        error = rounds(config, parts, lease, calls, &registrar) => error,
        error = registrar.run() => error,
    }
}

async fn rounds<M: Market + Clone + 'static>(
    config: &Arc<Config>,
    parts: &Parts<M>,
    lease: &Lease,
    calls: &Calls,
    registrar: &Arc<Registrar>,
) -> Error {
    let mut reconciler = Reconciler::new(
        parts.market.clone(),
        parts.store.clone(),
        Arc::clone(config),
        Arc::clone(&parts.clock),
        lease.token(),
        calls.clone(),
        Arc::clone(registrar),
    );
    let every = config
        .readiness_every_s
        .min(config.orders_every_s)
        .min(config.devices_every_s);
    loop {
        match reconciler.round().await {
            Ok(report) => {
                metrics::count_round("done");
                if report.acts > 0 {
                    tracing::debug!(?report, "a round ended");
                }
            }
            Err(error @ (Error::LeaseLost | Error::Corrupt { .. })) => {
                metrics::count_round("failed");
                return error;
            }
            Err(error) => {
                metrics::count_round("failed");
                tracing::warn!(%error, "a reconciliation round failed; the next round continues from the store");
                tokio::time::sleep(STORE_PAUSE).await;
                continue;
            }
        }
        tokio::time::sleep(PAUSE).await;
        // A hint, or what may be due by time.
        let _ = tokio::time::timeout(Duration::from_secs(every), parts.store.hinted()).await;
    }
}
