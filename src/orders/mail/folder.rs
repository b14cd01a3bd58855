//! Looking at the mail: a Maildir's `new` and `cur`, or a folder of `.eml` files, or both.
//!
//! Files are only read: nothing is moved, marked or removed. Alarms are raised once; one that a person cleared stays so, and one
//! whose cause is gone is cleared.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};

use super::Config;
use super::check::{self, Finding, Order};
use super::letter::{self, Letter, Patterns};
use crate::ops::metrics::orders as metrics;
use crate::orders::Clock;
use crate::orders::journey::Actor;
use crate::orders::journey::order::Order as State;
use crate::orders::store::read::Filter;
use crate::orders::store::{Error, Store};

/// The name of the mark of the first look: what came before it may have had its mail elsewhere.
const BEGUN: &str = "mail-begun";
const UNREADABLE: &str = "mail-unreadable";

/// Looks at the mail.
pub struct Watcher {
    store: Store,
    config: Config,
    clock: Clock,
    patterns: Patterns,
    /// Files that were read, with what they are. A file of a Maildir never changes.
    read: HashMap<PathBuf, Option<Letter>>,
    /// Whether the alarm of the folder stands; unknown before the first look.
    told: Option<bool>,
}

impl Watcher {
    /// # Errors
    /// A pattern that is none.
    pub fn new(store: Store, config: Config, clock: Clock) -> anyhow::Result<Self> {
        let patterns = Patterns::new(&config).map_err(|error| anyhow::anyhow!("orders.{error}"))?;
        Ok(Self {
            store,
            config,
            clock,
            patterns,
            read: HashMap::new(),
            told: None,
        })
    }

    /// One look.
    pub async fn look(&mut self) {
        let said = match self.compare().await {
            Ok(()) => None,
            Err(error) => {
                let said = format!("the mail cannot be compared with the orders: {error:#}");
                tracing::warn!(said);
                Some(said)
            }
        };
        if self.told != Some(said.is_some()) {
            let by = Actor::Reconciler;
            let now = (self.clock)();
            let told = match &said {
                Some(said) => self
                    .store
                    .note_alarm(UNREADABLE, "folder", said, None, &by, now)
                    .await
                    .map(drop),
                None => self
                    .store
                    .clear_alarm(UNREADABLE, "folder", &by, now)
                    .await
                    .map(drop),
            };
            match told {
                Ok(()) => self.told = Some(said.is_some()),
                Err(error) => tracing::warn!(%error, "an alarm could not be written"),
            }
        }
    }

    async fn compare(&mut self) -> anyhow::Result<()> {
        let now = (self.clock)();
        self.take_in(now).await?;
        let letters: Vec<Letter> = self.read.values().flatten().cloned().collect();
        let from = match self.store.marks().await?.get(BEGUN) {
            Some(at) => *at,
            None => {
                let mut change = self.store.change(Actor::Reconciler, None, now).await?;
                change.mark(BEGUN, now).await?;
                change.commit().await?;
                now
            }
        };
        let orders = orders(&self.store).await?;
        let findings = check::compare(&letters, &orders, &self.config, from, now);
        tell(&self.store, findings, now).await?;
        Ok(())
    }

    /// Reads what is new and forgets what is gone or too old.
    async fn take_in(&mut self, now: Timestamp) -> anyhow::Result<()> {
        let folder = &self.config.folder;
        let back = SignedDuration::from_hours(24 * i64::from(self.config.days));
        let since = now.saturating_sub(back).unwrap_or(Timestamp::MIN);
        let files = list(folder)
            .await
            .with_context(|| format!("orders.mail.folder: {}", folder.display()))?;
        self.read
            .retain(|path, _| files.iter().any(|(kept, _, _)| kept == path));
        for (path, length, modified) in files {
            if modified < since {
                self.read.remove(&path);
                continue;
            }
            if self.read.contains_key(&path) {
                continue;
            }
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if length > self.config.max_bytes {
                tracing::warn!(
                    name,
                    length,
                    "a mail is larger than orders.mail.max_bytes and is not read"
                );
                self.read.insert(path, None);
                continue;
            }
            // A mail program may have moved it meanwhile: the next look finds it again.
            let bytes = match tokio::fs::read(&path).await {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                read => read.with_context(|| format!("{}: cannot be read", path.display()))?,
            };
            let letter = letter::read(&bytes, &self.patterns, &name, modified);
            self.read
                .insert(path, letter.filter(|letter| letter.sent >= since));
        }
        Ok(())
    }
}

async fn orders(store: &Store) -> Result<Vec<Order>, Error> {
    let rows = store.orders(&Filter::default()).await?;
    let orders = rows.into_iter().map(|row| Order {
        open: matches!(row.order, State::Open(_) | State::Parked(_)),
        names: vec![row.head.reference, row.head.header_id, row.id.clone()],
        purchase_order: row.head.purchase_order,
        taken_in: row.created_at,
        id: row.id,
    });
    Ok(orders.collect())
}

/// Raises what is new, clears what is gone.
async fn tell(store: &Store, findings: Vec<Finding>, now: Timestamp) -> Result<(), Error> {
    let raised = store.raised().await?;
    let standing = store.alarms().await?;
    let gone: Vec<_> = standing
        .into_iter()
        .filter(|alarm| [check::NO_ORDER, check::NO_MAIL].contains(&alarm.kind.as_str()))
        .filter(|alarm| {
            let same =
                |finding: &Finding| finding.kind == alarm.kind && finding.subject == alarm.subject;
            !findings.iter().any(same)
        })
        .collect();
    let fresh: Vec<_> = findings
        .into_iter()
        .filter(|finding| !raised.contains(&(finding.kind.to_owned(), finding.subject.clone())))
        .collect();
    if gone.is_empty() && fresh.is_empty() {
        return Ok(());
    }
    let mut change = store.change(Actor::Reconciler, None, now).await?;
    for alarm in gone {
        change.clear_alarm(&alarm.kind, &alarm.subject).await?;
    }
    for Finding {
        kind,
        subject,
        said,
    } in fresh
    {
        change.alarm(kind, &subject, &said, None).await?;
        metrics::count_alarm(kind);
        tracing::warn!(kind, subject, said, "alarm");
    }
    change.commit().await
}

/// Mails of a folder: all files of a Maildir's `new` and `cur`, and `.eml` files beside them. With length and time.
async fn list(folder: &Path) -> std::io::Result<Vec<(PathBuf, u64, Timestamp)>> {
    let mut found = Vec::new();
    for (below, all) in [("", false), ("new", true), ("cur", true)] {
        let place = folder.join(below);
        let mut entries = match tokio::fs::read_dir(&place).await {
            Err(error) if all && error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') || !all && !name.to_ascii_lowercase().ends_with(".eml") {
                continue;
            }
            let about = match entry.metadata().await {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                about => about?,
            };
            if about.is_file() {
                let modified = Timestamp::try_from(about.modified()?).unwrap_or(Timestamp::MAX);
                found.push((entry.path(), about.len(), modified));
            }
        }
    }
    Ok(found)
}
