//! A worker's requests: packed when an upload slot is granted, uploaded by a task each, then settled or given back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Finished, Worker};
use crate::ops::metrics::pipeline as metrics;
use crate::pipeline::dispatch::{self, Due};
use crate::pipeline::isolation::Past;
use crate::pipeline::queues::PackedRequest;
use crate::pipeline::request::Request;
use crate::pipeline::upload::RequestSlot;

impl Worker {
    pub(super) fn send(&mut self, slot: RequestSlot) {
        let limits = self.limits();
        let linger = Duration::from_millis(self.shared.batch.linger_ms);
        // The slot may be granted late: the records that were due may have been withdrawn or sent since.
        if dispatch::due(
            self.partition.queues(),
            limits,
            linger,
            self.flush,
            Instant::now(),
        ) != Due::Now
        {
            return;
        }
        let Some((request, ticket)) = self.partition.pack(limits) else {
            return;
        };
        if self.partition.queues().ready_records() == 0 {
            self.flush = false;
        }
        metrics::packed(
            request.records.len(),
            request.batches.len(),
            request.body.len(),
        );
        self.carry(slot, request, ticket, Past::default());
    }

    pub(super) fn carry(
        &mut self,
        slot: RequestSlot,
        request: Request,
        ticket: PackedRequest,
        past: Past,
    ) {
        let uploader = Arc::clone(&self.shared.uploader);
        let stop = self.stop.clone();
        self.requests.spawn(async move {
            let verdicts = uploader
                .upload(slot, request.clone(), past, &stop)
                .await
                .ok();
            (request, ticket, verdicts)
        });
    }

    pub(super) fn finish(&mut self, (request, ticket, verdicts): Finished) {
        // No verdicts only after a stop; the records stay unsettled then.
        let Some(verdicts) = verdicts else { return };
        self.memory
            .remember(self.partition.origins(&ticket, &verdicts));
        let failed = verdicts.failed.is_some();
        let tended = failed || !self.partition.isolation().is_empty();
        let mut letters = if failed {
            let permit = self.side.owe(request.body.len() as u64);
            let now = Instant::now();
            self.partition
                .give_back(request, ticket, verdicts, Some(permit), now)
        } else {
            let letters = self.partition.complete(&request, &ticket, &verdicts);
            self.partition.recycle(request);
            letters
        };
        self.partition.set_letter_room(self.letter_room());
        if self.partition.withdraws() {
            let devices = self.side.in_force(self.partition.gated());
            letters.extend(self.partition.withdraw(&devices));
        }
        let mut done = self.post(letters);
        if tended && done.is_ok() && !self.stop.is_cancelled() {
            done = self.quarantine();
        }
        if let Err(error) = done {
            self.fail(error);
        }
    }
}
