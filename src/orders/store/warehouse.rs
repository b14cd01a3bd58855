//! Actions of the warehouse: assigning identifiers to units, and shipping.

use jiff::Timestamp;
use serde_json::json;

use super::change::{Cause, Change};
use super::intents::Outcome;
use super::operator_actions::{refused_order, refused_unit};
use super::rows::UnitRow;
use super::{Error, Store};
use crate::orders::journey::order::Order;
use crate::orders::journey::unit::{Live, NotNow, Unit};
use crate::orders::journey::{Actor, Parcel, Serial, Tags};
use crate::orders::unit_identifiers::{Forced, Given, Mark};

impl Store {
    /// Gives a unit what a person gave it: as [`Store::assign`], with an event for each value that was taken by force.
    ///
    /// # Errors
    /// As [`Store::assign`].
    pub async fn give(
        &self,
        unit: &str,
        given: &Given,
        by: &Actor,
        now: Timestamp,
    ) -> Result<UnitRow, Error> {
        self.act(by, now, async |mut change: Change| {
            let row = change.give(unit, given).await?;
            change.commit().await?;
            Ok(row)
        })
        .await
    }

    /// Gives a unit its identifiers: SIM, IMEI, own device id; and a serial that was made by other means. They are taken as they are:
    /// [`Given`] checks what a person gives.
    /// A unit that has all its line asks for becomes assigned.
    ///
    /// # Errors
    /// An identifier that another unit has, another serial than the unit's, a unit that is active or has ended.
    pub async fn assign(
        &self,
        unit: &str,
        serial: Option<&Serial>,
        tags: &Tags,
        by: &Actor,
        now: Timestamp,
    ) -> Result<UnitRow, Error> {
        self.act(by, now, async |mut change: Change| {
            let row = change.assign(unit, serial, tags).await?;
            change.commit().await?;
            Ok(row)
        })
        .await
    }

