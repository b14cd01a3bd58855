//! Listed serials that no unit has: shown to a person, and nothing of their product is provisioned meanwhile (P1, P3). Pure.
//!
//! Not asked about are serials that a person accepted, those that may be the answer of an open call, and, for a store that is
//! older than identities, the fleet of before its first listing.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Act, Held, doubt, seconds};
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
pub fn decide(held: &Held, config: &Config, acts: &mut Vec<Act>) {
    for seen in unexplained(held, config, false) {
        acts.push(Act::Alarm {
            kind: "orphan-serial",
            subject: seen.serial.to_string(),
            said: format!(
                "serial {} (product {:?}) is listed and no unit has it: nothing of its product is provisioned until it is a unit's \
                 (`dig-ingest orders assign UNIT --serial {}`) or is accepted (`dig-ingest orders recover --accept --by NAME`)",
                seen.serial, seen.product_code, seen.serial
            ),
            evidence: json!({ "first_seen": seen.first_seen.to_string(), "database": seen.owner_database }),
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
            acts.push(Act::Alarm {
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
