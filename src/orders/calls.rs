//! Calls with effects that were begun: each is finished and its outcome written, even if its caller was cancelled.
//!
//! Owns the count of calls that go on by themselves. A call is polled by its caller. When that future is dropped - the
//! process leaves, or its lease is lost - the rest of the call becomes a task of its own, and [`Calls::ended`] waits for it.
//!
//! * C1: what was begun ends, unless the process is killed or `orders.finish_s` is over.
//! * C2: what is begun is short of nothing but its answer: waiting for rate limits is done before.
//!
//! No queue. The number of calls that go on by themselves is bounded by the calls one reconciler has under way: one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::store::Error;

/// Between two tries to write an outcome while the store fails: the first wait, and the longest.
const WAIT: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Begun calls. Clones share them.
#[derive(Debug, Clone)]
pub struct Calls {
    /// How many dropped calls go on as tasks of their own; each such task has a clone and counts itself out at its end.
    alone: Arc<watch::Sender<usize>>,
    /// Test switch: a dropped call ends where it is, as in a process that is killed.
    killed: Arc<AtomicBool>,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            alone: Arc::new(watch::Sender::new(0)),
            killed: Arc::default(),
        }
    }
}

impl Calls {
    /// Begins a call, which is finished even if what this gives is dropped.
    pub fn begin<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Begun<T> {
        Begun {
            call: Some(Box::pin(call)),
            calls: self.clone(),
        }
    }

    /// Waits until no call goes on by itself, or `within` is over. Gives how many are left.
    pub async fn ended(&self, within: Duration) -> usize {
        let mut alone = self.alone.subscribe();
        match tokio::time::timeout(within, alone.wait_for(|left| *left == 0)).await {
            Ok(_) => 0,
            Err(_) => *self.alone.borrow(),
        }
    }

    /// From now on a call that is dropped ends where it is: a process that is killed, for tests of what is left behind then.
    pub fn kill(&self, killed: bool) {
        self.killed.store(killed, Ordering::Relaxed);
    }
}

/// A call that was begun.
#[must_use = "a call goes on by itself only when it is dropped"]
pub struct Begun<T: Send + 'static> {
    /// None once it has ended.
    call: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    /// Counts the call if it goes on as a task of its own; a clone of the journey's.
    calls: Calls,
}

impl<T: Send + 'static> Future for Begun<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(call) = &mut self.call else {
            return Poll::Pending;
        };
        let polled = call.as_mut().poll(context);
        if polled.is_ready() {
            self.call = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Begun<T> {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        if self.calls.killed.load(Ordering::Relaxed) || std::thread::panicking() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let alone = Alone::new(&self.calls);
        runtime.spawn(async move {
            call.await;
            drop(alone);
        });
    }
}

/// One call that goes on by itself; counted until it is dropped.
struct Alone(Arc<watch::Sender<usize>>);

impl Alone {
    fn new(calls: &Calls) -> Self {
        calls.alone.send_modify(|alone| *alone += 1);
        Self(Arc::clone(&calls.alone))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.0.send_modify(|alone| *alone -= 1);
    }
}

/// Tries to write the outcome of a call while the store fails. Written twice an outcome changes nothing: also after a commit whose
/// answer was lost.
#[derive(Debug)]
pub(super) struct Tries {
    until: Instant,
    wait: Duration,
}

impl Tries {
    pub fn new(within: Duration) -> Self {
        Self {
            until: Instant::now() + within,
            wait: WAIT,
        }
    }

    /// Waits before the next try; false if there is none.
    pub async fn again(&mut self, error: &Error) -> bool {
        if !error.retryable() || Instant::now() + self.wait >= self.until {
            return false;
        }
        tracing::error!(%error, "the outcome of a MyAdmin call is not stored yet; retrying");
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(WAIT_MAX);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_dropped_call_goes_on_and_is_waited_for() {
        let calls = Calls::default();
        let (answer, asked) = oneshot::channel::<u8>();
        let (done, written) = oneshot::channel();
        let mut begun = Box::pin(calls.begin(async move {
            let _ = done.send(asked.await);
        }));
        assert!(futures_poll(&mut begun).await.is_pending());
        drop(begun);
        assert_eq!(calls.ended(Duration::from_millis(1)).await, 1);
        answer.send(7).unwrap();
        assert_eq!(calls.ended(LONG).await, 0);
        assert_eq!(written.await.unwrap(), Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_killed_one_ends_where_it_is() {
        let calls = Calls::default();
        let (answer, asked) = oneshot::channel::<u8>();
        calls.kill(true);
        drop(calls.begin(asked));
        assert!(answer.send(7).is_err());
        assert_eq!(calls.ended(LONG).await, 0);
    }

    #[tokio::test]
    async fn what_ended_is_not_begun_again() {
        let calls = Calls::default();
        assert_eq!(calls.begin(async { 7 }).await, 7);
        assert_eq!(calls.ended(LONG).await, 0);
    }

    async fn futures_poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
    }
}
