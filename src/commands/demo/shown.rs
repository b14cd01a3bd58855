//! The operator page of the demonstration: served while the story is told, and with `--stay` until it is interrupted.

use std::sync::Arc;

use super::screen::Screen;
use crate::config::Settings;
use crate::ops::status_registry::StatusRegistry;
use crate::ops::{self, metrics, web};
use crate::page::{self, Mounts};

/// Starts serving, and says where.
///
/// # Errors
/// The address cannot be listened on.
pub(super) async fn start(
    listen: std::net::SocketAddr,
    settings: &Settings,
    board: &Arc<StatusRegistry>,
    mounts: &Mounts,
    screen: &Screen,
) -> anyhow::Result<web::Handle> {
    let config = ops::Config {
        listen,
        ..settings.ops.clone()
    };
    let exposition = metrics::install()?;
    let letters = page::letters::router(page::letters::Reader::of(settings));
    let page = page::router(
        &config,
        exposition.clone(),
        Arc::clone(board),
        mounts.clone(),
        letters,
    )?;
    let pages = web::start(&config, Arc::clone(board), exposition, page).await?;
    let address = pages.address();
    screen.stage("page", &format!("operator page at http://{address}/"));
    Ok(pages)
}

/// Waits for an interrupt.
///
/// # Errors
/// Signals cannot be waited for.
pub(super) async fn until_interrupted(pages: &web::Handle, screen: &Screen) -> anyhow::Result<()> {
    let address = pages.address();
    let said = format!("the story is told; http://{address}/ stays until Ctrl-C");
    screen.stage("page", &said);
    Ok(tokio::signal::ctrl_c().await?)
}
