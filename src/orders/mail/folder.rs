//! Looking at the mail: a Maildir's `new` and `cur`, or a folder of `.eml` files, or both.
//!
//! Files are only read: nothing is moved, marked or removed. What is wrong with one mail, or with a file in it, is that mail's alarm and
//! hides no other one ([`watched`]). Alarms are raised once; one that a person cleared stays so until its cause is another one, and
//! one whose cause is gone ends. What letters say otherwise than MyAdmin is an event of the order too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::Config;
use super::apart::{self, Program};
use super::check::{self, Finding};
use super::email::{self, Email, Understood};
use super::items::Products;
use super::opened::{self, How, Opened};
use super::papers::Order;
use super::patterns::{Patterns, normal};
use crate::ops::metrics::orders as metrics;
use crate::ops::panics;
use crate::orders::Clock;
use crate::orders::journey::Actor;
use crate::orders::journey::order::Order as State;
use crate::orders::refused::{Reasons, Refused};
use crate::orders::store::change::Cause;
use crate::orders::store::read::Filter;
use crate::orders::store::rows::{LineStanding, OrderRow, UnitRow};
use crate::orders::store::{Error, Store};
use crate::orders::watched::{self, Listed};

/// The name of the mark of the first look: what came before it may have had its mail elsewhere.
const BEGUN: &str = "mail-begun";
const UNREADABLE: &str = "mail-unreadable";
/// Items of all letters that are kept.
const ITEMS: usize = 100_000;

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
    /// The program that opens PDF files and mails within mails.
    program: Program,
    /// Files that were read, with their letters or the reason why they cannot be read; a file that is gone or too old is
    /// forgotten. A file of a Maildir never changes.
    read: HashMap<PathBuf, Result<Understood, String>>,
    /// Products by which the items of letters were found; with others all mails are read again.
    products: Products,
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
            program: Program::default(),
            read: HashMap::new(),
            products: Products::new(),
            refused: Refused::new(UNREADABLE, &["folder"]),
            told: None,
        })
    }

    /// With another program that opens mails.
    #[must_use]
    pub fn with_program(mut self, program: Program) -> Self {
        self.program = program;
        self
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
        let orders = orders(&self.store).await?;
        let products = products(&orders, &self.config);
        if products != self.products {
            self.products = products;
            self.read.clear();
        }
        self.take_in(now).await?;
        let read = self.read.values().flatten();
        let letters: Vec<Email> = read.flat_map(|read| &read.letters).cloned().collect();
        let from = match self.store.marks().await?.get(BEGUN) {
            Some(at) => *at,
            None => {
                let mut change = self.store.change(Actor::Reconciler, None, now).await?;
                change.mark(BEGUN, now).await?;
                change.commit().await?;
                now
            }
        };
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
                let Some(read) = self.one(&path, modified).await else {
                    continue;
                };
                let read = read.map(|mut read| {
                    read.letters.retain(|letter| letter.sent >= since);
                    read
                });
                self.read.insert(path.clone(), read);
            }
            match self.read.get(&path) {
                Some(Err(why)) => {
                    refused.insert(watched::shown(&path), why.clone());
                }
                Some(Ok(read)) if !read.unread.is_empty() => {
                    refused.insert(watched::shown(&path), read.unread.join("; "));
                }
                _ => {}
            }
        }
        self.bound(&mut refused);
        let by = Actor::Reconciler;
        self.refused.tell(&self.store, refused, &by, now).await?;
        Ok(())
    }
}

impl Watcher {
    /// Reads a file; nothing if it is gone.
    async fn one(&self, path: &Path, modified: Timestamp) -> Option<Result<Understood, String>> {
        let (folder, file, most) = (
            self.config.folder.clone(),
            path.to_owned(),
            self.config.max_bytes,
        );
        let patterns = Arc::clone(&self.patterns);
        let opened = blocking(move || {
            let remedy = "raise orders.mail.max_bytes or remove the mail";
            let bytes = match watched::read(&folder, &file, most, remedy) {
                // A mail program may have moved it meanwhile: the next look finds it again.
                Err(unread) if unread.is_gone() => return None,
                read => read.map_err(|unread| unread.to_string()),
            };
            Some(bytes.and_then(|bytes| First::look(bytes, &patterns)))
        });
        // A panic is this mail's alone.
        let first = opened
            .await
            .unwrap_or_else(|error| Some(Err(format!("{error:#}; remove the mail"))))?;
        let opened = match first {
            Ok(First::Opened(opened)) => Ok(opened),
            Ok(First::Apart(bytes)) => {
                apart::open(&self.program, &bytes, self.config.reader_memory_mb).await
            }
            Err(why) => Err(why),
        };
        let opened = match opened {
            Ok(Some(opened)) => opened,
            Ok(None) => return Some(Ok(Understood::default())),
            Err(why) => return Some(Err(why)),
        };
        let (patterns, products) = (Arc::clone(&self.patterns), self.products.clone());
        let name = watched::shown(path);
        let understood =
            blocking(move || email::understand(&opened, &patterns, &products, &name, modified))
                .await;
        Some(understood.map_err(|error| format!("{error:#}; remove the mail")))
    }

