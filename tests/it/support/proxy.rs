//! A proxy between clients and a broker that keeps what one client sends, as a network does that is away and comes back, or that
//! answers a client's requests of some kinds with silence.
//!
//! The broker names the proxy as its address, so every client comes by here; clients are told apart by the client id that is in the
//! header of every Kafka request. While a client is held, its requests are kept from its next request of a kind on, in their order
//! and also after the client has died, and are handed over on [`Proxy::release`].

use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::PATIENCE;

/// The key of a Produce request in the Kafka protocol.
pub const PRODUCE: i16 = 0;
/// The keys of the requests of a group's members: JoinGroup, Heartbeat, LeaveGroup, SyncGroup.
pub const MEMBERSHIP: [i16; 4] = [11, 12, 13, 14];

#[derive(Default)]
struct State {
    broker: String,
    /// Client id and the request that the holding begins with.
    hold: Option<(String, i16)>,
    /// Client id and the kinds of requests that are not answered.
    silence: Option<(String, Vec<i16>)>,
    /// Connections on which a request was not answered.
    silenced: Vec<TcpStream>,
    /// Requests that are kept.
    held: usize,
    /// Requests that were kept and that the broker has answered.
    answered: usize,
}

/// See the module's documentation.
pub struct Proxy {
    port: u16,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Proxy {
    /// Listens; nothing is let through before [`Proxy::lead_to`].
    pub fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared: Arc<(Mutex<State>, Condvar)> = Arc::default();
        let accepting = Arc::clone(&shared);
        // Ends with the process: a client may come at any time.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                thread::spawn(move || carry(client, &shared));
            }
        });
        Self { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn lead_to(&self, broker: &str) {
        self.shared.0.lock().unwrap().broker = broker.to_owned();
    }

    /// Keeps what a client sends, from its next request of this kind on.
    pub fn hold(&self, client: &str, request: i16) {
        self.shared.0.lock().unwrap().hold = Some((client.to_owned(), request));
    }

    /// Leaves a client's requests of these kinds unanswered, and what follows them on their connections.
    pub fn silence(&self, client: &str, requests: &[i16]) {
        self.shared.0.lock().unwrap().silence = Some((client.to_owned(), requests.to_vec()));
    }

    /// Ends the silence, and the connections it was on.
    pub fn end_silence(&self) {
        let mut state = self.shared.0.lock().unwrap();
        state.silence = None;
        for connection in state.silenced.drain(..) {
            // The client may have closed it.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// How many requests are kept.
    pub fn held(&self) -> usize {
        self.shared.0.lock().unwrap().held
    }

    /// Hands over what was kept, and waits until the broker has answered all of it.
    pub fn release(&self) {
        let (state, changed) = &*self.shared;
        let mut state = state.lock().unwrap();
        state.hold = None;
        changed.notify_all();
        let (state, over) = changed
            .wait_timeout_while(state, PATIENCE, |state| state.answered < state.held)
            .unwrap();
        assert!(
            !over.timed_out(),
            "of {} kept requests {} were answered",
            state.held,
            state.answered
        );
    }
}

/// One request or answer with its length; none at the end.
fn frame(from: &mut impl Read) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame).ok()?;
    let length = u32::from_be_bytes(frame[..].try_into().ok()?) as usize;
    frame.resize(4 + length, 0);
    from.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

/// Kind and client id of a request.
fn header(request: &[u8]) -> (i16, &[u8]) {
    let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
    let length = usize::try_from(number(12)).unwrap_or_default();
    (number(4), &request[14..14 + length])
}

fn carry(mut client: TcpStream, shared: &Arc<(Mutex<State>, Condvar)>) {
    let (state, changed) = &**shared;
    let address = state.lock().unwrap().broker.clone();
    let Ok(mut broker) = TcpStream::connect(address) else {
        return;
    };
    let (Ok(mut answers), Ok(mut to_client)) = (broker.try_clone(), client.try_clone()) else {
        return;
    };
    // Requests of this connection that were kept and handed over, and wait for their answers.
    let expected: Arc<Mutex<usize>> = Arc::default();
    let waiting = Arc::clone(&expected);
    let counting = Arc::clone(shared);
    thread::spawn(move || {
        while let Some(answer) = frame(&mut answers) {
            // A client that died reads nothing any more.
            let _ = to_client.write_all(&answer);
            let mut waiting = waiting.lock().unwrap();
            if *waiting > 0 {
                *waiting -= 1;
                counting.0.lock().unwrap().answered += 1;
                counting.1.notify_all();
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut silent = false;
    while let Some(request) = frame(&mut client) {
        let (kind, id) = header(&request);
        let mut state = state.lock().unwrap();
        let falls_silent = state
            .silence
            .as_ref()
            .is_some_and(|(silenced, kinds)| silenced.as_bytes() == id && kinds.contains(&kind));
        if falls_silent && !silent {
            silent = true;
            state.silenced.extend(client.try_clone());
        }
        if silent {
            continue;
        }
        let begins = state.hold.as_ref().is_some_and(|(held, from)| {
            held.as_bytes() == id && (*from == kind || !kept.is_empty())
        });
        if begins {
            state.held += 1;
            kept.push(request);
            continue;
        }
        drop(state);
        if broker.write_all(&request).is_err() {
            return;
        }
    }
    if kept.is_empty() {
        let _ = broker.shutdown(Shutdown::Write);
        return;
    }
    // The client is gone; what it sent is still under way.
    let guard = state.lock().unwrap();
    drop(
        changed
            .wait_while(guard, |state| state.hold.is_some())
            .unwrap(),
    );
    *expected.lock().unwrap() = kept.len();
    for request in kept {
        if broker.write_all(&request).is_err() {
            return;
        }
    }
}
