//! The answer to a provisioning call, as it is written: a serial for its unit, a refusal, or that the answer was lost.
//!
//! It is a fact, keyed by its intent: it is written without a lease, and whatever has become of the unit meanwhile. Written twice it
//! changes nothing. Owns nothing.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Clock;
use super::executor::{Done, park};
use super::journey::unit::{Live, Unit};
use super::journey::{Actor, Code, Reason, Serial};
use super::settings::Config;
use super::store::change::{Cause, Change};
use super::store::intents::{IntentRow, Outcome};
use super::store::rows::UnitRow;
use super::store::{Error, Store};
use crate::myadmin;
use crate::myadmin::wire::Provisioning;

/// The answer to a provisioning call, or that it was lost.
pub(super) struct Answered {
    pub store: Store,
    pub config: Arc<Config>,
    pub clock: Clock,
    /// As it was when it was called for.
    pub row: UnitRow,
    pub intent: i64,
    pub answer: Result<Provisioning, myadmin::Error>,
    pub retry_at: Timestamp,
}

impl Answered {
    /// Writes it: a fact, under nobody's lease.
    pub async fn write(&self) -> Result<Done, Error> {
        let Self {
            row: called,
            intent: id,
            answer,
            retry_at,
            ..
        } = self;
        let (id, retry_at) = (*id, *retry_at);
        let now = (self.clock)();
        let mut change = self.store.change(Actor::Reconciler, None, now).await?;
        let row = change.unit(&called.id).await?;
        let Some(intent) = change
            .intents_of(&row.id)
            .await?
            .into_iter()
            .find(|intent| intent.id == id)
        else {
            return Ok(Done::Same);
        };
        let lost = matches!(answer, Err(error) if error.may_have_effects());
        // Somebody concluded without us, or an earlier try was written after all.
        if intent.outcome != Outcome::Open && (lost || intent.serial.is_some()) {
            return match answer {
                Ok(Provisioning::Provisioned { serial }) => {
                    otherwise_concluded(change, &row, &intent, serial).await
                }
                _ => Ok(Done::Same),
            };
        }
        let from = intent.outcome;
        match answer {
            Ok(Provisioning::Provisioned { serial }) => {
                let evidence = json!({ "serial": serial, "intent": id });
                match claim(&mut change, serial).await? {
                    Ok(serial) => {
                        change
                            .close_intent(
                                id,
                                from,
                                Outcome::Answered,
                                Some(&serial),
                                Some(&evidence),
                            )
                            .await?;
                        give(&mut change, &row, &serial, "MyAdmin gave it", evidence).await?;
                        other_prefix(&mut change, &row, &serial, &self.config).await?;
                    }
                    Err(why) => {
                        change
                            .close_intent(id, from, Outcome::Unresolved, None, Some(&evidence))
                            .await?;
                        park(&mut change, &row, Reason::new(Code::Serial, why), evidence).await?;
                    }
                }
            }
            Ok(Provisioning::Declined { error }) => {
                let evidence = json!({ "declined": error, "intent": id });
                change
                    .close_intent(id, from, Outcome::Refused, None, Some(&evidence))
                    .await?;
                if self.config.provision.retry_codes.contains(error) {
                    let cause = Cause::new("put-off", format!("declined: {error}"));
                    change
                        .put_retry(&row, row.attempts + 1, Some(retry_at), cause)
                        .await?;
                } else {
                    let reason =
                        Reason::new(Code::Declined, format!("MyAdmin declined: {error:?}"));
                    park(&mut change, &row, reason, evidence).await?;
                }
            }
            Ok(Provisioning::Nothing) => {
                let evidence = json!({ "declined": null, "intent": id });
                change
                    .close_intent(id, from, Outcome::Refused, None, Some(&evidence))
                    .await?;
                let text = "MyAdmin gave no result, which it gives when nothing was provisioned";
                park(
                    &mut change,
                    &row,
                    Reason::new(Code::Declined, text),
                    evidence,
                )
                .await?;
            }
            Err(error) if !error.may_have_effects() => {
                let evidence = json!({ "error": error.to_string(), "intent": id });
                change
                    .close_intent(id, from, Outcome::WithoutEffect, None, Some(&evidence))
                    .await?;
                if error.retryable() {
                    let cause = Cause::new("put-off", error.to_string());
                    change
                        .put_retry(&row, row.attempts + 1, Some(retry_at), cause)
                        .await?;
                } else {
                    let reason = Reason::new(Code::Declined, error.to_string());
                    park(&mut change, &row, reason, evidence).await?;
                }
            }
            Err(error) => {
                let evidence = json!({ "error": error.to_string(), "intent": id });
                let cause = Cause::new(
                    "answer-lost",
                    "it may have been provisioned; cleared up by what is listed",
                )
                .with(evidence);
                tracing::warn!(unit = %row.id, %error, "a provisioning call got no answer; its outcome is in doubt");
                change
                    .note(Some(&row.order_id), Some(&row.id), cause)
                    .await?;
            }
        }
        change.commit().await?;
        Ok(Done::Changed)
    }
}

