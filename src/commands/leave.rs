//! Leaving: signals begin it, and it is bounded whatever a client library does.
//!
//! Owns the thread `signals`, with a runtime of its own: signals are taken and the bound holds also while the job's runtime is
//! blocked. Durations are those of the monotonic clock.
//!
//! * SIGTERM and SIGINT begin the drain.
//! * SIGHUP reloads the settings of `run`, and begins the drain of other commands. If the terminal that the process was started from
//!   is closed, it begins the drain of `run` too. It is left alone where the process was started with it ignored (`nohup`).
//! * A second SIGTERM or SIGINT ends the process at once; SIGHUP never does, as systemd and shells send it beside another one.
//! * SIGXFSZ (a log file that reached its limit) is taken and means nothing: the write that caused it fails.
//! * When leaving takes longer than the bound, the process ends with an error. What was in hand is read again.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::app::Chosen;
use crate::config::Settings;
use crate::ops::log;

/// What leaving may take beyond the parts' own bounds.
const MARGIN: Duration = Duration::from_secs(15);
/// How long the log may take to be written before the process ends.
const FLUSH: Duration = Duration::from_secs(1);
/// How long the process's own end may take: C libraries have handlers that run then.
const EXIT: Duration = Duration::from_secs(2);
/// Signals closer together are one ask: timeout(1) signals a program and then its whole group, which is the same program again.
const ONE_ASK: Duration = Duration::from_millis(250);
/// Sent when a file becomes larger than the process may write (setrlimit(2)); the number on every Linux system we build for.
const SIGXFSZ: i32 = 25;
/// The bit of SIGHUP in the kernel's list of ignored signals.
const SIGHUP_BIT: u64 = 1;

/// The longest that leaving may take with these settings.
#[must_use]
pub fn bound(settings: &Settings, chosen: Chosen) -> Duration {
    let drain = Duration::from_millis(settings.input.shutdown_ms);
    let revoke = Duration::from_millis(settings.dig.revoke_timeout_ms);
    // A provisioning call that is on its way is waited for.
    let call = match chosen.orders {
        true => Duration::from_secs(settings.myadmin.provision_timeout_s),
        false => Duration::ZERO,
    };
    (drain + revoke).max(call) + MARGIN
}

/// The meaning of SIGHUP.
#[derive(Debug, Clone)]
pub enum HangUp {
    /// It begins the drain.
    Drains,
    /// It asks for a reload, by this notification; a task of the command waits for it.
    Reloads(Arc<Notify>),
}

/// Whether SIGHUP says that the terminal is gone from which the process was started.
fn terminal_closed(was_terminal: bool, is_terminal: bool) -> bool {
    was_terminal && !is_terminal
}

/// Cancels `stop` at the first signal, and ends the process when leaving then takes longer than `bound`.
///
/// # Errors
/// Signals cannot be listened for.
pub fn watch(stop: CancellationToken, bound: Duration, hang_up: HangUp) -> anyhow::Result<()> {
    let (told, listens) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let begun = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("no runtime")
                .and_then(|runtime| {
                    let signals = runtime.block_on(async { Signals::listen() })?;
                    Ok((runtime, signals))
                });
            let (outcome, begun) = match begun {
                Ok(begun) => (Ok(()), Some(begun)),
                Err(error) => (Err(error), None),
            };
            // Whoever asked waits for it.
            let _ = told.send(outcome);
            if let Some((runtime, signals)) = begun {
                runtime.block_on(apply(signals, stop, bound, hang_up));
            }
        })
        .context("cannot start the thread of signals")?;
    listens.recv().context("the thread of signals ended")?
}

