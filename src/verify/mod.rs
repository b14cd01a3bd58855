//! Judges a gateway's ledger against manifests: what is lost, repeated, out of order, or should not be there.
//!
//! Owns the judgement ([`judge`], pure) and the reading of ledgers ([`ledger`]). It knows the manifest's form from
//! [`crate::load::manifest`] and the ledger's from its lines; it imports neither the pipeline nor the simulator.
//!
//! * V1: `ledger = accepted + duplicated + phantom`, every line is counted once.
//! * V2: `expected = (accepted - unconfirmed) + lost`, every confirmed record is counted once.

pub mod judge;
pub mod ledger;
