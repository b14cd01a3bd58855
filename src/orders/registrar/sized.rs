//! Writing entries of which the topic may take only a few at once, or some not at all (D1): transactions that are too large are
//! halved until what is too large stands alone.
//!
//! It raises no alarm and marks nothing. Dropped at any await, the entries of the transactions that were committed are written.

use super::{Permitted, Topic};
use crate::orders::outbox::{Entry, TooLarge};

/// Entries of one transaction at most: they are kept until it is committed.
const TOGETHER: usize = 2_000;

/// An entry that the topic does not take even alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub device_id: Box<str>,
    /// The error of the broker or its client.
    pub said: String,
}

/// Writes entries in their order; those of devices that are too large are left out and given back.
///
/// # Errors
/// The lease is not sure, the broker failed, or the store's mark is too large: nothing may follow it then.
pub(super) async fn write(
    topic: &Topic,
    permitted: &Permitted,
    mut entries: Vec<Entry>,
) -> anyhow::Result<Vec<Refused>> {
    // The last part is the next one.
    let mut parts = Vec::new();
    while !entries.is_empty() {
        let from = entries.len() - entries.len().min(TOGETHER);
        parts.push(entries.split_off(from));
    }
    let mut refused = Vec::new();
    while let Some(mut part) = parts.pop() {
        anyhow::ensure!(permitted(), "the lease is not sure");
        let Err(error) = (topic.publish)(part.clone()).await else {
            continue;
        };
        let Some(TooLarge(said)) = error.downcast_ref() else {
            return Err(error);
        };
        if part.len() > 1 {
            parts.push(part.split_off(part.len().div_ceil(2)));
            parts.push(part);
            continue;
        }
        let device_id = match part.pop() {
            Some(Entry::Put(device, _)) => device.device_id,
            Some(Entry::Forget(device_id)) => device_id,
            Some(Entry::Mark(_)) | None => return Err(error),
        };
        let said = said.clone();
        refused.push(Refused { device_id, said });
    }
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A topic that takes no transaction of more bytes of ids than this; what it took, by transaction.
    fn topic(most: usize) -> (Topic, Arc<Mutex<Vec<Vec<String>>>>) {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&taken);
        let topic = Topic {
            publish: Box::new(move |entries| {
                let ids: Vec<String> = entries.iter().map(id).collect();
                let fits = ids.iter().map(String::len).sum::<usize>() <= most;
                if fits {
                    log.lock().unwrap().push(ids);
                }
                Box::pin(async move {
                    anyhow::ensure!(fits, TooLarge("too large".to_owned()));
                    Ok(())
                })
            }),
            read: Box::new(|| Box::pin(async { anyhow::bail!("nobody reads") })),
        };
        (topic, taken)
    }

    fn id(entry: &Entry) -> String {
        match entry {
            Entry::Forget(id) => id.to_string(),
            Entry::Put(..) | Entry::Mark(_) => panic!("{entry:?} was not asked for"),
        }
    }

    async fn written(most: usize, ids: &[&str]) -> (Vec<String>, Vec<String>, usize) {
        let (topic, taken) = topic(most);
        let sure: Permitted = Arc::new(|| true);
        let entries = ids.iter().map(|id| Entry::Forget((*id).into())).collect();
        let refused = write(&topic, &sure, entries).await.unwrap();
        let refused = refused.into_iter().map(|one| one.device_id.into_string());
        let taken = taken.lock().unwrap();
        (taken.concat(), refused.collect(), taken.len())
    }

    #[tokio::test]
    async fn what_is_too_large_alone_is_left_out_and_all_others_are_written_in_their_order() {
        let ids = ["a", "b", "cccccc", "d", "e"];
        let all = ids.map(str::to_owned).to_vec();
        assert_eq!(written(100, &ids).await, (all.clone(), vec![], 1));
        let (taken, refused, transactions) = written(6, &ids).await;
        assert_eq!((taken, refused), (all, vec![]));
        assert!(transactions > 1);
        let (taken, refused, _) = written(5, &ids).await;
        assert_eq!(
            (taken.concat(), refused),
            ("abde".to_owned(), vec!["cccccc".to_owned()])
        );
    }

    #[tokio::test]
    async fn many_entries_are_written_in_parts_and_in_their_order() {
        let ids: Vec<String> = (0..2 * TOGETHER + 1).map(|n| n.to_string()).collect();
        let texts: Vec<&str> = ids.iter().map(String::as_str).collect();
        let (taken, refused, transactions) = written(usize::MAX, &texts).await;
        assert_eq!((taken, refused, transactions), (ids, vec![], 3));
    }
}