/// The signals that end a command. Must be made within a runtime.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// None where it is ignored.
    hang_up: Option<Signal>,
    /// Only taken, so that it does not end the process.
    _file_size: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// SIGTERM or SIGINT.
    Terminate,
    /// SIGHUP.
    HangUp,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system does not permit it.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listen = |kind: SignalKind, name: &str| {
            signal(kind).with_context(|| format!("cannot listen for {name}"))
        };
        let hang_up =
            match is_ignored(&std::fs::read_to_string("/proc/self/status").unwrap_or_default()) {
                true => None,
                false => Some(listen(SignalKind::hangup(), "SIGHUP")?),
            };
        Ok(Self {
            terminate: listen(SignalKind::terminate(), "SIGTERM")?,
            interrupt: listen(SignalKind::interrupt(), "SIGINT")?,
            hang_up,
            _file_size: listen(SignalKind::from_raw(SIGXFSZ), "SIGXFSZ")?,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Asked {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Asked::Terminate,
            _ = self.interrupt.recv() => Asked::Terminate,
            _ = hang_up => Asked::HangUp,
        }
    }
}

/// Whether the kernel's description of this process says that SIGHUP is ignored.
fn is_ignored(status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & SIGHUP_BIT != 0)
}

async fn apply(mut signals: Signals, stop: CancellationToken, bound: Duration, hang_up: HangUp) {
    let was_terminal = std::io::stderr().is_terminal();
    let mut terminations = 0;
    let mut last: Option<Instant> = None;
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(bound).await;
    };
    tokio::pin!(overdue);
    loop {
        let asked = tokio::select! {
            asked = signals.next() => asked,
            () = &mut overdue => {
                tracing::error!(
                    bound_s = bound.as_secs(),
                    "shutdown took longer than its limit: the process ends now; unsettled messages are re-delivered"
                );
                end_now(1);
            }
        };
        if asked == Asked::HangUp
            && let HangUp::Reloads(reload) = &hang_up
            && !terminal_closed(was_terminal, std::io::stderr().is_terminal())
        {
            reload.notify_one();
            continue;
        }
        if asked == Asked::Terminate && last.is_none_or(|last| last.elapsed() >= ONE_ASK) {
            terminations += 1;
            last = Some(Instant::now());
        }
        if terminations > 1 {
            tracing::warn!(
                "second signal: the process ends now; unsettled messages are re-delivered"
            );
            end_now(130);
        }
        if !stop.is_cancelled() {
            let signal = match asked {
                Asked::Terminate => "SIGTERM or SIGINT",
                Asked::HangUp => "SIGHUP",
            };
            tracing::info!(signal, "draining");
            stop.cancel();
        }
    }
}

/// Ends the process without waiting for anything of it.
fn end_now(code: i32) -> ! {
    log::flush(FLUSH);
    // Handlers of C libraries may hang as well.
    let killer = std::thread::Builder::new().spawn(|| {
        std::thread::park_timeout(EXIT);
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    });
    drop(killer);
    #[expect(
        clippy::disallowed_methods,
        reason = "somebody asked for exactly this, or nothing else ends the process"
    )]
    std::process::exit(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_hang_up_is_seen() {
        assert!(is_ignored("Name:\tx\nSigIgn:\t0000000000001001\n"));
        assert!(!is_ignored("SigIgn:\t0000000000001000\n"));
        assert!(!is_ignored(""));
    }

    #[test]
    fn a_hang_up_drains_only_when_its_terminal_is_gone() {
        assert!(terminal_closed(true, false));
        // A service never had one.
        assert!(!terminal_closed(false, false));
        assert!(!terminal_closed(true, true));
    }

    #[test]
    fn the_bound_is_longer_than_what_the_parts_may_take() {
        let settings = Settings::default();
        let both = Chosen {
            pipeline: true,
            orders: true,
        };
        let pipeline = Chosen {
            orders: false,
            ..both
        };
        let drain = Duration::from_millis(settings.input.shutdown_ms);
        let call = Duration::from_secs(settings.myadmin.provision_timeout_s);
        assert!(bound(&settings, pipeline) > drain);
        assert!(bound(&settings, both) > call.max(drain));
    }
}
