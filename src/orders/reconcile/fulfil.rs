//! Telling MyAdmin of units and shipments, and reading back whether it shows what it was told.
//!
//! By comparison, not by memory: what is shown as wished is told, whoever told it; what is not is told again, a few times, then a
//! person is asked. In worksheet mode a person tells it, and only the reading back is ours.

use jiff::Timestamp;
use serde_json::json;

use super::{Action, View};
use crate::myadmin::wire;
use crate::orders::alarms::Due;
use crate::orders::journey::kit::ReadBack;
use crate::orders::journey::unit::{Live, Unit};
use crate::orders::journey::{Code, Parcel, Reason, Serial};
use crate::orders::settings::{Config, Mode, Packages, Partial, Standing};
use crate::orders::store::read::Whole;
use crate::orders::store::rows::{Head, OrderRow, Shipment, UnitRow};

/// What a line shows.
#[must_use]
pub fn read_back(line: &wire::LineUnit) -> ReadBack<'_> {
    ReadBack {
        serial: line.serial_number.as_deref(),
        sim: line.sim_number.as_deref(),
        imei: line.imei.as_deref(),
    }
}

/// Whether all units that are to ship have. A replacement is not waited for once its order was fulfilled, by the device before it.
#[must_use]
pub fn all_shipped(whole: &Whole, config: &Config) -> bool {
    let is_done = |status: &str| config.status.standing(status) == Standing::Done;
    let reported = whole.row.reported.as_ref();
    let fulfilled =
        reported.is_some_and(|told| is_done(&told.status)) || is_done(&whole.row.head.status);
    let mut awaited = whole
        .units
        .iter()
        .filter(|row| row.replaces.is_none() || !fulfilled);
    awaited.all(|row| match &row.unit {
        Unit::Live(live) => live.is_beyond_shipping(),
        Unit::Parked(parked) => parked.before.is_beyond_shipping(),
        Unit::Cancelled(_) | Unit::Terminated(_) => true,
    })
}

/// Whether a unit left the warehouse and MyAdmin was not told of it, parked or not: its order is not fulfilled.
#[must_use]
pub fn is_untold(row: &UnitRow) -> bool {
    let live = match &row.unit {
        Unit::Live(live) => live,
        Unit::Parked(parked) => &parked.before,
        Unit::Cancelled(_) | Unit::Terminated(_) => return false,
    };
    matches!(live, Live::Shipped(_))
}

/// The shipment as it should be told: none before anything has shipped.
#[must_use]
pub fn wished(whole: &Whole, config: &Config) -> Option<Shipment> {
    let mut carriers: Vec<String> = Vec::new();
    let mut tracking: Vec<&str> = Vec::new();
    let parcels: Vec<Parcel> = whole
        .units
        .iter()
        // A device that was terminated has travelled all the same.
        .filter(|row| !matches!(row.unit, Unit::Cancelled(_)))
        .filter_map(|row| row.unit.known().parcel)
        .collect();
    for parcel in &parcels {
        let ours = parcel.carrier.to_string();
        let carrier = config
            .fulfilment
            .carriers
            .get(&ours)
            .cloned()
            .unwrap_or(ours);
        if !carriers.contains(&carrier) {
            carriers.push(carrier);
        }
        for number in parcel.tracking() {
            if !tracking.contains(&&**number) {
                tracking.push(number);
            }
        }
    }
    if tracking.is_empty() {
        return None;
    }
    let separator = &config.fulfilment.separator;
    let words = if all_shipped(whole, config) {
        &config.status.done
    } else {
        &config.status.pending
    };
    Some(Shipment {
        carrier: carriers.join(separator),
        tracking: tracking.join(separator),
        status: words.first().cloned().unwrap_or_default(),
    })
}

