//! The memory formula: what the job may need at most, term by term, before it reads a single message.
//!
//! `check` prints it, `run` refuses to start when it exceeds `[memory] limit_bytes` (M1 bounds the first term while
//! running; the others are bounded by settings and by constants of the stages).
//!
//! The constants were measured, and `tests/it/kafka/memory.rs` and `tests/it/weather/memory_bounds.rs` measure again: an idle job stays
//! below the term [`ITSELF`], one that is full below the sum.

use serde::Serialize;

use super::problem::{Error, SettingSource};
use super::{Settings, rules};
use crate::formats::{Format, Topic};
use crate::orders::import;
use crate::orders::mail::email;
use crate::pipeline::gate::Mode;
use crate::pipeline::queues::kept_bytes;
use crate::pipeline::release::{BATCH_BYTES, BATCHES};
use crate::pipeline::worker::letter_bytes;

/// Name of the term for an idle program.
pub const ITSELF: &str = "the program itself";
/// What an idle program needs: code, allocator, runtime, client threads, metrics.
const BASE_BYTES: u64 = 64 * 1024 * 1024;
/// What an idle partition adds: its worker, queues and metrics.
const PARTITION_BYTES: u64 = 256 * 1024;
/// An entry of the offset tracker, for every message between the watermark and the newest one.
const OPEN_BYTES: u64 = 16;
/// What a page of invalid records costs per byte: the answer while it grows, its records, and the messages they become.
const PAGE_FACTOR: u64 = 4;
/// What an invalid record that is remembered costs, in the set and in its order.
const REMEMBERED_BYTES: u64 = 40;
/// What a byte of MyAdmin's answer costs at most once it is parsed.
const ANSWER_FACTOR: u64 = 8;
/// What a byte of a sheet or of a CSV file costs: the file, what a workbook is unpacked to, and its rows.
const FILE_FACTOR: u64 = 8;
/// What a byte of a mail costs that is no attachment in Base64.
const MAIL_FACTOR: u64 = 50;
/// What a prefetched byte costs: the client keeps an entry of some 400 bytes per message beside the message, measured with
/// messages of 180 bytes.
const PREFETCH_FACTOR: u64 = 3;
/// Bytes per accepted record whose source is remembered.
const SOURCE_BYTES: u64 = 16;
/// A device of the registry, and the same once more while its snapshot grows; measured with a million.
const DEVICE_BYTES: u64 = 200;
/// A name of which records are held, in the index of its partition: 200 to 350, measured.
const HELD_NAME_BYTES: u64 = 350;
/// What a message in another format than JSON costs per byte: its JSON and the places of its fields, in buffers that may have grown to
/// twice their contents, and parts of messages that are merged.
const DECODED_FACTOR: u64 = 5;
/// What a byte of a schema's text costs once it is compiled.
const SCHEMA_FACTOR: u64 = 4;
/// What a byte of a schema's text costs while it is compiled.
const COMPILE_FACTOR: u64 = 32;
/// What an allocator keeps of what it was given back: one byte in so many.
const ALLOCATOR_SHARE: u64 = 10;

/// One part of the sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Term {
    pub name: &'static str,
    pub bytes: u64,
    /// How it came about, in the words of the settings.
    pub how: String,
}

/// The sum and its parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Formula {
    pub partitions: u64,
    pub terms: Vec<Term>,
    pub total_bytes: u64,
    /// What the job is given; 0 for no limit.
    pub limit_bytes: u64,
}

impl Formula {
    /// Whether the job may start.
    ///
    /// # Errors
    /// The sum exceeds the limit.
    pub fn check(&self) -> Result<(), Error> {
        if self.limit_bytes == 0 || self.total_bytes <= self.limit_bytes {
            return Ok(());
        }
        Err(Error(vec![rules::too_much(
            SettingSource::Default,
            self.total_bytes,
            self.limit_bytes,
        )]))
    }
}

