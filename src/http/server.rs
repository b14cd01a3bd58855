//! The one HTTP server: accepts connections, bounds them, and hands their requests to a router.
//!
//! Owns the listener, one task per connection, and the places they take. It serves the operations pages, the orders API and the
//! simulator, none of which may cost the work its descriptors, its memory or its end (N1).
//!
//! * At most [`Limits::connections`] connections. When one more comes, the one that has been idle the longest (no request of it is
//!   being answered) is closed for it; while all are being answered, the new one waits.
//! * The head of a request must be complete within [`Limits::header`]; a connection on which nothing moves while no request is being
//!   answered is closed after [`Limits::idle`].
//! * A panic while answering ends that connection with 500 and is logged; it never ends the process.
//! * Without a descriptor for a new connection an idle one is closed.
//!
//! [`Server::stop`] lets requests under way end, within [`Limits::farewell`]; what is left is cut.
//! It knows no paths, no authentication and no TLS.

mod cleaned;
mod watched;

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use crate::ops::metrics::server as metrics;
use crate::ops::panics::Contained;
pub use cleaned::cleaned;
use watched::Watched;

/// Pause after no descriptor was to be had and nothing could be closed.
const NO_DESCRIPTOR: Duration = Duration::from_millis(100);
/// Between two looks for a connection that became idle while all were being answered.
const LOOK: Duration = Duration::from_millis(20);

/// The bounds of a server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// What it is called in logs and metrics.
    pub name: &'static str,
    /// Connections at the same time.
    pub connections: usize,
    /// From the first byte awaited to the last of a request's head.
    pub header: Duration,
    /// Without a byte read or written, while no request is being answered.
    pub idle: Duration,
    /// Bytes of a request's head at most; larger ones are refused with 431.
    pub head_bytes: usize,
    /// For requests under way when the server stops.
    pub farewell: Duration,
}

impl Limits {
    /// The bounds of a server that only reports: few connections, small heads.
    #[must_use]
    pub fn reporting(name: &'static str) -> Self {
        Self {
            name,
            connections: super::descriptors::share(64, 16),
            header: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            head_bytes: 16 * 1024,
            farewell: Duration::from_secs(3),
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    stop: CancellationToken,
    task: JoinHandle<()>,
    bound: Duration,
}

impl Server {
    /// Stops accepting, lets requests under way end, and cuts what is left after the bound.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // The task has the same bound for its connections.
        if tokio::time::timeout(self.bound * 2, &mut self.task)
            .await
            .is_err()
        {
            self.task.abort();
        }
    }
}

/// Serves `router` until the server is stopped. `meet` sees every connection first; what it gives is in the extensions of its
/// requests as [`ConnectInfo`].
pub fn serve<P>(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    meet: impl Fn(&TcpStream) -> P + Send + 'static,
) -> Server
where
    P: Clone + Send + Sync + 'static,
{
    let stop = CancellationToken::new();
    let accepting = Accepting {
        listener,
        router,
        limits,
        stop: stop.clone(),
        seats: Seats::default(),
        tasks: JoinSet::new(),
    };
    let task = tokio::spawn(accepting.run(meet));
    Server {
        stop,
        task,
        bound: limits.farewell,
    }
}

/// The accept loop.
struct Accepting {
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
    seats: Seats,
    tasks: JoinSet<()>,
}

impl Accepting {
    async fn run<P>(mut self, meet: impl Fn(&TcpStream) -> P)
    where
        P: Clone + Send + Sync + 'static,
    {
        loop {
            let stream = tokio::select! {
                () = self.stop.cancelled() => break,
                stream = self.accept() => stream,
            };
            let made_room = tokio::select! {
                () = self.stop.cancelled() => false,
                () = Self::make_room(&mut self.tasks, &self.seats, self.limits) => true,
            };
            if !made_room {
                break;
            }
            // Answers are small and single: waiting to fill a packet would only delay them.
            if stream.set_nodelay(true).is_err() {
                continue;
            }
            let info = ConnectInfo(meet(&stream));
            let seat = self.seats.take();
            self.tasks.spawn(connection(
                stream,
                self.router.clone(),
                info,
                seat,
                self.limits,
                self.stop.clone(),
            ));
        }
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        // What is left is cut when the set is dropped.
        let _ = tokio::time::timeout(self.limits.farewell, ended).await;
    }

