//! `dig-ingest run`: the streaming job and the order journey, or one of them, with the operations pages, until a signal ends it.

mod rehearse;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Report;
use super::leave::{self, HangUp};
use crate::app::reload::Reloader;
use crate::app::{Chosen, Part};
use crate::config::{self, ConfigArgs, Settings};
use crate::ops::notify::Notifier;
use crate::ops::panics::{self, Panics};
use crate::ops::status_registry::StatusRegistry;
use crate::ops::{log, metrics, web};
use crate::page::{self, Mounts};
use crate::pipeline::End;

/// Arguments of `dig-ingest run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  export DIG_INGEST__DIG__USERNAME=integrator@example.com
  export DIG_INGEST__DIG__PASSWORD_FILE=/run/secrets/dig-password
  dig-ingest run --config config/dig-ingest.toml
  dig-ingest run --set kafka.brokers=127.0.0.1:9092 --set dig.url=http://127.0.0.1:8080/
  dig-ingest run --only orders --config config/dig-ingest.toml
  dig-ingest run --dry-run --messages 1000 --config config/dig-ingest.toml

The order journey runs when orders.enabled is true. Several instances may do it on one store: one acts, the others wait.")]
pub struct Args {
    /// Only this part of the job: the pipeline opens no orders store, the orders read no telemetry and do not log in at the gateway.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Read from the committed offsets to the present ends, print the requests that would be sent with their serials, and end:
    /// nothing is sent, written or committed, and no group is joined.
    #[arg(long)]
    dry_run: bool,
    /// Of a dry run: end after about so many messages.
    #[arg(long, value_name = "N", requires = "dry_run")]
    messages: Option<u64>,
    /// Of a dry run: form of the report.
    #[arg(long, value_enum, default_value_t, requires = "dry_run")]
    report: Report,
    #[command(flatten)]
    settings: ConfigArgs,
}