/// What is to be told and confirmed of an order that is clear.
pub fn decide(view: &View, whole: &Whole, config: &Config, now: Timestamp, acts: &mut Vec<Action>) {
    let row = &whole.row;
    let Some(shipment) = wished(whole, config) else {
        return;
    };
    if config.fulfilment.partial == Partial::Wait && !all_shipped(whole, config) {
        return;
    }
    let several = whole
        .units
        .iter()
        .filter_map(|row| row.unit.known().parcel)
        .flat_map(|parcel| parcel.tracking().to_vec())
        .collect::<std::collections::BTreeSet<_>>();
    if config.fulfilment.packages == Packages::Refuse && several.len() > 1 {
        acts.push(Action::ParkOrder {
            row: Box::new(row.clone()),
            reason: Reason::new(
                Code::Packages,
                format!(
                    "it travels under {} numbers: {}",
                    several.len(),
                    shipment.tracking
                ),
            ),
            evidence: json!({ "tracking": shipment.tracking }),
        });
        return;
    }
    let by_us = config.fulfilment.mode == Mode::Api;
    let untold = whole.units.iter().any(is_untold);
    for unit in &whole.units {
        if let Unit::Live(Live::Shipped(shipped)) = &unit.unit {
            let Some(line) = view.line(&row.id, &unit.line.id) else {
                continue;
            };
            match read_back(line).compare(shipped.kit()) {
                Ok(_) => acts.push(Action::Told {
                    row: Box::new(unit.clone()),
                }),
                Err(differences) => {
                    let before = replaced(whole, unit);
                    tell((unit, before), line, differences, by_us, config, now, acts);
                }
            }
        }
    }
    if untold || view.was_written(&row.id) {
        return;
    }
    let seen = view
        .listing
        .as_ref()
        .and_then(|listing| listing.orders.get(&row.id));
    let Some(seen) = seen else { return };
    let shown = shows(seen, &shipment, config);
    let told = row.reported.as_ref() == Some(&shipment);
    let due = row.retry_at.is_none_or(|at| at <= now);
    if by_us && !shown && shows_foreign(row, seen, &shipment, config) {
        // Parcels of which this store does not know, such as those reported after the copy that it was restored from.
        acts.push(Action::Alarm(Due {
            kind: "parcel-unknown",
            subject: row.id.clone(),
            said: "MyAdmin shows tracking numbers that were never reported here, and a report would remove them: it is not sent"
                .to_owned(),
            evidence: json!({ "reported": shipment, "other": seen.other }),
        }));
        return;
    }
    if by_us && due && (!told || (!shown && row.attempts < i64::from(config.fulfilment.tries))) {
        acts.push(Action::ReportShipment {
            row: Box::new(row.clone()),
            order: Box::new(seen.clone()),
            shipment,
        });
        return;
    }
    if !shown {
        // In worksheet mode the person has not got to it yet.
        if by_us && due && row.attempts >= i64::from(config.fulfilment.tries) {
            acts.push(Action::ParkOrder {
                row: Box::new(row.clone()),
                reason: Reason::new(Code::Differs, "its shipment is not shown as reported"),
                evidence: json!({
                    "reported": shipment,
                    "status": seen.shipment_status,
                    "other": seen.other,
                }),
            });
        }
        return;
    }
    for unit in &whole.units {
        if let Unit::Live(Live::Reported(reported)) = &unit.unit
            && let Some(line) = view.line(&row.id, &unit.line.id)
        {
            acts.push(match read_back(line).compare(reported.kit()) {
                Ok(_) => Action::Confirm {
                    row: Box::new(unit.clone()),
                    line: Box::new(line.clone()),
                },
                Err(differences) => Action::Differs {
                    row: Box::new(unit.clone()),
                    differences,
                },
            });
        }
    }
}

/// The serials of the devices that a unit's device replaces, the newest first: a device may have been replaced before it was reported.
fn replaced(whole: &Whole, unit: &UnitRow) -> Vec<Serial> {
    let before = |unit: &UnitRow| {
        let before = unit.replaces.as_ref()?;
        whole.units.iter().find(|row| row.id == *before)
    };
    let chain = std::iter::successors(before(unit), |row| before(row));
    chain.filter_map(|row| row.unit.serial()).collect()
}

/// A unit that is not shown as it is; `before` are the serials of the devices that its device replaces.
fn tell(
    (unit, before): (&UnitRow, Vec<Serial>),
    line: &wire::LineUnit,
    differences: Vec<String>,
    by_us: bool,
    config: &Config,
    now: Timestamp,
    acts: &mut Vec<Action>,
) {
    let ours = unit.unit.serial();
    let shown = line
        .serial_number
        .as_deref()
        .filter(|text| !text.trim().is_empty());
    let foreign = shown.is_some_and(|text| {
        let shown = Serial::parse(text).ok();
        shown != ours && shown.is_none_or(|shown| !before.contains(&shown))
    });
    if foreign {
        // Ours would overwrite somebody else's word.
        acts.push(Action::ParkUnit {
            row: Box::new(unit.clone()),
            reason: Reason::new(Code::Elsewhere, differences.join("; ")),
            evidence: json!({ "line": line }),
        });
        return;
    }
    if !by_us || unit.retry_at.is_some_and(|at| at > now) {
        return;
    }
    if unit.attempts >= i64::from(config.fulfilment.tries) {
        acts.push(Action::ParkUnit {
            row: Box::new(unit.clone()),
            reason: Reason::new(Code::Differs, differences.join("; ")),
            evidence: json!({ "line": line, "attempts": unit.attempts }),
        });
        return;
    }
    acts.push(Action::ReportUnit {
        row: Box::new(unit.clone()),
        line: Box::new(line.clone()),
    });
}

