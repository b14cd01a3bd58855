//! Panics: every one is logged; one that is not contained ends the process with an error and a drain, never half of it.
//!
//! Owns the process's panic hook (before the log is started the former hook says what happened). A panic unwinds the task or thread it happens in, and whoever waits for that task may wait for
//! ever; so the first one is published, and `run` drains and ends when it sees it.
//!
//! * Contained ([`contain`], [`blocking`], [`Contained`]): work on one request or one file of others, whose failure is told to its caller.
//!   Everything else is a broken invariant of the process.
//! * A panic that the runtime cannot unwind (in a callback of the Kafka client) aborts the process; the log is written before.
//!
//! It does not restart anything.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;

use super::log;
use super::metrics::log as metrics;

/// How long the hook waits for the log to be written: the process may be about to abort.
const FLUSH: Duration = Duration::from_millis(500);

thread_local! {
    /// Containments that this thread is within.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

static FIRST: OnceLock<watch::Sender<Option<String>>> = OnceLock::new();

/// Where the first panic that is not contained is published.
#[derive(Debug)]
pub struct Panics(watch::Receiver<Option<String>>);

impl Panics {
    /// Waits for the first panic that is not contained, and returns what it says.
    pub async fn first(&mut self) -> String {
        match self.0.wait_for(Option::is_some).await {
            Ok(told) => told.clone().unwrap_or_default(),
            // The sender is static.
            Err(_) => std::future::pending().await,
        }
    }

    /// What the first panic said, if there was one.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        self.0.borrow().clone()
    }
}

/// Installs the hook, once, and gives what it publishes to.
pub fn watch() -> Panics {
    let sender = FIRST.get_or_init(|| {
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !log::is_started() {
                former(info);
            }
            hook(info);
        }));
        watch::channel(None).0
    });
    Panics(sender.subscribe())
}

fn hook(info: &PanicHookInfo<'_>) {
    let said = message(info.payload());
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let place = info
        .location()
        .map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
    if DEPTH.get() > 0 {
        metrics::count_panic("contained");
        tracing::error!(thread, place, panic = said, "a panic was contained");
        return;
    }
    metrics::count_panic("fatal");
    let trace = std::backtrace::Backtrace::capture();
    let trace = match trace.status() {
        std::backtrace::BacktraceStatus::Captured => Some(trace.to_string()),
        _ => None,
    };
    tracing::error!(
        thread,
        place,
        panic = said,
        trace,
        "a task or thread panicked: the process drains and ends"
    );
    if let Some(first) = FIRST.get() {
        first.send_if_modified(|told| {
            let is_first = told.is_none();
            if is_first {
                *told = Some(format!("thread {thread} panicked at {place}: {said}"));
            }
            is_first
        });
    }
    log::flush(FLUSH);
}

fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// Counts this thread into a containment while it lives.
struct Within;

impl Within {
    fn enter() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Does work whose panic is its caller's failure and nobody else's: reading one file of others.
///
/// # Errors
/// What the panic said.
pub fn contain<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let _within = Within::enter();
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| message(&*payload))
}

/// As [`contain`], on a thread that may block.
///
/// # Errors
/// What the panic said.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(move || contain(work))
        .await
        .unwrap_or_else(|error| Err(error.to_string()))
}

/// A future whose panic is its caller's failure and nobody else's: the answer to one request.
pub struct Contained<F>(Pin<Box<F>>);

impl<F> Contained<F> {
    pub fn new(future: F) -> Self {
        Self(Box::pin(future))
    }
}

impl<F: Future> Future for Contained<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match contain(|| self.0.as_mut().poll(context)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(said) => Poll::Ready(Err(said)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn contained_panics_are_told_to_their_caller_alone() {
        let panics = watch();
        let row: Vec<u8> = Vec::new();
        let said = contain(|| row[3]).unwrap_err();
        assert!(said.contains("out of bounds"), "{said}");
        let said = Contained::new(async { assert_eq!(row.len(), 1) }).await;
        assert!(said.unwrap_err().contains("left == right"));
        assert_eq!(Contained::new(async { 3 }).await, Ok(3));
        // Another test of this process may have panicked on purpose.
        let told = panics.told().unwrap_or_default();
        assert!(!told.contains("out of bounds") && !told.contains("left == right"));
    }
}