/// A serial came for a call that was concluded with another one: somebody must say which is right.
async fn otherwise_concluded(
    mut change: Change,
    row: &UnitRow,
    intent: &IntentRow,
    answered: &str,
) -> Result<Done, Error> {
    let same = Serial::parse(answered).ok() == intent.serial;
    let Some(taken) = intent.serial.as_ref().filter(|_| !same) else {
        return Ok(Done::Same);
    };
    let said = format!(
        "MyAdmin answered the call for unit {} of {} with serial {answered}, after {taken} had been taken for its own",
        row.id, intent.begun_at
    );
    let evidence = json!({ "answered": answered, "taken": taken, "intent": intent.id });
    if !change
        .alarm("wrong-serial", &row.id, &said, Some(&evidence))
        .await?
    {
        // Written before.
        return Ok(Done::Same);
    }
    let cause = Cause::new("answer-late", said).with(evidence);
    change
        .note(Some(&row.order_id), Some(&row.id), cause)
        .await?;
    change.commit().await?;
    Ok(Done::Changed)
}

/// A serial that MyAdmin made is the unit's, whatever it begins with; a prefix of another product is told.
async fn other_prefix(
    change: &mut Change,
    row: &UnitRow,
    serial: &Serial,
    config: &Config,
) -> Result<(), Error> {
    let Err(unfit) = config.prefixes().check(&row.line.product_code, serial) else {
        return Ok(());
    };
    let said = format!(
        "MyAdmin made serial {serial} for it, which {}; it was taken",
        unfit.what
    );
    let evidence = json!({ "serial": serial, "product_code": row.line.product_code });
    change
        .alarm("serial-prefix", &row.id, &said, Some(&evidence))
        .await?;
    Ok(())
}

/// The serial, if it can be one and nobody has it.
async fn claim(change: &mut Change, text: &str) -> Result<Result<Serial, String>, Error> {
    let serial = match Serial::parse(text) {
        Ok(serial) => serial,
        Err(error) => return Ok(Err(error.to_string())),
    };
    Ok(match change.unit_with(serial.as_str()).await? {
        None => Ok(serial),
        Some(other) => Err(format!(
            "MyAdmin gave serial {serial}, which unit {} has",
            other.id
        )),
    })
}

/// Gives a unit its serial, wherever a person has put it meanwhile.
pub(super) async fn give(
    change: &mut Change,
    row: &UnitRow,
    serial: &Serial,
    why: &str,
    evidence: Value,
) -> Result<(), Error> {
    let unit = match row.unit.clone() {
        Unit::Live(Live::Ordered(unit)) => {
            Unit::Live(Live::Provisioned(unit.provision(serial.clone())))
        }
        Unit::Parked(parked) => match parked.before {
            Live::Ordered(unit) => {
                let live = Live::Provisioned(unit.provision(serial.clone()));
                if parked.reason.code == Code::LostAnswer {
                    Unit::Live(live)
                } else {
                    Unit::Parked(live.park(parked.reason))
                }
            }
            other => Unit::Parked(other.park(parked.reason)),
        },
        Unit::Cancelled(mut cancelled) if cancelled.known.serial.is_none() => {
            cancelled.known.serial = Some(serial.clone());
            Unit::Cancelled(cancelled)
        }
        other => other,
    };
    if unit.serial().as_ref() != Some(serial) {
        let said = format!(
            "serial {serial} was made for unit {}, which has another one",
            row.id
        );
        change
            .alarm("orphan-serial", serial.as_str(), &said, Some(&evidence))
            .await?;
        return Ok(());
    }
    if let Unit::Cancelled(_) = unit {
        let said = "its serial was made while its order was cancelled: have the serial terminated";
        change
            .alarm("cancelled-serial", &row.id, said, Some(&evidence))
            .await?;
    }
    let cause = Cause::new("provision", why).with(evidence);
    change.put_unit(row, unit, cause).await?;
    Ok(())
}
