//! The command line: one file per command, each with its own `Args` and `run`.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::config::{ConfigArgs, Settings};

pub mod check;
mod columns;
mod console;
pub mod demo;
pub mod devices;
pub mod explain;
mod format;
mod leave;
pub mod letters;
pub mod load;
pub mod manual;
pub mod map;
pub mod offsets;
pub mod orders;
mod read_mail;
pub mod replay;
pub mod run;
pub mod sim;
pub mod skip;
pub mod validate;
pub mod verify;

/// Device telemetry from Kafka into Geotab's Data Intake Gateway.
#[derive(Debug, Parser)]
#[command(name = "dig-ingest", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The form of a command's report: for people, or one JSON object as the last line of standard output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Report {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the streaming job: Kafka to DIG.
    Run(run::Args),
    /// Show the whole path on embedded parts, with faults, and judge the result.
    Demo(demo::Args),
    /// Serve a simulated Data Intake Gateway.
    Sim(sim::Args),
    /// Produce realistic telemetry and a manifest of it.
    Load(Box<load::Args>),
    /// Judge a simulator's ledger against manifests.
    Verify(verify::Args),
    /// Check the configuration, and with `--connect` what it names.
    Check(check::Args),
    /// Show what a vendor message becomes.
    Map(map::Args),
    /// Validate records in a file.
    Validate(validate::Args),
    /// Explain a validation rule.
    Explain(explain::Args),
    /// The device registry: import, list, show.
    Devices(devices::Args),
    /// The consumer group's offsets: show, and set while the job is stopped.
    Offsets(offsets::Args),
    /// Let a partition go on behind a batch that cannot be read.
    Skip(skip::Args),
    /// Letters: list, show, group, export, dismiss.
    Letters(Box<letters::Args>),
    /// Send letters again, through today's mapping, rules and gate.
    Replay(Box<replay::Args>),
    /// Orders: list, assign, ship, approve, import, export.
    Orders(Box<orders::Args>),
    /// Open the mail on standard input; the job starts it by itself.
    #[command(hide = true)]
    ReadMail(read_mail::Args),
    /// Print a completion script for a shell.
    Completions(manual::Completions),
    /// Print the manual page, or write all of them into a folder.
    Man(manual::Manual),
}

/// Parses the command line and runs the command; errors are printed once, with their chain.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return usage(&told),
    };
    if let Command::ReadMail(args) = &cli.command {
        return console::end(read_mail::run(args));
    }
    crate::http::descriptors::raise();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return console::end(Err::<ExitCode, _>(error).context("cannot start the runtime"));
        }
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => Box::pin(run::run(args)).await,
            Command::Demo(args) => Box::pin(demo::run(args)).await,
            Command::Sim(args) => sim::run(args).await,
            Command::Load(args) => load::run(*args).await,
            Command::Verify(args) => Box::pin(verify::run(args)).await,
            Command::Check(args) => check::run(args).await,
            Command::Map(args) => map::run(args).await,
            Command::Validate(args) => validate::run(args).await,
            Command::Explain(args) => explain::run(args).await,
            Command::Devices(args) => devices::run(args).await,
            Command::Offsets(args) => offsets::run(args).await,
            Command::Skip(args) => skip::run(args).await,
            Command::Letters(args) => letters::run(*args).await,
            Command::Replay(args) => replay::run(*args).await,
            Command::Orders(args) => orders::run(*args).await,
            // It has no runtime.
            Command::ReadMail(args) => read_mail::run(&args),
            Command::Completions(args) => Ok(manual::completions(&args)),
            Command::Man(args) => manual::man(&args),
        }
    });
    // A thread that hangs in a client library (a broker that is gone) must not keep the process: what it had is read again.
    runtime.shutdown_background();
    console::end(result)
}

/// Loads settings for a command without a log: cautions go to standard error.
fn load(args: &ConfigArgs) -> anyhow::Result<Settings> {
    let settings = args.load()?;
    for caution in args.cautions(&settings) {
        console::noteln!("caution: {caution}");
    }
    Ok(settings)
}

/// Writes the help, the version or what is wrong with the command line, as clap would.
fn usage(told: &clap::Error) -> ExitCode {
    let text = told.render();
    if told.use_stderr() {
        console::write_note(format_args!("{text}"));
    } else {
        console::raw(&text.to_string());
    }
    let code = u8::try_from(told.exit_code()).unwrap_or(1);
    console::end(Ok(ExitCode::from(code)))
}

#[cfg(test)]
#[path = "remedies_tests.rs"]
mod tests;
