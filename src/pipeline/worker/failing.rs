//! A worker's side of isolation: retries records that failed, in upload slots of their own, quarantines their devices, and
//! reports both.
//!
//! * A device is quarantined only once its held topic exists; until then its records stay in their queue, and an error is
//!   logged.
//!
//! Owns no state beyond [`Failing`]; dropping it leaves nothing behind.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::Worker;
use crate::ops::metrics::failing as metrics;
use crate::ops::waits::{Kind, Wait};
use crate::pipeline::held_topic::{self, NotAllowed};
use crate::pipeline::isolation::{Figures, Found};
use crate::pipeline::queues::Limits;
use crate::pipeline::upload::RequestSlot;
use crate::topic_partition::TopicPartition;

/// Pause before the creation of a held topic is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// What the worker keeps about failing devices.
#[derive(Default)]
pub(super) struct Failing {
    /// The upload slot for records that failed before, requested from the uploader and awaited. Dropped, the request is
    /// withdrawn, or the slot is returned.
    slot: Option<Pin<Box<dyn Future<Output = RequestSlot> + Send>>>,
    /// Whether the held topic is being created, by a future in `Side::writing`.
    making: bool,
    /// When its creation was last begun; it is not begun again before a pause.
    asked: Option<Instant>,
    /// Whether memory is short: the next look quarantines failing devices without waiting for `quarantine_after_s`.
    short: bool,
    /// Figures as last given to the metrics and to the published wait.
    shown: Figures,
    /// The wait published while a device is isolated or in quarantine. Dropped, it ends on the board.
    wait: Option<Wait>,
}

impl Failing {
    /// The upload slot, once it is granted; pending for ever while none is requested.
    pub async fn slot(&mut self) -> RequestSlot {
        match &mut self.slot {
            Some(slot) => slot.as_mut().await,
            None => std::future::pending().await,
        }
    }
}

impl Worker {
    /// Requests an upload slot if failed records are due; otherwise gives the instant at which they are.
    pub(super) fn seek_retry(&mut self, now: Instant) -> Option<Instant> {
        if self.failing.slot.is_some() {
            return None;
        }
        let due = self.partition.isolation().due()?;
        if due > now {
            return Some(due);
        }
        let uploader = Arc::clone(&self.shared.uploader);
        self.failing.slot = Some(Box::pin(async move { uploader.retry_slot().await }));
        None
    }

    /// Sends failed records that are due.
    pub(super) fn retry(&mut self, slot: RequestSlot) {
        self.failing.slot = None;
        let mut limits = self.limits();
        if !self.shared.uploader.flowing() {
            // The circuit is not closed: only a probe may be sent.
            limits = Limits {
                records: limits.records.min(self.shared.uploader.probe_records()),
                ..limits
            };
        }
        let Some((request, ticket, past)) = self.partition.pack_failing(limits, Instant::now())
        else {
            return;
        };
        metrics::retried(&self.progress.input.topic);
        self.carry(slot, request, ticket, past);
    }

    /// Notes that memory is short: the next call of `quarantine` takes every failing device.
    pub(super) fn want_room(&mut self) {
        self.failing.short = true;
    }

    /// Quarantines every failing device now, because memory is needed.
    pub(super) fn press(&mut self) -> anyhow::Result<()> {
        self.failing.short = true;
        self.quarantine()
    }

    /// Quarantines the devices that have failed for long enough, and reports what was found out about devices.
    pub(super) fn quarantine(&mut self) -> anyhow::Result<()> {
        let short = std::mem::take(&mut self.failing.short);
        if self.partition.isolation().figures().isolated > 0 {
            if self.side.topic_there {
                let devices = self.side.in_force(self.partition.gated());
                self.partition.set_letter_room(self.letter_room());
                let letters = self.partition.quarantine(short, &devices, Instant::now());
                self.post(letters)?;
            } else {
                self.make_held_topic();
            }
        }
        self.tell_failing();
        Ok(())
    }

