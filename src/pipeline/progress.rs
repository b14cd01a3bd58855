//! Progress of one partition, shared by the consumer thread, the worker, the watcher and `Owner`.
//!
//! Owns plain atomics. The worker writes watermark, window and held topic; the consumer thread writes the committed offset; the
//! watcher writes the bounds of the log ([`super::watcher`]), and the consumer thread its beginning when another life begins.
//! No call here waits.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::log_life::TopicId;
use crate::topic_partition::TopicPartition;

/// See the module's documentation; operators see the board.
#[derive(Debug)]
pub struct Progress {
    /// The partition of the input topic.
    pub input: TopicPartition,
    /// Written by the worker after the settling act, read by the consumer thread; -1 until the first message is settled.
    watermark: AtomicI64,
    /// The life of the log that the watermark belongs to; written by the worker.
    life: AtomicU32,
    /// Messages between the watermark and the newest one read; written by the worker.
    window: AtomicU64,
    /// Offset that the broker last confirmed; written by the consumer thread, -1 until the first commit of this assignment or
    /// life.
    committed: AtomicI64,
    /// Offset at which reading begins: the group's commit or the log's first offset, found by the watcher; or the start of
    /// another life, set by the consumer thread. -1 until then.
    begin: AtomicI64,
    /// High watermark of the log as the watcher last asked; -1 until then.
    end: AtomicI64,
    /// Last stable offset, as of the same moment; -1 until then.
    stable: AtomicI64,
    /// Identity of the held topic that the worker rebuilt its index from; read by the consumer thread.
    held_topic: OnceLock<TopicId>,
    /// Wakes the worker to send without lingering; one request that came before is kept.
    flush: Notify,
}

impl Progress {
    #[must_use]
    pub fn new(input: TopicPartition) -> Arc<Self> {
        Arc::new(Self {
            input,
            watermark: AtomicI64::new(-1),
            window: AtomicU64::new(0),
            committed: AtomicI64::new(-1),
            begin: AtomicI64::new(-1),
            end: AtomicI64::new(-1),
            stable: AtomicI64::new(-1),
            life: AtomicU32::new(0),
            held_topic: OnceLock::new(),
            flush: Notify::new(),
        })
    }

    /// The offset to store, once there is one (O1).
    #[must_use]
    pub fn watermark(&self) -> Option<i64> {
        let watermark = self.watermark.load(Ordering::Acquire);
        (watermark >= 0).then_some(watermark)
    }

    /// The offset to store, if it belongs to this life of the log (E1).
    #[must_use]
    pub fn watermark_in(&self, life: u32) -> Option<i64> {
        // The life is compared before and after, because life and watermark are written one after the other.
        let same = || self.life.load(Ordering::Acquire) == life;
        let watermark = same().then(|| self.watermark())?;
        watermark.filter(|_| same())
    }

    /// Messages between the watermark and the newest one taken in.
    #[must_use]
    pub fn window(&self) -> u64 {
        self.window.load(Ordering::Acquire)
    }

    /// The worker's side of [`watermark`](Self::watermark); called only after the settling act.
    pub fn set_watermark(&self, life: u32, watermark: i64) {
        if self.life.load(Ordering::Relaxed) != life {
            // A reader must not take the old watermark for one of the new life.
            self.watermark.store(-1, Ordering::Release);
            self.life.store(life, Ordering::Release);
        }
        self.watermark.store(watermark, Ordering::Release);
    }

    /// Identity of the held topic that the worker rebuilt its index from; `None` before, and where the broker gives no ids.
    #[must_use]
    pub fn held_topic(&self) -> Option<&TopicId> {
        self.held_topic.get()
    }

    /// The worker's side of [`held_topic`](Self::held_topic).
    pub fn set_held_topic(&self, id: TopicId) {
        // Set once per worker.
        let _ = self.held_topic.set(id);
    }

    /// The worker's side of [`window`](Self::window).
    pub fn set_window(&self, messages: u64) {
        self.window.store(messages, Ordering::Release);
    }

    /// Offset that the broker has confirmed as committed in this assignment; -1 if there is none.
    #[must_use]
    pub fn committed(&self) -> i64 {
        self.committed.load(Ordering::Acquire)
    }

    /// The consumer thread's side of [`committed`](Self::committed).
    pub fn set_committed(&self, offset: i64) {
        self.committed.store(offset, Ordering::Release);
    }

    /// Offset at which reading begins, once it is known.
    #[must_use]
    pub fn begin(&self) -> Option<i64> {
        Some(self.begin.load(Ordering::Acquire)).filter(|offset| *offset >= 0)
    }

    /// The consumer thread's side of [`begin`](Self::begin): another life of the log begins.
    pub fn set_begin(&self, offset: i64) {
        self.begin.store(offset, Ordering::Release);
    }

    /// The watcher's side of [`begin`](Self::begin). Its answer may be about the log's earlier life, so it counts only while
    /// nothing is known (E1).
    pub fn find_begin(&self, offset: i64) {
        let _ = self
            .begin
            .compare_exchange(-1, offset, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Last stable offset of the log, as the watcher last asked: what lies behind it waits for the end of a transaction.
    #[must_use]
    pub fn stable(&self) -> Option<i64> {
        Some(self.stable.load(Ordering::Acquire)).filter(|offset| *offset >= 0)
    }

    /// High watermark of the log, as the watcher last asked.
    #[must_use]
    pub fn end(&self) -> Option<i64> {
        Some(self.end.load(Ordering::Acquire)).filter(|offset| *offset >= 0)
    }

    /// The watcher's side of [`end`](Self::end) and [`stable`](Self::stable).
    pub fn set_end(&self, end: i64, stable: i64) {
        self.stable.store(stable, Ordering::Release);
        self.end.store(end, Ordering::Release);
    }

    /// Resolves when a flush was requested; a request made before the call is kept.
    pub async fn flush_asked(&self) {
        self.flush.notified().await;
    }

    /// Asks the worker to send what it has without waiting for more (M1).
    pub fn ask_flush(&self) {
        self.flush.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_about_the_life_before_changes_no_beginning() {
        let progress = Progress::new(TopicPartition::new("telemetry", 0));
        progress.find_begin(700);
        assert_eq!(progress.begin(), Some(700));
        progress.set_begin(0);
        progress.find_begin(700);
        assert_eq!(progress.begin(), Some(0));
    }
}
