//! The writer of the log: a bounded buffer and one thread that writes it to standard error (N1).
//!
//! Owns a descriptor of standard error of its own and the thread `log`. Whoever logs copies a line into the buffer and goes on;
//! nobody but the thread ever waits for the reader of the log.
//!
//! * Capacity: [`CAPACITY`] bytes. A line that does not fit is dropped and counted.
//! * A write that fails (the reader ended: EPIPE; the disk is full: ENOSPC; the file is too large: EFBIG) loses the lines it
//!   carried; they are counted and the next lines are tried again.
//! * The number of lost lines is `dig_ingest_log_lines_lost_total`, and is written to the log itself before the next line that
//!   can be written.
//! * Ending: [`Lines::flush`] waits a bounded time. What is not written by then is lost.
//!
//! It knows no levels and no formats but that of the line about lost lines.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ops::metrics::log as metrics;

/// Bytes of lines that wait for the reader of the log.
pub const CAPACITY: usize = 1024 * 1024;
/// Pause before a descriptor that was set non-blocking by another process is tried again.
const AGAIN: Duration = Duration::from_millis(5);

/// The form of the line about lost lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    Json,
}

/// The buffer. Shared by everybody who logs and the writing thread.
#[derive(Debug)]
pub struct Lines {
    // Locks, as every thread logs: held for the copy of a line or the exchange of two buffers, never while writing.
    state: Mutex<State>,
    /// Told when there is something to write.
    filled: Condvar,
    /// Told when the thread has written what it took.
    emptied: Condvar,
    form: Form,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines.
    waiting: Vec<u8>,
    /// Lines lost since the log last said so.
    lost: u64,
    /// Whether the thread is writing what it took.
    writing: bool,
}

