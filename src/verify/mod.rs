//! Judges a gateway's ledger against manifests: what is lost, repeated, out of order, or should not be there.
//!
//! Owns the judgement ([`judge`], pure) and the reading of ledgers ([`ledger`]) and of dead letters ([`letters`]). It knows the manifest's form from
//! [`crate::load::manifest`] and the ledger's from its lines; it imports neither the pipeline nor the simulator.
//!
//! * V1: `ledger = accepted + duplicated + phantom`, every line is counted once.
//! * V2: `expected = (accepted - unconfirmed) + lost`, every confirmed record is counted once.
//! * V3: with letters, every confirmed record of a manifest is accepted, dead-lettered, held or lost.

pub mod dead_letter_match;
pub mod judge;
pub mod ledger;
pub mod letters;
mod track;
pub mod verdict;
