//! A connection's bytes, with a limit on how long none may move. Time during which a request is being answered does not count.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::OpenConnection;

/// A connection's bytes. Fails when none moved for a while, unless a request is being answered.
pub(super) struct Watched {
    stream: TcpStream,
    idle: Duration,
    /// Since when nothing moves.
    since: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
    place: Arc<OpenConnection>,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, idle: Duration, place: Arc<OpenConnection>) -> Self {
        Self {
            stream,
            idle,
            since: None,
            sleep: Box::pin(tokio::time::sleep(idle)),
            place,
        }
    }

    /// Nothing can be read or written now: whether that has been so for too long.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if !self.place.is_idle() {
            self.since = None;
            return Poll::Pending;
        }
        let deadline = match self.since {
            Some(since) => since + self.idle,
            None => {
                let now = Instant::now();
                self.since = Some(now);
                now + self.idle
            }
        };
        if self.sleep.deadline() < deadline && self.sleep.is_elapsed()
            || self.sleep.deadline() > deadline
        {
            self.sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(self.sleep.as_mut().poll(context));
            if Instant::now() >= deadline {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            // It was set for an earlier wait.
            self.sleep.as_mut().reset(deadline);
        }
    }

    fn moved<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        match outcome {
            Poll::Ready(outcome) => {
                self.since = None;
                Poll::Ready(outcome)
            }
            Poll::Pending => self.wait(context).map(Err),
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.moved(outcome, context)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.moved(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.moved(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
