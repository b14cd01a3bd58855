//! Repair: reading letters, choosing among them, and replaying them into their input topics.
//!
//! Owns what a letter is to a person ([`entry`]), the reading of the topics that have some ([`read`]), choice and counts ([`filter`],
//! [`group`]), the marks of letters that need no attention any more ([`marks`]), the judgement by today's mapping, rules and gate
//! ([`today`]), the order in which letters may be replayed ([`order`]), and the replay itself ([`replay`]).
//!
//! * L1: a letter and its mark are written in one Kafka transaction: a letter is replayed once, however a replay ended, unless a
//!   person asks for it again.
//! * L2: letters of one subject (a serial, or a device without one) are replayed in the order of their sources, and none passes an
//!   older letter of its subject that still waits, unless a person says so.
//! * L3: a replayed letter is a message of its input topic, in the partition it came from. So the job judges it as any other message,
//!   and S1 and S2 hold between it and live records, whether the job runs or not.
//! * L4: letters are bytes of any program: texts are bounded when they are read, and nothing in them is believed that decides where a
//!   message is written without being compared with the settings.
//!
//! It does not release held records while a gate is on: the job does, when their device becomes active. Every function that talks to
//! the broker blocks the calling thread.

pub mod dismiss;
pub mod entry;
pub mod filter;
pub mod group;
pub mod marks;
pub mod order;
pub mod original;
pub mod place;
pub mod read;
pub mod replay;
pub mod today;
mod writer;