impl Settings {
    /// The formula for an instance that owns so many partitions.
    pub fn memory_formula(&self, partitions: u64) -> Formula {
        let Self {
            memory,
            kafka,
            batch,
            pacing,
            feedback,
            gate,
            validate,
            ..
        } = self;
        let permits = memory
            .total_bytes
            .min(partitions.saturating_mul(memory.partition_bytes));
        let prefetch_kib = u64::from(kafka.prefetch_kib_per_partition);
        let (fetch, by_hand_kib) = (u64::from(kafka.fetch_bytes()), kafka.by_hand_kib());
        let message = u64::from(validate.max_message_bytes);
        // One message is fetched whole, however large; it has few entries.
        let ahead = ((prefetch_kib * 1024 + fetch) * PREFETCH_FACTOR)
            .max(prefetch_kib * 1024 * PREFETCH_FACTOR + message);
        let prefetch = partitions.saturating_mul(ahead);
        let window = partitions.saturating_mul(
            memory
                .window_messages
                .next_power_of_two()
                .saturating_mul(OPEN_BYTES),
        );
        let requests = u64::from(pacing.concurrency_cap);
        // The request, and the part of it that is sent: a copy while it splits, the same bytes again in a retry.
        let bodies = requests.saturating_mul(2 * batch.max_bytes as u64);
        let kept_each = kept_bytes(memory.partition_bytes);
        let kept = partitions.saturating_mul(kept_each);
        // Ours and the client's copy; one letter may exceed the limit, by a message.
        let letters_each = letter_bytes(memory.partition_bytes);
        let letters = partitions.saturating_mul(2 * (letters_each + message));
        // One reader per partition while it releases, and its batches: waiting, being filled, being taken in.
        let held = match gate.mode {
            Mode::Off => 0,
            Mode::Registry => partitions.saturating_mul(
                (by_hand_kib * 1024 + fetch) * PREFETCH_FACTOR + (BATCHES as u64 + 2) * BATCH_BYTES,
            ),
        };
        let devices = match gate.mode {
            Mode::Off => 0,
            Mode::Registry => memory
                .devices
                .saturating_mul(DEVICE_BYTES + HELD_NAME_BYTES),
        };
        let sources = partitions.saturating_mul(feedback.sources as u64 * SOURCE_BYTES);
        let (formats, formats_how) = self.format_term(partitions);
        let invalid = if feedback.enabled {
            (feedback.page_bytes as u64).saturating_mul(PAGE_FACTOR)
                + (feedback.remembered as u64).saturating_mul(REMEMBERED_BYTES)
        } else {
            0
        };
        let base = BASE_BYTES + partitions.saturating_mul(PARTITION_BYTES);
        let term = |name, bytes, how| Term { name, bytes, how };
        let mut terms = vec![
            term(
                "records in hand",
                permits,
                format!(
                    "the lesser of memory.total_bytes {} and {partitions} partitions x memory.partition_bytes {}",
                    memory.total_bytes, memory.partition_bytes
                ),
            ),
            term(
                "prefetched by the client",
                prefetch,
                format!(
                    "{partitions} partitions x (kafka.prefetch_kib_per_partition {prefetch_kib} x 1024 + a fetch of {fetch}) x {PREFETCH_FACTOR} \
                     for its entries per message, or with one message of validate.max_message_bytes {message}"
                ),
            ),
            term(
                "offsets in the window",
                window,
                format!(
                    "{partitions} partitions x memory.window_messages {} to the next power of two x {OPEN_BYTES}",
                    memory.window_messages
                ),
            ),
            term(
                "requests in flight",
                bodies,
                format!(
                    "{requests} requests at once x batch.max_bytes {} x 2 for the part that is sent or sent again",
                    batch.max_bytes
                ),
            ),
            term(
                "buffers kept",
                kept,
                format!("{partitions} partitions x {kept_each}, from memory.partition_bytes"),
            ),
            term(
                "letters on their way",
                letters,
                format!(
                    "{partitions} partitions x ({letters_each}, from memory.partition_bytes, + a message of {message}) x 2 for the client's copy"
                ),
            ),
            term(
                "held records being read",
                held,
                match gate.mode {
                    Mode::Off => "nothing is held: gate.mode is \"off\"".to_owned(),
                    Mode::Registry => format!(
                        "{partitions} partitions x ((a prefetch of {by_hand_kib} x 1024 + a fetch of {fetch}) x {PREFETCH_FACTOR} + {} batches \
                         of {BATCH_BYTES})",
                        BATCHES + 2
                    ),
                },
            ),
            term("formats", formats, formats_how),
            term(
                "devices",
                devices,
                match gate.mode {
                    Mode::Off => "no registry is read: gate.mode is \"off\"".to_owned(),
                    Mode::Registry => format!(
                        "memory.devices {} x ({DEVICE_BYTES} in the registry + {HELD_NAME_BYTES} in the index of what is held)",
                        memory.devices
                    ),
                },
            ),
            term(
                "sources remembered",
                sources,
                format!(
                    "{partitions} partitions x feedback.sources {} x {SOURCE_BYTES}",
                    feedback.sources
                ),
            ),
            term(
                "invalid records",
                invalid,
                format!(
                    "feedback.page_bytes {} x {PAGE_FACTOR} + feedback.remembered {} x {REMEMBERED_BYTES}",
                    feedback.page_bytes, feedback.remembered
                ),
            ),
            self.order_term(),
            term(
                ITSELF,
                base,
                format!(
                    "{BASE_BYTES}, measured idle, and {partitions} partitions x {PARTITION_BYTES}"
                ),
            ),
        ];
        let sum = |terms: &[Term]| {
            terms
                .iter()
                .map(|term| term.bytes)
                .fold(0, u64::saturating_add)
        };
        let kept_back = sum(&terms) / ALLOCATOR_SHARE;
        terms.push(term(
            "kept by the allocator",
            kept_back,
            format!("one in {ALLOCATOR_SHARE} of the above"),
        ));
        let total_bytes = sum(&terms);
        Formula {
            partitions,
            terms,
            total_bytes,
            limit_bytes: memory.limit_bytes,
        }
    }

