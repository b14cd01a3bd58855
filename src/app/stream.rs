//! The streaming job, put together from the settings and a snapshot of what may change: registry, uploader, pipeline.
//!
//! It ends when told to, or with the reason why it cannot go on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::reload;
use crate::config::Settings;
use crate::http::mount::Mount;
use crate::ops::status::Pause;
use crate::ops::status_registry::StatusRegistry;
use crate::ops::waits::{Kind, Wait};
use crate::pipeline::gate::Mode;
use crate::pipeline::live::LiveWatch;
use crate::pipeline::upload::Uploader;
use crate::registry::Source;
use crate::{page, pipeline, registry};

/// Between two looks at how the gateway is.
const LOOK: Duration = Duration::from_millis(500);
/// What the session's end may take beyond `dig.revoke_timeout_ms`.
const CLOSE: Duration = Duration::from_secs(1);

/// Runs the streaming job until `stop`.
///
/// # Errors
/// As [`pipeline::run`], and settings that cannot be used.
pub async fn run(
    settings: Settings,
    board: Arc<StatusRegistry>,
    stop: CancellationToken,
) -> anyhow::Result<pipeline::End> {
    Box::pin(alone(settings, board, Mount::default(), stop)).await
}

/// As [`run`], with the place where it answers the operator page.
///
/// # Errors
/// As [`run`].
pub(super) async fn alone(
    settings: Settings,
    board: Arc<StatusRegistry>,
    mount: Mount,
    stop: CancellationToken,
) -> anyhow::Result<pipeline::End> {
    let live = Arc::new(reload::snapshot(&settings)?);
    following(settings, watch::channel(live).1, board, mount, stop).await
}

/// As [`run`], with mappings, rules and limits that may be replaced meanwhile.
///
/// # Errors
/// As [`run`].
pub(super) async fn following(
    settings: Settings,
    live: LiveWatch,
    board: Arc<StatusRegistry>,
    mount: Mount,
    stop: CancellationToken,
) -> anyhow::Result<pipeline::End> {
    let config = settings.pipeline();
    let formula = Arc::new({
        let settings = settings.clone();
        move |partitions| {
            let formula = settings.memory_formula(partitions);
            formula.check().map_err(|error| error.to_string())
        }
    });
    let formats = Arc::new(reload::formats(&settings)?);
    let gated = settings.gate.mode == Mode::Registry;
    let (devices, followed) = tokio::select! {
        followed = follow_registry(&settings, gated, &board, &stop) => followed?,
        () = stop.cancelled() => return Ok(pipeline::End::InOrder),
    };
    board.set_registry_read(true);
    let followed_at_all = settings.registry.place(gated).is_some();
    let _mounted = followed_at_all.then(|| {
        mount.fill(page::devices::router(
            devices.clone(),
            settings.gate.clone(),
            Arc::clone(&board),
        ))
    });
    let (known, expected) = (devices.borrow().len() as u64, settings.memory.devices);
    if known > expected {
        tracing::warn!(
            known,
            expected,
            "the registry has more devices than the memory formula counts: raise memory.devices"
        );
    }
    if gated && devices.borrow().is_empty() {
        tracing::warn!(
            "gate.mode is \"registry\" and the registry holds no device: nothing will be sent"
        );
    }
    let close = Duration::from_millis(settings.dig.revoke_timeout_ms) + CLOSE;
    let uploader = Uploader::connect(
        settings.dig,
        settings.pacing,
        settings.upload,
        settings.batch.max_bytes,
    )?;
    let watched = tokio::spawn(watch_gateway(uploader.clone(), Arc::clone(&board)));
    let parts = pipeline::Parts {
        uploader: uploader.clone(),
        registry: devices,
        live,
        formats,
        formula,
        board,
    };
    let result = pipeline::run(config, parts, stop.clone()).await;
    stop.cancel();
    watched.abort();
    followed.abort();
    if tokio::time::timeout(close, uploader.close()).await.is_err() {
        tracing::warn!(
            "the gateway did not answer the token revocation; the tokens expire by themselves"
        );
    }
    result
}

/// The device registry, read to its end, from wherever the settings say it is.
async fn follow_registry(
    settings: &Settings,
    gated: bool,
    board: &Arc<StatusRegistry>,
    stop: &CancellationToken,
) -> anyhow::Result<(registry::RegistryWatch, JoinHandle<()>)> {
    match settings.registry.place(gated) {
        Some(Source::Topic) => {
            super::create_registry(settings).await?;
            let (kafka, topic) = (&settings.kafka, &settings.topics.devices);
            registry::topic::follow(
                kafka.by_hand("devices")?,
                topic.clone(),
                Arc::clone(board),
                stop.clone(),
            )
            .await
            .context("topics.devices: the device registry cannot be read")
        }
        Some(Source::File | Source::Auto) => {
            registry::file::follow(&settings.registry, Arc::clone(board), stop.clone())
                .context("registry.file: cannot be read")
        }
        None => Ok(registry::file::none(stop.clone())),
    }
}

/// Readiness follows the session, and the gateway's trouble is published (H1).
async fn watch_gateway(uploader: Uploader, board: Arc<StatusRegistry>) {
    let mut tick = tokio::time::interval(LOOK);
    let mut wait: Option<(Kind, Wait)> = None;
    let mut newest = Pause::None;
    loop {
        tick.tick().await;
        let status = uploader.status();
        board.set_logged_in(status.session.generation > 0);
        let pause = uploader.pause();
        let lasts = std::mem::replace(&mut newest, pause) == pause;
        let trouble = status.last_trouble;
        // Of failures without an answer this one is a person's, however long one waits.
        let untrusted = trouble
            .as_ref()
            .is_some_and(|(code, text)| *code == 0 && text.contains("certificate"));
        let (kind, remedy) = match pause {
            Pause::Alarm => (
                Kind::GatewayRefuses,
                "check dig.url, dig.username, its password and the DIG-Access role; `dig-ingest check --connect` tries them",
            ),
            Pause::Gateway if untrusted => (
                Kind::Gateway,
                "renew the gateway's certificate, or have dig.ca_file name the authority that signed it; requests go on by themselves then, \
                 after dig.connection_max_age_s at most; nothing is lost",
            ),
            Pause::Gateway => (
                Kind::Gateway,
                "wait, if it is the gateway's outage; check dig.url and the network, if not; nothing is lost",
            ),
            Pause::None
            | Pause::DeadLetter
            | Pause::Held
            | Pause::Draining
            | Pause::Store
            | Pause::Schema => {
                wait = None;
                continue;
            }
        };
        let cause = match trouble {
            Some((0, text)) => {
                format!(
                    "{}; the last request got no answer: {text}",
                    pause.meaning()
                )
            }
            Some((code, _)) => format!("{}; the last answer was {code}", pause.meaning()),
            None => pause.meaning().to_owned(),
        };
        match &wait {
            Some((known, wait)) if *known == kind => {
                wait.update(cause);
                wait.advise(remedy);
            }
            // One that lasts less than a look is told by the partitions alone.
            _ if !lasts => wait = None,
            _ => wait = Some((kind, board.wait(kind, "gateway", cause, remedy))),
        }
    }
}