    /// Forgets the items of letters beyond those that are kept.
    fn bound(&mut self, refused: &mut Reasons) {
        let mut left = ITEMS;
        let mut paths: Vec<PathBuf> = self.read.keys().cloned().collect();
        paths.sort();
        for path in paths {
            let Some(Ok(read)) = self.read.get_mut(&path) else {
                continue;
            };
            let items: usize = read.letters.iter().map(|letter| letter.items.len()).sum();
            match left.checked_sub(items) {
                Some(rest) => left = rest,
                None => {
                    for letter in &mut read.letters {
                        letter.items = Vec::new();
                    }
                    let said =
                        format!("all mails together have more than {ITEMS} items; remove old ones");
                    refused.insert(watched::shown(&path), said);
                }
            }
        }
    }
}

/// A mail after the first look at it.
enum First {
    Opened(Option<Opened>),
    /// It is to be opened apart.
    Apart(Vec<u8>),
}

impl First {
    fn look(bytes: Vec<u8>, patterns: &Patterns) -> Result<Self, String> {
        if opened::may_hold_mails(&bytes) {
            return Ok(Self::Apart(bytes));
        }
        email::check_size(&bytes)?;
        let opened = opened::open(&bytes, How::Plain);
        // Files of mails that are no letters are nobody's business.
        let apart = opened
            .as_ref()
            .is_some_and(|opened| opened.more && patterns.concern(opened));
        Ok(if apart {
            Self::Apart(bytes)
        } else {
            Self::Opened(opened)
        })
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
    let mut units = store.units_by_order().await?;
    let orders = rows.into_iter().map(|row| {
        let units = units.remove(&row.id).unwrap_or_default();
        order(row, &units)
    });
    Ok(orders.collect())
}

fn order(row: OrderRow, units: &[UnitRow]) -> Order {
    // One line of MyAdmin is one device, whatever became of it; a replacement has the line of what it replaces.
    let mut lines = BTreeSet::new();
    let mut items: BTreeMap<String, u64> = BTreeMap::new();
    for unit in units
        .iter()
        .filter(|unit| unit.standing != LineStanding::Gone)
    {
        if lines.insert(&unit.line.id) {
            *items.entry(unit.line.product_code.clone()).or_default() += 1;
        }
    }
    let head = row.head;
    Order {
        open: matches!(row.order, State::Open(_) | State::Parked(_)),
        names: vec![head.reference, head.header_id.clone(), row.id.clone()],
        purchase_order: head.purchase_order,
        header_id: normal(&head.header_id),
        resellers: vec![
            head.reseller_name,
            head.account,
            head.contact.name,
            head.reseller_email,
        ],
        items,
        taken_in: row.created_at,
        id: row.id,
    }
}

/// Products that letters may name: those of orders, of prices, and codes of letters for them.
fn products(orders: &[Order], config: &Config) -> Products {
    let mut products = Products::new();
    let codes = orders
        .iter()
        .flat_map(|order| order.items.keys())
        .chain(config.prices.keys());
    for code in codes {
        products
            .entry(code.to_uppercase())
            .or_insert_with(|| code.clone());
    }
    for (theirs, ours) in &config.codes {
        products.insert(theirs.to_uppercase(), ours.clone());
    }
    products
}

/// Raises what is new or another thing than before, ends what is gone.
async fn tell(store: &Store, findings: Vec<Finding>, now: Timestamp) -> Result<(), Error> {
    let raised = store.raised_alarms().await?;
    let due = |kind: &str, subject: &str| {
        findings
            .iter()
            .any(|finding| finding.kind == kind && finding.subject == subject)
    };
    let gone: Vec<&(String, String)> = raised
        .keys()
        .filter(|(kind, _)| check::FOUND_OUT.contains(&kind.as_str()))
        .filter(|(kind, subject)| !due(kind, subject))
        .collect();
    let fresh: Vec<&Finding> = findings
        .iter()
        .filter(|finding| {
            let known = raised.get(&(finding.kind.to_owned(), finding.subject.clone()));
            known.is_none_or(|known| known.said != finding.said)
        })
        .collect();
    if gone.is_empty() && fresh.is_empty() {
        return Ok(());
    }
    let mut change = store.change(Actor::Reconciler, None, now).await?;
    for (kind, subject) in gone {
        change.end_alarm(kind, subject).await?;
    }
    for Finding {
        kind,
        subject,
        said,
        differences,
    } in fresh
    {
        let evidence = (!differences.is_empty()).then(|| json!({ "differences": differences }));
        change.alarm(kind, subject, said, evidence.as_ref()).await?;
        if *kind == check::DIFFERS {
            let cause = Cause::new(check::DIFFERS, said.clone());
            change.note(Some(subject), None, cause).await?;
        }
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
