//! A worker's chunk in hand: decoded in parts, and admitted to the queues as far as there is room.
//!
//! * M1: a part is decoded only when there is memory for it, and letters are made only as far as [`letter_bytes`] allows, so
//!   that neither a message with many records nor one with many letters fills the memory.
//! * S1: while a chunk is in hand no other is taken; messages are admitted in their order.
//!
//! The rest of a chunk is dropped unsettled when the worker ends, and re-delivered to the partition's next owner.

use std::sync::Arc;
use std::time::Instant;

use rdkafka::types::RDKafkaErrorCode;

use super::{Chunk, Worker, letter_bytes};
use crate::ops::metrics::pipeline as metrics;
use crate::pipeline::guard::dead_messages;
use crate::pipeline::live;
use crate::pipeline::partition::{Read, Rest};
use crate::pipeline::permits::Permit;
use crate::pipeline::settings::MESSAGE_OVERHEAD;
use crate::registry::Snapshot;

/// A chunk that is not admitted to its end.
pub(super) struct Intake {
    /// The chunk, with the permit for what is not decoded yet.
    chunk: Chunk,
    /// The messages of the part in hand are `messages[from..to]`, errors not counted; `Worker::counts` belongs to them.
    from: usize,
    /// End of the part in hand, and start of the next.
    to: usize,
    /// Whether no message lies behind the part in hand.
    ended: bool,
    /// Outcomes of the part in hand that wait for room for letters.
    rest: Option<Rest>,
}

impl Worker {
    /// Begins a chunk and admits what there is room for.
    pub(super) fn begin(&mut self, chunk: Chunk) -> anyhow::Result<()> {
        self.renew();
        let (life, from) = chunk.life;
        if life != self.life {
            // Offsets of the life before are not compared with those of this one (E1).
            self.life = life;
            self.last_dead = None;
            self.partition.begin_life(from);
        }
        if let Some(end) = chunk.log_end {
            self.partition.log_ends_at(end);
        }
        if let Some(offset) = chunk.skipped {
            self.partition.skip(offset);
        }
        let wrong = chunk.messages.iter().filter_map(Result::err);
        for error in wrong.filter(|error| *error != RDKafkaErrorCode::PartitionEOF) {
            metrics::message_error(&self.progress.input.topic);
            tracing::error!(topic = %self.progress.input.topic, partition = self.progress.input.partition, %error, "librdkafka returned an error instead of a message");
        }
        self.intake = Some(Intake {
            chunk,
            from: 0,
            to: 0,
            ended: false,
            rest: None,
        });
        self.take_in()
    }

    /// Takes over mappings and rules that were replaced since the last chunk.
    fn renew(&mut self) {
        if !live::is_newer(&self.shared.live) {
            return;
        }
        let live = Arc::clone(&self.shared.live.borrow_and_update());
        let topic = &self.progress.input.topic;
        live.renew(topic, &mut self.decoder);
        let held = self.shared.topics.held(topic);
        self.side.decoder = live.decoder(&held);
    }