    /// Exchanges SIM, IMEI and own id of two units whose devices were mixed up; each keeps its serial. What was reported of them is
    /// reported again.
    ///
    /// # Errors
    /// Units of two products, units that do not have the same kinds of identifiers, a unit that is active or has ended.
    pub async fn swap(
        &self,
        one: &str,
        other: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<[UnitRow; 2], Error> {
        self.act(by, now, async |mut change: Change| {
            let rows = change.swap(one, other).await?;
            change.commit().await?;
            Ok(rows)
        })
        .await
    }

    /// Ships units of an order: all that are assigned, or those named. Only a named unit that was shipped before is corrected.
    ///
    /// # Errors
    /// Nothing to ship; a named unit that cannot ship, and why.
    pub async fn ship(
        &self,
        order: &str,
        units: Option<&[String]>,
        parcel: &Parcel,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Vec<UnitRow>, Error> {
        self.act(by, now, async |mut change: Change| {
            let shipped = change.ship(order, units, parcel).await?;
            change.commit().await?;
            Ok(shipped)
        })
        .await
    }
}

impl Change {
    /// As [`Store::give`], as a part of a larger change. A unit that has all of it already stays as it is.
    ///
    /// # Errors
    /// As [`Store::assign`].
    pub async fn give(&mut self, unit: &str, given: &Given) -> Result<UnitRow, Error> {
        let before = self.unit(unit).await?;
        let mut forced = given.forced.clone();
        forced.extend(self.other_product(&before, given).await?);
        let row = self
            .assign(unit, given.serial.as_ref(), &given.tags)
            .await?;
        for forced in &forced {
            if !has(&before, forced) {
                let why = format!(
                    "{} {:?} was taken by force: it {}",
                    forced.mark.name(),
                    forced.value,
                    forced.what
                );
                let cause = Cause::new("force", why).with(json!(forced));
                self.note(Some(&row.order_id), Some(&row.id), cause).await?;
            }
        }
        Ok(row)
    }

    /// A serial that MyAdmin lists as another product than the unit's, on which a person insists.
    async fn other_product(
        &mut self,
        row: &UnitRow,
        given: &Given,
    ) -> Result<Option<Forced>, Error> {
        let own = row.unit.serial();
        let Some(serial) = given
            .serial
            .as_ref()
            .filter(|given| own.as_ref() != Some(*given))
        else {
            return Ok(None);
        };
        let asked = &row.line.product_code;
        let listed = self.listed_product(serial).await?;
        let Some(listed) = listed.filter(|listed| !listed.eq_ignore_ascii_case(asked)) else {
            return Ok(None);
        };
        let what = format!("is listed by MyAdmin as a {listed}, and the unit is a {asked}");
        if !given.is_forced() {
            return Err(refused_unit(
                row,
                &format!("serial {serial} {what}"),
                "copy it again from the device's label; `--force` takes it as it is",
            ));
        }
        Ok(Some(Forced {
            mark: Mark::Serial,
            value: serial.as_str().into(),
            what,
        }))
    }

    /// As [`Store::swap`], as a part of a larger change.
    ///
    /// # Errors
    /// As [`Store::swap`].
    pub async fn swap(&mut self, one: &str, other: &str) -> Result<[UnitRow; 2], Error> {
        let rows = [self.unit(one).await?, self.unit(other).await?];
        let [one, other] = &rows;
        if one.id == other.id {
            return Err(refused_unit(
                one,
                "it cannot be swapped with itself",
                "name two units",
            ));
        }
        if one.line.product_code != other.line.product_code {
            let what = format!(
                "it is a {}, and unit {} a {}",
                one.line.product_code, other.id, other.line.product_code
            );
            return Err(refused_unit(
                one,
                &what,
                "look at the labels again; devices of one product can be swapped",
            ));
        }
        let tags = rows.each_ref().map(|row| row.unit.known().tags);
        let kinds = |tags: &Tags| [&tags.sim, &tags.imei, &tags.device_id].map(Option::is_some);
        if kinds(&tags[0]) != kinds(&tags[1]) || tags[0] == Tags::default() {
            let what = format!(
                "it and unit {} do not have the same kinds of identifiers",
                other.id
            );
            return Err(refused_unit(
                one,
                &what,
                "`orders assign UNIT` gives a unit the identifiers that it lacks; identifiers that no unit has any more are free",
            ));
        }
        let mut swapped = Vec::new();
        for (row, tags) in rows.iter().zip([&tags[1], &tags[0]]) {
            let order = self.order(&row.order_id).await?;
            if matches!(order.order, Order::Cancelled(_)) {
                return Err(refused_unit(
                    row,
                    "its order is cancelled",
                    "nothing of it may go on",
                ));
            }
            let (live, parked) = match row.unit.clone() {
                Unit::Live(live) => (live, None),
                Unit::Parked(parked) => (parked.before, Some(parked.reason)),
                Unit::Cancelled(_) | Unit::Terminated(_) => {
                    return Err(refused_unit(
                        row,
                        "its journey is over",
                        "assign its identifiers to another unit: they are free",
                    ));
                }
            };
            let live = retagged(row, live, tags)?;
            swapped.push(match parked {
                Some(reason) => Unit::Parked(live.park(reason)),
                None => Unit::Live(live),
            });
        }
        let mut written = Vec::new();
        for ((row, unit), (with, tags)) in rows
            .iter()
            .zip(swapped)
            .zip([(&rows[1], &tags[1]), (&rows[0], &tags[0])])
        {
            let cause = Cause::new(
                "swap",
                format!("its identifiers are those that unit {} had", with.id),
            )
            .with(json!({ "tags": tags, "with": with.id }));
            written.push(self.put_unit(row, unit, cause).await?);
        }
        <[UnitRow; 2]>::try_from(written)
            .map_err(|_| Error::corrupt("swap", "two units are two rows"))
    }

    /// As [`Store::assign`], as a part of a larger change. A unit that has all of it already stays as it is.
    ///
    /// # Errors
    /// As [`Store::assign`].
    pub async fn assign(
        &mut self,
        unit: &str,
        serial: Option<&Serial>,
        tags: &Tags,
    ) -> Result<UnitRow, Error> {
        let mut row = self.unit(unit).await?;
        let order = self.order(&row.order_id).await?;
        if matches!(order.order, Order::Cancelled(_)) {
            return Err(refused_unit(
                &row,
                "its order is cancelled",
                "nothing of it may go on",
            ));
        }
        if holds(&row, serial, tags) {
            return Ok(row);
        }
        let lacking = row.unit.known().tags.lacking(row.line.needs);
        if serial.is_none() && *tags == Tags::default() && !lacking.is_empty() {
            return Err(refused_unit(
                &row,
                &format!("nothing is given, and it lacks {}", lacking.join(" and ")),
                "give it",
            ));
        }
        self.check_claims(&row, serial, tags).await?;
        if let Some(serial) = serial {
            row = give_serial(self, row, serial).await?;
        }
        let parked = match &row.unit {
            Unit::Parked(parked) => Some(parked.reason.clone()),
            _ => None,
        };
        let live = match row.unit.clone() {
            Unit::Live(live) => live,
            Unit::Parked(parked) => parked.before,
            Unit::Cancelled(_) | Unit::Terminated(_) => {
                return Err(refused_unit(
                    &row,
                    "its journey is over",
                    "assign another unit",
                ));
            }
        };
        let live = retagged(&row, live, tags)?;
        let live = if parked.is_none() {
            complete(live, &row)
        } else {
            live
        };
        let unit = match parked {
            Some(reason) => Unit::Parked(live.park(reason)),
            None => Unit::Live(live),
        };
        let evidence = json!({ "tags": tags, "serial": serial });
        let cause = Cause::new("assign", "marks given").with(evidence);
        self.put_unit(&row, unit, cause).await
    }

    /// As [`Store::ship`], as a part of a larger change. A unit that travels by this parcel already stays as it is.
    ///
    /// # Errors
    /// As [`Store::ship`].
    pub async fn ship(
        &mut self,
        order: &str,
        units: Option<&[String]>,
        parcel: &Parcel,
    ) -> Result<Vec<UnitRow>, Error> {
        let row = self.order(order).await?;
        if row.order.clear().is_none() {
            return Err(refused_order(
                &row,
                &format!("it is {}", row.order.state()),
                "approve or retry it first",
            ));
        }
        let all = self.units(order).await?;
        if let Some(stranger) = units
            .unwrap_or_default()
            .iter()
            .find(|id| !all.iter().any(|unit| unit.id == **id))
        {
            return Err(refused_order(
                &row,
                &format!("it has no unit {stranger}"),
                &format!("`orders show {}` lists its units", row.id),
            ));
        }
        let mut shipped = Vec::new();
        let mut waiting = Vec::new();
        for unit in all {
            let named = units.is_some_and(|named| named.contains(&unit.id));
            if units.is_some() && !named {
                continue;
            }
            let live = match unit.unit.clone() {
                Unit::Live(live) => live,
                other => {
                    if named {
                        return Err(refused_unit(
                            &unit,
                            &format!("it is {}", other.state()),
                            "ship the others by name",
                        ));
                    }
                    continue;
                }
            };
            if live.known().parcel.as_ref() == Some(parcel) {
                shipped.push(unit);
                continue;
            }
            // One parcel for all is the word for what leaves now, not for what left before.
            if let Some(before) = live.known().parcel.filter(|_| !named) {
                let what = format!(
                    "it was shipped before with {} {}",
                    before.carrier,
                    before.tracking().join(", ")
                );
                let remedy = "name it to correct how it travels";
                waiting.push(refused_unit(&unit, &what, remedy).to_string());
                continue;
            }
            match live.ship(parcel.clone()) {
                Ok(live) => {
                    let evidence = json!({ "parcel": parcel });
                    let cause = Cause::new("ship", "handed to the carrier").with(evidence);
                    shipped.push(self.put_unit(&unit, Unit::Live(live), cause).await?);
                }
                Err(NotNow::NotAssigned | NotNow::Active) => {
                    let lacking = unit.unit.known().tags.lacking(unit.line.needs);
                    let what = if unit.unit.serial().is_none() && unit.line.needs.serial {
                        "it has no serial yet".to_owned()
                    } else {
                        format!(
                            "it is not assigned yet; its line asks for {}",
                            lacking.join(" and ")
                        )
                    };
                    let refusal =
                        refused_unit(&unit, &what, "assign what is missing, then ship it");
                    if named {
                        return Err(refusal);
                    }
                    waiting.push(refusal.to_string());
                }
            }
        }
        if shipped.is_empty() {
            return Err(refused_order(
                &row,
                &format!("it has no unit that can ship ({})", waiting.join("; ")),
                &format!("`orders show {}` tells what each unit waits for", row.id),
            ));
        }
        Ok(shipped)
    }
}

/// Whether a unit has all that is given already.
fn holds(row: &UnitRow, serial: Option<&Serial>, tags: &Tags) -> bool {
    let known = row.unit.known();
    serial.is_none_or(|serial| known.serial.as_ref() == Some(serial))
        && known.tags.clone().updated(tags.clone()) == known.tags
        && !matches!(
            row.unit,
            Unit::Live(Live::Ordered(_) | Live::Provisioned(_))
        )
}

/// Whether a unit has a value already: then nobody has to insist on it.
fn has(row: &UnitRow, forced: &Forced) -> bool {
    let known = row.unit.known();
    let value = match forced.mark {
        Mark::Serial => known.serial.as_ref().map(Serial::as_str),
        Mark::Sim => known.tags.sim.as_deref(),
        Mark::Imei => known.tags.imei.as_deref(),
        Mark::DeviceId => known.tags.device_id.as_deref(),
    };
    value == Some(&*forced.value)
}

/// Provisioned by other means, or the answer to what was in doubt.
async fn give_serial(change: &mut Change, row: UnitRow, serial: &Serial) -> Result<UnitRow, Error> {
    if row.unit.serial().as_ref() == Some(serial) {
        return Ok(row);
    }
    let live = match row.unit.clone() {
        Unit::Live(live) => live,
        Unit::Parked(parked) => parked.before,
        Unit::Cancelled(_) | Unit::Terminated(_) => {
            return Err(refused_unit(
                &row,
                "its journey is over",
                "assign another unit",
            ));
        }
    };
    let Live::Ordered(ordered) = live else {
        return Err(refused_unit(
            &row,
            &format!(
                "it has serial {}, and a unit keeps its serial",
                row.unit.serial().map(|s| s.to_string()).unwrap_or_default()
            ),
            &format!(
                "`orders replace {} --why WHY` if the device was swapped",
                row.id
            ),
        ));
    };
    if change.is_terminated(serial).await? {
        return Err(refused_unit(
            &row,
            &format!("serial {serial} is terminated in the device registry, and stays so"),
            "provision another device, or look at its label again",
        ));
    }
    let intents = change.intents_of(&row.id).await?;
    if intents.iter().any(|intent| intent.outcome == Outcome::Open) {
        return Err(refused_unit(
            &row,
            "a provisioning call for it is under way or in doubt",
            "wait until it is settled or parked",
        ));
    }
    // It answers the newest call that is in doubt: the others came to nothing.
    let answered = intents
        .iter()
        .rev()
        .find(|intent| intent.outcome.in_doubt());
    if let Some(intent) = answered {
        let evidence = json!({ "by": change.by() });
        change
            .close_intent(
                intent.id,
                intent.outcome,
                Outcome::Adopted,
                Some(serial),
                Some(&evidence),
            )
            .await?;
    }
    let provisioned = Unit::Live(Live::Provisioned(ordered.provision(serial.clone())));
    let cause =
        Cause::new("provision", "serial given by a person").with(json!({ "serial": serial }));
    change.put_unit(&row, provisioned, cause).await
}

fn retagged(row: &UnitRow, live: Live, tags: &Tags) -> Result<Live, Error> {
    live.tag(tags.clone()).map_err(|not_now| {
        let remedy = format!(
            "`orders replace {} --why WHY` if the device was swapped",
            row.id
        );
        refused_unit(row, &not_now.to_string(), &remedy)
    })
}

/// Assigned, if it has all its line asks for.
fn complete(live: Live, row: &UnitRow) -> Live {
    let needs = row.line.needs;
    match live {
        Live::Ordered(ordered) if !needs.serial => match ordered.clone().assign(needs) {
            Ok(assigned) => Live::Assigned(assigned),
            Err(_) => Live::Ordered(ordered),
        },
        Live::Provisioned(provisioned) => match provisioned.clone().assign(needs) {
            Ok(assigned) => Live::Assigned(assigned),
            Err(_) => Live::Provisioned(provisioned),
        },
        other => other,
    }
}