    /// What the formats of topics need: the JSON of a message per partition, and the schemas.
    fn format_term(&self, partitions: u64) -> (u64, String) {
        let decoded = |topic: &Topic| topic.format != Format::Json;
        let formats = &self.input.formats;
        if !formats.values().any(decoded) {
            return (
                0,
                "every topic carries JSON: input.formats is empty".to_owned(),
            );
        }
        let message = u64::from(self.validate.max_message_bytes);
        let asks = formats.values().any(Topic::asks_registry);
        let (kept, largest) = match asks {
            true => (
                self.schema_registry.cache_bytes as u64,
                self.schema_registry.max_schema_bytes as u64,
            ),
            false => (0, 0),
        };
        let bytes = partitions.saturating_mul(message * DECODED_FACTOR)
            + kept.saturating_mul(SCHEMA_FACTOR)
            + largest.saturating_mul(COMPILE_FACTOR);
        let how = format!(
            "{partitions} partitions x a message of validate.max_message_bytes {message} x {DECODED_FACTOR} for its JSON + \
             schema_registry.cache_bytes {kept} x {SCHEMA_FACTOR} + schema_registry.max_schema_bytes {largest} x {COMPILE_FACTOR}"
        );
        (bytes, how)
    }

    /// What the order journey needs: an answer of MyAdmin, and the files it watches.
    fn order_term(&self) -> Term {
        let name = "orders";
        if !self.orders.enabled {
            let how = "no order is fulfilled: orders.enabled is false".to_owned();
            return Term {
                name,
                bytes: 0,
                how,
            };
        }
        let answer = self.myadmin.answer_bytes as u64;
        let (sheets, mail) = (&self.orders.terminations, &self.orders.mail);
        let sheet = u64::from(sheets.wanted()) * sheets.max_bytes;
        let inventory = !self.orders.inventory.file.as_os_str().is_empty();
        let inventory = u64::from(inventory) * import::LARGEST;
        let mails = u64::from(mail.wanted());
        // The process that opens mails with PDF files has a memory of its own.
        let apart = mail.reader_memory_mb.saturating_mul(1024 * 1024);
        let mail = mails * (2 * mail.max_bytes + email::PLAIN as u64 * MAIL_FACTOR + apart);
        let bytes = answer.saturating_mul(ANSWER_FACTOR)
            + (sheet + inventory).saturating_mul(FILE_FACTOR)
            + mail;
        let how = format!(
            "myadmin.answer_bytes {answer} x {ANSWER_FACTOR} + (a sheet of {sheet} + an inventory of {inventory}) x {FILE_FACTOR} + mail {mail}"
        );
        Term { name, bytes, how }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_its_terms_and_the_limit_is_kept() {
        let mut settings = Settings::default();
        let formula = settings.memory_formula(4);
        assert_eq!(
            formula.total_bytes,
            formula.terms.iter().map(|term| term.bytes).sum::<u64>()
        );
        assert!(formula.check().is_ok(), "no limit is set");
        settings.memory.limit_bytes = formula.total_bytes;
        assert!(settings.memory_formula(4).check().is_ok());
        settings.memory.limit_bytes -= 1;
        let error = settings.memory_formula(4).check().unwrap_err().to_string();
        assert!(
            error.contains("memory.limit_bytes: the job may need"),
            "{error}"
        );
    }

    #[test]
    fn a_gate_that_holds_costs_its_readers() {
        let mut settings = Settings::default();
        let held = |settings: &Settings| {
            let terms = settings.memory_formula(4).terms;
            let term = terms.iter().find(|term| term.name.starts_with("held"));
            term.map(|term| term.bytes)
        };
        assert_eq!(held(&settings), Some(0));
        settings.gate.mode = Mode::Registry;
        assert_eq!(held(&settings), Some(4 * (6 + 1) * 1024 * 1024));
    }

    #[test]
    fn a_gate_that_knows_devices_costs_their_names() {
        let mut settings = Settings::default();
        let devices = |settings: &Settings| {
            let terms = settings.memory_formula(4).terms;
            let term = terms.iter().find(|term| term.name == "devices");
            term.map(|term| term.bytes)
        };
        assert_eq!(devices(&settings), Some(0));
        settings.gate.mode = Mode::Registry;
        settings.memory.devices = 1_000_000;
        assert_eq!(devices(&settings), Some(550_000_000));
    }

    #[test]
    fn partitions_count_until_the_whole_is_reached() {
        let settings = Settings::default();
        let permits = |partitions| settings.memory_formula(partitions).terms[0].bytes;
        assert_eq!(permits(1), settings.memory.partition_bytes);
        assert_eq!(permits(1000), settings.memory.total_bytes);
    }
}
