//! `dig-ingest run`: the streaming job and the order journey, or one of them, with the operations pages, until a signal ends it.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::{Chosen, Part};
use crate::config::ConfigArgs;
use crate::ops::board::Board;
use crate::ops::{log, metrics, web};
use crate::pipeline::End;

/// Arguments of `dig-ingest run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dig-ingest run --config config/dig-ingest.toml
  DIG_INGEST__DIG__PASSWORD_FILE=/run/secrets/dig dig-ingest run --config job.toml
  dig-ingest run --set kafka.brokers=127.0.0.1:9092 --set dig.url=http://127.0.0.1:8080/
  dig-ingest run --only orders --config config/dig-ingest.toml

The order journey runs when orders.enabled is true. Several instances may do it on one store: one acts, the others wait.")]
pub struct Args {
    /// Only this part of the job: the pipeline opens no orders store, the orders read no telemetry and do not log in at the gateway.
    #[arg(long, value_enum)]
    only: Option<Part>,
    #[command(flatten)]
    settings: ConfigArgs,
}

/// Runs until SIGTERM or SIGINT, which drain and commit within `input.shutdown_ms`; a second one leaves at once.
///
/// # Errors
/// Settings that cannot be used, or what the job cannot go on without.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut settings = match args.only {
        // The gateway's credentials are none of its business.
        Some(Part::Orders) => args.settings.load()?,
        Some(Part::Pipeline) | None => args.settings.load_complete()?,
    };
    let chosen = Chosen::of(&settings, args.only)?;
    let partitions = if chosen.pipeline {
        settings.memory.partitions
    } else {
        0
    };
    let fit = settings.fit(partitions);
    log::start(&settings.log)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), settings = %settings.redacted(), "starting");
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
    let board = Board::new(Instant::now());
    let pages = web::start(&settings.ops, std::sync::Arc::clone(&board), exposition).await?;
    tracing::info!(address = %pages.address(), "operations pages");
    let stop = CancellationToken::new();
    let signals = tokio::spawn(obey_signals(stop.clone()));
    let result = crate::app::run(settings, chosen, board, stop).await;
    signals.abort();
    pages.stop().await;
    match result? {
        End::InOrder => tracing::info!("ended in order"),
        End::Unleft => tracing::warn!(
            "ended, but no broker answered in time: the group gives our partitions away after kafka.session_timeout_ms, \
             and what was in hand is read again"
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// Cancels at the first signal, leaves at once at the second.
pub(super) async fn obey_signals(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    for last in [false, true] {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if last {
            tracing::warn!("second signal: leaving now; what was in hand is read again");
            #[expect(
                clippy::disallowed_methods,
                reason = "the second signal asks for exactly this"
            )]
            std::process::exit(130);
        }
        tracing::info!("draining");
        stop.cancel();
    }
    Ok(())
}
