//! What is at odds and only a person can judge: serials nobody can explain ([`orphans`]), orders that came back or went away. Pure.
//!
//! It is found out from what is stored, so each of these alarms ends by itself when its cause does.

use serde_json::json;

use super::{Action, Held, orphans};
use crate::orders::alarms::Due;
use crate::orders::journey::order::Order;
use crate::orders::settings::{Config, OnVanished, Standing};
use crate::orders::store::intents::Outcome;
use crate::orders::store::listed_devices::SeenRow;
use crate::orders::store::read::Whole;
use crate::orders::wait::is_lost_answer;

/// All of it.
pub(super) fn decide(held: &Held, config: &Config, acts: &mut Vec<Action>) {
    let mut due = Vec::new();
    for whole in &held.orders {
        due.extend(vanished(whole, config));
        due.extend(reappears(whole, config));
    }
    lost_answers(held, &mut due);
    ended(held, &mut due);
    stranded(held, &mut due);
    orphans::due(held, config, &mut due);
    acts.extend(due.into_iter().map(Action::Alarm));
}

/// Sweeps did not list it, and the settings only tell a person.
fn vanished(whole: &Whole, config: &Config) -> Option<Due> {
    let row = &whole.row;
    let unsettled = whole.units.iter().any(|unit| !unit.unit.is_settled());
    let missed = row.missing >= i64::from(config.vanished_after);
    (missed && config.on_vanished == OnVanished::Alarm && unsettled && !row.order.is_over()).then(
        || Due {
            kind: "order-vanished",
            subject: row.id.clone(),
            said: "MyAdmin does not list it any more".to_owned(),
            evidence: json!({ "sweeps": row.missing }),
        },
    )
}

/// It was cancelled here, and MyAdmin shows it as something else.
fn reappears(whole: &Whole, config: &Config) -> Option<Due> {
    let row = &whole.row;
    let status = &row.head.status;
    let back = match config.status.standing(status) {
        Standing::Pending | Standing::Done => matches!(row.order, Order::Cancelled(_)),
        Standing::Cancelled | Standing::Unknown => false,
    };
    back.then(|| Due {
        kind: "cancelled-reappears",
        subject: row.id.clone(),
        said: format!("it was cancelled, and MyAdmin shows it as {status}"),
        evidence: json!({ "status": status }),
    })
}

/// Devices of orders that were fulfilled before this store knew them: their records are held, and no unit activates them.
fn stranded(held: &Held, due: &mut Vec<Due>) {
    due.extend(held.stranded.iter().map(|device| Due {
        kind: "device-stranded",
        subject: device.device_id.clone(),
        said: format!(
            "the registry has it as pending with serial {}, and its order {} was fulfilled or cancelled before this store knew it: its records are \
             held, and no unit activates it",
            device.serial, device.order
        ),
        evidence: json!({ "serial": device.serial, "order": device.order }),
    }));
}

/// Calls in doubt whose unit is not parked for it: its order was cancelled, or it has a serial already.
fn lost_answers(held: &Held, due: &mut Vec<Due>) {
    let unresolved = held
        .doubts
        .iter()
        .filter(|call| call.outcome == Outcome::Unresolved);
    for call in unresolved {
        let unit = &call.wish.unit_id;
        let mut rows = held.orders.iter().flat_map(|whole| &whole.units);
        let row = rows.find(|row| row.id == *unit);
        if row.is_some_and(|row| is_lost_answer(&row.unit)) {
            continue;
        }
        due.push(Due {
            kind: "lost-answer",
            subject: unit.clone(),
            said: format!(
                "the answer of its provisioning call of {} for account {} was lost, and what came of it is not clear",
                call.begun_at, call.wish.erp_no
            ),
            evidence: json!({ "intent": call.id }),
        });
    }
}

/// Devices that the partner's list shows otherwise than their units.
fn ended(held: &Held, due: &mut Vec<Due>) {
    let mut tell = |kind, (unit, seen): &(String, SeenRow), said| {
        due.push(Due {
            kind,
            subject: unit.clone(),
            said,
            evidence: json!({ "last_seen": seen.last_seen.to_string() }),
        });
    };
    for found @ (_, seen) in &held.reappeared {
        let said = format!(
            "it is terminated, and serial {} is listed in database {:?}: it stays terminated until a person orders it anew",
            seen.serial, seen.owner_database
        );
        tell("terminated-reappears", found, said);
    }
    for found @ (_, seen) in &held.left {
        let said = format!(
            "it is active, and serial {} is listed in no database: what it sends is refused there, and it goes on until it is terminated",
            seen.serial
        );
        tell("left-database", found, said);
    }
}
