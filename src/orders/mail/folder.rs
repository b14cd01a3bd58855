//! Looking at the mail: a Maildir's `new` and `cur`, or a folder of `.eml` files, or both.
//!
//! Files are only read: nothing is moved, marked or removed. What is wrong with one mail is that mail's alarm and hides no other one
//! ([`watched`]). Alarms are raised once; one that a person cleared stays so, and one
//! whose cause is gone is cleared.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};

use super::Config;
use super::check::{self, Finding, Order};
use super::letter::{self, Letter, Patterns};
use crate::ops::metrics::orders as metrics;
use crate::ops::panics;
use crate::orders::Clock;
use crate::orders::journey::Actor;
use crate::orders::journey::order::Order as State;
use crate::orders::refused::{Reasons, Refused};
use crate::orders::store::read::Filter;
use crate::orders::store::{Error, Store};
use crate::orders::watched::{self, Listed};

/// The name of the mark of the first look: what came before it may have had its mail elsewhere.
const BEGUN: &str = "mail-begun";
const UNREADABLE: &str = "mail-unreadable";

/// Looks at the mail.
pub struct Watcher {
    /// The orders store.
    store: Store,
    /// Settings of the mail.
    config: Config,
    /// The wall clock.
    clock: Clock,
    /// Compiled patterns; the thread that reads a mail has a clone.
    patterns: Arc<Patterns>,
    /// Files that were read, with the letter or the reason why they cannot be read; a file that is gone or too old is
    /// forgotten. A file of a Maildir never changes.
    read: HashMap<PathBuf, Result<Option<Letter>, String>>,
    /// Alarms about single files.
    refused: Refused,
    /// Whether the alarm of the folder stands; `None` before the first look.
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
            patterns: Arc::new(patterns),
            read: HashMap::new(),
            refused: Refused::new(UNREADABLE, &["folder"]),
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
        let letters: Vec<Letter> = self.read.values().flatten().flatten().cloned().collect();
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
        let back = SignedDuration::from_hours(24 * i64::from(self.config.days));
        let since = now.saturating_sub(back).unwrap_or(Timestamp::MIN);
        let folder = self.config.folder.clone();
        let listed = blocking(move || list(&folder)).await?.with_context(|| {
            let folder = self.config.folder.display();
            format!("orders.mail.folder: {folder}")
        })?;
        let mut refused = Reasons::new();
        self.read
            .retain(|path, _| listed.iter().any(|(kept, _)| kept == path));
        for (path, look) in listed {
            let modified = match look {
                Ok(look) => Timestamp::try_from(look.modified).unwrap_or(Timestamp::MAX),
                Err(unread) => {
                    refused.insert(watched::shown(&path), unread.to_string());
                    continue;
                }
            };
            if modified < since {
                self.read.remove(&path);
                continue;
            }
            if !self.read.contains_key(&path) {
                let (folder, file, most) = (
                    self.config.folder.clone(),
                    path.clone(),
                    self.config.max_bytes,
                );
                let patterns = Arc::clone(&self.patterns);
                let read = blocking(move || {
                    let remedy = "raise orders.mail.max_bytes or remove the mail";
                    let bytes = match watched::read(&folder, &file, most, remedy) {
                        // A mail program may have moved it meanwhile: the next look finds it again.
                        Err(unread) if unread.is_gone() => return None,
                        read => read.map_err(|unread| unread.to_string()),
                    };
                    let fits = bytes.and_then(|bytes| letter::check_size(&bytes).map(|()| bytes));
                    let name = watched::shown(&file);
                    Some(fits.map(|bytes| letter::read(&bytes, &patterns, &name, modified)))
                });
                // A panic is this mail's alone.
                let read = read
                    .await
                    .unwrap_or_else(|error| Some(Err(format!("{error:#}; remove the mail"))));
                let Some(read) = read else { continue };
                let read = read.map(|letter| letter.filter(|letter| letter.sent >= since));
                self.read.insert(path.clone(), read);
            }
            if let Some(Err(why)) = self.read.get(&path) {
                refused.insert(watched::shown(&path), why.clone());
            }
        }
        let by = Actor::Reconciler;
        self.refused.tell(&self.store, refused, &by, now).await?;
        Ok(())
    }
}

/// On a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    panics::blocking(work)
        .await
        .map_err(anyhow::Error::msg)
        .context("reading the mail failed")
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

/// Mails of a folder: all files of a Maildir's `new` and `cur`, and `.eml` files beside them.
fn list(folder: &Path) -> std::io::Result<Listed> {
    let mut found = Vec::new();
    for (below, all) in [("", false), ("new", true), ("cur", true)] {
        let wanted = |name: &OsStr| {
            let name = name.to_string_lossy();
            !name.starts_with('.') && (all || name.to_ascii_lowercase().ends_with(".eml"))
        };
        match watched::list(&folder.join(below), wanted) {
            Err(error) if all && error.kind() == std::io::ErrorKind::NotFound => {}
            listed => found.extend(listed?),
        }
    }
    Ok(found)
}