/// Whether the order shows the shipment as wished: its status, and carrier and tracking where they are shown at all (U1).
fn shows(seen: &wire::Order, wished: &Shipment, config: &Config) -> bool {
    let head = super::intake::head(seen);
    let status = !config.fulfilment.confirm_status
        || head.status.eq_ignore_ascii_case(&wished.status)
        || (config.status.standing(&wished.status) == Standing::Done
            && config.status.standing(&head.status) == Standing::Done);
    let tracking = head
        .tracking
        .is_none_or(|shown| plain(&shown) == plain(&wished.tracking));
    status && tracking
}

/// Whether the order shows every tracking number of the shipment, and others that this store never reported.
fn shows_foreign(row: &OrderRow, seen: &wire::Order, wished: &Shipment, config: &Config) -> bool {
    let Some(shown) = super::intake::head(seen).tracking else {
        return false;
    };
    let split = |text: &str| -> Vec<String> {
        let separator = config.fulfilment.separator.trim();
        let parts = match separator {
            "" => vec![text],
            separator => text.split(separator).collect(),
        };
        let numbers = parts.into_iter().map(plain);
        numbers.filter(|number| !number.is_empty()).collect()
    };
    let (shown, ours) = (split(&shown), split(&wished.tracking));
    let reported = row.reported.as_ref().map(|told| split(&told.tracking));
    let reported = reported.unwrap_or_default();
    ours.iter().all(|number| shown.contains(number))
        && shown
            .iter()
            .any(|number| !ours.contains(number) && !reported.contains(number))
}

/// Why what an order says of itself is written anew: only what we told it differs, or somebody else changed it.
pub fn differs(row: &OrderRow, seen: &Head) -> &'static str {
    let before = &row.head;
    if seen == before {
        return "it is listed again";
    }
    let told = row.reported.as_ref().is_some_and(|told| {
        let ours = Head {
            status: seen.status.clone(),
            carrier: seen.carrier.clone(),
            tracking: seen.tracking.clone(),
            ..before.clone()
        };
        let same = |seen: &Option<String>, before: &Option<String>, told: &str| {
            let shown = seen.as_deref().map(plain);
            seen == before || shown.is_some_and(|shown| shown.eq_ignore_ascii_case(&plain(told)))
        };
        *seen == ours
            && (seen.status == before.status || seen.status.eq_ignore_ascii_case(&told.status))
            && same(&seen.carrier, &before.carrier, &told.carrier)
            && same(&seen.tracking, &before.tracking, &told.tracking)
    });
    if told {
        "MyAdmin shows what it was told"
    } else {
        "MyAdmin shows it differently"
    }
}

/// A number as it is compared: carriers print it with blanks and dashes.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::journey::order::Order;

    #[test]
    fn a_change_is_somebody_elses_unless_it_is_what_we_told() {
        let before = Head {
            status: "PendingFulfillment".into(),
            comment: "at the gate".into(),
            ..Head::default()
        };
        let row = |reported: bool| OrderRow {
            id: "77".into(),
            version: 1,
            order: Order::receive(Vec::new()),
            head: before.clone(),
            missing: 1,
            reported: reported.then(|| Shipment {
                carrier: "Post".into(),
                tracking: "T-123".into(),
                status: "Fulfilled".into(),
            }),
            attempts: 0,
            retry_at: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        };
        let shown = Head {
            status: "fulfilled".into(),
            carrier: Some("POST".into()),
            tracking: Some("T123".into()),
            ..before.clone()
        };
        let (again, ours, others) = (
            "it is listed again",
            "MyAdmin shows what it was told",
            "MyAdmin shows it differently",
        );
        assert_eq!(differs(&row(true), &before), again);
        assert_eq!(differs(&row(true), &shown), ours);
        assert_eq!(differs(&row(false), &shown), others);
        for changed in [
            Head {
                status: "Cancelled".into(),
                ..shown.clone()
            },
            Head {
                tracking: Some("T9".into()),
                ..shown.clone()
            },
            Head {
                carrier: None,
                comment: "at the door".into(),
                ..shown.clone()
            },
        ] {
            assert_eq!(differs(&row(true), &changed), others, "{changed:?}");
        }
    }
}
