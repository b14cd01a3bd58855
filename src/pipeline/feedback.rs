//! The feedback: polls `GET /invalidrecords` for records that the gateway rejected after it accepted them, and passes each item
//! to a sink once.
//!
//! Owns the cursor. Invariants:
//! * F-a: the cursor moves only after the sink has confirmed the page before it; it never goes back and never to zero.
//! * F-b: an item whose content was passed on before is not passed on again while it is remembered (the key of a page may
//!   include the last item of the page before, dig/API.md U18).
//!
//! No queue: one page at a time, the next once the sink has confirmed it. Cancelled between fetch and confirmation, the page is
//! fetched again.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::sources::Origin;
use super::upload::Gateway;
use crate::dig::error::CallError;
use crate::dig::page::{Invalid, Page, RECORDS};
use crate::http::retry::Backoff;
use crate::ops::metrics::feedback as metrics;

/// Settings of the feedback (`[feedback]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether the gateway is polled for invalid records: records that the gateway accepted and later rejected.
    pub enabled: bool,
    /// Poll interval in milliseconds (100 or more); the gateway is designed for 60000 or more (dig/API.md 10.7).
    pub poll_ms: u64,
    /// Page size in records (1 to 50000).
    pub page: u32,
    /// Maximum size of a page in bytes (65536 or more); if a page is larger, fewer records are requested.
    pub page_bytes: usize,
    /// Request timeout for a page in seconds (1 or more).
    pub timeout_s: u64,
    /// Number of invalid records remembered for deduplication; 8 to 40 bytes of memory each.
    pub remembered: usize,
    /// Number of accepted records per partition whose offsets are remembered, to name the source of an invalid record; 16 bytes of memory
    /// each.
    pub sources: usize,
    /// Maximum number of distinct causes with a metric label of their own; further causes count as `other`.
    pub causes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            poll_ms: 60_000,
            page: 1_000,
            page_bytes: 4 * 1024 * 1024,
            timeout_s: 120,
            remembered: 100_000,
            sources: 200_000,
            causes: 50,
        }
    }
}

impl Config {
    /// # Errors
    /// The first setting out of its bounds, with the remedy.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.poll_ms >= 100,
            "[feedback] poll_ms = {}: use 100 or more",
            self.poll_ms
        );
        anyhow::ensure!(
            (1..=RECORDS).contains(&(self.page as usize)),
            "[feedback] page = {}: use 1 to 50000",
            self.page
        );
        anyhow::ensure!(
            self.page_bytes >= 64 * 1024,
            "[feedback] page_bytes = {}: use 65536 or more",
            self.page_bytes
        );
        anyhow::ensure!(
            self.timeout_s >= 1,
            "[feedback] timeout_s = 0: use 1 or more"
        );
        Ok(())
    }
}

/// The key of the next page, and the contents of items passed on lately. Pure.
#[derive(Debug)]
pub struct Cursor {
    /// Key of the next page; `None` until the gateway gave one.
    key: Option<i64>,
    /// Hashes of items passed on lately.
    known: HashSet<u64>,
    /// The same hashes, oldest first.
    order: VecDeque<u64>,
    /// Most hashes kept.
    remembered: usize,
}

/// A page without the items passed on before: given to the sink, then to [`Cursor::confirm`].
#[derive(Debug, Clone)]
pub struct Fresh {
    /// Items not passed on before, in the gateway's order.
    pub items: Arc<[Invalid]>,
    /// The key to keep; `None` while the gateway has never given one.
    pub key: Option<i64>,
    /// Items left out because they were passed on before.
    pub repeated: usize,
    /// Whether more may lie behind this page.
    pub more: bool,
    /// Hashes of these items.
    hashes: Vec<u64>,
}

impl Cursor {
    /// `key` as it was kept; `None` begins with the gateway's first record.
    #[must_use]
    pub fn new(key: Option<i64>, remembered: usize) -> Self {
        Self {
            key,
            known: HashSet::new(),
            order: VecDeque::new(),
            remembered,
        }
    }

    #[must_use]
    pub fn key(&self) -> Option<i64> {
        self.key
    }

    /// The new items of a page. Changes nothing: the sink has not confirmed yet.
    #[must_use]
    pub fn judge(&self, page: Page) -> Fresh {
        let count = page.records.len();
        // A lower key would move the cursor back.
        let key = page
            .next_key
            .filter(|next| self.key.is_none_or(|key| *next >= key))
            .or(self.key);
        let (mut items, mut hashes) = (Vec::new(), Vec::new());
        let mut here = HashSet::new();
        for item in page.records {
            let hash = content(&item);
            if !self.known.contains(&hash) && here.insert(hash) {
                items.push(item);
                hashes.push(hash);
            }
        }
        // With the same key the same page would come again.
        let more = count > 0 && key != self.key;
        Fresh {
            repeated: count - items.len(),
            items: items.into(),
            key,
            more,
            hashes,
        }
    }