/// Runs until SIGTERM or SIGINT, which drain and commit within `input.shutdown_ms`; a second one leaves at once. SIGHUP reloads the
/// settings ([`crate::app::reload`]).
///
/// # Errors
/// Settings that cannot be used, what the job cannot go on without, or a panic in any task or thread.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.dry_run {
        anyhow::ensure!(
            args.only != Some(Part::Orders),
            "--dry-run reads telemetry: leave out --only orders"
        );
        let settings = super::load(&args.settings)?;
        let most = args.messages.unwrap_or(u64::MAX);
        return rehearse::run(settings, most, args.report).await;
    }
    let mut settings = load(args.only, &args.settings)?;
    let chosen = Chosen::of(&settings, args.only)?;
    let (reloader, live) = Reloader::new(&settings, chosen)?;
    let partitions = if chosen.pipeline {
        settings.memory.partitions
    } else {
        0
    };
    let fit = settings.fit(partitions);
    log::start(&settings.log)?;
    let mut panics = panics::watch();
    let stop = CancellationToken::new();
    let asked = Arc::new(Notify::new());
    let hang_up = HangUp::Reloads(Arc::clone(&asked));
    leave::watch(stop.clone(), leave::bound(&settings, chosen), hang_up)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
    for (setting, value) in settings.differing() {
        tracing::info!(setting, value, "setting differs from its default");
    }
    for caution in args.settings.cautions(&settings) {
        tracing::warn!(caution, "a secret file is readable by other users");
    }
    let formula = settings.memory_formula(partitions);
    if !fit.lowered.is_empty() {
        tracing::warn!(
            limit_bytes = formula.limit_bytes,
            limit_file = fit.limit_file.as_deref().map(|file| file.display().to_string()),
            lowered = %fit,
            "sizes with default values were lowered so that the job fits into its memory; set them, or give more memory, to change that"
        );
    }
    formula.check()?;
    let exposition = metrics::install()?;
    let board = StatusRegistry::new(Instant::now());
    let mounts = Mounts::default();
    let letters = page::letters::router(page::letters::Reader::of(&settings));
    let page = page::router(
        &settings.ops,
        exposition.clone(),
        Arc::clone(&board),
        mounts.clone(),
        letters,
    )?;
    let pages = web::start(&settings.ops, Arc::clone(&board), exposition, page).await?;
    tracing::info!(address = %pages.address(), "operations pages");
    let notifier = Notifier::of(config::service_manager());
    let stall_after = Duration::from_secs(settings.ops.stall_after_s);
    let told = tokio::spawn(notifier.clone().follow(Arc::clone(&board), stall_after));
    let reloads = Reloads {
        asked,
        only: args.only,
        settings: args.settings,
        notifier: notifier.clone(),
    };
    let reloads = tokio::spawn(reloads.follow(reloader));
    let job = Box::pin(crate::app::run(
        settings,
        chosen,
        live,
        board,
        mounts,
        stop.clone(),
    ));
    let result = until_panic(job, &mut panics, &stop).await;
    reloads.abort();
    told.abort();
    notifier.stopping();
    // From here on leaving is bounded, also when a part ended by itself.
    stop.cancel();
    pages.stop().await;
    match result? {
        End::InOrder => tracing::info!("shutdown completed"),
        End::LeftWithoutBroker => tracing::warn!(
            "ended, but no broker answered in time: the group gives our partitions away after kafka.session_timeout_ms, \
             and what was in hand is read again"
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// The settings of this part of the job; the gateway's credentials are none of the orders' business.
fn load(only: Option<Part>, settings: &ConfigArgs) -> Result<Settings, config::Error> {
    match only {
        Some(Part::Orders) => settings.load(),
        Some(Part::Pipeline) | None => settings.load_complete(),
    }
}

/// What reloads the settings whenever a signal asks for it.
struct Reloads {
    /// Notified by the signals' thread; one that comes during a reload is kept.
    asked: Arc<Notify>,
    /// Which part of the job runs.
    only: Option<Part>,
    /// The flags that name the settings.
    settings: ConfigArgs,
    /// Told of every reload.
    notifier: Notifier,
}

impl Reloads {
    async fn follow(self, mut reloader: Reloader) {
        loop {
            self.asked.notified().await;
            let (only, settings) = (self.only, self.settings.clone());
            // Files are read: not on a thread that serves requests.
            let work = tokio::task::spawn_blocking(move || {
                let applied = reloader.reload(|| Ok(load(only, &settings)?));
                (reloader, applied)
            });
            // A panic is reported as every panic is, and ends the job.
            let Ok((back, applied)) = work.await else {
                return;
            };
            reloader = back;
            self.notifier.reloaded(applied);
        }
    }
}

/// Waits for the job. A panic in any task or thread begins its drain, and is its error.
///
/// # Errors
/// The job's, or the panic.
pub(super) async fn until_panic<T>(
    mut job: impl Future<Output = anyhow::Result<T>> + Unpin,
    panics: &mut Panics,
    stop: &CancellationToken,
) -> anyhow::Result<T> {
    let ended = tokio::select! {
        ended = &mut job => Some(ended),
        _ = panics.first() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            stop.cancel();
            job.await
        }
    };
    match (panics.told(), ended) {
        (None, ended) => ended,
        (Some(told), Ok(_)) => Err(anyhow::anyhow!(told)),
        (Some(told), Err(error)) => Err(error.context(told)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_any_task_begins_the_drain_and_is_the_error() {
        let mut panics = panics::watch();
        let stop = CancellationToken::new();
        let drained = stop.clone();
        let job = Box::pin(async move {
            drained.cancelled().await;
            Ok(End::InOrder)
        });
        let broken = tokio::spawn(async { panic!("an invariant of a task nobody waits for") });
        let error = until_panic(job, &mut panics, &stop).await.unwrap_err();
        assert!(format!("{error:#}").contains("panicked at"), "{error:#}");
        assert!(stop.is_cancelled());
        assert!(broken.await.is_err());
    }

    #[tokio::test]
    async fn the_job_s_own_error_is_told_beside_the_panic() {
        let (mut panics, stop) = (panics::watch(), CancellationToken::new());
        let _ = std::thread::spawn(|| panic!("an invariant of a thread")).join();
        let job = Box::pin(async { Err::<End, _>(anyhow::anyhow!("the consumer thread ended")) });
        let error = format!(
            "{:#}",
            until_panic(job, &mut panics, &stop).await.unwrap_err()
        );
        assert!(
            error.contains("panicked at") && error.ends_with("the consumer thread ended"),
            "{error}"
        );
    }
}
