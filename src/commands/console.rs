//! What commands write to standard output and standard error: reports, tables, errors, progress.
//!
//! Nothing here panics or ends a command (N1). A reader of standard output that went away (`| head -1`) ends the output quietly and
//! leaves the exit code as it is; any other failure (a full disk) is told at the end and makes the exit code a failure. What cannot
//! be written to standard error is lost. Every text is redacted (C1) and has its control characters escaped, but for data of the
//! user that is written as it is ([`Stdout`], [`raw`]).
//!
//! Progress of a command that runs for long goes through the log's writer, which never waits: [`crate::ops::log::progress`].

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use crate::config::{printable, redact};
use crate::ops::log;

/// How long the log may take to be written at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// Why standard output cannot be written any more.
static BROKEN: OnceLock<io::Error> = OnceLock::new();

/// As `print!`.
macro_rules! out {
    ($($argument:tt)*) => { $crate::commands::console::write_out(format_args!($($argument)*)) };
}
/// As `println!`.
macro_rules! outln {
    ($($argument:tt)*) => {
        $crate::commands::console::write_out(format_args!("{}\n", format_args!($($argument)*)))
    };
}
/// As `eprint!`.
macro_rules! note {
    ($($argument:tt)*) => { $crate::commands::console::write_note(format_args!($($argument)*)) };
}
/// As `eprintln!`.
macro_rules! noteln {
    ($($argument:tt)*) => {
        $crate::commands::console::write_note(format_args!("{}\n", format_args!($($argument)*)))
    };
}
pub(crate) use {note, noteln, out, outln};

fn clean(text: &str) -> String {
    let text = redact::text(text);
    // JSON is escaped as JSON has it.
    if text.starts_with(['{', '[']) {
        printable::json(&text).into_owned()
    } else {
        printable::lines(&text).into_owned()
    }
}

/// Writes a report to standard output.
pub fn write_out(text: fmt::Arguments<'_>) {
    raw(&clean(&text.to_string()));
}

/// Writes data of the user to standard output as it is.
pub fn raw(text: &str) {
    // A failure is kept and told at the end.
    let _ = Stdout.write_all(text.as_bytes());
}

/// Writes what is buffered: for a command that goes on.
pub fn flush() {
    // As above.
    let _ = Stdout.flush();
}

/// Writes to standard error; what cannot be written is lost.
pub fn write_note(text: fmt::Arguments<'_>) {
    // Progress that was written before comes first.
    log::flush(FLUSH);
    let _ = io::stderr().write_all(clean(&text.to_string()).as_bytes());
}

/// Whether the reader of standard output went away: a long output may end.
#[must_use]
pub fn reader_gone() -> bool {
    BROKEN
        .get()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Ends a command: what is buffered is written, and its error or a broken standard output is told.
pub fn end(result: anyhow::Result<ExitCode>) -> ExitCode {
    let _ = Stdout.flush();
    let code = match result {
        Ok(code) => code,
        // Whoever only wanted the first lines has them.
        Err(_) if reader_gone() => ExitCode::SUCCESS,
        Err(error) => {
            noteln!("error: {error:#}");
            ExitCode::FAILURE
        }
    };
    log::flush(FLUSH);
    match BROKEN.get() {
        Some(error) if !reader_gone() => {
            noteln!("error: standard output cannot be written: {error}");
            ExitCode::FAILURE
        }
        _ => code,
    }
}

/// Standard output for data of the user. After a failure every write fails the same way.
#[derive(Debug, Clone, Copy)]
pub struct Stdout;

fn noted<T>(outcome: io::Result<T>) -> io::Result<T> {
    outcome.inspect_err(|error| {
        if error.kind() != io::ErrorKind::Interrupted {
            let kept = io::Error::new(error.kind(), error.to_string());
            // Only the first reason matters.
            let _ = BROKEN.set(kept);
        }
    })
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(error) = BROKEN.get() {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        noted(io::stdout().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        if BROKEN.get().is_some() {
            return Ok(());
        }
        noted(io::stdout().flush())
    }
}