    /// Moves the cursor after the sink has confirmed the page.
    pub fn confirm(&mut self, fresh: &Fresh) {
        self.key = fresh.key;
        for hash in &fresh.hashes {
            if self.known.insert(*hash) {
                self.order.push_back(*hash);
            }
        }
        while self.order.len() > self.remembered {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

/// The whole item's hash: serial, type and instants alone would merge two codes of one instant (dig/API.md 10.6).
fn content(item: &Invalid) -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
    hasher.write(item.record.as_bytes());
    hasher.write(item.cause.as_deref().unwrap_or("\0").as_bytes());
    hasher.write_u8(0);
    hasher.write(item.marked.as_deref().unwrap_or("\0").as_bytes());
    hasher.finish()
}

/// Text of a message of the topic of invalid records: the record as the gateway returned it, its cause, and its source offset.
#[must_use]
pub fn message(item: &Invalid, source: Option<&Origin>) -> String {
    let part = |value: serde_json::Value| value.to_string();
    format!(
        "{{\"record\":{},\"cause\":{},\"marked\":{},\"source\":{}}}",
        item.record,
        part(item.cause.clone().into()),
        part(item.marked.clone().into()),
        part(serde_json::json!(source))
    )
}

/// Gives causes a bounded number of metric labels. Cause texts are free (dig/API.md 10.9): words that hold a digit
/// become `#`, case and spacing are dropped.
#[derive(Debug)]
pub struct Causes {
    /// Labels given so far.
    known: HashSet<String>,
    /// Most labels; later causes count as `other`.
    most: usize,
}

/// Longest label.
const LABEL_CHARS: usize = 60;

impl Causes {
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            known: HashSet::new(),
            most,
        }
    }

    /// The label of a cause.
    pub fn label(&mut self, cause: Option<&str>) -> String {
        let Some(cause) = cause.filter(|cause| !cause.trim().is_empty()) else {
            return "none".to_owned();
        };
        let words = cause.split_whitespace().map(|word| {
            if word.bytes().any(|b| b.is_ascii_digit()) {
                "#".to_owned()
            } else {
                word.to_lowercase()
            }
        });
        let label: String = words
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(LABEL_CHARS)
            .collect();
        if self.known.contains(&label) {
            return label;
        }
        if self.known.len() >= self.most {
            return "other".to_owned();
        }
        self.known.insert(label.clone());
        label
    }
}

/// Polls until `stop`.
///
/// `load` gives the key that was kept, once. `sink` takes the items of a page and the key to keep after them; it
/// confirms both or fails, and is then asked again with the same page.
///
/// # Errors
/// `load` failed, or the session was closed.
pub async fn run<L, LF, S, SF>(
    gateway: Gateway,
    config: Config,
    load: L,
    mut sink: S,
    stop: CancellationToken,
) -> anyhow::Result<()>
where
    L: FnOnce() -> LF,
    LF: Future<Output = anyhow::Result<Option<i64>>>,
    S: FnMut(Arc<[Invalid]>, Option<i64>) -> SF,
    SF: Future<Output = anyhow::Result<()>>,
{
    let work = async {
        let mut cursor = Cursor::new(load().await?, config.remembered);
        let mut causes = Causes::new(config.causes);
        let poll = Duration::from_millis(config.poll_ms);
        // Fewer records per page than the setting while pages exceed the byte limit.
        let mut count = config.page;
        loop {
            let mut wait = poll;
            loop {
                let token = gateway.session.token().await?;
                let timeout = Duration::from_secs(config.timeout_s);
                let page = match gateway
                    .client
                    .invalid_records(&token, cursor.key(), (count, config.page_bytes), timeout)
                    .await
                {
                    Ok(page) => page,
                    Err(error) if matches!(error.status(), Some(401 | 403)) => {
                        gateway.session.rejected(&token);
                        continue;
                    }
                    Err(CallError::TooLarge { .. }) if count > 1 => {
                        count /= 2;
                        continue;
                    }
                    Err(error) => {
                        complain(&error, cursor.key());
                        wait = wait.max(error.retry_after().unwrap_or_default());
                        break;
                    }
                };
                gateway.session.proven(&token);
                count = count.saturating_mul(2).min(config.page);
                if let Some(total) = page.total {
                    metrics::set_total(total);
                }
                let fresh = cursor.judge(page);
                hand_on(&mut sink, &fresh).await;
                for item in fresh.items.iter() {
                    metrics::count_invalid(causes.label(item.cause.as_deref()));
                }
                metrics::count_page(fresh.repeated);
                cursor.confirm(&fresh);
                if !fresh.more {
                    break;
                }
            }
            tokio::time::sleep(wait).await;
        }
    };
    stop.run_until_cancelled(work).await.unwrap_or(Ok(()))
}

/// Passes a page to the sink until the sink confirms. A page without items whose key does not move needs no confirmation.
async fn hand_on<S, SF>(sink: &mut S, fresh: &Fresh)
where
    S: FnMut(Arc<[Invalid]>, Option<i64>) -> SF,
    SF: Future<Output = anyhow::Result<()>>,
{
    if fresh.items.is_empty() && !fresh.more {
        return;
    }
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    while let Err(error) = sink(Arc::clone(&fresh.items), fresh.key).await {
        tracing::error!(
            error = format!("{error:#}"),
            "invalid records cannot be written to their topic; retrying"
        );
        metrics::count_sink_failure();
        let wait = backoff.next(&mut rand::rng());
        tokio::time::sleep(wait).await;
    }
}

