//! Events of the real world that users of other Kafka-to-HTTP jobs reported in public, and hostile input: one file per kind, each test
//! named after the event, with the public report in its doc comment.

mod carried_over;
pub mod failing_device;
mod gateway_answers;
mod hostile_files;
mod hostile_text;
mod log_life;
mod memory_bounds;
mod odd_messages;
mod open_transactions;
mod positions;
mod reload;
mod reporting;
mod rights;
mod standing_still;
mod unreadable;
mod unwritable;
