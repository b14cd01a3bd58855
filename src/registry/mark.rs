//! The mark of the orders store in the registry's topic: which store wrote last, and its generation.
//!
//! The mark has one reserved key and is written in the same transaction as the devices. A store compares the mark with its own
//! generations before it provisions (P3): a store that was lost, exchanged or restored from an older copy does not know the
//! nonce of the mark.
//!
//! * No device has a reserved key as its id: the check of a [`Device`](super::Device) refuses it.
//! * Every reader skips a reserved key that it does not know: a later version may write more of them.

use serde::{Deserialize, Serialize};

/// Prefix of reserved keys.
pub const RESERVED: &str = "__dig-ingest.";
/// The key of the mark.
pub const KEY: &str = "__dig-ingest.orders-store";

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The identity of the store: a UUID that is made once.
    pub store: Box<str>,
    /// Grows with every provisioning intent and with every publication.
    pub generation: i64,
    /// Random text of this generation: two copies of one store that were both used give the same number, and different nonces.
    pub nonce: Box<str>,
    /// Units whose serial the topic may lack: their provisioning call is open, or its answer is not published yet.
    #[serde(default)]
    pub open: Vec<Box<str>>,
}
