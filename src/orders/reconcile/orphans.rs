//! Listed serials that no unit has: shown to a person, and nothing of their product is provisioned meanwhile (P1, P3). Pure.
//!
//! Not asked about are serials that a person accepted, those that may be the answer of an open call, and, for a store that is
//! older than identities, the fleet of before its first listing.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;
use serde_json::json;

use super::{Held, doubt, seconds};
use crate::orders::alarms::Due;
use crate::orders::journey::Serial;
use crate::orders::recovery::products;
use crate::orders::settings::Config;
use crate::orders::store::identity::Origin;
use crate::orders::store::intents::{IntentRow, Outcome};
use crate::orders::store::listed_devices::SeenRow;

/// What is known of listed serials that no unit has.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    pub unclaimed: &'a [SeenRow],
    /// Serials that a person said are no unit's.
    pub accepted: &'a HashSet<Serial>,
    /// Provisioning calls of which a serial may have come that nobody told us.
    pub doubts: &'a [IntentRow],
    /// When devices were listed first.
    pub first_listed: Option<Timestamp>,
    pub origin: Origin,
}

impl<'a> Listed<'a> {
    fn of(held: &'a Held) -> Self {
        Self {
            unclaimed: &held.unclaimed,
            accepted: &held.accepted,
            doubts: &held.doubts,
            first_listed: held.first_listed,
            origin: held.origin,
        }
    }

    /// Serials that nothing explains; `fleet`: of the first listing.
    fn unexplained(self, config: &Config, fleet: bool) -> impl Iterator<Item = &'a SeenRow> {
        let lag = seconds(config.provision.visible_after_s);
        let first = self
            .first_listed
            .map(|first| first.saturating_add(lag).unwrap_or(Timestamp::MAX));
        self.unclaimed.iter().filter(move |seen| {
            let of_fleet = first.is_some_and(|first| seen.first_seen <= first);
            let explained = self.accepted.contains(&seen.serial)
                || self.doubts.iter().any(|intent| {
                    intent.outcome == Outcome::Open
                        && doubt::fits(&intent.wish, seen) != doubt::Fit::Other
                });
            first.is_some() && of_fleet == fleet && !explained
        })
    }

    /// Serials for whose sake nothing of their products is provisioned.
    pub fn blocking(self, config: &Config) -> impl Iterator<Item = &'a SeenRow> {
        let made = self.origin == Origin::Made;
        let fleet = self.unexplained(config, true).filter(move |_| made);
        self.unexplained(config, false).chain(fleet)
    }

    /// The first of them that stops this product.
    #[must_use]
    pub fn blocks(self, product: &str, config: &Config) -> Option<&'a SeenRow> {
        self.blocking(config)
            .find(|seen| products(seen, config).iter().any(|code| code == product))
    }
}

/// Products of which nothing is provisioned.
#[must_use]
pub fn blocked(held: &Held, config: &Config) -> BTreeSet<String> {
    if !held.may_provision {
        return config.products.keys().cloned().collect();
    }
    let blocking = Listed::of(held).blocking(config);
    blocking.flat_map(|seen| products(seen, config)).collect()
}

/// Tells of them.
pub fn due(held: &Held, config: &Config, due: &mut Vec<Due>) {
    let listed = Listed::of(held);
    for seen in listed.unexplained(config, false) {
        let doubted = held.doubts.iter().find(|call| {
            call.outcome == Outcome::Unresolved
                && doubt::fitting(call, std::slice::from_ref(seen)) == [seen.serial.clone()]
        });
        let fits = doubted.map_or_else(String::new, |call| {
            format!("; it fits the call in doubt for unit {}", call.wish.unit_id)
        });
        due.push(Due {
            kind: "orphan-serial",
            subject: seen.serial.to_string(),
            said: format!(
                "serial {} (product {:?}) is listed and no unit has it: nothing of its product is provisioned meanwhile{fits}",
                seen.serial, seen.product_code
            ),
            evidence: json!({
                "first_seen": seen.first_seen.to_string(),
                "database": seen.owner_database,
                "unit": doubted.map(|call| &call.wish.unit_id),
            }),
        });
    }
    if held.origin != Origin::Made {
        return;
    }
    for product in config.products.keys() {
        let fleet: Vec<&str> = listed
            .unexplained(config, true)
            .filter(|seen| products(seen, config).contains(product))
            .map(|seen| seen.serial.as_str())
            .collect();
        if let [first, ..] = fleet[..] {
            due.push(Due {
                kind: "fleet-not-accepted",
                subject: product.clone(),
                said: format!(
                    "MyAdmin lists {} serials of product {product:?} that this store has never known, such as {first}: nothing of it is \
                     provisioned until `dig-ingest orders recover --accept --by NAME`",
                    fleet.len()
                ),
                evidence: json!({ "serials": fleet.len() }),
            });
        }
    }
}
