//! Devices from the shelf for units that lack their marks (`orders.inventory.auto`). Pure.
//!
//! A unit gets one only when it has its serial, or needs none: a provisioning that comes to nothing keeps no device.

use std::collections::BTreeMap;

use super::{Action, Held};
use crate::orders::inventory::{pick, take};
use crate::orders::journey::unit::{Live, Unit};
use crate::orders::settings::Config;
use crate::orders::store::rows::UnitRow;

/// Units that wait for a device, the oldest order first.
fn waiting(held: &Held) -> impl Iterator<Item = &UnitRow> {
    let clear = held
        .orders
        .iter()
        .filter(|whole| whole.row.order.clear().is_some());
    clear.flat_map(|whole| &whole.units).filter(|row| {
        let ready = match &row.unit {
            Unit::Live(Live::Provisioned(_)) => true,
            Unit::Live(Live::Ordered(_)) => !row.line.needs.serial,
            _ => false,
        };
        ready && !row.unit.known().tags.lacking(row.line.needs).is_empty()
    })
}

/// Gives out what there is.
pub fn decide(held: &Held, config: &Config, acts: &mut Vec<Action>) {
    if !config.inventory.auto {
        return;
    }
    let mut used = held.used.clone();
    for row in waiting(held) {
        let wish = (&row.unit.known().tags, row.line.needs);
        if let Some(spare) = pick(&held.spares, &used, &row.id, &row.line.product_code, wish) {
            take(&mut used, spare, &row.id);
            acts.push(Action::Stock {
                row: Box::new(row.clone()),
                spare: Box::new(spare.clone()),
            });
        }
    }
}

/// Units for which nothing on the shelf fits, by product code.
#[must_use]
pub fn short(held: &Held) -> BTreeMap<String, usize> {
    let mut short = BTreeMap::new();
    for row in waiting(held) {
        let wish = (&row.unit.known().tags, row.line.needs);
        if pick(
            &held.spares,
            &held.used,
            &row.id,
            &row.line.product_code,
            wish,
        )
        .is_none()
        {
            *short.entry(row.line.product_code.clone()).or_default() += 1;
        }
    }
    short
}