fn complain(error: &CallError, key: Option<i64>) {
    metrics::count_failure();
    if matches!(error, CallError::TooLarge { .. }) {
        tracing::error!(error = %error, key, "one invalid record alone is larger than feedback.page_bytes; raise it");
    } else if error.status() == Some(400) {
        tracing::error!(error = %error, key, "the gateway does not take the cursor of invalid records; it is kept");
    } else {
        tracing::warn!(error = %error, "invalid records cannot be read from the gateway; retrying at the next poll");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn item(n: i64) -> Invalid {
        Invalid {
            record: json!({"SerialNo": "A", "Code": n}).to_string().into(),
            cause: Some("no".into()),
            marked: None,
        }
    }

    fn page(next_key: Option<i64>, records: &[i64]) -> Page {
        Page {
            next_key,
            total: None,
            records: records.iter().map(|n| item(*n)).collect(),
        }
    }

    #[test]
    fn the_cursor_moves_only_when_confirmed() {
        let mut cursor = Cursor::new(Some(5), 100);
        let fresh = cursor.judge(page(Some(9), &[1, 2]));
        assert_eq!(
            (cursor.key(), fresh.key, fresh.more),
            (Some(5), Some(9), true)
        );
        assert_eq!(
            cursor.judge(page(Some(9), &[1, 2])).items.len(),
            2,
            "not confirmed: comes again"
        );
        cursor.confirm(&fresh);
        assert_eq!(cursor.key(), Some(9));
        let next = cursor.judge(page(Some(12), &[2, 3]));
        assert_eq!(
            (next.items.as_ref(), next.repeated),
            ([item(3)].as_slice(), 1),
            "an inclusive key repeats one"
        );
    }

    #[test]
    fn a_missing_or_smaller_key_keeps_the_old_one() {
        let mut cursor = Cursor::new(Some(5), 100);
        for next in [None, Some(0), Some(4), Some(5)] {
            let fresh = cursor.judge(page(next, &[7]));
            assert_eq!((fresh.key, fresh.more), (Some(5), false));
        }
        let fresh = cursor.judge(page(None, &[7]));
        cursor.confirm(&fresh);
        let again = cursor.judge(page(None, &[7, 8]));
        assert_eq!(
            again.items.as_ref(),
            [item(8)].as_slice(),
            "the same page later brings only what is new"
        );
        assert!(
            !cursor.judge(page(Some(6), &[])).more,
            "an empty page is the end"
        );
    }

    #[test]
    fn two_records_of_one_instant_are_two() {
        let cursor = Cursor::new(None, 100);
        let mut other = item(1);
        other.cause = None;
        let page = Page {
            next_key: Some(1),
            total: None,
            records: vec![item(1), other, item(2), item(1)],
        };
        assert_eq!(cursor.judge(page).items.len(), 3);
    }

    #[test]
    fn labels_are_normalised_and_bounded() {
        let mut causes = Causes::new(2);
        assert_eq!(
            causes.label(Some("Device G9XX12 is  terminated")),
            "device # is terminated"
        );
        assert_eq!(
            causes.label(Some("device CX0021 is terminated")),
            "device # is terminated"
        );
        assert_eq!(causes.label(None), "none");
        assert_eq!(causes.label(Some("  ")), "none");
        assert_eq!(causes.label(Some("Too old")), "too old");
        assert_eq!(causes.label(Some("Something else")), "other");
        assert_eq!(causes.label(Some("Too old")), "too old");
        assert_eq!(
            Causes::new(1).label(Some(&"x".repeat(500))).len(),
            LABEL_CHARS
        );
    }

    proptest! {
        /// F-a and F-b against a gateway whose keys are inclusive and have gaps, with failed confirmations.
        #[test]
        fn every_item_is_handed_on_exactly_once(
            count in 0usize..60, size in 2usize..10, gap in 1i64..50, failures in proptest::collection::vec(any::<bool>(), 0..200),
        ) {
            let log: Vec<(i64, i64)> = (0..count as i64).map(|n| (n * gap, n)).collect();
            let mut cursor = Cursor::new(None, 1_000);
            let mut handed = Vec::new();
            let mut failures = failures.into_iter();
            for _ in 0..1_000 {
                let from = cursor.key().unwrap_or(0);
                let records: Vec<_> = log.iter().filter(|(key, _)| *key >= from).take(size).collect();
                let next = records.last().map(|(key, _)| *key);
                let numbers: Vec<i64> = records.iter().map(|(_, n)| *n).collect();
                let fresh = cursor.judge(page(next, &numbers));
                if failures.next().unwrap_or(false) { continue; }
                handed.extend(fresh.items.iter().map(|i| serde_json::from_str::<serde_json::Value>(&i.record).unwrap()["Code"].as_i64().unwrap()));
                let before = cursor.key();
                cursor.confirm(&fresh);
                prop_assert!(cursor.key() >= before);
            }
            prop_assert_eq!(handed, (0..count as i64).collect::<Vec<_>>());
        }
    }
}
