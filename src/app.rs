//! The composition root: the only module that knows every part of the job.
//!
//! Everything else is handed its parts. The streaming job (`stream`) and the order journey (`journey`) are put together from
//! the settings and meet in the device registry's topic alone, so that they run in one process or in two. Whichever cannot go on
//! ends the other one in order.

mod journey;
pub mod reload;
mod stream;

use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::ops::status_registry::StatusRegistry;
use crate::page::Mounts;
use crate::pipeline::gate::Mode;
use crate::pipeline::live::LiveWatch;
use crate::pipeline::topics::{Keep, Wanted, create_once_answered};
use crate::pipeline::{self, End};

pub use journey::{ask, witnesses};
pub use reload::{formats, rules, shapes};
pub use stream::run as stream;

/// One part of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// From Kafka to the gateway.
    Pipeline,
    /// From an order to an active device.
    Orders,
}

/// Which parts run in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    pub pipeline: bool,
    pub orders: bool,
}

impl Chosen {
    /// Those that are asked for; without a word all that are switched on.
    ///
    /// # Errors
    /// A part that is asked for and switched off.
    pub fn of(settings: &Settings, only: Option<Part>) -> anyhow::Result<Self> {
        let enabled = settings.orders.enabled;
        anyhow::ensure!(
            only != Some(Part::Orders) || enabled,
            "--only orders: orders.enabled is false, so there is nothing to run; set orders.enabled = true"
        );
        Ok(Self {
            pipeline: only != Some(Part::Orders),
            orders: enabled && only != Some(Part::Pipeline),
        })
    }
}

/// Runs the chosen parts until `stop`. `live`: what of the settings may be replaced meanwhile; without it nothing is. `mounts`: where the
/// parts answer the operator page.
///
/// # Errors
/// The first reason why a part could not go on, and settings that cannot be used.
pub async fn run(
    settings: Settings,
    chosen: Chosen,
    live: Option<LiveWatch>,
    board: Arc<StatusRegistry>,
    mounts: Mounts,
    stop: CancellationToken,
) -> anyhow::Result<End> {
    board.set_streams(chosen.pipeline);
    if chosen.orders && settings.gate.mode == Mode::Off {
        tracing::warn!(
            "orders.enabled is true and gate.mode is \"off\": records are sent whatever has become of their device"
        );
    }
    // Tasks of their own: a panic in one part must not unwind the other.
    let pipeline = {
        let (settings, board, stop) = (settings.clone(), Arc::clone(&board), stop.clone());
        let mount = mounts.devices.clone();
        let part = async move {
            if !chosen.pipeline {
                return Ok(End::InOrder);
            }
            let _ends_the_other = stop.clone().drop_guard();
            match live {
                Some(live) => stream::following(settings, live, board, mount, stop).await,
                None => Box::pin(stream::alone(settings, board, mount, stop)).await,
            }
        };
        tokio::spawn(part)
    };
    let orders = tokio::spawn(async move {
        if !chosen.orders {
            return Ok(());
        }
        let _ends_the_other = stop.clone().drop_guard();
        journey::run(&settings, &board, &mounts.orders, stop).await
    });
    let (pipeline, orders) = tokio::join!(pipeline, orders);
    let pipeline = pipeline.context("the pipeline's task").flatten();
    let orders = orders.context("the orders task").flatten();
    match (pipeline, orders) {
        (Err(error), Err(other)) => {
            tracing::error!(
                error = format!("{other:#}"),
                "the orders sidecar failed as well"
            );
            Err(error)
        }
        (pipeline, orders) => orders.and(pipeline),
    }
}

/// Waits until a broker answers, then creates the registry's topic if it is missing and creating is ours.
async fn create_registry(settings: &Settings) -> anyhow::Result<()> {
    let (kafka, topics) = (&settings.kafka, &settings.topics);
    pipeline::until_answered(kafka).await?;
    if topics.create {
        let wanted = [Wanted::new(&topics.devices, 1, Keep::Newest)];
        create_once_answered(kafka, topics, &wanted).await?;
    }
    Ok(())
}
