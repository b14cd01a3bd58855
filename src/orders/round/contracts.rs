//! The contracts of an account for serials that a lost answer may have made.

use jiff::civil::Date;

use super::{Reconciler, Report, days_before, failed, today};
use crate::myadmin;
use crate::myadmin::wire::{ContractFilter, Window};
use crate::orders::journey::Serial;
use crate::orders::market::Market;
use crate::orders::reconcile::view::View;
use crate::orders::reconcile::{Held, doubt};
use crate::orders::settings::CheckContracts;
use crate::orders::store::intents::Outcome;

impl<M: Market + Clone + 'static> Reconciler<M> {
    /// The contracts of the account of a call, for the serials that its lost answer may have made.
    pub(super) async fn ask_contracts(&self, view: &mut View, held: &Held, report: &mut Report) {
        let asked = match self.config.provision.check_contracts {
            CheckContracts::Never => false,
            CheckContracts::Always | CheckContracts::Auto => self.config.provision.list_devices,
        };
        if !asked {
            return;
        }
        let now = (self.clock)();
        let open = held.doubts.iter();
        for intent in open.filter(|intent| intent.outcome == Outcome::Open) {
            let serials = doubt::candidates(intent, held);
            if serials.is_empty() || !doubt::is_due(intent, held, &self.config, now) {
                continue;
            }
            let filter = ContractFilter {
                for_account: intent.wish.erp_no.clone(),
                window: Some(Window {
                    from: days_before(today(intent.begun_at), 1),
                    to: today(now).tomorrow().unwrap_or(Date::MAX),
                }),
                serials: serials.iter().map(ToString::to_string).collect(),
                no_database_only: true,
                ..ContractFilter::default()
            };
            match self.hand.market.contracts(&filter).await {
                Ok(found) => {
                    let shown = found
                        .iter()
                        .filter_map(|contract| contract.serial.as_deref());
                    let shown = shown
                        .filter_map(|serial| Serial::parse(serial).ok())
                        .collect();
                    view.contracts.insert(intent.id, shown);
                }
                Err(error) => {
                    view.contracts_denied |= error.kind() == Some(myadmin::Kind::Security)
                        || error.status() == Some(403);
                    failed("contracts", &error, report);
                }
            }
        }
    }
}
