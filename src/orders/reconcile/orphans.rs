//! Listed serials that no unit has: shown to a person, and nothing of their product is provisioned meanwhile (P1, P3). Pure.
//!
//! Not asked about are serials that a person accepted, those that may be the answer of an open call, and, for a store that is
//! older than identities, the fleet of before its first listing.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Held, doubt, seconds};
use crate::orders::alarms::Due;
use crate::orders::recovery::products;
use crate::orders::settings::Config;
use crate::orders::store::identity::Origin;
use crate::orders::store::intents::Outcome;
use crate::orders::store::seen::SeenRow;

/// Serials that nothing explains; `fleet`: of the first listing.
fn unexplained<'a>(
    held: &'a Held,
    config: &Config,
    fleet: bool,
) -> impl Iterator<Item = &'a SeenRow> {
    let lag = seconds(config.provision.visible_after_s);
    let first = held
        .first_listed
        .map(|first| first.saturating_add(lag).unwrap_or(jiff::Timestamp::MAX));
    held.unclaimed.iter().filter(move |seen| {
        let of_fleet = first.is_some_and(|first| seen.first_seen <= first);
        let explained = held.accepted.contains(&seen.serial)
            || held.doubts.iter().any(|intent| {
                intent.outcome == Outcome::Open
                    && doubt::fits(&intent.wish, seen) != doubt::Fit::Other
            });
        first.is_some() && of_fleet == fleet && !explained
    })
}

/// Products of which nothing is provisioned.
#[must_use]
pub fn blocked(held: &Held, config: &Config) -> BTreeSet<String> {
    if !held.may_provision {
        return config.products.keys().cloned().collect();
    }
    let mut blocked = BTreeSet::new();
    for seen in unexplained(held, config, false) {
        blocked.extend(products(seen, config));
    }
    if held.origin == Origin::Made {
        for seen in unexplained(held, config, true) {
            blocked.extend(products(seen, config));
        }
    }
    blocked
}

/// Tells of them.
pub fn due(held: &Held, config: &Config, due: &mut Vec<Due>) {
    for seen in unexplained(held, config, false) {
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
        let fleet: Vec<&str> = unexplained(held, config, true)
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
