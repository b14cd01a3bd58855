//! Looking at the mail: a Maildir's `new` and `cur`, or a folder of `.eml` files, or both.
//!
//! [`super::files`] reads the mails. What is wrong with one mail, or with a file in it, is that mail's alarm and
//! hides no other one ([`watched`]). Alarms are raised once; one that a person cleared stays so until its cause is another one, and
//! one whose cause is gone ends. What letters say otherwise than MyAdmin is an event of the order too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::json;

use super::Config;
use super::apart::Program;
use super::check::{self, Finding};
use super::email::{Email, Understood};
use super::files::MailFiles;
use super::items::Products;
use super::papers::Order;
use super::patterns::normal;
use crate::ops::metrics::orders as metrics;
use crate::orders::Clock;
use crate::orders::journey::Actor;
use crate::orders::journey::order::Order as State;
use crate::orders::refused::{Reasons, Refused};
use crate::orders::store::change::Cause;
use crate::orders::store::read::Filter;
use crate::orders::store::rows::{LineStanding, OrderRow, UnitRow};
use crate::orders::store::{Error, Store};
use crate::orders::watched;

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
    /// Lists and reads the files of the folder.
    files: MailFiles,
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
        let files = MailFiles::new(&config)?;
        Ok(Self {
            store,
            config,
            clock,
            files,
            read: HashMap::new(),
            products: Products::new(),
            refused: Refused::new(UNREADABLE, &["folder"]),
            told: None,
        })
    }

    /// With another program that opens mails.
    #[must_use]
    pub fn with_program(mut self, program: Program) -> Self {
        self.files = self.files.with_program(program);
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
        let since = self.files.since(now);
        let listed = self.files.list().await?;
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
                let Some(read) = self.files.read(&path, modified, &self.products).await else {
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

/// Orders of the store, as letters are compared with them.
pub(super) async fn orders(store: &Store) -> Result<Vec<Order>, Error> {
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
pub(super) fn products(orders: &[Order], config: &Config) -> Products {
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