    async fn accept(&self) -> TcpStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    metrics::count_refused(self.limits.name);
                    tracing::warn!(
                        server = self.limits.name,
                        %error,
                        "a connection cannot be accepted; raise the limit on open files (ulimit -n, LimitNOFILE=) if this stays"
                    );
                    self.seats.evict();
                    tokio::time::sleep(NO_DESCRIPTOR).await;
                }
            }
        }
    }

    async fn make_room(tasks: &mut JoinSet<()>, seats: &Seats, limits: Limits) {
        while tasks.try_join_next().is_some() {}
        while tasks.len() >= limits.connections {
            if seats.evict() {
                metrics::count_evicted(limits.name);
            }
            // The evicted one ends, or one of those that are being answered becomes idle.
            let _ = tokio::time::timeout(LOOK, tasks.join_next()).await;
        }
    }
}

/// Errors of accept(2) that are about one connection which was gone already.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// The places of the open connections.
#[derive(Debug, Clone, Default)]
struct Seats {
    // Locks, as connections end on any thread: held for a look-up.
    open: Arc<Mutex<HashMap<u64, Arc<OpenConnection>>>>,
    next: Arc<AtomicU64>,
}

#[derive(Debug)]
struct OpenConnection {
    /// Requests of it that are being answered: none or one.
    answering: AtomicUsize,
    /// When it was last told to be idle; orders evictions.
    idle_since: Mutex<Instant>,
    /// Closes it.
    cut: CancellationToken,
}

/// A connection's place; given back when it is dropped.
struct Seat {
    number: u64,
    place: Arc<OpenConnection>,
    seats: Seats,
}

impl Seats {
    fn take(&self) -> Seat {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let place = Arc::new(OpenConnection {
            answering: AtomicUsize::new(0),
            idle_since: Mutex::new(Instant::now()),
            cut: CancellationToken::new(),
        });
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, Arc::clone(&place));
        Seat {
            number,
            place,
            seats: self.clone(),
        }
    }

    /// Closes the connection that has been idle the longest; whether there was one.
    fn evict(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = open
            .values()
            .filter(|place| place.is_idle() && !place.cut.is_cancelled())
            .min_by_key(|place| place.idle_since());
        oldest.inspect(|place| place.cut.cancel()).is_some()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.number);
    }
}

impl OpenConnection {
    fn is_idle(&self) -> bool {
        self.answering.load(Ordering::Relaxed) == 0
    }

    fn idle_since(&self) -> Instant {
        *self
            .idle_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request being answered.
struct Answering(Arc<OpenConnection>);

impl Answering {
    fn begin(place: &Arc<OpenConnection>) -> Self {
        place.answering.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(place))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        *self
            .0
            .idle_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connection<P>(
    stream: TcpStream,
    router: Router,
    info: ConnectInfo<P>,
    seat: Seat,
    limits: Limits,
    stop: CancellationToken,
) where
    P: Clone + Send + Sync + 'static,
{
    let answers = service_fn(|request: Request<Incoming>| {
        let answering = Answering::begin(&seat.place);
        let (mut router, info) = (router.clone(), info.clone());
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(info);
            let answer = Contained::new(async move {
                let Ok(()) = poll_fn(|context| {
                    <Router as tower_service::Service<Request<Body>>>::poll_ready(
                        &mut router,
                        context,
                    )
                })
                .await;
                router.call(request).await
            });
            let response: Response<Body> = match answer.await {
                Ok(Ok(response)) => response,
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            };
            drop(answering);
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let stream = Watched::new(stream, limits.idle, Arc::clone(&seat.place));
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header)
            .max_buf_size(limits.head_bytes)
            .serve_connection(TokioIo::new(stream), answers)
    );
    // How a connection ends is its client's affair; what was asked on it has been answered or was broken off.
    tokio::select! {
        _ = served.as_mut() => {}
        () = seat.place.cut.cancelled() => {}
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(limits.farewell, served).await;
        }
    }
}

/// Listens on the address of a setting.
///
/// # Errors
/// The address cannot be listened on; the setting is named.
pub async fn listen(
    setting: &str,
    address: SocketAddr,
) -> anyhow::Result<(TcpListener, SocketAddr)> {
    use anyhow::Context as _;
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("{setting}: cannot listen on {address}; give another address, or port 0 for any free one")
    })?;
    let taken = listener
        .local_addr()
        .with_context(|| format!("{setting}: no local address"))?;
    Ok((listener, taken))
}

#[cfg(test)]
mod tests;
