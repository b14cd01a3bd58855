//! Connections: knowing them, cutting them, and asking whether their client is still there.

use std::net::Shutdown;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::net::TcpStream;

/// A second hand on a connection's socket; the server holds the first.
#[derive(Debug)]
pub struct Connection {
    socket: Option<std::net::TcpStream>,
}

impl Connection {
    fn of(stream: &TcpStream) -> Self {
        use std::os::fd::AsFd as _;
        Self {
            socket: stream.as_fd().try_clone_to_owned().ok().map(Into::into),
        }
    }

    /// Closes both directions at once: no answer gets out any more.
    pub fn cut(&self) {
        if let Some(socket) = &self.socket {
            // Fails only when the client was faster.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// The client's network address.
    #[must_use]
    pub fn peer(&self) -> Option<std::net::IpAddr> {
        let address = self.socket.as_ref()?.peer_addr().ok()?;
        Some(address.ip())
    }

    /// Whether the client still holds its end, as far as this machine knows.
    #[must_use]
    pub fn peer_open(&self) -> bool {
        // The socket is non-blocking: nothing to read is an error of its own, a closed end reads as zero bytes.
        self.socket
            .as_ref()
            .is_some_and(|socket| match socket.peek(&mut [0]) {
                Ok(read) => read > 0,
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            })
    }
}

/// Who is at the other end of a request.
#[derive(Debug, Clone)]
pub struct Peer {
    pub connection: Arc<Connection>,
}

/// Every open connection, for the end of the simulator.
#[derive(Debug, Default, Clone)]
pub struct Open(Arc<Mutex<Vec<Weak<Connection>>>>);

impl Open {
    fn add(&self, connection: &Arc<Connection>) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() == open.capacity() {
            open.retain(|connection| connection.strong_count() > 0);
        }
        open.push(Arc::downgrade(connection));
    }

    /// Cuts them all.
    pub fn cut(&self) {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter()
            .filter_map(Weak::upgrade)
            .for_each(|connection| connection.cut());
    }
}

impl Open {
    /// A connection that was accepted.
    pub fn meet(&self, stream: &TcpStream) -> Peer {
        let connection = Arc::new(Connection::of(stream));
        self.add(&connection);
        Peer { connection }
    }
}
