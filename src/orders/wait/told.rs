//! The wait of a unit that left the warehouse: MyAdmin does not show the unit, or its shipment, as reported. Pure.

use jiff::Timestamp;

use super::{Facts, For, Scene, Wait, job, wait};
use crate::config::printable::word;
use crate::orders::identifiers::odd;
use crate::orders::journey::kit::Kit;
use crate::orders::journey::unit::Unit;
use crate::orders::journey::{Parcel, Tags};
use crate::orders::reconcile::fulfil::plain;
use crate::orders::settings::{Config, Mode, Partial, Standing};
use crate::orders::store::read::Whole;
use crate::orders::store::rows::{Shipment, UnitRow};
use crate::orders::store::views::LineShown;

impl Scene<'_> {
    /// A unit that left the warehouse and is not confirmed; with its kit while MyAdmin does not show that.
    pub(super) fn shipped(&self, row: &UnitRow, untold: Option<&Kit>) -> Option<Wait> {
        if self.config.fulfilment.partial == Partial::Wait && !self.unshipped.is_empty() {
            return wait(
                For::OtherUnits,
                row.updated_at,
                format!("the rest of its order to ship: {}", some(&self.unshipped)),
                format!(
                    "`orders show {}` tells what they wait for; orders.fulfilment.partial = \"report\" does not wait",
                    row.order_id
                ),
            );
        }
        if let Some(kit) = untold {
            return self.unit_shown(row, kit);
        }
        if !self.untold.is_empty() {
            return wait(
                For::OtherUnits,
                row.updated_at,
                format!("MyAdmin to show the other units: {}", some(&self.untold)),
                format!("`orders show {}` tells what they wait for", row.order_id),
            );
        }
        self.shipment_shown(row)
            .or_else(|| job(row.updated_at, "its confirmation"))
    }

    fn unit_shown(&self, row: &UnitRow, kit: &Kit) -> Option<Wait> {
        if self.config.fulfilment.mode == Mode::Api {
            let about = (row.updated_at, &*row.id, &*row.order_id);
            return reported_later(row.retry_at, row.attempts, about, self.facts);
        }
        let shown = self.facts.shown.get(&row.id);
        let Some(shown) = shown.filter(|shown| !shown.read_back().is_blank()) else {
            return wait(
                For::Keying,
                row.updated_at,
                "a person to key it into MyAdmin",
                "`orders export worksheet-page --to FILE` prints what is to be keyed in",
            );
        };
        match shown.read_back().compare(kit) {
            Ok(_) => job(row.updated_at, "its reading back"),
            Err(differences) => wait(
                For::Difference,
                shown.since.max(row.updated_at),
                format!("MyAdmin to show it as it is: {}", differences.join("; ")),
                correct(row, kit, shown),
            ),
        }
    }

    /// All its units are settled, and its shipment was corrected since: MyAdmin shows the old one.
    pub(super) fn corrected(&self) -> Option<Wait> {
        self.whole.row.order.clear()?;
        let shipped =
            self.whole.units.iter().filter(|row| {
                matches!(row.unit, Unit::Live(_)) && row.unit.known().parcel.is_some()
            });
        let last = shipped.max_by_key(|row| row.updated_at)?;
        self.shipment_shown(last)
    }

    /// The order as a whole is not shown as shipped.
    fn shipment_shown(&self, row: &UnitRow) -> Option<Wait> {
        let (whole, shipment) = (self.whole, self.wished.as_ref()?);
        let wrong = not_shown(whole, shipment, self.config);
        if wrong.is_empty() {
            return None;
        }
        let since = row.updated_at;
        if self.config.fulfilment.mode == Mode::Api {
            let order = &whole.row;
            let about = (since, &*order.id, &*order.id);
            return reported_later(order.retry_at, order.attempts, about, self.facts);
        }
        let said = format!("MyAdmin to show its shipment: {}", wrong.join("; "));
        // A number that is shown and is not ours is a mistake; a status that was forgotten is still to be keyed in.
        let mistaken =
            whole.row.head.tracking.as_deref().filter(|shown| {
                !shown.trim().is_empty() && plain(shown) != plain(&shipment.tracking)
            });
        match mistaken {
            Some(shown) => wait(For::Difference, since, said, reship(whole, shown)),
            None => wait(
                For::Keying,
                since,
                said,
                format!(
                    "key carrier {:?}, tracking {:?} and status {:?} into MyAdmin",
                    shipment.carrier, shipment.tracking, shipment.status
                ),
            ),
        }
    }
}

