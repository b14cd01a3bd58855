//! The shelf as a round sees it, and the alarms about it: a file that cannot be used, a product whose units wait in vain.
//!
//! Level-triggered: an alarm stands while its cause does, and is cleared with it.

use std::collections::{BTreeMap, HashMap};

use super::Reconciler;
use crate::ops::metrics::orders as metrics;
use crate::orders::market::Market;
use crate::orders::reconcile::{Held, stock};
use crate::orders::store::Error;

/// The file, or some of its lines, cannot be used.
const FILE: &str = "inventory-file";
/// No device on the shelf fits.
const SHORT: &str = "inventory-short";

impl<M: Market + Clone + 'static> Reconciler<M> {
    /// The devices on the shelf, and the identifiers that units have.
    pub(super) async fn shelf(&self, held: &mut Held) -> Result<(), Error> {
        if self.config.inventory.auto {
            held.spares = self.shelf.spares.clone();
            held.used = self.store.marks_in_use().await?;
        }
        Ok(())
    }

    /// Looks at the file.
    pub(super) async fn look_at_shelf(&mut self) {
        let config = &self.config.inventory;
        if config.auto {
            let now = (self.clock)();
            self.shelf = self.inventory.look(config, now).await.clone();
        }
    }

    /// Raises what is due and clears what is over.
    pub(super) async fn tell_shelf(&self, held: &Held) -> Result<(), Error> {
        if !self.config.inventory.auto {
            return Ok(());
        }
        let mut due: BTreeMap<(&'static str, String), String> = BTreeMap::new();
        if let Some(first) = self.shelf.bad.first() {
            let file = self.config.inventory.file.display().to_string();
            let said = format!(
                "{} lines cannot be used; the first: {first}",
                self.shelf.bad.len()
            );
            due.insert((FILE, file), said);
        }
        for (product, units) in stock::short(held) {
            let said = format!("{units} units wait, and no free device of the inventory fits");
            due.insert((SHORT, product), said);
        }
        let standing: HashMap<(String, String), String> = self
            .store
            .alarms()
            .await?
            .into_iter()
            .filter(|alarm| [FILE, SHORT].contains(&&*alarm.kind))
            .map(|alarm| ((alarm.kind, alarm.subject), alarm.said))
            .collect();
        let is = |kind: &str, subject: &str| (kind.to_owned(), subject.to_owned());
        let over = standing.keys().filter(|(kind, subject)| {
            !due.keys()
                .any(|(due, about)| due == kind && about == subject)
        });
        let over: Vec<_> = over.cloned().collect();
        due.retain(|(kind, subject), said| standing.get(&is(kind, subject)) != Some(said));
        if over.is_empty() && due.is_empty() {
            return Ok(());
        }
        let mut change = self.hand.change().await?;
        for (kind, subject) in &over {
            change.clear_alarm(kind, subject).await?;
        }
        for ((kind, subject), said) in &due {
            if change.alarm(kind, subject, said, None).await? {
                metrics::count_alarm(kind);
                tracing::warn!(kind, %subject, "{said}");
            }
        }
        change.commit().await
    }
}
