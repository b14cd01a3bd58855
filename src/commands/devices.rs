//! `dig-ingest devices`.

use std::process::ExitCode;

/// Arguments of `dig-ingest devices`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// Whatever keeps the command from doing its work, with its chain.
pub async fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