    /// Whether all records in hand are of devices that the gateway fails on.
    pub(super) fn only_failing(&self) -> bool {
        self.failing.shown.isolated > 0
            && self.requests.is_empty()
            && self.partition.queued_well() == 0
    }

    /// Sets the partition's gauges to zero, because another instance may own it now.
    pub(super) fn forget_failing(&self) {
        if self.failing.shown != Figures::default() {
            metrics::devices(&self.progress.input, &Figures::default());
        }
    }

    fn make_held_topic(&mut self) {
        let failing = &mut self.failing;
        let now = Instant::now();
        let lately = failing.asked.is_some_and(|asked| now < asked + AGAIN);
        if failing.making || lately {
            return;
        }
        (failing.making, failing.asked) = (true, Some(now));
        let (kafka, topics) = (self.shared.kafka.clone(), self.shared.topics.clone());
        let input = self.progress.input.clone();
        self.side.make_topic(async move {
            let made = move || held_topic::ensure(&kafka, &topics, &input);
            tokio::task::spawn_blocking(made)
                .await
                .context("making the held topic failed")?
        });
    }

    /// Handles the end of the held topic's creation.
    pub(super) fn held_topic_made(&mut self, result: anyhow::Result<()>) -> anyhow::Result<()> {
        self.failing.making = false;
        match result {
            Ok(()) => {
                self.side.topic_there = true;
                self.quarantine()
            }
            Err(error) => {
                let remedy = error.downcast_ref::<NotAllowed>().map(NotAllowed::remedy);
                tracing::error!(
                    topic = %self.progress.input.topic, partition = self.progress.input.partition, error = format!("{error:#}"), remedy,
                    "records of a failing device wait in memory and delay commits, because they cannot be written to the held topic"
                );
                Ok(())
            }
        }
    }

    /// Logs and counts each change of a device's isolation once, and updates gauges and the published wait.
    fn tell_failing(&mut self) {
        let input = &self.progress.input;
        let TopicPartition { topic, partition } = input;
        for found in self.partition.isolation_mut().take_found() {
            match found {
                Found::Isolated(serial, status, text) => {
                    metrics::isolated(topic);
                    tracing::warn!(
                        %topic, partition, serial = %String::from_utf8_lossy(&serial), status, text,
                        "the gateway fails on the records of one device and takes others: the device is sent on its own"
                    );
                }
                Found::Quarantined(serial, failed_for, status, text) => {
                    metrics::quarantined(topic);
                    tracing::error!(
                        %topic, partition, serial = %String::from_utf8_lossy(&serial), status, text,
                        seconds = failed_for.as_secs(),
                        "the gateway keeps failing on one device: its records are quarantined and retried; `dig-ingest devices held` lists them"
                    );
                }
                Found::Cleared(serial) => {
                    metrics::cleared(topic);
                    tracing::info!(
                        %topic, partition, serial = %String::from_utf8_lossy(&serial),
                        "the gateway accepts the records of a quarantined device again"
                    );
                }
            }
        }
        let figures = self.partition.isolation().figures();
        if figures != self.failing.shown {
            metrics::devices(input, &figures);
            self.failing.shown = figures;
            let Figures {
                isolated,
                quarantined,
                ..
            } = figures;
            let cause = format!(
                "the gateway fails on {isolated} devices whose records are in memory and {quarantined} whose records are held"
            );
            match &mut self.failing.wait {
                wait if isolated + quarantined == 0 => *wait = None,
                Some(wait) => wait.update(cause),
                wait => {
                    let remedy = "look at the gateway's answer in the log and at `dig-ingest devices held`; the devices are tried again by themselves";
                    let subject = input.to_string();
                    *wait = Some(
                        self.shared
                            .board
                            .wait(Kind::Quarantine, subject, cause, remedy),
                    );
                }
            }
        }
    }
}