/// The first of many.
fn some(units: &[&str]) -> String {
    match units {
        [a, b, c, rest @ ..] if !rest.is_empty() => {
            format!("{a}, {b}, {c} and {} more", rest.len())
        }
        few => few.join(", "),
    }
}

/// What is wrong in MyAdmin is corrected there, what is wrong here is corrected here. What MyAdmin shows is never refused: an
/// identifier that looks wrong is told, and a person may insist on it.
fn correct(row: &UnitRow, kit: &Kit, shown: &LineShown) -> String {
    let back = |shown: &Option<String>, ours: Option<&str>| {
        let other = |shown: &&str| ours.is_some() && ours != Some(*shown);
        shown.as_deref().filter(other).map(Into::into)
    };
    let theirs = Tags {
        imei: back(&shown.imei, kit.tags().imei.as_deref()),
        sim: back(&shown.sim, kit.tags().sim.as_deref()),
        device_id: None,
    };
    let flag = |flag: &str, value: &Option<Box<str>>| {
        let value = value.as_ref();
        value.map(|value| format!(" {flag} {}", word(value)))
    };
    let flags = [flag("--imei", &theirs.imei), flag("--sim", &theirs.sim)];
    let mut flags: String = flags.into_iter().flatten().collect();
    if flags.is_empty() {
        return "correct it in MyAdmin".to_owned();
    }
    let odd: Vec<String> = odd(&theirs)
        .into_iter()
        .map(|(what, value, why)| format!("{what} {value:?} {why}"))
        .collect();
    let mut there = "correct it in MyAdmin".to_owned();
    if !odd.is_empty() {
        flags.push_str(" --force");
        there = format!("{there} ({})", odd.join("; "));
    }
    format!(
        "{there}, or, if MyAdmin is right, `orders assign {}{flags}`",
        row.id
    )
}

fn reported_later(
    retry_at: Option<Timestamp>,
    attempts: i64,
    (since, subject, order): (Timestamp, &str, &str),
    facts: &Facts,
) -> Option<Wait> {
    match retry_at {
        Some(at) if at > facts.now => wait(
            For::Report,
            since,
            format!("its report to MyAdmin: told {attempts} times, the next time at {at}"),
            format!("`orders events {order}` tells why; `orders retry {subject}` tells it at once"),
        ),
        _ => job(since, "its report to MyAdmin"),
    }
}

/// The wrong number is corrected where it is wrong.
fn reship(whole: &Whole, shown: &str) -> String {
    let there = "correct it in MyAdmin";
    let shipped: Vec<(&str, Parcel)> = whole
        .units
        .iter()
        .filter(|row| matches!(row.unit, Unit::Live(_)))
        .filter_map(|row| Some((row.id.as_str(), row.unit.known().parcel?)))
        .collect();
    let Some((_, parcel)) = shipped.first() else {
        return there.to_owned();
    };
    let one = parcel.tracking().len() == 1 && shipped.iter().all(|(_, other)| other == parcel);
    if !one {
        return there.to_owned();
    }
    let units: String = shipped
        .iter()
        .map(|(id, _)| format!(" --unit {id}"))
        .collect();
    format!(
        "{there}, or, if MyAdmin is right, `orders ship {}{units} --carrier {} --tracking {}`",
        whole.row.id,
        word(&parcel.carrier),
        word(shown)
    )
}

/// The members of a shipment that MyAdmin shows otherwise than reported.
fn not_shown(whole: &Whole, wished: &Shipment, config: &Config) -> Vec<String> {
    let head = &whole.row.head;
    let mut wrong = Vec::new();
    let done = |status: &str| config.status.standing(status) == Standing::Done;
    let status = !config.fulfilment.confirm_status
        || head.status.eq_ignore_ascii_case(&wished.status)
        || (done(&wished.status) && done(&head.status));
    if !status {
        wrong.push(format!(
            "the status is shown as {:?}, to be {:?}",
            head.status, wished.status
        ));
    }
    if let Some(shown) = &head.tracking
        && plain(shown) != plain(&wished.tracking)
    {
        wrong.push(format!(
            "tracking is shown as {shown:?}, ours is {:?}",
            wished.tracking
        ));
    }
    wrong
}
