//! Provisioning calls whose answer was lost: whose is the serial that appeared since? (P1, U14)
//!
//! Nothing is concluded before a listing that was made later than the time a new serial may need to show. Then exactly one
//! serial that fits, appeared since the listing before the call, and can be nobody else's, is adopted. Else a person decides.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Action, Held, View, seconds};
use crate::orders::journey::Serial;
use crate::orders::settings::{CheckContracts, Config};
use crate::orders::store::intents::{IntentRow, Outcome, Wish};
use crate::orders::store::listed_devices::SeenRow;

/// How a listed serial fits to what was called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Prefix and product code agree, as far as each is known.
    Right,
    /// One agrees and the other does not: it cannot be adopted, and nothing else can be beside it.
    Unclear,
    Other,
}

/// Compares a serial with what was called for.
#[must_use]
pub fn fits(wish: &Wish, seen: &SeenRow) -> Fit {
    let prefix = (!wish.prefix.is_empty()).then(|| {
        seen.serial
            .as_str()
            .starts_with(&wish.prefix.to_ascii_uppercase())
    });
    let code = (!seen.product_code.is_empty())
        .then(|| seen.product_code.eq_ignore_ascii_case(&wish.product_code));
    match (prefix, code) {
        (Some(true), Some(true) | None) | (None, Some(true)) => Fit::Right,
        (Some(true), Some(false)) | (Some(false), Some(true)) | (None, None) => Fit::Unclear,
        (Some(false), Some(false) | None) | (None, Some(false)) => Fit::Other,
    }
}

/// Concludes what can be concluded.
pub fn decide(view: &View, held: &Held, config: &Config, now: Timestamp, acts: &mut Vec<Action>) {
    for intent in &held.doubts {
        if intent.outcome == Outcome::Open {
            acts.extend(conclude(intent, view, held, config, now));
        }
    }
}

/// From when on a listing shows what a call made.
#[must_use]
pub fn clear_from(intent: &IntentRow, config: &Config) -> Timestamp {
    let lag = seconds(config.provision.visible_after_s);
    let clear = intent.begun_at.saturating_add(lag);
    clear.unwrap_or(Timestamp::MAX)
}

/// Whether it can be told now what came of a call: it is listed what it must have made.
#[must_use]
pub fn is_due(intent: &IntentRow, held: &Held, config: &Config, now: Timestamp) -> bool {
    let clear = clear_from(intent, config);
    now >= clear && held.last_listed.is_some_and(|at| at >= clear)
}

/// Serials that fit a call and are new since the listing before it.
#[must_use]
pub fn candidates(intent: &IntentRow, held: &Held) -> Vec<Serial> {
    if intent.wish.listed_at.is_none() {
        return Vec::new();
    }
    fitting(intent, &held.unclaimed)
}

/// Listed serials that no unit has and that a call may have made. With no listing before the call, any that fits.
#[must_use]
pub fn fitting(intent: &IntentRow, unclaimed: &[SeenRow]) -> Vec<Serial> {
    let new = unclaimed.iter().filter(|seen| {
        intent
            .wish
            .listed_at
            .is_none_or(|before| seen.first_seen > before)
            && fits(&intent.wish, seen) == Fit::Right
    });
    new.map(|seen| seen.serial.clone()).collect()
}

/// Whether the account's contracts must show a serial before it is adopted.
fn asks_contracts(config: &Config, view: &View) -> bool {
    match config.provision.check_contracts {
        CheckContracts::Always => true,
        CheckContracts::Auto => config.provision.list_devices && !view.contracts_denied,
        CheckContracts::Never => false,
    }
}

fn conclude(
    intent: &IntentRow,
    view: &View,
    held: &Held,
    config: &Config,
    now: Timestamp,
) -> Option<Action> {
    let lag = seconds(config.provision.visible_after_s);
    if now < clear_from(intent, config) {
        return None;
    }
    let doubt = |why: &str, evidence: Value| {
        Some(Action::Doubt {
            intent: Box::new(intent.clone()),
            evidence: json!({
                "why": why,
                "begun_at": intent.begun_at.to_string(),
                "product_id": intent.wish.product_id,
                "erp_no": intent.wish.erp_no,
                "found": evidence,
            }),
        })
    };
    let Some(before) = intent
        .wish
        .listed_at
        .filter(|_| config.provision.list_devices)
    else {
        return doubt(
            "the partner's devices were not listed before the call",
            Value::Null,
        );
    };
    // Listed since a new serial must show; else the next listing tells.
    if !is_due(intent, held, config, now) {
        return None;
    }
    let mut right = Vec::new();
    let mut unclear = Vec::new();
    for seen in held
        .unclaimed
        .iter()
        .filter(|seen| seen.first_seen > before)
    {
        match fits(&intent.wish, seen) {
            Fit::Right => right.push(seen),
            Fit::Unclear => unclear.push(seen.serial.as_str()),
            Fit::Other => {}
        }
    }
    let rivals: Vec<i64> = held
        .doubts
        .iter()
        .filter(|other| other.id != intent.id && rivals(other, intent, lag))
        .map(|other| other.id)
        .collect();
    // Not answered yet: the next round asks again.
    let shown = match view.contracts.get(&intent.id) {
        Some(shown) => Some(shown),
        None if asks_contracts(config, view) && !right.is_empty() => return None,
        None => None,
    };
    let serials: Vec<&str> = right.iter().map(|seen| seen.serial.as_str()).collect();
    let evidence = json!({
        "new": serials,
        "unclear": unclear,
        "contracts_show": shown,
        "contracts_denied": view.contracts_denied,
        "other_calls_in_doubt": rivals,
        "listed_before": before.to_string(),
        "listed_at": held.last_listed.map(|at| at.to_string()),
    });
    // Only what is of the account that was called for can be what the call made.
    let own: Vec<&SeenRow> = right
        .iter()
        .copied()
        .filter(|seen| shown.is_none_or(|shown| shown.contains(&seen.serial)))
        .collect();
    match (&own[..], unclear.is_empty() && rivals.is_empty()) {
        ([one], true) => Some(Action::Adopt {
            intent: Box::new(intent.clone()),
            serial: one.serial.clone(),
            evidence,
        }),
        ([], true) if !right.is_empty() => doubt(
            "the account's contracts do not show the new serial as in no database",
            evidence,
        ),
        ([], true) => doubt("no new serial appeared", evidence),
        _ => doubt("it is not clear which new serial is its own", evidence),
    }
}

/// Whether another call may have made what appeared since the listing before this one. What an earlier call made was surely in that
/// listing if it began long enough before: it is not new, and the earlier call, resolved or not, is no rival.
fn rivals(other: &IntentRow, intent: &IntentRow, lag: jiff::SignedDuration) -> bool {
    let same = other.wish.product_code == intent.wish.product_code
        || (!other.wish.prefix.is_empty() && other.wish.prefix == intent.wish.prefix);
    let shows_by = other.begun_at.saturating_add(lag).unwrap_or(Timestamp::MAX);
    let before = intent.wish.listed_at;
    same && match other.outcome {
        // Its answer may still be on its way.
        Outcome::Open => true,
        Outcome::Unresolved | Outcome::Abandoned => before.is_none_or(|before| shows_by > before),
        Outcome::Answered | Outcome::Refused | Outcome::WithoutEffect | Outcome::Adopted => false,
    }
}
