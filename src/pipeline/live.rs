//! What a running job takes over without a restart: mappings, validation rules, the dead-letter share guard, pacing.
//!
//! A snapshot on a `watch` channel: the composition root replaces it as a whole, and workers look at it before they take the next
//! chunk. Records that are decoded already keep the rules by which they were decoded. Nothing waits for anybody: a worker that is
//! busy takes the newest snapshot when it comes to its next chunk.

use std::sync::Arc;

use tokio::sync::watch;

use super::guard::Guard;
use super::settings;
use super::upload::Uploader;
use crate::formats::{Formats, Intake, Limits};
use crate::http::pacing;
use crate::record::decode::{Decoder, Shape};
use crate::record::validate::Rules;

/// The newest snapshot. Its sender belongs to the composition root; dropped, the last snapshot stays.
pub type LiveWatch = watch::Receiver<Arc<Live>>;

/// One snapshot.
#[derive(Clone)]
pub struct Live {
    /// Compiled validation rules, shared by all decoders.
    pub rules: Arc<Rules>,
    /// The shape of a topic's messages.
    pub shape: Arc<dyn Fn(&str) -> Shape + Send + Sync>,
    /// Settings of the dead-letter share guard.
    pub guard: settings::Guard,
    /// Settings of pacing; concurrency limits count only at the start.
    pub pacing: pacing::Config,
}

impl Live {
    /// A decoder of the messages of a topic.
    #[must_use]
    pub fn decoder(&self, topic: &str) -> Decoder {
        Decoder::new((self.shape)(topic), Arc::clone(&self.rules))
    }

    /// What turns the messages of an input topic into records.
    #[must_use]
    pub fn intake(&self, topic: &str, formats: &Formats) -> Intake {
        let reader = formats.reader(topic, Limits::of(&self.rules));
        Intake::new(reader, self.decoder(topic))
    }

    /// Gives the decoder of a topic these mappings and rules. Its format stays: formats count from the start of the job.
    pub fn renew(&self, topic: &str, intake: &mut Intake) {
        intake.renew(self.decoder(topic), Limits::of(&self.rules));
    }
}

/// Whether there is a newer snapshot than the receiver has seen.
#[must_use]
pub fn is_newer(feed: &LiveWatch) -> bool {
    // Without a sender the last snapshot stays.
    feed.has_changed().unwrap_or(false)
}

/// Gives guard and uploader the settings of every new snapshot, until the sender is dropped.
pub async fn follow(mut feed: LiveWatch, guard: Arc<Guard>, uploader: Uploader) {
    while feed.changed().await.is_ok() {
        let live = Arc::clone(&feed.borrow_and_update());
        guard.set(live.guard.clone());
        uploader.set_pacing(live.pacing.clone());
    }
}
