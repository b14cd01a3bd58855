//! Serials in two requests at once: the gateway's view of invariant S2 (sentinel `overlapping_serials`).
//!
//! A request holds its serials from the moment its body is read until it is answered, cut or given up by the client.
//! A holder whose client has closed the connection does not count: that client no longer has it in flight.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::cursor::TextRange;
use super::ledger::serial_key;
use super::listener::Connection;
use super::scan::Scanned;

#[derive(Clone)]
struct Holder {
    request: u64,
    connection: Arc<Connection>,
}

/// Who holds which serial. The lock is held for the look-ups of one request, never across an await.
#[derive(Default)]
pub struct Overlaps {
    holders: Mutex<HashMap<u64, Holder, foldhash::fast::FixedState>>,
}

/// A request's serials; dropping it lets them go.
pub struct Held {
    overlaps: Arc<Overlaps>,
    request: u64,
    serials: Vec<u64>,
    /// How many serials another request held at that moment, and one of them.
    pub overlapping: u64,
    pub example: Option<TextRange>,
}

impl Overlaps {
    /// Holds the serials of a request.
    #[must_use]
    pub fn hold(
        self: &Arc<Self>,
        request: u64,
        connection: &Arc<Connection>,
        body: &[u8],
        records: &[Scanned],
    ) -> Held {
        let mut held = Held {
            overlaps: self.clone(),
            request,
            serials: Vec::new(),
            overlapping: 0,
            example: None,
        };
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last: &[u8] = b"";
        for record in records {
            let serial = record.serial.of(body);
            if serial == last {
                continue;
            }
            last = serial;
            let key = serial_key(serial);
            let holder = holders.entry(key).or_insert_with(|| {
                held.serials.push(key);
                Holder {
                    request,
                    connection: connection.clone(),
                }
            });
            if holder.request != request {
                if holder.connection.peer_open() {
                    held.overlapping += 1;
                    held.example = Some(record.serial);
                }
                *holder = Holder {
                    request,
                    connection: connection.clone(),
                };
                held.serials.push(key);
            }
        }
        held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holders = self
            .overlaps
            .holders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for key in &self.serials {
            if holders
                .get(key)
                .is_some_and(|holder| holder.request == self.request)
            {
                holders.remove(key);
            }
        }
    }
}