    /// Admits the rest of the chunk in hand, as far as there is room.
    pub(super) fn take_in(&mut self) -> anyhow::Result<()> {
        while let Some(mut intake) = self.intake.take() {
            let room = letter_bytes(self.permits.limit()).saturating_sub(self.letter_bytes);
            let waits = intake.rest.is_none() && intake.to > 0 && self.waits_for_memory();
            // What is decoded is admitted while the schema of the next message is asked for.
            let asks = intake.rest.is_none() && self.schema.waits();
            if room == 0 || waits || asks {
                self.intake = Some(intake);
                return Ok(());
            }
            let now = Instant::now();
            let devices = self.side.in_force(self.partition.gated());
            let rest = intake.rest.take();
            let (mut messages, mut permit) = (0, None);
            if rest.is_none() {
                let devices = &devices;
                (messages, permit) = self.decode(&mut intake, devices);
                if intake.from == intake.to && !intake.ended {
                    // The first message of the part waits for its schema.
                    self.intake = Some(intake);
                    return Ok(());
                }
            }
            let done = rest.as_ref().map_or(0, Rest::done);
            let reads = intake
                .chunk
                .messages
                .iter()
                .flatten()
                .skip(intake.from)
                .zip(&self.counts)
                .map(|(message, &records)| Read {
                    offset: message.offset(),
                    timestamp_ms: message.timestamp_ms(),
                    key: message.key(),
                    payload: message.payload(),
                    records,
                })
                .skip(done);
            let (letters, rest) = match rest {
                Some(rest) => self.partition.admit_rest(rest, reads, &devices, room),
                None => self.partition.admit_within(
                    reads,
                    &mut self.decoded,
                    permit,
                    &devices,
                    (now, room),
                ),
            };
            intake.rest = rest;
            {
                let part = intake.chunk.messages.iter().flatten().skip(intake.from);
                let mut keys = part.peekable();
                let key = |offset| {
                    while keys.next_if(|message| message.offset() < offset).is_some() {}
                    keys.peek()?.key()
                };
                let dead = dead_messages(letters.iter(), key, &mut self.last_dead);
                self.shared.guard.note(messages, &dead, now)?;
            }
            self.queue(letters);
            if intake.rest.is_some() || !intake.ended {
                self.intake = Some(intake);
            } else if let Some(offset) = intake.chunk.passed {
                self.partition.passes(offset);
            }
        }
        Ok(())
    }

    /// Whether decoded records must be sent before the next part is decoded: the permits are exceeded, and records in hand will
    /// return some (M1).
    fn waits_for_memory(&mut self) -> bool {
        let in_hand = self.partition.queues().queued() > 0 || !self.requests.is_empty();
        let waits = in_hand && self.permits.exceeded();
        self.flush |= waits;
        if waits {
            self.want_room();
        }
        waits
    }

    /// Decodes the next part of a chunk: to its end, until a quarter of the partition's limit is decoded, or until a message
    /// whose schema has to be asked for. Gives the number of messages with records, and the permit for the part.
    fn decode(&mut self, intake: &mut Intake, devices: &Snapshot) -> (u64, Option<Permit>) {
        let now_us = jiff::Timestamp::now().as_microsecond();
        let most = (self.permits.limit() / 4) as usize;
        self.counts.clear();
        self.decoded.clear_outcomes();
        // Reserved once instead of growing step by step: a valid native record keeps its length.
        self.decoded
            .bytes
            .reserve((intake.chunk.payload_bytes as usize).min(most));
        let (mut messages, mut bytes) = (0, 0);
        intake.from = intake.to;
        intake.ended = true;
        for message in intake.chunk.messages.iter().flatten().skip(intake.from) {
            if self.decoded.bytes.len() >= most {
                intake.ended = false;
                break;
            }
            let before = self.decoded.records();
            let replay = message.replay();
            let origin = message.origin(&self.progress.input.topic);
            let (value, call) = (message.payload(), (&origin, devices, now_us));
            if replay.is_some_and(|replay| replay.native) {
                // The worker's other decoder reads the gateway's shape, which is JSON.
                let decoder = &mut self.side.decoder;
                decoder.decode_from(value, &origin, devices, now_us, &mut self.decoded);
            } else if let Err(missing) = self.decoder.decode(value, call, &mut self.decoded) {
                self.schema.ask(self.decoder.reader(), missing);
                intake.ended = false;
                break;
            }
            if let Some(replay) = replay {
                self.partition.note_replay(message.offset(), replay.replays);
            }
            intake.to += 1;
            bytes += value.map_or(0, <[u8]>::len) as u64 + MESSAGE_OVERHEAD;
            let records = self.decoded.records() - before;
            messages += u64::from(records > 0);
            self.counts.push(records as u32);
        }
        for &(rule, count) in &self.decoded.notes {
            metrics::noted(rule, count);
        }
        let mut permit = if intake.ended {
            intake.chunk.permit.take()
        } else {
            intake.chunk.permit.as_mut().map(|all| all.split(bytes))
        };
        // Records of an array, or made by a mapping, may need more bytes than their message.
        let built =
            self.decoded.bytes.len() as u64 + self.decoded.outcomes.len() as u64 * MESSAGE_OVERHEAD;
        if let Some(permit) = permit.as_mut().filter(|permit| permit.bytes() < built) {
            permit.charge(built);
        }
        (messages, permit)
    }
}