impl Lines {
    fn new(form: Form) -> Self {
        Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            form,
        }
    }

    /// Starts the thread that writes to standard error.
    ///
    /// # Errors
    /// No descriptor or thread is to be had.
    pub fn to_stderr(form: Form) -> io::Result<Arc<Self>> {
        let descriptor = io::stderr().as_fd().try_clone_to_owned()?;
        Self::to(form, File::from(descriptor))
    }

    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn to(form: Form, out: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let lines = Arc::new(Self::new(form));
        let written = Arc::clone(&lines);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || written.run(out))?;
        Ok(lines)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one line, which ends with a newline. Never waits for the reader of the log.
    pub fn push(&self, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        let mut state = self.state();
        if state.waiting.len() + line.len() > CAPACITY {
            state.lost += 1;
            drop(state);
            metrics::count_lost("full", 1);
            return;
        }
        state.waiting.extend_from_slice(line);
        drop(state);
        self.filled.notify_one();
    }

    /// Waits until everything is written, at most `bound`.
    pub fn flush(&self, bound: Duration) {
        let deadline = Instant::now() + bound;
        let mut state = self.state();
        while state.writing || !state.waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self
                .emptied
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn run(&self, mut out: impl Write) {
        let mut taken = Vec::new();
        // Whether the last write ended within a line.
        let mut torn = false;
        loop {
            let lost = {
                let mut state = self.state();
                state.writing = false;
                self.emptied.notify_all();
                while state.waiting.is_empty() {
                    state = self
                        .filled
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                std::mem::swap(&mut state.waiting, &mut taken);
                state.writing = true;
                std::mem::take(&mut state.lost)
            };
            let mut batch = Vec::new();
            if torn {
                batch.push(b'\n');
            }
            if lost > 0 {
                batch.extend_from_slice(self.notice(lost).as_bytes());
            }
            let head = batch.len();
            if head > 0 {
                batch.extend_from_slice(&taken);
                std::mem::swap(&mut batch, &mut taken);
            }
            if let Err(written) = write_whole(&mut out, &taken) {
                let said = lost > 0 && written >= head;
                let missing = count_lines(&taken[written.max(head)..]);
                metrics::count_lost("write", missing);
                torn = written > 0 && taken[written - 1] != b'\n';
                self.state().lost += missing + if said { 0 } else { lost };
            } else {
                torn = false;
            }
            taken.clear();
            // A burst's buffer is given back.
            taken.shrink_to(CAPACITY / 16);
        }
    }

    fn notice(&self, lost: u64) -> String {
        let now = jiff::Timestamp::now();
        match self.form {
            Form::Text => format!(
                "{now}  WARN dig_ingest::ops::log: log lines were lost because the log could not be written lost={lost}\n"
            ),
            Form::Json => format!(
                "{{\"timestamp\":\"{now}\",\"level\":\"WARN\",\"message\":\"log lines were lost because the log could not be written\",\
                 \"lost\":{lost},\"target\":\"dig_ingest::ops::log\"}}\n"
            ),
        }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Writes everything; otherwise how many bytes were written before the error.
fn write_whole(out: &mut impl Write, bytes: &[u8]) -> Result<(), usize> {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return Err(written),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another process that shares the terminal or pipe may have set it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::park_timeout(AGAIN);
            }
            Err(_) => return Err(written),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A reader of the log that takes a write only when told how it ends.
    struct Reader {
        outcomes: mpsc::Receiver<io::Result<()>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // When the test ends nobody reads any more.
            self.outcomes
                .recv()
                .unwrap_or(Err(io::ErrorKind::BrokenPipe.into()))?;
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines, how writes are to end, and what was written.
    type Started = (
        Arc<Lines>,
        mpsc::Sender<io::Result<()>>,
        Arc<Mutex<Vec<u8>>>,
    );

    fn started(form: Form) -> Started {
        let (tell, outcomes) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let reader = Reader {
            outcomes,
            written: Arc::clone(&written),
        };
        (Lines::to(form, reader).unwrap(), tell, written)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn lines_are_written_in_order_once_the_reader_reads() {
        let (lines, tell, written) = started(Form::Text);
        lines.push(b"one\n");
        lines.push(b"two\n");
        // The thread takes one or two batches.
        tell.send(Ok(())).unwrap();
        tell.send(Ok(())).unwrap();
        lines.flush(LONG);
        assert_eq!(*written.lock().unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn lines_beyond_the_capacity_are_counted_and_told_of() {
        let (lines, tell, written) = started(Form::Text);
        let line = [vec![b'x'; CAPACITY / 8], vec![b'\n']].concat();
        // The reader does not read: at most two buffers are taken, and nobody waits here.
        for _ in 0..24 {
            lines.push(&line);
        }
        for _ in 0..4 {
            tell.send(Ok(())).unwrap();
        }
        lines.flush(LONG);
        lines.push(b"after\n");
        lines.flush(LONG);
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let kept = text.lines().filter(|line| line.starts_with('x')).count();
        let lost: usize = text
            .lines()
            .filter_map(|line| line.split_once("lost=")?.1.parse::<usize>().ok())
            .sum();
        assert!((7..24).contains(&kept), "{kept}");
        assert_eq!(kept + lost, 24);
        assert!(text.ends_with("after\n"));
    }

    #[test]
    fn a_reader_that_is_gone_costs_lines_and_nothing_else() {
        let (lines, tell, written) = started(Form::Json);
        for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::StorageFull] {
            tell.send(Err(kind.into())).unwrap();
            lines.push(b"{\"n\":1}\n");
            lines.flush(LONG);
        }
        tell.send(Ok(())).unwrap();
        lines.push(b"{\"n\":2}\n");
        lines.flush(LONG);
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let parsed: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(parsed.len(), 2, "{text}");
        assert_eq!(parsed[0]["lost"], 2);
        assert_eq!(parsed[1]["n"], 2);
    }

    #[test]
    fn a_flush_does_not_wait_for_a_reader_that_stopped() {
        let (lines, _tell, _) = started(Form::Text);
        lines.push(b"one\n");
        lines.flush(Duration::from_millis(20));
    }
}
