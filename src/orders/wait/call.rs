//! The facts about a provisioning call that is open or in doubt, and the next step. Pure.

use super::{Facts, For, Wait, wait};
use crate::orders::journey::Serial;
use crate::orders::reconcile::doubt;
use crate::orders::settings::Config;
use crate::orders::store::intents::{IntentRow, Outcome};
use crate::orders::store::rows::UnitRow;

/// A call for this unit that is open, or of which nobody knows what came.
pub(super) fn wait_for(row: &UnitRow, facts: &Facts, config: &Config) -> Option<Wait> {
    let call = facts
        .doubts
        .iter()
        .rev()
        .find(|call| call.wish.unit_id == row.id && call.outcome != Outcome::Abandoned)?;
    let next = outlook(call, facts, config);
    wait(For::Answer, call.begun_at, next.said, next.remedy)
}

/// A call in doubt: what is known, and what happens next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    pub said: String,
    pub remedy: String,
    /// Listed serials that no unit has and that fit to what was called for.
    pub fitting: Vec<Serial>,
}

/// See [`Outlook`].
#[must_use]
pub fn outlook(call: &IntentRow, facts: &Facts, config: &Config) -> Outlook {
    let unit = &call.wish.unit_id;
    let fitting = doubt::fitting(call, &facts.unclaimed);
    let shown = match fitting.as_slice() {
        [] => "no listed serial fits".to_owned(),
        some => {
            let some: Vec<&str> = some.iter().map(Serial::as_str).collect();
            format!("it may have made {}", some.join(" or "))
        }
    };
    let call_text = format!(
        "what came of the provisioning call {} of {} for account {}",
        call.id, call.begun_at, call.wish.erp_no
    );
    if call.outcome == Outcome::Open {
        let clear = doubt::clear_from(call, config);
        let said = if facts.now < clear {
            format!(
                "{call_text}: its answer may still come; from {clear} on it is concluded from what MyAdmin lists ({shown})"
            )
        } else {
            format!(
                "{call_text}: it is concluded from the next list of devices of MyAdmin ({shown})"
            )
        };
        let remedy = "nothing yet: one new serial that fits is adopted by itself, else the unit is parked; if that takes long, \
                      `dig-ingest check --connect` tries MyAdmin"
            .to_owned();
        return Outlook {
            said,
            remedy,
            fitting,
        };
    }
    let remedy = match fitting.first() {
        Some(serial) => format!(
            "`orders assign {unit} --serial {serial}` adopts it if MyAdmin shows it for this account; `orders retry {unit} --anew` \
             provisions another one if it is somebody else's"
        ),
        None => format!(
            "look in MyAdmin whether a serial was made: if so `orders assign {unit} --serial SERIAL`, if not `orders retry {unit}`"
        ),
    };
    Outlook {
        said: format!("{call_text}: a person decides ({shown})"),
        remedy,
        fitting,
    }
}
