//! Alarms about files of a watched folder that are not read: one per file, raised once and cleared when the file is gone or read.
//!
//! Owns what was told so far. At the start the store says which of these alarms stand. More than `EACH` files get one alarm together.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::journey::Actor;
use super::store::{Error, Store};
use crate::ops::metrics::orders as metrics;

/// Files that get an alarm each.
const EACH: usize = 50;
/// The subject of the alarm for all files beyond that.
const OTHERS: &str = "other files";

/// Why files are not read, by their name.
pub type Reasons = BTreeMap<String, String>;

/// See the module's documentation.
#[derive(Debug)]
pub struct Refused {
    /// Kind of the alarms.
    kind: &'static str,
    /// Subjects of the same kind of alarm that are no files.
    not_files: &'static [&'static str],
    /// Alarms that stand, by file; `None` before the first look and after an error of the store, and then the store is asked.
    told: Option<Reasons>,
}

impl Refused {
    #[must_use]
    pub fn new(kind: &'static str, not_files: &'static [&'static str]) -> Self {
        Self {
            kind,
            not_files,
            told: None,
        }
    }

    /// Makes the alarms those of `now`.
    ///
    /// # Errors
    /// The store failed; what was not done is done with the next look.
    pub async fn tell(
        &mut self,
        store: &Store,
        mut now: Reasons,
        by: &Actor,
        at: Timestamp,
    ) -> Result<(), Error> {
        if now.len() > EACH {
            let others = now.split_off(&now.keys().nth(EACH).cloned().unwrap_or_default());
            let first = others.iter().next();
            let first = first.map_or(String::new(), |(name, why)| format!("; {name}: {why}"));
            let said = format!("{} more files are not read{first}", others.len());
            now.insert(OTHERS.to_owned(), said);
        }
        let told = match self.told.take() {
            Some(told) => told,
            None => {
                let standing = store.alarms().await?.into_iter();
                standing
                    .filter(|alarm| alarm.kind == self.kind)
                    .filter(|alarm| !self.not_files.contains(&alarm.subject.as_str()))
                    .map(|alarm| (alarm.subject, String::new()))
                    .collect()
            }
        };
        for name in told.keys().filter(|name| !now.contains_key(*name)) {
            store.clear_alarm(self.kind, name, by, at).await?;
        }
        for (name, why) in now.iter().filter(|(name, _)| !told.contains_key(*name)) {
            let said = format!("{name} is not read: {why}");
            if store
                .note_alarm(self.kind, name, &said, None, by, at)
                .await?
            {
                metrics::count_alarm(self.kind);
                tracing::warn!(kind = self.kind, subject = name, said, "alarm");
            }
        }
        self.told = Some(now);
        Ok(())
    }
}
