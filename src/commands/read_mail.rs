//! `dig-ingest read-mail`: opens the mail on standard input and writes what it holds to standard output.
//!
//! The job starts it for mails with PDF files or with mails within them, so that a hostile one ends this process and nothing else.
//! It bounds itself before it reads: memory, time of the processor, no core file. The bounds hold for a program that is started anew, so
//! that nothing was taken before them; it starts no runtime and no log.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::orders::mail::apart;

/// Bytes of a mail, at most: what the settings allow is checked by the job.
const MAIL: u64 = 1 << 30;

/// Arguments of `dig-ingest read-mail`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dig-ingest read-mail < mail.eml")]
pub struct Args {
    /// Memory in MiB that it may use.
    #[arg(long, default_value_t = 256)]
    memory_mb: u64,
    /// It is bounded already.
    #[arg(long, hide = true)]
    bounded: bool,
}

/// Runs the command.
///
/// # Errors
/// The limits cannot be set, or the mail cannot be read. What a limit ends is ended by a signal.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if !args.bounded {
        bound(args.memory_mb)?;
        let memory = args.memory_mb.to_string();
        let error = Command::new("/proc/self/exe")
            .args([apart::COMMAND, apart::MEMORY, &memory, "--bounded"])
            .exec();
        return Err(error).context("/proc/self/exe cannot be started");
    }
    let mut mail = Vec::new();
    std::io::stdin()
        .lock()
        .take(MAIL)
        .read_to_end(&mut mail)
        .context("the mail cannot be read")?;
    let answer = apart::answer(&mail)?;
    let mut out = std::io::stdout().lock();
    out.write_all(&answer)
        .and_then(|()| out.flush())
        .context("the answer cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

fn bound(memory_mb: u64) -> anyhow::Result<()> {
    let bounds = [
        (Resource::Data, memory_mb.saturating_mul(1024 * 1024)),
        (Resource::Cpu, apart::SECONDS),
        (Resource::Core, 0),
    ];
    for (resource, most) in bounds {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit).with_context(|| format!("{resource:?} cannot be limited"))?;
    }
    Ok(())
}
