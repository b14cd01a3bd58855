//! The report of a round: each unit as MyAdmin shows it, the alarms in force, and the number of waiting units by cause.

use std::collections::{BTreeMap, BTreeSet};

use super::Reconciler;
use crate::ops::metrics::orders as metrics;
use crate::orders::alarms::{self, Due};
use crate::orders::journey::unit::{Live, Unit};
use crate::orders::market::Market;
use crate::orders::reconcile::{Held, View};
use crate::orders::store::Error;
use crate::orders::store::rows::UnitRow;
use crate::orders::store::views::LineShown;
use crate::orders::wait::{For, Scene};

impl<M: Market + Clone + 'static> Reconciler<M> {
    /// Writes what MyAdmin shows of units where that is news.
    pub(super) async fn note_shown(&self, view: &View, held: &Held) -> Result<(), Error> {
        let now = (self.clock)();
        let mut news = Vec::new();
        let known = self.store.lines_shown().await?;
        for row in held.orders.iter().flat_map(|whole| &whole.units) {
            let Some(line) = view.line(&row.order_id, &row.line.id) else {
                continue;
            };
            let shown = LineShown::new(line, now);
            let same = match known.get(&row.id) {
                Some(before) => before.same(&shown),
                None => shown.read_back().is_blank(),
            };
            if !same {
                news.push((row, shown));
            }
        }
        if news.is_empty() {
            return Ok(());
        }
        let mut change = self.hand.change().await?;
        for (row, shown) in &news {
            let differences = differences(row, shown);
            if !differences.is_empty() {
                tracing::warn!(unit = %row.id, "MyAdmin shows it differently: {}", differences.join("; "));
            }
            change.put_shown(row, shown, &differences).await?;
        }
        change.commit().await
    }

    /// Raises alarms that are due and ends those that are over. An alarm whose cause this round could not check stays as it is.
    pub(super) async fn tell_alarms(
        &self,
        mut due: Vec<Due>,
        held: &Held,
        unknown: &BTreeSet<&str>,
    ) -> Result<(), Error> {
        let facts = self.store.facts((self.clock)()).await?;
        due.extend(alarms::overdue(held, &facts, &self.config));
        let raised = self.store.raised_alarms().await?;
        let (raise, over) = alarms::compare(&due, &raised, unknown);
        if !raise.is_empty() || !over.is_empty() {
            let mut change = self.hand.change().await?;
            for due in &raise {
                let evidence = Some(&due.evidence);
                if change
                    .alarm(due.kind, &due.subject, &due.said, evidence)
                    .await?
                {
                    metrics::count_alarm(due.kind);
                    tracing::warn!(kind = due.kind, subject = %due.subject, "{}", due.said);
                }
            }
            for (kind, subject) in &over {
                change.end_alarm(kind, subject).await?;
            }
            change.commit().await?;
        }
        let mut waits: BTreeMap<For, (usize, f64)> = BTreeMap::new();
        for whole in &held.orders {
            for (_, wait) in Scene::new(whole, &facts, &self.config).units() {
                let (units, oldest) = waits.entry(wait.what).or_default();
                *units += 1;
                let age = facts.now.duration_since(wait.since).as_secs_f64();
                *oldest = oldest.max(age);
            }
        }
        for what in For::ALL {
            let (units, oldest_s) = waits.get(&what).copied().unwrap_or_default();
            metrics::set_waits(what.name(), units, oldest_s);
        }
        metrics::set_alarms(self.store.alarms().await?.len());
        Ok(())
    }
}

/// The differences between a unit that left the warehouse and its line in MyAdmin.
fn differences(row: &UnitRow, shown: &LineShown) -> Vec<String> {
    let kit = match &row.unit {
        Unit::Live(Live::Shipped(unit)) => unit.kit(),
        Unit::Live(Live::Reported(unit)) => unit.kit(),
        Unit::Live(
            Live::Ordered(_)
            | Live::Provisioned(_)
            | Live::Assigned(_)
            | Live::Confirmed(_)
            | Live::InDatabase(_)
            | Live::Active(_),
        )
        | Unit::Parked(_)
        | Unit::Cancelled(_)
        | Unit::Terminated(_) => return Vec::new(),
    };
    if shown.read_back().is_blank() {
        return Vec::new();
    }
    shown.read_back().compare(kit).err().unwrap_or_default()
}
